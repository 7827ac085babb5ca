"""Pairs to learn a preference from: given or derived, never from held-out inputs, each saying how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.blend import blend
from tasks.db import Row, State
from tasks.errors import StateError
from tasks.pairs import list_pairs
from tasks.rounds import has_work, read_evidence
from tasks.snapshots import read_conversations
from tests.conftest import (
    SYSTEM,
    Record,
    Workload,
    at,
    correction,
    distinct,
    inference,
    make_workload,
    retraction,
    thumb,
    traffic,
)

BETTER: dict[str, Any] = {"task": "better_answer", "scorer": {"type": "none"}}
NOTHING_HELD_OUT = {"split": {"unseen": 0.0, "anchor": 0.0}}


def preference(id_: str, text: str | None = None, chosen: str = "good", rejected: str = "poor") -> Record:
    return {
        "record": "preference",
        "preference_id": id_,
        "messages": [SYSTEM, {"role": "user", "content": text or distinct(id_)}],
        "chosen": chosen,
        "rejected": rejected,
        "producer": "person:maria",
        "created_at": at(0),
        "slices": {},
    }


def rating(id_: str, value: int, minutes: int = 1) -> Record:
    return {
        "record": "rating", "inference_id": id_, "value": value, "producer": "person:jo", "created_at": at(minutes),
    }  # fmt: skip


def pairs_of(workload: Workload, records: list[Record]) -> list[Row]:
    workload.collect("a", records)
    round_ = workload.to_split()
    with State(workload.config.database).transaction() as tx:
        return list_pairs(tx, workload.config, round_.pinned_seq)


def texts(pairs: list[Row]) -> list[tuple[str, str]]:
    return sorted((pair["answer"], pair["rejected"]) for pair in pairs)


@pytest.fixture
def better(tmp_path: Path) -> Workload:
    return make_workload(tmp_path, **BETTER, **NOTHING_HELD_OUT)


def test_a_preference_is_a_pair_that_nobody_derived(better: Workload) -> None:
    (pair,) = pairs_of(better, [preference("p1", chosen="yes", rejected="no")])
    assert (pair["signal"], pair["signal_id"], pair["derived"]) == ("preference", "p1", None)
    assert (pair["answer"], pair["rejected"]) == ("yes", "no")


def test_a_correction_is_chosen_over_what_the_model_said(better: Workload) -> None:
    pairs = pairs_of(better, [inference("i1", output="no"), correction("i1", "yes")])
    assert texts(pairs) == [("yes", "no")]
    assert json.loads(pairs[0]["derived"]) == {"how": "a failure and its correction", "model_version": "base"}
    assert pairs[0]["inference_id"] == "i1"


def test_the_best_rated_answer_is_chosen_over_each_worse_one(better: Workload) -> None:
    calls = [inference(f"i{n}", "Which one of these is it?", output=f"answer {n}") for n in range(4)]
    stars = [rating("i0", 3), rating("i1", 5), rating("i2", 1), rating("i3", 5)]
    pairs = pairs_of(better, [*calls, *stars])
    best = {pair["answer"] for pair in pairs}
    assert len(best) == 1 and best <= {"answer 1", "answer 3"}
    assert {pair["rejected"] for pair in pairs} == {"answer 0", "answer 2"}
    assert {json.loads(pair["derived"])["how"] for pair in pairs} == {
        "an answer rated 5 and one rated 3", "an answer rated 5 and one rated 1",
    }  # fmt: skip


@pytest.mark.parametrize("fault", [[correction("i1")], [thumb("i1", "down")], [rating("i1", 1, minutes=9)]])
def test_an_answer_that_somebody_faults_is_not_the_best_one(better: Workload, fault: list[Record]) -> None:
    calls = [inference("i0", "Which one is it?", output="low"), inference("i1", "Which one is it?", output="high")]
    pairs = pairs_of(better, [*calls, rating("i0", 2), rating("i1", 5), *fault, preference("p1")])
    assert ("high", "low") not in texts(pairs)


def test_what_is_the_same_answer_to_the_scorer_is_no_pair(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, scorer={"type": "json_fields"}, method="sft_then_dpo", **NOTHING_HELD_OUT)
    same, other = ['{"a": 1, "b": 2}', '{"b":2,"a":1}'], ['{"a": 1}', '{"a": 2}']
    pairs = pairs_of(workload, [preference("p1", None, *same), preference("p2", None, *other)])
    assert texts(pairs) == [tuple(other)]


def test_nothing_held_out_is_trained_on_and_copies_of_it_neither(tmp_path: Path) -> None:
    """A preference about an input that is a regression case, or nearly: its answers would leak into training."""
    workload = make_workload(tmp_path, method="sft_then_dpo")
    workload.collect("a", traffic(30))
    workload.close(workload.to_split())
    with State(workload.config.database).transaction() as tx:
        held = {row["input_hash"] for row in tx.rows("list_sides") if row["side"] != "train"}
        inputs = {row["input_hash"]: json.loads(row["input"]) for row in tx.rows("list_signal_inputs", pinned_seq=99)}
    assert held
    records = []
    for number, input_hash in enumerate(sorted(held)):
        text = inputs[input_hash][-1]["content"]
        records += [preference(f"p{number}", text), preference(f"q{number}", text + " please")]
    workload.collect("b", records)
    round_ = workload.to_split()
    with State(workload.config.database).transaction() as tx:
        pairs = list_pairs(tx, workload.config, round_.pinned_seq)
    assert pairs and not [pair for pair in pairs if pair["signal_id"][0] in "pq"]


def test_a_share_of_preferences_is_held_out_like_given_demonstrations(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, split={"anchor": 0.25}, **BETTER)
    pairs = pairs_of(workload, [preference(f"p{n}") for n in range(40)])
    assert len(pairs) == 30
    assert workload.rows("select tier, count(*) as cases from regression_cases group by tier") == [
        {"tier": "anchor", "cases": 10}
    ]


def test_a_method_that_learns_from_pairs_is_refused_without_any(better: Workload) -> None:
    with pytest.raises(StateError, match="has no pair of a better and a worse answer") as caught:
        pairs_of(better, [inference("i1"), thumb("i1")])
    assert "flywheel abandon" in str(caught.value)


def test_supervised_training_alone_takes_no_pairs(workload: Workload) -> None:
    assert pairs_of(workload, [inference("i1"), correction("i1")]) == []


def test_preferences_alone_make_a_round_worth_running_where_answers_are_only_better(tmp_path: Path) -> None:
    better, right = make_workload(tmp_path / "b", **BETTER), make_workload(tmp_path / "r")
    for workload, expected in ((better, True), (right, False)):
        workload.collect("a", [preference(f"p{n}") for n in range(5)])
        assert has_work(workload.config, 5) is expected


def test_the_snapshot_of_a_better_answer_workload_is_made_of_pairs_alone(better: Workload) -> None:
    """Its demonstrations would freeze one phrasing."""
    better.collect("a", [*traffic(3, 5, 5), preference("p1")])
    made = blend(better.config, better.to_split())
    assert (made["rows"], made["pairs"]) == (4, 4)
    rows = read_conversations(Path(better.value("select path from snapshots")))
    assert all(row["rejected"] and row["messages"][-1]["role"] == "assistant" for row in rows)
    assert better.value("select count(*) from snapshot_rows where derived is not null") == 3
    assert {part["signal"] for part in read_evidence(better.config)[0]["blend"]} == {"preference"}


def test_the_snapshot_of_sft_then_dpo_holds_both(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, method="sft_then_dpo", **NOTHING_HELD_OUT)
    workload.collect("a", traffic(4, 8))
    made = blend(workload.config, workload.to_split())
    assert (made["corrections"], made["pairs"], made["rows"]) == (4, 4, 16)


def test_a_tie_and_what_was_taken_back_make_no_pair(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, method="sft_then_dpo", **NOTHING_HELD_OUT)
    tie = preference("p1") | {"scale": 5, "degree": 0}
    found = pairs_of(workload, [*traffic(3, 3), tie, retraction("f000", minutes=5)])
    assert {pair["inference_id"] for pair in found} == {"f001", "f002"}
