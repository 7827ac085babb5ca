"""How often the gate is wrong: simulated rounds of challengers whose quality is known, beside two common rules.

    python -m benchmarks.gate_operating_characteristics [--rounds 10000] [--jobs 2]

The champion gets 80 % of production right. `unseen` holds failures alone, `anchor` is as production is. Each answer of
the challenger changes with the churn, half of it each way, and with the scenario's effect on top. The two rules beside
the gate compare stored numbers on the same draws: one promotes when accuracy on anchor is above the champion's, the
other when accuracy as production has it is, and no tier or slice dropped by more than 0.05.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._bars import Bar, close
from tasks.decision import decide
from tasks.gate_options import GateConfig
from tasks.outcomes import Differences, Production, Share, Slice, Tally

ACCURACY = 0.8
SIZES = (300, 1_000, 3_000)
CHURNS = (0.05, 0.025)
SLICES = 10
DROP = 0.05
CONFIG = GateConfig()
GATE, HIGHER, NO_DROP = "gate", "higher metric", "improved, no drop over 0.05"


@dataclass(frozen=True)
class Scenario:
    """A challenger: what it does beyond churn, as shares. `fixed` is of failures, `unseen_fixed` of unseen ones alone;
    `broken` is of anchor. `slices`: the cases fall into ten. `nights`: rounds in a row, of which any may promote."""

    name: str
    fixed: float = 0.0
    unseen_fixed: float = 0.0
    broken: float = 0.0
    protected_flips: int = 0
    has_slices: bool = False
    nights: int = 1


EQUAL = Scenario("equally good")
WORSE = Scenario("anchor 3 points worse", broken=0.03)
WORSE_FIXING = Scenario("anchor 3 points worse, 15 of failures fixed", fixed=0.15, broken=0.06)
WORSE_SEEMING = Scenario("anchor 3 points worse, 40 of unseen failures fixed", unseen_fixed=0.4, broken=0.03)
BETTER = Scenario("15 points of failures fixed", fixed=0.15)
PROTECTED = Scenario("15 points fixed, two protected flips", fixed=0.15, protected_flips=2)
SLICED = Scenario("equally good, ten slices", has_slices=True)
MONTH = Scenario("equally good, 30 nights in a row", nights=30)
SCENARIOS = (
    EQUAL,
    WORSE,
    WORSE_FIXING,
    WORSE_SEEMING,
    BETTER,
    Scenario("10 points of failures fixed", fixed=0.10),
    Scenario("5 points of failures fixed", fixed=0.05),
    PROTECTED,
    SLICED,
)


@dataclass(frozen=True)
class Row:
    """A scenario at a size with the share of its rounds that each rule promotes, and that the slice rule stops."""

    scenario: Scenario
    size: int
    churn: float
    promoted: dict[str, float]
    stopped_by_slices: float


def simulate(scenario: Scenario, size: int, churn: float, rounds: int) -> Row:
    """Draw the rounds and let each rule decide."""
    rng = np.random.default_rng([SIZES.index(size), CHURNS.index(churn), SCENARIOS_AND_MONTH.index(scenario)])
    promoted = dict.fromkeys((GATE, HIGHER, NO_DROP), 0)
    stopped = 0
    for _ in range(rounds):
        found: set[str] = set()
        for night in range(1, scenario.nights + 1):
            tally = draw(rng, scenario, size, churn, night)
            decision = decide(tally, CONFIG)
            found |= {GATE} if decision.verdict == "promote" else set()
            found |= {HIGHER} if tally.anchor_challenger > tally.anchor_champion else set()
            found |= {NO_DROP} if improved_without_a_drop(tally) else set()
            stopped += any(finding.rule == "slices" and finding.state != "passed" for finding in decision.findings)
        for rule in found:
            promoted[rule] += 1
    shares = {rule: count / rounds for rule, count in promoted.items()}
    return Row(scenario, size, churn, shares, stopped / rounds / scenario.nights)


def draw(rng: np.random.Generator, scenario: Scenario, size: int, churn: float, night: int) -> Tally:
    """One round's outcomes, counted: `size` unseen failures and as many anchor cases."""
    groups = SLICES if scenario.has_slices else 1
    each = size // groups
    half = churn / 2
    fix = half / (1 - ACCURACY) + scenario.fixed
    lose = (half + scenario.broken) / ACCURACY
    unseen_fixes = rng.binomial(each, fix + scenario.unseen_fixed, groups)
    right = rng.binomial(each, ACCURACY, groups)
    losses = rng.binomial(right, lose)
    anchor_fixes = rng.binomial(each - right, fix)
    parts = [
        Production(failure=counts(int(f), 0, each), success=counts(0, int(lost), int(r)), failure_rate=1 - ACCURACY)
        for f, lost, r in zip(unseen_fixes, losses, right, strict=True)
    ]
    fixes, right_all, lost_all, anchor_all = (int(x.sum()) for x in (unseen_fixes, right, losses, anchor_fixes))
    cases = each * groups
    whole = Production(
        failure=counts(fixes, 0, cases), success=counts(0, lost_all, right_all), failure_rate=1 - ACCURACY
    )
    flips = Production(failure=counts(0, 0, cases), success=counts(lost_all, 0, right_all), failure_rate=1 - ACCURACY)
    gain = (1 - ACCURACY) * fixes / cases - ACCURACY * lost_all / max(1, right_all)
    return Tally(
        nights=night,
        production=whole,
        champion_accuracy=ACCURACY,
        challenger_accuracy=ACCURACY + gain,
        success_from="anchor",
        negative_flips=flips,
        anchor=counts(anchor_all, lost_all, cases),
        anchor_champion=right_all / cases,
        anchor_challenger=(right_all + anchor_all - lost_all) / cases,
        slices=tuple(Slice(name=f"slice={n}", production=part) for n, part in enumerate(parts)) if groups > 1 else (),
        protected=Share(count=scenario.protected_flips, of=100),
        validity={0.0: 2 * cases},
    )


