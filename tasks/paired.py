"""Tests and limits for two models that answered the same cases.

A case gives a difference, challenger - champion, from -1 to 1. Cases that depend on one another (near-duplicates, one
customer's) are one unit, whose difference is their mean, so that units are independent (Miller 2024, "Adding error
bars to evals", clusters such cases for the same reason). Units come in strata, each weighted by its share of
production.

`score_test` is the one test behind all others: a score test, whose variance is that of the likeliest world in which the
hypothesis holds. A Wald test would take the variance from what was seen, and be certain where no flip was seen. For a
single stratum of right and wrong answers it is Tango's (1998), "Equivalence test and confidence interval for the
difference in proportions for the paired-sample design"; for weighted strata the restricted likelihood is that of
Miettinen and Nurminen (1985); graded answers have more than three values, and are treated alike.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

# How many units differ by how much.
Counts = Mapping[float, int]
Moments = tuple[float, float, float]

Z_MAX = 40.0
SMALLEST = 1e-100  # of a variance that is one
NORMAL = NormalDist()


@dataclass(frozen=True)
class Stratum:
    """Units of a part of production: `weight` is the part's share, `counts` the number of units by their difference."""

    weight: float
    counts: Counts

    @property
    def units(self) -> int:
        """How many units there are."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """The mean difference; 0 without units."""
        return sum(value * count for value, count in self.counts.items()) / max(1, self.units)


@dataclass(frozen=True)
class Estimate:
    """A mean over weighted strata with its two-sided confidence limits."""

    value: float
    low: float
    high: float


def mean(strata: Sequence[Stratum]) -> float:
    """The weighted mean difference."""
    return sum(stratum.weight * stratum.mean for stratum in strata)


def score_test(strata: Sequence[Stratum], null: float, bounds: tuple[float, float] = (-1.0, 1.0)) -> float:
    """How many standard errors the weighted mean lies above `null`, by the variance of a world where it is `null`.

    Under that hypothesis it is normal for large samples. A stratum that weighs and has no units says nothing at all:
    the result is 0.

    Args:
        strata: their weights need not sum to 1.
        null: a mean that is possible within the bounds.
        bounds: what a difference can be; what was not seen yet is possible too.
    """
    weighing = [stratum for stratum in strata if stratum.weight > 0]
    if not weighing or any(not stratum.units for stratum in weighing):
        return 0.0
    total = sum(stratum.weight for stratum in weighing)
    distance = mean(weighing) - null
    if not bounds[0] * total < null < bounds[1] * total:
        return math.copysign(Z_MAX, distance) if distance else 0.0
    variance, third = _restricted_moments(weighing, null, bounds)
    if variance < SMALLEST:
        return math.copysign(Z_MAX, distance) if distance else 0.0
    z = without_skew(distance / math.sqrt(variance), third / variance**1.5)
    return max(-Z_MAX, min(Z_MAX, z))


def without_skew(z: float, skewness: float) -> float:
    """What a standardised statistic of this skewness would be if it were normal: Hall's (1992) monotonic transformation
    ("On the removal of skewness by transformation"), which agrees with the Edgeworth expansion in its first term.

    Few losses among many cases are skewed as a Poisson number is; without it a tail of 0.5 % would be one of 0.8 %.
    """
    return z - skewness * z**2 / 6 + skewness**2 * z**3 / 108 + skewness / 6


def estimate(strata: Sequence[Stratum], confidence: float, bounds: tuple[float, float] = (-1.0, 1.0)) -> Estimate:
    """The weighted mean, and the means that the score test does not refute at this (two-sided) confidence."""
    reach = NORMAL.inv_cdf(0.5 + confidence / 2)
    value, total = mean(strata), sum(stratum.weight for stratum in strata)
    low = _solve(lambda null: score_test(strata, null, bounds) - reach, bounds[0] * total, value)
    high = _solve(lambda null: score_test(strata, null, bounds) + reach, value, bounds[1] * total)
    return Estimate(value, low, high)


def p_above(z: float) -> float:
    """How likely a standard normal number is at least `z`."""
    return NORMAL.cdf(-z)


def critical(level: float) -> float:
    """What a standard normal number exceeds with the chance `level`."""
    return -NORMAL.inv_cdf(level)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several hypotheses, so adjusted that at most a share of `level` of all families has one below it
    by chance (Holm 1979, "A simple sequentially rejective multiple test procedure"); in the given order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def times_as_many(z: float, level: float, power: float) -> float | None:
    """So many times as many units would pass a test at `level` with the chance `power`, if the rates stay as they are.

    None where no number would: what was seen points the other way. The standard error falls with the root of the
    number, so that `z` grows with it.
    """
    if z <= 0:
        return None
    return float(max(1.0, ((critical(level) + critical(1 - power)) / z) ** 2))


def binomial_tail(successes: int, trials: int, rate: float) -> float:
    """How likely at least so many of the trials succeed, each with the chance `rate`."""
    from scipy.stats import binom

    return float(binom.sf(successes - 1, trials, rate))


def upper_rate(successes: int, trials: int, confidence: float) -> float:
    """The upper confidence limit (one-sided) of a rate (Clopper and Pearson 1934); 1 without trials."""
    from scipy.stats import beta

    return 1.0 if successes >= trials else float(beta.ppf(confidence, successes + 1, trials - successes))


def _restricted_moments(strata: Sequence[Stratum], null: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Variance and third central moment of the weighted mean in the likeliest world where it is `null`.

    Within a stratum, the likeliest shares under a multiplier t are n_i / (s - t w v_i), where s makes them sum to 1. A
    bound that no unit lies on may have a share as well: it takes what is left where s can fall no further.
    """
    lowest, highest = bounds

    def worlds(t: float) -> list[Moments]:
        return [_likeliest(stratum, t * stratum.weight, lowest, highest) for stratum in strata]

    def off(t: float) -> float:
        return sum(stratum.weight * world[0] for stratum, world in zip(strata, worlds(t), strict=True)) - null

    reach = float(sum(stratum.units for stratum in strata))
    while off(reach) < 0 or off(-reach) > 0:
        reach *= 4.0
        if reach > 1e15:
            break
    multiplier = _solve(off, -reach, reach)
    variance = third = 0.0
    for stratum, (first, square, cube) in zip(strata, worlds(multiplier), strict=True):
        variance += stratum.weight**2 * max(0.0, square - first**2) / stratum.units
        third += stratum.weight**3 * (cube - 3 * first * square + 2 * first**3) / stratum.units**2
    return variance, third


