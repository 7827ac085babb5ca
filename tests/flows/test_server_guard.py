"""A run that is killed leaves no server behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

RUN = """
import subprocess, sys, time
from flows.server_guard import start_guard
guard, WAIT = start_guard(), "import time; time.sleep(300)"
server = subprocess.Popen([sys.executable, "-c", WAIT, "prefect.server.api.server:create_app"])
other = subprocess.Popen([sys.executable, "-c", WAIT])
import gc; gc.collect(); time.sleep(2)
print(server.pid, other.pid, guard, flush=True)
if "end" in sys.argv:
    server.kill(); server.wait()
else:
    time.sleep(300)
"""


def start(*arguments: str) -> tuple[subprocess.Popen[str], list[int]]:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert run.stdout is not None
    return run, [int(pid) for pid in run.stdout.readline().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def test_the_server_of_a_killed_run_ends_and_nothing_else() -> None:
    run, (server, other, guard) = start()
    assert is_alive(server)
    assert is_alive(guard), "it watches as long as the run lives"
    run.kill()
    run.wait()
    assert gone(server)
    assert is_alive(other)
    os.kill(other, signal.SIGKILL)
    assert gone(guard)


def test_the_guard_of_a_run_that_ended_ends_too() -> None:
    run, (server, other, guard) = start("end")
    os.kill(other, signal.SIGKILL)
    run.wait()
    assert gone(guard)
    assert not is_alive(server)
