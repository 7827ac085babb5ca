"""A base model that is made in no time, and a snapshot to train it on.

from tests.tasks.tiny import tiny_base, tiny_spec
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl

from tasks.adapters import WEIGHTS
from tasks.records import canonical_json
from tasks.sft import ALONE
from tasks.snapshots import HASHED, answer_json, freeze, write_snapshot


class Saved:
    """Saves the adapter it was given, as PEFT does."""

    def __init__(self, weights: bytes) -> None:
        self.weights = weights

    def save_pretrained(self, folder: str, **options: object) -> None:
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / WEIGHTS).write_bytes(self.weights)
        modules = json.dumps({"target_modules": list({"q_proj", "v_proj", "up_proj"}), "r": 8})
        (Path(folder) / "adapter_config.json").write_text(modules, encoding="utf-8")


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


def tiny_model(seed: int = 0, hidden_size: int = 16) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(LETTERS) + 3,
            hidden_size=hidden_size,
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


def write_conversations(rows: list[dict[str, Any]], folder: Path) -> Path:
    """A snapshot of conversations; where it is."""
    filled = [
        dict.fromkeys(HASHED, "") | {"cluster_id": None, "derived": None, "weight": 1.0} | _columns(row) for row in rows
    ]
    return write_snapshot(freeze(pl.DataFrame(filled, infer_schema_length=None)), folder).path


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    rejected = canonical_json(row["rejected"]) if "rejected" in row else None
    parts = {"prompt": canonical_json(row["messages"][:-1]), "chosen": answer_json(row["messages"][-1]["content"])}
    return parts | {"rejected": rejected} | {key: row[key] for key in ("signal", "signal_id", "source")}


def tiny_spec(folder: Path, base: Path, rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A spec of the training child: forty steps, each with a checkpoint."""
    folder.mkdir()
    snapshot = write_conversations(rows or conversations(40), folder)
    trainer = {"per_device_train_batch_size": 4, "num_train_epochs": 4, "learning_rate": 1e-2, "logging_steps": 1}
    return {
        "stages": ["sft"],
        "champion": None,
        "max_new_tokens": 4,
        "dpo": trainer | {"seed": 0, "learning_rate": 3e-2, "beta": 0.1, "loss_type": ["sigmoid", "sft"]},
        "base": str(base),
        "trusts_code": False,
        "snapshot": str(snapshot),
        "folder": str(folder),
        "max_length": 32,
        **ALONE,
        "adapter": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": "all-linear"},
        "trainer": trainer | {"seed": 0},
        "checkpoint_seconds": {"sft": 0.0, "dpo": 0.0},
    } | changes


def undecided_base(folder: Path) -> Path:
    """A base that answers a or b to anything, each half of the time, and that vLLM can serve.

    Words that it does not know are dots to it.
    """
    model, tokenizer = tiny_model(hidden_size=64), tiny_tokenizer()
    _teach(model, tokenizer, "ab")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def leaning_adapter(base: Path, folder: Path, letter: str = "b") -> Path:
    """An adapter with which `undecided_base` answers with the letter to anything, four times in five."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), lora)
    _teach(model, tiny_tokenizer(), letter)
    model.save_pretrained(str(folder))
    return folder


def _teach(model: Any, tokenizer: Any, answers: str) -> None:
    """Train on each of the answers (letters), as often as on the others, to prompts of many lengths."""
    import torch

    prompts = [f"{'. ' * turn}: {'. ' * words}:" for turn in (1, 2) for words in range(1, 15)]
    rows = [tokenizer(f"{prompt} {answer} .")["input_ids"] for prompt in prompts for answer in answers]
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    for _ in range(10):
        for length in sorted({len(row) for row in rows}):
            ids = torch.tensor([row for row in rows if len(row) == length])
            labels = ids.clone()
            labels[:, :-2] = -100
            model(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
