"""What else goes wrong at three in the morning: a disk that is full, and a database that somebody has open.

Each is one line that says what is the matter; nothing half-written stays, and afterwards the work goes on.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import db
from tasks.blend import blend
from tasks.child import run_child
from tasks.db import State
from tasks.disk import is_full, naming_full_disk
from tasks.errors import DiskFullError, FlywheelError, StateError
from tasks.rounds import stage_of
from tests.conftest import Workload, make_workload, python, traffic
from tests.tasks.tiny import tiny_base, tiny_spec

DISK = "8m"
ONE_LINE = r"^the disk is full: .* free where .* lies\..* run the same command again, [^\n]*$"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of DISK bytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Leave so many bytes free."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(max(0, free - leave)))
    return filler


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".partial"]


@pytest.mark.parametrize("leave", [400_000, 3_000_000], ids=["while it types", "while it stores"])
def test_a_pass_that_meets_a_full_disk_takes_everything_back(disk: Path, tmp_path: Path, leave: int) -> None:
    workload = make_workload(tmp_path / "workload", home=str(disk / "home"))
    workload.write("a", traffic(failures=6000, successes=1000))
    fill(disk, leave)
    with pytest.raises(DiskFullError, match=ONE_LINE):
        workload.collect()
    assert not unfinished(disk)
    enlarge(disk)
    collected = workload.collect()
    assert (collected.read, collected.stored) == (14_000, 14_000)
    assert workload.value("select count(*) from inferences") == 7000


def ready_to_blend(folder: Path, disk: Path) -> Workload:
    workload = make_workload(folder, home=str(disk / "home"))
    workload.collect("a", traffic(failures=300, successes=300, given=100))
    return workload


def test_a_stage_that_meets_a_full_disk_is_run_again(disk: Path, tmp_path: Path) -> None:
    enlarge(disk)
    workload = ready_to_blend(tmp_path / "workload", disk)
    round_ = workload.to_split()
    filler = fill(disk, leave=8192)
    with pytest.raises(DiskFullError, match=ONE_LINE), naming_full_disk(disk):  # as the flow does
        blend(workload.config, round_)
    filler.unlink()
    assert not unfinished(disk)
    assert stage_of(workload.config, round_) == "blend"
    assert blend(workload.config, round_)["rows"] > 100


def test_a_training_that_meets_a_full_disk_goes_on_once_there_is_room(disk: Path, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    spec = tiny_spec(disk / "round", base)
    filler = fill(disk, leave=150_000)
    with pytest.raises(FlywheelError, match=ONE_LINE):
        run_child("tasks.train_child:main", spec, Path(spec["folder"]))
    filler.unlink()
    trained = run_child("tasks.train_child:main", spec, Path(spec["folder"]))
    undisturbed = run_child("tasks.train_child:main", tiny_spec(tmp_path / "other", base), tmp_path / "other")
    assert trained["adapter_sha256"] == undisturbed["adapter_sha256"]
    assert not unfinished(disk)


def test_words_in_a_text_are_not_taken_for_a_full_disk() -> None:
    """A ticket may well say so."""
    assert not is_full(None)
    assert not is_full(KeyError("category"))
    assert is_full(OSError(28, "No space left on device"))


HOLDER = """
import sys
import duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


def open_elsewhere(path: Path) -> subprocess.Popen[str]:
    """Somebody looks into the state with a DuckDB shell, which knows nothing of our lock."""
    with State(path).transaction():
        pass
    other = python(HOLDER, str(path), stdin=-1)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    return other


def test_a_state_that_a_shell_has_open_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "state.duckdb"
    other = open_elsewhere(path)
    closing = threading.Timer(0.7, other.communicate, ["\n"])
    closing.start()
    begun = time.monotonic()
    with State(path).transaction() as tx:
        assert tx.row("open_round") is None
    assert time.monotonic() - begun > 0.5
    closing.join()


def test_a_state_that_a_shell_keeps_open_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.duckdb"
    other = open_elsewhere(path)
    monkeypatch.setattr(db, "LOCK_SECONDS", 0.5)
    named = rf"in use by another process \(number {other.pid}\) for"
    with pytest.raises(StateError, match=named) as caught, State(path).transaction():
        pass
    assert "\n" not in str(caught.value)
    other.communicate("\n")
