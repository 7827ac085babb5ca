"""`make up` as a process of its own, for the tests that use it: started, asked, and ended with all that it started."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
UP = [sys.executable, "-m", "deployments.up"]
NEVER = "0 0 1 1 *"  # a cron that no test lives to see


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**extra: str) -> dict[str, str]:
    """As a new user's: nothing of Prefect or MLflow set, in particular no test server."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "FLYWHEEL_"))}
    return own | extra


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def still_alive(processes: list[psutil.Process], wait_s: float = 15.0) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=wait_s)[1]


class Up:
    """A started `deployments.up`, with what it printed."""

    def __init__(self, home: Path, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.prefect, self.mlflow = (f"http://127.0.0.1:{port}" for port in (free_port(), free_port()))
        ports = ["--prefect-port", self.prefect.rpartition(":")[2], "--mlflow-port", self.mlflow.rpartition(":")[2]]
        self.output = home / "output.txt"
        self.env = environment(**(env or {}))
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*UP, *ports, "--home", str(home)], cwd=ROOT, env=self.env, stdout=output, stderr=output
            )
        secret = self.env.get("PREFECT_SERVER_API_AUTH_STRING")
        user, _, password = (secret or "").partition(":")
        self.client = httpx.Client(
            base_url=f"{self.prefect}/api", trust_env=False, timeout=30, auth=(user, password) if secret else None
        )

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: "Ctrl-C" in self.output.read_text(), 200, self.output.read_text)

    def wait_for(self, condition: Callable[[], Any], seconds: float, explain: Callable[[], Any] = str) -> Any:
        """What the condition gives once it gives something."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, explain()
            time.sleep(0.5)
        return found

    def posted(self, path: str, **body: Any) -> Any:
        done = self.client.post(path, json=body)
        assert done.is_success, done.text
        return done.json()

    def run(self, deployment: str, **request: Any) -> str:
        """Start a deployment (flow/name), as a person does by its form; the id of the run."""
        found = self.client.get(f"/deployments/name/{deployment}").json()
        parameters = {"request": found["parameters"]["request"] | request}
        return str(self.posted(f"/deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/flow_runs/{run}").json()
        return found

    def ended(self, run: str, seconds: float = 90) -> dict[str, Any]:
        """A run once it has ended."""
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        found: dict[str, Any] = self.wait_for(
            lambda: found if (found := self.state(run))["state_type"] in final else None, seconds, self.logs
        )
        return found

    def logs(self) -> str:
        """All that was logged, for a test that fails."""
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in (self.home / "logs").glob("*.log"))


@contextmanager
def up_and_running(home: Path, env: Mapping[str, str] | None = None) -> Iterator[Up]:
    """Within it, it answers; at the end it is stopped as by Ctrl-C."""
    home.mkdir(parents=True, exist_ok=True)
    started = Up(home, env)
    try:
        started.wait_until_ready()
        yield started
        started.process.send_signal(signal.SIGINT)
        started.process.wait(60)
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait()
        started.client.close()
