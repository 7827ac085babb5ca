"""The champion: which version serves, and each move of that alias, deliberate and on record.

Before it serves, a version is verified: its files are the gated ones, the registry's copy is the same, and vLLM answers
with it. A move is written as intended before anything outside is touched and as moved after, so that one that was
interrupted is seen and is finished by making it again. The server that production asks comes first, the alias last.
The last move on record is the truth about the champion.
"""

import json
from typing import Any, NamedTuple

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config
from tasks.db import Row, State, Transaction, require_state
from tasks.errors import FlywheelError
from tasks.moves import Intent, intend, made, moving, previous
from tasks.notices import emit
from tasks.records import now
from tasks.rounds import Round, held_row, hold, label
from tasks.serving import serve
from tasks.verify import asking_mlflow, check_answers, check_files, check_registry

BASE = "base"
GATE = "gate"


class Moved(NamedTuple):
    """A move that was made: the versions before and after (None: the bare base model).

    `unserved` is why the server that production asks could not be told, where it could not; `remark` is what is not as
    it should be with it though it serves.
    """

    before: str | None
    after: str | None
    unserved: str | None = None
    remark: str | None = None


def champion(config: Config) -> str | None:
    """The version that serves; None is the bare base model."""
    with require_state(config.database).transaction() as tx:
        return made(tx)


def move_champion(config: Config, version: str | None, moved_by: str, reason: str) -> Moved:
    """Make `version` the champion (None: no adapter, the base model), once it is verified.

    Where it is the champion already, the alias and the server are brought into line with that.

    Raises:
        FlywheelError: there is no such version in this workload, or it is not what was gated, or it does not answer, or
            the server or the registry fails; the champion is who it was.
    """
    _check_named(moved_by, reason)
    _verify(config, version)
    with moving(config):
        return _move(config, Intent(version, moved_by, reason))


def rollback(config: Config, to: str | None, moved_by: str, reason: str) -> Moved:
    """Make a version the champion again that has been it (`to`, or `base`); by default the one before the present one.

    It is quick: what served before has been verified, and its files alone are looked at again. A server that cannot be
    told holds up no rollback; `unserved` says so.

    Raises:
        FlywheelError: no such version has served, its files are not what was gated, or the registry fails.
    """
    _check_named(moved_by, reason)
    with require_state(config.database).transaction() as tx:
        moves = tx.rows("list_made_moves")
    version = _target(config, moves, to)
    _check_files(config, version)
    with moving(config):
        return _move(config, Intent(version, moved_by, reason), needs_server=False)


def _target(config: Config, moves: list[Row], to: str | None) -> str | None:
    if to is None:
        if not (line := previous(moves)):
            raise FlywheelError(
                f"{config.name} is served by the base model, and nothing served before it; "
                f"`flywheel status` lists versions, and `flywheel promote VERSION` moves the champion to any"
            )
        return line[0]
    version = None if to == BASE else to.removeprefix("v")
    if version not in {None, *(move["to_version"] for move in moves)}:
        raise FlywheelError(
            f"{config.name} version {version} has never served; `flywheel promote {version} --by NAME --reason TEXT` "
            f"verifies it and makes it the champion"
        )
    return version


def _check_named(moved_by: str, reason: str) -> None:
    if (not moved_by.partition(":")[2].strip() and moved_by != GATE) or not reason.strip():
        raise FlywheelError("a move of the champion needs a name and a reason (--by NAME --reason TEXT)")


def _check_files(config: Config, version: str | None) -> str | None:
    """The folder of a version's adapter, which is what was gated; None for the bare base."""
    with require_state(config.database).transaction() as tx:
        row = _version(tx, config, version)
    return check_files(config, row) if row else None


def _version(tx: Transaction, config: Config, version: str | None) -> Row | None:
    """The version's row; None for the bare base."""
    row = tx.row("get_version", version=version) if version is not None else None
    if version is not None and row is None:
        raise FlywheelError(
            f"{config.name} has no version {version}; `flywheel status --config FILE` lists its versions"
        )
    return row


def _verify(config: Config, version: str | None) -> None:
    """Refuse a version that must not serve; what serves, or is on its way, has been through the slow part already."""
    adapter = _check_files(config, version)
    with require_state(config.database).transaction() as tx:
        known = {made(tx), *(move["to_version"] for move in tx.rows("list_unfinished_moves"))}
    if version is not None and adapter is not None and version not in known:
        check_registry(config, version, adapter)
        check_answers(config, version, adapter)


def _move(config: Config, intent: Intent, needs_server: bool = True) -> Moved:
    """Make a move, or finish one that was interrupted, or bring what is outside into line with the champion."""
    with State(config.database).transaction() as tx:
        before = made(tx)
        move = intend(tx, config, intent, before)
    unserved, remark = _serve(config, intent.version, needs_server)
    asking_mlflow(config, lambda: _set_alias(config, intent.version))
    with State(config.database).transaction() as tx:
        is_new = move is not None and tx.row("get_move", move_id=move["move_id"], event="moved") is None
        if move is not None and is_new:
            tx.run("insert_promotion", event="moved", **move | {"created_at": now()})
    if is_new:
        names = {"from": label(before)["label"], "to": label(intent.version)["label"]}
        emit(config, "champion.moved", names | {"by": intent.moved_by, "reason": intent.reason})
    return Moved(before, intent.version, unserved, remark)


def _serve(config: Config, version: str | None, needs_server: bool) -> tuple[str | None, str | None]:
    """Let the server that production asks answer with a version; `unserved` and `remark` of what came of it."""
    if config.serving.address is None:
        return None, None
    try:
        return None, serve(config, version)
    except FlywheelError as error:
        if needs_server:
            raise
        return str(error), None


def _set_alias(config: Config, version: str | None) -> None:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=config.tracking_uri, registry_uri=config.tracking_uri)
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


def finish(config: Config, round_: Round) -> dict[str, Any]:
    """Stage promote: move the alias where the gate said so, and close the round; the champion afterwards.

    A champion that a person has chosen meanwhile stays: the challenger was not held against it.

    Raises:
        FlywheelError: see `move_champion`; the round waits at this stage.
    """
    state = State(config.database)
    with state.transaction() as tx:
        row = held_row(tx, round_)
    if row["verdict"] == "promote":
        _promote(config, round_, row)
    with state.transaction() as tx:
        held_row(tx, round_)
        tx.run("close_round", round_id=round_.round_id, closed_at=now())
    return label(champion(config))


def _promote(config: Config, round_: Round, row: Row) -> None:
    expected = (row["champion_version"], row["challenger_version"])
    if champion(config) in expected:
        _verify(config, row["challenger_version"])
    with moving(config):
        if (serving := champion(config)) in expected:
            _move(config, _of_round(round_, row))
            return
    with State(config.database).transaction() as tx:
        hold(tx, round_, f"the champion was changed to {label(serving)['label']} while the round ran")


def _of_round(round_: Round, row: Row) -> Intent:
    """The gate's move, or that of the person who approved of it."""
    approved = json.loads(row["evidence"]).get("approval")
    if approved is None:
        return Intent(row["challenger_version"], GATE, f"round {round_.round_id} was promoted", round_)
    reason = f"round {round_.round_id} was promoted, and approved: {approved['reason']}"
    return Intent(row["challenger_version"], approved["by"], reason, round_)


@task(name="promote", cache_policy=NO_CACHE)
def finish_task(config: Config, round_: Round) -> None:
    """Prefect task around `finish`."""
    serving = finish(config, round_)
    get_run_logger().info("Round %d is closed; the champion is %s", round_.round_id, serving["label"])
