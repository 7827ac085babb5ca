"""`flywheel status` and what else only looks: lineage, where, suite, export."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import DEFAULT_CONFIG, ConfigOption, JsonOption, one_line_errors, options, print_json
from flows.completion import complete_versions

app = typer.Typer()


@app.command()
def status(
    details: Annotated[bool, typer.Option("--details", help="Also what is left out of training, and why.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Where a workload stands: what runs, what waits for whom, champion, last verdict, what is new, next run, cost."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.schedule import next_runs
        from tasks.status import status as read_status

        found = read_status(load_config(config)) | {"next_runs": next_runs(config)}
    if as_json:
        print_json(found)
    else:
        from flows.status_screen import print_status

        print_status(found, options(config), details)


@app.command()
def lineage(
    version: Annotated[str, typer.Argument(help="A registered version.", autocompletion=complete_versions)],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """What a version was trained on: each row's source, producer and kind."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.lineage import lineage as read_lineage

        found = read_lineage(load_config(config), version.removeprefix("v"))
    if as_json:
        print_json(found)
    else:
        from flows.tables import print_lineage

        print_lineage(found, options(config))


@app.command()
def where(
    signal: Annotated[str, typer.Argument(help="Id of a correction or another signal, or the beginning of it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Which snapshots and versions a signal is in, and why it is in none."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.lineage import where as find_signal

        found = find_signal(load_config(config), signal)
    if as_json:
        print_json(found)
    else:
        from flows.tables import print_where

        print_where(found)


@app.command()
def suite(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """The regression suite: its cases by tier, its hash and its bound, and what was retired and why."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.suite import read_suite

        found = read_suite(load_config(config))
    if as_json:
        print_json(found)
    else:
        from flows.tables import print_suite

        print_suite(found)


@app.command()
def export(
    layout: Annotated[
        str,
        typer.Argument(help="chat or preferences (OpenAI's fine-tuning formats), trl-sft or trl-dpo (TRL's columns)."),
    ],
    out: Annotated[Path, typer.Option(help="File to write: JSON lines, or TRL's columns as .parquet.")],
    snapshot: Annotated[
        str | None,
        typer.Option(
            help="Version or hash of a frozen snapshot to write instead; with trl-sft, trl-dpo.",
            autocompletion=complete_versions,
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write the usable signals, or a frozen snapshot, to a file for other trainers."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.export import export as write_export

        rows = write_export(load_config(config), layout, out, snapshot)
    if as_json:
        print_json({"file": out, "rows": rows})
    else:
        typer.echo(f"{rows} rows in {out}")
