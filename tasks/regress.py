"""Stage 8: champion and challenger answer the whole regression suite, on one vLLM engine, in a child process.

Both are LoRA adapters of the same engine (a champion without an adapter is the bare base model), so that nothing
but the adapter differs between them. Before any case is judged, the server's log-probabilities are held against
the trainer's: what is gated must be what was trained. Some cases are asked of others too: of the pinned reference, of
the champion with corrections in its prompt, and of the champion a second time. What the same model has answered before,
to the same prompt, with the same decoding on the same engine, is not asked again.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.adapters import check_base
from tasks.case_scores import judge_evidence, needs_expected, refuse_blank, score_cases
from tasks.child import Progress, gpus, run_child
from tasks.config import Config
from tasks.costs import add_cost
from tasks.db import Row, State, Transaction
from tasks.engine import answerer, checked_adapter, engine_dtype, vllm_version
from tasks.errors import FlywheelError
from tasks.leaks import guard
from tasks.parity import UNKNOWN, tolerance
from tasks.progress import ProgressBar
from tasks.records import sha256
from tasks.reference import reference_of
from tasks.rounds import Round, held_row, note_gpus, record_evidence, writing
from tasks.score import Score
from tasks.suite import in_snapshot
from tasks.suite_queue import (
    AGAIN,
    Files,
    Model,
    choose,
    count_generated,
    count_shown,
    find_known,
    read_answered,
    read_cases,
    write_cases,
    write_queue,
)

if TYPE_CHECKING:
    import polars as pl

PART_ROWS = 2048  # answers that are written down at once


@dataclass(frozen=True)
class Frozen:
    """The suite's version, and the cases that each role's model was trained on or on near-duplicates of, by role."""

    suite_hash: str
    trained_on: Mapping[str, set[str]]


def regress(
    config: Config, round_: Round, on_progress: Progress | None = None, on_judged: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Run the suite as of this round on all roles and store each case's outcome; the facts of it.

    Args:
        on_progress: told of the answers as they come.
        on_judged: told how many of all answers are judged, some thousand more each time.

    Raises:
        FlywheelError: an adapter is not the one that was recorded or belongs to another base, or see
            `tasks.answering.main`.
    """
    guard(config, round_)
    state, folder = State(config.database), config.round_folder(round_.round_id)
    files = Files(folder / "suite")
    served = served_by(config)
    with state.transaction() as tx:
        models = models_of(tx, config, round_, served)
        probes = _probes(tx, config, round_, models, served["dtype"])
        snapshot = tx.rows("get_snapshot", snapshot_hash=models["challenger"].snapshot_hash)[0]
        frozen = Frozen(
            json.loads(held_row(tx, round_)["evidence"])["suite_hash"],
            {role: in_snapshot(tx, model.snapshot_hash) for role, model in models.items()},
        )
        cases = write_cases(tx, config, round_.round_id, files.cases)
    if needs_expected(config.scorer):  # before anything is asked, which may take hours
        for piece in read_cases(files):
            refuse_blank(piece)
    chosen = choose(cases, round_.round_id, models, config.engine)
    rows = write_queue(config, files, chosen, models, Path(snapshot["path"]))
    with state.transaction() as tx:
        known = find_known(tx, files)
    note_gpus(config, round_, "regress", 0 if config.engine.address else min(1, gpus()))
    answered = run_child("tasks.answering:main", spec_of(config, files, models, probes, served), folder, on_progress)
    agreed = answered.pop("logprob_agreement")
    judged, evidence = _judge_all(config, round_, files, models, rows, frozen, on_judged)
    facts = answered | _facts(config, files, models, chosen, served) | {"reused": known}
    with writing(config, round_, "regress") as tx:
        tx.run("delete_case_results", round_id=round_.round_id)
        add_cost(tx, round_.round_id, "regress", tokens_generated=count_generated(tx, files))
        if judged:
            with tx.incoming(judged):
                tx.run("insert_case_results")
        record_evidence(tx, round_, logprob_agreement=agreed, engine=facts, **evidence)
    shutil.rmtree(files.folder)
    return {"cases": len(cases), "reused": known} | agreed


