"""What goes to the registry: parameters, hashes and all flips, and each round once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import WEIGHTS
from tasks.db import State
from tasks.fitting import save
from tasks.live_metrics import find_or_create_experiment, find_or_create_run
from tasks.register import _finished_run, _flatten, _log_adapter, _take_over, _write_flips, hashes
from tests.conftest import Workload, traffic
from tests.round_evidence import earlier_round, round_evidence
from tests.tasks.tiny import tiny_base, tiny_model


def test_a_version_is_tagged_with_the_suite_and_the_outcomes_that_it_was_judged_on() -> None:
    evidence = round_evidence(2, "reject")
    assert hashes(evidence) == {
        "suite_hash": evidence["suite_hash"],
        "results_sha256": evidence["gate"]["results_sha256"],
    }
    assert hashes(earlier_round()) == {}


def test_all_flips_are_written_whole(workload: Workload) -> None:
    import polars as pl

    workload.collect("a", traffic(failures=30, successes=60, given=60))
    round_ = workload.to_gate(lambda role, case: role == "champion")
    with State(workload.config.database).transaction() as tx:
        path = _write_flips(tx, workload.config, round_.round_id, {"gate": {"facts": {"protected": []}}})
    flips = pl.read_parquet(path)
    assert flips.height == workload.value("select count(distinct case_id) as n from case_results")
    assert set(flips["kind"]) == {"negative"}
    assert "role" in flips["input"][0], "the conversation as it is held"


def test_parameters_are_named_by_their_path_in_the_config(workload: Workload) -> None:
    params = dict(_flatten(workload.config.model_dump(mode="json", include={"adapter", "gate"})))
    assert params["adapter.r"] == 16
    assert params["gate.confidence"] == 0.95
    assert not any(isinstance(value, dict) for value in params.values())


@pytest.mark.slow
def test_an_unfinished_run_is_taken_over_and_a_finished_one_is_found(workload: Workload) -> None:
    """Killed in the middle of logging, a round leaves one run behind, with all that its training had logged."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(workload.config.tracking_uri)
    experiment = find_or_create_experiment(client, "tickets", workload.config.artifact_location)
    assert find_or_create_experiment(client, "tickets", None) == experiment
    half = client.create_run(experiment, tags={"flywheel.round_key": "tickets/1"})
    client.log_metric(half.info.run_id, "train/learning_rate", 0.5, step=1)
    client.log_metric(half.info.run_id, "train/learning_rate", 0.4, step=2)
    for name in ("anchor/accuracy", "train/tokens"):
        client.log_metric(half.info.run_id, name, 0.9)
    assert _finished_run(client, experiment, "tickets/1") is None
    live = find_or_create_run(client, None, "tickets", "round 1", "tickets/1")
    client.log_metric(live, "train/learning_rate", 0.5, step=1)
    _take_over(client, experiment, "tickets/1", live, own={"train/tokens"})
    assert client.get_run(half.info.run_id).info.lifecycle_stage == "deleted"
    rates = client.get_metric_history(live, "train/learning_rate")
    assert sorted((metric.step, metric.value) for metric in rates) == [(1, 0.5), (2, 0.4)]
    assert client.get_run(live).data.metrics.keys() == {"train/learning_rate"}
    assert _finished_run(client, experiment, "tickets/1") is None
    assert find_or_create_run(client, None, "tickets", "round 1", "tickets/1") == live
    whole = client.create_run(experiment, tags={"flywheel.round_key": "tickets/1", "flywheel.model_id": "m-1"})
    assert _finished_run(client, experiment, "tickets/1") == (whole.info.run_id, "m-1")
    assert _finished_run(client, experiment, "tickets/2") is None


def test_an_adapter_on_the_embeddings_is_registered_as_it_was_gated(tmp_path: Path) -> None:
    """MLflow saves it by PEFT's defaults, which would add the base's own embeddings."""
    import mlflow
    from peft import LoraConfig, get_peft_model

    base = tiny_base(tmp_path / "base")
    modules = ["q_proj", "embed_tokens", "lm_head"]
    model = get_peft_model(tiny_model(), LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=modules))
    adapter = save(model, tmp_path, str(base))
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("adapters", artifact_location=(tmp_path / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        logged = mlflow.get_logged_model(_log_adapter(str(base), False, str(adapter)))
    copy = Path(mlflow.artifacts.download_artifacts(f"{logged.artifact_location}/peft/{WEIGHTS}"))
    assert copy.read_bytes() == (adapter / WEIGHTS).read_bytes()
