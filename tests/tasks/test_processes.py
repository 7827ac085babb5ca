"""Several processes train one adapter, as they do with a GPU each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.child import run_child
from tasks.distil import kept
from tests.tasks.test_distil import student_spec
from tests.tasks.tiny import conversations, tiny_base, tiny_spec


@pytest.mark.slow
@pytest.mark.parametrize("stages", [["sft"], ["sft", "dpo"]])
def test_two_processes_end_with_one_adapter_and_one_voice(tmp_path: Path, stages: list[str]) -> None:
    rows = conversations(40) + conversations(40, pairs=True)
    spec = tiny_spec(tmp_path / "round", tiny_base(tmp_path / "base"), rows, stages=stages)
    said: list[dict[str, Any]] = []
    result = run_child(
        "tasks.train_child:main", spec, Path(spec["folder"]), lambda **message: said.append(message), processes=2
    )
    assert result["training"]["processes"] == 2
    assert result["training"]["stages"]["sft"]["steps"] == 20, "each step takes a batch from both"
    steps = [(message["stage"], message["step"]) for message in said]
    assert len(steps) == len(set(steps)) == 20 * len(stages)
    adapters = list(Path(spec["folder"]).glob("adapter-*"))
    assert len(adapters) == len(stages)
    assert Path(result["adapter_path"]) in adapters
    assert result["training"]["loss"][-1][1] < result["training"]["loss"][0][1]


@pytest.mark.slow
def test_two_processes_are_taught_what_one_would_be(tmp_path: Path) -> None:
    """Each asks the voices about a part of the rows, and both end with all of it."""
    base = tiny_base(tmp_path / "base")
    member = tiny_spec(tmp_path / "member", base)
    adapter = run_child("tasks.train_child:main", member, Path(member["folder"]))["adapter_path"]
    spec = tiny_spec(tmp_path / "student", base, voices=[(adapter, 1.0), (None, 0.5)])
    notes: list[str] = []
    for processes in (1, 2):
        own = spec | {"kept_in": str(tmp_path / str(processes))}
        follow = (lambda note: notes.append(note)) if processes == 2 else None
        run_child("tests.tasks.teaching_child:main", own, tmp_path / str(processes), follow, processes)
    alone, *both = (kept(tmp_path / place, "taught") for place in ("1/0", "2/0", "2/1"))
    assert alone is not None
    assert len(alone.tokens) == 80, "an answer's letter and its end, of each of 40 rows"
    for taught in both:
        assert taught is not None
        np.testing.assert_array_equal(taught.tokens, alone.tokens)
        np.testing.assert_allclose(taught.shares, alone.shares, atol=1e-6)
    assert notes == sorted(set(notes), key=notes.index), "one of them speaks"
    assert notes[-1] == "100 % of the inputs are answered"


@pytest.mark.slow
def test_two_processes_end_with_one_student(tmp_path: Path) -> None:
    spec = student_spec(tmp_path / "round", tiny_base(tmp_path / "base"), champion=1.0)
    result = run_child("tasks.train_child:main", spec, Path(spec["folder"]), processes=2)
    training = result["training"]["stages"]["sft"]
    assert (training["processes"], training["distilled"], training["steps"]) == (2, True, 10 + 10 + 30)
    student = [value for step, value in training["loss"] if step > 20]
    assert student[-1] < student[0]
    assert list(Path(spec["folder"]).glob("adapter-*")) == [Path(result["adapter_path"])]
