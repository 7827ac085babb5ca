"""Tell of each new failure which known class it would join; the classes themselves are a round's business.

flywheel run cluster_failures --config configs/tickets.yaml
"""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.logs import shorten_known_errors
from flows.names import name_of_run
from tasks.config import Config, FlowRequest, load_config
from tasks.newcomers import Placed, place


@task(name="cluster failures", cache_policy=NO_CACHE)
def place_task(config: Config) -> Placed:
    """Prefect task around `place`, which itself does without Prefect: a run that finds nothing new is quick."""
    placed = place(config)
    get_run_logger().info("%s", placed.sentence)
    return placed


@flow(name="cluster_failures", flow_run_name=lambda: name_of_run("cluster"))
def cluster_failures(request: FlowRequest) -> Placed:
    """How many failures no round has looked at yet, by the class that each would join."""
    shorten_known_errors()
    return place_task(load_config(request.config))
