"""A workload to kill: a base model of a few seconds, reviewed tickets, and a round of a minute or two.

    world = build_world(folder)          # folder/config.yaml, its home in folder/home

Beside it `bulk.yaml` reads tens of thousands of rows, so that a pass over the sources lasts long enough to be killed.
"""

import json
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.config import load_config
from tasks.demo import reviews, tickets
from tasks.demo.base_model import BaseSpec, build_base

TICKETS, GIVEN, BULK = 400, 160, 20_000
REVIEWERS = ("person:maria",)  # with several, the gate wants the gain to hold without each of them
WRONG = 0.4  # of production's answers
CHECKPOINT_SECONDS = 1.0
# A gate that lets this world's challenger pass, so that a promotion can be killed.
LENIENT = {
    "min_cases": 5, "min_fixed": 0.0, "anchor_margin": 0.5, "max_negative_flips": 1.0, "invalid_margin": 1.0,
    "length_margin": 10.0, "error_budget": 0.49, "slice_level": 0.001,
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """Where a workload to kill lies; everything that a round writes is in `home`."""

    folder: Path

    @property
    def home(self) -> Path:
        """The home in the config."""
        return self.folder / "home"

    @property
    def config(self) -> Path:
        """The config of the workload that has rounds."""
        return self.folder / "config.yaml"

    @property
    def bulk(self) -> Path:
        """The config of the workload that only collects."""
        return self.folder / "bulk.yaml"


def build_world(folder: Path, steps: int = 80, bulk: int = BULK, **trainer: Any) -> World:
    """Write the traffic, teach the base model in so many steps, and write the configs; a world that is there is kept.

    `bulk` is the number of calls of the workload that only collects, `trainer` has further options of training.
    """
    world = World(folder)
    if world.config.is_file():
        return world
    folder.mkdir(parents=True, exist_ok=True)
    spec = BaseSpec(name="small", single_tokens=tickets.SCHEMA_TOKENS, layers=2, steps=steps, initializer_range=0.05)
    base = build_base([ticket.conversation for ticket in tickets.old_world(2000, seed=0)], spec, folder / "models")
    given = reviews.demonstrations(tickets.old_world(GIVEN, seed=3))
    _write(folder / "tickets" / "window.jsonl", [*given, *_reviewed(TICKETS, seed=1)])
    _write(folder / "bulk" / "window.jsonl", _reviewed(bulk, seed=2))
    _write_config(world.bulk, _config(folder, base, "bulk", trainer))
    _write_config(world.config, _config(folder, base, "tickets", trainer))
    return world


def empty_home(world: World) -> None:
    """Leave nothing in the home but the keys, from which redaction draws what it puts in a name's place."""
    shutil.rmtree(world.home, ignore_errors=True)
    world.home.mkdir()
    for config in (world.config, world.bulk):
        (world.home / f"{load_config(str(config)).name}.redaction-key").write_bytes(bytes(32))


def _reviewed(count: int, seed: int) -> list[dict[str, Any]]:
    """Calls whose answers are right or another ticket's, and what reviewers said of them."""
    served = tickets.production(count, seed=seed)
    rng = random.Random(seed)
    answers = [rng.choice(served) if rng.random() < WRONG else ticket for ticket in served]
    return reviews.review(served, [ticket.truth for ticket in answers], seed=seed, reviewers=REVIEWERS)


def _config(folder: Path, base: Path, name: str, trainer: dict[str, Any]) -> dict[str, Any]:
    traffic = folder / name
    return {
        "name": name,
        "home": str(folder / "home"),
        "sources": [{"name": "production", "path": str(traffic / "*.jsonl"), "on_malformed": "refuse"}],
        "scorer": {"type": "json_fields"},
        "model": {"base": str(base), "max_length": 256, "max_new_tokens": 24},
        "cluster": {"min_size": 10},
        "blend": {"min_corrections": 20, "demonstrations_per_correction": 1.0},
        "adapter": {"r": 8, "lora_alpha": 16, "members": 1},
        "trainer": {
            "num_train_epochs": 8.0,
            "learning_rate": 3e-3,
            "per_device_train_batch_size": 16,
            "checkpoint_seconds": CHECKPOINT_SECONDS,
        }
        | trainer,
        "gate": LENIENT,
    }


def _write_config(path: Path, config: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
