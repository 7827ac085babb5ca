"""The supervised stage: one adapter, or several (members) that are averaged or that teach another what they say."""

import gc
import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from tasks.adapters import check_adapter
from tasks.base_models import load_adapter, load_base, working_dtype
from tasks.chat import chat_dataset, check_template
from tasks.child import Progress, is_first
from tasks.distil import forget, have_taught
from tasks.fitting import (
    PROBE_ROWS,
    SUMMED,
    finish,
    finished,
    fit,
    key_of,
    load,
    read_record,
    record,
    refuse_left_out,
    save,
)
from tasks.prompt_dropout import IGNORED
from tasks.trainers import sft_trainer

ALONE: dict[str, Any] = {"members": [{}], "strength": 1.0, "distil": None}  # of one adapter that is not made of others


def train_sft(
    spec: dict[str, Any], key: str, rows: list[dict[str, Any]], adapter: str | None, progress: Progress
) -> dict[str, Any]:
    """Train the members, each in a folder of its own with a seed of its own, and average or distil them.

    Args:
        spec: see `tasks.train.make_spec`.
        key: of the stage (`tasks.fitting.key_of`).
        rows: the snapshot's; those with a rejected answer are for another stage.
        adapter: of the stage before, of which there is none.
        progress: told of the parts as of one training.

    Returns:
        The stage's record (`tasks.fitting.record`).
    """
    assert adapter is None
    specs = [_member_spec(spec, number) for number in range(len(spec["members"]))]
    if (len(specs), spec["strength"], spec["distil"]) == (1, 1.0, None):
        return _train_one(specs[0] | {"folder": spec["folder"]}, key, rows, progress)
    parts = specs if spec["distil"] is None else [*specs, spec["distil"]]
    told = _InParts(progress, [planned_steps(part, len(rows)) for part in parts])
    members = [_train_part(own, rows, told) for own in specs]
    if spec["distil"] is None:
        return _average(spec, key, members, members)
    student = _train_part(_student_spec(spec, members), rows, told)
    return _average(spec, key, [student], [*members, student])


def _train_part(spec: dict[str, Any], rows: list[dict[str, Any]], told: "_InParts") -> dict[str, Any]:
    """Train one of the adapters that another is made of, unless that has been done."""
    key = key_of(spec, "sft")
    Path(spec["folder"]).mkdir(exist_ok=True)
    part = finished(spec, "sft", key, told) or _train_one(spec, key, rows, told)
    told.end_part(part["training"]["steps"])
    gc.collect()
    return part


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


def planned_steps(spec: dict[str, Any], rows: int) -> int:
    """How many steps a training of so many rows will have, as Transformers counts them for one process, unpacked."""
    trainer = spec["trainer"]
    if (steps := trainer.get("max_steps", -1)) > 0:
        return int(steps)
    batches = math.ceil(rows * spec.get("copies", 1) / trainer["per_device_train_batch_size"])
    updates = math.ceil(batches / trainer.get("gradient_accumulation_steps", 1))
    return math.ceil(trainer["num_train_epochs"] * updates)


class _InParts:
    """Progress of several trainings, one after another, as if they were one.

    How many steps those to come really have is not known before they begin: it is taken to be as much more or less than
    `planned`, the number of each, as it is of the one that is under way.
    """

    def __init__(self, progress: Progress, planned: Sequence[int]) -> None:
        self.progress, self.planned, self.behind = progress, list(planned), 0

    def __call__(self, **message: Any) -> None:
        """Tell of the part that is under way."""
        if "steps" in message:
            ahead = round(sum(self.planned) / self.planned[0] * message["steps"])
            message |= {"step": self.behind + message["step"], "steps": self.behind + ahead}
        self.progress(**message)

    def end_part(self, steps: int) -> None:
        """A part of so many steps is over."""
        self.behind, self.planned = self.behind + steps, self.planned[1:]


def _train_one(spec: dict[str, Any], key: str, rows: list[dict[str, Any]], progress: Progress) -> dict[str, Any]:
    """Train one adapter; of a spec that names `voices`, on what these say to variants of the rows."""
    rows = [row for row in rows if row["rejected"] is None]
    model, tokenizer, lora = load(spec, None, spec["trainer"]["seed"])
    check_template(tokenizer, rows)
    trainer = sft_trainer(spec, model, tokenizer, chat_dataset(rows), lora)
    refuse_left_out(trainer.train_dataset, rows)
    probe = trainer.train_dataset.select(range(min(PROBE_ROWS, len(rows)))).to_list()
    if "voices" in spec:
        have_taught(trainer, tokenizer, spec, key, progress)
    trained_tokens = sum(label != IGNORED for labels in trainer.train_dataset["labels"] for label in labels)
    facts = {"rows": len(rows)} | fit(trainer, spec, "sft", key, trained_tokens, progress)
    made = finish(trainer, spec, "sft", key, {"training": facts, "probe_rows": probe})
    forget(Path(spec["folder"]))
    return made


def _average(
    spec: dict[str, Any], key: str, members: list[dict[str, Any]], trained: list[dict[str, Any]]
) -> dict[str, Any]:
    """The mean of the members' weights, scaled by the strength, as one adapter (model soup, Wortsman et al. 2022).

    Exact: PEFT puts the members' factors beside one another, so that the rank is the sum of theirs. Its facts are those
    of all that was trained for it.
    """
    if is_first():
        names = [f"member{number}" for number in range(len(members))]
        model = load_base(spec["base"], spec["trusts_code"], dtype=working_dtype())
        model = load_adapter(model, members[0]["adapter_path"], adapter_name=names[0])
        for name, member in zip(names[1:], members[1:], strict=True):
            check_adapter(Path(member["adapter_path"]))
            model.load_adapter(member["adapter_path"], name)
        weights = [spec["strength"] / len(members)] * len(members)
        model.add_weighted_adapter(names, weights, "default", combination_type="cat")
        training = _joined(trained) | {"members": len(spec["members"]), "distilled": spec["distil"] is not None}
        facts = {"training": training, "probe_rows": members[0]["probe_rows"], "log": _joined_log(trained)}
        record(spec, "sft", key, save(model, Path(spec["folder"]), spec["base"]), facts)
    return read_record(spec, "sft")


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The facts of several trainings as if they were one after another."""
    facts = [part["training"] for part in parts]
    sums = {name: sum(each.get(name, 0) for each in facts) for name in SUMMED}
    loss = _in_a_row(facts, [each["loss"] for each in facts])
    resumed = max((each["resumed_from"] for each in facts if each["resumed_from"]), default=None)
    return facts[0] | sums | {"loss": loss, "resumed_from": resumed}


def _joined_log(parts: list[dict[str, Any]]) -> list[Any]:
    """What several trainings logged, as if they were one after another."""
    return _in_a_row([part["training"] for part in parts], [part["log"] for part in parts])


def _in_a_row(facts: list[dict[str, Any]], logs: list[list[Any]]) -> list[Any]:
    """Entries (step, what was logged) of several trainings, each of which begins where the one before ended."""
    begins = accumulate((each["steps"] for each in facts), initial=0)
    return [[begin + step, said] for begin, log in zip(begins, logs, strict=False) for step, said in log]
