"""A PostgreSQL server for tests, where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

START_SECONDS = 30.0


def find_binary(name: str) -> str:
    """A program of PostgreSQL's server, on PATH or where Debian has it."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(packaged[-1]) if packaged else None)
    if found is None:
        pytest.skip(f"{name} is not installed: no PostgreSQL server to test against")
    return found


class Server:
    """A PostgreSQL server on a Unix socket in a folder of its own; it refuses to run as root, so root steps down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = (folder / "log").open("wb")
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        self._run(find_binary("initdb"), "-A", "trust", "-U", "flywheel", "-E", "UTF8", "--locale=C", "--no-sync")
        options = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=UTC"]
        self.process = subprocess.Popen([find_binary("postgres"), "-D", self.data, *options], **self.how)

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def how(self) -> dict[str, Any]:
        run: dict[str, Any] = {"cwd": self.folder, "stdout": self.log, "stderr": self.log}
        return run | ({"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {})

    @property
    def url(self) -> str:
        return f"postgresql://flywheel@/postgres?host={self.folder}"

    def _run(self, *command: str) -> None:
        subprocess.run([*command, "-D", self.data], check=True, **self.how)

    def wait(self) -> None:
        engine = sa.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                engine.connect().close()
                return
            except sa.exc.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # at once, whoever is connected
        self.process.wait(timeout=START_SECONDS)
        self.log.close()


@contextmanager
def running_postgres() -> Iterator[str]:
    """URL of an empty PostgreSQL server; the test is skipped where there is none."""
    for name in ("initdb", "postgres"):
        find_binary(name)
    folder = Path(tempfile.mkdtemp(prefix="flywheel-pg-"))
    try:
        server = Server(folder)
        try:
            server.wait()
            yield server.url
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
