"""What the leak guard costs before a round's models answer, and whether it finds what comparing every pair finds.

    python -m benchmarks.leak_guard [--rows 20000] [--cases 5000]

A snapshot's rows and held-out cases with texts of about forty words, as support traffic repeats itself (see
`benchmarks/duplicates.py`), so that some of them are near-duplicates anyway. Beside those, a copy of one case in fifty
is planted among the rows, a word of it changed. The state says of every row that it has nothing to do with a case. The
guard is measured with all it does: the file read and checked, two comparisons, and what is retired.
"""

import argparse
import json
import os
import random
import tempfile
import time
from typing import Any

import duckdb
import polars as pl

from benchmarks._bars import Bar, close
from benchmarks.duplicates import THRESHOLD, changed, make_texts
from tasks.config import Config
from tasks.db import State
from tasks.duplicates import jaccard, shingles
from tasks.leaks import guard
from tasks.records import now, sha256
from tasks.rounds import Round, open_or_resume
from tasks.snapshots import HASHED, Snapshot, freeze, read_snapshot, write_snapshot

PLANTED = 50  # one case in so many has an edited copy among the rows
SAMPLE = 100  # so many cases, half of them planted, are compared with every row by brute force
FILL = (
    """insert into sides
    select distinct input_hash, 'unseen', 'drawn', input_hash, 1 from cases
    union all
    select distinct input_hash, 'train', 'drawn', input_hash, 1 from frozen
    where input_hash not in (select input_hash from cases)""",
    """insert into regression_cases by name
    select
        case_id, input, input_hash, 'right' as expected, 'unseen' as tier, 'failure' as stratum, '{}' as slices,
        case_id as signal_id, 'person:m' as producer, 's' as source, 1 as added_round
    from cases""",
    "update rounds set stage = 'regress', snapshot_hash = $hash",
    "insert into snapshots values ($hash, 1, $path, $rows, $at)",
)


def held(text: str) -> str:
    """A user's message as inputs are held."""
    return json.dumps([{"content": text, "role": "user"}], separators=(",", ":"))


def make_rows(texts: list[str]) -> pl.DataFrame:
    """Rows to freeze, each with a claim of its own about what its input is."""
    rows = pl.DataFrame({"prompt": [held(text) for text in texts], "input_hash": [sha256(f"row {t}") for t in texts]})
    given = {"signal": "correction", "source": "s", "producer": "person:m", "slices": "{}", "chosen": "[]"}
    own = dict.fromkeys(("signal_id", "inference_id", "content_hash", "group_hash"), pl.col("input_hash"))
    absent = dict.fromkeys(("cluster_id", "rejected", "derived"), pl.lit(None, pl.String))
    values = {name: pl.lit(value) for name, value in given.items()} | own | absent | {"weight": pl.lit(1.0)}
    return rows.with_columns(**values).select(HASHED)


def fill(config: Config, rows: list[str], cases: list[str]) -> tuple[Round, Snapshot]:
    """A round that has come to its suite, with the rows frozen and the cases held out."""
    with State(config.database).transaction() as tx:
        moment = now()
        counts = dict.fromkeys(("read_rows", "stored_rows", "known_rows", "quarantined_rows"), 0)
        tx.run("insert_collection", ingest_seq=1, started_at=moment, finished_at=moment, **counts)
    round_ = open_or_resume(config, "person:benchmark")
    frozen = freeze(make_rows(rows))
    snapshot = write_snapshot(frozen, config.folder / "snapshots")
    inputs = [held(text) for text in cases]
    values = {"case_id": [f"c{place}" for place in range(len(cases))], "input": inputs}
    of_suite = pl.DataFrame(values | {"input_hash": [sha256(text) for text in inputs]})
    parameters: dict[str, Any] = {
        "hash": snapshot.hash, "path": str(snapshot.path), "rows": snapshot.rows, "at": now(),
    }  # fmt: skip
    with duckdb.connect(str(config.database)) as connection:
        connection.register("cases", of_suite)
        connection.register("frozen", frozen)
        for statement in FILL:
            named = {name: value for name, value in parameters.items() if f"${name}" in statement}
            connection.execute(statement, named or None)
    return round_, snapshot


def wrongly_judged(rows: list[str], cases: list[str], planted: list[int], found: set[str]) -> int:
    """How many cases of a sample the guard judges otherwise than comparing each of them with every row does."""
    sets = [shingles(text) for text in set(rows)]
    rng, half = random.Random(2), SAMPLE // 2
    places = {*rng.sample(planted, min(half, len(planted))), *rng.sample(range(len(cases)), min(half, len(cases)))}
    wrong = 0
    for place in places:
        case = shingles(cases[place])
        is_near = any(jaccard(case, row) >= THRESHOLD for row in sets)
        wrong += is_near != (f"c{place}" in found)
    return wrong


def main() -> None:
    """Measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--cases", type=int, default=5_000)
    asked = parser.parse_args()
    rng = random.Random(1)
    texts = list(make_texts(asked.rows + asked.cases).values())
    cases, rows = texts[: asked.cases], texts[asked.cases :]
    planted = list(range(0, asked.cases, PLANTED))
    for place in planted:
        rows[rng.randrange(len(rows))] = " ".join(changed(rng, cases[place].split())[:60])
    with tempfile.TemporaryDirectory() as folder:
        config = Config.model_validate(
            {
                "name": "leaks", "home": folder, "scorer": {"type": "exact"}, "model": {"base": "none"},
                "sources": [{"name": "s", "path": "none"}],
                "split": {"near_duplicate": THRESHOLD},
            }
        )  # fmt: skip
        round_, snapshot = fill(config, rows, cases)
        begun = time.perf_counter()
        read_snapshot(snapshot.path, snapshot.hash)
        read = time.perf_counter()
        leaks = guard(config, round_)
        done = time.perf_counter()
        with duckdb.connect(str(config.database)) as connection:
            gone = connection.execute("select case_id from regression_cases where retired_round is not null").fetchall()
    found = {case_id for (case_id,) in gone}
    bars = [
        Bar(
            f"of {SAMPLE} cases, judged otherwise than by brute force",
            wrongly_judged(rows, cases, planted, found),
            "<=",
            0,
        ),
        Bar("guard, s", done - read, "<=", 10),
    ]
    context = {
        "rows": asked.rows, "cases": asked.cases, "planted": len(planted), "leaks": leaks, "cores": os.cpu_count(),
        "read_s": round(read - begun, 3), "guard_s": round(done - read, 3),
        "times_reading": round((done - read) / (read - begun), 1),
    }  # fmt: skip
    close("leak_guard", bars, context)


if __name__ == "__main__":
    main()
