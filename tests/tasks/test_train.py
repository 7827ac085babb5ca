"""Before and after training: the snapshot that was frozen, an adapter known by its hash, tokens to learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.blend import blend
from tasks.errors import FlywheelError
from tasks.rounds import stage_of
from tasks.train import _save, main, train
from tasks.trainers import sft_trainer
from tests.conftest import Workload, python, traffic
from tests.tasks.tiny import Saved, conversations, tiny_base, tiny_model, tiny_spec


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


BASE = "org/base"


def test_each_adapter_has_a_path_of_its_own(tmp_path: Path) -> None:
    first, other = (_save(Saved(weights), tmp_path, BASE) for weights in (b"one", b"two"))
    assert first != other
    assert adapter_sha256(first).startswith(first.name.removeprefix("adapter-"))


def test_the_same_training_has_the_same_hash_whatever_the_order_of_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import sys
        from pathlib import Path
        from tasks.train import _save
        from tests.tasks.tiny import Saved
        print(_save(Saved(b"one"), Path(sys.argv[1]), "org/base").name)
    """
    running = []
    for seed in "1234":
        (tmp_path / seed).mkdir()
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        running.append(python(code, str(tmp_path / seed)))
    names = {process.communicate()[0] for process in running}
    assert len(names) == 1 and names != {""}


TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }} ."
    "{% endgeneration %}{% else %}{{ message['content'] }} {% endif %}{% endfor %}"
)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_trl(tmp_path: Path, smoothing: float) -> None:
    """Answers that begin and end at different places; padding; answers in the middle of a conversation."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import SFTTrainer

    words = {word: place for place, word in enumerate(["<pad>", ".", *"abcdefgh"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="."))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token=".", chat_template=TEMPLATE
    )
    talks = [["a b c", "d"], ["a", "b c d e"], ["f g h a b c d", "e f"], ["a b", "c", "d e f", "g h"]]
    messages = [
        [{"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(talk)]
        for talk in talks
    ]
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=10,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    spec = {
        "folder": str(tmp_path), "max_length": 32,
        "trainer": {"per_device_train_batch_size": 4, "seed": 0, "label_smoothing_factor": smoothing},
    }  # fmt: skip
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    trainer = sft_trainer(spec, model, tokenizer, Dataset.from_list([{"messages": m} for m in messages]), lora)
    batch = next(iter(trainer.get_train_dataloader()))
    for given in (None, torch.tensor(100)):
        ours = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=given)
        trls = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch), num_items_in_batch=given)
        torch.testing.assert_close(ours, trls)
        gradients = []
        for loss in (ours, trls):
            trainer.model.zero_grad()
            loss.backward()
            gradients.append([p.grad.clone() for p in trainer.model.parameters() if p.grad is not None])
        assert len(gradients[0]) == 28
        torch.testing.assert_close(gradients[0], gradients[1])


def test_training_again_after_a_kill_finds_the_same_path(tmp_path: Path) -> None:
    first = _save(Saved(b"one"), tmp_path, BASE)
    Saved(b"half").save_pretrained(str(tmp_path / "adapter.partial"))
    assert _save(Saved(b"one"), tmp_path, BASE) == first
    assert (first / WEIGHTS).read_bytes() == b"one"


def test_a_row_without_a_token_to_learn_is_refused_by_name(tmp_path: Path) -> None:
    rows = conversations(3)
    rows[1]["messages"][0]["content"] = "a " * 40
    rows[1]["signal_id"] = "long"
    spec = tiny_spec(tmp_path / "round", tiny_base(tmp_path / "base"), rows)
    with pytest.raises(FlywheelError, match=r"training row long \(production\) has no assistant token"):
        main(spec, lambda **message: None)


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


def change(adapter: str) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight of the base."""
    folder = Path(adapter)
    options = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / WEIGHTS)
    return {
        name: weights[name.replace("lora_A", "lora_B")] @ weights[name] * options["lora_alpha"] / options["r"]
        for name in weights
        if "lora_A" in name
    }


