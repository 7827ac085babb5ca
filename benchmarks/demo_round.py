"""What the demo costs, and what a scheduled run costs that finds nothing new.

    python -m benchmarks.demo_round

The demo runs twice, each in an empty home: first with the base model to be built, then with the one built
before. The idle run is timed as a whole process, in turn with an empty Prefect flow beside the same server.
About 20 minutes on two cores.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks._bars import Bar, close
from deployments.services import Guard, start, stop

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/tickets.yaml"
FLYWHEEL = [sys.executable, "-m", "flows.cli"]
IDLE = [*FLYWHEEL, "run", "run_round", "--config", CONFIG]
NOTHING = "Nothing to do"
HEAVY = ("torch", "mlflow")
REPEATS = 13
GIB = 2**30

EMPTY_FLOW = """
from prefect import flow

@flow
def empty() -> None:
    pass

empty()
"""


@dataclass(frozen=True)
class Cost:
    """Wall time (s) of a command, and the most memory (bytes) that it and its descendants held together."""

    seconds: float
    peak: int


def environment(**extra: str) -> dict[str, str]:
    """The caller's environment without its Prefect and MLflow settings, the packages importable anywhere."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return own | {"PYTHONPATH": str(ROOT)} | extra


def memory(process: psutil.Process) -> int:
    """Proportional set size of one process in bytes: shared pages are counted once over all that share them."""
    try:
        info = process.memory_full_info()
        return int(getattr(info, "pss", info.rss))
    except psutil.Error:
        return 0


def tree_memory(root: psutil.Process) -> int:
    """Memory (bytes) of a process and all its descendants."""
    try:
        return sum(memory(process) for process in [root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    """What a command prints; ends the benchmark with the output's last lines when it fails."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout + done.stderr


def run_demo(folder: Path) -> Cost:
    """One demo in `folder`, its tree's memory sampled once a second; its output goes to demo.log there."""
    log = folder / "demo.log"
    begun, peak = time.monotonic(), 0
    with log.open("wb") as output:
        process = subprocess.Popen([*FLYWHEEL, "demo"], cwd=folder, env=environment(), stdout=output, stderr=output)
        watched = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                peak = max(peak, tree_memory(watched))
                time.sleep(1.0)
        finally:
            process.kill()
    if process.returncode:
        raise SystemExit(f"the demo failed:\n{log.read_text(errors='replace')[-3000:]}")
    return Cost(time.monotonic() - begun, peak)


def rounds(folder: Path) -> list[str]:
    """The verdicts of the rounds that a demo ran."""
    status = subprocess.run(
        [*FLYWHEEL, "status", "--json", "--config", CONFIG],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return [str(r.get("verdict")) for r in json.loads(status.stdout)["rounds"]]


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
        wait_for(f"{url}/health")
        yield env | {"PREFECT_API_URL": url}
    finally:
        stop(server, guard)
        guard.close()


def wait_for(url: str, seconds: float = 120.0) -> None:
    """Until `url` answers; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer within {seconds:.0f} s")


def timed(command: list[str], folder: Path, env: dict[str, str], expect: str = "") -> float:
    """Wall seconds of a command that must print `expect`."""
    begun = time.monotonic()
    printed = run(command, folder, env)
    if expect not in printed:
        raise SystemExit(f"{' '.join(command)} should have said {expect!r}:\n{printed[-3000:]}")
    return time.monotonic() - begun


def compare_idle(folder: Path, env: dict[str, str]) -> tuple[list[float], list[float]]:
    """Seconds of idle runs and of empty flows, in turn, after one of each that does not count."""
    script = folder / "empty_flow.py"
    script.write_text(EMPTY_FLOW)
    empty = [sys.executable, str(script)]
    pairs = [(timed(IDLE, folder, env, expect=NOTHING), timed(empty, folder, env)) for _ in range(REPEATS + 1)]
    return [idle for idle, _ in pairs[1:]], [bare for _, bare in pairs[1:]]


def heavy_imports(folder: Path, env: dict[str, str]) -> list[str]:
    """Which of the heavy libraries an idle run imports."""
    printed = run([sys.executable, "-X", "importtime", *IDLE[1:]], folder, env)
    names = {line.rpartition("|")[2].strip() for line in printed.splitlines() if "|" in line}
    return [name for name in HEAVY if name in names]


def main() -> None:
    """Measure, print the table and the JSON."""
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        first, second = Path(name, "first"), Path(name, "second")
        first.mkdir()
        print("demo, base model to be built ...", flush=True)
        cold = run_demo(first)
        print(f"demo, base model cached (the first took {cold.seconds:.0f} s) ...", flush=True)
        shutil.copytree(first / ".flywheel" / "models", second / ".flywheel" / "models", symlinks=True)
        warm = run_demo(second)
        print(f"idle runs (the second took {warm.seconds:.0f} s) ...", flush=True)
        with prefect_server(Path(name)) as env:
            idle, empty = compare_idle(second, env)
            heavy = heavy_imports(second, env)
        verdicts = {"first": rounds(first), "second": rounds(second)}
    bars = [
        Bar("demo, base built, s", cold.seconds, "<=", 600),
        Bar("demo, base cached, s", warm.seconds, "<=", 420),
        Bar("demo, peak memory, GiB", max(cold.peak, warm.peak) / GIB, "<=", 8),
        Bar("idle run over an empty flow, s", statistics.median(idle) - statistics.median(empty), "<=", 1.0),
        Bar("heavy libraries an idle run imports", len(heavy), "<=", 0),
    ]
    context = {
        "cores": os.cpu_count(),
        "idle_s": [round(s, 2) for s in idle],
        "empty_flow_s": [round(s, 2) for s in empty],
        "heavy": heavy,
        "verdicts": verdicts,
    }
    close("demo_round", bars, context)


if __name__ == "__main__":
    main()
