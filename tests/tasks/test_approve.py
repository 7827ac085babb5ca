"""A person decides, once, with a name and a reason; a round that waits is never forgotten and holds nobody up."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import Any

import pytest

from tasks import approve as module
from tasks.approve import approve, decide, settle, waiting
from tasks.config import Config
from tasks.db import State
from tasks.errors import FlywheelError, StateError
from tasks.promote import champion
from tasks.records import now
from tasks.rounds import has_work, read_evidence, stage_of
from tests.conftest import Saved, Workload
from tests.tasks.production import Production, registered_workload, restored, with_server


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return registered_workload(tmp_path_factory.mktemp("approve"), at="approve")


@pytest.fixture
def judged(registered: Saved, production: Production) -> Workload:
    """A round that the gate promotes and that has come to its approval; a server stands in for production's."""
    workload = restored(registered)
    set_verdict(workload, "promote")
    return Workload(workload.folder, with_options(workload.config, production.address))


def set_verdict(workload: Workload, verdict: str) -> None:
    with State(workload.config.database).transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict=verdict)


def with_options(config: Config, address: str, approval: str = "ask") -> Config:
    promotion = config.promotion.model_copy(update={"approval": approval})
    return with_server(config.model_copy(update={"promotion": promotion}), address)


def under(workload: Workload, approval: str) -> Config:
    return with_options(workload.config, str(workload.config.serving.address), approval)


@pytest.fixture
def asked(judged: Workload) -> Workload:
    """A round that waits for a person."""
    assert not approve(judged.config, judged.open())
    return judged


def later(monkeypatch: pytest.MonkeyPatch, **passed: float) -> None:
    moment = now() + timedelta(**passed)
    monkeypatch.setattr(module, "now", lambda: moment)


def evidence_of(workload: Workload) -> dict[str, Any]:
    return read_evidence(workload.config, 1)[0]


def kinds(workload: Workload) -> list[str]:
    return [row["kind"] for row in workload.rows("select kind from notices order by notice_id")]


def test_auto_lets_the_gates_word_be_enough(judged: Workload) -> None:
    round_ = judged.open()
    assert approve(under(judged, "auto"), round_)
    assert (stage_of(judged.config, round_), evidence_of(judged)["verdict"]) == ("promote", "promote")
    assert kinds(judged) == []


def test_never_holds_and_says_what_to_type(judged: Workload) -> None:
    assert approve(under(judged, "never"), judged.open())
    found = evidence_of(judged)
    assert found["verdict"] == "hold"
    assert found["reasons"] == [
        "promotion.approval is never; `flywheel promote 1 --by NAME --reason TEXT` moves the champion", "it is better",
    ]  # fmt: skip


@pytest.mark.parametrize("verdict", ["hold", "reject"])
def test_nobody_is_asked_about_what_the_gate_does_not_promote(judged: Workload, verdict: str) -> None:
    set_verdict(judged, verdict)
    assert approve(judged.config, judged.open())
    assert (evidence_of(judged)["verdict"], kinds(judged)) == (verdict, [])


def test_a_round_waits_with_its_lease_free_and_is_asked_about_once(asked: Workload) -> None:
    assert asked.value("select lease_owner from rounds") is None
    first = waiting(asked.config)
    assert first is not None and (first["round_id"], first["expires_at"] - first["asked_at"]) == (
        1,
        timedelta(hours=72),
    )
    assert not approve(asked.config, asked.open())
    assert waiting(asked.config) == first
    assert kinds(asked) == ["approval_asked"]
    assert settle(asked.config) is None


def test_approving_makes_the_challenger_serve_under_the_persons_name(asked: Workload, production: Production) -> None:
    decide(asked.config, 1, True, "person:maria", "the flips are fine")
    assert settle(asked.config) == 1
    found = evidence_of(asked)
    assert (found["stage"], found["verdict"], found["champion_after"]["label"]) == ("closed", "promote", "v1")
    assert found["approval"] == {"decision": "approve", "by": "person:maria", "reason": "the flips are fine"}
    move = asked.rows("select * from promotions where event = 'moved'")[0]
    assert (move["moved_by"], move["round_id"]) == ("person:maria", 1)
    assert move["reason"] == "round 1 was promoted, and approved: the flips are fine"
    assert champion(asked.config) == "1" and "tickets" in production.names


