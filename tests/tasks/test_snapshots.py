"""A snapshot is known by what its rows say: equal anywhere, and never taken once somebody has edited it."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.db import State, _migrations, _statement
from tasks.errors import StateError
from tasks.records import canonical_json
from tasks.snapshots import (
    COLUMNS,
    HASHED,
    Snapshot,
    answer_json,
    content_hash,
    freeze,
    read_conversations,
    read_snapshot,
    write_snapshot,
)
from tests.conftest import python


def row(id_: str, **changes: Any) -> dict[str, Any]:
    return {
        "signal": "correction", "signal_id": id_, "inference_id": None, "input_hash": f"h{id_}", "content_hash": "c",
        "source": "production", "producer": "person:maria", "cluster_id": "c001", "slices": "{}", "group_hash": "g",
        "prompt": json.dumps([{"role": "user", "content": f"ask {id_} é"}]),
        "chosen": '[{"content":"right","role":"assistant"}]', "rejected": None, "derived": None, "weight": 1.0,
    } | changes  # fmt: skip


def frozen(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return freeze(pl.DataFrame(rows, infer_schema_length=None))


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return write_snapshot(frozen([row(str(number)) for number in range(9)]), tmp_path / "deep")


def test_a_snapshot_is_read_back_as_it_was_frozen(snapshot: Snapshot) -> None:
    found = read_snapshot(snapshot.path, snapshot.hash)
    assert found.columns == list(COLUMNS)
    assert found["position"].to_list() == list(range(9))
    assert found["signal_id"].to_list() == [str(number) for number in range(9)]
    assert snapshot.path.name == f"snapshot-{snapshot.hash[:12]}.parquet"


def test_the_file_is_read_only_stays_and_is_alone(snapshot: Snapshot) -> None:
    first = snapshot.path.stat()
    assert first.st_mode & 0o222 == 0
    again = write_snapshot(read_snapshot(snapshot.path, snapshot.hash), snapshot.path.parent)
    assert (again, again.path.stat().st_mtime_ns) == (snapshot, first.st_mtime_ns)
    assert [file.name for file in snapshot.path.parent.iterdir()] == [snapshot.path.name]


def test_a_file_that_was_cut_short_is_written_whole(snapshot: Snapshot) -> None:
    rows = read_snapshot(snapshot.path, snapshot.hash)
    content = snapshot.path.read_bytes()
    replace(snapshot.path, content[:100])
    write_snapshot(rows, snapshot.path.parent)
    assert read_snapshot(snapshot.path, snapshot.hash).equals(rows)


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {name: TEXTS | st.none() for name in HASHED if name != "weight"}
        | {"weight": st.floats(0.01, 100, allow_nan=False)}
    ),
    min_size=1,
    max_size=6,
)


def hash_as_documented(rows: list[dict[str, Any]]) -> str:
    """The hash by the words at the head of tasks/snapshots.py, with none of its code."""
    lines = b""
    for each in rows:
        content = b""
        for name in HASHED:
            value = each[name]
            if name == "weight":
                value = str(struct.unpack(">Q", struct.pack(">d", value))[0])
            content += b"-" if value is None else f"{len(value.encode())}:".encode() + value.encode()
        lines += hashlib.sha256(content).hexdigest().encode() + b"\n"
    return hashlib.sha256(lines).hexdigest()


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_the_hash_is_the_documented_one(rows: list[dict[str, Any]]) -> None:
    assert content_hash(frozen(rows)) == hash_as_documented(rows)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms())
def test_rows_that_are_put_in_order_while_they_are_frozen_are_those_frozen_in_order(
    rows: list[dict[str, Any]], rng: random.Random
) -> None:
    order = rng.sample(range(len(rows)), len(rows))
    schema = {name: pl.Float64 if name == "weight" else pl.String for name in HASHED}
    given_ = pl.DataFrame(rows, schema=schema)
    found = freeze(given_, pl.Series(order, dtype=pl.Int64))
    assert found.equals(freeze(given_[order])) and content_hash(found) == hash_as_documented([rows[n] for n in order])


def test_the_hash_of_a_known_row_never_changes() -> None:
    """A release that changed it would refuse every snapshot that was frozen before."""
    assert content_hash(frozen([row("1", weight=0.5)])) == KNOWN


KNOWN = "2f3e10a7fa727b2d46ecf48fc50538e7d341b4a18eb40fc133455908b147ef66"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(HASHED), st.integers(0, 2), st.randoms())
def test_whatever_a_row_says_differently_is_another_snapshot(name: str, place: int, rng: random.Random) -> None:
    rows = [row(str(number)) for number in range(3)]
    before = content_hash(frozen(rows))
    rows[place] = rows[place] | {name: rng.random() if name == "weight" else f"other {rng.random()}"}
    assert content_hash(frozen(rows)) != before


def test_the_hash_does_not_depend_on_how_the_file_is_encoded(snapshot: Snapshot) -> None:
    rows = read_snapshot(snapshot.path, snapshot.hash)
    snapshot.path.unlink()
    rows.write_parquet(snapshot.path, compression="gzip", row_group_size=2, use_pyarrow=True)
    assert read_snapshot(snapshot.path, snapshot.hash).equals(rows)


def test_the_hash_is_the_same_in_another_process(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import sys
        from pathlib import Path
        import polars as pl
        from tasks.snapshots import freeze, content_hash
        print(content_hash(freeze(pl.read_parquet(sys.argv[1]))))
    """
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("POLARS_MAX_THREADS", "1")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert python(code, str(snapshot.path)).communicate()[0].strip() == snapshot.hash


