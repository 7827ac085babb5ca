"""What the shell offers on TAB: rounds, versions, clusters and flows, read from the state in no time or not at all.

A person who presses TAB must not wait and must not see an error, so the state is read beside, and whatever was not
read in time, or cannot be read, is not offered.
"""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from tasks.db import Row

SECONDS = 0.5

Offer = list[tuple[str, str]]


def complete_flows(incomplete: str) -> list[str]:
    """The flows that `flywheel run` knows."""
    from flows.commands.running import FLOWS

    return [flow for flow in FLOWS if flow.startswith(incomplete)]


def complete_rounds(context: typer.Context, incomplete: str) -> Offer:
    """Rounds by number, the latest first, each with its verdict."""
    return _offer(
        context, incomplete, "list_round_numbers", lambda row: (str(row["round_id"]), row["verdict"] or row["stage"])
    )


def complete_versions(context: typer.Context, incomplete: str) -> Offer:
    """Registered versions, each with the round that it is from."""
    return _offer(
        context, incomplete, "list_versions", lambda row: (row["version"], f"round {row['round']}, {row['verdict']}")
    )


def complete_clusters(context: typer.Context, incomplete: str) -> Offer:
    """Clusters by id, each with what it is called."""
    return _offer(context, incomplete, "list_clusters", lambda row: (row["cluster_id"], row["label"]))


def _offer(context: typer.Context, incomplete: str, query: str, read: Callable[["Row"], tuple[str, Any]]) -> Offer:
    path = context.params.get("config") or os.environ.get("FLYWHEEL_CONFIG")
    rows: list[Row] = []
    # A daemon: where another process holds the database, it ends with this one.
    reader = threading.Thread(target=_read, args=(path, query, rows.extend), daemon=True)
    reader.start()
    reader.join(SECONDS)
    from tasks.headlines import plain

    offered = [(value, plain(said, 80)) for value, said in map(read, list(rows))]
    return [(value, said) for value, said in offered if value.startswith(incomplete)]


def _read(path: str | None, query: str, take: Callable[[Iterable["Row"]], None]) -> None:
    """Read the rows of a query; nothing at all where that does not work, whatever the reason."""
    try:
        from tasks.db import State

        database = _database(path)
        if database.is_file():
            with State(database).transaction() as tx:
                take(tx.rows(query))
    except Exception:  # noqa: BLE001 - a shell that completes has nowhere to put an error
        pass


def _database(path: str | None) -> Path:
    """The database of the workload that a config names; read without checking the config, which takes too long."""
    import yaml

    from flows.commands.common import DEFAULT_CONFIG

    data = yaml.safe_load(Path(path or DEFAULT_CONFIG).read_text(encoding="utf-8"))
    return Path(data.get("home") or ".flywheel") / data["name"] / "state.duckdb"
