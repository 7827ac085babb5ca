"""Look-alikes of personal data: of the same kind and shape, and another value.

Every surrogate is drawn from HMAC-SHA256(key, kind and normalised value) (RFC 2104), so one value has one surrogate
wherever and however it is written, and nobody without the key can compute which. Cards keep their brand and pass the
Luhn sum, IBANs keep country, length and layout and pass mod 97, telephone numbers keep their country prefix and shape,
addresses of private networks stay private, and e-mail addresses lie in domains that RFC 2606 reserves. Numbers are not
from reserved ranges, which are too small: by chance, one may be somebody's.
"""

import hashlib
import hmac
import re
from collections.abc import Callable

from tasks.cards import check_digit
from tasks.personal_data import AT_IN_BRACKETS, DOT_IN_BRACKETS, SPOKEN_AT, SPOKEN_DOT, Found, Kind, check_digits

DOMAINS = ("example.com", "example.org", "example.net")
_FIRST_NAMES = """
alex amira anders anna antoni beatriz ben bruno camille carla chloe clara daniel david diego elena elias emil emma
eva fatima felix finn freya greta hanna hugo ida ines irina ivan jana jonas julia kai karim kofi lara lea lena leo
lina lou luca lucia maja marco maria marta mateo maya mia mila nadia nils nina noah nora olga oliver omar pablo
paula petra priya rita rosa sam sara sofia tara theo tim tomas uwe vera wanda yara yusuf zoe
"""
_LAST_NAMES = """
abbott adler aydin bakker baran bauer becker berg bianchi blanc braun brooks bruun carter castro chen clark conti
costa cruz dahl diaz dubois dvorak ellis evans fabre ferri fischer fonseca garcia gatti gomez greco gruber hansen
haas horvat hughes ibsen ito jansen jensen kaya keller khan klein kovac kruger lambert lange larsen leroy lima lopez
lund marin martin mendes meyer moreau morris nagy neves nolan novak nunes okafor olsen ortega patel perez petit
popov ramos reed riva romero rossi roux sato schmidt silva singh sousa stein svensson tanaka torres turner vega
vogel wagner weber wolf young zeman
"""
FIRST_NAMES, LAST_NAMES = tuple(_FIRST_NAMES.split()), tuple(_LAST_NAMES.split())
_MAILBOXES = ("{first}.{last}", "{first}.{last}{n}", "{first}_{last}", "{f}{last}", "{first}{n}", "{f}.{last}{n}")

# What a byte becomes, by the sort of sign whose place it takes.
_DIGITS = bytes(ord("0") + byte % 10 for byte in range(256))
_HIGH_DIGITS = bytes(ord("2") + byte % 8 for byte in range(256))
_HEX = bytes(b"0123456789abcdef"[byte % 16] for byte in range(256))
_SORTS = {
    char: sort for sort in ("0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ") for char in sort
}
_IS_HEX = re.compile(r"(?=.*[a-f])[0-9a-f]+|(?=.*[A-F])[0-9A-F]+")
_SEPARATORS = str.maketrans("", "", " ().-/+,")
_EXTENSION = re.compile(r"[A-Za-zа-я#;]")


