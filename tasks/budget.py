"""Ceilings on what rounds may cost: before one is opened, and at each boundary of stages until it is judged.

A round that is stopped is closed as `hold` with the reason, and counts as not judged (`judged_rounds`): its corrections
are still new once the ceiling is raised, and the gate's error budget is not spent by it. What was judged is registered
whatever it cost, since all that it took is spent by then.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from tasks.config import Config
from tasks.costs import round_cost, total_cost
from tasks.db import State, Transaction
from tasks.live_metrics import end_runs
from tasks.notices import emit, record_notice
from tasks.operation_options import Ceiling
from tasks.records import now
from tasks.rounds import STAGES, Round, held_at, open_round, record_evidence, stage_of

MONTH = timedelta(days=30)
# By the keys of a ceiling: the amount that it bounds, how much of that is one of the key's unit, and the unit's name.
UNITS = {
    "hours": ("seconds", 3600.0, "hours"),
    "gpu_hours": ("gpu_seconds", 3600.0, "GPU hours"),
    "tokens_trained": ("tokens_trained", 1.0, "trained tokens"),
    "tokens_generated": ("tokens_generated", 1.0, "generated tokens"),
    "gigabytes_kept": ("bytes_kept", 1e9, "GB kept"),
}


@dataclass(frozen=True)
class Breach:
    """A ceiling that a round is stopped by; `spent`, and what the round is `expected` to take, in the key's unit."""

    period: str
    amount: str
    spent: float
    ceiling: float
    expected: float = 0.0

    @property
    def key(self) -> str:
        """The ceiling's key in the config."""
        return f"budget.{self.period}.{self.amount}"

    def sentence(self, stage: str) -> str:
        """Why the round was stopped before a stage, and what to do."""
        unit = UNITS[self.amount][2]
        of = f"{say(self.spent)} of {say(self.ceiling)} {unit} ({self.key})"
        if self.period == "round":
            return (
                f"stopped by its budget before {stage}: it has used {of}; raise that ceiling or make rounds smaller "
                f"(blend.max_rows, suite.max_cases), and run again"
            )
        until = "raise that ceiling, or wait until earlier rounds are more than 30 days back"
        if self.expected:
            took = f"and the last judged round took {say(self.expected)}"
            return f"stopped by its budget before {stage}: the last 30 days have used {of}, {took}; {until}"
        return f"stopped by its budget before {stage}: the last 30 days have used {of}; {until}"


def say(value: float) -> str:
    """An amount as people read it: whole from 100 on, else three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def in_units(cost: Mapping[str, Any]) -> dict[str, float]:
    """A cost by the keys of a ceiling, in their units."""
    return {key: cost[amount] / scale for key, (amount, scale, _) in UNITS.items()}


def bounds(ceiling: Ceiling) -> Iterator[tuple[str, float]]:
    """The keys of a ceiling that are given, with their values."""
    yield from ((key, value) for key in UNITS if (value := getattr(ceiling, key)) is not None)


def over(config: Config, round_spent: Mapping[str, float], month_spent: Mapping[str, float]) -> Breach | None:
    """The first ceiling that an unfinished round, or the thirty days with it, is over."""
    spent = {"round": round_spent, "month": month_spent}
    ceilings = {"round": config.budget.round, "month": config.budget.month}
    for period, ceiling in ceilings.items():
        for key, bound in bounds(ceiling):
            if spent[period][key] > bound:
                return Breach(period, key, spent[period][key], bound)
    return None


def too_little_left(config: Config, month_spent: Mapping[str, float], expected: Mapping[str, float]) -> Breach | None:
    """The first ceiling of thirty days that is used up, or that a round like the `expected` would go over."""
    for key, bound in bounds(config.budget.month):
        spent = month_spent[key]
        if spent >= bound or spent + expected[key] > bound:
            return Breach("month", key, spent, bound, 0.0 if spent >= bound else expected[key])
    return None


def hold_before_start(config: Config, requested_by: str) -> int | None:
    """Where the budget leaves no room for a round: the number of the held round that says so. None: go on.

    That round is opened and closed at once, unless the last one was stopped by its budget already and the same would
    happen again: what a schedule asks for every night is said again, and not recorded each time.
    """
    with State(config.database).transaction() as tx:
        if tx.row("open_round") is not None:
            return None
        last = tx.row("get_last_round")
        breach = too_little_left(config, in_units(_spent_in_month(tx)), in_units(_last_judged(tx)))
        if last is not None and last["period"] is not None and (breach or _would_happen_again(config, last)):
            return int(last["round_id"])
        if breach is None:
            return None
        round_ = open_round(tx, config, requested_by)
        reason = _hold(tx, round_, "screen", breach)
    _tell(config, round_.round_id, reason)
    return round_.round_id


def _would_happen_again(config: Config, last: Mapping[str, Any]) -> bool:
    """Whether a round that went over its own ceiling would do so again: neither ceiling nor config is another."""
    ceiling = getattr(config.budget.round, last["amount"])
    same = last["period"] == "round" and last["config_sha256"] == config.sha256()
    return same and ceiling is not None and ceiling <= last["spent"]


def next_stage(config: Config, round_: Round, warn: Callable[[str], None]) -> str:
    """The stage that the round has to run next, once it is found to be within its budget; `closed` where it is not.

    What it has left running in MLflow ends first, so that a stop that is cut short is made again; `warn` is
    told where MLflow cannot be reached.
    """
    stage = stage_of(config, round_)
    if STAGES.index(stage) > STAGES.index("gate"):
        return stage
    with State(config.database).transaction() as tx:
        spent = total_cost(tx, round_id=round_.round_id)
        breach = over(config, in_units(spent), in_units(_spent_in_month(tx)))
    if breach is None:
        return stage
    if STAGES.index(stage) >= STAGES.index("train"):
        end_runs(config.tracking_uri, config.name, round_.round_key, warn)
    with State(config.database).transaction() as tx:
        held_at(tx, round_, stage)
        reason = _hold(tx, round_, stage, breach)
    _tell(config, round_.round_id, reason)
    return "closed"


def _spent_in_month(tx: Transaction) -> dict[str, Any]:
    return total_cost(tx, since=now() - MONTH)


def _last_judged(tx: Transaction) -> dict[str, Any]:
    """What the last round that was judged has cost; nothing where there is none."""
    row = tx.row("get_last_judged_round", round_id=2**31 - 1)
    return total_cost(tx, round_id=row["round_id"] if row else 0)


def _hold(tx: Transaction, round_: Round, stage: str, breach: Breach) -> str:
    """Close the round as held for a ceiling, with a notice of it; the reason."""
    reason, moment, facts = breach.sentence(stage), now(), asdict(breach)
    facts.pop("expected")
    record_evidence(tx, round_, reasons=[reason], budget={"stage": stage} | facts, cost=round_cost(tx, round_.round_id))
    tx.run("insert_budget_hold", round_id=round_.round_id, stage=stage, held_at=moment, **facts)
    tx.run("set_verdict", round_id=round_.round_id, verdict="hold")
    tx.run("close_round", round_id=round_.round_id, closed_at=moment)
    record_notice(tx, "budget", f"Round {round_.round_id} was {reason}", round_.round_id)
    return reason


def _tell(config: Config, round_id: int, reason: str) -> None:
    emit(config, "budget.exceeded", {"round": round_id, "reason": reason})
