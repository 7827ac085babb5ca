"""A query is pulled from where the last pull ended, on SQLite and on a PostgreSQL server that runs for this module."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
import yaml

from tasks.errors import SourceError
from tasks.records import parse_record
from tasks.sources.mapping import compile_mapping
from tasks.sources.settings import SqlSourceConfig
from tasks.sources.sql import SqlSource
from tests.conftest import ROOT
from tests.postgres_server import running_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of an empty PostgreSQL server."""
    with running_postgres() as url:
        yield url


class Database:
    """A database that a test fills, and a source that pulls from it as the flywheel does, cursor by cursor."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
        self.cursors: dict[str, str] = {}

    def run(self, *statements: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement), values)

    def source(self, **changes: Any) -> SqlSource:
        data = {"type": "sql", "name": "chats", "url": self.url, "query": "select * from t", "cursor": "id"}
        return SqlSource(SqlSourceConfig.model_validate(data | changes))

    def pull(self, **changes: Any) -> list[dict[str, Any]]:
        """What is new; the cursor is kept once all of it has been read."""
        rows: list[dict[str, Any]] = []
        for part in self.source(**changes).pull(self.cursors):
            assert part.name == "query"
            assert part.whole or self.cursors
            frame = pl.concat(part.batches)
            assert frame["row"].to_list() == list(range(1, frame.height + 1))
            rows += map(json.loads, frame["raw"])
            self.cursors[part.name] = part.cursor
        return rows

    def refusal(self, **changes: Any) -> str:
        with pytest.raises(SourceError, match=r"^source chats: [^\n]+$") as caught:
            for part in self.source(**changes).pull(self.cursors):
                list(part.batches)
        return str(caught.value)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Ten rows, from 1 to 10, in either database."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'chats.db'}")
    else:
        made = Database(request.getfixturevalue("postgres"))
    made.run("drop table if exists t", "create table t (id integer, body text)")
    made.run("insert into t values " + ", ".join(f"({i}, 'text {i}')" for i in range(1, 11)))
    return made


@pytest.fixture
def server(postgres: str) -> Database:
    """An empty schema in PostgreSQL."""
    made = Database(postgres)
    made.run("drop schema public cascade", "create schema public")
    return made


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_a_pull_gives_what_is_new_in_the_order_of_the_cursor(database: Database) -> None:
    assert ids(database.pull(overlap=0)) == list(range(1, 11))
    database.run("insert into t values (12, 'b'), (11, 'a')")
    assert database.pull(overlap=0) == [{"id": 11, "body": "a"}, {"id": 12, "body": "b"}]


@pytest.mark.parametrize("overlap", [None, 0, 3, 100])
def test_an_unchanged_table_gives_no_part(database: Database, overlap: float | None) -> None:
    assert len(database.pull(overlap=overlap)) == 10
    assert database.pull(overlap=overlap) == []


def test_an_empty_table_gives_no_part(database: Database) -> None:
    database.run("delete from t")
    assert database.pull() == []
    assert database.cursors == {}


def test_a_row_that_comes_late_is_seen_within_the_overlap(database: Database) -> None:
    database.pull(overlap=3)
    database.run("insert into t values (9, 'late')")
    assert ids(database.pull(overlap=3)) == [8, 9, 9, 10]
    database.run("insert into t values (2, 'too late')")
    assert database.pull(overlap=3) == []


def test_the_first_pull_begins_beyond_the_start(database: Database) -> None:
    assert ids(database.pull(start=8)) == [9, 10]


def test_a_query_may_say_itself_where_the_cursor_goes(database: Database) -> None:
    query = "select body, id from t where id > :cursor and body like 'text%' -- as far as it goes"
    assert ids(database.pull(query=query, start=4, overlap=2)) == [5, 6, 7, 8, 9, 10]
    assert database.pull(query=query, start=4, overlap=2) == []
    database.run("insert into t values (11, 'text')")
    assert ids(database.pull(query=query, start=4, overlap=2)) == [9, 10, 11]


def test_another_cursor_column_begins_anew(database: Database) -> None:
    database.pull()
    (part,) = database.source(cursor="body").pull(database.cursors)
    assert part.whole
    assert len(database.pull(cursor="body")) == 10


def test_a_text_can_be_the_cursor(database: Database) -> None:
    assert len(database.pull(cursor="body")) == 10
    hostile = "text 99'; drop table t; --"
    database.run("insert into t values (11, :body)", body=hostile)
    assert database.pull(cursor="body") == [{"id": 11, "body": hostile}]
    assert database.pull(cursor="body") == []
    assert "holds text, from which nothing can be subtracted; set overlap: 0" in database.refusal(
        cursor="body", overlap=5
    )


def test_a_mixed_case_column_can_be_the_cursor(database: Database) -> None:
    assert len(database.pull(query='select id as "chatId" from t', cursor="chatId")) == 10


def test_a_large_result_comes_in_batches(database: Database) -> None:
    (part,) = database.source(batch_rows=4).pull({})
    assert [batch.height for batch in part.batches] == [4, 4, 2]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"query": "select * from absent"}, "the query failed: "),
        ({"query": "selectt"}, "the query failed: "),
        ({"cursor": "idd"}, "idd"),
        ({"query": "select body, case when id > 3 then id end as id from t"}, "3 rows have no value in the cursor"),
        ({"query": "select body, case when id > 3 then id end as id from t", "start": 2}, "would be lost; give them"),
    ],
)
def test_a_query_that_cannot_be_run_is_named(database: Database, changes: dict[str, Any], expected: str) -> None:
    assert expected in database.refusal(**changes)


def test_a_database_that_is_not_there_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = Database("sqlite://")
    monkeypatch.setenv("CHATS", "postgresql://maria:geheim@127.0.0.1:1/chats?connect_timeout=5&sslpassword=verborgen")
    line = absent.refusal(url=None, url_env="CHATS")
    assert "cannot connect to postgresql+psycopg://maria:***@127.0.0.1:1/chats" in line
    assert "geheim" not in line
    assert "verborgen" not in line
    assert "environment variable ABSENT is not set" in absent.refusal(url=None, url_env="ABSENT")
    monkeypatch.setenv("CHATS", "geheim")
    assert "what url_env names (CHATS) holds no database URL" in (line := absent.refusal(url=None, url_env="CHATS"))
    assert "geheim" not in line
    assert "correct the URL, or install its driver" in absent.refusal(url="oracle9://h/d")
    assert "unable to open database file" in absent.refusal(url=f"sqlite:///{tmp_path}/no/such.db")


def test_the_types_of_postgresql_are_json(server: Database) -> None:
    server.run(
        """create table t (id bigint, amount numeric(12, 4), huge numeric, ratio double precision, at timestamptz,
        local timestamp, day date, clock time, flag boolean, tags text[], doc jsonb, uid uuid, addr inet, nothing text,
        quoted text)""",
        """insert into t values (1, 12.5, 123456789012345678901234567890, 0.1, '2026-03-01 13:00:00.5+01',
        '2026-03-01 12:00:00', '2026-03-01', '12:30', true, array['a', null, 'ü"'],
        '{"messages": [{"role": "user", "n": 1.50}]}', '00000000-0000-0000-0000-000000000001', '10.0.0.1', null,
        'a"b\n\\')""".replace(":", r"\:"),
    )
    (part,) = server.source().pull({})
    (raw,) = pl.concat(part.batches)["raw"]
    assert '"amount":12.5000,"huge":123456789012345678901234567890,' in raw
    assert json.loads(raw) == {
        "id": 1,
        "amount": 12.5,
        "huge": 123456789012345678901234567890,
        "ratio": 0.1,
        "at": "2026-03-01T12:00:00.500000+00:00",
        "local": "2026-03-01T12:00:00",
        "day": "2026-03-01",
        "clock": "12:30:00",
        "flag": True,
        "tags": ["a", None, 'ü"'],
        "doc": {"messages": [{"role": "user", "n": 1.5}]},
        "uid": "00000000-0000-0000-0000-000000000001",
        "addr": "10.0.0.1",
        "nothing": None,
        "quoted": 'a"b\n\\',
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (r"select 1 as id, '\x00'::bytea as photo", "column photo holds a bytes value, which JSON has no form for"),
        ("select 1 as id, interval '1 day' as wait", "column wait holds a timedelta value"),
        ("select 1 as id, 2 as x, 3 as x", "the query gives two columns named x; rename one with AS"),
        ("select array[1] as id", "holds list values; choose a column of times or numbers"),
        ("select 'infinity'::timestamptz as id", "the query failed: "),
    ],
)
def test_what_has_no_place_in_a_row_is_named(server: Database, query: str, expected: str) -> None:
    assert expected in server.refusal(query=query)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "numeric", "bigint", "double precision"])
def test_every_kind_of_cursor_goes_on_where_it_ended(server: Database, kind: str) -> None:
    moments = {"timestamptz", "timestamp", "date"}
    step = f"'2026-03-01'::{kind} + {{}} * interval '1 day'" if kind in moments else "{} * 1000"
    server.run(f"create table t (id {kind}, n integer)")
    for n in range(3):
        server.run(f"insert into t select {step.format(n)}, {n}")
    assert [row["n"] for row in server.pull()] == [0, 1, 2]
    assert server.pull() == []
    server.run(f"insert into t select {step.format(3)}, 3")
    assert [row["n"] for row in server.pull()] == [2, 3]


def test_rows_that_were_committed_late_are_not_lost(server: Database) -> None:
    """A transaction's now() is when it began: a row can come into a table behind one that is there already."""
    server.run("create table t (id integer, at timestamptz default now())")
    with server.engine.begin() as slow:
        slow.execute(sa.text("insert into t values (1)"))
        server.run("insert into t values (2)")
        assert ids(server.pull(cursor="at")) == [2]
    assert ids(server.pull(cursor="at")) == [1, 2]
    assert server.pull(cursor="at") == []


