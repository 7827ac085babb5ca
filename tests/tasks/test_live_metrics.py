"""A training can be watched in MLflow while it runs, and does not notice when MLflow is gone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tasks.live_metrics import ROUND_TAG, LiveMetrics


def live(uri: str, warnings: list[str], round_id: int = 1) -> LiveMetrics:
    return LiveMetrics(uri, None, "tickets", round_id, f"tickets/{round_id}", warnings.append)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}")


def history(client: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def runs(client: Any, round_id: int) -> list[str]:
    experiment = client.get_experiment_by_name("tickets")
    tag = f"tags.`{ROUND_TAG}` = 'tickets/{round_id}'"
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id], tag)] if experiment else []


def test_metrics_are_there_while_the_training_runs(client: Any) -> None:
    warnings: list[str] = []
    with live(client.tracking_uri, warnings) as metrics:
        metrics.log("sft", 1, {"loss": 2.5, "learning_rate": 0.1})
        deadline = time.monotonic() + 30
        while not any(history(client, run_id, "train/loss") for run_id in runs(client, 1)):
            assert time.monotonic() < deadline, warnings
            time.sleep(0.1)
        metrics.log("sft", 2, {"loss": 1.5, "learning_rate": 0.05})
        metrics.log("dpo", 1, {"loss": 0.7})
    (run_id,) = runs(client, 1)
    assert history(client, run_id, "train/loss") == [(1, 2.5), (2, 1.5)]
    assert history(client, run_id, "train/learning_rate") == [(1, 0.1), (2, 0.05)]
    assert history(client, run_id, "dpo/loss") == [(1, 0.7)]
    assert warnings == []


def test_a_training_that_goes_on_is_logged_in_the_same_run_and_no_step_twice(client: Any) -> None:
    for steps in ((1, 2, 3), (2, 3, 4)):
        with live(client.tracking_uri, [], round_id=2) as metrics:
            for step in steps:
                metrics.log("sft", step, {"loss": float(step)})
    (run_id,) = runs(client, 2)
    assert history(client, run_id, "train/loss") == [(step, float(step)) for step in (1, 2, 3, 4)]


def test_a_server_that_is_gone_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    warnings: list[str] = []
    with live("http://127.0.0.1:9", warnings) as metrics:
        for step in range(50):
            metrics.log("sft", step, {"loss": 1.0})
    assert len(warnings) == 1
    assert "MLflow does not take the training's metrics, which are logged with the version then" in warnings[0]
