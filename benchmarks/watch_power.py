"""How often the watch of a promotion alarms without a reason, and how soon with one.

    python -m benchmarks.watch_power

Draws promotions: a fixed sample of calls before, and calls after one by one, looked at after each few. Beside the
watch's test (`tasks.sequential`) the same calls are given to the plain way with the same guarantee: an exact upper
bound of the rate before and a confidence sequence of the rate after, each at half of the error.

The bar for power was computed before anything was measured. In normal approximation a rise d is found at error a with
a chance of 0.9 once (d / s - 1.28)^2 / 2 >= ln(1 / a) + c, where s^2 is the sum of the variances of both rates and c
what it costs not to know the size of the rise, nor the rate before: 3.3, for ten bets of which one fits, and a
calibrator. For a rise from 20% to 25% after 5,000 calls at 20%, and a = 0.01 (half of the default budget), that is
3,200 calls. Four minutes.
"""

import math
from collections.abc import Callable

import numpy as np

from benchmarks._bars import Bar, close
from tasks.operation_options import WatchConfig
from tasks.sequential import Sample, _log_capital, _stakes, fixed_bounds, log_surplus

PROMOTIONS, LOOKS, STEP = 400, 5_000, 10  # a false alarm is looked for at every tenth of 50,000 calls
RISES = 400
BEFORE, RATE, WORSE, WITHIN = 5_000, 0.20, 0.25, 3_200
NULLS = ((5_000, 0.20), (300, 0.20), (5_000, 0.01))
OTHERS = (
    (5_000, 0.20, 0.30, 3_200),
    (1_000, 0.20, 0.30, 3_200),
    (20_000, 0.20, 0.22, 30_000),
    (2_000, 0.05, 0.08, 6_000),
)

Surplus = Callable[[Sample, np.ndarray, np.ndarray, float], np.ndarray]


def bounds_apart(before: Sample, calls: np.ndarray, failures: np.ndarray, error: float) -> np.ndarray:
    """The plain way, in the shape of `log_surplus`."""
    highest = np.array(fixed_bounds(before, error).high)
    return _log_capital(calls, failures, highest, _stakes(before, 1.0)) + math.log(error / 2)


def first_alarms(
    test: Surplus, before: int, rates: tuple[float, float], calls: int, error: float, draws: int, seed: int
) -> np.ndarray:
    """The call at which each of the draws alarms (infinite: never)."""
    rng, looks = np.random.default_rng(seed), np.arange(STEP, calls + 1, STEP)
    found = np.full(draws, np.inf)
    for draw in range(draws):
        sample = Sample(before, int(rng.binomial(before, rates[0])))
        failures = np.cumsum(rng.random(calls) < rates[1])[looks - 1]
        surplus = test(sample, looks, failures, error)
        if (surplus >= 0).any():
            found[draw] = looks[np.argmax(surplus >= 0)]
    return found


def main() -> None:
    """Measure, and close with the bars."""
    budget = WatchConfig().error_budget
    false_alarms = {}
    for place, (before, rate) in enumerate(NULLS):
        alarms = first_alarms(log_surplus, before, (rate, rate), LOOKS * STEP, budget, PROMOTIONS, place)
        false_alarms[f"{before} calls at {rate:.0%}"] = float(np.isfinite(alarms).mean())
    ours, plain = (
        first_alarms(test, BEFORE, (RATE, WORSE), WITHIN, budget / 2, RISES, 10) for test in (log_surplus, bounds_apart)
    )
    found = {"watch": float(np.isfinite(ours).mean()), "bounds apart": float(np.isfinite(plain).mean())}
    others = {}
    for place, (before, rate, worse, within) in enumerate(OTHERS, 20):
        both = [
            first_alarms(test, before, (rate, worse), within, budget / 2, 100, place)
            for test in (log_surplus, bounds_apart)
        ]
        shares = [float(np.isfinite(each).mean()) for each in both]
        medians = [float(np.median(each)) if np.isfinite(np.median(each)) else None for each in both]
        name = f"{rate:.0%} to {worse:.0%} within {within} calls, {before} before"
        others[name] = {"found": shares[0], "median": medians[0], "apart": shares[1], "apart_median": medians[1]}
        print(f"{name}: found {shares[0]:.0%} (median {medians[0]}), bounds apart {shares[1]:.0%} ({medians[1]})")
    bars = [
        Bar(
            f"false alarms in {PROMOTIONS} promotions, the worst of {len(NULLS)}",
            max(false_alarms.values()),
            "<=",
            budget,
        ),
        Bar(f"{RATE:.0%} to {WORSE:.0%} found within {WITHIN:,} calls", found["watch"], ">=", 0.9),
        Bar(
            "calls to find it (median), of those of bounds apart", float(np.median(ours) / np.median(plain)), "<=", 1.0
        ),
    ]
    context = {
        "error_budget": budget, "false_alarms": false_alarms, "looks": LOOKS, "found": found, "others": others,
        "median_calls": float(np.median(ours)),
    }  # fmt: skip
    close("watch_power", bars, context)


if __name__ == "__main__":
    main()
