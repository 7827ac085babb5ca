"""How an output is held against the right answer. A scorer is a pure check of (output, expected).

Each maker returns one. What needs more than two texts (an encoder, a judge) is in `tasks/case_scores.py`.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tasks.chat import answer_message, calls_tools, canonical_calls
from tasks.checks import import_function, json_schema_check
from tasks.records import canonical_json
from tasks.scorer_options import (
    ExactScorer,
    JsonFieldsScorer,
    LabelsScorer,
    NormalisedScorer,
    NoScorer,
    NumericScorer,
    PureScorer,
    PythonScorer,
    RegexScorer,
    RougeLScorer,
    ScorerConfig,
)
from tasks.text_forms import canonical_number, is_near, normalised, read_number, rouge_l, words


class Score(NamedTuple):
    """How good an output is (0 to 1), whether it counts as right, and whether it has the form that is asked for."""

    value: float
    is_right: bool
    is_valid: bool


Scorer = Callable[[str, str], Score]
Canonical = Callable[[str], str]


def make_scorer(config: PureScorer) -> Scorer:
    """The check of (output, expected) that a workload's config names; calls of tools are compared as such.

    Raises:
        ConfigError: a function or a schema is no such thing.
    """
    scorer = _of_texts(config)

    def score(output: str, expected: str) -> Score:
        if calls_tools(expected) or calls_tools(output):
            return score_calls(output, expected)
        return scorer(output, expected)

    return score


def _of_texts(config: PureScorer) -> Scorer:
    match config:
        case ExactScorer():
            return exact
        case NoScorer():
            return never
        case NormalisedScorer():
            return _normalised(config)
        case JsonFieldsScorer():
            return _json_fields(config)
        case LabelsScorer():
            return _labels(config)
        case RegexScorer():
            return _regex(config)
        case NumericScorer():
            return _numeric(config)
        case RougeLScorer():
            return _rouge_l(config)
        case PythonScorer():
            return _python(config)


def make_canonical(config: ScorerConfig) -> Canonical:
    """The form in which two spellings of one answer are the same text."""
    form = _form(config)
    return lambda answer: canonical_calls(answer) if calls_tools(answer) else form(answer)


def _form(config: ScorerConfig) -> Canonical:
    match config:
        case NormalisedScorer():
            return lambda text: normalised(text, config.ignore_punctuation)
        case JsonFieldsScorer():
            return lambda text: canonical_fields(text, config.ignored)
        case RegexScorer(mode="extract"):
            find = _finder(config)
            return lambda text: text.strip() if (found := find(text)) is None else found
        case NumericScorer():
            return lambda text: text.strip() if (number := read_number(text)) is None else canonical_number(number)
        case RougeLScorer():
            return lambda text: " ".join(words(text)) or text.strip()
        case _:
            return str.strip


def graded(value: float, right_at: float, is_valid: bool = True) -> Score:
    """A score whose output is right from a value on."""
    return Score(value, value >= right_at, is_valid)


def score_calls(output: str, expected: str) -> Score:
    """The score where one of both calls tools: right if both call the same.

    What a model wrote for another call than the right one is held as text, so that such a text says nothing of its
    form; where a text was expected, a call has another form.
    """
    both = calls_tools(expected) and calls_tools(output)
    is_right = both and canonical_calls(output) == canonical_calls(expected)
    is_valid = not calls_tools(output) or (both and _arguments_parse(output))
    return Score(float(is_right), is_right, is_valid)


def _arguments_parse(answer: str) -> bool:
    try:
        for call in answer_message(answer)["tool_calls"]:
            parse_json(call["function"]["arguments"])
    except ValueError:
        return False
    return True


def exact(output: str, expected: str) -> Score:
    """The same text, white space at the ends aside."""
    return _whether(output.strip() == expected.strip())


def never(output: str, expected: str) -> Score:
    """Not right: where answers are only better or worse, none is."""
    return _whether(False)


def _whether(is_right: bool, is_valid: bool = True) -> Score:
    return Score(float(is_right), is_right, is_valid)


def _normalised(config: NormalisedScorer) -> Scorer:
    form = _form(config)
    return lambda output, expected: _whether(form(output) == form(expected))


def _labels(config: LabelsScorer) -> Scorer:
    labels = frozenset(label.strip() for label in config.labels)
    return lambda output, expected: _whether(output.strip() == expected.strip(), output.strip() in labels)


def _json_fields(config: JsonFieldsScorer) -> Scorer:
    """The same JSON value, whatever the order of keys and the spacing; what does not parse is wrong."""
    check = None if config.json_schema is None else json_schema_check(config.json_schema, "scorer.json_schema")

    def score(output: str, expected: str) -> Score:
        try:
            found = _without(parse_json(output), config.ignored)
        except ValueError:
            return Score(0.0, False, False)
        is_valid = check is None or check(output) is None
        try:
            right = _without(parse_json(expected), config.ignored)
        except ValueError:
            return _whether(False, is_valid)
        is_right = canonical_json(found) == canonical_json(right)
        share = share_of_fields(found, right) if config.value == "share" else float(is_right)
        return Score(share, is_right, is_valid)

    return score


def _without(value: Any, ignored: tuple[str, ...]) -> Any:
    return {key: each for key, each in value.items() if key not in ignored} if isinstance(value, dict) else value


def share_of_fields(found: Any, right: Any) -> float:
    """Of the keys that one of two JSON objects has, the share with the same value in both; other values: all or none.

    As JSON text, `true` and `1` differ, which as Python values they would not.
    """
    if not (isinstance(found, dict) and isinstance(right, dict)) or not (keys := found.keys() | right.keys()):
        return float(canonical_json(found) == canonical_json(right))
    both = found.keys() & right.keys()
    return sum(canonical_json(found[key]) == canonical_json(right[key]) for key in both) / len(keys)


def canonical_fields(text: str, ignored: tuple[str, ...] = ()) -> str:
    """The JSON value with sorted keys and no spaces; text that does not parse stays what it is."""
    try:
        return canonical_json(_without(parse_json(text), ignored))
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


def _regex(config: RegexScorer) -> Scorer:
    """The same found in both, or the expression found at all; a right answer that it does not fit counts as a whole."""
    find, form = _finder(config), _form(config)

    def score(output: str, expected: str) -> Score:
        found = find(output)
        is_right = found is not None and (config.mode == "match" or found == form(expected))
        return _whether(is_right, found is not None)

    return score


def _finder(config: RegexScorer) -> Callable[[str], str | None]:
    pattern, group = re.compile(config.pattern), config.compared

    def find(text: str) -> str | None:
        found = pattern.search(text)
        return None if found is None or found[group] is None else str(found[group]).strip()

    return find


def _numeric(config: NumericScorer) -> Scorer:
    def score(output: str, expected: str) -> Score:
        found, right = read_number(output), read_number(expected)
        if found is None or right is None:
            return _whether(False, found is not None)
        return _whether(is_near(found, right, config.absolute, config.relative))

    return score


def _rouge_l(config: RougeLScorer) -> Scorer:
    def score(output: str, expected: str) -> Score:
        same = output.strip() == expected.strip()  # texts may have no words
        return graded(1.0 if same else rouge_l(words(output), words(expected)), config.right_at)

    return score


def _python(config: PythonScorer) -> Scorer:
    function = import_function(config.function, "scorer.function")

    def score(output: str, expected: str) -> Score:
        value: Any = function(output, expected)
        value = value.item() if hasattr(value, "item") else value  # of numpy's and torch's own types
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"it returned {value!r:.60}, which is neither a bool nor a number from 0 to 1")
        return graded(float(value), config.right_at)

    return score
