"""Rules that outputs must pass, and the failures that they find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from tasks.check_options import CheckConfig
from tasks.checks import make_check
from tasks.errors import ConfigError
from tests.conftest import Workload, inference, make_workload, thumb

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}, "additionalProperties": False}


def check(output: str, **settings: Any) -> str | None:
    return make_check(TypeAdapter(CheckConfig).validate_python({"name": "rule", **settings}))(output)


def starts_low(output: str) -> str | None:
    """A rule of the user's own."""
    return None if output[:1].islower() else "begins with no small letter"


def test_json_must_fit_its_schema() -> None:
    assert check('{"a": 1}', type="json_schema", json_schema=SCHEMA) is None
    assert "'1' is not of type 'integer'" in (check('{"a": "1"}', type="json_schema", json_schema=SCHEMA) or "")
    assert check("{", type="json_schema", json_schema=SCHEMA) == "is no JSON"
    assert check("[" * 100_000, type="json_schema", json_schema=SCHEMA) == "is no JSON"


def test_an_expression_is_required_or_forbidden() -> None:
    assert check("order 12", type="regex", pattern=r"\d+") is None
    assert check("order 12", type="regex", pattern=r"\d+", whole=True) == "does not match the pattern"
    assert check("as an AI", type="regex", pattern="as an AI", forbidden=True) == "matches the pattern"


def test_labels_are_the_only_answers() -> None:
    assert check(" card_arrival\n", type="labels", labels=["card_arrival"]) is None
    assert check("card", type="labels", labels=["card_arrival"]) == "is none of the allowed labels"


def test_a_function_of_ones_own_judges() -> None:
    path = f"{__name__}:starts_low"
    assert check("fine", type="python", function=path) is None
    assert check("Not", type="python", function=path) == "begins with no small letter"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"type": "python", "function": "no.such:thing"}, "cannot be imported"),
        ({"type": "python", "function": "json:nothing"}, "cannot be imported"),
        ({"type": "json_schema", "json_schema": {"type": "wish"}}, "no valid JSON schema"),
    ],
)
def test_a_rule_that_is_none_is_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"checks\.rule: .*{problem}"):
        check("x", **settings)


@pytest.fixture
def checked(tmp_path: Path) -> Workload:
    return make_workload(tmp_path, checks=[{"name": "labels", "type": "labels", "labels": ["fine", "good"]}])


def test_what_a_rule_rejects_is_a_failure(checked: Workload) -> None:
    checked.collect("a", [inference("i1", output="fine"), inference("i2", output="odd"), inference("i3", output="odd")])
    failures = checked.rows("select inference_id, reason from failures order by 1")
    reason = "labels: is none of the allowed labels"
    assert failures == [{"inference_id": "i2", "reason": reason}, {"inference_id": "i3", "reason": reason}]


def test_a_thumb_up_does_not_confirm_what_a_rule_rejects(checked: Workload) -> None:
    checked.collect("a", [inference("i1", output="fine"), thumb("i1"), inference("i2", output="odd"), thumb("i2")])
    assert checked.value("select list(inference_id) from signals") == ["i1"]


def test_few_stars_are_a_failure(workload: Workload) -> None:
    def rating(id_: str, value: int) -> dict[str, Any]:
        return thumb(id_) | {"record": "rating", "value": value}

    records = [inference("i1"), rating("i1", 2), inference("i2"), rating("i2", 3)]
    workload.collect("a", records)
    assert workload.rows("select inference_id, reason from failures") == [
        {"inference_id": "i1", "reason": "rated 2 of 5"}
    ]
