"""Opposite preferences: found whoever gave them, resolved as the config says, in whatever order they came."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.consistency import Claim, contradictions
from tasks.data_options import Policy
from tasks.db import State
from tasks.errors import StateError
from tasks.export import export
from tasks.lineage import status, where
from tasks.opposites import SUPERSEDED, decide_pairs
from tasks.pairs import list_pairs
from tasks.rounds import read_evidence
from tasks.screen import screen
from tests.conftest import (
    Record,
    Workload,
    at,
    correction,
    demonstration,
    inference,
    make_workload,
    preference,
    rating,
    retraction,
)

MARIA, JONAS, KOFI, JUDGE = "person:maria", "person:jonas", "person:kofi", "model:judge"
POLICIES: tuple[Policy, ...] = ("hold", "newest", "majority", "trusted")
HELD = "contradicts another answer (opposite preferences)"
TEXT = "Which one of these is the better answer?"


def prefer(id_: str, chosen: str, rejected: str, by: str = MARIA, minutes: int = 0, text: str = TEXT) -> Record:
    messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": text}]
    return preference(id_, chosen, rejected, producer=by, created_at=at(minutes), messages=messages)


def with_policy(folder: Path, policy: str = "hold", **changes: Any) -> Workload:
    rules = {"same_input": policy, "trusted": [JONAS, "person:*"]}
    changes = {"method": "sft_then_dpo", "split": {"unseen": 0.0, "anchor": 0.0}} | changes
    return make_workload(folder, consistency=rules, **changes)


def trained_on(workload: Workload, records: list[Record]) -> set[tuple[str, str]]:
    """The pairs (chosen, rejected) that a round on these records learns from."""
    workload.collect("a", records)
    round_ = workload.to_split()
    with State(workload.config.database).transaction() as tx:
        try:
            return {(row["answer"], row["rejected"]) for row in list_pairs(tx, workload.config, round_.pinned_seq)}
        except StateError:  # none is left
            return set()


PLANTED = [
    prefer("p1", "a", "b", MARIA, 1),
    prefer("p2", "b", "a", JONAS, 2),
    prefer("p3", "a", "b", KOFI, 3),
    prefer("p4", "a", "b", MARIA, 4),
    prefer("other texts", "c", "b", JONAS, 5),
    prefer("other input", "b", "a", JONAS, 6, text="Something else that was asked on another day."),
]


@pytest.mark.parametrize(
    ("policy", "stands"),
    [("hold", set()), ("newest", {("a", "b")}), ("majority", {("a", "b")}), ("trusted", {("b", "a")})],
)
def test_each_policy_lets_its_own_preference_stand(tmp_path: Path, policy: str, stands: set[tuple[str, str]]) -> None:
    workload = with_policy(tmp_path, policy)
    beside = {("c", "b"), ("b", "a")}
    assert trained_on(workload, PLANTED) == stands | beside
    standing = workload.value("select count(*) from opposite_preferences where reason is null")
    assert standing == {"hold": 0, "newest": 3, "majority": 3, "trusted": 1}[policy]


def test_opposite_preferences_are_shown_wherever_contradictions_are(tmp_path: Path) -> None:
    workload = with_policy(tmp_path)
    trained_on(workload, PLANTED)
    evidence = read_evidence(workload.config)[0]
    summary = {"kind": "opposite preferences", "policy": "hold", "groups": 1, "signals": 4, "left_out": 4}
    assert evidence["contradictions"] == [summary]
    assert evidence["excluded"] == [{"signal": "preference", "reason": HELD, "rows": 4}]
    shown = [
        (row["signal_id"], row["answer"], row["rejected"], row["stands"]) for row in contradictions(workload.config)
    ]
    assert shown == [
        ("p1", "a", "b", False), ("p2", "b", "a", False), ("p3", "a", "b", False), ("p4", "a", "b", False),
    ]  # fmt: skip
    found = status(workload.config)
    assert (found["contradictions"], found["excluded_preferences"]) == (1, {HELD: 4})
    assert where(workload.config, "p2")["why_in_none"] == f"it is left out: {HELD}"


def test_who_disagreed_and_changed_their_mind_agrees_and_the_next_round_learns_from_it(tmp_path: Path) -> None:
    workload = with_policy(tmp_path)
    trained_on(workload, [prefer("p1", "a", "b", MARIA), prefer("p2", "b", "a", JONAS), prefer("p3", "c", "d")])
    workload.close(workload.open())
    workload.collect("b", [prefer("p4", "a", "b", JONAS, 9)])
    round_ = workload.to_split()
    with State(workload.config.database).transaction() as tx:
        pairs = list_pairs(tx, workload.config, round_.pinned_seq)
    assert {pair["signal_id"] for pair in pairs} == {"p1", "p3"}
    assert contradictions(workload.config) == []
    found = status(workload.config)
    assert (found["contradictions"], found["excluded_preferences"]) == (0, {SUPERSEDED: 1})
    assert read_evidence(workload.config)[-1]["contradictions"] == []


def test_a_model_that_says_both_when_it_is_asked_twice_has_not_changed_its_mind(tmp_path: Path) -> None:
    records = [prefer("p1", "a", "b", JUDGE, 1), prefer("p2", "b", "a", JUDGE, 2), prefer("p3", "c", "d")]
    assert trained_on(with_policy(tmp_path), records) == {("c", "d")}


def test_what_is_the_same_answer_to_the_scorer_is_opposed_too(tmp_path: Path) -> None:
    workload = with_policy(tmp_path, scorer={"type": "json_fields"})
    records = [
        prefer("p1", '{"x": 1, "y": 2}', '{"x": 3}', MARIA),
        prefer("p2", '{"x":3}', '{"y":2,"x":1}', JONAS),
        prefer("p3", "{}", "[]"),
    ]
    assert trained_on(workload, records) == {("{}", "[]")}


@pytest.mark.parametrize(
    ("policy", "pair", "reason"),
    [
        ("hold", set(), HELD),
        ("newest", {("good", "bad")}, None),
        ("trusted", {("bad", "good")}, "contradicted by a trusted producer (opposite preferences)"),
    ],
)
def test_a_correction_and_the_reverse_preference_are_not_both_trained_on(
    tmp_path: Path, policy: str, pair: set[tuple[str, str]], reason: str | None
) -> None:
    """A correction that does not stand is no demonstration of the right answer either."""
    workload = with_policy(tmp_path, policy)
    call = inference("i", TEXT, output="bad")
    records = [call, correction("i", "good", MARIA, 5), prefer("p1", "bad", "good", JONAS, 1), prefer("p2", "c", "d")]
    assert trained_on(workload, records) == pair | {("c", "d")}
    assert workload.value("select excluded_because from corrections") == reason
    assert {row["signal"] for row in contradictions(workload.config)} == {"correction", "preference"}


def test_ratings_and_the_reverse_preference_are_not_both_trained_on(tmp_path: Path) -> None:
    calls = [inference("i", TEXT, output="fine"), inference("j", TEXT, output="so-so")]
    records = [*calls, rating("i", 5), rating("j", 3), prefer("p1", "so-so", "fine"), prefer("p2", "c", "d")]
    assert trained_on(with_policy(tmp_path), records) == {("c", "d")}


def test_what_was_taken_back_opposes_nothing_any_more(tmp_path: Path) -> None:
    workload = with_policy(tmp_path)
    call = inference("i", TEXT, output="bad")
    records = [call, correction("i", "good", JONAS), prefer("p1", "bad", "good"), retraction("i", JONAS)]
    assert trained_on(workload, records) == {("bad", "good")}
    assert contradictions(workload.config) == []


def test_ties_oppose_nothing(tmp_path: Path) -> None:
    tie = prefer("p2", "b", "a", JONAS) | {"scale": 5, "degree": 0}
    assert trained_on(with_policy(tmp_path), [prefer("p1", "a", "b"), tie]) == {("a", "b")}


def test_an_export_leaves_out_what_does_not_stand(tmp_path: Path) -> None:
    workload = with_policy(tmp_path, "trusted")
    workload.collect("a", PLANTED)
    assert export(workload.config, "preferences", tmp_path / "p.jsonl") == 3


def test_a_preference_that_is_named_like_a_demonstration_does_not_take_it_along(tmp_path: Path) -> None:
    workload = with_policy(tmp_path)
    trained_on(
        workload, [prefer("x", "a", "b"), prefer("y", "b", "a", JONAS), prefer("z", "c", "d"), demonstration("x")]
    )
    assert workload.value("select excluded_because from signals_at(9) where signal_id = 'x'") is None


claims = st.builds(
    lambda id_, answer, producer, day: Claim(
        id_, "g", "t", answer, producer, datetime(2026, 3, 1) + timedelta(days=day)
    ),
    st.uuids().map(str), st.sampled_from("ab"), st.sampled_from([MARIA, JONAS, JUDGE]), st.integers(0, 2),
)  # fmt: skip


@given(st.lists(claims, max_size=8), st.sampled_from(POLICIES), st.randoms())
def test_one_side_stands_at_most_and_the_order_makes_no_difference(
    said: list[Claim], policy: Policy, rng: random.Random
) -> None:
    decisions = decide_pairs(said, policy, (JONAS, "person:*"))
    shuffled = list(said)
    rng.shuffle(shuffled)
    assert decide_pairs(shuffled, policy, (JONAS, "person:*")) == decisions
    answers = {claim.signal_id: claim.answer for claim in said}
    out = {decision.signal_id for decision in decisions if decision.reason is not None}
    assert len({answers[id_] for id_ in answers.keys() - out}) <= 1
    if len(set(answers.values())) < 2:
        assert decisions == []


@pytest.mark.parametrize("policy", POLICIES)
def test_whatever_comes_in_first_the_round_is_the_same(tmp_path: Path, policy: str) -> None:
    """The same preferences, corrections and ratings in other files, in another order: the same decisions and pairs."""
    ratings = [inference("k", TEXT, output="b"), inference("l", TEXT, output="a"), rating("k", 5), rating("l", 3)]
    records = [*PLANTED, inference("i", TEXT, output="c"), correction("i", "b", KOFI, 9), *ratings]
    expected = _decided(with_policy(tmp_path / "one", policy), [records])
    random.Random(0).shuffle(records)
    assert _decided(with_policy(tmp_path / "other", policy), [records[:5], records[5:9], records[9:]]) == expected
    assert expected


def _decided(workload: Workload, passes: list[list[Record]]) -> list[dict[str, Any]]:
    for number, records in enumerate(passes):
        workload.collect(f"{number}", records)
    screen(workload.config, workload.open())
    return workload.rows("select * from opposite_preferences order by content_hash")
