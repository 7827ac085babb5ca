"""A heavy function in a child process: its result and its errors come back, and nothing outlives its parent."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.child import gpus, run_child
from tasks.errors import ChildError, FlywheelError
from tests.conftest import python

FUNCTIONS = """
import os, subprocess, sys, threading, time

def answer(spec, progress):
    print("this goes to the log")
    return {"twice": 2 * spec["value"], "pid": os.getpid()}

def count(spec, progress):
    for step in range(3):
        progress(done=step, total=3)
    return {}

def refuse(spec, progress):
    from tasks.errors import ConfigError
    raise ConfigError("the rank is wrong; choose another")

def crash(spec, progress):
    print("about to fail", file=sys.stderr)
    raise RuntimeError("out of luck")

def vanish(spec, progress):
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), 9)

def write_pid(spec, name):
    with open(os.path.join(spec["folder"], name + ".part"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(file.name, os.path.join(spec["folder"], name))

def linger(spec, progress):
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    path = os.path.join(spec["folder"], "grandchild")
    subprocess.Popen([sys.executable, "-c", code, path])
    while not os.path.exists(path) or not os.path.getsize(path):
        time.sleep(0.02)
    write_pid(spec, "child")
    if spec.get("return"):
        return {}
    time.sleep(60)

def fork_and_vanish(spec, progress):
    if os.fork() == 0:
        write_pid(spec, "grandchild")
        time.sleep(60)
        os._exit(0)
    while not os.path.exists(os.path.join(spec["folder"], "grandchild")):
        time.sleep(0.02)
    print("segmentation fault", file=sys.stderr, flush=True)
    os._exit(11)

def hang_at_exit(spec, progress):
    threading.Thread(target=time.sleep, args=(60,)).start()
    return {"done": True}
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that the child can import."""
    (tmp_path / "work_of_a_child.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def call(folder: Path, name: str, on_progress: Any = None, **spec: Any) -> dict[str, Any]:
    return run_child(f"work_of_a_child:{name}", spec | {"folder": str(folder)}, folder / "logs", on_progress)


def test_the_result_comes_back_from_another_process(functions: Path) -> None:
    result = call(functions, "answer", value=21)
    assert result["twice"] == 42
    assert result["pid"] != os.getpid()


def test_what_is_printed_goes_to_the_log(functions: Path) -> None:
    call(functions, "answer", value=1)
    assert (functions / "logs" / "work_of_a_child.log").read_text(encoding="utf-8") == "this goes to the log\n"


def test_progress_comes_back_in_order(functions: Path) -> None:
    seen: list[tuple[int, int]] = []
    call(functions, "count", lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_a_known_error_comes_back_as_its_one_line(functions: Path) -> None:
    with pytest.raises(FlywheelError, match=r"^the rank is wrong; choose another$"):
        call(functions, "refuse")


def test_a_crash_gives_the_last_line_of_the_log(functions: Path) -> None:
    with pytest.raises(ChildError, match="RuntimeError: out of luck") as caught:
        call(functions, "crash")
    assert "\n" not in str(caught.value)
    assert str(functions / "logs" / "work_of_a_child.log") in str(caught.value)


def test_a_killed_child_is_an_error_with_its_last_words(functions: Path) -> None:
    with pytest.raises(ChildError, match=r"status -9: last words"):
        call(functions, "vanish")


def test_a_function_that_is_not_there_is_an_error(functions: Path) -> None:
    with pytest.raises(ChildError, match="AttributeError"):
        call(functions, "absent")


def test_an_error_in_the_listener_ends_the_child(functions: Path) -> None:
    def fail(**_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(functions, "count", fail)


def pid(folder: Path, name: str) -> int:
    """The process id that a child wrote down, when it has."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((folder / name).read_text(encoding="utf-8"))
        time.sleep(0.02)
    raise AssertionError(f"{name} did not start")


def is_running(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ends(number: int, seconds: float = 5.0) -> bool:
    """Whether the process is gone within the time; it is not left behind by a test that fails."""
    deadline = time.monotonic() + seconds
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.02)
    if is_running(number):
        os.kill(number, 9)
        return False
    return True


def test_what_the_child_started_ends_with_it(functions: Path) -> None:
    call(functions, "linger", **{"return": True})
    assert ends(pid(functions, "grandchild"))


PARENT = """
import os, sys
from pathlib import Path
os.environ["PYTHONPATH"] = sys.argv[1]
from tasks.child import gpus, run_child
folder = Path(sys.argv[1])
run_child("work_of_a_child:linger", {"folder": str(folder)}, folder / "logs")
"""


def parent(folder: Path) -> Any:
    return python(PARENT, str(folder))


def test_a_killed_parent_takes_its_child_along(functions: Path) -> None:
    runner = parent(functions)
    child, grandchild = pid(functions, "child"), pid(functions, "grandchild")
    runner.kill()
    runner.communicate()
    gone = ends(child)
    ends(grandchild, 0.0)
    assert gone


def test_a_killed_parent_takes_its_grandchildren_along(functions: Path) -> None:
    """vLLM and data loaders start processes of their own; a killed round must not leave them behind."""
    runner = parent(functions)
    child, grandchild = pid(functions, "child"), pid(functions, "grandchild")
    runner.kill()
    runner.communicate()
    gone = ends(grandchild, 2.0)
    ends(child)
    assert gone


def test_an_interrupted_parent_takes_everything_along(functions: Path) -> None:
    runner = parent(functions)
    child, grandchild = pid(functions, "child"), pid(functions, "grandchild")
    runner.send_signal(2)
    runner.communicate()
    gone = ends(child), ends(grandchild)
    assert all(gone)


@pytest.mark.timeout(60)
def test_a_child_that_dies_beside_a_fork_of_its_own_is_noticed(functions: Path) -> None:
    """The fork holds the pipe open; waiting for its end would wait for ever."""
    watch = python(
        """
        import os, sys
        from pathlib import Path
        from tasks.child import gpus, run_child
        os.environ["PYTHONPATH"] = sys.argv[1]
        run_child("work_of_a_child:fork_and_vanish", {"folder": sys.argv[1]}, Path(sys.argv[1]) / "logs")
        """,
        str(functions),
    )
    grandchild = pid(functions, "grandchild")
    noticed = ends(watch.pid, 4.0)
    ends(grandchild, 0.0)
    assert noticed
    assert "segmentation fault" in watch.communicate()[1]


@pytest.mark.timeout(60)
def test_a_child_that_has_answered_and_does_not_end_is_ended(functions: Path) -> None:
    started = time.monotonic()
    watch = python(
        """
        import os, sys
        from pathlib import Path
        from tasks.child import gpus, run_child
        os.environ["PYTHONPATH"] = sys.argv[1]
        print(run_child("work_of_a_child:hang_at_exit", {}, Path(sys.argv[1]) / "logs"))
        """,
        str(functions),
    )
    ended = ends(watch.pid, 5.0)
    assert ended, f"still waiting after {time.monotonic() - started:.0f} s"
    assert "'done': True" in watch.communicate()[0]


@pytest.mark.parametrize(("visible", "count"), [("0,1,2", 3), ("", 0), ("-1", 0), ("GPU-5f, GPU-6a", 2)])
def test_the_gpus_that_a_child_will_see_are_counted(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setattr("tasks.child.version", lambda name: "2.13.0+cu130")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == count
