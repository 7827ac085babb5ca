"""A sequential test of one failure rate against another that was measured before: pure functions, valid at every look.

Before a promotion some calls were counted, once and for all (a fixed sample); after it calls come in one by one, and
somebody may look after each of them, for ever. The null hypothesis is that a call after fails with a chance of no more
than `share` x p + `margin`, given all that came before it, where p is the unknown chance of a call before.

For an error of a, half of it goes to the fixed sample alone: rates p whose exact binomial p-value u (Clopper and
Pearson 1934) is a/2 or less are ruled out. Every other p has to be ruled out by the calls after, with the help of u:
somebody bets on each call that it fails, at the odds of the highest rate q that the null allows for p. What a bet has
grown to is a supermartingale wherever calls fail at q or less (Waudby-Smith and Ramdas 2024, "Estimating means of
bounded random variables by betting", sections 4.1 and 4.4); the capital is split over BETS of several sizes, as one
does not know how much worse things are. Its owner says beforehand at which capital p counts as ruled out: at 2 / (a
f(u)), where f is at least 0 and has mean 1 under the null. By Ville's inequality, given the calls before, that ever
happens with a chance of f(u) a / 2 at most, and a / 2 on average. f is the average of the calibrators k u^(k-1) over k
from 0 to 1 (Vovk and Wang 2021, "E-values: calibration, combination and applications", equation 2), cut off at a/2 and
scaled: the less likely p is by the fixed sample, the less capital is needed. Worse is proved once no p is left.

Against bounding both rates apart, each at half of the error (f = 1), this takes fewer calls: where p is as high as the
fixed sample just allows, little has to come from the calls after, and where it is not, little is needed.
`benchmarks/watch_power.py` has both. Calls need not be independent: only the chance of the next one, given those
before, has to keep to the null.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

# Sizes of bets, in standard deviations of one call: a rise by so many is found soonest.
BETS = (0.02, 0.03, 0.05, 0.08, 0.125, 0.2, 0.32, 0.5, 0.8)
BOLDEST = 0.9  # of a bet's capital that may be lost on one call
STEP = 0.05  # p is looked at so densely, in standard errors of the rate before
CHUNK = 512  # looks that are worked out at once
HALVINGS = 50


class Sample(NamedTuple):
    """So many calls, of which so many failed."""

    calls: int
    failures: int

    @property
    def rate(self) -> float | None:
        """The share that failed; None without calls."""
        return self.failures / self.calls if self.calls else None


class Bounds(NamedTuple):
    """Between which a rate lies, whenever one looks."""

    low: float
    high: float


def log_surplus(
    before: Sample,
    calls: "np.ndarray",
    failures: "np.ndarray",
    error: float,
    *,
    share: float = 1.0,
    margin: float = 0.0,
) -> "np.ndarray":
    """By how much the evidence that calls after are worse exceeds what is needed (looks, float; natural logarithm).

    Worse is to fail more often than `share` x (the rate before) + `margin`. `calls` and `failures` (looks, integers)
    are the counts after at each look. That it is 0 or more at any look, ever, has a chance of `error` at most where
    they are no worse. Between the points at which p is looked at it is bounded from below: it never comes out too
    high.
    """
    import numpy as np

    levels, upper = _left_open(before, error)
    # The integral of f from 0 to u is (u - 1) / ln u.
    scale = -math.log1p((error / 2 - 1) / -math.log(error / 2))
    logs = _log_calibrated(levels) + scale + math.log(error / 2)
    allowed = np.clip(share * upper + margin, 1e-12, 1.0)
    stakes = _stakes(before, share)
    found = [
        (logs + _log_capital(n[:, None], k[:, None], allowed, stakes)).min(axis=1)
        for n, k in zip(_pieces(np.asarray(calls)), _pieces(np.asarray(failures)), strict=True)
    ]
    return np.concatenate(found) if found else np.empty(0)


def _pieces(values: "np.ndarray") -> list["np.ndarray"]:
    return [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)]


def _left_open(before: Sample, error: float) -> tuple["np.ndarray", "np.ndarray"]:
    """Intervals that cover all p that the fixed sample leaves open: -ln u at the lower ends, and the upper ends."""
    import numpy as np
    from scipy.special import betainccinv

    failures, calls = before.failures, before.calls
    if failures >= calls:  # nothing bounds p from above
        return np.zeros(1), np.ones(1)
    last = -math.log(error / 2)
    levels = np.append(np.arange(0.0, math.sqrt(2 * last), STEP) ** 2 / 2, last)
    return levels[:-1], betainccinv(failures + 1, calls - failures, np.exp(-levels[1:]))


def _log_calibrated(level: "np.ndarray") -> "np.ndarray":
    """Log of (1 - u + u ln u) / (u ln^2 u), given x = -ln u: (e^x - 1 - x) / x^2."""
    import numpy as np

    x = np.maximum(level, 1e-3)  # 1/2 at 0, and flat there
    return np.where(level < 1e-3, math.log(0.5), np.log(np.expm1(x) - x) - 2 * np.log(x))


def _stakes(before: Sample, share: float) -> "np.ndarray":
    """What part of each bet's capital is at stake at a call; it depends on nothing that came after."""
    import numpy as np

    rate = share * (before.failures + 0.5) / (before.calls + 1)
    return np.minimum(np.array(BETS) * math.sqrt(rate / (1 - rate)), BOLDEST)


