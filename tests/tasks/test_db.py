"""The state: one writer at a time, everything of a transaction or nothing, and a schema that nobody edits behind it."""

from __future__ import annotations

import ast
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks import db
from tasks.collect import CONFLICTING
from tasks.db import State, require_state
from tasks.errors import StateError
from tasks.staging import KINDS
from tests.conftest import ROOT, Workload, correction, inference, python

QUERIES = {
    path.stem
    for folder in ("queries", "staging")
    for path in (ROOT / "sql" / folder).glob("*.sql")
    if not (folder == "staging" and path.stem.startswith("create_"))  # all of these are run, by their beginning
}
MIGRATIONS = sorted(path.stem for path in (ROOT / "sql" / "schema").glob("*.sql"))
NOW = datetime(2026, 3, 1)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "deep" / "state.duckdb")


def execute(path: Path, sql: str) -> list[Any]:
    with duckdb.connect(str(path)) as connection:
        return connection.execute(sql).fetchall()


def open_round(state: State) -> None:
    with state.transaction() as tx:
        tx.run(
            "insert_collection",
            ingest_seq=1, started_at=NOW, finished_at=NOW, read_rows=0, stored_rows=0, known_rows=0,
            quarantined_rows=0,
        )  # fmt: skip
        tx.run("insert_round", round_key="k", config_sha256="c", requested_by="person:test", opened_at=NOW)


def test_migrations_are_applied_once_each(state: State) -> None:
    for _ in range(3):
        with State(state.path).transaction():
            pass
    applied = execute(state.path, "select number, name from schema_migrations order by number")
    assert [f"{number:04d}_{name}" for number, name in applied] == MIGRATIONS
    assert len({number for number, _ in applied}) == len(MIGRATIONS)


def test_a_state_of_fewer_migrations_is_brought_up_to_date(state: State) -> None:
    """An upgrade finds an older database: what it lacks is added, what it holds stays."""
    open_round(state)
    execute(state.path, "drop table checks")
    number = next(int(name[:4]) for name in MIGRATIONS if name.endswith("_checks"))
    execute(state.path, f"delete from schema_migrations where number = {number}")
    with State(state.path).transaction() as tx:
        assert tx.rows("count_state")[0]["failures"] == 0
        assert len(tx.rows("list_rounds")) == 1


def test_a_migration_that_was_changed_is_refused(state: State) -> None:
    open_round(state)
    execute(state.path, "update schema_migrations set sha256 = 'other' where number = 3")
    with (
        pytest.raises(StateError, match="migration 3 was changed after it was applied; restore its file"),
        State(state.path).transaction(),
    ):
        pass


def test_a_newer_database_is_refused_and_left_alone(state: State) -> None:
    open_round(state)
    execute(state.path, "insert into schema_migrations (number, name, sha256) values (999, 'future', 'x')")
    with (
        pytest.raises(StateError, match=r"newer version \(migration 999\); update this installation"),
        State(state.path).transaction(),
    ):
        pass
    assert execute(state.path, "select count(*) from rounds") == [(1,)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_takes_everything_back(state: State, error: type[BaseException]) -> None:
    with pytest.raises(error), state.transaction() as tx:
        tx.run("insert_snapshot", snapshot_hash="h", round_id=1, path="p", rows=1, created_at=NOW)
        raise error
    with state.transaction() as tx:
        assert tx.row("get_snapshot", snapshot_hash="h") is None


def test_a_failing_statement_takes_the_earlier_ones_back(state: State) -> None:
    open_round(state)
    with pytest.raises(duckdb.Error), state.transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict="promote")
        tx.run("set_verdict", round_id=1, verdict="maybe")
    with state.transaction() as tx:
        assert tx.rows("list_rounds")[0]["verdict"] is None


def test_values_are_bound_never_formatted(state: State) -> None:
    hostile = "x'; drop table rounds; --"
    with state.transaction() as tx:
        tx.run("insert_snapshot", snapshot_hash=hostile, round_id=1, path="p", rows=1, created_at=NOW)
        assert tx.rows("get_snapshot", snapshot_hash=hostile)[0]["snapshot_hash"] == hostile
        assert tx.rows("list_rounds") == []


