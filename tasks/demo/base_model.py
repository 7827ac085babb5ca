"""Builds a small base model from nothing: a byte-level BPE tokenizer and a Llama of 1-5 M parameters.

There is no model hub to take one from, so the demo teaches its own, once, and keeps it. The folder that comes out
loads with `AutoModelForCausalLM`, TRL and vLLM like any other.
"""

import hashlib
import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Message = dict[str, str]
Progress = Callable[[int, int, float], None]

PAD, EOS = "<|pad|>", "<|end|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL_TOKENS = 2 + len(ROLE_TOKENS)  # they have the first ids
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '" + EOS + "' }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
DONE = "built.json"
FORMAT = 1  # raise it when the same spec and conversations would give another model


class BaseSpec(BaseModel):
    """Size, tokenizer and training of a base model. The same spec and data give the same folder name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field("base", pattern=r"^[a-z0-9_-]+$")
    vocab_size: int = Field(2048, ge=300)
    single_tokens: tuple[str, ...] = Field((), description="strings that become one token each: the answers' schema")
    whole_answers: bool = Field(False, description="each distinct answer becomes one token: a single decision")
    hidden_size: int = Field(128, ge=32)
    intermediate_size: int = Field(384, ge=32)
    layers: int = Field(4, ge=1)
    head_size: int = Field(32, description="vLLM's CPU attention takes 32, 64, 128, ...")
    initializer_range: float = Field(0.02, gt=0)
    max_positions: int = Field(512, ge=32)
    steps: int = Field(600, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    tied: bool = Field(True, description="share the embeddings with the output layer")
    token_dropout: float = Field(0.0, ge=0, lt=1, description="share of the prompt's tokens left out, anew each time")
    seed: int = 0


@dataclass(frozen=True)
class _Example:
    """Token ids of a conversation, and which of them are the assistant's."""

    ids: list[int]
    assistant: list[int]


