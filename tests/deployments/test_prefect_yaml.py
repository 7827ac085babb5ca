"""prefect.yaml and automations.yaml as Prefect reads them, before any server is asked."""

import re
from typing import Any

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.schedules import Cron
from prefect.utilities.templating import apply_values

from deployments.automations import PREFIX, as_automation
from deployments.environment import FOLDER, deployment_variables
from tasks.config import FlowRequest, RoundRequest

TEXT = (FOLDER / "prefect.yaml").read_text()
VARIABLES = deployment_variables(None, {"FLYWHEEL_FOLDER": "/srv"})
REQUESTS = {"run_round": RoundRequest}


def filled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The deployments as `prefect deploy` has them, the variables filled in."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    found: list[dict[str, Any]] = apply_values(yaml.safe_load(TEXT)["deployments"], {}, remove_notset=False)
    return found


def test_every_variable_has_a_value_and_a_use() -> None:
    used = set(re.findall(r"\$(FLYWHEEL_\w+)", TEXT))
    assert used == set(VARIABLES)


def test_the_workload_is_named_nowhere() -> None:
    assert "tickets" not in TEXT


def test_each_run_is_asked_for_as_its_flow_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    for deployment in filled(monkeypatch):
        flow = deployment["entrypoint"].rpartition(".")[2]
        model = REQUESTS.get(flow, FlowRequest)
        asked = [deployment, *deployment.get("schedules", []), *deployment.get("triggers", [])]
        for each in asked if flow != "run_stage" else []:
            request = model.model_validate(each["parameters"]["request"])
            assert request.config == "configs/tickets.yaml"
    assert len({d["entrypoint"] for d in filled(monkeypatch)}) == 5


def test_schedules_are_crons_in_a_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    schedules = [schedule for d in filled(monkeypatch) for schedule in d.get("schedules", [])]
    assert len(schedules) == 4
    for schedule in schedules:
        assert Cron(schedule["cron"], timezone=schedule["timezone"]).timezone == "Etc/UTC"


def test_rounds_wait_for_one_another_and_collecting_does_not_wait_for_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {d["entrypoint"].rpartition(".")[2]: d["concurrency_limit"] for d in filled(monkeypatch)}
    assert limits["run_round"] == limits["run_stage"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert limits["collect_failures"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_automations_are_what_prefect_takes() -> None:
    entries = yaml.safe_load((FOLDER / "automations.yaml").read_text())["automations"]
    block = "00000000-0000-0000-0000-000000000000"
    for entry in entries:
        made = AutomationCore.model_validate(as_automation(entry, block))  # type: ignore[arg-type]
        assert made.name.startswith(PREFIX)
    kept = [entry["name"] for entry in entries if as_automation(entry, None)]
    assert kept == ["Flywheel: a lost run is given up"]
