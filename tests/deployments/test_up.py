"""`make up` as a person uses it: both servers answer, the deployments are there, Ctrl-C leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
UP = [sys.executable, "-m", "deployments.up"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """As a new user's: nothing of Prefect or MLflow set, in particular no test server."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def still_alive(processes: list[psutil.Process], wait_s: float = 15.0) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=wait_s)[1]


class Up:
    """A started `deployments.up`, with what it printed."""

    def __init__(self, home: Path) -> None:
        self.prefect, self.mlflow = (f"http://127.0.0.1:{port}" for port in (free_port(), free_port()))
        ports = ["--prefect-port", self.prefect.rpartition(":")[2], "--mlflow-port", self.mlflow.rpartition(":")[2]]
        self.output = home / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*UP, *ports, "--home", str(home)], cwd=ROOT, env=environment(), stdout=output, stderr=output
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 200
        while "Ctrl-C" not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.3)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait()


def posted(url: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = httpx.post(url, json={}, trust_env=False, timeout=30).json()
    return found


@pytest.mark.slow
def test_up_serves_and_ctrl_c_ends_it(up: Up) -> None:
    up.wait_until_ready()
    assert up.prefect in up.output.read_text()
    assert up.mlflow in up.output.read_text()
    for address in (up.prefect, up.mlflow):
        assert httpx.get(address, trust_env=False, timeout=30, follow_redirects=True).status_code == 200
    deployments = posted(f"{up.prefect}/api/deployments/filter")
    assert {d["entrypoint"] for d in deployments} == {
        "flows.run_round.run_round",
        "flows.collect_failures.collect_failures",
    }
    assert all(d["parameter_openapi_schema"]["properties"]["request"] for d in deployments)  # type: ignore[index]
    processes = descendants(up.process.pid)

    up.process.send_signal(signal.SIGINT)

    assert up.process.wait(60) == 0
    assert not still_alive(processes)


@pytest.mark.slow
def test_schedules_make_runs(up: Up) -> None:
    """Guards a set of pins with which Prefect's scheduler failed to insert a single run."""
    up.wait_until_ready()
    deadline = time.monotonic() + 60
    while not (runs := posted(f"{up.prefect}/api/flow_runs/filter")) and time.monotonic() < deadline:
        time.sleep(1)
    assert {run["state_type"] for run in runs} <= {"SCHEDULED", "PENDING", "RUNNING"}
    assert runs


def test_killed_outright_it_takes_its_children_along(up: Up) -> None:
    """Nobody is left to say stop when the parent gets a SIGKILL; the guard does."""
    deadline = time.monotonic() + 60
    while len(processes := descendants(up.process.pid)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    up.process.kill()
    assert not still_alive(processes, wait_s=30)


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*UP, "--prefect-port", port, "--mlflow-port", str(free_port()), "--home", str(tmp_path / "home")],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert port in done.stderr
    assert "--prefect-port" in done.stderr
    assert not (tmp_path / "home").exists()
