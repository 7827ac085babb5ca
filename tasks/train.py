"""Stage 7: a LoRA adapter on the base model, with TRL's SFTTrainer, its DPOTrainer or both, in a child process.

The loss is taken on the assistant's tokens alone, which the chat template marks. Runs on a GPU where there is one,
otherwise on the CPU, by the same code.
"""

import gc
import hashlib
import json
import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.adapters import CONFIG, adapter_sha256, base_sha256, check_adapter, check_base, record_base
from tasks.base_models import load_adapter, load_base, load_tokenizer
from tasks.chat import chat_dataset, check_template, pair_dataset
from tasks.checkpoints import last_whole
from tasks.child import Progress, is_first, run_child, spin_when_alone
from tasks.config import Config
from tasks.costs import add_cost, bytes_of
from tasks.db import Row, State
from tasks.distil import FILE as TAUGHT
from tasks.distil import WithTaught, keep, kept, teach, variants
from tasks.errors import FlywheelError
from tasks.live_metrics import LiveMetrics
from tasks.methods import STAGES
from tasks.pair_checks import alarms, measure
from tasks.progress import ProgressBar
from tasks.prompt_dropout import IGNORED, markup
from tasks.records import sha256
from tasks.rounds import Round, held_row, note_gpus, record_evidence, writing
from tasks.snapshots import read_conversations, read_snapshot
from tasks.trainer_options import DpoConfig
from tasks.trainers import checkpoint_folder, dpo_trainer, logged, sft_trainer, watch

PROBE_ROWS = 8
PROBE_TOKENS = 5
ALONE: dict[str, Any] = {"members": [{}], "strength": 1.0, "distil": None}  # of one adapter that is not made of others
SUMMED = ("steps", "seconds", "trained_tokens", "passed_tokens")


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train in this process (the child); paths, hash, loss curve and counts. See `train` for the spec.

    A stage that had been finished is not run again, and one that was interrupted goes on from its last checkpoint.
    """
    spin_when_alone()
    rows = read_conversations(Path(spec["snapshot"]))
    run = {"sft": _train_sft, "dpo": _train_dpo}
    stages: dict[str, dict[str, Any]] = {}
    adapter = None
    for stage in spec["stages"]:
        key = _key(spec, stage)
        stages[stage] = _finished(spec, stage, key, progress) or run[stage](spec, key, rows, adapter, progress)
        adapter = stages[stage]["adapter_path"]
        gc.collect()  # a trainer holds itself; the base is not to be in memory twice
    done = stages[spec["stages"][-1]]
    return {
        "adapter_path": done["adapter_path"],
        "adapter_sha256": done["adapter_sha256"],
        "probe": _probed(spec, done) if is_first() else [],
        "training": _summary({stage: record["training"] for stage, record in stages.items()}, len(rows)),
    }


def _summary(stages: dict[str, dict[str, Any]], rows: int) -> dict[str, Any]:
    """The facts of a training as a whole, and of each of its stages."""
    facts = list(stages.values())
    sums = {name: sum(each.get(name, 0) for each in facts) for name in SUMMED}
    said = [alarm for each in facts for alarm in each.get("alarms", [])]
    first = {name: facts[0][name] for name in ("epochs", "device", "processes", "loss")}
    resumed = max((each["resumed_from"] for each in facts if each["resumed_from"]), default=None)
    return first | sums | {"rows": rows, "resumed_from": resumed, "alarms": said, "stages": stages}


def _key(spec: dict[str, Any], stage: str) -> str:
    """Hash of all that a stage's outcome depends on: what has the same one can be gone on from."""
    inputs = {name: value for name, value in spec.items() if name not in ("folder", "snapshot", "checkpoint_seconds")}
    processes = os.environ.get("WORLD_SIZE", "1")
    snapshot = hashlib.sha256(Path(spec["snapshot"]).read_bytes()).hexdigest()
    return sha256([stage, inputs, snapshot, base_sha256(spec["base"]), processes])


def _finished(spec: dict[str, Any], stage: str, key: str, progress: Progress) -> dict[str, Any] | None:
    """What a stage gave when it was run before, if its adapter is still the one that it made; its log is told again."""
    try:
        record: dict[str, Any] = json.loads(_record_file(spec, stage).read_text(encoding="utf-8"))
        fits = record["key"] == key and adapter_sha256(Path(record["adapter_path"])) == record["adapter_sha256"]
        fits = fits and "log" in record  # an earlier version kept none
    except (OSError, ValueError, KeyError, FlywheelError):
        return None
    if not fits:
        return None
    progress(stage=stage, step=0, steps=record["training"]["steps"], earlier=record["log"])
    return record