def counts(fixes: int, losses: int, cases: int) -> Differences:
    """Cases by their difference."""
    return {-1.0: losses, 0.0: cases - fixes - losses, 1.0: fixes}


def improved_without_a_drop(tally: Tally) -> bool:
    """The rule that compares two numbers and looks whether any other dropped by more than 0.05."""
    slices = [difference(part.production) for part in tally.slices if part.production]
    drops = [tally.anchor_challenger - tally.anchor_champion, *slices]
    return tally.challenger_accuracy > tally.champion_accuracy and min(drops) >= -DROP


def difference(part: Production) -> float:
    """The estimated change of a slice's accuracy."""
    failure, success = (
        sum(value * count for value, count in side.items()) / max(1, sum(side.values()))
        for side in (part.failure, part.success)
    )
    return part.failure_rate * failure + (1 - part.failure_rate) * success


SCENARIOS_AND_MONTH = (*SCENARIOS, MONTH)


def jobs(rounds: int) -> Iterator[tuple[Scenario, int, float, int]]:
    """Every scenario at every size and churn; a month of nights at one of them, and with fewer of them."""
    for churn in CHURNS:
        for size in SIZES:
            for scenario in SCENARIOS:
                yield scenario, size, churn, rounds
    yield MONTH, 1_000, 0.05, rounds


def print_rows(rows: list[Row]) -> None:
    """The table for people."""
    table = Table(title="share of simulated rounds that each rule promotes", title_justify="left")
    columns = ("challenger", "churn", "cases a tier", GATE, HIGHER, NO_DROP, "stopped by slices")
    for column in columns:
        table.add_column(column, justify="left" if column == "challenger" else "right")
    for row in rows:
        shares = [f"{100 * row.promoted[rule]:.2f}%" for rule in (GATE, HIGHER, NO_DROP)]
        stopped = f"{100 * row.stopped_by_slices:.2f}%" if row.scenario.has_slices else "-"
        table.add_row(row.scenario.name, f"{row.churn:.1%}", f"{row.size:,}", *shares, stopped)
    Console(width=150).print(table)


def main() -> None:
    """Simulate, print, close."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(simulate, *zip(*jobs(options.rounds), strict=True)))
    print_rows(rows)
    at = {row.scenario: row for row in rows if row.size == 1_000 and row.churn == 0.05}

    def percent(scenario: Scenario) -> float:
        return 100 * at[scenario].promoted[GATE]

    worst = max((WORSE, WORSE_FIXING, WORSE_SEEMING), key=percent)
    bars = [
        Bar("equally good models promoted, %", percent(EQUAL), "<=", 1.0),
        Bar("3 points worse on anchor promoted, % (worst of three)", percent(worst), "<=", 1.0),
        Bar("15 points of failures fixed promoted, %", percent(BETTER), ">=", 90.0),
        Bar("two negative flips in a protected slice promoted, %", percent(PROTECTED), "<=", 0.0),
        Bar("ten slices without harm stopped by the slice rule, %", 100 * at[SLICED].stopped_by_slices, "<=", 5.0),
        Bar(
            "some promotion in 30 nights of equally good models, %",
            percent(MONTH),
            "<=",
            100 * CONFIG.error_budget,
        ),
    ]
    close("gate_operating_characteristics", bars, context(options.rounds, rows))


def context(rounds: int, rows: list[Row]) -> dict[str, Any]:
    """What the figures were taken with, and all of them."""
    found = [
        {"challenger": row.scenario.name, "churn": row.churn, "cases": row.size, "slices": row.stopped_by_slices}
        | row.promoted
        for row in rows
    ]
    return {"rounds": rounds, "gate": CONFIG.model_dump(), "rows": found}


if __name__ == "__main__":
    main()