class Surrogates:
    """What stands for what, under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, found: Found, value: str) -> str:
        """The surrogate of a value that was found, never the value itself."""
        make, normal = _MAKERS[found.kind], _normal(found, value)
        message = f"{found.kind}\0{normal}"
        for attempt in range(100):
            drawn = self._bytes(f"{message}\0{attempt}" if attempt else message, len(value))
            made = make(drawn, value, found.keep)
            if made != value:
                break
        return made

    def _bytes(self, message: str, count: int) -> bytes:
        """`count` bytes or more that only the key and the message determine."""
        drawn = hmac.digest(self._key, message.encode("utf-8", "surrogatepass"), "sha256")
        return drawn if count <= len(drawn) else hashlib.shake_256(drawn).digest(count)


def _normal(found: Found, value: str) -> str:
    """The value as it is hashed: without what its writers may write differently."""
    match found.kind:
        case "card":
            return value.translate(_SEPARATORS)
        case "phone":  # the national number; `keep` counts its first digit and all that stand before it
            return _parts(value)[0].translate(_SEPARATORS)[found.keep - 1 :]
        case "iban":
            return value.translate(_SEPARATORS).upper()
        case "email":
            plain = value.lower().replace("%40", "@")
            return plain.replace(" ", "") if "@" in plain else _DOT.sub(".", _AT.sub("@", plain))
        case "ipv4":
            return ".".join(str(int(part)) for part in _NUMBER.findall(value))
        case "ipv6":
            return ":".join(f"{group:0>4}" for group in _groups(value.lower()))
        case "name":
            return " ".join(value.lower().split())
    return value


def _card(drawn: bytes, value: str, keep: int) -> str:
    """The brand's digits, drawn ones, and the one digit that makes the sum right."""
    digits = value.translate(_SEPARATORS)
    body = digits[:keep] + drawn[keep : len(digits) - 1].translate(_DIGITS).decode()
    return _laid_out(body + check_digit(body), value)


def _iban(drawn: bytes, value: str, keep: int) -> str:
    """The country, check digits, and each other sign replaced by one of its sort."""
    plain = value.translate(_SEPARATORS)
    body = _like(plain[4:], drawn)
    return _laid_out(plain[:2] + check_digits(plain[:2], body) + body, value)


def _phone(drawn: bytes, value: str, keep: int) -> str:
    """Digits are drawn from the last to the first, so that a number with and one without its country code end alike."""
    number, extension = _parts(value)
    digits = number.translate(_SEPARATORS)
    count = len(digits) - min(keep, len(digits) - 4)
    made = bytearray(drawn[:count].translate(_DIGITS))
    for place in (6, 9):  # where an exchange or an area begins, hardly anywhere with 0 or 1
        made[place : place + 1] = drawn[place : min(place + 1, count)].translate(_HIGH_DIGITS)
    made.reverse()
    return _laid_out(digits[: len(digits) - count] + made.decode(), number) + _like(
        extension, drawn[count:], digits_only=True
    )


def _parts(phone: str) -> tuple[str, str]:
    """The number and its extension, which begins with a word or a sign."""
    match = _EXTENSION.search(phone)
    return (phone[: match.start()], phone[match.start() :]) if match else (phone, "")


def _laid_out(signs: str, like: str) -> str:
    """Letters and digits written with the separators of another text."""
    if len(signs) == len(like):
        return signs
    following = iter(signs)
    return "".join([next(following) if char in _SORTS else char for char in like])


def _like(text: str, drawn: bytes, digits_only: bool = False) -> str:
    """Each letter and digit replaced by one of its sort, a letter beyond ASCII by a small one, other signs kept."""
    if digits_only:
        return "".join(chr(_DIGITS[byte]) if char.isdigit() else char for char, byte in zip(text, drawn, strict=False))
    made = []
    for char, byte in zip(text, drawn, strict=False):
        sort = _SORTS.get(char) or (_SORTS["a"] if char.isalnum() else char)
        made.append(sort[byte % len(sort)])
    return "".join(made)


def _email(drawn: bytes, value: str, keep: int) -> str:
    first, last = FIRST_NAMES[_below(drawn, 0, len(FIRST_NAMES))], LAST_NAMES[_below(drawn, 2, len(LAST_NAMES))]
    mailbox = _MAILBOXES[drawn[4] % len(_MAILBOXES)].format(
        first=first, last=last, f=first[0], n=_below(drawn, 5, 90) + 10
    )
    domain = DOMAINS[drawn[7] % len(DOMAINS)]
    if "@" in value or "%40" in value:
        return f"{mailbox}{'@' if '@' in value else '%40'}{domain}"
    at, dots = _AT.search(value), _DOT.findall(value)
    return f"{mailbox}{at[0] if at else '@'}{domain.replace('.', dots[-1] if dots else '.')}"


def _below(drawn: bytes, place: int, most: int) -> int:
    return int.from_bytes(drawn[place : place + 2]) % most


