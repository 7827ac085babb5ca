"""Stage 7: a LoRA adapter on the base model, with TRL's SFTTrainer, its DPOTrainer or both, in a child process.

The loss is taken on the assistant's tokens alone, which the chat template marks. Runs on a GPU where there is one,
otherwise on the CPU, by the same code.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.adapters import check_base
from tasks.child import Progress, gpus, run_child
from tasks.config import Config
from tasks.costs import add_cost, bytes_of
from tasks.db import Row, State
from tasks.live_metrics import LiveMetrics
from tasks.methods import STAGES
from tasks.progress import ProgressBar
from tasks.rounds import Round, held_row, note_gpus, record_evidence, writing
from tasks.snapshots import read_snapshot


def train(config: Config, round_: Round, on_progress: Progress | None = None) -> dict[str, Any]:
    """Train the round's adapter on its snapshot in a child process; see `tasks.train_child.main` for what is returned.

    Raises:
        FlywheelError: the snapshot's rows are not those that were frozen, the champion is of another base, or training
            failed.
    """
    with State(config.database).transaction() as tx:
        snapshot = tx.rows("get_snapshot", snapshot_hash=held_row(tx, round_)["snapshot_hash"])[0]
        champion = tx.row("get_version", version=round_.champion_version) if round_.champion_version else None
    path = Path(snapshot["path"])
    read_snapshot(path, snapshot["snapshot_hash"])
    folder = config.round_folder(round_.round_id)
    if champion is not None:
        check_base(Path(champion["adapter_path"]), config.model.base)
    note_gpus(config, round_, "train", gpus())
    trained = _run_child(
        config, round_, make_spec(config, path, folder, champion), on_progress or (lambda **message: None)
    )
    (folder / "probe.json").write_text(json.dumps(trained["probe"]), encoding="utf-8")
    for leftover in folder.rglob("checkpoints"):  # of a child that was killed just before it cleared them away
        shutil.rmtree(leftover, ignore_errors=True)
    with writing(config, round_, "train") as tx:
        tx.run(
            "set_round_adapter",
            round_id=round_.round_id,
            adapter_path=trained["adapter_path"],
            adapter_sha256=trained["adapter_sha256"],
        )
        record_evidence(tx, round_, training=trained["training"])
        kept = bytes_of(Path(trained["adapter_path"]), folder / "probe.json")
        tokens = trained["training"]["passed_tokens"]
        add_cost(tx, round_.round_id, "train", tokens_trained=tokens, bytes_kept=kept)
    return trained


def _run_child(config: Config, round_: Round, spec: dict[str, Any], tell: Progress) -> dict[str, Any]:
    """Run the child, with its metrics logged to MLflow as they come."""
    place = (config.tracking_uri, config.artifact_location, config.name, round_.round_id, round_.round_key)
    with LiveMetrics(*place, warn=lambda text: tell(stage="mlflow", note=text)) as live:

        def follow(**message: Any) -> None:
            if "metrics" in message:
                live.log(message["stage"], message["step"], message["metrics"])
            for step, metrics in message.get("earlier", ()):
                live.log(message["stage"], message["step"] + step, metrics)
            if "earlier" not in message:
                tell(**message)

        return run_child("tasks.train_child:main", spec, Path(spec["folder"]), follow, gpus() or 1)


def make_spec(config: Config, snapshot: Path, folder: Path, champion: Row | None = None) -> dict[str, Any]:
    """What the child is told: the stages, base, snapshot, the round's folder, and the config's options."""
    return {
        "stages": STAGES[config.training_method],
        "base": config.model.base,
        "trusts_code": config.model.trusts_code,
        "snapshot": str(snapshot),
        "folder": str(folder),
        "max_length": config.model.max_length,
        "adapter": config.adapter.lora,
        "members": [{"adapter": each.lora, "trainer": trainer.arguments()} for each, trainer in config.members],
        "strength": config.adapter.strength,
        "distil": config.student,
        "max_new_tokens": config.model.max_new_tokens,
        "trainer": config.trainer.arguments(),
        "dpo": config.dpo.arguments(),
        "champion": champion["adapter_path"] if champion else None,
        "checkpoint_seconds": {"sft": config.trainer.checkpoint_seconds, "dpo": config.dpo.checkpoint_seconds},
    }


@task(name="train", cache_policy=NO_CACHE)
def train_task(config: Config, round_: Round) -> None:
    """Prefect task around `train`, with a progress bar in the UI."""
    logger = get_run_logger()
    bar = ProgressBar(f"Training the adapter of round {round_.round_id}")
    bar.show(0, 1)

    def show(stage: str, note: str | None = None, step: int = 0, steps: int = 1, metrics: Any = None) -> None:
        if note is not None:
            (logger.warning if stage == "mlflow" else logger.info)("%s", note)
            return
        bar.show(step, steps, f"step {step} of {steps}")
        logger.info("Step %d of %d (%s), loss %.4f", step, steps, stage, metrics["loss"])

    trained = train(config, round_, show)
    training = trained["training"]
    logger.info(
        "Trained adapter %s on %d rows (%d assistant tokens) in %.0f s on %s",
        trained["adapter_sha256"][:12], training["rows"], training["trained_tokens"],
        training["seconds"], training["device"],
    )  # fmt: skip
    for alarm in training["alarms"]:
        logger.warning("%s", alarm)
