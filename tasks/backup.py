"""A workload's state in one file, and what is not in it; `tasks.restore` reads it back.

    flywheel backup tickets.tar.zst

The file is a tar archive, compressed with zstd. It begins with `backup.json` (what it is a backup of, when, of which
schema) and ends with `files.json` (size and SHA-256 of each file). The database is copied first, then MLflow's, then
files, so that whatever the copied records speak of is among the files that follow.
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from tasks.config import Config
from tasks.db import copy_sqlite, newest_schema, require_state
from tasks.errors import StateError
from tasks.records import now

FORMAT = 1
HEAD, FILES = "backup.json", "files.json"
CHUNK = 1 << 20
KEPT_OF_ROUNDS = ("adapter-*", "probe.json", "flips.parquet")


@dataclass(frozen=True)
class Backup:
    """What was written: the file, its size in bytes, how many files are in it, what is missing, and what is outside."""

    file: Path
    bytes: int
    files: int
    missing: tuple[str, ...]
    outside: tuple[str, ...]


def backup(config: Config, file: Path) -> Backup:
    """Write the workload's state to a file, whole or not at all; one of that name is replaced.

    Only its owner may read it: it has production's texts in it, and the key that redaction uses.

    Raises:
        StateError: nothing has been collected yet, or the file cannot be written.
    """
    state = require_state(config.database)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
            database = Path(folder) / "state.duckdb"
            state.copy(database)
            with state.transaction() as tx:
                paths = tx.rows("list_paths")
            files = _write(config, partial, database, Path(folder))
        partial.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        raise StateError(f"{file} cannot be written: {error.strerror or error}; give another place") from error
    finally:
        partial.unlink(missing_ok=True)
    missing = [row["path"] for row in paths if row["is_needed"] and not (config.folder / inside(row["path"])).exists()]
    return Backup(file, file.stat().st_size, files, tuple(missing), tuple(_outside(config)))


def inside(path: str) -> PurePosixPath:
    """Where in a workload's folder an adapter or a snapshot's file is, wherever that folder was when it was written."""
    parts = PurePosixPath(path).parts
    return PurePosixPath(*parts[-3:]) if "rounds" in parts[-3:-2] else PurePosixPath(*parts[-2:])


def local_store(config: Config) -> Path | None:
    """MLflow's own SQLite file in the home; None where the config names another store."""
    return None if config.mlflow.tracking_uri else config.home / "mlflow.db"


def _write(config: Config, partial: Path, database: Path, folder: Path) -> int:
    from zstandard import ZstdCompressor

    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as raw:
        with (
            ZstdCompressor(level=3).stream_writer(raw, closefd=False) as packed,
            tarfile.open(mode="w|", fileobj=packed, format=tarfile.PAX_FORMAT) as tar,
        ):
            _add_text(tar, HEAD, head(config))
            made = {name: made for name, path in _members(config, database, folder) if (made := _add(tar, name, path))}
            _add_text(tar, FILES, made)
        raw.flush()
        os.fsync(raw.fileno())
    return len(made)


def head(config: Config) -> dict[str, Any]:
    """What a backup says of itself."""
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "workload": config.name,
        "schema": newest_schema(),
        "created_at": f"{now():%Y-%m-%dT%H:%M:%SZ}",
        "artifacts": config.artifact_location,
    }


def _members(config: Config, database: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and the files that they are of."""
    yield "state/state.duckdb", database
    store = local_store(config)
    if store is not None and store.is_file():
        copy_sqlite(store, folder / "mlflow.db")
        yield "mlflow/mlflow.db", folder / "mlflow.db"
    rounds = sorted((config.folder / "rounds").glob("*")) if (config.folder / "rounds").is_dir() else []
    kept = [path for each in rounds for pattern in KEPT_OF_ROUNDS for path in sorted(each.glob(pattern))]
    kept += sorted((config.folder / "snapshots").glob("snapshot-*.parquet"))
    kept += [path for path in [config.folder / "report.html"] if path.is_file()]
    for path in kept:
        for part in [path] if path.is_file() else sorted(path.rglob("*")):
            if part.is_file():
                yield f"state/{part.relative_to(config.folder).as_posix()}", part
    key = config.home / f"{config.name}.redaction-key"
    if key.is_file():
        yield "redaction-key", key
    if store is not None:
        artifacts = config.home / "mlartifacts"
        for part in sorted(artifacts.rglob("*")):
            if part.is_file():
                yield f"mlflow/mlartifacts/{part.relative_to(artifacts).as_posix()}", part


def _add(tar: tarfile.TarFile, name: str, path: Path) -> dict[str, Any] | None:
    """Add a file as it is when it is opened, and what its copy is known by; None where it has just been deleted."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        member = tarfile.TarInfo(name)
        member.size, member.mode = os.fstat(file.fileno()).st_size, 0o600
        reader = _Hashing(file, member.size)
        tar.addfile(member, reader)  # type: ignore[arg-type]
    return {"bytes": member.size, "sha256": reader.sha256}


class _Hashing:
    """Reads so many bytes of a file, and hashes them."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left, self._digest = file, size, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        """Hash (64 hex digits) of what was read."""
        return self._digest.hexdigest()


def _add_text(tar: tarfile.TarFile, name: str, value: dict[str, Any]) -> None:
    data = json.dumps(value, indent=1).encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o600
    tar.addfile(member, io.BytesIO(data))


def sync_folder(folder: Path) -> None:
    """Have the folder's entries written to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _outside(config: Config) -> Iterator[str]:
    """What somebody has to keep by other means."""
    yield f"the base model ({config.model.base})"
    yield "the config, and the sources' own files and databases"
    if local_store(config) is None:
        place = urlsplit(str(config.mlflow.tracking_uri))
        named = f"{place.scheme}://{place.hostname}" if place.hostname else place.scheme  # without its password
        yield f"MLflow's store ({named}): back up its database and artifacts beside this"
