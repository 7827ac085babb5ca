"""Stage 9: promote, hold or reject, by paired statistics on the cases that both models answered.

What was answered is counted (`tasks.outcomes`), the counts are judged (`tasks.decision`) and the findings are said in
words (`tasks.reasons`); this module reads the state for them and records the evidence. Everything that the decision
rests on is in the evidence or in rows that are never changed, so that it can be made again: see `replay`.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.chat import shown
from tasks.config import Config
from tasks.db import Row, State, Transaction
from tasks.decision import Decision, Finding, decide, production_strata
from tasks.errors import FlywheelError
from tasks.gate_options import GateConfig
from tasks.outcomes import Answer, Case, Facts, Production, Tally, tally
from tasks.paired import estimate
from tasks.reasons import reasons, remarks, sentence
from tasks.records import sha256, user_text
from tasks.rounds import Round, held_row, record_evidence, writing
from tasks.scorer_options import JudgeScorer

MIN_JUDGED = 30
ODD_Z = 6.0
# Evidence is read by every report: of a large suite's flips and slices it holds so many. `list_flips` has them all.
KEPT_FLIPS = 1000
KEPT_TEXT = 700
KEPT_SLICES = 50
UNJUDGED = (
    "answers of this workload are better or worse and never right, and which of two is better is not judged here: "
    "compare what both say, and promote the version by name where it is the better one"
)


@dataclass(frozen=True)
class Replay:
    """A round's decision, made again from what is on record, and how it differs from the recorded one (not at all)."""

    round_id: int
    verdict: str
    reasons: tuple[str, ...]
    results_sha256: str
    differences: tuple[str, ...]


def gate(config: Config, round_: Round) -> Decision:
    """Judge the round's challenger and record the verdict with its evidence."""
    with writing(config, round_, "gate") as tx:
        cases = read_cases(tx, round_.round_id)
        judged = tx.rows("count_judged", pinned_seq=round_.pinned_seq, round_id=round_.round_id)
        row = held_row(tx, round_)
        before = json.loads(row["evidence"])
        facts = _facts(tx, config, round_, judged, before)
        counted = tally(cases, facts, config.gate)
        decision = decide(counted, config.gate)
        alarms = before.get("training", {}).get("alarms", [])
        worth_knowing = [*remarks(decision, counted), *alarms, *odd_producers(judged)]
        record_evidence(
            tx,
            round_,
            tiers=tx.rows("count_outcomes", round_id=round_.round_id),
            clusters=_with_outcomes(tx.rows("count_cluster_outcomes", round_id=round_.round_id), before["clusters"]),
            flips=_flips(tx, round_, facts.protected),
            slice_outcomes=tx.rows("count_slice_outcomes", round_id=round_.round_id, limit=KEPT_SLICES),
            snapshot_outcomes=tx.rows("count_snapshot_outcomes", round_id=round_.round_id),
            few_shot=tx.rows("count_few_shot_outcomes", round_id=round_.round_id),
            reasons=[*reasons(decision.findings), *worth_knowing],
            remarks=worth_knowing,
            gate=_evidence(config.gate, facts, counted, decision, cases) | {"producers": judged},
        )
        tx.run("set_verdict", round_id=round_.round_id, verdict=decision.verdict)
    return decision


def read_cases(tx: Transaction, round_id: int) -> list[Case]:
    """The cases that champion and challenger answered in a round, with what each answer came to."""
    return [_case(row) for row in tx.rows("list_outcomes", round_id=round_id)]


def _case(row: Row) -> Case:
    roles = ("champion", "challenger", "reference", "few_shot", "again")
    answers = {role: Answer(**row[role]) for role in roles if row[role] is not None}
    facts = {name: value for name, value in row.items() if name not in roles}
    return Case(**facts | answers | {"slices": json.loads(row["slices"])})


def _facts(tx: Transaction, config: Config, round_: Round, judged: Sequence[Row], before: dict[str, Any]) -> Facts:
    window = {"pinned_seq": round_.pinned_seq, "round_id": round_.round_id}
    counts = tx.rows("count_window", **window)[0]
    return Facts(
        calls=counts["inferences"],
        failures=counts["failures"],
        nights=1 + tx.rows("count_nights", round_id=round_.round_id)[0]["nights"],
        slice_rates=_slice_rates(tx.rows("count_window_slices", **window)),
        judged={row["producer"]: (row["judged"], row["failures"]) for row in judged},
        protected=tuple(f"{part.slice}={part.value}" for part in config.suite.protected),
        is_relative=isinstance(config.scorer, JudgeScorer) and config.scorer.mode == "pairwise",
        doubts=_doubts(config, before.get("judge")),
    )


def _slice_rates(rows: Sequence[Row]) -> dict[str, float]:
    """The share of calls that failed, by `name=value`."""
    calls: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for row in rows:
        for name, value in json.loads(row["slices"]).items():
            calls[f"{name}={value}"] += row["calls"]
            failures[f"{name}={value}"] += row["failures"]
    return {name: failures[name] / calls[name] for name in sorted(calls)}


def _doubts(config: Config, judge: dict[str, Any] | None) -> tuple[str, ...]:
    """Why nobody but a person can decide, whatever the counts say."""
    if config.scorer.type == "none":
        return (UNJUDGED,)
    if judge is not None and not judge["is_trusted"]:
        return (judge["reason"],)
    return ()


