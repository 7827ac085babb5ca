"""One way of writing for what can be written in many: full-width digits, odd spaces and hyphens, escapes of JSON.

Personal data is looked for in the folded text and replaced in the original, so a fold knows where each of its
characters came from. The prefilter of personal data reads texts that are not folded, some of them inside of JSON, and
has to be short to be quick: it takes any character beyond ASCII for whatever it may stand for.
"""

import re
from typing import NamedTuple

BEYOND = "\u0080-\U0010ffff"  # the inside of a class: all that is not ASCII

_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010-\u2015\u2212\ufe58\ufe63\uff0d"
_DOTS = "\u2024\u3002\uff0e\uff61"
_SLASHES = "\u2044\u2215\uff0f"
_OPENING, _CLOSING = "\uff08", "\uff09"
_PLUS, _AT, _COLON, _EQUALS = "\uff0b", "\ufe6b\uff20", "\uff1a", "\uff1d"

_DIGIT_ZEROS = (0x0660, 0x06F0, 0x0966, 0x09E6, 0xFF10)
_OTHER_DIGIT = "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in _DIGIT_ZEROS)
_INVISIBLE = "\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
# These two join emoji and letters of several scripts; between signs of ASCII they only hide something.
_JOINERS = "\u200c\u200d"

NOTHING = "\x1a"  # stands for what is no part of anything

# A text that a fold changes has one of these signs, or characters beyond ASCII in place of some of ASCII.
FOLDED_SIGNS = rf"[{_OTHER_DIGIT}]{{3}}|[{_INVISIBLE}]|[{_JOINERS}][!-~]|\\u[0-9a-fA-F]{{4}}"


def _members(inside: str) -> str:
    """The characters of the inside of a class: `a-c` is abc."""
    found = []
    for match in re.finditer(r"(.)-(.)|.", inside, re.DOTALL):
        first, last = match[1] or match[0], match[2] or match[0]
        found += [chr(code) for code in range(ord(first), ord(last) + 1)]
    return "".join(found)


_PLAIN = {" ": _SPACES, "-": _HYPHENS, ".": _DOTS, "/": _SLASHES, "(": _OPENING, ")": _CLOSING}
_PLAIN |= {"+": _PLUS, "@": _AT, ":": _COLON, "=": _EQUALS}
_SIGNS = {ord(char): plain for plain, inside in _PLAIN.items() for char in _members(inside)}
_DIGITS = {zero + value: str(value) for zero in _DIGIT_ZEROS for value in range(10)}

_HAS_ANY = re.compile(rf"[\\{''.join(_PLAIN.values())}{_OTHER_DIGIT}{_INVISIBLE}{_JOINERS}]")
_HAS_SIGN = re.compile("[" + "".join(_PLAIN.values()) + "]")
_HAS_DIGITS = re.compile(f"[{_OTHER_DIGIT}]{{3}}")
_LONG = re.compile(
    r"\\{1,16}(?:u([dD][89abAB][0-9a-fA-F]{2})\\{1,16}u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([\"/])|[bfnrt])"
    rf"|[{_INVISIBLE}]|[{_JOINERS}](?=[!-~])"
)


class Folded(NamedTuple):
    """A folded text, and where each of its characters starts in the original (None: each in its own place)."""

    text: str
    starts: list[int] | None = None

    def place(self, index: int) -> int:
        """Where in the original the character at `index` starts; the length stands for the end."""
        return self.starts[index] if self.starts else index


def fold(text: str) -> Folded:
    """The text with unusual digits, spaces, hyphens and JSON escapes in their plain form, invisible signs left out."""
    if ("\\" not in text) if text.isascii() else not _HAS_ANY.search(text):
        return Folded(text)
    if not text.isascii():
        if _HAS_SIGN.search(text):
            text = text.translate(_SIGNS)
        if _HAS_DIGITS.search(text):
            text = text.translate(_DIGITS)
    return _shorten(text) if _LONG.search(text) else Folded(text)


def _shorten(text: str) -> Folded:
    """Escapes become what they mean, and invisible signs nothing; `\\n` and its like become a line's end."""
    pieces: list[str] = []
    starts: list[int] = []
    done = 0
    for match in _LONG.finditer(text):
        meaning = _meaning(match)
        pieces += [text[done : match.start()], meaning]
        starts += range(done, match.start())
        starts += [match.start()] * len(meaning)
        done = match.end()
    pieces.append(text[done:])
    starts += range(done, len(text) + 1)
    return Folded("".join(pieces), starts)


def _meaning(match: re.Match[str]) -> str:
    if match[1]:
        return chr(0x10000 + (int(match[1], 16) - 0xD800 << 10) + int(match[2], 16) - 0xDC00)
    if match[3]:
        return _decoded(int(match[3], 16))
    if match[4]:
        return match[4]
    return "\n" if match[0].startswith("\\") else ""


def _decoded(code: int) -> str:
    """What `\\uXXXX` means. Letters and digits of ASCII are never written so; the prefilter counts on that."""
    char = chr(code)
    if 0xD800 <= code <= 0xDFFF or (code < 128 and char.isalnum()):
        return NOTHING
    if char in _JOINERS or _LONG.fullmatch(char):
        return ""
    return _DIGITS.get(code) or _SIGNS.get(code) or char
