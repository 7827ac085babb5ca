"""Cases are counted once, by units, and what cannot be relied on does not count."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.gate_options import GateConfig
from tasks.outcomes import Answer, Case, Facts, Tally, tally, units

RIGHT, WRONG = Answer(1.0, True), Answer(0.0, False)
FACTS = Facts(calls=1000, failures=200)
CONFIG = GateConfig(min_cases=2, min_slice_cases=2)


def case(key: str, before: bool = False, after: bool = True, **changes: Any) -> Case:
    """A new unseen failure, unless it is said otherwise."""
    answers = {"champion": RIGHT if before else WRONG, "challenger": RIGHT if after else WRONG}
    facts: dict[str, Any] = {
        "tier": "unseen",
        "stratum": "failure",
        "group": key,
        "cluster": None,
        "slices": {},
        "producer": "person:maria",
        "is_new": True,
    }
    return Case(case_id=key, **facts | answers | changes)


def anchor(key: str, before: bool = True, after: bool = True, **changes: Any) -> Case:
    return case(key, before, after, tier="anchor", stratum=None, **changes)


def success(key: str, before: bool = True, after: bool = True, **changes: Any) -> Case:
    return case(key, before, after, stratum="success", **changes)


def count(*cases: Case, facts: Facts = FACTS, config: GateConfig = CONFIG) -> Tally:
    return tally(cases, facts, config)


def test_strata_are_weighted_as_production_is() -> None:
    found = count(case("a"), case("b", after=False), success("c"), success("d", after=False), anchor("e"))
    assert found.production.failure == {0.0: 1, 1.0: 1}
    assert found.production.success == {-1.0: 1, 0.0: 1}
    assert found.production.failure_rate == 0.2
    assert found.champion_accuracy == pytest.approx(0.8)
    assert found.challenger_accuracy == pytest.approx(0.2 * 0.5 + 0.8 * 0.5)
    assert found.negative_flips.success == {0.0: 1, 1.0: 1}
    assert found.success_from == "unseen"


def test_without_confirmed_calls_what_the_champion_gets_right_of_anchor_stands_in() -> None:
    found = count(case("a"), anchor("b"), anchor("c", after=False), anchor("d", before=False), success("e"))
    assert found.success_from == "anchor"
    assert found.production.success == {-1.0: 1, 0.0: 1}, "one that it got wrong is no success"
    assert found.anchor == {-1.0: 1, 0.0: 1, 1.0: 1}


def test_where_scores_are_relative_all_that_is_held_out_is_one_stratum() -> None:
    won, lost, tie = Answer(1.0, True), Answer(0.0, False), Answer(0.5, False)
    facts = FACTS.model_copy(update={"is_relative": True})
    judged = [anchor("b", champion=won, challenger=lost), success("c", champion=lost, challenger=won)]
    found = count(case("a"), *judged, anchor("d", champion=tie, challenger=tie), facts=facts)
    assert found.production.success == {-1.0: 1, 0.0: 1, 1.0: 2}
    assert (found.production.failure, found.production.failure_rate) == ({}, 0.0)
    two = facts.model_copy(update={"judged": {"person:maria": (600, 20), "person:tom": (400, 180)}})
    without = count(*judged, facts=two).without["person:tom"]
    assert (without.failure_rate, without.success) == (0.0, {-1.0: 1, 1.0: 1}), "or no gain could ever be shown"


def test_relative_scores_of_other_roles_are_of_their_own_comparisons() -> None:
    """The champion's second answer is held against its first, the reference's against the challenger's."""
    won, tie = Answer(1.0, True), Answer(0.5, False)
    facts = FACTS.model_copy(update={"is_relative": True})
    found = count(anchor("a", reference=won, again=tie), anchor("b", reference=tie, again=won), facts=facts)
    assert (found.flaky.count, found.flaky.examples) == (1, ("b",))
    assert found.reference == {-1.0: 1}
    assert count(anchor("a", reference=tie), facts=facts).reference == {0.0: 1}


def test_near_duplicates_are_one_unit_with_their_mean() -> None:
    twins = [case("a", group="g"), case("b", after=False, group="g"), case("c")]
    assert count(*twins).production.failure == {0.5: 1, 1.0: 1}


def test_cases_of_one_customer_are_one_unit_with_their_near_duplicates() -> None:
    cases = [
        case("a", slices={"customer": "x"}),
        case("b", slices={"customer": "x"}),
        case("c", group="a"),
        case("d", slices={"customer": "y"}),
        case("e"),
    ]
    apart, together = units(cases, None), units(cases, "customer")
    assert len(set(apart.values())) == 4
    assert together["a"] == together["b"] == together["c"]
    assert len({together[key] for key in "ade"}) == 3


def test_flaky_cases_count_in_protected_slices_alone() -> None:
    shaky = case("a", before=True, after=True, again=WRONG, slices={"plan": "enterprise"})
    facts = FACTS.model_copy(update={"protected": ("plan=enterprise",)})
    steady = success("b", again=RIGHT, slices={"plan": "enterprise"})
    found = count(shaky, steady, case("c"), facts=facts)
    assert found.flaky.count == 1
    assert found.flaky.of == 2
    assert found.flaky.examples == ("a",)
    assert sum(found.production.failure.values()) == 1, "the flaky one is not there"
    assert (found.protected.count, found.protected.of) == (1, 2), "it counts as a flip here"


