"""What counts as right: the same text, value, number or label, or what an expression, a measure or a function says."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tasks.chat import MARK, held_answer
from tasks.errors import ConfigError
from tasks.score import Score, exact, make_canonical, make_scorer
from tasks.scorer_options import EmbeddingScorer, ScorerConfig
from tasks.text_forms import rouge_l

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    max_leaves=6,
)
SCHEMA = {"type": "object", "required": ["a"]}
PURE: list[dict[str, Any]] = [
    {"type": "exact"},
    {"type": "normalised"},
    {"type": "json_fields"},
    {"type": "json_fields", "value": "share", "ignored": ["b"]},
    {"type": "labels", "labels": ["yes"]},
    {"type": "regex", "pattern": "a+(.)?"},
    {"type": "numeric"},
    {"type": "rouge_l", "right_at": 0.5},
]
OTHERS: list[dict[str, Any]] = [
    {"type": "regex", "pattern": "a", "mode": "match"},
    {"type": "python", "function": "tests.tasks.test_score:half_right"},
]


def options(**settings: Any) -> Any:
    return TypeAdapter(ScorerConfig).validate_python(settings)


def score(output: str, expected: str, **settings: Any) -> Score:
    return make_scorer(options(**settings))(output, expected)


def half_right(output: str, expected: str) -> Any:
    """A scorer of the user's own, which returns what the output says."""
    return {"half": 0.5, "yes": True, "nan": math.nan, "two": 2, "text": "1", "nothing": None}.get(output, 0.0)


def test_the_config_names_the_scorer() -> None:
    assert score("[1]", "[ 1 ]", type="exact") == Score(0.0, False, True)
    assert score("[1]", "[ 1 ]", type="json_fields") == Score(1.0, True, True)
    assert score("a", "a", type="none") == Score(0.0, False, True)


def calling(arguments: str, id_: str = "c1", **stated: Any) -> str:
    call = {"id": id_, "type": "function", "function": {"name": "find", "arguments": arguments}}
    return held_answer({"role": "assistant", "tool_calls": [call]} | stated)


@pytest.mark.parametrize("settings", PURE + OTHERS, ids=lambda settings: settings["type"])
@pytest.mark.parametrize(
    ("output", "right"),
    [
        (calling('{"b": 2, "a": 1}', "c2"), True),
        (calling('{"a": true, "b": 2}'), False),
        (calling('{"a": 1, "b": 2}', content="One moment."), False),
        (calling('{"a": 1, "b": 2}').removeprefix(MARK), False),
        ("find", False),
        (calling('{"a": 1'), False),
    ],
)
def test_calls_of_tools_are_right_by_name_and_arguments(settings: Any, output: str, right: bool) -> None:
    """Whatever id, order of keys or spacing; a text that spells out the same call is none."""
    expected = calling('{"a":1,"b":2}')
    config = options(**settings)
    canonical = make_canonical(config)
    assert make_scorer(config)(output, expected)[:2] == (float(right), right)
    assert make_scorer(config)(expected, output).is_right is right
    assert (canonical(output) == canonical(expected)) is right


def test_a_call_has_the_right_form_where_one_was_asked_for_and_its_arguments_parse() -> None:
    expected = calling('{"a": 1}')
    assert score(calling('{"a": 2}'), expected, type="exact").is_valid
    assert not score(calling('{"a": 2'), expected, type="exact").is_valid
    assert not score(calling('{"a": 2}'), "a text", type="exact").is_valid


@pytest.mark.parametrize(("output", "right"), [("yes", True), (" yes\n", True), ("Yes", False), ("", False)])
def test_exact_leaves_white_space_at_the_ends_aside(output: str, right: bool) -> None:
    assert exact(output, "yes").is_right is right


@pytest.mark.parametrize(
    ("output", "expected", "ignoring", "right"),
    [
        (" Card\n Arrival ", "card arrival", False, True),
        ("STRASSE", "straße", False, True),
        ("ﬁne", "FINE", False, True),
        ("cafe\u0301", "CAFÉ", False, True),
        ("Yes.", "yes", False, False),
        ("Yes.", "yes", True, True),
        ("“Don't”, she said!", "dont she said", True, True),
        ("3.5", "35", True, False),
        ("-5", "5", True, False),
        ("It is (5).", "it is 5", True, True),
    ],
)
def test_normalised_leaves_case_white_space_and_unicode_forms_aside(
    output: str, expected: str, ignoring: bool, right: bool
) -> None:
    assert score(output, expected, type="normalised", ignore_punctuation=ignoring).is_right is right


@given(st.text().map(lambda text: text.lstrip(MARK)))
def test_the_normalised_form_of_a_form_is_itself(text: str) -> None:
    form = make_canonical(options(type="normalised"))
    assert form(form(text)) == form(text)


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ('{"b": 2, "a": 1}', True),
        ('{"a":1,"b":2}', True),
        ('{"a": 1, "b": 3}', False),
        ('{"a": 1}', False),
        ('{"a": 1, "b": 2, "c": 3}', False),
        ('{"a": 1, "b": 2', False),
        ("", False),
        ("[1]", False),
        ('{"a": true, "b": 2}', False),
        ('{"a": NaN, "b": 2}', False),
    ],
)
def test_json_fields_compares_values(output: str, right: bool) -> None:
    found = score(output, '{"a": 1, "b": 2}', type="json_fields")
    assert found[:2] == (float(right), right)


