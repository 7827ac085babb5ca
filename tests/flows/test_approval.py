"""A round that waits for a person, through a real Prefect server: suspended with a form, resumed, and ended once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest

from tasks.db import State
from tasks.promote import champion
from tasks.rounds import read_evidence
from tests.conftest import ROOT, Workload, write_config
from tests.tasks.production import Production, registered_workload

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GIVEN = {"approve": True, "name": "maria", "reason": "the flips are fine"}


@pytest.fixture
def production() -> Iterator[Production]:
    started = Production()
    yield started
    started.server.close()


@pytest.fixture
def judged(tmp_path: Path, production: Production) -> tuple[Workload, Path]:
    """A round that the gate promotes and that has come to its approval, and a config that asks for one."""
    workload = registered_workload(tmp_path, at="approve").restored()
    with State(workload.config.database).transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict="promote")
    base = Path(workload.config.model.base)
    base.mkdir()
    (base / "config.json").write_text("{}", encoding="utf-8")
    options = {"promotion": {"approval": "ask"}, "serving": {"address": production.address}}
    config = type(workload.config).model_validate(workload.config.model_dump() | options)
    return Workload(workload.folder, config), write_config(config, tmp_path / "tickets.yaml")


@pytest.fixture
def deployment(prefect_server: None, judged: tuple[Workload, Path]) -> UUID:
    """A deployment of the flow, as `prefect deploy` makes one; nothing runs it by itself."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("run_round")
        return client.create_deployment(
            flow_id, name="nightly", entrypoint="flows/run_round.py:run_round", path=str(ROOT),
            parameters={"request": {"config": str(judged[1])}}, enforce_parameter_schema=False,
        )  # fmt: skip


def start(deployment: UUID) -> UUID:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(deployment).id


def execute(flow_run: UUID) -> str:
    """Run a flow run in a process of its own, as a worker does; the name of the state that it is in then."""
    from prefect.settings import PREFECT_API_URL

    address = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT__FLOW_RUN_ID": str(flow_run)}
    command = [sys.executable, "-m", "prefect.engine"]
    ended = subprocess.run(command, env=os.environ | address, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return state_of(flow_run)


def state_of(flow_run: UUID) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run).state
    return str(state.name if state else None)


def fails_in(flow_run: UUID) -> timedelta:
    """After what time Prefect lets a suspended run fail."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run).state
    assert state is not None and state.state_details.pause_timeout is not None
    return state.state_details.pause_timeout - datetime.now(UTC)


def resume(flow_run: UUID, given: dict[str, Any]) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return str(client.resume_flow_run(flow_run, run_input=given).status.value)


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    from prefect.settings import PREFECT_API_URL

    env = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], env=env, cwd=ROOT, capture_output=True, text=True, timeout=240
    )


def test_a_suspended_run_is_answered_in_a_form_and_ends_its_own_round_alone(
    judged: tuple[Workload, Path], deployment: UUID
) -> None:
    workload, _ = judged
    asking, nightly = start(deployment), start(deployment)
    assert execute(asking) == "Suspended"
    assert execute(nightly) == "Completed"  # it says that a round waits, and leaves it alone
    assert (read_evidence(workload.config)[0]["stage"], champion(workload.config)) == ("approve", None)
    assert resume(asking, {"approve": True, "name": " ", "reason": "fine"}) == "REJECT"
    assert resume(asking, GIVEN) == "ACCEPT"
    assert execute(asking) == "Completed"
    found = read_evidence(workload.config)
    assert [(each["stage"], each["verdict"]) for each in found] == [("closed", "promote")]
    assert found[0]["approval"] == {"decision": "approve", "by": "person:maria", "reason": "the flips are fine"}
    assert champion(workload.config) == "1"


def test_a_decision_at_the_command_line_ends_the_round_and_the_suspended_run(
    judged: tuple[Workload, Path], deployment: UUID
) -> None:
    workload, file = judged
    asking = start(deployment)
    assert execute(asking) == "Suspended"
    run = run_command("run", "run_round", "--config", str(file))
    assert run.returncode == 5, run.stderr
    assert f"flywheel approve 1 --by NAME --reason TEXT --config {file}" in run.stdout
    rejected = run_command("reject", "1", "--by", "jan", "--reason", "the tone is off", "--config", str(file))
    assert (rejected.returncode, rejected.stderr) == (0, "")
    assert rejected.stdout == "Round 1: hold; the champion is base.\n"
    assert state_of(asking) == "Resuming"
    assert execute(asking) == "Completed"
    assert [(each["stage"], each["verdict"]) for each in read_evidence(workload.config)] == [("closed", "hold")]
    late = run_command("approve", "1", "--by", "maria", "--reason", "it is fine", "--config", str(file))
    assert late.returncode == 1 and "round 1 was rejected by person:jan" in late.stderr


def test_where_nobody_answers_the_next_run_holds_the_round_and_ends_the_suspended_run(
    judged: tuple[Workload, Path], deployment: UUID
) -> None:
    workload, _ = judged
    asking, nightly = start(deployment), start(deployment)
    assert execute(asking) == "Suspended"
    assert fails_in(asking) > timedelta(hours=workload.config.promotion.expires_hours, days=1)
    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute("update approvals set expires_at = asked_at")
    assert execute(nightly) == "Completed"
    [found] = read_evidence(workload.config)
    assert (found["stage"], found["verdict"], found["approval"]["decision"]) == ("closed", "hold", "expired")
    assert state_of(asking) == "Resuming"
    assert execute(asking) == "Completed"
    assert (read_evidence(workload.config), champion(workload.config)) == ([found], None)
