"""How fast texts become vectors, beside sentence-transformers' plain `encode`, and what stored vectors cost to read.

    python -m benchmarks.embedding [--data DIR] [--texts 600] [--many 100000]

Plain is float32 with the library's defaults; it and the cached, stored `embed` take turns on the same texts. With
--data (or $FLYWHEEL_DATA) these are questions of bank customers (banking77/train.csv), else the demo's tickets. For the
faster path (`encoder.sample`) and for reading, texts are made many by a number. One to two minutes.
"""

import argparse
import csv
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks._bars import Bar, close
from tasks.data_options import EncoderConfig
from tasks.db import State
from tasks.embed import _folder, embed

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
SAMPLE = 1_000
STORED = 20_000  # vectors that are put into the state at once
GIB = 2**30
READ = """
import resource, sys, time
from pathlib import Path
from tasks.data_options import EncoderConfig
from tasks.db import State
from tasks.embed import embed
texts = [f"text {number}" for number in range(int(sys.argv[2]))]
begun = time.perf_counter()
embed(State(Path(sys.argv[1])), texts, EncoderConfig())
print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def real_texts(data: Path | None) -> tuple[str, list[str]]:
    """Where the texts come from, and the texts, each once, in a random order that is always the same."""
    file = data / "banking77" / "train.csv" if data else None
    if file and file.is_file():
        with file.open(encoding="utf-8", newline="") as opened:
            name, texts = "banking77/train.csv", [row["text"] for row in csv.DictReader(opened)]
    else:
        from tasks.demo.tickets import production

        name, texts = "demo tickets", [ticket.messages[-1]["content"] for ticket in production(5_000, seed=0)]
    texts = sorted(set(texts))
    random.Random(0).shuffle(texts)
    return name, texts


def in_turns(texts: list[str], folder: Path) -> tuple[list[float], list[float], "np.ndarray", "np.ndarray"]:
    """Seconds of plain `encode` and of `embed` into an empty state, one after the other; and the vectors of both."""
    from sentence_transformers import SentenceTransformer

    plain_model = SentenceTransformer(_folder(EncoderConfig().model))
    plain_s, ours_s = [], []
    plain_model.encode(texts[:64], normalize_embeddings=True)
    embed(State(folder / "warm.duckdb"), texts[:64], EncoderConfig())
    for number in range(ROUNDS):
        state = State(folder / f"round-{number}.duckdb")
        begun = time.perf_counter()
        plain = plain_model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        plain_s.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        ours = embed(state, texts, EncoderConfig())
        ours_s.append(time.perf_counter() - begun)
    return plain_s, ours_s, plain, ours


def estimated(texts: Sequence[str], many: int, folder: Path) -> tuple[float, float]:
    """Seconds a text of the faster path, its sample encoded before; and the mean cosine to what encoding gives."""
    state, encoder = State(folder / "estimated.duckdb"), EncoderConfig(sample=SAMPLE)
    held_out = list(texts[: SAMPLE // 4])
    backlog = list(texts[: 3 * SAMPLE]) + [f"{texts[n % len(texts)]} {n}" for n in range(many)]
    embed(state, backlog, encoder)
    begun = time.perf_counter()
    vectors = embed(state, backlog, encoder)
    seconds = time.perf_counter() - begun
    full = embed(state, held_out, EncoderConfig())
    return seconds / len(backlog), float((vectors[: len(held_out)] * full).sum(axis=1).mean())


def read_stored(many: int, folder: Path) -> tuple[float, float]:
    """Seconds and peak memory (GiB) of a process that reads so many stored vectors."""
    path, rng = folder / "stored.duckdb", np.random.default_rng(0)
    state = State(path)
    for start in range(0, many, STORED):
        hashes = [hashlib.sha256(f"text {n}".encode()).hexdigest() for n in range(start, min(start + STORED, many))]
        rows = pl.DataFrame({"text_hash": hashes, "vector": rng.normal(size=(len(hashes), 384)).astype(np.float32)})
        with state.transaction() as tx:
            as_lists = pl.col("vector").arr.to_list()
            tx.load("insert_embeddings", rows.with_columns(as_lists, encoder=pl.lit(EncoderConfig().key)))
    printed = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(many)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return float(printed[0]), float(printed[1]) * 1024 / GIB


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FLYWHEEL_DATA"), help="folder with banking77/")
    parser.add_argument("--texts", type=int, default=600, help="that are encoded in each turn")
    parser.add_argument("--many", type=int, default=100_000, help="that are estimated, and that are read")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table and the JSON."""
    options = arguments()
    name, texts = real_texts(Path(options.data) if options.data else None)
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        part = texts[: options.texts]
        plain_s, ours_s, plain, ours = in_turns(part, Path(folder))
        a_text_s, cosine = estimated(texts, options.many, Path(folder))
        read_s, read_gib = read_stored(options.many, Path(folder))
    cosines = (plain * ours).sum(axis=1)
    plain_median = statistics.median(plain_s)
    bars = [
        Bar("times as fast as plain float32 encode", plain_median / statistics.median(ours_s), ">=", 1.8),
        Bar("faster path, times as fast as plain", plain_median / len(part) / a_text_s, ">=", 20),
        Bar("least cosine to float32's vectors", float(cosines.min()), ">=", 0.997),
    ]
    context: dict[str, Any] = {
        "texts": name,
        "encoded": len(part),
        "plain_s": [round(each, 2) for each in plain_s],
        "ours_s": [round(each, 2) for each in ours_s],
        "faster_path_texts_per_s": round(1 / a_text_s),
        "faster_path_sample": SAMPLE,
        "faster_path_mean_cosine_to_encoded": round(cosine, 3),
        "read": options.many,
        "read_s": round(read_s, 2),
        "read_peak_gib": round(read_gib, 2),
    }
    close("embedding", bars, context)


if __name__ == "__main__":
    main()