def _log_capital(calls: "np.ndarray", failures: "np.ndarray", rate: "np.ndarray", stakes: "np.ndarray") -> "np.ndarray":
    """Log of what the bets together have grown to, each call bet on at the odds of `rate`; shapes broadcast."""
    import numpy as np

    wins = np.log1p(stakes * ((1 - rate) / rate)[..., None])
    logs = failures[..., None] * wins + (calls - failures)[..., None] * np.log1p(-stakes)
    return np.asarray(np.logaddexp.reduce(logs, axis=-1) - math.log(len(stakes)))


def least_rise(before: Sample, after: Sample, error: float) -> float:
    """By how much the rate after is above that before, at least (-1 to 1), whenever one looks.

    It is wrong at some look with a chance of at most `error`.
    """
    import numpy as np

    counts = np.array([after.calls]), np.array([after.failures])

    def is_refuted(rise: float) -> bool:
        return bool(log_surplus(before, *counts, error, margin=rise)[0] >= 0)

    return _last(is_refuted, -1.0, 1.0)


def fixed_bounds(sample: Sample, error: float) -> Bounds:
    """The exact interval (Clopper and Pearson 1934) of the rate of a fixed sample, missed with `error` at most."""
    from scipy.special import betainccinv, betaincinv

    calls, failures = sample
    low = float(betaincinv(failures, calls - failures + 1, error / 2)) if failures else 0.0
    high = float(betainccinv(failures + 1, calls - failures, error / 2)) if failures < calls else 1.0
    return Bounds(low, high)


def running_bounds(sample: Sample, error: float, expected: Sample) -> Bounds:
    """A confidence sequence of a rate: missed at some look, ever, with a chance of at most `error`.

    `expected` is an earlier sample, by which the bets are sized; any will do.
    """
    low = _low(sample, error / 2, expected)
    mirrored = [Sample(calls, calls - failures) for calls, failures in (sample, expected)]
    return Bounds(low, 1 - _low(mirrored[0], error / 2, mirrored[1]))


def _low(sample: Sample, error: float, expected: Sample) -> float:
    import numpy as np

    stakes, calls, failures = _stakes(expected, 1.0), np.array(sample.calls), np.array(sample.failures)

    def is_refuted(rate: float) -> bool:
        capital = _log_capital(calls, failures, np.array(max(rate, 1e-12)), stakes)
        return bool(capital >= -math.log(error))

    return max(_last(is_refuted, 0.0, 1.0), 0.0)


def _last(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The last place from `low` up to `high` at which something holds that holds no more above; `low` if nowhere."""
    if not holds(low):
        return low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
