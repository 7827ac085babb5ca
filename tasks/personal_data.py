"""Where in a text there is personal data: e-mail addresses, telephone numbers, cards, IBANs, IP addresses, secrets.

Cheap expressions find candidates, arithmetic decides: the Luhn sum of cards, the remainder by 97 and the country's
length of IBANs (ISO 13616), the parts of addresses. What is found first hides its place from the finders after it, so
their order, from the most to the least specific, settles what overlaps.

`PREFILTER` is necessary: a text that it does not match has nothing to find, as it stands or written as a JSON string.
It has no look-around and no back-references, so RE2 (DuckDB), the Rust crate (Polars) and Python read it alike. It is
kept coarse, since these engines are quick only as long as few of its parts can be under way at the same time: no
counting of what begins at every letter, and little that is remembered over words.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from tasks import credentials, folding, phones
from tasks.cards import cards
from tasks.folding import BEYOND, NOTHING

Kind = Literal["email", "phone", "card", "iban", "ipv4", "ipv6", "secret", "name"]


class Found(NamedTuple):
    """A piece of personal data: where it is, its kind, and how many of its first digits or signs may stay."""

    start: int
    end: int
    kind: Kind
    keep: int = 0


def find(text: str) -> list[Found]:
    """The personal data in a folded text, in order, none overlapping another."""
    lower = text.lower()
    if len(lower) != len(text):  # a few capitals have small letters of two characters
        lower = "".join(char.lower()[:1] for char in text)
    found: list[Found] = [Found(each.start, each.end, "secret", each.keep) for each in credentials.secrets(text, lower)]
    if found:
        text = _without(text, found)
    for new in (emails(text, lower), ibans(text), addresses(text)):
        if new:
            found += new
            text = _without(text, new)
    found += numbers(text)
    return sorted(found) if len(found) > 1 else found


def _without(text: str, found: list[Found]) -> str:
    """The text, equally long, with nothing left where something was found."""
    pieces: list[str] = []
    done = 0
    for each in sorted(found):
        pieces += (text[done : each.start], NOTHING * (each.end - each.start))
        done = each.end
    pieces.append(text[done:])
    return "".join(pieces)


# E-mail addresses: from each @ to both sides. The mailbox is sought in the 64 characters that RFC 5321 allows it.
_SIGN = re.compile(r"[@%](?:(?<=@)@*|(?<=%)40)")
_MAILBOX = re.compile(r"[\w.+%&'#!~$-]+\Z|\"[\w .+'-]*\w[\w .+'-]*\"\Z")
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,8}(?:xn--[\w-]{2,59}|[^\W\d_]{2,24})|\[(?:IPv6:)?[0-9A-Fa-f.:]{7,45}\]")
_MAILBOX_STARTS = "!#$%&'+.-~"
AT_IN_BRACKETS = r" ?[\[({<] ?(?:at|ät|arroba|@) ?[\])}>] ?"
DOT_IN_BRACKETS = r" ?[\[({<] ?(?:dot|punkt|point|punto|\.) ?[\])}>] ?"
SPOKEN_AT, SPOKEN_DOT = r" (?:at|arroba|chez) ", r" (?:dot|punkt) "
_SPOKEN_TOP = r"(?:[^\W\d_]{2}|com|net|org|info|biz|edu|gov|mail|app|dev|online|name|pro|shop|site|cloud|travel|museum)"
_MAILBOX_START = r"(?<![\w.+-])\w[\w.+'-]{0,63}"
_DISGUISED = re.compile(
    rf"{_MAILBOX_START}(?:{DOT_IN_BRACKETS}[\w+'-]{{1,64}}){{0,3}}{AT_IN_BRACKETS}"
    rf"[\w-]{{1,63}}(?:(?:\.|{DOT_IN_BRACKETS}|{SPOKEN_DOT})[\w-]{{2,63}}){{1,4}}",
    re.IGNORECASE,
)
_SPOKEN = re.compile(
    rf"{_MAILBOX_START}(?:{SPOKEN_DOT}[\w+'-]{{1,64}}){{0,3}}{SPOKEN_AT}"
    rf"[\w-]{{1,63}}(?:{SPOKEN_DOT}[\w-]{{2,63}}){{0,3}}{SPOKEN_DOT}{_SPOKEN_TOP}(?!\w)",
    re.IGNORECASE,
)
_has_bracketed_at = re.compile(r"[\[({<] ?(?:at|ät|arroba) ?[\])}>]").search


def emails(text: str, lower: str) -> list[Found]:
    """E-mail addresses, those too that are disguised as name (at) domain (dot) com."""
    found: list[Found] = []
    for sign in _SIGN.finditer(text) if "@" in text or "%40" in text else ():
        if each := _email(text, sign):
            if found and each.start < found[-1].end:  # a@b.dec@d.de
                each = Found(found.pop().start, each.end, "email")
            found.append(each)
    if any(bracket in lower for bracket in "[({<") and _has_bracketed_at(lower):
        found += [Found(*match.span(), "email") for match in _DISGUISED.finditer(_without(text, found))]
    if " dot " in lower or " punkt " in lower:
        found += [Found(*match.span(), "email") for match in _SPOKEN.finditer(_without(text, found))]
    return found


def _email(text: str, sign: re.Match[str]) -> Found | None:
    """The address around an @, which may have a space on either side."""
    start, end = sign.span()
    domain = _DOMAIN.match(text, end + (text[end : end + 1] == " "))
    if domain is None:
        return None
    apart = text[max(0, start - 1) : start] == " "
    mailbox = _MAILBOX.search(text, max(0, start - apart - 66), start - apart)
    name = mailbox[0].lstrip(_MAILBOX_STARTS) if mailbox else ""
    if mailbox is None or not name or (name == "git" and text[domain.end() : domain.end() + 1] in (":", "/")):
        return None
    if apart and not _is_mailbox(name, text[max(0, start - 90) : start]):
        return None  # rather "meet us @ name.tld", or "thanks @name.tld"
    return Found(mailbox.end() - len(name), domain.end(), "email")


def _is_mailbox(name: str, before: str) -> bool:
    """Whether a word with a space behind it is a mailbox: by its digits and dots, or because mail is spoken of."""
    return (name[-1].isalnum() or name[-1] == "_") and (not name.isalpha() or "mail" in before.lower())


# IBANs: two letters of a country in the register, two check digits, and as many characters as the country has.
_IBAN_LENGTHS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24
FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32
LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24
RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_LENGTHS.split()}
_CHECK_DIGITS = re.compile(r"[0-9](?:(?<=[A-Za-z][A-Za-z][0-9])|(?<=[A-Z][A-Z][ -][0-9]))[0-9]")
_ACCOUNT = re.compile(r"(?:[ .-]?[A-Za-z0-9]){11,31}")
_PLAIN = re.compile(r"[A-Za-z0-9]")
# What the prefilter looks for; small letters are otherwise too much like words.
_CAPITALS = r"[A-Z]{2}_I_?[0-9]{2}(?:_I_[A-Z0-9]{4}_I_|[A-Z0-9]{11})"
_DUTCH = r"[Nn][Ll][0-9]{2}[A-Za-z]{4}[0-9]{4}"
_has_sign = re.compile(f"{_CAPITALS.replace('_I_', '[ .-]')}|{_DUTCH}").search


def ibans(text: str) -> list[Found]:
    """International bank account numbers, in groups or in one piece, in capitals or not."""
    found: list[Found] = []
    for match in _CHECK_DIGITS.finditer(text):
        start = match.start() - (2 if text[match.start() - 1].isalpha() else 3)
        country = text[start : start + 2].upper()
        if country in IBAN_LENGTHS and (not found or start >= found[-1].end):
            account = _ACCOUNT.match(text, match.end())
            if account and (each := _iban(text, start, account.end(), IBAN_LENGTHS[country])):
                found.append(each)
    return found


def _iban(text: str, start: int, end: int, length: int) -> Found | None:
    before = text[max(0, start - 4) : start]
    signs = [match.end() for match in _PLAIN.finditer(text, start, end)]
    if len(signs) < length or (before[-1:].isalnum() and before.upper() != "IBAN"):
        return None
    end = signs[length - 1]
    written, behind = text[start:end], text[end : end + 1]
    plain = "".join(_PLAIN.findall(written))
    if behind.isdigit() or (behind.isalpha() and not plain[-1].isdigit()) or remainder_97(plain) != 1:
        return None
    return Found(start, end, "iban") if _has_sign(written) or phones.has_shape(written) else None


def remainder_97(iban: str) -> int:
    """The remainder by 97 of an IBAN without separators; 1 where the check digits are right (ISO 7064)."""
    return int((iban[4:] + iban[:4]).upper().translate(_LETTERS_AS_NUMBERS)) % 97


def check_digits(country: str, account: str) -> str:
    """The two digits that come between a country's letters and an account number."""
    return f"{98 - remainder_97(f'{country}00{account}'):02d}"


