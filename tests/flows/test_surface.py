"""Every command of `flywheel`: a help text, JSON, one line for an error, and an exit status that is documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.commands.common import BAD_CONFIG, DONE, FAILURE, HELD, NEEDS_APPROVAL, REJECTED, STATUSES
from flows.commands.running import _status_of
from tests.conftest import ROOT, Workload, correction, inference, make_workload, traffic, write_config

# Commands without --json, and why.
WITHOUT_JSON = {
    ("demo",): "shows a story as it goes; its rounds are told by explain",
    ("quarantine", "show"): "prints nothing but JSON",
}


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(typer.main.get_command(app)))


def flywheel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_walk_finds_the_commands() -> None:
    assert {("run",), ("history",), ("explain",), ("gate", "replay"), ("clusters", "name")} <= COMMANDS.keys()
    assert WITHOUT_JSON.keys() <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_speaks_json_and_explains_itself(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) is (path not in WITHOUT_JSON), path
    assert command.help and command.help.strip().endswith((".", ")")), "a sentence says what it does"
    silent = [p.name for p in command.params if p.name not in ("help",) and not getattr(p, "help", None)]
    assert not silent, f"{path}: {silent} have no help"


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in {("demo",)}], ids=" ".join)
def test_every_command_ends_in_one_line_where_the_config_is_missing(path: tuple[str, ...], tmp_path: Path) -> None:
    command, arguments = COMMANDS[path], []
    for parameter in command.params:
        if isinstance(parameter, click.Argument) or parameter.param_type_name == "argument":
            arguments.append("1")
        elif parameter.required:
            arguments += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], str(tmp_path / "x")]
    arguments = ["run_round" if path == ("run",) else each for each in arguments]
    asked = [] if path in WITHOUT_JSON else ["--json"]
    result = flywheel(*path, *arguments, *asked, "--config", "/no/such.yaml")
    assert result.exit_code == BAD_CONFIG, result.output
    assert result.stdout == ""
    assert result.stderr == "error: config file /no/such.yaml does not exist; give one with --config FILE\n"


def config_of(workload: Workload) -> str:
    return str(write_config(workload.config, workload.folder / "config.yaml"))


def printed(*arguments: str) -> Any:
    """The JSON that a command prints, and nothing else on standard output."""
    result = flywheel(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def closed(workload: Workload) -> Workload:
    workload.collect("a", traffic(failures=6, successes=4, given=4))
    workload.close(workload.to_split())
    return workload


def test_what_commands_did_is_printed_for_programs(closed: Workload, tmp_path: Path) -> None:
    config = ["--config", config_of(closed)]
    signed = ["--by", "maria", "--reason", "because"]
    key = closed.value("select min(correction_id) from corrections")
    assert printed("use", key[:12], "--leave-out", *signed, *config) == {"signal_id": key, "use": "leave out"}
    assert printed("retract", key, *signed, *config)["correction_id"] == key
    assert printed("reference", "pin", "base", *signed, *config) == {"label": "base"}
    out = tmp_path / "out.jsonl"
    assert printed("export", "chat", "--out", str(out), *config) == {
        "file": str(out), "rows": len(out.read_text().splitlines()),
    }  # fmt: skip
    assert printed("abandon", *config) == {"round": None}
    closed.open()
    assert printed("abandon", *config) == {"round": 2}
    assert printed("quarantine", "retry", *config) == {"parts": 0, "collected": None}


def test_history_and_explain_speak_to_people_and_programs(closed: Workload) -> None:
    config = ["--config", config_of(closed)]
    shown = flywheel("history", *config).stdout
    assert "Round 1 was opened for test, against base" in shown
    assert f"flywheel explain ROUND --config {config[1]}" in " ".join(shown.split())
    assert [event["kind"] for event in printed("history", *config)] == ["round closed", "round opened"]
    page = flywheel("explain", "1", *config).stdout
    assert "What was asked for\n" in page and "The verdict\n" in page
    told = printed("explain", "1", *config)
    assert told.keys() == {"workload", "round", "sections", "next"}
    assert flywheel("explain", "7", *config).stderr.startswith("error: tickets has no round 7")


def test_markup_in_what_people_wrote_is_text(closed: Workload) -> None:
    config = ["--config", config_of(closed)]
    flywheel("reference", "pin", "base", "--by", "[red]m", "--reason", "[/bold] [link=http://x]y", *config)
    assert "[red]m made base the reference: [/bold] [link=http://x]y" in " ".join(
        flywheel("history", *config).stdout.split()
    )


@pytest.mark.parametrize(
    ("stage", "verdict", "status"),
    [
        ("closed", "promote", DONE), ("closed", "hold", HELD), ("closed", "reject", REJECTED),
        ("approve", "promote", NEEDS_APPROVAL), ("closed", None, DONE),
    ],
)  # fmt: skip
def test_a_round_ends_with_its_status(stage: str, verdict: str | None, status: int) -> None:
    assert _status_of({"stage": stage, "verdict": verdict}) == status


def test_failures_of_the_config_and_of_the_work_have_statuses_of_their_own(tmp_path: Path) -> None:
    empty = make_workload(tmp_path)
    assert flywheel("status", "--config", "/no/such.yaml").exit_code == BAD_CONFIG
    assert flywheel("status", "--no-such-option").exit_code == BAD_CONFIG
    assert flywheel("status", "--config", config_of(empty)).exit_code == FAILURE
    empty.collect("a", [inference("i"), correction("i")])
    assert flywheel("status", "--config", config_of(empty)).exit_code == DONE


def test_exit_statuses_are_documented() -> None:
    shown = " ".join(flywheel("--help").stdout.split())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("### Exit statuses\n")[1].split("\n#")[0]
    for status, meaning in STATUSES.items():
        assert f"{status} {meaning}" in shown
        assert f"| {status} | {meaning}" in section
    assert [DONE, FAILURE, BAD_CONFIG, HELD, REJECTED, NEEDS_APPROVAL] == [0, 1, 2, 3, 4, 5] == list(STATUSES)
