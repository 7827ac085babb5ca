"""One heavy stage of a round that is running, in a process of its own: on the machine with the GPU.

    (asked for by run_round with `heavy_stages: gpu`; never by hand)

It writes under the round's own token. Should another runner take the round over meanwhile, this one ends: within
RENEW_SECONDS it asks whether it still holds the round, and what it would write is refused in any case.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prefect import flow
from prefect.states import Failed

from flows import run_round
from flows.logs import shorten_known_errors
from flows.names import stage_title
from tasks.config import Config, load_config
from tasks.db import State
from tasks.errors import FlywheelError, LeaseLostError, StateError
from tasks.requests import StageRequest
from tasks.rounds import RENEW_SECONDS, Round, held_at, held_row

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State as RunState


def _name() -> str:
    from prefect.runtime import flow_run

    return stage_title(flow_run.get_parameters()["request"])


@flow(name="run_stage", flow_run_name=_name)
def run_stage(request: StageRequest) -> "RunState | None":
    """Run the stage; a run that fails has the error's one line as its message, which the round ends with."""
    shorten_known_errors()
    try:
        config = load_config(request.config)
        with ending_with_lease(config, request.round, request.stage):
            run_round.run_stage(request.stage, config, request.round)
    except FlywheelError as error:
        return Failed(message=str(error))
    return None


@contextlib.contextmanager
def ending_with_lease(config: Config, round_: Round, stage: str) -> Iterator[None]:
    """Within it, this process ends (as by SIGTERM) soon after another runner has taken the round over.

    Raises:
        LeaseLostError: it has been taken over already, or is at another stage.
    """
    with State(config.database).transaction() as tx:
        held_at(tx, round_, stage)
    done = threading.Event()
    thread = threading.Thread(target=_look, args=(config, round_, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _look(config: Config, round_: Round, done: threading.Event) -> None:
    """Ask for the token alone: the stage moves on a moment before its run ends."""
    state = State(config.database)
    while not done.wait(RENEW_SECONDS):
        try:
            with state.transaction() as tx:
                held_row(tx, round_)
        except LeaseLostError:
            if not done.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
            return
        except StateError:  # busy: asked again at the next turn
            continue
