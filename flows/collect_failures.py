"""Pull what is new from a workload's sources into its state, and nothing more.

flywheel run collect_failures --config configs/tickets.yaml
"""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.collect import Collected, collect
from tasks.config import Config, RoundRequest, load_config


@task(name="collect", cache_policy=NO_CACHE)
def collect_task(config: Config) -> Collected:
    """Prefect task around `collect`, which itself does without Prefect: a pass that finds nothing new is quick."""
    collected = collect(config)
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


@flow(name="collect_failures")
def collect_failures(request: RoundRequest) -> Collected:
    """One pass over the sources; the counts of what became of each row."""
    return collect_task(load_config(request.config))
