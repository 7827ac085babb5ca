"""Support texts without personal data, full of what looks like it: numbers, codes, versions, hashes, dates, code.

Nothing here knows the patterns of tasks/redact.py.
"""

import json
import random
import string
import uuid
from collections.abc import Callable, Iterator

_HEX = "0123456789abcdef"
_ALNUM = string.ascii_letters + string.digits
_UPPER = string.ascii_uppercase


def clean_texts(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`count` pairs of what the text is full of and the text; the same arguments always give the same ones."""
    rng = random.Random(f"clean/{seed}")
    for _ in range(count):
        sort = rng.choice(tuple(_SORTS))
        sentence = _filled(rng, rng.choice(_SORTS[sort]))
        if rng.random() < 0.5:
            sentence = f"{_filled(rng, rng.choice(_PLAIN))} {sentence}"
        if rng.random() < 0.5:
            sentence = f"{sentence} {_filled(rng, rng.choice(_PLAIN))}"
        if rng.random() < 0.1:
            answer = {"category": "billing", "priority": 2, "refund_requested": False, "summary": sentence}
            sentence = json.dumps(answer, ensure_ascii=rng.random() < 0.5)
        yield sort, sentence


def _filled(rng: random.Random, template: str) -> str:
    while "{" in template and (begin := template.find("{@")) >= 0:
        end = template.index("}", begin)
        template = template[:begin] + _SLOTS[template[begin + 2 : end]](rng) + template[end + 1 :]
    return template


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def _number(rng: random.Random, count: int) -> str:
    return rng.choice("123456789") + _digits(rng, count - 1)


def _of(rng: random.Random, alphabet: str, count: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


def _order(rng: random.Random) -> str:
    return rng.choice(
        (
            _number(rng, rng.randrange(4, 11)),
            f"PB-{_digits(rng, 5)}",
            f"PB{_digits(rng, 7)}",
            f"#{_number(rng, rng.randrange(4, 9))}",
            f"{_number(rng, 3)}-{_digits(rng, 7)}-{_digits(rng, 7)}",
            f"2026-{_digits(rng, 6)}",
            f"A{_digits(rng, 8)}",
            f"{_of(rng, _UPPER, 2)}{_digits(rng, 2)}-{_digits(rng, 4)}-{_of(rng, _UPPER, 2)}",
            f"0000{_digits(rng, 6)}",
            f"W{_digits(rng, 9)}",
            f"{_digits(rng, 4)}/{_digits(rng, 5)}",
        )
    )


def _price(rng: random.Random) -> str:
    whole, cents = rng.randrange(1, 999), rng.randrange(100)
    thousands = f"{rng.randrange(1, 99)}"
    return rng.choice(
        (
            f"{whole}.{cents:02d} EUR", f"{whole},{cents:02d} €", f"${whole}.{cents:02d}", f"£{whole}",
            f"{thousands}.{whole:03d},00 EUR", f"{thousands},{whole:03d}.50 USD", f"{thousands} {whole:03d},99 €",
            f"{thousands}\u00a0{whole:03d}\u00a0€", f"CHF {thousands}'{whole:03d}.-", f"PLN {whole},{cents:02d}",
            f"Rs. {thousands},00,{whole:03d}", f"€{thousands}.{whole:03d}.{whole:03d}",
        )
    )  # fmt: skip


def _date(rng: random.Random) -> str:
    year, month, day = rng.randrange(2015, 2028), rng.randrange(1, 13), rng.randrange(1, 29)
    hour, minute, second = rng.randrange(24), rng.randrange(60), rng.randrange(60)
    return rng.choice(
        (
            f"{year}-{month:02d}-{day:02d}", f"{day:02d}.{month:02d}.{year}", f"{day:02d}/{month:02d}/{year}",
            f"{month}/{day}/{year}", f"{day:02d}.{month:02d}.{year} {hour:02d}:{minute:02d}",
            f"{year}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}Z",
            f"{year}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d}.{_digits(rng, 6)}",
            f"{day:02d}-{month:02d}-{year}", f"{year}{month:02d}{day:02d}",
            f"{day:02d}/{month:02d}/{year} {hour:02d}:{minute:02d}", f"{day}. {month}. {year}",
            f"{year}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}+02:00",
            f"{year}/{month:02d}/{day:02d}", f"{day:02d}.{month:02d}.{year % 100:02d}",
            f"{day:02d}.{month:02d}.-{day + 1:02d}.{month:02d}.{year}",
            f"{year}-{month:02d}-{day:02d} - {year}-{month:02d}-{day + 2:02d}",
        )
    )  # fmt: skip


def _tracking(rng: random.Random) -> str:
    return rng.choice(
        (
            f"1Z{_of(rng, _UPPER + string.digits, 6)}{_digits(rng, 10)}", f"JJD0{_digits(rng, 17)}",
            f"9400{_digits(rng, 18)}", f"00340{_digits(rng, 15)}",
            f"{_of(rng, 'RCL', 1)}{_of(rng, _UPPER, 1)}{_digits(rng, 9)}GB", f"{_number(rng, 12)}",
            f"0{_digits(rng, 13)}", f"{_number(rng, 15)}", f"TBA{_digits(rng, 12)}",
            f"9400 {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 2)}",
            f"H{_digits(rng, 19)}",
        )
    )  # fmt: skip


def _isbn(rng: random.Random) -> str:
    group, publisher, title = rng.randrange(10), _digits(rng, 4), _digits(rng, 4)
    return rng.choice(
        (
            f"978-{group}-{publisher}-{title}-{rng.randrange(10)}", f"978{group}{publisher}{title}{rng.randrange(10)}",
            f"{group}-{publisher}-{title}-{rng.choice('0123456789X')}",
            f"978 {group} {publisher} {title} {rng.randrange(10)}", f"{_digits(rng, 9)}X",
        )
    )  # fmt: skip


def _version(rng: random.Random) -> str:
    a, b, c, d = (rng.randrange(top) for top in (20, 30, 60, 250))
    return rng.choice(
        (
            f"{a}.{b}.{c}.{d}",
            f"{a}.{b}.{c}",
            f"{a}.{b}",
            f"{a}.{b}.{c}-rc{b}",
            f"{a}.{b}.{c}.{d}-beta",
            f"{a}.0.{d}.{c}",
        )
    )


def _code(rng: random.Random) -> str:
    return rng.choice(
        (
            f"{_of(rng, _UPPER, 3)}-{_digits(rng, 4)}-{_of(rng, _UPPER, 1)}",
            f"{_of(rng, _UPPER, 2)}{_digits(rng, 4)}{_of(rng, _UPPER, 2)}",
            f"{_digits(rng, 3)}.{_digits(rng, 3)}.{_digits(rng, 2)}", f"{_of(rng, _UPPER, 4)}{_digits(rng, 6)}",
            f"{_digits(rng, 2)}-{_of(rng, _UPPER, 3)}-{_digits(rng, 5)}",
            f"{_of(rng, _UPPER + string.digits, 5)}-{_of(rng, _UPPER + string.digits, 5)}",
            f"X{_digits(rng, 3)}/{_digits(rng, 2)}", f"{_digits(rng, 8)}", f"{_number(rng, 13)}",
            f"{_digits(rng, 6)}-{_digits(rng, 2)}", f"DE{_digits(rng, 9)}", f"ATU{_digits(rng, 8)}",
            f"{_of(rng, _UPPER, 2)}{_digits(rng, 2)} {_digits(rng, 3)}",
        )
    )  # fmt: skip


def _quantity(rng: random.Random) -> str:
    a, b = rng.randrange(1, 999), rng.randrange(1000)
    return rng.choice(
        (
            f"{a} {b:03d}", f"{a} 000 000", "1 800 000", f"{a}.{b:03d}.000", f"{a},{b:03d},{a:03d}",
            f"{a % 9 + 1} {b:03d} {a:03d}", f"{a} x {b} x {a % 50}", f"{a}-{a + 20}", f"{a}/{b}", f"{a}'{b:03d}",
            f"{a % 100}%", f"{a % 100},{b % 10} %", f"{_number(rng, 9)} bytes", f"{_number(rng, 13)} ms",
            f"{a}\u202f{b:03d}",
        )
    )  # fmt: skip


def _coordinates(rng: random.Random) -> str:
    north, east = rng.uniform(-89, 89), rng.uniform(-179, 179)
    return rng.choice(
        (
            f"{north:.4f}, {east:.4f}",
            f"{north:.6f},{east:.6f}",
            f"{abs(north):.5f}° N {abs(east):.5f}° E",
            f"{north:.14f}",
            f"{abs(int(north))}°12'30\" N",
        )
    )


def _hash(rng: random.Random) -> str:
    return _of(rng, _HEX, rng.choice((7, 8, 10, 12, 40, 40, 64)))


def _mac(rng: random.Random) -> str:
    return rng.choice((":", "-")).join(_of(rng, _HEX, 2) for _ in range(6))


def _no_card(rng: random.Random) -> str:
    """16 digits whose Luhn sum is wrong."""
    while True:
        digits = _number(rng, 16)
        total = sum(sum(divmod(int(char) * (1 + place % 2), 10)) for place, char in enumerate(reversed(digits)))
        if total % 10:
            return digits if rng.random() < 0.6 else " ".join(digits[i : i + 4] for i in range(0, 16, 4))


def _no_iban(rng: random.Random) -> str:
    country, length = rng.choice((("DE", 22), ("FR", 27), ("GB", 22), ("ES", 24), ("NL", 18), ("PL", 28)))
    while True:
        iban = country + _digits(rng, length - 2)
        if int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 != 1:
            return iban if rng.random() < 0.5 else " ".join(iban[i : i + 4] for i in range(0, length, 4))


def _time(rng: random.Random) -> str:
    a, b = rng.randrange(8, 12), rng.randrange(13, 21)
    return rng.choice(
        (
            f"{a:02d}:00-{b}:30",
            f"{a}:15",
            f"{a:02d}:30:{b}",
            f"{a}-{b} Uhr",
            f"{a}h{b}",
            f"{a:02d}.30-{b}.00",
            f"{a:02d}00 - {b}00",
            f"{a} am",
            "24/7",
        )
    )


def _url(rng: random.Random) -> str:
    return rng.choice(
        (
            f"https://shop.acme.com/orders/{_number(rng, 9)}",
            f"https://acme.com/p/{_of(rng, _HEX, 24)}?page=2&sort=asc", f"www.acme.com/track/{_digits(rng, 12)}",
            f"https://youtu.be/{_of(rng, _ALNUM, 11)}",
            f"https://acme.com/a/{uuid.UUID(int=rng.getrandbits(128))}/edit", f"/var/log/app-{_digits(rng, 8)}.log",
            f"C:\\temp\\build_{_digits(rng, 6)}\\new.txt",
            f"https://acme.com/docs/v{rng.randrange(1, 5)}.{rng.randrange(9)}.{rng.randrange(9)}/api",
            "localhost:8080", "127.0.0.1:5000",
            f"https://maps.acme.com/@{rng.uniform(-80, 80):.7f},{rng.uniform(-170, 170):.7f},15z", "0.0.0.0/0",
            "255.255.255.0", "::1",
        )
    )  # fmt: skip


_SLOTS: dict[str, Callable[[random.Random], str]] = {
    "order": _order,
    "price": _price,
    "date": _date,
    "tracking": _tracking,
    "isbn": _isbn,
    "version": _version,
    "code": _code,
    "quantity": _quantity,
    "coordinates": _coordinates,
    "hash": _hash,
    "mac": _mac,
    "nocard": _no_card,
    "noiban": _no_iban,
    "time": _time,
    "url": _url,
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    "n": lambda rng: str(rng.randrange(2, 60)),
    "zip": lambda rng: rng.choice(
        (_digits(rng, 5), f"{_digits(rng, 5)}-{_digits(rng, 4)}", "SW1A 1AA", "1012 AB", "00-950", "110 001")
    ),
}

_PLAIN = (
    "My parcel has not arrived yet.", "The app crashes when I open the cart.", "I want my money back.",
    "Please answer soon.", "Thanks a lot!", "Ich kann mich nicht anmelden.", "Le produit est arrivé cassé.",
    "El pedido llegó tarde.", "Il pacco non è mai arrivato.", "Nie mogę się zalogować.",
    "This is the {@n}. time I write.", "I ordered it on {@date}.", "It cost {@price}.", "Order {@order}.",
    "Bestellung {@order}, {@price}.", "I forgot my password and the reset link does not work.", "Call me maybe.",
    "I was on the phone for {@n} minutes.", "Do you have an address in Berlin?", "Your e-mail never came.",
    "The token expired.", "My card was declined.", "Which IBAN do you need?", "What is my IP address?",
    "The key does not fit the lock.",
)  # fmt: skip

PLAIN = tuple(sentence for sentence in _PLAIN if "{@" not in sentence)

_SORTS: dict[str, tuple[str, ...]] = {
    "orders": (
        "Where is order {@order}?", "Order number: {@order}", "Bestellnummer {@order} vom {@date}",
        "commande n° {@order} du {@date}", "pedido {@order}", "ordine {@order} di {@price}",
        "Re: your order {@order} ({@n} items)", "invoice {@order}, {@price}", "Rechnung {@order} / Kunde {@order}",
        "ref {@order}", "I called about order {@order} twice", "the phone case from order {@order} is broken",
        "headphones, order {@order}, {@date}", "case {@order} is still open", "orders {@order}, {@order} and {@order}",
        "customer no. {@order}", "Zamówienie nr {@order}", "please cancel {@order}", "contract {@order}",
        "Auftrag {@order}",
    ),
    "prices": (
        "You charged {@price} instead of {@price}.", "{@price} + {@price} = ?", "Total {@price} ({@n} x {@price})",
        "refund of {@price}", "{@price}/month",
    ),
    "dates": (
        "Delivery was promised for {@date}.", "from {@date} to {@date}", "{@date} {@time}",
        "call me on {@date} at {@time}", "[{@date}] ERROR timeout after {@n}s", "open {@time}, closed {@date}",
        "{@date} - payment of {@price}", "It happened at {@time} on {@date}, again at {@time}.",
        "ring the bell between {@time}", "{\"created_at\": \"{@date}\", \"updated_at\": \"{@date}\"}",
        "Termin am {@date} um {@time}", "tel. support open {@time}", "text me the code on {@date}",
    ),
    "tracking": (
        "Tracking {@tracking}", "tracking number: {@tracking}", "Sendungsnummer {@tracking}",
        "parcel {@tracking} is lost", "colis {@tracking}", "DHL {@tracking}",
    ),
    "books": ("ISBN {@isbn}", "ISBN: {@isbn}, {@price}", "the book with ISBN {@isbn} is missing", "ISBN-13 {@isbn}"),
    "versions": (
        "since version {@version} it hangs", "v{@version}", "app version {@version} on Android {@n}",
        "updated from {@version} to version {@version}", "Chrome/{@version} crashes", "firmware {@version}",
        "driver v{@version}", "release {@version}", "numpy=={@version}", "Python 3.{@n}", "Version: {@version}",
        "build {@version} fails", "(v. {@version})",
    ),
    "codes": (
        "article {@code}", "The lamp {@code} is broken.", "code {@code} does not work", "SKU {@code}", "error {@code}",
        "model {@code} or {@code}?", "serial {@code}", "VAT {@code}",
    ),
    "quantities": (
        "We sold {@quantity} units.", "a file of {@quantity}", "{@quantity} people use it",
        "between {@quantity} and {@quantity}", "it has {@quantity} rows", "about {@quantity} zł", "{@quantity} EUR",
        "the score is {@n}:{@n}", "Maße {@quantity} cm", "called it {@quantity} times", "population of {@quantity}",
        "{@quantity} km", "plus {@quantity} points",
    ),
    "places": (
        "at {@coordinates}", "GPS: {@coordinates}", "lat/lon {@coordinates}", "{@zip} Berlin", "ship to {@zip}",
        "we live in {@zip}, second floor", "maps: {@coordinates}",
    ),
    "hashes": (
        "commit {@hash}", "broken since {@hash}", "sha256 {@hash}", "md5: {@hash}", "the checksum is {@hash}",
        "request {@uuid} failed", "id {@uuid}", "trace {@uuid}", "image sha256:{@hash}",
        "{\"id\": \"{@uuid}\", \"n\": {@n}}", "MAC {@mac}", "etag \"{@hash}\"", "see {@hash}..{@hash}",
        "fixed in {@hash} ({@date})", "user agent id {@uuid}",
    ),
    "no card": (
        "number {@nocard}", "reference {@nocard}", "my card {@nocard} is not accepted",
        "Kartennummer {@nocard} ist ungültig", "code {@nocard}",
    ),
    "no iban": ("IBAN {@noiban} is refused as invalid", "{@noiban}", "ungültige IBAN {@noiban}"),
    "links": (
        "see {@url}", "It fails at {@url}", "{@url} gives error {@n}", "opened {@url} on {@date}", "listens on {@url}",
    ),
    "code": (
        "SELECT id, name FROM users WHERE id = {@order} AND password = ? LIMIT 10;",
        "def f(x: int = {@n}) -> int:\n    return x * 1000000", "std::vector<int> a = {1, 2, 3}; std::cout << a[0];",
        "const token = await getToken(); // expires in 3600", "password = os.environ['DB_PASSWORD']",
        "if (user.password === input.password) { return true; }", "max_tokens=4096, temperature=0.7",
        "for i in range({@n}): print(f'{i:04d}')", "@app.get('/items/{id}')\nasync def read(id: int): ...",
        "npm install @angular/core@17.{@n}.1", "git clone git@github.com:acme/app.git", "secret = None",
        "UPDATE orders SET total = {@n}.50, token = :token WHERE id = {@order};",
        "<div class='a-{@n}'>&nbsp;{@price}</div>", "a[::2], b[1::3], c::d", "password: <your password>",
        "api_key: YOUR_API_KEY", "tokens: {@n}, prompt_tokens: 1024, total_tokens: 131072",
        "INSERT INTO t VALUES ({@order}, '{@date}', {@n}.{@n});", "key=value&page={@n}",
        "{\"token_type\": \"bearer\", \"expires_in\": 3600}", "0x{@hash}", "export PASSWORD=$DB_PASSWORD",
        "Authorization: Bearer <token>", "x = W @ v + b", "import { Secret } from './secret'",
        "type Key = { id: string; value: number }", "#define MAX_KEY_LEN 256",
        "SELECT * FROM t WHERE phone IS NULL AND email LIKE '%'", "rgb(255, 128, {@n})", "font: 12px/1.5",
        "ssh-keygen -t ed25519", "printf(\"%05d %10s\\n\", a, b);", "position: absolute; top: {@n}px",
    ),
    "talk": (
        "I changed my password yesterday, now the password: field is empty", "the password must have 8-16 characters",
        "is my password correct?", "Passwort vergessen, was tun?", "no phone number on the invoice",
        "my secret is that I like it", "the secret: patience", "a token of appreciation", "the API key is missing",
        "token invalid, error {@n}", "Which key is it: red or blue?", "Secret Santa 2026 starts on {@date}",
        "call center was closed at {@time}", "phone support said {@n} days", "Tel Aviv shop closed",
        "I phoned {@n} times and paid {@price}", "mobile app {@version}", "iPhone {@n} Pro {@n} GB",
        "credit card ending in {@zip}", "my handy is broken since {@date}", "contact form sends error {@code}",
        "fax is so 1990", "text size {@n} px", "WhatsApp group of {@n} people", "@acme please help",
        "thanks @support_team!", "meet at 5 dot sharp", "look at acme.com", "we are @ the shop", "Bearer of bad news",
        "basic plan", "2 for 1", "a 50/50 chance", "1-2-3 go", "A4 paper 210 x 297", "H2O", "size 10-12",
        "ISO 27001:2022", "RFC 2606", "EN 13402-3", "CAS 7732-18-5", "doi:10.1000/182",
        "Win a 100% free 10.000 EUR gift", "Boeing 737-800", "flight LH 1234 gate B12", "bus 100, line 7", "seat 12A",
        "chapter 1.2.3.4", "section 4.3.2.1 of the terms", "windows 10.0.19045.3448", "10.000.000 downloads",
        "page 12 of 340", "the passport office", "keyboard layout: qwerty", "keynote: 2026-05-01",
        "monkey: see, monkey: do", "hotkey: Ctrl+Shift+F12", "the compass: north", "access denied, key: not found",
        "primary key: user_id", "password: required",
    ),
}  # fmt: skip
