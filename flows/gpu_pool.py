"""Runs heavy stages of a round as flow runs of `run_stage`, which a worker of the gpu pool takes."""

import contextlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import get_run_logger
from prefect.deployments import run_deployment

from flows.names import stage_title
from tasks.config import Config
from tasks.errors import FlywheelError
from tasks.requests import StageRequest
from tasks.rounds import Round, stage_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

POLL_SECONDS = 3.0
HERE = "run the round with heavy_stages: here"


def run_in_pool(stage: str, config: Config, config_file: str, round_: Round) -> None:
    """Have a worker of the gpu pool run a stage, and wait for it. Where this run is ended, so is that one.

    A worker has to see the same files: the config, the state, the base model.

    Raises:
        FlywheelError: there is no such deployment, or the stage failed there, in the words of its error.
        LeaseLostError: another runner has taken the round over.
    """
    request = StageRequest.model_validate({"config": config_file, "stage": stage} | asdict(round_))
    run_id = _start(config, request)
    get_run_logger().info("%s of round %d waits for a worker of the gpu pool", stage, round_.round_id)
    try:
        ended = _wait(run_id, config, round_, stage)
    except BaseException:
        _cancel(run_id)
        raise
    if ended is not None:
        raise FlywheelError(_why(stage, ended))


def _start(config: Config, request: StageRequest) -> UUID:
    """The id of the stage's run; asked for twice under one token it is the same run."""
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    name = f"run_stage/{config.name}-stage"
    if not PREFECT_API_URL.value():
        raise FlywheelError(f"the gpu pool needs a Prefect server, and PREFECT_API_URL names none; name it, or {HERE}")
    try:
        run: Any = run_deployment(
            name,
            parameters={"request": request.model_dump(mode="json")},
            timeout=0,
            flow_run_name=stage_title(request),
            idempotency_key=f"{request.round_key}/{request.stage}/{request.lease_token}",
        )
    except ObjectNotFound:
        made_by = "make it with `python -m deployments.deploy`"
        raise FlywheelError(f"there is no deployment {name}; {made_by}, or {HERE}") from None
    return UUID(str(run.id))


def _wait(run_id: UUID, config: Config, round_: Round, stage: str) -> "State | None":
    """How the run ended without the round moving on; None once it has, whatever Prefect says or cannot say."""
    while True:
        state = _state_of(run_id)
        if stage_of(config, round_) != stage:
            return None
        if state is not None and state.is_final():
            return state
        time.sleep(POLL_SECONDS)


def _state_of(run_id: UUID) -> "State | None":
    """The run's state; None where the server does not say, as while it is started anew."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run_id).state
    except (httpx.TransportError, PrefectHTTPStatusError):
        return None


def _cancel(run_id: UUID) -> None:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException, PrefectHTTPStatusError
    from prefect.states import Cancelling

    gone = (httpx.TransportError, PrefectHTTPStatusError, PrefectException)
    with contextlib.suppress(*gone), get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling(message="the round's own run was ended"))


def _why(stage: str, ended: "State") -> str:
    message = " ".join((ended.message or "no reason given").split())
    if ended.is_failed():
        return message
    how = str(ended.type.value).lower()
    return f"{stage} {how} in the gpu pool: {message.rstrip('.')}. Run the round again; it goes on where it was"
