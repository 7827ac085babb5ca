"""What each rule of the gate asked, what it found and what it needed, in words for people who know no statistics.

Pure functions of a round's evidence, for reports, charts and the terminal. Evidence of earlier versions has no
findings: two are made of what it has, so that readers need not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.headlines import (
    MISSING,
    Evidence,
    count,
    dig,
    number,
    percent,
    plain,
    points,
    ranked_clusters,
    records,
    stratum_name,
)

if TYPE_CHECKING:
    from tasks.paired import Estimate

STATES = ("failed", "open", "passed")
SIGNS = {"passed": "✓", "open": "?", "failed": "✕"}
SHOWN_PLACES = 6
SHOWN_HARMED = 5
SHOWN_SLICES = 3

QUESTIONS = {
    "cases": "Are there enough cases to judge on?",
    "superiority": "Would production be better off?",
    "anchor": "Did anything boring get worse?",
    "reference": "And against the pinned reference?",
    "slices": "Is any slice harmed?",
    "negative flips": "How much that worked would break?",
    "protected": "Did anything protected get worse?",
    "fixed": "Did it learn what it was taught?",
    "earlier fixes": "Are earlier fixes kept?",
    "valid outputs": "Are answers of the right form?",
    "output length": "Are answers as short as before?",
    "producers": "Does the gain rest on one reviewer?",
    "doubts": "May the numbers decide alone?",
}
MEANINGS = {
    "cases": "Of each kind of case so many are needed; with fewer, chance decides.",
    "superiority": "Held-out failures and calls that worked, each weighted by its share of production's calls.",
    "anchor": "Anchor: everyday cases that no version is trained on. They may get worse by less than the margin.",
    "reference": "A fixed earlier version, so that many versions in turn cannot each lose a little.",
    "slices": "A slice is a part of the traffic: one plan, one language, one customer.",
    "negative flips": "A negative flip is an answer that was right before and is wrong now.",
    "protected": "Parts of the traffic in which every single loss needs a person.",
    "fixed": "Failures whose correction this version was trained on.",
    "earlier fixes": "What earlier rounds fixed. Two runs of one model differ a little too; more than that is a loss.",
    "valid outputs": "The form that the workload asks for, such as JSON with the right keys.",
    "output length": "Longer answers cost more and take longer.",
    "producers": "Held-out cases carry their reviewer's mistakes: a gain has to stand without each reviewer in turn.",
    "doubts": "Where something was not measured, or not surely enough, a person decides.",
}
TERMS = {
    "points": "Percentage points: from 90% to 92% is +2.0 points.",
    "interval": "The numbers in brackets. Of a hundred such intervals, about 95 hold the true value.",
    "p": "How likely chance alone would show as much; the smaller, the surer. Below the level that stands beside it, "
    "a rule passes or harm is shown.",
    "champion, challenger": "The version that serves, and the one that might replace it.",
    "negative flip": "An answer that was right before and is wrong now.",
    "anchor": "Everyday cases that no version is trained on and that must not get worse.",
    "unseen": "Failures of the same kinds that were never trained on.",
    "slice": "A part of the traffic: one plan, one language, one customer.",
    "cluster": "Failures that share a cause.",
    "few-shot": "The champion, not trained, with corrections of like cases written into its prompt.",
    "flaky": "A case that the champion answered differently when it was asked again; it counts only where protected.",
    "kappa": "How far a judge agrees with people beyond chance: 1 is always, 0 no more than chance.",
    "leak": "A held-out case that is in the training set, or nearly so; it is left out.",
    "suite": "The cases that both models answered; its hash names this version of them.",
}


class Asked(NamedTuple):
    """A rule in plain words; `small` is the statistics' small print, `meaning` a line on what it is about."""

    rule: str
    state: str
    question: str
    found: str
    needed: str
    small: str
    meaning: str


class Place(NamedTuple):
    """Where answers got worse: so many of so many, with flips as examples, and the ids of those that were not kept."""

    name: str
    lost: float | None
    of: float | None
    examples: list[dict[str, Any]]
    others: list[str]


