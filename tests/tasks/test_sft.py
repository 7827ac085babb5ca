"""Several adapters made into one, and adapters on layers that TRL leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.adapters import WEIGHTS
from tasks.sft import planned_steps
from tasks.train_child import main
from tests.tasks.tiny import tiny_base, tiny_spec


def change(adapter: str) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight of the base."""
    folder = Path(adapter)
    options = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / WEIGHTS)
    return {
        name: weights[name.replace("lora_A", "lora_B")] @ weights[name] * options["lora_alpha"] / options["r"]
        for name in weights
        if "lora_A" in name
    }


def test_members_are_averaged_and_scaled_exactly(tmp_path: Path) -> None:
    """And each is trained once, whatever is made of them; their progress is that of one training."""
    steps: list[tuple[int, int]] = []

    def follow(**message: Any) -> None:
        if "metrics" in message:
            steps.append((message["step"], message["steps"]))

    spec = tiny_spec(tmp_path / "one", tiny_base(tmp_path / "base"), members=[{}] * 2, strength=0.5)
    spec["trainer"]["num_train_epochs"] = 1
    made = main(spec, follow)
    alone = [
        main(
            tiny_spec(tmp_path / f"alone{seed}", tmp_path / "base") | {"trainer": spec["trainer"] | {"seed": seed}},
            follow,
        )
        for seed in range(2)
    ]
    parts = [change(each["adapter_path"]) for each in alone]
    for name, value in change(made["adapter_path"]).items():
        torch.testing.assert_close(value, 0.5 * sum(part[name] for part in parts) / 2)
    assert made["training"]["steps"] == 2 * alone[0]["training"]["steps"] == steps[19][0] == steps[0][1]
    assert [step for step, _ in steps[:20]] == list(range(1, 21))
    steps.clear()
    stronger = main(spec | {"strength": 1.0}, follow)
    assert steps == []
    for name, value in change(stronger["adapter_path"]).items():
        torch.testing.assert_close(value, 2 * change(made["adapter_path"])[name])


def test_members_of_different_recipes_are_averaged_where_each_has_a_part(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    small, wide = (
        {"r": rank, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": modules}
        for rank, modules in ((4, ["q_proj"]), (2, ["q_proj", "lm_head"]))
    )
    trainer = tiny_spec(tmp_path / "any", base)["trainer"] | {"num_train_epochs": 1}
    recipes = [{"adapter": small}, {"adapter": wide, "trainer": trainer | {"num_train_epochs": 2}}]
    steps: list[tuple[int, int]] = []

    def follow(**message: Any) -> None:
        if "metrics" in message:
            steps.append((message["step"], message["steps"]))

    made = main(tiny_spec(tmp_path / "both", base, trainer=trainer, members=recipes), follow)
    assert [step for step, _ in steps] == [step for step, _ in made["training"]["loss"]] == list(range(1, 31))
    assert {planned for _, planned in steps} == {30}, "of which the second has twice as many as the first"
    alone = []
    for seed, recipe in enumerate(recipes):
        own = {"trainer": trainer} | recipe
        spec = tiny_spec(tmp_path / f"alone{seed}", base, **own | {"trainer": own["trainer"] | {"seed": seed}})
        alone.append(change(main(spec, lambda **_: None)["adapter_path"]))
    both = change(made["adapter_path"])
    assert both.keys() == alone[1].keys() > alone[0].keys()
    for name, value in both.items():
        torch.testing.assert_close(value, (alone[0].get(name, torch.zeros_like(value)) + alone[1][name]) / 2)


def test_an_adapter_on_embeddings_and_output_layer_is_trained_and_nothing_else_is_stored(tmp_path: Path) -> None:
    """TRL's own loss would leave the output layer's part at zero, and PEFT would add the base's embeddings."""
    modules = ["q_proj", "embed_tokens", "lm_head"]
    adapter = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": modules}
    made = main(
        tiny_spec(tmp_path / "run", tiny_base(tmp_path / "base"), adapter=adapter, members=[{}] * 2), lambda **_: None
    )
    weights = load_file(Path(made["adapter_path"]) / WEIGHTS)
    assert all("lora_" in name and weight.any() for name, weight in weights.items())
    assert {module for module in modules for name in weights if module in name} == set(modules)


@pytest.mark.parametrize(
    ("trainer", "more", "steps"),
    [
        ({}, {}, 26),
        ({"num_train_epochs": 0.5}, {}, 7),
        ({"gradient_accumulation_steps": 2}, {}, 14),
        ({"max_steps": 5}, {}, 5),
        ({}, {"copies": 6}, 150),
    ],
)
def test_steps_are_planned_as_transformers_counts_them(
    trainer: dict[str, Any], more: dict[str, int], steps: int
) -> None:
    """Of 100 rows."""
    assert (
        planned_steps({"trainer": {"num_train_epochs": 2, "per_device_train_batch_size": 8} | trainer} | more, 100)
        == steps
    )
