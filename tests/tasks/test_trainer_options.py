"""Every option of TRL's trainers can be set in a config, and one that cannot work is refused when it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.trainer_options import PREFIXES_SET_HERE, SET_HERE, TrainerConfig
from tests.conftest import python


def refusal(options: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        TrainerConfig.model_validate(options)
    return str(caught.value.errors()[0]["msg"])


def test_any_option_of_trl_reaches_the_trainer_as_its_own_type() -> None:
    """YAML reads 1e-8 as text."""
    config = TrainerConfig.model_validate({"adam_epsilon": "1e-8", "lr_scheduler_kwargs": {"num_cycles": 2}})
    arguments = config.arguments()
    assert arguments["adam_epsilon"] == 1e-8
    assert arguments["lr_scheduler_kwargs"] == {"num_cycles": 2}
    assert arguments["learning_rate"] == config.learning_rate
    assert "checkpoint_seconds" not in arguments


def test_a_config_with_options_of_trl_is_read_back_as_it_was_written() -> None:
    config = TrainerConfig.model_validate({"optim": "adafactor", "neftune_noise_alpha": 5})
    assert TrainerConfig.model_validate(json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learning_rat": 1e-4}, "learning_rat is no option of TRL's SFTConfig; did you mean learning_rate?"),
        ({"neftune_alpha": 1}, "did you mean neftune_noise_alpha?"),
        ({"colour": 1}, "colour is no option of TRL's SFTConfig; remove it or correct its spelling"),
        ({"beta": 0.1}, "beta is no option of TRL's SFTConfig"),
        ({"adam_beta1": "fast"}, "adam_beta1: Input should be a valid number"),
        ({"output_dir": "x"}, "output_dir cannot be set: files of a round are kept in its folder"),
        ({"hub_model_id": "x"}, "hub_model_id cannot be set: nothing is sent to a model hub"),
        ({"eval_steps": 5}, "there are no evaluation rows here"),
    ],
)
def test_an_option_that_cannot_work_is_refused_with_the_reason(options: dict[str, Any], expected: str) -> None:
    assert expected in refusal(options)


def test_what_is_set_here_is_an_option_of_trl() -> None:
    """Otherwise a renamed option would pass through and be given twice."""
    from dataclasses import fields

    from trl import DPOConfig, SFTConfig

    known = {field.name for made in (SFTConfig, DPOConfig) for field in fields(made)}
    assert set(SET_HERE) <= known
    assert all(any(name.startswith(prefix) for name in known) for prefix in PREFIXES_SET_HERE)


def test_a_config_of_usual_options_is_read_without_trl() -> None:
    code = """
        import sys
        from tasks.trainer_options import TrainerConfig
        TrainerConfig.model_validate({"learning_rate": 1e-3, "checkpoint_seconds": 5})
        print("trl" in sys.modules)
    """
    assert python(code).communicate()[0].strip() == "False"
