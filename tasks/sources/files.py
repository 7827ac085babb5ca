"""Files: JSON lines (gzip and zstd too), Parquet and CSV, by glob, on this machine or wherever fsspec reaches.

A file whose size and time of change are those of its last reading is passed over without being opened. One that has
changed is read whole again.
"""

import csv
import glob
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from tasks.errors import FlywheelError, SourceError
from tasks.secrets import hide, read_secret
from tasks.sources.base import Part
from tasks.sources.settings import FilesSourceConfig

if TYPE_CHECKING:
    import polars as pl

CHUNK_BYTES = 31 * 2**20  # a block of 32 MiB or more is taken from the system anew each time (glibc)
CACHED_BYTES = 2**18  # of which the processor has the intermediate results at hand
BATCH_ROWS = 50_000
FORMATS = {".parquet": "parquet", ".csv": "csv"}
CHANGED = ("ETag", "etag", "mtime", "LastModified", "created")  # what storages call it
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


class FilesSource:
    """The files that a glob matches."""

    def __init__(self, config: FilesSourceConfig) -> None:
        self.name = config.name
        self._config = config

    def pull(self, cursors: Mapping[str, str]) -> Iterator[Part]:
        """The files that are new or have changed.

        Raises:
            SourceError: no file matches, or all that match are empty; a file cannot be read.
        """
        files = {path: found for path, found in sorted(self._list().items()) if cursors.get(path) != found[1]}
        total, before = sum(size for size, _ in files.values()), 0
        for path, (size, cursor) in files.items():
            yield Part(path, cursor, self._batches(path), share_before=before / max(total, 1))
            before += size

    def _list(self) -> dict[str, tuple[int, str]]:
        """Size (bytes) and cursor of each file, by path."""
        path = self._config.path
        found = self._list_remote() if "://" in path else _list_local(path)
        if not found:
            where = "" if "://" in path or os.path.isabs(path) else f" in {os.getcwd()}"
            raise SourceError(f"source {self.name}: no file matches {path}{where}; correct its path in the config")
        if not any(size for size, _ in found.values()):
            raise SourceError(f"source {self.name}: every file that matches {path} is empty; nothing to collect")
        return found

    def _list_remote(self) -> dict[str, tuple[int, str]]:
        from fsspec.core import url_to_fs

        try:
            system, pattern = url_to_fs(self._config.path, **self._options)
            details = system.glob(pattern, detail=True)
        except FlywheelError:
            raise
        except Exception as error:  # noqa: BLE001 - each storage raises its own; not as a cause: it may hold a key
            raise SourceError(f"source {self.name}: {self._config.path} cannot be listed: {_reason(error)}") from None
        found = {}
        for path, info in details.items():
            if info["type"] == "file":
                changed = next((info[key] for key in CHANGED if key in info), "")
                found[system.unstrip_protocol(path)] = (info["size"], _cursor(info["size"], changed))
        return found

    def _batches(self, path: str) -> Iterator["pl.DataFrame"]:
        try:
            with self._open(path) as file:
                yield from READERS[self._format(path)](file)
        except FlywheelError:
            raise
        except Exception as error:  # noqa: BLE001 - a broken archive, a storage that went away: each raises its own
            reason = _reason(error)
            raise SourceError(f"source {self.name}: {path} cannot be read: {reason}; nothing was stored") from None

    def _format(self, path: str) -> str:
        if self._config.format != "auto":
            return self._config.format
        plain = path
        while plain.endswith(COMPRESSED):
            plain = os.path.splitext(plain)[0]
        return FORMATS.get(os.path.splitext(plain)[1], "jsonl")

    def _open(self, path: str) -> Any:
        if "://" not in path and not path.endswith(COMPRESSED):
            return open(path, "rb")
        import fsspec

        return fsspec.open(path, "rb", compression=_compression(path), **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        """fsspec's options, the secret ones among them.

        Raises:
            ConfigError: a secret is not to be had.
        """
        where = f"source {self.name}: storage_env"
        secret = {name: read_secret(held_in, f"{where}.{name}") for name, held_in in self._config.storage_env.items()}
        return self._config.storage | secret


def _compression(path: str) -> str | None:
    if path.endswith(".zst"):
        return "zstd"
    return "infer" if path.endswith(COMPRESSED) else None


def _list_local(pattern: str) -> dict[str, tuple[int, str]]:
    found = {}
    for path in filter(os.path.isfile, glob.glob(pattern, recursive=True)):
        stat = os.stat(path)
        found[path] = (stat.st_size, _cursor(stat.st_size, stat.st_mtime_ns))
    return found


def _cursor(size: int, changed: Any) -> str:
    return json.dumps({"size": size, "changed": str(changed)})


def _reason(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return hide(f"{type(error).__name__}: {said[0] if said else 'no reason given'}")


def read_lines(file: BinaryIO) -> Iterator["pl.DataFrame"]:
    """Batches of a file's lines; blank ones are left out, and numbered nevertheless.

    The lines stay where they were read: a batch refers to the chunk's bytes by offsets.
    """
    row, rest = 1, b""
    while chunk := file.read(CHUNK_BYTES):
        end = chunk.rfind(b"\n") + 1
        block, rest = rest + memoryview(chunk)[:end], (b"" if end else rest) + chunk[end:]
        if end:
            frame, lines = _frame_of_lines(block, row)
            yield frame
            row += lines
    if rest:
        yield _frame_of_lines(rest + b"\n", row)[0]


def _frame_of_lines(block: bytes, first: int) -> "tuple[pl.DataFrame, int]":
    """A frame of the lines of a block that ends with one, but for blank lines, as text if all of it is, else as bytes;
    and how many lines there are."""
    import numpy as np
    import polars as pl
    import pyarrow as pa

    signs = np.frombuffer(block, dtype=np.uint8)
    ends = [
        start + 1 + np.flatnonzero(signs[start : start + CACHED_BYTES] == ord("\n"))
        for start in range(0, len(signs), CACHED_BYTES)
    ]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), *ends])
    try:
        _ = block.isascii() or block.decode("utf-8")
        kind, blank = pa.large_string(), r"^\s*$"
    except UnicodeDecodeError:
        kind, blank = pa.large_binary(), None
    count = len(offsets) - 1
    lines = pa.Array.from_buffers(kind, count, [None, pa.py_buffer(offsets), pa.py_buffer(block)])
    frame = pl.DataFrame({"row": np.arange(first, first + count), "raw": pl.from_arrow(lines)})
    if blank is None:
        return frame.filter(pl.Series([bool(line.strip()) for line in frame["raw"]], dtype=pl.Boolean)), count
    short = frame["raw"].str.len_bytes() < 64
    return (frame.filter(~(short & frame["raw"].str.contains(blank))) if short.any() else frame), count


