"""A config that fits none of a source's rows is refused at the first pull; a bad row is not the config's fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import SourceError
from tasks.sources.files import FilesSource
from tasks.sources.first_look import FirstLook
from tasks.sources.mapping import compile_mapping
from tasks.sources.settings import FilesSourceConfig

INFERENCE = {
    "record": "inference",
    "inference_id": "$.call.id",
    "messages": [{"role": "user", "content": "$.prompt"}],
    "output": "$.reply",
    "model_version": "base",
    "created_at": "2026-03-01T12:00:00Z",
}
ROWS = [{"call": {"id": f"c{i}"}, "prompt": "Where?", "reply": "Here."} for i in range(5)]


def source(folder: Path, rows: list[Any], records: dict[str, Any] | None) -> FirstLook:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "calls.jsonl").write_text("\n".join(lines), encoding="utf-8")
    config = FilesSourceConfig.model_validate({"name": "calls", "path": str(folder / "*.jsonl"), "records": records})
    return FirstLook(FilesSource(config), compile_mapping(config.records) if config.records else None)


def rows_of(found: FirstLook, cursors: dict[str, str]) -> int:
    return sum(batch.height for part in found.pull(cursors) for batch in part.batches)


def test_a_path_that_no_row_has_is_named_with_the_keys_there_are(tmp_path: Path) -> None:
    found = source(tmp_path, ROWS, INFERENCE | {"output": "$.replay"})
    with pytest.raises(SourceError) as caught:
        rows_of(found, {})
    line = str(caught.value)
    assert line.startswith(f"source calls: none of the first 5 rows of {tmp_path}/calls.jsonl can be taken. Row 1: ")
    assert "inference: output: $.replay is not there; its keys are call, prompt, reply. Correct the source" in line
    assert "\n" not in line


def test_rows_that_need_a_mapping_and_have_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"it does not say which kind of record it is; .*say under records what its"):
        rows_of(source(tmp_path, ROWS, None), {})


def test_one_row_that_fits_is_enough(tmp_path: Path) -> None:
    odd = [{"odd": i} for i in range(9)]
    assert rows_of(source(tmp_path, [*odd, ROWS[0]], INFERENCE), {}) == 10


def test_what_fitted_once_is_the_rows_fault_later(tmp_path: Path) -> None:
    found = source(tmp_path, ROWS, INFERENCE | {"output": "$.replay"})
    assert rows_of(found, {"another file": "{}"}) == 5


@pytest.mark.parametrize("rows", [["{", "[1]", "nonsense", "3"], [{"odd": 1}]])
def test_broken_text_and_a_single_row_say_nothing_about_the_config(tmp_path: Path, rows: list[Any]) -> None:
    assert rows_of(source(tmp_path, rows, INFERENCE), {}) == len(rows)
