"""What the shell offers on TAB: rounds, versions, clusters and flows, read from the state in no time or not at all.

A person who presses TAB must not wait and must not see an error, so the state is read by a thread, and whatever was not
read in time, or cannot be read, is not offered.
"""

import os
import threading

import typer

SECONDS = 0.5

Offer = list[tuple[str, str]]


def complete_flows(incomplete: str) -> list[str]:
    """The flows that `flywheel run` knows."""
    from flows.commands.running import FLOWS

    return [flow for flow in FLOWS if flow.startswith(incomplete)]


def complete_rounds(context: typer.Context, incomplete: str) -> Offer:
    """Rounds by number, the latest first, each with its verdict."""
    return _offer(context, incomplete, "round_offers")


def complete_versions(context: typer.Context, incomplete: str) -> Offer:
    """Registered versions, each with the round that it is from."""
    return _offer(context, incomplete, "version_offers")


def complete_clusters(context: typer.Context, incomplete: str) -> Offer:
    """Clusters by id, each with what it is called."""
    return _offer(context, incomplete, "cluster_offers")


def _offer(context: typer.Context, incomplete: str, function: str) -> Offer:
    found: Offer = []
    # A daemon: where another process holds the database, it ends with this one.
    reader = threading.Thread(target=_read, args=(_config(context), function, found), daemon=True)
    reader.start()
    reader.join(SECONDS)
    return [(value, said) for value, said in list(found) if value.startswith(incomplete)]


def _config(context: typer.Context) -> str:
    from flows.commands.common import DEFAULT_CONFIG

    return str(context.params.get("config") or os.environ.get("FLYWHEEL_CONFIG") or DEFAULT_CONFIG)


def _read(config: str, function: str, found: Offer) -> None:
    """Put what a function of `tasks.offers` finds into `found`; nothing where that does not work."""
    try:
        from tasks import offers

        found += getattr(offers, function)(config)
    except Exception:  # noqa: BLE001 - a shell that completes has nowhere to put an error
        pass