class Fact(NamedTuple):
    """Something that a verdict's worth depends on; `command` makes or checks it."""

    name: str
    said: str
    meaning: str = ""
    command: str = ""


class Baseline(NamedTuple):
    """So many of the cases each way of fixing gets right; the champion's number is None where it was not counted."""

    name: str
    cases: int
    champion: int | None
    few_shot: int
    challenger: int


def findings(evidence: Evidence) -> list[dict[str, Any]]:
    """The gate's findings; those that can be told of evidence that an earlier version wrote."""
    found = [each for each in records(evidence, "gate", "findings") if each.get("state") in STATES]
    return found or [*_of_earlier(evidence, "superiority", "weighted"), *_of_earlier(evidence, "anchor", "anchor")]


def _of_earlier(evidence: Evidence, rule: str, key: str) -> list[dict[str, Any]]:
    value, low, high = (number(evidence, "gate", key, name) for name in ("difference", "low", "high"))
    if value is None or low is None or high is None:
        return []
    bound = -(number(evidence, "gate", key, "margin") or 0.0)
    state = "passed" if low > bound else "failed" if high < bound else "open"
    return [{"rule": rule, "state": state, "value": value, "low": low, "high": high, "bound": bound}]


def asked(evidence: Evidence) -> list[Asked]:
    """A row for each finding, in the order in which the gate asks; of many slices that are harmed the worst."""
    harmed = harmed_slices(evidence)
    hidden = [id(each) for each in findings(evidence) if _is_harm(each) and each not in harmed[:SHOWN_HARMED]]
    rows = [_asked(evidence, finding) for finding in findings(evidence) if id(finding) not in hidden]
    if len(harmed) > SHOWN_HARMED:
        place = max(place for place, row in enumerate(rows) if row.rule == "slices") + 1
        more = f"{count(len(harmed) - SHOWN_HARMED)} more slices are harmed"
        rows.insert(place, _row("slices", "failed", more, _NEEDED["slices"]({}), ""))
    reviewers, passed = dig(evidence, "gate", "tally", "without"), {row.rule for row in rows if row.state == "passed"}
    if reviewers and "superiority" in passed and not any(row.rule == "producers" for row in rows):
        said = f"it stands without each of {count(len(reviewers))} in turn"
        rows.append(_row("producers", "passed", said, _NEEDED["producers"]({}), ""))
    return rows


def harmed_slices(evidence: Evidence) -> list[dict[str, Any]]:
    """The findings of slices that are harmed, a slice each, the worst first."""
    worst: dict[Any, dict[str, Any]] = {}
    for finding in sorted(filter(_is_harm, findings(evidence)), key=lambda each: number(each, "value") or 0.0):
        worst.setdefault(finding.get("subject"), finding)
    return list(worst.values())


def _is_harm(finding: dict[str, Any]) -> bool:
    return finding.get("rule") == "slices" and finding["state"] == "failed"


def _asked(evidence: Evidence, finding: dict[str, Any]) -> Asked:
    rule = str(finding.get("rule"))
    found = _FOUND[rule](evidence, finding) if rule in _FOUND else plain(finding.get("sentence"), 300)
    needed = _NEEDED[rule](finding) if rule in _NEEDED else ""
    return _row(rule, str(finding["state"]), found, needed, small_print(finding))


def _row(rule: str, state: str, found: str, needed: str, small: str) -> Asked:
    question = QUESTIONS.get(rule, plain(rule, 60).capitalize())
    return Asked(rule, state, question, found, needed, small, MEANINGS.get(rule, ""))


def small_print(finding: dict[str, Any]) -> str:
    """P-value and the level that it has to be below (for harm to a slice or a fix, below which harm is shown)."""
    p, level = number(finding, "p_value"), number(finding, "level")
    if p is None or level is None:
        return ""
    is_harm = finding.get("rule") in ("slices", "earlier fixes")
    return f"p {_p(p)}; {'harm is shown' if is_harm else 'passes'} below {level:.2g}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def span(finding: dict[str, Any]) -> str:
    """A difference with its interval: `+18.1 points (+15.2 to +21.0)`."""
    return f"{points(finding.get('value'))} points ({points(finding.get('low'))} to {points(finding.get('high'))})"


