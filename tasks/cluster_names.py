"""What clusters are called: which there are, and names that people give them."""

from tasks.config import Config
from tasks.db import Row, require_state
from tasks.errors import StateError
from tasks.records import now


def known_clusters(config: Config) -> list[Row]:
    """Every cluster that has failures, the largest first: label, who gave it, failures, first round, latest call."""
    with require_state(config.database).transaction() as tx:
        return tx.rows("list_clusters")


def name_cluster(config: Config, cluster_id: str, label: str, producer: str) -> None:
    """Call a cluster `label` from now on, whatever is found for it; on record with who said so.

    Raises:
        StateError: there is no such cluster, or the label is empty.
    """
    if not label.strip():
        raise StateError("a label has to have words; say what goes wrong in these failures")
    with require_state(config.database).transaction() as tx:
        known = [row["cluster_id"] for row in tx.rows("list_clusters")]
        if cluster_id not in known:
            there = "there are none yet" if not known else f"there are {', '.join(sorted(known)[:20])}"
            raise StateError(f"{cluster_id} is no cluster with failures; {there} (`flywheel clusters list` shows them)")
        tx.run("insert_cluster_label", cluster_id=cluster_id, label=label.strip(), set_by=producer, set_at=now())
