"""The leak guard: before models answer, held-out cases are held against the rows that were really trained on.

Sides keep training and evaluation apart when they are drawn. This looks at what came of it: the inputs of the
snapshot's file, as it was frozen. A held-out case that is one of them, or a near-duplicate by its group, by a pair on
record or by its words, is worth nothing as evidence. It is retired, and counted.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import Config
from tasks.db import Row, State
from tasks.duplicates import near_duplicates
from tasks.errors import FlywheelError, StateError
from tasks.records import user_text
from tasks.rounds import Round, held_at, held_row, record_evidence
from tasks.snapshots import read_snapshot
from tasks.suite import LEAKS, ON_RECORD, SAME_GROUP, SAME_INPUT, SAME_WORDS, record_suite, retire

if TYPE_CHECKING:
    import polars as pl

CASE, ROW = "case:", "row:"
NAMED = 20  # so many cases are named in an error


def guard(config: Config, round_: Round) -> dict[str, Any]:
    """Retire the held-out cases that overlap the round's snapshot, and compare again.

    What was compared and left out, as evidence `leaks` has it: `rows` of the snapshot, held-out `cases`, and
    `left_out`, the number of those by reason. The round's suite is on record as it is afterwards.

    Raises:
        FlywheelError: a case overlaps the snapshot and is still in the suite; names the cases.
        StateError: the snapshot is missing or was changed, see `read_snapshot`.
        LeaseLostError: another runner has taken the round over.
    """
    frozen = _frozen(config, round_)
    trained = frozen.select("input_hash", "group_hash", "prompt").unique(maintain_order=True)
    if found := find_leaks(config, round_, trained):
        with State(config.database).transaction() as tx:
            held_at(tx, round_, "regress")
            retire(tx, round_, found)
        if left := find_leaks(config, round_, trained):
            raise FlywheelError(
                f"round {round_.round_id} would be judged on what it was trained on: held-out cases overlap its "
                f"snapshot and could not be left out, {len(left)} in all ({', '.join(sorted(left)[:NAMED])}); give the "
                f"round up with `flywheel abandon --config FILE`, and run another"
            )
    with State(config.database).transaction() as tx:
        held_at(tx, round_, "regress")
        cases = record_suite(tx, config, round_)
        # By what is on record: a round that was killed in here counts what it had left out by then.
        left_out: Counter[str] = Counter()
        for row in tx.rows("count_retired_cases", round_id=round_.round_id):
            if row["retired_round"] == round_.round_id and row["reason"] in LEAKS:
                left_out[row["reason"]] += row["cases"]
        compared = sum(case["tier"] != "fixed" for case in cases) + left_out.total()
        leaks = {"rows": frozen.height, "cases": compared, "left_out": dict(left_out)}
        record_evidence(tx, round_, leaks=leaks)
    return leaks


def _frozen(config: Config, round_: Round) -> "pl.DataFrame":
    """The rows of the round's snapshot, read from its file and found to be those that were frozen."""
    with State(config.database).transaction() as tx:
        snapshot_hash = held_row(tx, round_)["snapshot_hash"]
        snapshot = tx.row("get_snapshot", snapshot_hash=snapshot_hash)
    if snapshot is None:
        raise StateError(
            f"round {round_.round_id} has no snapshot on record, so that its cases cannot be held against what it was "
            f"trained on; give it up with `flywheel abandon --config FILE`, and run another"
        )
    return read_snapshot(Path(snapshot["path"]), snapshot_hash)


def find_leaks(config: Config, round_: Round, trained: "pl.DataFrame") -> dict[str, str]:
    """The round's held-out cases that overlap the rows trained on, by id, each with the reason.

    `trained` has the rows' input_hash, group_hash and prompt. What the sides say of a row is not believed: its words
    are compared with those of each case, exactly (see `near_duplicates`).
    """
    inputs = trained.select("input_hash", "group_hash")
    with State(config.database).transaction() as tx, tx.incoming(inputs):
        cases = tx.rows("list_held_out_near", round_id=round_.round_id)
    alike = _same_words(cases, trained, config.split.near_duplicate)
    return {case["case_id"]: reason for case in cases if (reason := _reason(case, alike)) is not None}


def _reason(case: Row, alike: set[str]) -> str | None:
    if case["is_same"]:
        return SAME_INPUT
    if case["is_grouped"]:
        return SAME_GROUP
    if case["is_beside"]:
        return ON_RECORD
    return SAME_WORDS if case["case_id"] in alike else None


def _same_words(cases: Sequence[Row], trained: "pl.DataFrame", threshold: float) -> set[str]:
    """Ids of the cases whose text is a near-duplicate of that of a row."""
    rows = {f"{ROW}{place}": user_text(prompt) for place, prompt in enumerate(trained["prompt"].unique().sort())}
    asked = {f"{CASE}{case['case_id']}": user_text(case["input"]) for case in cases}
    # Settled on two sides, so that pairs on one of them are not looked for.
    sides = dict.fromkeys(rows, "train") | dict.fromkeys(asked, "unseen")
    pairs = near_duplicates(rows | asked, threshold, sides)
    return {pair.left.removeprefix(CASE) for pair in pairs if pair.right.startswith(ROW)}
