"""A correction is taken back by name, with the reason: from then on it is neither trained on nor a case of the suite.

Producers take back what they said themselves by a record (`tasks.records.Retraction`). Either way nothing is deleted:
the next round leaves it out and retires its cases.
"""

from tasks.config import Config
from tasks.db import Row, Transaction, require_state
from tasks.errors import StateError
from tasks.records import now, printable, sha256
from tasks.screen import decide_uses

SOURCE = "command line"


def retract(config: Config, correction_id: str, by: str, reason: str) -> Row:
    """Take back the correction with this id, or the only one whose id begins so; the correction.

    It is on the books as a pass over the sources of its own, so that a round that is unfinished ends as it began. Where
    there is none, the correction is left out at once.

    Raises:
        StateError: there is no such correction, or more than one, or it has been taken back already; no reason.
    """
    if not reason.strip() or not by.removeprefix("person:").strip():
        raise StateError("a retraction stays on record: say who takes the correction back, and why")
    with require_state(config.database).transaction() as tx:
        found = _find(tx, correction_id)
        sequence = _store(tx, found, by, printable(reason.strip()))
        if tx.row("open_round") is None:
            decide_uses(tx, config, sequence)
    return found


def _find(tx: Transaction, prefix: str) -> Row:
    found = tx.rows("get_corrections", prefix=prefix)
    if len(found) != 1:
        problem = "no correction" if not found else "more than one correction"
        raise StateError(
            f"{problem} has an id that begins with {prefix}; `flywheel lineage VERSION --json` and `flywheel "
            f"contradictions --json` name them"
        )
    if found[0]["retracted_because"] is not None:
        raise StateError(f"correction {prefix} is out already: {found[0]['retracted_because']}")
    return found[0]


def _store(tx: Transaction, correction: Row, by: str, reason: str) -> int:
    """Write the retraction and its pass; the pass's number."""
    sequence, moment = int(tx.rows("next_ingest_seq")[0]["ingest_seq"]), now()
    said = {"correction_id": correction["correction_id"], "producer": by, "reason": reason}
    tx.run(
        "insert_retraction",
        **said,
        inference_id=correction["inference_id"],
        content_hash=sha256(said | {"created_at": moment.isoformat()}),
        source=SOURCE,
        created_at=moment,
        ingest_seq=sequence,
    )
    counts = {"read_rows": 1, "stored_rows": 1, "known_rows": 0, "quarantined_rows": 0}
    tx.run("insert_collection", ingest_seq=sequence, started_at=moment, finished_at=now(), **counts)
    return sequence
