"""A round's evidence in words: headline numbers, formatted figures and one-sentence verdicts.

Pure functions of the evidence a round writes (`rounds/N/evidence.json`). A round that was killed or found too
little leaves parts of it out, so that every reader here answers "–" or None instead of failing. Text from
production is data: `plain` takes its control characters away.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Evidence = Mapping[str, Any]

MISSING = "–"
SHOWN_GROWING = 3
VERDICTS = {"promote": "promoted", "hold": "held", "reject": "rejected"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Headline:
    """The numbers people ask for first. Rates and differences are fractions of 1; None is unknown."""

    failure_before: float | None
    failure_after: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float | None
    unseen_before: int | None
    unseen_right: int | None
    unseen_cases: int | None
    negative_flips: int | None
    fixes: int | None
    cases: int | None
    anchor: float | None
    anchor_low: float | None
    anchor_high: float | None
    anchor_margin: float | None


def dig(data: Any, *keys: str) -> Any:
    """The value under nested keys, None where any part of the way is missing."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def number(data: Any, *keys: str) -> float | None:
    """The finite number under nested keys, None for anything else."""
    value = dig(data, *keys)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


def records(data: Any, *keys: str) -> list[dict[str, Any]]:
    """The list of objects under nested keys, empty where there is none."""
    value = dig(data, *keys)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, (list, tuple)) else []


def plain(value: Any, limit: int | None = None) -> str:
    """Text without control characters (escape codes, text direction), cut after `limit` characters."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", "" if value is None else str(value))
    if limit is not None and len(text) > limit:
        return f"{text[:limit].rstrip()} … (+{len(text) - limit:,} characters)"
    return text


def percent(value: Any) -> str:
    """A fraction as a percentage with one decimal: 0.246 is `24.6%`."""
    value = number({"v": value}, "v")
    return MISSING if value is None else f"{100 * value:.1f}%"


def points(value: Any) -> str:
    """A difference of fractions in signed percentage points: -0.002 is `−0.2`."""
    value = number({"v": value}, "v")
    if value is None:
        return MISSING
    rounded = round(100 * value, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def count(value: Any) -> str:
    """A whole number with thousands separated."""
    value = number({"v": value}, "v")
    return MISSING if value is None else f"{round(value):,}"


def seconds(value: Any) -> str:
    """A duration in seconds as a person says it: `0.2 s`, `70 s`, `3 min 10 s`, `2 h 5 min`."""
    value = number({"v": value}, "v")
    if value is None:
        return MISSING
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def stratum_name(tier: Evidence) -> str:
    """A tier as people call it: `unseen · failures`, `anchor`."""
    stratum = {"failure": "failures", "success": "successes"}.get(str(dig(tier, "stratum")), dig(tier, "stratum"))
    return plain(" · ".join(str(part) for part in (dig(tier, "tier") or "?", stratum) if part))


def _total(rows: list[dict[str, Any]], key: str) -> int | None:
    values = [value for row in rows if (value := number(row, key)) is not None]
    return int(sum(values)) if values else None


def headline(evidence: Evidence) -> Headline:
    """The headline numbers of one round; the failure rates are the gate's, weighted as production is."""
    tiers = records(evidence, "tiers")
    unseen = [row for row in tiers if row.get("tier") == "unseen" and row.get("stratum") != "success"]
    gate, anchor = dig(evidence, "gate", "weighted"), dig(evidence, "gate", "anchor")
    before, after = number(gate, "champion"), number(gate, "challenger")
    return Headline(
        failure_before=None if before is None else 1 - before,
        failure_after=None if after is None else 1 - after,
        difference=number(gate, "difference"),
        low=number(gate, "low"),
        high=number(gate, "high"),
        confidence=number(evidence, "gate", "confidence"),
        unseen_before=_total(unseen, "champion_right"),
        unseen_right=_total(unseen, "challenger_right"),
        unseen_cases=_total(unseen, "cases"),
        negative_flips=_total(tiers, "negative_flips"),
        fixes=_total(tiers, "fixes"),
        cases=_total(tiers, "cases"),
        anchor=number(anchor, "difference"),
        anchor_low=number(anchor, "low"),
        anchor_high=number(anchor, "high"),
        anchor_margin=number(anchor, "margin"),
    )


def interval(low: Any, high: Any, confidence: Any = None) -> str:
    """A confidence interval in percentage points: `95% interval +15.0 to +21.0`; empty when unknown."""
    if number({"v": low}, "v") is None or number({"v": high}, "v") is None:
        return ""
    level = "" if number({"v": confidence}, "v") is None else f"{100 * confidence:.0f}% "
    return f"{level}interval {points(low)} to {points(high)}"


def verdict_word(evidence: Evidence) -> str:
    """`promoted`, `held` or `rejected`; `unfinished` for a round that has no verdict yet."""
    verdict = dig(evidence, "verdict")
    return VERDICTS.get(str(verdict), plain(verdict, 40)) if verdict else "unfinished"


