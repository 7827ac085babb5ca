"""Which version serves, and what verdicts rest on: promote, gate replay, reference."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.commands.common import DEFAULT_CONFIG, ConfigOption, JsonOption, one_line_errors, print_json
from flows.commands.decisions import show_moved
from flows.completion import complete_rounds, complete_versions

app = typer.Typer()

VersionArgument = Annotated[
    str,
    typer.Argument(help="A registered version, or base for the bare base model.", autocompletion=complete_versions),
]


@app.command()
def promote(
    version: VersionArgument,
    by: Annotated[str, typer.Option(help="Your name, for the audit log.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a version the champion by hand, once it is verified. `flywheel rollback` goes back to the one before."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.promote import BASE, move_champion

        target = None if version == BASE else version.removeprefix("v")
        moved = move_champion(load_config(config), target, f"person:{by}", reason)
    show_moved(moved, by, config, as_json)


gate = typer.Typer(help="Verdicts of the gate, and what they rest on.", no_args_is_help=True)
app.add_typer(gate, name="gate")


@gate.command("replay")
def replay_gate(
    round_id: Annotated[
        int,
        typer.Argument(metavar="ROUND", help="Number of a round that was judged.", autocompletion=complete_rounds),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a round's decision again from what is on record; status 1 where it comes out differently."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.gate import replay

        found = replay(load_config(config), round_id)
    if as_json:
        print_json(asdict(found))
    else:
        from flows.tables import print_replay

        print_replay(found)
    if found.differences:
        raise typer.Exit(1)


reference = typer.Typer(help="The version that anchor is also held against.", no_args_is_help=True)
app.add_typer(reference, name="reference")


@reference.command("show")
def show_reference(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Which version anchor is also held against, and since when."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.reference import reference as read_reference

        found = read_reference(load_config(config))
    if as_json:
        print_json(found)
    elif found["label"] is None:
        typer.echo("There is none yet: it will be the champion of the first round that is judged.")
    elif found["pinned_by"] is None:
        typer.echo(f"{found['label']}, the champion of the first round that was judged.")
    else:
        typer.echo(
            f"{found['label']}, pinned by {found['pinned_by']} on {found['pinned_at']:%Y-%m-%d}: {found['reason']}"
        )


@reference.command("pin")
def pin_reference(
    version: VersionArgument,
    by: Annotated[str, typer.Option(help="Your name, for the record.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Hold anchor against another version, from the next round on."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.reference import pin_reference as pin

        label = pin(load_config(config), version, f"person:{by}", reason)
    if as_json:
        print_json({"label": label})
    else:
        typer.echo(f"Anchor is also held against {label} from the next round on.")
