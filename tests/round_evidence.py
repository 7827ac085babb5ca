"""Evidence of invented rounds, as realistic as tests need: one promoted, one rejected, one that was killed.

from tests.round_evidence import two_rounds, unfinished_round
"""

from __future__ import annotations

import json
import random
from typing import Any

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
REASONS = {
    "promote": [
        "Production accuracy rises by 18.1 points (95% interval +15.2 to +21.0); anchor holds its margin.",
        "488 failures are fixed, 163 of them of kinds it was never shown this case of; 9 answers got worse.",
    ],
    "reject": [
        "Production accuracy falls by 9.4 points (95% interval −12.1 to −6.7).",
        "Anchor loses 5.5 points, more than its margin of 2.0.",
        "133 negative flips, most of them in the cluster “category: billing → shipping”.",
    ],
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


def _flips(rng: random.Random, negative: int, fixes: int) -> list[dict[str, Any]]:
    flips = []
    for place in range(negative + fixes):
        number = rng.randrange(len(KINDS))
        right, wrong = answer(KINDS[number][3], "high"), answer("billing", "low")
        bad = place < negative
        flips.append(
            {
                "case_id": f"case-{place:04}",
                "tier": "anchor" if bad else "unseen",
                "stratum": "success" if bad else "failure",
                "cluster": None if bad else f"c{number + 1:03}",
                "kind": "negative" if bad else "fix",
                "input": ticket(rng, KINDS[number][2]),
                "expected": right,
                "champion_output": right if bad else wrong,
                "challenger_output": wrong if bad else right,
            }
        )
    rng.shuffle(flips)
    return flips


def _tier(tier: str, stratum: str | None, cases: int, before: int, after: int, negative: int) -> dict[str, Any]:
    return {
        "tier": tier,
        "stratum": stratum,
        "cases": cases,
        "champion_right": before,
        "challenger_right": after,
        "fixes": after - before + negative,
        "negative_flips": negative,
    }


def _part(signal: str, source: str, producers: dict[str, int]) -> dict[str, Any]:
    return {"signal": signal, "source": source, "rows": sum(producers.values()), "producers": producers}


def _difference(before: float, after: float, spread: float) -> dict[str, float]:
    change = after - before
    return {
        "champion": before,
        "challenger": after,
        "difference": change,
        "low": change - spread,
        "high": change + spread,
    }


def round_evidence(number: int, verdict: str, seed: int = 7) -> dict[str, Any]:
    """A complete round whose parts agree with one another; `verdict` is `promote` or `reject`."""
    rng = random.Random(seed + number)
    good = verdict == "promote"
    before, after = ("base", f"v{number}") if number == 1 else ("v1", f"v{number}")
    version = None if number == 1 else 1
    tiers = (
        (
            ("unseen", "failure", 200, 0, 163, 0),
            ("unseen", "success", 400, 400, 394, 6),
            ("fixed", "failure", 325, 0, 325, 0),
            ("anchor", "success", 600, 588, 587, 3),
        )
        if good
        else (
            ("unseen", "failure", 190, 121, 96, 40),
            ("unseen", "success", 400, 394, 372, 27),
            ("fixed", "failure", 330, 318, 291, 30),
            ("anchor", "success", 600, 587, 554, 36),
        )
    )
    rows = [_tier(*tier) for tier in tiers]
    champion, challenger = {"label": before, "version": version}, {"label": after, "version": number}
    return {
        "workload": "tickets",
        "round": number,
        "verdict": verdict,
        "reasons": list(REASONS[verdict]),
        "opened_at": f"2026-03-0{number + 1}T02:00:00Z",
        "closed_at": f"2026-03-0{number + 1}T02:04:12Z",
        "champion": champion,
        "challenger": challenger,
        "champion_after": challenger if good else champion,
        "snapshot": {"hash": f"{rng.getrandbits(256):064x}", "rows": 812},
        "adapter_sha256": f"{rng.getrandbits(256):064x}",
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
        "clusters": _clusters(rng, 0.82 if good else 0.4),
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
        "tiers": rows,
        "gate": {
            "confidence": 0.95,
            "weighted": _difference(0.752, 0.933, 0.029) if good else _difference(0.931, 0.837, 0.027),
            "anchor": (_difference(0.98, 0.978, 0.008) if good else _difference(0.978, 0.923, 0.019))
            | {"margin": 0.02},
        },
        "map": [[i / 60, (i * 7 % 60) / 60, ("c001", "c002", None)[i % 3]] for i in range(60)],
        "drift": {
            "inputs": 500, "trained": 500, "novel_share": 0.126, "low": 0.1, "high": 0.158, "expected_share": 0.05,
            "has_drifted": True, "novel": ["Why is <b>my</b> e-bike locked?"],
            "growing": [{"cluster_id": "c001", "today": 0.2, "trained": 0.1, "low": 0.05}],
        },
        "flips": _flips(rng, sum(t["negative_flips"] for t in rows), sum(t["fixes"] for t in rows)),
        "training": {
            "rows": 812,
            "steps": 104,
            "epochs": 4,
            "seconds": 52.4,
            "device": "cpu",
            "trained_tokens": 23_548,
            "loss": [[step, 0.08 + 2.1 * 0.965**step + rng.uniform(0, 0.05)] for step in range(4, 105, 4)],
        },
        "logprob_agreement": {"tokens": 640, "max_abs_difference": 0.0004, "tolerance": 0.01},
        "timings": {
            "collect": 1.2, "screen": 2.0, "cluster": 31.4, "split": 0.2, "blend": 0.1,
            "snapshot": 0.1, "train": 71.8, "regress": 92.3, "gate": 0.1, "register": 9.4,
        },
    }  # fmt: skip


def two_rounds() -> list[dict[str, Any]]:
    """The story of the demo: round 1 is promoted, round 2 is rejected and v1 stays."""
    return [round_evidence(1, "promote"), round_evidence(2, "reject")]


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
