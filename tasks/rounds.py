"""Rounds: a persisted state machine, so that a killed run picks up where it was.

A round pins its data when it opens and then passes through STAGES. A stage writes its results and moves the round
on in one transaction. Only the holder of the round's lease may write; the lease carries a fencing token, so that a
runner that was taken for dead and wakes up again is refused.
"""

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tasks.config import Config
from tasks.db import Row, State, Transaction, require_state
from tasks.errors import LeaseLostError, StateError
from tasks.live_metrics import end_runs
from tasks.records import now

STAGES = (
    "screen", "cluster", "split", "blend", "train", "regress", "gate", "register", "shadow", "approve", "promote",
    "closed",
)  # fmt: skip
LEASE = timedelta(seconds=60)
RENEW_SECONDS = 15.0


@dataclass(frozen=True)
class Round:
    """An open round and the token under which its holder may write."""

    round_id: int
    round_key: str
    pinned_seq: int
    lease_token: int
    champion_version: str | None

    @property
    def champion(self) -> str:
        """The champion's name for people."""
        return str(label(self.champion_version)["label"])


def has_work(config: Config, min_corrections: int) -> bool:
    """Whether a round is unfinished, or enough is new since the last one that was judged.

    New are corrections, preferences where answers are only better or worse, and retractions: of the signals that the
    champion was trained on, each that was taken back counts as one.
    """
    with State(config.database).transaction() as tx:
        return tx.row("open_round") is not None or count_news(tx, config) >= min_corrections


def count_news(tx: Transaction, config: Config) -> int:
    """What makes a round worth running: how much of it is new since the last one that was judged, see `has_work`."""
    since = tx.rows("get_judged_seq")[0]["pinned_seq"]
    new = int(tx.rows("count_new_corrections", since=since)[0]["corrections"])
    if config.task == "better_answer":
        new += tx.rows("count_new_preferences", since=since)[0]["preferences"]
    elif not new and not config.blend.replay:
        return 0  # such a round trains on new corrections alone
    return int(new + tx.rows("count_unlearnable", since=since)[0]["signals"])


def open_or_resume(config: Config, requested_by: str) -> Round:
    """The unfinished round, or a new one on everything that has been collected so far.

    Raises:
        StateError: another live runner holds the round, or the config changed since the round was opened.
    """
    state = State(config.database)
    with state.transaction() as tx:
        row = tx.row("open_round")
        if row is None:
            if tx.rows("next_ingest_seq")[0]["ingest_seq"] == 1:
                raise StateError(f"{config.name} has collected nothing yet; run collect_failures first")
            tx.run(
                "insert_round",
                round_key=f"{config.name}/{uuid.uuid4()}",
                config_sha256=config.sha256(),
                requested_by=requested_by,
                opened_at=now(),
            )
            row = tx.rows("open_round")[0]
        if row["config_sha256"] != config.sha256():
            raise StateError(
                f"round {row['round_id']} is unfinished and was opened with another config; "
                f"restore that config, or give it up with `flywheel abandon --config FILE`"
            )
        return _lease(tx, row)


def abandon(config: Config, warn: Callable[[str], None]) -> int | None:
    """Close the unfinished round without a verdict; its number, or None where there is none.

    What it has left running in MLflow ends first, so that an abandoning that is cut short can be done again; `warn` is
    told where MLflow cannot be reached, and the round is given up all the same.

    Raises:
        StateError: nothing has been collected, or another live runner holds the round.
        LeaseLostError: another runner has taken it over meanwhile.
    """
    state = require_state(config.database)
    with state.transaction() as tx:
        row = tx.row("open_round")
        if row is None:
            return None
        round_ = _lease(tx, row)
    if STAGES.index(row["stage"]) >= STAGES.index("train"):
        end_runs(config.tracking_uri, config.name, round_.round_key, warn)
    with state.transaction() as tx:
        held_row(tx, round_)
        tx.run("give_up_round", round_id=round_.round_id, closed_at=now())
    return round_.round_id


def _lease(tx: Transaction, row: Row) -> Round:
    owner = row["lease_owner"]
    if owner is not None and owner != _me() and row["lease_until"] > now() and not _is_dead(owner):
        raise StateError(f"round {row['round_id']} is being run by {owner}; wait for it to finish, or end it")
    token = row["lease_token"] + 1
    moment = now()
    tx.run(
        "take_lease",
        round_id=row["round_id"],
        owner=_me(),
        token=token,
        until=moment + LEASE,
        started_at=moment,
    )
    return Round(row["round_id"], row["round_key"], row["pinned_seq"], token, row["champion_version"])


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_dead(owner: str) -> bool:
    """Whether the owner is a process of this machine that is no more (a remote one must time out)."""
    host, _, pid = owner.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is somebody else's
        return False
    return False


