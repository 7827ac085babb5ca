"""Every case gets its score, or the run says which case could not have one and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.case_scores import check_scorer, needs_expected, refuse_blank, score_all, score_cases
from tasks.db import Row
from tasks.errors import ConfigError, FlywheelError
from tasks.score import Score
from tests.conftest import make_config
from tests.tasks.test_score import calling


def case(id_: str, expected: str) -> Row:
    return {"case_id": id_, "expected": expected, "signal_id": f"signal-{id_}"}


def stumbles(output: str, expected: str) -> float:
    """A scorer of the user's own, with a mistake in it."""
    return 1 / len(output)


def says_too_much(output: str, expected: str) -> float:
    """A scorer of the user's own that counts instead of grading."""
    return len(output)


def test_each_role_is_scored_on_what_it_answered(tmp_path: Path) -> None:
    config = make_config(tmp_path, scorer={"type": "labels", "labels": ["a", "b"]})
    outputs = {"champion": {"x": "a", "y": "no"}, "reference": {"y": " b"}}
    assert score_cases(config, [case("x", "a"), case("y", "b")], outputs) == (
        {
            "champion": {"x": Score(1.0, True, True), "y": Score(0.0, False, False)},
            "reference": {"y": Score(1.0, True, True)},
        },
        (),
    )


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("stumbles", "ZeroDivisionError: division by zero"),
        ("says_too_much", "ValueError: it returned 2, which is neither"),
    ],
)
def test_a_scorer_that_fails_is_named_with_the_case(tmp_path: Path, function: str, problem: str) -> None:
    config = make_config(tmp_path, scorer={"type": "python", "function": f"{__name__}:{function}"})
    outputs = {"challenger": {"x": "a", "y": "" if function == "stumbles" else "ab"}}
    with pytest.raises(FlywheelError) as caught:
        score_cases(config, [case("x", "a"), case("y", "b")], outputs)
    line = str(caught.value)
    assert f"scorer python ({__name__}:{function}) failed on case y (challenger): {problem}" in line
    assert "mend it and run the round again" in line
    assert "\n" not in line


def test_a_case_without_a_right_answer_is_refused(tmp_path: Path) -> None:
    cases = [case("x", "a"), case("y", " \n")]
    with pytest.raises(FlywheelError, match=r"case y \(1 in all\) has a blank right answer.* use signal-y --leave-out"):
        refuse_blank(cases)
    config = make_config(tmp_path, scorer={"type": "regex", "pattern": "b", "mode": "match"})
    assert needs_expected(make_config(tmp_path).scorer) and not needs_expected(config.scorer)
    found = score_cases(config, cases, {"champion": {"x": "a", "y": "b"}}).scores["champion"]
    assert {id_: score.is_right for id_, score in found.items()} == {"x": False, "y": True}


def test_a_function_that_cannot_be_imported_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    check_scorer(make_config(tmp_path, scorer={"type": "embedding", "right_at": 0.8}))
    with pytest.raises(ConfigError, match=r"scorer\.function"):
        check_scorer(make_config(tmp_path, scorer={"type": "python", "function": "no.such:thing"}))


def test_answers_that_mean_the_same_are_right_by_the_encoder(tmp_path: Path) -> None:
    config = make_config(tmp_path, scorer={"type": "embedding", "right_at": 0.7}, encoder={"dtype": "float32"})
    expected = "Your parcel will arrive tomorrow."
    outputs = [
        "Your parcel will arrive tomorrow.", "The package is going to be delivered tomorrow.", "Bananas are yellow.",
        " ", calling("{}"),
    ]  # fmt: skip
    same, close, other, blank, call = score_all(config, outputs, [expected] * len(outputs))
    assert same == Score(1.0, True, True)
    assert 0.7 <= close.value < 1.0 and close.is_right
    assert 0.0 <= other.value < 0.4 and not other.is_right
    assert blank == Score(0.0, False, True)
    assert call == Score(0.0, False, False)
    right_call: Any = score_all(config, [calling("{}")], [calling("{ }")])
    assert right_call == [Score(1.0, True, True)]
