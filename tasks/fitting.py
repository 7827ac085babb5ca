"""One training of one adapter in the child: begun or gone on with, and its adapter saved and recorded.

A spec (`tasks.train.make_spec`) and a stage (`sft` or `dpo`) say what is trained. All that its outcome depends on is in
its key, by which a training that was finished, or interrupted, is known again.
"""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tasks.adapters import CONFIG, adapter_sha256, base_sha256, record_base
from tasks.base_models import load_adapter, load_base, load_tokenizer, working_dtype
from tasks.checkpoints import last_whole
from tasks.child import Progress
from tasks.errors import FlywheelError
from tasks.records import sha256
from tasks.trainers import checkpoint_folder, logged, watch

PROBE_ROWS = 8  # rows whose predictions the engine is held against
SUMMED = ("steps", "seconds", "trained_tokens", "passed_tokens")  # facts that several trainings have together


def key_of(spec: dict[str, Any], stage: str) -> str:
    """Hash of all that a stage's outcome depends on: what has the same one can be gone on from."""
    inputs = {name: value for name, value in spec.items() if name not in ("folder", "snapshot", "checkpoint_seconds")}
    processes = os.environ.get("WORLD_SIZE", "1")
    snapshot = hashlib.sha256(Path(spec["snapshot"]).read_bytes()).hexdigest()
    return sha256([stage, inputs, snapshot, base_sha256(spec["base"]), processes])


def finished(spec: dict[str, Any], stage: str, key: str, progress: Progress) -> dict[str, Any] | None:
    """What a stage gave when it was run before, if its adapter is still the one that it made; its log is told again."""
    try:
        found: dict[str, Any] = json.loads(_record_file(spec, stage).read_text(encoding="utf-8"))
        fits = found["key"] == key and adapter_sha256(Path(found["adapter_path"])) == found["adapter_sha256"]
        fits = fits and "log" in found  # an earlier version kept none
    except (OSError, ValueError, KeyError, FlywheelError):
        return None
    if not fits:
        return None
    progress(stage=stage, step=0, steps=found["training"]["steps"], earlier=found["log"])
    return found


def _record_file(spec: dict[str, Any], stage: str) -> Path:
    return Path(spec["folder"]) / f"{stage}.done.json"


def load(spec: dict[str, Any], adapter: str | None, seed: int) -> tuple[Any, Any, Any]:
    """The model, its tokenizer, and the LoRA config of a new adapter; None where it goes on with `adapter`."""
    from peft import LoraConfig
    from transformers import set_seed

    set_seed(seed)
    tokenizer = load_tokenizer(spec["base"], spec["trusts_code"])
    model = load_base(spec["base"], spec["trusts_code"], dtype=working_dtype())
    if adapter is not None:
        return load_adapter(model, adapter, is_trainable=True), tokenizer, None
    return model, tokenizer, LoraConfig(task_type="CAUSAL_LM", **spec["adapter"])


def refuse_left_out(dataset: Any, rows: list[dict[str, Any]]) -> None:
    """Every row has to be trained on: TRL leaves out those of which no token is.

    Raises:
        FlywheelError: a row has none: its answer was cut off, or the template marks no assistant turn.
    """
    left_out = set(range(len(rows))) - set(dataset["position"])
    if left_out:
        row = rows[min(left_out)]
        raise FlywheelError(
            f"training row {row['signal_id']} ({row['source']}) has no assistant token to train on: it is longer "
            f"than model.max_length, or the chat template lacks generation marks; raise max_length or mend it"
        )


def fit(
    trainer: Any, spec: dict[str, Any], stage: str, key: str, trained_tokens: int, progress: Progress
) -> dict[str, Any]:
    """Train, from the last whole checkpoint where there is one; the facts of it.

    Args:
        trained_tokens: answer tokens of the rows; the facts have them, and as often as they were passed over.
    """
    found = last_whole(checkpoint_folder(spec, stage), key)
    for reason in found.passed_over:
        progress(stage=stage, note=f"The checkpoint {reason}; it is passed over")
    if found.folder is not None:
        progress(stage=stage, note=f"Training goes on from {found.folder}")
    watch(trainer, stage, key, spec["checkpoint_seconds"][stage], progress)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(found.folder) if found.folder else None)
    return {
        "steps": trainer.state.global_step,
        "epochs": trainer.args.num_train_epochs,
        "seconds": round(time.perf_counter() - started, 1),
        "device": trainer.args.device.type,
        "processes": trainer.args.world_size,
        "resumed_from": int(found.folder.name.rpartition("-")[2]) if found.folder else None,
        "loss": [[entry["step"], entry["loss"]] for entry in trainer.state.log_history if "loss" in entry],
        "trained_tokens": trained_tokens,
        "passed_tokens": round(trained_tokens * (trainer.state.epoch or 0.0)),
    }


def finish(trainer: Any, spec: dict[str, Any], stage: str, key: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Save the stage's adapter, and then what is known of it; the checkpoints are deleted."""
    if trainer.is_world_process_zero():
        facts = facts | {"log": logged(trainer.state)}
        record(spec, stage, key, save(trainer.model, Path(spec["folder"]), spec["base"]), facts)
        shutil.rmtree(checkpoint_folder(spec, stage), ignore_errors=True)
    return read_record(spec, stage)


def record(spec: dict[str, Any], stage: str, key: str, folder: Path, facts: dict[str, Any]) -> None:
    """Write down, whole or not at all, that a stage has ended with the adapter in a folder.

    Args:
        facts: its `training` (see `fit`), `probe_rows` (what is trained on, as token ids and labels) and `log`.
    """
    made = {"key": key, "adapter_path": str(folder), "adapter_sha256": adapter_sha256(folder)}
    unfinished = _record_file(spec, stage).with_suffix(".partial")
    unfinished.write_text(json.dumps(made | facts), encoding="utf-8")
    unfinished.replace(_record_file(spec, stage))


def read_record(spec: dict[str, Any], stage: str) -> dict[str, Any]:
    """What the first process has recorded of a stage, once it has."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()
    found: dict[str, Any] = json.loads(_record_file(spec, stage).read_text(encoding="utf-8"))
    return found


def save(model: Any, folder: Path, base: str) -> Path:
    """Save the adapter under a path that its hash is part of: vLLM's prefix cache knows adapters by name and path."""
    temporary = folder / "adapter.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    # PEFT would put the base's own embeddings beside an adapter on them, which nobody reads.
    model.save_pretrained(str(temporary), selected_adapters=["default"], save_embedding_layers=False)
    _order(temporary / CONFIG)
    record_base(temporary, base)
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
