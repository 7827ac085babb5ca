"""Ids that a shell may offer on TAB, each with a word on it; read straight from the state.

The config is not checked, which would take longer than anybody who presses TAB waits.
"""

from collections.abc import Callable
from pathlib import Path

import yaml

from tasks.db import Row, State
from tasks.headlines import plain

Offer = list[tuple[str, str]]


def round_offers(config: str) -> Offer:
    """Rounds by number, the latest first, each with its verdict or stage; as the others, empty without a state."""
    return _offers(config, "list_round_numbers", lambda row: (str(row["round_id"]), row["verdict"] or row["stage"]))


def version_offers(config: str) -> Offer:
    """Registered versions, each with the round that it is from."""
    return _offers(config, "list_versions", lambda row: (row["version"], f"round {row['round']}, {row['verdict']}"))


def cluster_offers(config: str) -> Offer:
    """Clusters that have failures by id, the largest first, each with what it is called."""
    return _offers(config, "list_clusters", lambda row: (row["cluster_id"], row["label"]))


def _offers(config: str, query: str, read: Callable[[Row], tuple[str, str]]) -> Offer:
    database = _database(config)
    if not database.is_file():
        return []
    with State(database).transaction() as tx:
        return [(value, plain(said, 80)) for value, said in map(read, tx.rows(query))]


def _database(config: str) -> Path:
    data = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    return Path(data.get("home") or ".flywheel") / data["name"] / "state.duckdb"
