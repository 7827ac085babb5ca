"""Ends Prefect's temporary server where the run that started it was killed.

    python -m flows.server_guard NAME

Prefect stops this server at the end of its process, which one that is killed never comes to; the server would stay for
ever. The guard holds the other end of a pipe, which ends when the run does, however that is. It knows the server by the
run's name, which the run has put into its environment.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

VARIABLE = "FLYWHEEL_RUN"
SERVER = b"prefect.server.api.server"
LOOK_SECONDS = 0.3
LOOKS = 5  # a server that is just being started is not missed


def start_guard() -> int:
    """Watch over this process; to be called before Prefect starts a server. The guard's number."""
    root = str(Path(__file__).resolve().parent.parent)
    os.environ[VARIABLE] = secrets.token_hex(8)
    reading, _ = os.pipe()  # the other end stays open, in this process alone, for as long as it lives
    guard = subprocess.Popen(
        [sys.executable, "-m", "flows.server_guard", os.environ[VARIABLE]],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))},
        start_new_session=True,
    )
    os.close(reading)
    guard.returncode = 0  # nobody waits for it here
    return guard.pid


def main(run: str) -> None:
    """Wait until the run is no more, and end the server that it has left."""
    os.read(0, 1)
    for _ in range(LOOKS):
        for pid in _servers(run):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def _servers(run: str) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_runs = f"{VARIABLE}={run}".encode() in (process / "environ").read_bytes().split(b"\0")
            if is_runs and SERVER in (process / "cmdline").read_bytes():
                yield int(process.name)


if __name__ == "__main__":
    main(sys.argv[1])
