"""Promotion is deliberate: each move is on record before and after it is made, and any move can be undone."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks.db import State
from tasks.errors import FlywheelError, LeaseLostError, StateError
from tasks.promote import champion, finish, move_champion
from tasks.rounds import read_evidence, writing
from tasks.status import status
from tests.conftest import Saved, Workload, make_workload, traffic


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    workload = make_workload(tmp_path_factory.mktemp("promote") / "workload")
    workload.collect("a", traffic(failures=5, successes=5))
    round_ = workload.to_gate(lambda role, case: True)
    with writing(workload.config, round_, "gate"):
        pass
    workload.register(round_)
    return Saved(workload)


@pytest.fixture
def registered(waiting: Saved) -> Workload:
    """A round that is registered as version 1 and waits for its promotion; the registry itself is empty."""
    return waiting.restored()


def judge(workload: Workload, verdict: str) -> None:
    with State(workload.config.database).transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict=verdict)


def events(workload: Workload) -> list[tuple[str, str | None, str | None, str]]:
    rows = workload.rows("select * from promotions order by promotion_id")
    return [(row["event"], row["from_version"], row["to_version"], row["moved_by"]) for row in rows]


def test_before_any_move_the_base_model_serves(registered: Workload) -> None:
    assert champion(registered.config) is None


def test_an_unknown_version_is_refused_and_nothing_is_recorded(registered: Workload) -> None:
    with pytest.raises(FlywheelError, match="tickets has no version 7; `flywheel status --config FILE` lists"):
        move_champion(registered.config, "7", "person:maria", "because")
    assert events(registered) == []


def test_a_version_that_was_trained_on_another_base_is_not_promoted(
    registered: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter, base = Path(registered.value("select adapter_path from versions")), tmp_path / "base"
    for folder in (adapter, base):
        folder.mkdir(parents=True)
    (adapter / "base.json").write_text(json.dumps({"base": "old", "sha256": "0" * 64}), encoding="utf-8")
    (base / "config.json").write_text("{}", encoding="utf-8")
    changed = registered.config.model_copy(
        update={"model": registered.config.model.model_copy(update={"base": str(base)})}
    )
    with pytest.raises(FlywheelError, match="was trained on another base: on old"):
        move_champion(changed, "1", "person:maria", "because")
    assert events(registered) == []


def test_moving_where_nothing_was_collected_creates_no_state(tmp_path: Path) -> None:
    workload = make_workload(tmp_path)
    with pytest.raises(StateError, match="does not exist yet"):
        move_champion(workload.config, "1", "person:maria", "because")
    assert not workload.config.database.exists()


@pytest.mark.parametrize("verdict", ["hold", "reject"])
def test_only_a_promotion_moves_the_champion(registered: Workload, verdict: str) -> None:
    judge(registered, verdict)
    assert finish(registered.config, registered.open())["label"] == "base"
    assert events(registered) == []
    evidence = read_evidence(registered.config)[0]
    assert (evidence["stage"], evidence["champion_after"]["label"]) == ("closed", "base")


def test_a_runner_that_was_taken_over_cannot_close_the_round(registered: Workload) -> None:
    judge(registered, "hold")
    old = registered.open()
    registered.open()
    with pytest.raises(LeaseLostError):
        finish(registered.config, old)
    assert registered.value("select stage from rounds") == "promote"


MOVE = {
    "move_id": "m", "from_version": None, "to_version": "1", "moved_by": "gate", "reason": "r", "round_id": 1,
    "created_at": datetime(2026, 3, 2),
}  # fmt: skip


def test_an_interrupted_move_is_seen_and_changes_no_champion(registered: Workload) -> None:
    with State(registered.config.database).transaction() as tx:
        tx.run("insert_promotion", event="intended", **MOVE)
    assert champion(registered.config) is None
    assert [move["to_version"] for move in status(registered.config)["unfinished_moves"]] == ["1"]
    with State(registered.config.database).transaction() as tx:
        tx.run("insert_promotion", event="moved", **MOVE)
    assert champion(registered.config) == "1"
    assert status(registered.config)["unfinished_moves"] == []


def test_the_last_move_on_record_is_the_champion(registered: Workload) -> None:
    with State(registered.config.database).transaction() as tx:
        tx.run("insert_promotion", event="moved", **MOVE)
        tx.run("insert_promotion", event="moved", **MOVE | {"move_id": "n", "from_version": "1", "to_version": None})
    assert champion(registered.config) is None


def test_no_statement_of_ours_changes_the_audit_log() -> None:
    from tasks.resources import resource

    for path in resource("sql", "queries").glob("*.sql"):
        for statement in duckdb.extract_statements(path.read_text(encoding="utf-8")):
            text = " ".join(statement.query.lower().split())
            assert "update promotions" not in text
            assert "delete from promotions" not in text
            assert "replace into promotions" not in text


@pytest.mark.parametrize(("by", "reason"), [("person: ", "because"), ("person:maria", "")])
def test_an_override_needs_a_name_and_a_reason(registered: Workload, by: str, reason: str) -> None:
    with pytest.raises(FlywheelError):
        move_champion(registered.config, "1", by, reason)
    assert events(registered) == []


@pytest.fixture
def registry(registered: Workload) -> Any:
    """A real MLflow registry on SQLite that has the version."""
    from mlflow import MlflowClient
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore

    # MLflow remembers databases by their address; the one at this address was deleted with the last test.
    RegistryStore._engine_map.clear()
    TrackingStore._engine_map.clear()
    client = MlflowClient(registered.config.tracking_uri, registered.config.tracking_uri)
    client.create_registered_model("tickets")
    client.create_model_version("tickets", source=str(registered.folder))
    client.set_registered_model_alias("tickets", "challenger", "1")
    return client


def aliases(registry: Any) -> dict[str, str]:
    return {name: str(version) for name, version in registry.get_registered_model("tickets").aliases.items()}


@pytest.mark.slow
def test_a_promotion_moves_the_alias_and_any_move_can_be_undone(registered: Workload, registry: Any) -> None:
    judge(registered, "promote")
    assert finish(registered.config, registered.open())["label"] == "v1"
    assert aliases(registry) == {"champion": "1"}
    assert move_champion(registered.config, None, "person:maria", "worse in production") == ("1", None)
    assert aliases(registry) == {}
    assert champion(registered.config) is None
    assert move_champion(registered.config, "1", "person:maria", "it was not") == (None, "1")
    assert aliases(registry) == {"champion": "1"}
    assert events(registered) == [
        ("intended", None, "1", "gate"), ("moved", None, "1", "gate"),
        ("intended", "1", None, "person:maria"), ("moved", "1", None, "person:maria"),
        ("intended", None, "1", "person:maria"), ("moved", None, "1", "person:maria"),
    ]  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_promotion_is_finished_by_making_it_again(
    registered: Workload, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    judge(registered, "promote")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finish(registered.config, registered.open())
    assert [event for event, *_ in events(registered)] == ["intended"]
    assert finish(registered.config, registered.open())["label"] == "v1"
    assert [event for event, *_ in events(registered)] == ["intended", "moved"]
    assert aliases(registry) == {"champion": "1"}


@pytest.mark.slow
def test_the_base_can_be_asked_for_before_anything_is_registered(workload: Workload) -> None:
    """`flywheel promote base` on a new workload: no traceback, and no move that stays unfinished for ever."""
    workload.collect("a", traffic(1))
    try:
        move_champion(workload.config, None, "person:maria", "to be sure")
    except FlywheelError:
        assert events(workload) == []
    assert status(workload.config)["unfinished_moves"] == []


@pytest.mark.slow
def test_the_gate_does_not_undo_a_persons_move_that_was_made_meanwhile(registered: Workload, registry: Any) -> None:
    """The challenger was judged against the champion of the round's opening, not against the one a person chose."""
    judge(registered, "promote")
    registry.create_model_version("tickets", source=str(registered.folder))
    with State(registered.config.database).transaction() as tx:
        tx.run("insert_version", version="2", round_id=2, snapshot_hash="h", adapter_path="p", adapter_sha256="a",
               created_at=datetime(2026, 3, 2))  # fmt: skip
    move_champion(registered.config, "2", "person:maria", "urgent")
    with contextlib.suppress(FlywheelError):
        finish(registered.config, registered.open())
    assert champion(registered.config) == "2"