def served_by(config: Config) -> dict[str, Any]:
    """What answers: its version, its type of numbers, and how it is started: `server` is None for an own engine."""
    options = config.engine
    if options.address is None:
        return {"version": vllm_version(), "dtype": engine_dtype(), "server": None, "name": None}
    from tasks.server import describe

    found = describe(options, config.model.max_length)
    return {"version": found.version, "dtype": UNKNOWN, "server": found.model, "name": f"{found.version} {found.model}"}


def models_of(tx: Transaction, config: Config, round_: Round, served: Mapping[str, Any]) -> dict[str, Model]:
    """The model of each role. The reference is left out where there is none, or where the champion is the same."""
    asked = {"champion": round_.champion_version}
    if (reference := reference_of(tx, round_)) is not None:
        asked["reference"] = reference["version"]
    found = {
        role: (version or "base", tx.rows("get_version", version=version)[0] if version else None)
        for role, version in asked.items()
    }
    found["challenger"] = (f"round {round_.round_id}", held_row(tx, round_))
    models = {role: _model(config, version, row, served) for role, (version, row) in found.items()}
    if "reference" in models and models["reference"].answered_by == models["champion"].answered_by:
        del models["reference"]
    return models | dict.fromkeys(("few_shot", AGAIN), models["champion"])


def _model(config: Config, version: str, row: Row | None, served: Mapping[str, Any]) -> Model:
    """A version as it is asked, its adapter's hash and base checked; without a row it is the bare base model."""
    adapter = checked_adapter(row["adapter_path"], row["adapter_sha256"]) if row else None
    if adapter is not None:
        check_base(Path(adapter), config.model.base)
    known_by = sha256([answerer(config, adapter, served["name"]), config.engine.structured_outputs])
    return Model(version, adapter, known_by, row["snapshot_hash"] if row else None)


def _probes(
    tx: Transaction, config: Config, round_: Round, models: Mapping[str, Model], dtype: str
) -> dict[str, dict[str, Any]]:
    """What the trainer predicted, for the challenger, and for the champion where its round's folder is still there."""
    rounds = {"challenger": round_.round_id}
    if round_.champion_version:
        rounds["champion"] = tx.rows("get_version", version=round_.champion_version)[0]["round_id"]
    probes = {}
    for role, round_id in rounds.items():
        file = config.round_folder(round_id) / "probe.json"
        if role == "challenger" or file.is_file():
            evidence = json.loads(tx.rows("get_round", round_id=round_id)[0]["evidence"])
            on_gpu = evidence.get("training", {}).get("device") == "cuda"
            allowed = tolerance((dtype, "bfloat16" if on_gpu else "float32"), config.gate.logprob_tolerance)
            probes[role] = {
                "prefixes": json.loads(file.read_text(encoding="utf-8")),
                "adapter": models[role].adapter,
                "dtype": dtype,
                "tolerance": allowed,
            }
    return probes


def spec_of(
    config: Config,
    files: Files,
    models: Mapping[str, Model],
    probes: Mapping[str, Mapping[str, Any]],
    served: Mapping[str, Any],
    leave_out_long: bool = False,
) -> dict[str, Any]:
    """What the child is told. Where prompts that are too long are not left out, the first of them is an error."""
    options = config.engine
    server = None
    if options.address is not None:
        named = {str(models[role].adapter): name for role, name in options.adapters.items() if role in models}
        given = {"address", "api_key_env", "timeout_s", "concurrency"}
        server = options.model_dump(include=given) | {"model": served["server"], "named": named}
    return {
        "queue": str(files.asked),
        "folder": str(files.folder),
        "base": config.model.base,
        "trusts_code": config.model.trusts_code,
        "adapters": list(dict.fromkeys(model.adapter for model in models.values() if model.adapter)),
        "max_length": config.model.max_length,
        "max_new_tokens": config.model.max_new_tokens,
        "structured_outputs": options.structured_outputs,
        "dtype": served["dtype"],
        "server": server,
        "probes": probes,
        "part_rows": PART_ROWS,
        "leave_out_long": leave_out_long,
    }


