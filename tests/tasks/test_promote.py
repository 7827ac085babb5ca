"""Promotion is deliberate: verified before it is made, on record before and after, and undone in one command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks.adapters import CONFIG, WEIGHTS, adapter_sha256
from tasks.config import Config
from tasks.db import State
from tasks.errors import FlywheelError, LeaseLostError, StateError
from tasks.promote import champion, finish, move_champion, rollback
from tasks.rounds import read_evidence
from tasks.status import status
from tests.conftest import Saved, Workload, make_workload, traffic
from tests.tasks.production import Production, register_copy, registered_workload, restored, with_server, write_adapter


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return registered_workload(tmp_path_factory.mktemp("promote"), at="promote")


@pytest.fixture
def registered(waiting: Saved) -> Workload:
    """A round that is registered as version 1, in the state and in a real MLflow, and waits for its promotion."""
    return restored(waiting)


@pytest.fixture
def served(registered: Workload, production: Production) -> Config:
    """The config of `registered` with a server that production asks."""
    return with_server(registered.config, production.address)


def add_version(workload: Workload, version: str) -> Path:
    """Another version, in the state and in MLflow."""
    adapter = write_adapter(workload.folder / f"adapter-{version}", seed=int(version))
    row = workload.rows("select * from versions where version = '1'")[0]
    row |= {"version": version, "round_id": int(version), "adapter_path": str(adapter)}
    with State(workload.config.database).transaction() as tx:
        tx.run(
            "insert_round", round_key=f"k{version}", config_sha256="c", requested_by="t", opened_at=datetime(2026, 3, 1)
        )
        tx.run("give_up_round", round_id=int(version), closed_at=datetime(2026, 3, 2))
        tx.run("insert_version", **row | {"adapter_sha256": adapter_sha256(adapter)})
    register_copy(workload.config, adapter, workload.folder / "artifacts")
    return adapter


def judge(workload: Workload, verdict: str) -> None:
    with State(workload.config.database).transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict=verdict)


def events(workload: Workload) -> list[tuple[str, str | None, str | None, str]]:
    rows = workload.rows("select * from promotions order by promotion_id")
    return [(row["event"], row["from_version"], row["to_version"], row["moved_by"]) for row in rows]


def aliases(config: Config) -> dict[str, str]:
    from mlflow import MlflowClient

    model = MlflowClient(config.tracking_uri, config.tracking_uri).get_registered_model("tickets")
    return {name: str(version) for name, version in model.aliases.items()}


def test_before_any_move_the_base_model_serves(registered: Workload) -> None:
    assert champion(registered.config) is None


def test_an_unknown_version_is_refused_and_nothing_is_recorded(registered: Workload) -> None:
    with pytest.raises(FlywheelError, match="tickets has no version 7; `flywheel status --config FILE` lists"):
        move_champion(registered.config, "7", "person:maria", "because")
    assert events(registered) == []


def test_a_version_that_was_trained_on_another_base_is_not_promoted(registered: Workload, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (registered.folder / "adapter" / "base.json").write_text('{"base": "old", "sha256": "0"}', encoding="utf-8")
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
    "created_at": datetime(2026, 3, 2), "evidence_sha256": None,
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


def test_a_move_that_was_overtaken_is_not_waited_for(registered: Workload) -> None:
    with State(registered.config.database).transaction() as tx:
        tx.run("insert_promotion", event="intended", **MOVE)
        tx.run("insert_promotion", event="moved", **MOVE | {"move_id": "n", "to_version": None})
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


@pytest.mark.parametrize("move", [move_champion, rollback])
@pytest.mark.parametrize(("by", "reason"), [("person: ", "because"), ("person:maria", " "), ("maria", "because")])
def test_a_move_needs_a_name_and_a_reason(registered: Workload, move: Any, by: str, reason: str) -> None:
    with pytest.raises(FlywheelError, match="needs a name and a reason"):
        move(registered.config, "1", by, reason)
    assert events(registered) == []


def spoil_weights(workload: Workload) -> None:
    write_adapter(workload.folder / "other", seed=9)
    shutil.copy(workload.folder / "other" / WEIGHTS, workload.folder / "adapter" / WEIGHTS)


def copies(workload: Workload, name: str) -> list[Path]:
    return list((workload.folder / "artifacts").rglob(name))


def spoil_copy(workload: Workload) -> None:
    (copy,) = copies(workload, WEIGHTS)
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")


def spoil_options(workload: Workload) -> None:
    (copy,) = copies(workload, CONFIG)
    copy.write_text('{"r": 4, "target_modules": ["q_proj", "v_proj"]}', encoding="utf-8")


def lose_copy(workload: Workload) -> None:
    for copy in copies(workload, WEIGHTS):
        copy.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_weights, "not the recorded .* restore it from the registry's copy"),
        (lambda workload: shutil.rmtree(workload.folder / "adapter"), "has no adapter_model.safetensors"),
        (spoil_copy, "registry's copy of tickets version 1 differs from what was gated, .*safetensors; restore it"),
        (spoil_options, "registry's copy of tickets version 1 differs from what was gated, .*adapter_config.json"),
        (lose_copy, "MLflow at sqlite:.* fails: .*; see that it runs and is whole"),
    ],
)
def test_what_is_not_what_was_gated_does_not_serve(
    registered: Workload, served: Config, production: Production, spoil: Callable[[Workload], None], said: str
) -> None:
    spoil(registered)
    judge(registered, "promote")
    with pytest.raises(FlywheelError, match=said):
        finish(served, registered.open())
    assert (events(registered), aliases(served), production.names) == ([], {}, {})
    assert registered.value("select stage from rounds") == "promote"


def test_a_version_that_computes_no_numbers_does_not_serve(
    registered: Workload, served: Config, production: Production
) -> None:
    production.numberless.add(str(registered.folder / "adapter"))
    with pytest.raises(FlywheelError, match=r"version 1 has not answered, and the champion stays: .* answers with"):
        move_champion(served, "1", "person:maria", "because")
    assert (events(registered), aliases(served), production.names) == ([], {}, {})


def test_a_server_that_is_away_refuses_a_promotion_before_anything_moves(
    registered: Workload, served: Config, production: Production
) -> None:
    production.server.close()
    judge(registered, "promote")
    with pytest.raises(
        FlywheelError, match=r"version 1 has not answered.* cannot be reached .*raise serving\.timeout_s"
    ):
        finish(served, registered.open())
    assert (events(registered), aliases(served)) == ([], {})


def test_a_promotion_moves_server_and_alias_and_any_move_can_be_undone(
    registered: Workload, served: Config, production: Production
) -> None:
    judge(registered, "promote")
    assert finish(served, registered.open())["label"] == "v1"
    assert aliases(served) == {"champion": "1"}
    assert production.names == {"tickets": str(registered.folder / "adapter")}
    assert rollback(served, None, "person:maria", "worse in production")[:3] == ("1", None, None)
    assert (aliases(served), champion(served)) == ({}, None)
    assert "blank" in production.names["tickets"]
    assert move_champion(served, "1", "person:maria", "it was not")[:3] == (None, "1", None)
    assert (aliases(served), production.names["tickets"]) == ({"champion": "1"}, str(registered.folder / "adapter"))
    assert events(registered) == [
        ("intended", None, "1", "gate"), ("moved", None, "1", "gate"),
        ("intended", "1", None, "person:maria"), ("moved", "1", None, "person:maria"),
        ("intended", None, "1", "person:maria"), ("moved", None, "1", "person:maria"),
    ]  # fmt: skip
    hashes = registered.rows("select distinct evidence_sha256 from promotions where to_version = '1'")
    assert len(hashes) == 1 and len(hashes[0]["evidence_sha256"]) == 64


@pytest.mark.parametrize("moment", ["set_registered_model_alias", "get_registered_model"])
def test_an_interrupted_promotion_is_finished_by_making_it_again(
    registered: Workload, served: Config, production: Production, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    from mlflow import MlflowClient

    judge(registered, "promote")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, moment, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finish(served, registered.open())
    assert [event for event, *_ in events(registered)] == ["intended"]
    assert finish(served, registered.open())["label"] == "v1"
    assert [event for event, *_ in events(registered)] == ["intended", "moved"]
    assert aliases(served) == {"champion": "1"}


def test_a_persons_interrupted_move_is_finished_and_not_made_twice(
    registered: Workload, served: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(OSError("away")))
        with pytest.raises(FlywheelError, match=r"MLflow at .* fails: away"):
            move_champion(served, "1", "person:maria", "because")
    move_champion(served, "1", "person:maria", "because")
    assert [event for event, *_ in events(registered)] == ["intended", "moved"]
    assert status(served)["unfinished_moves"] == []


def test_the_base_can_be_asked_for_before_anything_is_registered(workload: Workload) -> None:
    """`flywheel promote base` on a new workload: no traceback, and no move that stays unfinished for ever."""
    workload.collect("a", traffic(1))
    moved = move_champion(workload.config, None, "person:maria", "to be sure")
    assert (moved.before, moved.after) == (None, None)
    assert events(workload) == []


def test_the_gate_does_not_undo_a_persons_move_that_was_made_meanwhile(registered: Workload, served: Config) -> None:
    """The challenger was judged against the champion of the round's opening, not against the one a person chose."""
    judge(registered, "promote")
    add_version(registered, "2")
    move_champion(served, "2", "person:maria", "urgent")
    finish(served, registered.open())
    assert champion(served) == "2"
    evidence = read_evidence(served)[0]
    assert (evidence["verdict"], evidence["reasons"][0]) == (
        "hold", "the champion was changed to v2 while the round ran",
    )  # fmt: skip


