"""What a round cost, in words and as a table, from its evidence (`tasks.costs` counts it)."""

from collections.abc import Mapping
from typing import Any

from tasks.headlines import MISSING, count, dig, number, plain, seconds

COLUMNS = ("Stage", "Time", "GPU time", "Tokens trained on", "Tokens generated", "Kept")


def cost_sentence(cost: Mapping[str, Any] | None) -> str:
    """A total (by `tasks.costs.AMOUNTS`) in one line; empty where it is not known."""
    if number(cost, "seconds") is None:
        return ""
    gpu = number(cost, "gpu_seconds")
    said = [seconds(number(cost, "seconds")), f"{seconds(gpu)} of GPUs" if gpu else "no GPU"]
    said += [
        f"{count(number(cost, key))} tokens {what}"
        for key, what in (("tokens_trained", "trained on"), ("tokens_generated", "generated"))
        if number(cost, key)
    ]
    kept = number(cost, "bytes_kept")
    return ", ".join([*said, *([f"{size(kept)} kept"] if kept else [])])


def cost_table(evidence: Mapping[str, Any]) -> list[list[str]]:
    """A row a stage by COLUMNS, then their total; nothing where no cost is known."""
    stages, total = dig(evidence, "cost", "stages"), dig(evidence, "cost", "total")
    if not isinstance(stages, Mapping) or not isinstance(total, Mapping):
        return []
    return [[plain(name, 20), *_cells(spent)] for name, spent in stages.items()] + [["in all", *_cells(total)]]


def _cells(spent: Any) -> list[str]:
    amounts = [number(spent, key) for key in ("gpu_seconds", "tokens_trained", "tokens_generated", "bytes_kept")]
    gpu, trained, generated, kept = amounts
    return [
        seconds(number(spent, "seconds")),
        seconds(gpu) if gpu else MISSING,
        count(trained) if trained else MISSING,
        count(generated) if generated else MISSING,
        size(kept) if kept else MISSING,
    ]


def size(number_of_bytes: float | None) -> str:
    """Bytes as people read them, in powers of 1000: `14.2 MB`."""
    if number_of_bytes is None:
        return MISSING
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number_of_bytes >= scale:
            return f"{number_of_bytes / scale:.1f} {unit}"
    return f"{number_of_bytes:.0f} B"
