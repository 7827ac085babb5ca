"""What it costs to group near-duplicate texts, and whether the groups are those that comparing every pair gives.

    python -m benchmarks.duplicates [--texts 100000]

Texts of about forty words, as support traffic repeats itself: a third from templates, a twentieth copied with a few
words changed, and one in fifty the same viral complaint with another number. Each size is joined in a process of its
own, so that its memory is its own too; half the texts show how the time grows. `--texts 1000000` takes minutes.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from itertools import accumulate, combinations
from pathlib import Path

from benchmarks._bars import Bar, close
from tasks.duplicates import components, jaccard, near_duplicates, shingles

ROOT = Path(__file__).resolve().parent.parent
GIB = 2**30
THRESHOLD = 0.8
SAMPLE = 2_000
VOCABULARY = [f"word{rank}" for rank in range(30_000)]
ZIPF = list(accumulate(1 / rank for rank in range(1, len(VOCABULARY) + 1)))
CHILD = "from benchmarks.duplicates import measure; measure({0})"


def words(rng: random.Random, count: int) -> list[str]:
    """Words by Zipf's law."""
    return rng.choices(VOCABULARY, cum_weights=ZIPF, k=count)


def make_texts(count: int) -> dict[str, str]:
    """The same texts by key for the same count."""
    rng = random.Random(0)
    viral = words(rng, 39)
    templates = [words(rng, 30) for _ in range(200)]
    texts: list[list[str]] = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.02:
            texts.append([*viral[:20], str(rng.randrange(10**6)), *viral[20:]])
        elif kind < 0.07 and texts:
            texts.append(changed(rng, rng.choice(texts)))
        elif kind < 0.40:
            texts.append(filled(rng, rng.choice(templates)))
        else:
            texts.append(words(rng, rng.randrange(30, 50)))
    return {f"{number:07}": " ".join(text) for number, text in enumerate(texts)}


def changed(rng: random.Random, text: list[str]) -> list[str]:
    """A copy with one to three words replaced."""
    copy = list(text)
    for _ in range(rng.randrange(1, 4)):
        copy[rng.randrange(len(copy))] = words(rng, 1)[0]
    return copy


def filled(rng: random.Random, template: list[str]) -> list[str]:
    """A template with a city, a product and an order number in it, and up to ten words of the writer's own."""
    slots = [f"city{rng.randrange(50)}", f"product{rng.randrange(30)}", str(rng.randrange(10**6))]
    return [
        *template[:8],
        slots[0],
        *template[8:16],
        slots[1],
        *template[16:],
        slots[2],
        *words(rng, rng.randrange(11)),
    ]


def measure(count: int) -> None:
    """Print what joining so many texts takes, as JSON."""
    begun = time.perf_counter()
    near_duplicates({"a": "some words of a text", "b": "some words of a text"}, THRESHOLD)
    compiled = time.perf_counter()
    texts = make_texts(count)
    made = time.perf_counter()
    pairs = near_duplicates(texts, THRESHOLD)
    done = time.perf_counter()
    group_of = components(set(texts), [(pair.left, pair.right) for pair in pairs])
    sizes: dict[str, int] = {}
    for group in group_of.values():
        sizes[group] = sizes.get(group, 0) + 1
    found = {
        "join_s": done - made,
        "load_s": compiled - begun,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
        "pairs": len(pairs),
        "grouped": sum(size for size in sizes.values() if size > 1),
        "largest_group": max(sizes.values()),
    }
    print(json.dumps(found))


def measured(count: int) -> dict[str, float]:
    """What `measure` says in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD.format(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"joining {count} texts failed:\n{done.stderr[-3000:]}")
    return {key: round(value, 3) for key, value in json.loads(done.stdout).items()}


def wrongly_grouped() -> int:
    """How many texts of a sample are in another group than comparing every pair puts them in."""
    texts = make_texts(SAMPLE)
    sets = {key: shingles(text) for key, text in texts.items()}
    every = [pair for pair in combinations(sets, 2) if jaccard(sets[pair[0]], sets[pair[1]]) >= THRESHOLD]
    found = [(pair.left, pair.right) for pair in near_duplicates(texts, THRESHOLD)]
    exact, joined = components(set(texts), every), components(set(texts), found)
    return sum(exact[key] != joined[key] for key in texts)


def main() -> None:
    """Measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, default=100_000)
    count = max(2_000, parser.parse_args().texts)
    wrong = wrongly_grouped()
    half, whole = measured(count // 2), measured(count)
    bars = [
        Bar(f"texts of {SAMPLE} in another group than by brute force", wrong, "<=", 0),
        Bar("join, s for 100,000 texts", whole["join_s"] * 100_000 / count, "<=", 20),
        Bar("time of twice the texts, times that of half", whole["join_s"] / half["join_s"], "<=", 2.6),
        Bar("pairs listed, for each text in a group", whole["pairs"] / whole["grouped"], "<=", 1),
        Bar("peak memory, GiB", whole["peak_gib"], "<=", 6),
    ]
    close("duplicates", bars, {"texts": count, "cores": os.cpu_count(), "whole": whole, "half": half})


if __name__ == "__main__":
    main()