def _likeliest(stratum: Stratum, pull: float, lowest: float, highest: float) -> Moments:
    """The first three moments of a stratum's likeliest shares, pulled upwards (or downwards, below 0)."""
    end = highest if pull > 0 else lowest
    items = [(value, count) for value, count in stratum.counts.items() if count]
    floor = pull * end
    scale = _sum_to_one(items, pull, floor)
    shares = [(value, count / (scale - pull * value)) for value, count in items if scale - pull * value > 0]
    rest = max(0.0, 1.0 - sum(share for _, share in shares))
    shares.append((end, rest))
    return (
        sum(value * share for value, share in shares),
        sum(value**2 * share for value, share in shares),
        sum(value**3 * share for value, share in shares),
    )


def _sum_to_one(items: Sequence[tuple[float, int]], pull: float, floor: float) -> float:
    """The scale (at least `floor`) at which the shares sum to 1, or the floor where they sum to less.

    Newton's method from below: the sum falls and is convex in the scale, so that no step passes the root.
    """
    units = float(sum(count for _, count in items))
    top = max(pull * value for value, _ in items)
    # The largest item alone sums to 1 here; with the others it is more.
    scale = max(floor, max(pull * value + count for value, count in items), top + 1e-12 * units)
    for _ in range(100):
        excess = slope = 0.0
        for value, count in items:
            share = count / (scale - pull * value)
            excess += share
            slope += share / (scale - pull * value)
        step = (excess - 1.0) / slope
        if step <= 1e-12 * scale:
            break
        scale += step
    return scale


def _solve(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a monotonic function is 0 between two points; the nearer end where it has no root there."""
    from scipy.optimize import brentq

    at_low, at_high = function(low), function(high)
    if at_low == 0 or high <= low:
        return low
    if at_high == 0 or (at_low > 0) == (at_high > 0):
        return high if abs(at_high) < abs(at_low) else low
    return float(brentq(function, low, high, xtol=1e-12 * max(1.0, high - low), rtol=1e-10))