def read_parquet(file: BinaryIO) -> Iterator["pl.DataFrame"]:
    """Batches of a Parquet file's rows, each as a JSON object by column name."""
    import polars as pl
    from pyarrow.parquet import ParquetFile

    row = 1
    for batch in ParquetFile(file).iter_batches(BATCH_ROWS):
        frame = pl.DataFrame(batch)
        yield frame.select(
            pl.int_range(row, row + frame.height, dtype=pl.Int64).alias("row"),
            pl.struct(pl.all()).struct.json_encode().alias("raw"),
        )
        row += frame.height


def read_csv(file: BinaryIO) -> Iterator["pl.DataFrame"]:
    """Batches of a CSV file's rows, each as a JSON object by column name, all values texts.

    `row` is the line that a row ends on. A row with more or fewer cells than the header is no object; it is rejected
    further on, with its text.
    """
    import polars as pl

    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    header = next(reader, [])
    batch: list[tuple[int, str]] = []
    for cells in reader:
        if cells:
            row = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else cells
            batch.append((reader.line_num, json.dumps(row, ensure_ascii=False)))
        if len(batch) == BATCH_ROWS:
            yield pl.DataFrame(batch, schema={"row": pl.Int64, "raw": pl.String}, orient="row")
            batch = []
    if batch:
        yield pl.DataFrame(batch, schema={"row": pl.Int64, "raw": pl.String}, orient="row")


READERS: dict[str, Callable[[BinaryIO], Iterator["pl.DataFrame"]]] = {
    "jsonl": read_lines,
    "parquet": read_parquet,
    "csv": read_csv,
}
