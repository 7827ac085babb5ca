"""What new champions do: watch and shadow."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import DEFAULT_CONFIG, ConfigOption, JsonOption, one_line_errors, options, print_json

app = typer.Typer()


@app.command()
def watch(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Whether production fails more often than before the champion; `flywheel run watch_champion` acts on it."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.watch import look

        found = look(load_config(config))
    if as_json:
        print_json(found)
    else:
        from flows.watch_tables import print_watch

        print_watch(found)


@app.command()
def shadow(
    round_id: Annotated[int, typer.Argument(metavar="ROUND", help="Number of a round that was promoted.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Write what differs as JSON lines for reviewers; see configs/sources/shadow_review.yaml."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Where champion and challenger answered production's latest calls differently."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.shadow_review import read_shadow, write_review

        found = read_shadow(load_config(config), round_id)
        if out is not None:
            write_review(found, out)
    if as_json:
        print_json(found)
    else:
        from flows.watch_tables import print_shadow

        print_shadow(found, options(config))
        if out is not None:
            typer.echo(f"{len(found['answers'])} rows in {out}")
