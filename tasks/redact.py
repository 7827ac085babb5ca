"""Personal data out of a text before it is stored: replaced by look-alikes of the same kind, or by placeholders.

A surrogate is determined by a secret key and the value, so a person has one address and one number in all records of a
workload, in what came in as in its correction, and a model is trained and judged on what looks like what it is served.
Texts that `PREFILTER` does not match, as they stand or as strings in JSON, need no redaction of numbers and addresses;
a database can sort them out.

Found are e-mail addresses, telephone numbers, cards, IBANs, IP addresses, keys, tokens and passwords. Not found are
telephone numbers of fewer than six digits and those in one piece without a word before them that says what they are;
cards and IBANs with a typing error, whose sums are wrong; passwords of letters alone; and names, unless:

Names are found by a recogniser of yours, a function from a text to the (start, end) of each person's name in it, which
the config names as `redaction: {names: "yourmodule:find_names"}`. With Presidio it is

    from presidio_analyzer import AnalyzerEngine
    engine = AnalyzerEngine()  # loads its spaCy model, which has to be installed

    def find_names(text: str) -> list[tuple[int, int]]:
        found = engine.analyze(text, language="en", entities=["PERSON"])
        return [(each.start, each.end) for each in found]

and, without a language model, with rules of your own: `PatternRecognizer("PERSON", deny_list=[...])` or `patterns=`,
asked by `.analyze(text, ["PERSON"])`. Presidio's recognisers of e-mail addresses and URLs use tldextract, which asks
the network for its list of domains; they are not needed here, so leave them out.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, cast, get_args

from tasks.errors import ConfigError
from tasks.folding import Folded, fold
from tasks.personal_data import PREFILTER, Found, find
from tasks.surrogates import Surrogates

__all__ = ["PREFILTER", "FindNames", "Redactor"]

FindNames = Callable[[str], Sequence[tuple[int, int]]]
Style = Literal["surrogate", "placeholder", "off"]

Replaced = tuple[int, int, str, str]  # from, to, kind, what takes its place

_PLACEHOLDERS = {"ipv4": "IP", "ipv6": "IP"}
_IN_SHAPE = frozenset({"phone", "card", "iban", "secret"})  # written sign by sign where the original has its signs

_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')  # one that begins or ends a string in JSON
_JSON, _BEFORE_VALUE, _BEHIND_VALUE = re.compile(r"\s*[{\[]"), re.compile(r"[:\[,]\s*\Z"), re.compile(r"\s*[,}\]]")


class Redactor:
    """Replaces personal data in texts, in one style and under one key (16 bytes or more where there are surrogates).

    Raises:
        ConfigError: the style is unknown or the key too short; from `redact`, the recogniser of names names a place
            that is not in the text.
    """

    def __init__(self, style: str, key: bytes, names: FindNames | None = None) -> None:
        if style not in get_args(Style):
            raise ConfigError(f"redaction.style is {style!r}; it must be surrogate, placeholder or off")
        if style == "surrogate" and len(key) < 16:
            raise ConfigError(
                f"the redaction key has {len(key)} bytes, but whoever guesses it undoes redaction; use 32"
            )
        self.style = cast(Style, style)
        self._surrogates = Surrogates(key)
        self._names = names

    @property
    def finds_names(self) -> bool:
        """Whether a recogniser of names is configured, for which every text has to be read and not only some."""
        return self._names is not None and self.style != "off"

    def redact(self, text: str) -> str:
        """The text with personal data replaced; JSON stays JSON."""
        return self.redact_with_counts(text)[0]

    def redact_with_counts(self, text: str) -> tuple[str, dict[str, int]]:
        """The text with personal data replaced, and how many pieces of each kind there were."""
        if self.style == "off":
            return text, {}
        folded = fold(text)
        replaced = [self._replaced(text, folded, found) for found in find(folded.text)]
        if self._names:
            replaced = self._with_names(text, replaced)
        if not replaced:
            return text, {}
        pieces: list[str] = []
        counts: dict[str, int] = {}
        done = 0
        for start, end, kind, stand_in in replaced:
            pieces += (text[done:start], stand_in)
            counts[kind] = counts.get(kind, 0) + 1
            done = end
        pieces.append(text[done:])
        return "".join(pieces), counts

    def _replaced(self, text: str, folded: Folded, found: Found) -> Replaced:
        """Where in the original something was found (start, end), its kind, and what takes its place."""
        start, end = folded.place(found.start), folded.place(found.end)
        if self.style == "placeholder":
            return start, end, found.kind, _placeholder(found.kind, text, start, end)
        value = folded.text[found.start : found.end]
        made = self._surrogates.of(found, value)
        if found.kind in _IN_SHAPE and value != text[start:end]:
            made = _laid_out(made, text, folded, found)
        return start, end, found.kind, made

    def _with_names(self, text: str, replaced: list[Replaced]) -> list[Replaced]:
        """With the names that are not within something else; of two that overlap, the first."""
        assert self._names is not None
        spans = sorted({(start, end) for start, end in self._names(text)})
        if spans and not all(0 <= start < end <= len(text) for start, end in spans):
            raise ConfigError(
                f"the recogniser in redaction.names found names at {spans} of a text of {len(text)} characters; "
                "it must give (start, end) within the text"
            )
        named = [(start, end, "name", "") for start, end in spans]
        kept: list[Replaced] = []
        for each in sorted(replaced + named, key=lambda item: (item[0], item[2] == "name")):
            while kept and kept[-1][1] > each[0] and kept[-1][2] == "name" and each[2] != "name":
                kept.pop()
            if not kept or kept[-1][1] <= each[0]:
                kept.append(each)
        return [each if each[3] else (*each[:3], self._name(text, each[0], each[1])) for each in kept]

    def _name(self, text: str, start: int, end: int) -> str:
        if self.style == "placeholder":
            return "[NAME]"
        return self._surrogates.of(Found(start, end, "name"), text[start:end])


def _laid_out(made: str, text: str, folded: Folded, found: Found) -> str:
    """A surrogate with the signs of the original between its letters and digits: odd hyphens, escapes of JSON."""
    pieces = []
    for index, (new, old) in enumerate(zip(made, folded.text[found.start : found.end], strict=True), start=found.start):
        pieces.append(new if old.isalnum() else text[folded.place(index) : folded.place(index + 1)])
    return "".join(pieces)


def _placeholder(kind: str, text: str, start: int, end: int) -> str:
    """[KIND]; as a string where it takes the place of a number in JSON."""
    name = f"[{_PLACEHOLDERS.get(kind, kind.upper())}]"
    return f'"{name}"' if text[start:end].isdigit() and _is_json_number(text, start, end) else name


def _is_json_number(text: str, start: int, end: int) -> bool:
    """Whether digits are a value of JSON, and no part of a string in it."""
    alone = _BEFORE_VALUE.search(text, max(0, start - 64), start) and _BEHIND_VALUE.match(text, end)
    return bool(alone and _JSON.match(text)) and len(_QUOTE.findall(text, 0, start)) % 2 == 0
