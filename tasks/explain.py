"""One round on a page of plain sentences, for somebody who was not there: what, why, on what data, and what came of it.

Its sentences are those of the report and the terminal, put in order; parts that a round does not have (it was killed,
held by its budget, or run by an earlier version) are left out.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tasks.config import Config
from tasks.db import Row, Transaction, require_state
from tasks.errors import StateError
from tasks.figures import figures
from tasks.findings import SIGNS, asked, facts, findings, rule_line, rules_line
from tasks.headlines import (
    Evidence,
    cluster_changes,
    contradictions,
    count,
    dig,
    drift_sentence,
    growing_clusters,
    number,
    outcome,
    percent,
    plain,
    proposals,
    ranked_clusters,
    records,
    seconds,
    trend,
    why,
)
from tasks.history import Event, name, read_events, who
from tasks.rounds import complete_evidence
from tasks.snapshot_card import left_out

SHOWN_CLASSES = 5
IN_THE_ROUND = {"round opened", "round closed", "round given up", "registration"}  # told in sections of their own


class Section(NamedTuple):
    """A heading, and sentences without their full stops."""

    title: str
    sentences: list[str]


class Step(NamedTuple):
    """What to look at next, and what to type for it."""

    what: str
    command: str


class Explanation(NamedTuple):
    """A round in words."""

    workload: str
    round: int
    sections: list[Section]
    next: list[Step]


def explain(config: Config, round_id: int, options: str = "") -> Explanation:
    """The round, told from what is on record; `options` name the config in what is to be typed next.

    Raises:
        StateError: nothing has been collected yet, or there is no such round.
    """
    with require_state(config.database).transaction() as tx:
        row = tx.row("get_round", round_id=round_id)
        if row is None:
            raise StateError(_no_round(tx, config.name, round_id))
        events = sorted(read_events(tx, config.name), key=lambda event: event.at)
        serving = tx.row("get_champion")
    evidence = complete_evidence(config.name, row)
    since = _since(row, events)
    champion = serving["to_version"] if serving else None
    sections = [*sections_of(evidence, row), Section("What happened since", [*since, f"{name(champion)} serves now"])]
    steps = [Step(step.what, step.command + options) for step in next_steps(evidence, row, champion)]
    return Explanation(config.name, round_id, [each for each in sections if each.sentences], steps)


def as_json(found: Explanation) -> dict[str, Any]:
    """An explanation for programs."""
    return found._asdict() | {
        "sections": [section._asdict() for section in found.sections],
        "next": [step._asdict() for step in found.next],
    }


def _no_round(tx: Transaction, workload: str, round_id: int) -> str:
    known = [row["round_id"] for row in tx.rows("list_rounds")]
    has = f"its rounds are {known[0]} to {known[-1]}" if known else "it has had none yet"
    return f"{workload} has no round {round_id}; {has} (`flywheel status` lists them)"


def sections_of(evidence: Evidence, row: Row) -> list[Section]:
    """What a round's evidence and its row say, in the order in which it happened; a pure function."""
    return [
        Section("What was asked for", _asked_for(row)),
        Section("The data", _data(evidence)),
        Section("What was left out", _left_out(evidence)),
        Section("How it was trained", _training(evidence)),
        Section("What the suite said", _suite(evidence)),
        Section("What the gate asked", _gate(evidence)),
        Section("The verdict", _verdict(evidence, row)),
        Section("Before it served", _shadow(evidence)),
        Section("What it cost", _cost(evidence)),
    ]


def _asked_for(row: Row) -> list[str]:
    when, asker = f"{row['opened_at']:%Y-%m-%d %H:%M} UTC", who(row["requested_by"])
    opened = f"Round {row['round_id']} was opened on {when} for {asker}"
    against = f"It was held against {name(row['champion_version'])}, the champion then"
    if row["closed_at"] is None:
        return [opened, against, f"It is not finished: the stage that comes next is {row['stage']}"]
    took = seconds((row["closed_at"] - row["opened_at"]).total_seconds())
    return [opened, against, f"It was closed on {row['closed_at']:%Y-%m-%d %H:%M} UTC, after {took}"]


