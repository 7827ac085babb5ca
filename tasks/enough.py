"""Tells Prefect, once, that enough is new for a round: the event that a deployment's trigger starts one by."""

from tasks.config import Config
from tasks.db import State
from tasks.notices import emit
from tasks.records import now
from tasks.rounds import count_news

EVENT = "corrections.enough"


def announce_enough(config: Config) -> int | None:
    """Emit `flywheel.corrections.enough` where as much is new as `blend.min_corrections` asks for; how much that is.

    Nothing is emitted while a round is unfinished, which the next one waits for, and not twice before another round has
    been judged. It is recorded after it was emitted: killed in between, it is said again, and a second run of a round
    finds nothing to do. None where nothing was said, as where no Prefect server is named.
    """
    if not config.database.is_file():  # nothing was ever collected
        return None
    state = State(config.database)
    with state.transaction() as tx:
        if tx.row("open_round") is not None:
            return None
        judged = tx.rows("get_judged_seq")[0]["pinned_seq"]
        new = count_news(tx, config)
        if new < config.blend.min_corrections or tx.row("get_announcement", judged_seq=judged) is not None:
            return None
    if not emit(config, EVENT, {"new": new, "needed": config.blend.min_corrections}):
        return None
    with state.transaction() as tx:
        tx.run("insert_announcement", judged_seq=judged, new_signals=new, announced_at=now())
    return new
