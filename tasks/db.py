"""The one place that opens a database and reads a file under `sql/`.

DuckDB lets one process write and no other read meanwhile. So connections are short, they queue on a lock file
beside the database, and each is one transaction: everything in it is kept, or nothing is.

    state = State(config.database)
    with state.transaction() as tx:
        rows = tx.rows("open_round")
"""

import contextlib
import hashlib
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from filelock import FileLock, Timeout

from tasks.disk import is_full, naming_full_disk
from tasks.errors import StateError
from tasks.resources import resource

if TYPE_CHECKING:
    import polars as pl

LOCK_SECONDS = 60.0
LOOK_SECONDS = 0.1
HELD = "Could not set lock on file"  # so DuckDB says that another process has the file open
SCRATCH_MEMORY = "1.5GB"
BATCH_ROWS = 8192
# How much of a result may wait to be fetched. DuckDB 1.5.5 hangs where a full buffer holds back a statement over
# signals_at of a million rows, so there is no limit but where rows are asked for in batches.
HOLD_ALL = "set streaming_buffer_size = '1TB'"
HOLD_LITTLE = "set streaming_buffer_size = '1MB'"

Row = dict[str, Any]


class Transaction:
    """Runs the statements of a folder of `sql/` by name, with bound parameters, on one open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: str = "queries") -> None:
        self._connection = connection
        self._folder = folder

    def rows(self, query: str, **parameters: Any) -> list[Row]:
        """All rows of a statement, each as a dict by column name."""
        cursor = self._connection.execute(self._statement(query), parameters or None)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def row(self, query: str, **parameters: Any) -> Row | None:
        """The first row of a statement, or None."""
        found = self.rows(query, **parameters)
        return found[0] if found else None

    def run(self, query: str, **parameters: Any) -> int:
        """Run a statement for its effect; the number of rows it changed."""
        changed = self._connection.execute(self._statement(query), parameters or None).fetchone()
        return int(changed[0]) if changed else 0

    def load(self, query: str, incoming: "pl.DataFrame", **parameters: Any) -> int:
        """Run a statement that reads the frame as the table `incoming`; the number of rows it changed."""
        with self.incoming(incoming):
            return self.run(query, **parameters)

    def frame(self, query: str, **parameters: Any) -> "pl.DataFrame":
        """All rows of a statement, as a frame."""
        return self._connection.execute(self._statement(query), parameters or None).pl()

    def batches(self, query: str, **parameters: Any) -> Iterator[Any]:
        """The rows of a statement as Arrow record batches, one after another: never all of them in memory at once.

        For statements that read tables; one that reads signals_at may hang (see HOLD_ALL).
        """
        self._connection.execute(HOLD_LITTLE)
        try:
            cursor = self._connection.execute(self._statement(query), parameters or None)
            yield from cursor.to_arrow_reader(BATCH_ROWS)
        finally:
            self._connection.execute(HOLD_ALL)

    @contextmanager
    def incoming(self, rows: "pl.DataFrame | list[Path]") -> Iterator[None]:
        """The frame, or the Parquet files of one shape, as the table `incoming` for the statements within."""
        if isinstance(rows, list):
            self._connection.read_parquet([str(path) for path in rows]).create_view("incoming")
        else:
            self._connection.register("incoming", _in_batches(rows))
        try:
            yield
        finally:
            self._connection.execute("drop view if exists incoming")

    def _statement(self, query: str) -> str:
        return _statement(query, self._folder)


def _in_batches(frame: "pl.DataFrame") -> Any:
    """The frame's rows in pieces that threads can share; one piece would be scanned by one thread."""
    import pyarrow as pa

    return pa.Table.from_batches(frame.to_arrow().to_batches(max_chunksize=BATCH_ROWS))