def test_json_that_parses_and_fits_the_schema_is_valid() -> None:
    assert score('{"b": 1}', '{"a": 1}', type="json_fields") == Score(0.0, False, True)
    assert score('{"b": 1}', '{"a": 1}', type="json_fields", json_schema=SCHEMA) == Score(0.0, False, False)
    assert score('{"a": 2}', '{"a": 1}', type="json_fields", json_schema=SCHEMA) == Score(0.0, False, True)
    assert score("{", '{"a": 1}', type="json_fields") == Score(0.0, False, False)
    assert score('{"a": 2}', "no JSON", type="json_fields") == Score(0.0, False, True)


@pytest.mark.parametrize(
    ("output", "share"),
    [('{"a": 1, "b": 2}', 1.0), ('{"a": 1, "b": 3}', 0.5), ('{"a": 1}', 0.5), ('{"a": 1, "b": 2, "c": 3, "d": 4}', 0.5),
     ("{}", 0.0), ("[]", 0.0), ("{", 0.0)],
)  # fmt: skip
def test_the_share_of_right_fields_grades_and_only_all_of_them_are_right(output: str, share: float) -> None:
    found = score(output, '{"a": 1, "b": 2}', type="json_fields", value="share")
    assert found[:2] == (share, share == 1.0)


def test_empty_objects_are_the_same() -> None:
    assert score("{}", " {} ", type="json_fields", value="share") == Score(1.0, True, True)


def test_ignored_fields_count_neither_for_the_score_nor_for_what_is_one_answer() -> None:
    config = options(type="json_fields", ignored=["reason"])
    left, right = '{"a": 1, "reason": "x"}', '{"reason": "y", "a": 1}'
    assert make_scorer(config)(left, right) == Score(1.0, True, True)
    assert make_canonical(config)(left) == make_canonical(config)(right) == '{"a":1}'
    assert make_scorer(config)('{"b": {"reason": 1}}', '{"b": {"reason": 2}}').is_right is False


@given(VALUES)
def test_json_fields_does_not_see_layout(value: object) -> None:
    assert score(json.dumps(value, indent=3), json.dumps(value, sort_keys=True), type="json_fields").is_right


def test_an_absurdly_nested_output_is_wrong_and_no_crash() -> None:
    """A model can write anything; one answer must not end the round."""
    assert score("[" * 100_000, "{}", type="json_fields") == Score(0.0, False, False)


def test_a_label_that_is_none_is_invalid() -> None:
    settings = {"type": "labels", "labels": ["lost_card", "card_arrival"]}
    assert score(" lost_card\n", "lost_card", **settings) == Score(1.0, True, True)
    assert score("card_arrival", "lost_card", **settings) == Score(0.0, False, True)
    assert score("I think lost_card", "lost_card", **settings) == Score(0.0, False, False)


@pytest.mark.parametrize(
    ("output", "expected", "settings", "found"),
    [
        ("so it is #### 42", "#### 42", {"pattern": r"#### (\d+)"}, Score(1.0, True, True)),
        ("#### 42", "42", {"pattern": r"#### (\d+)"}, Score(1.0, True, True)),
        ("#### 41", "42", {"pattern": r"#### (\d+)"}, Score(0.0, False, True)),
        ("42", "42", {"pattern": r"#### (\d+)"}, Score(0.0, False, False)),
        ("a1 b2", "b2", {"pattern": r"[a-z]\d"}, Score(0.0, False, True)),
        ("k: v", "k: w", {"pattern": r"(\w): (\w)", "group": 1}, Score(1.0, True, True)),
        ("k: v", "k: w", {"pattern": r"(\w): (?P<value>\w)", "group": "value"}, Score(0.0, False, True)),
        ("k", "k", {"pattern": r"k(v)?"}, Score(0.0, False, False)),
        ("order 12", "", {"pattern": r"\d+", "mode": "match"}, Score(1.0, True, True)),
        ("order", "12", {"pattern": r"\d+", "mode": "match"}, Score(0.0, False, False)),
    ],
)
def test_an_expression_finds_what_is_compared(output: str, expected: str, settings: Any, found: Score) -> None:
    assert score(output, expected, type="regex", **settings) == found


