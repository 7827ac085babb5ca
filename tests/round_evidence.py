"""Evidence of invented rounds, as realistic as tests need: promoted, rejected, held, of an earlier version, killed.

What models answered is invented, a case at a time; what the gate made of it is the gate's own, so that it cannot differ
from what readers meet.

from tests.round_evidence import two_rounds, unfinished_round
"""

from __future__ import annotations

import copy
import json
import random
from functools import cache
from typing import Any, NamedTuple

from tasks.decision import decide
from tasks.gate import _evidence
from tasks.gate_options import GateConfig
from tasks.outcomes import Answer, Case, Facts, tally
from tasks.reasons import reasons, remarks

KINDS = (
    ("category: billing → shipping · parcel, courier, tracking", 122, "parcel", "shipping"),
    ("category: account → security · code, locked, phone", 104, "login code", "security"),
    ("refund_requested: false → true · money back, charged twice", 97, "double charge", "billing"),
    ("priority: low → high · production down, since this morning", 88, "outage", "technical"),
    ("category: billing → cancellation · contract, end of month", 74, "contract", "cancellation"),
    ("priority: high → low · no hurry, when you have time", 61, "question", "general"),
)
TICKETS = (
    "Fwd: Re: {thing}\nFrom: {name}@mail.example\n\nhi, teh {thing} for order #{order} is stil not there, "
    + "can you look into it pls? Vielen Dank!\n--\n{name} | sent from my phone",
    "Bonjour, about my {thing} (order {order}): it has been two weeks, please solve it now.\nMerci, {name}",
    "order {order} - {thing} agian!!! this is the third mail. regards {name}",
)
PROMPTED = "c003"  # a cluster whose failures a prompt would fix


class Suite(NamedTuple):
    """Cases of one kind: how many each model gets right, and how many of them are right before and wrong now."""

    tier: str
    stratum: str | None
    cases: int
    before: int
    after: int
    negative: int
    is_new: bool = True


SUITES = {
    "promote": (
        Suite("unseen", "failure", 200, 0, 163, 0),
        Suite("unseen", "success", 400, 400, 394, 6),
        Suite("fixed", "failure", 325, 0, 325, 0),
        Suite("anchor", "success", 600, 588, 587, 3),
    ),
    "hold": (
        Suite("unseen", "failure", 90, 11, 19, 1),
        Suite("unseen", "success", 140, 140, 138, 2),
        Suite("fixed", "failure", 70, 2, 66, 0),
        Suite("fixed", "failure", 325, 321, 320, 1, is_new=False),
        Suite("anchor", "success", 600, 588, 586, 4),
    ),
    "reject": (
        Suite("unseen", "failure", 190, 121, 96, 40),
        Suite("unseen", "success", 400, 394, 372, 27),
        Suite("fixed", "failure", 80, 73, 74, 4),
        Suite("fixed", "failure", 250, 245, 217, 30, is_new=False),
        Suite("anchor", "success", 600, 587, 554, 36),
    ),
}


def answer(category: str, priority: str = "normal", refund: bool = False) -> str:
    return json.dumps({"category": category, "priority": priority, "refund_requested": refund})


def ticket(rng: random.Random, thing: str) -> str:
    name = rng.choice(("maria", "jonas", "amelie", "kofi", "yuki"))
    return rng.choice(TICKETS).format(thing=thing, order=rng.randint(10_000, 99_999), name=name)


def _clusters(rng: random.Random, fixed: float) -> list[dict[str, Any]]:
    clusters = []
    for place, (label, failures, thing, right) in enumerate(KINDS):
        unseen = failures // 3
        example = {
            "input": ticket(rng, thing),
            "output": answer("billing", "low"),
            "corrected": answer(right, "high"),
        }
        clusters.append(
            {
                "cluster_id": f"c{place + 1:03}",
                "label": label,
                "failures": failures,
                "share_of_traffic": failures / 2400,
                "train": failures - unseen,
                "unseen": unseen,
                "unseen_fixed": round(unseen * min(1.0, fixed + rng.uniform(-0.12, 0.12))),
                "examples": [example, example | {"input": ticket(rng, thing)}],
            }
        )
    return clusters


