"""The `flywheel` command. Heavy imports wait until a command needs them, so that `--help` is instant."""

import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tasks.collect import Collected
    from tasks.config import Config, RoundRequest

app = typer.Typer(
    help="Turns production failures of a fine-tuned model into the next, verified model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FLOWS = ("run_round", "collect_failures")
DEFAULT_CONFIG = "configs/tickets.yaml"

ConfigOption = Annotated[str, typer.Option("--config", envvar="FLYWHEEL_CONFIG", help="YAML file of the workload.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@contextmanager
def _one_line_errors(config: str | None = None) -> Iterator[None]:
    """Turn an error that the user can act on into one line on standard error and exit status 1.

    Where the state of the default config is asked for and is not there, another workload is likely to be meant.
    """
    from tasks.errors import FlywheelError, StateError

    try:
        yield
    except FlywheelError as error:
        meant = isinstance(error, StateError) and config == DEFAULT_CONFIG
        hint = f" ({config} was read: name yours with --config FILE, or in FLYWHEEL_CONFIG)" if meant else ""
        typer.echo(f"error: {error}{hint}", err=True)
        raise typer.Exit(1) from None


@app.command()
def run(
    flow: Annotated[str, typer.Argument(help=f"One of: {', '.join(FLOWS)}.")],
    config: ConfigOption = DEFAULT_CONFIG,
    min_corrections: Annotated[
        int | None, typer.Option(min=1, help="Corrections that make a round worth running.")
    ] = None,
    requested_by: Annotated[str, typer.Option(help="Who asks for it; recorded with the round.")] = "person:cli",
) -> None:
    """Run a flow now."""
    with _one_line_errors():
        from tasks.config import make_request
        from tasks.errors import ConfigError

        if flow not in FLOWS:
            raise ConfigError(f"there is no flow {flow}; the flows are {', '.join(FLOWS)}")
        request = make_request(config=config, min_corrections=min_corrections, requested_by=requested_by)
        loaded = _prepare(config)
        result = _call_flow(flow, request)
    _show_outcome(flow, result, loaded, config)


def _prepare(path: str) -> "Config":
    """Check the config before anything is started, and give Prefect a home beside the state."""
    from tasks.config import load_config

    config = load_config(path)
    prefect_home = (config.home / "prefect").resolve()
    if "PREFECT_HOME" not in os.environ:
        prefect_home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(prefect_home)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # On a busy machine the temporary server takes longer to start than Prefect waits for it.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return config


def _call_flow(name: str, request: "RoundRequest") -> Any:
    import importlib

    from flows.logs import shorten_known_errors

    shorten_known_errors()
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    _keep_terminal_short()
    return flow(request)


def _keep_terminal_short() -> None:
    """Leave out, on the terminal only, what Prefect says of an error that the command ends with anyway."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_is_not_said_again)


def _is_not_said_again(record: logging.LogRecord) -> bool:
    """Whether a line is something else than the known error, or the failed state, of a flow or task run."""
    is_run = record.name in ("prefect.flow_runs", "prefect.task_runs")
    about_failure = record.levelno == logging.ERROR or "Finished in state Failed" in record.getMessage()
    return not (is_run and about_failure) or record.exc_info is not None


def _show_outcome(flow: str, result: Any, config: "Config", path: str) -> None:
    if flow == "collect_failures":
        _show_collected(result, path)
    elif result is None:
        typer.echo("Nothing to do: no unfinished round, and too few new corrections and retractions for another.")
    else:
        _show_rounds(config, [result])


def _show_collected(collected: "Collected", path: str) -> None:
    """The counts of a pass over the sources, and what to look at next."""
    counts = f"stored {collected.stored} + known {collected.known} + quarantined {collected.quarantined}"
    kinds = ", ".join(
        f"{rows} {kind.removesuffix('s') if rows == 1 else kind}" for kind, rows in collected.by_kind.items() if rows
    )
    typer.echo(f"read {collected.read} = {counts}")
    if kinds:
        typer.echo(f"stored: {kinds}")
    if collected.quarantined:
        typer.echo(f"what was wrong: flywheel quarantine list{_options(path)}")


def _options(config: str) -> str:
    """What has to be typed after a command for it to read the same config."""
    given = os.environ.get("FLYWHEEL_CONFIG", DEFAULT_CONFIG)
    return "" if config == given else f" --config {shlex.quote(config)}"


def _show_rounds(config: "Config", shown: list[dict[str, Any]]) -> None:
    from flows.summary import print_summary
    from tasks.report import write_report
    from tasks.rounds import read_evidence

    report = write_report(read_evidence(config), config.folder / "report.html")
    print_summary(shown, report=report)


@app.command()
def demo(
    workload: Annotated[str, typer.Option(help="tickets or banking77.")] = "tickets",
    data: Annotated[Path | None, typer.Option(help="banking77: folder with train.csv and test.csv.")] = None,
) -> None:
    """Run a workload from nothing: teach its base model, serve traffic, turn the flywheel."""
    with _one_line_errors():
        config_file = f"configs/{workload}.yaml"
        config = _prepare(config_file)
        from flows.logs import shorten_known_errors
        from flows.run_demo import run_demo

        shorten_known_errors()
        run_demo(config, config_file, data)


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Where a workload stands: champion, rounds with their verdicts, counts."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.lineage import status as read_status

        found = read_status(load_config(config))
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_status

        print_status(found, _options(config))


@app.command()
def lineage(
    version: Annotated[str, typer.Argument(help="A registered version.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """What a version was trained on: each row's source, producer and kind."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.lineage import lineage as read_lineage

        found = read_lineage(load_config(config), version.removeprefix("v"))
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_lineage

        print_lineage(found, _options(config))


@app.command()
def where(
    signal: Annotated[str, typer.Argument(help="Id of a correction or another signal, or the beginning of it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Which snapshots and versions a signal is in, and why it is in none."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.lineage import where as find_signal

        found = find_signal(load_config(config), signal)
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_where

        print_where(found)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A registered version, or base for the bare base model.")],
    by: Annotated[str, typer.Option(help="Your name, for the audit log.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a version the champion by hand: an override, or a roll-back."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.promote import BASE, move_champion
        from tasks.rounds import label

        target = None if version == BASE else version.removeprefix("v")
        before, after = move_champion(load_config(config), target, f"person:{by}", reason)
    undo = before or BASE
    typer.echo(f"The champion is {label(after)['label']} (it was {label(before)['label']}).")
    typer.echo(f"To undo: flywheel promote {undo} --by {by} --reason '...' --config {config}")


@app.command()
def retract(
    correction: Annotated[str, typer.Argument(help="A correction's id, or the beginning of it.")],
    by: Annotated[str, typer.Option(help="Your name, for the record.")],
    reason: Annotated[str, typer.Option(help="Why it is taken back, for the record.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Take a correction back: no later round trains on it, and the suite's case for it is retired."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.retract import retract as take_back

        found = take_back(load_config(config), correction, f"person:{by}", reason)
    typer.echo(f"The correction of {found['inference_id']} by {found['corrected_by']} is out, from the next round on.")
    typer.echo(f"Versions that were trained on it: flywheel where {found['correction_id']}{_options(config)}")


@app.command()
def abandon(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Give up an unfinished round; its corrections stay in the state."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.rounds import abandon as abandon_round

        closed = abandon_round(load_config(config), lambda text: typer.echo(text, err=True))
    typer.echo("There is no unfinished round." if closed is None else f"Round {closed} was given up.")


@app.command()
def export(
    layout: Annotated[
        str,
        typer.Argument(help="chat or preferences (OpenAI's fine-tuning formats), trl-sft or trl-dpo (TRL's columns)."),
    ],
    out: Annotated[Path, typer.Option(help="File to write: JSON lines, or TRL's columns as .parquet.")],
    snapshot: Annotated[
        str | None, typer.Option(help="Version or hash of a frozen snapshot to write instead; with trl-sft, trl-dpo.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write the usable signals, or a frozen snapshot, to a file for other trainers."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.export import export as write_export

        rows = write_export(load_config(config), layout, out, snapshot)
    typer.echo(f"{rows} rows in {out}")


@app.command()
def contradictions(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Inputs with different right answers or opposite preferences: who said what, and what stands."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.consistency import contradictions as read_contradictions

        found = read_contradictions(load_config(config))
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_contradictions

        print_contradictions(found, _options(config))


@app.command()
def proposals(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """What rules propose not to train on and why, and what people decided."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.proposals import proposals as read_proposals

        found = read_proposals(load_config(config))
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_proposals

        print_proposals(found, _options(config))


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
) -> None:
    """Decide whether a signal is trained on; it counts from now on, in every round."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.proposals import decide_use

        decided = decide_use(load_config(config), signal_id, "train" if train else "leave out", f"person:{by}", reason)
    typer.echo(f"{decided} is {'trained on' if train else 'left out'} from now on, whatever rules propose.")


@app.command()
def suite(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """The regression suite: its cases by tier, its hash and its bound, and what was retired and why."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.suite import read_suite

        found = read_suite(load_config(config))
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_suite

        print_suite(found)


clusters = typer.Typer(help="Classes of failures, and what they are called.", no_args_is_help=True)
app.add_typer(clusters, name="clusters")


@clusters.command("list")
def list_clusters(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Every class of failures, the largest first."""
    with _one_line_errors(config):
        from tasks.cluster_names import known_clusters
        from tasks.config import load_config

        found = known_clusters(load_config(config))
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_clusters

        print_clusters(found, _options(config))


@clusters.command("name")
def name_cluster(
    cluster_id: Annotated[str, typer.Argument(help="Its id, such as c001.")],
    label: Annotated[str, typer.Argument(help="What it is called from now on.")],
    by: Annotated[str, typer.Option(help="Who names it; on record.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give a class a name that stays, whatever is found for it."""
    with _one_line_errors(config):
        from tasks.cluster_names import name_cluster as give_name
        from tasks.config import load_config

        give_name(load_config(config), cluster_id, label, f"person:{by}")
    typer.echo(f"{cluster_id} is called {label.strip()!r} from now on.")


quarantine = typer.Typer(help="Rows that could not be taken, with the reason.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")


@quarantine.command("list")
def list_quarantine(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """What lies in quarantine: where each row came from and why it could not be taken."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.quarantine import quarantined

        found = quarantined(load_config(config))
    if as_json:
        _print_json(found)
    else:
        from flows.tables import print_quarantine

        print_quarantine(found, _options(config))


@quarantine.command("show")
def show_quarantine(
    row: Annotated[str, typer.Argument(help="A row's id, or the beginning of it.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """One row in quarantine, with its text (redacted, and gone once it has expired)."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.quarantine import quarantined_row

        _print_json(quarantined_row(load_config(config), row))


@quarantine.command("retry")
def retry_quarantine(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read everything again that rows in quarantine came from; what has been mended is taken."""
    with _one_line_errors(config):
        from tasks.config import make_request
        from tasks.quarantine import forget_cursors

        request = make_request(config=config, requested_by="person:cli")
        loaded = _prepare(config)
        parts = forget_cursors(loaded)
        if not parts:
            typer.echo("Nothing lies in quarantine.")
            return
        result = _call_flow("collect_failures", request)
    _show_collected(result, config)


gate = typer.Typer(help="Verdicts of the gate, and what they rest on.", no_args_is_help=True)
app.add_typer(gate, name="gate")


@gate.command("replay")
def replay_gate(
    round_id: Annotated[int, typer.Argument(metavar="ROUND", help="Number of a round that was judged.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a round's decision again from what is on record; status 1 where it comes out differently."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.gate import replay

        found = replay(load_config(config), round_id)
    if as_json:
        _print_json(asdict(found))
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
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.reference import reference as read_reference

        found = read_reference(load_config(config))
    if as_json:
        _print_json(found)
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
    version: Annotated[str, typer.Argument(help="A registered version, or base for the bare base model.")],
    by: Annotated[str, typer.Option(help="Your name, for the record.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Hold anchor against another version, from the next round on."""
    with _one_line_errors(config):
        from tasks.config import load_config
        from tasks.reference import pin_reference as pin

        label = pin(load_config(config), version, f"person:{by}", reason)
    typer.echo(f"Anchor is also held against {label} from the next round on.")


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, default=str, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    app()