@pytest.mark.parametrize(
    ("output", "expected", "settings", "found"),
    [
        ("3.50", " 3.5\n", {}, (True, True)),
        ("35e-1", "3.5", {}, (True, True)),
        ("-0", "0", {}, (True, True)),
        ("3.6", "3.5", {}, (False, True)),
        ("0.4", "0.3", {"absolute": 0.1}, (True, True)),
        ("0.401", "0.3", {"absolute": 0.1}, (False, True)),
        ("110", "100", {"relative": 0.1}, (True, True)),
        ("100", "111", {"relative": 0.1}, (True, True)),
        ("100", "112", {"relative": 0.1}, (False, True)),
        ("123456789012345678901234567890", "123456789012345678901234567891", {}, (False, True)),
        ("nan", "nan", {}, (False, False)),
        ("inf", "inf", {}, (False, False)),
        ("1e999", "1e999", {}, (False, False)),
        ("1e-999999999", "0", {}, (True, True)),
        ("about 3", "3", {}, (False, False)),
        ("1_000", "1000", {}, (False, False)),
        ("", "3", {}, (False, False)),
        ("3", "three", {}, (False, True)),
    ],
)
def test_numbers_are_the_same_within_tolerances(output: str, expected: str, settings: Any, found: Any) -> None:
    assert score(output, expected, type="numeric", **settings)[1:] == found


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
def test_a_number_is_one_text_however_it_is_spelled(number: Any) -> None:
    form = make_canonical(options(type="numeric"))
    assert form(f"{number:E}") == form(f"{number:f}") == form(f" {number:f}\n")
    assert score(f"{number:E}", f"{number:f}", type="numeric").is_right


def subsequence(left: list[str], right: list[str]) -> int:
    """Longest common subsequence by the textbook's table."""
    row = [0] * (len(right) + 1)
    for one in left:
        before = row[:]
        for place, other in enumerate(right):
            row[place + 1] = before[place] + 1 if one == other else max(before[place + 1], row[place])
    return row[-1]


WORDS = st.lists(st.sampled_from("abcd"), max_size=80)


@given(WORDS, WORDS)
def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence(left: list[str], right: list[str]) -> None:
    common = subsequence(left, right)
    expected = 0.0 if common == 0 else 2 / (len(left) / common + len(right) / common)
    assert rouge_l(left, right) == pytest.approx(expected)


def test_rouge_l_is_right_from_its_threshold_on() -> None:
    """The example of Lin (2004): two of four words in order, so that recall, precision and F are 1/2... and 3/4."""
    settings = {"type": "rouge_l", "right_at": 0.75}
    assert score("police kill the gunman", "police killed the gunman", **settings) == Score(0.75, True, True)
    assert score("the gunman kill police", "police killed the gunman", **settings) == Score(0.5, False, True)
    assert score("Die Straße, bitte!", "die strasse bitte", **settings).value == 1.0
    assert score("!!!", " !!!", **settings) == Score(1.0, True, True)
    assert score("!!!", "???", **settings) == Score(0.0, False, True)


def test_a_function_of_ones_own_scores() -> None:
    settings = {"type": "python", "function": f"{__name__}:half_right"}
    assert score("half", "", **settings) == Score(0.5, False, True)
    assert score("half", "", **settings, right_at=0.5) == Score(0.5, True, True)
    assert score("yes", "", **settings) == Score(1.0, True, True)
    assert score("other", "", **settings) == Score(0.0, False, True)


@pytest.mark.parametrize("output", ["nan", "two", "text", "nothing"])
def test_what_is_no_score_is_refused(output: str) -> None:
    with pytest.raises(ValueError, match="neither a bool nor a number from 0 to 1"):
        score(output, "", type="python", function=f"{__name__}:half_right")


def test_a_function_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"scorer\.function: no\.such:thing cannot be imported"):
        make_scorer(options(type="python", function="no.such:thing"))


TEXTS = st.text("aA1b. é{}:\"'\n", max_size=12)


@pytest.mark.parametrize("settings", PURE, ids=lambda settings: settings["type"])
@given(output=TEXTS, expected=TEXTS)
def test_two_spellings_of_one_answer_are_right_by_each_other(settings: Any, output: str, expected: str) -> None:
    """Where stages take two answers for one (to find contradictions, or to make pairs), the scorer agrees."""
    config = options(**settings)
    form, found = make_canonical(config), make_scorer(config)(output, expected)
    assert 0.0 <= found.value <= 1.0
    if form(output) == form(expected) and found.is_valid:
        assert found.is_right


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"type": "vibes"}, "type must be exact, none, normalised"),
        ({}, "type must be exact, none, normalised"),
        ({"type": "exact", "ignored": ["a"]}, "Extra inputs"),
        ({"type": "json_fields", "json_schema": {"type": "wish"}}, "no valid JSON schema"),
        ({"type": "labels", "labels": []}, "at least 1 item"),
        ({"type": "regex", "pattern": "("}, "no regular expression"),
        ({"type": "regex", "pattern": "(a)", "group": 2}, "has no group 2; it has 1"),
        ({"type": "regex", "pattern": "(a)", "group": "x"}, "has no group x"),
        ({"type": "numeric", "absolute": -1}, "greater than or equal to 0"),
        ({"type": "numeric", "relative": math.inf}, "finite number"),
        ({"type": "rouge_l"}, "Field required"),
        ({"type": "embedding", "right_at": 0}, "greater than 0"),
        ({"type": "python", "function": "os.system"}, "match pattern"),
    ],
)
def test_options_that_make_no_scorer_are_refused(settings: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        options(**settings)


def test_texts_that_only_mean_the_same_are_two_answers() -> None:
    assert make_canonical(EmbeddingScorer(type="embedding", right_at=0.9))(" a b\n") == "a b"
