"""The version that `anchor` is also held against, so that ten promotions cannot each lose a little.

It is the champion of the first round that was judged, until a person pins another version. Pins are only ever added.
"""

from typing import Any

from tasks.config import Config
from tasks.db import Row, Transaction, require_state
from tasks.errors import FlywheelError
from tasks.promote import BASE
from tasks.records import now
from tasks.rounds import Round, label

ANY_ROUND = 2**31 - 1


def reference_of(tx: Transaction, round_: Round) -> Row | None:
    """The reference of a round: a row with its `version` (null: the base model); None where it is the champion."""
    row = tx.row("get_reference", round_id=round_.round_id)
    return None if row is None or row["version"] == round_.champion_version else row


def reference(config: Config) -> dict[str, Any]:
    """Which version is the reference, how it came to be, and by whom; its label is None where no round was judged."""
    with require_state(config.database).transaction() as tx:
        row = tx.row("get_reference", round_id=ANY_ROUND)
    return {"label": None} if row is None else row | {"label": label(row["version"])["label"]}


def pin_reference(config: Config, version: str, pinned_by: str, reason: str) -> str:
    """Make a version the reference from the next round on; its label.

    Raises:
        FlywheelError: there is no such version, or no name or reason is given.
    """
    if not pinned_by.partition(":")[2].strip() or not reason.strip():
        raise FlywheelError("pinning a reference needs a name and a reason (--by NAME --reason TEXT)")
    pinned = None if version == BASE else version.removeprefix("v")
    with require_state(config.database).transaction() as tx:
        if pinned is not None and tx.row("get_version", version=pinned) is None:
            raise FlywheelError(f"{config.name} has no version {pinned}; `flywheel status --config FILE` lists them")
        tx.run("insert_reference_pin", version=pinned, pinned_by=pinned_by, reason=reason, pinned_at=now())
    return str(label(pinned)["label"])
