"""What goes to the registry: the metrics people compare, and each round once."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.live_metrics import find_or_create_experiment, find_or_create_run
from tasks.register import _finished_run, _flatten, tier_metrics
from tests.conftest import Workload
from tests.round_evidence import two_rounds


def test_metrics_are_rates_and_counts_of_each_tier() -> None:
    evidence = two_rounds()[0]
    metrics = tier_metrics(evidence)
    for row in evidence["tiers"]:
        name = "/".join(filter(None, (row["tier"], row["stratum"])))
        assert metrics[f"{name}/accuracy"] == row["challenger_right"] / row["cases"]
        assert metrics[f"{name}/negative_flips"] == row["negative_flips"]
    assert metrics["gate/weighted_difference"] == evidence["gate"]["weighted"]["difference"]
    assert metrics["gate/anchor_low"] == evidence["gate"]["anchor"]["low"]
    assert all(isinstance(value, int | float) for value in metrics.values())


def test_parameters_are_named_by_their_path_in_the_config(workload: Workload) -> None:
    params = dict(_flatten(workload.config.model_dump(mode="json", include={"adapter", "gate"})))
    assert params["adapter.r"] == 16
    assert params["gate.confidence"] == 0.95
    assert not any(isinstance(value, dict) for value in params.values())


@pytest.mark.slow
def test_an_unfinished_run_is_deleted_and_a_finished_one_is_found(workload: Workload) -> None:
    """Killed in the middle of logging, a round does not leave two runs behind."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(workload.config.tracking_uri)
    experiment = find_or_create_experiment(client, "tickets", workload.config.artifact_location)
    assert find_or_create_experiment(client, "tickets", None) == experiment
    half = client.create_run(experiment, tags={"flywheel.round_key": "tickets/1"})
    assert _finished_run(client, experiment, "tickets/1") is None
    assert client.get_run(half.info.run_id).info.lifecycle_stage == "deleted"
    live = find_or_create_run(client, None, "tickets", "round 1", "tickets/1")
    assert _finished_run(client, experiment, "tickets/1") is None
    assert find_or_create_run(client, None, "tickets", "round 1", "tickets/1") == live
    whole = client.create_run(experiment, tags={"flywheel.round_key": "tickets/1", "flywheel.model_id": "m-1"})
    assert _finished_run(client, experiment, "tickets/1") == (whole.info.run_id, "m-1")
    assert _finished_run(client, experiment, "tickets/2") is None
