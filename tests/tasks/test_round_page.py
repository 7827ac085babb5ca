"""The page that a round leaves in Prefect."""

from tasks.round_page import round_markdown
from tests.round_evidence import round_evidence, two_rounds, unfinished_round

LINKS = {"verdict": "/artifacts/artifact/1", "snapshot": "/artifacts/artifact/2"}
VERSION = "http://127.0.0.1:5000/#/models/tickets/versions/1"
REPORT = ".flywheel/tickets/report.html"


def test_it_says_what_came_of_the_round_and_where_to_read_on() -> None:
    evidence = round_evidence(1, "promote")
    page = round_markdown(evidence, LINKS, VERSION, REPORT)
    challenger = evidence["challenger"]["label"]
    assert page.startswith(f"# {evidence['workload']}: round 1, promoted\n")
    assert f"[{challenger}]({VERSION})" in page
    assert f"`{REPORT}`" in page
    assert "It took " in page
    assert "](/artifacts/artifact/1)" in page
    assert "](/artifacts/artifact/2)" in page
    assert "Flips" not in page  # no such artifact was found
    assert f"`flywheel lineage {evidence['challenger']['version']}`" in page


def test_each_verdict_says_who_serves() -> None:
    for evidence in two_rounds():
        page = round_markdown(evidence, {}, None, REPORT)
        assert f"| Champion now | {evidence['champion_after']['label']} |" in page


def test_a_round_that_waits_has_a_page_too() -> None:
    page = round_markdown(unfinished_round(), {}, None, REPORT)
    assert "unfinished" in page
    assert "none was registered" in page
    assert "None" not in page


def test_text_of_production_stays_text() -> None:
    evidence = round_evidence(1, "reject") | {"reasons": ["<script>alert(1)</script> | [x](javascript:1)"]}
    page = round_markdown(evidence, {}, None, REPORT)
    assert "<script>" not in page
    assert "[x](javascript" not in page
