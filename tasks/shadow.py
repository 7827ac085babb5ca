"""Stage 11: before it serves, the challenger answers production's latest calls beside the champion.

Nobody knows the right answers of most of them; but what differs shows what users would notice. The inputs are the
latest ones as of the pass that the round is pinned to, each once, and are asked through the suite's own queue: what
was answered before, in the suite or before a kill, is not asked again. Each difference is put to the class of failures
that it is like, as if the challenger's answer corrected the champion's. It decides nothing; people may look at it
before they approve, and can take it for review (`flywheel shadow ROUND --out FILE`).
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.chat import shown
from tasks.child import Progress, run_child
from tasks.config import Config
from tasks.costs import add_cost
from tasks.db import Row, State
from tasks.records import user_text
from tasks.rounds import Round, held_row, note_gpus, record_evidence, writing
from tasks.score import make_canonical

if TYPE_CHECKING:
    from tasks.suite_queue import Files

ROLES = ("champion", "challenger")


def shadow(config: Config, round_: Round, on_progress: Progress | None = None) -> Row:
    """Stage shadow: the facts of it; empty where none is asked for, nothing is promoted, or nobody called.

    Raises:
        FlywheelError: an adapter is not the recorded one, or see `tasks.answering.main`.
    """
    state = State(config.database)
    with state.transaction() as tx:
        is_promoted = held_row(tx, round_)["verdict"] == "promote"
        limit = config.promotion.shadow if is_promoted else 0
        calls = tx.rows("list_latest_inputs", pinned_seq=round_.pinned_seq, limit=limit) if limit else []
    if not calls:
        with writing(config, round_, "shadow"):
            return {}
    outputs, facts = _answer(config, round_, calls, on_progress)
    answered = [call for call in calls if all(call["input_hash"] in outputs[role] for role in ROLES)]
    rows = _compare(config, round_, answered, outputs)
    facts |= {"compared": len(rows), "too_long": len(calls) - len(rows), "differ": sum(row["differs"] for row in rows)}
    _store(config, round_, rows, facts)
    shutil.rmtree(_files(config, round_).folder, ignore_errors=True)
    return facts


def _files(config: Config, round_: Round) -> "Files":
    from tasks.suite_queue import Files

    return Files(config.round_folder(round_.round_id) / "shadow")


def _answer(
    config: Config, round_: Round, calls: Sequence[Row], on_progress: Progress | None
) -> tuple[dict[str, dict[str, str]], Row]:
    """Let both models answer: their outputs by role and input's hash, and the facts of it."""
    import polars as pl
    from pyarrow import parquet as pq

    from tasks.answering import queue_schema, table
    from tasks.child import gpus
    from tasks.regress import models_of, served_by, spec_of
    from tasks.suite_queue import find_known, queue_row

    files, served, state = _files(config, round_), served_by(config), State(config.database)
    with state.transaction() as tx:
        found = models_of(tx, config, round_, served)
    models = {role: found[role] for role in ROLES}
    asked = [call | {"case_id": call["input_hash"], "expected": ""} for call in calls]
    files.folder.mkdir(parents=True, exist_ok=True)
    queue = [queue_row(role, models[role], each) for role in ROLES for each in asked]
    pq.write_table(table(queue, queue_schema()), files.queue)
    with state.transaction() as tx:
        known = find_known(tx, files)
    spec = spec_of(config, files, models, {}, served, leave_out_long=True)
    folder = config.round_folder(round_.round_id) / "shadow"
    told: Row = {}
    if known < len(queue):
        note_gpus(config, round_, "shadow", 0 if config.engine.address else min(1, gpus()))
        told = run_child("tasks.answering:main", spec, folder, on_progress)
    outputs: dict[str, dict[str, str]] = {role: {} for role in ROLES}
    for path in sorted(files.answers.glob("*.parquet")):
        for role, id_, output in pl.read_parquet(path).select("role", "case_id", "output").iter_rows():
            outputs[role][id_] = output
    counted = {key: told.get(key, 0) for key in ("prompt_tokens", "output_tokens", "seconds")}
    return outputs, counted | {"asked": len(calls), "reused": known}


def _compare(
    config: Config,
    round_: Round,
    calls: Sequence[Row],
    outputs: Mapping[str, Mapping[str, str]],
) -> list[Row]:
    """Rows of shadow_answers; that two answers differ in spelling alone is no difference."""
    canonical = make_canonical(config.scorer)
    rows = []
    for call in calls:
        said = {f"{role}_output": outputs[role][call["input_hash"]] for role in ROLES}
        differs = len({canonical(output) for output in said.values()}) > 1
        rows.append({"round_id": round_.round_id, **call, **said, "differs": differs, "cluster_id": None})
    return _with_classes(config, round_, rows)


def _with_classes(config: Config, round_: Round, rows: list[Row]) -> list[Row]:
    """The rows, those that differ with the class of the call itself, or else that the difference is like."""
    from tasks.cluster import Failure
    from tasks.newcomers import classes_of

    differing = [row for row in rows if row["differs"]]
    if not differing:
        return rows
    state = State(config.database)
    with state.transaction() as tx:
        failures = tx.frame("list_failures", pinned_seq=round_.pinned_seq, round_id=round_.round_id)
    own = dict(failures.select("inference_id", "cluster_id").iter_rows())
    more = [
        Failure(row["inference_id"], user_text(row["input"]), *(shown(row[f"{role}_output"]) for role in ROLES))
        for row in differing
    ]
    like = classes_of(config, state, failures, more)[failures.height :]
    for row, cluster_id in zip(differing, like, strict=True):
        row["cluster_id"] = own.get(row["inference_id"]) or cluster_id
    return rows


def _store(config: Config, round_: Round, rows: list[Row], facts: Row) -> None:
    import polars as pl

    from tasks.suite_queue import count_generated

    with writing(config, round_, "shadow") as tx:
        add_cost(tx, round_.round_id, "shadow", tokens_generated=count_generated(tx, _files(config, round_)))
        tx.run("delete_shadow_answers", round_id=round_.round_id)
        if rows:
            frame = pl.DataFrame(rows, schema_overrides={"cluster_id": pl.String}, infer_schema_length=None)
            tx.load("insert_shadow_answers", frame)
        classes = tx.rows("count_shadow_classes", round_id=round_.round_id)
        record_evidence(tx, round_, shadow=facts | {"classes": classes})


@task(name="shadow", cache_policy=NO_CACHE)
def shadow_task(config: Config, round_: Round) -> None:
    """Prefect task around `shadow`."""
    logger = get_run_logger()
    found = shadow(config, round_, lambda done, total: logger.info("%d of %d answers", done, total))
    if found:
        logger.info("Both models answered %d of the latest inputs; %d differ", found["compared"], found["differ"])
