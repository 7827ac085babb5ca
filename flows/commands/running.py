"""`flywheel run`, `demo` and `abandon`: commands that set a round going, or end one."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import (
    DEFAULT_CONFIG,
    HELD,
    NEEDS_APPROVAL,
    REJECTED,
    ConfigOption,
    JsonOption,
    call_flow,
    one_line_errors,
    options,
    prepare,
    print_json,
    renew_report,
    show_collected,
    show_rounds,
)
from flows.completion import complete_flows

if TYPE_CHECKING:
    from tasks.config import Config

OF_ROUND = (
    "round", "stage", "verdict", "reasons", "champion", "challenger", "champion_after", "opened_at", "closed_at",
)  # fmt: skip
FLOWS = ("run_round", "collect_failures", "cluster_failures", "watch_champion")

app = typer.Typer()


@app.command()
def run(
    flow: Annotated[str, typer.Argument(help=f"One of: {', '.join(FLOWS)}.", autocompletion=complete_flows)],
    config: ConfigOption = DEFAULT_CONFIG,
    min_corrections: Annotated[
        int | None, typer.Option(min=1, help="Corrections that make a round worth running.")
    ] = None,
    requested_by: Annotated[str, typer.Option(help="Who asks for it; recorded with the round.")] = "person:cli",
    heavy_stages: Annotated[str, typer.Option(help="Where models are trained: here, or gpu (its pool).")] = "here",
    as_json: JsonOption = False,
) -> None:
    """Run a flow now; the exit status says what came of a round (see `flywheel --help`)."""
    with one_line_errors():
        from tasks.config import make_request
        from tasks.errors import ConfigError

        if flow not in FLOWS:
            raise ConfigError(f"there is no flow {flow}; the flows are {', '.join(FLOWS)}")
        request = make_request(
            config=config, min_corrections=min_corrections, requested_by=requested_by, heavy_stages=heavy_stages
        )
        loaded = prepare(config)
        result = call_flow(flow, request)
    if as_json:
        print_json({"flow": flow} | _outcome(flow, result, loaded))
    else:
        _show_outcome(flow, result, loaded, config)
    if flow == "run_round" and result is not None and (code := _status_of(result)):
        raise typer.Exit(code)


def _outcome(flow: str, result: Any, config: "Config") -> dict[str, Any]:
    """What a flow did, for programs: counts, what the watch says, or how a round stands (null where none was run)."""
    if result is None:
        return {"round": None}
    if flow == "run_round":
        return {key: result.get(key) for key in OF_ROUND} | {"report": renew_report(config)}
    return dict(result) if isinstance(result, dict) else asdict(result)


def _show_outcome(flow: str, result: Any, config: "Config", path: str) -> None:
    if flow == "collect_failures":
        show_collected(result, path)
    elif flow == "cluster_failures":
        typer.echo(result.sentence)
    elif flow == "watch_champion":
        from flows.watch_tables import print_watch

        print_watch(result)
    elif result is None:
        typer.echo("Nothing to do: no unfinished round, and too few new corrections and retractions for another.")
    else:
        show_rounds(config, [result])
        if result["stage"] == "approve":
            _show_waiting(config, path)


def _show_waiting(config: "Config", path: str) -> None:
    """Until when a round waits, and what answers it."""
    from tasks.approve import waiting

    if (asked := waiting(config)) is not None:
        until, ending = f"{asked['expires_at']:%Y-%m-%d %H:%M} UTC", f"--by NAME --reason TEXT{options(path)}"
        typer.echo(f"Round {asked['round_id']} waits for approval until {until}:")
        for word in ("approve", "reject"):
            typer.echo(f"  flywheel {word} {asked['round_id']} {ending}")


def _status_of(evidence: dict[str, Any]) -> int:
    """The exit status that a round ends with."""
    if evidence["stage"] != "closed":
        return NEEDS_APPROVAL
    return {"hold": HELD, "reject": REJECTED}.get(evidence["verdict"], 0)


@app.command()
def demo(
    workload: Annotated[str, typer.Option(help="tickets or banking77.")] = "tickets",
    data: Annotated[Path | None, typer.Option(help="banking77: folder with train.csv and test.csv.")] = None,
) -> None:
    """Run a workload from nothing: teach its base model, serve traffic, turn the flywheel."""
    with one_line_errors():
        config_file = f"configs/{workload}.yaml"
        config = prepare(config_file)
        from flows.logs import shorten_known_errors
        from flows.run_demo import run_demo
        from flows.server_guard import start_guard

        shorten_known_errors()
        start_guard()
        run_demo(config, config_file, data)


@app.command()
def abandon(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Give up an unfinished round; its corrections stay in the state."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.rounds import abandon as abandon_round

        closed = abandon_round(load_config(config), lambda text: typer.echo(text, err=True))
    if as_json:
        print_json({"round": closed})
    else:
        typer.echo("There is no unfinished round." if closed is None else f"Round {closed} was given up.")
