"""Trained tokens a second of the training child, against TRL's own `sft` script.

    python -m benchmarks.train_throughput [--rows 1200] [--repeats 4] [--base DIR]

Both train the same adapter on the same rows, in processes of their own and in turn: with the same options, precision
and batches of the same size; TRL's script draws and pads its batches as it does by default. The rows are support
tickets with their triage (short answers); in a second arm, reported alone, the answers are as long as the tickets.
Rates are those of the training loop, from its own clock. About fifteen minutes on two cores.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import polars as pl
import psutil
from scipy.stats import ttest_ind

from benchmarks._bars import Bar, close
from tasks.child import run_child
from tasks.demo import tickets
from tasks.demo.base_model import BaseSpec, build_base
from tasks.records import canonical_json
from tasks.sft import ALONE
from tasks.snapshots import HASHED, answer_json, freeze, write_snapshot
from tasks.trainer_options import TrainerConfig

GIB = 2**30
ADAPTER = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}
MAX_LENGTH = 256
BASE = BaseSpec(name="throughput", single_tokens=tickets.SCHEMA_TOKENS, initializer_range=0.05, steps=150)
TAUGHT = 3_000


@dataclass(frozen=True)
class Run:
    """One training: time of its loop and of its whole process (s), peak memory (bytes) of its tree, loss by step."""

    seconds: float
    whole: float
    peak: int
    losses: list[float]


def options(seed: int) -> TrainerConfig:
    """What both are given."""
    return TrainerConfig(
        num_train_epochs=2.0, learning_rate=1e-3, per_device_train_batch_size=32, seed=seed, checkpoint_seconds=1e6
    )


def ours(base: Path, rows: Path, folder: Path, seed: int) -> tuple[Run, int]:
    """The product's child; its run, and the trained tokens of an epoch."""
    spec = {
        "stages": ["sft"],
        "base": str(base),
        "trusts_code": False,
        "snapshot": str(rows),
        "folder": str(folder),
        "max_length": MAX_LENGTH,
        "max_new_tokens": 64,
        "adapter": ADAPTER,
        **ALONE,
        "trainer": options(seed).arguments(),
        "dpo": {},
        "champion": None,
        "checkpoint_seconds": {"sft": 1e6},
    }
    begun = time.perf_counter()
    with Peak() as peak:
        trained = run_child("tasks.train_child:main", spec, folder)["training"]
    whole = time.perf_counter() - begun
    losses = [loss for _, loss in trained["loss"]]
    return Run(trained["seconds"], whole, peak.bytes, losses), trained["trained_tokens"]


def trls(base: Path, rows: Path, folder: Path, seed: int) -> Run:
    """TRL's script."""
    given: dict[str, Any] = options(seed).arguments() | {
        "model_name_or_path": base,
        "dataset_name": rows.parent,
        "output_dir": folder / "out",
        "max_length": MAX_LENGTH,
        "assistant_only_loss": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 5,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "use_peft": True,
        "lora_r": ADAPTER["r"],
        "lora_alpha": ADAPTER["lora_alpha"],
        "lora_dropout": ADAPTER["lora_dropout"],
        "lora_target_modules": ADAPTER["target_modules"],
    }
    command = [sys.executable, "-m", "trl.scripts.sft"]
    command += [part for name, value in given.items() if name != "prompt_dropout" for part in (f"--{name}", str(value))]
    folder.mkdir(parents=True)
    begun = time.perf_counter()
    with Peak() as peak:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    whole = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"TRL's script failed:\n{(done.stdout + done.stderr)[-3000:]}")
    losses = [float(loss) for loss in re.findall(r"'loss': '?([\d.e+-]+)", done.stdout)]
    seconds = float(re.findall(r"'train_runtime': '?([\d.e+-]+)", done.stdout)[-1])
    return Run(seconds, whole, peak.bytes, losses)


