"""Stage 10: the adapter, its metrics, its snapshot and the evidence go to MLflow, as a registered model version.

The adapter alone is logged; the base model is referred to. Everything is find-or-create, keyed by the round: a run
that was cut short is deleted, once its training's metrics are in the one that is logged in its stead; a finished one is
found, and a version is created once.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.adapters import WEIGHTS
from tasks.base_models import load_adapter, load_base, load_tokenizer
from tasks.child import Progress, run_child
from tasks.config import Config
from tasks.costs import add_cost, bytes_of
from tasks.db import State, Transaction
from tasks.errors import FlywheelError
from tasks.live_metrics import (
    PREFIXES,
    ROUND_TAG,
    TRAINING_TAG,
    find_or_create_experiment,
    find_or_create_run,
    logged_steps,
)
from tasks.methods import STAGES
from tasks.metrics import metrics
from tasks.records import now
from tasks.rounds import Round, complete_evidence, held_row, writing
from tasks.snapshot_card import card_markdown
from tasks.snapshots import read_snapshot
from tasks.tracking_store import check_server, make_store, naming_lost_server

MODEL_TAG = "flywheel.model_id"
REQUIREMENTS = ["torch", "transformers", "peft"]
BATCH = 1000  # metrics that MLflow takes at once


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Log and register in this process (the child); the run's id and the version. See `register` for the spec.

    Raises:
        FlywheelError: MLflow's server is gone, or what arrived there is not what was gated.
    """
    make_store(spec["tracking_uri"])
    check_server(spec["tracking_uri"])
    with naming_lost_server(spec["tracking_uri"]):
        return _register(spec)


def _register(spec: dict[str, Any]) -> dict[str, Any]:
    import mlflow

    mlflow.set_tracking_uri(spec["tracking_uri"])
    client = mlflow.MlflowClient()
    experiment_id = find_or_create_experiment(client, spec["workload"], spec["artifact_location"])
    run_id, model_id = _finished_run(client, experiment_id, spec["round_key"]) or _log_run(client, experiment_id, spec)
    version = _version(client, spec, model_id)
    return {"run_id": run_id, "version": version}


def _finished_run(client: Any, experiment_id: str, round_key: str) -> tuple[str, str] | None:
    """The round's run, if it was logged whole."""
    for run in client.search_runs([experiment_id], f"tags.`{ROUND_TAG}` = '{round_key}'"):
        if MODEL_TAG in run.data.tags:
            return run.info.run_id, run.data.tags[MODEL_TAG]
    return None


def _take_over(client: Any, experiment_id: str, round_key: str, run_id: str, own: Collection[str] = ()) -> None:
    """Copy the training's metrics from the round's runs that were cut short, and delete these.

    Those named in `own` are not the training's: registration logs them itself, in this run again.
    """
    for run in client.search_runs([experiment_id], f"tags.`{ROUND_TAG}` = '{round_key}'"):
        if run.info.run_id != run_id:
            for key in run.data.metrics:
                if key.partition("/")[0] in PREFIXES.values() and key not in own:
                    _copy_metric(client, key, run.info.run_id, run_id)
            client.delete_run(run.info.run_id)


def _copy_metric(client: Any, key: str, source: str, target: str) -> None:
    there = {metric.step for metric in client.get_metric_history(target, key)}
    missing = [metric for metric in client.get_metric_history(source, key) if metric.step not in there]
    for start in range(0, len(missing), BATCH):
        client.log_batch(target, missing[start : start + BATCH])


def _log_run(client: Any, experiment_id: str, spec: dict[str, Any]) -> tuple[str, str]:
    import mlflow

    evidence = spec["evidence"]
    tags = {
        ROUND_TAG: spec["round_key"],
        "verdict": evidence["verdict"],
        "snapshot": evidence["snapshot"]["hash"],
        **hashes(evidence),
    }
    name = f"round {evidence['round']}"
    run_id = find_or_create_run(client, spec["artifact_location"], spec["workload"], name, spec["round_key"])
    _take_over(client, experiment_id, spec["round_key"], run_id, own=metrics(evidence))
    client.delete_tag(run_id, TRAINING_TAG)  # one that is cut short from here on is taken over by another
    with mlflow.start_run(run_id, experiment_id=experiment_id, tags=tags) as run:
        mlflow.log_params(dict(_flatten(spec["params"])))
        mlflow.log_metrics(metrics(evidence))
        _log_losses(client, run_id, evidence["training"])
        _log_snapshot(evidence["snapshot"]["hash"], Path(spec["snapshot_path"]))
        _log_tables_and_charts(evidence)
        mlflow.log_artifact(spec["flips_path"])
        model_id = _log_adapter(spec["base"], spec["trusts_code"], spec["adapter_path"])
        client.set_tag(run.info.run_id, MODEL_TAG, model_id)
    return run.info.run_id, model_id


