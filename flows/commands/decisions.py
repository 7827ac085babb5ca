"""`flywheel approve`, `reject` and `rollback`: what a person decides about the champion."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import (
    DEFAULT_CONFIG,
    FAILURE,
    HELD,
    ConfigOption,
    JsonOption,
    one_line_errors,
    options,
    print_json,
)

if TYPE_CHECKING:
    from tasks.promote import Moved

app = typer.Typer()

RoundArgument = Annotated[int, typer.Argument(metavar="ROUND", help="Number of the round that waits.")]
ByOption = Annotated[str, typer.Option(help="Your name, for the audit log.")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the audit log.")]


@app.command()
def approve(
    round_id: RoundArgument,
    by: ByOption,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let the challenger of a round that waits serve; status 3 where the round is held all the same."""
    _decide(round_id, True, by, reason, config, as_json)


@app.command()
def reject(
    round_id: RoundArgument,
    by: ByOption,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Hold a round that waits; what the gate found stays on record."""
    _decide(round_id, False, by, reason, config, as_json)


def _decide(round_id: int, is_approved: bool, by: str, reason: str, path: str, as_json: bool) -> None:
    with one_line_errors(path):
        from tasks.approve import decide, settle
        from tasks.config import load_config
        from tasks.rounds import read_evidence

        config = load_config(path)
        decide(config, round_id, is_approved, f"person:{by}", reason)
        settle(config)
        evidence = read_evidence(config, round_id)[0]
    from flows.approval import resume

    if problem := resume(config, round_id, is_approved, by, reason):
        typer.echo(f"warning: {problem}", err=True)
    shown = {key: evidence[key] for key in ("round", "verdict", "reasons", "champion_after", "approval")}
    if as_json:
        print_json(shown)
    else:
        typer.echo(f"Round {round_id}: {shown['verdict']}; the champion is {shown['champion_after']['label']}.")
    if is_approved and evidence["verdict"] != "promote":
        typer.echo(f"It is held: {evidence['reasons'][0]}", err=True)
        raise typer.Exit(HELD)


@app.command()
def rollback(
    by: ByOption,
    reason: ReasonOption,
    to: Annotated[
        str | None, typer.Option(help="A version that has served, or base; by default the champion before this one.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let the previous champion serve again; status 1 where the server that production asks could not be told."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.promote import rollback as roll_back

        moved = roll_back(load_config(config), to, f"person:{by}", reason)
    show_moved(moved, by, config, as_json)


def show_moved(moved: "Moved", by: str, path: str, as_json: bool) -> None:
    """Old and new champion and how to undo it; then on standard error what is not as it should be."""
    from tasks.promote import BASE
    from tasks.rounds import label

    ending = f"--by {shlex.quote(by)} --reason '...'{options(path)}"
    after, before = label(moved.after)["label"], label(moved.before)["label"]
    if as_json:
        print_json(moved._asdict() | {"before": label(moved.before), "after": label(moved.after)})
    elif moved.after == moved.before:
        typer.echo(f"The champion was {after} already.")
    else:
        typer.echo(f"The champion is {after} (it was {before}).")
        typer.echo(f"To undo: flywheel promote {moved.before or BASE} {ending}")
    if moved.remark:
        typer.echo(f"warning: {moved.remark}", err=True)
    if moved.unserved:
        again = f"flywheel rollback --to {moved.after or BASE} {ending}"
        typer.echo(f"error: the server still serves what it served: {moved.unserved}. Then: {again}", err=True)
        raise typer.Exit(FAILURE)
