"""What the watch found, in sentences."""

from datetime import datetime
from typing import Any

from tasks.headlines import plain

SHOWN_NAMES = 3


def describe(found: dict[str, Any]) -> list[str]:
    """What `tasks.watch.look` found, a sentence each, the gravest first after what is watched."""
    if found["state"] == "none":
        return [_nothing(found["rolled_back"])]
    classes = [row for row in found["classes"] if row["is_worse"]]
    said = [_subject(found), *_verdict(found), *(class_sentence(row) for row in classes), *_rates(found)]
    return [*said, *_attention(found), *_waiting(found), *_unknown(found)]


def _nothing(undone: dict[str, Any] | None) -> str:
    if undone is None:
        return "There has been no promotion yet, so there is nothing to watch."
    names = undone["champion"]["label"], undone["left"]["label"]
    return f"{names[0]} serves again since the watch took {names[1]} back; that is not watched."


def _subject(found: dict[str, Any]) -> str:
    over = " It is over." if found["state"] == "over" else ""
    names = f"{found['champion']['label']} against {found['before_it']['label']}"
    return f"Watching {names} since {found['moved_at']:%Y-%m-%d %H:%M} UTC (promoted by {found['moved_by']}).{over}"


def _verdict(found: dict[str, Any]) -> list[str]:
    if found["is_worse"]:
        return [finding_sentence(found, None) + "."]
    if not found["before"]["calls"]:
        return [f"No call of {found['before_it']['label']} counts, so there is nothing to compare with."]
    if not found["after"]["calls"]:
        return [f"No call of {found['champion']['label']} counts yet."]
    return ["No sign that production fails more often than before."]


def finding_sentence(found: dict[str, Any], row: dict[str, Any] | None) -> str:
    """What is put on record: of a class of failures, or of all of them together."""
    if row is not None:
        return class_sentence(row).rstrip(".")
    before, after, least = found["before"]["rate"], found["after"]["rate"], found["least_rise"]
    margin = found["margin"]
    sure = f", by {_points(least)} at least" if least is not None and least > margin else ""
    more = f", and {_points(margin)} are allowed" if margin else ""
    rates = f"{_percent(before)} before, {_percent(after)} now{sure}{more}{_alone(found['rests_on'])}"
    return f"Production fails more often under {found['champion']['label']}: {rates}"


def _alone(rests_on: list[str]) -> str:
    if not rests_on:
        return ""
    return f"; only by the word of {', '.join(plain(who, 60) for who in rests_on)}, without whom nothing is proved"


def class_sentence(row: dict[str, Any]) -> str:
    """How a class got worse, or that one is back that was thought fixed."""
    name, alone = f"{row['cluster_id']} ({plain(row['label'], 80)})", _alone(row["rests_on"])
    rates = f"{_percent(row['before']['rate'])} of calls before, {_percent(row['after']['rate'])} now"
    if row["promise"] is None:
        return f"Class {name} got worse: {rates}{alone}."
    promise = row["promise"]
    solved = f"the suite had {promise['right']} of {promise['cases']} right"
    return f"Class {name} was thought fixed and is back: {rates}, though {solved}{alone}."


def _rates(found: dict[str, Any]) -> list[str]:
    sides = (("before", found["before_it"]["label"]), ("after", found["champion"]["label"]))
    return [_rate(found[side], name) for side, name in sides if found[side]["calls"]]


def _rate(side: dict[str, Any], name: str) -> str:
    counts = f"{name}: {side['failures']:,} of {side['calls']:,} calls failed, {_percent(side['rate'])}"
    return f"{counts} ({_percent(side['low'])} to {_percent(side['high'])})." if "low" in side else f"{counts}."


def _attention(found: dict[str, Any]) -> list[str]:
    """Where people judge another share of calls than before, which moves the rate of failures by itself."""
    before, after = found["before"], found["after"]
    if not before["calls"] or not after["calls"]:
        return []
    shares = before["judged"] / before["calls"], after["judged"] / after["calls"]
    if abs(shares[0] - shares[1]) <= max(0.1, shares[0] / 4):
        return []
    return [f"{_percent(shares[0])} of calls were judged before, {_percent(shares[1])} are now: part may be attention."]


def _waiting(found: dict[str, Any]) -> list[str]:
    if not found["waiting"]:
        return []
    hours = f"{found['settle_hours']:g} hours"
    return [f"{found['waiting']:,} calls are younger than {hours} and do not count yet; the next does {_at(found)}."]


def _at(found: dict[str, Any]) -> str:
    moment: datetime = found["next_at"]
    return f"from {moment:%Y-%m-%d %H:%M} UTC on"


def _unknown(found: dict[str, Any]) -> list[str]:
    """Calls under names that are no version's, where they may be what is missing."""
    names = found["other_names"]
    if not names or (found["before"]["calls"] and found["after"]["calls"]):
        return []
    listed = ", ".join(f"{plain(row['name'], 60)} ({row['calls']:,})" for row in names[:SHOWN_NAMES])
    return [f"Calls came in under names that are no version's: {listed}; say in watch.names what versions are called."]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
