"""The charts: the right figures for the evidence, readable text, the same SVG for the same data."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from tasks.charts import cluster_chart, gate_chart, loss_chart, svg, tier_chart
from tests.round_evidence import round_evidence, unfinished_round

CHARTS = (tier_chart, gate_chart, cluster_chart, loss_chart)


def words(figure: Any) -> str:
    """All text of a figure's SVG, in reading order."""
    return " ".join("".join(ElementTree.fromstring(svg(figure, "t")).itertext()).split())


def test_tier_chart_has_a_row_a_tier_with_both_accuracies() -> None:
    text = words(tier_chart(round_evidence(1, "promote")))
    for shown in (
        "unseen · failures (200)",
        "anchor · successes (600)",
        "champion base",
        "challenger v1",
        "81.5",
    ):
        assert shown in text


def test_gate_chart_shows_intervals_and_the_margin() -> None:
    text = words(gate_chart(round_evidence(2, "reject")))
    for shown in ("−9.4 [−12.1, −6.7]", "−5.5 [−7.4, −3.6]", "margin −2.0", "no difference", "95% interval"):
        assert shown in text


@pytest.mark.parametrize(("verdict", "passes"), [("promote", True), ("reject", False)])
def test_gate_chart_colours_tell_which_side_of_the_line(verdict: str, passes: bool) -> None:
    drawn = svg(gate_chart(round_evidence(1, verdict)), "gate")
    assert ("stroke: var(--good)" in drawn, "stroke: var(--bad)" in drawn) == (passes, not passes)


def test_cluster_chart_ranks_and_says_what_remains() -> None:
    evidence = round_evidence(1, "promote")
    evidence["clusters"][0] |= {"share_of_traffic": 0.05, "unseen": 40, "unseen_fixed": 30}
    evidence["clusters"].reverse()
    text = words(cluster_chart(evidence))
    assert "5.0% → 1.2% · 30 of 40 unseen fixed" in text
    assert text.index("billing → shipping") < text.index("account → security")


def test_loss_chart_ends_with_the_last_loss() -> None:
    evidence = {"training": {"loss": [[10, 2.1], [20, None], [30, float("nan")], [40, 1.25]]}}
    assert "1.25" in words(loss_chart(evidence))


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("evidence", [{}, unfinished_round()], ids=["nothing", "killed"])
def test_missing_evidence_gives_a_notice(chart: Callable[[Any], Any], evidence: dict[str, Any]) -> None:
    assert re.search(r"No |ended before", words(chart(evidence)))


def test_half_a_gate_says_what_was_not_measured() -> None:
    evidence = round_evidence(1, "promote")
    evidence["gate"]["anchor"] = None
    assert "not measured" in words(gate_chart(evidence))


@pytest.mark.parametrize("chart", CHARTS)
def test_same_data_same_bytes(chart: Callable[[Any], Any]) -> None:
    evidence = round_evidence(1, "promote")
    first, second = (svg(chart(copy.deepcopy(evidence)), "title") for _ in range(2))
    assert first == second
    assert "<metadata" not in first and len(first) < 40_000


def test_labels_from_data_are_neither_markup_nor_mathematics() -> None:
    evidence = round_evidence(1, "promote")
    hostile = "<script>x</script> $\\frac{ $ 請 \x1b[m"
    evidence["clusters"][0]["label"] = evidence["champion"]["label"] = evidence["tiers"][0]["tier"] = hostile
    for chart in (cluster_chart, tier_chart):
        drawn = svg(chart(evidence), 'a "title" <b>')
        assert "<script" not in drawn and "\x1b" not in drawn
        assert "<script>x</script> $\\frac{ $ 請" in words(chart(evidence))


def test_svg_takes_its_colours_from_the_page_and_has_a_name() -> None:
    drawn = svg(tier_chart(round_evidence(1, "promote")), "Accuracy by tier")
    assert 'role="img" aria-label="Accuracy by tier"' in drawn
    assert not re.search(r"(fill|stroke): #(?!ffffff|none)", drawn)
    assert not re.search(r'<svg[^>]* (width|height)="', drawn)
