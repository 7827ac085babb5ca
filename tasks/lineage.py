"""What a person asks of the state: where does the workload stand, and what is a version made of."""

from typing import Any

from tasks.config import Config
from tasks.db import Row, require_state
from tasks.errors import FlywheelError
from tasks.rounds import complete_evidence, label


def status(config: Config) -> dict[str, Any]:
    """Champion, versions, rounds with their verdicts, and counts that reconcile, as of now.

    Raises:
        StateError: nothing has been collected yet.
    """
    with require_state(config.database).transaction() as tx:
        rounds = tx.rows("list_rounds")
        versions = tx.rows("list_versions")
        champion = tx.row("get_champion")
        unfinished = tx.rows("list_unfinished_moves")
        counts = tx.rows("count_state")[0]
        contradictions = tx.rows("count_contradictions")[0]["groups"]
        excluded = tx.rows("count_excluded_signals", pinned_seq=2**31 - 1)
        proposed = tx.rows("count_proposals", pinned_seq=2**31 - 1)
    return {
        "workload": config.name,
        "champion": label(champion["to_version"] if champion else None),
        "rounds": [_round(config.name, row) for row in rounds],
        "versions": versions,
        "unfinished_moves": unfinished,
        "counts": counts,
        "contradictions": contradictions,
        "proposals": {"rules": proposed},
        "excluded_corrections": _by_reason(excluded, "correction"),
        "excluded_demonstrations": _by_reason(excluded, "demonstration"),
    }


def _by_reason(excluded: list[Row], signal: str) -> dict[str, int]:
    return {row["reason"]: row["rows"] for row in excluded if row["signal"] == signal}


def _round(workload: str, row: dict[str, Any]) -> dict[str, Any]:
    evidence = complete_evidence(workload, row)
    keys = (
        "round", "stage", "verdict", "reasons", "champion", "challenger", "champion_after", "opened_at", "closed_at",
        "counts", "tiers", "adapter_sha256",
    )  # fmt: skip
    return {key: evidence.get(key) for key in keys} | {
        "snapshot_hash": row["snapshot_hash"],
        "requested_by": row["requested_by"],
    }


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


def versions_with_correction(config: Config, correction_id: str) -> list[dict[str, Any]]:
    """The model versions that a correction was trained into, each with its round and snapshot."""
    with require_state(config.database).transaction() as tx:
        return tx.rows("list_versions_with_signal", signal_id=correction_id)