class Peak:
    """The most memory (bytes; proportional set size) that this process's descendants held together, while entered."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.5):
            self.bytes = max(self.bytes, sum(map(_memory, psutil.Process().children(recursive=True))))


def _memory(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
        return int(getattr(info, "pss", info.rss))
    except psutil.Error:
        return 0


def write_rows(folder: Path, count: int, long_answers: bool) -> tuple[Path, Path]:
    """Tickets as a snapshot, and as the file that TRL reads; with long answers, the answer says the ticket again."""
    conversations = []
    for ticket in tickets.production(count, seed=1):
        *asked, answer = ticket.conversation
        if long_answers:
            answer = answer | {"content": f"{answer['content']} {asked[-1]['content']}"}
        conversations.append([*asked, answer])
    rows = [_row(number, conversation) for number, conversation in enumerate(conversations)]
    snapshot = write_snapshot(freeze(pl.DataFrame(rows, infer_schema_length=None)), folder / "snapshot")
    file = folder / "trl" / "train.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps({"messages": each}) + "\n" for each in conversations), encoding="utf-8")
    return snapshot.path, file


def _row(number: int, conversation: list[dict[str, str]]) -> dict[str, Any]:
    *asked, answer = conversation
    texts = {"signal": "demonstration", "signal_id": str(number), "source": "tickets", "prompt": canonical_json(asked)}
    nothing = dict.fromkeys(("inference_id", "cluster_id", "rejected", "derived"))
    return dict.fromkeys(HASHED, "") | nothing | texts | {"chosen": answer_json(answer["content"]), "weight": 1.0}


def measure(base: Path, folder: Path, count: int, repeats: int, long_answers: bool = False) -> dict[str, Any]:
    """Both in turn, each first in every other repeat; what came of them. The first pair warms up and is left out."""
    snapshot, file = write_rows(folder / "rows", count, long_answers)
    mine, theirs, tokens = [], [], 0
    for seed in range(repeats + 1):
        for who in ("ours", "trl")[:: 1 if seed % 2 else -1]:
            place = folder / f"{who}-{seed}"
            if who == "ours":
                run, tokens = ours(base, snapshot, place, seed)
                mine.append(run)
            else:
                theirs.append(trls(base, file, place, seed))
    return compare(mine[1:], theirs[1:], 2 * tokens)


def compare(mine: list[Run], theirs: list[Run], tokens: int) -> dict[str, Any]:
    """Ratios by repeat, and how likely losses so far apart would be if both trained alike.

    The losses are the means over the second half of the steps, one for each seed; Welch's t-test, unequal variances.
    """
    ratios = [their.seconds / my.seconds for my, their in zip(mine, theirs, strict=True)]
    late = [[fmean(run.losses[len(run.losses) // 2 :]) for run in runs] for runs in (mine, theirs)]
    same = float(ttest_ind(*late, equal_var=False).pvalue) if len(mine) > 1 else math.nan
    return {
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "whole_process_ratio": round(median(t.whole / m.whole for m, t in zip(mine, theirs, strict=True)), 3),
        "tokens_per_second": [round(tokens / median(run.seconds for run in runs)) for runs in (mine, theirs)],
        "steps_logged": [len(mine[0].losses), len(theirs[0].losses)],
        "late_loss": [round(fmean(losses), 4) for losses in late],
        "late_loss_p": None if math.isnan(same) else round(same, 4),
        "peak_gib": [round(max(run.peak for run in runs) / GIB, 2) for runs in (mine, theirs)],
    }


def main() -> None:
    """Measure, print the table and the JSON."""
    options_ = argparse.ArgumentParser(description=__doc__)
    options_.add_argument("--rows", type=int, default=1_200)
    options_.add_argument("--repeats", type=int, default=4, choices=range(2, 21), metavar="2-20")
    options_.add_argument("--base", type=Path, help="a base model's folder; by default a small one is taught first")
    chosen = options_.parse_args()
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        taught = [ticket.conversation for ticket in tickets.old_world(TAUGHT, seed=0)]
        base = (chosen.base or build_base(taught, BASE, Path(name) / "models")).resolve()
        short = measure(base, _made(Path(name) / "short"), chosen.rows, chosen.repeats)
        long = measure(
            base, _made(Path(name) / "long"), chosen.rows // 2, max(2, chosen.repeats // 2), long_answers=True
        )
    bars = [
        Bar("trained tokens a second, over TRL's script", short["ratio"], ">=", 1.5),
        Bar("late losses alike, p of Welch's t-test over seeds", short["late_loss_p"], ">=", 0.01),
        Bar("peak memory over TRL's script", round(short["peak_gib"][0] / short["peak_gib"][1], 3), "<=", 1.0),
    ]
    close("train_throughput", bars, {"short_answers": short, "long_answers": long, "rows": chosen.rows})


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
