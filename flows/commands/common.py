"""What the commands share: options, errors on one line, exit statuses, and Prefect in a process of its own."""

import importlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tasks.collect import Collected
    from tasks.config import Config, RoundRequest

DEFAULT_CONFIG = "configs/tickets.yaml"

UNREACHED = "Failed to reach API"  # so Prefect says that no server is there when a flow begins

# Exit statuses; BAD_CONFIG is also what typer says of options that it does not know.
DONE = 0
FAILURE = 1
BAD_CONFIG = 2
HELD = 3
REJECTED = 4
NEEDS_APPROVAL = 5
STATUSES = {
    DONE: "done: promoted, or nothing to do",
    FAILURE: "it failed, or something is not as it should be",
    BAD_CONFIG: "the config or an option cannot be used",
    HELD: "the round was held",
    REJECTED: "the round was rejected",
    NEEDS_APPROVAL: "the round waits for approval, or is not finished",
}

ConfigOption = Annotated[str, typer.Option("--config", envvar="FLYWHEEL_CONFIG", help="YAML file of the workload.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@contextmanager
def one_line_errors(config: str | None = None) -> Iterator[None]:
    """Turn an error that the user can act on into one line on standard error and an exit status.

    Where the state of the default config is asked for and is not there, another workload is likely to be meant.
    """
    from tasks.disk import naming_full_disk
    from tasks.errors import ConfigError, FlywheelError, StateError

    try:
        with naming_full_disk(Path.cwd()):
            yield
    except FlywheelError as error:
        meant = isinstance(error, StateError) and config == DEFAULT_CONFIG
        hint = f" ({config} was read: name yours with --config FILE, or in FLYWHEEL_CONFIG)" if meant else ""
        typer.echo(f"error: {error}{hint}", err=True)
        raise typer.Exit(BAD_CONFIG if isinstance(error, ConfigError) else FAILURE) from None


def prepare(path: str) -> "Config":
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


def call_flow(name: str, request: "RoundRequest") -> Any:
    """Run a flow in this process; what it returns.

    Raises:
        FlywheelError: Prefect's server has gone, or whatever the flow raises.
    """
    from flows.logs import shorten_known_errors
    from flows.server_guard import start_guard

    shorten_known_errors()
    start_guard()
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    _keep_terminal_short()
    with _naming_lost_server(), _without_heartbeats():
        return flow(request)


@contextmanager
def _without_heartbeats() -> Iterator[None]:
    """Let a run end when it ends: Prefect's thread that sends heartbeats is asked once a second whether it is done.

    They tell a server of deployments' runs that died; whoever typed this one sees it.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@contextmanager
def _naming_lost_server() -> Iterator[None]:
    """Turn what Prefect's client raises when its server has gone into one line; the round is as far as it was."""
    import httpx

    from tasks.errors import FlywheelError

    try:
        yield
    except (httpx.TransportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and UNREACHED not in str(error):
            raise
        server = os.environ.get("PREFECT_API_URL", "the temporary server of this run")
        raise FlywheelError(
            f"Prefect at {server} does not answer; start it again (or unset PREFECT_API_URL, for a server of the run's "
            f"own), and run the same command again, which goes on where this one was"
        ) from error


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


def options(config: str) -> str:
    """What has to be typed after a command for it to read the same config."""
    given = os.environ.get("FLYWHEEL_CONFIG", DEFAULT_CONFIG)
    return "" if config == given else f" --config {shlex.quote(config)}"


def show_collected(collected: "Collected", path: str) -> None:
    """The counts of a pass over the sources, and what to look at next."""
    counts = f"stored {collected.stored} + known {collected.known} + quarantined {collected.quarantined}"
    kinds = ", ".join(
        f"{rows} {kind.removesuffix('s') if rows == 1 else kind}" for kind, rows in collected.by_kind.items() if rows
    )
    typer.echo(f"read {collected.read} = {counts}")
    if kinds:
        typer.echo(f"stored: {kinds}")
    if collected.quarantined:
        typer.echo(f"what was wrong: flywheel quarantine list{options(path)}")


def show_rounds(config: "Config", shown: list[dict[str, Any]]) -> None:
    """What came of rounds, as panels, with the report written anew."""
    from flows.summary import print_summary

    print_summary(shown, report=renew_report(config))


def renew_report(config: "Config") -> Path:
    """Write the report of all rounds anew; where it is."""
    from tasks.report import write_report
    from tasks.rounds import read_evidence

    return write_report(read_evidence(config), config.folder / "report.html")


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=1, default=str, ensure_ascii=False)
    sys.stdout.write("\n")
