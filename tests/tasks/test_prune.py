"""What is pruned is what nobody refers to: whatever happened before, nothing that anything needs is gone afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import Config
from tasks.db import State
from tasks.errors import StateError
from tasks.prune import prune, prune_after_round
from tests.conftest import Workload, make_config

NOW = datetime(2026, 3, 1)
WORKING = (
    "train.log",
    "train.spec.json",
    "sft.done.json",
    "checkpoints/sft/checkpoint-5/weights",
    "member-0/adapter-x/w",
)


class Past(NamedTuple):
    """How a round of a history ended: whether it became a version, and which snapshot it had (None: it had none)."""

    is_version: bool
    snapshot: int | None
    has_adapter: bool = True


def adapter(number: int) -> str:
    return f"adapter-{number:012x}"


def snapshot_file(number: int) -> str:
    return f"snapshot-{number:012x}.parquet"


def write(path: Path, text: str = "x" * 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def build(config: Config, rounds: list[Past], unfinished: int | None = None, prefix: Path | None = None) -> None:
    """The rows and files that a history leaves; paths on record begin with `prefix`, or the workload's folder."""
    folder, on_record = config.folder, prefix or config.folder
    with State(config.database).transaction() as tx:
        tx.run(
            "insert_collection", ingest_seq=1, started_at=NOW, finished_at=NOW, read_rows=0, stored_rows=0,
            known_rows=0, quarantined_rows=0,
        )  # fmt: skip
        for number, past in enumerate(rounds, 1):
            moment = NOW + timedelta(days=number)
            tx.run("insert_round", round_key=f"k{number}", config_sha256="c", requested_by="x", opened_at=moment)
            place = folder / "rounds" / str(number)
            for name in (*WORKING, "probe.json", "flips.parquet"):
                write(place / name)
            if past.snapshot is not None:
                write(folder / "snapshots" / snapshot_file(past.snapshot))
                path = str(on_record / "snapshots" / snapshot_file(past.snapshot))
                tx.run(
                    "insert_snapshot", snapshot_hash=f"s{past.snapshot}", round_id=number, path=path, rows=1,
                    created_at=moment,
                )  # fmt: skip
                tx.run("set_round_snapshot", round_id=number, snapshot_hash=f"s{past.snapshot}")
            if past.has_adapter:
                write(place / adapter(number) / "adapter_model.safetensors")
                path = str(on_record / "rounds" / str(number) / adapter(number))
                tx.run("set_round_adapter", round_id=number, adapter_path=path, adapter_sha256="a")
                if past.is_version and past.snapshot is not None:
                    tx.run(
                        "insert_version", version=str(number), round_id=number, snapshot_hash=f"s{past.snapshot}",
                        adapter_path=path, adapter_sha256="a", created_at=moment,
                    )  # fmt: skip
            if number != unfinished:
                tx.run("close_round", round_id=number, closed_at=moment)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        "state.duckdb", "state.lock"
    }  # fmt: skip


def needed(config: Config, rounds: list[Past], unfinished: int | None) -> Iterator[str]:
    """What must be there after any pruning: of versions and unfinished rounds, and of the latest closed ones all."""
    closed = [number for number in range(1, len(rounds) + 1) if number != unfinished]
    recent = set(closed[max(0, len(closed) - config.budget.keep_rounds) :])
    for number, past in enumerate(rounds, 1):
        whole = number in recent or number == unfinished
        is_version = past.is_version and past.has_adapter and past.snapshot is not None
        if whole:
            yield from (f"rounds/{number}/{name}" for name in WORKING)
        if whole or is_version:
            yield f"rounds/{number}/probe.json"
            yield from ([f"rounds/{number}/{adapter(number)}/adapter_model.safetensors"] if past.has_adapter else [])
            yield from ([f"snapshots/{snapshot_file(past.snapshot)}"] if past.snapshot is not None else [])
        yield f"rounds/{number}/flips.parquet"


pasts = st.builds(
    Past, is_version=st.booleans(), snapshot=st.one_of(st.none(), st.integers(0, 3)), has_adapter=st.booleans()
)