_LETTERS_AS_NUMBERS = str.maketrans({chr(ord("A") + place): str(10 + place) for place in range(26)})


# IP addresses. Four small numbers may be a version; what stands before them says so.
_NOBODYS = frozenset({"127.0.0.1", "0.0.0.0"})
_IPV4 = re.compile(r"[0-9][0-9]{0,2}(?:(?:\.|\[\.\]|\(\.\))[0-9]{1,3}){3}")
_VERSION_WORDS = """
v ver version versión versione release rev revision firmware build app driver sdk patch api section chapter
abschnitt kapitel clause § oid kernel chrome firefox android windows ios java update updates updated upgrade
upgraded downgrade downgraded migrate migrated migrating updating upgrading
"""
# What stands before a version, read backwards, which is quicker than looking for the end of it.
_BEFORE_VERSION = re.compile(
    r"[\s.:=\"'(]{0,4}v?(?:(?:morf|ot|nov|fua) )?(?:"
    + "|".join(re.escape(word[::-1]) for word in sorted(_VERSION_WORDS.split(), key=len, reverse=True))
    + r")(?![^\W\d_])|v|/[a-z](?!:)|-[^\W\d_]|-\)|=[=~<>]",
    re.IGNORECASE,
)
_ADDRESS_WORD = re.compile(
    r"\b(?:ip|host|addr|adress|server|from|ping|subnet|gateway|dns|router|netz|network)", re.IGNORECASE
)
_PORT = re.compile(r":[0-9]{2,5}\b")
_IPV6 = re.compile(r"(?<![0-9A-Za-z_])[0-9A-Za-z_]{0,40}:[0-9A-Za-z_:.]{0,60}[0-9A-Za-z:]")
_COLONS = re.compile(r":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")
_LABEL = re.compile(r"(?![0-9A-Fa-f]{1,4}:)[A-Za-z_]\w*:")


