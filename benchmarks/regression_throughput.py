"""Champion and challenger through the suite, against one plain call of vLLM's `LLM.generate` a model.

    python -m benchmarks.regression_throughput [--cases 1000] [--repeats 4] [--long 100000]

Both ways answer the same prompts with the same adapters on one and the same engine, in turn, with its cache of prompts
emptied before each. The suite's time is that of rendering the prompts, streaming them and writing the answers down;
the plain calls are given the tokens. The first repeat warms up and is left out. Then many short cases are streamed by a
model that knows nothing, and a tenth of them, to see what memory depends on. About ten minutes on two cores.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._bars import Bar, close
from benchmarks.train_throughput import ADAPTER, BASE, MAX_LENGTH, TAUGHT, options, write_rows
from tasks.answering import PIECE_ROWS, queue_schema, table
from tasks.child import run_child
from tasks.demo import tickets
from tasks.demo.base_model import BaseSpec, build_base
from tasks.engine import engine_dtype
from tasks.records import canonical_json
from tasks.regress import PART_ROWS
from tasks.sft import ALONE

MIB = 2**20
NEW_TOKENS = 24
TINY = BaseSpec(name="tiny", vocab_size=300, hidden_size=64, intermediate_size=64, layers=2, steps=1, max_positions=64)
ROLES = ("champion", "challenger")


def train(base: Path, folder: Path, seed: int) -> dict[str, Any]:
    """An adapter of the product's own training, with its probe."""
    snapshot, _ = write_rows(folder / "rows", 400, long_answers=False)
    spec = {
        "stages": ["sft"], "base": str(base), "snapshot": str(snapshot), "folder": str(folder),
        "trusts_code": False, "max_length": MAX_LENGTH, "max_new_tokens": NEW_TOKENS, "adapter": ADAPTER, **ALONE,
        "trainer": options(seed).arguments(), "dpo": {}, "champion": None, "checkpoint_seconds": {"sft": 1e6},
    }  # fmt: skip
    return run_child("tasks.train_child:main", spec, folder)


def write_queue(path: Path, inputs: Iterator[str], adapters: dict[str, str | None]) -> Path:
    """A queue in which every role is asked all inputs, one role after another."""
    from pyarrow import parquet as pq

    asked = list(inputs)
    with pq.ParquetWriter(path, queue_schema()) as writer:
        for role, adapter in adapters.items():
            for start in range(0, len(asked), PIECE_ROWS):
                rows = [
                    {
                        "role": role, "case_id": f"case {start + place}", "answered_by": "benchmark", "input": text,
                        "adapter": adapter, "calls": None, "shown": None, "afresh": False,
                    }
                    for place, text in enumerate(asked[start : start + PIECE_ROWS])
                ]  # fmt: skip
                writer.write_table(table(rows, queue_schema()))
    return path


def compare(base: Path, folder: Path, cases: int, repeats: int) -> dict[str, Any]:
    """Both ways, by ratios of each repeat's times."""
    trained = {role: train(base, _made(folder / role), seed) for seed, role in enumerate(ROLES)}
    adapters = {role: str(Path(each["adapter_path"]).resolve()) for role, each in trained.items()}
    inputs = [canonical_json(ticket.conversation[:-1]) for ticket in tickets.production(cases, seed=2)]
    queues = {
        "all": write_queue(folder / "all.parquet", iter(inputs), dict(adapters)),
        "challenger": write_queue(folder / "one.parquet", iter(inputs), {"challenger": adapters["challenger"]}),
    }
    probes = {
        role: {"prefixes": each["probe"], "adapter": adapters[role], "dtype": engine_dtype(), "tolerance": 1.0}
        for role, each in trained.items()
    }
    spec = {
        "base": str(base), "max_length": MAX_LENGTH, "max_new_tokens": NEW_TOKENS, "dtype": engine_dtype(),
        "adapters": list(adapters.values()), "folder": str(folder), "queues": {k: str(v) for k, v in queues.items()},
        "probes": probes, "repeats": repeats,
    }  # fmt: skip
    found = run_child(
        "benchmarks._suite_child:compare", spec, folder, lambda **said: print(json.dumps(said), flush=True)
    )
    wall, worked = (
        {way: [took[which] for took in times] for way, times in found["seconds"].items()} for which in (0, 1)
    )
    ours, plain, start = median(wall["ours"]), median(wall["plain"]), found["start"]
    return {
        "cases": cases,
        "answers": 2 * cases,
        "ratio": _ratio(wall["ours"], wall["plain"]),
        "cached_ratio": _ratio(wall["cached"], wall["plain"]),
        "cpu_ratio": _ratio(worked["ours"], worked["plain"]),
        "cached_cpu_ratio": _ratio(worked["cached"], worked["plain"]),
        "with_starts_ratio": round((start + ours) / (2 * start + plain), 3),
        "ratios": [round(mine / theirs, 3) for mine, theirs in zip(wall["ours"], wall["plain"], strict=True)],
        "seconds": {way: [round(each, 2) for each in times] for way, times in wall.items()},
        "start_seconds": round(start, 1),
        "answers_that_differ": found["differ"],
        "agreement": found["agreement"],
    }


