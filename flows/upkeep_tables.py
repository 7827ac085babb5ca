"""What `flywheel doctor`, `prune`, `backup` and `restore` show in the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.cost_words import size
from tasks.headlines import plain

if TYPE_CHECKING:
    from tasks.backup import Backup
    from tasks.doctor import Check
    from tasks.prune import Pruned
    from tasks.restore import Restored

COLOURS = {"ok": "green", "warning": "yellow", "wrong": "bold red"}
SHOWN_PATHS = 20


def print_checks(checks: "Sequence[Check]", console: Console | None = None) -> None:
    """A line a check: its state, what was found and, where something is to be mended, how."""
    console = console or Console(highlight=False)
    table = Table("", "what", "found", box=None, pad_edge=False)
    for check in checks:
        mend = f"\n[bold]→ {escape(plain(check.mend))}[/bold]" if check.mend else ""
        state = f"[{COLOURS[check.state]}]{check.state}[/{COLOURS[check.state]}]"
        table.add_row(state, check.name, f"{escape(plain(check.found))}{mend}")
    console.print(table)
    counts = {state: sum(check.state == state for check in checks) for state in COLOURS}
    console.print(", ".join(f"{number} {state}" for state, number in counts.items() if number) + ".")


def print_pruned(found: "Pruned", dry_run: bool, keep_rounds: int, console: Console | None = None) -> None:
    """What was deleted, or would be, and how much room that makes."""
    console = console or Console(highlight=False)
    for path in found.paths[:SHOWN_PATHS]:
        console.print(f"  {escape(path)}", soft_wrap=True)
    if len(found.paths) > SHOWN_PATHS:
        console.print(f"  and {len(found.paths) - SHOWN_PATHS} more, all of them with --json")
    verb = "would be deleted" if dry_run else "deleted"
    rounds = f"the latest {keep_rounds} closed rounds keep everything (budget.keep_rounds)"
    entries = "1 entry" if len(found.paths) == 1 else f"{len(found.paths)} entries"
    console.print(
        f"{entries} {verb}, {size(found.bytes)}; {rounds}." if found.paths else f"Nothing to delete; {rounds}."
    )
    for sentence in found.left:
        console.print(f"[yellow]Left: {escape(plain(sentence))}[/yellow]")


def print_backup(made: "Backup", options: str = "", console: Console | None = None) -> None:
    """The file, what is in it, and what somebody has to keep by other means."""
    console = console or Console(highlight=False)
    console.print(f"{escape(str(made.file))}: {made.files} files, {size(made.bytes)}.", soft_wrap=True)
    for path in made.missing:
        console.print(f"[red]Missing, and so not in it: {escape(path)} (a version needs it)[/red]", soft_wrap=True)
    for thing in made.outside:
        console.print(f"Not in it: {escape(plain(thing))}.", soft_wrap=True)
    console.print(f"To read it back: flywheel restore {escape(str(made.file))}{escape(options)}", soft_wrap=True)


def print_restored(done: "Restored", options: str = "", console: Console | None = None) -> None:
    """What is in place now, and where what it replaced is."""
    console = console or Console(highlight=False)
    console.print(f"The state of {done.created_at} is in place ({done.files} files).")
    if done.aside is not None:
        console.print(
            f"What it replaced is in {escape(str(done.aside))}; delete that when it is not needed.", soft_wrap=True
        )
    console.print(f"Check it: flywheel doctor{escape(options)}", soft_wrap=True)
