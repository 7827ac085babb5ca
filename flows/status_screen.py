"""`flywheel status` as one screen: the first lines say what runs, what waits for whom, and what serves."""

from collections.abc import Iterator
from datetime import datetime
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.budget import bounds, in_units, say
from tasks.cost_words import cost_sentence
from tasks.headlines import VERDICTS, plain, proposals, seconds
from tasks.operation_options import Ceiling
from tasks.records import now

SHOWN_ROUNDS = 4
SHOWN_REASON = 130  # characters: two lines of a terminal of 80
WIDTH_BESIDE_REASON = 48
NO_ROUND = "none yet"

Line = tuple[str, str]


def print_status(
    status: dict[str, Any], options: str = "", details: bool = False, console: Console | None = None
) -> None:
    """Where a workload stands; `options` name the config in what is to be typed, `details` adds what is left out."""
    console = console or Console(highlight=False)
    typed = escape(options)
    console.print(f"[bold]{status['workload']}[/bold]: {_champion(status)}", soft_wrap=True)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    name = ""
    for title, said in _lines(status, typed):
        grid.add_row("" if title == name else title, said)
        name = title
    console.print(grid)
    if status["rounds"]:
        console.print(_rounds_table(status["rounds"][-SHOWN_ROUNDS:], console.width))
    _print_counts(status["counts"], console)
    if details:
        _print_details(status, console, typed)
    else:
        console.print(f"What is left out of training, and why: flywheel status --details{typed}", soft_wrap=True)


def _champion(status: dict[str, Any]) -> str:
    said, move = f"the champion is [bold]{status['champion']['label']}[/bold]", status["champion_move"]
    if move is None:
        return f"{said}, as from the beginning"
    return f"{said}, since {_moment(move['created_at'])}, by {escape(plain(move['moved_by'], 40))}"


def _moment(moment: datetime | str) -> str:
    given = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{given:%Y-%m-%d %H:%M} UTC"


def _lines(status: dict[str, Any], typed: str) -> Iterator[Line]:
    yield "Running", _running(status["running"], typed)
    yield from (("Waiting", said) for said in _waiting(status, typed))
    yield "Last round", _last_round(status["rounds"])
    yield "New since", _new(status["new"])
    yield "Next run", _next_run(status.get("next_runs"))
    yield from (("Cost", said) for said in _cost(status["cost"]))
    yield from (("Noticed", said) for said in _notices(status["notices"]))


def _running(running: dict[str, Any] | None, typed: str) -> str:
    if running is None:
        return "nothing"
    said = f"round {running['round']}, {running['stage']}"
    if running["is_alive"]:
        lasted = seconds(max(0.0, (now() - running["since"]).total_seconds()))
        return f"{said}, since {_moment(running['since'])} ({lasted}), by {escape(plain(running['by'], 40))}"
    if running["stage"] == "approve":
        return f"nothing; {said}: a person is asked"
    return f"[yellow]nothing: {said} was left unfinished; flywheel run run_round{typed}[/yellow]"


def _waiting(status: dict[str, Any], typed: str) -> list[str]:
    """What waits for a person, the most pressing first, with what to type."""
    said = [_approval(row, typed) for row in status["approvals"]]
    for move in status["unfinished_moves"]:
        target = f"v{move['to_version']}" if move["to_version"] else "base"
        said.append(f"[yellow]A move to {target} was intended and not made: flywheel doctor{typed}[/yellow]")
    for number, thing, command in (
        (status["contradictions"], "group of signals that contradict each other", "contradictions"),
        (status["counts"]["waiting"], "row in quarantine", "quarantine list"),
    ):
        if number:
            said.append(f"[yellow]{_counted(number, thing)}: flywheel {command}{typed}[/yellow]")
    return said or ["nothing for anybody"]


def _approval(row: dict[str, Any], typed: str) -> str:
    number, moment = row["round_id"], _moment(row["expires_at"])
    if row["is_over"]:
        return f"[yellow]Round {number} could be approved until {moment}: flywheel run run_round{typed}[/yellow]"
    answer = f"flywheel approve|reject {number} --by YOU --reason WHY{typed}"
    return f"[bold yellow]Round {number} for a person, until {moment}:[/bold yellow] {answer}"