def _record_file(spec: dict[str, Any], stage: str) -> Path:
    return Path(spec["folder"]) / f"{stage}.done.json"


def _train_sft(
    spec: dict[str, Any], key: str, rows: list[dict[str, Any]], adapter: str | None, progress: Progress
) -> dict[str, Any]:
    """Train the members, each in a folder of its own with a seed of its own, and average or distil them."""
    specs = [_member_spec(spec, number) for number in range(len(spec["members"]))]
    if (len(specs), spec["strength"], spec["distil"]) == (1, 1.0, None):
        return _train_member(specs[0] | {"folder": spec["folder"]}, key, rows, progress)
    parts = len(specs) + (spec["distil"] is not None)
    members = [_train_part(own, rows, _part(progress, number, parts)) for number, own in enumerate(specs)]
    if spec["distil"] is None:
        return _average(spec, key, members, members)
    student = _train_part(_student_spec(spec, members), rows, _part(progress, len(members), parts))
    return _average(spec, key, [student], [*members, student])


def _train_part(spec: dict[str, Any], rows: list[dict[str, Any]], progress: Progress) -> dict[str, Any]:
    """Train one of the adapters that another is made of, unless that has been done."""
    key = _key(spec, "sft")
    Path(spec["folder"]).mkdir(exist_ok=True)
    record = _finished(spec, "sft", key, progress) or _train_member(spec, key, rows, progress)
    gc.collect()
    return record


def _member_spec(spec: dict[str, Any], number: int) -> dict[str, Any]:
    """The spec of a training of one member alone."""
    own = spec | spec["members"][number] | ALONE
    trainer = own["trainer"] | {"seed": own["trainer"]["seed"] + number}
    return own | {"folder": str(Path(spec["folder"]) / f"member-{number}"), "trainer": trainer}


def _student_spec(spec: dict[str, Any], members: list[dict[str, Any]]) -> dict[str, Any]:
    """The spec of the training of an adapter that learns what the members, and the champion, say together."""
    distil = spec["distil"]
    voices = [(member["adapter_path"], 1.0) for member in members]
    if distil["champion"]:
        voices.append((spec["champion"], distil["champion"]))
    own = spec | {name: distil[name] for name in ("adapter", "trainer", "copies")} | ALONE
    return own | {"folder": str(Path(spec["folder"]) / "student"), "voices": voices}


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """Progress of one of several trainings of as many steps as if they were one."""

    def tell(**message: Any) -> None:
        if "steps" in message:
            steps = message["steps"]
            message |= {"step": message["step"] + number * steps, "steps": parts * steps}
        progress(**message)

    return tell


def _average(
    spec: dict[str, Any], key: str, members: list[dict[str, Any]], trained: list[dict[str, Any]]
) -> dict[str, Any]:
    """The mean of the members' weights, scaled by the strength, as one adapter (model soup, Wortsman et al. 2022).

    Exact: PEFT puts the members' factors beside one another, so that the rank is the sum of theirs. Its facts are those
    of all that was trained for it.
    """
    if is_first():
        names = [f"member{number}" for number in range(len(members))]
        model = load_base(spec["base"], spec["trusts_code"], dtype=_dtype())
        model = load_adapter(model, members[0]["adapter_path"], adapter_name=names[0])
        for name, member in zip(names[1:], members[1:], strict=True):
            check_adapter(Path(member["adapter_path"]))
            model.load_adapter(member["adapter_path"], name)
        weights = [spec["strength"] / len(members)] * len(members)
        model.add_weighted_adapter(names, weights, "default", combination_type="cat")
        training = _joined(trained) | {"members": len(spec["members"]), "distilled": spec["distil"] is not None}
        facts = {"training": training, "probe_rows": members[0]["probe_rows"], "log": _joined_log(trained)}
        _record(spec, "sft", key, _save(model, Path(spec["folder"]), spec["base"]), facts)
    return _read_record(spec, "sft")


