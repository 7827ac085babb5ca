"""Stages 5 and 6: corrections with representative demonstrations, frozen as a hashed snapshot.

Corrections alone break a model. So they are raised within a bound, among demonstrations that are drawn so that the
whole resembles production (`tasks/mix.py`). Of a group of near-duplicates only a few are taken, each with another
answer: what went viral is one failure.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.candidates import find_candidates
from tasks.child import Progress
from tasks.config import Config
from tasks.db import Row, State
from tasks.errors import StateError
from tasks.methods import STAGES
from tasks.mix import choose, distances, each_distinct, with_cells
from tasks.pairs import list_pairs
from tasks.records import now
from tasks.rounds import Round, held_row, record_evidence, writing
from tasks.score import make_canonical
from tasks.snapshot_card import left_out, make_card
from tasks.snapshots import HASHED, Snapshot, answer_json, freeze, write_snapshot
from tasks.split import COPIES

if TYPE_CHECKING:
    import polars as pl

LINEAGE = (
    "position", "signal", "signal_id", "inference_id", "input_hash", "content_hash", "source", "producer", "cluster_id",
    "derived",
)  # fmt: skip
GIVE_UP = "then give the round up with `flywheel abandon --config FILE` and run another"


def blend(config: Config, round_: Round, on_progress: Progress | None = None) -> Row:
    """Choose the round's training rows and freeze them; the snapshot's hash, size and make-up.

    Raises:
        StateError: there is no correction to train on, no demonstration beside them, or one answer alone.
        FlywheelError: candidates could not be sampled, see `find_candidates`.
    """
    import polars as pl

    candidates = find_candidates(config, round_, on_progress)
    with State(config.database).transaction() as tx:
        usable = tx.frame("list_training_rows", pinned_seq=round_.pinned_seq, copies=COPIES)
        mix = tx.frame("list_production_mix", pinned_seq=round_.pinned_seq)
        pairs = list_pairs(tx, config, round_.pinned_seq, candidates.pairs if candidates else ())
        told = json.loads(held_row(tx, round_)["evidence"])
    if "sft" not in STAGES[config.training_method]:
        usable = usable.clear()
    rows, production = with_cells(usable, mix, make_canonical(config.scorer))
    chosen = choose(rows, production, config.blend)
    if "sft" in STAGES[config.training_method]:
        _refuse_what_cannot_teach(usable, chosen, config, round_)
    frozen = freeze(pl.concat([training_rows(chosen), pair_rows(pairs)]))
    snapshot = write_snapshot(frozen, config.folder / "snapshots")
    out = {"copies_left_out": copies_left_out(usable), "not_chosen": _counts(usable, "signal", minus=chosen)}
    sampled = {"candidates": candidates.facts(pairs)} if candidates else {}
    card = make_card(frozen, left_out(told | out), distances(chosen, production)) | sampled
    _store(config, round_, snapshot, frozen, out | {"card": card})
    corrections = card["by"]["signal"].get("correction", 0)
    counts = {"rows": snapshot.rows, "corrections": corrections, "pairs": len(pairs)}
    return {"hash": snapshot.hash} | counts | out | sampled


def _refuse_what_cannot_teach(usable: "pl.DataFrame", chosen: "pl.DataFrame", config: Config, round_: Round) -> None:
    name, signals = f"round {round_.round_id}", set(chosen["signal"])
    if "correction" not in set(usable["signal"]):
        raise StateError(
            f"{name} has no usable correction on its training side (see the reasons in `flywheel status`): collect "
            f"corrections, {GIVE_UP}"
        )
    if "demonstration" not in signals and config.blend.demonstrations_per_correction != 0:
        raise StateError(
            f"{name} has corrections and not one demonstration on its training side that blend.sources lets in, and "
            f"corrections alone break a model: collect confirmed calls (thumbs up) or demonstrations, {GIVE_UP}"
        )
    if "correction" not in signals:
        raise StateError(
            f"{name} has too few demonstrations for a single correction at blend.corrections_share "
            f"{config.blend.corrections_share:g} and blend.sources: collect more or change these, {GIVE_UP}"
        )
    if chosen["canonical"].n_unique() < 2:
        raise StateError(
            f"all {chosen.height} rows that {name} would train on have the same answer, which a model learns to give "
            f"to everything: collect signals with other answers, {GIVE_UP}"
        )


def training_rows(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Signals with their input and answer as rows to freeze: the prompt's messages, the answer's, and a weight."""
    import polars as pl

    return rows.with_columns(
        prompt=pl.col("input"),
        chosen=each_distinct(rows["answer"], answer_json),
        rejected=pl.lit(None, pl.String),
        derived=pl.lit(None, pl.String),
        weight=pl.lit(1.0),
    ).select(HASHED)


