"""The verdict: better on traffic as production has it, no harm anywhere, and never from too little."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.decision import Decision, Rule, decide, level_of_night
from tasks.gate_options import GateConfig
from tasks.outcomes import Differences, Lengths, Production, Prompted, Share, Slice, Tally
from tasks.reasons import reasons, remarks

CONFIG = GateConfig()


def counts(fixes: int, losses: int, cases: int) -> Differences:
    return {-1.0: losses, 0.0: cases - fixes - losses, 1.0: fixes}


def production(failure: Differences, success: Differences, rate: float = 0.2) -> Production:
    return Production(failure=failure, success=success, failure_rate=rate)


def flips(losses: int, cases: int = 800) -> Production:
    return production(counts(0, 0, 1000), counts(losses, 0, cases))


GOOD = {
    "nights": 1,
    "production": production(counts(400, 0, 1000), counts(0, 10, 800)),
    "champion_accuracy": 0.8,
    "challenger_accuracy": 0.87,
    "success_from": "anchor",
    "negative_flips": flips(10),
    "anchor": counts(80, 10, 1000),
    "anchor_champion": 0.8,
    "anchor_challenger": 0.87,
}


def judged(**changes: Any) -> Decision:
    return decide(Tally(**GOOD | changes), CONFIG)


def states(decision: Decision) -> dict[Rule, str]:
    return {finding.rule: finding.state for finding in decision.findings}


def test_clearly_better_is_promoted() -> None:
    decision = judged()
    assert decision.verdict == "promote"
    assert reasons(decision.findings)[0].startswith("production accuracy rises by +")


def test_clearly_worse_is_rejected() -> None:
    worse = judged(production=production(counts(20, 0, 1000), counts(0, 200, 800)))
    assert worse.verdict == "reject"
    assert "it would fall" in reasons(worse.findings)[0]


def test_no_difference_is_held_and_no_number_of_cases_is_asked_for() -> None:
    same = judged(production=production(counts(120, 0, 1000), counts(0, 25, 800)))
    assert same.verdict == "hold"
    assert "no number of cases" in reasons(same.findings)[0]


def test_a_hold_says_how_many_more_cases_would_decide_it() -> None:
    close = judged(production=production(counts(150, 0, 1000), counts(0, 22, 800)))
    assert close.verdict == "hold"
    (open_,) = (finding for finding in close.findings if finding.state == "open")
    assert open_.more is not None
    assert 500 < open_.more["unseen failures"] < 20_000
    assert f"{open_.more['unseen failures']:,} more unseen failures" in reasons(close.findings)[0]


def test_past_failures_alone_promote_nothing() -> None:
    """Every random change looks like a fix there."""
    assert judged(production=production(counts(125, 0, 1000), counts(0, 25, 800))).verdict == "hold"
    assert judged(production=production(counts(900, 0, 1000), {})).verdict == "hold"


@pytest.mark.parametrize("scarce", ["failure", "success"])
def test_too_few_cases_are_never_promoted_on(scarce: str) -> None:
    parts = {"failure": counts(400, 0, 1000), "success": counts(0, 0, 800)} | {scarce: counts(0, 0, 29)}
    decision = judged(production=production(**parts))
    assert decision.verdict == "hold"
    advice = {"failure": "correct more", "success": "confirm more right answers"}[scarce]
    assert any(
        f"only 29 cases in the {scarce} stratum, 30 are needed: {advice}" in reason
        for reason in reasons(decision.findings)
    )


def test_an_anchor_that_the_champion_may_know_by_heart_is_pointed_out() -> None:
    def said(**changes: Any) -> list[str]:
        tally = Tally(**GOOD | changes)
        return [each for each in remarks(decide(tally, CONFIG), tally) if "split.taught" in each]

    lost = {"anchor": counts(0, 50, 1000), "anchor_challenger": 0.94}
    [found] = said(**lost, anchor_champion=0.99)
    assert found.startswith("the champion gets 99% of anchor right, and 80% of production")
    assert not said(**lost, anchor_champion=0.9), "half the mistakes that it makes elsewhere is nothing odd"
    assert not said(anchor_champion=0.99), "where anchor speaks against nobody it is of no interest"
    unsure = {"anchor": counts(0, 20, 1000), "anchor_challenger": 0.97}
    assert not said(**unsure, anchor_champion=0.99), "nor where a loss is only not ruled out"


def test_without_anchor_it_is_said_where_anchors_come_from() -> None:
    said = reasons(judged(anchor=counts(0, 0, 12), success_from="unseen").findings)
    assert any(
        "12 cases in anchor, 30 are needed: give demonstrations that no model was trained on" in each for each in said
    )


def test_an_empty_suite_is_held() -> None:
    nothing = judged(production=production({}, {}), anchor={}, negative_flips=production({}, {}))
    assert nothing.verdict == "hold"
    assert len(reasons(nothing.findings)) == len(nothing.findings)


def test_a_loss_on_anchor_is_rejected_and_one_that_cannot_be_ruled_out_is_held() -> None:
    assert judged(anchor=counts(20, 100, 1000)).verdict == "reject"
    held = judged(anchor=counts(20, 40, 1000))
    assert held.verdict == "hold"
    assert states(held)["anchor"] == "open"


def test_many_promotions_cannot_each_lose_a_little() -> None:
    """The champion is hardly better on anchor, and both are well below the version that was pinned."""
    slipping = judged(reference=counts(20, 110, 1000))
    assert slipping.verdict == "reject"
    assert states(slipping)["anchor"] == "passed"
    assert any("against the pinned reference" in reason for reason in reasons(slipping.findings))


def test_a_slice_that_got_worse_is_named_with_examples() -> None:
    parts = [Slice(name=f"plan={n}", production=production(counts(12, 0, 100), counts(0, 2, 80))) for n in range(9)]
    bad = Slice(name="plan=gold", anchor=counts(0, 30, 100), lost=30, examples=("case-7",))
    decision = judged(slices=(*parts, bad))
    assert decision.verdict == "reject"
    assert "plan=gold" in reasons(decision.findings)[0]
    assert "case-7" in reasons(decision.findings)[0]
    assert judged(slices=tuple(parts)).verdict == "promote"


def test_many_slices_do_not_make_harm_likelier_to_be_found() -> None:
    """The worst of a hundred slices by chance: alone it would be called harmed, in their company it is not."""
    unlucky = Slice(name="plan=x", anchor=counts(1, 9, 100))
    calm = [Slice(name=f"plan={n}", anchor=counts(2, 2, 100)) for n in range(99)]
    assert judged(slices=(unlucky,)).verdict == "reject"
    assert judged(slices=(unlucky, *calm)).verdict == "promote"


def test_negative_flips_are_bounded_by_their_upper_limit() -> None:
    assert states(judged(negative_flips=flips(80)))["negative flips"] == "failed"
    assert states(judged(negative_flips=flips(40)))["negative flips"] == "open"
    assert states(judged(negative_flips=flips(20)))["negative flips"] == "passed"


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_negative_flip_in_a_protected_slice_needs_a_person(count: int) -> None:
    decision = judged(protected=Share(count=count, of=60, examples=("case-1",)))
    assert decision.verdict == "hold"
    assert "a person has to look; for example case-1" in reasons(decision.findings)[0]
    assert judged(protected=Share(count=0, of=60)).verdict == "promote"


def test_what_was_trained_on_has_to_be_learned() -> None:
    assert judged(fixed=Share(count=90, of=100)).verdict == "promote"
    assert judged(fixed=Share(count=89, of=100)).verdict == "hold"


def test_an_earlier_fix_is_not_lost_beyond_noise() -> None:
    steady, shaky = Share(count=0, of=200), Share(count=20, of=200)
    lost = Share(count=12, of=100, examples=("old-1",))
    assert judged(earlier_fixes=lost, flaky=steady).verdict == "reject"
    assert judged(earlier_fixes=lost, flaky=shaky).verdict == "promote"
    assert judged(earlier_fixes=Share(count=1, of=100), flaky=steady).verdict == "promote"
    assert judged(earlier_fixes=Share(count=1, of=1), flaky=steady).verdict == "promote", "one case is no pattern"
    assert judged(earlier_fixes=Share(count=2, of=2), flaky=steady).verdict == "reject"


def test_more_outputs_of_the_wrong_form_are_not_tolerated() -> None:
    assert states(judged(validity=counts(0, 60, 2000)))["valid outputs"] == "failed"
    assert states(judged(validity=counts(0, 30, 2000)))["valid outputs"] == "open"
    assert states(judged(validity=counts(0, 0, 2000)))["valid outputs"] == "passed"


def test_much_longer_outputs_are_not_tolerated() -> None:
    spread = {"champion_variance": 16.0, "challenger_variance": 16.0, "covariance": 8.0}
    for challenger, state in ((20.5, "passed"), (25.0, "open"), (32.0, "failed")):
        lengths = Lengths(units=400, champion=20.0, challenger=challenger, **spread)
        assert states(judged(lengths=lengths))["output length"] == state
    assert states(judged(lengths=Lengths(units=400, champion=20.0, challenger=20.0)))["output length"] == "passed"


def test_a_gain_that_rests_on_one_producer_is_held() -> None:
    """A careless reviewer's mistakes are in the held-out cases too; who learned them would look better there."""
    rest = production(counts(30, 0, 400), counts(0, 10, 800), 0.05)
    decision = judged(without={"person:rush": rest, "person:maria": GOOD["production"]})
    assert decision.verdict == "hold"
    assert "rests on person:rush alone" in reasons(decision.findings)[0]


