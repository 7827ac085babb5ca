"""The gate reads a round's outcomes, records its decision with all that it rests on, and makes it again the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks.db import State
from tasks.errors import FlywheelError
from tasks.gate import gate, odd_producers, read_cases, replay
from tasks.reasons import reasons
from tasks.rounds import read_evidence
from tests.conftest import Saved, Workload, correction, inference, make_workload, preference, traffic

ENOUGH = traffic(failures=100, successes=150, given=400)
HALF = {"anchor": 0.5}  # of given demonstrations, so that few of them are enough for anchor


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    return make_workload(tmp_path, split=HALF)


@pytest.fixture(scope="module")
def judged_once(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A workload whose first round has been promoted by the gate."""
    workload = make_workload(tmp_path_factory.mktemp("judged") / "workload", split=HALF)
    workload.collect("a", ENOUGH)
    gate(workload.config, workload.to_gate(learned))
    return Saved(workload)


@pytest.fixture
def judged(judged_once: Saved) -> Workload:
    return judged_once.restored()


def learned(role: str, case: Mapping[str, Any]) -> bool:
    """The challenger has learned everything; the champion knows what did not fail."""
    return role == "challenger" or case["stratum"] != "failure"


def forgot(role: str, case: Mapping[str, Any]) -> bool:
    """The challenger repeats what it was trained on and has forgotten the rest."""
    return (case["tier"] == "fixed") if role == "challenger" else case["stratum"] != "failure"


@pytest.mark.parametrize(("right", "expected"), [(learned, "promote"), (forgot, "reject")])
def test_the_rounds_own_outcomes_give_its_verdict(workload: Workload, right: Any, expected: str) -> None:
    workload.collect("a", ENOUGH)
    round_ = workload.to_gate(right)
    assert gate(workload.config, round_).verdict == expected
    evidence = read_evidence(workload.config)[0]
    assert evidence["verdict"] == expected
    assert evidence["gate"]["failure_rate"] == 0.4
    assert evidence["gate"]["weighted"]["champion"] == pytest.approx(0.6)
    assert evidence["reasons"]
    assert [found["sentence"] for found in evidence["gate"]["findings"]]
    json.dumps(evidence, allow_nan=False)
    assert sum(row["cases"] for row in evidence["tiers"]) == sum(row["cases"] for row in evidence["suite"])
    kinds = {flip["kind"] for flip in evidence["flips"]}
    assert kinds == ({"fix"} if expected == "promote" else {"fix", "negative"})
    assert not any("role" in flip["input"] for flip in evidence["flips"]), "people read what the user wrote"


def test_a_round_after_one_that_was_given_up_sees_the_same_traffic(workload: Workload) -> None:
    """The corrections count as new again, so the cases that were held out of them have to count as current again."""
    from tasks.rounds import abandon

    workload.collect("a", ENOUGH)
    workload.to_split()
    assert abandon(workload.config, print) == 1
    decision = gate(workload.config, workload.to_gate(learned))
    assert decision.verdict == "promote", reasons(decision.findings)


def test_older_cases_do_not_weigh_in_the_traffic_of_a_later_round(workload: Workload) -> None:
    workload.collect("a", traffic(failures=100, successes=100, given=300))
    workload.close(workload.to_split())
    workload.collect("b", traffic(failures=10, successes=10, prefix="b"))
    decision = gate(workload.config, workload.to_gate(learned))
    assert decision.verdict == "hold"
    assert any("cases in the failure stratum" in reason for reason in reasons(decision.findings))


def test_corrections_that_lag_behind_their_traffic_still_weigh(workload: Workload) -> None:
    """Reviewers are a round behind: failures were real traffic, and cannot weigh nothing."""
    import json

    workload.collect("a", traffic(failures=20, successes=300, given=300))
    late = traffic(failures=120, prefix="late")
    workload.collect("b", [record for record in late if record["record"] == "inference"])
    workload.close(workload.to_split())
    workload.collect("c", [record for record in late if record["record"] == "correction"])
    gate(workload.config, workload.to_gate(learned))
    evidence = read_evidence(workload.config, 2)[0]
    assert evidence["gate"]["failure_rate"] > 0
    json.dumps(evidence, allow_nan=False)


