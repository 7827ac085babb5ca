"""Preference tuning really prefers, goes on where it was killed, and says what it broke."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tasks.adapters import check_base
from tasks.errors import FlywheelError
from tasks.pair_checks import alarms
from tasks.train_child import main
from tasks.trainer_options import DpoConfig
from tests.tasks.test_checkpoints import train, train_until
from tests.tasks.tiny import conversations, tiny_base, tiny_spec

FINE: dict[str, Any] = {
    "pairs": 40, "chosen_changes": [0.1, 0.3] * 20, "own_logprob": -1.0, "nearest_logprob": -1.2,
    "distinct_champion": 3.0, "distinct_challenger": 2.8,
    "chosen_tokens": 20.0, "rejected_tokens": 21.0,
}  # fmt: skip


def test_nothing_is_said_of_a_training_that_broke_nothing() -> None:
    assert alarms(FINE, DpoConfig()) == []


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        ({"chosen_changes": [-0.5, -0.7] * 20}, {}, "the chosen answers became less likely, by 0.60 nats a token"),
        ({"distinct_challenger": 1.2}, {}, "answers became alike: of 4 to one input 1.2 are distinct"),
        ({"nearest_logprob": -3.0}, {}, "even the likelier answer of each is less likely than its own, by 2.0 nats"),
        ({"chosen_tokens": 40.0}, {}, "chosen answers have 40 tokens on average and rejected ones 21"),
        ({}, {"beta": 3.0}, "dpo.beta is 3; usual with loss_type sigmoid, sft are 0.01 to 0.5"),
        ({}, {"loss_type": ["sigmoid_norm", "sft"]}, "dpo.beta is 0.1; usual with loss_type sigmoid_norm, sft are 2"),
    ],
)
def test_each_harm_has_its_alarm(change: dict[str, Any], options: dict[str, Any], expected: str) -> None:
    (said,) = alarms(FINE | change, DpoConfig.model_validate(options))
    assert expected in said


def test_a_fall_within_chance_and_lengths_that_are_normalised_raise_no_alarm() -> None:
    assert alarms(FINE | {"chosen_changes": [-1.0, 0.9] * 20}, DpoConfig()) == []
    by_token = DpoConfig.model_validate({"loss_type": ["sigmoid_norm", "sft"], "beta": 5})
    assert alarms(FINE | {"chosen_tokens": 60.0}, by_token) == []


ROWS = conversations(40) + [row | {"signal_id": f"p{n}"} for n, row in enumerate(conversations(40, pairs=True))]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("tiny") / "base")


def test_both_stages_end_in_one_adapter_of_which_each_stage_is_on_record(tmp_path: Path, base: Path) -> None:
    spec = tiny_spec(tmp_path / "round", base, ROWS, stages=["sft", "dpo"])
    result, said = train(spec)
    stages = result["training"]["stages"]
    assert {name: facts["rows"] for name, facts in stages.items()} == {"sft": 40, "dpo": 40}
    assert result["training"]["steps"] == 80
    assert {message["stage"] for message in said} == {"sft", "dpo"}
    margins = [m["metrics"]["rewards/margins"] for m in said if m["stage"] == "dpo"]
    assert fmean(margins[-10:]) > 2 * fmean(margins[:10]) > 0
    assert stages["dpo"]["measured"]["chosen_change"] > 0
    measured = stages["dpo"]["measured"]
    assert 1 <= measured["distinct_challenger"] <= 4
    assert measured["own_logprob"] < 0
    assert result["probe"]
    check_base(Path(result["adapter_path"]), str(base))
    with pytest.raises(FlywheelError, match="was trained on another base"):
        check_base(Path(result["adapter_path"]), str(tiny_base(tmp_path / "other", seed=1)))


@pytest.mark.slow
def test_a_kill_in_the_second_stage_repeats_neither_and_changes_nothing(tmp_path: Path, base: Path) -> None:
    undisturbed, _ = train(tiny_spec(tmp_path / "undisturbed", base, ROWS, stages=["sft", "dpo"]))
    spec = tiny_spec(tmp_path / "killed", base, ROWS, stages=["sft", "dpo"])
    train_until(spec, 13, stage="dpo")
    resumed, said = train(spec)
    assert {message["stage"] for message in said} == {"dpo"}
    assert resumed["training"]["stages"]["dpo"]["resumed_from"] > 5
    assert resumed["adapter_sha256"] == undisturbed["adapter_sha256"]


def test_a_pair_whose_prompt_is_too_long_is_refused_by_name(tmp_path: Path, base: Path) -> None:
    long = conversations(1, pairs=True)[0] | {"signal_id": "long"}
    long["messages"] = [{"role": "user", "content": "a " * 40}, long["messages"][-1]]
    spec = tiny_spec(tmp_path / "round", base, [*ROWS[40:], long], stages=["dpo"])
    with pytest.raises(FlywheelError, match=r"training row long \(production\) has no assistant token"):
        main(spec, lambda **message: None)
