"""The version that anchor is also held against: the first champion, until somebody pins another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.db import State
from tasks.errors import FlywheelError
from tasks.reference import pin_reference, reference, reference_of
from tests.conftest import Workload, traffic


@pytest.fixture
def judged(workload: Workload) -> Workload:
    """One round was judged against the base model, and version 1 came of it."""
    workload.collect("a", traffic(4, 4))
    round_ = workload.to_gate(lambda role, case: True)
    workload.skip(round_, "gate")
    workload.register(round_)
    workload.close(round_, "promote", "1")
    return workload


def of_next_round(workload: Workload, champion: str | None) -> str | None:
    """What a round with this champion is held against; `none` where nothing is."""
    workload.collect("b", traffic(2, prefix="b"))
    round_ = replace(workload.open(), champion_version=champion)
    with State(workload.config.database).transaction() as tx:
        found = reference_of(tx, round_)
    return found["version"] if found else "none"


def test_before_any_round_was_judged_there_is_none(workload: Workload) -> None:
    workload.collect("a", traffic(2, 2))
    assert reference(workload.config) == {"label": None}


def test_it_is_the_champion_of_the_first_round_that_was_judged(judged: Workload) -> None:
    assert reference(judged.config)["label"] == "base"
    assert of_next_round(judged, "1") is None, "the base model"


def test_the_champion_is_not_held_against_itself(judged: Workload) -> None:
    assert of_next_round(judged, None) == "none"


def test_the_last_that_was_pinned_counts(judged: Workload) -> None:
    assert pin_reference(judged.config, "v1", "person:maria", "a year's best") == "v1"
    found = reference(judged.config)
    assert (found["label"], found["pinned_by"], found["reason"]) == ("v1", "person:maria", "a year's best")
    assert of_next_round(judged, "1") == "none"
    assert pin_reference(judged.config, "base", "person:maria", "start again") == "base"
    assert reference(judged.config)["label"] == "base"


@pytest.mark.parametrize(
    ("version", "by", "reason", "said"),
    [
        ("9", "person:maria", "x", "tickets has no version 9"),
        ("1", "person: ", "x", "needs a name and a reason"),
        ("1", "person:maria", " ", "needs a name and a reason"),
    ],
)
def test_a_pin_that_says_nothing_is_refused(judged: Workload, version: str, by: str, reason: str, said: str) -> None:
    before = judged.content()
    with pytest.raises(FlywheelError, match=said):
        pin_reference(judged.config, version, by, reason)
    assert judged.content() == before