def _last_round(rounds: list[dict[str, Any]]) -> str:
    ended = [row for row in rounds if row["stage"] == "closed"]
    if not ended:
        return NO_ROUND
    last = ended[-1]
    word = VERDICTS.get(last["verdict"], "given up")
    reasons = last["reasons"] or ["no reason is on record"]
    return f"{last['round']}, [bold]{word}[/bold]: {escape(_short(reasons[0], SHOWN_REASON))}"


def _new(new: dict[str, int]) -> str:
    said = f"{_counted(new['failures'], 'failure')}, {_counted(new['corrections'], 'correction')}"
    missing = new["needed"] - new["counted"]
    if missing <= 0:
        return f"{said}: enough for a round ({new['counted']} of {new['needed']})"
    return f"{said}: {missing} more make a round ({new['counted']} of {new['needed']})"


def _next_run(found: dict[str, Any] | None) -> str:
    if not found or not found["runs"]:
        return escape(plain(found["why"])) if found else "not asked for"
    return ", ".join(f"{escape(plain(run['flow'], 40))} {_moment(run['at'])}" for run in found["runs"])


def _cost(cost: dict[str, Any]) -> Iterator[str]:
    for name, spent, period in (("last round", "last_round", "round"), ("30 days", "month", "month")):
        if cost[spent] is not None:
            said = cost_sentence(cost[spent]) if any(cost[spent].values()) else "nothing is on record"
            yield f"{name}: {said}{_ceilings(cost, period, spent)}"


def _ceilings(cost: dict[str, Any], period: str, spent: str) -> str:
    """How far each ceiling is used up."""
    found = in_units(cost[spent])
    said = [
        f"{say(found[key])} of {say(bound)} {key}" for key, bound in bounds(Ceiling(**cost["ceilings"].get(period, {})))
    ]
    return f" ({', '.join(said)})" if said else ""


def _notices(notices: list[dict[str, Any]]) -> Iterator[str]:
    for row in reversed(notices):
        yield f"{row['created_at']:%Y-%m-%d} {escape(_short(row['text'], SHOWN_REASON))}"


def _short(text: Any, limit: int) -> str:
    return shorten(plain(text), limit, placeholder=" …")


def _rounds_table(rounds: list[dict[str, Any]], width: int) -> Table:
    """A line a round; reasons are cut to what a terminal of that width has room for."""
    table = Table("round", "verdict", "challenger", "champion after", "why", box=None, pad_edge=False)
    for row in rounds:
        challenger = row["challenger"]["label"] if row["challenger"] else "-"
        verdict = row["verdict"] or ("given up" if row["stage"] == "closed" else f"at {row['stage']}")
        why = escape(_short((row["reasons"] or ["-"])[0], max(20, width - WIDTH_BESIDE_REASON)))
        table.add_row(str(row["round"]), verdict, challenger, row["champion_after"]["label"], why)
    return table


def _print_counts(counts: dict[str, Any], console: Console) -> None:
    console.print(
        f"{_counted(counts['read'], 'row')} read = {counts['stored']} stored + {counts['known']} known "
        f"+ {counts['quarantined']} quarantined "
        + ("(reconciles)" if counts["reconciles"] else "[bold red](DOES NOT RECONCILE)[/bold red]"),
        soft_wrap=True,
    )
    kinds = ("inferences", "failures", "corrections", "feedback", "ratings", "demonstrations", "preferences")
    names = {"feedback": "thumbs"}
    held = [f"{counts[kind]} {names.get(kind, kind)}" for kind in kinds if counts[kind]]
    console.print(", ".join([*held, f"{counts['regression_cases']} regression cases"]))


def _print_details(status: dict[str, Any], console: Console, typed: str) -> None:
    """Which signals are left out and why, and what of the champion's training was taken back."""
    for signal in ("correction", "demonstration", "preference"):
        for reason, rows in status[f"excluded_{signal}s"].items():
            console.print(f"  {_counted(rows, signal)} left out: {escape(reason)}")
    if status["retracted_in_champion"]:
        signals = _counted(status["retracted_in_champion"], "signal")
        console.print(f"[yellow]The champion was trained on what was taken back since ({signals})[/yellow]")
    for said in proposals(status):
        console.print(f"  {escape(said)}")
    if status["proposals"]["rules"]:
        console.print(f"[yellow]What rules propose, one by one: flywheel proposals{typed}[/yellow]", soft_wrap=True)


def _counted(number: int, thing: str) -> str:
    """A number of things; the plural is that of the first noun."""
    if number == 1:
        return f"1 {thing}"
    first, space, rest = thing.partition(" ")
    return f"{number} {first}s{space}{rest}"
