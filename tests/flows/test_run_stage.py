"""A stage in a process of its own ends with the round's token; where there is no pool, that is one line."""

import signal
import threading
from collections.abc import Iterator

import pytest
from prefect.client.schemas.objects import State as RunState
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import run_stage
from flows.gpu_pool import _start, _why
from flows.run_stage import ending_with_lease
from tasks.errors import FlywheelError, LeaseLostError
from tasks.requests import StageRequest, is_heavy
from tests.conftest import Workload, make_config, traffic


@pytest.fixture
def asked_to_end() -> Iterator[threading.Event]:
    """Set by SIGTERM, which this process survives meanwhile."""
    event = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    yield event
    signal.signal(signal.SIGTERM, before)


def test_it_ends_when_another_runner_takes_the_round_over(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, asked_to_end: threading.Event
) -> None:
    monkeypatch.setattr(run_stage, "RENEW_SECONDS", 0.05)
    workload.collect("a", traffic(3))
    round_ = workload.open()
    with ending_with_lease(workload.config, round_, "screen"):
        assert not asked_to_end.wait(0.5)
        workload.skip(round_, "screen")  # the stage's own end is no reason
        assert not asked_to_end.wait(0.5)
        workload.open()
        assert asked_to_end.wait(10)


def test_it_does_not_begin_under_an_old_token_or_at_another_stage(workload: Workload) -> None:
    workload.collect("a", traffic(3))
    old, new = workload.open(), workload.open()
    with pytest.raises(LeaseLostError, match="taken over"), ending_with_lease(workload.config, old, "screen"):
        pass
    with pytest.raises(LeaseLostError, match="at screen"), ending_with_lease(workload.config, new, "train"):
        pass


def test_without_a_server_it_says_how_to_do_without(workload: Workload) -> None:
    request = StageRequest(config="a.yaml", stage="train", round_id=1, round_key="k", pinned_seq=1, lease_token=1)
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(FlywheelError) as caught:
        _start(workload.config, request)
    assert "PREFECT_API_URL" in str(caught.value)
    assert "heavy_stages: here" in str(caught.value)


def test_what_ended_there_is_said_in_one_line() -> None:
    failed = RunState(type=StateType.FAILED, message="model.base: no such folder")
    assert _why("train", failed) == "model.base: no such folder"
    crashed = RunState(type=StateType.CRASHED, message="Exited\nwith status -9.")
    said = _why("train", crashed)
    assert said.startswith("train crashed in the gpu pool: Exited with status -9. Run the round again")
    assert "\n" not in said


def test_what_is_heavy_depends_on_the_config(workload: Workload) -> None:
    heavy = {stage for stage in ("screen", "blend", "train", "regress", "shadow") if is_heavy(stage, workload.config)}
    assert heavy == {"train", "regress"}
    shadowed = make_config(workload.folder, promotion={"shadow": 10})
    assert is_heavy("shadow", shadowed)
