"""A round that is killed with SIGKILL at the end of each stage, and at fifty moments spread over the stages.

    python -m benchmarks.kill_recovery [--stages train,register] [--folder DIR] [--minutes 4]

After each kill the round is taken up again and held against an undisturbed one: rows, files, the snapshot, the verdict,
what MLflow has, and what is left running. Nothing of the code under test knows of it. With a folder, the undisturbed
round and the outcomes are kept there, so that it can be done in several goes, each of some minutes; what was killed is
not killed again, and the table is of all of them.
About 25 minutes on two cores, five kills of them through vLLM.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks._bars import Bar, close
from benchmarks._kill_world import World, build_world
from benchmarks._kills import BULK, Kill, Outcome, Undisturbed, kill, undisturbed_round
from tasks.rounds import STAGES

BOUNDARIES = ("collect", *STAGES[:-1])
# How many of the fifty random kills hit each stage. vLLM takes most of a minute to start, so regress is hit but thrice.
SPREAD = {
    BULK: 8, "screen": 4, "cluster": 5, "split": 4, "blend": 5, "train": 8, "regress": 3, "gate": 4, "register": 5,
    "shadow": 1, "approve": 1, "promote": 2,
}  # fmt: skip
SEED = 20_260


def moments(stages: Sequence[str]) -> list[Kill]:
    """The kills of some stages: one at the end of each, and its share of the fifty, half of them at a write."""
    rng = random.Random(SEED)
    drawn = [
        Kill(stage, rng.random(), "write" if place % 2 else "time")
        for stage, count in SPREAD.items()
        for place in range(count)
    ]
    ends = [Kill(stage, 1.0, "end") for stage in BOUNDARIES]
    return [each for each in [*ends, *drawn] if each.stage in stages]


def run_all(world: World, undisturbed: Undisturbed, kills: Sequence[Kill], seconds: float) -> Iterator[Outcome]:
    """Each kill in turn, with a line of what came of it, as long as there is time."""
    deadline = time.monotonic() + seconds
    for number, each in enumerate(kills, 1):
        if time.monotonic() > deadline:
            return
        outcome = kill(world, undisturbed, each)
        verdict = "as undisturbed" if outcome.recovered else "DIFFERS"
        print(f"{number:3} of {len(kills)}  {each!s:34} {outcome.seconds:5.1f} s  {verdict}", flush=True)
        for line in [outcome.error, *outcome.differences, *outcome.orphans, *outcome.half_written]:
            if line:
                print(f"       {line}", flush=True)
        yield outcome


def bars(outcomes: Sequence[dict[str, Any]]) -> list[Bar]:
    """What the kills came to."""
    count = len(outcomes)
    return [
        Bar("kills", count, ">=", len(BOUNDARIES) + sum(SPREAD.values())),
        Bar("kills recovered, %", 100 * sum(each["recovered"] for each in outcomes) / max(1, count), ">=", 100),
        Bar("rows, files or versions lost, doubled or other", _count(outcomes, "differences"), "<=", 0),
        Bar("processes left", _count(outcomes, "orphans"), "<=", 0),
        Bar("files half-written or unreadable", _count(outcomes, "half_written"), "<=", 0),
        Bar("stages repeated that had ended", _count(outcomes, "repeated_stages"), "<=", 0),
        Bar("steps repeated from before a checkpoint", sum(each["repeated_steps"] for each in outcomes), "<=", 0),
    ]


def _count(outcomes: Sequence[dict[str, Any]], what: str) -> int:
    return sum(len(each[what]) for each in outcomes)


def main() -> None:
    """Kill, print the table and the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill_recovery")
    every = [BULK, *BOUNDARIES]
    parser.add_argument("--stages", default=",".join(every), help=f"of {', '.join(every)}")
    parser.add_argument("--folder", type=Path, help="where the undisturbed round and the outcomes are kept")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no more is killed")
    given = parser.parse_args()
    kills = moments(given.stages.split(","))
    if given.folder is not None:
        measure(given.folder.resolve(), kills, 60 * given.minutes)
        return
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        measure(Path(folder), kills, 60 * given.minutes)


def measure(folder: Path, kills: Sequence[Kill], seconds: float) -> None:
    """Kill in a world in the folder, and sum up with what was killed there before."""
    world = build_world(folder, logging_steps=1)  # so that it is seen which steps are repeated
    undisturbed = undisturbed_round(world)
    done = folder / "outcomes.json"
    outcomes = json.loads(done.read_text()) if done.is_file() else []
    before = [each["kill"] for each in outcomes]
    left = [each for each in kills if asdict(each) not in before]
    for outcome in run_all(world, undisturbed, left, seconds):
        outcomes.append(asdict(outcome) | {"recovered": outcome.recovered})
        done.write_text(json.dumps(outcomes))
    context = {
        "cores": os.cpu_count(),
        "stage_s": {stage: round(span.seconds, 2) for stage, span in undisturbed.spans.items()},
        "kills": dict(Counter(each["kill"]["stage"] for each in outcomes)),
        "killed_alive": sum(each["was_killed"] for each in outcomes),
        "minutes": round(sum(each["seconds"] for each in outcomes) / 60, 1),
    }
    close("kill_recovery", bars(outcomes), context)


if __name__ == "__main__":
    main()