def _cases(rng: random.Random, suites: tuple[Suite, ...]) -> list[Case]:
    """What both models answered; what was lost is mostly in French, and the champion changes its mind now and then."""
    cases = []
    for place, suite in enumerate(suites):
        fixes = suite.after - suite.before + suite.negative
        for number in range(suite.cases):
            is_negative = number < suite.negative
            before = number < suite.before
            after = (before and not is_negative) or suite.before <= number < suite.before + fixes
            cluster = f"c{rng.randrange(len(KINDS)) + 1:03}" if suite.stratum == "failure" else None
            answers = {"champion": _given(rng, before), "challenger": _given(rng, after)}
            if suite.tier == "unseen" and suite.stratum == "failure":
                answers["few_shot"] = _given(rng, cluster == PROMPTED or rng.random() < 0.25)
            if number % 9 == 0:
                answers["again"] = _given(rng, before if rng.random() < 0.98 else not before)
            language = "fr" if rng.random() < (0.9 if is_negative else 0.15) else rng.choice(("de", "en", "en"))
            cases.append(
                Case(
                    case_id=f"case-{place}{number:03}",
                    tier=suite.tier,
                    stratum=suite.stratum,
                    group=f"group-{place}{number:03}",
                    cluster=cluster,
                    slices={"language": language, "plan": rng.choice(("basic", "basic", "gold", "team"))},
                    producer=rng.choice(("person:maria", "person:jonas")),
                    is_new=suite.is_new,
                    **answers,
                )
            )
    return cases


def _given(rng: random.Random, is_right: bool) -> Answer:
    return Answer(float(is_right), is_right, tokens=rng.randint(18, 24))


def _flips(rng: random.Random, cases: list[Case], protected: tuple[str, ...]) -> list[dict[str, Any]]:
    flips = []
    for case in cases:
        if case.champion.is_right == case.challenger.is_right:
            continue
        number = int(case.cluster[1:]) - 1 if case.cluster else rng.randrange(len(KINDS))
        right, wrong = answer(KINDS[number][3], "high"), answer("billing", "low")
        bad = case.is_negative_flip
        flips.append(
            {
                "case_id": case.case_id,
                "tier": case.tier,
                "stratum": case.stratum,
                "cluster": case.cluster,
                "kind": "negative" if bad else "fix",
                "is_protected": any(f"{name}={value}" in protected for name, value in case.slices.items()),
                "in_snapshot": case.tier == "fixed",
                "input": ticket(rng, KINDS[number][2]),
                "expected": right,
                "champion_output": right if bad else wrong,
                "challenger_output": wrong if bad else right,
            }
        )
    rng.shuffle(flips)
    return flips


def _tiers(cases: list[Case]) -> list[dict[str, Any]]:
    kinds: dict[tuple[str, str | None], list[Case]] = {}
    for case in cases:
        kinds.setdefault((case.tier, case.stratum), []).append(case)
    return [
        {
            "tier": tier,
            "stratum": stratum,
            "cases": len(those),
            "champion_right": sum(case.champion.is_right for case in those),
            "challenger_right": sum(case.challenger.is_right for case in those),
            "fixes": sum(case.challenger.is_right and not case.champion.is_right for case in those),
            "negative_flips": sum(case.is_negative_flip for case in those),
        }
        for (tier, stratum), those in kinds.items()
    ]


def _counted(cases: list[Case]) -> dict[str, int]:
    return {
        "cases": len(cases),
        "champion_right": sum(case.champion.is_right for case in cases),
        "challenger_right": sum(case.challenger.is_right for case in cases),
    }


def _slice_outcomes(cases: list[Case]) -> list[dict[str, Any]]:
    held_out = [case for case in cases if case.tier != "fixed"]
    names = sorted({f"{name}={value}" for case in held_out for name, value in case.slices.items()})
    found = [
        {"slice": name} | _counted([c for c in held_out if c.slices[name.split("=")[0]] == name.split("=")[1]])
        for name in names
    ]
    return sorted(found, key=lambda row: -row["cases"])


