"""Pull what is new from a workload's sources into its state, and nothing more.

flywheel run collect_failures --config configs/tickets.yaml
"""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.logs import shorten_known_errors
from flows.names import name_of_run
from tasks.collect import Collected, collect
from tasks.config import Config, FlowRequest, load_config
from tasks.enough import announce_enough
from tasks.progress import ProgressBar


@task(name="collect", task_run_name="collect", cache_policy=NO_CACHE)
def collect_task(config: Config) -> Collected:
    """Prefect task around `collect`, which itself does without Prefect: a pass that finds nothing new is quick."""
    bar = ProgressBar(f"Collecting what is new for {config.name}")
    collected = collect(config, bar.show)
    logger = get_run_logger()
    if collected.read:
        kinds = ", ".join(f"{count} {kind}" for kind, count in collected.by_kind.items() if count) or "nothing"
        logger.info(
            "Read %d records: %d stored (%s), %d known already, %d quarantined",
            collected.read, collected.stored, kinds, collected.known, collected.quarantined,
        )  # fmt: skip
    else:
        logger.info("Nothing has changed in the %d sources", len(config.sources))
    if collected.quarantined:
        logger.warning("%d rows could not be taken: see `flywheel quarantine list`", collected.quarantined)
    return collected


@flow(name="collect_failures", flow_run_name=lambda: name_of_run("collect"))
def collect_failures(request: FlowRequest) -> Collected:
    """One pass over the sources, and an event where enough is new for a round; counts of what became of each row."""
    shorten_known_errors()
    config = load_config(request.config)
    collected = collect_task(config)
    if new := announce_enough(config):
        get_run_logger().info("%d corrections and retractions are new: enough for a round", new)
    return collected
