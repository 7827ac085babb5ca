"""Snapshots: a round's training rows frozen as Parquet, known by a hash of what the rows say, and read back checked.

    snapshot = write_snapshot(rows, folder)
    frame = read_snapshot(snapshot.path, snapshot.hash)

The hash is that of the content, not of the file: it is the same on any machine, with any version of the Parquet
libraries, at any time and in any round.

- The content of a row is the text of HASHED's columns, one after another in that order: `-` for null, otherwise the
  number of the value's UTF-8 bytes in decimal, a colon, and the value. A weight is the integer, in decimal, that the
  64 bits of its IEEE 754 double are.
- `row_hash` is the SHA-256 of that content in UTF-8, as 64 hex digits.
- The snapshot's hash is the SHA-256 of all row hashes by position, each followed by a line feed. Rows are trained on in
  that order, so the order counts.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.chat import answer_message, calls_tools, read_input
from tasks.errors import StateError
from tasks.records import canonical_json, printable

if TYPE_CHECKING:
    import polars as pl

HASHED = (
    "signal", "signal_id", "inference_id", "input_hash", "content_hash", "source", "producer", "cluster_id", "slices",
    "group_hash", "prompt", "chosen", "rejected", "derived", "weight",
)  # fmt: skip
COLUMNS = ("position", *HASHED, "row_hash")
BEFORE, AFTER = '[{"content":"', '","role":"assistant"}]'
PIECE_ROWS = 16_384  # so many rows' texts are in memory at once while they are hashed
REMEDY = (
    "restore it from the registry's copy (the round's run in MLflow, under snapshot/), or give the round up with "
    "`flywheel abandon --config FILE` and run another"
)


@dataclass(frozen=True)
class Snapshot:
    """A frozen training set: the hash of its content (64 hex digits), its file, and how many rows it has."""

    hash: str
    path: Path
    rows: int


def answer_json(answer: str) -> str:
    """An answer as the assistant's messages, in canonical JSON; put together here, since encoding lists is slow."""
    if calls_tools(answer):
        return canonical_json([answer_message(answer)])
    return BEFORE[:-1] + canonical_json(answer) + AFTER[1:]


def freeze(rows: "pl.DataFrame", order: "pl.Series | None" = None) -> "pl.DataFrame":
    """The rows (columns of HASHED) as a snapshot has them, in the order of training: with position and hash.

    `order`: the places of the rows in that order; None where they are in it. Rows are hashed as they are given, since
    a million texts are read sooner in the order that they lie in memory.
    """
    import polars as pl

    typed = rows.select(*(pl.col(name).cast(_type(name)) for name in HASHED))
    hashed = typed.with_columns(row_hash=_row_hashes(typed))
    hashed = hashed if order is None else hashed[order]
    return hashed.with_row_index("position").with_columns(pl.col("position").cast(pl.Int32)).select(COLUMNS)


def content_hash(frozen: "pl.DataFrame") -> str:
    """The hash of a snapshot by the hashes of its rows."""
    digest = hashlib.sha256()
    for piece in frozen.iter_slices(PIECE_ROWS):
        digest.update("".join(f"{row_hash}\n" for row_hash in piece["row_hash"]).encode())
    return digest.hexdigest()


def write_snapshot(frozen: "pl.DataFrame", folder: Path) -> Snapshot:
    """Write frozen rows to `snapshot-<12 digits of the hash>.parquet`, read-only, whole or not at all.

    A file of that name that holds these rows already stays as it is; another is replaced.
    """
    snapshot_hash = content_hash(frozen)
    path = folder / f"snapshot-{snapshot_hash[:12]}.parquet"
    snapshot = Snapshot(snapshot_hash, path, frozen.height)
    if path.is_file() and _holds(path, snapshot_hash):
        return snapshot
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".snapshot-*"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Level 1 is as small as 3, in half the time. Nobody filters the file, so it has no statistics.
        frozen.write_parquet(temporary, compression_level=1, statistics=False)
        temporary.chmod(0o444)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return snapshot


