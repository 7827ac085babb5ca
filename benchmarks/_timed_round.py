"""One round through Prefect, as `flywheel run run_round` runs it, with a clock around each stage's own function.

    python -m benchmarks._timed_round CONFIG

Prints, as its last line, the seconds of each stage as JSON. What lies between them is orchestration: importing and
starting Prefect, its server, states, logs and artifacts, finding the next stage, and the lease.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from flows.commands.common import call_flow, prepare
from tasks.config import make_request

# Of each stage, where its function is looked up when its Prefect task runs.
FUNCTIONS = {
    "collect": "flows.collect_failures:collect",
    "screen": "tasks.screen:screen",
    "cluster": "tasks.cluster:cluster",
    "split": "tasks.split:split",
    "blend": "tasks.blend:blend",
    "train": "tasks.train:train",
    "regress": "tasks.regress:regress",
    "gate": "tasks.gate:gate",
    "register": "tasks.register:register",
    "shadow": "tasks.shadow:shadow",
    "approve": "tasks.approve:approve",
    "promote": "tasks.promote:finish",
}


def main(config: str) -> None:
    """Run the round."""
    prepare(config)
    seconds: dict[str, float] = {}
    for stage, place in FUNCTIONS.items():
        module, _, name = place.partition(":")
        owner = importlib.import_module(module)
        setattr(owner, name, _timed(getattr(owner, name), stage, seconds))
    call_flow("run_round", make_request(config=config, requested_by="person:benchmark"))
    print(json.dumps(seconds))


def _timed(function: Callable[..., Any], stage: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            seconds[stage] = time.perf_counter() - begun

    return timed


if __name__ == "__main__":
    main(sys.argv[1])
