"""Stage 1: pull new records from the sources into the state, each exactly once.

A file whose size and time have not changed since its last reading is passed over without being opened. One that has
changed is read whole again; rows that are known already are counted as known. All rows of a pass, its counts and
its cursors are written in one transaction.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config, SourceConfig
from tasks.db import Row, State, Transaction
from tasks.errors import SourceError
from tasks.records import (
    Correction,
    Demonstration,
    Inference,
    Record,
    Thumb,
    canonical_json,
    messages_json,
    now,
    parse_record,
    sha256,
    utc,
)

TABLES = {
    Inference: "inferences",
    Correction: "corrections",
    Thumb: "feedback",
    Demonstration: "demonstrations",
}


@dataclass(frozen=True)
class ChangedFile:
    """A file of a source that is new or has changed since it was last read."""

    source: SourceConfig
    path: Path
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Collected:
    """The counts of one pass; `read == stored + known + quarantined`."""

    read: int = 0
    stored: int = 0
    known: int = 0
    quarantined: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)


@dataclass
class _Batch:
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {table: {} for table in TABLES.values()})
    quarantine: list[Row] = field(default_factory=list)
    cursors: list[Row] = field(default_factory=list)
    read: int = 0
    repeated: int = 0


def changed_files(sources: tuple[SourceConfig, ...], cursors: list[Row]) -> list[ChangedFile]:
    """The files that have to be read.

    Raises:
        SourceError: a source's path matches no file, or all that it matches are empty.
    """
    seen = {(row["source"], row["path"]): (row["size_bytes"], row["modified_ns"]) for row in cursors}
    changed = []
    for source in sources:
        for file in _files(source):
            if seen.get((source.name, str(file.path))) != (file.size_bytes, file.modified_ns):
                changed.append(file)
    return changed


def _files(source: SourceConfig) -> list[ChangedFile]:
    files = []
    for path in sorted(glob.glob(source.path, recursive=True)):
        stat = os.stat(path)
        files.append(ChangedFile(source, Path(path), stat.st_size, stat.st_mtime_ns))
    if not files:
        raise SourceError(f"source {source.name}: no file matches {source.path}; correct its path in the config")
    if not any(file.size_bytes for file in files):
        raise SourceError(f"source {source.name}: every file that matches {source.path} is empty; nothing to collect")
    return files


def read_batch(files: list[ChangedFile], ingest_seq: int, moment: datetime) -> _Batch:
    """Parse the files' lines into rows for the tables, one row a key.

    Raises:
        SourceError: a line that is no valid record, in a source that refuses those.
    """
    batch = _Batch()
    for file in files:
        count = 0
        for number, line in _lines(file.path):
            count += 1
            _add_line(batch, file, number, line, ingest_seq, moment)
        batch.read += count
        batch.cursors.append(
            {
                "source": file.source.name,
                "path": str(file.path),
                "size_bytes": file.size_bytes,
                "modified_ns": file.modified_ns,
                "read_rows": count,
                "ingest_seq": ingest_seq,
            }
        )
    return batch


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


def _add_line(batch: _Batch, file: ChangedFile, number: int, line: bytes, ingest_seq: int, moment: datetime) -> None:
    try:
        record = parse_record(line)
        key, row = to_row(record, file.source.name, ingest_seq)
        rows = batch.rows[TABLES[type(record)]]
        if key in rows:
            _same_content(key, rows[key]["content_hash"], row["content_hash"])
            batch.repeated += 1
        else:
            rows[key] = row | {"_path": str(file.path), "_line": number, "_raw": line}
    except ValueError as error:
        batch.quarantine.append(_rejected(file.source, str(file.path), number, line, str(error), ingest_seq, moment))


def _same_content(key: str, first: str, second: str) -> None:
    if first != second:
        raise ValueError(f"{key} is stored already with another content; give changed records an id of their own")


def _rejected(
    source: SourceConfig, path: str, number: int, line: bytes, reason: str, ingest_seq: int, moment: datetime
) -> Row:
    if source.on_malformed == "refuse":
        raise SourceError(
            f"source {source.name}: {path} line {number}: {reason}. Mend the line, or set on_malformed: "
            f"quarantine for this source; nothing was stored"
        )
    raw = line.decode("utf-8", errors="replace")
    return {
        "quarantine_id": sha256([source.name, path, number, raw]),
        "source": source.name,
        "path": path,
        "line": number,
        "reason": reason,
        "raw": raw,
        "created_at": moment,
        "ingest_seq": ingest_seq,
    }


def to_row(record: Record, source: str, ingest_seq: int) -> tuple[str, Row]:
    """A record's key and its row, by the columns of the table that its kind belongs to."""
    content_hash = sha256(record.model_dump(mode="json"))
    common: Row = {
        "source": source,
        "created_at": utc(record.created_at),
        "content_hash": content_hash,
        "ingest_seq": ingest_seq,
    }
    if isinstance(record, Inference):
        return record.inference_id, common | {
            "inference_id": record.inference_id,
            "input": (text := messages_json(record.messages)),
            "input_hash": sha256(text),
            "output": record.output,
            "model_version": record.model_version,
            "slices": canonical_json(record.slices),
            "producer": f"model:{record.model_version}",
        }
    if isinstance(record, Demonstration):
        return record.demonstration_id, common | {
            "demonstration_id": record.demonstration_id,
            "input": (text := messages_json(record.messages[:-1])),
            "input_hash": sha256(text),
            "output": record.messages[-1].content,
            "slices": canonical_json(record.slices),
            "producer": record.producer,
        }
    if isinstance(record, Correction):
        return content_hash, common | {
            "correction_id": content_hash,
            "inference_id": record.inference_id,
            "corrected_output": record.corrected_output,
            "corrected_by": record.producer,
        }
    return content_hash, common | {
        "feedback_id": content_hash,
        "inference_id": record.inference_id,
        "signal": record.record,
        "value": record.value,
        "producer": record.producer,
    }


