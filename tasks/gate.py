"""Stage 9: promote, hold or reject, by paired statistics on the cases that both models answered.

The first test asks whether production would be better off: cases of the failure stratum and of the success stratum,
each weighted by its share of production. (On past failures alone every random change would count as a fix, since
there the champion is wrong by selection.) The second asks whether `anchor` has got worse than the margin allows.
`decide` is the seam: it sees counts alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.chat import shown
from tasks.config import Config
from tasks.db import Row
from tasks.gate_options import GateConfig
from tasks.records import user_text
from tasks.rounds import Round, held_row, record_evidence, writing

Verdict = Literal["promote", "hold", "reject"]

MIN_JUDGED = 30
ODD_Z = 6.0
UNJUDGED = (
    "answers of this workload are better or worse and never right, and which of two is better is not judged here: "
    "compare what both say, and promote the version by name where it is the better one"
)


@dataclass(frozen=True)
class Paired:
    """Outcomes of both models on the same cases. `fixes`: wrong before, right now; `negative_flips`: the reverse."""

    cases: int
    champion_right: int
    fixes: int
    negative_flips: int

    @property
    def challenger_right(self) -> int:
        """Cases that the challenger gets right."""
        return self.champion_right + self.fixes - self.negative_flips


@dataclass(frozen=True)
class Production:
    """The unseen cases of a round's traffic, and the share of that traffic that failed."""

    failure: Paired
    success: Paired
    failure_rate: float


@dataclass(frozen=True)
class Interval:
    """Accuracies, and the estimated difference (challenger - champion) with its two-sided confidence interval."""

    champion: float
    challenger: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """A verdict with its reasons, in sentences for people, and the intervals it rests on."""

    verdict: Verdict
    reasons: tuple[str, ...]
    weighted: Interval
    anchor: Interval


def paired_interval(strata: Sequence[tuple[float, Paired]], confidence: float) -> Interval:
    """The difference of accuracies over weighted strata (weights sum to 1), with its confidence interval.

    Within a stratum: Agresti and Min (2005), "Simple improved confidence intervals for comparing matched
    proportions", which adds half a case to each of the four cells, so that no flips at all does not mean certainty.
    Strata are independent: weighted differences add up, and so do variances by the squared weights.
    """
    difference = variance = champion = challenger = 0.0
    for weight, paired in strata:
        cases = paired.cases + 2
        fixes, losses = paired.fixes + 0.5, paired.negative_flips + 0.5
        difference += weight * (fixes - losses) / cases
        variance += weight**2 * (fixes + losses - (fixes - losses) ** 2 / cases) / cases**2
        champion += weight * paired.champion_right / max(1, paired.cases)
        challenger += weight * paired.challenger_right / max(1, paired.cases)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(variance)
    return Interval(champion, challenger, difference, max(-1.0, difference - reach), min(1.0, difference + reach))


def decide(
    production: Production, anchor: Paired, config: GateConfig, without: Mapping[str, Production] | None = None
) -> Decision:
    """The verdict on a challenger.

    Args:
        production: held-out failures, and held-out calls that were confirmed right.
        anchor: held-out given demonstrations.
        without: production as it would look without what one producer said of it, by producer. Where several people
            judge the traffic, a promotion must not rest on one of them: held-out cases carry their reviewer's
            mistakes, and a challenger that has learned those mistakes would look better on them.
    """
    failure, success = production.failure, production.success
    weighted = weigh(production, config)
    kept = paired_interval([(1.0, anchor)], config.confidence)
    scarce = [
        f"only {paired.cases} cases in {name}, {config.min_cases} are needed"
        for name, paired in (
            ("the failure stratum", failure),
            ("the success stratum", success),
            ("anchor", anchor),
        )
        if paired.cases < config.min_cases
    ]
    verdict, reasons = _verdict(weighted, kept, config)
    if verdict == "promote" and (doubts := scarce + _resting_on_one(without or {}, config)):
        verdict, reasons = "hold", [*doubts, *reasons]
    elif scarce:
        reasons = [*scarce, *reasons] if verdict == "hold" else [*reasons, *scarce]
    return Decision(verdict, tuple(reasons), weighted, kept)


def weigh(production: Production, config: GateConfig) -> Interval:
    """The difference in accuracy on production, each stratum by its share of it."""
    rate = production.failure_rate
    return paired_interval([(rate, production.failure), (1 - rate, production.success)], config.confidence)


def _resting_on_one(without: Mapping[str, Production], config: GateConfig) -> list[str]:
    """A sentence for each producer without whom the challenger is not shown to be better."""
    doubts = []
    for producer, rest in without.items():
        left = weigh(rest, config)
        if left.low <= 0:
            span = f"{_points(left.difference)} points ({_points(left.low)} to {_points(left.high)})"
            doubts.append(f"the gain rests on {producer} alone: without those cases production changes by {span}")
    return doubts