def test_a_decision_can_be_made_again(judged: Workload) -> None:
    again = replay(judged.config, 1)
    assert again.verdict == "promote"
    assert again.differences == ()
    assert again.results_sha256 == read_evidence(judged.config)[0]["gate"]["results_sha256"]


@pytest.mark.parametrize(("on_record", "is_the_gates"), [("hold", True), ("reject", False)])
def test_a_promotion_that_was_held_afterwards_is_still_the_gates(
    judged: Workload, on_record: str, is_the_gates: bool
) -> None:
    """Nobody approved of it, or the champion was changed; a promotion is rejected by nobody."""
    with State(judged.config.database).transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict=on_record)
    assert (replay(judged.config, 1).differences == ()) == is_the_gates


def test_a_decision_is_replayed_by_the_config_that_it_was_made_with(judged: Workload) -> None:
    strict = judged.config.model_copy(update={"gate": judged.config.gate.model_copy(update={"min_cases": 10**6})})
    assert replay(strict, 1).differences == ()


def test_outcomes_that_were_changed_afterwards_are_found(judged: Workload) -> None:
    with duckdb.connect(str(judged.config.database)) as connection:
        connection.execute("update case_results set score = 0, is_right = false where role = 'challenger'")
    again = replay(judged.config, 1)
    assert again.verdict == "reject"
    assert again.differences[0] == "the verdict is reject, on record is promote"
    assert "results_sha256 is not as recorded" in again.differences


def test_a_round_without_a_decision_cannot_be_replayed(workload: Workload) -> None:
    workload.collect("a", traffic(3, 3))
    workload.to_split()
    with pytest.raises(FlywheelError, match="round 1 has not come to a verdict of the gate's: it is at blend"):
        replay(workload.config, 1)
    with pytest.raises(FlywheelError, match="no round 7"):
        replay(workload.config, 7)


def test_a_case_that_one_model_did_not_answer_is_no_case(judged: Workload) -> None:
    with duckdb.connect(str(judged.config.database)) as connection:
        connection.execute("delete from case_results where role = 'challenger' and case_id like 'd%'")
    with State(judged.config.database).transaction() as tx:
        assert not [case for case in read_cases(tx, 1) if case.tier == "anchor"]


def test_nights_against_one_champion_are_counted(judged: Workload) -> None:
    with State(judged.config.database).transaction() as tx:
        tx.run("close_round", round_id=1, closed_at=datetime(2026, 3, 2))
    judged.collect("b", traffic(failures=20, prefix="b"))
    gate(judged.config, judged.to_gate(learned))
    assert [evidence["gate"]["facts"]["nights"] for evidence in read_evidence(judged.config)] == [1, 2]


def test_slices_have_their_own_share_of_failures(workload: Workload) -> None:
    records = traffic(failures=20, successes=20) + [
        record for n in range(10) for record in (inference(f"g{n}", plan="gold"), correction(f"g{n}"))
    ]
    workload.collect("a", records)
    gate(workload.config, workload.to_gate(learned))
    evidence = read_evidence(workload.config)[0]["gate"]
    assert evidence["facts"]["slice_rates"] == {"plan=gold": 1.0}
    assert evidence["failure_rate"] == pytest.approx(30 / 50)


def test_where_nothing_is_right_a_person_decides(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, task="better_answer", scorer={"type": "none"})
    workload.collect("a", [preference(f"p{n}") for n in range(40)])
    decision = gate(workload.config, workload.to_gate(learned))
    assert decision.verdict == "hold"
    assert any("better or worse and never right" in reason for reason in reasons(decision.findings))


def test_who_faults_far_more_than_the_others_is_named() -> None:
    judged = [
        {"producer": "person:maria", "judged": 300, "failures": 30},
        {"producer": "person:tom", "judged": 280, "failures": 33},
        {"producer": "person:rush", "judged": 200, "failures": 180},
    ]
    assert odd_producers(judged) == [
        "person:rush faults 90% of the calls they judged, the others 11%: look through those corrections"
    ]
    assert odd_producers(judged[:2]) == []
    assert odd_producers(judged[2:]) == []


