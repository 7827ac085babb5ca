"""The trainers' own loss, against TRL's, and adapters that they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig

from tasks.errors import FlywheelError
from tasks.trainers import sft_trainer
from tests.tasks.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_trl(tmp_path: Path, smoothing: float) -> None:
    """Answers that begin and end at different places; padding; answers in the middle of a conversation."""
    from datasets import Dataset
    from trl import SFTTrainer

    talks = [["a b c", "d"], ["a", "b c d e"], ["f g h a b c d", "e f"], ["a b", "c", "d e f", "g h"]]
    messages = [
        [{"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(talk)]
        for talk in talks
    ]
    spec = {
        "folder": str(tmp_path), "max_length": 32,
        "trainer": {"per_device_train_batch_size": 4, "seed": 0, "label_smoothing_factor": smoothing},
    }  # fmt: skip
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    trainer = sft_trainer(
        spec, tiny_model(), tiny_tokenizer(), Dataset.from_list([{"messages": m} for m in messages]), lora
    )
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


def test_an_adapter_on_an_output_layer_that_is_the_embeddings_too_is_refused(tmp_path: Path) -> None:
    model, lora = tiny_model(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"])
    model.config.tie_word_embeddings = True
    with pytest.raises(FlywheelError, match=r"shares its weights with the embeddings.*; remove it"):
        sft_trainer({"folder": str(tmp_path), "max_length": 32, "trainer": {}}, model, None, None, lora)
