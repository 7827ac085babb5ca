"""What happened to a workload, one event after another, in words: rounds, versions, moves of the champion, decisions.

    for event in history(config):
        print(event.at, event.text)

Nothing is recorded for it: each event is read from where the thing itself is on record.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from tasks.config import Config
from tasks.db import Row, Transaction, require_state
from tasks.headlines import count, plain, verdict_sentence
from tasks.rounds import complete_evidence, label


class Event(NamedTuple):
    """Something that happened: when (UTC), of what kind, a sentence, and what it is about.

    `version` is the one that it ended with; `before` is, of a move, the one that had served.
    """

    at: datetime
    kind: str
    text: str
    round: int | None = None
    version: str | None = None
    by: str | None = None
    before: str | None = None


def history(config: Config) -> list[Event]:
    """Everything that happened, oldest first.

    Raises:
        StateError: nothing has been collected yet.
    """
    with require_state(config.database).transaction() as tx:
        events = list(read_events(tx, config.name))
    return sorted(events, key=lambda event: event.at)  # of the same moment, in the order in which they are read


def read_events(tx: Transaction, workload: str) -> Iterator[Event]:
    """The events of a state, kind by kind."""
    rounds = tx.rows("list_rounds")
    yield from map(_opened, rounds)
    yield from map(_registered, tx.rows("list_versions"))
    yield from _notices(tx.rows("list_notices"))
    yield from map(_decided, tx.rows("list_decided_approvals"))
    yield from moves(tx.rows("list_champion_moves"))
    yield from (_closed(workload, row) for row in rounds if row["closed_at"] is not None)
    yield from map(_pinned, tx.rows("list_reference_pins"))
    yield from map(_retracted, tx.rows("sum_retractions"))
    yield from map(_unfinished, tx.rows("list_unfinished_moves"))


def moves(rows: Iterable[Row]) -> Iterator[Event]:
    """The moves of the champion, told apart: to a version that has not served yet, or back to one that has."""
    served: set[str | None] = set()
    for row in rows:
        before, after = row["from_version"], row["to_version"]
        served.add(before)
        if before == after:
            text = f"{who(row['moved_by'])} confirmed {name(after)} as the champion"
        elif after in served:
            text = f"{who(row['moved_by'])} rolled the champion back from {name(before)} to {name(after)}"
        else:
            text = f"{who(row['moved_by'])} made {name(after)} the champion, in place of {name(before)}"
        kind = "rollback" if after in served and before != after else "promotion"
        said = f"{_capital(text)}: {plain(row['reason'])}"
        yield Event(row["created_at"], kind, said, row["round_id"], after, row["moved_by"], before)


def who(by: str) -> str:
    """Who did something, as a sentence begins: `the gate`, `maria`, `rule:expiry`."""
    if by == "gate":
        return "the gate"
    return plain(by.removeprefix("person:"), 100)


def name(version: str | None) -> str:
    """A version as people call it; the bare base model is `base`."""
    return str(label(version)["label"])


def _opened(row: Row) -> Event:
    by, against = row["requested_by"], name(row["champion_version"])
    text = f"Round {row['round_id']} was opened for {who(by)}, against {against}"
    return Event(row["opened_at"], "round opened", text, row["round_id"], None, by)


def _closed(workload: str, row: Row) -> Event:
    if row["verdict"] is None:
        text = f"Round {row['round_id']} was given up, without a verdict"
        return Event(row["closed_at"], "round given up", text, row["round_id"])
    said = verdict_sentence(complete_evidence(workload, row))
    return Event(row["closed_at"], "round closed", said, row["round_id"], row["challenger_version"])


def _registered(row: Row) -> Event:
    text = f"{name(row['version'])} was registered, from round {row['round']}"
    return Event(row["created_at"], "registration", text, row["round"], row["version"])


def _decided(row: Row) -> Event:
    how = {"approve": "approved", "reject": "rejected"}[row["decision"]]
    text = f"{who(row['decided_by'])} {how} round {row['round_id']}: {plain(row['reason'])}"
    return Event(row["decided_at"], "approval", _capital(text), row["round_id"], None, row["decided_by"])


def _notices(rows: Iterable[Row]) -> Iterator[Event]:
    for row in rows:
        kind = f"notice: {str(row['kind']).replace('_', ' ')}"
        yield Event(row["created_at"], kind, _capital(plain(row["text"])), row["round_id"], row["version"])


def _pinned(row: Row) -> Event:
    text = f"{who(row['pinned_by'])} made {name(row['version'])} the reference: {plain(row['reason'])}"
    return Event(row["pinned_at"], "reference", _capital(text), None, row["version"], row["pinned_by"])


def _retracted(row: Row) -> Event:
    what = "1 retraction" if row["retractions"] == 1 else f"{count(row['retractions'])} retractions"
    return Event(row["taken_at"], "retractions", f"{what} by {who(row['producer'])} came in", by=row["producer"])


def _unfinished(row: Row) -> Event:
    text = f"A move of the champion to {name(row['to_version'])} was intended and has not been made; make it again"
    return Event(row["created_at"], "unfinished move", text, None, row["to_version"], row["moved_by"])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def as_json(event: Event) -> dict[str, Any]:
    """An event for programs; the time as in the evidence of rounds."""
    return event._asdict() | {"at": f"{event.at:%Y-%m-%dT%H:%M:%SZ}"}
