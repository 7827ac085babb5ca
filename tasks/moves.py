"""Moves of the champion's alias, as the audit log has them: intended and made, one at a time, and the way back."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from tasks.config import Config
from tasks.db import Row, Transaction
from tasks.errors import FlywheelError
from tasks.records import now, sha256
from tasks.rounds import Round, held_row

LOCK_SECONDS = 300.0


class Intent(NamedTuple):
    """A move to make: where to, by whom, why, and in which round."""

    version: str | None
    moved_by: str
    reason: str
    round_: Round | None = None


def previous(moves: list[Row]) -> list[str | None]:
    """The champions that a rollback may go back to, the nearest first, from the moves that were made (oldest first).

    Whoever comes back takes those with it that came after: what was moved away from is no target any more, so that
    rollbacks lead back step by step and never to what they were made to get away from.
    """
    line: list[str | None] = [None]
    for move in moves:
        version = move["to_version"]
        line = line[: line.index(version) + 1] if version in line else [*line, version]
    return line[-2::-1]


@contextmanager
def moving(config: Config) -> Iterator[None]:
    """One move at a time, so that the alias, the server and the record end with the same version."""
    lock = FileLock(config.folder / "promotion.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise FlywheelError(f"the champion of {config.name} is being moved by another process; try again") from None
    try:
        yield
    finally:
        lock.release()


def made(tx: Transaction) -> str | None:
    """The version that serves, by the last move that was made; None is the bare base model."""
    row = tx.row("get_champion")
    return row["to_version"] if row else None


def intend(tx: Transaction, config: Config, intent: Intent, before: str | None) -> dict[str, Any] | None:
    """The move as the audit log has it, written as intended, if it was not yet; None where there is nothing to move."""
    moment, round_ = now(), intent.round_
    if round_ is not None:
        held_row(tx, round_)
    elif (unfinished := _unfinished(tx, intent)) is not None:
        return unfinished
    elif before == intent.version:
        return None
    named = sha256([config.name, intent.version, intent.moved_by, intent.reason, str(moment)])
    move = {
        "move_id": round_.round_key if round_ else named,
        "from_version": before,
        "to_version": intent.version,
        "moved_by": intent.moved_by,
        "reason": intent.reason,
        "round_id": round_.round_id if round_ else None,
        "evidence_sha256": _evidence_sha256(tx, intent.version),
        "created_at": moment,
    }
    if tx.row("get_move", move_id=move["move_id"], event="intended") is None:
        tx.run("insert_promotion", event="intended", **move)
    return move


def _unfinished(tx: Transaction, intent: Intent) -> dict[str, Any] | None:
    """The same producer's move to the same version that was interrupted, where there is one."""
    for move in tx.rows("list_unfinished_moves"):
        if (move["to_version"], move["moved_by"]) == (intent.version, intent.moved_by):
            found = tx.rows("get_move", move_id=move["move_id"], event="intended")[0]
            return {key: value for key, value in found.items() if key not in ("promotion_id", "event")}
    return None


def _evidence_sha256(tx: Transaction, version: str | None) -> str | None:
    """Hash of what a version's verdict rests on: adapter, snapshot, suite, the gate's tally and the outcomes' hash.

    Nothing of it changes once the round was judged, so that it can be held against the round's evidence at any time.
    """
    row = tx.row("get_version", version=version) if version is not None else None
    if row is None:
        return None
    evidence = json.loads(tx.rows("get_round", round_id=row["round_id"])[0]["evidence"])
    parts = {key: row[key] for key in ("adapter_sha256", "snapshot_hash")}
    return sha256(parts | {key: evidence.get(key) for key in ("suite_hash", "gate")})
