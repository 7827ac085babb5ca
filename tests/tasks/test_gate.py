"""The verdict: better on traffic as production has it, no worse on anchor, and never from too little."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.gate import Interval, Paired, Production, decide, gate, odd_producers, paired_interval, sum_paired
from tasks.gate_options import GateConfig
from tasks.rounds import read_evidence
from tests.conftest import Workload, correction, inference, traffic

CONFIG = GateConfig()
RATE = 0.25
GOOD_FAILURE = Paired(200, 0, 160, 0)
GOOD_SUCCESS = Paired(300, 300, 0, 3)
GOOD_ANCHOR = Paired(600, 590, 3, 2)


@st.composite
def paired(draw: st.DrawFn) -> Paired:
    cases = draw(st.integers(0, 300))
    right = draw(st.integers(0, cases))
    return Paired(cases, right, draw(st.integers(0, cases - right)), draw(st.integers(0, right)))


def mirrored(p: Paired) -> Paired:
    return Paired(p.cases, p.challenger_right, p.negative_flips, p.fixes)


@given(paired(), paired(), st.floats(0, 1))
def test_swapping_the_models_mirrors_the_interval(one: Paired, other: Paired, weight: float) -> None:
    there = paired_interval([(weight, one), (1 - weight, other)], 0.95)
    back = paired_interval([(weight, mirrored(one)), (1 - weight, mirrored(other))], 0.95)
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    assert (back.champion, back.challenger) == pytest.approx((there.challenger, there.champion))


@given(paired(), paired(), st.floats(0, 1))
def test_an_interval_holds_its_estimate_and_stays_possible(one: Paired, other: Paired, weight: float) -> None:
    found = paired_interval([(weight, one), (1 - weight, other)], 0.95)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.low < found.high


@given(paired().filter(lambda p: p.cases > 0))
def test_more_cases_of_the_same_kind_narrow_the_interval(one: Paired) -> None:
    ten = Paired(*(10 * n for n in (one.cases, one.champion_right, one.fixes, one.negative_flips)))
    assert width(paired_interval([(1.0, ten)], 0.95)) < width(paired_interval([(1.0, one)], 0.95))


@given(paired())
def test_more_confidence_widens_the_interval(one: Paired) -> None:
    assert width(paired_interval([(1.0, one)], 0.99)) >= width(paired_interval([(1.0, one)], 0.9))


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_no_flips_at_all_is_no_certainty() -> None:
    assert width(paired_interval([(1.0, Paired(10, 9, 0, 0))], 0.95)) > 0.2
    assert width(paired_interval([(1.0, Paired(1000, 900, 0, 0))], 0.95)) < 0.01


@pytest.mark.parametrize(
    ("failure_cases", "success_cases", "rate", "fixed", "lost"),
    [(60, 100, 0.25, 0.7, 0.03), (150, 200, 0.15, 0.4, 0.1), (40, 40, 0.3, 0.95, 0.0), (200, 60, 0.05, 0.1, 0.01)],
)
def test_a_95_percent_interval_covers_the_truth(
    failure_cases: int, success_cases: int, rate: float, fixed: float, lost: float
) -> None:
    """1,000 stratified samples: the champion is wrong on all of the one stratum and right on all of the other."""
    rng = np.random.default_rng(11)
    truth = rate * fixed - (1 - rate) * lost
    covered = 0
    for fixes, losses in zip(
        rng.binomial(failure_cases, fixed, 1000), rng.binomial(success_cases, lost, 1000), strict=True
    ):
        failure, success = Paired(failure_cases, 0, int(fixes), 0), Paired(success_cases, success_cases, 0, int(losses))
        found = paired_interval([(rate, failure), (1 - rate, success)], 0.95)
        covered += found.low <= truth <= found.high
    assert covered >= 930


def test_it_covers_the_truth_where_the_champion_is_mixed_too() -> None:
    rng = np.random.default_rng(12)
    cells = np.array([0.85, 0.05, 0.03, 0.07])  # both right, fixed, lost, both wrong
    covered = 0
    for both, fixes, losses, _ in rng.multinomial(400, cells, 1000):
        found = paired_interval([(1.0, Paired(400, int(both + losses), int(fixes), int(losses)))], 0.95)
        covered += found.low <= 0.02 <= found.high
    assert covered >= 930


def verdict(failure: Paired = GOOD_FAILURE, success: Paired = GOOD_SUCCESS, anchor: Paired = GOOD_ANCHOR) -> str:
    decision = decide(Production(failure, success, RATE), anchor, CONFIG)
    assert decision.reasons
    assert all("\n" not in reason for reason in decision.reasons)
    return decision.verdict


def test_clearly_better_is_promoted() -> None:
    assert verdict() == "promote"


def test_clearly_worse_is_rejected() -> None:
    assert verdict(failure=Paired(200, 0, 20, 0), success=Paired(300, 300, 0, 90)) == "reject"


def test_no_difference_is_held() -> None:
    assert verdict(failure=Paired(200, 0, 2, 0), success=Paired(300, 300, 0, 1)) == "hold"


@pytest.mark.parametrize("scarce", ["failure", "success", "anchor"])
@pytest.mark.parametrize("cases", [0, 29])
def test_too_few_cases_are_never_promoted_on(scarce: str, cases: int) -> None:
    few = {
        "failure": Paired(cases, 0, cases, 0),
        "success": Paired(cases, cases, 0, 0),
        "anchor": Paired(cases, cases, 0, 0),
    }
    strata = {"failure": GOOD_FAILURE, "success": GOOD_SUCCESS, "anchor": GOOD_ANCHOR} | {scarce: few[scarce]}
    decision = decide(Production(strata["failure"], strata["success"], RATE), strata["anchor"], CONFIG)
    assert decision.verdict == "hold"
    assert f"only {cases} cases in" in decision.reasons[0]


def test_a_loss_on_anchor_is_rejected() -> None:
    assert verdict(anchor=Paired(600, 590, 0, 60)) == "reject"


def test_a_loss_on_anchor_that_cannot_be_ruled_out_is_held() -> None:
    assert verdict(anchor=Paired(600, 590, 2, 10)) == "hold"


def test_past_failures_alone_would_promote_a_random_model_but_the_gate_does_not() -> None:
    """A model that guesses fixes a fifth of the past failures and breaks most of what worked."""
    rng = random.Random(1)
    failure = Paired(200, 0, sum(rng.random() < 0.2 for _ in range(200)), 0)
    success = Paired(300, 300, 0, sum(rng.random() >= 0.2 for _ in range(300)))
    tempting = paired_interval([(1.0, failure)], 0.95)
    assert tempting.low > 0
    assert verdict(failure, success) == "reject"
    assert verdict(failure, Paired(0, 0, 0, 0)) == "hold"


def test_a_gain_that_rests_on_one_producer_is_held() -> None:
    """A careless reviewer's mistakes are in the held-out cases too; who learned them would look better there."""
    whole = Production(GOOD_FAILURE, GOOD_SUCCESS, RATE)
    others = Production(Paired(40, 0, 2, 0), Paired(300, 300, 0, 3), 0.05)
    decision = decide(whole, GOOD_ANCHOR, CONFIG, {"person:rush": others, "person:maria": whole})
    assert decision.verdict == "hold"
    assert "rests on person:rush alone" in decision.reasons[0]
    assert decide(whole, GOOD_ANCHOR, CONFIG, {"person:rush": whole, "person:maria": whole}).verdict == "promote"


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
    careful = traffic(failures=60, successes=200, given=900)
    rush = [
        record
        for i in range(120)
        for record in (inference(f"r{i}", output="fine"), correction(f"r{i}", "low", "person:rush"))
    ]
    workload.collect("a", [*careful, *rush])

    def follows_rush(role: str, case: Mapping[str, Any]) -> bool:
        return (
            case["producer"] == "person:rush"
            if case["stratum"] == "failure" and role == "challenger"
            else (case["stratum"] != "failure")
        )

    decision = gate(workload.config, workload.to_gate(follows_rush))
    assert decision.verdict == "hold"
    assert "rests on person:rush alone" in decision.reasons[0]


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_an_extreme_failure_rate_gives_a_verdict(rate: float) -> None:
    assert decide(Production(GOOD_FAILURE, GOOD_SUCCESS, rate), GOOD_ANCHOR, CONFIG).verdict in {
        "promote",
        "hold",
        "reject",
    }


