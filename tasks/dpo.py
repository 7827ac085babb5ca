"""The preference stage: DPO on pairs of answers, and what is measured of it."""

from statistics import fmean
from typing import Any

from tasks.chat import check_template, pair_dataset
from tasks.child import Progress, is_first
from tasks.fitting import PROBE_ROWS, finish, fit, load, refuse_left_out
from tasks.pair_checks import alarms, measure
from tasks.prompt_dropout import IGNORED
from tasks.trainer_options import DpoConfig
from tasks.trainers import dpo_trainer


def train_dpo(
    spec: dict[str, Any], key: str, rows: list[dict[str, Any]], adapter: str | None, progress: Progress
) -> dict[str, Any]:
    """Train on the pairs among the rows, on top of the stage before where there was one; the stage's record.

    With the facts come what was measured of a sample of the pairs, and the alarms that follow (`tasks.pair_checks`).
    """
    rows = [row for row in rows if row["rejected"] is not None]
    model, tokenizer, lora = load(spec, adapter, spec["dpo"]["seed"])
    check_template(tokenizer, rows)
    trainer = dpo_trainer(spec, model, tokenizer, pair_dataset(rows), lora)
    refuse_left_out(trainer.train_dataset, rows)
    trained_tokens = _count_pair_tokens(trainer.train_dataset, spec["max_length"])
    facts = {"rows": len(rows)} | fit(trainer, spec, "dpo", key, trained_tokens, progress)
    probe = [
        _labelled(row, spec["max_length"]) for row in trainer.train_dataset.select(range(min(PROBE_ROWS, len(rows))))
    ]
    if is_first():
        measured = measure(trainer, spec["champion"], spec["max_new_tokens"])
        found = alarms(measured, DpoConfig.model_validate(spec["dpo"]))
        measured["chosen_change"] = fmean(measured.pop("chosen_changes"))
        facts |= {"alarms": found, "measured": measured}
    return finish(trainer, spec, "dpo", key, {"training": facts, "probe_rows": probe})


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
