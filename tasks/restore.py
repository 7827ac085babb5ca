"""Puts a workload's state in place from a file of `flywheel backup`; what was there is moved aside, not deleted.

The archive is unpacked beside the state and checked, file by file, against its list of hashes. Only then is anything
replaced: under the state's lock, each part is moved aside and the new one moved in. While that lasts a file says so
(`State.half_restored`), and nothing else opens the state. A restore that is killed meanwhile is finished by running it
again: all of the old state and all of the new are on disk at any moment.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tasks.backup import CHUNK, FILES, FORMAT, HEAD, inside, local_store, sync_folder
from tasks.config import Config
from tasks.db import State, newest_schema, run_sqlite
from tasks.errors import StateError
from tasks.leases import is_alive
from tasks.records import now


@dataclass(frozen=True)
class Restored:
    """What is in place now: when it was backed up, how many files, and where what it replaced is (None: nothing)."""

    created_at: str
    files: int
    aside: Path | None


def restore(config: Config, file: Path, force: bool = False) -> Restored:
    """Replace the workload's state by that of a backup; with `force` where there is one already.

    Raises:
        StateError: the file is no whole backup of this workload, is of a newer schema, or there is a state and no
            `force`; or somebody runs a round of it, or other workloads share its MLflow store.
    """
    state, staged = State(config.database), _staged(config)
    if state.half_restored.is_file():
        with state.lock():
            done = _put_in_place(config, staged)
        if _head(file)["id"] == done["id"]:
            return _result(config, done)
    _refuse_to_replace(config, file, force)
    shutil.rmtree(staged, ignore_errors=True)
    try:
        head, files = _unpack(file, staged / "files")
        _check_files(file, staged / "files", files)
        _move_paths(config, staged / "files", head)
        with state.lock():
            _mark(config, staged, head | {"files": len(files)})
            done = _put_in_place(config, staged)
    except OSError as error:
        raise StateError(
            f"{file} cannot be restored to {config.home}: {error.strerror or error}; see to it, and run it again"
        ) from error
    return _result(config, done)


def _staged(config: Config) -> Path:
    return State(config.database).half_restored.parent


def _refuse_to_replace(config: Config, file: Path, force: bool) -> None:
    head = _head(file)
    if head["workload"] != config.name:
        raise StateError(f"{file} is a backup of {head['workload']}, and the config is of {config.name}; give its own")
    if head["schema"] > newest_schema():
        raise StateError(
            f"{file} was written by a newer version (schema {head['schema']}, this one knows {newest_schema()}); "
            f"update this installation"
        )
    if config.database.is_file():
        if not force:
            raise StateError(
                f"there is a state in {config.folder} already; to replace it (it is moved aside): "
                f"flywheel restore {file} --force"
            )
        _refuse_while_a_round_runs(config)
    store, others = local_store(config), sorted(config.home.glob("*/state.duckdb"))
    names = [path.parent.name for path in others if path.parent.name != config.name]
    if names and store is not None and store.is_file():
        raise StateError(
            f"{config.home} holds other workloads too ({', '.join(names)}), which share its MLflow store; "
            f"restore into a home of its own (home in the config)"
        )
    if store is not None and (user := _user_of(store)) is not None:
        raise StateError(
            f"{user} has {store} open and would go on with it when it is moved aside; stop it (MLflow's server, or "
            f"`make up`), and restore then"
        )


def _user_of(path: Path) -> str | None:
    """Another process of this machine that has a file open, of those that this user may look into."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and str(path.resolve()) in {each.path for each in process.open_files()}:
                return f"process {process.pid} ({process.name()})"
    return None


def _refuse_while_a_round_runs(config: Config) -> None:
    with State(config.database).transaction() as tx:
        row = tx.row("open_round")
    if row is not None and is_alive(row):
        raise StateError(f"round {row['round_id']} is being run by {row['lease_owner']}; end it, and restore then")


