"""The charts: the right figures for the evidence, readable text, the same SVG for the same data."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from tasks.charts import cluster_chart, gate_chart, loss_chart, svg, tier_chart
from tests.round_evidence import earlier_round, round_evidence, unfinished_round

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


def test_gate_chart_holds_each_finding_against_its_own_margin() -> None:
    text = words(gate_chart(round_evidence(2, "reject")))
    for shown in (
        "−7.4 [−10.3, −4.7] ✕ failed · margin 0.0",
        "−5.5 [−7.7, −3.7] ✕ failed · margin −2.8",
        "−39.7 [−49.1, −30.7] ✕ failed",
        "10.3% [8.1%, 12.8%] ✕ failed · margin 5.0%",
        "12.3% [8.5%, 17.1%] ✕ failed · margin 6.0%",
        "92.5% [84.4%, 97.2%] ✓ passed · margin 90.0%",
        "Slice language=fr",
        "Earlier fixes lost",
        "bars are 95% intervals",
    ):
        assert shown in text


def test_gate_chart_shows_the_worst_slices_though_no_harm_is_shown() -> None:
    text = words(gate_chart(round_evidence(1, "promote")))
    assert "Slice language=fr" in text
    assert "−2.0 [−6.5, +1.4] ✓ no harm shown" in text


@pytest.mark.parametrize(
    ("verdict", "colours"), [("promote", ["good"]), ("hold", ["good", "hold"]), ("reject", ["good", "bad"])]
)
def test_gate_chart_colours_tell_what_passed(verdict: str, colours: list[str]) -> None:
    drawn = svg(gate_chart(round_evidence(1, verdict)), "gate")
    assert [name for name in ("good", "hold", "bad") if f"stroke: var(--{name})" in drawn] == colours


def test_gate_chart_of_an_earlier_version_has_what_was_measured_then() -> None:
    evidence = earlier_round()
    text = words(gate_chart(evidence))
    assert "Production" in text and "Anchor" in text and "Earlier fixes" not in text
    evidence["gate"]["anchor"] = None
    assert "Anchor" not in words(gate_chart(evidence))


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
