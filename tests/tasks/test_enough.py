"""Enough new corrections are told of once, to whoever listens."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.enough import announce_enough
from tests.conftest import Workload, make_workload, traffic

Heard = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """What a server would be told: payloads of the workload's events. A real one is in tests/deployments."""
    AssertingEventsClient.reset()
    # The worker asks for a client that it only needs within a flow run, and would start a server for it.
    monkeypatch.setattr("prefect.client.orchestration.get_client", AsyncExitStack)
    worker = EventsWorker.instance(AssertingEventsClient)
    monkeypatch.setattr(EventsWorker, "instance", lambda *_: worker)

    def events() -> list[dict[str, Any]]:
        worker.drain()
        found = [event for client in AssertingEventsClient.all for event in client.events]
        return [e.payload for e in found if (e.event, e.resource.id) == SAID]

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield events


SAID = ("flywheel.corrections.enough", "flywheel.workload.tickets")


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    return make_workload(tmp_path, blend={"min_corrections": 5})


def test_it_is_said_once_when_there_is_enough(workload: Workload, heard: Heard) -> None:
    assert announce_enough(workload.config) is None  # nothing was ever collected
    workload.collect("a", traffic(4))
    assert announce_enough(workload.config) is None
    workload.collect("b", traffic(2, prefix="b"))
    assert announce_enough(workload.config) == 6
    assert announce_enough(workload.config) is None
    assert heard() == [{"new": 6, "needed": 5}]


def test_it_is_not_said_while_a_round_is_open_and_anew_after_it_was_judged(workload: Workload, heard: Heard) -> None:
    workload.collect("a", traffic(6))
    round_ = workload.open()
    assert announce_enough(workload.config) is None
    workload.collect("b", traffic(7, prefix="b"))
    assert announce_enough(workload.config) is None
    workload.close(round_)
    assert announce_enough(workload.config) == 7
    assert [payload["new"] for payload in heard()] == [7]


def test_without_a_server_nothing_is_taken_for_said(workload: Workload) -> None:
    workload.collect("a", traffic(6))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert announce_enough(workload.config) is None
    assert workload.value("select count(*) from announcements") == 0