def collect(config: Config) -> Collected:
    """One pass over all sources; the counts of what became of each row that was read.

    Raises:
        SourceError: see `changed_files` and `read_batch`; the state is as it was before.
    """
    state = State(config.database)
    started = now()
    with state.transaction() as tx:
        files = changed_files(config.sources, tx.rows("list_cursors"))
        if not files:
            return Collected()
        sequence = tx.rows("next_ingest_seq")[0]["ingest_seq"]
    batch = read_batch(files, sequence, started)
    with state.transaction() as tx:
        if tx.rows("next_ingest_seq")[0]["ingest_seq"] != sequence:
            raise SourceError("another pass over the sources was made at the same time; run this one again")
        return _store(tx, batch, config.sources, sequence, started)


def _store(
    tx: Transaction, batch: _Batch, sources: tuple[SourceConfig, ...], sequence: int, started: datetime
) -> Collected:
    by_name = {source.name: source for source in sources}
    by_kind: Counter[str] = Counter()
    known = batch.repeated
    for table, rows in batch.rows.items():
        fresh, old = _separate(tx, table, rows, by_name, batch, sequence, started)
        known += old
        by_kind[table] = len(fresh)
        if fresh:
            tx.load(f"insert_{table}", _frame(fresh))
    known += _store_quarantine(tx, batch)
    tx.load("merge_cursors", _frame(batch.cursors))
    stored, rejected = sum(by_kind.values()), len(batch.quarantine)
    tx.run("attach_corrections")
    tx.run(
        "insert_collection",
        ingest_seq=sequence,
        started_at=started,
        finished_at=now(),
        read_rows=batch.read,
        stored_rows=stored,
        known_rows=known,
        quarantined_rows=rejected,
    )
    return Collected(batch.read, stored, known, rejected, dict(by_kind))


def _separate(
    tx: Transaction,
    table: str,
    rows: dict[str, Row],
    sources: dict[str, SourceConfig],
    batch: _Batch,
    sequence: int,
    started: datetime,
) -> tuple[list[Row], int]:
    """The rows that are new, and how many are known; a known key with another content is rejected."""
    if not rows:
        return [], 0
    stored = {row["key"]: row["content_hash"] for row in tx.rows(f"list_{table}_hashes")}
    fresh, known = [], 0
    for key, row in rows.items():
        place = row.pop("_path"), row.pop("_line"), row.pop("_raw")
        if key not in stored:
            fresh.append(row)
            continue
        try:
            _same_content(key, stored[key], row["content_hash"])
            known += 1
        except ValueError as error:
            source = sources[row["source"]]
            batch.quarantine.append(_rejected(source, *place, str(error), sequence, started))
    return fresh, known


def _store_quarantine(tx: Transaction, batch: _Batch) -> int:
    """Store what is quarantined for the first time; the number of lines that lay there already."""
    if not batch.quarantine:
        return 0
    known = {row["quarantine_id"] for row in tx.rows("list_quarantine_ids")}
    before = len(batch.quarantine)
    batch.quarantine = [row for row in batch.quarantine if row["quarantine_id"] not in known]
    if batch.quarantine:
        tx.load("insert_quarantine", _frame(batch.quarantine))
    return before - len(batch.quarantine)


def _frame(rows: list[Row]) -> Any:
    import polars as pl

    return pl.DataFrame(rows, infer_schema_length=None)


@task(name="collect", cache_policy=NO_CACHE)
def collect_task(config: Config) -> Collected:
    """Prefect task around `collect`."""
    collected = collect(config)
    if collected.read:
        kinds = ", ".join(f"{count} {kind}" for kind, count in collected.by_kind.items() if count) or "nothing"
        get_run_logger().info(
            "Read %d rows: %d stored (%s), %d known already, %d quarantined",
            collected.read, collected.stored, kinds, collected.known, collected.quarantined,
        )  # fmt: skip
    else:
        get_run_logger().info("No file of the %d sources has changed", len(config.sources))
    return collected
