"""Payment cards in running text: digits that an issuer's range begins, of a length it has, whose Luhn sum is right."""

import re
from typing import NamedTuple

from tasks.phones import context


class Card(NamedTuple):
    """Where a card is, and how many of its first digits name the brand."""

    start: int
    end: int
    keep: int


# First digits, the lengths that go with them (the usual one first), and how many digits name the brand.
_BRANDS = tuple(
    (re.compile(prefix), lengths, keep)
    for prefix, lengths, keep in (
        (r"4", (16, 19, 13), 1),  # Visa
        (r"5[1-5]", (16,), 2),  # Mastercard, and its newer range
        (r"222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,), 4),
        (r"3[47]", (15,), 2),  # American Express
        (r"6011|64[4-9]|65|60|81|82|508", (16, 19), 4),  # Discover, RuPay
        (r"35(?:2[89]|[3-8])", (16, 19), 4),  # JCB
        (r"1800|2131", (15,), 4),
        (r"3(?:0[0-5]|095|[689])", (14, 16, 19), 2),  # Diners Club
        (r"62", (16, 17, 18, 19), 2),  # UnionPay
        (
            r"50(?:18|20|38)|5612|5893|63(?:04|90)|67(?:0[69]|59|6[1-3]|71)",
            (16, 19, 18, 17, 13, 14, 15, 12),
            4,
        ),  # Maestro
        (r"50|5[6-9]|6[0-9]", (16, 19), 4),
        (r"220[0-4]", (16, 19, 17, 18), 4),  # Mir
        (r"9792", (16,), 4),  # Troy
    )
)
_FEWEST, _MOST = 12, 19  # digits
_GROUP = re.compile(r"[0-9]+")
_OTHER_NUMBERS = (
    *("track", "parcel", "shipment", "sendung", "paket", "colis", "waybill", "consignment", "imei", "serial", "isbn"),
    *("gtin", "barcode"),
)
_GLUED = re.compile(r"(?:card|visa|karte|amex|carte|cc|no|nr)\Z", re.IGNORECASE)
_FOUR_BEFORE = re.compile(r"(?:(?<![0-9])[0-9]{4}|[A-Z]{2}[0-9]{2})[ .-]\Z")
_DOUBLED = str.maketrans("0123456789", "0246813579")  # twice a digit, the digits of the result added


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    return sum(map(int, digits[-1::-2] + digits[-2::-2].translate(_DOUBLED))) % 10 == 0


def check_digit(body: str) -> str:
    """The digit that makes the Luhn sum of what it is put behind right."""
    return str(-sum(map(int, body[-2::-2] + body[-1::-2].translate(_DOUBLED))) % 10)


def cards(text: str, start: int, end: int) -> list[Card]:
    """The cards in a stretch of digits and separators."""
    groups = list(_GROUP.finditer(text, start, end))
    found: list[Card] = []
    place = 0
    while place < len(groups):
        last, keep = _card(text, groups, place) if groups[place][0][0] in "12345689" else (place, 0)
        if keep:
            found.append(Card(groups[place].start(), groups[last].end(), keep))
        place = last + 1
    return found


def _card(text: str, groups: list[re.Match[str]], first: int) -> tuple[int, int]:
    """The last group of the card that begins with a group, and how many digits name its brand (0: there is no card)."""
    ends = _ends(text, groups, first)
    if not ends:
        return first, 0
    digits = "".join(group[0] for group in groups[first : max(ends.values()) + 1])
    for prefix, lengths, keep in _BRANDS:
        if prefix.match(digits):
            for length in lengths:
                if length in ends and luhn(digits[:length]) and _is_written_so(text, groups[first : ends[length] + 1]):
                    return ends[length], keep
    return first, 0


def _ends(text: str, groups: list[re.Match[str]], first: int) -> dict[int, int]:
    """For each number of digits that a card may have, the group it ends with, if the same sign parts all groups."""
    ends: dict[int, int] = {}
    count, between = 0, None
    for place in range(first, len(groups)):
        if place > first:
            gap = text[groups[place - 1].end() : groups[place].start()]
            between = between or gap
            if (
                gap.strip(" ") not in ("", "-", ".", "/")
                or len(gap) > 3
                or (gap != between and {gap, between} != {" ", "-"})
            ):
                break
        count += groups[place].end() - groups[place].start()
        if count > _MOST:
            break
        if count >= _FEWEST:
            ends[count] = place
    return ends


def _is_written_so(text: str, groups: list[re.Match[str]]) -> bool:
    """Whether digits with a right sum are grouped as on a card, and nothing around them says otherwise."""
    start, end = groups[0].start(), groups[-1].end()
    sizes = [group.end() - group.start() for group in groups]
    if len(sizes) == 1 and sizes[0] < 14 and context(text, start).about == "other":
        return False  # so short are the numbers of articles and parcels too
    if (
        len(sizes) > 1
        and set(sizes) != {1}
        and (
            min(sizes[:-1]) < 3
            or (sizes[0] == 3 and len(set(sizes)) > 1)
            or _FOUR_BEFORE.search(text, max(0, start - 8), start)
        )
    ):
        return False  # odd groups, or the middle of something longer
    before, further, behind = (
        text[max(0, start - 1) : start],
        text[max(0, start - 2) : max(0, start - 1)],
        text[end : end + 1],
    )
    if behind.isalpha() or behind == "_" or before in ("_", ".") or (before == "-" and further.isalnum()):
        return False
    if before.isalpha() and not _GLUED.search(text, max(0, start - 5), start):
        return False
    words = text[max(0, start - 30) : start].lower()
    return not any(word in words and not _ends_before(words, word) for word in _OTHER_NUMBERS)


def _ends_before(words: str, word: str) -> bool:
    """Whether what a word speaks of has ended: after a number, a sentence, or some other words."""
    gap = words[words.rindex(word) + len(word) :]
    return len(gap) > 16 or any(char in ".;\n!?" or char.isdigit() for char in gap)
