"""What counts as right: the same text, or the same JSON value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.chat import MARK, held_answer
from tasks.score import exact, json_fields, make_canonical, make_scorer
from tasks.scorer_options import ScorerConfig

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    max_leaves=6,
)


def test_the_config_names_the_scorer() -> None:
    assert make_scorer(ScorerConfig(type="exact"))("[1]", "[ 1 ]") is False
    assert make_scorer(ScorerConfig(type="json_fields"))("[1]", "[ 1 ]") is True


def calling(arguments: str, id_: str = "c1", **stated: Any) -> str:
    call = {"id": id_, "type": "function", "function": {"name": "find", "arguments": arguments}}
    return held_answer({"role": "assistant", "tool_calls": [call]} | stated)


@pytest.mark.parametrize("kind", ["exact", "json_fields"])
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
def test_calls_of_tools_are_right_by_name_and_arguments(kind: Any, output: str, right: bool) -> None:
    """Whatever id, order of keys or spacing; a text that spells out the same call is none."""
    expected = calling('{"a":1,"b":2}')
    config = ScorerConfig(type=kind)
    canonical = make_canonical(config)
    assert make_scorer(config)(output, expected) is right
    assert make_scorer(config)(expected, output) is right
    assert (canonical(output) == canonical(expected)) is right


@pytest.mark.parametrize(("output", "right"), [("yes", True), (" yes\n", True), ("Yes", False), ("", False)])
def test_exact_leaves_white_space_at_the_ends_aside(output: str, right: bool) -> None:
    assert exact(output, "yes") is right


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
    ],
)
def test_json_fields_compares_values(output: str, right: bool) -> None:
    assert json_fields(output, '{"a": 1, "b": 2}') is right


@given(VALUES)
def test_json_fields_does_not_see_layout(value: object) -> None:
    assert json_fields(json.dumps(value, indent=3), json.dumps(value, sort_keys=True))


def test_an_absurdly_nested_output_is_wrong_and_no_crash() -> None:
    """A model can write anything; one answer must not end the round."""
    assert json_fields("[" * 100_000, "{}") is False
