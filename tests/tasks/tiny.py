"""A base model that is made in no time, and a snapshot to train it on.

from tests.tasks.tiny import tiny_base, tiny_spec
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnop"
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }} ."
    "{% endgeneration %}{% else %}{{ message['content'] }} : {% endif %}{% endfor %}"
)


def tiny_tokenizer() -> Any:
    """One token a letter; `.` ends an answer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(["<pad>", ".", ":", *LETTERS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="."))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token=".", chat_template=TEMPLATE, padding_side="left"
    )


def tiny_model(seed: int = 0) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(LETTERS) + 3,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )


def tiny_base(folder: Path, seed: int = 0) -> Path:
    tiny_model(seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def conversations(count: int, pairs: bool = False) -> list[dict[str, Any]]:
    """Rows as a snapshot has them: letters are answered by the first of them; in pairs, a is better than b."""
    rng = random.Random(0)
    rows = []
    for number in range(count):
        letters = rng.choices(LETTERS, k=rng.randint(3, 12))
        rejected = [{"role": "assistant", "content": "b"}]
        chosen, pair = ("a", {"signal": "preference", "rejected": rejected}) if pairs else (letters[0], {})
        messages = [{"role": "user", "content": " ".join(letters)}, {"role": "assistant", "content": chosen}]
        signal = {"signal": "correction", "signal_id": f"c{number}", "source": "production"}
        rows.append({"messages": messages} | signal | pair)
    return rows


def tiny_spec(folder: Path, base: Path, rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A spec of the training child: forty steps, each with a checkpoint."""
    folder.mkdir()
    snapshot = folder / "snapshot.jsonl"
    snapshot.write_text("".join(json.dumps(row) + "\n" for row in rows or conversations(40)), encoding="utf-8")
    trainer = {"per_device_train_batch_size": 4, "num_train_epochs": 4, "learning_rate": 1e-2, "logging_steps": 1}
    return {
        "stages": ["sft"],
        "champion": None,
        "max_new_tokens": 4,
        "dpo": trainer | {"seed": 0, "learning_rate": 3e-2, "beta": 0.1, "loss_type": ["sigmoid", "sft"]},
        "base": str(base),
        "snapshot": str(snapshot),
        "folder": str(folder),
        "max_length": 32,
        "adapter": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": "all-linear"},
        "trainer": trainer | {"seed": 0},
        "checkpoint_seconds": {"sft": 0.0, "dpo": 0.0},
    } | changes
