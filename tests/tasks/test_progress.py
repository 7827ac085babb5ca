"""Progress bars: what is said, how often, and that nothing hangs on the server."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect.context import FlowRunContext

from tasks import progress
from tasks.collect import collect
from tasks.progress import ProgressBar
from tests.conftest import Workload, lines, make_workload, traffic


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Server:
    """Stands in for Prefect's: what it was told (percent), and whether it is away."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.asked = 0
        self.is_away = False

    def take(self, progress: float, **_: Any) -> UUID:
        self.asked += 1
        if self.is_away:
            raise ConnectionError("gone")
        self.told.append(progress)
        return UUID(int=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Within a flow run."""
    made = Server()
    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", made.take)
    monkeypatch.setattr("prefect.artifacts.update_progress_artifact", made.take)
    with FlowRunContext.model_construct():
        yield made


def test_updates_come_once_a_second_and_the_last_one_always(clock: Clock, server: Server) -> None:
    bar = ProgressBar("Training")
    for step in range(100):
        clock.now += 0.03
        bar.show(step + 1, 100)
    assert server.told[0] == 1.0
    assert server.told[-1] == 100.0
    assert 4 <= len(server.told) <= 5


def test_what_does_not_move_is_not_sent_again(clock: Clock, server: Server) -> None:
    bar = ProgressBar("Training")
    for _ in range(5):
        clock.now += 2
        bar.show(1, 2)
    assert server.told == [50.0]


def test_a_server_that_is_away_is_asked_rarely_and_ends_nothing(clock: Clock, server: Server) -> None:
    server.is_away = True
    bar = ProgressBar("Training")
    for step in range(100):
        clock.now += 1
        bar.show(step + 1, 100)
    assert 3 <= server.asked <= 5


def test_outside_of_a_run_nothing_is_sent() -> None:
    ProgressBar("Training").show(1, 2)  # would start a server


def test_collecting_tells_how_far_through_the_files_it_is(tmp_path: Any) -> None:
    workload: Workload = make_workload(tmp_path)
    workload.write("a", lines(traffic(30)))
    workload.write("b", lines(traffic(10, prefix="b")))
    told: list[tuple[float, str]] = []
    collected = collect(workload.config, lambda done, total, detail: told.append((round(done / total, 2), detail)))
    assert collected.read == 80
    assert [share for share, _ in told] == [0.0, 0.75, 1.0]
    assert told[-1][1] == "80 records read"
    told.clear()
    collect(workload.config, lambda *said: told.append(said))  # type: ignore[arg-type]
    assert not told
