"""What a person asks of the state: what is a version made of, and where is a signal."""

from typing import Any

from tasks.config import Config
from tasks.db import Row, require_state
from tasks.errors import FlywheelError
from tasks.records import printable
from tasks.rounds import label


def lineage(config: Config, version: str) -> dict[str, Any]:
    """Everything a version was made from: round, base, adapter, snapshot, and each training row's origin.

    Raises:
        FlywheelError: the workload has no such version.
    """
    with require_state(config.database).transaction() as tx:
        found = tx.row("get_version", version=version)
        if found is None:
            known = ", ".join(row["version"] for row in tx.rows("list_versions")) or "none yet"
            raise FlywheelError(f"{config.name} has no version {version}; its versions: {known}")
        round_ = tx.rows("get_round", round_id=found["round_id"])[0]
        rows = tx.rows("list_snapshot_rows", snapshot_hash=found["snapshot_hash"])
        moves = tx.rows("list_moves_of_version", version=version)
    return {
        "workload": config.name,
        "version": version,
        "round": found["round_id"],
        "base": config.model.base,
        "verdict": round_["verdict"],
        "trained_after": label(round_["champion_version"]),
        "snapshot_hash": found["snapshot_hash"],
        "adapter_path": found["adapter_path"],
        "adapter_sha256": found["adapter_sha256"],
        "moves": moves,
        "rows": rows,
    }


def where(config: Config, signal_id: str) -> dict[str, Any]:
    """The snapshots and versions that a signal is in; where it is in none, why.

    `signal_id` is that of a correction, a demonstration, a confirmed call or a preference, or the beginning of it.

    Raises:
        FlywheelError: no signal has an id that begins so, or several have.
    """
    with require_state(config.database).transaction() as tx:
        found = [row["signal_id"] for row in tx.rows("find_signals", prefix=signal_id)]
        if len(found) != 1:
            raise FlywheelError(_not_one(config.name, signal_id, found))
        snapshots = tx.rows("list_snapshots_with_signal", signal_id=found[0])
        known = tx.row("describe_signal", signal_id=found[0])
    return {
        "signal_id": found[0],
        "kind": known["kind"] if known else snapshots[0]["kind"],
        "side": known["side"] if known else None,
        "snapshots": snapshots,
        "versions": list(dict.fromkeys(row["version"] for row in snapshots if row["version"])),
        "excluded_because": known["excluded_because"] if known else _NO_SIGNAL,
        "why_in_none": None if snapshots else _why_in_none(known),
    }


_NO_SIGNAL = "it is no usable signal any more: the call was corrected, rated low or rejected by a rule"


def _not_one(workload: str, prefix: str, found: list[str]) -> str:
    if not found:
        return f"{workload} has no signal {printable(prefix)}; ids are in `flywheel lineage VERSION --json`"
    return f"several signals begin with {printable(prefix)}: {', '.join(map(printable, found))}; give more of the id"


def _why_in_none(known: Row | None) -> str:
    """Why a signal has not been trained on, in one sentence."""
    if known is None:
        return _NO_SIGNAL
    if known["excluded_because"]:
        return f"it is left out: {known['excluded_because']}"
    if not known["has_input"]:
        return "its inference has not arrived"
    if known["side"] == "none":
        return f"it is left out of training and evaluation: {known['reason']}"
    if known["side"] in ("unseen", "anchor"):
        return f"its input is held out ({known['side']}): it is for evaluation alone, and never trained on"
    if known["kind"] == "preference":
        return "no round has trained on preferences of its input"
    if known["side"] is None or known["is_new"]:
        return "it waits for the next round"
    if known["has_copy"]:
        return "near-duplicates of it were trained on in its place"
    return "the blend did not choose it: see the keys of `blend` in the config"