def _head(file: Path) -> dict[str, Any]:
    """What a backup says of itself.

    Raises:
        StateError: it is none.
    """
    with _reading(file) as tar:
        first = tar.next()
        found = json.loads(_content(tar, first).read()) if first is not None and first.name == HEAD else {}
    if found.get("format") != FORMAT:
        raise StateError(f"{file} is no backup that this version can read; `flywheel backup FILE` makes one")
    return dict(found)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[tarfile.TarFile]:
    """The archive, to be read from its beginning to its end.

    Raises:
        StateError: it is not there, is cut short, or has something in it that is no plain file within the folder.
    """
    from zstandard import ZstdDecompressor, ZstdError

    if not file.is_file():
        raise StateError(f"{file} does not exist; give a file that `flywheel backup` wrote")
    try:
        with (
            file.open("rb") as raw,
            ZstdDecompressor().stream_reader(raw) as packed,
            tarfile.open(mode="r|", fileobj=packed) as tar,
        ):
            yield tar
    except (ZstdError, tarfile.TarError, EOFError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise StateError(f"{file} cannot be read as a backup: {reason}; give a whole one") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise tarfile.TarError(f"{member.name!r} in it is no plain file")
    return content


def _within(name: str) -> PurePosixPath:
    """The path of a member, which stays in the folder that it is unpacked to: what is in there are plain files."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"{name!r} in it leads out of the folder")
    return path


def _unpack(file: Path, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Unpack the archive into an empty folder; its head, and of each file what is listed and what was found."""
    folder.mkdir(parents=True, mode=0o700)
    texts: dict[str, dict[str, Any]] = {}
    found: dict[str, Any] = {}
    with _reading(file) as tar:
        for member in tar:
            content = _content(tar, member)
            if member.name in (HEAD, FILES):
                texts[member.name] = json.loads(content.read())
            else:
                found[member.name] = _write(content, folder / _within(member.name))
    if FILES not in texts:
        raise StateError(f"{file} is cut short: its list of files is missing; give a whole one")
    listed = texts[FILES]
    return texts[HEAD], {name: (listed.get(name), found.get(name)) for name in listed.keys() | found.keys()}


def _write(reader: IO[bytes], path: Path) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as out:
        while data := reader.read(CHUNK):
            out.write(data)
            digest.update(data)
            size += len(data)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _check_files(file: Path, folder: Path, files: dict[str, Any]) -> None:
    for name, (listed, found) in sorted(files.items()):
        if listed != found:
            raise StateError(f"{file} is damaged: {name} is not the file that was backed up; give another one")
    if not (folder / "state" / "state.duckdb").is_file():
        raise StateError(f"{file} has no database in it; give another one")


def _move_paths(config: Config, folder: Path, head: dict[str, Any]) -> None:
    """Have the unpacked records name their files where they will be: in this config's home."""
    import polars as pl

    database = folder / "state" / "state.duckdb"
    with State(database).transaction() as tx:
        paths = [row["path"] for row in tx.rows("list_paths")]
        moved = {path: config.folder / inside(path) for path in paths if (folder / "state" / inside(path)).exists()}
        frame = pl.DataFrame(
            {"old_path": list(moved), "new_path": list(map(str, moved.values()))},
            schema={"old_path": pl.String, "new_path": pl.String},
        )
        for statement in ("move_round_adapters", "move_version_adapters", "move_snapshots") if moved else ():
            tx.load(statement, frame)
    database.with_suffix(".lock").unlink(missing_ok=True)
    for path in (folder / "state").glob("snapshots/*.parquet"):
        path.chmod(0o444)  # as they were frozen
    old, new, store = head["artifacts"], config.artifact_location, folder / "mlflow" / "mlflow.db"
    if store.is_file() and new is not None and old != new:
        run_sqlite(store, "mlflow", old=old, new=new)


def _mark(config: Config, staged: Path, about: dict[str, Any]) -> None:
    """Write down that a restore is being put into place, once all of it is on the disk."""
    moment = f"{now():%Y%m%dT%H%M%SZ}"
    aside = config.home / f"{config.name}.before-restore-{moment}"
    os.sync()
    partial = staged / "ready.partial"
    parts = [name for name in _places(config) if (staged / "files" / name).exists()]
    partial.write_text(json.dumps(about | {"aside": aside.name, "parts": parts}), encoding="utf-8")
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(staged / "ready.json")
    sync_folder(staged)


def _put_in_place(config: Config, staged: Path) -> dict[str, Any]:
    """Move the old parts aside and the new ones in, as far as that was not done already; what was restored."""
    about: dict[str, Any] = json.loads((staged / "ready.json").read_text(encoding="utf-8"))
    aside = config.home / about["aside"]
    config.folder.mkdir(parents=True, exist_ok=True)
    for name, place in _places(config).items():
        new, old = staged / "files" / name, aside / place.relative_to(config.home)
        is_in_place = not new.exists() if name in about["parts"] else os.path.lexists(old)
        if not is_in_place and os.path.lexists(place):
            old.parent.mkdir(parents=True, exist_ok=True)
            place.rename(old)
        if new.exists():
            new.rename(place)
    for folder in (config.folder, config.home):
        sync_folder(folder)
    (staged / "ready.json").unlink()
    shutil.rmtree(staged, ignore_errors=True)
    return about


def _places(config: Config) -> dict[str, Path]:
    """Where each part of an archive belongs; what a backup lacks is moved aside all the same."""
    state = ("state.duckdb", "state.duckdb.wal", "snapshots", "rounds", "report.html")
    places = {f"state/{name}": config.folder / name for name in state}
    if local_store(config) is not None:
        mlflow = ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlartifacts")
        places |= {f"mlflow/{name}": config.home / name for name in mlflow}
    return places | {"redaction-key": config.home / f"{config.name}.redaction-key"}


def _result(config: Config, about: dict[str, Any]) -> Restored:
    aside = config.home / about["aside"]
    return Restored(about["created_at"], about["files"], aside if aside.is_dir() else None)
