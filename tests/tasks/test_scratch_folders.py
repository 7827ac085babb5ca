"""What a killed process leaves in its folder is cleared away, and a live one's folder is not."""

from __future__ import annotations

from pathlib import Path

from tasks.scratch_folders import scratch_folder
from tests.conftest import Workload, python, traffic

WORKER = """
import sys
from pathlib import Path
from tasks.scratch_folders import scratch_folder
with scratch_folder(Path(sys.argv[1]), ".rows-") as folder:
    (folder / "rows").write_text("rows")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_killed_processs_folder_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    worker = python(WORKER, str(tmp_path), stdin=-1)
    assert worker.stdout is not None
    left = Path(worker.stdout.readline().strip())
    worker.kill()
    worker.communicate()
    assert (left / "rows").is_file()
    with scratch_folder(tmp_path, ".rows-") as own:
        assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert not list(tmp_path.iterdir())


def test_a_pass_that_finds_nothing_new_clears_away_too(workload: Workload) -> None:
    """Killed as it ended, a pass has stored everything: the next one has nothing to do."""
    workload.collect("a", traffic(2))
    (workload.config.home / ".tickets-staging-left").mkdir()
    assert workload.collect().read == 0
    assert not list(workload.config.home.glob(".*staging*"))


def test_a_live_processs_folder_and_those_of_other_work_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".other-work").mkdir()
    worker = python(WORKER, str(tmp_path), stdin=-1)
    assert worker.stdout is not None
    theirs = Path(worker.stdout.readline().strip())
    with scratch_folder(tmp_path / "deep", ".rows-"), scratch_folder(tmp_path, ".rows-"):
        assert (theirs / "rows").is_file()
        assert (tmp_path / ".other-work").is_dir()
    worker.communicate("")
    assert {path.name for path in tmp_path.iterdir()} == {".other-work", "deep"}