def _joined(members: list[dict[str, Any]]) -> dict[str, Any]:
    """The facts of the members' trainings as if they were one after another."""
    facts = [member["training"] for member in members]
    sums = {name: sum(each.get(name, 0) for each in facts) for name in SUMMED}
    loss = [[step + number * each["steps"], value] for number, each in enumerate(facts) for step, value in each["loss"]]
    resumed = max((each["resumed_from"] for each in facts if each["resumed_from"]), default=None)
    return facts[0] | sums | {"loss": loss, "resumed_from": resumed}


def _joined_log(members: list[dict[str, Any]]) -> list[Any]:
    """What the members logged, as if they were one after another."""
    return [
        [step + number * member["training"]["steps"], metrics]
        for number, member in enumerate(members)
        for step, metrics in member["log"]
    ]


def _train_member(spec: dict[str, Any], key: str, rows: list[dict[str, Any]], progress: Progress) -> dict[str, Any]:
    rows = [row for row in rows if row["rejected"] is None]
    model, tokenizer, lora = _load(spec, None, spec["trainer"]["seed"])
    check_template(tokenizer, rows)
    trainer = sft_trainer(spec, model, tokenizer, chat_dataset(rows), lora)
    _refuse_left_out(trainer.train_dataset, rows)
    if "voices" in spec:
        _have_taught(trainer, tokenizer, spec, key, progress)
    trained_tokens = sum(label != IGNORED for labels in trainer.train_dataset["labels"] for label in labels)
    facts = {"rows": len(rows)} | _run(trainer, spec, "sft", key, progress) | _tokens(trainer, trained_tokens)
    probe = trainer.train_dataset.select(range(min(PROBE_ROWS, len(rows)))).to_list()
    return _finish(trainer, spec, "sft", key, {"training": facts, "probe_rows": probe})


def _have_taught(trainer: Any, tokenizer: Any, spec: dict[str, Any], key: str, progress: Progress) -> None:
    """Give a trainer variants of its rows in place of them, with what the voices of the spec say to these."""
    from accelerate import PartialState
    from datasets import Dataset

    rows = trainer.train_dataset.select_columns(["input_ids", "labels"]).to_list()
    folder = Path(spec["folder"])
    varied = variants(rows, spec["copies"], markup(tokenizer), spec["trainer"]["seed"])
    if is_first() and kept(folder, key) is None:
        progress(stage="sft", note=f"{len(spec['voices'])} models answer {len(varied)} inputs for one to learn from")
        keep(folder, key, teach(trainer, varied, spec["voices"]))
    PartialState().wait_for_everyone()
    if (taught := kept(folder, key)) is None:
        raise FlywheelError(f"{folder / TAUGHT} cannot be read back; every process needs the round's folder")
    trainer.data_collator = WithTaught(trainer.data_collator, taught)
    trainer.train_dataset = Dataset.from_list([{**row, "position": place} for place, row in enumerate(varied)])


def _train_dpo(
    spec: dict[str, Any], key: str, rows: list[dict[str, Any]], adapter: str | None, progress: Progress
) -> dict[str, Any]:
    rows = [row for row in rows if row["rejected"] is not None]
    model, tokenizer, lora = _load(spec, adapter, spec["dpo"]["seed"])
    check_template(tokenizer, rows)
    trainer = dpo_trainer(spec, model, tokenizer, pair_dataset(rows), lora)
    _refuse_left_out(trainer.train_dataset, rows)
    trained_tokens = _count_pair_tokens(trainer.train_dataset, spec["max_length"])
    facts = {"rows": len(rows)} | _run(trainer, spec, "dpo", key, progress) | _tokens(trainer, trained_tokens)
    probe = [
        _labelled(row, spec["max_length"]) for row in trainer.train_dataset.select(range(min(PROBE_ROWS, len(rows))))
    ]
    if is_first():
        measured = measure(trainer, spec["champion"], spec["max_new_tokens"])
        found = alarms(measured, DpoConfig.model_validate(spec["dpo"]))
        measured["chosen_change"] = fmean(measured.pop("chosen_changes"))
        facts |= {"alarms": found, "measured": measured}
    return _finish(trainer, spec, "dpo", key, {"training": facts, "probe_rows": probe})


def _run(trainer: Any, spec: dict[str, Any], stage: str, key: str, progress: Progress) -> dict[str, Any]:
    """Train, from the last whole checkpoint where there is one; the facts of it."""
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
    }


