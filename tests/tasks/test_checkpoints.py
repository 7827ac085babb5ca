"""A training that was killed goes on from its last whole checkpoint, and ends as it would have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.checkpoints import MANIFEST, _step, last_whole, seal
from tasks.child import run_child
from tasks.train_child import main
from tests.tasks.tiny import tiny_base, tiny_spec


def checkpoint(folder: Path, step: int, key: str = "k") -> Path:
    made = folder / f"checkpoint-{step}"
    (made / "deep").mkdir(parents=True)
    (made / "weights").write_bytes(b"w" * step)
    (made / "deep" / "state").write_bytes(b"s")
    seal(made, key)
    return made


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert last_whole(tmp_path, "k").folder is None
    for step in (5, 100, 20):
        checkpoint(tmp_path, step)
    assert last_whole(tmp_path, "k").folder == tmp_path / "checkpoint-100"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "was cut short"),
        (lambda folder: (folder / MANIFEST).write_text('{"key": "k", "fi', encoding="utf-8"), "was cut short"),
        (lambda folder: (folder / "weights").write_bytes(b"w"), "has another weights than was saved"),
        (lambda folder: (folder / "deep" / "state").unlink(), "lacks deep/state"),
        (lambda folder: seal(folder, "other"), "is of another training"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_passed_over_with_the_reason(tmp_path: Path, harm: Any, reason: str) -> None:
    before, newest = checkpoint(tmp_path, 5), checkpoint(tmp_path, 9)
    harm(newest)
    found = last_whole(tmp_path, "k")
    assert found.folder == before
    assert found.passed_over == (f"{newest} {reason}",)


class Killed(Exception):
    """Raised by a parent in the middle of training: the child is killed with SIGKILL."""


def train_until(spec: dict[str, Any], step: int, stage: str = "sft") -> None:
    def stop(**message: Any) -> None:
        if message["stage"] == stage and message.get("step", 0) >= step:
            raise Killed

    with pytest.raises(Killed):
        run_child("tasks.train_child:main", spec, Path(spec["folder"]), stop)


def train(spec: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the child would return and say, in this process."""
    said: list[dict[str, Any]] = []
    return main(spec, lambda **message: said.append(message)), said


def test_a_killed_training_goes_on_and_ends_with_the_same_adapter(tmp_path: Path) -> None:
    """Killed in the middle of an epoch, with both kinds of dropout, and its newest checkpoint cut short."""
    base = tiny_base(tmp_path / "base")
    whole, spec = (tiny_spec(tmp_path / name, base) for name in ("undisturbed", "killed"))
    for each in (whole, spec):
        each["trainer"]["prompt_dropout"] = 0.2
    undisturbed, _ = train(whole)
    train_until(spec, 17)
    checkpoints = sorted((tmp_path / "killed" / "checkpoints" / "sft").iterdir())
    assert 1 <= len(checkpoints) <= 3
    (checkpoints[-1] / MANIFEST).unlink(missing_ok=True)
    resumed, said = train(spec)
    notes = [message["note"] for message in said if "note" in message]
    assert any("was cut short; it is passed over" in note for note in notes)
    assert any("Training goes on from" in note for note in notes)
    earlier, *others = [message for message in said if "step" in message]
    assert min(message["step"] for message in others) > 10
    steps = [step for step, _ in earlier["earlier"]] + [message["step"] for message in others]
    assert steps == list(range(1, 41)), "a parent that was killed may have told nobody of the first ones"
    assert earlier["earlier"][0][1].keys() == others[0]["metrics"].keys()
    assert resumed["training"]["resumed_from"] > 10
    assert resumed["adapter_sha256"] == undisturbed["adapter_sha256"]
    assert [step for step, _ in resumed["training"]["loss"]] == list(range(1, 41))
    assert not list((tmp_path / "killed" / "checkpoints" / "sft").parent.rglob("checkpoint-*"))


def test_a_training_goes_on_before_a_checkpoint_that_was_harmed(tmp_path: Path) -> None:
    """A bit of its weights has flipped on the disk: it looks whole, and is not trained on from."""
    base = tiny_base(tmp_path / "base")
    undisturbed, _ = train(tiny_spec(tmp_path / "undisturbed", base))
    spec = tiny_spec(tmp_path / "killed", base)
    train_until(spec, 17)
    whole = sorted(
        (tmp_path / "killed" / "checkpoints" / "sft").glob("*/whole.json"), key=lambda file: _step(file.parent)
    )
    weights = whole[-1].parent / "adapter_model.safetensors"
    harmed = bytearray(weights.read_bytes())
    harmed[-1] ^= 1
    weights.write_bytes(harmed)
    resumed, said = train(spec)
    notes = [message["note"] for message in said if "note" in message]
    assert any("has another adapter_model.safetensors than was saved; it is passed over" in note for note in notes)
    assert resumed["adapter_sha256"] == undisturbed["adapter_sha256"]


def test_a_stage_that_was_finished_is_not_trained_again(tmp_path: Path) -> None:
    """Killed between the end of training and the database's transaction."""
    spec = tiny_spec(tmp_path / "round", tiny_base(tmp_path / "base"))
    spec["trainer"]["num_train_epochs"] = 1
    first, said = train(spec)
    steps = [(message["step"], message["metrics"]) for message in said]
    again, said = train(spec)
    (told,) = said
    assert told["earlier"] == [[step, metrics] for step, metrics in steps]
    assert again == first
    changed = json.loads(json.dumps(spec)) | {"max_length": 31}
    assert train(changed)[1] != []
