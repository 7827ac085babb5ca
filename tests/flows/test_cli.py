"""The `flywheel` command: instant help, one line for what is wrong, and JSON that programs can rely on."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.commands.common import BAD_CONFIG, FAILURE, _is_not_said_again, show_collected
from flows.status_screen import print_status
from flows.tables import print_lineage, print_suite
from tasks.blend import blend
from tasks.collect import Collected
from tasks.db import State
from tasks.gate import gate
from tasks.lineage import lineage
from tasks.rounds import writing
from tasks.status import status
from tests.conftest import (
    ROOT,
    Saved,
    Workload,
    correction,
    inference,
    make_workload,
    preference,
    traffic,
    write_config,
)
from tests.tasks.test_cluster import clustered


@pytest.fixture(autouse=True)
def _own_prefect_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


def flywheel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    """The one line on standard error that a command ends with; a bad config has a status of its own."""
    result = flywheel(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (FAILURE, BAD_CONFIG)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def config_of(workload: Workload) -> str:
    return str(write_config(workload.config, workload.folder / "config.yaml"))


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    workload = make_workload(tmp_path_factory.mktemp("cli") / "workload")
    workload.collect("a", traffic(failures=10, successes=10, given=5))
    round_ = workload.to_split()
    blend(workload.config, round_)
    workload.skip(round_, "train")
    workload.answer(round_, lambda role, case: True)
    for stage in ("regress", "gate"):
        with writing(workload.config, round_, stage):
            pass
    workload.register(round_)
    workload.close(round_, "hold", "1")
    return Saved(workload)


@pytest.fixture
def registered(closed: Saved) -> Workload:
    """A closed round whose challenger is version 1; the champion is the base model."""
    return closed.restored()


HELP = """
import sys
from flows.cli import app
try:
    app(["--help"])
except SystemExit:
    pass
heavy = {"prefect", "torch", "mlflow", "duckdb", "polars", "transformers", "numpy", "sklearn"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", HELP], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60,
        )  # fmt: skip
        seconds.append(time.monotonic() - started)
        assert "run" in done.stdout
        assert done.stderr.strip() == "[]"
        if min(seconds) < 1.0:
            break
    assert min(seconds) < 1.0


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "demo",
        "status",
        "lineage",
        "where",
        "promote",
        "abandon",
        "contradictions",
        "proposals",
        "use",
        "gate",
        "reference",
        "suite",
    ],
)
def test_each_command_explains_itself(command: str) -> None:
    result = flywheel(command, "--help")
    assert result.exit_code == 0
    assert result.stdout


def test_status_imports_neither_prefect_nor_torch(registered: Workload) -> None:
    code = "import sys; from flows.cli import app; app(sys.argv[1:], standalone_mode=False); "
    code += "assert not {'prefect', 'torch', 'mlflow'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "--config", config_of(registered)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the champion is base" in done.stdout


def test_a_flow_that_is_not_there_is_named() -> None:
    assert "there is no flow bake_cake; the flows are run_round, collect_failures" in refused("run", "bake_cake")


