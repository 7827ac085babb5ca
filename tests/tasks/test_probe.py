"""Whether an adapter loads in vLLM and answers, asked of a real engine in a child process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.adapters import WEIGHTS
from tasks.errors import ChildError, FlywheelError
from tasks.probe import probe, real_input
from tests.conftest import Workload, inference, make_config, make_workload, traffic
from tests.tasks.tiny import leaning_adapter, undecided_base


def test_the_input_is_the_shortest_that_production_has_seen(workload: Workload) -> None:
    workload.collect("a", [*traffic(3, given=2), inference("short", "a b c")])
    assert '"a b c"' in real_input(workload.config)


def test_where_nothing_was_seen_that_is_said(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    with pytest.raises(FlywheelError, match="does not exist yet"):
        real_input(config)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_real_engine_answers_and_refuses_what_is_broken(tmp_path: Path) -> None:
    base = undecided_base(tmp_path / "base")
    adapter = leaning_adapter(base, tmp_path / "adapter")
    model = {"base": str(base), "max_length": 64, "max_new_tokens": 8}
    workload = make_workload(tmp_path / "workload", model=model)
    workload.collect("a", [inference("short", "c d e")])
    assert probe(workload.config, str(adapter), tmp_path / "log")["answer"].strip().startswith("b")
    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    (broken / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(
        ChildError, match=r"tasks\.probe:main ended with status .*Safetensor.* \(the whole story: .*probe\.log"
    ):
        probe(workload.config, str(broken), tmp_path / "log")
    _fill(adapter / WEIGHTS, float("nan"), broken / WEIGHTS)
    with pytest.raises(FlywheelError, match="vLLM computes no numbers"):
        probe(workload.config, str(broken), tmp_path / "log")


def _fill(weights: Path, value: float, target: Path) -> None:
    """Write an adapter's weights with one number in all places."""
    from safetensors.numpy import load_file, save_file

    parts = load_file(weights)
    for part in parts.values():
        part.fill(value)
    save_file(parts, target)