def test_older_unseen_cases_say_nothing_of_todays_traffic() -> None:
    found = count(case("a"), case("b", is_new=False))
    assert found.production.failure == {1.0: 1}


def test_fixes_of_this_round_and_of_earlier_ones_are_told_apart() -> None:
    fixed = [
        case("a", tier="fixed"),
        case("b", after=False, tier="fixed"),
        case("c", before=True, after=False, tier="fixed", is_new=False),
        case("d", before=True, tier="fixed", is_new=False),
        case("e", before=False, after=False, tier="fixed", is_new=False),
    ]
    found = count(*fixed)
    assert (found.fixed.count, found.fixed.of) == (1, 2)
    assert (found.earlier_fixes.count, found.earlier_fixes.of) == (1, 2), "what the champion had lost is not lost now"
    assert found.earlier_fixes.examples == ("c",)


def test_slices_are_weighted_by_their_own_failures_and_small_ones_are_left_out() -> None:
    of = {"slices": {"plan": "gold"}}
    cases = [case("a", **of), success("b", **of), success("c", **of), case("d", slices={"plan": "tin"})]
    facts = FACTS.model_copy(update={"slice_rates": {"plan=gold": 0.5}})
    found = count(*cases, success("e"), facts=facts)
    assert [part.name for part in found.slices] == ["plan=gold"]
    assert found.slices[0].production is not None
    assert found.slices[0].production.failure_rate == 0.5
    assert found.slices[0].production.success == {0.0: 2}


def test_a_slice_is_judged_on_anchor_too_where_that_is_another_set() -> None:
    of = {"slices": {"plan": "gold"}}
    cases = [case("a", **of), success("b", **of), success("c", **of), anchor("d", **of), anchor("e", False, **of)]
    found = count(*cases)
    assert [(part.production is None, part.anchor) for part in found.slices] == [
        (False, None),
        (True, {0.0: 1, 1.0: 1}),
    ]


def test_only_anchor_is_held_against_the_reference() -> None:
    found = count(case("a"), anchor("b", reference=WRONG), anchor("c", after=False, reference=RIGHT), anchor("d"))
    assert found.reference == {-1.0: 1, 1.0: 1}
    assert count(anchor("b")).reference is None


def test_production_without_a_producer_lacks_their_cases_and_their_calls() -> None:
    facts = FACTS.model_copy(update={"judged": {"person:maria": (600, 20), "person:tom": (400, 180)}})
    found = count(case("a"), case("b", after=False, producer="person:tom"), success("c"), success("d"), facts=facts)
    assert found.without["person:tom"].failure == {1.0: 1}
    assert found.without["person:tom"].failure_rate == pytest.approx(20 / 600)
    assert count(case("a")).without == {}


def test_form_and_length_of_outputs_are_counted_over_held_out_cases() -> None:
    long, broken = Answer(1.0, True, True, 12), Answer(0.0, False, False, 30)
    cases = [
        case("a", champion=replace(WRONG, tokens=10), challenger=long),
        success("b", champion=long, challenger=broken),
    ]
    found = count(*cases, success("c", champion=long, challenger=long), case("d", tier="fixed", challenger=broken))
    assert found.validity == {-1.0: 1, 0.0: 2}
    assert found.lengths.units == 3
    assert (found.lengths.champion, found.lengths.challenger) == (pytest.approx(34 / 3), 18.0)


def test_what_got_worse_is_named_by_cluster_and_slice() -> None:
    lost = success("a", after=False, slices={"plan": "gold"}, cluster="c001")
    assert count(lost, success("b", slices={"plan": "gold"})).lost_in["plan=gold"].examples == ("a",)
    assert count(lost).lost_in["cluster c001"].count == 1


def test_a_prompt_with_corrections_is_compared_by_cluster() -> None:
    cases = [case(str(n), after=n < 1, few_shot=RIGHT, cluster="c1") for n in range(4)]
    (found,) = count(*cases, case("x", cluster="c2")).prompted
    assert (found.cluster, found.cases, found.few_shot, found.challenger) == ("c1", 4, 4, 1)


@st.composite
def suites(draw: st.DrawFn) -> list[Case]:
    kinds = st.sampled_from([case, success, anchor])
    return [
        draw(kinds)(
            str(place),
            draw(st.booleans()),
            draw(st.booleans()),
            group=draw(st.sampled_from("abcdefgh")),
            slices={"plan": draw(st.sampled_from(["gold", "tin"]))},
            again=draw(st.sampled_from([None, RIGHT, WRONG])),
        )
        for place in range(draw(st.integers(0, 30)))
    ]


@settings(deadline=None, max_examples=60)
@given(suites(), st.randoms(use_true_random=False))
def test_the_order_of_cases_changes_nothing_and_all_of_it_survives_json(cases: list[Case], rng: random.Random) -> None:
    found = count(*cases)
    shuffled = list(cases)
    rng.shuffle(shuffled)
    assert count(*shuffled) == found
    assert Tally.model_validate_json(found.model_dump_json()) == found


@settings(deadline=None, max_examples=60)
@given(suites())
def test_every_steady_case_is_counted_in_its_place(cases: list[Case]) -> None:
    found = count(*cases, config=GateConfig(min_cases=1))
    steady = [each for each in cases if not each.is_flaky(False)]
    assert sum(found.anchor.values()) == len({each.group for each in steady if each.tier == "anchor"})
    assert found.flaky.count == len(cases) - len(steady)