def _judge_all(
    config: Config,
    round_: Round,
    files: Files,
    models: Mapping[str, Model],
    rows: int,
    frozen: Frozen,
    on_judged: Progress,
) -> tuple[list[Path], dict[str, Any]]:
    """Judge the suite, some cases at a time, into Parquet files of the columns of case_results; with what the scorer
    adds to the evidence.

    Raises:
        FlywheelError: an answer is missing, or see `score_cases`.
    """
    paths: list[Path] = []
    verdicts: list[Row] = []
    found = 0
    for cases, answers in read_answered(files):
        outputs: dict[str, dict[str, str]] = {role: {} for role in models}
        for role, case_id, output in answers.select("role", "case_id", "output").iter_rows():
            outputs[role][case_id] = output
        scored = score_cases(config, cases, outputs)
        verdicts += scored.verdicts
        judged = _results(round_, outputs, scored.scores, models, frozen)
        path = files.folder / f"judged-{len(paths):05d}.parquet"
        known_by = answers.select("role", "case_id", "answered_by", "tokens")
        judged.join(known_by, on=["role", "case_id"], how="left").write_parquet(path)
        paths, found = [*paths, path], found + judged.height
        on_judged(found, rows)
    if found != rows:
        raise FlywheelError(f"{rows - found} of {rows} answers of the suite are missing; run the round again")
    return paths, judge_evidence(config, round_.pinned_seq, verdicts)


def _results(
    round_: Round,
    outputs: Mapping[str, Mapping[str, str]],
    scores: Mapping[str, Mapping[str, Score]],
    models: Mapping[str, Model],
    frozen: Frozen,
) -> "pl.DataFrame":
    """Outcomes of some cases: of each role those that it has an output to, by case_id."""
    import polars as pl

    return pl.DataFrame(
        [
            {
                "round_id": round_.round_id,
                "role": role,
                "model_version": models[role].version,
                "case_id": case_id,
                "output": output,
                "score": scores[role][case_id].value,
                "is_right": scores[role][case_id].is_right,
                "is_valid": scores[role][case_id].is_valid,
                "in_snapshot": case_id in frozen.trained_on[role],
                "suite_hash": frozen.suite_hash,
            }
            for role, texts in outputs.items()
            for case_id, output in texts.items()
        ]
    )


def _facts(
    config: Config,
    files: Files,
    models: Mapping[str, Model],
    chosen: Mapping[str, frozenset[str] | None],
    served: Mapping[str, Any],
) -> dict[str, Any]:
    """What the evidence says of the engine beside what the child reports."""
    again = chosen[AGAIN]
    return {
        "starts": 1 if served["server"] is None else 0,
        "version": served["version"],
        "dtype": served["dtype"],
        "server": served["server"],
        "structured_outputs": config.engine.structured_outputs,
        "adapters": {
            role: _adapter_fact(models[role]) for role in chosen if role in ("champion", "challenger", "reference")
        },
        "noise_cases": len(again or ()),
        "few_shot": count_shown(files) | {"corrections": config.engine.few_shot},
    }


def _adapter_fact(model: Model) -> dict[str, Any]:
    return {"version": model.version, "adapter": Path(model.adapter).name if model.adapter else None}


@task(name="regress", cache_policy=NO_CACHE)
def regress_task(config: Config, round_: Round) -> None:
    """Prefect task around `regress`, with a progress bar in the UI."""
    logger = get_run_logger()
    bar = ProgressBar(f"Regression suite of round {round_.round_id}")
    bar.show(0, 1)
    where = f"Asking the server at {config.engine.address}" if config.engine.address else "Starting one vLLM engine"
    logger.info("%s for champion and challenger", where)

    def show(done: int, total: int) -> None:
        bar.show(done, total, f"{done:,} of {total:,} answers")
        logger.info("%d of %d answers", done, total)

    def show_judged(done: int, total: int) -> None:
        bar.show(done, total, f"{done:,} of {total:,} answers judged")
        logger.info("%d of %d answers judged", done, total)

    made = regress(config, round_, show, show_judged)
    if not made["cases"]:
        logger.warning("The suite has no case yet, so the gate has nothing to go by: see split.unseen and split.anchor")
    logger.info(
        "Both models answered %d cases (%d answers were known); trainer and server agree to %.1e nats over %d tokens",
        made["cases"], made["reused"], made["max_abs_difference"], made["tokens"],
    )  # fmt: skip
