"""The terminal summary: what a person reads at the end, at 80 columns, in colour and through a pipe."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.summary import print_summary, verdict_sentence
from tests.round_evidence import round_evidence, two_rounds, unfinished_round

REPORT = Path(".flywheel/tickets/a-rather-long-folder-name-that-must-stay-on-one-line/rounds/2/report.html")


def printed(rounds: list[dict[str, Any]], *, width: int = 80, encoding: str = "utf-8", **options: Any) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    print_summary(rounds, Console(file=file, width=width, **options), report=REPORT)
    file.flush()
    return raw.getvalue().decode(encoding)


def words(text: str) -> str:
    """The words of a printed panel, its frame and line breaks taken away."""
    return " ".join(text.replace("│", " ").split())


def test_rounds_are_told_in_order_with_verdict_reason_and_numbers() -> None:
    text = words(printed(two_rounds()))
    assert text.index("Round 1 · ✓ promoted") < text.index("Round 2 · ✗ rejected")
    for shown in (
        "v1 is the new champion, in place of base. Production accuracy rises by +18.9 points",
        "24.6% → 5.7% (−20.4 to −17.1 pts)",
        "0 → 163 of 200",
        "10.1% → 17.5% had it served",
        "137 of 1,520 cases (30 fixes)",
        "122 36 of 40",
        "and 1 smaller cluster",
    ):
        assert shown in text


def test_rules_that_did_not_pass_are_named_and_the_reason_is_not_said_twice() -> None:
    text = words(printed([round_evidence(3, "hold")]))
    assert "Rules: 7 passed, 2 open: one that is open is enough to hold" in text
    assert "? Did anything protected get worse? 5 of 346 protected cases got worse" in text
    assert "Would production be better off?" not in text
    assert "Rules:" not in words(printed([round_evidence(1, "promote")]))
    assert "and 3 more, in the report" in words(printed([round_evidence(2, "reject")]))


def test_last_lines_say_champion_and_what_to_do_next() -> None:
    last = printed(two_rounds()).splitlines()[-5:]
    assert last[0] == "Champion: v1 (registered version 1)"
    assert last[1].endswith("make up")
    assert last[2].endswith(str(REPORT))
    assert last[3].endswith("flywheel gate replay 2")
    assert last[4].endswith("flywheel lineage 1")


def test_fits_80_columns_and_pipes_without_control_codes() -> None:
    text = printed([*two_rounds(), unfinished_round()])
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines() if str(REPORT) not in line) <= 80


@pytest.mark.parametrize("width", [40, 60, 120])
def test_other_widths_hold_too(width: int) -> None:
    lines = printed(two_rounds(), width=width).splitlines()
    assert max(len(line) for line in lines if str(REPORT) not in line) <= width


def test_terminal_gets_colour() -> None:
    text = printed(two_rounds(), force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[32m" in text and "\x1b[31m" in text


def test_ascii_pipe_gets_ascii() -> None:
    text = printed(two_rounds(), encoding="ascii")
    assert "24.6% > 5.7%" in text
    assert text.isascii()


def test_killed_round_says_how_far_it_came() -> None:
    text = words(printed([unfinished_round()]))
    assert "Not finished, got through cluster; v1 serves." in text
    assert "5,012 rows, 590 failures" in text


@pytest.mark.parametrize("missing", sorted(round_evidence(1, "promote")))
def test_any_part_may_be_missing_or_null(missing: str) -> None:
    whole = round_evidence(1, "promote")
    assert printed([{key: value for key, value in whole.items() if key != missing}])
    assert printed([whole | {missing: None}])


def test_no_rounds() -> None:
    assert "No round has run yet." in printed([])


def test_data_is_neither_markup_nor_terminal_codes() -> None:
    evidence = round_evidence(1, "promote")
    evidence["clusters"][0]["label"] = "[red]x[/red] \x1b]0;title\x07 [/]"
    evidence["reasons"] = ["[bold]loud[/bold] \x1b[2J"]
    text = printed([evidence])
    assert "[red]x[/red]" in text and "[bold]loud[/bold]" in text
    assert "\x1b" not in text and "\x07" not in text


def test_verdict_sentence_is_one_line_for_a_log() -> None:
    assert verdict_sentence(round_evidence(2, "reject")) == (
        "Round 2: v2 was rejected; v1 stays champion. "
        "Production accuracy changes by -7.4 points (-10.3 to -4.7): it would fall."
    )
