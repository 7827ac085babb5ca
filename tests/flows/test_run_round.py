"""One real round: killed in the middle of training, picked up, and seen through to a registered version."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flows.run_round import run_round
from tasks.config import Config, RoundRequest
from tasks.db import State
from tasks.lineage import lineage
from tasks.snapshots import read_snapshot
from tasks.status import status
from tasks.suite import active_cases

ROOT = Path(__file__).resolve().parents[2]
# The round itself is the first test's fixture; on a busy machine it takes minutes.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="session")
def finished(small_world: tuple[Config, Path], prefect_server: None) -> tuple[Config, Path, dict[str, Any]]:
    """A round whose first runner was killed while it trained; config, its file, and the round's evidence."""
    config, config_file = small_world
    _kill_while_training(config, config_file)
    evidence = run_round(RoundRequest(config=str(config_file), requested_by="person:test"))
    assert evidence is not None
    return config, config_file, evidence


def _kill_while_training(config: Config, config_file: Path) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", "run_round", "--config", str(config_file)]
    runner = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    try:
        _wait_for(
            lambda: _stage(config) == "train" and (config.round_folder(1) / "train_child.spec.json").exists(), runner
        )
        children = _children(runner.pid)
        assert children, "training runs in a child process"
    finally:
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}/cmdline").exists() and _is_ours(child) for child in children):
        assert time.monotonic() < deadline, "the training process outlived its parent"
        time.sleep(0.1)
    # Prefect's temporary server does not die with the flow run that started it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(runner.pid, signal.SIGKILL)


def _wait_for(condition: Any, runner: subprocess.Popen[bytes], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert runner.poll() is None, "the runner ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.3)


def _stage(config: Config) -> str | None:
    if not config.database.exists():
        return None
    with State(config.database).transaction() as tx:
        row = tx.row("open_round")
    return row["stage"] if row else None


def _children(pid: int) -> list[int]:
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if _is_ours(child)]


def _is_ours(pid: int) -> bool:
    try:
        return b"tasks.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_the_killed_round_was_finished_and_not_doubled(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    config, _, evidence = finished
    found = status(config)
    assert [row["round"] for row in found["rounds"]] == [1]
    assert evidence["stage"] == "closed"
    assert evidence["verdict"] in {"promote", "hold", "reject"}
    assert set(evidence["timings"]) >= {"screen", "cluster", "split", "blend", "train", "regress", "gate", "register"}
    assert found["counts"]["reconciles"]
    assert found["counts"]["read"] == found["counts"]["stored"]


def test_training_learned_something(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    training = finished[2]["training"]
    assert training["trained_tokens"] > training["rows"]
    assert training["loss"][-1][1] < training["loss"][0][1]


def test_server_and_trainer_agree(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    agreement = finished[2]["logprob_agreement"]
    assert agreement["tokens"] > 50
    assert agreement["max_abs_difference"] < 1e-3


def test_the_suite_has_every_case_once_for_both_models(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    config, _, evidence = finished
    suite = sum(row["cases"] for row in evidence["suite"])
    assert suite == sum(row["cases"] for row in evidence["tiers"])
    assert {row["tier"] for row in evidence["tiers"]} == {"anchor", "fixed", "unseen"}
    flips = sum(row["fixes"] + row["negative_flips"] for row in evidence["tiers"])
    assert len(evidence["flips"]) == flips
    with State(config.database).transaction() as tx:
        assert len(tx.rows("list_outcomes", round_id=1)) == suite


def test_nothing_that_is_evaluated_was_trained_on(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    config, _, evidence = finished
    assert evidence["leaks"]["rows"] == evidence["snapshot"]["rows"]
    assert evidence["leaks"]["left_out"] == {}
    trained = {row["input_hash"] for row in lineage(config, "1")["rows"]}
    with State(config.database).transaction() as tx:
        cases = active_cases(tx, config, 1)
        pairs = tx.rows("list_near_duplicates")
    held_out = {case["input_hash"] for case in cases if case["tier"] != "fixed"}
    assert not trained & held_out
    for pair in pairs:
        both = {pair["left_hash"], pair["right_hash"]}
        assert not (both & trained and both & held_out)


def test_lineage_names_source_producer_and_kind_of_each_row(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    config, _, evidence = finished
    found = lineage(config, "1")
    assert len(found["rows"]) == evidence["snapshot"]["rows"]
    assert {row["kind"] for row in found["rows"]} == {"correction", "demonstration"}
    assert all(row["source"] == "production" and row["producer"] for row in found["rows"])
    path = next((config.folder / "snapshots").glob("snapshot-*.parquet"))
    frozen = read_snapshot(path, evidence["snapshot"]["hash"])
    assert frozen["signal_id"].to_list() == [row["signal_id"] for row in found["rows"]]
    assert sha256(frozen["prompt"][0].encode()).hexdigest() == found["rows"][0]["input_hash"]


def test_mlflow_has_the_round(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    import mlflow

    config, _, evidence = finished
    client = mlflow.MlflowClient(config.tracking_uri, config.tracking_uri)
    version = client.get_model_version("tickets", "1")
    run = client.get_run(version.run_id)
    assert run.data.params["adapter.r"] == str(config.adapter.r)
    assert "unseen/failure/accuracy" in run.data.metrics
    assert run.inputs.dataset_inputs[0].dataset.digest == evidence["snapshot"]["hash"][:36]
    files = {file.path for file in client.list_artifacts(version.run_id)}
    assert {"evidence.json", "flips.json", "charts", "snapshot"} <= files
    snapshot = f"snapshot/snapshot-{evidence['snapshot']['hash'][:12]}.parquet"
    kept = {file.path for file in client.list_artifacts(version.run_id, "snapshot")}
    assert kept == {"snapshot/card.json", "snapshot/card.md", snapshot}
    assert "snapshot/card.md" in version.description
    alias = "champion" if evidence["verdict"] == "promote" else "challenger"
    assert str(client.get_model_version_by_alias("tickets", alias).version) == "1"


def test_the_registry_holds_the_adapter_and_not_the_base(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    config, _, _ = finished
    weights = [path.name for path in (config.home / "mlartifacts").rglob("*.safetensors")]
    assert weights == ["adapter_model.safetensors"]


def test_registering_again_finds_the_same_version(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    import mlflow

    from tasks.child import run_child

    config, _, _ = finished
    folder = config.round_folder(1)
    again = run_child("tasks.register:main", json.loads((folder / "register.spec.json").read_text()), folder)
    assert again["version"] == "1"
    client = mlflow.MlflowClient(config.tracking_uri, config.tracking_uri)
    assert len(client.search_model_versions("name = 'tickets'")) == 1


def test_nothing_new_opens_no_round(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    _, config_file, _ = finished
    assert run_round(RoundRequest(config=str(config_file), requested_by="schedule")) is None


def test_the_verdict_is_an_artifact_in_prefect(finished: tuple[Config, Path, dict[str, Any]]) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        keys = {artifact.key for artifact in client.read_artifacts()}
    assert {"tickets-flips", "tickets-verdict"} <= keys  # the others are in the killed runner's server
