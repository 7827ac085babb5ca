"""How an output is held against the right answer. A scorer is a pure check of (output, expected)."""

import json
from collections.abc import Callable
from typing import Any

from tasks.chat import calls_tools, canonical_calls
from tasks.records import canonical_json
from tasks.scorer_options import ScorerConfig

Scorer = Callable[[str, str], bool]
Canonical = Callable[[str], str]


def make_scorer(config: ScorerConfig) -> Scorer:
    """The check of (output, expected) that a workload's config names; calls of tools are compared as such."""
    scorer: Scorer = {"exact": exact, "json_fields": json_fields, "none": never}[config.type]

    def score(output: str, expected: str) -> bool:
        if calls_tools(expected) or calls_tools(output):
            return (
                calls_tools(expected) and calls_tools(output) and canonical_calls(output) == canonical_calls(expected)
            )
        return scorer(output, expected)

    return score


def make_canonical(config: ScorerConfig) -> Canonical:
    """The form in which two spellings of one answer are the same text."""
    forms: dict[str, Canonical] = {"exact": str.strip, "json_fields": canonical_fields, "none": str.strip}
    form = forms[config.type]
    return lambda answer: canonical_calls(answer) if calls_tools(answer) else form(answer)


def exact(output: str, expected: str) -> bool:
    """The same text, white space at the ends aside."""
    return output.strip() == expected.strip()


def never(output: str, expected: str) -> bool:
    """False: where answers are only better or worse, none is right."""
    return False


def json_fields(output: str, expected: str) -> bool:
    """The same JSON value, whatever the order of keys and the spacing; what does not parse is wrong."""
    try:
        return canonical_json(parse_json(output)) == canonical_json(parse_json(expected))
    except ValueError:
        return False


def canonical_fields(text: str) -> str:
    """The JSON value with sorted keys and no spaces; text that does not parse stays what it is.

    As text, `true` and `1` differ, which as Python values they would not.
    """
    try:
        return canonical_json(parse_json(text))
    except ValueError:
        return text.strip()


def parse_json(text: str) -> Any:
    """The JSON value of a model's output.

    Raises:
        ValueError: it does not parse, or is nested beyond reason.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
