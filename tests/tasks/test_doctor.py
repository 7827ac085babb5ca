"""`flywheel doctor`: each thing that can be wrong is named with how to mend it, and nothing makes it faint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import doctor, doctor_machine, doctor_servers, doctor_state
from tasks.checkup import Check, ok
from tasks.config import Config
from tasks.db import State
from tasks.doctor import EXAMINATIONS, examine, is_well
from tasks.records import now
from tests.conftest import Workload, python, traffic
from tests.tasks.test_backup import versioned


def by_name(checks: Iterator[Check] | list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def of_state(workload: Workload) -> dict[str, Check]:
    return by_name(doctor_state.check_state(workload.config, " --config x.yaml"))


def run(workload: Workload, sql: str, *values: Any) -> None:
    import duckdb

    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute(sql, list(values))


@pytest.fixture
def registered(workload: Workload) -> Workload:
    """Version 1 is registered, and the champion."""
    versioned(workload)
    with State(workload.config.database).transaction() as tx:
        tx.run(
            "insert_promotion", event="moved", move_id="m", from_version=None, to_version="1", moved_by="gate",
            reason="r", round_id=1, evidence_sha256=None, created_at=now(),
        )  # fmt: skip
    return workload


def test_before_anything_was_collected_nothing_of_the_state_is_wrong(workload: Workload) -> None:
    (check,) = doctor_state.check_state(workload.config, "")
    assert (check.state, "nothing has been collected yet" in check.found) == ("ok", True)
    (check,) = doctor_servers.check_mlflow(workload.config, "")
    assert check.state == "ok"
    (check,) = doctor_machine.check_disk(workload.config, "")
    assert "free at" in check.found
    assert not workload.config.home.exists(), "it looks, and makes nothing"


def test_a_state_in_order_is_found_so(registered: Workload) -> None:
    found = of_state(registered)
    assert {check.state for check in found.values()} == {"ok"}
    assert set(found) == {"state", "counts", "round", "moves", "clock", "champion", "versions"}
    assert "v1" in found["champion"].found


def test_an_adapter_that_is_not_the_recorded_one_is_wrong(registered: Workload) -> None:
    weights = next(registered.config.folder.glob("rounds/1/adapter-*/adapter_model.safetensors"))
    weights.write_bytes(weights.read_bytes() + b"!")
    found = of_state(registered)["champion"]
    assert found.state == "wrong"
    assert "not the recorded" in found.found and found.mend


def test_files_that_a_version_needs_and_that_are_gone_are_named(registered: Workload) -> None:
    shutil.rmtree(registered.config.folder / "rounds")
    shutil.rmtree(registered.config.folder / "snapshots")
    found = of_state(registered)
    assert found["versions"].found == "missing: the adapter of v1, the snapshot of v1"
    assert found["versions"].state == found["champion"].state == "wrong"
    assert "flywheel restore FILE --config x.yaml" in found["versions"].mend


def test_a_round_that_nobody_runs_is_a_warning_with_what_to_type(registered: Workload) -> None:
    registered.collect("b", traffic(2, prefix="b"))
    registered.open()
    assert of_state(registered)["round"].state == "ok", "this process has it"
    run(registered, "update rounds set lease_until = ?, uptime_until = 0", now() - timedelta(hours=1))
    found = of_state(registered)["round"]
    assert (found.state, found.found) == ("warning", "round 2 is at screen, and nobody runs it")
    assert found.mend == "flywheel run run_round --config x.yaml; or flywheel abandon --config x.yaml"


def test_an_interrupted_move_is_a_warning(registered: Workload) -> None:
    run(registered, "update promotions set event = 'intended', moved_by = 'person:maria'")
    found = of_state(registered)["moves"]
    assert (found.state, found.found) == ("warning", "a move to v1 by person:maria was intended and not made")
    assert found.mend == "flywheel promote v1 --by YOU --reason TEXT --config x.yaml"


def test_a_clock_that_was_set_back_is_noticed(registered: Workload) -> None:
    run(registered, "update rounds set stage_started_at = ?", now() + timedelta(hours=3))
    found = of_state(registered)["clock"]
    assert (found.state, "round 1 was begun at" in found.found) == ("wrong", True)


def test_counts_that_do_not_reconcile_are_wrong(registered: Workload) -> None:
    run(registered, "delete from inferences where inference_id = 'f000'")
    assert of_state(registered)["counts"].state == "wrong"


def test_a_state_of_a_newer_version_is_wrong_and_the_other_checks_go_on(registered: Workload) -> None:
    run(registered, "insert into schema_migrations (number, name, sha256) values (999, 'future', 'x')")
    only = {name: EXAMINATIONS[name] for name in ("state", "python")}
    found = by_name(check for name in only for check in doctor._guarded(name, registered.config, ""))
    assert "newer version (migration 999)" in found["state"].found
    assert found["state"].state == "wrong"
    assert found["python"].state in ("ok", "warning")


def test_a_state_that_another_process_holds_is_a_warning(registered: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_state, "LOCK_SECONDS", 0.2)
    other = python(
        """
        import sys
        from filelock import FileLock
        with FileLock(sys.argv[1]):
            print("holding", flush=True)
            sys.stdin.read()
        """,
        str(registered.config.database.with_suffix(".lock")),
        stdin=-1,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "holding\n"
    (check,) = doctor_state.check_state(registered.config, "")
    assert (check.state, "in use by another process" in check.found) == ("warning", True)
    other.communicate("")


def test_a_restore_that_was_cut_short_is_wrong(registered: Workload) -> None:
    marker = State(registered.config.database).half_restored
    marker.parent.mkdir()
    marker.write_text("{}")
    (check,) = doctor_state.check_state(registered.config, "")
    assert (check.state, check.found) == ("wrong", "a restore was cut short")


def test_a_registry_that_is_gone_is_wrong_where_a_version_serves(registered: Workload) -> None:
    (registered.config.home / "mlflow.db").unlink()
    (check,) = doctor_servers.check_mlflow(registered.config, "")
    assert check.state == "wrong"
    assert "the champion on record is v1" in check.found


@pytest.mark.slow
def test_an_alias_that_says_otherwise_is_wrong_until_it_is_set_right(registered: Workload) -> None:
    from mlflow import MlflowClient

    config = registered.config
    (config.home / "mlflow.db").unlink()
    client: Any = MlflowClient(config.tracking_uri, registry_uri=config.tracking_uri)
    client.create_registered_model("tickets")
    client.create_model_version("tickets", (config.home / "mlartifacts").resolve().as_uri())
    (check,) = doctor_servers.check_mlflow(config, "")
    assert (check.state, check.found) == ("wrong", "its alias champion is base, on record is v1")
    assert check.mend.startswith("flywheel promote v1 ")
    client.set_registered_model_alias("tickets", "champion", "1")
    (check,) = doctor_servers.check_mlflow(config, "")
    assert check.state == "ok"


def test_a_server_that_is_not_there_is_wrong(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    (check,) = doctor_servers.check_prefect(workload.config, "")
    assert (check.state, "does not answer" in check.found) == ("wrong", True)
    data = workload.config.model_dump(mode="json")
    named = Config.model_validate(
        data
        | {
            "serving": {"address": "http://127.0.0.1:9"},
            "engine": {"address": "http://127.0.0.1:9", "api_key_env": "NO_KEY"},
        }
    )
    found = by_name(doctor_servers.check_addresses(named, ""))
    assert found["serving"].mend == "start it, or correct serving.address in the config"
    assert found["engine"].found.startswith("engine.api_key_env: the environment variable NO_KEY is not set")


def base_model(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in ({"config.json": "{}", "model.safetensors": "w", "tokenizer.json": "{}"} | files).items():
        (folder / name).write_text(text)
    return folder


def test_a_base_model_is_looked_at_for_what_a_round_needs(workload: Workload) -> None:
    (check,) = doctor_machine.check_base(workload.config, "")
    assert (check.state, "does not exist" in check.found) == ("wrong", True)
    folder = base_model(Path(workload.config.model.base))
    (check,) = doctor_machine.check_base(workload.config, "")
    assert (check.state, check.found) == ("wrong", f"{folder} has no chat template")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (check,) = doctor_machine.check_base(workload.config, "")
    assert check.state == "ok"


def test_a_full_disk_is_wrong_and_says_what_makes_room(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold is raised to what no disk has."""
    monkeypatch.setattr(doctor_machine, "LEAST_ROOM", 10**18)
    (check,) = doctor_machine.check_disk(workload.config, " --config x.yaml")
    assert (check.state, check.mend) == ("wrong", "flywheel prune --config x.yaml; or make room")


