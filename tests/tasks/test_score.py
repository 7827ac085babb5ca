"""What counts as right: the same text, or the same JSON value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import ScorerConfig
from tasks.score import exact, json_fields, make_scorer

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    max_leaves=6,
)


def test_the_config_names_the_scorer() -> None:
    assert make_scorer(ScorerConfig(type="exact")) is exact
    assert make_scorer(ScorerConfig(type="json_fields")) is json_fields


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