def read_snapshot(path: Path, snapshot_hash: str) -> "pl.DataFrame":
    """The rows of a snapshot, by COLUMNS, once they are found to be those that were frozen under the hash.

    Raises:
        StateError: the file is missing, is no snapshot, or holds other rows; names the file and the first such row.
    """
    import polars as pl

    frozen = _read(path)
    if (place := _first(frozen["position"] != pl.int_range(frozen.height, dtype=pl.Int32, eager=True))) is not None:
        raise StateError(f"{path} is not the snapshot that was frozen: row {place} is out of its place; {REMEDY}")
    if (place := _first(frozen["row_hash"].ne_missing(_row_hashes(frozen)))) is not None:
        raise StateError(
            f"{path} is not the snapshot that was frozen: row {place} (signal "
            f"{printable(str(frozen['signal_id'][place]))}) was changed and does not fit its hash; {REMEDY}"
        )
    if (found := content_hash(frozen)) != snapshot_hash:
        raise StateError(
            f"{path} is not the snapshot that was frozen: its {frozen.height} rows have the hash {found[:12]}, not "
            f"{snapshot_hash[:12]}, so that rows were added, left out or exchanged; {REMEDY}"
        )
    return frozen


def read_conversations(path: Path) -> list[dict[str, Any]]:
    """The rows to train on: `messages` (prompt, chosen answer), `tools`, `rejected` (both may be None), their origin.

    The file is taken as it is; whoever starts the training has checked it with `read_snapshot`.
    """
    rows = _read(path).select("signal", "signal_id", "source", "prompt", "chosen", "rejected")
    return [_conversation(row) for row in rows.iter_rows(named=True)]


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    messages, tools = read_input(row["prompt"])
    return {
        "messages": messages + json.loads(row["chosen"]),
        "tools": tools,
        "rejected": None if row["rejected"] is None else json.loads(row["rejected"]),
    } | {key: row[key] for key in ("signal", "signal_id", "source")}


def _read(path: Path) -> "pl.DataFrame":
    """The file as a frame by COLUMNS.

    Raises:
        StateError: there is no such file, or it has another form.
    """
    import polars as pl
    import pyarrow as pa
    from pyarrow import parquet as pq

    if path.suffix != ".parquet":
        raise StateError(
            f"{path} is a snapshot of an earlier version, which cannot be read any more; give its round up with "
            f"`flywheel abandon --config FILE` if it is unfinished, and run another"
        )
    if not path.is_file():
        raise StateError(f"the snapshot {path} is missing; {REMEDY}")
    try:  # not by polars' own reader: a harmed file can make it end the process
        table = pq.read_table(path, partitioning=None)
        table.validate(full=True)
        names = table.schema.names
    except (OSError, MemoryError, ValueError, pa.ArrowException) as error:
        reason = printable(str(error).strip().split("\n")[0])
        raise StateError(f"{path} is no whole Parquet file ({reason}); {REMEDY}") from error
    frame = pl.DataFrame(dict(zip(names, table.columns, strict=True)))  # without what else the file says
    if dict(frame.schema) != {name: _type(name) for name in COLUMNS}:
        raise StateError(f"{path} is not the snapshot that was frozen: its columns are others; {REMEDY}")
    return frame.select(COLUMNS)


def _first(flags: "pl.Series") -> int | None:
    """The place of the first flag that is set, or is null."""
    return flags.fill_null(True).arg_max() if flags.fill_null(True).any() else None


def _holds(path: Path, snapshot_hash: str) -> bool:
    try:
        read_snapshot(path, snapshot_hash)
    except StateError:
        return False
    return True


def _type(name: str) -> "type[pl.DataType]":
    import polars as pl

    return {"position": pl.Int32, "weight": pl.Float64}.get(name, pl.String)


def _row_hashes(rows: "pl.DataFrame") -> "pl.Series":
    import polars as pl

    content = _content().cast(pl.Binary)
    hashes = []
    for piece in rows.iter_slices(PIECE_ROWS):
        bits = pl.Series(piece["weight"].to_numpy().view("uint64"))
        texts = piece.with_columns(weight=bits).select(content).to_series().to_list()
        hashes.append(_hexadecimal([hashlib.sha256(text).digest() for text in texts]))
    return pl.concat(hashes, rechunk=True) if hashes else pl.Series(dtype=pl.String)


def _hexadecimal(digests: Sequence[bytes]) -> "pl.Series":
    import polars as pl

    return pl.Series(digests, dtype=pl.Binary).bin.encode("hex")


def _content() -> "pl.Expr":
    """A row's content as one text, as the head of this module says it; each value is copied once."""
    import polars as pl

    def pieces(name: str) -> list[pl.Expr]:
        value = pl.col(name).cast(pl.String)
        size = value.str.len_bytes().cast(pl.String).fill_null("-")
        return [size, pl.when(value.is_not_null()).then(pl.lit(":")), value]

    return pl.concat_str([part for name in HASHED for part in pieces(name)], ignore_nulls=True)
