"""Answers that do not look like production's, or say what their input does not hold, are found; the others are not."""

from __future__ import annotations

import random
import time

import pytest

from tasks.check_options import LabelsCheck
from tasks.checks import make_check
from tasks.lint import check_facts, check_format, check_length, compare_inputs

CHECKS = {"intents": make_check(LabelsCheck(type="labels", name="intents", labels=("refund", "other")))}


def facts(answer: str, input_text: str = "Where is my order?") -> list[str]:
    return [finding.reason for finding in check_facts("s", answer, input_text)]


def test_an_answer_in_another_format_is_named_with_the_rule_that_it_breaks() -> None:
    assert list(check_format("s", "refund", CHECKS)) == []
    (finding,) = check_format("s", "Refund!", CHECKS)
    assert finding.rule == "format"
    assert "breaks the rule intents" in finding.reason and "correct the answer" in finding.reason


@pytest.mark.parametrize(
    "answer",
    [
        "It costs $49.90.", "It costs 1,200 EUR.", "You get 15 % off.", "Returns take 14 days.", "Until 3 May 2026.",
        "It ends 2026-05-03.", "See § 4.2 of the terms.", "Ask for case AB-12345.", "Call 0800555123.", "Since 2019.",
        "Rückgabe in 30 Tagen.", "Within 2 business days.",
    ],
)  # fmt: skip
def test_a_fact_that_the_input_does_not_hold_is_found(answer: str) -> None:
    (reason,) = facts(answer)
    assert "its input does not hold" in reason and "take it out" in reason


@pytest.mark.parametrize(
    ("answer", "input_text"),
    [
        ("It costs $49.90.", "I was charged 49.90 dollars"),
        ("It costs 1,200.00 EUR.", "The price was 1200"),
        ("Your order AB-12345 is on its way.", "Where is order AB-12345?"),
        ("It ends on 2026-05-03.", "the offer until 3.05.2026"),
        ('{"category":"billing","priority":"high"}', "I was charged twice"),
        ("tier_2", "hello"),
        ("There are 3 of them.", "how many?"),
        ("1. Open the app. 2. Tap on it.", "how?"),
        ("Within 30 days.", "System: returns are taken for 30 days.\nCan I return shoes?"),
    ],
)
def test_what_the_input_holds_and_what_is_no_fact_is_left_alone(answer: str, input_text: str) -> None:
    assert facts(answer, input_text) == []


@pytest.mark.parametrize("piece", ["1", "1 ", "A", "1.", "AB1", "§ ", "1-"])
def test_no_text_takes_long(piece: str) -> None:
    started = time.perf_counter()
    facts(piece * 50_000 + "_", piece * 50_000)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(("size", "is_found"), [(4, True), (10, False), (150, False), (201, True)])
def test_an_answer_far_outside_productions_range_is_found(size: int, is_found: bool) -> None:
    assert bool(list(check_length("s", "x" * size, 10.0, 100.0))) is is_found


def test_inputs_of_another_world_are_told_from_productions() -> None:
    words = [
        "parcel",
        "invoice",
        "courier",
        "login",
        "card",
        "late",
        "lost",
        "broken",
        "today",
        "please",
        "where",
        "why",
    ]
    rng = random.Random(0)
    here, alike = ([" ".join(rng.choices(words, k=8)) for _ in range(120)] for _ in range(2))
    found = compare_inputs([f"Sehr geehrte Damen und Herren, Bestellung {n} fehlt" for n in range(120)], here)
    assert found is not None
    assert found["auc"] > 0.95
    found = compare_inputs(alike, here)
    assert found is not None
    assert max(abs(found[name] - 0.5) for name in ("auc", "by_chance")) < 0.2


def test_of_few_inputs_nothing_is_said() -> None:
    assert compare_inputs(["a"] * 100, ["b"] * 100) is None