def _few_shot(cases: list[Case]) -> list[dict[str, Any]]:
    asked = [case for case in cases if case.few_shot is not None]
    right = sum(case.few_shot is not None and case.few_shot.is_right for case in asked)
    return [{"tier": "unseen", "stratum": "failure", "few_shot_right": right} | _counted(asked)]


def _judged(cases: list[Case], nights: int, protected: tuple[str, ...]) -> dict[str, Any]:
    """What the gate makes of the cases, by the parts of the evidence that it writes."""
    config = GateConfig()
    judged = {"person:maria": (600, 260), "person:jonas": (560, 240)}
    facts = Facts(calls=2400, failures=590, nights=nights, judged=judged, protected=protected)
    counted = tally(cases, facts, config)
    decision = decide(counted, config)
    remembered = [
        {"in_snapshot": yes} | _counted([c for c in cases if (c.tier == "fixed") is yes]) for yes in (True, False)
    ]
    return {
        "verdict": decision.verdict,
        "reasons": [*reasons(decision.findings), *remarks(decision, counted)],
        "remarks": remarks(decision, counted),
        "gate": _evidence(config, facts, counted, decision, cases) | {"producers": []},
        "tiers": _tiers(cases),
        "slice_outcomes": _slice_outcomes(cases),
        "snapshot_outcomes": remembered,
        "few_shot": _few_shot(cases),
    }


def _part(signal: str, source: str, producers: dict[str, int]) -> dict[str, Any]:
    return {"signal": signal, "source": source, "rows": sum(producers.values()), "producers": producers}


# What is the same in every round.
ALIKE: dict[str, Any] = {
    "leaks": {"rows": 812, "cases": 1204, "left_out": {"near-duplicate of a training row": 3, "same input": 1}},
    "judge": {
        "kappa": 0.71, "low": 0.6, "high": 0.82, "cases": 180, "is_trusted": True,
        "reason": "the judge agrees with people: kappa 0.71 (0.60 to 0.82) on 180 cases; 0.60 is required",
    },
    "counts": {
        "read": 5012,
        "stored": 5000,
        "known": 9,
        "quarantined": 3,
        "inferences": 2400,
        "failures": 590,
        "corrections": 571,
        "failure_rate": 590 / 2400,
    },
    "cluster_changes": [
        {"kind": "split", "failures": 9, "source": "c2", "source_label": "a", "target": "c1", "target_label": "d"}
    ],
    "blend": [
        _part("correction", "production", {"person:maria": 204, "person:jonas": 167}),
        _part("demonstration", "production", {"person:maria": 320}),
        _part("demonstration", "older tickets", {"rule:anchor": 121}),
    ],
    "card": {
        "rows": 812,
        "by": {"signal": {"demonstration": 441, "correction": 371}, "class of failures": {"c001": 90, "c002": 281}},
        "answer": {"words": {"shortest": 3, "median": 5, "longest": 9}},
        "distance": {"slices": 0.02, "labels": 0.05, "clusters": 0.31},
        "left_out": {"near-duplicates of rows that are in it": {"correction": 12}},
    },
    "excluded": [
        {"signal": "correction", "reason": "contradicts another answer (same input)", "rows": 4},
        {"signal": "demonstration", "reason": "contradicted by a newer answer (near-duplicate)", "rows": 1},
    ],
    "contradictions": [
        {"kind": "same input", "policy": "hold", "groups": 2, "signals": 4, "left_out": 4},
        {"kind": "near-duplicate", "policy": "newest", "groups": 1, "signals": 2, "left_out": 1},
        {"kind": "opposite preferences", "policy": "majority", "groups": 2, "signals": 5, "left_out": 2},
    ],
    "proposals": {
        "rules": [
            {"signal": "correction", "rule": "suspect_label", "proposed": 9, "left_out": 8, "overruled": 1},
            {"signal": "demonstration", "rule": "facts", "proposed": 1, "left_out": 0, "overruled": 0},
            {"signal": "correction", "rule": None, "proposed": 2, "left_out": 2, "overruled": 0},
        ],
        "answers": {"judged": 900, "not_judged": 12},
        "inputs": {"given": 500, "production": 500, "auc": 0.812, "by_chance": 0.51},
    },
    "map": [[i / 60, (i * 7 % 60) / 60, ("c001", "c002", None)[i % 3]] for i in range(60)],
    "drift": {
        "inputs": 500, "trained": 500, "novel_share": 0.126, "low": 0.1, "high": 0.158, "expected_share": 0.05,
        "has_drifted": True, "novel": ["Why is <b>my</b> e-bike locked?"],
        "growing": [{"cluster_id": "c001", "today": 0.2, "trained": 0.1, "low": 0.05}],
    },
    "logprob_agreement": {"tokens": 640, "max_abs_difference": 0.0004, "tolerance": 0.01},
    "timings": {
        "collect": 1.2, "screen": 2.0, "cluster": 31.4, "split": 0.2, "blend": 0.1,
        "snapshot": 0.1, "train": 71.8, "regress": 92.3, "gate": 0.1, "register": 9.4,
    },
}  # fmt: skip


