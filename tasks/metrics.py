"""What MLflow's comparison of versions shows side by side: a round's evidence as named numbers.

Names are made of what data says (slices, clusters), so that they are made safe, and there are only so many of them. A
name means the same in each round, whatever else there is in it.
"""

import re
from collections.abc import Iterator
from typing import Any

from tasks.findings import count_rules, findings
from tasks.headlines import number, ranked_clusters, records
from tasks.records import sha256

SHOWN_SLICES = 50
SHOWN_CLUSTERS = 50
LONGEST_PART = 100


def metrics(evidence: dict[str, Any]) -> dict[str, float]:
    """All metrics of a round, by name; what was not measured is left out."""
    found = {
        **_tiers(evidence),
        **_gate(evidence),
        **_slices(evidence),
        **_clusters(evidence),
        **_baseline(evidence),
        **_learned(evidence),
        **dict(_training(evidence)),
        **{f"cost/{name}": amount for name, amount in evidence.get("cost", {}).get("total", {}).items()},
    }
    return {name: value for name, value in found.items() if number({"value": value}, "value") is not None}


def _tiers(evidence: dict[str, Any]) -> dict[str, Any]:
    """Accuracies, fixes and negative flips a tier."""
    found: dict[str, Any] = {}
    for row in evidence["tiers"]:
        name = _tier(row)
        found[f"{name}/accuracy"] = row["challenger_right"] / row["cases"]
        found[f"{name}/champion_accuracy"] = row["champion_right"] / row["cases"]
        found[f"{name}/fixes"] = row["fixes"]
        found[f"{name}/negative_flips"] = row["negative_flips"]
        found[f"{name}/cases"] = row["cases"]
    return found


def _tier(row: dict[str, Any]) -> str:
    return "/".join(part for part in (row["tier"], row["stratum"]) if part)


def safe(text: Any) -> str:
    """A part of a metric's name. MLflow takes letters, digits, and any of `_-. :`; the first `=` becomes a colon.

    What has to be changed otherwise ends in a hash of what it was, so that no two are the same name.
    """
    given = str(text)
    name, equals, value = given.partition("=")
    kept = f"{name}:{value}" if equals and ":" not in name else given
    clean = re.sub(r"[^A-Za-z0-9_\-. :]", "_", kept)[:LONGEST_PART]
    is_same = clean == kept and (":" not in given) and clean == clean.strip(" .") and clean
    return clean if is_same else f"{clean.strip(' .')}-{sha256([given])[:8]}"


def _gate(evidence: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for test in ("weighted", "anchor"):
        for key in ("champion", "challenger", "difference", "low", "high"):
            found[f"gate/{test}_{key}"] = evidence["gate"][test][key]
    by_rule = {finding["rule"]: finding for finding in reversed(findings(evidence))}
    for name, rule, key in (
        ("p_superiority", "superiority", "p_value"),
        ("level_superiority", "superiority", "level"),
        ("reference_difference", "reference", "value"),
        ("reference_low", "reference", "low"),
        ("negative_flip_rate", "negative flips", "value"),
        ("negative_flip_upper", "negative flips", "high"),
        ("valid_difference", "valid outputs", "value"),
        ("length_ratio", "output length", "value"),
    ):
        found[f"gate/{name}"] = number(by_rule, rule, key)
    found |= {f"gate/rules_{state}": rules for state, rules in count_rules(evidence).items()}
    found["fixed/new_share"] = number(by_rule, "fixed", "value")
    found["fixed/new_low"] = number(by_rule, "fixed", "low")
    found["fixed/earlier_lost_share"] = number(by_rule, "earlier fixes", "value")
    found["flaky/share"] = _share(evidence["gate"].get("tally", {}).get("flaky", {}), "count", "of")
    found["judge/kappa"] = number(evidence, "judge", "kappa")
    return found


def _share(row: dict[str, Any], key: str, of: str) -> float | None:
    count, total = number(row, key), number(row, of)
    return count / total if count is not None and total else None


def _slices(evidence: dict[str, Any]) -> dict[str, Any]:
    """Accuracy on held-out cases, by slice, of the largest."""
    found: dict[str, Any] = {}
    largest = sorted(records(evidence, "slice_outcomes"), key=lambda row: (-row["cases"], row["slice"]))
    for row in largest[:SHOWN_SLICES]:
        name = f"slice/{safe(row['slice'])}"
        found[f"{name}/accuracy"] = row["challenger_right"] / row["cases"]
        found[f"{name}/difference"] = (row["challenger_right"] - row["champion_right"]) / row["cases"]
        found[f"{name}/cases"] = row["cases"]
    return found


def _clusters(evidence: dict[str, Any]) -> dict[str, Any]:
    """How much of each class of failures that was never trained on is fixed, of those with the largest impact."""
    found: dict[str, Any] = {}
    for row in ranked_clusters(evidence)[:SHOWN_CLUSTERS]:
        name = f"cluster/{safe(row.get('cluster_id'))}"
        found[f"{name}/unseen_fixed_share"] = _share(row, "unseen_fixed", "unseen")
        found[f"{name}/cases"] = number(row, "unseen")
    return found


def _baseline(evidence: dict[str, Any]) -> dict[str, Any]:
    """What a prompt would get right, beside the challenger on the same cases."""
    found: dict[str, Any] = {}
    for row in records(evidence, "few_shot"):
        name = f"few_shot/{_tier(row)}"
        found[f"{name}/accuracy"] = _share(row, "few_shot_right", "cases")
        found[f"{name}/challenger_accuracy"] = _share(row, "challenger_right", "cases")
        found[f"{name}/cases"] = number(row, "cases")
    return found


def _learned(evidence: dict[str, Any]) -> dict[str, Any]:
    """Accuracy on cases that the version was trained on (remembered), and on the others (learned)."""
    found: dict[str, Any] = {}
    for row in records(evidence, "snapshot_outcomes"):
        name = "remembered" if row["in_snapshot"] else "learned"
        found[f"{name}/accuracy"] = _share(row, "challenger_right", "cases")
        found[f"{name}/cases"] = number(row, "cases")
    return found


def _training(evidence: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "production/failure_rate", evidence["counts"]["failure_rate"]
    yield "train/seconds", evidence["training"]["seconds"]
    measured = evidence["training"].get("stages", {}).get("dpo", {}).get("measured", {})
    yield from ((f"pairs/{name}", value) for name, value in measured.items())
    if measured:
        yield "pairs/alarms", len(evidence["training"]["alarms"])
