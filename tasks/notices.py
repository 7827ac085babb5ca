"""What the system noticed or decided by itself: on record in the state, and an event that Prefect's automations see."""

from typing import Any, Literal

from tasks.config import Config
from tasks.db import Transaction
from tasks.records import now

Kind = Literal["approval_asked", "approval_expired", "budget", "watch_worse", "class_returned", "rolled_back"]


def record_notice(
    tx: Transaction, kind: Kind, text: str, round_id: int | None = None, version: str | None = None
) -> None:
    """Append a notice to the state, where `flywheel status` and `flywheel history` find it."""
    tx.run("insert_notice", kind=kind, text=text, round_id=round_id, version=version, created_at=now())


def emit(config: Config, event: str, payload: dict[str, Any]) -> bool:
    """Tell Prefect of something that automations may act on, such as `flywheel.champion.moved`; whether it was told.

    Nothing hangs on it: where no Prefect server is named (PREFECT_API_URL), nobody is told.
    """
    from prefect.events import emit_event
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return False
    resource = {"prefect.resource.id": f"flywheel.workload.{config.name}", "prefect.resource.name": config.name}
    emit_event(event=f"flywheel.{event}", resource=resource, payload=payload)
    return True
