"""Personal data of every kind, drawn from a seed and written as people and programs write it.

Nothing here knows the patterns of tasks/redact.py. Telephone numbers come from the numbering plans and formats of the
`phonenumbers` library, IBANs from the structures of the SWIFT registry, cards from the issuers' ranges, tokens from
what their issuers document.
"""

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

KINDS = ("email", "phone", "card", "iban", "ipv4", "ipv6", "secret")
NATIONAL_REGIONS = ("US", "CA", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "IN")  # read without a word before them


@dataclass(frozen=True)
class Planted:
    """A text with one item in it, what of the item identifies somebody, and how it was written (for the report)."""

    kind: str
    text: str
    identifying: tuple[str, ...]  # none of these may be left; digits are compared without their separators
    frame: str
    form: str


def planted(kind: str, count: int, seed: int) -> Iterator[Planted]:
    """`count` texts with one item of a kind each; the same arguments always give the same texts."""
    rng = random.Random(f"{kind}/{seed}")
    for _ in range(count):
        form, written, identifying, cue = _DRAW[kind](rng)
        frame = rng.choice(_FRAMES[kind] if cue is None else cue)
        text = frame.replace("{}", written).replace("{n}", str(rng.randrange(10_000, 99_999)))
        text, wrapped = _wrapped(rng, text)
        yield Planted(kind, text, identifying, frame, f"{form}{wrapped}")


Drawn = tuple[str, str, tuple[str, ...], tuple[str, ...] | None]

_BEFORE = (
    "Hello, my order {n} has not arrived. ",
    "Hi team,\n\nI still wait for an answer since 02.03.2026 at 14:30. ",
    "Guten Tag, die Rechnung über 129,90 EUR stimmt nicht. ",
    "Bonjour, le colis n'est jamais arrivé. ",
    "Hola, sigo esperando el reembolso de 45,50 €. ",
    "Buongiorno, il prodotto è rotto. ",
    "Ticket #{n} | opened 2026-03-02T08:15:00Z\n",
)
_AFTER = (
    " Please answer soon.",
    "\n\nKind regards,\nA customer",
    " Vielen Dank im Voraus!",
    " Merci d'avance.",
    "\n> On Mon, 2 Mar 2026 at 09:12, Support wrote:\n> we need 3-5 days",
    " (3rd time I ask, item 2 of 4)",
)


def _wrapped(rng: random.Random, text: str) -> tuple[str, str]:
    """Most texts stand among others; some are inside of JSON, with or without escapes, once or twice."""
    draw = rng.random()
    if draw < 0.45 and not text.startswith(("{", "[")):
        number = str(rng.randrange(10_000, 99_999))
        return (rng.choice(_BEFORE) + text + rng.choice(_AFTER)).replace("{n}", number), ""
    if draw < 0.57:
        escaped = rng.random() < 0.5
        inner = json.dumps({"category": "account", "summary": text, "priority": 2}, ensure_ascii=escaped)
        return (json.dumps({"payload": inner}), " in JSON twice") if draw < 0.48 else (inner, " in JSON")
    return text, ""


def _words(text: str) -> list[str]:
    return text.split()


# E-mail addresses

_WORDS = _words("""
    quill harbor maple tundra cobalt lagoon ember walnut saffron pebble juniper orchid falcon meadow copper violet
    canyon thistle willow bramble cedar anchor lantern marble pepper raven timber velvet zephyr basil clover dune
    fable grove
""")
_GIVEN = _words("""
    Ottavia Wilhelmina Thaddeus Quentin Ignacio Svetlana Padraig Xiomara Bartholomew Ngozi Aleksandr Siobhan
""")
_FAMILY = _words("""
    Vandenberg Okonkwo Strzelecki Montgomery Yamaguchi Papadopoulos Christodoulou Fitzgerald Hallström O'Sullivan
""")
_MAILBOX_BEYOND = ("müller.jörg", "josé_ñandú", "françois.lévêque", "иван.петров", "用户名称", "παναγιώτης")
_TLDS = _words("""
    com org net de co.uk fr es it nl pl in com.br com.au io dev app museum travel online ac.jp gov.uk ch at eu
""")


