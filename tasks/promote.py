"""The champion: which version serves, and each move of that alias, deliberate and on record.

A move is written as intended before the registry's alias is touched and as moved after, so that one that was
interrupted is seen and can be finished by making it again. The last move on record is the truth about the champion.
"""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config
from tasks.db import State, require_state
from tasks.errors import FlywheelError
from tasks.records import now, sha256
from tasks.rounds import Round, held_row, label

BASE = "base"


def champion(config: Config) -> str | None:
    """The version that serves; None is the bare base model."""
    with require_state(config.database).transaction() as tx:
        row = tx.row("get_champion")
    return row["to_version"] if row else None


def move_champion(
    config: Config, version: str | None, moved_by: str, reason: str, round_: Round | None = None
) -> tuple[str | None, str | None]:
    """Make `version` the champion (None: no adapter, the base model); the versions before and after.

    Raises:
        FlywheelError: there is no such version in this workload.
    """
    state = State(config.database)
    with state.transaction() as tx:
        if version is not None and tx.row("get_version", version=version) is None:
            raise FlywheelError(
                f"{config.name} has no version {version}; `flywheel status --config FILE` lists its versions"
            )
        row = tx.row("get_champion")
        before = row["to_version"] if row else None
        moment = now()
        move = {
            "move_id": round_.round_key if round_ else sha256([config.name, version, moved_by, reason, str(moment)]),
            "from_version": before,
            "to_version": version,
            "moved_by": moved_by,
            "reason": reason,
            "round_id": round_.round_id if round_ else None,
        }
        if tx.row("get_move", move_id=move["move_id"], event="intended") is None:
            tx.run("insert_promotion", event="intended", created_at=moment, **move)
    _set_alias(config, version)
    with state.transaction() as tx:
        if tx.row("get_move", move_id=move["move_id"], event="moved") is None:
            tx.run("insert_promotion", event="moved", created_at=now(), **move)
    return before, version


def _set_alias(config: Config, version: str | None) -> None:
    client = _client(config)
    if version is not None:
        client.set_registered_model_alias(config.name, "champion", version)
        if client.get_registered_model(config.name).aliases.get("challenger") == version:
            client.delete_registered_model_alias(config.name, "challenger")
    elif "champion" in client.get_registered_model(config.name).aliases:
        client.delete_registered_model_alias(config.name, "champion")


def _client(config: Config) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=config.tracking_uri, registry_uri=config.tracking_uri)


def finish(config: Config, round_: Round) -> dict[str, Any]:
    """Stage promote: move the alias where the gate said so, and close the round; the champion afterwards."""
    state = State(config.database)
    with state.transaction() as tx:
        row = held_row(tx, round_)
    if row["verdict"] == "promote":
        move_champion(config, row["challenger_version"], "gate", f"round {round_.round_id} was promoted", round_)
    with state.transaction() as tx:
        held_row(tx, round_)
        tx.run("close_round", round_id=round_.round_id, closed_at=now())
    return label(champion(config))


@task(name="promote", cache_policy=NO_CACHE)
def finish_task(config: Config, round_: Round) -> None:
    """Prefect task around `finish`."""
    serving = finish(config, round_)
    get_run_logger().info("Round %d is closed; the champion is %s", round_.round_id, serving["label"])
