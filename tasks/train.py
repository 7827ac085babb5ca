"""Stage 7: a LoRA adapter on the base model, with TRL's SFTTrainer, in a child process.

The loss is taken on the assistant's tokens alone, which the chat template marks. Runs on a GPU where there is one,
otherwise on the CPU, by the same code.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.chat import chat_dataset, check_template
from tasks.child import Progress, run_child, spin_when_alone
from tasks.config import Config
from tasks.db import State
from tasks.errors import FlywheelError
from tasks.rounds import Round, held_row, record_evidence, writing

PROBE_ROWS = 8
PROBE_TOKENS = 5
IGNORED = -100  # PyTorch's label for tokens that the loss passes over
WEIGHTS = "adapter_model.safetensors"


def adapter_sha256(folder: Path) -> str:
    """Hash (64 hex digits) of an adapter: its weights and its PEFT config.

    Raises:
        FlywheelError: one of the two files is missing.
    """
    digest = hashlib.sha256()
    for name in (WEIGHTS, "adapter_config.json"):
        file = folder / name
        if not file.is_file():
            raise FlywheelError(f"the adapter {folder} has no {name}; restore it from the registry's copy")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train in this process (the child); paths, hash, loss curve and counts. See `train` for the spec."""
    spin_when_alone()
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    set_seed(spec["trainer"]["seed"])
    rows = [json.loads(line) for line in Path(spec["snapshot"]).read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(spec["base"])
    model = AutoModelForCausalLM.from_pretrained(spec["base"], dtype=_dtype())
    check_template(tokenizer, rows)
    trainer = _trainer(spec, model, tokenizer, chat_dataset(rows), progress)
    trained_tokens = _count_trained_tokens(trainer.train_dataset["labels"], rows, spec["max_length"])
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    folder = _save(trainer.model, Path(spec["folder"]))
    return {
        "adapter_path": str(folder),
        "adapter_sha256": adapter_sha256(folder),
        "probe": _probe(spec["base"], folder, trainer.train_dataset),
        "training": {
            "rows": len(rows),
            "steps": trainer.state.global_step,
            "epochs": spec["trainer"]["num_train_epochs"],
            "seconds": round(seconds, 1),
            "device": trainer.args.device.type,
            "trained_tokens": trained_tokens,
            "loss": [[entry["step"], entry["loss"]] for entry in trainer.state.log_history if "loss" in entry],
        },
    }


def _dtype() -> Any:
    import torch

    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def _trainer(spec: dict[str, Any], model: Any, tokenizer: Any, dataset: Any, progress: Progress) -> Any:
    import torch
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Report(TrainerCallback):
        """Sends the step and the loss to the parent whenever the trainer logs."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            progress(step=state.global_step, steps=state.max_steps, loss=(logs or {}).get("loss"))

    on_gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(Path(spec["folder"]) / "trainer"),
        max_length=spec["max_length"],
        assistant_only_loss=True,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        train_sampling_strategy="group_by_length",
        **spec["trainer"],
    )
    return (SFTTrainer if on_gpu else _cpu_trainer())(
        model=model,
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **spec["adapter"]),
        callbacks=[Report()],
    )


def _cpu_trainer() -> Any:
    """TRL's trainer as a class that does less on a CPU."""
    from torch.nn.functional import cross_entropy
    from trl import SFTTrainer

    class CpuTrainer(SFTTrainer):
        """Scores the positions that some row of a batch is trained on; TRL does so on a GPU alone."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs.pop("labels")[:, 1:]
            places = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
            outputs = model(**inputs, logits_to_keep=places, use_cache=False)
            labels = labels[:, places].flatten()
            summed = cross_entropy(outputs.logits.float().flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum")
            loss = summed / ((labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)
            return (loss, outputs) if return_outputs else loss

    return CpuTrainer


def _count_trained_tokens(labels: list[list[int]], rows: list[dict[str, Any]], max_length: int) -> int:
    """Tokens that the loss is taken on; every row has to have some.

    Raises:
        FlywheelError: a row has none: its answer was cut off, or the template marks no assistant turn.
    """
    counts = [sum(label != IGNORED for label in row[:max_length]) for row in labels]
    for row, count in zip(rows, counts, strict=True):
        if count == 0:
            raise FlywheelError(
                f"training row {row['signal_id']} ({row['source']}) has no assistant token to train on: it is longer "
                f"than model.max_length, or the chat template lacks generation marks; raise max_length or mend it"
            )
    return sum(counts)


def _save(model: Any, folder: Path) -> Path:
    """Save the adapter under a path that its hash is part of: vLLM's prefix cache knows adapters by name and path."""
    temporary = folder / "adapter.partial"
    model.save_pretrained(str(temporary))
    _order(temporary / "adapter_config.json")
    final = folder / f"adapter-{adapter_sha256(temporary)[:12]}"
    if final.is_dir():
        return final
    return temporary.rename(final)


def _order(config: Path) -> None:
    """Write a PEFT config the same way each time: the modules are a set there, which has no order."""
    values = json.loads(config.read_text(encoding="utf-8"))
    if isinstance(modules := values.get("target_modules"), list):
        values["target_modules"] = sorted(modules)
    config.write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf-8")


def _probe(base: str, adapter: Path, dataset: Any) -> list[dict[str, Any]]:
    """What the saved adapter predicts in some rows, at each token that is trained on.

    A list of prefixes (token ids), each with the PROBE_TOKENS likeliest next tokens and their log-probabilities.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=_dtype())
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    probe = []
    for row in dataset.select(range(min(PROBE_ROWS, len(dataset)))):
        with torch.no_grad():
            logprobs = model(torch.tensor([row["input_ids"]])).logits[0].float().log_softmax(dim=-1)
        for place in (i for i, label in enumerate(row["labels"]) if label != IGNORED and i > 0):
            values, tokens = logprobs[place - 1].topk(PROBE_TOKENS)
            likeliest = list(zip(tokens.tolist(), values.tolist(), strict=True))
            probe.append({"token_ids": row["input_ids"][:place], "likeliest": likeliest})
    return probe


def train(config: Config, round_: Round, on_progress: Progress | None = None) -> dict[str, Any]:
    """Train the round's adapter on its snapshot in a child process; see `main` for what is returned.

    Raises:
        FlywheelError: the snapshot's file is not the one that was frozen, or training failed.
    """
    with State(config.database).transaction() as tx:
        snapshot = tx.rows("get_snapshot", snapshot_hash=held_row(tx, round_)["snapshot_hash"])[0]
    path = Path(snapshot["path"])
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != snapshot["snapshot_hash"]:
        raise FlywheelError(f"{path} is not the snapshot that was frozen (sha256 differs); restore it")
    folder = config.round_folder(round_.round_id)
    spec = {
        "base": config.model.base,
        "snapshot": str(path),
        "folder": str(folder),
        "max_length": config.model.max_length,
        "adapter": config.adapter.model_dump(mode="json", exclude={"modules_to_save"}),
        "trainer": config.trainer.model_dump(mode="json"),
    }
    trained = run_child("tasks.train:main", spec, folder, on_progress)
    (folder / "probe.json").write_text(json.dumps(trained["probe"]), encoding="utf-8")
    with writing(config, round_, "train") as tx:
        tx.run(
            "set_round_adapter",
            round_id=round_.round_id,
            adapter_path=trained["adapter_path"],
            adapter_sha256=trained["adapter_sha256"],
        )
        record_evidence(tx, round_, training=trained["training"])
    return trained


@task(name="train", cache_policy=NO_CACHE)
def train_task(config: Config, round_: Round) -> None:
    """Prefect task around `train`, with a progress bar in the UI."""
    logger = get_run_logger()
    bar = create_progress_artifact(progress=0.0, description=f"Training the adapter of round {round_.round_id}")

    def show(step: int, steps: int, loss: float | None) -> None:
        update_progress_artifact(artifact_id=bar, progress=100 * step / steps)  # type: ignore[arg-type]
        if loss is not None:
            logger.info("Step %d of %d, loss %.4f", step, steps, loss)

    trained = train(config, round_, show)
    training = trained["training"]
    logger.info(
        "Trained adapter %s on %d rows (%d assistant tokens) in %.0f s on %s",
        trained["adapter_sha256"][:12], training["rows"], training["trained_tokens"],
        training["seconds"], training["device"],
    )  # fmt: skip
