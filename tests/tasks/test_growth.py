"""A tier above its bound loses what says least: copies first, then the oldest, and no kind of case disappears."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.growth import CASES_A_LABEL, OLDEST, REDUNDANT, Member, Stratum, beyond_bound, members, quotas

STRATA: list[Stratum] = [("failure", f"c{n}", "") for n in range(6)] + [("success", "", label) for label in "ab"]
drawn = st.lists(
    st.tuples(
        st.sampled_from(STRATA), st.integers(0, 12), st.integers(1, 5), st.sampled_from([False, False, False, True])
    ),
    max_size=60,
)
bounds = st.integers(1, 40)


def tier(found: Sequence[tuple[Stratum, int, int, bool]]) -> list[Member]:
    return [Member(f"case-{n}", kind, f"g{group}", *rest) for n, (kind, group, *rest) in enumerate(found)]


def left(cases: Sequence[Member], bound: int) -> list[Member]:
    out = beyond_bound(cases, bound)
    return [case for case in cases if case.case_id not in out]


def protected(cases: Sequence[Member]) -> int:
    return sum(case.is_protected for case in cases)


@settings(max_examples=300, deadline=None)
@given(drawn, bounds)
def test_the_bound_is_kept_wherever_protected_cases_allow(
    found: list[tuple[Stratum, int, int, bool]], bound: int
) -> None:
    cases = tier(found)
    kept = left(cases, bound)
    assert len(kept) == min(len(cases), max(bound, protected(cases)))
    assert protected(kept) == protected(cases)


@settings(max_examples=100, deadline=None)
@given(drawn, bounds)
def test_below_the_bound_nothing_is_retired_and_once_is_enough(
    found: list[tuple[Stratum, int, int, bool]], bound: int
) -> None:
    cases = tier(found)
    assert beyond_bound(cases, len(cases)) == beyond_bound(cases, len(cases) + bound) == {}
    assert beyond_bound(left(cases, bound), bound) == {}


@settings(max_examples=100, deadline=None)
@given(drawn, bounds, st.randoms())
def test_the_order_of_cases_makes_no_difference(
    found: list[tuple[Stratum, int, int, bool]], bound: int, rng: random.Random
) -> None:
    cases = tier(found)
    assert beyond_bound(rng.sample(cases, len(cases)), bound) == beyond_bound(cases, bound)


sizes_and_protected = st.dictionaries(
    st.sampled_from(STRATA), st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1
)


@settings(max_examples=300, deadline=None)
@given(sizes_and_protected, st.integers(1, 1500))
def test_strata_keep_their_shares_within_a_case(found: dict[Stratum, tuple[int, int]], bound: int) -> None:
    """One share of its cases for every stratum, except for those that need more: one case, or the protected ones."""
    sizes = {stratum: size for stratum, (size, _) in found.items()}
    fixed = {stratum: count for stratum, (_, count) in found.items()}
    least = {stratum: max(1, count) for stratum, count in fixed.items()}
    if bound >= sum(sizes.values()):
        return
    kept = quotas(sizes, fixed, bound)
    assert all(fixed[stratum] <= kept[stratum] <= sizes[stratum] for stratum in sizes)
    if sum(least.values()) > bound:
        assert sum(kept.values()) == max(bound, sum(fixed.values()))
        return
    assert sum(kept.values()) == bound
    assert all(kept[stratum] >= least[stratum] for stratum in sizes)
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        low, high = (low, share) if sum(max(least[s], share * sizes[s]) for s in sizes) > bound else (share, high)
    assert all(abs(kept[s] - max(least[s], low * sizes[s])) < 1 + 1e-6 for s in sizes)


def test_without_small_strata_shares_are_those_of_the_cases() -> None:
    sizes: dict[Stratum, int] = {("failure",): 700, ("success",): 250, ("other",): 50}
    assert quotas(sizes, dict.fromkeys(sizes, 0), 100) == {("failure",): 70, ("success",): 25, ("other",): 5}
    assert quotas(sizes, dict.fromkeys(sizes, 0), 10) == {("failure",): 7, ("success",): 2, ("other",): 1}
    assert quotas(sizes, dict.fromkeys(sizes, 0), 2) == {("failure",): 1, ("success",): 1, ("other",): 0}


@settings(max_examples=200, deadline=None)
@given(drawn, bounds)
def test_copies_go_before_what_stands_alone_and_the_old_before_the_new(
    found: list[tuple[Stratum, int, int, bool]], bound: int
) -> None:
    cases = tier(found)
    out = beyond_bound(cases, bound)
    kept = [case for case in cases if case.case_id not in out]
    groups = Counter(case.group_hash for case in kept)
    by_stratum: defaultdict[Stratum, list[Member]] = defaultdict(list)
    for case in cases:
        by_stratum[case.stratum].append(case)
    for alike in by_stratum.values():
        free = [case for case in alike if case.case_id not in out and not case.is_protected]
        for reason in (REDUNDANT, OLDEST):
            gone = [case for case in alike if out.get(case.case_id) == reason]
            if reason == OLDEST and gone:
                assert all(groups[case.group_hash] == 1 or case.added_round >= gone[-1].added_round for case in free)
                assert max(case.added_round for case in gone) <= min((c.added_round for c in free), default=99)
    for case in cases:
        if out.get(case.case_id) == REDUNDANT:
            assert any(other is not case and other.group_hash == case.group_hash for other in cases)


def test_of_copies_the_newest_stays() -> None:
    kind: Stratum = ("failure", "c001", "")
    cases = [Member("old", kind, "g", 1), Member("alone", kind, "h", 1), Member("new", kind, "g", 2)]
    assert beyond_bound(cases, 2) == {"old": REDUNDANT}
    assert beyond_bound(cases, 1) == {"old": REDUNDANT, "alone": OLDEST}


def test_a_protected_case_stays_however_old_it_is() -> None:
    kind: Stratum = ("success", "", "")
    cases = [Member("old", kind, "g", 1, is_protected=True), Member("new", kind, "h", 9)]
    assert beyond_bound(cases, 1) == {"new": OLDEST}


@pytest.mark.parametrize("cases", [3 * CASES_A_LABEL, 3 * CASES_A_LABEL - 1])
def test_answers_make_strata_where_they_are_labels(cases: int) -> None:
    """Texts that hardly ever are the same would each be a kind of its own, and none could be left out."""
    rows = [
        {"case_id": f"x{n}", "stratum": None, "cluster_id": None, "expected": f" label {n % 3}", "added_round": 1,
         "group_hash": f"g{n}", "is_protected": False}
        for n in range(cases)
    ]  # fmt: skip
    strata = {member.stratum for member in members(rows, str.strip)}
    are_labels = cases == 3 * CASES_A_LABEL
    assert strata == ({("", "", f"label {n}") for n in range(3)} if are_labels else {("", "", "")})
