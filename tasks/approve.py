"""Stage 12: where the policy asks for it, a person approves or rejects what the gate promotes.

A round that waits is in the state with the time until when, so that neither a restart nor a lost server forgets it;
nobody holds its lease meanwhile. What was decided is on record before anything is done about it, so that a decision
whose consequences failed is carried out by whoever runs the round next.
"""

from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config
from tasks.db import Row, State, Transaction, require_state
from tasks.errors import FlywheelError
from tasks.notices import emit, record_notice
from tasks.records import now
from tasks.rounds import Round, held_at, held_row, hold, keep_lease, record_evidence, stage_of, take_up, writing

DECIDED = {"approve": "approved", "reject": "rejected", "expired": "expired"}


def approve(config: Config, round_: Round, flow_run_id: str | None = None) -> bool:
    """Stage approve: whether the round moves on; False where it waits for a person, and its lease is free.

    `flow_run_id` is the Prefect flow run that will be suspended until then.
    """
    with State(config.database).transaction() as tx:
        verdict = held_at(tx, round_, "approve")["verdict"]
    if verdict == "promote" and config.promotion.approval == "ask" and _waits(config, round_, flow_run_id):
        return False
    with writing(config, round_, "approve") as tx:
        if verdict == "promote":
            _apply(tx, config, round_)
    return True


def _waits(config: Config, round_: Round, flow_run_id: str | None) -> bool:
    """Ask for approval, if it was not asked yet; whether it is still open. The lease is given back where it is."""
    moment = now()
    until = moment + timedelta(hours=config.promotion.expires_hours)
    asking = {"round_id": round_.round_id, "asked_at": moment, "expires_at": until, "flow_run_id": flow_run_id}
    text = f"round {round_.round_id} waits for approval until {until:%Y-%m-%d %H:%M} UTC"
    with State(config.database).transaction() as tx:
        held_at(tx, round_, "approve")
        is_new = bool(tx.run("insert_approval", **asking))
        asked = tx.rows("get_approval", round_id=round_.round_id)[0]
        if not is_open(asked):
            return False
        if is_new:
            record_notice(tx, "approval_asked", text, round_.round_id)
        tx.run("release_lease", round_id=round_.round_id, token=round_.lease_token)
    if is_new:
        emit(config, "approval.asked", {"round": round_.round_id, "until": str(until), "text": text})
    return True


def is_open(asked: Row) -> bool:
    """Whether a person may still decide."""
    return asked["decision"] is None and now() < asked["expires_at"]


def _apply(tx: Transaction, config: Config, round_: Round) -> None:
    """Let what was decided, or else the policy, stand in the round's verdict and evidence."""
    asked = tx.row("get_approval", round_id=round_.round_id)
    if asked is not None and asked["decision"] is None and config.promotion.approval == "ask":
        asked = _expire(tx, round_, asked)
    if asked is not None and asked["decision"] is not None:
        _apply_decision(tx, round_, asked)
    elif config.promotion.approval == "never":
        version = held_row(tx, round_)["challenger_version"]
        command = f"`flywheel promote {version} --by NAME --reason TEXT` moves the champion"
        hold(tx, round_, f"promotion.approval is never; {command}")


def _apply_decision(tx: Transaction, round_: Round, asked: Row) -> None:
    by, reason = asked["decided_by"], asked["reason"]
    record_evidence(tx, round_, approval={"decision": asked["decision"], "by": by, "reason": reason})
    if asked["decision"] != "approve":
        hold(tx, round_, reason if asked["decision"] == "expired" else f"{by} rejected it: {reason}")


def _expire(tx: Transaction, round_: Round, asked: Row) -> Row:
    since, until = (f"{asked[key]:%Y-%m-%d %H:%M}" for key in ("asked_at", "expires_at"))
    reason = f"nobody approved of it between {since} and {until} UTC"
    decision = {"decision": "expired", "decided_by": "rule:expiry", "reason": reason, "decided_at": now()}
    tx.run("decide_approval", round_id=round_.round_id, **decision)
    record_notice(tx, "approval_expired", f"round {round_.round_id} is held: {reason}", round_.round_id)
    return asked | decision


