"""A small world for whole rounds: a base model of a few seconds, a few hundred tickets, and Prefect's test server."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.config import Config, load_config
from tasks.demo import reviews, tickets
from tasks.demo.base_model import BaseSpec, build_base
from tasks.demo.production import answer
from tests.conftest import write_config

TICKETS = 500
GIVEN = 200


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One temporary Prefect server for the whole session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Path]]:
    """A config with its base model built and its traffic written, in a folder that is the working folder meanwhile."""
    folder = tmp_path_factory.mktemp("world")
    before = Path.cwd()
    os.chdir(folder)
    spec = BaseSpec(name="small", single_tokens=tickets.SCHEMA_TOKENS, layers=2, steps=150, initializer_range=0.05)
    taught = [ticket.conversation for ticket in tickets.old_world(3000, seed=0)]
    base = build_base(taught, spec, Path(".flywheel/models"))
    config_file = write_config(small_config(base), Path("configs/tickets.yaml"))
    write_traffic(base, Path(".flywheel/tickets/traffic/window-1.jsonl"))
    yield load_config(config_file), config_file
    os.chdir(before)


def small_config(base: Path) -> Config:
    """The demo's config, with suites and training of a size for tests."""
    config = load_config("configs/tickets.yaml")
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"base": str(base)}),
            "trainer": config.trainer.model_copy(update={"num_train_epochs": 2.0}),
            "gate": config.gate.model_copy(update={"min_cases": 10}),
            "blend": config.blend.model_copy(update={"min_corrections": 20, "demonstrations_per_correction": 1.0}),
        }
    )


def write_traffic(base: Path, path: Path) -> None:
    """Production's answers by the small base, reviewed, beside given demonstrations."""
    served = tickets.production(TICKETS, seed=1)
    outputs = answer(base, None, [ticket.messages for ticket in served], max_new_tokens=24)
    records = reviews.demonstrations(tickets.old_world(GIVEN, seed=3)) + reviews.review(served, outputs, seed=1)
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
