"""TAB in the shell offers commands, rounds, versions and clusters, at once or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from flows import completion
from flows.cli import app
from tasks.db import State
from tests.conftest import ROOT, Workload, make_workload, python, traffic, write_config

COMPLETE = "from flows.cli import app; app(prog_name='flywheel')"
SOURCE = {"PYTHONPATH": str(ROOT), "_FLYWHEEL_COMPLETE": "source_bash"}


def shell(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What bash is told when TAB is pressed behind the words."""
    asked = {"_FLYWHEEL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    return subprocess.run(
        [sys.executable, "-c", COMPLETE], env=os.environ | {"PYTHONPATH": str(ROOT)} | asked | environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def offered(words: str, **environment: str) -> list[str]:
    return shell(words, **environment).stdout.split()


def test_commands_and_flows_are_offered() -> None:
    assert offered("flywheel hi") == ["history"]
    assert {"run", "status", "explain", "gate"} <= set(offered("flywheel "))
    assert offered("flywheel clusters n") == ["name"]
    assert offered("flywheel run ") == ["run_round", "collect_failures", "cluster_failures", "watch_champion"]


def test_the_script_that_is_installed_asks_for_completions() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE], env=os.environ | SOURCE,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "_FLYWHEEL_COMPLETE=complete_bash" in done.stdout
    assert "flywheel" in done.stdout
    assert {"--install-completion", "--show-completion"} <= set(offered("flywheel --"))


@pytest.fixture
def rounds(workload: Workload) -> str:
    """The config of a workload with two rounds, of which one is closed."""
    workload.collect("a", traffic(failures=4, given=2))
    workload.close(workload.to_split(), "reject")
    workload.collect("b", traffic(failures=3, prefix="x"))
    workload.open()
    return str(write_config(workload.config, workload.folder / "config.yaml"))


def test_rounds_are_offered_of_the_config_that_is_named(rounds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "SECONDS", 30.0)
    context = typer.Context(get_command(app))
    context.params["config"] = rounds
    assert completion.complete_rounds(context, "") == [("2", "screen"), ("1", "reject")]
    assert completion.complete_rounds(context, "1") == [("1", "reject")]
    assert completion.complete_versions(context, "") == completion.complete_clusters(context, "") == []


def test_rounds_are_offered_in_the_shell(rounds: str) -> None:
    """On a busy machine the state may not be read in time; then nothing is offered, and one presses TAB again."""
    tries = (offered("flywheel explain ", FLYWHEEL_CONFIG=rounds) for _ in range(10))
    assert next(filter(None, tries)) == ["2", "1"]
    tries = (offered(f"flywheel explain --config {rounds} ") for _ in range(10))
    assert next(filter(None, tries)) == ["2", "1"]


@pytest.mark.parametrize("text", ["", "name: [", "a: 1", "name: x\nhome: 5", "- 1"])
def test_a_broken_config_or_none_offers_nothing_and_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    for config in (str(path), str(tmp_path / "none.yaml")):
        context = typer.Context(get_command(app))
        context.params["config"] = config
        assert completion.complete_versions(context, "") == []
    done = shell("flywheel explain ", FLYWHEEL_CONFIG=str(path))
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    workload = make_workload(tmp_path)
    context = typer.Context(get_command(app))
    context.params["config"] = str(write_config(workload.config, tmp_path / "config.yaml"))
    assert completion.complete_rounds(context, "") == []
    assert not workload.config.home.exists()


HOLD = """
import sys, time
from pathlib import Path
from tasks.db import State
with State(Path(sys.argv[1])).transaction():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_database_that_is_in_use_makes_nobody_wait(rounds: str, workload: Workload) -> None:
    assert State(workload.config.database).path.is_file()
    holder = python(HOLD, str(workload.config.database))
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        context = typer.Context(get_command(app))
        context.params["config"] = rounds
        started = time.monotonic()
        assert completion.complete_rounds(context, "") == []
        assert time.monotonic() - started < completion.SECONDS + 0.5
        done = shell("flywheel explain ", FLYWHEEL_CONFIG=rounds)
        assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)
    finally:
        holder.kill()
        holder.communicate()
