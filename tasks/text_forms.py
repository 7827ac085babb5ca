"""Forms of texts by which answers are compared: normalised text, numbers, and words in their order. Pure functions."""

import math
import re
import unicodedata
from collections.abc import Sequence
from decimal import Context, Decimal

_SPACES = re.compile(r"\s+")
_WORDS = re.compile(r"\w+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def normalised(text: str, ignore_punctuation: bool) -> str:
    """A text without what case, white space and Unicode's compatible forms make different.

    Compatibility caseless matching (The Unicode Standard, section 3.13, D146). Of punctuation, what a digit follows
    stays: 3.5 is not 35, and -5 not 5.
    """
    form = _caseless(text)
    if ignore_punctuation:
        form = _caseless("".join(char for place, char in enumerate(form) if not _is_idle(form, place)))
    return _SPACES.sub(" ", form).strip()


def _caseless(text: str) -> str:
    form = unicodedata.normalize("NFD", text)
    for _ in range(2):
        form = unicodedata.normalize("NFKC", form.casefold())
    return form


def _is_idle(text: str, place: int) -> bool:
    """Whether a character is punctuation that says nothing about a number."""
    if not unicodedata.category(text[place]).startswith("P"):
        return False
    return not (text[place] in ".,:-" and text[place + 1 : place + 2].isdigit())


def read_number(text: str) -> Decimal | None:
    """The number that a text is, as it is written; None where it is none, or none that a float could hold."""
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped) or not math.isfinite(float(stripped)):
        return None
    # A float is 0 where the exponent is beyond its reach; so is the number then, for a decimal's would have no bound.
    return Decimal(stripped) if float(stripped) else Decimal(0)


def canonical_number(number: Decimal) -> str:
    """The one spelling of a number, whatever zeros, sign of zero or exponent it was written with."""
    digits = len(number.as_tuple().digits)
    return str(number.normalize(Context(prec=max(1, digits)))) if number else "0"


def is_near(found: Decimal, expected: Decimal, absolute: float, relative: float) -> bool:
    """Whether a number is within the greater of both tolerances; exact where a float's difference would not be."""
    allowed = max(Decimal(str(absolute)), Decimal(str(relative)) * abs(expected))
    return abs(found - expected) <= allowed


def words(text: str) -> list[str]:
    """The words of a text, whatever their case; of any script, where ROUGE's own tokens are those of English."""
    return _WORDS.findall(text.casefold())


def rouge_l(output: Sequence[str], expected: Sequence[str]) -> float:
    """ROUGE-L of two lists of words, 0 to 1: the F-measure of their longest common subsequence, with beta 1.

    Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", section 3. 0 where one of them is empty.
    """
    common = _common_subsequence(output, expected)
    return 2 * common / (len(output) + len(expected)) if common else 0.0


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at once as the bits of a number.

    Hyyrö (2004), "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(left)) - 1
    row = full
    for word in right:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & full
    return len(left) - row.bit_count()
