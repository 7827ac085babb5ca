"""A training can be watched in MLflow while it runs, and does not notice when MLflow is gone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tasks import live_metrics
from tasks.live_metrics import ROUND_TAG, LiveMetrics, end_runs, find_or_create_run
from tasks.rounds import abandon, writing
from tests.conftest import make_workload, traffic


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


def status_of(client: Any, run_id: str) -> str:
    return str(client.get_run(run_id).info.status)


def test_the_run_of_a_round_that_is_given_up_ends_as_killed_and_no_other(client: Any, tmp_path: Path) -> None:
    """It would be shown as running for ever."""
    workload = make_workload(tmp_path, mlflow={"tracking_uri": client.tracking_uri})
    workload.collect("a", traffic(failures=3, successes=3))
    round_ = workload.open()
    for stage in ("screen", "cluster", "split", "blend"):
        with writing(workload.config, round_, stage):
            pass
    with LiveMetrics(client.tracking_uri, None, "tickets", round_.round_id, round_.round_key, print) as metrics:
        metrics.log("sft", 1, {"loss": 2.5})
    other = find_or_create_run(client, None, "tickets", "round 7", "tickets/7")
    experiment = client.get_experiment_by_name("tickets").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`{ROUND_TAG}` = '{round_.round_key}'")
    assert status_of(client, run.info.run_id) == "RUNNING"
    told: list[str] = []
    assert abandon(workload.config, told.append) == round_.round_id
    assert (status_of(client, run.info.run_id), status_of(client, other)) == ("KILLED", "RUNNING")
    assert told == []


def test_what_has_ended_stays_as_it_ended(client: Any) -> None:
    run_id = find_or_create_run(client, None, "tickets", "round 8", "tickets/8")
    client.set_terminated(run_id, "FINISHED")
    told: list[str] = []
    for workload, round_key in (("tickets", "tickets/8"), ("tickets", "tickets/9"), ("nothing-like-it", "x/1")):
        end_runs(client.tracking_uri, workload, round_key, told.append)
    assert status_of(client, run_id) == "FINISHED"
    assert client.get_experiment_by_name("nothing-like-it") is None
    assert told == []


def test_a_round_is_given_up_where_mlflow_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_metrics, "CLOSE_SECONDS", 0.5)
    workload = make_workload(tmp_path, mlflow={"tracking_uri": "http://127.0.0.1:9"})
    workload.collect("a", traffic(failures=1))
    round_ = workload.open()
    for stage in ("screen", "cluster", "split", "blend"):
        with writing(workload.config, round_, stage):
            pass
    told: list[str] = []
    assert abandon(workload.config, told.append) == 1
    (line,) = told
    assert "MLflow could not be told, so the round's run may be shown there as running" in line
    assert workload.value("select stage from rounds") == "closed"


def test_giving_up_creates_no_mlflow_database(tmp_path: Path) -> None:
    end_runs(f"sqlite:///{tmp_path / 'mlflow.db'}", "tickets", "tickets/1", print)
    assert list(tmp_path.iterdir()) == []
