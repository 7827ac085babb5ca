"""What a scheduled run costs that finds nothing new, beside an empty flow on the same Prefect server."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deployments.services import Guard, start, stop

ROOT = Path(__file__).resolve().parent.parent
NOTHING = "Nothing to do"
HEAVY = ("torch", "mlflow")
EMPTY_FLOW = """
from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

@flow
def empty() -> None:
    pass

# As in `flywheel run`: without, half of the empty flows would wait a second for the thread that sends heartbeats.
with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
    empty()
"""


def environment(**extra: str) -> dict[str, str]:
    """The caller's environment without its Prefect and MLflow settings, the packages importable anywhere."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return own | {"PYTHONPATH": str(ROOT)} | extra


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    """What a command prints; ends the benchmark with the output's last lines when it fails."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout + done.stderr


@contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """A Prefect server on this machine; the environment that points to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = environment(PREFECT_HOME=str(folder / "prefect"), PREFECT_SERVER_ANALYTICS_ENABLED="false")
    (folder / "prefect").mkdir()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    guard = Guard()
    server = start("Prefect server", command, env, folder, folder / "server.log", guard)
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait_for(f"{url}/health")
        yield env | {"PREFECT_API_URL": url}
    finally:
        stop(server, guard)
        guard.close()


def _wait_for(url: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer within {seconds:.0f} s")


def compare_idle(config: str, folder: Path, env: dict[str, str], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of idle runs and of empty flows, in turn, after one of each that does not count."""
    script = folder / "empty_flow.py"
    script.write_text(EMPTY_FLOW)
    empty = [sys.executable, str(script)]
    pairs = [
        (_timed(idle_command(config), folder, env, NOTHING), _timed(empty, folder, env)) for _ in range(repeats + 1)
    ]
    return [idle for idle, _ in pairs[1:]], [bare for _, bare in pairs[1:]]


def idle_command(config: str) -> list[str]:
    """What a schedule runs."""
    return [sys.executable, "-m", "flows.cli", "run", "run_round", "--config", config]


def _timed(command: list[str], folder: Path, env: dict[str, str], expect: str = "") -> float:
    """Wall seconds of a command that must print `expect`."""
    begun = time.monotonic()
    printed = run(command, folder, env)
    if expect not in printed:
        raise SystemExit(f"{' '.join(command)} should have said {expect!r}:\n{printed[-3000:]}")
    return time.monotonic() - begun


def heavy_imports(config: str, folder: Path, env: dict[str, str]) -> list[str]:
    """Which of the heavy libraries an idle run imports."""
    printed = run([sys.executable, "-X", "importtime", *idle_command(config)[1:]], folder, env)
    names = {line.rpartition("|")[2].strip() for line in printed.splitlines() if "|" in line}
    return [name for name in HEAVY if name in names]
