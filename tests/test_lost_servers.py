"""Servers that go away in the middle: what is said meanwhile, and that nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks._kill_world import World, build_world, empty_home
from tasks.child import run_child
from tasks.config import load_config
from tasks.db import State
from tasks.errors import FlywheelError
from tasks.live_metrics import LiveMetrics
from tests.conftest import ROOT
from tests.round_evidence import round_evidence
from tests.tasks.tiny import conversations, tiny_base, tiny_spec, write_conversations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Server:
    """A server on a free port of this machine that can be killed and started again on the same one."""

    def __init__(self, command: Callable[[int], list[str]], health: str, folder: Path, **env: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command, self._health = command(self.port), health
        self._folder, self._env = folder, os.environ | {"PYTHONPATH": str(ROOT)} | env

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}{self._health}", timeout=2.0, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.3)
        raise TimeoutError((self._folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def python_m(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[Server]:
    def command(port: int) -> list[str]:
        store = [
            "--backend-store-uri",
            f"sqlite:///{tmp_path}/m.db",
            "--artifacts-destination",
            f"{tmp_path}/artifacts",
        ]
        return python_m("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store)

    server = Server(command, "/health", tmp_path, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    server.start()
    yield server
    server.kill()


def register_spec(folder: Path, uri: str) -> dict[str, Any]:
    """What the child that registers is told of a round whose adapter was trained for a moment."""
    base = tiny_base(folder / "base")
    spec = tiny_spec(folder / "round", base)
    spec["trainer"]["num_train_epochs"] = 1
    trained = run_child("tasks.train_child:main", spec, folder / "round")
    evidence = round_evidence(1, "promote")
    (folder / "snapshot").mkdir()
    snapshot = write_conversations(conversations(40), folder / "snapshot")
    import polars as pl

    from tasks.snapshots import content_hash

    evidence["snapshot"] = evidence["snapshot"] | {"hash": content_hash(pl.read_parquet(snapshot))}
    (folder / "flips.parquet").write_bytes(b"")
    return {
        "tracking_uri": uri,
        "artifact_location": None,
        "workload": "tickets",
        "round_key": "tickets/1",
        "evidence": evidence,
        "params": {"adapter": {"r": 4}},
        "snapshot_path": str(snapshot),
        "flips_path": str(folder / "flips.parquet"),
        "base": str(base),
        "adapter_path": trained["adapter_path"],
        "description": "a round",
        "version_tags": {"round": "1"},
    }


def test_a_round_is_registered_once_though_its_server_went_away_meanwhile(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    spec = register_spec(tmp_path, mlflow_server.url)
    warnings: list[str] = []
    with LiveMetrics(mlflow_server.url, None, "tickets", 1, "tickets/1", warnings.append) as live:
        live.log("sft", 1, {"loss": 2.0})
        client: Any = mlflow.MlflowClient(mlflow_server.url)
        wait_until(lambda: client.get_experiment_by_name("tickets") is not None and runs(client))
        mlflow_server.kill()
        live.log("sft", 2, {"loss": 1.0})
    assert len(warnings) == 1
    assert "MLflow does not take the training's metrics" in warnings[0]
    with pytest.raises(FlywheelError, match=r"MLflow at http://127.0.0.1:\d+ does not answer .*; start it"):
        run_child("tasks.register:main", spec, tmp_path / "child")
    mlflow_server.start()
    killer = kill_when(mlflow_server, lambda: any("verdict" in run.data.tags for run in runs(client)))
    with pytest.raises(FlywheelError, match="does not answer"):
        run_child("tasks.register:main", spec, tmp_path / "child")
    killer.join()
    mlflow_server.start()
    made = run_child("tasks.register:main", spec, tmp_path / "child")
    assert made["version"] == "1"
    assert len(client.search_model_versions("name = 'tickets'")) == 1
    assert [run.info.run_id for run in runs(client)] == [made["run_id"]]


def runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("tickets")
    return list(client.search_runs([experiment.experiment_id]))


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill_when(server: Server, condition: Callable[[], Any]) -> Any:
    import threading

    def work() -> None:
        wait_until(condition)
        server.kill()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def prefect_server(tmp_path: Path) -> Iterator[Server]:
    def command(port: int) -> list[str]:
        return python_m("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))

    server = Server(command, "/api/health", tmp_path, PREFECT_HOME=str(tmp_path / "prefect"))
    server.start()
    yield server
    server.kill()


def test_a_round_whose_prefect_server_went_away_is_finished_by_the_next_run(
    prefect_server: Server, tmp_path: Path
) -> None:
    world = build_world(tmp_path / "world", steps=150, bulk=0)
    empty_home(world)
    first = run_round(world, prefect_server)
    wait_until(lambda: stage(world) in ("cluster", "split", "blend"))
    prefect_server.kill()
    said, _ = first.communicate(timeout=600)
    assert first.returncode == 1
    assert "error: Prefect at http://127.0.0.1:" in said, said[-3000:]
    assert "does not answer; start it again" in said
    prefect_server.start()
    second = run_round(world, prefect_server)
    said, _ = second.communicate(timeout=600)
    assert second.returncode in (0, 3, 4), said[-3000:]
    with State(load_config(str(world.config)).database).transaction() as tx:
        rows = tx.rows("list_rounds")
    assert [(row["round_id"], row["stage"]) for row in rows] == [(1, "closed")]


def run_round(world: World, server: Server) -> subprocess.Popen[str]:
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": f"{server.url}/api",
        "PREFECT_CLIENT_MAX_RETRIES": "2",
    }
    return subprocess.Popen(
        python_m("flows.cli", "run", "run_round", "--config", str(world.config)),
        cwd=world.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def stage(world: World) -> str | None:
    config = load_config(str(world.config))
    if not config.database.is_file():
        return None
    with State(config.database).transaction() as tx:
        row = tx.row("open_round")
    return row["stage"] if row else None