def _mailbox(rng: random.Random) -> str:
    given, family, word = rng.choice(_GIVEN), rng.choice(_FAMILY), rng.choice(_WORDS)
    number = rng.randrange(10, 9999)
    return rng.choice(
        (
            f"{given}.{family}".lower(),
            f"{given[0]}{family}".lower(),
            f"{given}_{family}{number}".lower(),
            f"{given}-{family}".lower(),
            f"{given}.{family}",
            f"{word}{number}",
            f"{word}.{rng.choice(_WORDS)}+{rng.choice(_WORDS)}",
            f"{given}.{family}".upper(),
            f"{number}{rng.randrange(1000, 9999)}",
            f"{word}%{number}",
            f"{word}&{rng.choice(_WORDS)}",
            rng.choice(_MAILBOX_BEYOND),
            f"{given[0]}.{rng.choice(string.ascii_lowercase)}.{family}".lower(),
            f"_{word}_{number}_",
        )
    )


def _host(rng: random.Random) -> str:
    word, other = rng.choice(_WORDS), rng.choice(_WORDS)
    name = rng.choice(
        (word, f"{word}-{other}", f"mail.{word}", f"{word}{rng.randrange(2, 99)}", f"eu-west.{other}.{word}")
    )
    if rng.random() < 0.03:
        return rng.choice((f"{word}.xn--p1ai", f"{word}.рф", "bücher.de", f"xn--{word}-kva.com"))
    host = f"{name}.{rng.choice(_TLDS)}"
    return host.upper() if rng.random() < 0.05 else host


def _email(rng: random.Random) -> Drawn:
    mailbox, host = _mailbox(rng), _host(rng)
    plain, draw = f"{mailbox}@{host}", rng.random()
    form, written = "plain", plain
    if draw < 0.03:
        form, written = "zero-width", plain[:3] + rng.choice("\u200b\u2060\ufeff\u00ad") + plain[3:]
    elif draw < 0.05:
        form, written = "full-width @", f"{mailbox}＠{host}"
    elif draw < 0.12:
        at, dot = rng.choice(
            ((" (at) ", " (dot) "), ("[at]", "[dot]"), (" [at] ", "."), ("(at)", "."), (" {at} ", " {dot} "))
        )
        form, written = "brackets", mailbox.replace("%", "").replace("&", "") + at + host.replace(".", dot)
        mailbox = mailbox.replace("%", "").replace("&", "")
    elif draw < 0.15:
        mailbox = mailbox.replace("%", "").replace("&", "")
        form, written = "spoken", f"{mailbox.replace('.', ' dot ')} at {host.replace('.', ' dot ')}"
    elif draw < 0.17:
        form, written = "URL-encoded", f"{mailbox}%40{host}"
    elif draw < 0.19:
        form, written = "spaced", f"{mailbox}{rng.choice((' @', '@ ', ' @ '))}{host}"
    elif draw < 0.2:
        form, written = "quoted", f'"{mailbox.replace(".", " ")}"@{host}'.replace("%", "").replace("&", "")
    pieces = [part for part in _split(mailbox.lower()) if len(part) >= 5]
    return form, written, (mailbox.lower(), *pieces), None


def _split(mailbox: str) -> list[str]:
    for sign in "._-+%&'":
        mailbox = mailbox.replace(sign, " ")
    return mailbox.split()


# Telephone numbers


