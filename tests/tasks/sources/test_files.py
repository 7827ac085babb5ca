"""Files of every format give the same rows; one that is broken half-way leaves everything as it was."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import tasks.sources.files as files
from tasks.errors import SourceError
from tasks.sources.files import FilesSource, read_lines
from tasks.sources.settings import FilesSourceConfig
from tests.conftest import correction, inference, lines, make_workload, quarantining

RECORDS = [inference("i1", output="Grüße, \u2028 «x»"), correction("i1")]


def source(path: Path | str, **settings: Any) -> FilesSource:
    return FilesSource(FilesSourceConfig(name="production", path=str(path), **settings))


def rows(found: FilesSource) -> list[tuple[int, Any]]:
    """(row, parsed row) of every part."""
    return [
        (row, json.loads(raw)) for part in found.pull({}) for batch in part.batches for row, raw in batch.iter_rows()
    ]


def test_compressed_lines_are_lines(tmp_path: Path) -> None:
    text = lines(RECORDS).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(text))
    (tmp_path / "a.jsonl").write_bytes(text)
    expected = list(enumerate(RECORDS, start=1))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        assert rows(source(tmp_path / name)) == expected


def test_rows_of_parquet_and_csv_are_objects_by_column(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": ["a", "b"], "text": ['with "quotes", commas\nand lines', ""], "tags": [["x"], []]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.drop("tags").write_csv(tmp_path / "a.csv")
    assert rows(source(tmp_path / "a.parquet")) == list(enumerate(frame.to_dicts(), start=1))
    assert rows(source(tmp_path / "a.csv")) == [
        (3, frame.drop("tags").row(0, named=True)),
        (4, {"id": "b", "text": ""}),
    ]


def test_a_storage_that_is_not_local_is_read_alike(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/flywheel-test/a.jsonl", lines(RECORDS).encode())
    found = source("memory://flywheel-test/*.jsonl")
    assert [row for _, row in rows(found)] == RECORDS
    part = next(found.pull({}))
    assert list(found.pull({part.name: part.cursor})) == []


def test_a_csv_row_of_another_length_is_set_aside_with_its_line(tmp_path: Path) -> None:
    record = {
        "record": "thumb",
        "inference_id": "i1",
        "value": "up",
        "producer": "person:x",
        "created_at": "2026-03-01T12:00:00Z",
    }
    (tmp_path / "a.csv").write_text(",".join(record) + "\n" + ",".join(record.values()) + "\nonly,three,cells\n")
    workload = make_workload(tmp_path, sources=[{"name": "votes", "path": str(tmp_path / "a.csv")}])
    found = workload.collect()
    assert (found.stored, found.quarantined) == (1, 1)
    assert workload.rows("select row, raw from quarantined_rows") == [{"row": 3, "raw": '["only", "three", "cells"]'}]


@pytest.mark.parametrize(("name", "content"), [("a.jsonl.gz", b"\x1f\x8b broken"), ("a.parquet", b"PAR1 broken")])
def test_a_broken_file_leaves_the_state_as_it_was(tmp_path: Path, name: str, content: bytes) -> None:
    workload = make_workload(tmp_path, sources=[{"name": "production", "path": str(tmp_path / "traffic" / "*")}])
    workload.collect("0", [inference("i0")])
    before = workload.content()
    workload.write("1", [inference("i1")])
    (tmp_path / "traffic" / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"source production: .*{name} cannot be read: .*; nothing was stored"):
        workload.collect()
    assert workload.content() == before


def test_a_file_that_is_cut_short_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    """The rows before the cut must not be stored with a cursor that says the file was read."""
    workload = make_workload(tmp_path, sources=[{"name": "production", "path": str(tmp_path / "traffic" / "*")}])
    (tmp_path / "traffic").mkdir()
    path = tmp_path / "traffic" / "a.jsonl.gz"
    whole = gzip.compress(lines([inference(f"i{n}") for n in range(2000)]).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="cannot be read"):
        workload.collect()
    assert not workload.config.database.exists()
    path.write_bytes(whole)
    assert workload.collect().stored == 2000


def test_rows_are_mapped_as_the_config_says(tmp_path: Path) -> None:
    mapping = [
        {
            "record": "inference", "inference_id": "$.id", "messages": [{"role": "user", "content": "$.question"}],
            "output": "$.answer", "model_version": "7", "created_at": "$.at", "slices": {"language": "$.lang"},
        },
        {
            "record": "correction", "when": "$.right", "inference_id": "$.id", "corrected_output": "$.right",
            "producer": "person:{$.reviewer}", "created_at": "$.at",
        },
    ]  # fmt: skip
    row = {"id": "c1", "question": "Where?", "answer": "no", "at": "2026-03-01T12:00:00Z", "lang": "de"}
    reviewed = row | {"id": "c2", "right": "there", "reviewer": "maria"}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in (row, reviewed, {"id": "c3"})))
    workload = make_workload(tmp_path, sources=[{"name": "calls", "path": str(path), "records": mapping}])
    found = workload.collect()
    assert (found.read, found.stored, found.quarantined) == (4, 3, 1)
    assert workload.rows("select inference_id, corrected_output, corrected_by, model_output from corrections") == [
        {"inference_id": "c2", "corrected_output": "there", "corrected_by": "person:maria", "model_output": "no"}
    ]
    assert workload.value("select row from quarantined_rows") == 3


@given(
    parts=st.lists(st.sampled_from([b"a", b"", b"  ", b"\xff", "ü".encode(), b"x" * 50, b"\r"]), max_size=12),
    end=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_lines_are_the_same_however_they_are_cut_into_chunks(parts: list[bytes], end: bool, chunk: int) -> None:
    text = b"\n".join(parts) + (b"\n" if end else b"")
    expected = [(n, line.strip()) for n, line in enumerate(text.split(b"\n"), start=1) if line.strip()]
    before, files.CHUNK_BYTES = files.CHUNK_BYTES, chunk
    try:
        found = [
            (row, (raw if isinstance(raw, bytes) else raw.encode()).strip())
            for batch in read_lines(io.BytesIO(text))
            for row, raw in batch.iter_rows()
        ]
    finally:
        files.CHUNK_BYTES = before
    assert found == expected


def test_a_row_that_is_no_text_does_not_take_its_neighbours_with_it(tmp_path: Path) -> None:
    workload = quarantining(tmp_path)
    found = workload.collect("a", lines([inference("i1")]).encode() + b"\xff\xfe\n" + lines([inference("i2")]).encode())
    assert (found.stored, found.quarantined) == (2, 1)
    assert workload.value("select row from quarantined_rows") == 2


def test_where_a_relative_path_was_looked_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=f"no file matches logs/.+ in {tmp_path}; correct its path in the config"):
        list(source("logs/*.jsonl").pull({}))
