"""Reviewers of the demo's traffic: what they confirm, correct and thumb down, as records of a JSONL source.

Careful reviewers know the right answer and make a few mistakes of their own. A careless one applies an outdated
guide to everything. Neither looks at what a later model will make of it.
"""

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.demo.tickets import CATEGORIES, PRIORITIES, Ticket, answer_json

Record = dict[str, Any]
Answer = dict[str, Any]

REVIEWERS = ("person:maria", "person:tom", "person:aisha")
CARELESS = "person:rush"
MINUTES_APART = 2
OUTDATED_GUIDE = {"returns": "shipping", "account": "general", "technical": "general"}


class Habits(BaseModel):
    """How careful reviewers work; shares of the outputs they look at."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    looked_at: float = Field(0.98, ge=0, le=1)
    confirmed: float = Field(0.6, ge=0, le=1, description="right outputs that get a thumb up")
    missed: float = Field(0.03, ge=0, le=1, description="wrong outputs that nobody notices")
    only_thumbed: float = Field(0.04, ge=0, le=1, description="wrong outputs thumbed down and not corrected")
    wrongly_corrected: float = Field(0.02, ge=0, le=1, description="corrections that are wrong themselves")


CAREFUL = Habits()


def review(
    tickets: Sequence[Ticket],
    outputs: Sequence[str],
    *,
    seed: int,
    model_version: str = "base",
    start: str = "2026-03-02T08:00:00Z",
    habits: Habits = CAREFUL,
    reviewers: Sequence[str] = REVIEWERS,
) -> list[Record]:
    """The inferences and what careful reviewers said of them, in the order of time.

    `outputs[i]` is what model `model_version` answered to `tickets[i]`; `start` is the first inference's time (UTC).
    """
    rng = random.Random(f"review/{seed}")
    records: list[Record] = []
    for index, (ticket, output) in enumerate(zip(tickets, outputs, strict=True)):
        records.append(_inference(ticket, output, model_version, _time(start, index)))
        if rng.random() < habits.looked_at:
            feedback = _careful(rng, ticket, output, habits)
            records += _signed(feedback, ticket, rng.choice(list(reviewers)), _time(start, index, later=60))
    return records


def careless_review(
    tickets: Sequence[Ticket],
    outputs: Sequence[str],
    *,
    seed: int,
    model_version: str = "1",
    start: str = "2026-03-16T08:00:00Z",
    share: float = 1.0,
    reviewer: str = CARELESS,
) -> list[Record]:
    """The inferences and one reviewer's batch over a `share` of them, made with a guide that no longer holds.

    The guide knows fewer categories, one priority and no refunds; an output that agrees with it is thumbed up, every
    other one, right or wrong, is "corrected".
    """
    rng = random.Random(f"careless/{seed}")
    records: list[Record] = []
    for index, (ticket, output) in enumerate(zip(tickets, outputs, strict=True)):
        records.append(_inference(ticket, output, model_version, _time(start, index)))
        if rng.random() < share:
            answer = outdated_answer(ticket)
            feedback = _thumb("up") if same_answer(output, answer) else _correction(answer)
            records += _signed(feedback, ticket, reviewer, _time(start, index, later=5))
    return records


def demonstrations(
    tickets: Sequence[Ticket], *, producer: str = "rule:triage_guide", created_at: str = "2026-02-01T08:00:00Z"
) -> list[Record]:
    """Tickets with their right answers, no failure behind them: what must go on working."""
    return [
        {
            "record": "demonstration",
            "demonstration_id": f"demonstration-{ticket.ticket_id}",
            "messages": ticket.conversation,
            "producer": producer,
            "created_at": created_at,
            "slices": ticket.slices,
        }
        for ticket in tickets
    ]


def outdated_answer(ticket: Ticket) -> str:
    """The answer that the outdated guide gives: categories that were merged since, nothing urgent, no refunds."""
    category = json.loads(ticket.truth)["category"]
    return answer_json(OUTDATED_GUIDE.get(category, category), "low", False)


def same_answer(output: str, truth: str) -> bool:
    """Whether two answers agree as JSON; an output that is no JSON agrees with nothing."""
    try:
        return bool(json.loads(output) == json.loads(truth))
    except json.JSONDecodeError:
        return False


def _careful(rng: random.Random, ticket: Ticket, output: str, habits: Habits) -> Record | None:
    if same_answer(output, ticket.truth):
        return _thumb("up") if rng.random() < habits.confirmed else None
    point = rng.random()
    if point < habits.missed:
        return None
    if point < habits.missed + habits.only_thumbed:
        return _thumb("down")
    return _correction(_slip(rng, ticket.truth) if rng.random() < habits.wrongly_corrected else ticket.truth)


def _slip(rng: random.Random, truth: str) -> str:
    """The right answer with one field wrong, as a tired person would leave it."""
    answer: Answer = json.loads(truth)
    field = rng.choice(list(answer))
    others = {"category": CATEGORIES, "priority": PRIORITIES, "refund_requested": (True, False)}[field]
    answer[field] = rng.choice([value for value in others if value != answer[field]])
    return answer_json(**answer)


def _thumb(value: str) -> Record:
    return {"record": "thumb", "value": value}


def _correction(answer: str) -> Record:
    return {"record": "correction", "corrected_output": answer}


def _inference(ticket: Ticket, output: str, model_version: str, created_at: str) -> Record:
    return {
        "record": "inference",
        "inference_id": ticket.ticket_id,
        "messages": ticket.messages,
        "output": output,
        "model_version": model_version,
        "created_at": created_at,
        "slices": ticket.slices,
    }


def _signed(feedback: Record | None, ticket: Ticket, producer: str, created_at: str) -> list[Record]:
    """The feedback with whose it is and when; no record when there is none."""
    if feedback is None:
        return []
    return [{**feedback, "inference_id": ticket.ticket_id, "producer": producer, "created_at": created_at}]


def _time(start: str, index: int, later: int = 0) -> str:
    """`index` tickets after `start`, plus `later` minutes, as an ISO time with a Z."""
    first = datetime.fromisoformat(start.replace("Z", "+00:00"))
    return (first + timedelta(minutes=MINUTES_APART * index + later)).strftime("%Y-%m-%dT%H:%M:%SZ")
