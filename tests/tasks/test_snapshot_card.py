"""The card of a snapshot says what is in it and what stayed out, and shows texts from data as what they say."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from tasks.blend import blend
from tasks.rounds import read_evidence
from tasks.snapshot_card import MOST_VALUES, OTHERS, card_lines, card_markdown, make_card
from tasks.snapshots import freeze
from tests.conftest import Workload, correction, inference, traffic
from tests.tasks.test_snapshots import row


def frozen(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return freeze(pl.DataFrame(rows, infer_schema_length=None))


def said(text: str) -> str:
    return json.dumps([{"content": text, "role": "assistant"}])


def test_rows_are_counted_by_everything_that_a_person_asks_for() -> None:
    rows = [row(str(n)) for n in range(3)]
    rows.append(row("d", signal="demonstration", source="tickets", producer="rule:seed", cluster_id=None))
    assert make_card(frozen(rows), {}, {})["by"] == {
        "signal": {"correction": 3, "demonstration": 1},
        "source": {"production": 3, "tickets": 1},
        "producer": {"person:maria": 3, "rule:seed": 1},
        "class of failures": {"c001": 3},
        "slices": {"{}": 4},
    }


def test_the_lengths_are_those_of_the_answers() -> None:
    card = make_card(frozen([row("1", chosen=said("né")), row("2", chosen=said('one "two"\nthree'))]), {}, {})
    assert (card["answer"]["words"]["shortest"], card["answer"]["words"]["longest"]) == (1, 3)
    assert (card["answer"]["characters"]["shortest"], card["answer"]["characters"]["longest"]) == (2, 15)


def test_an_answer_without_text_has_no_length() -> None:
    assert make_card(frozen([row("1", chosen='[{"content":null,"role":"assistant"}]')]), {}, {})["answer"]["words"] == {
        "shortest": 0, "median": 0, "95% are at most": 0, "longest": 0,
    }  # fmt: skip


def test_of_very_many_producers_the_rare_ones_are_counted_together() -> None:
    rows = [row(str(n), producer=f"person:{n:03}") for n in range(MOST_VALUES + 7)] + [row("x", producer="person:000")]
    counts = make_card(frozen(rows), {}, {})["by"]["producer"]
    assert counts["person:000"] == 2 and counts[OTHERS] == 7
    assert sum(counts.values()) == len(rows)


def test_the_card_of_a_round_says_what_stayed_out_and_why(workload: Workload) -> None:
    disputed = [inference("x"), correction("x", "1"), correction("x", "2", "person:jonas")]
    workload.collect("a", [*traffic(failures=20, successes=90), *disputed])
    blend(workload.config, workload.to_split())
    evidence = read_evidence(workload.config)[0]
    card = evidence["card"]
    assert card["rows"] == sum(card["by"]["signal"].values()) == evidence["snapshot"]["rows"]
    assert card["distance"].keys() == {"slices", "labels", "clusters"}
    assert card["left_out"]["contradicts another answer (same input)"] == {"correction": 2}
    assert card["left_out"]["not chosen by the blend"]["demonstration"] > 0
    shown = card_markdown(evidence)
    assert "Distance from production" in shown and f"labels {card['distance']['labels']}" in shown
    assert evidence["snapshot"]["hash"] in shown and "39 training rows" in shown
    json.dumps(card, allow_nan=False)


@pytest.mark.parametrize("text", ["<script>x</script>", "[a](http://b)", "a|b", "\x1b[2J"])
def test_names_from_data_are_shown_as_what_they_say(text: str) -> None:
    evidence = {
        "card": make_card(frozen([row("1", producer=f"person:{text}")]), {}, {}),
        "snapshot": {"hash": "0" * 64},
    }
    shown = card_markdown(evidence)
    assert "<script" not in shown and "[a](" not in shown and "\x1b" not in shown
    assert all(line.count("|") - line.count("\\|") == 3 for line in shown.splitlines() if line.startswith("| By"))


@pytest.mark.parametrize("card", [None, {}, {"by": 3}, {"by": {"signal": [1]}, "answer": {"words": 2}, "left_out": 5}])
def test_of_a_card_that_is_not_whole_only_what_is_there_is_said(card: Any) -> None:
    assert card_lines(card) == []
