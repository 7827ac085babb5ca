"""What a round costs: seconds and GPU seconds by stage, tokens trained on and generated, bytes kept.

A stage's seconds are written in the transaction that moves the round on (`tasks.rounds.writing`); a stage adds what it
alone knows. What an attempt that was killed had taken is added by whoever takes the round over: up to the last time
that its lease was renewed, since nobody knows more.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.db import Row, Transaction
from tasks.records import now

AMOUNTS = ("seconds", "gpu_seconds", "tokens_trained", "tokens_generated", "bytes_kept")
WAITING = {"approve"}  # a person's time costs no machine's


def add_cost(
    tx: Transaction,
    round_id: int,
    stage: str,
    *,
    seconds: float = 0.0,
    tokens_trained: int = 0,
    tokens_generated: int = 0,
    bytes_kept: int = 0,
) -> None:
    """Add to what a stage has cost so far. GPU seconds follow from the seconds, see `tasks.rounds.note_gpus`."""
    tx.run(
        "add_cost",
        round_id=round_id,
        stage=stage,
        seconds=0.0 if stage in WAITING else max(0.0, seconds),  # a clock may have been set back
        tokens_trained=tokens_trained,
        tokens_generated=tokens_generated,
        bytes_kept=bytes_kept,
        spent_at=now(),
    )


def round_cost(tx: Transaction, round_id: int) -> dict[str, Any]:
    """A round's cost for its evidence: `total`, and `stages` by name, each by AMOUNTS."""
    stages = {row.pop("stage"): _rounded(row) for row in tx.rows("list_costs", round_id=round_id)}
    return {"total": total_cost(tx, round_id=round_id), "stages": stages}


def total_cost(tx: Transaction, round_id: int | None = None, since: datetime | None = None) -> dict[str, Any]:
    """What was spent, by AMOUNTS: by one round or by all, since a moment or ever."""
    return _rounded(tx.rows("sum_costs", round_id=round_id, since=since)[0])


def _rounded(row: Row) -> Row:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in row.items()}


def bytes_of(*paths: Path) -> int:
    """The size of files, and of folders with all that is in them; what is not there has none."""
    files = (file for path in paths for file in ([path] if path.is_file() else path.rglob("*")))
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())
