"""Different right answers for one input: found whoever gave them, resolved as the config says, never silently."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.config import Config
from tasks.consistency import NEAR_DUPLICATE, SAME_INPUT, Claim, beyond_share, contradictions, decide, standing_answer
from tasks.data_options import Policy
from tasks.rounds import read_evidence
from tasks.screen import screen
from tests.conftest import Record, Workload, correction, demonstration, distinct, inference, make_workload, thumb

MARIA, JONAS, KOFI = "person:maria", "person:jonas", "person:kofi"
POLICIES: tuple[Policy, ...] = ("hold", "newest", "majority", "trusted", "keep")


def claim(signal_id: str, answer: str, producer: str = MARIA, day: int = 1, group: str = "g", text: str = "t") -> Claim:
    return Claim(signal_id, group, text, answer, producer, datetime(2026, 3, 1) + timedelta(days=day))


claims = st.builds(
    claim,
    signal_id=st.uuids().map(str),
    answer=st.sampled_from("abc"),
    producer=st.sampled_from([MARIA, JONAS, "model:gpt", "rule:seed"]),
    day=st.integers(0, 3),
    group=st.sampled_from("gh"),
    text=st.sampled_from("tu"),
)


@given(
    st.lists(claims, max_size=12),
    st.sampled_from(POLICIES),
    st.sampled_from([SAME_INPUT, NEAR_DUPLICATE]),
    st.randoms(),
)
def test_at_most_one_answer_of_a_group_stands_in_whatever_order_they_come(
    given_claims: list[Claim], policy: Policy, kind: str, rng: random.Random
) -> None:
    trusted = ("person:*",)
    decisions = decide(given_claims, kind, policy, trusted)
    shuffled = list(given_claims)
    rng.shuffle(shuffled)
    assert decide(shuffled, kind, policy, trusted) == decisions
    answers = {c.signal_id: c.answer for c in given_claims}
    for group in {c.group for c in given_claims}:
        members = [c for c in given_claims if c.group == group]
        decided = [d for d in decisions if d.group == group]
        disputed = len({c.answer for c in members}) > 1 and (
            kind == SAME_INPUT or len({c.input_hash for c in members}) > 1
        )
        assert sorted(d.signal_id for d in decided) == (sorted(c.signal_id for c in members) if disputed else [])
        standing = {answers[d.signal_id] for d in decided if d.reason is None}
        if policy == "keep":
            assert len(standing) == len({c.answer for c in members}) or not disputed
        else:
            assert len(standing) <= 1


@pytest.mark.parametrize(
    ("policy", "stands"),
    [("hold", None), ("newest", "new"), ("majority", "most"), ("trusted", "trusted")],
)
def test_each_policy_lets_its_own_answer_stand(policy: Policy, stands: str | None) -> None:
    said = [
        claim("1", "most", MARIA, 1),
        claim("2", "most", JONAS, 1),
        claim("3", "trusted", "model:judge-2", 0),
        claim("4", "trusted", "model:judge-2", 2),
        claim("5", "old", "model:judge-1", 0),
        claim("6", "new", KOFI, 3),
    ]
    assert standing_answer(said, policy, ("rule:*", "model:judge-2", "person:*")) == stands


def test_who_repeats_himself_has_one_voice() -> None:
    said = [claim(str(n), "loud", MARIA) for n in range(5)] + [claim("5", "b", JONAS), claim("6", "b", KOFI)]
    assert standing_answer(said, "majority", ()) == "b"


@pytest.mark.parametrize("policy", ["newest", "majority", "trusted"])
def test_a_tie_settles_nothing(policy: Policy) -> None:
    assert standing_answer([claim("1", "a", MARIA), claim("2", "b", JONAS)], policy, ("model:*",)) is None


def test_trust_without_anybody_to_trust_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="trusted: say whom"):
        make_workload(tmp_path, consistency={"same_input": "trusted"})
    with pytest.raises(ValidationError, match=r"consistency\.trusted"):
        make_workload(tmp_path, consistency={"same_input": "trusted", "trusted": ["maria"]})


def disputed(folder: Path, records: list[Record], **consistency: Any) -> Workload:
    workload = make_workload(folder, consistency=consistency)
    workload.collect("a", records)
    screen(workload.config, workload.open())
    return workload


def standing(config: Config) -> dict[str, bool]:
    """By answer, whether it stands."""
    return {row["answer"]: row["stands"] for row in contradictions(config)}


TEXT = distinct("x", 14)


def test_a_correction_and_a_demonstration_of_one_input_contradict_each_other(tmp_path: Path) -> None:
    workload = disputed(tmp_path, [inference("i", TEXT), correction("i", "A"), demonstration("d", TEXT, "B")])
    assert standing(workload.config) == {"A": False, "B": False}
    evidence = read_evidence(workload.config)[0]
    assert evidence["contradictions"] == [
        {"kind": "same input", "policy": "hold", "groups": 1, "signals": 2, "left_out": 2}
    ]
    assert {(row["signal"], row["reason"]) for row in evidence["excluded"]} == {
        (signal, "contradicts another answer (same input)") for signal in ("correction", "demonstration")
    }


def test_a_confirmed_call_loses_to_a_newer_correction_of_the_same_input(tmp_path: Path) -> None:
    records = [
        inference("i", TEXT, output="old"), thumb("i", minutes=1),
        inference("j", TEXT, output="bad"), correction("j", "new", minutes=9),
    ]  # fmt: skip
    workload = disputed(tmp_path, records, same_input="newest")
    assert standing(workload.config) == {"old": False, "new": True}
    assert workload.rows("select signal, excluded_because from signals_at(9) order by signal") == [
        {"signal": "correction", "excluded_because": None},
        {"signal": "demonstration", "excluded_because": "contradicted by a newer answer (same input)"},
    ]


def test_a_repeated_correction_counts_for_the_majority(tmp_path: Path) -> None:
    """Of equal corrections of a call one is used, but both have a voice."""
    records = [inference("i"), correction("i", "A"), correction("i", "A", JONAS, 2), correction("i", "B", KOFI)]
    workload = disputed(tmp_path, records, same_input="majority")
    rows = workload.rows("select corrected_by, excluded_because from corrections")
    assert {row["corrected_by"]: row["excluded_because"] for row in rows} == {
        MARIA: None,
        JONAS: "repeats another correction",
        KOFI: "contradicted by the majority (same input)",
    }


@pytest.mark.parametrize(
    ("policy", "left"), [("keep", {"A", "B"}), ("hold", set()), ("newest", {"B"}), ("trusted", {"A"})]
)
def test_near_duplicates_are_treated_as_the_config_says(tmp_path: Path, policy: str, left: set[str]) -> None:
    records = [
        inference("i", TEXT), correction("i", "A", JONAS, 1),
        inference("j", f"{TEXT} now"), correction("j", "B", MARIA, 2),
        inference("k"), correction("k", "C"),
    ]  # fmt: skip
    workload = disputed(tmp_path, records, near_duplicates=policy, trusted=[JONAS])
    usable = workload.rows("select answer from signals_at(9) where excluded_because is null")
    assert {row["answer"] for row in usable} == left | {"C"}
    assert read_evidence(workload.config)[0]["contradictions"][0] == {
        "kind": "near-duplicate", "policy": policy, "groups": 1, "signals": 2, "left_out": 2 - len(left)
    }  # fmt: skip


def test_what_is_settled_stands_again(tmp_path: Path) -> None:
    workload = disputed(tmp_path, [inference("i", TEXT), correction("i", "A"), demonstration("d", TEXT, "B")])
    workload.close(workload.open())
    workload.collect("b", [correction("i", "B", minutes=5)])
    screen(workload.config, workload.open())
    assert contradictions(workload.config) == []
    assert workload.value("select count(*) from signals_at(9) where excluded_because is null") == 2


def test_a_case_whose_answer_does_not_stand_any_more_is_retired(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, split={"anchor": 0.9})
    workload.collect("a", [demonstration(f"d{n}", distinct(f"d{n}")) for n in range(20)])
    workload.close(workload.to_split())
    case = workload.rows("select case_id, expected from regression_cases where tier = 'anchor' order by case_id")[0]
    text = distinct(case["case_id"])
    workload.collect("b", [inference("i", text), correction("i", "other")])
    workload.to_split()
    retired = workload.rows("select case_id, retired_because from regression_cases where retired_round is not null")
    assert retired == [{"case_id": case["case_id"], "retired_because": "contradicts another answer (same input)"}]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.floats(0.05, 1.0))
def test_nobody_has_more_than_the_share_and_no_more_is_left_out_than_that_takes(
    given_by: list[str], share: float
) -> None:
    producers = {f"c{number}": producer for number, producer in enumerate(given_by)}
    out = set(beyond_share(producers, share))
    before = Counter(given_by)
    left = Counter(producer for key, producer in producers.items() if key not in out)
    assert left.keys() == before.keys()
    fewest = min(before.values())
    assert all(count <= max(share * left.total(), fewest) for count in left.values())
    if out:  # with one more for each of those that were cut, somebody has too much
        cut = {producer for producer, count in before.items() if left[producer] < count}
        more = left + Counter(cut)
        assert max(more.values()) > max(share * more.total(), fewest)


def test_what_stays_of_a_producer_stays_when_there_is_more(tmp_path: Path) -> None:
    first = {f"m{n}": MARIA for n in range(30)} | {f"j{n}": JONAS for n in range(4)}
    more = first | {f"k{n}": KOFI for n in range(10)}
    kept, later = (set(each) - set(beyond_share(each, 0.5)) for each in (first, more))
    assert kept < later
    assert sum(key.startswith("m") for key in kept) == 4


def test_one_reviewer_who_floods_the_system_is_held_to_a_share(tmp_path: Path) -> None:
    records = [
        record
        for who, many in ((MARIA, 6), (JONAS, 6), ("person:flood", 60))
        for n in range(many)
        for record in (inference(f"{who}{n}"), correction(f"{who}{n}", f"right {n}", who))
    ]
    workload = disputed(tmp_path, records, producer_share=0.5)
    usable = workload.rows(
        "select corrected_by as who, count(*) as rows from corrections where excluded_because is null group by all"
    )
    assert {row["who"]: row["rows"] for row in usable} == {MARIA: 6, JONAS: 6, "person:flood": 12}
    assert read_evidence(workload.config)[0]["excluded"] == [
        {"signal": "correction", "reason": "beyond the share of one producer", "rows": 48}
    ]


def test_every_planted_contradiction_is_found_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(0)
    planted = set(rng.sample(range(400), 40))
    records: list[Record] = []
    for n in range(400):
        text, answer = distinct(f"t{n}"), f"right {n % 7}"
        records += [inference(f"i{n}", text), correction(f"i{n}", answer)]
        records.append(demonstration(f"d{n}", text, f"other {n}" if n in planted else answer))
    workload = disputed(tmp_path, records)
    found = contradictions(workload.config)
    assert {int(row["signal_id"][1:]) for row in found if row["signal"] == "demonstration"} == planted
    assert len(found) == 80
