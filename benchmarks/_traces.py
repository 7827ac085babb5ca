"""What a round has left behind: rows, files, versions, and whatever should not be there.

Two rounds are compared without what differs from run to run: times, ids of runs, the lease, and how long things took.
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from benchmarks._kill_world import World
from tasks.config import Config, load_config

# Of a table, by name; columns of times are left out everywhere.
VARYING = {"lease_owner", "lease_token", "uptime_until", "stage_uptime", "seconds", "gpu_seconds"}
# Of the evidence: how long it took, how often it was begun, and what a second start finds answered already.
MEASURED = {
    "timings", "seconds", "rendering_seconds", "resumed_from", "reused", "prompts", "output_tokens", "prompt_tokens",
    "cost",
}  # fmt: skip
NOTHING = '"tokens_generated": 0, "tokens_trained": 0'
UNFINISHED = re.compile(r"\.partial$|\.tmp$|^\..*-staging-|^\.snapshot-|^adapter\.partial$|-journal$|-wal$|\.wal$")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHOWN = 3


@dataclass(frozen=True)
class Traces:
    """Rows by table, names of files, and what MLflow has of the workload."""

    tables: dict[str, Counter[str]]
    files: frozenset[str]
    registry: dict[str, Any]

    def differences(self, undisturbed: "Traces") -> list[str]:
        """What is not as it is in the undisturbed round, in words; lost and doubled rows among them."""
        found = []
        for table in sorted(self.tables | undisturbed.tables):
            mine, theirs = self.tables.get(table, Counter()), undisturbed.tables.get(table, Counter())
            found += [f"{table}: {count} of {row[:400]} too many" for row, count in (mine - theirs).most_common(SHOWN)]
            found += [f"{table}: {count} of {row[:400]} missing" for row, count in (theirs - mine).most_common(SHOWN)]
        found += [f"file {name} too many" for name in sorted(self.files - undisturbed.files)]
        found += [f"file {name} missing" for name in sorted(undisturbed.files - self.files)]
        for key in sorted(self.registry | undisturbed.registry):
            has, should = self.registry.get(key), undisturbed.registry.get(key)
            if has != should:
                found.append(f"MLflow's {key}: {str(has)[:300]}, undisturbed {str(should)[:300]}")
        return found


def traces(world: World, config_file: Path) -> Traces:
    """What is there now."""
    config = load_config(config_file)
    return Traces(_tables(config), _files(world, config), _registry(world, config))


def _tables(config: Config) -> dict[str, Counter[str]]:
    if not config.database.is_file():
        return {}
    with duckdb.connect(str(config.database)) as connection:
        columns = connection.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal and table_name in "
            "(select table_name from duckdb_tables()) order by 1, column_index"
        ).fetchall()
        kept: dict[str, list[str]] = {}
        for table, column, kind in columns:
            if kind != "TIMESTAMP" and column not in VARYING and table != "schema_migrations":
                kept.setdefault(table, []).append(column)
        found = {
            table: Counter(_row(names, row) for row in connection.table(table).select(*names).fetchall())
            for table, names in kept.items()
        }
        # A stage that has taken nothing but time is on record only where it was begun twice.
        found["costs"] = Counter({row: count for row, count in found["costs"].items() if NOTHING not in row})
        return found


def _row(names: list[str], row: tuple[Any, ...]) -> str:
    shown = dict(zip(names, row, strict=True))
    if "evidence" in shown:
        shown["evidence"] = _without_measured(json.loads(shown["evidence"]))
    return UUID.sub("UUID", json.dumps(shown, sort_keys=True, default=str))


def _without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_measured(part) for key, part in value.items() if key not in MEASURED}
    return [_without_measured(part) for part in value] if isinstance(value, list) else value


def _files(world: World, config: Config) -> frozenset[str]:
    """Names of the workload's own files, without logs."""
    if not config.folder.is_dir():
        return frozenset()
    files = (path for path in config.folder.rglob("*") if path.is_file() and path.suffix not in (".log", ".lock"))
    return frozenset(str(path.relative_to(world.home)) for path in files)


def _registry(world: World, config: Config) -> dict[str, Any]:
    """Versions, aliases and the rounds' runs that are not deleted, with what is logged in them."""
    file = world.home / "mlflow.db"
    if not file.is_file():
        return {}
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        runs = db.execute("select run_uuid, status from runs where lifecycle_stage = 'active'").fetchall()
        return {
            "versions": db.execute("select name, version, current_stage from model_versions").fetchall(),
            "aliases": db.execute("select alias, version from registered_model_aliases order by 1").fetchall(),
            "runs": [status for _, status in runs],
            "artifacts": [_artifacts(config, run) for run, _ in runs],
        } | {f"{name} of a run": value for run, _ in runs for name, value in _logged(db, run)}


def _logged(db: sqlite3.Connection, run: str) -> Iterator[tuple[str, Any]]:
    """How many values each metric has, and each parameter's value."""
    yield from db.execute("select 'metric ' || key, count(*) from metrics where run_uuid = ? group by 1", (run,))
    yield from db.execute("select 'parameter ' || key, value from params where run_uuid = ?", (run,))


def _artifacts(config: Config, run: str) -> list[str]:
    root = config.home / "mlartifacts" / run
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def leftovers(world: World) -> list[str]:
    """Files and folders that are there only while something is being written, or of a run that was deleted."""
    paths = (path for path in world.home.rglob("*") if UNFINISHED.search(path.name))
    return [f"unfinished {path.relative_to(world.home)}" for path in paths]


def unreadable(world: World) -> list[str]:
    """Files that cannot be read to their end."""
    return [f"cannot read {path.relative_to(world.home)}: {why}" for path, why in _unreadable(world.home)]


def _unreadable(home: Path) -> Iterator[tuple[Path, str]]:
    for path in home.rglob("*"):
        check = {".parquet": _read_parquet, ".safetensors": _read_safetensors, ".json": _read_json}.get(path.suffix)
        if check is not None and path.is_file():
            try:
                check(path)
            except Exception as error:  # noqa: BLE001 - each library has errors of its own
                yield path, str(error)[:120]


def _read_parquet(path: Path) -> None:
    from pyarrow import parquet

    parquet.read_table(path, partitioning=None).validate(full=True)


def _read_safetensors(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            file.get_tensor(name)


def _read_json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))