def addresses(text: str) -> list[Found]:
    """IP addresses of both versions, but for those that say nothing of anybody: loopback, unspecified, masks."""
    found: list[Found] = []
    if "::" in text or _COLONS.search(text):
        found.extend(_ipv6(text))
        text = _without(text, found)
    if text.count(".") >= 3:
        found.extend(Found(*match.span(), "ipv4") for match in _IPV4.finditer(text) if _is_ipv4(text, match))
    return found


def _ipv6(text: str) -> Iterator[Found]:
    for match in _IPV6.finditer(text):
        if match[0].count(":") < 2:
            continue
        label = _LABEL.match(match[0])
        start, end = match.start() + (label.end() if label else 0), match.end()
        if text[end - 1] == ":" and text[end - 2] != ":":
            end -= 1
        if _is_ipv6(text[start:end]) and text[max(0, start - 1) : start] != ".":
            yield Found(start, end, "ipv6")


def _is_ipv6(value: str) -> bool:
    """Whether it is an address of somebody: not ::1, and not what is rather two names of a program (a::b)."""
    if sum(map(str.isalnum, value)) < 5 or not any(map(str.isdigit, value)):
        return False
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _is_ipv4(text: str, match: re.Match[str]) -> bool:
    start, end = match.span()
    parts = [int(part) for part in re.findall("[0-9]+", match[0])]
    before, behind = text[max(0, start - 1) : start], text[end : end + 2]
    if max(parts) > 255 or match[0] in _NOBODYS or parts[:2] == [255, 255] or before.isalnum() or before in (".", "_"):
        return False
    if behind[:1].isalnum() or behind[:1] == "_" or (behind[:1] == "." and behind[1:].isdigit()):
        return False
    if behind[:1] == "-" and behind[1:].isalpha():
        return False  # 4.0.0.1-beta
    window = text[max(0, start - 24) : start]
    if _BEFORE_VERSION.match(window[::-1]) and not _PORT.match(text, end):
        return False
    return max(parts) > 20 or parts[0] == 10 or behind[:1] in (":", "/") or bool(_ADDRESS_WORD.search(window))