def _data(evidence: Evidence) -> list[str]:
    said = [*_came_in(evidence), *_classes(evidence), *cluster_changes(evidence)]
    return [*said, *filter(None, [drift_sentence(evidence)]), *growing_clusters(evidence)]


def _came_in(evidence: Evidence) -> list[str]:
    counts = dig(evidence, "counts")
    if not isinstance(counts, Mapping):
        return []
    read, calls, failed, new = (count(number(counts, key)) for key in ("read", "inferences", "failures", "corrections"))
    rate = percent(number(counts, "failure_rate"))
    found = [
        f"New since the last judged round: {read} rows, with {calls} calls, {failed} failures ({rate}) and {new} "
        "corrections"
    ]
    if bad := number(counts, "quarantined"):
        found.append(f"{count(bad)} of the rows could not be taken and lie in quarantine")
    return found


def _classes(evidence: Evidence) -> list[str]:
    ranked = ranked_clusters(evidence)
    if not ranked:
        return []
    more = f"; the {SHOWN_CLASSES} that weigh most:" if len(ranked) > SHOWN_CLASSES else ":"
    head = f"The failures fall into {count(len(ranked))} class{'' if len(ranked) == 1 else 'es'}{more}"
    return [head, *(_class(each) for each in ranked[:SHOWN_CLASSES])]


def _class(cluster: dict[str, Any]) -> str:
    came_on, failures = trend(cluster), count(cluster.get("failures"))
    said = f"- {_named(cluster)}: {failures} failures"
    return f"{said}; it {came_on}" if came_on.startswith(("grew", "shrank")) else said


def _named(cluster: Mapping[str, Any]) -> str:
    return f"{plain(cluster.get('cluster_id'), 40)} ({plain(cluster.get('label'), 100)})"


def _left_out(evidence: Evidence) -> list[str]:
    found = [
        f"{_counted(kinds)}: {plain(reason, 200)}"
        for reason, kinds in left_out(evidence).items()
        if any(kinds.values())
    ]
    return [*found, *contradictions(evidence), *proposals(evidence)]


def _counted(kinds: Mapping[str, Any]) -> str:
    return ", ".join(_things(rows, kind) for kind, rows in kinds.items() if rows)


def _things(number_: Any, thing: str) -> str:
    return f"{count(number_)} {plain(thing, 40)}{'' if number_ == 1 else 's'}"


def _training(evidence: Evidence) -> list[str]:
    said = []
    if by_signal := dig(evidence, "card", "by", "signal"):
        frozen = plain(dig(evidence, "snapshot", "hash"), 80)[:12]
        said.append(f"It was trained on {_counted(by_signal)} (snapshot {frozen})")
    training = dig(evidence, "training")
    if not isinstance(training, Mapping):
        return said
    averaged = _made_of(dig(training, "stages", "sft") or training)
    steps, took = count(number(training, "steps")), seconds(number(training, "seconds"))
    tokens, device = count(number(training, "trained_tokens")), plain(training.get("device"), 20)
    said.append(f"The training took {steps} steps and {took} on {device}, over {tokens} trained tokens{averaged}")
    return [*said, *(plain(alarm).rstrip(".") for alarm in training.get("alarms") or [])]


def _made_of(training: Any) -> str:
    """What the adapter was made of, where that was others."""
    members = number(training, "members") or 1
    if dig(training, "distilled"):
        return f"; {_things(members, 'adapter')} taught one what they say together"
    return f"; {count(members)} adapters were trained and averaged" if members > 1 else ""


def _suite(evidence: Evidence) -> list[str]:
    if not records(evidence, "tiers"):
        return []
    known = [f"{fact.name}: {fact.said}" for fact in facts(evidence) if not fact.command]
    return [*(f"{what[:1].upper()}{what[1:]}: {said}" for what, said in figures(evidence)), *known]


def _gate(evidence: Evidence) -> list[str]:
    rules = asked(evidence)
    if not rules:
        return []
    return [rules_line(evidence), *(f"{SIGNS[row.state]} {rule_line(row)}" for row in rules)]


