"""What it takes to find the classes among a million failures, their embeddings given.

    python -m benchmarks.cluster_scale [--failures 1000000] [--classes 3000]

Vectors as a round has them, an input's beside that of how the output was wrong: classes of very different sizes (by
Zipf's law) around topics that several share, and one failure in ten that belongs to none. A process of its own, so that
its memory is its own too, makes them, clusters them, and then clusters them again with a tenth more, as the next round
would. About ten minutes; `benchmarks/embedding.py` has what embedding takes.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._bars import Bar, close
from tasks.communities import find_communities
from tasks.data_options import ClusterConfig

ROOT = Path(__file__).resolve().parent.parent
GIB = 2**30
WIDTH = 384  # of an encoder's vectors
STRAY = 0.1
WRONGS = 400  # ways in which outputs are wrong
BLOCK = 65_536
MIN_SIZE = ClusterConfig().min_size


def made(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit-length vectors (count x 2 WIDTH, float32) in random order, and the class of each, -1 for none."""
    rng = np.random.default_rng(seed)
    sizes = 1 / np.arange(1, classes + 1)
    members = rng.choice(classes, int(count * (1 - STRAY)), p=sizes / sizes.sum())
    kinds = rng.permutation(np.concatenate([members, np.full(count - len(members), -1)]))
    spectrum = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.6
    spectrum /= np.linalg.norm(spectrum)
    topics = rng.normal(size=(max(classes // 20, 4), WIDTH)).astype(np.float32)
    centres = (topics[rng.integers(len(topics), size=classes)] + rng.normal(size=(classes, WIDTH))) * spectrum
    wrongs = _unit(rng.normal(size=(WRONGS, WIDTH)).astype(np.float32))
    wrong_of = rng.integers(WRONGS, size=classes)
    vectors = np.empty((count, 2 * WIDTH), np.float32)
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        some = kinds[part]
        none = (some < 0)[:, None]
        elsewhere = topics[rng.integers(len(topics), size=len(some))] + rng.normal(size=(len(some), WIDTH))
        inputs = np.where(none, elsewhere * spectrum, centres[some])
        inputs = inputs + 0.9 * rng.normal(size=inputs.shape).astype(np.float32) * spectrum
        ways = np.where(none[:, 0], rng.integers(WRONGS, size=len(some)), wrong_of[some])
        vectors[part, :WIDTH], vectors[part, WIDTH:] = _unit(inputs), wrongs[ways]
        vectors[part] /= np.float32(2**0.5)
    return vectors, kinds


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def measure(count: int, classes: int) -> dict[str, Any]:
    """Seconds, peak memory and how well the planted classes are found, for this process."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    vectors, kinds = made(count * 11 // 10, classes)
    vectors, later = vectors[:count], vectors
    begun = time.perf_counter()
    labels = find_communities(vectors, min_size=MIN_SIZE).labels
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    before = np.concatenate([labels, np.full(len(later) - count, -1)])
    begun = time.perf_counter()
    again = find_communities(later, min_size=MIN_SIZE, before=before)
    members, planted = labels >= 0, kinds[:count]
    return {
        "seconds": seconds,
        "gib": peak,
        "next_seconds": time.perf_counter() - begun,
        "next_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
        "kept": float((again.labels[:count] == labels)[members].mean()),
        "changes": len(again.changes),
        "clusters": int(labels.max()) + 1,
        "noise": float((labels < 0).mean()),
        "strays_left_as_noise": float((labels[planted < 0] < 0).mean()),
        "ari_of_members": float(adjusted_rand_score(planted[planted >= 0], labels[planted >= 0])),
        "nmi_of_members": float(normalized_mutual_info_score(planted[planted >= 0], labels[planted >= 0])),
    }


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failures", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=3_000)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure in a child process, print the table and the JSON."""
    options = arguments()
    if options.child:
        return print(json.dumps(measure(options.failures, options.classes)))
    command = [sys.executable, "-m", "benchmarks.cluster_scale", "--child"]
    command += ["--failures", str(options.failures), "--classes", str(options.classes)]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(output.splitlines()[-1])
    bars = [
        Bar(f"seconds, {options.failures} failures", found["seconds"], "<=", 600),
        Bar("peak memory, GiB, vectors included", found["gib"], "<=", 12),
        Bar("old members that keep their id when a tenth more come in", found["kept"], ">=", 0.95),
    ]
    context = {"failures": options.failures, "classes_planted": options.classes, "dimensions": 2 * WIDTH}
    close("cluster_scale", bars, context | {key: round(value, 3) for key, value in found.items()})


if __name__ == "__main__":
    main()
