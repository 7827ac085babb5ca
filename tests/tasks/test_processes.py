"""Several processes train one adapter, as they do with a GPU each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.child import run_child
from tasks.train import gpus
from tests.tasks.tiny import conversations, tiny_base, tiny_spec


@pytest.mark.slow
@pytest.mark.parametrize("stages", [["sft"], ["sft", "dpo"]])
def test_two_processes_end_with_one_adapter_and_one_voice(tmp_path: Path, stages: list[str]) -> None:
    rows = conversations(40) + conversations(40, pairs=True)
    spec = tiny_spec(tmp_path / "round", tiny_base(tmp_path / "base"), rows, stages=stages)
    said: list[dict[str, Any]] = []
    result = run_child(
        "tasks.train:main", spec, Path(spec["folder"]), lambda **message: said.append(message), processes=2
    )
    assert result["training"]["processes"] == 2
    assert result["training"]["stages"]["sft"]["steps"] == 20, "each step takes a batch from both"
    steps = [(message["stage"], message["step"]) for message in said]
    assert len(steps) == len(set(steps)) == 20 * len(stages)
    adapters = list(Path(spec["folder"]).glob("adapter-*"))
    assert len(adapters) == len(stages)
    assert Path(result["adapter_path"]) in adapters
    assert result["training"]["loss"][-1][1] < result["training"]["loss"][0][1]


@pytest.mark.parametrize(("visible", "count"), [("0,1,2", 3), ("", 0), ("-1", 0), ("GPU-5f, GPU-6a", 2)])
def test_the_gpus_that_a_child_will_see_are_counted(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setattr("tasks.train.version", lambda name: "2.13.0+cu130")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == count
