"""`flywheel prune`, `backup`, `restore` and `doctor` from the shell: for people, for programs, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.commands.common import FAILURE
from tasks import doctor, doctor_state
from tests.conftest import Workload, make_workload, write_config
from tests.tasks.test_backup import versioned
from tests.tasks.test_prune import Past, build


def flywheel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def config_of(workload: Workload) -> str:
    return str(write_config(workload.config, workload.folder / "config.yaml"))


def words(result: Result) -> str:
    return " ".join(result.stdout.split())


def test_pruning_can_be_looked_at_first(workload: Workload) -> None:
    workload = make_workload(workload.folder, budget={"keep_rounds": 1})
    build(workload.config, [Past(False, 1), Past(False, 2)])
    config = config_of(workload)
    looked = flywheel("prune", "--dry-run", "--config", config)
    assert "would be deleted" in words(looked) and "rounds/1/train.log" in looked.stdout
    found = json.loads(flywheel("prune", "--dry-run", "--json", "--config", config).stdout)
    assert found["dry_run"] and "rounds/1/checkpoints" in found["paths"] and found["bytes"] > 0
    assert (workload.config.round_folder(1) / "train.log").is_file()
    assert " deleted, " in words(flywheel("prune", "--config", config))
    assert not (workload.config.round_folder(1) / "train.log").exists()
    assert "Nothing to delete; the latest 1 closed rounds keep everything" in words(
        flywheel("prune", "--config", config)
    )


def test_a_backup_is_read_back_by_what_it_says(workload: Workload, tmp_path: Path) -> None:
    versioned(workload)
    config, file = config_of(workload), str(tmp_path / "t.tar.zst")
    made = flywheel("backup", file, "--config", config)
    assert made.exit_code == 0
    assert "Not in it: the base model" in words(made)
    assert f"To read it back: flywheel restore {file} --config {config}" in words(made)
    before = workload.content()
    refused = flywheel("restore", file, "--config", config)
    assert (refused.exit_code, refused.stdout) == (FAILURE, "")
    assert refused.stderr.startswith("error: there is a state in") and refused.stderr.count("\n") == 1
    shutil.rmtree(workload.config.home)
    done = json.loads(flywheel("restore", file, "--json", "--config", config).stdout)
    assert done["aside"] is None and done["files"] > 3
    assert workload.content() == before
    forced = flywheel("restore", file, "--force", "--config", config)
    assert "What it replaced is in" in words(forced)


def test_a_backup_that_lacks_what_a_version_needs_ends_with_a_status(workload: Workload, tmp_path: Path) -> None:
    versioned(workload)
    shutil.rmtree(workload.config.round_folder(1))
    made = flywheel("backup", str(tmp_path / "t.tar.zst"), "--config", config_of(workload))
    assert made.exit_code == FAILURE
    assert "Missing, and so not in it" in words(made)
    assert (tmp_path / "t.tar.zst").is_file()


def test_a_doctors_status_says_whether_anything_is_wrong(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the state alone: the machine's own checks take their time and have tests of their own."""
    monkeypatch.setattr(doctor, "EXAMINATIONS", {"state": doctor_state.check_state})
    config = config_of(workload)
    found = flywheel("doctor", "--config", config)
    assert (found.exit_code, "1 ok." in found.stdout) == (0, True)
    versioned(workload)
    shutil.rmtree(workload.config.round_folder(1))
    found = flywheel("doctor", "--json", "--config", config)
    assert found.exit_code == FAILURE
    listed: dict[str, Any] = json.loads(found.stdout)
    assert listed["is_well"] is False
    wrong = [check for check in listed["checks"] if check["state"] == "wrong"]
    assert [check["name"] for check in wrong] == ["versions"]
    assert wrong[0]["mend"].startswith("flywheel restore FILE")
    assert "→ flywheel restore FILE" in words(flywheel("doctor", "--config", config))