def test_a_rollback_is_not_held_up_by_a_dead_server_and_repeating_it_mends(
    registered: Workload, served: Config, production: Production
) -> None:
    adapter = add_version(registered, "2")
    move_champion(served, "1", "person:maria", "first")
    move_champion(served, "2", "person:maria", "second")
    production.refused.add(str(registered.folder / "adapter"))
    moved = rollback(served, None, "rule:watch", "worse")
    assert moved[:2] == ("2", "1") and moved.unserved is not None and "max_lora_rank" in moved.unserved
    assert (champion(served), aliases(served)["champion"]) == ("1", "1")
    assert production.names == {"tickets": str(adapter)}  # the old one has gone on serving
    production.refused.clear()
    before = events(registered)
    assert rollback(served, "1", "person:maria", "again")[:3] == ("1", "1", None)
    assert production.names == {"tickets": str(registered.folder / "adapter")}
    assert events(registered) == before


def test_a_rollback_goes_only_where_somebody_has_been(registered: Workload, served: Config) -> None:
    with pytest.raises(FlywheelError, match="nothing served before it"):
        rollback(served, None, "person:maria", "because")
    with pytest.raises(FlywheelError, match="version 1 has never served; `flywheel promote 1"):
        rollback(served, "1", "person:maria", "because")
    assert json.dumps(events(registered)) == "[]"


def test_a_rollback_to_files_that_were_changed_is_refused(registered: Workload, served: Config) -> None:
    add_version(registered, "2")
    for version in ("1", "2"):
        move_champion(served, version, "person:maria", "up")
    spoil_weights(registered)
    with pytest.raises(FlywheelError, match="not the recorded"):
        rollback(served, None, "person:maria", "because")
    assert champion(served) == "2"
