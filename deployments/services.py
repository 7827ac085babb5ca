"""Long-running programs as children: each in a process group of its own, with a log, and none left behind.

A group is ended as a whole, so that what a program started goes with it. Should this process be killed
outright, a guard, a forked process that notices by the end of a pipe, ends the groups in its stead.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

GRACE_S = 10.0


def end_group(group: int, grace_s: float = GRACE_S) -> None:
    """Ask every process of a group to end, and kill what is still there after `grace_s` seconds."""
    for sig, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(group, sig)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not group_alive(group):
                return
            time.sleep(0.1)


def group_alive(group: int) -> bool:
    """Whether a process of the group still exists; a child that has ended is reaped on the way."""
    with suppress(ChildProcessError):
        os.waitpid(-group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Guard:
    """Ends the groups it was told of when this process disappears without having done so itself."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._writing)
            self._watch(reading)
        os.close(reading)

    @staticmethod
    def _watch(reading: int) -> None:
        os.setsid()
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, signal.SIG_IGN)
        groups: set[int] = set()
        with os.fdopen(reading) as lines:
            for number in map(int, lines):
                groups = groups | {number} if number > 0 else groups - {-number}
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)
        for group in groups:
            end_group(group, grace_s=3.0)
        os._exit(0)

    def watch(self, group: int) -> None:
        """From now on, end this group when the parent is gone."""
        os.write(self._writing, f"{group}\n".encode())

    def forget(self, group: int) -> None:
        """The group has ended; its number may be another's soon."""
        os.write(self._writing, f"{-group}\n".encode())

    def close(self) -> None:
        """Let the guard go; every group should have ended."""
        os.close(self._writing)
        os.waitpid(self._pid, 0)


@dataclass(frozen=True)
class Service:
    """One running program: its name for people, the leader of its process group, its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self, count: int = 5) -> str:
        """The end of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-count:])


def start(name: str, command: list[str], env: Mapping[str, str], cwd: Path, log: Path, guard: Guard) -> Service:
    """Start a program in a process group of its own, its output going to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    guard.watch(process.pid)
    return Service(name, process, log)


def stop(service: Service, guard: Guard, polite: signal.Signals | None = None, polite_s: float = 3.0) -> None:
    """End a service and all that it started.

    With `polite`, the program alone gets that signal first and `polite_s` seconds to finish what it is doing.
    """
    if polite is not None and service.process.poll() is None:
        service.process.send_signal(polite)
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(polite_s)
    end_group(service.process.pid)
    service.process.wait()
    guard.forget(service.process.pid)


class Stopping:
    """Turns SIGINT and SIGTERM into something that can be asked for, so that stopping is never cut short."""

    def __init__(self) -> None:
        self.asked = False
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, self._ask)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True
