"""Runs a heavy function in a child process, so that its memory is given back and it dies with its parent.

The child is `python -m tasks.child MODULE:FUNCTION SPEC.json PARENT_PID`. The function takes the spec (a dict) and a
progress callable, and returns a dict. Progress, the result and errors that a user can act on come back as JSON
lines; everything that libraries print goes to a log file.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tasks.errors import ChildError, FlywheelError

Progress = Callable[..., None]

PR_SET_PDEATHSIG = 1
# glibc gives large blocks back to the kernel at each free, and PyTorch on a CPU asks for them again at once: half of
# the time would go into page faults. With these limits (bytes) freed blocks are kept.
MALLOC_TUNABLES = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296"


def run_child(function: str, spec: dict[str, Any], folder: Path, on_progress: Progress | None = None) -> dict[str, Any]:
    """Call `MODULE:FUNCTION` with the spec in a child process; what it returned.

    The spec and the log are kept in `folder` under the module's name.

    Raises:
        ChildError: the child failed; the message has the last line of its log.
        FlywheelError: the function raised one.
    """
    name = function.partition(":")[0].rpartition(".")[2]
    folder.mkdir(parents=True, exist_ok=True)
    spec_file, log_file = folder / f"{name}.spec.json", folder / f"{name}.log"
    spec_file.write_text(json.dumps(spec, indent=1, default=str), encoding="utf-8")
    command = [sys.executable, "-m", "tasks.child", function, str(spec_file), str(os.getpid())]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=_environment(), start_new_session=True
        )
        try:
            message = _follow(process, on_progress)
            code = process.wait()
        finally:
            _end_group(process)
    if "error" in message:
        raise FlywheelError(message["error"])
    if "result" not in message:
        raise ChildError(f"{function} ended with status {code}: {_last_line(log_file)} (the whole story: {log_file})")
    return dict(message["result"])


def _environment() -> dict[str, str]:
    """This process's environment, with the packages importable from any working folder."""
    root = str(Path(__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    return (
        {"GLIBC_TUNABLES": MALLOC_TUNABLES}
        | dict(os.environ)
        | {
            "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
            "OMP_WAIT_POLICY": "passive",  # waiting threads sleep: beside another busy process, spinning costs tenfold
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }
    )


def _follow(process: subprocess.Popen[str], on_progress: Progress | None) -> dict[str, Any]:
    """Read the child's messages up to its result or error."""
    assert process.stdout is not None
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if "result" in message or "error" in message:
            return message
        if on_progress is not None:
            on_progress(**message["progress"])
    return {}


def _end_group(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the child and of the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def _die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends; leave at once if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _main(function: str, spec_file: str, parent: str) -> int:
    _die_with_parent(int(parent))
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module, _, name = function.partition(":")

    def progress(**values: Any) -> None:
        _send(channel, {"progress": values})

    try:
        spec = json.loads(Path(spec_file).read_text(encoding="utf-8"))
        _send(channel, {"result": getattr(importlib.import_module(module), name)(spec, progress)})
    except FlywheelError as error:
        _send(channel, {"error": str(error)})
        return 1
    return 0


def _send(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