def test_two_processes_queue_on_the_lock(state: State) -> None:
    """While one process writes, another waits its turn instead of failing."""
    open_round(state)
    other = python(
        """
        import sys, time
        from pathlib import Path
        from tasks.db import State
        with State(Path(sys.argv[1])).transaction() as tx:
            print("holding", flush=True)
            time.sleep(0.6)
            tx.run("set_verdict", round_id=1, verdict="hold")
        """,
        str(state.path),
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "holding\n"
    started = time.monotonic()
    with state.transaction() as tx:
        assert tx.rows("list_rounds")[0]["verdict"] == "hold"
    assert time.monotonic() - started > 0.3
    assert other.wait(10) == 0
    other.communicate()


def test_a_process_that_waited_too_long_says_so(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "LOCK_SECONDS", 0.1)
    with state.transaction():
        pass
    other = python(
        """
        import sys
        from filelock import FileLock
        with FileLock(sys.argv[1]):
            print("holding", flush=True)
            sys.stdin.read()
        """,
        str(state.path.with_suffix(".lock")),
        stdin=-1,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "holding\n"
    with pytest.raises(StateError, match="in use by another process"), state.transaction():
        pass
    other.communicate("")


def test_a_killed_writer_leaves_no_lock_and_nothing_half_written(state: State) -> None:
    open_round(state)
    other = python(
        """
        import sys, time
        from pathlib import Path
        from tasks.db import State
        with State(Path(sys.argv[1])).transaction() as tx:
            tx.run("set_verdict", round_id=1, verdict="promote")
            print("written", flush=True)
            time.sleep(60)
        """,
        str(state.path),
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "written\n"
    other.kill()
    other.communicate()
    with state.transaction() as tx:
        assert tx.rows("list_rounds")[0]["verdict"] is None


def test_a_text_file_instead_of_a_database_is_one_clear_line(state: State) -> None:
    state.path.parent.mkdir(parents=True)
    state.path.write_text("not a database, " * 1000, encoding="utf-8")
    with pytest.raises(StateError, match="cannot be opened") as caught, state.transaction():
        pass
    assert str(state.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_home_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file", encoding="utf-8")
    with pytest.raises(StateError), State(tmp_path / "home" / "tickets" / "state.duckdb").transaction():
        pass


def test_commands_that_only_look_create_nothing(tmp_path: Path) -> None:
    path = tmp_path / "home" / "state.duckdb"
    with pytest.raises(StateError, match=r"does not exist yet; run `flywheel run collect_failures"):
        require_state(path)
    assert not path.parent.exists()


def strings(path: Path) -> set[str]:
    """Every string in a module, f-strings with a `*` for what is filled in."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        if isinstance(node, ast.JoinedStr):
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values))
    return found


def asked_for() -> set[str]:
    """First arguments of every call of `rows`, `row`, `run` and `load`, over all tables where one is filled in."""
    names = set()
    for path in (ROOT / "tasks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute | ast.Name)
                and (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id)
                in {"rows", "row", "run", "load", "frame", "_statement"}
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
            ):
                names.add(node.args[0].value)
    return names | {f"merge_{kind.table}" for kind in KINDS} | {f"list_conflicting_{table}" for table in CONFLICTING}


def test_every_query_file_is_used() -> None:
    texts = set().union(*(strings(path) for path in (ROOT / "tasks").rglob("*.py")))
    patterns = [re.compile(re.escape(text).replace(r"\*", r"\w+")) for text in texts if re.fullmatch(r"[\w*]+", text)]
    patterns = [pattern for pattern in patterns if pattern.pattern.count("_")]
    assert not {name for name in QUERIES if not any(pattern.fullmatch(name) for pattern in patterns)}


def test_every_query_that_is_asked_for_exists() -> None:
    assert not asked_for() - QUERIES


@pytest.mark.parametrize("folder", ["queries", "schema", "staging", "mlflow"])
def test_each_file_is_one_statement_under_a_header(folder: str) -> None:
    for path in (ROOT / "sql" / folder).glob("*.sql"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("-- "), path.name
        assert len(duckdb.extract_statements(text)) == 1, path.name


ROW: dict[str, dict[str, Any]] = {
    "collections": {"ingest_seq": 1, "started_at": NOW, "finished_at": NOW, "read_rows": 3, "stored_rows": 1,
                    "known_rows": 1, "quarantined_rows": 1},
    "source_cursors": {"source": "s", "part": "p", "cursor": "{}", "read_rows": 1, "ingest_seq": 1},
    "inferences": {"inference_id": "i", "input": "[]", "input_hash": "h", "output": "", "model_version": "base",
                   "slices": "{}", "created_at": NOW, "producer": "model:base", "source": "s", "content_hash": "c",
                   "ingest_seq": 1},
    "feedback": {"feedback_id": "f", "inference_id": "i", "signal": "thumb", "value": "up", "producer": "person:m",
                 "source": "s", "created_at": NOW, "content_hash": "c", "ingest_seq": 1},
    "corrections": {"correction_id": "c", "inference_id": "i", "corrected_output": "r", "corrected_by": "person:m",
                    "source": "s", "created_at": NOW, "content_hash": "c", "ingest_seq": 1},
    "demonstrations": {"demonstration_id": "d", "input": "[]", "input_hash": "h", "output": "r", "slices": "{}",
                       "producer": "rule:x", "source": "s", "created_at": NOW, "content_hash": "c", "ingest_seq": 1},
    "ratings": {"rating_id": "r", "inference_id": "i", "value": 2, "is_failing": True, "producer": "person:m",
                "source": "s", "created_at": NOW, "content_hash": "c", "ingest_seq": 1},
    "preferences": {"preference_id": "p", "input": "[]", "input_hash": "h", "chosen": "a", "rejected": "b",
                    "slices": "{}", "producer": "person:m", "source": "s", "created_at": NOW, "content_hash": "c",
                    "ingest_seq": 1},
    "retractions": {"retraction_id": "x", "inference_id": "i", "producer": "person:m", "reason": "", "source": "s",
                    "created_at": NOW, "content_hash": "c", "ingest_seq": 1},
    "details": {"content_hash": "c"},
    "checks": {"inference_id": "i", "rule": "r", "reason": "x", "ingest_seq": 1},
    "quarantined_rows": {"quarantine_id": "q", "source": "s", "part": "p", "row": 1, "reason": "r",
                         "created_at": NOW, "expires_at": NOW, "ingest_seq": 1},
    "embeddings": {"text_hash": "h", "encoder": "e", "vector": [0.5]},
    "clusters": {"cluster_id": "c001", "label": "l", "first_round": 1, "created_at": NOW},
    "cluster_changes": {"round_id": 1, "kind": "split", "source": "c001", "target": "c002", "failures": 3},
    "cluster_labels": {"cluster_id": "c001", "label": "l", "set_by": "person:m", "set_at": NOW},
    "cluster_members": {"inference_id": "i", "round_id": 1},
    "contradictions": {"signal_id": "x", "group_hash": "h", "kind": "same input", "policy": "hold"},
    "opposite_preferences": {"content_hash": "c", "signal": "preference", "signal_id": "x", "group_hash": "h",
                             "policy": "hold"},
    "proposals": {"signal_id": "x", "rule": "facts", "reason": "r", "leaves_out": False, "is_wrong": False},
    "signal_uses": {"signal_id": "x", "use": "train", "set_by": "person:m", "reason": "r", "set_at": NOW},
    "near_duplicates": {"left_hash": "a", "right_hash": "b", "jaccard": 0.9, "round_id": 1},
    "sides": {"input_hash": "h", "side": "train", "reason": "drawn", "group_hash": "h", "round_id": 1},
    "regression_cases": {"case_id": "x", "input": "[]", "input_hash": "h", "expected": "r", "tier": "unseen",
                         "slices": "{}", "signal_id": "x", "producer": "person:m", "source": "s", "added_round": 1},
    "suite_versions": {"suite_hash": "h", "first_round": 1, "fixed": 1, "unseen": 1, "anchor": 1, "protected": 0,
                       "created_at": NOW},
    "snapshots": {"snapshot_hash": "h", "round_id": 1, "path": "p", "rows": 1, "created_at": NOW},
    "snapshot_rows": {"snapshot_hash": "h", "position": 0, "signal": "correction", "signal_id": "x",
                      "input_hash": "h", "content_hash": "c", "source": "s", "producer": "person:m"},
    "rounds": {"round_id": 1, "round_key": "k", "stage": "screen", "pinned_seq": 1, "config_sha256": "c",
               "requested_by": "person:m", "evidence": "{}", "opened_at": NOW, "stage_started_at": NOW,
               "lease_token": 0},
    "candidates": {"input_hash": "h", "sampled_by": "x", "place": 0, "model_version": "base", "output": "",
                   "is_whole": True},
    "case_results": {"round_id": 1, "role": "champion", "model_version": "base", "case_id": "x", "output": "",
                     "score": 1.0, "is_right": True},
    "judgements": {"question_hash": "h", "mode": "pairwise", "model": "m", "reply": "", "judged_at": NOW},
    "versions": {"version": "1", "round_id": 1, "snapshot_hash": "h", "adapter_path": "p", "adapter_sha256": "a",
                 "created_at": NOW},
    "reference_pins": {"pinned_by": "person:m", "reason": "r", "pinned_at": NOW},
    "notices": {"notice_id": 1, "kind": "budget", "text": "t", "created_at": NOW},
    "costs": {"round_id": 1, "stage": "train", "seconds": 1.5, "gpus": 0, "gpu_seconds": 0.0, "tokens_trained": 1,
              "tokens_generated": 0, "bytes_kept": 0, "spent_at": NOW},
    "budget_holds": {"round_id": 1, "stage": "train", "period": "month", "amount": "hours", "spent": 2.0,
                     "ceiling": 1.0, "held_at": NOW},
    "approvals": {"round_id": 1, "asked_at": NOW, "expires_at": NOW},
    "announcements": {"judged_seq": 0, "new_signals": 50, "announced_at": NOW},
    "promotions": {"promotion_id": 1, "move_id": "m", "event": "intended", "moved_by": "gate", "reason": "r",
                   "created_at": NOW},
    "provisional_members": {"inference_id": "i", "seen_as": "h", "found_by": "h"},
    "shadow_answers": {"round_id": 1, "inference_id": "i", "input_hash": "h", "input": "[]", "champion_output": "",
                       "challenger_output": "", "differs": False},
    "watch_findings": {"move_id": "m", "finding": "worse", "cluster_id": "", "said": "s", "numbers": "{}",
                       "found_at": NOW},
}  # fmt: skip
KEYS = {
    "collections": ["ingest_seq"], "source_cursors": ["source", "part"], "inferences": ["inference_id"],
    "feedback": ["feedback_id"], "corrections": ["correction_id"], "demonstrations": ["demonstration_id"],
    "ratings": ["rating_id"], "preferences": ["preference_id"], "checks": ["inference_id", "rule"],
    "quarantined_rows": ["quarantine_id"], "embeddings": ["text_hash", "encoder"], "clusters": ["cluster_id"],
    "cluster_members": ["inference_id"], "near_duplicates": ["left_hash", "right_hash"], "sides": ["input_hash"],
    "regression_cases": ["case_id"], "snapshots": ["snapshot_hash"], "snapshot_rows": ["snapshot_hash", "position"],
    "rounds": ["round_id"], "case_results": ["round_id", "role", "case_id"], "versions": ["version"],
    "costs": ["round_id", "stage"], "budget_holds": ["round_id"],
    "promotions": ["promotion_id"], "reference_pins": ["pinned_at"], "approvals": ["round_id"],
    "announcements": ["judged_seq"],
    "cluster_changes": ["round_id", "kind", "source", "target"],
    "cluster_labels": ["cluster_id", "set_at"], "contradictions": ["signal_id", "kind"],
    "opposite_preferences": ["content_hash"], "notices": ["notice_id"],
    "retractions": ["retraction_id"], "details": ["content_hash"],
    "candidates": ["input_hash", "sampled_by", "place"], "judgements": ["question_hash"],
    "proposals": ["signal_id", "rule"], "signal_uses": ["signal_id", "set_at"], "suite_versions": ["suite_hash"],
    "provisional_members": ["inference_id"], "shadow_answers": ["round_id", "input_hash"],
    "watch_findings": ["move_id", "finding", "cluster_id"],
}  # fmt: skip
UNACCEPTABLE = [
    ("collections", {"read_rows": 4}),
    ("feedback", {"signal": "star"}),
    ("feedback", {"value": "sideways"}),
    ("ratings", {"value": 6}),
    ("details", {"scale": 6}),
    ("details", {"degree": 5}),
    ("sides", {"side": "test"}),
    ("regression_cases", {"tier": "train"}),
    ("regression_cases", {"stratum": "other"}),
    ("snapshot_rows", {"signal": "rating"}),
    ("rounds", {"verdict": "maybe"}),
    ("case_results", {"role": "judge"}),
    ("case_results", {"score": 1.5}),
    ("judgements", {"mode": "listwise"}),
    ("judgements", {"verdict": "both"}),
    ("promotions", {"event": "undone"}),
    ("costs", {"seconds": -1.0}),
    ("budget_holds", {"period": "week"}),
    ("approvals", {"decision": "perhaps"}),
    ("cluster_changes", {"kind": "vanished"}),
    ("contradictions", {"kind": "other input"}),
    ("opposite_preferences", {"signal": "thumb"}),
    ("proposals", {"rule": "a feeling"}),
    ("signal_uses", {"use": "burn"}),
    ("watch_findings", {"finding": "better"}),
]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "state.duckdb"
    with State(path).transaction():
        pass
    return path


@pytest.fixture
def schema(empty_database: Path) -> Any:
    """The migrated schema in a transaction that is taken back."""
    connection = duckdb.connect(str(empty_database))
    connection.begin()
    yield connection
    connection.close()


def put(connection: Any, table: str, **changes: Any) -> None:
    row = ROW[table] | changes
    marks = ", ".join("?" for _ in row)
    connection.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", list(row.values()))


def test_every_table_has_a_contract(schema: Any) -> None:
    names = {name for (name,) in schema.execute("select table_name from duckdb_tables()").fetchall()}
    assert names - {"schema_migrations"} == set(ROW) == set(KEYS)


@pytest.mark.parametrize("table", list(ROW))
def test_keys_are_unique(schema: Any, table: str) -> None:
    put(schema, table)
    with pytest.raises(duckdb.ConstraintException):
        put(schema, table)


@pytest.mark.parametrize("table", list(ROW))
def test_what_is_always_known_is_never_null(empty_database: Path, table: str) -> None:
    for column in ROW[table]:
        with duckdb.connect(str(empty_database)) as connection:
            connection.begin()
            with pytest.raises(duckdb.ConstraintException, match=r"NOT NULL|PRIMARY KEY"):
                put(connection, table, **{column: None})
            connection.rollback()


@pytest.mark.parametrize(("table", "change"), UNACCEPTABLE)
def test_only_accepted_values_are_taken(schema: Any, table: str, change: dict[str, Any]) -> None:
    with pytest.raises(duckdb.ConstraintException, match="CHECK"):
        put(schema, table, **change)


def test_the_corrections_table_has_the_columns_the_design_names(schema: Any) -> None:
    columns = {row[0] for row in schema.execute("select column_name from (describe corrections)").fetchall()}
    assert columns >= {
        "correction_id", "input", "model_output", "corrected_output", "corrected_by", "failure_cluster",
        "use_for_training", "use_for_eval", "created_at",
    }  # fmt: skip


def test_one_registered_version_a_round(schema: Any) -> None:
    put(schema, "versions")
    with pytest.raises(duckdb.ConstraintException):
        put(schema, "versions", version="2")


def test_a_version_of_another_round_is_never_mistaken_for_this_ones(state: State) -> None:
    """A registry that starts again at 1 (a new server, a deleted file) must not take over the old version's row."""
    version = {"version": "1", "snapshot_hash": "h", "adapter_path": "p", "adapter_sha256": "a", "created_at": NOW}
    with state.transaction() as tx:
        tx.run("insert_version", round_id=1, **version)
    with pytest.raises(Exception, match="1"), state.transaction() as tx:
        tx.run("insert_version", round_id=2, **version | {"adapter_sha256": "other"})


def test_a_failed_inference_is_counted_once_however_many_people_corrected_it(workload: Workload) -> None:
    workload.collect("a", [inference("i1"), correction("i1", by="person:maria"), correction("i1", by="person:jonas")])
    assert workload.value("select count(*) from failures") == 1