def build_base(
    conversations: Sequence[list[Message]], spec: BaseSpec, folder_root: Path, on_progress: Progress | None = None
) -> Path:
    """Teach a base model `conversations` and return its folder, `folder_root/NAME-HASH`; a finished one is reused.

    The folder is written beside its place and renamed when complete, so that a killed build leaves no folder that
    passes for a base. `on_progress` gets (step, steps, loss). Raises ValueError when there is nothing to learn from.
    """
    folder = base_folder(conversations, spec, folder_root)
    if is_built(folder):
        return folder
    folder_root.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder_root))
    try:
        _build(conversations, spec, unfinished, on_progress)
        _move_into_place(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def base_folder(conversations: Sequence[list[Message]], spec: BaseSpec, folder_root: Path) -> Path:
    """Where `build_base` puts this base: its name carries the hash of the spec and of every conversation."""
    digest = hashlib.sha256(f"{FORMAT}\n{spec.model_dump_json()}".encode())
    for conversation in conversations:
        digest.update(json.dumps(conversation, sort_keys=True).encode())
    return folder_root / f"{spec.name}-{digest.hexdigest()[:12]}"


def is_built(folder: Path) -> bool:
    """Whether `folder` holds a finished base model."""
    return (folder / DONE).is_file()


def train_tokenizer(conversations: Sequence[list[Message]], spec: BaseSpec) -> "PreTrainedTokenizerFast":
    """Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2) over all messages, with the chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    single = single_tokens(conversations, spec)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size - len(single),
        special_tokens=[PAD, EOS, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator((m["content"] for conversation in conversations for m in conversation), trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in single])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        model_max_length=spec.max_positions,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def single_tokens(conversations: Sequence[list[Message]], spec: BaseSpec) -> list[str]:
    """Strings that get one token each: the spec's, and with `whole_answers` each distinct answer, sorted."""
    answers = {m["content"] for conversation in conversations for m in conversation if m["role"] == "assistant"}
    return [*spec.single_tokens, *(sorted(answers) if spec.whole_answers else [])]


def new_model(spec: BaseSpec, tokenizer: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    """An untrained Llama of the spec's size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(spec.seed)
    heads = spec.hidden_size // spec.head_size
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=spec.hidden_size,
            intermediate_size=spec.intermediate_size,
            num_hidden_layers=spec.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=spec.head_size,
            initializer_range=spec.initializer_range,
            max_position_embeddings=spec.max_positions,
            tie_word_embeddings=spec.tied,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _build(conversations: Sequence[list[Message]], spec: BaseSpec, folder: Path, on_progress: Progress | None) -> None:
    from transformers import GenerationConfig

    if not conversations:
        raise ValueError("a base model needs conversations to learn from: none were given")
    tokenizer = train_tokenizer(conversations, spec)
    model = new_model(spec, tokenizer)
    loss = _train(model, _encode(conversations, tokenizer, spec), spec, tokenizer.pad_token_id, on_progress)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {
        "spec": spec.model_dump(),
        "conversations": len(conversations),
        "loss": loss,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    (folder / DONE).write_text(json.dumps(record, indent=1))


def _move_into_place(unfinished: Path, folder: Path) -> None:
    if folder.exists() and not is_built(folder):
        shutil.rmtree(folder)
    try:
        os.replace(unfinished, folder)
    except OSError:
        if not is_built(folder):  # somebody else finished the same base first: theirs is as good
            raise


def _encode(
    conversations: Sequence[list[Message]], tokenizer: "PreTrainedTokenizerFast", spec: BaseSpec
) -> list[_Example]:
    encoded = tokenizer.apply_chat_template(list(conversations), return_dict=True, return_assistant_tokens_mask=True)
    examples = [_Example(ids, mask) for ids, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)]
    longest = max(len(example.ids) for example in examples)
    if longest > spec.max_positions:
        raise ValueError(
            f"a conversation has {longest} tokens, the base takes {spec.max_positions}: "
            "raise max_positions or shorten it"
        )
    return examples


def _train(
    model: "LlamaForCausalLM", examples: list[_Example], spec: BaseSpec, pad: int, on_progress: Progress | None
) -> float:
    """AdamW under a one-cycle learning rate; returns the mean loss of the last tenth. Counted in steps, not seconds."""
    import torch

    optimizer = torch.optim.AdamW(_groups(model, spec.weight_decay), lr=spec.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle(step, spec.steps))
    losses: list[float] = []
    model.train()
    for step, batch in zip(range(spec.steps), _batches(examples, spec), strict=False):
        loss = _loss(model, batch, pad)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if on_progress:
            on_progress(step + 1, spec.steps, losses[-1])
    model.eval()
    last = losses[-max(1, spec.steps // 10) :]
    return sum(last) / len(last)


def _groups(model: "LlamaForCausalLM", weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices, not the norms' gains."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    gains = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": gains, "weight_decay": 0.0}]


def _one_cycle(step: int, steps: int) -> float:
    """Linear warm-up over the first tenth, then a cosine down to 2 %."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _batches(examples: list[_Example], spec: BaseSpec) -> Iterator[list[_Example]]:
    """Endless batches; neighbours in length share one, so that little is spent on padding."""
    rng = random.Random(spec.seed)
    while True:
        order = rng.sample(examples, len(examples))
        for start in range(0, len(order), spec.batch_size * 16):
            pool = sorted(order[start : start + spec.batch_size * 16], key=lambda example: len(example.ids))
            cuts = list(range(0, len(pool), spec.batch_size))
            rng.shuffle(cuts)
            for cut in cuts:
                yield [_thinned(rng, example, spec.token_dropout) for example in pool[cut : cut + spec.batch_size]]


def _thinned(rng: random.Random, example: _Example, share: float) -> _Example:
    """The example without a random `share` of its prompt's tokens (word dropout, Iyyer et al. 2015, section 3.2)."""
    if not share:
        return example
    kept = [
        index
        for index, (token, assistant) in enumerate(zip(example.ids, example.assistant, strict=True))
        if assistant or token < SPECIAL_TOKENS or rng.random() >= share
    ]
    return _Example([example.ids[index] for index in kept], [example.assistant[index] for index in kept])


def _loss(model: "LlamaForCausalLM", batch: list[_Example], pad: int) -> "torch.Tensor":
    """Cross-entropy on the assistant's tokens; the output layer, costly at this size, runs only where they are."""
    import torch

    width = max(len(example.ids) for example in batch)
    ids = torch.tensor([example.ids + [pad] * (width - len(example.ids)) for example in batch])
    assistant = torch.tensor([example.assistant + [0] * (width - len(example.ids)) for example in batch]).bool()[:, 1:]
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[assistant]), ids[:, 1:][assistant])


def main(arguments: dict[str, Any], on_progress: Progress | None = None) -> dict[str, Any]:
    """For a child process: {"spec", "conversations", "folder_root"} in, {"folder"} out; all of it plain JSON."""
    folder = build_base(
        arguments["conversations"],
        BaseSpec.model_validate(arguments["spec"]),
        Path(arguments["folder_root"]),
        on_progress,
    )
    return {"folder": str(folder)}