def test_a_result_is_read_through_a_server_side_cursor(server: Database) -> None:
    """A million rows must not be held in memory before the first is stored."""
    server.run("create table t as select generate_series(1, 20000) as id")
    (part,) = server.source(batch_rows=1000).pull({})
    assert next(part.batches).height == 1000
    with server.engine.connect() as connection:
        running = connection.execute(sa.text("select query from pg_stat_activity where state = 'idle in transaction'"))
        assert running.scalar_one().lower().startswith("fetch forward")
    assert sum(batch.height for batch in part.batches) == 19_000


def test_a_query_that_fails_half_way_is_an_error_and_leaves_the_cursor(server: Database) -> None:
    server.run("create table t (id integer primary key)", "insert into t select generate_series(1, 5000)", "analyze t")
    (part,) = server.source(query="select id, 1 / (4000 - id) as x from t", batch_rows=1000).pull({})
    assert next(part.batches).height == 1000
    with pytest.raises(SourceError, match="the query failed: division by zero"):
        list(part.batches)
    line = server.refusal(query="select id, 1 / (4000 - id) as x from t")
    assert line.startswith("source chats: the query failed: division by zero")
    assert server.cursors == {}


def test_a_source_that_is_left_early_leaves_no_connection(server: Database) -> None:
    server.run("create table t as select generate_series(1, 5000) as id")
    (part,) = server.source(batch_rows=10).pull({})
    next(part.batches)
    part.batches.close()  # type: ignore[attr-defined]
    others = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    deadline = time.monotonic() + 5.0  # a backend takes a moment to go
    with server.engine.connect() as connection:
        while connection.execute(sa.text(others)).scalar_one():
            assert time.monotonic() < deadline
            connection.rollback()
            time.sleep(0.02)


