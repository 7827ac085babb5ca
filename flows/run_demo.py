"""The demo: a base model that was taught an older world meets production, and the flywheel turns.

    flywheel demo
    flywheel demo --workload banking77 --data DIR

Every part is the real one, and no outcome is written down anywhere: change the generator and the verdicts change. A
demo that was interrupted goes on where it was; one that had finished starts over, with its base model kept.
"""

from pathlib import Path

from rich.console import Console

from flows.run_round import run_round
from flows.summary import print_summary
from tasks.child import Progress
from tasks.config import Config, RoundRequest
from tasks.demo.stage import make_traffic, prepare_base, rounds_closed, start_over, test_accuracy
from tasks.demo.worlds import make_world
from tasks.report import write_report
from tasks.rounds import read_evidence


def run_demo(config: Config, config_file: str, data: Path | None) -> None:
    """Run every window of the workload's world through a round, and say what came of it."""
    console = Console(highlight=False)
    world = make_world(config.name, data)
    if rounds_closed(config) == len(world.windows):
        console.print("[dim]The demo had finished before; it starts over. Its base model is kept.[/dim]")
        start_over(config)
    _say(console, "The base model: taught an older, cleaner world, from scratch; kept for the next time")
    prepare_base(config, world, _progress(console))
    for number in range(1, len(world.windows) + 1):
        if rounds_closed(config) < number:
            _say(console, f"Round {number}: production answers {len(world.windows[number - 1].prompts):,} calls")
            make_traffic(config, world, number, _progress(console))
            _say(console, f"Round {number}: reviewers have been through them; the flywheel turns")
            run_round(RoundRequest(config=config_file, requested_by="person:demo"))
    rounds = read_evidence(config)
    report = write_report(rounds, config.folder / "report.html")
    print_summary(rounds, report=report)
    if world.test is not None:
        _show_test(console, test_accuracy(config, world, _progress(console)), len(world.test[1]))


def _say(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def _progress(console: Console) -> Progress:
    """A callable that prints a line for each tenth of the work."""
    shown = -1

    def show(done: int, total: int, detail: str) -> None:
        nonlocal shown
        if (tenth := 10 * done // total) > shown:
            shown = tenth
            console.print(f"  {done:,} of {total:,}  {detail}")

    return show


def _show_test(console: Console, accuracies: dict[str, float], rows: int) -> None:
    _say(console, f"On the {rows:,} test rows that nothing has seen")
    for name, accuracy in accuracies.items():
        console.print(f"  {name}: {100 * accuracy:.2f} % right")