def test_what_a_person_has_to_decide_is_held() -> None:
    assert judged(doubts=("the judge is not trusted",)).verdict == "hold"


def test_where_scores_are_relative_what_lost_is_not_wrong() -> None:
    """Half of the answers are better and a quarter worse: progress, and no negative flip of anything that was right."""
    parts = production({}, counts(400, 200, 800), 0.0)
    relative = {"production": parts, "anchor": counts(500, 250, 1000), "is_relative": True}
    decision = judged(**relative, negative_flips=flips(200), validity=counts(0, 90, 1000), fixed=Share(count=1, of=9))
    assert decision.verdict == "promote"
    assert set(states(decision)) == {"superiority", "anchor"}


def test_the_budget_is_spent_over_the_nights() -> None:
    levels = [level_of_night(night, 0.02) for night in range(1, 200_000)]
    assert levels == sorted(levels, reverse=True)
    assert 0.0199 < sum(levels) <= 0.02
    late = judged(nights=300, production=production(counts(240, 0, 1000), counts(0, 22, 800)))
    assert late.verdict == "hold"
    assert "tonight" in reasons(late.findings)[0]
    assert judged(production=production(counts(240, 0, 1000), counts(0, 22, 800))).verdict == "promote"


def test_what_is_worth_knowing_is_said_beside_the_verdict() -> None:
    prompted = Prompted(cluster="c001", cases=10, few_shot=9, challenger=4)
    tally = Tally(**GOOD | {"flaky": Share(count=2, of=200, examples=("a", "b")), "prompted": (prompted,)})
    said = remarks(decide(tally, CONFIG), tally)
    assert "2 of 200 cases were answered differently" in said[0]
    assert "c001 is fixed by a prompt" in said[1]
    lost = Tally(**GOOD | {"anchor": counts(0, 200, 1000), "lost_in": {"plan=gold": Share(count=9, of=20)}})
    assert "plan=gold (9 of 20)" in remarks(decide(lost, CONFIG), lost)[0]


OUTCOMES = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300)).map(
    lambda drawn: {-1.0: drawn[0], 0.0: drawn[1], 1.0: drawn[2]}
)


@settings(deadline=None, max_examples=80)
@given(OUTCOMES, OUTCOMES, OUTCOMES, st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_any_outcomes_give_a_verdict_with_sentences(
    failure: Differences, success: Differences, anchor: Differences, rate: float
) -> None:
    decision = judged(production=production(failure, success, rate), anchor=anchor)
    said = reasons(decision.findings)
    assert len(said) == len(decision.findings)
    assert all(reason and "\n" not in reason and "nan" not in reason for reason in said)


@settings(deadline=None, max_examples=60)
@given(OUTCOMES, OUTCOMES, st.integers(1, 40))
def test_one_more_loss_never_helps(failure: Differences, success: Differences, more: int) -> None:
    order = ("reject", "hold", "promote")
    worse = success | {-1.0: success[-1.0] + more, 0.0: max(0, success[0.0] - more)}
    before, after = (judged(production=production(failure, part)).verdict for part in (success, worse))
    if success[0.0] >= more:
        assert order.index(after) <= order.index(before)