def test_the_example_collects_calls_and_reviews(server: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in configs/ does what its comments say, against tables such as it speaks of."""
    examples = yaml.safe_load((ROOT / "configs" / "sources" / "sql_postgres.yaml").read_text(encoding="utf-8"))
    monkeypatch.setenv("CHAT_DATABASE_URL", server.url)
    server.run(
        """create table calls (id int, question text, answer text, model text, language text,
        created_at timestamptz)""",
        "create table reviews (call_id int, reviewer text, helpful bool, better_answer text, updated_at timestamptz)",
        "insert into calls values (1, 'Where?', 'Here.', '7', 'en', '2026-03-01')",
        "insert into calls values (2, 'Who?', 'Me.', '7', 'en', '2025-03-01')",
    )
    configs = [SqlSourceConfig.model_validate(example) for example in examples]
    cursors: dict[str, dict[str, str]] = {config.name: {} for config in configs}

    def records() -> list[Any]:
        found = []
        for config in configs:
            map_row = compile_mapping(config.records)
            for part in SqlSource(config).pull(cursors[config.name]):
                found += [parse_record(line) for raw in pl.concat(part.batches)["raw"] for line in map_row(raw)]
                cursors[config.name][part.name] = part.cursor
        return found

    (call,) = records()
    assert (call.inference_id, call.output, call.slices) == ("call-1", "Here.", {"language": "en"})
    assert call.created_at == datetime.fromisoformat("2026-03-01T00:00:00Z")
    assert records() == []
    server.run("insert into reviews values (1, 'maria', false, 'There.', '2026-03-02')")
    thumb, correction = records()
    assert (thumb.inference_id, thumb.value, thumb.producer) == ("call-1", "down", "person:maria")
    assert (correction.inference_id, correction.corrected_output) == ("call-1", "There.")
    server.run("update reviews set better_answer = 'Over there.', updated_at = '2026-03-03'")
    assert [record.corrected_output for record in records()[1:]] == ["Over there."]


def test_what_to_do_about_the_url_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password with an @ in it, and an unset variable, are what people meet first."""
    config = SqlSourceConfig.model_validate(
        {"name": "chats", "url_env": "CHATS", "query": "select 1 as id", "cursor": "id"}
    )
    monkeypatch.delenv("CHATS", raising=False)
    with pytest.raises(SourceError, match=r"CHATS is not set, .*; export CHATS=postgresql://"):
        list(SqlSource(config).pull({}))
    monkeypatch.setenv("CHATS", "postgresql://u:a@b:c/d@host/chats")
    with pytest.raises(SourceError, match=r"write DIALECT://USER@HOST/DATABASE, and in a user or password %40 for @"):
        list(SqlSource(config).pull({}))
    monkeypatch.setenv("CHATS", "postgresql://u:wrong@127.0.0.1:1/chats")
    with pytest.raises(SourceError, match="see that it runs, and that host, user and password are right"):
        list(SqlSource(config).pull({}))
