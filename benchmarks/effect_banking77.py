"""What training on production's corrections fixes, and what it breaks, beside the usual ways to do it (BANKING77).

    python -m benchmarks.effect_banking77 --data DIR [--seeds 5] [--jobs 2] [--brief]

For each seed 4,000 rows of train.csv teach a base model from scratch, which then answers the other 6,003 as production.
Of its failures one in five is kept unseen; the others are corrected, and what it got right is confirmed. Each arm
trains an adapter on some of that with the product's own training. `product` is configs/banking77.yaml as it is, on all
of production and the rows that the base was taught, which a team still has as demonstrations. The others are plain
supervised training with the usual options (PLAIN), one adapter each: on the corrections alone, with as many or three
times as many demonstrations, on all of production, and on that and the base's rows. Every model then answers the 3,080
rows of test.csv and the unseen failures. Nothing is chosen by the rows of test.csv; the settings were chosen on other
splits of train.csv. Differences are paired by seed, with Student's intervals.

An hour and three quarters on two cores, five seeds at a time (`--jobs 5`); `--brief` leaves out the arms with some
demonstrations.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from scipy.stats import t

from benchmarks._bars import Bar, close
from tasks.child import run_child
from tasks.config import Config, load_config
from tasks.demo.banking77 import BASE_SPEC, Row, load
from tasks.records import canonical_json
from tasks.snapshots import HASHED, answer_json, freeze, write_snapshot
from tasks.train import make_spec

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "banking77.yaml"
RATIOS = {"corrections only": 0, "1 : 1": 1, "1 : 3": 3}
PRODUCT, REFERENCE, REPLAYED = "product", "all of it", "all, base's rows"
UNSEEN_SHARE = 0.2
# Of one adapter on all linear layers, the best that was found on rows of train.csv alone.
PLAIN: dict[str, dict[str, Any]] = {
    "adapter": {"members": 1, "distil": None, "strength": 1.0, "target_modules": "all-linear"},
    "trainer": {"learning_rate": 3e-3, "num_train_epochs": 4, "per_device_train_batch_size": 32, "prompt_dropout": 0.0},
}


@dataclass(frozen=True)
class World:
    """A seed's base, what it was right about, and the rows of production by what becomes of them."""

    base: Path
    taught: list[Row]
    corrections: list[Row]
    demonstrations: list[Row]
    unseen: list[Row]
    test: list[Row]
    was_right: list[bool]


@dataclass(frozen=True)
class Outcome:
    """Shares of the test rows: right, and right before and wrong now; of unseen failures: right. And seconds."""

    accuracy: float
    negative_flips: float
    unseen_fixed: float
    seconds: float


def set_up(data: Path, seed: int, folder: Path) -> World:
    """Teach the base of a seed and let it play production."""
    rows = load(data, seed=seed)
    spec = BASE_SPEC.model_copy(update={"seed": seed}).model_dump(mode="json")
    conversations = [row.conversation for row in rows.base]
    built = {"spec": spec, "conversations": conversations, "folder_root": str(folder)}
    base = Path(run_child("tasks.demo.children:build", built, folder / "build")["folder"])
    right = judge(base, None, [*rows.production, *rows.test], folder / "base")
    production = list(zip(rows.production, right, strict=False))
    failures = [row for row, is_right in production if not is_right]
    random.Random(seed).shuffle(failures)
    unseen = round(UNSEEN_SHARE * len(failures))
    confirmed = [row for row, is_right in production if is_right]
    return World(
        base, rows.base, failures[unseen:], confirmed, failures[:unseen], rows.test, right[len(rows.production) :]
    )


def judge(base: Path, adapter: str | None, rows: Sequence[Row], folder: Path) -> list[bool]:
    """Which of the rows a model answers right, greedily."""
    spec = {"base": str(base), "adapter": adapter, "prompts": [row.messages for row in rows], "max_new_tokens": 24}
    outputs = run_child("tasks.demo.children:serve", spec, folder)["outputs"]
    return [output.strip() == row.truth for output, row in zip(outputs, rows, strict=True)]


def try_arm(arm: str, config: Config, world: World, seed: int, folder: Path) -> Outcome:
    """Train an arm's adapter and judge it."""
    begun = time.perf_counter()
    spec = make_spec(arm_config(arm, config, world, seed), freeze_rows(arm, world, seed, folder), folder)
    adapter = run_child("tasks.train_child:main", spec, folder)["adapter_path"]
    seconds = time.perf_counter() - begun
    right = judge(world.base, adapter, [*world.test, *world.unseen], folder)
    test, unseen = right[: len(world.test)], right[len(world.test) :]
    flips = sum(before and not now for before, now in zip(world.was_right, test, strict=True))
    return Outcome(fmean(test), flips / len(test), fmean(unseen), seconds)


def arm_config(arm: str, config: Config, world: World, seed: int) -> Config:
    """The workload's config on a seed's base; of plain arms, without what the product adds."""
    values = config.model_dump(mode="json")
    values["model"]["base"] = str(world.base)
    values["trainer"]["seed"] = seed
    if arm != PRODUCT:
        values |= {name: values[name] | part for name, part in PLAIN.items()}
    return Config.model_validate(values)


def freeze_rows(arm: str, world: World, seed: int, folder: Path) -> Path:
    """The arm's snapshot."""
    count = RATIOS[arm] * len(world.corrections) if arm in RATIOS else len(world.demonstrations)
    demonstrations = random.Random(seed).sample(world.demonstrations, count)
    if arm in (PRODUCT, REPLAYED):
        demonstrations += world.taught
    chosen = [("correction", row) for row in world.corrections]
    chosen += [("demonstration", row) for row in demonstrations]
    random.Random(seed).shuffle(chosen)
    rows = [_frozen(signal, row) for signal, row in chosen]
    return write_snapshot(freeze(pl.DataFrame(rows, infer_schema_length=None)), folder).path


def _frozen(signal: str, row: Row) -> dict[str, Any]:
    texts = {"signal": signal, "signal_id": row.row_id, "source": "banking77", "prompt": canonical_json(row.messages)}
    nothing = dict.fromkeys(("inference_id", "cluster_id", "rejected", "derived"))
    return dict.fromkeys(HASHED, "") | nothing | texts | {"chosen": answer_json(row.truth), "weight": 1.0}


def run_seed(data: Path, config: Config, arms: Sequence[str], seed: int, folder: Path) -> dict[str, Outcome]:
    """The arms of a seed, after its base."""
    world = set_up(data, seed, folder)
    base = Outcome(fmean(world.was_right), 0.0, 0.0, 0.0)
    found = {"base": base}
    for arm in arms:
        found[arm] = try_arm(arm, config, world, seed, folder / str(len(found)))
        print(f"seed {seed}, {arm}: {found[arm]}", flush=True)
    return found


def interval(differences: Sequence[float]) -> str:
    """Mean of paired differences in points with Student's 95 % interval."""
    mean = 100 * fmean(differences)
    if len(differences) < 2:
        return f"{mean:+.1f}"
    reach = 100 * float(t.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.1f} ({mean - reach:+.1f} to {mean + reach:+.1f})"


def test_fixed(arm: Outcome, base: Outcome) -> float:
    """Of the test rows that the base was wrong on, the share that an arm is right on."""
    return (arm.accuracy - base.accuracy + arm.negative_flips) / (1 - base.accuracy)


def show(found: Sequence[dict[str, Outcome]]) -> None:
    """Means over seeds, and paired differences from the arm of all rows."""
    table = Table(title=f"means of {len(found)} seeds; differences from {REFERENCE!r} in points", title_justify="left")
    for column in (
        "arm",
        "test accuracy",
        "negative flips",
        "unseen fixed",
        "test fixed",
        "seconds",
        "Δ accuracy",
        "Δ flips",
        "Δ fixed",
    ):
        table.add_column(column)
    for arm in found[0]:
        means = [fmean(getattr(each[arm], name) for each in found) for name in asdict(found[0][arm])]
        means.insert(3, fmean(test_fixed(each[arm], each["base"]) for each in found))
        cells = [f"{100 * mean:.1f} %" for mean in means[:4]] + [f"{means[4]:.0f}"]
        names = ("accuracy", "negative_flips", "unseen_fixed")
        gaps = [
            interval([getattr(each[arm], name) - getattr(each[REFERENCE], name) for each in found]) for name in names
        ]
        table.add_row(arm, *cells, *(["–"] * 3 if arm in ("base", REFERENCE) else gaps))
    Console(width=170).print(table)


def main() -> None:
    """Run the seeds, print what came of them and close."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument(
        "--data", default=os.environ.get("FLYWHEEL_DATA"), help="holds banking77/train.csv and test.csv"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    parser.add_argument("--brief", action="store_true", help="without the arms of some demonstrations")
    options = parser.parse_args()
    data = Path(options.data or "") / "banking77"
    if not (data / "train.csv").is_file():
        print(f"{data / 'train.csv'} is not there: give --data or FLYWHEEL_DATA")
        close("effect_banking77", [], {})
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    config, arms = load_config(CONFIG), (*([] if options.brief else RATIOS), REFERENCE, REPLAYED, PRODUCT)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        seeds = range(options.seeds)
        found = list(pool.map(lambda seed: run_seed(data, config, arms, seed, Path(folder) / str(seed)), seeds))
    show(found)
    mine = {name: fmean(getattr(each[PRODUCT], name) for each in found) for name in asdict(found[0][PRODUCT])}
    bars = [
        Bar("unseen failures fixed", mine["unseen_fixed"], ">=", 0.38),
        Bar("negative flips, % of test rows", 100 * mine["negative_flips"], "<=", 1.5),
        Bar("test accuracy, %", 100 * mine["accuracy"], ">=", 86.5),
    ]
    context = {"seeds": [{arm: asdict(outcome) for arm, outcome in each.items()} for each in found]}
    close("effect_banking77", bars, context)


if __name__ == "__main__":
    main()
