"""Plays production: answers prompts as the deployed model would, greedily, with its adapter if it has one.

The rounds themselves judge models through vLLM; this is only where the demo's traffic comes from.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base_models import load_adapter, load_base, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Message = dict[str, str]


def answer(
    base: Path | str,
    adapter: Path | None,
    prompts: Sequence[list[Message]],
    max_new_tokens: int = 32,
    batch_size: int = 128,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """One answer a prompt, in the order of `prompts` (each: messages up to the user's); float32, greedy.

    `adapter` is a PEFT folder or None; `on_progress` gets (answered, all).
    """
    tokenizer = load_tokenizer(base, padding_side="left")
    model = load(base, adapter)
    texts = [tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True) for prompt in prompts]
    answers = [""] * len(texts)
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for start in range(0, len(texts), batch_size):
        places = by_length[start : start + batch_size]
        for place, text in zip(
            places, _generate(model, tokenizer, [texts[p] for p in places], max_new_tokens), strict=True
        ):
            answers[place] = text
        if on_progress:
            on_progress(start + len(places), len(texts))
    return answers


def load(base: Path | str, adapter: Path | None) -> "PreTrainedModel":
    """The base with the adapter merged into its weights, in float32, ready to answer."""
    import torch

    model = load_base(base, dtype=torch.float32)
    if adapter is not None:
        model = load_adapter(model, adapter).merge_and_unload()
    return model.eval()


def _generate(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: list[str], max_new_tokens: int
) -> list[str]:
    import torch

    batch: Any = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        made = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )
    return tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
