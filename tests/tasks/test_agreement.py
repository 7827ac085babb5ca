"""Whether a judge may be trusted hangs on kappa: what it says of sure, and of no, agreement has to hold."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tasks.agreement import Kappa, cohen_kappa

PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=200)


@given(PAIRS)
def test_it_is_what_scikit_learn_says(pairs: list[tuple[str, str]]) -> None:
    first, second = [left for left, _ in pairs], [right for _, right in pairs]
    assume(len({*first, *second}) > 1)
    assert cohen_kappa(first, second).kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)


@given(PAIRS)
def test_neither_rater_comes_first(pairs: list[tuple[str, str]]) -> None:
    first, second = [left for left, _ in pairs], [right for _, right in pairs]
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa(second, first))


@given(PAIRS)
def test_the_interval_holds_the_estimate_and_stays_in_range(pairs: list[tuple[str, str]]) -> None:
    found = cohen_kappa([left for left, _ in pairs], [right for _, right in pairs])
    assert -1 <= found.low <= found.kappa + 1e-12 and found.kappa - 1e-12 <= found.high <= 1
    assert 0 <= found.agreement <= 1


@given(st.lists(st.sampled_from("abc"), min_size=2))
def test_perfect_agreement_is_one(labels: list[str]) -> None:
    assume(len(set(labels)) > 1)
    assert cohen_kappa(labels, labels) == pytest.approx((1.0, 1.0, 1.0, 1.0))


def test_always_saying_the_same_is_no_agreement() -> None:
    assert cohen_kappa(["a"] * 50, ["a"] * 50) == Kappa(0.0, -1.0, 1.0, 1.0)
    assert cohen_kappa(["a"] * 50, ["a", "b"] * 25).kappa == 0.0


def test_a_judge_that_throws_coins_agrees_by_chance() -> None:
    draw = random.Random(0)
    first, second = (draw.choices("ab", weights=[7, 3], k=20_000) for _ in range(2))
    found = cohen_kappa(first, second)
    assert abs(found.kappa) < 0.03
    assert found.low < 0 < found.high


def test_the_interval_is_that_of_the_paper() -> None:
    """The example of Fleiss, Cohen and Everitt (1969), table 1: kappa 0.429, standard error 0.054 with 200 items."""
    table = {
        "aa": 106, "ab": 10, "ac": 4,
        "ba": 22, "bb": 28, "bc": 10,
        "ca": 2, "cb": 12, "cc": 6,
    }  # fmt: skip
    pairs = [pair for pair, count in table.items() for _ in range(count)]
    found = cohen_kappa([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    assert found.kappa == pytest.approx(0.429, abs=0.0005)
    assert (found.high - found.low) / 2 / 1.959964 == pytest.approx(0.054, abs=0.0005)


def test_the_interval_covers_what_is_true() -> None:
    """Of samples of 100 from a population whose kappa is known, the interval holds it in about 95 of 100."""
    draw, cells = random.Random(1), ["aa", "bb", "ab", "ba"]
    true = (0.85 - 0.58) / (1 - 0.58)  # agreement 0.85; both say a in 0.7 of the items
    covered = 0
    for _ in range(1000):
        pairs = draw.choices(cells, weights=[0.625, 0.225, 0.075, 0.075], k=100)
        found = cohen_kappa([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        covered += found.low <= true <= found.high
    assert 0.92 <= covered / 1000 <= 0.97


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="no items"):
        cohen_kappa([], [])
    with pytest.raises(ValueError):
        cohen_kappa(["a"], [])
    assert not math.isnan(cohen_kappa(["a"], ["b"]).kappa)
