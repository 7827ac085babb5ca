"""Training refuses a snapshot that is not the frozen one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.blend import blend
from tasks.errors import FlywheelError
from tasks.rounds import stage_of
from tasks.train import train
from tests.conftest import Workload, traffic


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_snapshot_that_is_not_the_frozen_one_is_not_trained_on(workload: Workload, harm: str) -> None:
    workload.collect("a", traffic(5, 5))
    round_ = workload.to_split()
    blend(workload.config, round_)
    path = Path(workload.value("select path from snapshots"))
    path.unlink()
    if harm == "changed":
        path.write_text("other rows\n", encoding="utf-8")
    with pytest.raises(FlywheelError, match=f"{path} is (missing|no whole Parquet file).*; restore it from"):
        train(workload.config, round_)
    assert stage_of(workload.config, round_) == "train"
