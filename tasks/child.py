"""Runs a heavy function in a child process, so that its memory is given back and it dies with its parent.

The child is `python -m tasks.child MODULE:FUNCTION SPEC.json`. The function takes the spec (a dict) and a
progress callable, and returns a dict. Progress, the result and errors that a user can act on come back as JSON
lines; everything that libraries print goes to a log file.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from tasks.disk import naming_full_disk
from tasks.errors import ChildError, FlywheelError
from tasks.secrets import for_children

Progress = Callable[..., None]

# glibc gives large blocks back to the kernel at each free, and PyTorch on a CPU asks for them again at once: half of
# the time would go into page faults. With these limits (bytes) freed blocks are kept.
MALLOC_TUNABLES = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296"

LOOK_SECONDS = 0.3
BUSY_PERCENT = 50  # of one core
SPINS = "20000"  # of GNU's OpenMP: some tens of microseconds


def run_child(
    function: str, spec: dict[str, Any], folder: Path, on_progress: Progress | None = None, processes: int = 1
) -> dict[str, Any]:
    """Call `MODULE:FUNCTION` with the spec in a child process; what it returned.

    The spec and the log are kept in `folder` under the module's name. With several `processes`, accelerate launches as
    many, one for each GPU; the first of them speaks for all.

    Raises:
        ChildError: the child failed; the message has the last line of its log.
        FlywheelError: the function raised one.
    """
    name = function.partition(":")[0].rpartition(".")[2]
    folder.mkdir(parents=True, exist_ok=True)
    spec_file, log_file = folder / f"{name}.spec.json", folder / f"{name}.log"
    spec_file.write_text(json.dumps(spec, indent=1, default=str), encoding="utf-8")
    command = [sys.executable, "-m", *_launcher(processes), "tasks.child", function, str(spec_file)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
            start_new_session=True,
        )
        # When the child ends, its group ends with it: a grandchild must not keep the channel open for ever.
        reaper = threading.Thread(target=_reap, args=(process,), daemon=True)
        reaper.start()
        try:
            message = _follow(process, on_progress)
        finally:
            _kill_group(process.pid)
            reaper.join()
            _close(process)
    if "error" in message:
        raise FlywheelError(message["error"])
    if "result" not in message:
        raise ChildError(
            f"{function} ended with status {process.returncode}: {last_line(log_file)} (the whole story: {log_file})"
        )
    return dict(message["result"])


def _launcher(processes: int) -> list[str]:
    """Everything is said, so that no configuration file of accelerate's is looked for."""
    if processes == 1:
        return []
    options = {"num_processes": processes, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
    said = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return ["accelerate.commands.launch", "--multi_gpu", *said, "--main_process_port", "0", "-m"]


def environment() -> dict[str, str]:
    """For a child: this process's environment, with the packages importable from any working folder."""
    root = str(Path(__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    return (
        {"GLIBC_TUNABLES": MALLOC_TUNABLES}
        | dict(os.environ)
        | for_children()
        | {
            "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
            "OMP_WAIT_POLICY": "passive",  # waiting threads sleep; see `spin_when_alone`
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }
    )


def gpus() -> int:
    """GPUs that a child will see. Asking PyTorch would cost seconds, and leave a context on each."""
    if version("torch").endswith("+cpu"):
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(list(Path("/dev").glob("nvidia[0-9]*")))
    return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])


def is_first() -> bool:
    """Whether this process is the one that speaks for all, where a child runs as several."""
    return os.environ.get("RANK", "0") == "0"


def spin_when_alone() -> None:
    """Let PyTorch's waiting threads spin a little, where no other process needs the processor.

    To be called in a child before it imports torch. Threads that wait for each other a thousand times a step lose a
    third of the time to falling asleep; beside another busy process, though, those that spin keep it from their own
    partners and take more than twice as long.
    """
    import psutil

    if psutil.cpu_percent(interval=LOOK_SECONDS) * (os.cpu_count() or 1) < BUSY_PERCENT:
        os.environ["GOMP_SPINCOUNT"] = SPINS


def _follow(process: subprocess.Popen[bytes], on_progress: Progress | None) -> dict[str, Any]:
    """Read the child's messages up to its result or error; a line that was cut short by its death is no message."""
    assert process.stdout is not None
    for line in process.stdout:
        if not line.endswith(b"\n"):
            break
        message: dict[str, Any] = json.loads(line)
        if "result" in message or "error" in message:
            return message
        if on_progress is not None:
            on_progress(**message["progress"])
    return {}


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    _kill_group(process.pid)


def _kill_group(group: int) -> None:
    """Kill what is left of the child and of the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def _die_with_parent() -> None:
    """Fork a guard that kills this process group when the parent is no more.

    The parent holds the other end of standard input and never writes: the pipe ends when the parent does. Unlike a
    death signal for the child alone, this reaches the processes that the child has started.
    """
    if os.fork() == 0:
        os.close(1)
        os.read(0, 1)
        os.killpg(0, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _main(function: str, spec_file: str) -> int:
    _die_with_parent()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module, _, name = function.partition(":")

    def progress(**values: Any) -> None:
        if is_first():
            _send(channel, {"progress": values})

    try:
        spec = json.loads(Path(spec_file).read_text(encoding="utf-8"))
        with naming_full_disk(Path(spec_file).parent):
            result = getattr(importlib.import_module(module), name)(spec, progress)
        if is_first():
            _send(channel, {"result": result})
    except FlywheelError as error:
        _send(channel, {"error": str(error)})
        return 1
    return 0


def _send(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