COMMANDS: list[list[str]] = [
    ["run", "run_round"],
    ["run", "collect_failures"],
    ["status"],
    ["lineage", "1"],
    ["promote", "1", "--by", "maria", "--reason", "better"],
    ["abandon"],
    ["suite"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_config_is_named(command: list[str]) -> None:
    assert "config file /no/such.yaml does not exist" in refused(*command, "--config", "/no/such.yaml")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_config_is_named_with_its_key(workload: Workload, command: list[str]) -> None:
    path = Path(config_of(workload))
    path.write_text(path.read_text(encoding="utf-8").replace("r: 16", "r: 17"), encoding="utf-8")
    line = refused(*command, "--config", str(path))
    assert f"{path}: adapter.r: vLLM serves ranks" in line
    assert not workload.config.home.exists()


@pytest.mark.parametrize("command", COMMANDS[2:])
def test_a_missing_state_is_named_and_not_created(workload: Workload, command: list[str]) -> None:
    assert "does not exist yet" in refused(*command, "--config", config_of(workload))
    assert not workload.config.home.exists()


@pytest.mark.parametrize(
    "arguments", [["--min-corrections", "2000000"], ["--requested-by", ""], ["--requested-by", "x" * 200]]
)
def test_a_request_out_of_bounds_is_one_line(workload: Workload, arguments: list[str]) -> None:
    result = flywheel("run", "collect_failures", "--config", config_of(workload), *arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in {1, 2}
    assert not workload.config.database.exists()


def test_a_config_of_another_ending_is_one_line(workload: Workload) -> None:
    path = write_config(workload.config, workload.folder / "tickets.conf")
    refused("run", "collect_failures", "--config", str(path))


def test_a_demo_of_no_workload_is_one_line() -> None:
    assert "configs/chess.yaml does not exist" in refused("demo", "--workload", "chess")


def test_status_in_json(registered: Workload) -> None:
    found = json.loads(flywheel("status", "--json", "--config", config_of(registered)).stdout)
    assert found.keys() == {
        "workload", "champion", "champion_move", "running", "approvals", "rounds", "new", "next_runs", "cost",
        "notices", "versions", "unfinished_moves", "counts", "contradictions", "proposals", "excluded_corrections",
        "excluded_demonstrations", "excluded_preferences", "retracted_in_champion",
    }  # fmt: skip
    assert found["champion"] == {"label": "base", "version": None}
    assert [(r["round"], r["verdict"], r["challenger"]["label"]) for r in found["rounds"]] == [(1, "hold", "v1")]
    assert found["counts"]["reconciles"] is True
    assert found["counts"]["read"] == 45


def test_lineage_in_json(registered: Workload) -> None:
    for version in ("1", "v1"):
        found = json.loads(flywheel("lineage", version, "--json", "--config", config_of(registered)).stdout)
        assert found["version"] == "1"
        assert {"kind", "source", "producer", "signal_id", "content_hash"} <= found["rows"][0].keys()
        assert {row["kind"] for row in found["rows"]} == {"correction", "demonstration"}


def test_where_a_correction_is(registered: Workload) -> None:
    id_ = registered.value("select min(signal_id) from snapshot_rows where signal = 'correction'")
    found = json.loads(flywheel("where", id_[:30], "--json", "--config", config_of(registered)).stdout)
    assert (found["signal_id"], found["versions"]) == (id_, ["1"])
    shown = flywheel("where", id_, "--config", config_of(registered)).stdout
    assert f"{id_}: correction, side train" in " ".join(shown.split())
    assert "v1" in shown


def test_a_correction_that_is_nowhere_says_why(registered: Workload) -> None:
    held_out = registered.value(
        "select min(correction_id) from corrections where not use_for_training and use_for_eval"
    )
    shown = flywheel("where", held_out, "--config", config_of(registered)).stdout
    assert "In no snapshot: its input is held out (unseen)" in " ".join(shown.split())
    assert "has no signal nobody" in refused("where", "nobody", "--config", config_of(registered))


def test_lineage_of_an_unknown_version_is_one_line(registered: Workload) -> None:
    assert "tickets has no version 8; its versions: 1" in refused("lineage", "8", "--config", config_of(registered))


def test_tables_for_people(registered: Workload) -> None:
    shown = flywheel("status", "--config", config_of(registered)).stdout
    assert "tickets: the champion is base" in shown
    assert "45 rows read = 45 stored + 0 known + 0 quarantined (reconciles)" in shown
    shown = flywheel("lineage", "1", "--config", config_of(registered)).stdout
    assert "person:maria" in shown
    assert "rule:seed" in shown


def test_the_suite_for_programs_and_for_people(registered: Workload) -> None:
    config = config_of(registered)
    found = json.loads(flywheel("suite", "--json", "--config", config).stdout)
    assert found.keys() == {"workload", "round", "suite_hash", "max_cases", "cases", "retired", "versions"}
    assert {(row["tier"], row["stratum"]) for row in found["cases"]} == {
        ("fixed", "failure"), ("unseen", "failure"), ("unseen", "success"), ("anchor", None)
    }  # fmt: skip
    shown = " ".join(flywheel("suite", "--config", config).stdout.split())
    cases = sum(row["cases"] for row in found["cases"])
    assert f"tickets, as of round 1: {cases} cases, version {found['suite_hash'][:12]} (1 version so far)" in shown
    assert "A tier holds 5000 cases at most (suite.max_cases)" in shown
    assert "retired in" not in shown


def test_a_suite_that_was_cut_back_says_what_went_and_why(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, suite={"max_cases": 3, "protected": [{"slice": "tier", "value": "gold"}]})
    config = config_of(workload)
    workload.collect("a", [inference("i")])
    assert "The suite has no cases; a round adds them." in flywheel("suite", "--config", config).stdout
    gold = [record for n in range(20) for record in (inference(f"g{n}", tier="gold"), correction(f"g{n}", f"r{n}"))]
    workload.collect("b", [*gold, *traffic(9, prefix="x")])
    workload.close(workload.to_split())
    shown = " ".join(flywheel("suite", "--config", config).stdout.split())
    assert "round 1 fixed" in shown
    assert "above suite.max_cases: among the oldest of its kind" in shown
    assert "fixed has as many protected cases as suite.max_cases allows, or more, so that no other stays" in shown


@pytest.mark.parametrize("text", ["[/bold]", "[red]x[/red]"])
def test_a_reason_with_square_brackets_is_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    retired = [{"retired_round": 1, "tier": "unseen", "reason": text, "cases": 1}]
    suite = {"workload": "t", "round": 1, "suite_hash": "a" * 64, "max_cases": 1, "cases": [], "versions": []}
    print_suite(suite | {"retired": retired * 60})
    shown = capsys.readouterr().out
    assert text in shown
    assert "The last 50 of 60 are shown, all of them with --json." in shown


def test_an_unknown_version_is_not_promoted(registered: Workload) -> None:
    before = registered.content()
    assert "tickets has no version 8" in refused(
        "promote", "v8", "--by", "maria", "--reason", "x", "--config", config_of(registered)
    )
    assert registered.content() == before


def test_a_decision_is_made_again_from_the_shell(tmp_path: Path) -> None:
    workload = make_workload(tmp_path / "workload")
    workload.collect("a", traffic(failures=10, successes=10, given=5))
    gate(workload.config, workload.to_gate(lambda role, case: True))
    config = config_of(workload)
    shown = flywheel("gate", "replay", "1", "--config", config)
    assert shown.exit_code == 0
    assert "Round 1: hold, as recorded" in shown.stdout
    assert "only 4 cases in the failure stratum, 30 are needed" in shown.stdout
    with State(workload.config.database).transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict="promote")
    other = flywheel("gate", "replay", "1", "--config", config, "--json")
    assert other.exit_code == 1
    assert json.loads(other.stdout)["differences"] == ["the verdict is hold, on record is promote"]
    assert "no round 5" in refused("gate", "replay", "5", "--config", config)


def test_a_reference_is_shown_and_pinned(registered: Workload) -> None:
    config = config_of(registered)
    assert "base, the champion of the first round" in flywheel("reference", "show", "--config", config).stdout
    pinned = flywheel("reference", "pin", "v1", "--by", "maria", "--reason", "ours", "--config", config)
    assert "Anchor is also held against v1" in pinned.stdout
    assert "v1, pinned by person:maria on " in flywheel("reference", "show", "--config", config).stdout
    assert json.loads(flywheel("reference", "show", "--config", config, "--json").stdout)["version"] == "1"


@pytest.mark.parametrize("arguments", [["--by", "maria"], ["--reason", "x"]])
def test_a_promotion_by_hand_asks_for_name_and_reason(registered: Workload, arguments: list[str]) -> None:
    result = flywheel("promote", "1", *arguments, "--config", config_of(registered))
    assert result.exit_code == 2
    assert registered.value("select count(*) from promotions") == 0


def test_a_round_is_given_up_on_request(registered: Workload) -> None:
    config = config_of(registered)
    assert "There is no unfinished round." in flywheel("abandon", "--config", config).stdout
    registered.open()
    assert "Round 2 was given up." in flywheel("abandon", "--config", config).stdout


HOSTILE = ("[/bold]", "[red]x[/red]", "[/]", "[link=http://x]y")


@pytest.mark.parametrize("text", HOSTILE)
def test_names_from_data_are_text_and_no_markup(
    workload: Workload, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A producer or a reason with square brackets must neither crash the table nor vanish from it."""
    workload.collect("a", [inference("i"), correction("i", by=f"person:{text}"), *traffic(3, given=9)])
    round_ = workload.to_split()
    blend(workload.config, round_)
    for stage in ("train", "regress", "gate"):
        with writing(workload.config, round_, stage) as tx:
            if stage == "train":
                tx.run("set_round_adapter", round_id=1, adapter_path="a", adapter_sha256="b" * 64)
    workload.register(round_)
    workload.close(round_, "hold", "1")
    found: dict[str, Any] = lineage(workload.config, "1")
    from datetime import datetime

    found["moves"] = [
        {"created_at": datetime(2026, 3, 2), "event": "moved", "from_version": None, "to_version": "1",
         "moved_by": "person:maria", "reason": text}
    ]  # fmt: skip
    found["rows"][0] |= {"licence": text}
    print_lineage(found)
    shown = capsys.readouterr().out
    assert f"({text})" in shown
    assert f"licence: {text} (1 row)" in shown
    if any(row["producer"] == f"person:{text}" for row in found["rows"]):
        assert f"person:{text}" in shown
    stands = status(workload.config)
    stands["rounds"][0]["reasons"] = [text]
    stands["counts"] |= {"read": 1, "waiting": 1}
    stands |= {"retracted_in_champion": 2, "excluded_preferences": {"superseded by its author": 1}}
    print_status(stands, " --config 'my support.yaml'", details=True)
    shown = capsys.readouterr().out
    assert text in shown
    assert "1 row read" in shown
    assert "1 row in quarantine: flywheel quarantine list --config 'my support.yaml'" in " ".join(shown.split())
    assert "1 preference left out: superseded by its author" in shown
    assert "The champion was trained on what was taken back since (2 signals)" in " ".join(shown.split())


def test_contradictions_are_shown_with_what_stands(workload: Workload) -> None:
    config = config_of(workload)
    records = [inference("i"), correction("i", "[b]1[/b]"), correction("i", "2", "person:jonas", 5), inference("j")]
    workload.collect("a", records)
    workload.to_split()
    shown = " ".join(flywheel("contradictions", "--config", config).stdout.split())
    assert shown.count("contradicts") == 2
    assert "[b]1[/b]" in shown and "person:jonas" in shown and "1 group." in shown
    found = json.loads(flywheel("contradictions", "--json", "--config", config).stdout)
    assert [(row["answer"], row["stands"]) for row in found] == [("[b]1[/b]", False), ("2", False)]
    assert "1 group of signals that contradict each other: flywheel contradictions --config" in " ".join(
        flywheel("status", "--config", config).stdout.split()
    )


def test_opposite_preferences_are_shown_with_both_answers(workload: Workload) -> None:
    asked = {"messages": [{"role": "user", "content": "Which one?"}]}
    both = [preference("p1", "[b]a[/b]", "b") | asked, preference("p2", "b", "[b]a[/b]", producer="person:jo") | asked]
    workload.collect("a", both)
    workload.to_split()
    shown = " ".join(flywheel("contradictions", "--config", config_of(workload)).stdout.split())
    assert "[b]a[/b] over b" in shown and "b over [b]a[/b]" in shown and "1 group." in shown
    found = json.loads(flywheel("contradictions", "--json", "--config", config_of(workload)).stdout)
    assert [(row["answer"], row["rejected"], row["stands"]) for row in found] == [
        ("[b]a[/b]", "b", False), ("b", "[b]a[/b]", False),
    ]  # fmt: skip


def test_what_rules_propose_is_shown_and_overruled(tmp_path: Path) -> None:
    check = {"type": "regex", "name": "plain", "pattern": "[a-z]+", "whole": True}
    workload = make_workload(tmp_path, checks=[check], split={"unseen": 0.0})
    config = config_of(workload)
    assert "does not exist yet" in refused("proposals", "--config", config)
    workload.collect("a", [inference("i", output="no"), correction("i", "[b]1[/b]")])
    workload.to_split()
    key = workload.value("select correction_id from corrections")
    shown = "".join(flywheel("proposals", "--config", config).stdout.split())
    assert key[:12] in shown and "[b]1[/b]" in shown and "1proposal." in shown
    assert "Format: 1 correction found, 1 left out" in flywheel("status", "--details", "--config", config).stdout
    decision = ["--by", "maria", "--reason", "it is right", "--config", config]
    assert "is no correction" in refused("use", "nothing", "--train", *decision)
    assert f"{key} is trained on from now on" in flywheel("use", key[:12], "--train", *decision).stdout
    (found,) = json.loads(flywheel("proposals", "--json", "--config", config).stdout)
    assert (found["is_left_out"], found["decided_by"], found["decided_because"]) == (
        False,
        "person:maria",
        "it is right",
    )
    assert flywheel("use", key, *decision).exit_code == 2
    assert flywheel("use", key, "--leave-out", *decision).exit_code == 0
    assert workload.value("select use_for_training from corrections") is False


def test_a_pass_says_what_it_stored_and_where_the_bad_rows_are(capsys: pytest.CaptureFixture[str]) -> None:
    show_collected(Collected(6, 4, 1, 1, {"inferences": 3, "corrections": 0, "thumbs": 1}), "my support.yaml")
    assert capsys.readouterr().out.splitlines() == [
        "read 6 = stored 4 + known 1 + quarantined 1",
        "stored: 3 inferences, 1 thumb",
        "what was wrong: flywheel quarantine list --config 'my support.yaml'",
    ]
    show_collected(Collected(), "support.yaml")
    assert capsys.readouterr().out == "read 0 = stored 0 + known 0 + quarantined 0\n"


def test_the_config_can_be_named_in_the_environment(registered: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CONFIG", config_of(registered))
    assert "the champion is base" in flywheel("status").stdout


@pytest.mark.parametrize("command", [["status"], ["quarantine", "list"], ["export", "chat", "--out", "x"]])
def test_a_forgotten_config_is_asked_for(command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without --config the demo's workload is meant, which somebody with traffic of their own never ran."""
    monkeypatch.chdir(tmp_path)
    assert "name yours with --config FILE, or in FLYWHEEL_CONFIG" in refused(*command)


def test_an_error_that_ends_the_command_is_not_said_before() -> None:
    """A wrong password was reported five times over: by task, flow, both their states, and the command."""

    def kept(level: int, text: str, trace: Any = None, name: str = "prefect.task_runs") -> bool:
        return _is_not_said_again(logging.LogRecord(name, level, "f", 1, text, (), trace))

    assert not kept(logging.ERROR, "source chats: cannot connect")
    assert not kept(logging.INFO, "Finished in state Failed('source chats: cannot connect')", name="prefect.flow_runs")
    assert kept(logging.ERROR, "Encountered an exception", (ValueError, ValueError("x"), None))
    assert kept(logging.WARNING, "3 rows could not be taken")
    assert kept(logging.ERROR, "source chats: cannot connect", name="mlflow")


def test_clusters_are_listed_and_named(tmp_path: Path) -> None:
    workload = make_workload(tmp_path / "workload")
    clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)])
    config = config_of(workload)
    shown = flywheel("clusters", "list", "--config", config).stdout
    assert re.search(r"c001 +20 +2026-03-01 +1 +wrong → right b", shown)
    assert "2 classes. To name one: flywheel clusters name ID NAME --by YOU" in shown
    named = flywheel("clusters", "name", "c002", "[red]late\x1b parcels", "--by", "maria", "--config", config)
    assert named.exit_code == 0
    shown = flywheel("clusters", "list", "--config", config).stdout
    assert re.search(r"c002 +12 .* \[red\]late. parcels +person:maria", shown)
    rows = json.loads(flywheel("clusters", "list", "--json", "--config", config).stdout)
    assert [(row["cluster_id"], row["label_by"]) for row in rows] == [("c001", None), ("c002", "person:maria")]
    said = refused("clusters", "name", "c007", "x", "--by", "maria", "--config", config)
    assert "c007 is no cluster with failures; there are c001, c002 (`flywheel clusters list` shows them)" in said


def test_where_there_are_no_clusters_it_says_so(tmp_path: Path) -> None:
    workload = make_workload(tmp_path / "workload")
    workload.collect("a", traffic(failures=1))
    assert "no classes of failures yet" in flywheel("clusters", "list", "--config", config_of(workload)).stdout


def test_a_correction_is_taken_back_by_its_id(workload: Workload) -> None:
    workload.collect("a", traffic(failures=1))
    id_ = workload.value("select correction_id from corrections")
    result = flywheel("retract", id_[:10], "--by", "lead", "--reason", "wrong", "--config", config_of(workload))
    assert result.exit_code == 0, result.output
    assert "The correction of f000 by person:maria is out, from the next round on." in result.output
    following = result.output.split("trained on it: flywheel ")[1].split(" --config")[0].split()
    assert flywheel(*following, "--config", config_of(workload)).exit_code == 0, "what is to be typed next is a command"
    assert workload.value("select excluded_because from corrections") == "retracted by person:lead: wrong"
    said = refused("retract", "zz", "--by", "lead", "--reason", "x", "--config", config_of(workload))
    assert "no correction has an id that begins with zz" in said