_AT = re.compile(f"{AT_IN_BRACKETS}|{SPOKEN_AT}", re.IGNORECASE)
_DOT = re.compile(rf"{DOT_IN_BRACKETS}|{SPOKEN_DOT}|\.", re.IGNORECASE)


_NUMBER = re.compile(r"[0-9]+")
# Networks in which no address is special, by their first byte: private, shared, test and multicast ones are left out.
_PUBLIC = tuple(n for n in range(1, 224) if n not in (10, 100, 127, 169, 172, 192, 198, 203))


def _ipv4(drawn: bytes, value: str, keep: int) -> str:
    """An address of the same private network, or a public one for a public one; dots stay as they were written."""
    a, b, *_ = (int(part) for part in _NUMBER.findall(value))
    host = (drawn[1], drawn[2], 1 + drawn[3] % 254)
    if a in (10, 127):
        made = (a, *host)
    elif (a, b) in ((192, 168), (169, 254)):
        made = (a, b, host[1], host[2])
    elif a == 172 and 16 <= b < 32:
        made = (172, 16 + host[0] % 16, host[1], host[2])
    elif a == 100 and 64 <= b < 128:
        made = (100, 64 + host[0] % 64, host[1], host[2])
    else:
        made = (_PUBLIC[drawn[0] % len(_PUBLIC)], *host)
    parts = iter(made)
    return _NUMBER.sub(lambda _: str(next(parts)), value)


def _ipv6(drawn: bytes, value: str, keep: int) -> str:
    """The first group stays, which says what sort of address it is; others become as many hexadecimal digits."""
    head, _, tail = value.rpartition(":")
    if "." in tail:  # the last 32 bits written as an IPv4 address
        return f"{head}:{_ipv4(drawn, tail, 0)}"
    front, gap, back = value.partition("::")
    left, right = front.split(":") if front else [], back.split(":") if back else []
    made_left = [left[0], *(_hextet(drawn, place, left[place]) for place in range(1, len(left)))] if left else []
    made_right = [_hextet(drawn, 8 - len(right) + place, group) for place, group in enumerate(right)]
    return ":".join(made_left) + gap + ":".join(made_right)


def _groups(value: str) -> list[str]:
    """The eight groups of an address; of one that ends as an IPv4 address, fewer."""
    front, gap, back = value.partition("::")
    left, right = front.split(":") if front else [], back.split(":") if back else []
    return [*left, *["0"] * (8 - len(left) - len(right) if gap else 0), *right]


def _hextet(drawn: bytes, place: int, group: str) -> str:
    """As many digits as the group has, those that are 0 in front kept."""
    digits = group.lstrip("0")
    if not digits:
        return group
    made = drawn[4 * (place % 8) : 4 * (place % 8) + 4].translate(_HEX).decode()[-len(digits) :]
    made = made if made[0] != "0" else f"1{made[1:]}"
    return group[: len(group) - len(digits)] + (made.upper() if group != group.lower() else made)


def _secret(drawn: bytes, value: str, keep: int) -> str:
    """Each sign replaced by one of its sort, so that hexadecimal stays so and base64 too."""
    body = value[keep:]
    if _IS_HEX.fullmatch(body):
        made = drawn[: len(body)].translate(_HEX).decode()
        return value[:keep] + (made if body == body.lower() else made.upper())
    made = _like(body, drawn)
    if made[:1] == "0" and body[:1] != "0":
        made = f"1{made[1:]}"  # what was a number in JSON has to stay one
    return value[:keep] + made


def _name(drawn: bytes, value: str, keep: int) -> str:
    """As many words as the name has, capitals where it had them."""
    words = value.split()
    made = []
    for place, word in enumerate(words):
        names = LAST_NAMES if place else FIRST_NAMES
        name = names[_below(drawn, 2 * place % 30, len(names))]
        made.append(
            name.upper() if len(word) > 1 and word.isupper() else name.capitalize() if word[:1].isupper() else name
        )
    return " ".join(made)


_MAKERS: dict[Kind, Callable[[bytes, str, int], str]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "secret": _secret,
    "name": _name,
}