def _tokens(trainer: Any, trained_tokens: int) -> dict[str, int]:
    """Answer tokens of the rows, and how many were trained on, each as often as it was passed over."""
    return {"trained_tokens": trained_tokens, "passed_tokens": round(trained_tokens * (trainer.state.epoch or 0.0))}


def _finish(trainer: Any, spec: dict[str, Any], stage: str, key: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Save the stage's adapter, and then what is known of it; the checkpoints are deleted."""
    if trainer.is_world_process_zero():
        facts = facts | {"log": logged(trainer.state)}
        _record(spec, stage, key, _save(trainer.model, Path(spec["folder"]), spec["base"]), facts)
        shutil.rmtree(checkpoint_folder(spec, stage), ignore_errors=True)
        (Path(spec["folder"]) / TAUGHT).unlink(missing_ok=True)
    return _read_record(spec, stage)


def _record(spec: dict[str, Any], stage: str, key: str, folder: Path, facts: dict[str, Any]) -> None:
    """Write down, whole or not at all, that a stage has ended with the adapter in a folder."""
    made = {"key": key, "adapter_path": str(folder), "adapter_sha256": adapter_sha256(folder)}
    unfinished = _record_file(spec, stage).with_suffix(".partial")
    unfinished.write_text(json.dumps(made | facts), encoding="utf-8")
    unfinished.replace(_record_file(spec, stage))


def _read_record(spec: dict[str, Any], stage: str) -> dict[str, Any]:
    """What the first process has recorded of a stage, once it has."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()
    record: dict[str, Any] = json.loads(_record_file(spec, stage).read_text(encoding="utf-8"))
    return record


def _load(spec: dict[str, Any], adapter: str | None, seed: int) -> tuple[Any, Any, Any]:
    """The model, its tokenizer, and the LoRA config of a new adapter; None where it goes on with `adapter`."""
    from peft import LoraConfig
    from transformers import set_seed

    set_seed(seed)
    tokenizer = load_tokenizer(spec["base"], spec["trusts_code"])
    model = load_base(spec["base"], spec["trusts_code"], dtype=_dtype())
    if adapter is not None:
        return load_adapter(model, adapter, is_trainable=True), tokenizer, None
    return model, tokenizer, LoraConfig(task_type="CAUSAL_LM", **spec["adapter"])


def _labelled(row: dict[str, Any], max_length: int) -> dict[str, Any]:
    """The chosen answer of a pair as a row of supervised training."""
    prompt, chosen = row["prompt_ids"], row["chosen_ids"]
    return {"input_ids": (prompt + chosen)[:max_length], "labels": ([IGNORED] * len(prompt) + chosen)[:max_length]}


def _count_pair_tokens(dataset: Any, max_length: int) -> int:
    """Tokens of chosen and rejected answers, as far as they are not cut off."""
    return sum(
        min(len(row[which]), max_length - len(row["prompt_ids"]))
        for row in dataset
        for which in ("chosen_ids", "rejected_ids")
    )


def _dtype() -> Any:
    import torch

    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def _refuse_left_out(dataset: Any, rows: list[dict[str, Any]]) -> None:
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


def _save(model: Any, folder: Path, base: str) -> Path:
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


def _probed(spec: dict[str, Any], done: dict[str, Any]) -> list[dict[str, Any]]:
    return _probe(spec["base"], Path(done["adapter_path"]), done["probe_rows"], spec["trusts_code"])


def _probe(base: str, adapter: Path, rows: list[dict[str, Any]], trusts_code: bool = False) -> list[dict[str, Any]]:
    """What the saved adapter predicts in some rows, at each token that is trained on.

    A list of prefixes (token ids), each with the PROBE_TOKENS likeliest next tokens and their log-probabilities.
    """
    import torch

    model = load_adapter(load_base(base, trusts_code, dtype=_dtype()), adapter).eval()
    probe = []
    for row in rows:
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

        return run_child("tasks.train:main", spec, Path(spec["folder"]), follow, gpus() or 1)


def gpus() -> int:
    """GPUs that a child will see. Asking PyTorch would cost seconds, and leave a context on each."""
    if version("torch").endswith("+cpu"):
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(list(Path("/dev").glob("nvidia[0-9]*")))
    return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])


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
