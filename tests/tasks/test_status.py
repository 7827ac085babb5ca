"""Where a workload stands: what runs, what waits, what is new, and what it has cost."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from flows.status_screen import print_status
from tasks.config import Config
from tasks.costs import add_cost
from tasks.db import State
from tasks.leases import LEASE
from tasks.notices import record_notice
from tasks.records import now
from tasks.status import SHOWN_NOTICES, status
from tests.conftest import Workload, correction, inference, traffic


@pytest.fixture
def collected(workload: Workload) -> Workload:
    workload.collect("a", traffic(5, 5))
    return workload


def shown(found: dict[str, Any], details: bool = False) -> str:
    """The screen, with its lines joined."""
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_status(found, "", details, console)
    return " ".join(console.export_text().split())


def run(workload: Workload, sql: str, *values: Any) -> None:
    import duckdb

    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute(sql, list(values))


def test_before_any_round_it_says_what_is_missing_for_one(collected: Workload) -> None:
    found = status(collected.config)
    assert found["running"] is None
    assert found["champion_move"] is None
    assert found["new"] == {"failures": 5, "corrections": 5, "counted": 5, "needed": 20}
    said = shown(found)
    assert "tickets: the champion is base, as from the beginning" in said
    assert "Running nothing Waiting nothing for anybody Last round none yet" in said
    assert "5 failures, 5 corrections: 15 more make a round (5 of 20)" in said
    json.dumps(found, default=str, allow_nan=False)


def test_enough_is_said_to_be_enough(collected: Workload) -> None:
    config = Config.model_validate(collected.config.model_dump(mode="json") | {"blend": {"min_corrections": 5}})
    assert "enough for a round (5 of 5)" in shown(status(config))


def test_a_round_that_somebody_works_on_says_who_and_since_when(collected: Workload) -> None:
    collected.open()
    found = status(collected.config)
    assert (found["running"]["round"], found["running"]["stage"], found["running"]["is_alive"]) == (1, "screen", True)
    assert "Running round 1, screen, since " in shown(found)


def test_a_round_that_nobody_works_on_any_more_says_what_to_type(collected: Workload) -> None:
    collected.open()
    run(collected, "update rounds set lease_until = ?, uptime_until = 0", now() - timedelta(minutes=5))
    assert "nothing: round 1, screen was left unfinished; flywheel run run_round" in shown(status(collected.config))


def test_what_a_person_is_asked_comes_first(collected: Workload) -> None:
    collected.open()
    run(collected, "update rounds set stage = 'approve', lease_until = ?, uptime_until = 0", now() - LEASE)
    moment = now()
    run(collected, "insert into approvals (round_id, asked_at, expires_at) values (1, ?, ?)", moment, moment + LEASE)
    found = status(collected.config)
    assert [row["round_id"] for row in found["approvals"]] == [1]
    assert "nothing; round 1, approve: a person is asked" in shown(found)
    assert "flywheel approve|reject 1 --by YOU --reason WHY" in shown(found)
    run(collected, "update approvals set expires_at = ?", moment - LEASE)
    assert "Round 1 could be approved until" in shown(status(collected.config))
    run(collected, "update rounds set stage = 'closed'")
    assert status(collected.config)["approvals"] == [], "it was given up"
    run(collected, "update rounds set stage = 'approve'")
    run(collected, "update approvals set decision = 'approve'")
    assert status(collected.config)["approvals"] == []


def test_the_last_round_is_told_with_its_first_reason(collected: Workload) -> None:
    round_ = collected.open()
    with State(collected.config.database).transaction() as tx:
        tx.run("set_evidence", round_id=1, evidence=json.dumps({"reasons": ["too few [bold]cases[/bold]", "more"]}))
    collected.close(round_, "hold")
    collected.collect("b", [inference("n"), correction("n"), *traffic(1, prefix="b")])
    found = status(collected.config)
    assert found["new"]["failures"] == 2
    assert "Last round 1, held: too few [bold]cases[/bold]" in shown(found)
    run(collected, "update rounds set verdict = null")
    assert "1, given up" in shown(status(collected.config))


def test_costs_are_held_against_their_ceilings(collected: Workload) -> None:
    budget = {"round": {"hours": 4.0}, "month": {"hours": 10.0, "tokens_trained": 2000}}
    config = Config.model_validate(collected.config.model_dump(mode="json") | {"budget": budget})
    collected.open()
    assert "last round: nothing is on record (0 of 4 hours)" in shown(status(config))
    with State(config.database).transaction() as tx:
        add_cost(tx, 1, "train", seconds=3600.0, tokens_trained=1500)
    said = shown(status(config))
    assert "last round: 60 min 0 s, no GPU, 1,500 tokens trained on (1 of 4 hours)" in said
    assert "(1 of 10 hours, 1,500 of 2,000 tokens_trained)" in said


def test_the_latest_notices_are_shown_the_last_one_first(collected: Workload) -> None:
    with State(collected.config.database).transaction() as tx:
        for number in range(SHOWN_NOTICES + 2):
            record_notice(tx, "budget", f"notice {number}.")
    said = shown(status(collected.config))
    assert said.index("notice 6.") < said.index("notice 2.")
    assert "notice 1." not in said


def test_counts_that_do_not_reconcile_are_plain(collected: Workload) -> None:
    run(collected, "delete from inferences where inference_id = 'f000'")
    assert "(DOES NOT RECONCILE)" in shown(status(collected.config))


def test_it_fits_on_a_small_terminal(collected: Workload) -> None:
    """With rounds, contradictions and notices: 80 columns, 24 lines."""
    reason = "production accuracy would change by -2.0 points (-5.0 to +0.3): not shown to be better; " * 3
    for number in range(1, 7):
        round_ = collected.open()
        with State(collected.config.database).transaction() as tx:
            tx.run("set_evidence", round_id=number, evidence=json.dumps({"reasons": [reason]}))
            add_cost(tx, number, "train", seconds=3600.0, tokens_trained=150_000, bytes_kept=10**7)
        collected.close(round_, "hold")
    with State(collected.config.database).transaction() as tx:
        record_notice(tx, "budget", "Round 6 was " + reason, 6)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_status(status(collected.config) | {"contradictions": 3}, "", False, console)
    lines = console.export_text().rstrip("\n").split("\n")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