def edited(snapshot: Snapshot, **columns: pl.Expr) -> None:
    rows = pl.read_parquet(snapshot.path).with_columns(**columns)
    snapshot.path.unlink()
    rows.write_parquet(snapshot.path)


AT_4 = pl.col("position") == 4


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in ("position", "weight")])
def test_an_edited_row_is_named(snapshot: Snapshot, name: str) -> None:
    edited(snapshot, **{name: pl.when(AT_4).then(pl.lit("9")).otherwise(pl.col(name))})
    id_ = 9 if name == "signal_id" else 4
    with pytest.raises(StateError, match=rf"{snapshot.path} .* row 4 \(signal {id_}\) was changed .* restore it from"):
        read_snapshot(snapshot.path, snapshot.hash)


def test_an_edited_weight_is_named(snapshot: Snapshot) -> None:
    edited(snapshot, weight=pl.when(AT_4).then(2.0).otherwise(pl.col("weight")))
    with pytest.raises(StateError, match=r"row 4 \(signal 4\) was changed"):
        read_snapshot(snapshot.path, snapshot.hash)


def test_rows_that_were_left_out_and_hashed_again_are_noticed(snapshot: Snapshot) -> None:
    rows = freeze(pl.read_parquet(snapshot.path).head(8))
    snapshot.path.unlink()
    rows.write_parquet(snapshot.path)
    with pytest.raises(StateError, match=r"its 8 rows have the hash .* rows were added, left out or exchanged"):
        read_snapshot(snapshot.path, snapshot.hash)


def test_rows_in_another_order_are_noticed(snapshot: Snapshot) -> None:
    edited(snapshot, position=pl.col("position").reverse())
    with pytest.raises(StateError, match="row 0 is out of its place"):
        read_snapshot(snapshot.path, snapshot.hash)


