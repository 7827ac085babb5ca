"""The trainers that run in the child process: TRL's, told what to log, when to save, and in which order rows come.

Everything here is imported together with TRL, so nothing of it is at the top. Terms that are added to the supervised
loss belong in `_plain_sft_class`; where it does not apply (another loss, or on a GPU), TRL's own is used.
"""

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tasks.adapters import check_adapter
from tasks.checkpoints import seal
from tasks.child import Progress
from tasks.errors import FlywheelError
from tasks.prompt_dropout import IGNORED, PromptDropout, markup

# Options under which TRL's loss is the plain one that `_plain_sft_class` computes.
PLAIN = {"loss_type": "nll", "router_aux_loss_coef": None}


def sft_trainer(spec: dict[str, Any], model: Any, tokenizer: Any, dataset: Any, peft_config: Any) -> Any:
    """TRL's SFTTrainer on conversations; `dataset` has the column messages.

    Of a spec that names `voices` it takes batches that say what each trained token is to be (`tasks.distil`).

    Raises:
        FlywheelError: the adapter is to be on an output layer that shares its weights with the embeddings.
    """
    from trl import SFTConfig, SFTTrainer

    options = dict(spec["trainer"])
    dropout = options.pop("prompt_dropout", 0.0)
    arguments = SFTConfig(
        assistant_only_loss=True, max_length=spec["max_length"], **_common(spec, "sft"), **_chosen(options)
    )
    arguments.remove_unused_columns = "voices" not in spec  # a row that is taught is known by its position
    plain = all(getattr(arguments, name) == value for name, value in PLAIN.items())
    ours = "voices" in spec or (plain and (arguments.use_cpu or _is_on_head(model, peft_config)))
    made = _plain_sft_class() if ours else _ordered(SFTTrainer)
    _refuse_tied_head(model, peft_config)
    trainer = made(
        model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, peft_config=peft_config
    )
    if dropout:
        collate, seed = trainer.data_collator, arguments.data_seed or arguments.seed
        trainer.data_collator = PromptDropout(collate, dropout, markup(tokenizer), seed, lambda: _epoch(trainer))
    return trainer


def _is_on_head(model: Any, peft_config: Any) -> bool:
    """Whether an adapter is asked for on the layer that gives the logits."""
    head = model.get_output_embeddings()
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if module is head}
    modules = peft_config.target_modules
    return bool(names & ({modules} if isinstance(modules, str) else set(modules)))


def _refuse_tied_head(model: Any, peft_config: Any) -> None:
    if model.config.tie_word_embeddings and _is_on_head(model, peft_config):
        raise FlywheelError(
            "adapter.target_modules names the output layer, which in this base shares its weights with the embeddings, "
            "and trainer and server would differ in what an adapter on one of them is to the other; remove it"
        )


def dpo_trainer(spec: dict[str, Any], model: Any, tokenizer: Any, dataset: Any, peft_config: Any) -> Any:
    """TRL's DPOTrainer on pairs; `dataset` has the columns prompt, chosen and rejected.

    A model that has an adapter already goes on from it, with a frozen copy as the reference; else the base is that.
    """
    from trl import DPOConfig, DPOTrainer

    arguments = DPOConfig(max_length=spec["max_length"], **_common(spec, "dpo"), **_chosen(spec["dpo"]))
    return _ordered(DPOTrainer)(
        model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, peft_config=peft_config
    )


def _common(spec: dict[str, Any], stage: str) -> dict[str, Any]:
    """What the product sets, whatever is trained."""
    import torch

    return {
        "output_dir": str(checkpoint_folder(spec, stage)),
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",  # `Keep` says when
        "save_total_limit": 2,  # the older one is whole while the newer is written
        "report_to": "none",
        "disable_tqdm": True,
    }


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """The config's options over this product's defaults."""
    import torch

    on_gpu = torch.cuda.is_available()
    defaults = {
        "bf16": on_gpu,
        "gradient_checkpointing": False,
        "logging_steps": 5,
        "dataloader_pin_memory": on_gpu,
        "train_sampling_strategy": "group_by_length",
    }
    return defaults | options


def checkpoint_folder(spec: dict[str, Any], stage: str) -> Path:
    """Where a stage's checkpoints are while it trains."""
    return Path(spec["folder"]) / "checkpoints" / stage


def watch(trainer: Any, stage: str, key: str, seconds: float, progress: Progress) -> None:
    """Have a trainer report to the parent as it logs, and save a checkpoint every so many seconds."""
    report, keep = _callbacks()
    trainer.add_callback(report(trainer, stage, progress))
    trainer.add_callback(keep(trainer, key, seconds))


def logged(state: Any) -> list[tuple[int, dict[str, float]]]:
    """The steps that a trainer has logged, each with its metrics."""
    return [
        (entry["step"], {name: value for name, value in entry.items() if name != "step"})
        for entry in state.log_history
        if "loss" in entry
    ]


