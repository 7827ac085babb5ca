"""The champion: which version serves, and each move of that alias, deliberate and on record.

A move is written as intended before the registry's alias is touched and as moved after, so that one that was
interrupted is seen and can be finished by making it again. The last move on record is the truth about the champion.
"""

import json
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.adapters import check_base
from tasks.config import Config
from tasks.db import State, require_state
from tasks.errors import FlywheelError
from tasks.records import now, sha256
from tasks.rounds import Round, held_row, label, record_evidence
from tasks.tracking_store import check_server, make_store, naming_lost_server

BASE = "base"
GATE = "gate"


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
        FlywheelError: there is no such version in this workload, it was trained on another base, or MLflow's server is
            gone.
    """
    if (not moved_by.partition(":")[2].strip() and moved_by != GATE) or not reason.strip():
        raise FlywheelError("a move of the champion needs a name and a reason (--by NAME --reason TEXT)")
    state = require_state(config.database)
    with state.transaction() as tx:
        if version is not None:
            found = tx.row("get_version", version=version)
            if found is None:
                raise FlywheelError(
                    f"{config.name} has no version {version}; `flywheel status --config FILE` lists its versions"
                )
            check_base(Path(found["adapter_path"]), config.model.base)
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
    check_server(config.tracking_uri)
    with naming_lost_server(config.tracking_uri):
        _set_alias(config, version)
    with state.transaction() as tx:
        if tx.row("get_move", move_id=move["move_id"], event="moved") is None:
            tx.run("insert_promotion", event="moved", created_at=now(), **move)
    return before, version


def _set_alias(config: Config, version: str | None) -> None:
    client = _client(config)
    if version is not None:
        client.set_registered_model_alias(config.name, "champion", version)
        if str(client.get_registered_model(config.name).aliases.get("challenger")) == version:
            client.delete_registered_model_alias(config.name, "challenger")
    elif "champion" in _aliases(client, config.name):
        client.delete_registered_model_alias(config.name, "champion")


def _aliases(client: Any, name: str) -> dict[str, Any]:
    """The aliases of the registered model; none where nothing has been registered yet."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_registered_model(name).aliases)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _client(config: Config) -> Any:
    import mlflow

    make_store(config.tracking_uri)
    return mlflow.MlflowClient(tracking_uri=config.tracking_uri, registry_uri=config.tracking_uri)


def finish(config: Config, round_: Round) -> dict[str, Any]:
    """Stage promote: move the alias where the gate said so, and close the round; the champion afterwards.

    A champion that a person has chosen meanwhile stays: the challenger was not held against it.
    """
    state = State(config.database)
    with state.transaction() as tx:
        row = held_row(tx, round_)
    if row["verdict"] == "promote":
        serving = champion(config)
        if serving in (row["champion_version"], row["challenger_version"]):
            move_champion(config, row["challenger_version"], GATE, f"round {round_.round_id} was promoted", round_)
        else:
            _hold(state, round_, f"the champion was changed to {label(serving)['label']} while the round ran")
    with state.transaction() as tx:
        held_row(tx, round_)
        tx.run("close_round", round_id=round_.round_id, closed_at=now())
    return label(champion(config))


def _hold(state: State, round_: Round, reason: str) -> None:
    with state.transaction() as tx:
        reasons = json.loads(held_row(tx, round_)["evidence"]).get("reasons", [])
        record_evidence(tx, round_, reasons=[reason, *reasons])
        tx.run("set_verdict", round_id=round_.round_id, verdict="hold")


@task(name="promote", cache_policy=NO_CACHE)
def finish_task(config: Config, round_: Round) -> None:
    """Prefect task around `finish`."""
    serving = finish(config, round_)
    get_run_logger().info("Round %d is closed; the champion is %s", round_.round_id, serving["label"])
