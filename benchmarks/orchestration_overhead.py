"""What Prefect and the flywheel's own bookkeeping cost beside the work that they order.

    python -m benchmarks.orchestration_overhead [--small]

A demo's first round is run through Prefect with a clock around each stage's own function (collecting, training with the
start of its process, the engine, and so on): all of the rest of the command's wall time is orchestration, from the
start of Python to its end. Prefect makes a database when it first runs in a home, which an empty flow has it do before;
how long that flow took is in the context. A round of half the length is measured as well; there Prefect's own start
weighs more. Then idle scheduled runs are timed in turn with empty flows on one Prefect server. --small leaves the demo
out. About 7 minutes on two cores, 4 with --small.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._bars import Bar, close
from benchmarks._idle import EMPTY_FLOW, compare_idle, environment, heavy_imports, prefect_server, run
from benchmarks._kill_world import build_world, empty_home

REPEATS = 9
# Sets the demo's scene up to its first window's traffic, as `flywheel demo` does before its first round.
DEMO = """
from tasks.config import load_config
from tasks.demo.stage import make_traffic, prepare_base
from tasks.demo.worlds import make_world
config = load_config("configs/tickets.yaml")
world, quiet = make_world(config.name, None), lambda **message: None
prepare_base(config, world, quiet)
make_traffic(config, world, 1, quiet)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of a round's whole command, and of each stage's own function."""

    wall: float
    stages: dict[str, float]
    first_start: float  # of an empty flow in the same home, before

    @property
    def overhead(self) -> float:
        """What is not the stages' own, in percent of the whole."""
        return 100 * (self.wall - sum(self.stages.values())) / self.wall


def time_round(config: str, folder: Path, home: Path) -> Cost:
    """Run a round in a process of its own, which starts a Prefect server of its own, as from a shell."""
    begun = time.monotonic()
    run([sys.executable, "-c", EMPTY_FLOW], folder, environment(PREFECT_HOME=str(home / "prefect")))
    first_start = time.monotonic() - begun
    begun = time.monotonic()
    printed = run([sys.executable, "-m", "benchmarks._timed_round", config], folder, environment())
    wall = time.monotonic() - begun
    stages = json.loads(next(line for line in reversed(printed.splitlines()) if line.startswith("{")))
    return Cost(wall, stages, first_start)


def time_demo(folder: Path) -> Cost:
    """The demo's first round, in an empty folder."""
    folder.mkdir()
    run([sys.executable, "-c", DEMO], folder, environment())
    return time_round("configs/tickets.yaml", folder, folder / ".flywheel")


def main() -> None:
    """Measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration_overhead")
    parser.add_argument("--small", action="store_true", help="leave the demo's round out")
    small_only = parser.parse_args().small
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        world = build_world(Path(name, "world"), bulk=0)
        empty_home(world)
        costs = {"small": time_round(str(world.config), world.folder, world.home)}
        if not small_only:
            costs["demo"] = time_demo(Path(name, "demo"))
        with prefect_server(Path(name)) as env:
            idle, empty = compare_idle(str(world.config), world.folder, env, REPEATS)
            heavy = heavy_imports(str(world.config), world.folder, env)
    report(costs, idle, empty, heavy)


def report(costs: dict[str, Cost], idle: list[float], empty: list[float], heavy: list[str]) -> None:
    """The bars, and beside them what a round of half the length gives, which the bar is not for."""
    rounds = [name for name in costs if name == "demo"] or list(costs)
    bars = [Bar(f"{name} round, orchestration, % of wall", costs[name].overhead, "<=", 10) for name in rounds] + [
        Bar("idle run over an empty flow, s", statistics.median(idle) - statistics.median(empty), "<=", 1.0),
        Bar("heavy libraries an idle run imports", len(heavy), "<=", 0),
    ]
    context = {
        "cores": os.cpu_count(),
        "overhead_percent": {name: round(cost.overhead, 1) for name, cost in costs.items()},
        "wall_s": {name: round(cost.wall, 1) for name, cost in costs.items()},
        "orchestration_s": {name: round(cost.wall - sum(cost.stages.values()), 1) for name, cost in costs.items()},
        "first_start_s": {name: round(cost.first_start, 1) for name, cost in costs.items()},
        "stage_s": {name: {stage: round(s, 2) for stage, s in cost.stages.items()} for name, cost in costs.items()},
        "idle_s": [round(s, 2) for s in idle],
        "empty_flow_s": [round(s, 2) for s in empty],
        "heavy": heavy,
    }
    close("orchestration_overhead", bars, context)


if __name__ == "__main__":
    main()
