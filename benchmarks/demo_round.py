"""What the demo costs.

    python -m benchmarks.demo_round

The demo runs twice, each in an empty home: first with the base model to be built, then with the one built
before. What a scheduled run costs that finds nothing new is in orchestration_overhead. About 15 minutes on two cores.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks._bars import Bar, close
from benchmarks._idle import environment

CONFIG = "configs/tickets.yaml"
FLYWHEEL = [sys.executable, "-m", "flows.cli"]
GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """Wall time (s) of a command, and the most memory (bytes) that it and its descendants held together."""

    seconds: float
    peak: int


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
        verdicts = {"first": rounds(first), "second": rounds(second)}
    bars = [
        Bar("demo, base built, s", cold.seconds, "<=", 600),
        Bar("demo, base cached, s", warm.seconds, "<=", 420),
        Bar("demo, peak memory, GiB", max(cold.peak, warm.peak) / GIB, "<=", 8),
    ]
    context = {"cores": os.cpu_count(), "verdicts": verdicts}
    close("demo_round", bars, context)


if __name__ == "__main__":
    main()