def _ratio(mine: list[float], theirs: list[float]) -> float:
    return round(median(my / their for my, their in zip(mine, theirs, strict=True)), 3)


def measure_memory(folder: Path, cases: int) -> dict[str, Any]:
    """The peak of the child's resident memory (MiB) on so many short cases."""
    folder.mkdir()
    rng = random.Random(0)
    taught = [[{"role": "user", "content": "a b c"}, {"role": "assistant", "content": "d"}]]
    base = build_base(taught, TINY, folder.parent / "tiny")
    texts = (" ".join(rng.choices("abcdefghij", k=8)) for _ in range(cases))
    inputs = (canonical_json([{"role": "user", "content": text}]) for text in texts)
    spec = {
        "queue": str(write_queue(folder / "queue.parquet", inputs, {"champion": None})), "folder": str(folder),
        "base": str(base), "adapters": [], "max_length": 64, "max_new_tokens": 2, "structured_outputs": None,
        "dtype": engine_dtype(), "server": None, "part_rows": PART_ROWS,
        "probes": {"challenger": {"prefixes": [], "adapter": None, "dtype": engine_dtype(), "tolerance": 1.0}},
    }  # fmt: skip
    found = run_child("benchmarks._suite_child:stream", spec, folder)
    return {
        "cases": cases,
        "peak_mib": round(found["peak_bytes"] / MIB),
        "seconds": found["seconds"],
        "rendering_seconds": found["rendering_seconds"],
    }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> None:
    """Measure, print the table and the JSON."""
    options_ = argparse.ArgumentParser(description=__doc__)
    options_.add_argument("--cases", type=int, default=1_000)
    options_.add_argument("--repeats", type=int, default=4)
    options_.add_argument("--long", type=int, default=100_000)
    options_.add_argument("--base", type=Path, help="a base model's folder; by default a small one is taught first")
    chosen = options_.parse_args()
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        folder = Path(name)
        taught = [ticket.conversation for ticket in tickets.old_world(TAUGHT, seed=0)]
        base = (chosen.base or build_base(taught, BASE, folder / "models")).resolve()
        both = compare(base, _made(folder / "both"), chosen.cases, chosen.repeats)
        memory = [measure_memory(folder / f"stream-{cases}", cases) for cases in (chosen.long // 10, chosen.long)]
    apart = [both["agreement"], *both["agreement"]["others"].values()]
    bars = [
        Bar("both models through the suite, over two plain calls", both["ratio"], "<=", 1.10),
        Bar("the same with the champion's answers known", both["cached_ratio"], "<=", 0.60),
        Bar("the same with engine starts, one over two", both["with_starts_ratio"], "<=", 1.10),
        Bar(
            "log-probabilities, largest difference to the trainer",
            max(a["max_abs_difference"] for a in apart),
            "<=",
            1e-3,
        ),
        Bar("memory of ten times the cases", round(memory[1]["peak_mib"] / memory[0]["peak_mib"], 3), "<=", 1.15),
        Bar("answers that differ from plain calls", both["answers_that_differ"], "<=", 0),
    ]
    close("regression_throughput", bars, {"both": both, "memory": memory})


if __name__ == "__main__":
    main()