def _of_so_many(evidence: Evidence, key: str, thing: str) -> str:
    share = dig(evidence, "gate", "tally", key)
    return f"{count(dig(share, 'count'))} of {count(dig(share, 'of'))} {thing}"


def _ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _unsigned(value: Any) -> str:
    return points(value).lstrip("+−")


_FOUND: dict[str, Callable[[Evidence, dict[str, Any]], str]] = {
    "cases": lambda e, f: plain(f.get("sentence"), 200),
    "superiority": lambda e, f: f"accuracy {span(f)}",
    "anchor": lambda e, f: span(f),
    "reference": lambda e, f: span(f),
    "slices": lambda e, f: (
        f"no harm shown in {plain(f.get('subject'), 60)}"
        if f.get("state") == "passed"
        else f"{plain(f.get('subject'), 80)}: {span(f)}"
    ),
    "negative flips": lambda e, f: f"{percent(f.get('value'))} of all calls, at most {percent(f.get('high'))}",
    "protected": lambda e, f: _of_so_many(e, "protected", "protected cases got worse"),
    "fixed": lambda e, f: _of_so_many(e, "fixed", "are fixed"),
    "earlier fixes": lambda e, f: _of_so_many(e, "earlier_fixes", "are lost"),
    "valid outputs": lambda e, f: span(f),
    "output length": lambda e, f: f"{_ratio(number(f, 'value'))} times as long",
    "producers": lambda e, f: f"on {plain(f.get('subject'), 80)}; without: {span(f)}",
    "doubts": lambda e, f: plain(f.get("sentence"), 400),
}
_NEEDED: dict[str, Callable[[dict[str, Any]], str]] = {
    "cases": lambda f: "more of them",
    "superiority": lambda f: "a gain that chance does not explain",
    "anchor": lambda f: f"surely less than {_unsigned(f.get('bound'))} points lost",
    "reference": lambda f: f"surely less than {_unsigned(f.get('bound'))} points lost",
    "slices": lambda f: "no slice shown to be worse",
    "negative flips": lambda f: f"surely less than {percent(f.get('bound'))}",
    "protected": lambda f: "none, or a person's word",
    "fixed": lambda f: f"at least {percent(f.get('bound'))}",
    "earlier fixes": lambda f: f"no more than two runs differ ({percent(f.get('bound'))})",
    "valid outputs": lambda f: f"surely less than {_unsigned(f.get('bound'))} points lost",
    "output length": lambda f: f"surely less than {_ratio(number(f, 'bound'))} times",
    "producers": lambda f: "a gain without any one of them",
    "doubts": lambda f: "a person's decision",
}


def rule_line(row: Asked) -> str:
    """A rule in one line: what it asked, found and needed."""
    return f"{row.question} {row.found}; needed: {row.needed}"


def rules_line(evidence: Evidence) -> str:
    """How many rules passed, are open and failed, and what follows of it; empty without a verdict of the gate's."""
    numbers = count_rules(evidence)
    if not sum(numbers.values()):
        return ""
    said = ", ".join(f"{numbers[state]} {state}" for state in reversed(STATES) if numbers[state])
    follows = (
        "one that failed is enough to reject"
        if numbers["failed"]
        else "one that is open is enough to hold"
        if numbers["open"]
        else "all have to pass for a promotion"
    )
    return f"{said}: {follows}"


def count_rules(evidence: Evidence) -> dict[str, int]:
    """The number of rules by what they came to; one that looks at several things came to the worst of them."""
    worst: dict[Any, str] = {}
    for finding in findings(evidence):
        rule = finding.get("rule")
        worst[rule] = min(finding["state"], worst.get(rule, "passed"), key=STATES.index)
    return {state: list(worst.values()).count(state) for state in STATES}


def would_decide(evidence: Evidence) -> list[str]:
    """For each finding that is open, a sentence on what would decide it."""
    return [
        f"{QUESTIONS.get(str(f.get('rule')), plain(f.get('rule'), 60))} {_decider(f)}"
        for f in findings(evidence)
        if f["state"] == "open"
    ]


