"""Ceilings: before a round and at its stages' boundaries, as a hold that says why and that judged nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.summary import print_summary
from tasks.budget import UNITS, bounds, hold_before_start, in_units, next_stage, over, too_little_left
from tasks.config import Config
from tasks.costs import add_cost
from tasks.db import State
from tasks.headlines import outcome, verdict_sentence
from tasks.markdown import flips_table, verdict_markdown
from tasks.records import now
from tasks.reference import reference
from tasks.report import render_report, write_report
from tasks.rounds import has_work, open_or_resume, read_evidence
from tests.conftest import Workload, make_workload, traffic, write_config

NOTHING = dict.fromkeys(UNITS, 0.0)


def with_budget(workload: Workload, **budget: Any) -> Config:
    return Config.model_validate(workload.config.model_dump(mode="json") | {"budget": budget})


def spend(workload: Workload, round_id: int, days_ago: float = 0.0, **amounts: Any) -> None:
    with State(workload.config.database).transaction() as tx:
        add_cost(tx, round_id, "train", **amounts)
        tx.run("set_gpus", round_id=round_id, stage="train", gpus=0, spent_at=now())
    import duckdb

    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute(
            "update costs set spent_at = ? where round_id = ?", [now() - timedelta(days=days_ago), round_id]
        )


@pytest.fixture
def collected(workload: Workload) -> Workload:
    workload.collect("a", traffic(5, 5))
    return workload


@pytest.fixture
def judged(collected: Workload) -> Workload:
    """A round that was judged, cost an hour and left new corrections behind it."""
    collected.close(collected.open(), "hold")
    spend(collected, 1, seconds=3600.0)
    collected.collect("b", traffic(3, prefix="b"))
    return collected


def rounds(workload: Workload) -> list[tuple[int, str, str | None]]:
    return [
        (row["round_id"], row["stage"], row["verdict"])
        for row in workload.rows("select round_id, stage, verdict from rounds order by 1")
    ]


def test_without_a_ceiling_nothing_is_stopped(judged: Workload) -> None:
    assert hold_before_start(judged.config, "schedule") is None
    round_ = judged.open()
    assert next_stage(judged.config, round_, print) == "screen"


def test_a_month_that_is_used_up_holds_the_round_before_anything_is_begun(judged: Workload) -> None:
    config = with_budget(judged, month={"hours": 1.0})
    assert hold_before_start(config, "schedule") == 2
    assert rounds(judged) == [(1, "closed", "hold"), (2, "closed", "hold")]
    evidence = read_evidence(config, 2)[0]
    assert evidence["reasons"] == [
        "stopped by its budget before screen: the last 30 days have used 1 of 1 hours (budget.month.hours); raise that "
        "ceiling, or wait until earlier rounds are more than 30 days back"
    ]
    (notice,) = judged.rows("select * from notices")
    assert (notice["kind"], notice["round_id"]) == ("budget", 2)
    assert "budget.month.hours" in notice["text"]


def test_a_month_with_less_left_than_the_last_judged_round_took_begins_no_other(judged: Workload) -> None:
    assert hold_before_start(with_budget(judged, month={"hours": 2.0}), "schedule") is None
    assert hold_before_start(with_budget(judged, month={"hours": 1.9}), "schedule") == 2
    assert "and the last judged round took 1" in read_evidence(judged.config, 2)[0]["reasons"][0]


def test_what_was_spent_more_than_thirty_days_ago_is_over(judged: Workload) -> None:
    spend(judged, 1, days_ago=30.1)
    assert hold_before_start(with_budget(judged, month={"hours": 1.5}), "schedule") is None


def test_a_schedule_that_asks_every_night_is_told_again_and_opens_no_other_round(judged: Workload) -> None:
    config = with_budget(judged, month={"hours": 1.0})
    assert [hold_before_start(config, "schedule") for _ in range(3)] == [2, 2, 2]
    judged.collect("c", traffic(2, prefix="c"))
    assert hold_before_start(config, "schedule") == 2
    assert len(judged.rows("select * from notices")) == 1


def test_once_the_ceiling_is_raised_the_same_corrections_are_still_new(judged: Workload) -> None:
    assert hold_before_start(with_budget(judged, month={"hours": 1.0}), "schedule") == 2
    raised = with_budget(judged, month={"hours": 3.0})
    assert has_work(raised, 3)
    assert not has_work(raised, 4), "those that the first round judged are not"
    assert hold_before_start(raised, "schedule") is None
    assert open_or_resume(raised, "schedule").round_id == 3


def test_a_round_over_its_ceiling_is_closed_at_the_next_boundary(judged: Workload) -> None:
    config = with_budget(judged, round={"hours": 0.5, "tokens_trained": 1000})
    round_ = open_or_resume(config, "schedule")
    judged.skip(round_, "screen")
    spend(judged, 2, tokens_trained=1000)
    assert next_stage(config, round_, print) == "cluster", "a ceiling may be reached"
    spend(judged, 2, tokens_trained=1)
    assert next_stage(config, round_, print) == "closed"
    assert rounds(judged)[-1] == (2, "closed", "hold")
    evidence = read_evidence(config, 2)[0]
    assert evidence["budget"] == {
        "stage": "cluster", "period": "round", "amount": "tokens_trained", "spent": 1001.0, "ceiling": 1000.0
    }  # fmt: skip
    assert "it has used 1,001 of 1,000 trained tokens (budget.round.tokens_trained)" in evidence["reasons"][0]


def test_a_round_that_would_go_over_its_ceiling_again_is_not_run_again_every_night(judged: Workload) -> None:
    config = with_budget(judged, round={"hours": 0.5})
    round_ = open_or_resume(config, "schedule")
    spend(judged, 2, seconds=3000.0)
    assert next_stage(config, round_, print) == "closed"
    assert hold_before_start(config, "schedule") == 2
    assert hold_before_start(with_budget(judged, round={"hours": 0.8}), "schedule") == 2, "3000 s are 0.83 hours"
    assert hold_before_start(with_budget(judged, round={"hours": 0.9}), "schedule") is None
    smaller = Config.model_validate(config.model_dump(mode="json") | {"blend": {"max_rows": 100}})
    assert hold_before_start(smaller, "schedule") is None, "another config may take less"


def test_what_was_judged_goes_on_whatever_it_cost(judged: Workload) -> None:
    config = with_budget(judged, round={"hours": 0.5}, month={"hours": 0.1})
    round_ = open_or_resume(judged.config, "schedule")
    with State(config.database).transaction() as tx:
        tx.run("advance_round", round_id=2, stage="register", started_at=now(), uptime=None)
    spend(judged, 2, seconds=9000.0)
    assert next_stage(config, round_, print) == "register"


def test_an_unfinished_round_is_taken_up_and_not_held_before_its_start(judged: Workload) -> None:
    config = with_budget(judged, month={"hours": 1.0})
    judged.open()
    assert hold_before_start(config, "schedule") is None


def test_a_held_round_spends_none_of_the_gates_errors_and_judges_no_traffic(judged: Workload) -> None:
    assert hold_before_start(with_budget(judged, month={"hours": 1.0}), "schedule") == 2
    judged.open()
    with State(judged.config.database).transaction() as tx:
        assert tx.rows("count_nights", round_id=3)[0]["nights"] == 1
        assert tx.rows("get_last_judged_round", round_id=3)[0]["round_id"] == 1
        window = tx.rows("count_window", pinned_seq=2, round_id=3)[0]
    assert window["corrections"] == 3
    assert reference(judged.config)["label"] == "base"


def test_where_only_held_rounds_are_there_is_no_reference_yet(collected: Workload) -> None:
    config = with_budget(collected, round={"hours": 0.5})
    round_ = open_or_resume(config, "schedule")
    spend(collected, 1, seconds=3000.0)
    next_stage(config, round_, print)
    assert reference(config)["label"] is None


@pytest.fixture
def held(judged: Workload) -> list[dict[str, Any]]:
    hold_before_start(with_budget(judged, month={"hours": 1.0}), "schedule")
    return read_evidence(judged.config)


def test_reports_and_summaries_say_that_nothing_was_judged(
    held: list[dict[str, Any]], tmp_path: Path, capsys: Any
) -> None:
    assert outcome(held[1]) == "Nothing was judged; base stays champion"
    page = render_report(held)
    assert "Nothing was judged; base stays champion" in page
    assert "budget.month.hours" in page
    assert "budget.month.hours" in verdict_markdown(held[1]).replace("\\", "")
    assert flips_table(held[1]) == []
    assert "Stopped by its budget before screen" in verdict_sentence(held[1])
    print_summary([held[1]], report=write_report(held, tmp_path / "report.html"))
    assert "budget.month.hours" in capsys.readouterr().out.replace("\n", "")
    json.dumps(held, allow_nan=False)


amounts = st.fixed_dictionaries({key: st.floats(0, 1e6) for key in UNITS})
ceilings = st.fixed_dictionaries({}, optional={key: st.integers(1, 1000) for key in UNITS})


@settings(deadline=None)
@given(ceiling=ceilings, spent=amounts, expected=amounts)
def test_a_round_is_begun_exactly_where_there_is_room_for_one_like_the_last(
    ceiling: dict[str, Any], spent: dict[str, float], expected: dict[str, float], any_config: Config
) -> None:
    config = Config.model_validate(any_config.model_dump(mode="json") | {"budget": {"month": ceiling}})
    breach = too_little_left(config, spent, expected)
    fits = all(spent[key] < bound and spent[key] + expected[key] <= bound for key, bound in ceiling.items())
    assert (breach is None) == fits
    assert over(config, NOTHING, {key: float(bound) for key, bound in bounds(config.budget.month)} | NOTHING) is None
    if breach is not None:
        assert breach.amount in ceiling
        assert breach.key in breach.sentence("train")


@pytest.fixture(scope="module")
def any_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_workload(tmp_path_factory.mktemp("budget")).config


def test_amounts_are_in_the_units_of_the_keys() -> None:
    spent = {"seconds": 7200.0, "gpu_seconds": 1800.0, "tokens_trained": 5, "tokens_generated": 6, "bytes_kept": 2e9}
    assert in_units(spent) == {
        "hours": 2.0, "gpu_hours": 0.5, "tokens_trained": 5.0, "tokens_generated": 6.0, "gigabytes_kept": 2.0
    }  # fmt: skip


def test_ceilings_may_be_changed_while_a_round_is_unfinished(collected: Workload) -> None:
    collected.open()
    assert open_or_resume(with_budget(collected, round={"hours": 1.0}), "person:test").round_id == 1


def test_from_the_shell_a_held_round_is_shown_with_its_reason_and_has_its_own_status(judged: Workload) -> None:
    from flows.commands.common import HELD
    from flows.commands.running import _status_of

    config = with_budget(judged, month={"hours": 1.0})
    write_config(config, judged.folder / "config.yaml")
    held = hold_before_start(config, "schedule")
    assert _status_of(read_evidence(config, held)[0]) == HELD
