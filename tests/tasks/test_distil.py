"""One adapter from several: what it is asked, what the others say to it, and what it comes to say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.base_models import load_adapter, load_base
from tasks.child import run_child
from tasks.distil import FILE, Taught, keep, kept, teach, variants
from tasks.prompt_dropout import IGNORED
from tasks.train_child import main
from tests.tasks.tiny import tiny_base, tiny_spec

ROWS = st.lists(
    st.tuples(st.lists(st.integers(0, 20), max_size=12), st.lists(st.integers(40, 50), min_size=1, max_size=3)),
    min_size=1,
    max_size=8,
)


@given(ROWS, st.integers(1, 4), st.integers(0, 3))
def test_a_variant_lacks_tokens_of_what_is_asked_alone(
    drawn: list[tuple[list[int], list[int]]], copies: int, seed: int
) -> None:
    markup = {0, 1, 2}
    rows = [{"input_ids": asked + answer, "labels": [IGNORED] * len(asked) + answer} for asked, answer in drawn]
    found = variants(rows, copies, markup, seed)
    assert len(found) == copies * len(rows)
    for variant, (asked, answer) in zip(found, drawn * copies, strict=True):
        ids, labels = list(variant["input_ids"]), list(variant["labels"])
        left = iter(asked)
        assert all(token in left for token in ids[: -len(answer)]), "in their order"
        assert [token for token in ids if token in markup] == [token for token in asked if token in markup]
        assert ids[-len(answer) :] == labels[-len(answer) :] == answer
        assert set(labels[: -len(answer)]) <= {IGNORED}
    assert found == variants(rows, copies, markup, seed)


def test_variants_lack_from_nothing_to_half_of_what_is_asked() -> None:
    row = {"input_ids": [*range(10, 1010), 5], "labels": [IGNORED] * 1000 + [5]}
    lacking = [1 - (len(variant["input_ids"]) - 1) / 1000 for variant in variants([row], 200, set(), 0)]
    assert min(lacking) < 0.03
    assert 0.47 < max(lacking) < 0.55
    assert 0.2 < sum(lacking) / 200 < 0.3


def student_spec(folder: Path, base: Path, **distil: Any) -> dict[str, Any]:
    """Two members of twenty steps each, one of them on all layers, and a student of three times as many."""
    modules = ["q_proj", "v_proj", "up_proj", "embed_tokens", "lm_head"]
    options = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": modules}
    spec = tiny_spec(folder, base, members=[{}, {"adapter": options}])
    trainer = spec["trainer"] | {"num_train_epochs": 2}
    student = {"copies": 3, "champion": 0.0, "adapter": options, "trainer": trainer}
    return spec | {"trainer": trainer, "distil": student | distil}


def said(base: Path, adapter: Path | str | None, rows: list[dict[str, Any]]) -> torch.Tensor:
    model = load_base(str(base), False, dtype=torch.float32)
    model = model if adapter is None else load_adapter(model, str(adapter))
    found = []
    for row in rows:
        with torch.no_grad():
            logits = model.eval()(torch.tensor([row["input_ids"]])).logits[0, :-1]
        found.append(logits[torch.tensor(row["labels"][1:]) != IGNORED].softmax(dim=-1))
    return torch.cat(found)


def adapter_of(folder: Path) -> Path:
    return next(folder.glob("adapter-*"))


def test_the_student_learns_what_the_members_say_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it alone is what is served: of its own rank, scaled by the strength."""
    base, asked, heard = tiny_base(tmp_path / "base"), [], []

    def listen(trainer: Any, rows: Any, voices: Any, tell: Any) -> Taught:
        taught = teach(trainer, rows, voices, tell)
        asked.extend(rows)
        heard.append((voices, taught))
        return taught

    monkeypatch.setattr("tasks.distil.teach", listen)
    steps: list[tuple[int, int]] = []
    spec = student_spec(tmp_path / "run", base, champion=0.5)
    made = main(spec, lambda **told: steps.append((told["step"], told["steps"])) if "metrics" in told else None)
    members = [adapter_of(tmp_path / "run" / f"member-{number}") for number in range(2)]
    [(voices, taught)] = heard
    assert [(Path(folder) if folder else None, weight) for folder, weight in voices] == [
        (members[0], 1.0), (members[1], 1.0), (None, 0.5),
    ]  # fmt: skip
    apart = [said(base, adapter, asked) for adapter in (*members, None)]
    together = (apart[0] + apart[1] + 0.5 * apart[2]) / 2.5
    told = torch.zeros_like(together).scatter(1, torch.tensor(taught.tokens).long(), torch.tensor(taught.shares))
    torch.testing.assert_close(told, together, atol=1e-5, rtol=1e-4)

    def away(adapter: Path | str | None) -> float:
        return float((together * (together.log() - said(base, adapter, asked).log())).sum(dim=-1).mean())

    student = adapter_of(tmp_path / "run" / "student")
    assert away(student) < 0.5 * away(None)
    assert made["adapter_path"] != str(student)
    assert away(made["adapter_path"]) == pytest.approx(away(student), abs=1e-5)
    assert made["training"]["steps"] == 20 + 20 + 60
    assert not (tmp_path / "run" / "student" / FILE).exists()
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)
    assert {planned for _, planned in steps} == {100}


class Killed(Exception):
    """Raised by a parent in the middle of training: the child is killed with SIGKILL."""


def test_a_student_that_is_killed_goes_on_without_asking_the_members_again(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    undisturbed = main(student_spec(tmp_path / "undisturbed", base), lambda **_: None)
    spec = student_spec(tmp_path / "killed", base)

    def stop(**told: Any) -> None:
        if (tmp_path / "killed" / "student" / "checkpoints").is_dir() and told.get("step", 0) >= 60:
            raise Killed

    with pytest.raises(Killed):
        run_child("tasks.train_child:main", spec, tmp_path / "killed", stop)
    notes: list[str] = []
    resumed = main(spec, lambda **told: notes.append(told["note"]) if "note" in told else None)
    assert any("Training goes on from" in note for note in notes)
    assert not any("models answer" in note for note in notes)
    assert resumed["adapter_sha256"] == undisturbed["adapter_sha256"]


def test_what_was_taught_for_another_training_or_was_cut_short_is_not_taken(tmp_path: Path) -> None:
    taught = Taught(np.array([0, 1]), np.array([[7, 8]], dtype=np.int32), np.array([[0.75, 0.25]], dtype=np.float32))
    assert kept(tmp_path, "key") is None
    keep(tmp_path, "key", taught)
    found = kept(tmp_path, "key")
    assert found is not None
    assert found.shares.tolist() == [[0.75, 0.25]]
    assert kept(tmp_path, "other") is None
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    assert kept(tmp_path, "key") is None
