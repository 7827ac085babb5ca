"""Terminal tables of `flywheel watch` and `flywheel shadow`."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.headlines import percent, plain

SHOWN_ROWS = 20


def print_watch(found: dict[str, Any], console: Console | None = None) -> None:
    """What the watch found in sentences, then the classes of failures that calls failed in."""
    console = console or Console(highlight=False)
    subject, *said = found["said"]
    console.print(f"[bold]{escape(found['workload'])}[/bold]: {escape(subject)}")
    for place, sentence in enumerate(said):
        console.print(f"[red]{escape(sentence)}[/red]" if found["has_findings"] and not place else escape(sentence))
    for row in found["recorded"]:
        console.print(
            f"[yellow]On record since {row['found_at']:%Y-%m-%d %H:%M}: {escape(plain(row['said']))}[/yellow]"
        )
    if (table := _classes_table(found["classes"])).row_count:
        console.print(table)


def _classes_table(classes: list[dict[str, Any]]) -> Table:
    table = Table("class", "of calls before", "now", "", "called", box=None, pad_edge=False)
    shown = [row for row in classes if row["before"]["failures"] or row["after"]["failures"]]
    for row in shown[:SHOWN_ROWS]:
        state = "[red]worse[/red]" if row["is_worse"] else "thought fixed" if row["promise"] else ""
        rates = percent(row["before"]["rate"]), percent(row["after"]["rate"])
        table.add_row(row["cluster_id"], *rates, state, escape(plain(row["label"], 200)))
    return table


def print_shadow(found: dict[str, Any], options: str = "", console: Console | None = None) -> None:
    """How many answers differ, by class, and the first of them."""
    console = console or Console(highlight=False)
    for sentence in found["said"]:
        console.print(escape(sentence))
    if not found["answers"]:
        return
    names = f"{found['champion']['label']} → {found['challenger']['label']}"
    table = Table("input", names, "like", box=None, pad_edge=False)
    for row in found["answers"][:SHOWN_ROWS]:
        texts = " ".join(row["text"].split()), " ".join(row["difference"].split())
        table.add_row(escape(plain(texts[0], 60)), escape(plain(texts[1], 160)), row["cluster_id"] or "-")
    console.print(table)
    if len(found["answers"]) > SHOWN_ROWS:
        console.print(f"The first {SHOWN_ROWS} of {len(found['answers'])} are shown, all of them with --json.")
    console.print(f"For reviewers: flywheel shadow {found['round']} --out FILE{escape(options)}")