@cache
def _examples() -> dict[str, list[str]]:
    """For each region, national significant numbers that its plan gives as examples, by sort of line."""
    import phonenumbers

    sorts = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
    found: dict[str, list[str]] = {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        examples = [phonenumbers.example_number_for_type(region, sort) for sort in sorts]
        numbers = [phonenumbers.national_significant_number(each) for each in examples if each is not None]
        numbers = [number for number in numbers if len(number) >= 6]  # fewer say nothing without the island's name
        if numbers:
            found[region] = numbers
    return found


def _valid(rng: random.Random, region: str) -> "PhoneNumber":
    """A number that the region's plan allows, near one of its examples."""
    import phonenumbers

    code = phonenumbers.country_code_for_region(region)
    for _ in range(300):
        digits = list(rng.choice(_examples()[region]))
        for place in range(rng.choice((1, 2, 3)), len(digits)):
            digits[place] = rng.choice(string.digits)
        try:
            number = phonenumbers.parse(f"+{code}{''.join(digits)}", None)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number_for_region(number, region):
            return number
    return phonenumbers.parse(f"+{code}{_examples()[region][0]}", None)


_PHONE_CUED = (
    "Tel. {}", "Tel: {}", "Tel.: {}", "phone {}", "Phone: {}", "call me on {}", "Please call me at {} after 5",
    "my number: tel {}", "Telefon: {}", "Telefonnummer {}", "Rufnummer: {}", "mobile: {}", "Mobil {}", "Handy: {}",
    "Téléphone : {}", "Tél. {}", "Teléfono: {}", "móvil {}", "cellulare {}", "telefono: {}", "telefoon {}",
    "kom. tel. {}", "Fax {}", "WhatsApp: {}", '{"phone": "{}"}', '{"contact_phone":"{}","vip":false}',
    '{"phone_number": "{}"}', "phone={}&page=2", "M: {}\nW: acme.com", "Jane Roe | Sales | Tel {} | acme.com",
    "Contact phone:\n{}", "tel:{}", "You can reach me on my cell, {}.", "ring me on {}",
    "текст: телефон {}", "电话：{}",
    "📞 {}", "| Phone | {} |", "phone;{};x", "<td>Phone</td><td>{}</td>", "<phone>{}</phone>",
    "telepon {}", "טלפון: {}", "My phone number has not changed, it is {}",
    "the mobile number that you have on file is {}",
    "電話番号は{}です",
    "Tel. privat: {}", "Tel (home): {}", "Phone/Fax: {}", "Phone 2: {}", "call or text {}",
    "Telefonisch unter {}", "'phone': '{}',", "phoneNumber={}", "tel_no: {}", "Jane {n}, phone {}", "mob.: {}",
    "T: {} | E: x", "cell phone # {}", "text me at {} please", "Cell: {}", "Mobile No. {}", "phone no: {}", "call {}",
)  # fmt: skip
_PHONE_PLAIN = (
    "{}", "My number is {}.", "You can find me under {}, thanks", "Kind regards\nJane Roe\n{}\nacme.com", "({})",
    "I am at {} all day", "Jane Roe, 12 High Street, {}", "Meine Nummer ist {}, bitte melden.", "mon numéro est le {}",
    "mi número es {}", "nr {}", "il mio numero è {}", "<p>{}</p>", "| Jane | {} | Berlin |", "Jane;{};Berlin", "* {}",
    "1) {}", "Jane: {}", "{} or by mail", "{}\n{n} Springfield", "SMS to {} did not arrive", '{"value": "{}"}',
    '["{}"]', "number={}", "'{}'", "{}, {n}", "is it {}?",
)  # fmt: skip
_PHONE_FRAMES = (*_PHONE_CUED, *_PHONE_PLAIN)


def _phone(rng: random.Random) -> Drawn:
    import phonenumbers
    from phonenumbers import PhoneNumberFormat as Format

    regions = sorted(_examples())
    draw = rng.random()
    at_home = draw >= 0.5
    region = rng.choice(NATIONAL_REGIONS) if draw > 0.65 or 0.2 < draw < 0.35 else rng.choice(regions)
    number = _valid(rng, region)
    digits = phonenumbers.national_significant_number(number)
    if not at_home:
        sort = rng.choice((Format.E164, Format.INTERNATIONAL, Format.INTERNATIONAL, Format.RFC3966))
        written, form = phonenumbers.format_number(number, sort), f"abroad {region} {sort}"
        if sort == Format.INTERNATIONAL:
            written, more = _abroad(rng, number, written)
            form += more
        return form, _decorated(rng, written), _subscriber(digits), None
    written = phonenumbers.format_number(number, Format.NATIONAL)
    if draw > 0.85 and region in NATIONAL_REGIONS and not written.isdigit():
        return f"national, no word {region}", _decorated(rng, written), _subscriber(digits), _PHONE_PLAIN
    if rng.random() < 0.3:
        compact = "".join(char for char in written if char.isdigit())
        return f"one piece {region}", compact, _subscriber(digits), _PHONE_CUED
    separator = rng.choice((" ", "-", ".", "/", "\u00a0", "\u2011", " - "))
    if rng.random() < 0.3 and region in NATIONAL_REGIONS:
        written = written.replace(" ", separator, 1) if separator == "/" else written.replace(" ", separator)
    elif rng.random() < 0.04:
        separator, written = "each digit", " ".join(char for char in written if char.isdigit())
    return f"national {region} {separator!r}", _decorated(rng, written), _subscriber(digits), _PHONE_CUED


def _abroad(rng: random.Random, number: "PhoneNumber", written: str) -> tuple[str, str]:
    """An international form as it is also written: other separators, 00 and 011 for +, (0), brackets."""
    import phonenumbers

    code, _, rest = written.partition(" ")
    draw = rng.random()
    if draw < 0.15:
        return f"{code}{rng.choice((' ', ''))}(0){rest if rest[0] != '0' else rest[1:]}", " (0)"
    if draw < 0.3:
        return f"00{code[1:]} {rest}", " 00"
    if draw < 0.36:
        return phonenumbers.format_out_of_country_calling_number(number, "US"), " from US"
    if draw < 0.42:
        return f"({code}) {rest}", " (+)"
    if draw < 0.75:
        separator = rng.choice(("-", ".", "", "\u00a0", "\u2013", "/", " - ", "\u202f"))
        return written.replace(" ", separator), f" {separator!r}"
    if draw < 0.78:
        return f"{code}-{rest.replace('-', ' ')} ext. {rng.randrange(10, 9999)}", " ext"
    return written, ""


def _decorated(rng: random.Random, written: str) -> str:
    draw = rng.random()
    if draw < 0.02:
        return f"\u202a{written}\u202c"
    if draw < 0.03:
        return written.translate({ord(digit): 0xFF10 + int(digit) for digit in string.digits})
    return written


def _subscriber(digits: str) -> tuple[str, ...]:
    """Five digits in a row of the last seven."""
    tail = digits[-7:]
    return tuple(tail[i : i + 5] for i in range(max(1, len(tail) - 4)))


# Cards

_ISSUERS = (
    (("4",), 16), (("4",), 16), (("4",), 19), (("51", "52", "53", "54", "55"), 16),
    (("2221", "2345", "2500", "2699", "2720"), 16), (("34", "37"), 15), (("6011", "644", "649", "65"), 16),
    (("36", "38", "300", "305"), 14), (("3528", "3566", "3589"), 16), (("62",), 16), (("62",), 19),
    (("5018", "5020", "6304", "6759", "6761"), 16), (("5018", "6759"), 18), (("2200", "2204"), 16),
)  # fmt: skip
_LAYOUTS = {13: (4, 3, 3, 3), 14: (4, 6, 4), 15: (4, 6, 5), 16: (4, 4, 4, 4), 18: (4, 4, 4, 4, 2), 19: (4, 4, 4, 4, 3)}


def _luhn_digit(body: str) -> str:
    total = 0
    for place, char in enumerate(reversed(body)):
        value = int(char) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def _card(rng: random.Random) -> Drawn:
    prefixes, length = rng.choice(_ISSUERS)
    prefix = rng.choice(prefixes)
    body = prefix + "".join(rng.choice(string.digits) for _ in range(length - 1 - len(prefix)))
    digits = body + _luhn_digit(body)
    draw = rng.random()
    if draw < 0.35:
        form, written = "one piece", digits
    else:
        separator = rng.choice((" ", " ", "-", "\u00a0", ".", "  ", "\u2011", "\u2009", " - "))
        form, written = f"groups {separator!r}", separator.join(_grouped(digits, _LAYOUTS[length]))
    if 0.93 < draw <= 0.95:
        first, *rest = _grouped(digits, _LAYOUTS[length])
        form, written = "mixed separators", first + "".join(rng.choice(" -") + group for group in rest)
    if 0.95 < draw <= 0.97:
        form, written = "each digit", " ".join(digits)
    if draw > 0.97:
        form, written = "full-width", digits.translate({ord(digit): 0xFF10 + int(digit) for digit in string.digits})
    windows = tuple(digits[i : i + 5] for i in range(6, length - 4))
    bare = ('{"card_number": {}}', '{"pan":{},"cvv":123}', "[{}]") if written.isascii() and written.isdigit() else ()
    return f"{prefix} {form}", written, windows, (*_FRAMES["card"], *bare)


def _grouped(signs: str, sizes: tuple[int, ...]) -> Iterator[str]:
    place = 0
    for size in sizes:
        yield signs[place : place + size]
        place += size


# IBANs: what the registry of ISO 13616 says of the account number of each country (n digits, a letters, c either).

_STRUCTURES = _words("""
    AD8n12c AE19n AL8n16c AT16n AZ4a20c BA16n BE12n BG4a6n8c BH4a14c BI23n BR23n1a1c BY4c4n16c CH5n12c CR18n CY8n16c
    CZ20n DE18n DJ23n DK14n DO4c20n EE16n EG25n ES20n FI14n FK2a12n FO14n FR10n11c2n GB4a14n GE2a16n GI4a15c GL14n
    GR7n16c GT4c20c HR17n HU24n IE4a14n IL19n IQ4a15n IS22n IT1a10n12c JO4a4n18c KW4a22c KZ3n13c LB4n20c LC4a24c
    LI5n12c LT16n LU3n13c LV4a13c LY21n MC10n11c2n MD2c18c ME18n MK3n10c2n MN16n MR23n MT4a5n18c MU4a19n3a NI4a20n
    NL4a10n NO11n OM3n16c PK4a16c PL24n PS4a21c PT21n QA4a21c RO4a16c RS18n RU14n15c SA2n18c SC4a20n3a SD14n SE20n
    SI15n SK20n SM1a10n12c SO19n ST21n SV4a20n TL19n TN20n TR6n16c UA6n19c VA18n VG4a16n XK16n YE4a4n18c
""")


def _bban(rng: random.Random, structure: str) -> str:
    signs, count = [], ""
    for char in structure:
        if char.isdigit():
            count += char
            continue
        # Account numbers that may have letters mostly have none.
        mixed = rng.random() < 0.2
        choices = {"n": string.digits, "a": string.ascii_uppercase}.get(
            char, string.digits + string.ascii_uppercase if mixed else string.digits
        )
        signs += [rng.choice(choices) for _ in range(int(count))]
        count = ""
    return "".join(signs)


def _iban(rng: random.Random) -> Drawn:
    common = ("DE18n", "FR10n11c2n", "GB4a14n", "ES20n", "IT1a10n12c", "NL4a10n", "PL24n", "BE12n", "AT16n", "CH5n12c")
    entry = rng.choice(common) if rng.random() < 0.4 else rng.choice(_STRUCTURES)
    country, bban = entry[:2], _bban(rng, entry[2:])
    number = int("".join(str(int(char, 36)) for char in f"{bban}{country}00"))
    iban = f"{country}{98 - number % 97:02d}{bban}"
    draw = rng.random()
    form, written = "one piece", iban
    if draw > 0.4:
        separator = rng.choice((" ", " ", " ", "\u00a0", "-", "\u202f", "."))
        form, written = f"fours {separator!r}", separator.join(iban[i : i + 4] for i in range(0, len(iban), 4))
    if draw > 0.93:
        form, written = "other groups", f"{iban[:4]} {iban[4:12]} {iban[12:]}"
    if draw > 0.97:
        form, written = "country apart", f"{iban[:2]} {iban[2:]}"
    if 0.36 < draw < 0.46 and sum(map(str.isdigit, bban)) > len(bban) - 5 and not bban[4:6].isalpha():
        form, written = f"{form}, small letters", written.lower()
    windows = tuple(bban[i : i + 5].lower() for i in range(len(bban) - 4))
    return f"{country} {form}", written, windows, None


# IP addresses


def _ipv4(rng: random.Random) -> Drawn:
    draw = rng.random()
    if draw < 0.3:
        private = (
            f"10.{rng.randrange(256)}.{rng.randrange(256)}",
            f"192.168.{rng.randrange(256)}",
            f"172.{rng.randrange(16, 32)}.7",
        )
        address = f"{rng.choice(private)}.{rng.randrange(1, 255)}"
        while address.count(".") < 3:
            address += f".{rng.randrange(1, 255)}"
    else:
        address = str(IPv4Address(rng.randrange(1 << 24, 223 << 24)))
        while address.startswith(("127.", "0.")):
            address = str(IPv4Address(rng.randrange(1 << 24, 223 << 24)))
    form, written = "plain", address
    if draw > 0.96:
        form, written = "defanged", address.replace(".", "[.]", rng.choice((1, 3)))
    elif draw > 0.92:
        form, written = "range", f"{address}-{address.rsplit('.', 1)[0]}.{rng.randrange(1, 255)}"
    elif draw > 0.9:
        form, written = "zeros before", ".".join(f"{int(part):03d}" for part in address.split("."))
    last = address.split(".", 1)[1]
    return form, written, (address, last, written), None


def _ipv6(rng: random.Random) -> Drawn:
    draw = rng.random()
    groups = [rng.randrange(1, 1 << 16) for _ in range(8)]
    groups[0] = 0x2000 + rng.randrange(0x1000) if draw < 0.7 else 0xFD00 + rng.randrange(256) if draw < 0.85 else 0xFE80
    if groups[0] == 0xFE80:
        groups[1:4] = 0, 0, 0
    for _ in range(rng.choice((0, 0, 2, 3, 4))):
        groups[rng.randrange(2, 7)] = 0
    address = IPv6Address(int("".join(f"{group:04x}" for group in groups), 16))
    written = rng.choice((address.compressed, address.compressed, address.exploded, address.compressed.upper()))
    if rng.random() < 0.1:
        written = ":".join(f"{group:x}" for group in groups)
    if rng.random() < 0.05:
        mapped = str(IPv4Address(rng.randrange(1 << 24, 223 << 24)))
        return "mapped", f"::ffff:{mapped}", (mapped,), None
    tail = [f"{group:x}" for group in groups[-2:]]
    return "v6", written, (":".join(tail).lower(), ":".join(f"{group:04x}" for group in groups[-2:])), None


# Keys, tokens, passwords

_ALNUM = string.ascii_letters + string.digits
_URL64 = _ALNUM + "-_"
_HEX = "0123456789abcdef"


def _of(rng: random.Random, alphabet: str, length: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(length))


def _issued(rng: random.Random) -> tuple[str, str]:
    """A token in its issuer's form, and the part of it that is secret."""
    capitals = string.ascii_uppercase + string.digits
    forms: tuple[tuple[str, str, int], ...] = (
        ("AKIA", capitals, 16), ("ASIA", capitals, 16), ("ghp_", _ALNUM, 36), ("gho_", _ALNUM, 36),
        ("ghs_", _ALNUM, 36), ("github_pat_", _ALNUM + "_", 82), ("glpat-", _URL64, 20), ("sk-", _ALNUM, 48),
        ("sk-proj-", _URL64, 120), ("sk-ant-api03-", _URL64, 95), ("sk_live_", _ALNUM, 24), ("rk_test_", _ALNUM, 24),
        ("whsec_", _ALNUM, 32), ("AIza", _URL64, 35), ("ya29.", _URL64, 80), ("GOCSPX-", _URL64, 28),
        ("npm_", _ALNUM, 36), ("hf_", string.ascii_letters, 34), ("pypi-AgEIcHlwaS5vcmc", _URL64, 60),
        ("dop_v1_", _HEX, 64), ("shpat_", _HEX, 32), ("SK", _HEX, 32), ("key-", _HEX, 32), ("xapp-1-", capitals, 40),
        ("glsa_", _ALNUM, 32), ("hvs.", _ALNUM, 24), ("dapi", _HEX, 32), ("dckr_pat_", _URL64, 27),
    )  # fmt: skip
    draw = rng.randrange(len(forms) + 5)
    if draw < len(forms):
        prefix, alphabet, length = forms[draw]
        body = _of(rng, alphabet, length)
        return prefix + body, body
    if draw == len(forms):
        head, tail = _of(rng, string.digits, 12), _of(rng, _ALNUM, 24)
        return f"{rng.choice(('xoxb', 'xoxp', 'xoxa'))}-{head}-{_of(rng, string.digits, 12)}-{tail}", tail
    if draw == len(forms) + 1:
        first, second = _of(rng, _URL64, 22), _of(rng, _URL64, 43)
        return f"SG.{first}.{second}", second
    if draw == len(forms) + 2:
        body = _of(rng, _ALNUM, 24)
        return f"https://hooks.slack.com/services/T{_of(rng, capitals, 8)}/B{_of(rng, capitals, 10)}/{body}", body
    if draw == len(forms) + 3:
        body = _of(rng, _URL64, 33)
        return f"{_of(rng, '123456789', 10)}:AA{body}", body
    return _jwt(rng)


def _jwt(rng: random.Random) -> tuple[str, str]:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = part({"sub": _of(rng, string.digits, 10), "name": rng.choice(_GIVEN), "iat": rng.randrange(10**9)})
    signature = _of(rng, _URL64, 43)
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{claims}.{signature}", signature


def _chosen(rng: random.Random) -> str:
    """A password of somebody who was asked for a digit or a sign."""
    word, other = rng.choice(_WORDS), rng.choice(_WORDS)
    leet = word.replace("a", "4").replace("e", "3").replace("o", "0")
    return rng.choice(
        (
            f"{word.title()}{rng.randrange(1950, 2027)}!",
            f"{word}{rng.randrange(10, 999)}",
            f"{leet}{other.title()}{rng.randrange(9)}",
            f"{word.title()}#{other}{rng.randrange(99)}",
            f"{word}-{other}-{rng.randrange(10, 99)}",
            _of(rng, _ALNUM + "!#%+?@^", rng.randrange(8, 14)) + "7",
            f"{word.title()}${other.title()}",
            f"{rng.randrange(10**5, 10**8)}",
        )
    )


_TOKEN_FRAMES = (
    "token={}", "api_key={}", "api_key: {}", "API key: {}", "apiKey = '{}'", '{"api_key": "{}"}',
    '{"access_token":"{}","expires_in":3600}', "secret: {}", "client_secret={}&grant_type=client_credentials",
    "aws_secret_access_key = {}", "AWS_SECRET_ACCESS_KEY={}", 'export GITHUB_TOKEN="{}"', "Authorization: Bearer {}",
    "-H 'Authorization: Bearer {}'", "X-Api-Key: {}", "my token is {}", "der Token lautet {}", "access token: {}",
    "secret key: {}", "token: {}", "auth_token: {}", "the api key is {} and it fails",
    "https://api.acme.com/v1/items?api_key={}&page=2", "private_key: {}", "session_id={}; path=/", "CSRF token: {}",
    "clé API : {}", "Authorization: Token {}", "Authorization: {}", "//registry.acme.com/:_authToken={}",
    "Set-Cookie: sessionid={}; HttpOnly", "JSESSIONID={}", "auth token {}", "key for the api: {}", "| token | {} |",
    "<token>{}</token>", "'apiKey' => '{}'", "api_key = \"{}\" # prod", "apikey {}", "--token {}", "access key {}",
    "mi token es {}", "SECRET_KEY = '{}'", "bot token: `{}`", "Bearer {}", "api-key: {}", "access_token={}",
    "AccountKey={};",
)  # fmt: skip
_ISSUED_FRAMES = (
    "{}", "I get 401 with {}", "my key {} does not work", "key: {}", "({})", '"{}"', "`{}`", "used {}, got an error",
    "KEY={}", "<code>{}</code>", '{"value": "{}"}', "Le jeton {} est refusé", "mit {} geht es nicht", "{}\n{n}",
    "curl -u {}: https://acme.com",
)  # fmt: skip
_PASSWORD_FRAMES = (
    "password: {}", "Password: {}", "password={}", "my password is {}", "My password is {} and I cannot log in.",
    "pwd: {}", "Passwort: {}", "mein Passwort ist {}", "Kennwort: {}", "mot de passe : {}", "mon mot de passe est {}",
    "contraseña: {}", "mi contraseña es {}", "password: '{}'", '{"user": "jroe", "password": "{}"}', "passwd={}",
    "DB_PASSWORD={}", "wachtwoord: {}", "hasło: {}", "senha: {}", "пароль: {}", "密码：{}",
    "user jroe, password {n}x".replace("{n}x", ": {}"), "login jroe / password: {}", "Password:\n{}",
    "passphrase = {}", "I changed my password to {} yesterday", "my password {} does not work",
    "machine acme.com login jroe password {}", "pass: {}", "PW: {}", "user/pass: jroe / {}", "the new password is: {}",
    "Passwort lautet: {}", "| password | {} |", "<password>{}</password>", "mysql -u root --password={}",
    "Your temporary password: {}", "password -> {}", "pass={}", "The passcode is {}", "password = \"{}\"",
)  # fmt: skip


def _secret(rng: random.Random) -> Drawn:
    draw = rng.random()
    if draw < 0.4:
        written, body = _issued(rng)
        return f"issued {written[:6]}", written, _parts(body), _ISSUED_FRAMES if rng.random() < 0.6 else _TOKEN_FRAMES
    if draw < 0.65:
        alphabet, length = rng.choice(
            (
                (_HEX, 32),
                (_HEX, 40),
                (_HEX, 64),
                (_ALNUM, 20),
                (_ALNUM, 32),
                (_ALNUM + "+/", 40),
                (_URL64, 43),
                (_ALNUM, 16),
            )
        )
        body = _of(rng, alphabet, length)
        return f"announced {length} of {len(alphabet)}", body, _parts(body), _TOKEN_FRAMES
    if draw < 0.85:
        written = _chosen(rng)
        return "password", written, (written.rstrip("!?").lower(),), _PASSWORD_FRAMES
    if draw < 0.9:
        written, user = _of(rng, _ALNUM + "!$*-", rng.randrange(8, 20)), rng.choice(_WORDS)
        url = rng.choice(
            ("postgres://{u}:{p}@db.acme.com:5432/app", "https://{u}:{p}@git.acme.com/r.git", "amqp://{u}:{p}@10.0.0.7")
        )
        return "in a URL", url.replace("{u}", user).replace("{p}", written), (written.lower(),), _ISSUED_FRAMES
    if draw < 0.94:
        written = base64.b64encode(f"{rng.choice(_WORDS)}:{_of(rng, _ALNUM, 10)}".encode()).decode()
        return (
            "basic",
            written,
            _parts(written),
            ("Authorization: Basic {}", "-H 'Authorization: Basic {}'", "basic {}"),
        )
    return _key_block(rng)


def _key_block(rng: random.Random) -> Drawn:
    sort = rng.choice(("RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED "))
    body = _of(rng, _ALNUM + "+/", 64 * rng.randrange(2, 8))
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    written = f"-----BEGIN {sort}PRIVATE KEY-----\n{lines}\n-----END {sort}PRIVATE KEY-----"
    if rng.random() < 0.15:
        written = written.rsplit("\n", 1)[0]  # cut off
    middle = len(body) // 2
    return (
        f"block {sort}",
        written,
        (body[:8].lower(), body[middle : middle + 8].lower()),
        ("{}", "here is my key\n{}\nthanks"),
    )


def _parts(body: str) -> tuple[str, ...]:
    return tuple(body[i : i + 8].lower() for i in range(0, max(1, len(body) - 7), 4))


_FRAMES: dict[str, tuple[str, ...]] = {
    "email": (
        "{}", "My mail is {}.", "From: Jane Roe <{}>", "Reply-To: {}", "To: a@example.com, {}",
        "please write to {}, thanks", "({})", "E-Mail: {}", "mailto:{}", "Meine Adresse lautet {}!",
        "mon adresse est {} ;", '{"email": "{}"}', '{"to":["{}"],"n":1}', "https://acme.com/u?email={}&x=1",
        "<a href='mailto:{}'>mail</a>", "&lt;{}&gt;", "**{}**", "`{}`", "Jane,{},Berlin", "'{}'", "contact {} or me",
        "user {} cannot log in", "login:{}", "email={}", "Jane Roe\n{}\nacme.com", "{}: mailbox full", "an {}?",
        "ID 17|{}|active", "correo: {}", "[{}](mailto:{})", "{}\n", "cc {};bob@example.org",
        "Gesendet von {} am 2.3.2026",
    ),
    "phone": _PHONE_FRAMES,
    "card": (
        "{}", "my card {} was charged twice", "Card: {}", "card number: {}", "Visa {} exp 12/27 cvv 123",
        "Kreditkarte {}, gültig bis 05/28", "carte bancaire {} refusée", "tarjeta {}", "{}, 12/27, 123", "({})",
        "'{}'", '{"card": "{}"}', "PAN={}", "pan={}&exp=1227", "I paid 49.90 with {} on 02.03.2026", "cc: {}",
        "Charged {} USD 20.00", "{}\n12/27", "Karte Nr. {}", "card ending? {}", "no {}", "| {} | 12/27 |",
        "<td>{}</td>", "from card {}.", "Kartennummer: {}", "numer karty {}", "carta {} bloccata", "#1 {}", "{};Jane",
    ),
    "iban": (
        "{}", "IBAN: {}", "IBAN {}", "my IBAN is {}.", "Bitte auf {} überweisen", "Konto {} bei der Bank",
        "refund to {}, please", "({})", '{"iban": "{}"}', '["{}"]', "iban={}&bic=ABCDEFGH", "IBAN:{}", "<b>{}</b>",
        "compte {} BIC ABCDEFGHXXX", "Jane;{};EUR", "{}\nJane", "cuenta {}", "transfer 129.90 EUR to {} today", "'{}'",
        "conto {},", "account {} - Jane", "rek. {}", "nr konta: {}", "| {} |", "to: {}",
    ),
    "ipv4": (
        "{}", "IP: {}", "my ip is {}", "from {} port 22", "http://{}/admin", "https://{}:8443/x?y=1", "{}:8080",
        "{}/24", "server {} is down", "{} - - [02/Mar/2026:08:15:00 +0000] \"GET / HTTP/1.1\" 200 512",
        "X-Forwarded-For: {}, 10.0.0.1", '{"ip": "{}"}', '["{}"]', "ping {} fails", "ssh root@{}",
        "client_ip={} status=403", "[{}]", "({})", "login from {}.", "Anmeldung von {}, nicht ich", "host {}",
        "connexion depuis {} ;", "blocked {}!", "{} → gateway", "Received: from x ([{}]) by y",
        "2026-03-02 08:15:00 {} ERROR", "'{}'", "<{}>",
    ),
    "ipv6": (
        "{}", "IP: {}", "my ip is {}", "from {} port 22", "http://[{}]/admin", "https://[{}]:8443/x", "{}/64",
        "server {} is down", "[{}]", "{} - - [02/Mar/2026:08:15:00 +0000] \"GET / HTTP/1.1\" 200 512", '{"ip": "{}"}',
        '["{}"]', "ping {} fails", "{}%eth0", "({})", "client_ip={} status=403", "login from {}.",
        "Adresse {}, nicht ich", "host {};", "Received: from x (IPv6:{}) by y", "inet6 {} scope",
        "2026-03-02 08:15:00 {} ERROR", "'{}'", "<{}>", "AAAA {}", "depuis {} hier", "ip={}",
    ),
    "secret": (),
}  # fmt: skip
_DRAW: dict[str, Callable[[random.Random], Drawn]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "secret": _secret,
}