def _evidence(
    config: GateConfig, facts: Facts, counted: Tally, decision: Decision, cases: Sequence[Case]
) -> dict[str, Any]:
    found = {finding.rule: finding for finding in reversed(decision.findings)}
    return {
        "confidence": config.confidence,
        "failure_rate": counted.production.failure_rate,
        "weighted": _difference(counted.champion_accuracy, counted.challenger_accuracy, found["superiority"]),
        "anchor": _difference(counted.anchor_champion, counted.anchor_challenger, found["anchor"])
        | {"margin": config.anchor_margin},
        "without": {producer: _change(rest, config) for producer, rest in counted.without.items()},
        "findings": [_said(finding) for finding in decision.findings],
        "config": config.model_dump(mode="json"),
        "facts": facts.model_dump(mode="json"),
        "tally": counted.model_dump(mode="json"),
        "results_sha256": results_sha256(cases),
    }


def _difference(champion: float, challenger: float, finding: Finding) -> dict[str, float]:
    found = finding.estimate
    assert found is not None
    return {
        "champion": champion,
        "challenger": challenger,
        "difference": found.value,
        "low": found.low,
        "high": found.high,
    }


def _change(production: Production, config: GateConfig) -> dict[str, float]:
    found = estimate(production_strata(production), config.confidence)
    return {"difference": found.value, "low": found.low, "high": found.high}


def _said(finding: Finding) -> dict[str, Any]:
    """A finding as the evidence holds it, for reports, charts and the registry."""
    found = finding.estimate
    return {
        "rule": finding.rule,
        "state": finding.state,
        "subject": finding.subject,
        "sentence": sentence(finding),
        "value": found.value if found else finding.ratio,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "bound": finding.bound,
        "p_value": finding.p_value,
        "level": finding.level,
        "more": dict(finding.more) if finding.more is not None else None,
        "examples": list(finding.examples),
    }


def results_sha256(cases: Sequence[Case]) -> str:
    """Hash of all that the decision rests on of the cases: what they are, and what each answer came to."""
    return sha256([_canonical(case) for case in sorted(cases, key=lambda case: case.case_id)])


def _canonical(case: Case) -> list[Any]:
    answers = (case.champion, case.challenger, case.reference, case.few_shot, case.again)
    facts = [case.case_id, case.tier, case.stratum, case.group, case.cluster, dict(case.slices), case.producer]
    return [
        *facts,
        case.is_new,
        *([each.score, each.is_right, each.is_valid, each.tokens] if each else None for each in answers),
    ]


def replay(config: Config, round_id: int) -> Replay:
    """Make a round's decision again, from its cases' outcomes and the config and facts that it was made with.

    Raises:
        FlywheelError: there is no such round, or it came to no verdict of the gate's.
    """
    with State(config.database).transaction() as tx:
        row = tx.row("get_round", round_id=round_id)
        if row is None:
            raise FlywheelError(f"{config.name} has no round {round_id}; `flywheel status` lists them")
        recorded = json.loads(row["evidence"]).get("gate")
        if recorded is None:
            raise FlywheelError(f"round {round_id} has not come to a verdict of the gate's: it is at {row['stage']}")
        if "tally" not in recorded:
            raise FlywheelError(f"round {round_id} was judged by an earlier version, which kept no tally to replay")
        cases = read_cases(tx, round_id)
    gate_config, facts = GateConfig(**recorded["config"]), Facts(**recorded["facts"])
    counted = tally(cases, facts, gate_config)
    decision = decide(counted, gate_config)
    again = json.loads(json.dumps(_evidence(gate_config, facts, counted, decision, cases)))
    differences = [f"{key} is not as recorded" for key in again if again[key] != recorded[key]]
    # A promotion may be held afterwards: nobody approved of it, or the champion was changed.
    if decision.verdict != row["verdict"] and (decision.verdict, row["verdict"]) != ("promote", "hold"):
        differences.insert(0, f"the verdict is {decision.verdict}, on record is {row['verdict']}")
    return Replay(
        round_id, decision.verdict, tuple(reasons(decision.findings)), again["results_sha256"], tuple(differences)
    )


def _flips(tx: Transaction, round_: Round, protected: Sequence[str]) -> list[Row]:
    """The flips that weigh most, as many as evidence holds; how many there are is with the tiers."""
    flips = tx.rows("list_flips", round_id=round_.round_id, protected=list(protected), limit=KEPT_FLIPS)
    return [_readable(flip) for flip in flips]


def _readable(flip: Row) -> Row:
    texts = {key: shown(flip[key]) for key in ("expected", "champion_output", "challenger_output")}
    texts["input"] = user_text(flip["input"])
    return flip | {key: _cut(text) for key, text in texts.items()}


def _cut(text: str) -> str:
    return text if len(text) <= KEPT_TEXT else f"{text[: KEPT_TEXT - 1]}…"


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


def _with_outcomes(outcomes: list[Row], clusters: list[Row]) -> list[Row]:
    found = {outcome.pop("cluster_id"): outcome for outcome in outcomes}
    nothing = {"train": 0, "unseen": 0, "unseen_fixed": 0}
    return [cluster | found.get(cluster["cluster_id"], nothing) for cluster in clusters]


@task(name="gate", cache_policy=NO_CACHE)
def gate_task(config: Config, round_: Round) -> Decision:
    """Prefect task around `gate`."""
    decision = gate(config, round_)
    get_run_logger().info("Verdict: %s. %s", decision.verdict, "; ".join(reasons(decision.findings)))
    return decision
