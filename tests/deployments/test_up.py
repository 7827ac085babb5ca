"""`make up` as a person uses it: both servers answer, the deployments are there, Ctrl-C leaves nothing behind."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deployments.running_up import ROOT, UP, Up, descendants, environment, free_port, still_alive


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait()


@pytest.mark.slow
def test_up_serves_and_ctrl_c_ends_it(up: Up) -> None:
    up.wait_until_ready()
    assert up.prefect in up.output.read_text()
    assert up.mlflow in up.output.read_text()
    for address in (up.prefect, up.mlflow):
        assert httpx.get(address, trust_env=False, timeout=30, follow_redirects=True).status_code == 200
    deployments = {d["name"]: d for d in up.posted("/deployments/filter")}
    assert {name: d["work_pool_name"] for name, d in deployments.items()} == {
        "tickets-collect": "local",
        "tickets-cluster": "local",
        "tickets-round": "local",
        "tickets-stage": "gpu",
        "tickets-watch": "local",
    }
    assert all(d["parameter_openapi_schema"]["properties"]["request"] for d in deployments.values())
    names = {automation["name"] for automation in up.posted("/automations/filter")}
    assert names == {
        "Flywheel: a lost run is given up",
        "tickets: a promotion starts a watch",
        "tickets: enough new corrections start a round",
    }
    assert "FLYWHEEL_NOTIFY_URL" in up.output.read_text()  # nobody is notified, which is said
    processes = descendants(up.process.pid)

    up.process.send_signal(signal.SIGINT)

    assert up.process.wait(60) == 0
    assert not still_alive(processes)


@pytest.mark.slow
def test_schedules_make_runs(up: Up) -> None:
    """Guards a set of pins with which Prefect's scheduler failed to insert a single run."""
    up.wait_until_ready()
    deadline = time.monotonic() + 60
    while not (runs := up.posted("/flow_runs/filter")) and time.monotonic() < deadline:
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


def test_a_server_for_others_without_a_password_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*UP, "--host", "0.0.0.0", "--home", str(tmp_path / "home")],
        cwd=ROOT,
        env=environment(MLFLOW_AUTH_ADMIN_PASSWORD="not-to-be-shown"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "PREFECT_SERVER_API_AUTH_STRING" in done.stderr
    assert "not-to-be-shown" not in done.stdout + done.stderr
    assert not (tmp_path / "home").exists()