def _decider(finding: dict[str, Any]) -> str:
    if finding.get("rule") in ("protected", "doubts"):
        return "A person, who looks at it and promotes the version by name or leaves it."
    if finding.get("rule") == "fixed":
        return "A version that has learned more of it; more cases would not."
    if finding.get("rule") == "producers":
        return f"Judgements of more people than {plain(finding.get('subject'), 80)}."
    more = finding.get("more")
    if not isinstance(more, dict):
        return "No number of cases would show it at these rates."
    needed = [f"{count(cases)} more {plain(kind, 60)}" for kind, cases in more.items()]
    return f"About {' and '.join(needed)}." if needed else "More cases."


def places(evidence: Evidence) -> list[Place]:
    """Where answers got worse: harmed slices, what was protected or fixed earlier, then clusters and other slices."""
    lost_in = dig(evidence, "gate", "tally", "lost_in")
    lost_in = lost_in if isinstance(lost_in, dict) else {}
    named = [str(finding.get("subject")) for finding in harmed_slices(evidence)][:SHOWN_SLICES]
    clusters = [name for name in lost_in if name.startswith("cluster ")][:SHOWN_SLICES]
    shares = {name: lost_in.get(name) for name in named}
    for finding in findings(evidence):
        if finding["state"] != "passed" and (rule := str(finding.get("rule"))) in _LOST:
            name, key = _LOST[rule]
            shares[name] = dig(evidence, "gate", "tally", key)
    shares |= {name: lost_in[name] for name in [*clusters, *lost_in]}
    flips = {flip.get("case_id"): flip for flip in records(evidence, "flips")}
    labels = {f"cluster {c.get('cluster_id')}": c.get("label") for c in ranked_clusters(evidence)}
    return [_place(name, share, flips, labels.get(name)) for name, share in list(shares.items())[:SHOWN_PLACES]]


_LOST = {
    "protected": ("Protected cases", "protected"),
    "earlier fixes": ("What earlier rounds fixed", "earlier_fixes"),
}


def _place(name: str, share: Any, flips: dict[Any, dict[str, Any]], label: Any) -> Place:
    examples = dig(share, "examples") or []
    title = f"{plain(name, 120)}: {plain(label, 100)}" if label else plain(name, 200)
    kept = [flips[case] for case in examples if case in flips]
    return Place(
        title[:1].upper() + title[1:] if name.startswith("cluster ") else title,
        number(share, "count"),
        number(share, "of"),
        kept,
        [plain(case, 80) for case in examples if case not in flips],
    )


def baselines(evidence: Evidence) -> list[Baseline]:
    """What the champion would get right with corrections in its prompt, by tier and by cluster of unseen failures."""
    tiers = [
        Baseline(
            stratum_name(row),
            int(number(row, "cases") or 0),
            int(number(row, "champion_right") or 0),
            int(number(row, "few_shot_right") or 0),
            int(number(row, "challenger_right") or 0),
        )
        for row in records(evidence, "few_shot")
    ]
    labels = {c.get("cluster_id"): c.get("label") for c in ranked_clusters(evidence)}
    clusters = [
        Baseline(
            plain(labels.get(row.get("cluster")) or row.get("cluster"), 100),
            int(number(row, "cases") or 0),
            None,
            int(number(row, "few_shot") or 0),
            int(number(row, "challenger") or 0),
        )
        for row in records(evidence, "gate", "tally", "prompted")
    ]
    return [*tiers, *sorted(clusters, key=lambda row: -row.cases)[:SHOWN_PLACES]]


def facts(evidence: Evidence) -> list[Fact]:
    """What the verdict's worth depends on, and how to make it again; what is not on record is left out."""
    found = [_flaky(evidence), _judge(evidence), _leaks(evidence), _remembered(evidence), _night(evidence)]
    if suite := dig(evidence, "suite_hash"):
        found.append(Fact("Suite", plain(suite, 80)[:12], TERMS["suite"]))
    if outcomes := dig(evidence, "gate", "results_sha256"):
        command = f"flywheel gate replay {plain(dig(evidence, 'round'), 20)}"
        said = f"outcomes {plain(outcomes, 80)[:12]}; made again from what is on record by"
        found.append(Fact("Decision", said, "The same outcomes and settings always give the same verdict.", command))
    return [fact for fact in found if fact is not None]