def round_evidence(number: int, verdict: str, seed: int = 7) -> dict[str, Any]:
    """A complete round whose parts agree with one another; `verdict` is `promote`, `hold` or `reject`."""
    return copy.deepcopy(_round_evidence(number, verdict, seed))


@cache
def _round_evidence(number: int, verdict: str, seed: int) -> dict[str, Any]:
    rng = random.Random(seed + number)
    good = verdict == "promote"
    before, after = ("base", f"v{number}") if number == 1 else ("v1", f"v{number}")
    version = None if number == 1 else 1
    protected = ("plan=gold",) if verdict == "hold" else ()
    cases = _cases(rng, SUITES[verdict])
    judged = _judged(cases, max(1, number - 1), protected)
    assert judged["verdict"] == verdict, judged["reasons"]
    champion, challenger = {"label": before, "version": version}, {"label": after, "version": number}
    return {
        "workload": "tickets",
        "round": number,
        **ALIKE,
        **judged,
        "suite_hash": f"{rng.getrandbits(256):064x}",
        "opened_at": f"2026-03-0{number + 1}T02:00:00Z",
        "closed_at": f"2026-03-0{number + 1}T02:04:12Z",
        "champion": champion,
        "challenger": challenger,
        "champion_after": challenger if good else champion,
        "snapshot": {"hash": f"{rng.getrandbits(256):064x}", "rows": 812},
        "adapter_sha256": f"{rng.getrandbits(256):064x}",
        "clusters": _clusters(rng, 0.82 if good else 0.4),
        "flips": _flips(rng, cases, protected),
        "training": {
            "rows": 812,
            "steps": 104,
            "epochs": 4,
            "seconds": 52.4,
            "device": "cpu",
            "trained_tokens": 23_548,
            "loss": [[step, 0.08 + 2.1 * 0.965**step + rng.uniform(0, 0.05)] for step in range(4, 105, 4)],
        },
    }  # fmt: skip


def two_rounds() -> list[dict[str, Any]]:
    """The story of the demo: round 1 is promoted, round 2 is rejected and v1 stays."""
    return [round_evidence(1, "promote"), round_evidence(2, "reject")]


def earlier_round(number: int = 1, verdict: str = "promote") -> dict[str, Any]:
    """A round as earlier versions wrote it, which knew no findings: two differences, and flips that say less."""
    evidence = round_evidence(number, verdict)
    for key in ("remarks", "suite_hash", "leaks", "judge", "slice_outcomes", "snapshot_outcomes", "few_shot"):
        del evidence[key]
    kept = ("confidence", "failure_rate", "weighted", "anchor", "without", "producers")
    evidence["gate"] = {key: evidence["gate"][key] for key in kept}
    for flip in evidence["flips"]:
        del flip["is_protected"], flip["in_snapshot"]
    return evidence


def unfinished_round() -> dict[str, Any]:
    """A round that was killed after `cluster`: later parts are null, empty or not there at all."""
    whole = round_evidence(3, "reject")
    kept = ("workload", "round", "opened_at", "champion", "counts")
    return {key: whole[key] for key in kept} | {
        "verdict": None,
        "reasons": [],
        "closed_at": None,
        "challenger": None,
        "clusters": [],
        "tiers": [],
        "gate": None,
        "flips": [],
        "training": None,
        "timings": {"collect": 1.1, "screen": 1.9, "cluster": 30.2},
    }