def test_what_a_row_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    snapshot = write_snapshot(frozen([row("a\x1b[2Jb")]), tmp_path)
    edited(snapshot, chosen=pl.lit("[]"))
    with pytest.raises(StateError) as caught:
        read_snapshot(snapshot.path, snapshot.hash)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no whole Parquet file"),
        (b"PAR1 half", "is no whole Parquet file"),
        (None, "is missing"),
    ],
)
def test_a_file_that_is_no_snapshot_is_refused(snapshot: Snapshot, content: bytes | None, message: str) -> None:
    snapshot.path.unlink()
    if content is not None:
        snapshot.path.write_bytes(content)
    with pytest.raises(StateError, match=message) as caught:
        read_snapshot(snapshot.path, snapshot.hash)
    assert str(snapshot.path) in str(caught.value)
    assert "flywheel abandon" in str(caught.value)


def test_a_file_with_other_columns_is_refused(snapshot: Snapshot) -> None:
    edited(snapshot, note=pl.lit("mine"))
    with pytest.raises(StateError, match="its columns are others"):
        read_snapshot(snapshot.path, snapshot.hash)


def test_any_flipped_bit_changes_nothing_or_is_noticed(snapshot: Snapshot) -> None:
    rows, content = read_snapshot(snapshot.path, snapshot.hash), snapshot.path.read_bytes()
    rng, noticed = random.Random(0), 0
    for _ in range(150):
        harmed = bytearray(content)
        harmed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        replace(snapshot.path, bytes(harmed))
        try:
            assert read_snapshot(snapshot.path, snapshot.hash).equals(rows)
        except StateError:
            noticed += 1
    assert noticed > 50


def test_an_answer_is_spelled_in_canonical_json() -> None:
    for text in ("plain", 'a "b"\\', "é\n"):
        assert answer_json(text) == canonical_json([{"role": "assistant", "content": text}])


def test_conversations_end_with_the_chosen_answer(tmp_path: Path) -> None:
    worse = '[{"content":"wrong","role":"assistant"}]'
    snapshot = write_snapshot(frozen([row("1"), row("2", signal="preference", rejected=worse)]), tmp_path)
    first, second = read_conversations(snapshot.path)
    assert first == {
        "messages": [{"role": "user", "content": "ask 1 é"}, {"role": "assistant", "content": "right"}],
        "tools": None, "rejected": None, "signal": "correction", "signal_id": "1", "source": "production",
    }  # fmt: skip
    assert second["rejected"] == [{"role": "assistant", "content": "wrong"}]


def test_a_snapshot_of_an_earlier_version_is_told_what_to_do(tmp_path: Path) -> None:
    old = tmp_path / "snapshot-0123456789ab.jsonl"
    old.write_text("{}\n", encoding="utf-8")
    with pytest.raises(StateError, match=r"of an earlier version, .* `flywheel abandon --config FILE`"):
        read_snapshot(old, "0" * 64)


def test_what_earlier_snapshots_were_made_of_is_kept_when_the_state_is_migrated(tmp_path: Path) -> None:
    """A state of the version before: the rows of its snapshots survive, and preferences are taken from now on."""
    old = tmp_path / "old.duckdb"
    with duckdb.connect(str(old)) as connection:
        connection.execute(_statement("create_schema_migrations"))
        for number, name, text, sha in _migrations():
            if number < 53:
                connection.execute(text)
                connection.execute(
                    _statement("record_schema_migrations"), {"numbers": [number], "names": [name], "hashes": [sha]}
                )
        connection.execute(
            "insert into snapshot_rows values ('h', 0, 'correction', 'x', null, 'i', 'c', 's', 'person:m', 'c001')"
        )
    with State(old).transaction() as tx:
        assert [(r["signal_id"], r["derived"]) for r in tx.rows("list_snapshot_rows", snapshot_hash="h")] == [
            ("x", None)
        ]
    with State(old).transaction() as tx:
        frame = pl.DataFrame(
            {
                "position": [1], "signal": ["preference"], "signal_id": ["p"], "input_hash": ["i"],
                "content_hash": ["c"], "source": ["s"], "producer": ["person:m"], "derived": ["{}"],
            }
        )  # fmt: skip
        assert tx.load("insert_snapshot_rows", frame, snapshot_hash="h") == 1