class State:
    """A workload's DuckDB database, migrated to this version's schema when it is first opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._migrated = False

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One connection and one transaction: committed at the end, rolled back on any exception.

        Raises:
            DiskFullError: there is no room for what was written.
            StateError: another process holds the database for longer than a minute, the file is not a
                database, or its schema is not one that this version can work with.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"{self.path.parent} cannot be made: {error.strerror}; correct home in the config"
            ) from error
        with naming_full_disk(self.path.parent), self.lock(), self._connection() as connection:
            self.refuse_half_restored()
            if not self._migrated:
                _migrate(connection, self.path)
                self._migrated = True
            connection.begin()
            try:
                yield Transaction(connection)
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def copy(self, target: Path) -> None:
        """Copy the database to `target`, as it is between two transactions, with nothing of it left in a log.

        Raises:
            StateError: see `transaction`.
        """
        with self.transaction():
            pass  # a schema of an earlier version is migrated first
        with self.lock():
            with self._connection() as connection:
                connection.execute("checkpoint")
            shutil.copyfile(self.path, target)

    @property
    def half_restored(self) -> Path:
        """The file that is there as long as a restore is being put into place (`tasks.restore`)."""
        return self.path.parent.with_name(f"{self.path.parent.name}.restoring") / "ready.json"

    def refuse_half_restored(self) -> None:
        """Raise a StateError where a restore was cut short: some of the state is old then, and some is new."""
        if self.half_restored.is_file():
            raise StateError(
                f"{self.path}: a restore was cut short or is under way; finish it with the same `flywheel restore FILE`"
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from opening the database.

        Raises:
            StateError: another process holds it for longer than a minute.
        """
        lock = FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise self._in_use() from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            connection = self._connect()
            connection.execute("set enable_progress_bar = false")
            connection.execute(HOLD_ALL)
        except duckdb.Error as error:
            if is_full(error):
                raise
            raise StateError(f"{self.path} cannot be opened: {str(error).splitlines()[0]}") from error
        try:
            yield connection
        finally:
            connection.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """Open the file; a program that has it open without our lock, as a DuckDB shell does, is waited for too."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return duckdb.connect(str(self.path))
            except duckdb.IOException as error:
                if HELD not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise self._in_use(str(error)) from None
            time.sleep(LOOK_SECONDS)

    def _in_use(self, said: str = "") -> StateError:
        holder = re.search(r"\(PID (\d+)\)", said)
        named = f"another process (number {holder[1]})" if holder else "another process"
        return StateError(
            f"{self.path} has been in use by {named} for {LOCK_SECONDS:.0f} s; wait for it to finish, or end it, and "
            f"try again"
        )


def newest_schema() -> int:
    """The number of the last migration that this version knows."""
    return _migrations()[-1][0]


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database that others may be writing to, as of one moment."""
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


def run_sqlite(path: Path, folder: str, **parameters: Any) -> None:
    """Run all statements of a folder of `sql/` on a SQLite database, in one transaction.

    Raises:
        StateError: the database lacks what they speak of.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            for file in sorted(resource("sql", folder).glob("*.sql")):
                connection.execute(file.read_text(encoding="utf-8"), parameters)
            connection.commit()
        except sqlite3.Error as error:
            raise StateError(f"{path} is not as this version of MLflow writes it: {error}") from error


def require_state(path: Path) -> State:
    """The state at `path`, for commands that only look.

    Raises:
        StateError: nothing has been collected there yet.
    """
    if not path.is_file():
        raise StateError(f"{path} does not exist yet; run `flywheel run collect_failures --config FILE` first")
    return State(path)


@contextmanager
def scratch(folder: Path) -> Iterator[Transaction]:
    """A database of its own in memory for the statements in `sql/staging`; it spills to `folder` when it must.

    It works with one thread: several may be open beside each other, each for a thread.
    """
    connection = duckdb.connect(
        config={"temp_directory": str(folder / secrets.token_hex(4)), "memory_limit": SCRATCH_MEMORY, "threads": 1}
    )
    try:
        connection.execute("set preserve_insertion_order = false")
        connection.execute("set enable_progress_bar = false")
        for file in sorted(resource("sql", "staging").glob("create_*.sql")):
            connection.execute(file.read_text(encoding="utf-8"))
        yield Transaction(connection, "staging")
    finally:
        connection.close()


@cache
def _statement(name: str, folder: str = "queries") -> str:
    return resource("sql", folder, f"{name}.sql").read_text(encoding="utf-8")


@cache
def _migrations() -> tuple[tuple[int, str, str, str], ...]:
    """Number, name, statement and hash of each schema file, in order."""
    found = []
    for file in sorted(resource("sql", "schema").glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_(\w+)", file.stem)
        if match is None:
            raise StateError(f"{file} is not named like 0001_name.sql")
        text = file.read_text(encoding="utf-8")
        found.append((int(match[1]), match[2], text, hashlib.sha256(text.encode()).hexdigest()))
    return tuple(found)


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    connection.begin()
    try:
        connection.execute(_statement("create_schema_migrations"))
        applied = dict(connection.execute(_statement("list_schema_migrations")).fetchall())
        _refuse_unknown_schema(applied, path)
        if new := [migration for migration in _migrations() if migration[0] not in applied]:
            for _, _, text, _ in new:
                connection.execute(text)
            numbers, names, _, hashes = map(list, zip(*new, strict=True))
            connection.execute(
                _statement("record_schema_migrations"), {"numbers": numbers, "names": names, "hashes": hashes}
            )
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _refuse_unknown_schema(applied: dict[int, str], path: Path) -> None:
    known = {number: sha for number, _, _, sha in _migrations()}
    for number, sha in applied.items():
        if number not in known:
            raise StateError(f"{path} was written by a newer version (migration {number}); update this installation")
        if known[number] != sha:
            raise StateError(f"{path}: migration {number} was changed after it was applied; restore its file")
