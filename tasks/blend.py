"""Stages 5 and 6: corrections with representative demonstrations, frozen as a hashed snapshot.

Corrections alone break a model. Every correction on the training side is taken, and beside them demonstrations that
are drawn so that the whole resembles production: each slice of traffic gets the share that it has there. Of a group of
near-duplicates, though, only a few are taken, each with another answer: what went viral is one failure.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config
from tasks.db import Row, State
from tasks.errors import StateError
from tasks.methods import STAGES
from tasks.pairs import list_pairs
from tasks.records import canonical_json, now
from tasks.rounds import Round, record_evidence, writing
from tasks.split import COPIES


def apportion(total: int, weights: Mapping[str, float], available: Mapping[str, int]) -> dict[str, int]:
    """Split `total` over the keys in proportion to the weights, none above what is available.

    Largest-remainder (Hamilton) method; what a key cannot supply goes to the others. The sum is `total`, or everything
    there is when that is less.
    """
    given = dict.fromkeys(sorted(available), 0)
    left = min(total, sum(available.values()))
    while left > 0:
        open_keys = [key for key in given if given[key] < available[key]]
        mass = sum(weights.get(key, 0.0) for key in open_keys)
        quotas = {key: left * (weights.get(key, 0.0) / mass if mass else 1 / len(open_keys)) for key in open_keys}
        shares = {key: int(quota) for key, quota in quotas.items()}
        by_remainder = sorted(open_keys, key=lambda key: (shares[key] - quotas[key], key))
        for key in by_remainder[: left - sum(shares.values())]:
            shares[key] += 1
        for key, share in shares.items():
            taken = min(share, available[key] - given[key])
            given[key] += taken
            left -= taken
    return given


def choose(
    corrections: Sequence[Row],
    demonstrations: Sequence[Row],
    production: Mapping[str, float],
    ratio: float,
    seed: int,
) -> list[Row]:
    """The rows of the training set: all corrections, and `ratio` demonstrations for each.

    Demonstrations from production keep production's slices; those that were given stand for what production shows
    rarely, and get the share that they have among all demonstrations.
    """
    pools: defaultdict[str, list[Row]] = defaultdict(list)
    for row in demonstrations:
        pools[row["slices"] if row["stratum"] else "given"].append(row)
    given_share = len(pools.get("given", ())) / max(1, len(demonstrations))
    weights = {key: share * (1 - given_share) for key, share in production.items()} | {"given": given_share}
    total = round(ratio * len(corrections))
    counts = apportion(total, weights, {key: len(rows) for key, rows in pools.items()})
    chosen = list(corrections)
    for key, count in counts.items():
        chosen += sorted(pools[key], key=lambda row: _order(seed, row["signal_id"]))[:count]
    return sorted(chosen, key=lambda row: _order(seed, row["signal_id"]))


def _order(seed: int, signal_id: str) -> str:
    return hashlib.sha256(f"{seed}/{signal_id}".encode()).hexdigest()


def snapshot_bytes(rows: Sequence[Row]) -> bytes:
    """The snapshot file: one JSON object a line, messages with their answer, and where the row comes from."""
    lines = []
    for row in rows:
        messages = [*json.loads(row["input"]), {"role": "assistant", "content": row["answer"]}]
        source = {key: row[key] for key in ("signal", "signal_id", "source", "producer", "content_hash")}
        pair = {}
        if row["signal"] == "preference":
            pair = {"rejected": [{"role": "assistant", "content": row["rejected"]}], "derived": row["derived"]}
        lines.append(canonical_json({"messages": messages} | source | pair))
    return ("\n".join(lines) + "\n").encode()


def write_once(path: Path, content: bytes) -> None:
    """Write a read-only file whole or not at all; one that is there already with this content stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_bytes() == content:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o444)
    temporary.replace(path)


