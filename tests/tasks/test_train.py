"""Before and after training: the snapshot that was frozen, an adapter known by its hash, tokens to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.blend import blend
from tasks.errors import FlywheelError
from tasks.rounds import stage_of
from tasks.train import IGNORED, WEIGHTS, _count_trained_tokens, _save, adapter_sha256, train
from tests.conftest import Workload, traffic


def make_adapter(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    return folder


def test_equal_adapters_have_equal_hashes(tmp_path: Path) -> None:
    one, same, other = (
        make_adapter(tmp_path / name, weights) for name, weights in (("a", b"x"), ("b", b"x"), ("c", b"y"))
    )
    assert adapter_sha256(one) == adapter_sha256(same) != adapter_sha256(other)


@pytest.mark.parametrize("missing", [WEIGHTS, "adapter_config.json"])
def test_an_adapter_that_lacks_a_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = make_adapter(tmp_path / "adapter")
    (folder / missing).unlink()
    with pytest.raises(FlywheelError, match=f"the adapter {folder} has no {missing}"):
        adapter_sha256(folder)


class Saved:
    """Saves the adapter it was given, as PEFT does."""

    def __init__(self, weights: bytes) -> None:
        self.weights = weights

    def save_pretrained(self, folder: str) -> None:
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / WEIGHTS).write_bytes(self.weights)
        (Path(folder) / "adapter_config.json").write_text("{}", encoding="utf-8")


def test_each_adapter_has_a_path_of_its_own(tmp_path: Path) -> None:
    first, other = (_save(Saved(weights), tmp_path) for weights in (b"one", b"two"))
    assert first != other
    assert adapter_sha256(first).startswith(first.name.removeprefix("adapter-"))


def test_training_again_after_a_kill_finds_the_same_path(tmp_path: Path) -> None:
    first = _save(Saved(b"one"), tmp_path)
    Saved(b"half").save_pretrained(str(tmp_path / "adapter.partial"))
    assert _save(Saved(b"one"), tmp_path) == first
    assert (first / WEIGHTS).read_bytes() == b"one"


ROWS: list[dict[str, Any]] = [{"signal_id": "c1", "source": "production"}, {"signal_id": "c2", "source": "production"}]


def test_trained_tokens_are_those_of_the_answers() -> None:
    assert _count_trained_tokens([[IGNORED, 5, 6], [IGNORED, IGNORED, 7, 8]], ROWS, 10) == 4


@pytest.mark.parametrize("labels", [[[IGNORED, 5], [IGNORED, IGNORED]], [[IGNORED, 5], [IGNORED, IGNORED, IGNORED, 7]]])
def test_a_row_without_a_token_to_learn_is_refused_by_name(labels: list[list[int]]) -> None:
    with pytest.raises(FlywheelError, match=r"training row c2 \(production\) has no assistant token"):
        _count_trained_tokens(labels, ROWS, 3)


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_snapshot_that_is_not_the_frozen_one_is_not_trained_on(workload: Workload, harm: str) -> None:
    workload.collect("a", traffic(5, 5))
    round_ = workload.to_split()
    blend(workload.config, round_)
    path = Path(workload.value("select path from snapshots"))
    path.unlink()
    if harm == "changed":
        path.write_text("other rows\n", encoding="utf-8")
    with pytest.raises(FlywheelError, match=r"is not the snapshot that was frozen \(sha256 differs\); restore it"):
        train(workload.config, round_)
    assert stage_of(workload.config, round_) == "train"