def _verdict(weighted: Interval, anchor: Interval, config: GateConfig) -> tuple[Verdict, list[str]]:
    span = f"{_points(weighted.difference)} points ({_points(weighted.low)} to {_points(weighted.high)})"
    kept = f"anchor changed by {_points(anchor.difference)} points ({_points(anchor.low)} to {_points(anchor.high)})"
    margin = f"{100 * config.anchor_margin:g}"
    if weighted.high < 0:
        return "reject", [f"production accuracy would fall by {span}", kept]
    if anchor.high < -config.anchor_margin:
        return "reject", [f"{kept}: worse by more than the margin of {margin}"]
    if weighted.low <= 0:
        return "hold", [f"production accuracy would change by {span}: not shown to be better", kept]
    if anchor.low <= -config.anchor_margin:
        return "hold", [f"{kept}: a loss of more than the margin of {margin} cannot be ruled out"]
    return "promote", [f"production accuracy rises by {span}", f"{kept}: within the margin of {margin}"]


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def gate(config: Config, round_: Round) -> Decision:
    """Judge the round's challenger and record the verdict with its evidence."""
    with writing(config, round_, "gate") as tx:
        tiers = tx.rows("count_outcomes", round_id=round_.round_id)
        counts = tx.rows("count_window", pinned_seq=round_.pinned_seq, round_id=round_.round_id)[0]
        current = tx.rows("count_current", round_id=round_.round_id)
        judged = tx.rows("count_judged", pinned_seq=round_.pinned_seq, round_id=round_.round_id)
        production = _production(current, counts["failures"], counts["inferences"])
        without = _leave_one_out(current, judged, counts)
        anchor = sum_paired([_paired(row) for row in tiers if row["tier"] == "anchor"])
        decision = decide(production, anchor, config.gate, without)
        if config.task == "better_answer":
            decision = replace(decision, verdict="hold", reasons=(UNJUDGED,))
        alarms = json.loads(held_row(tx, round_)["evidence"]).get("training", {}).get("alarms", [])
        record_evidence(
            tx,
            round_,
            tiers=tiers,
            clusters=_with_outcomes(tx.rows("count_cluster_outcomes", round_id=round_.round_id), held_row(tx, round_)),
            flips=[_readable(row) for row in tx.rows("list_flips", round_id=round_.round_id)],
            reasons=[*decision.reasons, *(remarks := [*alarms, *odd_producers(judged)])],
            remarks=remarks,
            gate={
                "confidence": config.gate.confidence,
                "failure_rate": production.failure_rate,
                "strata": {"failure": asdict(production.failure), "success": asdict(production.success)},
                "producers": judged,
                "without": {producer: asdict(weigh(rest, config.gate)) for producer, rest in without.items()},
                "weighted": asdict(decision.weighted),
                "anchor": asdict(decision.anchor) | {"margin": config.gate.anchor_margin},
            },
        )
        tx.run("set_verdict", round_id=round_.round_id, verdict=decision.verdict)
    return decision


def _readable(flip: Row) -> Row:
    answers = {key: shown(flip[key]) for key in ("expected", "champion_output", "challenger_output")}
    return flip | {"input": user_text(flip["input"])} | answers


def odd_producers(judged: Sequence[Row]) -> list[str]:
    """A sentence for each producer who faults far more of the calls they judged than the others do.

    All judge the same traffic, so their shares should be alike. Pooled two-proportion z-test, at a threshold that
    chance does not reach; whoever is asked to look at failures alone is named too, and is for a person to explain.
    """
    sentences = []
    for row in judged:
        others = sum(other["judged"] for other in judged) - row["judged"]
        their_faults = sum(other["failures"] for other in judged) - row["failures"]
        if min(row["judged"], others) < MIN_JUDGED:
            continue
        mine, theirs = row["failures"] / row["judged"], their_faults / others
        pooled = (row["failures"] + their_faults) / (row["judged"] + others)
        error = math.sqrt(pooled * (1 - pooled) * (1 / row["judged"] + 1 / others))
        if error and (mine - theirs) / error > ODD_Z and mine > 2 * theirs:
            sentences.append(
                f"{row['producer']} faults {mine:.0%} of the calls they judged, the others {theirs:.0%}: "
                f"look through those corrections"
            )
    return sentences


def _production(current: Sequence[Row], failures: int, inferences: int) -> Production:
    strata = {
        stratum: sum_paired([_paired(row) for row in current if row["stratum"] == stratum])
        for stratum in ("failure", "success")
    }
    return Production(strata["failure"], strata["success"], failures / max(1, inferences))


def _leave_one_out(current: Sequence[Row], judged: Sequence[Row], counts: Row) -> dict[str, Production]:
    """Production without each producer in turn; empty where one producer judged it all and nobody can be compared."""
    if len(judged) < 2:
        return {}
    return {
        row["producer"]: _production(
            [case for case in current if case["producer"] != row["producer"]],
            counts["failures"] - row["failures"],
            counts["inferences"] - row["judged"],
        )
        for row in judged
    }


def sum_paired(parts: Sequence[Paired]) -> Paired:
    """Outcomes over several groups of cases."""
    return Paired(
        sum(p.cases for p in parts),
        sum(p.champion_right for p in parts),
        sum(p.fixes for p in parts),
        sum(p.negative_flips for p in parts),
    )


def _paired(row: Row) -> Paired:
    return Paired(row["cases"], row["champion_right"], row["fixes"], row["negative_flips"])


def _with_outcomes(outcomes: list[Row], row: Row) -> list[Row]:
    found = {outcome.pop("cluster_id"): outcome for outcome in outcomes}
    nothing = {"train": 0, "unseen": 0, "unseen_fixed": 0}
    return [cluster | found.get(cluster["cluster_id"], nothing) for cluster in json.loads(row["evidence"])["clusters"]]


@task(name="gate", cache_policy=NO_CACHE)
def gate_task(config: Config, round_: Round) -> Decision:
    """Prefect task around `gate`."""
    decision = gate(config, round_)
    get_run_logger().info("Verdict: %s. %s", decision.verdict, "; ".join(decision.reasons))
    return decision
