"""What signals say, and what people decide of them: contradictions, proposals, classes, quarantine."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.commands.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    call_flow,
    one_line_errors,
    options,
    prepare,
    print_json,
    show_collected,
)
from flows.completion import complete_clusters

app = typer.Typer()


@app.command()
def contradictions(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Inputs with different right answers or opposite preferences: who said what, and what stands."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.consistency import contradictions as read_contradictions

        found = read_contradictions(load_config(config))
    if as_json:
        print_json(found)
    else:
        from flows.tables import print_contradictions

        print_contradictions(found, options(config))


@app.command()
def proposals(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """What rules propose not to train on and why, and what people decided."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.proposals import proposals as read_proposals

        found = read_proposals(load_config(config))
    if as_json:
        print_json(found)
    else:
        from flows.tables import print_proposals

        print_proposals(found, options(config))


@app.command()
def use(
    signal_id: Annotated[
        str, typer.Argument(help="The id of a correction, demonstration or confirmed call; its beginning will do.")
    ],
    train: Annotated[
        bool, typer.Option("--train/--leave-out", help="Train on it whatever rules propose, or leave it out.")
    ],
    by: Annotated[str, typer.Option(help="Your name; on record.")],
    reason: Annotated[str, typer.Option(help="Why; on record.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Decide whether a signal is trained on; it counts from now on, in every round."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.proposals import decide_use

        decided = decide_use(load_config(config), signal_id, "train" if train else "leave out", f"person:{by}", reason)
    if as_json:
        print_json({"signal_id": decided, "use": "train" if train else "leave out"})
    else:
        typer.echo(f"{decided} is {'trained on' if train else 'left out'} from now on, whatever rules propose.")


@app.command()
def retract(
    correction: Annotated[str, typer.Argument(help="A correction's id, or the beginning of it.")],
    by: Annotated[str, typer.Option(help="Your name, for the record.")],
    reason: Annotated[str, typer.Option(help="Why it is taken back, for the record.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take a correction back: no later round trains on it, and the suite's case for it is retired."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.retract import retract as take_back

        found = take_back(load_config(config), correction, f"person:{by}", reason)
    if as_json:
        print_json({key: found[key] for key in ("correction_id", "inference_id", "corrected_by")})
        return
    typer.echo(f"The correction of {found['inference_id']} by {found['corrected_by']} is out, from the next round on.")
    typer.echo(f"Versions that were trained on it: flywheel where {found['correction_id']}{options(config)}")


clusters = typer.Typer(help="Classes of failures, and what they are called.", no_args_is_help=True)
app.add_typer(clusters, name="clusters")


@clusters.command("list")
def list_clusters(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Every class of failures, the largest first."""
    with one_line_errors(config):
        from tasks.cluster_names import known_clusters
        from tasks.config import load_config

        found = known_clusters(load_config(config))
    if as_json:
        print_json(found)
    else:
        from flows.tables import print_clusters

        print_clusters(found, options(config))


@clusters.command("name")
def name_cluster(
    cluster_id: Annotated[str, typer.Argument(help="Its id, such as c001.", autocompletion=complete_clusters)],
    label: Annotated[str, typer.Argument(help="What it is called from now on.")],
    by: Annotated[str, typer.Option(help="Who names it; on record.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Give a class a name that stays, whatever is found for it."""
    with one_line_errors(config):
        from tasks.cluster_names import name_cluster as give_name
        from tasks.config import load_config

        give_name(load_config(config), cluster_id, label, f"person:{by}")
    if as_json:
        print_json({"cluster_id": cluster_id, "label": label.strip()})
    else:
        typer.echo(f"{cluster_id} is called {label.strip()!r} from now on.")


quarantine = typer.Typer(help="Rows that could not be taken, with the reason.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")


@quarantine.command("list")
def list_quarantine(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """What lies in quarantine: where each row came from and why it could not be taken."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.quarantine import quarantined

        found = quarantined(load_config(config))
    if as_json:
        print_json(found)
    else:
        from flows.tables import print_quarantine

        print_quarantine(found, options(config))


@quarantine.command("show")
def show_quarantine(
    row: Annotated[str, typer.Argument(help="A row's id, or the beginning of it.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """One row in quarantine, with its text (redacted, and gone once it has expired)."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.quarantine import quarantined_row

        print_json(quarantined_row(load_config(config), row))


@quarantine.command("retry")
def retry_quarantine(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Read everything again that rows in quarantine came from; what has been mended is taken."""
    with one_line_errors(config):
        from tasks.config import make_request
        from tasks.quarantine import forget_cursors

        request = make_request(config=config, requested_by="person:cli")
        loaded = prepare(config)
        parts = forget_cursors(loaded)
        result = call_flow("collect_failures", request) if parts else None
    if as_json:
        print_json({"parts": parts, "collected": result and asdict(result)})
    elif result is None:
        typer.echo("Nothing lies in quarantine.")
    else:
        show_collected(result, config)