def _log_losses(client: Any, run_id: str, training: dict[str, Any]) -> None:
    """The loss curves, where they were not logged while the training ran."""
    for stage, facts in training.get("stages", {"sft": training}).items():
        logged = logged_steps(client, run_id, stage)
        for step, loss in facts["loss"]:
            if step not in logged:
                client.log_metric(run_id, f"{PREFIXES[stage]}/loss", loss, step=step)


def hashes(evidence: dict[str, Any]) -> dict[str, str]:
    """The suite that a version was judged on and what was answered to it, by which equal evidence is found."""
    known = {"suite_hash": evidence.get("suite_hash"), "results_sha256": evidence["gate"].get("results_sha256")}
    return {name: value for name, value in known.items() if value}


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        if isinstance(part, dict):
            yield from _flatten(part, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", part


def _log_snapshot(snapshot_hash: str, path: Path) -> None:
    """The snapshot as the run's dataset input: its rows, under the snapshot's own hash (MLflow takes 36 digits)."""
    import mlflow

    rows = read_snapshot(path, snapshot_hash).select("signal", "source", "producer", "signal_id", "prompt", "chosen")
    dataset = mlflow.data.from_polars(rows, source=str(path), name="snapshot", digest=snapshot_hash[:36])
    mlflow.log_input(dataset, context="training")
    mlflow.log_artifact(str(path), "snapshot")


def _log_tables_and_charts(evidence: dict[str, Any]) -> None:
    import mlflow

    from tasks import charts
    from tasks.markdown import flips_table, verdict_markdown

    mlflow.log_dict(evidence, "evidence.json")
    mlflow.log_text(verdict_markdown(evidence), "verdict.md")
    mlflow.log_dict(evidence["card"], "snapshot/card.json")
    mlflow.log_text(card_markdown(evidence), "snapshot/card.md")
    flips = flips_table(evidence)
    if flips:
        mlflow.log_table({key: [row[key] for row in flips] for key in flips[0]}, "flips.json")
    for name in ("tier_chart", "gate_chart", "cluster_chart"):
        mlflow.log_figure(getattr(charts, name)(evidence), f"charts/{name}.png")


def _log_adapter(base: str, trusts_code: bool, adapter_path: str) -> str:
    """Log the adapter without its base; the id of the logged model.

    Raises:
        FlywheelError: the weights that arrived are not those that were gated.
    """
    import mlflow

    model = load_adapter(load_base(base, trusts_code), adapter_path)
    # MLflow has PEFT save it, which would put the base's own embeddings beside an adapter on them.
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    logged = mlflow.transformers.log_model(
        {"model": model, "tokenizer": load_tokenizer(base, trusts_code)},
        name="adapter",
        task="text-generation",
        base_model_path=base if Path(base).is_dir() else None,
        pip_requirements=REQUIREMENTS,
    )
    location = mlflow.get_logged_model(logged.model_id).artifact_location
    copy = mlflow.artifacts.download_artifacts(f"{location}/peft/{WEIGHTS}")
    if Path(copy).read_bytes() != (Path(adapter_path) / WEIGHTS).read_bytes():
        raise FlywheelError(f"the registry's copy of {adapter_path} differs from what was gated; run the round again")
    return str(logged.model_id)


def _version(client: Any, spec: dict[str, Any], model_id: str) -> str:
    """The registered version of the logged model, created if need be, with its tags and the `challenger` alias."""
    import mlflow

    name = spec["workload"]
    source = f"models:/{model_id}"
    known = {version.source: version for version in client.search_model_versions(f"name = '{name}'")}
    version = known.get(source) or mlflow.register_model(source, name)
    client.update_model_version(name, version.version, spec["description"])
    for key, value in spec["version_tags"].items():
        client.set_model_version_tag(name, version.version, key, value)
    client.set_registered_model_alias(name, "challenger", version.version)
    return str(version.version)


def register(config: Config, round_: Round) -> str:
    """Register the round's adapter in a child process; its version."""
    with State(config.database).transaction() as tx:
        row = held_row(tx, round_)
        snapshot = tx.rows("get_snapshot", snapshot_hash=row["snapshot_hash"])[0]
        evidence = complete_evidence(config.name, row)
        flips_path = _write_flips(tx, config, round_.round_id, evidence)
    spec = {
        "tracking_uri": config.tracking_uri,
        "artifact_location": config.artifact_location,
        "workload": config.name,
        "round_key": round_.round_key,
        "evidence": evidence,
        "params": _config_params(config) | {"round": _round_params(evidence)},
        "snapshot_path": snapshot["path"],
        "flips_path": str(flips_path),
        "base": str(Path(config.model.base).resolve()) if Path(config.model.base).is_dir() else config.model.base,
        "trusts_code": config.model.trusts_code,
        "adapter_path": row["adapter_path"],
        "description": _description(evidence),
        "version_tags": {
            "verdict": row["verdict"],
            "round": str(round_.round_id),
            "snapshot": row["snapshot_hash"][:12],
            "adapter_sha256": row["adapter_sha256"][:12],
            **{name: value[:12] for name, value in hashes(evidence).items()},
        },
    }
    version = str(run_child("tasks.register:main", spec, config.round_folder(round_.round_id))["version"])
    with writing(config, round_, "register") as tx:
        tx.run(
            "insert_version",
            version=version,
            round_id=round_.round_id,
            snapshot_hash=row["snapshot_hash"],
            adapter_path=row["adapter_path"],
            adapter_sha256=row["adapter_sha256"],
            created_at=now(),
        )
        tx.run("set_challenger", round_id=round_.round_id, version=version)
        add_cost(tx, round_.round_id, "register", bytes_kept=bytes_of(flips_path))
    return version


def _write_flips(tx: Transaction, config: Config, round_id: int, evidence: dict[str, Any]) -> Path:
    """All flips of the round, with their whole texts, as Parquet beside its evidence, which may hold fewer."""
    protected = evidence["gate"].get("facts", {}).get("protected", [])
    path = config.round_folder(round_id) / "flips.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    tx.frame("list_flips", round_id=round_id, protected=list(protected), limit=None).write_parquet(path)
    return path


def _description(evidence: dict[str, Any]) -> str:
    """What the registry shows beside a version: the verdict with its reasons, and what it was trained on."""
    kinds = ", ".join(f"{rows} {kind}s" for kind, rows in evidence["card"]["by"]["signal"].items())
    verdict = f"Round {evidence['round']}, {evidence['verdict']}: {'; '.join(evidence['reasons'])}"
    return f"{verdict}\n\nTrained on {kinds}; the card is snapshot/card.md in the run."


def _config_params(config: Config) -> dict[str, Any]:
    """The settings that a version depends on; of the trainers, those of the method's stages."""
    stages = {{"sft": "trainer", "dpo": "dpo"}[stage] for stage in STAGES[config.training_method]}
    sampled = {"candidates"} if config.candidates else set()
    parts = config.model_dump(mode="json", include={"model", "adapter", "blend", "split", "gate"} | stages | sampled)
    return parts | {"method": config.training_method}


def _round_params(evidence: dict[str, Any]) -> dict[str, Any]:
    """What differs between rounds that ran with one config, so that a comparison of versions shows it."""
    corrections = sum(part["rows"] for part in evidence["blend"] if part["signal"] == "correction")
    return {
        "number": evidence["round"],
        "champion": evidence["champion"]["label"],
        "verdict": evidence["verdict"],
        "snapshot": evidence["snapshot"]["hash"][:12],
        "rows": evidence["snapshot"]["rows"],
        "corrections": corrections,
    }


@task(name="register", cache_policy=NO_CACHE)
def register_task(config: Config, round_: Round) -> str:
    """Prefect task around `register`."""
    version = register(config, round_)
    get_run_logger().info("Registered %s version %s in MLflow, alias challenger", config.name, version)
    return version
