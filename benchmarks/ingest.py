"""What it costs to take a million records in, beside what DuckDB needs to read the same file.

    python -m benchmarks.ingest [--rows 1000000]

One file of JSON lines, about 500 bytes each: calls, corrections and thumbs, one record in ten with personal data in it.
The bare read is `create table as select * from read_json(...)`, run before and after; the pass is a whole process of
its own, so that its memory is its own too.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import psutil
import yaml

from benchmarks._bars import Bar, close

ROOT = Path(__file__).resolve().parent.parent
GIB = 2**30
TEXT = (
    "the parcel arrived damaged and i would like to know when my refund for this order will be paid because "
    "nothing has happened since last week please tell me what to do about the subscription that was renewed "
    "although it had been cancelled in the app before your colleague promised a voucher which never came thank "
    "you in advance"
)
WORDS = TEXT.split()
ANSWERS = [
    json.dumps({"category": category, "priority": priority, "refund_requested": refund})
    for category in ("shipping", "returns", "billing", "account", "technical", "general")
    for priority in ("low", "normal", "high")
    for refund in (True, False)
]
PERSONAL = (
    "my card is 4539 1488 0343 6467",
    "write to maria.keller@firma.de",
    "call me at +49 30 901820 please",
    "IBAN DE89 3704 0044 0532 0130 00",
    "it came from 84.17.46.22",
)
PASS = "from tasks.collect import collect; from tasks.config import load_config; print(collect(load_config({0!r})))"


def record(number: int, rng: random.Random) -> dict[str, Any]:
    """One record: of ten, eight calls, a correction and a thumb."""
    moment = f"2026-03-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00+00:00"
    kind = number % 10
    if kind == 8:
        return {
            "record": "correction",
            "inference_id": f"call-{number - 8:09}",
            "corrected_output": rng.choice(ANSWERS),
            "producer": "person:maria",
            "created_at": moment,
        }
    if kind == 9:
        thumb = {"value": "up", "producer": "person:maria", "created_at": moment}
        return {"record": "thumb", "inference_id": f"call-{number - 8:09}"} | thumb
    text = " ".join(rng.choices(WORDS, k=44))
    if rng.random() < 0.125:
        text += f" order {rng.randrange(10**5)} {rng.choice(PERSONAL)}"
    return {
        "record": "inference",
        "inference_id": f"call-{number:09}",
        "messages": [
            {"role": "system", "content": "Answer with the ticket's category, priority and refund as JSON."},
            {"role": "user", "content": text},
        ],
        "output": rng.choice(ANSWERS),
        "model_version": "7",
        "created_at": moment,
        "slices": {"language": "en"},
    }


def write_records(path: Path, rows: int) -> None:
    """The same file for the same number of rows."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(json.dumps(record(number, rng), separators=(",", ":")) + "\n")


def bare_read(path: Path, folder: Path) -> float:
    """Seconds that DuckDB needs to read the file into a table of its own."""
    database = folder / "bare.duckdb"
    database.unlink(missing_ok=True)
    begun = time.perf_counter()
    with duckdb.connect(str(database)) as connection:
        connection.execute("create table r as select * from read_json(?, format = 'newline_delimited')", [str(path)])
    return time.perf_counter() - begun


def one_pass(config: Path) -> tuple[float, float, str]:
    """Seconds, peak memory (GiB, of the processes that redact too) and counts of a pass, as a process of its own."""
    begun, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, "-c", PASS.format(str(config))],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            family = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(process.memory_info().rss for process in family))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.25)  # listing processes takes time from what is measured
    printed = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"the pass failed with status {process.returncode}")
    return time.perf_counter() - begun, peak / GIB, printed.strip()


def main() -> None:
    """Measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        folder = Path(name)
        source, config = folder / "records.jsonl", folder / "config.yaml"
        write_records(source, rows)
        settings = {
            "name": "ingest",
            "home": str(folder / "home"),
            "sources": [{"name": "production", "type": "files", "path": str(source)}],
            "scorer": {"type": "json_fields"},
            "model": {"base": str(folder)},
        }
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        before = bare_read(source, folder)
        first, memory, counts = one_pass(config)
        again, _, _ = one_pass(config)
        bare = min(before, bare_read(source, folder))
        size = source.stat().st_size
    bars = [
        Bar("first pass, times DuckDB's bare read", first / bare, "<=", 8),
        Bar("second pass over the same file, share of the first", again / first, "<=", 0.1),
        Bar("peak memory, GiB", memory, "<=", 8),
    ]
    context = {
        "rows": rows,
        "bytes_a_row": round(size / rows),
        "bare_read_s": round(bare, 2),
        "first_s": round(first, 2),
        "second_s": round(again, 2),
        "counts": counts,
    }
    close("ingest", bars, context)


if __name__ == "__main__":
    main()
