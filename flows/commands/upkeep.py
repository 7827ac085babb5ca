"""What keeps a workload in order: `flywheel doctor`, `prune`, `backup` and `restore`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import (
    DEFAULT_CONFIG,
    FAILURE,
    ConfigOption,
    JsonOption,
    one_line_errors,
    options,
    print_json,
)

app = typer.Typer()


@app.command()
def doctor(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Check versions, GPU, base model, adapters, servers, state and disk, and say how to mend what is wrong."""
    with one_line_errors():
        from tasks.config import load_config
        from tasks.doctor import examine, is_well

        found = examine(load_config(config), options(config))
    if as_json:
        print_json({"is_well": is_well(found), "checks": [asdict(each) for each in found]})
    else:
        from flows.upkeep_tables import print_checks

        print_checks(found)
    if not is_well(found):
        raise typer.Exit(FAILURE)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Delete files of earlier rounds that nothing refers to; each round does so at its end."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.prune import prune as delete

        loaded = load_config(config)
        found = delete(loaded, dry_run)
    if as_json:
        print_json(asdict(found) | {"dry_run": dry_run})
    else:
        from flows.upkeep_tables import print_pruned

        print_pruned(found, dry_run, loaded.budget.keep_rounds)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write, such as tickets.tar.zst.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write a workload's state to one file; status 1 where something that a version needs is not there to be saved."""
    with one_line_errors(config):
        from tasks.backup import backup as write
        from tasks.config import load_config

        made = write(load_config(config), file)
    if as_json:
        print_json(asdict(made))
    else:
        from flows.upkeep_tables import print_backup

        print_backup(made, options(config))
    if made.missing:
        raise typer.Exit(FAILURE)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `flywheel backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the state that is there; it is moved aside.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Put a workload's state in place from a backup."""
    with one_line_errors():
        from tasks.config import load_config
        from tasks.restore import restore as put_in_place

        done = put_in_place(load_config(config), file, force)
    if as_json:
        print_json(asdict(done))
    else:
        from flows.upkeep_tables import print_restored

        print_restored(done, options(config))
