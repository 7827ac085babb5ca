"""The watch: whether production under a new champion fails more often than before, and what is done if it does.

`look` is a function of the state alone and changes nothing. `act` puts on record what it found (once a promotion),
tells Prefect, and moves the champion back where `watch.on_worse` says so. The error budget of a promotion is divided:
half is for all failures together, the other half for the classes of failures that there were when the champion began
to serve, in equal parts. What is on record is never taken back, whatever comes in later.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.config import Config
from tasks.db import Row, State, Transaction, require_state
from tasks.notices import Kind, emit, record_notice
from tasks.records import now
from tasks.rounds import label
from tasks.sequential import Bounds, Sample, fixed_bounds, least_rise, log_surplus, running_bounds
from tasks.watch_words import describe, finding_sentence
from tasks.watched_calls import Calls, Move, read_after, read_before, unknown_names

WATCHER = "rule:watch"
PERSON = "person:"
JUDGES = 20  # of the people whose word is doubted, those who judged most are left out in turn
GREW = 2.0  # times the share of calls that somebody judged before, from which their word is doubted
SOLVED = 0.5  # share of a class's cases that a version gets right, from which the class is thought fixed


@dataclass(frozen=True)
class Question:
    """Whether calls fail more often than `share` x before + `margin`, in a class if one is named; with what error."""

    error: float
    cluster_id: str | None = None
    share: float = 1.0
    margin: float = 0.0

    def is_answered(self, before: Calls, after: Calls, without: str | None = None) -> bool:
        """Whether at any failure so far there was enough evidence; `without` the calls after that somebody judged."""
        path = after.path(self.cluster_id, without)
        surplus = log_surplus(before.sample(self.cluster_id), *path, self.error, share=self.share, margin=self.margin)
        return bool((surplus >= 0).any())

    def rests_on(self, before: Calls, after: Calls) -> list[str]:
        """The people without whose word it would not be, of those who did not judge nearly as much before.

        Whoever judged before too has the same eye on both sides.
        """
        share = {who: count / max(before.total, 1) for who, count in before.judges.items()}
        people = [
            who
            for who, count in after.judges.items()
            if who.startswith(PERSON) and count / after.total > GREW * share.get(who, 0.0)
        ]
        return [who for who in people[:JUDGES] if not self.is_answered(before, after, without=who)]


def look(config: Config) -> Row:
    """Where the watch of the champion stands: what was counted, how sure what is, and `said`: the same in sentences.

    `state` is `none` (no promotion to be watched), `watching` or `over` (after `watch.days`). What is worse is so for
    good: `is_worse`, of all failures together and of each class, holds what is on record too.

    Raises:
        StateError: nothing has been collected yet.
    """
    with require_state(config.database).transaction() as tx:
        row = tx.row("get_watched_move")
        if row is None or row["moved_by"] == WATCHER:
            return _nothing(config, row)
        move = Move(**row)
        before, after = read_before(tx, config, move), read_after(tx, config, move)
        classes = tx.rows("list_watched_classes", moved_at=move.moved_at, version=move.to_version)
        recorded = tx.rows("list_watch_findings", move_id=move.move_id)
        end = tx.rows("get_watch_end", days=config.watch.days, moved_at=move.moved_at)[0]
        others = unknown_names(tx, config, [None, *(each["version"] for each in tx.rows("list_versions"))])
    found = _subject(config, row) | end | _compare(config, before, after)
    known = {each["cluster_id"] for each in recorded}
    found["is_worse"] |= "" in known
    found["classes"] = _classes(config, before, after, classes, known)
    found["rests_on"] = _of_all(config).rests_on(before, after) if found["is_worse"] else []
    return _said(found | {"recorded": recorded, "other_names": others})


def _said(found: Row) -> Row:
    has_findings = found["is_worse"] or any(row["is_worse"] for row in found["classes"])
    return found | {"has_findings": has_findings, "said": describe(found)}


def _nothing(config: Config, row: Row | None) -> Row:
    undone = {"champion": label(row["to_version"]), "left": label(row["from_version"])} if row else None
    nothing = {"is_worse": False, "classes": [], "rests_on": [], "recorded": []}
    return _said({"workload": config.name, "state": "none", "rolled_back": undone} | nothing)


def _subject(config: Config, row: Row) -> Row:
    return {
        "workload": config.name,
        "move_id": row["move_id"],
        "round": row["round_id"],
        "champion": label(row["to_version"]),
        "before_it": label(row["from_version"]),
        "moved_by": row["moved_by"],
        "moved_at": row["moved_at"],
        "settle_hours": config.watch.settle_hours,
        "error_budget": config.watch.error_budget,
        "margin": config.watch.margin,
        "on_worse": config.watch.on_worse,
    }


def _of_all(config: Config) -> Question:
    return Question(config.watch.error_budget / 2, margin=config.watch.margin)


def _compare(config: Config, before: Calls, after: Calls) -> Row:
    error, old, new = config.watch.error_budget / 2, before.sample(), after.sample()
    both, question = bool(old.calls and new.calls), _of_all(config)
    return {
        "before": _counted(before, fixed_bounds(old, error) if old.calls else None),
        "after": _counted(after, running_bounds(new, error, old) if both else None),
        "rise": new.failures / new.calls - old.failures / old.calls if both else None,
        "least_rise": least_rise(old, new, error) if both else None,
        "is_worse": question.is_answered(before, after),
        "waiting": after.waiting,
        "next_at": after.next_at,
    }


def _counted(calls: Calls, bounds: Bounds | None) -> Row:
    sample = calls.sample()
    counts = {"calls": sample.calls, "failures": sample.failures, "rate": sample.rate, "judged": calls.judged}
    return counts | (bounds._asdict() if bounds else {})


def _classes(config: Config, before: Calls, after: Calls, classes: Sequence[Row], known: set[str]) -> list[Row]:
    """Each class with its share of calls before and after, those that got worse first."""
    error = config.watch.error_budget / 2 / max(len(classes), 1)
    found = [_class(row, before, after, error, row["cluster_id"] in known) for row in classes]
    return sorted(found, key=lambda row: (not row["is_worse"], -row["after"]["failures"], row["cluster_id"]))


def _class(row: Row, before: Calls, after: Calls, error: float, is_known: bool) -> Row:
    """A class that the version's suite says is fixed has a promise to keep: to fail no more often than that leaves."""
    cluster_id, promise = row["cluster_id"], _promise(row, error / 2)
    question = Question(error / 2, cluster_id, promise["left"]) if promise else Question(error, cluster_id)
    is_worse = is_known or question.is_answered(before, after)
    old, new = before.sample(cluster_id), after.sample(cluster_id)
    return {
        "cluster_id": cluster_id,
        "label": row["label"],
        "before": old._asdict() | {"rate": old.rate},
        "after": new._asdict() | {"rate": new.rate},
        "promise": promise,
        "is_worse": is_worse,
        "rests_on": question.rests_on(before, after) if is_worse else [],
    }


