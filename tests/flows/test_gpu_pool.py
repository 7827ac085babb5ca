"""Heavy stages in a pool of their own, on a real server: a GPU worker that is lost costs its stage, not the round."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments import commands
from tasks.config import Config
from tasks.db import State
from tasks.rounds import read_evidence
from tests.deployments.running_up import NEVER, ROOT, Up, up_and_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ELSEWHERE = "elsewhere"  # a pool whose worker is started and killed here


@pytest.fixture(scope="module")
def up(small_world: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    env = {
        "FLYWHEEL_CONFIG": str(small_world[1].resolve()),
        "FLYWHEEL_FOLDER": str(Path.cwd()),
        **{f"FLYWHEEL_{flow}_CRON": NEVER for flow in ("COLLECT", "CLUSTER", "ROUND", "WATCH")},
    }
    home = tmp_path_factory.mktemp("up")
    with up_and_running(home, env) as started:
        yield started


def as_client(up: Up, name: str) -> dict[str, str]:
    """The environment of a program that asks the server, with a folder of its own."""
    return up.env | {"PREFECT_API_URL": f"{up.prefect}/api", "PREFECT_HOME": str(up.home / name)}


@contextmanager
def worker(up: Up, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of another machine, as far as it can be had on one."""
    env = up.env | {
        "PREFECT_API_URL": f"{up.prefect}/api",
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(up.home / name),
    }
    process = subprocess.Popen(commands.worker(ELSEWHERE, name), env=env, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """As a machine goes: the worker and all that it has started, at once."""
    with_all: list[psutil.Process] = []
    if process.poll() is None:
        parent = psutil.Process(process.pid)
        with_all = [parent, *parent.children(recursive=True)]
    for each in with_all:
        os.kill(each.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(with_all, timeout=10)


def stage(config: Config) -> str | None:
    if not config.database.exists():
        return None
    with State(config.database).transaction() as tx:
        row = tx.row("open_round")
    return row["stage"] if row else None


def stage_runs(up: Up) -> list[tuple[str, str]]:
    runs = up.posted("/flow_runs/filter", flows={"name": {"any_": ["run_stage"]}}, sort="START_TIME_ASC")
    return [(run["name"], run["state_name"]) for run in runs]


def test_a_lost_gpu_machine_costs_its_stage_and_not_the_round(up: Up, small_world: tuple[Config, Path]) -> None:
    config, _ = small_world
    move_stage_deployment(up, ELSEWHERE)
    with worker(up, "first") as first:
        begun = up.run("run_round/tickets-round")
        training = config.round_folder(1) / "train_child.spec.json"
        up.wait_for(lambda: stage(config) == "train" and training.exists(), 240, up.logs)
        kill(first)
        failed = up.ended(begun, 240)  # nothing is heard of it for two minutes
    assert failed["state_name"] == "Failed"
    assert failed["name"] == "tickets: round 1, by hand"
    assert "train crashed in the gpu pool: Nothing was heard of this run" in failed["state"]["message"]
    assert stage(config) == "train"

    with worker(up, "second"):
        again = up.ended(up.run("run_round/tickets-round"), 420)
    assert again["state_name"] == "Completed", again["state"]["message"]
    evidence = read_evidence(config)
    assert [each["stage"] for each in evidence] == ["closed"]
    train, regress = "tickets: train, round 1", "tickets: regress, round 1"
    assert stage_runs(up) == [(train, "Crashed"), (train, "Completed"), (regress, "Completed")]


def move_stage_deployment(up: Up, pool: str) -> None:
    """Have `run_stage` taken by another pool, as a team does that moves it to another machine."""
    env = up.env | {
        "PREFECT_API_URL": f"{up.prefect}/api",
        "FLYWHEEL_GPU_POOL": pool,
        "PREFECT_HOME": str(up.home / "cli"),
    }
    subprocess.run(commands.deploy(), cwd=ROOT, env=env, check=True, capture_output=True)


def test_the_page_of_the_round_links_what_says_more(up: Up) -> None:
    def latest(key: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = up.posted("/artifacts/latest/filter", artifacts={"key": {"any_": [key]}})
        return found[0]

    page = latest("tickets-round")
    assert page["data"].startswith("# tickets: round 1, ")
    for part in ("verdict", "flips", "clusters", "blend", "snapshot"):
        assert f"(/artifacts/artifact/{latest(f'tickets-{part}')['latest_id']})" in page["data"]
    assert f"{up.mlflow}/#/models/tickets/versions/1" in page["data"]


def test_bars_reached_their_ends(up: Up) -> None:
    bars = up.posted("/artifacts/filter", artifacts={"type": {"any_": ["progress"]}})
    said = {bar["description"]: bar["data"] for bar in bars}
    for begin in ("Collecting what is new", "Encoding the failures", "Training the adapter", "Regression suite"):
        ended = [percent for text, percent in said.items() if text.startswith(begin)]
        assert max(ended) == 100.0, said


def test_task_runs_say_their_stage(up: Up) -> None:
    names = {run["name"] for run in up.posted("/task_runs/filter")}
    assert {"screen, round 1", "train, round 1", "regress, round 1", "promote, round 1"} <= names