@settings(deadline=None, max_examples=40)
@given(rounds=st.lists(pasts, max_size=7), keep=st.integers(0, 4), is_open=st.booleans(), elsewhere=st.booleans())
def test_whatever_happened_nothing_that_is_referred_to_is_deleted(
    rounds: list[Past], keep: int, is_open: bool, elsewhere: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And all else of closed rounds is, also where paths on record are of another folder."""
    folder = tmp_path_factory.mktemp("prune")
    config = make_config(folder, budget={"keep_rounds": keep})
    unfinished = len(rounds) if is_open and rounds else None
    build(config, rounds, unfinished, Path("/somewhere/else/tickets") if elsewhere else None)
    before = files(config.folder)
    would = prune(config, dry_run=True)
    assert files(config.folder) == before
    done = prune(config)
    left, kept = files(config.folder), set(needed(config, rounds, unfinished))
    assert kept <= left
    assert left <= kept | ({name for name in before if name.startswith("snapshots/")} if unfinished else set())
    assert (done.paths, done.bytes) == (would.paths, would.bytes)
    assert done.bytes == 100 * len(before - left)
    assert prune(config).paths == ()
    shutil.rmtree(folder)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path, budget={"keep_rounds": 1})


def test_what_a_kill_left_goes_the_next_time(config: Config) -> None:
    build(config, [Past(False, 1), Past(True, 2), Past(True, 3)])
    shutil.rmtree(config.round_folder(1) / "checkpoints")
    (config.round_folder(1) / adapter(1) / "adapter_model.safetensors").unlink()
    prune(config)
    assert files(config.round_folder(1)) == {"flips.parquet"}


def test_a_snapshot_that_a_later_round_shares_stays(config: Config) -> None:
    build(config, [Past(False, 7), Past(True, 7), Past(False, 8), Past(False, 9)])
    prune(config)
    assert {path.name for path in (config.folder / "snapshots").iterdir()} == {snapshot_file(7), snapshot_file(9)}


def test_links_are_neither_followed_nor_deleted(config: Config, tmp_path: Path) -> None:
    """Somebody moved checkpoints to a larger disk, and somebody else the whole folder of a round."""
    build(config, [Past(False, 1), Past(False, 2), Past(False, 3)])
    outside = write(tmp_path / "outside" / "precious").parent
    (config.round_folder(1) / "shortcut").symlink_to(outside)
    moved = tmp_path / "moved"
    shutil.move(config.round_folder(2), moved)
    config.round_folder(2).symlink_to(moved)
    found = prune(config)
    assert (outside / "precious").is_file()
    assert (config.round_folder(1) / "shortcut").is_symlink()
    assert (moved / "train.log").is_file()
    assert any(line.startswith("rounds/1/shortcut: a symbolic link") for line in found.left)
    assert any(line.startswith("rounds/2/train.log: a symbolic link, or behind one") for line in found.left)
    assert not (config.round_folder(1) / "train.log").exists()


def test_a_link_within_a_folder_that_goes_does_not_lead_out_of_it(config: Config, tmp_path: Path) -> None:
    build(config, [Past(False, 1), Past(False, 2)])
    outside = write(tmp_path / "outside" / "precious").parent
    (config.round_folder(1) / "checkpoints" / "elsewhere").symlink_to(outside)
    prune(config)
    assert not (config.round_folder(1) / "checkpoints").exists()
    assert (outside / "precious").is_file()


def test_what_the_state_does_not_know_is_left_alone(config: Config) -> None:
    build(config, [Past(False, 1), Past(False, 2)])
    strangers = [config.folder / "rounds" / "99" / "x", config.folder / "snapshots" / "mine.parquet", config.home / "x"]
    for path in strangers:
        write(path)
    prune(config)
    assert all(path.is_file() for path in strangers)


def test_nothing_is_made_where_nothing_was_collected(config: Config) -> None:
    with pytest.raises(StateError, match="does not exist yet"):
        prune(config)
    said: list[str] = []
    prune_after_round(config, said.append)
    assert len(said) == 1 and not config.folder.exists()


def test_a_file_that_cannot_be_deleted_is_told_and_spoils_nothing(config: Config, monkeypatch: Any) -> None:
    """A file system that has become read-only, say."""
    build(config, [Past(False, 1), Past(False, 2)])

    def refuse(path: Path, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    said: list[str] = []
    prune_after_round(config, said.append)
    assert f"Not pruned: rounds/1/{adapter(1)}: Permission denied" in said
    assert not (config.round_folder(1) / "train.log").exists()


def test_a_pruned_round_still_says_what_it_was(workload: Workload) -> None:
    from tasks.rounds import read_evidence

    build(workload.config, [Past(False, 1), *[Past(True, 2)] * 6])
    prune(workload.config)
    assert len(read_evidence(workload.config)) == 7
    assert not (workload.config.round_folder(1) / adapter(1)).exists()