def stage_of(config: Config, round_: Round) -> str:
    """The stage that the round has to run next."""
    with State(config.database).transaction() as tx:
        return str(held_row(tx, round_)["stage"])


def held_row(tx: Transaction, round_: Round) -> Row:
    """The round's row, if this runner still holds it.

    Raises:
        LeaseLostError: another runner has taken it over.
    """
    row = tx.row("get_round", round_id=round_.round_id)
    if row is None or row["lease_token"] != round_.lease_token:
        raise LeaseLostError(f"round {round_.round_id} was taken over by another runner; this one stops here")
    return row


def held_at(tx: Transaction, round_: Round, stage: str) -> Row:
    """The round's row, if this runner still holds it and it is at the stage.

    Raises:
        LeaseLostError: another runner has taken it over, or has finished the stage.
    """
    row = held_row(tx, round_)
    if row["stage"] != stage:
        raise LeaseLostError(f"round {round_.round_id} is at {row['stage']}, not at {stage}; run it again")
    return row


@contextlib.contextmanager
def writing(config: Config, round_: Round, stage: str) -> Iterator[Transaction]:
    """A transaction in which a stage writes its results; at its end the round has moved on to the next stage.

    Raises:
        LeaseLostError: another runner has taken the round over.
    """
    with State(config.database).transaction() as tx:
        row = held_at(tx, round_, stage)
        yield tx
        moment = now()
        timings = json.loads(held_row(tx, round_)["evidence"]).get("timings", {})
        timings[stage] = round((moment - row["stage_started_at"]).total_seconds(), 2)
        record_evidence(tx, round_, timings=timings)
        following = STAGES[STAGES.index(stage) + 1]
        tx.run("advance_round", round_id=round_.round_id, stage=following, started_at=moment)


def record_evidence(tx: Transaction, round_: Round, **parts: Any) -> None:
    """Add parts to the round's evidence, which reports and the registry read."""
    row = held_row(tx, round_)
    evidence = json.loads(row["evidence"]) | parts
    tx.run("set_evidence", round_id=round_.round_id, evidence=json.dumps(evidence))


def read_evidence(config: Config, round_id: int | None = None) -> list[dict[str, Any]]:
    """Evidence of every round, or of one, oldest first."""
    with State(config.database).transaction() as tx:
        rows = tx.rows("list_rounds")
    return [complete_evidence(config.name, row) for row in rows if round_id in (None, row["round_id"])]


def complete_evidence(workload: str, row: Row) -> dict[str, Any]:
    """A round's evidence with what its own row says."""
    return json.loads(row["evidence"]) | {
        "workload": workload,
        "round": row["round_id"],
        "stage": row["stage"],
        "verdict": row["verdict"],
        "opened_at": f"{row['opened_at']:%Y-%m-%dT%H:%M:%SZ}",
        "closed_at": f"{row['closed_at']:%Y-%m-%dT%H:%M:%SZ}" if row["closed_at"] else None,
        "champion": label(row["champion_version"]),
        "challenger": label(row["challenger_version"]) if row["challenger_version"] else None,
        "champion_after": label(row["challenger_version" if _is_promoted(row) else "champion_version"]),
        "adapter_sha256": row["adapter_sha256"],
    }


def _is_promoted(row: Row) -> bool:
    return row["verdict"] == "promote" and row["stage"] == "closed"


def label(version: str | None) -> dict[str, Any]:
    """How a model version is named to people; None is the bare base model."""
    return {"label": f"v{version}" if version else "base", "version": version}


@contextlib.contextmanager
def keep_lease(config: Config, round_: Round) -> Iterator[None]:
    """Renew the lease in the background for as long as the round is worked on.

    A lease that was lost is noticed when the stage writes.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(config, round_, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _renew(config: Config, round_: Round, stop: threading.Event) -> None:
    state = State(config.database)
    while not stop.wait(RENEW_SECONDS):
        # A busy database is tried again at the next turn; the lease lasts for several.
        with contextlib.suppress(StateError), state.transaction() as tx:
            tx.run("renew_lease", round_id=round_.round_id, token=round_.lease_token, until=now() + LEASE)