@cache
def _callbacks() -> tuple[Any, Any]:
    import torch
    from transformers import TrainerCallback

    class Report(TrainerCallback):
        """Sends the step and what the trainer logs to the parent."""

        def __init__(self, trainer: Any, stage: str, progress: Progress) -> None:
            self.trainer, self.stage, self.progress = trainer, stage, progress
            self.since, self.tokens = time.perf_counter(), 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Tell again what was logged up to the checkpoint: a parent that was killed may not have passed it on."""
            if state.is_world_process_zero and (earlier := logged(state)):
                self.progress(stage=self.stage, step=0, steps=state.max_steps, earlier=earlier)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not state.is_world_process_zero or "loss" not in logs:
                return
            now, tokens = time.perf_counter(), int(self.trainer.trained_tokens) * args.world_size
            metrics = {name: value for name, value in logs.items() if isinstance(value, int | float)}
            metrics["tokens_per_second"] = (tokens - self.tokens) / (now - self.since)
            state.log_history[-1] |= metrics
            self.since, self.tokens = now, tokens
            self.progress(stage=self.stage, step=state.global_step, steps=state.max_steps, metrics=metrics)

    class Keep(TrainerCallback):
        """Has a checkpoint saved when it is time, and marks it as whole when it is."""

        def __init__(self, trainer: Any, key: str, seconds: float) -> None:
            self.trainer, self.key, self.seconds = trainer, key, seconds
            self.saved = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            due = time.monotonic() - self.saved >= self.seconds
            if args.world_size > 1:  # the clocks differ, and all have to save together
                firsts = torch.tensor(int(due), device=args.device)
                torch.distributed.broadcast(firsts, 0)
                due = bool(firsts)
            control.should_save = due and state.global_step < state.max_steps

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.trainer.accelerator.wait_for_everyone()
            if state.is_world_process_zero:
                seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", self.key)
            self.saved = time.monotonic()

    return Report, Keep


@cache
def _ordered(base: Any) -> Any:
    """The trainer class with rows in an order of its epoch's own, and a count of the tokens trained on."""
    from torch.utils.data import Sampler
    from transformers.trainer_pt_utils import get_length_grouped_indices

    class ByLength(Sampler):
        """Rows of like length together; drawn from seed and epoch, so that a training that resumes meets the rest."""

        def __init__(self, trainer: Any, lengths: list[int]) -> None:
            self.trainer, self.lengths = trainer, lengths

        def __len__(self) -> int:
            return len(self.lengths)

        def __iter__(self) -> Iterator[int]:
            import torch

            args, epoch = self.trainer.args, _epoch(self.trainer)
            generator = torch.Generator().manual_seed(1_000_003 * (args.data_seed or args.seed) + epoch)
            batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            return iter(get_length_grouped_indices(self.lengths, batch, generator=generator))

    class Ordered(base):
        trained_tokens: Any = 0

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            if self.args.train_sampling_strategy != "group_by_length":
                return super()._get_train_sampler(train_dataset)
            return ByLength(self, _lengths(self.train_dataset if train_dataset is None else train_dataset))

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            trained = inputs["labels"] != IGNORED if "labels" in inputs else inputs["completion_mask"]
            self.trained_tokens = self.trained_tokens + trained.sum()
            return super().training_step(model, inputs, num_items_in_batch)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            # Beside a frozen reference, transformers would load that one again and leave the trained one as it is.
            trained = self.accelerator.unwrap_model(self.model if model is None else model)
            check_adapter(Path(resume_from_checkpoint))
            trained.load_adapter(resume_from_checkpoint, "default", is_trainable=True)

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """None: a checkpoint is read by nobody."""

    return Ordered


def _epoch(trainer: Any) -> int:
    """How many times all rows have been trained on."""
    return int(round(trainer.state.epoch or 0.0, 6))


def _lengths(dataset: Any) -> list[int]:
    """Tokens of each row: of a conversation, or of a prompt and the longer of its two answers."""
    if "input_ids" in dataset.column_names:
        return [len(ids) for ids in dataset["input_ids"]]
    columns = zip(dataset["prompt_ids"], dataset["chosen_ids"], dataset["rejected_ids"], strict=True)
    return [len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in columns]


@cache
def _plain_sft_class() -> Any:
    """TRL's supervised trainer as a class that computes the plain loss itself, in less time on a CPU."""
    from peft import get_peft_model
    from torch.nn.functional import cross_entropy
    from trl import SFTTrainer

    class PlainTrainer(_ordered(SFTTrainer)):  # type: ignore[misc]
        """Scores the positions that some row of a batch is trained on; TRL does so on a GPU alone.

        The logits come from the model's own output layer, so that an adapter on it is trained. TRL multiplies by that
        layer's weights instead and refuses such an adapter; it is shown the layer beneath.

        Where a batch says what is predicted at each trained token, the loss is the cross-entropy with that.
        """

        def __init__(self, model: Any, peft_config: Any, **others: Any) -> None:
            if not _is_on_head(model, peft_config):
                super().__init__(model=model, peft_config=peft_config, **others)
                return
            adapted = get_peft_model(model, peft_config)
            head = model.get_output_embeddings().base_layer
            model.get_output_embeddings = lambda: head
            super().__init__(model=adapted, **others)
            del model.get_output_embeddings

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs.pop("labels")[:, 1:]
            tokens, shares = inputs.pop("taught_tokens", None), inputs.pop("taught_shares", None)
            places = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
            outputs = model(**inputs, logits_to_keep=places, use_cache=False)
            labels = labels[:, places].flatten()
            logits = outputs.logits.float().flatten(0, 1)
            if tokens is None:
                smoothing = self.args.label_smoothing_factor
                summed = cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)
            else:
                summed = -(logits[labels != IGNORED].log_softmax(dim=-1).gather(1, tokens) * shares).sum()
            loss = summed / ((labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)
            if num_items_in_batch is not None and self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes  # the count is of all of them, and gradients are averaged
            return (loss, outputs) if return_outputs else loss

    return PlainTrainer
