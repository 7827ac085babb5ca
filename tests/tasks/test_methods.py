"""A method that does not fit the task is refused when the config is read, with the reason and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.config import Config
from tests.conftest import make_config

BETTER = {"task": "better_answer", "scorer": {"type": "none"}}
JUDGE = {"type": "judge", "address": "http://judge/v1", "model": "m", "mode": "pairwise", "rubric": "Be right."}


def test_each_task_has_the_method_that_fits(tmp_path: Path) -> None:
    assert make_config(tmp_path).training_method == "sft"
    assert make_config(tmp_path, method="sft_then_dpo").training_method == "sft_then_dpo"
    assert make_config(tmp_path, **BETTER).training_method == "dpo"
    assert make_config(tmp_path, **BETTER | {"scorer": JUDGE}).training_method == "dpo"
    assert make_config(tmp_path, scorer=JUDGE).training_method == "sft"
    assert make_config(tmp_path, scorer=JUDGE | {"mode": "pointwise"}).training_method == "sft"


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        ({"method": "dpo"}, "throws the right answer away", "use sft, or sft_then_dpo"),
        ({"method": "sft_then_dpo", "dpo": {"loss_type": ["sigmoid"]}}, "may become unlikely again", "add sft to it"),
        (
            {"method": "sft_then_dpo", "dpo": {"loss_weights": [1.0, 0.0]}},
            "may become unlikely again",
            "weight above 0",
        ),
        ({"scorer": {"type": "none"}}, "nothing can be judged", "use exact or json_fields"),
        (BETTER | {"method": "sft"}, "freezes one phrasing", "use dpo"),
        (BETTER | {"method": "sft_then_dpo"}, "freezes one phrasing", "use dpo"),
        (BETTER | {"scorer": {"type": "exact"}}, "task better_answer has none", "use scorer: {type: none}"),
        (BETTER | {"scorer": JUDGE | {"mode": "pointwise"}}, "task better_answer has none", "mode: pairwise"),
        (BETTER | {"scorer": {"type": "exact"}}, "task better_answer has none", "or a judge with mode: pairwise"),
        (
            {"scorer": JUDGE, "method": "sft_then_dpo", "candidates": {}},
            "please what judges it afterwards",
            "use another scorer, or remove candidates",
        ),
        ({"dpo": {"beta": 0}}, "nothing holds the model to its reference", "usual are 0.01 to 0.5"),
        ({"dpo": {"beta": -0.1}}, "nothing holds the model to its reference", "usual are 0.01 to 0.5"),
        ({"dpo": {"loss_type": ["sft"]}}, "learns nothing from the rejected answers", "add sigmoid"),
        ({"dpo": {"loss_weights": [1.0]}}, "one for each of loss_type", "2 and not 1"),
        ({"dpo": {"loss_type": ["sigmod"]}}, "Input should be", "'sigmoid'"),
        ({"dpo": {"label_smoothin": 0.1}}, "is no option of TRL's DPOConfig", "did you mean label_smoothing?"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str, remedy: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_config(tmp_path, **changes)
    assert reason in str(caught.value)
    assert remedy in str(caught.value)


POLITE = {"checks": [{"name": "polite", "type": "regex", "pattern": "please"}]}


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        ({}, "method sft takes no pairs", "use sft_then_dpo"),
        (BETTER, "checks have to, and there are none", "add checks that good answers pass"),
        (BETTER | POLITE | {"candidates": {"temperature": 0}}, "all answers to an input are the same", "0.7 to 1"),
        (BETTER | POLITE | {"candidates": {"temperature": -0.5}}, "all answers to an input are the same", "0.7 to 1"),
        (BETTER | POLITE | {"candidates": {"temperature": 0.001}}, "vLLM samples at 0.01 or more", "0.7 to 1"),
        (BETTER | POLITE | {"candidates": {"temperature": float("nan")}}, "finite number", ""),
        (BETTER | POLITE | {"candidates": {"per_input": 1}}, "greater than or equal to 2", ""),
        (BETTER | POLITE | {"candidates": {"per_input": 17}}, "less than or equal to 16", ""),
    ],
)
def test_candidates_that_no_pair_could_come_of_are_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str, remedy: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        make_config(tmp_path, **{"candidates": {}} | changes)
    assert reason in str(caught.value)
    assert remedy in str(caught.value)


def test_candidates_are_off_by_default_and_fit_both_tasks(tmp_path: Path) -> None:
    assert make_config(tmp_path, method="sft_then_dpo").candidates is None
    assert make_config(tmp_path, method="sft_then_dpo", candidates={}).candidates is not None
    assert make_config(tmp_path, **BETTER | POLITE, candidates={}).candidates is not None


def test_the_supervised_term_is_on_by_default(fresh_config: Config) -> None:
    assert fresh_config.dpo.is_supervised
    assert fresh_config.dpo.usual_beta[0] <= fresh_config.dpo.beta <= fresh_config.dpo.usual_beta[1]


def test_preferences_are_not_trained_on_with_an_adapter_on_the_output_layer(tmp_path: Path) -> None:
    adapter = {"target_modules": ["q_proj", "lm_head"]}
    assert make_config(tmp_path, adapter=adapter).training_method == "sft"
    with pytest.raises(ValidationError, match=r"adapter\.target_modules: .* lm_head.*; remove it, or use method: sft"):
        make_config(tmp_path, adapter=adapter, method="sft_then_dpo")