def test_packages_are_held_against_the_pins(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (check,) = doctor_machine.check_packages(workload.config, "")
    assert check.state in ("ok", "warning")
    (tmp_path / "requirements").mkdir()
    monkeypatch.setattr(doctor_machine, "CHECKOUT", tmp_path)
    pins = [tmp_path / "requirements" / f"{kind}.txt" for kind in ("cpu", "gpu")]
    for path in pins:
        path.write_text("pydantic==0.1\n")
    (check,) = doctor_machine.check_packages(workload.config, "")
    assert check.state == "warning" and "(pinned 0.1)" in check.found
    for path in pins:
        path.write_text("no-such-package-anywhere==1\n")
    (check,) = doctor_machine.check_packages(workload.config, "")
    assert (check.state, check.found) == ("wrong", "not installed: no-such-package-anywhere")


def test_whatever_an_examination_raises_is_a_finding(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    def faint(config: Config, options: str) -> Iterator[Check]:
        yield ok("first", "fine")
        raise ZeroDivisionError("of all\nthings")

    monkeypatch.setattr(doctor, "EXAMINATIONS", {"odd": faint, "python": doctor_machine.check_python})
    found = examine(workload.config)
    assert [check.name for check in found] == ["first", "odd", "python"]
    assert found[1].found == "could not be looked at: ZeroDivisionError: of all"
    assert not is_well(found)
