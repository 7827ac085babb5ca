"""What was collected leaves as files for other trainers, and comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import StateError
from tasks.export import export
from tests.conftest import Workload, correction, demonstration, inference, make_workload, preference, thumb


def test_right_answers_come_back_as_demonstrations(workload: Workload, tmp_path: Path) -> None:
    workload.collect(
        "a", [inference("i1"), correction("i1"), inference("i2", output="fine"), thumb("i2"), demonstration("d1")]
    )
    path = tmp_path / "train.jsonl"
    assert export(workload.config, "chat", path) == 3
    preset = {"preset": "openai_fine_tuning", "producer": "person:maria", "created_at": "2026-03-01T00:00:00Z"}
    source = {"name": "seed", "path": str(path), "records": preset}
    back = make_workload(tmp_path / "back", sources=[source])
    assert back.collect().by_kind == {"demonstrations": 3}
    answers = "select list(output order by output) from demonstrations"
    assert back.value(answers) == ["fine", "right", "right"]


def test_a_correction_is_a_better_and_a_worse_answer(workload: Workload, tmp_path: Path) -> None:
    workload.collect("a", [inference("i1", output="no"), correction("i1", "yes")])
    assert export(workload.config, "preferences", tmp_path / "p.jsonl") == 1
    line = json.loads((tmp_path / "p.jsonl").read_text())
    assert line["preferred_output"][0]["content"] == "yes"
    assert line["non_preferred_output"][0]["content"] == "no"


def test_a_tie_is_no_pair(workload: Workload, tmp_path: Path) -> None:
    tied, close = preference("p1", "one", "other", scale=5, degree=0), preference("p2", scale=5, degree=1)
    assert workload.collect("a", [tied, close, preference("p3")]).by_kind == {"preferences": 3}
    assert export(workload.config, "preferences", tmp_path / "p.jsonl") == 2
    assert "other" not in (tmp_path / "p.jsonl").read_text()


@pytest.mark.parametrize("layout", ["chat", "preferences"])
def test_what_a_round_would_leave_out_is_not_exported(workload: Workload, tmp_path: Path, layout: str) -> None:
    """A revised correction, two people who disagree, and one that agrees with the model, before there was any round."""
    calls = [inference(f"i{n}") for n in range(3)]
    fixes = [correction("i0", "first"), correction("i0", "second", minutes=5), correction("i1", "wrong")]
    workload.collect("a", calls + fixes + [correction("i2", "this"), correction("i2", "that", by="person:jo")])
    path = tmp_path / "x.jsonl"
    assert export(workload.config, layout, path) == 1
    assert "second" in path.read_text()


def test_what_came_in_after_an_open_round_waits(workload: Workload, tmp_path: Path) -> None:
    workload.collect("a", [inference("i1"), correction("i1")])
    workload.open()
    workload.collect("b", [inference("i2"), correction("i2")])
    assert export(workload.config, "chat", tmp_path / "x.jsonl") == 1


def test_nothing_to_export_and_nowhere_to_write_are_said(workload: Workload, tmp_path: Path) -> None:
    workload.collect("a", [inference("i1")])
    with pytest.raises(StateError, match="no signals for chat yet"):
        export(workload.config, "chat", tmp_path / "x.jsonl")
    workload.collect("b", [correction("i1")])
    with pytest.raises(StateError, match="cannot be written"):
        export(workload.config, "chat", tmp_path / "no" / "such" / "x.jsonl")
