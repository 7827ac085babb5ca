"""The child process of training: runs the stages of a spec, one after another.

Apart from `tasks.train`, which starts it, since a child that imported Prefect and DuckDB would hold a hundred megabytes
more for as long as it trains.
"""

import gc
from pathlib import Path
from typing import Any

from tasks.child import Progress, is_first, spin_when_alone
from tasks.dpo import train_dpo
from tasks.fitting import SUMMED, finished, key_of
from tasks.parity import predicted
from tasks.sft import train_sft
from tasks.snapshots import read_conversations


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train in this process, as `tasks.train.make_spec` says; paths, hash, loss curve and counts.

    A stage that had been finished is not run again, and one that was interrupted goes on from its last checkpoint.
    """
    spin_when_alone()
    rows = read_conversations(Path(spec["snapshot"]))
    run = {"sft": train_sft, "dpo": train_dpo}
    stages: dict[str, dict[str, Any]] = {}
    adapter = None
    for stage in spec["stages"]:
        key = key_of(spec, stage)
        stages[stage] = finished(spec, stage, key, progress) or run[stage](spec, key, rows, adapter, progress)
        adapter = stages[stage]["adapter_path"]
        gc.collect()  # a trainer holds itself; the base is not to be in memory twice
    done = stages[spec["stages"][-1]]
    return {
        "adapter_path": done["adapter_path"],
        "adapter_sha256": done["adapter_sha256"],
        "probe": _probe(spec, done) if is_first() else [],
        "training": _summary({stage: record["training"] for stage, record in stages.items()}, len(rows)),
    }


def _probe(spec: dict[str, Any], done: dict[str, Any]) -> list[dict[str, Any]]:
    return predicted(spec["base"], Path(done["adapter_path"]), done["probe_rows"], spec["trusts_code"])


def _summary(stages: dict[str, dict[str, Any]], rows: int) -> dict[str, Any]:
    """The facts of a training as a whole, and of each of its stages."""
    facts = list(stages.values())
    sums = {name: sum(each.get(name, 0) for each in facts) for name in SUMMED}
    said = [alarm for each in facts for alarm in each.get("alarms", [])]
    first = {name: facts[0][name] for name in ("epochs", "device", "processes", "loss")}
    resumed = max((each["resumed_from"] for each in facts if each["resumed_from"]), default=None)
    return first | sums | {"rows": rows, "resumed_from": resumed, "alarms": said, "stages": stages}
