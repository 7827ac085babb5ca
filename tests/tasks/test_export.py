"""What was collected leaves as files for other trainers, and comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.blend import blend
from tasks.errors import ConfigError, StateError
from tasks.export import export
from tasks.snapshots import read_conversations
from tests.conftest import Workload, correction, demonstration, inference, make_workload, preference, thumb, traffic
from tests.tasks.tiny import TEMPLATE


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


@pytest.mark.parametrize("layout", ["chat", "preferences", "trl-sft", "trl-dpo"])
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


@pytest.fixture
def frozen(workload: Workload) -> Workload:
    workload.collect("a", traffic(failures=9, successes=30))
    workload.collect("b", [inference("i1", output="no"), correction("i1", "yes")])
    blend(workload.config, workload.to_split())
    return workload


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl"])
def test_a_snapshot_leaves_as_it_was_frozen(frozen: Workload, tmp_path: Path, name: str) -> None:
    snapshot_hash = frozen.value("select snapshot_hash from snapshots")
    path = tmp_path / name
    rows = export(frozen.config, "trl-sft", path, snapshot_hash[:8])
    expected = read_conversations(Path(frozen.value("select path from snapshots")))
    assert loaded(path)["messages"] == [row["messages"] for row in expected]
    assert rows == len(expected)


def loaded(path: Path) -> Any:
    """The file as a trainer reads it."""
    from datasets import load_dataset

    kind = "parquet" if path.suffix == ".parquet" else "json"
    cache = str(path.parent / "cache")
    return load_dataset(kind, data_files=str(path), split="train", cache_dir=cache)


def test_a_version_names_its_snapshot(frozen: Workload, tmp_path: Path) -> None:
    round_ = frozen.open()
    for stage in ("train", "regress", "gate"):
        frozen.skip(round_, stage)
    frozen.register(round_, "7")
    rows = export(frozen.config, "trl-sft", tmp_path / "x.jsonl", "v7")
    assert rows == frozen.value("select rows from snapshots")


def test_a_snapshot_that_is_not_there_or_was_edited_is_refused(frozen: Workload, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="has no snapshot or version 9;"):
        export(frozen.config, "trl-sft", tmp_path / "x.jsonl", "9")
    with pytest.raises(StateError, match="no row with a worse answer; leave out --snapshot"):
        export(frozen.config, "trl-dpo", tmp_path / "x.jsonl", frozen.value("select snapshot_hash from snapshots"))
    with pytest.raises(StateError, match="cannot be written"):
        export(frozen.config, "trl-sft", tmp_path / "no" / "x.parquet")
    path = Path(frozen.value("select path from snapshots"))
    path.unlink()
    with pytest.raises(StateError, match=f"the snapshot {path} is missing"):
        export(frozen.config, "trl-sft", tmp_path / "x.jsonl", frozen.value("select snapshot_hash from snapshots"))
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("layout", "name", "snapshot"),
    [("chat", "x.jsonl", "1"), ("preferences", "x.parquet", None), ("csv", "x.csv", None)],
)
def test_what_a_format_cannot_hold_is_refused(
    frozen: Workload, tmp_path: Path, layout: str, name: str, snapshot: str | None
) -> None:
    with pytest.raises(ConfigError, match=layout):
        export(frozen.config, layout, tmp_path / name, snapshot)


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl"])
def test_trls_trainers_take_the_files(frozen: Workload, tmp_path: Path, name: str) -> None:
    """Tokenized by the trainers themselves: the prompt, and the answers after it."""
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    options: dict[str, Any] = {"output_dir": str(tmp_path / "out"), "report_to": "none", "use_cpu": True, "bf16": False}
    for layout in ("trl-sft", "trl-dpo"):
        (tmp_path / layout).mkdir()
        rows = export(frozen.config, layout, tmp_path / layout / name)
        dataset = loaded(tmp_path / layout / name)
        assert len(dataset) == rows
        model, tokenizer = tiny_model()
        if layout == "trl-sft":
            sft = SFTTrainer(
                model, SFTConfig(**options, assistant_only_loss=True), train_dataset=dataset, processing_class=tokenizer
            )
            assert all(any(label != -100 for label in row["labels"]) for row in sft.train_dataset)
        else:
            reference = tiny_model()[0]
            dpo = DPOTrainer(model, reference, DPOConfig(**options), train_dataset=dataset, processing_class=tokenizer)
            assert dpo.compute_loss(dpo.model, next(iter(dpo.get_train_dataloader()))).item() > 0


def tiny_model() -> tuple[Any, Any]:
    """A language model of a few hundred parameters, with a tokenizer that knows two words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<pad>": 0, ".": 1, "yes": 2}, unk_token="."))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token=".", chat_template=TEMPLATE
    )
    shape = {"vocab_size": 3, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = LlamaConfig(**shape, num_attention_heads=1, pad_token_id=0, eos_token_id=1, bos_token_id=None)
    return LlamaForCausalLM(config), tokenizer
