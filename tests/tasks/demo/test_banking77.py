"""BANKING77 from toy files: the split, the reviews, and what a broken file is told."""

from pathlib import Path

import pytest

from tasks.demo import banking77
from tasks.errors import ConfigError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, rows in (("train", 10), ("test", 3)):
        lines = [f'"question {index}, please",intent_{index % 2}' for index in range(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,category", *lines]) + "\n")
    return tmp_path


def test_the_split_is_complete_disjoint_and_repeatable(data: Path) -> None:
    loaded = banking77.load(data, base_rows=4)
    assert (len(loaded.base), len(loaded.production), len(loaded.test)) == (4, 6, 3)
    assert len({row.row_id for row in loaded.base + loaded.production}) == 10
    assert loaded == banking77.load(data, base_rows=4)
    assert loaded.base != banking77.load(data, base_rows=4, seed=1).base


def test_the_annotator_corrects_what_is_wrong_and_confirms_what_is_right(data: Path) -> None:
    rows = banking77.load(data, base_rows=4).production
    records = banking77.review(rows, ["other", *(row.truth for row in rows[1:])], model_version="base")
    judged = [record for record in records if record["record"] != "inference"]
    assert [record["record"] for record in judged] == ["correction"] + ["thumb"] * 5
    assert judged[0]["corrected_output"] == rows[0].truth
    assert {record["producer"] for record in judged} == {"person:annotator"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("text,category\nhow,\n", r"train\.csv row 2: category is empty"),
        ("text,intent\nhow,a_b\n", r"train\.csv has no column category"),
        ("text,category\nhow,a_b\n", "has 1 rows"),
        (None, r"train\.csv cannot be read"),
    ],
)
def test_a_broken_file_is_named_with_its_row(data: Path, content: str | None, complaint: str) -> None:
    (data / "train.csv").unlink()
    if content is not None:
        (data / "train.csv").write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        banking77.load(data)