def _verdict(evidence: Evidence, row: Row) -> list[str]:
    if row["closed_at"] is not None and row["verdict"] is None:
        return ["It was given up, without a verdict"]
    if row["verdict"] is None:
        return []
    passed = {finding.get("sentence") for finding in findings(evidence) if finding["state"] == "passed"}
    reasons = [plain(reason).rstrip(".") for reason in dig(evidence, "reasons") or [] if reason]
    kept = reasons[:1] + [reason for reason in reasons[1:] if reason not in passed]
    because = [f"- {reason}" for reason in kept] or list(filter(None, [why(evidence)]))
    remarks = [f"- {said}" for remark in dig(evidence, "remarks") or [] if (said := plain(remark)) not in reasons]
    return [outcome(evidence), *because, *remarks]


def _shadow(evidence: Evidence) -> list[str]:
    compared = number(evidence, "shadow", "compared")
    if not compared:
        return []
    differ = count(number(evidence, "shadow", "differ"))
    classes = [
        f"- {count(each.get('answers'))} are like the failures of {_named(each)}"
        for each in records(evidence, "shadow", "classes")
        if each.get("cluster_id")
    ]
    return [f"It answered {count(compared)} of the latest calls beside the champion; {differ} answers differ", *classes]


def _cost(evidence: Evidence) -> list[str]:
    stages = dig(evidence, "cost", "stages") or {}
    timings = {stage: number(amounts, "seconds") for stage, amounts in stages.items()} or dig(evidence, "timings") or {}
    spent = {stage: took for stage in timings if (took := number(timings, stage)) and took >= 1.0}
    if not spent:
        return []
    longest = sorted(spent, key=lambda stage: -spent[stage])
    total = seconds(sum(spent.values()))
    said = [f"Its stages took {total}: {', '.join(f'{stage} {seconds(spent[stage])}' for stage in longest)}"]
    amounts = dig(evidence, "cost", "total")
    if isinstance(amounts, Mapping):
        trained, given = (count(number(amounts, key)) for key in ("tokens_trained", "tokens_generated"))
        hours = (number(amounts, "gpu_seconds") or 0.0) / 3600
        kept = (number(amounts, "bytes_kept") or 0.0) / 2**20
        said.append(f"{hours:.2f} GPU hours, {trained} tokens trained on, {given} generated, {kept:,.1f} MiB kept")
    return said


def _since(row: Row, events: Iterable[Event]) -> list[str]:
    """What concerns the round or its version, beside what the round itself says: decisions, moves and notices."""
    version = row["challenger_version"]

    def concerns(event: Event) -> bool:
        return event.round == row["round_id"] or (version is not None and version in (event.version, event.before))

    return [
        f"{event.at:%Y-%m-%d %H:%M} UTC: {event.text.rstrip('.')}"
        for event in events
        if event.kind not in IN_THE_ROUND and concerns(event)
    ]


def next_steps(evidence: Evidence, row: Row, champion: str | None) -> list[Step]:
    """What a person may want to do about the round; a pure function."""
    number_, version = row["round_id"], row["challenger_version"]
    signed = "--by YOU --reason WHY"
    if row["stage"] == "approve":
        return [
            Step("Let it serve", f"flywheel approve {number_} {signed}"),
            Step("Or not", f"flywheel reject {number_} {signed}"),
        ]
    if row["closed_at"] is None:
        return [Step("Go on with it", "flywheel run run_round"), Step("Or give it up", "flywheel abandon")]
    steps = []
    if dig(evidence, "gate", "results_sha256"):
        steps.append(Step("Decide it again", f"flywheel gate replay {number_}"))
    if version is not None:
        steps.append(Step("Trace its data", f"flywheel lineage {version}"))
    if version is not None and version == champion:
        before = row["champion_version"] or "base"
        steps.append(Step("Take it back", f"flywheel promote {before} {signed}"))
    elif version is not None:
        steps.append(Step("Let it serve all the same", f"flywheel promote {version} {signed}"))
    return [*steps, Step("See what happened before and after", "flywheel history")]