def test_members_are_averaged_and_scaled_exactly(tmp_path: Path) -> None:
    """And each is trained once, whatever is made of them; their progress is that of one training."""
    steps: list[tuple[int, int]] = []

    def follow(**message: Any) -> None:
        if "metrics" in message:
            steps.append((message["step"], message["steps"]))

    spec = tiny_spec(tmp_path / "one", tiny_base(tmp_path / "base"), members=[{}] * 2, strength=0.5)
    spec["trainer"]["num_train_epochs"] = 1
    made = main(spec, follow)
    alone = [
        main(
            tiny_spec(tmp_path / f"alone{seed}", tmp_path / "base") | {"trainer": spec["trainer"] | {"seed": seed}},
            follow,
        )
        for seed in range(2)
    ]
    parts = [change(each["adapter_path"]) for each in alone]
    for name, value in change(made["adapter_path"]).items():
        torch.testing.assert_close(value, 0.5 * sum(part[name] for part in parts) / 2)
    assert made["training"]["steps"] == 2 * alone[0]["training"]["steps"] == steps[19][0] == steps[0][1]
    assert [step for step, _ in steps[:20]] == list(range(1, 21))
    steps.clear()
    stronger = main(spec | {"strength": 1.0}, follow)
    assert steps == []
    for name, value in change(stronger["adapter_path"]).items():
        torch.testing.assert_close(value, 2 * change(made["adapter_path"])[name])


def test_members_of_different_recipes_are_averaged_where_each_has_a_part(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    small, wide = (
        {"r": rank, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": modules}
        for rank, modules in ((4, ["q_proj"]), (2, ["q_proj", "lm_head"]))
    )
    trainer = tiny_spec(tmp_path / "any", base)["trainer"] | {"num_train_epochs": 1}
    recipes = [{"adapter": small}, {"adapter": wide, "trainer": trainer | {"learning_rate": 1e-3}}]
    made = main(tiny_spec(tmp_path / "both", base, trainer=trainer, members=recipes), lambda **_: None)
    alone = []
    for seed, recipe in enumerate(recipes):
        own = {"trainer": trainer} | recipe
        spec = tiny_spec(tmp_path / f"alone{seed}", base, **own | {"trainer": own["trainer"] | {"seed": seed}})
        alone.append(change(main(spec, lambda **_: None)["adapter_path"]))
    both = change(made["adapter_path"])
    assert both.keys() == alone[1].keys() > alone[0].keys()
    for name, value in both.items():
        torch.testing.assert_close(value, (alone[0].get(name, torch.zeros_like(value)) + alone[1][name]) / 2)


def test_an_adapter_on_embeddings_and_output_layer_is_trained_and_nothing_else_is_stored(tmp_path: Path) -> None:
    """TRL's own loss would leave the output layer's part at zero, and PEFT would add the base's embeddings."""
    modules = ["q_proj", "embed_tokens", "lm_head"]
    adapter = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": modules}
    made = main(
        tiny_spec(tmp_path / "run", tiny_base(tmp_path / "base"), adapter=adapter, members=[{}] * 2), lambda **_: None
    )
    weights = load_file(Path(made["adapter_path"]) / WEIGHTS)
    assert all("lora_" in name and weight.any() for name, weight in weights.items())
    assert {module for module in modules for name in weights if module in name} == set(modules)


def test_an_adapter_on_an_output_layer_that_is_the_embeddings_too_is_refused(tmp_path: Path) -> None:
    model, lora = tiny_model(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"])
    model.config.tie_word_embeddings = True
    with pytest.raises(FlywheelError, match=r"shares its weights with the embeddings.*; remove it"):
        sft_trainer({"folder": str(tmp_path), "max_length": 32, "trainer": {}}, model, None, None, lora)
