"""Rows that could not be taken: what lies there, one of them whole, and having them read again."""

from tasks.config import Config
from tasks.db import Row, require_state
from tasks.errors import StateError


def quarantined(config: Config) -> list[Row]:
    """Every row that lies in quarantine, the latest first."""
    with require_state(config.database).transaction() as tx:
        return tx.rows("list_quarantined_rows")


def quarantined_row(config: Config, prefix: str) -> Row:
    """One row in quarantine, with its text, by its id or the beginning of it.

    Raises:
        StateError: no row's id begins so, or several do.
    """
    with require_state(config.database).transaction() as tx:
        found = tx.rows("get_quarantined_rows", prefix=prefix)
    if len(found) != 1:
        problem = "no row" if not found else "more than one row"
        raise StateError(f"{problem} in quarantine has an id that begins with {prefix}; see `flywheel quarantine list`")
    return found[0]


def forget_cursors(config: Config) -> int:
    """Have every part with rows in quarantine read again, whole, by the next pass; how many parts there are.

    Rows that are stored already are known then; those that have been mended where they came from, or that this
    version or another config can take, leave quarantine.
    """
    with require_state(config.database).transaction() as tx:
        return tx.run("forget_quarantined_cursors")