def _flaky(evidence: Evidence) -> Fact | None:
    flaky = dig(evidence, "gate", "tally", "flaky")
    if not number(flaky, "of"):
        return None
    said = f"{count(number(flaky, 'count'))} of {count(number(flaky, 'of'))} cases that were asked twice"
    return Fact("Flaky cases", said, TERMS["flaky"])


def _judge(evidence: Evidence) -> Fact | None:
    judge = dig(evidence, "judge")
    if not isinstance(judge, dict):
        return None
    if reason := judge.get("reason"):
        return Fact("Judge", plain(reason, 300), TERMS["kappa"])
    kappa, low, high = (_ratio(number(judge, key)) for key in ("kappa", "low", "high"))
    return Fact("Judge", f"kappa {kappa} ({low} to {high}) on {count(number(judge, 'cases'))} cases", TERMS["kappa"])


def _leaks(evidence: Evidence) -> Fact | None:
    leaks = dig(evidence, "leaks")
    if not isinstance(leaks, dict):
        return None
    left_out = {name: number(leaks, "left_out", name) or 0 for name in dig(leaks, "left_out") or {}}
    reasons = ", ".join(f"{count(cases)} {plain(name, 80)}" for name, cases in left_out.items() if cases)
    left = f"{count(sum(left_out.values()))} left out ({reasons})" if reasons else "none is in the training set"
    held = f"{count(number(leaks, 'cases'))} held-out cases against {count(number(leaks, 'rows'))} training rows"
    return Fact("Leaks", f"{held}: {left}", TERMS["leak"])


def _remembered(evidence: Evidence) -> Fact | None:
    shares = {
        bool(row.get("in_snapshot")): f"{percent((number(row, 'challenger_right') or 0) / cases)} of the {count(cases)}"
        for row in records(evidence, "snapshot_outcomes")
        if (cases := number(row, "cases"))
    }
    if not shares:
        return None
    said = f"right: {shares.get(True, MISSING)} cases that it was trained on, {shares.get(False, MISSING)} others"
    return Fact(
        "Remembered, learned", said, "Far better on what it was trained on than elsewhere is learning by heart."
    )


def _night(evidence: Evidence) -> Fact | None:
    nights = number(evidence, "gate", "tally", "nights")
    if nights is None:
        return None
    said = f"{count(nights)} against this champion"
    return Fact(
        "Rounds judged", said, "The more are tried, the surer a gain has to be: one of many looks good by chance."
    )


def worst_slices(evidence: Evidence, limit: int = SHOWN_SLICES) -> list[dict[str, Any]]:
    """Slices that lost most without being shown to be harmed, as findings of theirs would be."""
    from tasks.decision import production_strata
    from tasks.outcomes import Slice
    from tasks.paired import Stratum, estimate, mean

    parts = [Slice(**part) for part in records(evidence, "gate", "tally", "slices")]
    harmed = {f.get("subject") for f in findings(evidence) if f.get("rule") == "slices" and f["state"] == "failed"}
    strata = [
        (part.name, production_strata(part.production) if part.production else (Stratum(1.0, part.anchor or {}),))
        for part in parts
    ]
    worst: dict[str, tuple[Stratum, ...]] = {}
    for name, each in sorted(strata, key=lambda item: (mean(item[1]), item[0])):
        if name not in harmed and mean(each) < 0:
            worst.setdefault(name, each)
    confidence = number(evidence, "gate", "confidence") or 0.95
    return [_as_slice(name, estimate(each, confidence)) for name, each in list(worst.items())[:limit]]


def _as_slice(name: str, found: Estimate) -> dict[str, Any]:
    measured = {"value": found.value, "low": found.low, "high": found.high}
    return {"rule": "slices", "state": "passed", "subject": name, "bound": 0.0} | measured