def test_rejecting_holds_with_the_persons_reason_first(asked: Workload) -> None:
    decide(asked.config, 1, False, "person:maria", "the tone is off")
    assert settle(asked.config) == 1
    found = evidence_of(asked)
    assert (found["stage"], found["verdict"]) == ("closed", "hold")
    assert found["reasons"] == ["person:maria rejected it: the tone is off", "it is better"]
    assert champion(asked.config) is None


def test_nobody_answering_holds_and_is_noticed(asked: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch, hours=71.9)
    assert waiting(asked.config) is not None
    later(monkeypatch, hours=72.1)
    assert waiting(asked.config) is None
    with pytest.raises(
        FlywheelError, match=r"waited for approval until .* UTC, and is held; `flywheel promote VERSION"
    ):
        decide(asked.config, 1, True, "person:maria", "late")
    assert settle(asked.config) == 1
    found = evidence_of(asked)
    assert (found["stage"], found["verdict"], champion(asked.config)) == ("closed", "hold", None)
    assert found["reasons"][0].startswith("nobody approved of it between ")
    assert kinds(asked) == ["approval_asked", "approval_expired"]
    assert not has_work(asked.config, 10**6)


def test_a_second_decision_is_refused_with_who_made_the_first(asked: Workload) -> None:
    decide(asked.config, 1, False, "person:maria", "the tone is off")
    decide(asked.config, 1, False, "person:maria", "the tone is off")
    said = r"round 1 was rejected by person:maria on \d{4}-.* UTC; it is at approve"
    with pytest.raises(FlywheelError, match=said):
        decide(asked.config, 1, True, "person:jan", "no, it is fine")
    settle(asked.config)
    with pytest.raises(FlywheelError, match=r"was rejected by person:maria .*; its verdict is hold"):
        decide(asked.config, 1, False, "person:maria", "the tone is off")


@pytest.mark.parametrize(("by", "reason"), [("person: ", "fine"), ("person:maria", "  ")])
def test_a_decision_needs_a_name_and_a_reason(asked: Workload, by: str, reason: str) -> None:
    with pytest.raises(FlywheelError, match="needs a name and a reason"):
        decide(asked.config, 1, True, by, reason)
    assert waiting(asked.config) is not None


def test_a_round_that_does_not_wait_cannot_be_decided(judged: Workload) -> None:
    with pytest.raises(FlywheelError, match="round 1 does not wait for approval; it is at approve"):
        decide(judged.config, 1, True, "person:maria", "fine")
    with pytest.raises(FlywheelError, match="round 9 does not wait for approval; there is no such round"):
        decide(judged.config, 9, True, "person:maria", "fine")


def test_a_decision_whose_promotion_failed_is_carried_out_by_whoever_comes_next(
    asked: Workload, production: Production
) -> None:
    adapter, away = asked.folder / "adapter", asked.folder / "away"
    decide(asked.config, 1, True, "person:maria", "fine")
    shutil.move(adapter, away)
    with pytest.raises(FlywheelError, match="has no adapter_model"):
        settle(asked.config)
    assert (evidence_of(asked)["stage"], champion(asked.config)) == ("promote", None)
    shutil.move(away, adapter)
    assert settle(asked.config) == 1
    assert (evidence_of(asked)["stage"], champion(asked.config)) == ("closed", "1")


def test_a_round_that_waits_can_be_decided_though_the_config_was_changed(asked: Workload) -> None:
    changed = asked.config.model_copy(update={"quarantine_days": 7})
    decide(changed, 1, True, "person:maria", "fine")
    assert settle(changed) == 1
    assert champion(changed) == "1"


def test_a_policy_that_was_changed_to_auto_lets_what_waits_go_on(asked: Workload) -> None:
    config = under(asked, "auto")
    assert waiting(config) is None
    assert settle(config) == 1
    assert champion(config) == "1"


def test_a_round_that_another_runner_works_on_is_left_to_it(asked: Workload) -> None:
    decide(asked.config, 1, True, "person:maria", "fine")
    with State(asked.config.database).transaction() as tx:
        tx.run("take_lease", round_id=1, owner="elsewhere:1", token=99, until=now() + timedelta(minutes=1),
               started_at=now(), uptime=None, uptime_until=None)  # fmt: skip
    with pytest.raises(StateError, match="is being run by elsewhere:1"):
        settle(asked.config)
