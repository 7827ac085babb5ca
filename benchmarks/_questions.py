"""Bank customers' questions with the intent of each (BANKING77), as unit-length vectors, for the cluster benchmarks."""

import argparse
import csv
import os
import tempfile
from pathlib import Path

import numpy as np

from tasks.data_options import EncoderConfig
from tasks.db import State
from tasks.embed import embed


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the option that says where the data are."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--data", default=os.environ.get("FLYWHEEL_DATA"), help="folder that holds banking77/train.csv and test.csv"
    )
    return made


def questions(data: str | None, split: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Vectors (texts x dimensions) and intents (texts) of a file, by the project's own encoder; None without data."""
    file = Path(data or "") / "banking77" / f"{split}.csv"
    if not file.is_file():
        print(f"{file} is not there: give --data or FLYWHEEL_DATA")
        return None
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    with tempfile.TemporaryDirectory() as folder:
        vectors = embed(State(Path(folder) / "state.duckdb"), [row["text"] for row in rows], EncoderConfig())
    return vectors, np.unique([row["category"] for row in rows], return_inverse=True)[1]


def balanced(intents: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Places of at most `each` questions of every intent, drawn at random."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.permutation(np.flatnonzero(intents == intent))[:each] for intent in range(intents.max() + 1)]
    )
