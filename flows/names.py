"""What runs are called in Prefect's UI: the workload, what is done, and at whose word."""

from pathlib import Path

from tasks.config import FlowRequest, load_config
from tasks.errors import ConfigError
from tasks.requests import StageRequest

COMMAND_LINE = "person:cli"  # what `flywheel run` says where nobody gives a name


def purpose(requested_by: str) -> str:
    """Why a run was started, from who asked for it.

    >>> [purpose(name) for name in ("schedule:nightly", "event:enough-corrections", "person:maria", "schedule")]
    ['nightly', 'enough corrections', 'for maria', 'schedule']
    """
    if requested_by == COMMAND_LINE:
        return "from the command line"
    kind, _, name = requested_by.partition(":")
    said = name.replace("-", " ").strip() or kind
    return f"for {said}" if kind == "person" and name else said


def round_title(workload: str, round_id: int, requested_by: str) -> str:
    """The name of the run of a round, such as `tickets: round 3, nightly`."""
    return f"{workload}: round {round_id}, {purpose(requested_by)}"


def asked_for(what: str, request: FlowRequest) -> str:
    """The name of a run that has just begun, such as `tickets: collect, hourly`."""
    return f"{workload_of(request.config)}: {what}, {purpose(request.requested_by)}"


def stage_title(request: StageRequest) -> str:
    """The name of the run of one stage, such as `tickets: train, round 3`."""
    return f"{workload_of(request.config)}: {request.stage}, round {request.round_id}"


def workload_of(config: str) -> str:
    """A workload's name; that of its file where the config is not valid, which the run itself will say."""
    try:
        return load_config(config).name
    except ConfigError:
        return Path(config).stem


def name_of_run(what: str) -> str:
    """The name of the flow run that is about to begin; for `flow_run_name`."""
    from prefect.runtime import flow_run

    request: FlowRequest = flow_run.get_parameters()["request"]
    return asked_for(what, request)


def rename_run(name: str) -> None:
    """Call the flow run that this is called in something else; without one, nothing."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, name=name)
