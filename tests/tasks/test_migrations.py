"""A state of every earlier schema version is brought up to date, and keeps its rows.

One database is migrated a step at a time; each table gets a row as soon as it exists, and the file as it is after each
step is what an installation of that version would have left.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks import db
from tasks.db import State, newest_schema
from tests.tasks.test_db import ROW

MOMENT = datetime(2026, 3, 1)
# Made to take the rows of an earlier table, and then given its name; what they are called in the end.
FOLLOWS = {"quarantined_rows", "snapshot_rows_with_pairs", "case_results_of_roles"}
NOW_CALLED = {
    "quarantine": "quarantined_rows",
    "snapshot_rows_with_pairs": "snapshot_rows",
    "case_results_of_roles": "case_results",
}
GIVEN_UP = {
    "cursors",
    "schema_migrations",
}  # the first is rebuilt by reading the sources again: every row is known then
NOW_IN = {"path": "part", "line": "row"}  # columns of quarantine
VALUES = {"DOUBLE": 0.5, "BOOLEAN": True, "TIMESTAMP": MOMENT, "FLOAT[]": [0.5], "DOUBLE[]": [0.5], "VARCHAR": "x"}
MIGRATIONS = db._migrations()
NUMBERS = [number for number, *_ in MIGRATIONS]

Versions = dict[int, tuple[Path, "Content"]]
Content = dict[str, tuple[list[str], list[tuple[Any, ...]]]]


def columns(connection: Any, table: str) -> list[tuple[str, str, bool]]:
    """Name, type and whether a value has to be given, of each column."""
    query = """
        select column_name, data_type, not is_nullable and column_default is null
        from duckdb_columns() where table_name = ? and not internal order by column_index
    """
    return list(connection.execute(query, [table]).fetchall())


def tables(connection: Any) -> set[str]:
    return {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}


def put_row(connection: Any, table: str) -> None:
    """One row with a value wherever there has to be one, and wherever the contract of today has one."""
    known = ROW.get(table, {})
    row = {
        name: known.get(name, VALUES.get(kind, 1))
        for name, kind, is_needed in columns(connection, table)
        if is_needed or name in known
    }
    marks = ", ".join("?" for _ in row)
    connection.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", list(row.values()))


def content(connection: Any) -> Content:
    return {
        name: ([column for column, *_ in columns(connection, name)], connection.table(name).fetchall())
        for name in tables(connection)
    }


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """The state after each migration, by its number, and what is in it."""
    folder = tmp_path_factory.mktemp("versions")
    growing, seen = folder / "growing.duckdb", FOLLOWS | {"schema_migrations"}
    found = {}
    connection = duckdb.connect(str(growing))
    connection.execute(db._statement("create_schema_migrations"))
    for number, name, text, sha in MIGRATIONS:
        connection.execute(text)
        for table in tables(connection) - seen:
            put_row(connection, table)
            seen.add(table)
        connection.execute(
            db._statement("record_schema_migrations"), {"numbers": [number], "names": [name], "hashes": [sha]}
        )
        old = content(connection)
        connection.close()
        found[number] = (Path(shutil.copy(growing, folder / f"{number:04d}.duckdb")), old)
        connection = duckdb.connect(str(growing))
    connection.close()
    return found


def kept(old: Content, new: Content) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Each table that had rows, with these as far as their columns are still there, before and after."""
    for table, (names, rows) in old.items():
        if table in GIVEN_UP or not rows:
            continue
        now_names, now_rows = new[NOW_CALLED.get(table, table)]
        moved = NOW_IN if table == "quarantine" else {}
        shared = [
            name for name in names if moved.get(name, name) in now_names and (table, name) != ("quarantine", "raw")
        ]
        before = [tuple(row[names.index(name)] for name in shared) for row in rows]
        after = [tuple(row[now_names.index(moved.get(name, name))] for name in shared) for row in now_rows]
        yield table, before, after


@pytest.mark.parametrize("number", NUMBERS)
def test_a_state_of_every_earlier_version_keeps_its_rows(versions: Versions, tmp_path: Path, number: int) -> None:
    written, old = versions[number]
    path = Path(shutil.copy(written, tmp_path / "state.duckdb"))
    with State(path).transaction() as tx:
        assert tx.rows("count_state")[0].keys() >= {"read", "reconciles"}
    with duckdb.connect(str(path), read_only=True) as connection:
        new = content(connection)
    assert {row[0] for row in new["schema_migrations"][1]} == set(NUMBERS)
    for table, before, after in kept(old, new):
        assert before == after, f"{table} of schema {number}"


def test_every_table_had_a_row_to_keep(versions: Versions) -> None:
    """Else the test above would find nothing lost because nothing was there."""
    assert {table for table, (_, rows) in versions[newest_schema()][1].items() if not rows} == set()


def test_what_this_version_does_not_know_is_refused_and_left_as_it_is(versions: Versions, tmp_path: Path) -> None:
    """A downgrade would take columns for missing that hold rows."""
    path = Path(shutil.copy(versions[newest_schema()][0], tmp_path / "state.duckdb"))
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f"insert into schema_migrations (number, name, sha256) values ({newest_schema() + 1}, 'next', 'x')"
        )
    before = path.read_bytes()
    with (
        pytest.raises(
            db.StateError, match=rf"newer version \(migration {newest_schema() + 1}\); update this installation"
        ),
        State(path).transaction(),
    ):
        pass
    assert re.search(rb"next", before) and path.read_bytes() == before
