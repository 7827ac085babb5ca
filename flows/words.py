"""`flywheel history` and `explain` on the terminal: text from data is text, never markup."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from flows.summary import Pen
from tasks.explain import Explanation
from tasks.history import Event


def print_history(events: Sequence[Event], options: str = "", console: Console | None = None) -> None:
    """One event after another, oldest first, each with its time (UTC)."""
    console = console or Console(highlight=False)
    pen = Pen(console)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for event in events:
        table.add_row(pen(f"{event.at:%Y-%m-%d %H:%M}", "dim"), pen(event.text))
    console.print(table if events else pen("Nothing has happened yet; `flywheel run run_round` opens a round."))
    if any(event.round for event in events):
        console.print(pen("One round in full: ", "dim").append(pen(f"flywheel explain ROUND{options}", "bold")))


def print_explanation(found: Explanation, console: Console | None = None) -> None:
    """A page on one round, section by section, and what to look at next."""
    console = console or Console(highlight=False)
    pen = Pen(console)
    for section in found.sections:
        console.print(pen(section.title, "bold"))
        for sentence in section.sentences:
            ends = "" if sentence.endswith((".", "?", "!", ":")) else "."
            indent = 4 if sentence.startswith("- ") else 2
            console.print(Padding(pen(f"{sentence}{ends}"), (0, 0, 0, indent), expand=False))
        console.print()
    for step in found.next:
        console.print(pen(f"{step.what}: ", "dim").append(pen(step.command, "bold")), soft_wrap=True)