def model_name(evidence: Evidence, role: str, fallback: str) -> str:
    """The label of the `champion`, `challenger` or `champion_after`, or the fallback when there is none."""
    return plain(dig(evidence, role, "label"), 60) or fallback


def champion_now(rounds: list[dict[str, Any]]) -> tuple[str | None, int | None]:
    """The label and registered version of the model that serves after the last round, None where unknown."""
    for evidence in sorted(rounds, key=lambda e: number(e, "round") or 0, reverse=True):
        for role in ("champion_after", "champion"):
            if dig(evidence, role, "label"):
                return plain(dig(evidence, role, "label"), 60), dig(evidence, role, "version")
    return None, None


def outcome(evidence: Evidence) -> str:
    """What the round did to the champion, without the reason: `v2 was rejected; v1 stays champion`."""
    champion = model_name(evidence, "champion", "the champion")
    challenger = model_name(evidence, "challenger", "")
    verdict = dig(evidence, "verdict")
    if dig(evidence, "budget"):
        return f"Nothing was judged; {champion} stays champion"
    if verdict == "promote":
        moved = dig(evidence, "champion_after", "label") == dig(evidence, "challenger", "label")
        moved = moved and bool(challenger)
        waits = f"{challenger or 'The challenger'} passed the gate but does not serve yet; {champion} still does"
        return f"{challenger} is the new champion, in place of {champion}" if moved else waits
    if verdict == "reject":
        return f"{challenger or 'The challenger'} was rejected; {champion} stays champion"
    if verdict == "hold" and challenger:
        return f"{challenger} was held, {_waits_for(evidence)}; {champion} stays champion"
    if verdict == "hold":
        return f"No challenger was trained; {champion} stays champion"
    reached = list(dig(evidence, "timings") or {})
    progress = f"got through {plain(reached[-1], 20)}" if reached else "no stage is complete"
    return f"Not finished, {progress}; {champion} serves"


def _waits_for(evidence: Evidence) -> str:
    open_ = {str(found.get("rule")) for found in records(evidence, "gate", "findings") if found.get("state") == "open"}
    return "until a person has looked" if open_ and open_ <= {"protected", "doubts"} else "for want of evidence"


def why(evidence: Evidence) -> str:
    """The first reason of the verdict, or the gate's numbers when none was given; empty without either."""
    reasons = [plain(reason).strip() for reason in dig(evidence, "reasons") or [] if reason]
    if reasons:
        return reasons[0][:1].upper() + reasons[0][1:].rstrip(".") + "."
    h = headline(evidence)
    if h.difference is None:
        return ""
    known = interval(h.low, h.high, h.confidence)
    return f"Production accuracy changes by {points(h.difference)} points{f' ({known})' if known else ''}."


def verdict_sentence(evidence: Evidence) -> str:
    """One line for a log, a title or a chat message: round, outcome and first reason."""
    return f"Round {dig(evidence, 'round') or '?'}: {outcome(evidence)}. {why(evidence)}".strip()


def ranked_clusters(evidence: Evidence) -> list[dict[str, Any]]:
    """The clusters by impact: share of traffic, weighted where slices weigh more, then failures, largest first."""
    return sorted(
        records(evidence, "clusters"),
        key=lambda c: (
            -(number(c, "impact") or number(c, "share_of_traffic") or 0),
            -(number(c, "failures") or 0),
            str(c.get("cluster_id")),
        ),
    )


def trend(cluster: dict[str, Any]) -> str:
    """How a cluster has come on since the last judged round, and what rounds did about it: a phrase, or nothing."""
    now, before = number(cluster, "share_of_traffic"), number(cluster, "previous_share")
    if not now or not before:
        return ""
    change = now / before - 1
    moved = "as large as before" if abs(change) < 0.1 else f"{'grew' if change > 0 else 'shrank'} by {abs(change):.0%}"
    tried, fixed = number(cluster, "previous_unseen"), number(cluster, "previous_fixed")
    if not tried or fixed is None:
        return f"{moved}{_tried(cluster)}"
    return f"{moved}{_tried(cluster)}; the last one fixed {fixed / tried:.0%} of what it had not seen of it"


def _tried(cluster: dict[str, Any]) -> str:
    rounds = number(cluster, "rounds_tried")
    if rounds is None:
        return ""
    return f", trained on in {count(rounds)} round{'s' if rounds != 1 else ''}" if rounds else ", never trained on"


def cluster_changes(evidence: Evidence) -> list[str]:
    """The splits and merges of clusters in a round, a sentence each."""
    return [_change(change) for change in records(evidence, "cluster_changes")]


def _change(change: dict[str, Any]) -> str:
    source, target = (
        f"{plain(change.get(end))} ({plain(change.get(f'{end}_label'), 80)})" for end in ("source", "target")
    )
    if change.get("kind") == "merge":
        return f"{source} is no class of its own: its {count(change.get('failures'))} failures are now in {target}"
    return f"{source} was split: {count(change.get('failures'))} of its failures are now in {target}"


