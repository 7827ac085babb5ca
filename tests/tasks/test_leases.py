"""A round's lease when clocks jump: it is not taken from a live runner, and nobody waits for ever for a dead one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import leases
from tasks.db import State
from tasks.errors import StateError
from tasks.leases import LEASE, is_held, terms, uptime
from tasks.records import now
from tasks.rounds import read_evidence, record_evidence, writing
from tests.conftest import Saved, Workload, make_workload, python, traffic, write_config

HOURS = timedelta(hours=5)
HOLDER = """
import sys
from tasks.config import load_config
from tasks.rounds import keep_lease, open_or_resume
config = load_config(sys.argv[1])
with keep_lease(config, open_or_resume(config, "person:other")):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    workload = make_workload(tmp_path_factory.mktemp("leases") / "workload")
    workload.collect("a", traffic(failures=5, successes=5))
    return Saved(workload)


@pytest.fixture
def ready(collected: Saved) -> Workload:
    return collected.restored()


@pytest.fixture
def held(ready: Workload) -> Iterator[tuple[Workload, subprocess.Popen[str]]]:
    """A round that a live process of this machine holds."""
    config = write_config(ready.config, ready.folder / "config.yaml")
    holder = python(HOLDER, str(config), stdin=-1)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    yield ready, holder
    holder.kill()
    holder.communicate()


def jump(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Set this process's clock."""
    monkeypatch.setattr(leases, "now", lambda: now() + by)


def elsewhere(workload: Workload, until: Any) -> None:
    """Give the round's lease to a process of another machine."""
    workload.open()
    with State(workload.config.database).transaction() as tx:
        lease = {"owner": "elsewhere:1", "token": 7, "until": until, "uptime_until": None}
        tx.run("take_lease", round_id=1, started_at=now(), uptime=None, **lease)


@pytest.mark.parametrize("by", [HOURS, -HOURS])
def test_a_lease_is_not_taken_from_a_live_runner_when_the_clock_jumps(
    held: tuple[Workload, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    jump(monkeypatch, by)
    with pytest.raises(StateError, match=rf"is being run by .*:{held[1].pid}"):
        held[0].open()


@pytest.mark.parametrize("by", [HOURS, -HOURS])
def test_a_dead_runners_round_is_free_when_the_clock_jumps(
    held: tuple[Workload, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    held[1].kill()
    held[1].wait()
    jump(monkeypatch, by)
    assert held[0].open().lease_token == 2


def test_a_process_that_stopped_renewing_holds_the_round_no_longer_than_a_lease(
    held: tuple[Workload, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = uptime() + 61
    monkeypatch.setattr(leases, "uptime", lambda: later)
    assert held[0].open().lease_token == 2


def test_a_lease_of_before_the_machine_was_started_again_holds_nobody_up(
    held: tuple[Workload, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner's number is another process's now."""
    monkeypatch.setattr(leases, "uptime", lambda: 5.0)
    assert held[0].open().lease_token == 2


def test_a_lease_that_a_faster_clock_elsewhere_wrote_is_waited_for_once(
    ready: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner is dead: its lease, five hours ahead, would hold the round up as long."""
    elsewhere(ready, now() + HOURS)
    with pytest.raises(StateError, match="elsewhere:1"):
        ready.open()
    jump(monkeypatch, LEASE + timedelta(seconds=1))
    assert ready.open().lease_token == 8


def test_a_lease_is_not_taken_from_a_live_runner_whose_clock_is_ahead(
    ready: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(ready, now() + HOURS)
    for minute in range(3):
        jump(monkeypatch, timedelta(minutes=1.1 * minute))
        with pytest.raises(StateError, match="elsewhere:1"):
            ready.open()
        with State(ready.config.database).transaction() as tx:  # it renews, by its own clock
            tx.run("renew_lease", round_id=1, token=7, until=now() + HOURS, uptime_until=None)


@pytest.mark.parametrize("by", [HOURS, -HOURS])
def test_a_stage_takes_as_long_as_it_does_whatever_the_clock_says(
    ready: Workload, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    round_ = ready.open()
    with writing(ready.config, round_, "screen") as tx:
        record_evidence(tx, round_, one=1)
        jump(monkeypatch, by)
    assert 0 <= read_evidence(ready.config)[0]["timings"]["screen"] < 60


def test_a_stage_that_another_machine_began_is_never_timed_below_zero(
    ready: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = ready.open()
    elsewhere(ready, now() + LEASE)
    jump(monkeypatch, -HOURS)
    row = ready.rows("select * from rounds")[0]
    assert leases.stage_seconds(row) == 0
    assert round_.round_id == 1


def test_a_state_of_before_these_clocks_goes_by_the_time_of_day(ready: Workload) -> None:
    ready.open()
    row = ready.rows("select * from rounds")[0] | {"lease_owner": "elsewhere:1", "uptime_until": None}
    assert is_held(row | {"lease_until": now() + LEASE})
    assert not is_held(row | {"lease_until": now() - LEASE})
    assert terms()["uptime_until"] > uptime()


def test_the_owner_of_a_lease_dies_with_its_number_reused(ready: Workload, tmp_path: Path) -> None:
    """Process 1 always lives here, and never renews."""
    ready.open()
    row = ready.rows("select * from rounds")[0] | {"lease_owner": leases.me().rpartition(":")[0] + ":1"}
    assert is_held(row)
    assert not is_held(row | {"uptime_until": uptime() - 1})
