"""What the tests share: a config on an empty home, builders of the records that sources yield, and a round's steps.

from tests.conftest import Workload, correction, inference, thumb
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tasks.adapters import adapter_sha256
from tasks.blend import blend
from tasks.collect import Collected, collect
from tasks.config import Config
from tasks.db import State
from tasks.rounds import STAGES, Round, open_or_resume, record_evidence, writing
from tasks.screen import screen
from tasks.split import split
from tasks.suite import active_cases

Record = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SYSTEM = {"role": "system", "content": "Answer."}


def at(minutes: int) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def inference(id_: str, text: str | None = None, output: Any = "wrong", minutes: int = 0, **slices: str) -> Record:
    return {
        "record": "inference",
        "inference_id": id_,
        "messages": [SYSTEM, {"role": "user", "content": text or distinct(id_)}],
        "output": output,
        "model_version": "base",
        "created_at": at(minutes),
        "slices": slices,
    }


def correction(id_: str, corrected: Any = "right", by: str = "person:maria", minutes: int = 1) -> Record:
    return {
        "record": "correction",
        "inference_id": id_,
        "corrected_output": corrected,
        "producer": by,
        "created_at": at(minutes),
    }


def thumb(id_: str, value: str = "up", by: str = "person:maria", minutes: int = 1) -> Record:
    return {"record": "thumb", "inference_id": id_, "value": value, "producer": by, "created_at": at(minutes)}


def rating(id_: str, value: int = 5, by: str = "model:judge", minutes: int = 1) -> Record:
    return {"record": "rating", "inference_id": id_, "value": value, "producer": by, "created_at": at(minutes)}


def preference(id_: str, chosen: Any = "this", rejected: Any = "that", **stated: Any) -> Record:
    return {
        "record": "preference",
        "preference_id": id_,
        "messages": [SYSTEM, {"role": "user", "content": distinct(id_)}],
        "chosen": chosen,
        "rejected": rejected,
        "producer": "person:maria",
        "created_at": at(0),
    } | stated


def retraction(id_: str, by: str = "person:maria", minutes: int = 9, **stated: str) -> Record:
    return {"record": "retraction", "inference_id": id_, "producer": by, "created_at": at(minutes)} | stated


def demonstration(id_: str, text: str | None = None, answer: str = "right", by: str = "rule:seed") -> Record:
    return {
        "record": "demonstration",
        "demonstration_id": id_,
        "messages": [
            SYSTEM,
            {"role": "user", "content": text or distinct(id_)},
            {"role": "assistant", "content": answer},
        ],
        "producer": by,
        "created_at": at(0),
        "slices": {},
    }


def distinct(key: str, words: int = 12) -> str:
    """A text that is no near-duplicate of another key's."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return " ".join(f"w{digest[i : i + 4]}" for i in range(0, 4 * words, 4))


def traffic(failures: int, successes: int = 0, given: int = 0, prefix: str = "") -> list[Record]:
    """Corrected inferences, confirmed ones, and given demonstrations, all with texts of their own."""
    failed = [
        record
        for i in range(failures)
        for record in (inference(f"{prefix}f{i:03}"), correction(f"{prefix}f{i:03}", f"right {prefix}{i}"))
    ]
    confirmed = [
        record
        for i in range(successes)
        for record in (inference(f"{prefix}s{i:03}", output="fine"), thumb(f"{prefix}s{i:03}"))
    ]
    return failed + confirmed + [demonstration(f"{prefix}d{i:03}") for i in range(given)]


def lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def make_config(folder: Path, **changes: Any) -> Config:
    """A valid config whose every path lies in `folder`."""
    data: dict[str, Any] = {
        "name": "tickets",
        "home": str(folder / "home"),
        "sources": [{"name": "production", "path": str(folder / "traffic" / "*.jsonl"), "on_malformed": "refuse"}],
        "scorer": {"type": "exact"},
        "model": {"base": str(folder / "base")},
        "adapter": {"members": 1},
    }
    return Config.model_validate(data | changes)