def contradictions(evidence: Evidence) -> list[str]:
    """Inputs with different right answers or opposite preferences, and what became of them: a sentence a kind."""
    return [_contradiction(found) for found in records(evidence, "contradictions")]


_DISPUTED = {  # what is disputed, one and several, and how
    "same input": ("input", "inputs", "different right answers"),
    "near-duplicate": ("group of near-duplicates", "groups of near-duplicates", "different right answers"),
    "opposite preferences": ("pair of answers", "pairs of answers", "opposite preferences"),
}
_SETTLED = {
    "newest": "the newest stands",
    "majority": "what most producers say stands",
    "trusted": "what the most trusted producer says stands",
}


def _contradiction(found: dict[str, Any]) -> str:
    groups, policy = number(found, "groups"), found.get("policy")
    one = groups == 1
    thing, things, differing = _DISPUTED.get(str(found.get("kind")), _DISPUTED["same input"])
    disputed = f"{count(groups)} {thing if one else things} {'has' if one else 'have'} {differing}"
    signals, left_out = count(number(found, "signals")), count(number(found, "left_out"))
    if policy == "keep":
        return f"{disputed}; all {signals} signals are used"
    out = f"{left_out} of {signals} signals are left out"
    return (
        f"{disputed}; {_SETTLED[policy]}, {out}"
        if policy in _SETTLED
        else f"{disputed}; {out} until their producers agree"
    )


def proposals(evidence: Evidence) -> list[str]:
    """What rules proposed to leave out of training, and what came of it: a sentence for each rule and signal."""
    found = [_proposed(row) for row in records(evidence, "proposals", "rules")]
    if not_judged := number(evidence, "proposals", "answers", "not_judged"):
        judged = number(evidence, "proposals", "answers", "judged") or 0
        found.append(
            f"{count(judged)} of {count(judged + not_judged)} answers could be checked against the others; "
            "the rest are given too rarely, as free text is"
        )
    unlike = number(evidence, "proposals", "inputs", "auc")
    if unlike is not None:
        chance = number(evidence, "proposals", "inputs", "by_chance")
        found.append(
            f"Given demonstrations can be told from production's inputs with an AUC of {unlike:.2f} "
            f"({chance or 0.5:.2f} by chance; 0.5: not at all, 1: always)"
        )
    return found


def rule_name(rule: Any) -> str:
    """A rule as people call it: `suspect label`."""
    return plain(rule, 40).replace("_", " ")


def _proposed(row: dict[str, Any]) -> str:
    proposed, left_out, overruled = (int(number(row, key) or 0) for key in ("proposed", "left_out", "overruled"))
    things = f"{count(proposed)} {plain(row.get('signal'), 40)}{'' if proposed == 1 else 's'}"
    if row.get("rule") is None:
        return f"By a person alone: {things} left out"
    said = f"{rule_name(row['rule']).capitalize()}: {things} found, {count(left_out)} left out"
    return f"{said}, {count(overruled)} used since a person says so" if overruled else said


def drift_sentence(evidence: Evidence) -> str | None:
    """How far the round's inputs are from what its champion was trained on; None where that was not measured."""
    share = number(evidence, "drift", "novel_share")
    if share is None:
        return None
    champion = plain(dig(evidence, "champion", "label"))
    expected = percent(number(evidence, "drift", "expected_share"))
    much = "Drift" if dig(evidence, "drift", "has_drifted") else "No drift to speak of"
    unlike = f"{percent(share)} of the inputs are unlike anything that {champion} was trained on"
    return f"{much}: {unlike} ({expected} by chance)"


def growing_clusters(evidence: Evidence) -> list[str]:
    """Clusters near which more of today's inputs lie than of what the champion was trained on, a sentence each."""
    labels = {c.get("cluster_id"): plain(c.get("label"), 80) for c in records(evidence, "clusters")}
    champion = plain(dig(evidence, "champion", "label"))
    return [
        f"{percent(number(each, 'today'))} of the inputs are most like the failures of {plain(each.get('cluster_id'))}"
        f" ({labels.get(each.get('cluster_id'), 'none in this round')}), of what {champion} was trained on"
        f" {percent(number(each, 'trained'))}"
        for each in dig(evidence, "drift", "growing") or []
    ][:SHOWN_GROWING]


def ranked_flips(evidence: Evidence) -> list[dict[str, Any]]:
    """The flips as people should read them: negative ones first, protected before all, then by tier and cluster."""
    return sorted(
        records(evidence, "flips"),
        key=lambda f: (
            f.get("kind") != "negative",
            not f.get("is_protected"),
            str(f.get("tier")),
            str(f.get("cluster")),
            str(f.get("case_id")),
        ),
    )


def flip_total(evidence: Evidence) -> int:
    """How many flips there are; the evidence of a large suite does not hold them all."""
    counted = sum(number(tier, key) or 0 for tier in records(evidence, "tiers") for key in ("fixes", "negative_flips"))
    return max(int(counted), len(records(evidence, "flips")))
