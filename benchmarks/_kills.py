"""Kills a round with SIGKILL at a chosen moment, has it taken up again, and compares it with an undisturbed one.

    undisturbed = undisturbed_round(world)
    outcome = kill(world, undisturbed, Kill("blend", 0.4))

The undisturbed round is run stage by stage, and the workload's home is copied at each stage's entry. A kill starts from
such a copy, put back in its place, so that it costs its stage and not a round.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks._kill_world import World, empty_home
from benchmarks._traces import Traces, leftovers, traces, unreadable
from tasks.rounds import STAGES

ROOT = Path(__file__).resolve().parent.parent
MARK = "FLYWHEEL_KILL_MARK"
# In time: after this share of the stage's undisturbed seconds. At a write: as its files change the nth time, n being
# this share of the changes. At the end: as soon as the stage's results are in the state.
Aim = Literal["time", "write", "end"]
BULK = "bulk collect"
ALL = (BULK, "collect", *STAGES)
LOOK_SECONDS = 0.0005
DIE_SECONDS = 15.0
STAGE_SECONDS = 280.0


@dataclass(frozen=True)
class Kill:
    """When a stage is killed."""

    stage: str
    share: float
    aim: Aim = "time"

    def __str__(self) -> str:
        return f"{self.stage} at its end" if self.aim == "end" else f"{self.stage}, {self.share:.0%} by {self.aim}"


@dataclass(frozen=True)
class Span:
    """How long a stage took (s), and how often one of its files was seen to change."""

    seconds: float
    changes: int


@dataclass(frozen=True)
class Undisturbed:
    """Each stage's span, and what there was after it."""

    spans: dict[str, Span]
    after: dict[str, Traces]


@dataclass
class Outcome:
    """What came of a kill: everything that is not as it is in the undisturbed round."""

    kill: Kill
    was_killed: bool = False
    error: str = ""
    differences: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    half_written: list[str] = field(default_factory=list)
    repeated_stages: list[str] = field(default_factory=list)
    repeated_steps: int = 0  # of training, from before the last whole checkpoint
    seconds: float = 0.0

    @property
    def recovered(self) -> bool:
        """Whether the round went on and ended as the undisturbed one."""
        return not (self.error or self.differences or self.orphans or self.half_written or self.repeated_stages)


class Runner:
    """The process that runs stages, in a session of its own, and what it says."""

    def __init__(self, world: World, config: Path, until: str, mark: str) -> None:
        self._log = (world.folder / "child.log").open("w+b")
        (world.folder / "tmp").mkdir(exist_ok=True)
        own = {MARK: mark, "OMP_NUM_THREADS": "1", "TMPDIR": str(world.folder / "tmp"), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._kill_child", str(config), until],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | own,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._text = ""

    @property
    def said(self) -> list[tuple[str, str]]:
        """The whole lines so far, each as two words."""
        assert self.process.stdout is not None
        self._text += (self.process.stdout.read() or b"").decode()
        whole = self._text.rpartition("\n")[0]
        return [(first, second) for first, _, second in (line.partition(" ") for line in whole.splitlines())]

    def wait(self) -> str:
        """Wait for its end; the last line of its log where it failed, else nothing."""
        try:
            code = self.process.wait(STAGE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"it did not end within {STAGE_SECONDS:.0f} s"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return (lines[-1] if lines else f"status {code}") if code else ""

    def kill(self) -> None:
        """SIGKILL to its whole group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def undisturbed_round(world: World, stages: Sequence[str] = ALL[:-1]) -> Undisturbed:
    """Run the stages one by one, the home kept at each one's entry, or find that they were run before."""
    spans = world.folder / "spans.json"
    if not spans.is_file():
        empty_home(world)
        found = {stage: _time(world, stage) for stage in stages}
        spans.write_text(json.dumps({stage: [span.seconds, span.changes] for stage, span in found.items()}))
    after = {}
    for stage in stages:
        restore(world, _after(stage))
        after[stage] = traces(world, _config(world, stage))
    return Undisturbed({stage: Span(*span) for stage, span in json.loads(spans.read_text()).items()}, after)


def _time(world: World, stage: str) -> Span:
    """Run a stage from its entry, which is kept, as is what comes of it."""
    _keep(world, stage)
    runner = Runner(world, _config(world, stage), _following(stage), "undisturbed")
    with _Watch(world) as watch:
        begun = _wait_for(runner, ("began", _said_as(stage)), watch)
        watch.changes = 0
        ended = _wait_for(runner, ("ended", _said_as(stage)), watch)
    if problem := runner.wait():
        raise RuntimeError(f"the undisturbed round failed at {stage}: {problem}")
    _keep(world, _after(stage))
    if stage == BULK:
        empty_home(world)
    return Span(ended - begun, watch.changes)


def _after(stage: str) -> str:
    """The name under which what a stage has left is kept: the next one's entry."""
    return "after the bulk" if stage == BULK else _following(stage)


def _following(stage: str) -> str:
    """The stage after one; the bulk workload has no round."""
    return "screen" if stage == BULK else ALL[ALL.index(stage) + 1]


def kill(world: World, undisturbed: Undisturbed, kill: Kill) -> Outcome:
    """Kill a stage once, run it to its end, and compare with the undisturbed round after it.

    Where the stage is killed at its end, the one after it is run too.
    """
    started, outcome = time.monotonic(), Outcome(kill)
    last = kill.stage
    if kill.aim == "end" and _following(last) in undisturbed.spans:
        last = _following(last)
    until = _following(last)
    config, mark = _config(world, kill.stage), f"{kill.stage}-{random.randbytes(8).hex()}"
    restore(world, kill.stage)
    runner = Runner(world, config, until, mark)
    outcome.was_killed = _strike(runner, world, kill, undisturbed.spans[kill.stage])
    outcome.orphans += _survivors(mark)
    done = [word for what, word in runner.said if what == "ended"]
    checkpoint = _last_checkpoint(world)
    again = Runner(world, config, until, mark)
    outcome.error = again.wait()
    begun = [word for what, word in again.said if what == "began"]
    outcome.repeated_stages = [stage for stage in begun if stage in done and stage != "collect"]
    steps = [int(word) for what, word in again.said if what == "step"]
    outcome.repeated_steps = max(0, checkpoint + 1 - steps[0]) if steps else 0
    outcome.orphans += _survivors(mark)
    outcome.half_written = [*leftovers(world), *unreadable(world)]
    if not outcome.error:
        outcome.differences = traces(world, config).differences(undisturbed.after[last])
    outcome.seconds = time.monotonic() - started
    return outcome


def _said_as(stage: str) -> str:
    """A stage as the process calls it."""
    return "collect" if stage == BULK else stage


def _config(world: World, stage: str) -> Path:
    return world.bulk if stage == BULK else world.config


def _keep(world: World, stage: str) -> None:
    """Copy the home at a stage's entry."""
    kept = world.folder / "entries" / stage
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(world.home, kept, symlinks=True)


def restore(world: World, stage: str) -> None:
    """Put the home back as it was at a stage's entry."""
    shutil.rmtree(world.home, ignore_errors=True)
    shutil.copytree(world.folder / "entries" / stage, world.home, symlinks=True)
    shutil.rmtree(world.folder / "tmp", ignore_errors=True)


class _Watch:
    """Counts the changes of the files that a stage writes to, as far as they are seen."""

    def __init__(self, world: World) -> None:
        self._world, self.changes = world, 0
        self._last: tuple[tuple[str, int, int], ...] = ()

    def __enter__(self) -> "_Watch":
        self._last = self._look()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def look(self) -> int:
        """Look once; the changes so far."""
        if (found := self._look()) != self._last:
            self.changes, self._last = self.changes + 1, found
        return self.changes

    def _look(self) -> tuple[tuple[str, int, int], ...]:
        found = []
        with suppress(FileNotFoundError):  # what vanishes is seen at the next look
            for path in _written(self._world.home):
                stat = path.stat()
                found.append((path.name, stat.st_size, stat.st_mtime_ns))
        return tuple(found)


def _written(home: Path) -> Iterator[Path]:
    """Databases with their journals, and the entries of the folders that stages write to."""
    for pattern in ("*.db*", "*/state.duckdb*", "*/snapshots/*", "*/rounds/*/*", "*/rounds/*/suite/*"):
        yield from home.glob(pattern)
    yield home


def _wait_for(runner: Runner, line: tuple[str, str], watch: _Watch) -> float:
    """The time at which the runner has said a line (or has ended)."""
    deadline = time.monotonic() + STAGE_SECONDS
    while line not in runner.said and runner.process.poll() is None and time.monotonic() < deadline:
        watch.look()
        time.sleep(LOOK_SECONDS)
    return time.monotonic()


def _strike(runner: Runner, world: World, kill: Kill, span: Span) -> bool:
    """Kill at the moment; whether the runner was still there."""
    with _Watch(world) as watch:
        begun = _wait_for(runner, ("began", _said_as(kill.stage)), watch)
        watch.changes = 0
        nth = 1 + int(kill.share * max(0, span.changes - 1))
        while runner.process.poll() is None:
            is_time = time.monotonic() >= begun + kill.share * span.seconds
            is_write = watch.look() >= nth
            is_ended = ("ended", _said_as(kill.stage)) in runner.said
            if is_ended or {"time": is_time, "write": is_write, "end": False}[kill.aim]:
                runner.kill()
                return True
            time.sleep(LOOK_SECONDS)
    return False


def _survivors(mark: str) -> list[str]:
    """Processes that carry the mark, once they have had DIE_SECONDS to notice that their parent is gone."""
    deadline = time.monotonic() + DIE_SECONDS
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid, _ in found:
        os.kill(pid, signal.SIGKILL)
    return [name for _, name in found]


def _marked(mark: str) -> list[tuple[int, str]]:
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes():
                found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]))
        except OSError:
            continue
    return found


def _last_checkpoint(world: World) -> int:
    """The step of the last whole checkpoint, 0 where there is none."""
    whole = world.home.glob("*/rounds/*/checkpoints/*/checkpoint-*/whole.json")
    return max((int(file.parent.name.rpartition("-")[2]) for file in whole), default=0)
