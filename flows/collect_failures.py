"""Pull what is new from a workload's sources into its state, and nothing more.

flywheel run collect_failures --config configs/tickets.yaml
"""

from prefect import flow

from tasks.collect import Collected, collect_task
from tasks.config import RoundRequest, load_config


@flow(name="collect_failures")
def collect_failures(request: RoundRequest) -> Collected:
    """One pass over the sources; the counts of what became of each row."""
    return collect_task(load_config(request.config))
