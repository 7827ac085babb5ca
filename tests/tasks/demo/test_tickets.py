"""The ticket world and its reviewers: reproducible, well-formed, and drifting as the world says."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.demo.reviews import CARELESS, careless_review, demonstrations, outdated_answer, review, same_answer
from tasks.demo.tickets import CATEGORIES, OLD, PRIORITIES, PRODUCTION, Ticket, generate, old_world, production


def test_a_seed_gives_the_same_tickets_and_another_seed_others() -> None:
    assert production(50, seed=3) == production(50, seed=3)
    assert production(50, seed=3) != production(50, seed=4)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_every_truth_is_an_answer_of_the_schema(seed: int) -> None:
    for ticket in production(20, seed=seed):
        truth = json.loads(ticket.truth)
        assert list(truth) == ["category", "priority", "refund_requested"]
        assert truth["category"] in CATEGORIES and truth["priority"] in PRIORITIES
        assert isinstance(truth["refund_requested"], bool)
        text = ticket.messages[1]["content"]
        assert not set("{}|") & set(text) and "TOPIC" not in text, "an unfilled template"


def test_drift_has_the_shares_that_the_world_states() -> None:
    counts = Counter(ticket.kind for ticket in production(4000, seed=1))
    for kind, share in PRODUCTION.drift.items():
        assert counts[kind] / 4000 == pytest.approx(share, abs=0.015)
    assert {ticket.kind for ticket in old_world(200, seed=1)} == {""}


def test_another_policy_changes_the_truth_and_not_the_words() -> None:
    moved = PRODUCTION.model_copy(update={"policy": {**PRODUCTION.policy, "cancel": "billing"}})
    for before, after in zip(production(400, seed=1), generate(400, 1, moved), strict=True):
        assert (before.truth == after.truth) is (before.kind != "cancel")
        if before.kind != "forwarded":
            assert before.messages == after.messages


def test_some_complaints_are_sent_again_in_production_only() -> None:
    def bodies(tickets: list[Ticket]) -> int:
        return len({ticket.messages[1]["content"] for ticket in tickets})

    assert bodies(production(1500, seed=1)) < 1500
    assert OLD.duplicate_rate == 0.0


def _served(n: int) -> tuple[list[Ticket], list[str]]:
    """Tickets, and outputs of which every fourth is wrong."""
    tickets = production(n, seed=5)
    return tickets, ["no json" if index % 4 == 0 else ticket.truth for index, ticket in enumerate(tickets)]


def test_reviews_are_records_of_the_source_schema() -> None:
    tickets, outputs = _served(800)
    records = review(tickets, outputs, seed=1, model_version="base")
    asked = [record for record in records if record["record"] == "inference"]
    assert [record["inference_id"] for record in asked] == [ticket.ticket_id for ticket in tickets]
    assert {tuple(record) for record in asked} == {
        ("record", "inference_id", "messages", "output", "model_version", "created_at", "slices")
    }
    for record in records:
        assert record["created_at"].endswith("Z")
        if record["record"] != "inference":
            assert record["producer"].startswith("person:")
    assert len({record["inference_id"] for record in records if record["record"] != "inference"}) == sum(
        record["record"] != "inference" for record in records
    )
    assert records == review(tickets, outputs, seed=1, model_version="base")


def test_careful_reviewers_correct_most_failures_and_slip_now_and_then() -> None:
    tickets, outputs = _served(4000)
    truths = {ticket.ticket_id: ticket.truth for ticket in tickets}
    corrections = [r for r in review(tickets, outputs, seed=1) if r["record"] == "correction"]
    assert 0.85 < len(corrections) / 1000 < 0.97
    wrong = [r for r in corrections if not same_answer(r["corrected_output"], truths[r["inference_id"]])]
    assert 0 < len(wrong) / len(corrections) < 0.05


def test_a_careless_batch_corrects_right_answers_to_wrong_ones() -> None:
    tickets = production(400, seed=6)
    records = careless_review(tickets, [ticket.truth for ticket in tickets], seed=1)
    corrections = [record for record in records if record["record"] == "correction"]
    assert len(corrections) > 0.7 * len(tickets)
    assert {record["producer"] for record in corrections} == {CARELESS}
    assert all(json.loads(outdated_answer(ticket))["priority"] == "low" for ticket in tickets)


def test_demonstrations_end_in_the_right_answer() -> None:
    tickets = old_world(5, seed=1)
    for record, ticket in zip(demonstrations(tickets), tickets, strict=True):
        assert record["record"] == "demonstration"
        assert record["messages"][-1] == {"role": "assistant", "content": ticket.truth}


def test_an_output_that_is_no_json_agrees_with_nothing() -> None:
    assert not same_answer("", "{}")
    assert same_answer('{"a": 1}', '{"a":1}')
