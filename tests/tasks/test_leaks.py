"""What models are judged on is held against the rows they were really trained on, and what overlaps is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from tasks import leaks
from tasks.blend import blend
from tasks.db import Row, State
from tasks.errors import FlywheelError, LeaseLostError, StateError
from tasks.leaks import find_leaks, guard
from tasks.rounds import Round, read_evidence
from tasks.snapshots import HASHED, freeze, read_snapshot, write_snapshot
from tasks.suite import ON_RECORD, SAME_GROUP, SAME_INPUT, SAME_WORDS, active_cases, suite_hash
from tests.conftest import Record, Workload, correction, distinct, inference, traffic


def suite_of(workload: Workload, round_id: int = 1) -> list[Row]:
    with State(workload.config.database).transaction() as tx:
        return active_cases(tx, workload.config, round_id)


def one_held_out(workload: Workload, tier: str = "unseen") -> Row:
    return next(row for row in suite_of(workload) if row["tier"] == tier)


def trained(workload: Workload) -> Round:
    """A round of plain traffic that has come to its suite."""
    workload.collect("a", traffic(failures=20, successes=20, given=20))
    round_ = workload.to_split()
    blend(workload.config, round_)
    workload.skip(round_, "train")
    return round_


def plant(workload: Workload, round_: Round, **changes: Any) -> None:
    """Freeze the round's snapshot anew, its first row changed: a whole file, of which the state tells otherwise."""
    row = workload.rows("select * from snapshots where round_id = ?", round_.round_id)[-1]
    frozen = read_snapshot(workload.config.folder / "snapshots" / row["path"].split("/")[-1], row["snapshot_hash"])
    first = pl.int_range(pl.len()) == 0
    changed = [
        pl.when(first).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in changes.items()
    ]
    snapshot = write_snapshot(freeze(frozen.select(HASHED).with_columns(changed)), workload.config.folder / "snapshots")
    with State(workload.config.database).transaction() as tx:
        tx.run(
            "insert_snapshot", snapshot_hash=snapshot.hash, round_id=round_.round_id, path=str(snapshot.path),
            rows=snapshot.rows, created_at=datetime(2026, 3, 2),
        )  # fmt: skip
        tx.run("set_round_snapshot", round_id=round_.round_id, snapshot_hash=snapshot.hash)


def edited(held: str, edit: Callable[[str], str]) -> str:
    """An input whose user's words were edited."""
    messages = json.loads(held)
    messages[-1]["content"] = edit(messages[-1]["content"])
    return json.dumps(messages, separators=(",", ":"))


def longer(workload: Workload) -> Round:
    """A round with long texts, so that a word that is changed leaves most of a text as it was."""
    records: list[Record] = []
    for n in range(30):
        records += [inference(f"l{n:02}", f"{distinct(f'a{n}', 16)} {distinct(f'b{n}', 16)}")]
        records.append(correction(f"l{n:02}", f"r{n}"))
    workload.collect("long", records)
    return trained(workload)


def a_word_changed(text: str) -> str:
    return " ".join([*text.split()[:16], "changed", *text.split()[17:]])


def test_nothing_is_left_out_of_a_suite_that_is_apart_from_its_snapshot(workload: Workload) -> None:
    round_ = trained(workload)
    before = suite_of(workload)
    held_out = sum(row["tier"] != "fixed" for row in before)
    rows = workload.value("select rows from snapshots")
    assert guard(workload.config, round_) == {"rows": rows, "cases": held_out, "left_out": {}}
    assert suite_of(workload) == before
    assert read_evidence(workload.config)[0]["leaks"]["left_out"] == {}


@pytest.mark.parametrize("edit", [lambda text: text, a_word_changed, lambda text: f"{text.upper()} ok"])
def test_a_held_out_text_in_the_file_is_found_whatever_the_state_says(
    workload: Workload, edit: Callable[[str], str]
) -> None:
    """A row that claims to be another input, of another group, and holds a case's text or one that is nearly it."""
    round_ = longer(workload)
    case = next(row for row in suite_of(workload) if row["tier"] == "unseen" and len(row["input"]) > 200)
    plant(workload, round_, prompt=edited(case["input"], edit))
    found = guard(workload.config, round_)
    assert found["left_out"] == {SAME_WORDS: 1}
    assert case["case_id"] not in {row["case_id"] for row in suite_of(workload)}
    gone = workload.rows("select retired_round, retired_because from regression_cases where retired_round is not null")
    assert gone == [{"retired_round": 1, "retired_because": SAME_WORDS}]


@pytest.mark.parametrize("tier", ["unseen", "anchor"])
@pytest.mark.parametrize(
    ("column", "taken_from", "reason"),
    [("input_hash", "input_hash", SAME_INPUT), ("group_hash", "group_hash", SAME_GROUP)],
)
def test_a_row_that_says_what_it_is_is_believed_too(
    workload: Workload, column: str, taken_from: str, reason: str, tier: str
) -> None:
    round_ = trained(workload)
    case = one_held_out(workload, tier)
    plant(workload, round_, **{column: case[taken_from]})
    assert guard(workload.config, round_)["left_out"] == {reason: 1}