# Cards and telephone numbers: both are in stretches of digits and what separates digits.
_STRETCH = re.compile(r"[+(0-9][0-9 ().\-/]{5,}")
_SEPARATORS = str.maketrans("", "", " ().-/+")
_ALONE, _NO_MORE = r"(?<![0-9])(?<![0-9][ ./-])(?<![0-9] - )", r"(?![ ./-]{0,3}[0-9])"
_DAY, _MONTH, _YEAR = "(?:0?[1-9]|[12][0-9]|3[01])", "(?:0?[1-9]|1[0-2])", "(?:19|20)[0-9]{2}"
_DATE = (
    rf"(?:{_YEAR}(?:-{_MONTH}-{_DAY}|/{_MONTH}/{_DAY}|\.{_MONTH}\.{_DAY})"
    rf"|{_DAY}(?:-{_DAY}-|/{_DAY}/|\. ?{_DAY}\. ?){_YEAR}|20[0-9]{{2}}(?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01]))"
)
_SHORT_DATE = "(?:[0-2][0-9]|3[01])[./](?:0[1-9]|1[0-2])[./][0-9]{2}"
_HOUR = "(?:[01][0-9]|2[0-3])[.]?[0-5][0-9]"
_BREAK = re.compile(  # wide gaps, dates, spans of years or hours, and the end of a sentence end a number
    rf" {{3,}}|(?<![0-9])(?<![0-9][./-]){_DATE}(?: ?- ?{_DATE})?(?![0-9])"
    rf"|{_ALONE}(?:{_YEAR}(?: ?- ?|/){_YEAR}|{_HOUR} ?- ?{_HOUR}|{_SHORT_DATE}){_NO_MORE}|\. "
)
_HOURS = re.compile(r"[ -][0-9]{1,2}\Z")  # before :30
_ORDINAL = re.compile(r"[ (][0-9]{1,3}\Z")  # before rd, or h
_MARKER = re.compile(r"[0-9][).] +(?=[(0-9])")  # of a list


def numbers(text: str) -> list[Found]:
    """Cards and telephone numbers."""
    found: list[Found] = []
    after = -1
    for start, end in _stretches(text):
        if found and start < found[-1].end:
            continue  # the digits of an extension
        pieces = [(start, end)]
        for card in cards(text, start, end) if end - start > 13 or text[start] not in "+0(" else ():
            found.append(Found(card.start, card.end, "card", card.keep))
            pieces[-1:] = [*_trimmed(text, pieces[-1][0], card.start), (card.end, end)]
        if pieces[-1][0] != start:
            pieces[-1:] = _trimmed(text, *pieces[-1])
        more = [each for piece in pieces for each in phones.phones(text, *piece, after)]
        found += [Found(each.start, each.end, "phone", each.keep) for each in more]
        after = more[-1].end if more else -1
    return found


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """Stretches with 6 digits or more that begin and end with one, with + or (, ended by wide gaps and dates."""
    for match in _STRETCH.finditer(text):
        if len(match[0].translate(_SEPARATORS)) >= 6:
            start, end = match.span()
            for gap in _BREAK.finditer(text, start, end):
                yield from _trimmed(text, start, gap.start())
                start = gap.end()
            yield from _trimmed(text, start, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Without the signs at both ends that belong to the sentence, if 6 digits are left."""
    behind = text[end : end + 1]
    if behind.isalpha() and (ordinal := _ORDINAL.search(text, start, end)):
        end = ordinal.start()
    elif behind == ":" and (hours := _HOURS.search(text, start, end)) and text[end + 1 : end + 2].isdigit():
        end = hours.start()
    if (marker := _MARKER.match(text, start, end)) and not text[max(0, start - 1) : start].isalnum():
        start = marker.end()
    while start < end and text[start] in " .-/)":
        start += 1
    while start < end and text[end - 1] in " .-/(":
        end -= 1
    if end - start >= 6 and len(text[start:end].translate(_SEPARATORS)) >= 6:
        yield start, end


_AT_WORDS = f"at|[{BEYOND}]t|arroba"
_IPV4_SIGN = rf"[0-9]+(?:[\[(\\]*[.{BEYOND}][\])\\]*[0-9]+){{3}}"
_IPV6_SIGN = "[0-9A-Fa-f][:：][:：]|[:：][:：][0-9A-Fa-f]|(?:[:：][0-9A-Fa-f]+){4}[:：]"
PREFILTER = "|".join(
    (
        rf"[@﹫＠]|%40|[\[({{<（] ?(?i:{_AT_WORDS}) ?[\])}}>）]|[ {BEYOND}](?i:dot|punkt)[ {BEYOND}]",
        f"{_CAPITALS.replace('_I_', f'[ .{BEYOND}-]')}|{_DUTCH}|{_IPV4_SIGN}|{_IPV6_SIGN}",
        phones.SIGNS,
        credentials.SIGNS,
        folding.FOLDED_SIGNS,
    )
)
