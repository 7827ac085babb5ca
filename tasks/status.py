"""Where a workload stands: what runs, what waits for whom, the champion, the last round, what is new, what it cost.

`status` reads the state alone; when the next run is due, a Prefect server knows (`tasks.schedule`).
"""

from datetime import datetime
from typing import Any

from tasks.budget import MONTH
from tasks.config import Config
from tasks.costs import total_cost
from tasks.db import Row, Transaction, require_state
from tasks.leases import is_alive
from tasks.records import now
from tasks.rounds import complete_evidence, count_news, label

LATER = 2**31 - 1  # than any pass over the sources
SHOWN_NOTICES = 5


def status(config: Config) -> dict[str, Any]:
    """Everything that `flywheel status` shows of the state, as of now; its counts reconcile.

    Raises:
        StateError: nothing has been collected yet.
    """
    moment = now()
    with require_state(config.database).transaction() as tx:
        rounds, move = tx.rows("list_rounds"), tx.row("get_champion")
        return {
            "workload": config.name,
            "champion": label(move["to_version"] if move else None),
            "champion_move": move,
            "running": _running(tx.row("open_round")),
            "approvals": tx.rows("list_pending_approvals", moment=moment),
            "contradictions": tx.rows("count_contradictions")[0]["groups"],
            "unfinished_moves": tx.rows("list_unfinished_moves"),
            "rounds": [_round(config.name, row) for row in rounds],
            "new": _new(tx, config),
            "cost": _cost(tx, config, moment),
            "notices": tx.rows("list_notices")[-SHOWN_NOTICES:],
            "versions": tx.rows("list_versions"),
        } | _signals(tx)


def _running(row: Row | None) -> dict[str, Any] | None:
    """The unfinished round: its stage, since when, and who has it; `is_alive`: somebody works on it now."""
    if row is None:
        return None
    return {
        "round": row["round_id"],
        "stage": row["stage"],
        "since": row["stage_started_at"],
        "by": row["lease_owner"],
        "is_alive": is_alive(row),
    }


def _new(tx: Transaction, config: Config) -> dict[str, int]:
    """What came in since the last round that was judged, and how much of it makes a round."""
    since = tx.rows("get_judged_seq")[0]["pinned_seq"]
    return {
        "failures": tx.rows("count_new_failures", since=since)[0]["failures"],
        "corrections": tx.rows("count_new_corrections", since=since)[0]["corrections"],
        "counted": count_news(tx, config),
        "needed": config.blend.min_corrections,
    }


def _cost(tx: Transaction, config: Config, moment: datetime) -> dict[str, Any]:
    """What the last round and the last thirty days have cost, and the ceilings of both."""
    last = tx.row("get_last_round")
    return {
        "last_round": total_cost(tx, round_id=last["round_id"]) if last else None,
        "month": total_cost(tx, since=moment - MONTH),
        "ceilings": config.budget.model_dump(mode="json", include={"round", "month"}, exclude_none=True),
    }


def _signals(tx: Transaction) -> dict[str, Any]:
    """Counts of what the tables hold, and which signals are left out and why."""
    excluded = tx.rows("count_excluded_signals", pinned_seq=LATER)
    by_reason = {
        f"excluded_{signal}s": {row["reason"]: row["rows"] for row in excluded if row["signal"] == signal}
        for signal in ("correction", "demonstration", "preference")
    }
    return {
        "counts": tx.rows("count_state")[0],
        "proposals": {"rules": tx.rows("count_proposals", pinned_seq=LATER)},
        "retracted_in_champion": tx.rows("count_unlearnable", since=0)[0]["signals"],
    } | by_reason


def _round(workload: str, row: Row) -> dict[str, Any]:
    evidence = complete_evidence(workload, row)
    keys = (
        "round", "stage", "verdict", "reasons", "champion", "challenger", "champion_after", "opened_at", "closed_at",
        "counts", "tiers", "adapter_sha256", "budget",
    )  # fmt: skip
    return {key: evidence.get(key) for key in keys} | {
        "snapshot_hash": row["snapshot_hash"],
        "requested_by": row["requested_by"],
    }