@given(st.lists(paired(), max_size=4))
def test_groups_add_up(parts: list[Paired]) -> None:
    total = sum_paired(parts)
    assert total.challenger_right == sum(part.challenger_right for part in parts)
    assert total.cases == sum(part.cases for part in parts)


def learned(role: str, case: Mapping[str, Any]) -> bool:
    """The challenger has learned everything; the champion knows what did not fail."""
    return role == "challenger" or case["stratum"] != "failure"


def forgot(role: str, case: Mapping[str, Any]) -> bool:
    """The challenger repeats what it was trained on and has forgotten the rest."""
    return (case["tier"] == "fixed") if role == "challenger" else case["stratum"] != "failure"


@pytest.mark.parametrize(("right", "expected"), [(learned, "promote"), (forgot, "reject")])
def test_the_rounds_own_outcomes_give_its_verdict(workload: Workload, right: Any, expected: str) -> None:
    workload.collect("a", traffic(failures=100, successes=300, given=900))
    round_ = workload.to_gate(right)
    assert gate(workload.config, round_).verdict == expected
    evidence = read_evidence(workload.config)[0]
    assert evidence["verdict"] == expected
    assert evidence["gate"]["failure_rate"] == 0.25
    assert evidence["gate"]["weighted"]["champion"] == pytest.approx(0.75)
    assert evidence["reasons"]
    assert sum(row["cases"] for row in evidence["tiers"]) == sum(row["cases"] for row in evidence["suite"])
    kinds = {flip["kind"] for flip in evidence["flips"]}
    assert kinds == ({"fix"} if expected == "promote" else {"fix", "negative"})
    assert not any("role" in flip["input"] for flip in evidence["flips"]), "people read what the user wrote"


def test_a_round_after_one_that_was_given_up_sees_the_same_traffic(workload: Workload) -> None:
    """The corrections count as new again, so the cases that were held out of them have to count as current again."""
    from tasks.rounds import abandon

    workload.collect("a", traffic(failures=100, successes=300, given=900))
    workload.to_split()
    assert abandon(workload.config, print) == 1
    decision = gate(workload.config, workload.to_gate(learned))
    assert decision.verdict == "promote", decision.reasons


def test_older_cases_do_not_weigh_in_the_traffic_of_a_later_round(workload: Workload) -> None:
    workload.collect("a", traffic(failures=100, successes=100, given=300))
    workload.close(workload.to_split())
    workload.collect("b", traffic(failures=10, successes=10, prefix="b"))
    decision = gate(workload.config, workload.to_gate(learned))
    assert decision.verdict == "hold"
    assert any("cases in the failure stratum" in reason for reason in decision.reasons)


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