def blend(config: Config, round_: Round) -> Row:
    """Choose the round's training rows and freeze them; the snapshot's hash, size and make-up.

    Raises:
        StateError: there is no correction to train on.
    """
    with State(config.database).transaction() as tx:
        rows = tx.rows("list_training_rows", pinned_seq=round_.pinned_seq, copies=COPIES)
        production = {row["slices"]: row["share"] for row in tx.rows("list_slice_shares", pinned_seq=round_.pinned_seq)}
        pairs = list_pairs(tx, config, round_.pinned_seq)
    if "sft" not in STAGES[config.training_method]:
        rows = []
    corrections = [row for row in rows if row["signal"] == "correction"]
    demonstrations = [row for row in rows if row["signal"] == "demonstration"]
    if not corrections and not pairs:
        raise StateError(
            f"round {round_.round_id} has no usable correction on its training side (see the reasons in "
            f"`flywheel status`); collect more and give the round up with `flywheel abandon --config FILE`"
        )
    ratio = config.blend.demonstrations_per_correction
    chosen = choose(corrections, demonstrations, production, ratio, config.split.seed) + pairs
    content = snapshot_bytes(chosen)
    snapshot_hash = hashlib.sha256(content).hexdigest()
    path = config.round_folder(round_.round_id) / f"snapshot-{snapshot_hash[:12]}.jsonl"
    write_once(path, content)
    copies = copies_left_out(rows)
    _store(config, round_, chosen, snapshot_hash, path, production, copies)
    counts = {"rows": len(chosen), "corrections": len(corrections), "pairs": len(pairs)}
    return {"hash": snapshot_hash, "copies_left_out": copies} | counts


def copies_left_out(rows: Sequence[Row]) -> dict[str, int]:
    """How many usable rows stay out of the training rows as near-duplicates of some of them, by signal."""
    there = {(row["signal"], row["group_hash"]): row["group_rows"] for row in rows}
    counts = Counter[str]()
    for (signal, _), count in there.items():
        counts[signal] += count
    counts.subtract(row["signal"] for row in rows)
    return dict(counts)


def _store(
    config: Config,
    round_: Round,
    rows: Sequence[Row],
    snapshot_hash: str,
    path: Path,
    production: Mapping[str, float],
    copies: Mapping[str, int],
) -> None:
    import polars as pl

    keys = (
        "signal",
        "signal_id",
        "inference_id",
        "input_hash",
        "content_hash",
        "source",
        "producer",
        "cluster_id",
        "derived",
    )
    frame = pl.DataFrame(
        [{"position": position} | {key: row.get(key) for key in keys} for position, row in enumerate(rows)],
        infer_schema_length=None,
    )
    with writing(config, round_, "blend") as tx:
        tx.run(
            "insert_snapshot",
            snapshot_hash=snapshot_hash, round_id=round_.round_id, path=str(path), rows=len(rows), created_at=now(),
        )  # fmt: skip
        tx.load("insert_snapshot_rows", frame, snapshot_hash=snapshot_hash)
        tx.run("set_round_snapshot", round_id=round_.round_id, snapshot_hash=snapshot_hash)
        summary = {"hash": snapshot_hash, "rows": len(rows), "slice_distance": _distance(rows, production)}
        record_evidence(tx, round_, snapshot=summary, blend=composition(rows), copies_left_out=copies)


def composition(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What a training set is made of, by signal and source, with its producers."""
    groups: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        groups[row["signal"], row["source"]][row["producer"]] += 1
    return [
        {
            "signal": signal,
            "source": source,
            "rows": producers.total(),
            "producers": dict(producers.most_common()),
        }
        for (signal, source), producers in sorted(groups.items())
    ]


def _distance(rows: Sequence[Row], production: Mapping[str, float]) -> float:
    """Total variation distance (0 to 1) between the slices of the blend's production rows and those of production."""
    counts = Counter(row["slices"] for row in rows if row["stratum"] and row["signal"] != "preference")
    total = max(1, counts.total())
    keys = counts.keys() | production.keys()
    return round(sum(abs(counts[key] / total - production.get(key, 0.0)) for key in keys) / 2, 4)


@task(name="blend", cache_policy=NO_CACHE)
def blend_task(config: Config, round_: Round) -> None:
    """Prefect task around `blend`."""
    made = blend(config, round_)
    get_run_logger().info(
        "Snapshot %s: %d corrections with %d demonstrations, %d pairs; %d more corrections are copies of these",
        made["hash"][:12], made["corrections"], made["rows"] - made["corrections"] - made["pairs"], made["pairs"],
        made["copies_left_out"].get("correction", 0),
    )  # fmt: skip
