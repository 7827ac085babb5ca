"""Worse is said with a chance of no more than the error, however long one looks; and it is found where it is true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tasks.sequential import (
    Sample,
    _left_open,
    _log_calibrated,
    _log_capital,
    _stakes,
    fixed_bounds,
    least_rise,
    log_surplus,
    running_bounds,
)

RATES = st.floats(0.001, 0.9)


def samples(calls: int = 4000) -> st.SearchStrategy[Sample]:
    return st.integers(1, calls).flatmap(lambda n: st.integers(0, n).map(lambda k: Sample(n, k)))


def alarm(before: Sample, fails: np.ndarray, error: float, every: int = 1, **null: float) -> int | None:
    """The call at which it is first said that things are worse, looking after each `every` calls; None: never."""
    looks = np.arange(every, len(fails) + 1, every)
    surplus = log_surplus(before, looks, np.cumsum(fails)[looks - 1], error, **null)
    return int(looks[np.argmax(surplus >= 0)]) if (surplus >= 0).any() else None


@given(before=samples(), rate=RATES)
def test_a_bet_at_the_highest_rate_of_the_null_is_worth_what_it_cost(before: Sample, rate: float) -> None:
    """The mean of the capital after one call, at any rate up to that one, is at most the capital before it."""
    stakes = _stakes(before, 1.0)
    won, lost = (np.exp(_log_capital(np.array(1), np.array(k), np.array(rate), stakes)) for k in (1, 0))
    for truth in (rate, rate / 2, rate / 10):
        assert truth * won + (1 - truth) * lost <= 1 + 1e-9


@given(calls=st.integers(1, 300), rate=RATES, error=st.floats(1e-6, 0.3))
def test_the_fixed_sample_spends_no_more_than_its_share_of_the_error(calls: int, rate: float, error: float) -> None:
    """Over all outcomes of the sample, the chances of a false alarm that they leave add up to the error."""
    outcomes = np.arange(calls + 1)
    p_values = binom.cdf(outcomes, calls, rate)
    scale = 1 - (error / 2 - 1) / math.log(error / 2)
    needed = _log_calibrated(-np.log(np.maximum(p_values, 1e-300))) - math.log(scale) + math.log(error / 2)
    chance = np.where(p_values <= error / 2, 1.0, np.minimum(np.exp(needed), 1.0))
    assert (binom.pmf(outcomes, calls, rate) * chance).sum() <= error * (1 + 1e-6)


@given(before=samples(), error=st.floats(1e-8, 0.4))
def test_every_rate_that_is_left_open_lies_in_an_interval_whose_evidence_is_a_lower_bound(
    before: Sample, error: float
) -> None:
    levels, upper = _left_open(before, error)
    assert (np.diff(upper) >= 0).all()
    assert (np.diff(_log_calibrated(levels)) >= -1e-9).all()
    if before.failures < before.calls:
        assert binom.cdf(before.failures, before.calls, upper[-1]) == pytest.approx(error / 2, rel=1e-6)


@given(before=samples(), after=samples(), error=st.floats(0.001, 0.3))
def test_more_failures_or_a_smaller_margin_are_more_evidence(before: Sample, after: Sample, error: float) -> None:
    calls = np.array([after.calls] * 2)
    surplus = log_surplus(before, calls, np.array([after.failures // 2, after.failures]), error)
    assert surplus[0] <= surplus[1] + 1e-9
    allowed = log_surplus(before, calls[:1], np.array([after.failures]), error, margin=0.05)
    assert allowed[0] <= surplus[1] + 1e-9


@given(before=samples(), after=samples())
def test_what_is_said_of_the_rates_holds_together(before: Sample, after: Sample) -> None:
    error = 0.05
    rise = after.failures / after.calls - before.failures / before.calls
    assert least_rise(before, after, error) <= rise + 1e-9
    for bounds, sample in ((fixed_bounds(before, error), before), (running_bounds(after, error, before), after)):
        assert 0 <= bounds.low <= sample.failures / sample.calls <= bounds.high <= 1


def test_without_calls_before_or_after_nothing_is_ever_said() -> None:
    assert alarm(Sample(0, 0), np.ones(1000), 0.1) is None
    assert alarm(Sample(50, 50), np.ones(1000), 0.1) is None
    assert log_surplus(Sample(10, 1), np.array([], int), np.array([], int), 0.1).size == 0


def test_a_small_sample_before_says_nothing_of_a_small_rise() -> None:
    """Ten calls without a failure leave rates up to a third open."""
    rng = np.random.default_rng(0)
    assert alarm(Sample(10, 0), rng.random(50_000) < 0.1, 0.02, every=10) is None
    assert alarm(Sample(10_000, 0), rng.random(50_000) < 0.1, 0.02, every=10) is not None


@pytest.mark.parametrize(("calls_before", "rate"), [(300, 0.2), (5000, 0.2), (2000, 0.01), (100, 0.5)])
def test_false_alarms_stay_within_the_error_however_long_one_looks(calls_before: int, rate: float) -> None:
    """200 promotions that changed nothing, each looked at 400 times over 8,000 calls; 1 in 10 may alarm."""
    rng, error = np.random.default_rng(calls_before), 0.1
    alarms = sum(
        alarm(Sample(calls_before, int(rng.binomial(calls_before, rate))), rng.random(8000) < rate, error, 20)
        is not None
        for _ in range(200)
    )
    assert alarms <= binom.ppf(0.999, 200, error)


def test_false_alarms_stay_within_the_error_where_calls_depend_on_one_another() -> None:
    """Good and bad hours: the chance of the next failure hangs on the hour, and never exceeds the rate before."""
    rng, error = np.random.default_rng(0), 0.1
    alarms = 0
    for _ in range(100):
        moods = np.repeat(np.where(rng.random(80) < 0.5, 0.2, 0.02), 50)
        alarms += alarm(Sample(2000, int(rng.binomial(2000, 0.2))), rng.random(4000) < moods, error, 20) is not None
    assert alarms <= 10


@pytest.mark.parametrize(("after", "calls"), [(0.25, 3200), (0.3, 1000)])
def test_a_rise_is_found_within_so_many_calls(after: float, calls: int) -> None:
    rng = np.random.default_rng(1)
    found = [
        alarm(Sample(5000, int(rng.binomial(5000, 0.2))), rng.random(calls) < after, 0.01, every=10) for _ in range(60)
    ]
    assert sum(call is not None for call in found) >= 0.85 * len(found)


def test_a_margin_and_a_share_move_what_is_allowed() -> None:
    rng = np.random.default_rng(2)
    fails = rng.random(20_000) < 0.25
    assert alarm(Sample(20_000, 4000), fails, 0.02, every=20) is not None
    assert alarm(Sample(20_000, 4000), fails, 0.02, every=20, margin=0.06) is None
    halved = rng.random(20_000) < 0.15
    assert alarm(Sample(20_000, 4000), halved, 0.02, every=20) is None
    assert alarm(Sample(20_000, 4000), halved, 0.02, every=20, share=0.5) is not None


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_a_confidence_sequence_holds_the_true_rate_at_every_look(seed: int) -> None:
    """At an error of one in a million, not once in the examples."""
    rng = np.random.default_rng(seed)
    rate = float(rng.uniform(0.01, 0.9))
    fails = np.cumsum(rng.random(2000) < rate)
    for calls in (10, 100, 500, 2000):
        low, high = running_bounds(Sample(calls, int(fails[calls - 1])), 1e-6, Sample(100, 20))
        assert low <= rate <= high