def write_config(config: Config, path: Path) -> Path:
    """Write a config so that `load_config` reads the same one back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Workload:
    """A workload on disk, driven through the real stages."""

    folder: Path
    config: Config

    def write(self, name: str, records: Iterable[Record] | str | bytes) -> Path:
        """Replace one source file; text and bytes are written as they are."""
        path = self.folder / "traffic" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        content = records if isinstance(records, str | bytes) else lines(records)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def collect(self, name: str | None = None, records: Iterable[Record] | str | bytes = ()) -> Collected:
        if name is not None:
            self.write(name, records)
        return collect(self.config)

    def open(self) -> Round:
        return open_or_resume(self.config, "person:test")

    def to_split(self) -> Round:
        """A round that has been screened and split; its failures are left unclustered."""
        round_ = self.open()
        screen(self.config, round_)
        self.skip(round_, "cluster")
        split(self.config, round_)
        return round_

    def to_gate(self, right: Callable[[str, Mapping[str, Any]], bool]) -> Round:
        """A round whose models have answered: `right(role, case)` says which cases each gets right."""
        round_ = self.to_split()
        blend(self.config, round_)
        self.skip(round_, "train")
        self.answer(round_, right)
        self.skip(round_, "regress")
        return round_

    def skip(self, round_: Round, stage: str) -> None:
        """Move the round past a stage that needs a model library."""
        with writing(self.config, round_, stage) as tx:
            if stage == "cluster":
                record_evidence(tx, round_, clusters=[])
            if stage == "train":
                tx.run("set_round_adapter", round_id=round_.round_id, adapter_path="a", adapter_sha256="b" * 64)

    def answer(self, round_: Round, right: Callable[[str, Mapping[str, Any]], bool]) -> None:
        import polars as pl

        with State(self.config.database).transaction() as tx:
            cases = active_cases(tx, self.config, round_.round_id)
            frame = pl.DataFrame(
                [
                    {
                        "round_id": round_.round_id,
                        "role": role,
                        "model_version": role,
                        "case_id": case["case_id"],
                        "output": case["expected"] if right(role, case) else "no",
                        "score": float(right(role, case)),
                        "is_right": right(role, case),
                    }
                    for role in ("champion", "challenger")
                    for case in cases
                ]
            )
            if cases:
                tx.load("insert_case_results", frame)

    def close(self, round_: Round, verdict: str = "hold", version: str | None = None) -> None:
        """Close a round under a verdict as the last stages do, without a registry."""
        with State(self.config.database).transaction() as tx:
            tx.run("set_verdict", round_id=round_.round_id, verdict=verdict)
            if version is not None:
                tx.run("set_challenger", round_id=round_.round_id, version=version)
            tx.run("close_round", round_id=round_.round_id, closed_at=datetime(2026, 3, 2))

    def register(self, round_: Round, version: str = "1", adapter: Path = Path("a"), at: str = "promote") -> None:
        """What the registry's stage writes to the state; then the round is at its promotion, or before it."""
        sha256 = adapter_sha256(adapter) if adapter.is_dir() else "b" * 64
        row = self.rows("select snapshot_hash from rounds where round_id = ?", round_.round_id)[0]
        with writing(self.config, round_, "register") as tx:
            tx.run(
                "insert_version",
                version=version,
                round_id=round_.round_id,
                snapshot_hash=row["snapshot_hash"],
                adapter_path=str(adapter),
                adapter_sha256=sha256,
                created_at=datetime(2026, 3, 2),
            )
            tx.run("set_challenger", round_id=round_.round_id, version=version)
        for stage in STAGES[STAGES.index("shadow") : STAGES.index(at)]:
            self.skip(round_, stage)

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with duckdb.connect(str(self.config.database), read_only=True) as connection:
            found = connection.execute(sql, parameters or None)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def value(self, sql: str, *parameters: Any) -> Any:
        return next(iter(self.rows(sql, *parameters)[0].values()))

    def content(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table that has some, to tell that nothing has changed."""
        if not self.config.database.is_file():
            return {}
        with duckdb.connect(str(self.config.database), read_only=True) as connection:
            tables = connection.execute("select table_name from duckdb_tables() order by 1").fetchall()
            rows = {name: sorted(connection.table(name).fetchall(), key=repr) for (name,) in tables}
        return {name: found for name, found in rows.items() if found and name != "schema_migrations"}


def make_workload(folder: Path, **changes: Any) -> Workload:
    folder.mkdir(parents=True, exist_ok=True)
    return Workload(folder, make_config(folder, **changes))


class Saved:
    """A workload that was built once; each test gets it as it was then, in the same place."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._copy = workload.folder.with_name(f"{workload.folder.name}.saved")
        shutil.copytree(workload.folder, self._copy)

    def restored(self) -> Workload:
        shutil.rmtree(self._workload.folder)
        shutil.copytree(self._copy, self._workload.folder)
        return self._workload


def quarantining(folder: Path) -> Workload:
    """A workload that quarantines what is malformed."""
    source = {"name": "production", "path": str(folder / "traffic" / "*.jsonl"), "on_malformed": "quarantine"}
    return make_workload(folder, sources=[source])


@pytest.fixture
def fresh_config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    return make_workload(tmp_path)


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Another Python process of this environment, with the project importable, its output piped."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )
