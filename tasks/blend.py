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
from tasks.costs import add_cost, bytes_of
from tasks.db import Row, State
from tasks.errors import StateError
from tasks.methods import STAGES
from tasks.mix import choose_places, distances, each_distinct, with_cells
from tasks.pairs import list_pairs
from tasks.records import now
from tasks.rounds import Round, held_row, record_evidence, writing
from tasks.score import make_canonical
from tasks.snapshot_card import left_out, make_card
from tasks.snapshots import AFTER, BEFORE, HASHED, Snapshot, answer_json, freeze, write_snapshot
from tasks.split import COPIES

if TYPE_CHECKING:
    import polars as pl

LINEAGE = (
    "position", "signal", "signal_id", "inference_id", "input_hash", "content_hash", "source", "producer", "cluster_id",
    "derived",
)  # fmt: skip
ESCAPED = r'["\\\x00-\x1f\x7f]'  # what JSON spells otherwise within a text, and MARK; DEL only to be sure
GIVE_UP = "then give the round up with `flywheel abandon --config FILE` and run another"


def blend(config: Config, round_: Round, on_progress: Progress | None = None) -> Row:
    """Choose the round's training rows and freeze them; the snapshot's hash, size and make-up.

    Raises:
        StateError: there is no correction to train on, no demonstration beside them, or one answer alone.
        FlywheelError: candidates could not be sampled, see `find_candidates`.
    """
    candidates = find_candidates(config, round_, on_progress)
    with State(config.database).transaction() as tx:
        usable = tx.frame("list_training_rows", pinned_seq=round_.pinned_seq)
        mix = tx.frame("list_production_mix", pinned_seq=round_.pinned_seq)
        pairs = list_pairs(tx, config, round_.pinned_seq, candidates.pairs if candidates else ())
        told = json.loads(held_row(tx, round_)["evidence"])
    if "sft" not in STAGES[config.training_method]:
        usable = usable.clear()
    taken = without_copies(usable, COPIES)
    rows, production = with_cells(taken, mix, make_canonical(config.scorer))
    places = choose_places(rows, production, config.blend)
    chosen = rows[places.sort()]  # as they lie in memory, see `freeze`
    if "sft" in STAGES[config.training_method]:
        _refuse_what_cannot_teach(usable, chosen, config, round_)
    frozen = _frozen(chosen, places.rank("ordinal") - 1, pairs)
    snapshot = write_snapshot(frozen, config.folder / "snapshots")
    out = {
        "copies_left_out": _counts(usable, "signal", minus=taken),
        "not_chosen": _counts(taken, "signal", minus=chosen),
    }
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
            f"{name} has no usable correction on its training side (see `flywheel status --details` for why): collect "
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


def _frozen(chosen: "pl.DataFrame", order: "pl.Series", pairs: Sequence[Row]) -> "pl.DataFrame":
    """The chosen rows in the order of training, and behind them the pairs, as a snapshot has them."""
    import polars as pl

    behind = pl.int_range(chosen.height, chosen.height + len(pairs), eager=True)
    rows = pl.concat([training_rows(chosen), pair_rows(pairs)])
    return freeze(rows, pl.concat([order.cast(pl.Int64), behind]))


def training_rows(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Signals with their input and answer as rows to freeze: the prompt's messages, the answer's, and a weight."""
    import polars as pl

    return rows.with_columns(
        prompt=pl.col("input"),
        chosen=answers_json(rows["answer"]),
        rejected=pl.lit(None, pl.String),
        derived=pl.lit(None, pl.String),
        weight=pl.lit(1.0),
    ).select(HASHED)


def answers_json(answers: "pl.Series") -> "pl.Series":
    """`answer_json` of each answer: at once where nothing in it is escaped, else once for each distinct one."""
    import polars as pl

    is_escaped = answers.str.contains(ESCAPED)
    spelled = pl.select(pl.concat_str(pl.lit(BEFORE), answers, pl.lit(AFTER))).to_series()
    if not is_escaped.any():
        return spelled
    return spelled.scatter(is_escaped.arg_true(), each_distinct(answers.filter(is_escaped), answer_json))


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
        add_cost(tx, round_.round_id, "blend", bytes_kept=bytes_of(snapshot.path))
        record_evidence(tx, round_, snapshot=summary, blend=composition(frozen), **evidence)


def without_copies(rows: "pl.DataFrame", copies: int) -> "pl.DataFrame":
    """The rows, but of each group of near-duplicates and signal one an answer, and the `copies` that came in last.

    Of equal answers it is that of the lowest signal_id, as late as the last of them. The order of rows makes no
    difference to which are taken. Most groups are of one row, and are not ranked.
    """
    import polars as pl

    group = ["group_hash", "signal"]
    crowded = rows.select(group).is_duplicated()
    narrow = rows.select(*group, "answer", "signal_id", "ingest_seq", place=pl.int_range(pl.len())).filter(crowded)
    by_answer = narrow.sort("signal_id").group_by(*group, "answer", maintain_order=True)
    one_an_answer = by_answer.agg(pl.first("signal_id", "place"), last_seq=pl.max("ingest_seq"))
    newest_first = one_an_answer.sort("last_seq", "signal_id", descending=[True, False])
    kept = newest_first.group_by(group, maintain_order=True).head(copies)["place"]
    return rows.filter(~crowded | pl.int_range(pl.len()).is_in(kept.implode()))


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
