"""A round that waits for a person: the form in Prefect's UI, and the runs that find such a round."""

from datetime import UTC, timedelta
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect import get_run_logger, suspend_flow_run
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from tasks.approve import asked_by, decide, flow_run_of, settle
from tasks.config import Config
from tasks.db import Row
from tasks.errors import FlywheelError
from tasks.markdown import escape
from tasks.records import now
from tasks.rounds import read_evidence

# Prefect fails a suspended run when its time is over: it gets longer than its round, for the next run to end both.
TIME_TO_END = timedelta(days=7)


class Decision(RunInput):
    """What a person is asked, as a form; the descriptions are shown beside its fields."""

    approve: bool = Field(title="Approve", description="Yes: the challenger serves from now on. No: the round is held")
    name: str = Field(title="Your name", description="For the audit log", pattern=r"\S", max_length=100)
    reason: str = Field(title="Reason", description="For the audit log", pattern=r"\S", max_length=1000)


def resumed(config: Config) -> dict[str, Any] | None:
    """The evidence of the round that this flow run was suspended for, brought to its end; None for any other run.

    A run that is resumed starts from the top: it must not collect, nor open another round.
    """
    asked = asked_by(config, str(flow_run.id)) if _is_deployed() else None
    return None if asked is None else _ask(config, asked)


def _is_deployed() -> bool:
    """Whether a deployment has started this run, so that it may be suspended; asks no server."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None


def wait(config: Config, asked: Row) -> dict[str, Any]:
    """Suspend the run that has asked, with the form; any other one ends at once. The evidence of the round."""
    if _is_deployed() and asked["flow_run_id"] == str(flow_run.id):
        return _ask(config, asked)
    times = f"since {asked['asked_at']:%Y-%m-%d %H:%M} UTC, until {asked['expires_at']:%Y-%m-%d %H:%M} UTC"
    get_run_logger().info("Round %d waits for approval %s; see `flywheel approve`", asked["round_id"], times)
    return read_evidence(config, asked["round_id"])[0]


def _ask(config: Config, asked: Row) -> dict[str, Any]:
    """Suspend this run until a person has decided; once it is resumed, end the round as was decided."""
    round_id = asked["round_id"]
    seconds = max(1, int((asked["expires_at"] - now() + TIME_TO_END).total_seconds()))
    form = Decision.with_initial_data(description=_question(config, round_id, asked))
    given = suspend_flow_run(wait_for_input=form, timeout=seconds, key=f"round-{round_id}")
    try:
        decide(config, round_id, given.approve, f"person:{given.name}", given.reason)
    except FlywheelError as error:  # it was decided elsewhere, or too late: the round says how it ended
        get_run_logger().warning("%s", error)
    settle(config)
    return read_evidence(config, round_id)[0]


def settled(config: Config) -> dict[str, Any] | None:
    """End the round that waited for a person and waits no more, and the run that is suspended for it; its evidence.

    None where there is no such round.
    """
    if (round_id := settle(config)) is None:
        return None
    if problem := resume(config, round_id, False, "rule:expiry", "the round has ended"):
        get_run_logger().warning("The run that waits for round %d was not ended: %s", round_id, problem)
    return read_evidence(config, round_id)[0]


def mend_serving(config: Config) -> None:
    """Let the server that production asks serve the champion, if it does not; one that is away holds nobody up."""
    if config.serving.address is None or not config.database.is_file():
        return
    from tasks.serving import mend

    try:
        done = mend(config)
    except FlywheelError as error:
        get_run_logger().warning("Production may not be served by the champion: %s", error)
    else:
        if done is not None:
            get_run_logger().warning("%s", done)


def _question(config: Config, round_id: int, asked: Row) -> str:
    evidence = read_evidence(config, round_id)[0]
    found = "\n".join(f"- {escape(reason, 300)}" for reason in evidence.get("reasons", []))
    until = f"{asked['expires_at'].replace(tzinfo=UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f"Round {round_id} of {config.name}: shall {evidence['challenger']['label']} serve instead of "
        f"{evidence['champion']['label']}? The gate found:\n\n{found}\n\nWithout an answer, it is held at {until}."
    )


def resume(config: Config, round_id: int, is_approved: bool, name: str, reason: str) -> str | None:
    """Let the run that is suspended for a round end, now that the round is closed; why it cannot, where it cannot.

    Nothing hangs on it: where no Prefect server is named (PREFECT_API_URL) or no run waits, nothing is done.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    flow_run_id = flow_run_of(config, round_id)
    if flow_run_id is None or not PREFECT_API_URL.value():
        return None
    given = {"approve": is_approved, "name": name, "reason": reason}
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(flow_run_id)).state
            if state is None or not state.is_paused():
                return None
            result = client.resume_flow_run(UUID(flow_run_id), run_input=given)
    except (PrefectException, HTTPError, OSError) as error:
        return f"Prefect could not be told: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return None if result.status.value == "ACCEPT" else f"Prefect did not resume the suspended run: {result.details}"
