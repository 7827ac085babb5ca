"""The score test: the published one where that exists, no certainty from few cases, and the error rate it promises."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.paired import (
    Stratum,
    binomial_tail,
    critical,
    estimate,
    holm,
    mean,
    p_above,
    score_test,
    times_as_many,
    upper_rate,
    without_skew,
)

FLIPS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 500))


def stratum(fixes: int, losses: int, same: int, weight: float = 1.0) -> Stratum:
    return Stratum(weight, {1.0: fixes, -1.0: losses, 0.0: same})


def tango(fixes: int, losses: int, cases: int, null: float) -> float:
    """Tango (1998), formulas 6 and 7, for the difference fixes - losses."""
    a = 2 * cases
    b = -fixes - losses + (2 * cases - fixes + losses) * null
    c = -losses * null * (1 - null)
    q = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)
    return (fixes - losses - cases * null) / math.sqrt(cases * (2 * q + null * (1 - null)))


def test_of_right_and_wrong_answers_it_is_tangos_but_for_the_skew() -> None:
    """Where the third moment vanishes nothing is corrected, so that what is left is the published test."""
    for fixes, losses, cases in ((30, 50, 1000), (10, 10, 100), (3, 10, 100), (0, 5, 50)):
        for null in (-0.028, -0.05):
            z = score_test([stratum(fixes, losses, cases - fixes - losses)], null)
            assert z == pytest.approx(tango(fixes, losses, cases, null), abs=0.12)
    assert score_test([stratum(40, 10, 950)], 0.0) == pytest.approx(30 / math.sqrt(50), rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(FLIPS, FLIPS, st.floats(0.05, 0.95))
def test_swapping_the_models_turns_its_sign(one: tuple[int, int, int], other: tuple[int, int, int], w: float) -> None:
    there = [stratum(*one, w), stratum(*other, 1 - w)]
    back = [stratum(b, a, same, weight) for (a, b, same), weight in ((one, w), (other, 1 - w))]
    for null in (0.0, 0.1):
        assert score_test(there, null) == pytest.approx(-score_test(back, -null), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(FLIPS, FLIPS, st.floats(0.05, 0.95))
def test_an_interval_holds_its_estimate_and_stays_possible(
    one: tuple[int, int, int], other: tuple[int, int, int], weight: float
) -> None:
    strata = [stratum(*one, weight), stratum(*other, 1 - weight)]
    found = estimate(strata, 0.95)
    assert -1 <= found.low < found.high <= 1
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    assert found.value == pytest.approx(mean(strata))


@settings(deadline=None, max_examples=50)
@given(FLIPS)
def test_more_cases_of_the_same_kind_narrow_the_interval_and_more_confidence_widens_it(
    flips: tuple[int, int, int],
) -> None:
    few, many = (estimate([stratum(*(times * n for n in flips))], 0.95) for times in (1, 10))
    assert many.high - many.low < few.high - few.low
    wide = estimate([stratum(*flips)], 0.99)
    assert wide.low <= few.low + 1e-9
    assert wide.high >= few.high - 1e-9


def test_no_flips_at_all_is_no_certainty() -> None:
    few, many = (estimate([stratum(0, 0, cases)], 0.95) for cases in (10, 1000))
    assert few.low < -0.2
    assert few.high > 0.2
    assert many.high - many.low < 0.01
    for cases in (30, 100, 300):  # none of so many is lost: half of that chance, as a continuous test has it
        exact = 0.972**cases / 2
        assert exact / 4 < p_above(score_test([stratum(0, 0, cases)], -0.028)) < 4 * exact


def test_fixes_alone_prove_nothing_while_losses_could_not_have_shown() -> None:
    """Ten fixes of a hundred failures, and too few successes for a loss to show."""
    fixes = stratum(10, 0, 90, 0.2)
    assert score_test([fixes, stratum(0, 0, 30, 0.8)], 0.0) < 1.3
    assert score_test([fixes, stratum(0, 0, 3000, 0.8)], 0.0) > 3


def test_a_stratum_without_units_says_nothing() -> None:
    assert score_test([stratum(50, 0, 0, 0.5), Stratum(0.5, {})], 0.0) == 0.0
    assert score_test([stratum(50, 0, 0, 1.0), Stratum(0.0, {})], 0.0) > 5
    assert score_test([], 0.0) == 0.0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=60), st.floats(-0.9, 0.9))
def test_graded_differences_are_tested_too(differences: list[float], null: float) -> None:
    counts = Counter(differences)
    z = score_test([Stratum(1.0, counts)], null)
    assert math.isfinite(z)
    found = estimate([Stratum(1.0, counts)], 0.95)
    assert -1 <= found.low <= found.value + 1e-9 <= found.high + 2e-9 <= 1 + 3e-9


def test_graded_differences_of_a_normal_kind_are_tested_as_by_a_t_test() -> None:
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.003, -0.005):
        sample = np.clip(rng.normal(shift, 0.1, 2000), -1, 1)
        t = sample.mean() / (sample.std(ddof=1) / math.sqrt(len(sample)))
        assert score_test([Stratum(1.0, Counter(sample.tolist()))], 0.0) == pytest.approx(t, rel=0.05, abs=0.05)


@pytest.mark.parametrize(
    ("failures", "successes", "rate", "fix"), [(300, 300, 0.2, 0.125), (100, 1000, 0.1, 0.3), (1000, 200, 0.3, 0.1)]
)
def test_equal_models_are_called_better_as_often_as_the_level_says(
    failures: int, successes: int, rate: float, fix: float
) -> None:
    """The champion is wrong on all of one stratum and right on all of the other, and what is won is lost again."""
    rng = np.random.default_rng(5)
    lose = rate * fix / (1 - rate)
    wrong = 0
    for fixes, losses in zip(rng.binomial(failures, fix, 4000), rng.binomial(successes, lose, 4000), strict=True):
        strata = [
            stratum(int(fixes), 0, int(failures - fixes), rate),
            stratum(0, int(losses), int(successes - losses), 1 - rate),
        ]
        wrong += score_test(strata, 0.0) > critical(0.025)
    assert 0.012 <= wrong / 4000 <= 0.035


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_helps_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert all(a <= min(1.0, len(p_values) * p) + 1e-12 or a <= 1 for a, p in zip(adjusted, p_values, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [a for _, a in pairs] == sorted(a for _, a in pairs)


def test_holm_is_the_published_one() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(deadline=None, max_examples=50)
@given(st.floats(-6, 6), st.floats(-2, 2))
def test_taking_the_skew_away_keeps_the_order(z: float, skew: float) -> None:
    assume(abs(skew) > 1e-6)
    assert without_skew(z, skew) <= without_skew(z + 0.01, skew) + 1e-12
    assert without_skew(z, 0.0) == z


def test_so_many_more_cases_do_decide_it() -> None:
    """The number that is asked for passes the test in about as many samples as the power says."""
    rng = np.random.default_rng(7)
    times = times_as_many(score_test([stratum(60, 40, 900)], 0.0), 0.01, 0.8)
    assert times is not None
    cases = round(1000 * times)
    draws = rng.multinomial(cases, [0.06, 0.04, 0.9], 800)
    passed = sum(score_test([stratum(int(a), int(b), int(c))], 0.0) > critical(0.01) for a, b, c in draws)
    assert 0.7 <= passed / 800 <= 0.9
    assert times_as_many(-0.1, 0.01, 0.8) is None
    assert times_as_many(9.0, 0.01, 0.8) == 1.0


def test_rates_have_exact_limits() -> None:
    assert upper_rate(0, 100, 0.95) == pytest.approx(1 - 0.05**0.01)
    assert upper_rate(5, 5, 0.95) == 1.0
    assert binomial_tail(0, 10, 0.1) == 1.0
    assert binomial_tail(10, 10, 0.5) == pytest.approx(0.5**10)
