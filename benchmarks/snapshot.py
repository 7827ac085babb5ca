"""What it costs to blend, freeze and store a snapshot of a million rows, beside a plain write of the same columns.

    python -m benchmarks.snapshot [--rows 1000000]

A state is filled with calls, their corrections and confirmations, and given demonstrations (prompt and answer of some
430 bytes, every answer another), all on the training side, and as many again as a tenth of them held out. The stage
runs as a process of its own, so that its memory is its own too; then polars and pyarrow write the rows it froze.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl
import psutil
import yaml
from pyarrow import parquet

from benchmarks._bars import Bar, close
from tasks.config import load_config
from tasks.db import State
from tasks.rounds import open_or_resume
from tasks.snapshots import read_snapshot

ROOT = Path(__file__).resolve().parent.parent
GIB = 2**30
# Per ten rows: three corrected calls, four confirmed ones, three given demonstrations.
FILL = (
    """create temp table texts as
    select
        n, n % 10 as kind, n >= $rows as held_out, printf('id-%09d', n) as id,
        '[{"role":"system","content":"Answer the customer in one friendly sentence."},{"role":"user","content":"'
            || repeat('my parcel has not arrived and nobody answers my letters ', 4) || 'order ' || n
            || ' of ' || n % 977 || ' please help me with it soon"}]' as input,
        'We are sorry about order ' || n || ': the parcel is on its way again and should arrive within two days.'
            as answer
    from range($all_rows) as numbers(n)""",
    """insert into inferences
    select
        id, input, sha256(input), case when kind < 3 then 'I do not know.' else answer end, 'base',
        '{"language":"' || case when n % 4 = 0 then 'de' else 'en' end || '"}',
        timestamp '2026-03-01' + to_seconds(n), 'model:base', 'production', sha256(id), 1
    from texts where kind < 7""",
    """insert into corrections (correction_id, inference_id, input, input_hash, model_output, corrected_output,
        corrected_by, failure_cluster, source, created_at, content_hash, ingest_seq)
    select
        sha256('c' || id), id, input, sha256(input), 'I do not know.', answer, 'person:' || n % 7,
        printf('c%03d', n % 40), 'production', timestamp '2026-03-02' + to_seconds(n), sha256('c' || id), 1
    from texts where kind < 3""",
    """insert into feedback
    select sha256('t' || id), id, 'thumb', 'up', 'person:' || n % 7, 'production', timestamp '2026-03-02', sha256(id), 1
    from texts where kind between 3 and 6""",
    """insert into demonstrations
    select id, input, sha256(input), answer, '{}', 'person:seed', 'tickets', timestamp '2026-03-01', sha256(id), 1
    from texts where kind >= 7""",
    """insert into sides
    select sha256(input), case when held_out then 'unseen' else 'train' end, 'drawn', sha256(input), 1 from texts""",
    "insert into cluster_members select id, printf('c%03d', n % 40), 1.0, 1 from texts where kind < 3",
    "insert into collections values (1, timestamp '2026-03-03', timestamp '2026-03-03', 0, 0, 0, 0)",
)
STAGE = """
import resource
import time
from tasks.blend import blend
from tasks.config import load_config
from tasks.rounds import open_or_resume
config = load_config({0!r})
round_ = open_or_resume(config, "benchmark")
begun = time.perf_counter()
before = resource.getrusage(resource.RUSAGE_SELF)
made = blend(config, round_)
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(time.perf_counter() - begun, cpu, made["rows"])
"""


def fill(config_file: Path, rows: int) -> None:
    """A state whose open round has come to its blend, with so many rows on the training side."""
    config = load_config(config_file)
    with State(config.database).transaction():
        pass
    with duckdb.connect(str(config.database)) as connection:
        connection.execute(FILL[0], {"rows": rows, "all_rows": rows + rows // 10})
        for statement in FILL[1:]:
            connection.execute(statement)
    open_or_resume(config, "benchmark")
    with duckdb.connect(str(config.database)) as connection:
        connection.execute("update rounds set stage = 'blend', lease_owner = null")


class Measured(NamedTuple):
    """What the stage took: seconds on the clock, CPU seconds of all its threads, peak memory in GiB; and its rows."""

    seconds: float
    cpu: float
    memory: float
    rows: int


def one_stage(config_file: Path) -> Measured:
    """What the stage takes, as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", STAGE.format(str(config_file))],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    printed = process.communicate()[0].split()
    if process.returncode:
        raise SystemExit(f"the stage failed with status {process.returncode}")
    return Measured(float(printed[-3]), float(printed[-2]), peak / GIB, int(printed[-1]))


def plain_writes(frozen: pl.DataFrame, folder: Path) -> dict[str, float]:
    """Seconds that each library needs to write the columns, with nothing hashed, chosen or stored."""
    table = frozen.to_arrow()
    seconds = {}
    for name in ("polars", "pyarrow"):
        begun = time.perf_counter()
        if name == "polars":
            frozen.write_parquet(folder / "plain.parquet")
        else:
            parquet.write_table(table, folder / "plain.parquet", compression="zstd")
        seconds[name] = time.perf_counter() - begun
    return seconds


def read_back(config_file: Path) -> tuple[pl.DataFrame, float]:
    """The rows of the one snapshot, checked, and the seconds that took."""
    with State(load_config(config_file).database).transaction() as tx:
        found = tx.rows("get_snapshot", snapshot_hash=tx.rows("list_rounds")[0]["snapshot_hash"])[0]
    begun = time.perf_counter()
    frozen = read_snapshot(Path(found["path"]), found["snapshot_hash"])
    return frozen, time.perf_counter() - begun


def settings(folder: Path) -> dict[str, Any]:
    """A config that takes every row there is."""
    sources = [{"name": name, "path": str(folder / f"{name}.jsonl")} for name in ("production", "tickets")]
    return {
        "name": "snapshot", "home": str(folder / "home"), "sources": sources, "scorer": {"type": "exact"},
        "model": {"base": str(folder)}, "blend": {"demonstrations_per_correction": "all"},
    }  # fmt: skip


def main() -> None:
    """Measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        folder = Path(name)
        config_file = folder / "config.yaml"
        config_file.write_text(yaml.safe_dump(settings(folder)), encoding="utf-8")
        fill(config_file, asked)
        stage = one_stage(config_file)
        frozen, check = read_back(config_file)
        plain = plain_writes(frozen, folder)
        texts = frozen.select((pl.col("prompt").str.len_bytes() + pl.col("chosen").str.len_bytes()).mean()).item()
    bars = [
        Bar("blend, freeze and store, s", stage.seconds, "<=", 30),
        Bar("peak memory, GiB", stage.memory, "<=", 8),
        Bar("rows in the snapshot, of those asked for", stage.rows / asked, ">=", 1),
    ]
    context = {
        "rows": stage.rows,
        "cpu_s": round(stage.cpu, 2),
        "bytes_of_text_a_row": round(texts),
        "plain_polars_write_s": round(plain["polars"], 2),
        "plain_pyarrow_write_s": round(plain["pyarrow"], 2),
        "times_the_faster_write": round(stage.seconds / min(plain.values()), 2),
        "read_and_check_s": round(check, 2),
    }
    close("snapshot", bars, context)


if __name__ == "__main__":
    main()
