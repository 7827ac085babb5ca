"""What a person reads in the terminal when rounds are done: verdicts, why, before and after, what to do next.

    print_summary([json.loads(path.read_text()) for path in evidence_files], report=Path("report.html"))

Colour is the terminal's when there is one; piped, the same lines come as plain text. Text from data is never
taken as Rich markup, and its control characters are gone before it gets here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.figures import figures
from tasks.findings import SIGNS as STATE_SIGNS
from tasks.findings import Asked, asked, rule_line, rules_line
from tasks.headlines import (
    Evidence,
    champion_now,
    count,
    dig,
    number,
    outcome,
    plain,
    ranked_clusters,
    records,
    verdict_sentence,
    verdict_word,
    why,
)

__all__ = ["print_summary", "verdict_sentence"]

COLOURS = {"promote": "green", "hold": "yellow", "reject": "red"}
SIGNS = {"promote": "✓", "hold": "=", "reject": "✗"}
SHOWN_CLUSTERS = 5
SHOWN_RULES = 4
ASCII = str.maketrans(
    {"→": ">", "−": "-", "–": "-", "·": "-", "✓": "+", "✗": "x", "✕": "x", "…": "...", "█": "#", "░": "."}
)


class Pen:
    """Text for one console: what it cannot encode becomes ASCII, so that a pipe never fails on an arrow."""

    def __init__(self, console: Console) -> None:
        self.encoding = console.encoding
        self.unicode = console.encoding.lower().startswith("utf")

    def __call__(self, text: str, style: str = "") -> Text:
        if not self.unicode:
            text = text.translate(ASCII).encode(self.encoding, "replace").decode(self.encoding)
        return Text(text, style=style)


def _facts_table(facts: list[tuple[str, str]], pen: Pen) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        table.add_row(pen(name, "dim"), pen(value))
    return table


def _bar(share: float, width: int = 8) -> str:
    full = round(share * width)
    return "█" * full + "░" * (width - full)


def _clusters_table(clusters: list[dict[str, Any]], pen: Pen) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, show_edge=False, header_style="dim")
    table.add_column("cluster", ratio=1, no_wrap=True, overflow="ellipsis" if pen.unicode else "crop")
    for name in ("failures", "unseen fixed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for c in clusters[:SHOWN_CLUSTERS]:
        unseen, fixed = number(c, "unseen"), number(c, "unseen_fixed")
        share = pen(_bar(fixed / unseen) if unseen and fixed is not None else "", "cyan")
        label = " ".join(plain(c.get("label") or c.get("cluster_id")).split())
        table.add_row(pen(label), pen(count(c.get("failures"))), pen(f"{count(fixed)} of {count(unseen)}"), share)
    return table


def _rules(evidence: Evidence, pen: Pen) -> list[RenderableType]:
    """The rules that did not pass, beside the gravest, which is the reason above; nothing where all of them passed."""
    if not records(evidence, "gate", "findings"):
        return []
    rest = sorted((row for row in asked(evidence) if row.state != "passed"), key=lambda row: row.state != "failed")[1:]
    if not rest:
        return []
    lines: list[RenderableType] = [Text(), pen(f"Rules: {rules_line(evidence)}", "dim")]
    lines += [_rule(row, pen) for row in rest[:SHOWN_RULES]]
    if len(rest) > SHOWN_RULES:
        lines.append(pen(f"and {len(rest) - SHOWN_RULES} more, in the report", "dim"))
    return lines


def _rule(row: Asked, pen: Pen) -> Text:
    colour = {"failed": "red", "open": "yellow"}[row.state]
    return pen(f"{STATE_SIGNS[row.state]} ", colour).append(pen(rule_line(row)))


def _panel(evidence: Evidence, pen: Pen) -> Panel:
    """One round: the outcome and why, before and after, the clusters that matter most."""
    verdict = str(dig(evidence, "verdict"))
    colour = COLOURS.get(verdict, "yellow")
    parts: list[RenderableType] = [pen(outcome(evidence) + ".", "bold")]
    if reason := why(evidence):
        parts.append(pen(reason))
    parts += [pen(f"{plain(remark)}.", "yellow") for remark in dig(evidence, "remarks") or []]
    parts += _rules(evidence, pen)
    if facts := figures(evidence):
        parts += [Text(), _facts_table(facts, pen)]
    if clusters := ranked_clusters(evidence):
        parts += [Text(), _clusters_table(clusters, pen)]
        if len(clusters) > SHOWN_CLUSTERS:
            more = len(clusters) - SHOWN_CLUSTERS
            parts.append(pen(f"and {more} smaller cluster{'s' if more > 1 else ''}", "dim"))
    title = pen(
        f" Round {dig(evidence, 'round') or '?'} · {SIGNS.get(verdict, '…')} {verdict_word(evidence)} ",
        "bold " + colour,
    )
    return Panel(Group(*parts), title=title, title_align="left", border_style=colour, box=ROUNDED, padding=(0, 2))


def _next_steps(rounds: list[dict[str, Any]], report: Path | None) -> list[tuple[str, str]]:
    _, version = champion_now(rounds)
    steps = [("Look around", "make up")]
    if report is not None:
        steps.append(("Read the report", str(report)))
    judged = [number(evidence, "round") for evidence in rounds if dig(evidence, "gate", "results_sha256")]
    if last := max(filter(None, judged), default=None):
        steps.append(("Decide it again", f"flywheel gate replay {count(last)}"))
    if version is not None:
        steps.append(("Trace its data", f"flywheel lineage {version}"))
    return steps


def print_summary(rounds: list[dict[str, Any]], console: Console | None = None, report: Path | None = None) -> None:
    """Print the rounds' evidence, oldest first, then who is champion and what to do next.

    `rounds` may lack parts (a killed or too small round). `report` is where the HTML report was written.
    """
    console = console or Console()
    pen = Pen(console)
    for evidence in sorted(rounds, key=lambda e: number(e, "round") or 0):
        console.print(_panel(evidence, pen))
    champion, version = champion_now(rounds)
    registered = f" (registered version {version})" if version is not None else ""
    console.print()
    if champion:
        console.print(pen("Champion: ").append(pen(f"{champion}{registered}", "bold green")))
    else:
        console.print(pen("No round has been finished yet." if rounds else "No round has run yet."))
    for name, command in _next_steps(rounds, report):
        console.print(pen(f"{name + ':':<17}", "dim").append(pen(command, "bold")), soft_wrap=True)
