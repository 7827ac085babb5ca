"""What a demo workload consists of: what its base model has learned, and what production then sends.

A world has one window of traffic a round. Production is played by the workload's champion of that moment; what
reviewers say of its outputs is drawn only after it has answered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.demo import banking77, reviews, tickets
from tasks.demo.base_model import BaseSpec
from tasks.errors import ConfigError

Record = dict[str, Any]
Conversation = list[dict[str, str]]


@dataclass(frozen=True)
class Window:
    """The traffic of one round: prompts, and what becomes of (outputs, model version) under review."""

    prompts: list[Conversation]
    review: Callable[[list[str], str], list[Record]]


@dataclass(frozen=True)
class World:
    """A demo workload. `given` are demonstrations beside the traffic, `taught` those that taught the base."""

    name: str
    spec: BaseSpec
    conversations: list[Conversation]
    given: list[Record]
    windows: tuple[Window, ...]
    taught: tuple[Record, ...] = ()
    test: tuple[list[Conversation], list[str]] | None = None


TICKETS_BASE = BaseSpec(name="tickets", single_tokens=tickets.SCHEMA_TOKENS, initializer_range=0.05, steps=450)
TICKETS_TAUGHT = 12_000
TICKETS_FIRST = 2_400
TICKETS_SECOND = 1_200
TICKETS_GIVEN = 2_000
CARELESS_SHARE = 0.3
BANKING77_GOLDEN = 600


def tickets_world() -> World:
    """Support-ticket triage in two windows; in the second a careless reviewer hands in a batch."""
    first = tickets.production(TICKETS_FIRST, seed=1)
    second = tickets.production(TICKETS_SECOND, seed=2)
    careful = round(TICKETS_SECOND * (1 - CARELESS_SHARE))

    def review_second(outputs: list[str], version: str) -> list[Record]:
        return [
            *reviews.review(second[:careful], outputs[:careful], seed=2, model_version=version),
            *reviews.careless_review(second[careful:], outputs[careful:], seed=2, model_version=version),
        ]

    return World(
        name="tickets",
        spec=TICKETS_BASE,
        conversations=[ticket.conversation for ticket in tickets.old_world(TICKETS_TAUGHT, seed=0)],
        given=reviews.demonstrations(tickets.old_world(TICKETS_GIVEN, seed=3)),
        windows=(
            Window(
                [ticket.messages for ticket in first],
                lambda outputs, version: reviews.review(first, outputs, seed=1, model_version=version),
            ),
            Window([ticket.messages for ticket in second], review_second),
        ),
    )


def banking77_world(data: Path) -> World:
    """BANKING77: of train.csv 4,000 rows teach the base, 600 are a golden set and the others production."""
    loaded = banking77.load(data)
    golden, production = loaded.production[:BANKING77_GOLDEN], loaded.production[BANKING77_GOLDEN:]
    return World(
        name="banking77",
        spec=banking77.BASE_SPEC,
        conversations=[row.conversation for row in loaded.base],
        given=[_demonstration(row) for row in golden],
        taught=tuple(_demonstration(row) for row in loaded.base),
        windows=(
            Window(
                [row.messages for row in production],
                lambda outputs, version: banking77.review(production, outputs, model_version=version),
            ),
        ),
        test=([row.messages for row in loaded.test], [row.truth for row in loaded.test]),
    )


def _demonstration(row: banking77.Row) -> Record:
    """A row with its right answer, as its team has it."""
    return {
        "record": "demonstration",
        "demonstration_id": row.row_id,
        "messages": row.conversation,
        "producer": "person:annotator",
        "created_at": "2026-02-01T08:00:00Z",
        "slices": {},
    }


def make_world(workload: str, data: Path | None) -> World:
    """The world of a demo workload.

    Raises:
        ConfigError: there is no such workload, or it needs a data folder that was not given.
    """
    if workload == "tickets":
        return tickets_world()
    if workload != "banking77":
        raise ConfigError(f"there is no demo workload {workload}; the workloads are tickets and banking77")
    if data is None:
        raise ConfigError("banking77 needs --data DIR, a folder with train.csv and test.csv (columns text,category)")
    return banking77_world(data)