def test_a_pair_on_record_is_enough(workload: Workload) -> None:
    """Short texts of one meaning share no words; a round has put them on record."""
    round_ = trained(workload)
    case = one_held_out(workload)
    row = workload.value("select min(input_hash) from snapshot_rows")
    left, right = sorted((case["input_hash"], row))
    frame = pl.DataFrame({"left_hash": [left], "right_hash": [right], "jaccard": [0.1], "cosine": [0.97]})
    with State(workload.config.database).transaction() as tx:
        tx.load("merge_near_duplicates", frame, round_id=1)
    assert guard(workload.config, round_)["left_out"] == {ON_RECORD: 1}


def test_evidence_has_the_suite_as_it_is_run(workload: Workload) -> None:
    round_ = trained(workload)
    before = read_evidence(workload.config)[0]
    plant(workload, round_, prompt=one_held_out(workload)["input"])
    leak = guard(workload.config, round_)
    evidence = read_evidence(workload.config)[0]
    assert evidence["leaks"] == leak
    assert evidence["suite_hash"] == suite_hash(suite_of(workload)) != before["suite_hash"]
    assert sum(row["cases"] for row in evidence["suite"]) == len(suite_of(workload))
    assert evidence["stage"] == "regress"


def test_a_guard_that_is_run_again_says_the_same(workload: Workload) -> None:
    """As after a kill between what it leaves out and what it says of it."""
    round_ = trained(workload)
    plant(workload, round_, prompt=one_held_out(workload)["input"])
    first = guard(workload.config, round_)
    before = workload.content()
    assert guard(workload.config, round_) == first
    assert workload.content() == before


def test_what_leaked_never_comes_back(workload: Workload) -> None:
    """Not in a later round, whose snapshot does not have it, and not with another answer."""
    round_ = trained(workload)
    case = next(row for row in suite_of(workload) if row["tier"] == "unseen" and row["stratum"] == "failure")
    plant(workload, round_, prompt=case["input"])
    guard(workload.config, round_)
    workload.close(round_)
    call = workload.value("select inference_id from corrections where correction_id = ?", case["signal_id"])
    workload.collect("b", [correction(call, "revised", minutes=9), *traffic(failures=4, prefix="b")])
    workload.to_split()
    assert case["input_hash"] not in {row["input_hash"] for row in suite_of(workload, 2)}


def test_a_round_whose_suite_stays_overlapping_stops_and_names_the_cases(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = trained(workload)
    case = one_held_out(workload)
    plant(workload, round_, prompt=case["input"])
    monkeypatch.setattr(leaks, "retire", lambda *_: None)
    with pytest.raises(FlywheelError, match=rf"overlap its snapshot .*, 1 in all \({case['case_id']}\).*abandon"):
        guard(workload.config, round_)


def test_a_snapshot_that_was_edited_or_is_gone_stops_the_round(workload: Workload) -> None:
    round_ = trained(workload)
    path = next((workload.config.folder / "snapshots").glob("*.parquet"))
    frame = pl.read_parquet(path)
    path.chmod(0o644)
    case = one_held_out(workload)
    frame.with_columns(prompt=pl.lit(case["input"])).write_parquet(path)
    with pytest.raises(StateError, match="is not the snapshot that was frozen"):
        guard(workload.config, round_)
    path.unlink()
    with pytest.raises(StateError, match="is missing"):
        guard(workload.config, round_)


def test_a_round_without_a_snapshot_is_refused(workload: Workload) -> None:
    workload.collect("a", traffic(failures=20))
    round_ = workload.to_split()
    with pytest.raises(StateError, match="round 1 has no snapshot on record"):
        guard(workload.config, round_)


def test_a_round_that_was_judged_is_not_guarded_again(workload: Workload) -> None:
    """Its suite is what its verdict rests on."""
    round_ = trained(workload)
    workload.skip(round_, "regress")
    before = workload.content()
    with pytest.raises(LeaseLostError, match="is at gate, not at regress"):
        guard(workload.config, round_)
    assert workload.content() == before


def test_fixed_cases_are_what_was_trained_on_and_stay(workload: Workload) -> None:
    round_ = trained(workload)
    frozen = pl.DataFrame(
        [{"input_hash": row["input_hash"], "group_hash": None, "prompt": row["input"]} for row in suite_of(workload)],
        schema_overrides={"group_hash": pl.String},
    )
    found = find_leaks(workload.config, round_, frozen)
    assert found.keys() == {row["case_id"] for row in suite_of(workload) if row["tier"] != "fixed"}
    assert set(found.values()) == {SAME_INPUT}
