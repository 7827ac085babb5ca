"""Stage 1: pull new records from the sources into the state, each exactly once.

A file whose size and time have not changed since its last reading is passed over without being opened. One that has
changed is read whole again; rows that are known already are counted as known. All rows of a pass, its counts and
its cursors are written in one transaction.
"""

import glob
import os
from collections.abc import Iterable, Iterator
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
    printable,
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
    """Rows to be stored by table and key, and what became of the others."""

    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {table: {} for table in TABLES.values()})
    quarantine: list[Row] = field(default_factory=list)
    cursors: list[Row] = field(default_factory=list)
    read: int = 0
    known: int = 0


@dataclass(frozen=True)
class _Position:
    """Where the state stands: the next pass's number, cursors, and the content hash of each stored row by table."""

    sequence: int = 1
    cursors: tuple[Row, ...] = ()
    stored: dict[str, dict[str, str]] = field(default_factory=lambda: {table: {} for table in TABLES.values()})


def changed_files(sources: tuple[SourceConfig, ...], cursors: Iterable[Row]) -> list[ChangedFile]:
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
    for path in sorted(filter(os.path.isfile, glob.glob(source.path, recursive=True))):
        stat = os.stat(path)
        files.append(ChangedFile(source, Path(path), stat.st_size, stat.st_mtime_ns))
    if not files:
        raise SourceError(f"source {source.name}: no file matches {source.path}; correct its path in the config")
    if not any(file.size_bytes for file in files):
        raise SourceError(f"source {source.name}: every file that matches {source.path} is empty; nothing to collect")
    return files


def read_batch(files: list[ChangedFile], position: _Position, moment: datetime) -> _Batch:
    """Parse the files' lines into the rows that are new.

    Raises:
        SourceError: a line that is no valid record, in a source that refuses those.
    """
    batch = _Batch()
    for file in files:
        count = 0
        for number, line in _lines(file.path):
            count += 1
            try:
                _add_line(batch, file, line, position)
            except (ValueError, OverflowError) as error:
                batch.quarantine.append(_rejected(file, number, line, str(error), position.sequence, moment))
        batch.read += count
        batch.cursors.append(
            {
                "source": file.source.name,
                "path": str(file.path),
                "size_bytes": file.size_bytes,
                "modified_ns": file.modified_ns,
                "read_rows": count,
                "ingest_seq": position.sequence,
            }
        )
    return batch


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


def _add_line(batch: _Batch, file: ChangedFile, line: bytes, position: _Position) -> None:
    record = parse_record(line)
    table = TABLES[type(record)]
    key, row = to_row(record, file.source.name, position.sequence)
    seen = position.stored[table].get(key) or batch.rows[table].get(key, {}).get("content_hash")
    if seen is None:
        batch.rows[table][key] = row
    elif seen == row["content_hash"]:
        batch.known += 1
    else:
        raise ValueError(f"{printable(key)} has come in with another content before; give changed records their own id")


def _rejected(file: ChangedFile, number: int, line: bytes, reason: str, ingest_seq: int, moment: datetime) -> Row:
    source = file.source
    if source.on_malformed == "refuse":
        raise SourceError(
            f"source {source.name}: {file.path} line {number}: {reason}. Mend the line, or set on_malformed: "
            f"quarantine for this source; nothing was stored"
        )
    raw = line.decode("utf-8", errors="replace")
    return {
        "quarantine_id": sha256([source.name, str(file.path), number, raw]),
        "source": source.name,
        "path": str(file.path),
        "line": number,
        "reason": reason,
        "raw": raw,
        "created_at": moment,
        "ingest_seq": ingest_seq,
    }


def to_row(record: Record, source: str, ingest_seq: int) -> tuple[str, Row]:
    """A record's key and its row, by the columns of the table that its kind belongs to."""
    moment = utc(record.created_at)
    # The moment itself is hashed, not the zone that it was written in.
    content_hash = sha256(record.model_dump(mode="json") | {"created_at": moment.isoformat()})
    common: Row = {
        "source": source,
        "created_at": moment,
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
    position = _position(state)
    files = changed_files(config.sources, position.cursors)
    if not files:
        return Collected()
    batch = read_batch(files, position, started)
    with state.transaction() as tx:
        if tx.rows("next_ingest_seq")[0]["ingest_seq"] != position.sequence:
            raise SourceError("another pass over the sources was made at the same time; run this one again")
        return _store(tx, batch, position.sequence, started)


def _position(state: State) -> _Position:
    """Where the state stands; one that does not exist is not created for asking."""
    if not state.path.is_file():
        return _Position()
    with state.transaction() as tx:
        stored = {
            table: {row["key"]: row["content_hash"] for row in tx.rows(f"list_{table}_hashes")}
            for table in TABLES.values()
        }
        sequence = tx.rows("next_ingest_seq")[0]["ingest_seq"]
        return _Position(sequence, tuple(tx.rows("list_cursors")), stored)


def _store(tx: Transaction, batch: _Batch, sequence: int, started: datetime) -> Collected:
    by_kind = {table: len(rows) for table, rows in batch.rows.items()}
    for table, rows in batch.rows.items():
        if rows:
            tx.load(f"insert_{table}", _frame(list(rows.values())))
    known = batch.known + _store_quarantine(tx, batch)
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
    return Collected(batch.read, stored, known, rejected, by_kind)


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