def decide(config: Config, round_id: int, is_approved: bool, decided_by: str, reason: str) -> None:
    """Put a person's decision on record. The same one made again changes nothing.

    Raises:
        FlywheelError: no name or reason is given, the round does not wait, or it was decided otherwise.
    """
    if not decided_by.partition(":")[2].strip() or not reason.strip():
        raise FlywheelError("a decision needs a name and a reason (--by NAME --reason TEXT)")
    decision = "approve" if is_approved else "reject"
    with require_state(config.database).transaction() as tx:
        asked = tx.row("get_approval", round_id=round_id)
        if asked is None:
            raise FlywheelError(f"round {round_id} does not wait for approval; {_how_it_stands(tx, round_id)}")
        if (asked["decision"], asked["decided_by"]) == (decision, decided_by) and asked["stage"] != "closed":
            return
        if asked["decision"] is not None or asked["stage"] != "approve":
            raise FlywheelError(f"{_how_decided(asked)}; {_how_it_stands(tx, round_id)}")
        if not is_open(asked):
            raise FlywheelError(
                f"round {round_id} waited for approval until {asked['expires_at']:%Y-%m-%d %H:%M} UTC, and is held; "
                f"`flywheel promote VERSION --by NAME --reason TEXT` moves the champion all the same"
            )
        made = {"decision": decision, "decided_by": decided_by, "reason": reason, "decided_at": now()}
        tx.run("decide_approval", round_id=round_id, **made)


def _how_decided(asked: Row) -> str:
    if asked["decision"] is None:
        return f"round {asked['round_id']} waits no more"
    how = DECIDED[asked["decision"]]
    return f"round {asked['round_id']} was {how} by {asked['decided_by']} on {asked['decided_at']:%Y-%m-%d %H:%M} UTC"


def _how_it_stands(tx: Transaction, round_id: int) -> str:
    row = tx.row("get_round", round_id=round_id)
    if row is None:
        return "there is no such round; `flywheel status` lists them"
    if row["stage"] != "closed":
        return f"it is at {row['stage']}: `flywheel run run_round` goes on with it"
    return f"its verdict is {row['verdict'] or 'none: it was given up'}"


def waiting(config: Config) -> Row | None:
    """The round that waits for a person's decision (`round_id`, `asked_at`, `expires_at`), if one does."""
    with require_state(config.database).transaction() as tx:
        asked = tx.row("get_open_approval")
    is_asked = asked is not None and asked["stage"] == "approve" and config.promotion.approval == "ask"
    return asked if asked is not None and is_asked and is_open(asked) else None


def settle(config: Config) -> int | None:
    """Close the round that a person was asked about and that waits no more; its number, or None where there is none.

    Raises:
        FlywheelError: see `tasks.promote.finish`; what was decided stays on record.
    """
    with require_state(config.database).transaction() as tx:
        asked = tx.row("get_open_approval")
    if asked is None or waiting(config) is not None:
        return None
    from tasks.promote import finish

    round_ = take_up(config, asked["round_id"])
    with keep_lease(config, round_):
        if stage_of(config, round_) == "approve":
            approve(config, round_)
        if stage_of(config, round_) == "promote":
            finish(config, round_)
    return int(asked["round_id"])


def asked_by(config: Config, flow_run_id: str) -> Row | None:
    """The round that a Prefect flow run has asked about, if it has; with the time until when."""
    if not config.database.is_file():
        return None
    with State(config.database).transaction() as tx:
        return tx.row("get_approval_of_flow_run", flow_run_id=flow_run_id)


def flow_run_of(config: Config, round_id: int) -> str | None:
    """The Prefect flow run that was suspended for a round, where one was."""
    with require_state(config.database).transaction() as tx:
        asked = tx.row("get_approval", round_id=round_id)
    return asked["flow_run_id"] if asked else None


@task(name="approve", cache_policy=NO_CACHE)
def approve_task(config: Config, round_: Round) -> bool:
    """Prefect task around `approve`; a run of a deployment can be suspended."""
    from prefect.runtime import deployment, flow_run

    moves_on = approve(config, round_, flow_run.id if deployment.id else None)
    if not moves_on:
        get_run_logger().info("Round %d waits for approval", round_.round_id)
    return moves_on