def _promise(row: Row, error: float) -> Row | None:
    """What share of a class's failures is left at most (exact, but for `error`), by the suite's cases of it.

    They are failures of production that were held out; where there were none, those that were trained on.
    """
    cases, right = row["cases"], row["right_cases"]
    if not cases or right < SOLVED * cases:
        return None
    left = fixed_bounds(Sample(cases, cases - right), 2 * error).high
    return {"cases": cases, "right": right, "left": left}


def act(config: Config) -> Row:
    """Look, record what was found for the first time, and do what the config asks for; what `look` says afterwards.

    It may be killed at any moment and run again: what was recorded is not recorded twice, and what is still to be done
    is done then.

    Raises:
        StateError: nothing has been collected yet.
        FlywheelError: the champion cannot be moved back.
    """
    found, state = look(config), State(config.database)
    if found["has_findings"]:
        with state.transaction() as tx:
            for finding, row in _findings(found):
                _record(tx, found, finding, row)
    if _should_roll_back(found):
        _roll_back(config, state, found)
    _record_rollback(state)
    _tell(config, state)
    return look(config)


def _findings(found: Row) -> list[tuple[str, Row | None]]:
    worse: list[tuple[str, Row | None]] = [("worse", None)] if found["is_worse"] else []
    named = [row for row in found["classes"] if row["is_worse"]]
    return worse + [("class_returned" if row["promise"] else "class_worse", row) for row in named]


def _record(tx: Transaction, found: Row, finding: str, row: Row | None) -> None:
    """Append a finding and its notice, unless it is there."""
    said = finding_sentence(found, row)
    numbers = row or {key: found[key] for key in ("before", "after", "rise", "least_rise", "rests_on")}
    place = {"move_id": found["move_id"], "finding": finding, "cluster_id": row["cluster_id"] if row else ""}
    if tx.run("insert_watch_finding", said=said, numbers=json.dumps(numbers), found_at=now(), **place):
        kind: Kind = "class_returned" if finding == "class_returned" else "watch_worse"
        record_notice(tx, kind, said, found["round"], found["champion"]["version"])


def _should_roll_back(found: Row) -> bool:
    """Where all failures together have risen, and not by one person's word alone."""
    return bool(found["is_worse"] and not found["rests_on"] and found["on_worse"] == "rollback")


def _roll_back(config: Config, state: State, found: Row) -> None:
    """Move the champion back, unless somebody has moved it meanwhile."""
    from tasks.promote import BASE, rollback

    with state.transaction() as tx:
        if tx.rows("get_watched_move")[0]["move_id"] != found["move_id"]:
            return
    rollback(config, found["before_it"]["version"] or BASE, WATCHER, finding_sentence(found, None))


def _record_rollback(state: State) -> None:
    """Append the notice of a rollback that the watch has made, unless it is there."""
    with state.transaction() as tx:
        row = tx.row("get_watched_move")
        if row is None or row["moved_by"] != WATCHER:
            return
        said = f"{label(row['to_version'])['label']} serves again instead of {label(row['from_version'])['label']}"
        place = {"move_id": row["move_id"], "finding": "rolled_back", "cluster_id": ""}
        if tx.run("insert_watch_finding", said=said, numbers="{}", found_at=now(), **place):
            record_notice(tx, "rolled_back", said, row["round_id"], row["from_version"])


def _tell(config: Config, state: State) -> None:
    """Emit an event for what Prefect has not been told of: at least once, should this be killed in between."""
    with state.transaction() as tx:
        untold = tx.rows("list_untold_findings")
    for row in untold:
        place = {name: row[name] for name in ("move_id", "finding", "cluster_id")}
        event = "watch.rolled_back" if row["finding"] == "rolled_back" else "watch.worse"
        emit(config, event, place | {"said": row["said"]})
        with state.transaction() as tx:
            tx.run("set_finding_told", told_at=now(), **place)
