"""Compare production under the champion with production before it, and act where it is worse.

flywheel run watch_champion --config configs/tickets.yaml
"""

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.approval import mend_serving
from flows.logs import shorten_known_errors
from flows.names import name_of_run
from tasks.config import Config, FlowRequest, load_config
from tasks.watch import act


@task(name="watch", cache_policy=NO_CACHE)
def watch_task(config: Config) -> dict[str, Any]:
    """Prefect task around `act`, which itself does without Prefect: `flywheel watch` shares its module."""
    found = act(config)
    log = get_run_logger().warning if found["has_findings"] else get_run_logger().info
    for sentence in found["said"]:
        log("%s", sentence)
    return found


@flow(name="watch_champion", flow_run_name=lambda: name_of_run("watch"))
def watch_champion(request: FlowRequest) -> dict[str, Any]:
    """Where the watch stands afterwards; the server that production asks serves the champion, if it can be told."""
    shorten_known_errors()
    config = load_config(request.config)
    found = watch_task(config)
    mend_serving(config)
    return found
