"""Who runs a round, and until when: a lease that outlives neither its owner nor a clock that jumps.

On its owner's machine a lease is counted in seconds since that machine was started, which nobody sets. Other machines
go by the time of day. A lease that by theirs ends later than any lease can is cut back when it is met: a live owner
renews it before it ends, so it is not taken from one whose clock is ahead, and nothing waits longer for a dead one.
"""

import os
import socket
import time
from datetime import timedelta
from typing import Any

from tasks.db import Row, Transaction
from tasks.records import now

LEASE = timedelta(seconds=60)


def me() -> str:
    """This process, as the owner of a lease."""
    return f"{socket.gethostname()}:{os.getpid()}"


def terms() -> dict[str, Any]:
    """Until when a lease lasts that is taken or renewed now, by both clocks: parameters of its statements."""
    return {"until": now() + LEASE, "uptime_until": uptime() + LEASE.total_seconds()}


def uptime() -> float:
    """Seconds since this machine was started, whatever its clock is set to; the same in all of its processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_held(row: Row) -> bool:
    """Whether a live process other than this one holds the round's lease."""
    return row["lease_owner"] != me() and is_alive(row)


def is_alive(row: Row) -> bool:
    """Whether somebody runs the round: its lease has not run out, and its owner is not known to be dead."""
    owner = row["lease_owner"]
    if owner is None or _is_dead(owner):
        return False
    if is_here(owner) and row["uptime_until"] is not None:
        # One that ends later than it can is from before the machine was last started.
        return bool(0 < row["uptime_until"] - uptime() <= LEASE.total_seconds())
    return bool(row["lease_until"] > now())


def cut_back(tx: Transaction, row: Row | None) -> None:
    """Have a lease of another machine end no later than one that is taken now would."""
    if row is None or row["lease_owner"] is None or is_here(row["lease_owner"]):
        return
    if row["lease_until"] > now() + LEASE:
        ends = {"until": now() + LEASE, "uptime_until": None}
        tx.run("renew_lease", round_id=row["round_id"], token=row["lease_token"], **ends)


def stage_seconds(row: Row) -> float:
    """How long the round's stage has run."""
    if is_here(row["lease_owner"]) and row["stage_uptime"] is not None:
        return max(0.0, uptime() - row["stage_uptime"])
    return max(0.0, (now() - row["stage_started_at"]).total_seconds())


def lost_seconds(row: Row) -> float:
    """How long the last attempt at the round's stage is known to have run: to when its lease was last renewed."""
    if row["lease_until"] is None:
        return 0.0
    if row["uptime_until"] is not None and row["stage_uptime"] is not None:
        return max(0.0, float(row["uptime_until"] - LEASE.total_seconds() - row["stage_uptime"]))
    return max(0.0, (row["lease_until"] - LEASE - row["stage_started_at"]).total_seconds())


def stage_start(row: Row) -> dict[str, Any]:
    """When a stage was begun that is begun now, by both clocks; parameters of `advance_round`."""
    return {"started_at": now(), "uptime": uptime() if is_here(row["lease_owner"]) else None}


def is_here(owner: str | None) -> bool:
    """Whether the owner is a process of this machine."""
    return owner is not None and owner.rpartition(":")[0] == socket.gethostname()


def _is_dead(owner: str) -> bool:
    """Whether the owner is a process of this machine that is no more (a remote one must time out)."""
    if not is_here(owner):
        return False
    try:
        os.kill(int(owner.rpartition(":")[2]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is somebody else's
        return False
    return False