def pair_rows(pairs: Sequence[Row]) -> "pl.DataFrame":
    """Pairs of a better and a worse answer as rows to freeze."""
    import polars as pl

    given = [
        row | {"prompt": row["input"], "chosen": answer_json(row["answer"]), "rejected": answer_json(row["rejected"])}
        for row in pairs
    ]
    schema = dict.fromkeys(HASHED, pl.String) | {"weight": pl.Float64}
    return pl.DataFrame([{"weight": 1.0} | row for row in given], schema=schema, infer_schema_length=None)


def _store(config: Config, round_: Round, snapshot: Snapshot, frozen: "pl.DataFrame", evidence: dict[str, Any]) -> None:
    summary = {"hash": snapshot.hash, "rows": snapshot.rows}
    with writing(config, round_, "blend") as tx:
        tx.run(
            "insert_snapshot", snapshot_hash=snapshot.hash, round_id=round_.round_id, path=str(snapshot.path),
            rows=snapshot.rows, created_at=now(),
        )  # fmt: skip
        tx.load("insert_snapshot_rows", frozen.select(LINEAGE), snapshot_hash=snapshot.hash)
        tx.run("set_round_snapshot", round_id=round_.round_id, snapshot_hash=snapshot.hash)
        record_evidence(tx, round_, snapshot=summary, blend=composition(frozen), **evidence)


def copies_left_out(rows: "pl.DataFrame") -> dict[str, int]:
    """How many usable rows stay out of the training rows as near-duplicates of some of them, by signal."""
    import polars as pl

    groups = rows.group_by("signal", "group_hash").agg(pl.col("group_rows").first(), taken=pl.len())
    counts = groups.group_by("signal").agg((pl.col("group_rows") - pl.col("taken")).sum().alias("left"))
    return dict(counts.sort("signal").iter_rows())


def composition(rows: "pl.DataFrame") -> list[dict[str, Any]]:
    """What a training set is made of, by signal and source, with its producers."""
    import polars as pl

    counts = rows.group_by("signal", "source", "producer").agg(rows=pl.len())
    ordered = counts.sort(["signal", "source", "rows", "producer"], descending=[False, False, True, False])
    return [
        {
            "signal": signal,
            "source": source,
            "rows": part["rows"].sum(),
            "producers": dict(part.select("producer", "rows").iter_rows()),
        }
        for (signal, source), part in ordered.group_by("signal", "source", maintain_order=True)
    ]


def _counts(rows: "pl.DataFrame", column: str, minus: "pl.DataFrame") -> dict[str, int]:
    """How many rows more the first frame has than the second, by the values of a column."""
    taken = dict(minus[column].value_counts().iter_rows())
    return {key: count - taken.get(key, 0) for key, count in rows[column].value_counts().sort(column).iter_rows()}


@task(name="blend", cache_policy=NO_CACHE)
def blend_task(config: Config, round_: Round) -> None:
    """Prefect task around `blend`."""
    logger = get_run_logger()
    made = blend(config, round_, lambda done, total: logger.info("Candidates for %d of %d inputs", done, total))
    logger.info(
        "Snapshot %s: %d corrections with %d demonstrations%s; %d more corrections are copies of these",
        made["hash"][:12], made["corrections"], made["rows"] - made["corrections"] - made["pairs"],
        f", {made['pairs']} pairs" if made["pairs"] else "", made["copies_left_out"].get("correction", 0),
    )  # fmt: skip
    if sampled := made.get("candidates"):
        counts = ", ".join(f"{number} {name}" for name, number in sampled["counts"].items())
        logger.info("Candidates of %s, ranked by %s: %s", sampled["champion"], sampled["ranked_by"], counts)
