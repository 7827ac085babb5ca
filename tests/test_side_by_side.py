"""Collecting, rounds and people who look, side by side: nobody meets a locked database, and the counts reconcile.

    FLYWHEEL_SIDE_BY_SIDE_SECONDS=600 python -m pytest -m slow tests/test_side_by_side.py -s

A minute by default; each part is a process of its own, as on a machine where schedules overlap. Models are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.status import status
from tests.conftest import Workload, make_workload, python, traffic, write_config

SECONDS = float(os.environ.get("FLYWHEEL_SIDE_BY_SIDE_SECONDS", "60"))
CALLS = 200  # of a window of traffic
HEAD = """
import json, sys, time
from pathlib import Path
from tasks.config import load_config
from tests.conftest import Workload, traffic
config, folder, end = load_config(sys.argv[1]), Path(sys.argv[2]), time.monotonic() + float(sys.argv[3])
workload, slowest, done = Workload(folder, config), 0.0, 0

def timed(function, *arguments):
    global slowest, done
    begun = time.monotonic()
    found = function(*arguments)
    slowest, done = max(slowest, time.monotonic() - begun), done + 1
    return found
"""
TAIL = """
print(json.dumps({"done": done, "slowest": round(slowest, 2)} | facts))
"""
COLLECT = """
from tasks.collect import collect
facts, number = {"read": 0, "stored": 0}, 0
while time.monotonic() < end:
    number += 1
    workload.write(f"w{number}", traffic(CALLS // 2, CALLS // 2, prefix=f"w{number}-"))
    made = timed(collect, config)
    facts = {"read": facts["read"] + made.read, "stored": facts["stored"] + made.stored}
"""
ROUNDS = """
from tasks.cluster import cluster
from tasks.rounds import keep_lease
from tasks.screen import screen
from tasks.split import split
from tasks.blend import blend
facts = {}

def run():
    round_ = workload.open()
    with keep_lease(config, round_):
        for stage in (screen, cluster, split, blend):
            stage(config, round_)
        workload.skip(round_, "train")
        workload.answer(round_, lambda role, case: role == "challenger")
        workload.close(round_, "reject")

while time.monotonic() < end:
    timed(run)
"""
LOOK = """
from tasks.lineage import where
from tasks.status import status
from tasks.suite import read_suite
facts = {"went_back": 0}
read = 0
while time.monotonic() < end:
    found = timed(status, config)
    assert found["counts"]["reconciles"]
    facts["went_back"] += found["counts"]["read"] < read
    read = found["counts"]["read"]
    timed(read_suite, config)
    timed(where, config, "confirmed:s000")
    time.sleep(0.05)
"""


def start(workload: Workload, code: str) -> subprocess.Popen[str]:
    config = write_config(workload.config, workload.folder / "config.yaml")
    text = (HEAD + code + TAIL).replace("CALLS", str(CALLS))
    return python(text, str(config), str(workload.folder), str(SECONDS))


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, error = process.communicate()
    assert process.returncode == 0, error[-3000:]
    return dict(json.loads(said.strip().splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_nobody_meets_a_locked_database_and_the_counts_reconcile(tmp_path: Path) -> None:
    workload = make_workload(tmp_path / "workload", suite={"verified_by": ["person:*"]})
    workload.collect("first", traffic(failures=60, successes=60, given=60))
    before = workload.value("select sum(read_rows) from collections")
    parts = {name: start(workload, code) for name, code in (("collect", COLLECT), ("rounds", ROUNDS), ("look", LOOK))}
    parts["look too"] = start(workload, LOOK)
    found = {name: finish(process) for name, process in parts.items()}
    print(json.dumps(found))
    assert all(part["done"] for part in found.values())
    assert found["look"]["went_back"] == found["look too"]["went_back"] == 0
    counts = status(workload.config)["counts"]
    assert counts["reconciles"]
    assert counts["read"] == counts["stored"] == before + found["collect"]["read"]
    windows = found["collect"]["read"] // (2 * CALLS)
    assert workload.value("select count(*) from inferences") == 120 + windows * CALLS
    assert workload.value("select count(*) from sides") == workload.value(
        "select count(distinct input_hash) from sides"
    )