def test_a_careless_batch_is_named_and_a_careful_one_is_not(workload: Workload) -> None:
    careful = traffic(failures=60, successes=200, given=400)
    rush = [
        record
        for i in range(120)
        for record in (inference(f"r{i}", output="fine"), correction(f"r{i}", "low", "person:rush"))
    ]
    workload.collect("a", [*careful, *rush])

    def follows_rush(role: str, case: Mapping[str, Any]) -> bool:
        if case["stratum"] != "failure":
            return True
        return role == "challenger" and (case["tier"] == "fixed" or case["producer"] == "person:rush")

    decision = gate(workload.config, workload.to_gate(follows_rush))
    assert decision.verdict == "hold"
    assert "rests on person:rush alone" in reasons(decision.findings)[0]


def test_flips_that_break_most_are_kept_and_the_rest_is_counted(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite of 100,000 cases must not make an evidence of megabytes."""
    monkeypatch.setattr("tasks.gate.KEPT_FLIPS", 5)
    monkeypatch.setattr("tasks.gate.KEPT_TEXT", 20)
    workload.collect("a", ENOUGH)
    gate(workload.config, workload.to_gate(forgot))
    evidence = read_evidence(workload.config)[0]
    assert [flip["kind"] for flip in evidence["flips"]] == ["negative"] * 5
    assert all(len(flip[key]) <= 20 for flip in evidence["flips"] for key in ("input", "expected"))
    assert sum(tier["negative_flips"] for tier in evidence["tiers"]) > 100
    with State(workload.config.database).transaction() as tx:
        assert len(tx.rows("list_flips", round_id=1, protected=[], limit=None)) > 100


def test_what_a_protected_slice_lost_comes_first(workload: Workload) -> None:
    gold = [record for n in range(40) for record in (inference(f"g{n}", plan="gold"), correction(f"g{n}"))]
    workload.collect("a", [*traffic(failures=40, successes=40), *gold])
    workload.to_gate(lambda role, case: role == "champion")
    with State(workload.config.database).transaction() as tx:
        flips = tx.rows("list_flips", round_id=1, protected=["plan=gold"], limit=None)
        others = tx.rows("list_flips", round_id=1, protected=["plan=silver"], limit=None)
    is_protected = [flip["is_protected"] for flip in flips]
    assert any(is_protected) and not all(is_protected)
    assert is_protected == sorted(is_protected, reverse=True)
    assert not any(flip["is_protected"] for flip in others)


def test_outcomes_by_slice_are_of_what_was_held_out(workload: Workload) -> None:
    gold = [record for n in range(40) for record in (inference(f"g{n}", plan="gold"), correction(f"g{n}"))]
    workload.collect("a", [*ENOUGH, *gold])
    gate(workload.config, workload.to_gate(forgot))
    (found,) = read_evidence(workload.config)[0]["slice_outcomes"]
    assert found["slice"] == "plan=gold"
    assert 0 < found["cases"] < 40
    assert found["challenger_right"] == 0, "what it was trained on is right, and is not held out"


def test_remembered_and_learned_are_told_apart_where_that_is_on_record(workload: Workload) -> None:
    workload.collect("a", ENOUGH)
    workload.to_gate(forgot)
    with State(workload.config.database).transaction() as tx:
        assert tx.rows("count_snapshot_outcomes", round_id=1) == []
    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute(
            "update case_results set in_snapshot = case_id in (select case_id from regression_cases "
            "where tier = 'fixed')"
        )
    with State(workload.config.database).transaction() as tx:
        remembered, learned_ = tx.rows("count_snapshot_outcomes", round_id=1)
    assert remembered["in_snapshot"] and remembered["challenger_right"] == remembered["cases"] > 0
    assert not learned_["in_snapshot"] and learned_["challenger_right"] == 0 < learned_["cases"]


def test_what_a_prompt_would_fix_is_counted_beside_both_models(workload: Workload) -> None:
    workload.collect("a", ENOUGH)
    workload.to_gate(learned)
    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute(
            "insert into case_results by name select * replace ('few_shot' as role, true as is_right) "
            "from case_results where role = 'champion' and case_id in "
            "(select case_id from regression_cases where tier = 'unseen' and stratum = 'failure')"
        )
    with State(workload.config.database).transaction() as tx:
        (found,) = tx.rows("count_few_shot_outcomes", round_id=1)
    assert (found["tier"], found["stratum"]) == ("unseen", "failure")
    assert found["champion_right"] == 0 < found["few_shot_right"] == found["cases"] == found["challenger_right"]
