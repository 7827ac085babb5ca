"""One file holds all of a workload's state, and a restore puts it in place whole, anywhere, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard

from tasks import restore as restoring
from tasks.adapters import adapter_sha256
from tasks.backup import FILES, HEAD, backup, inside
from tasks.blend import blend
from tasks.config import Config
from tasks.db import State, newest_schema
from tasks.errors import StateError
from tasks.live_metrics import find_or_create_experiment, find_or_create_run
from tasks.prune import prune
from tasks.restore import restore
from tasks.rounds import writing
from tasks.snapshots import read_snapshot
from tests.conftest import ROOT, Saved, Workload, make_config, make_workload, python, traffic


def make_adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(2000))
    (folder / "adapter_config.json").write_text('{"r": 8}')
    return folder


def versioned(workload: Workload) -> Workload:
    """A workload whose first round became version 1, with its files, and MLflow's store as a client has made it."""
    config = workload.config
    workload.collect("a", traffic(failures=10, successes=10, given=5))
    round_ = workload.to_split()
    blend(config, round_)
    adapter = make_adapter(config.round_folder(1) / "adapter-0123456789ab")
    (config.round_folder(1) / "probe.json").write_text("[]")
    (config.round_folder(1) / "train.log").write_text("much")
    sha = adapter_sha256(adapter)
    with writing(config, round_, "train") as tx:
        tx.run("set_round_adapter", round_id=1, adapter_path=str(adapter), adapter_sha256=sha)
    for stage in ("regress", "gate"):
        workload.skip(round_, stage)
    snapshot = workload.value("select snapshot_hash from rounds")
    with writing(config, round_, "register") as tx:
        tx.run(
            "insert_version", version="1", round_id=1, snapshot_hash=snapshot, adapter_path=str(adapter),
            adapter_sha256=sha, created_at=datetime(2026, 3, 2),
        )  # fmt: skip
    workload.close(round_, "promote", "1")
    (config.folder / "report.html").write_text("<p>report</p>")
    (config.home / "tickets.redaction-key").write_bytes(b"k" * 32)
    registry(config)
    return workload


def registry(config: Config) -> None:
    """What MLflow has of an experiment with a run, by the tables that address artifacts, and one artifact."""
    artifacts = config.home / "mlartifacts" / "run" / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "verdict.md").write_text("promoted")
    address = config.artifact_location
    with sqlite3.connect(config.home / "mlflow.db") as connection:
        for table, column in (
            ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
        ):  # fmt: skip
            connection.execute(f"create table {table} (id integer, {column} text)")
            connection.execute(f"insert into {table} values (1, ?), (2, ?)", [f"{address}/run/artifacts", "s3://else"])
    connection.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved(versioned(make_workload(tmp_path_factory.mktemp("backup") / "workload")))


@pytest.fixture
def workload(saved: Saved) -> Workload:
    return saved.restored()


@pytest.fixture
def archive(workload: Workload, tmp_path: Path) -> Path:
    return backup(workload.config, tmp_path / "t.tar.zst").file


def elsewhere(tmp_path: Path) -> Config:
    return make_config(tmp_path / "another" / "machine")


def rows(config: Config) -> dict[str, Any]:
    return Workload(config.home.parent, config).content()


def without_paths(content: dict[str, Any]) -> dict[str, Any]:
    """What a state says, apart from where its files are."""
    places = ("home/tickets",)
    return {
        table: [tuple("PATH" if any(p in str(v) for p in places) else v for v in row) for row in found]
        for table, found in content.items()
    }


def test_a_backup_is_one_file_that_only_its_owner_may_read(archive: Path, tmp_path: Path) -> None:
    assert archive.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [archive]
    with zstandard.open(archive, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        names = [member.name for member in tar]
    assert (names[0], names[-1]) == (HEAD, FILES)
    assert "state/rounds/1/adapter-0123456789ab/adapter_model.safetensors" in names
    assert not any("train.log" in name for name in names), "what only served to run a round"


def test_a_state_that_is_lost_is_there_again_with_every_row_and_file(
    workload: Workload, archive: Path, saved: Saved
) -> None:
    before = workload.content()
    shutil.rmtree(workload.config.home)
    done = restore(workload.config, archive)
    assert workload.content() == before
    assert done.aside is None
    config = workload.config
    assert (config.home / "tickets.redaction-key").read_bytes() == b"k" * 32
    assert (config.folder / "report.html").read_text() == "<p>report</p>"
    assert (config.home / "mlartifacts" / "run" / "artifacts" / "verdict.md").read_text() == "promoted"
    workload.collect("b", traffic(2, prefix="b"))
    assert workload.open().round_id == 2, "it goes on from there"
    assert prune(config).paths == ()


def test_on_another_machine_its_records_name_the_files_where_they_are_now(
    workload: Workload, archive: Path, tmp_path: Path
) -> None:
    config = elsewhere(tmp_path)
    restore(config, archive)
    assert without_paths(rows(config)) == without_paths(workload.content())
    with State(config.database).transaction() as tx:
        version = tx.rows("get_version", version="1")[0]
        snapshot = tx.rows("get_snapshot", snapshot_hash=version["snapshot_hash"])[0]
        round_ = tx.rows("get_round", round_id=1)[0]
    assert adapter_sha256(Path(version["adapter_path"])) == version["adapter_sha256"]
    assert Path(version["adapter_path"]).is_relative_to(config.folder)
    assert round_["adapter_path"] == version["adapter_path"]
    assert read_snapshot(Path(snapshot["path"]), version["snapshot_hash"]).height
    with sqlite3.connect(config.home / "mlflow.db") as connection:
        for table, column in (("runs", "artifact_uri"), ("model_versions", "storage_location")):
            found = [value for (value,) in connection.execute(f"select {column} from {table} order by id")]
            assert found == [f"{config.artifact_location}/run/artifacts", "s3://else"]
    connection.close()


def test_a_state_before_its_first_round_is_kept_too(tmp_path: Path) -> None:
    young = make_workload(tmp_path / "here")
    young.collect("a", traffic(2))
    restore(elsewhere(tmp_path), backup(young.config, tmp_path / "t.tar.zst").file)
    assert rows(elsewhere(tmp_path)) == young.content()


@pytest.mark.slow
def test_mlflow_reads_its_artifacts_where_they_are_restored(tmp_path: Path) -> None:
    """MLflow's own tables, which the statements speak of, and its own client."""
    from mlflow import MlflowClient

    workload = make_workload(tmp_path / "here")
    workload.collect("a", traffic(2))
    config = workload.config
    client: Any = MlflowClient(config.tracking_uri)
    find_or_create_experiment(client, "tickets", config.artifact_location)
    run = find_or_create_run(client, config.artifact_location, "tickets", "round 1", "tickets/1")
    client.log_text(run, "promoted", "verdict.md")
    other = elsewhere(tmp_path)
    restore(other, backup(config, tmp_path / "t.tar.zst").file)
    shutil.rmtree(config.home)
    copy = MlflowClient(other.tracking_uri).download_artifacts(run, "verdict.md", str(tmp_path))
    assert Path(copy).read_text() == "promoted"


def test_a_state_that_is_there_is_not_replaced_unasked(workload: Workload, archive: Path) -> None:
    workload.collect("b", traffic(2, prefix="b"))
    before = workload.content()
    with pytest.raises(StateError, match=r"there is a state in .* already; .* --force"):
        restore(workload.config, archive)
    assert workload.content() == before


def test_what_is_replaced_is_moved_aside_whole(workload: Workload, archive: Path) -> None:
    older = workload.content()
    workload.collect("b", traffic(2, prefix="b"))
    newer = workload.content()
    done = restore(workload.config, archive, force=True)
    assert workload.content() == older
    assert done.aside is not None
    with duckdb.connect(str(done.aside / "tickets" / "state.duckdb"), read_only=True) as connection:
        held = connection.execute("select count(*) from inferences").fetchone()
    assert held == (len(newer["inferences"]),)
    assert (done.aside / "tickets.redaction-key").is_file()


class Killed(BaseException):
    """Stands for a SIGKILL: nothing that catches errors catches it."""


def killed_at(place: int) -> Callable[[Path, Path], Path]:
    """Path.rename that dies instead of renaming for the so many-th time."""
    counted = iter(range(10_000))
    rename = Path.rename

    def die(path: Path, target: Path) -> Path:
        if next(counted) == place:
            raise Killed
        return rename(path, target)

    return die


@pytest.mark.parametrize("place", range(14))
def test_a_restore_that_is_killed_in_between_is_finished_by_running_it_again(
    workload: Workload, archive: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    older = workload.content()
    workload.collect("b", traffic(2, prefix="b"))
    config = workload.config
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Path, "rename", killed_at(place))
        restore(config, archive, force=True)
    with (
        pytest.raises(StateError, match="a restore was cut short or is under way; finish it with the same"),
        State(config.database).transaction(),
    ):
        pass
    done = restore(config, archive)
    assert workload.content() == older
    assert done.aside is not None and (done.aside / "tickets" / "state.duckdb").is_file()
    assert (config.home / "mlartifacts" / "run" / "artifacts" / "verdict.md").is_file()
    assert not State(config.database).half_restored.parent.exists()


def test_a_restore_into_an_empty_home_that_is_killed_is_finished_too(
    workload: Workload, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in place already must not be taken for an old state."""
    config = elsewhere(tmp_path)
    for place in (0, 1, 3, 5):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Path, "rename", killed_at(place))
            restore(config, archive)
        done = restore(config, archive)
        assert done.aside is None
        assert without_paths(rows(config)) == without_paths(workload.content())
        assert (config.home / "tickets.redaction-key").is_file() and (config.home / "mlflow.db").is_file()

        shutil.rmtree(config.home)


def test_a_kill_before_anything_is_replaced_leaves_the_old_state(
    workload: Workload, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload.collect("b", traffic(2, prefix="b"))
    before = workload.content()

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(restoring, "_mark", die)
        restore(workload.config, archive, force=True)
    assert workload.content() == before
    restore(workload.config, archive, force=True)
    assert workload.content() != before


def test_a_killed_backup_leaves_the_earlier_file_as_it_was(workload: Workload, archive: Path) -> None:
    before = archive.read_bytes()
    code = """
    import sys, os, signal
    from pathlib import Path
    from tests.conftest import make_config
    import tasks.backup as b
    add = b._add
    def die(tar, name, path):
        if name == "redaction-key":
            os.kill(os.getpid(), signal.SIGKILL)
        return add(tar, name, path)
    b._add = die
    b.backup(make_config(Path(sys.argv[1])), Path(sys.argv[2]))
    """
    other = python(code, str(workload.folder), str(archive), cwd=ROOT)
    other.communicate()
    assert other.returncode == -9
    assert archive.read_bytes() == before


def repacked(archive: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> Path:
    """The archive with each of its members as `change` (name, content) makes them."""
    out = archive.with_name("changed.tar.zst")
    with (
        zstandard.open(archive, "rb") as packed,
        tarfile.open(fileobj=packed, mode="r|") as tar,
        zstandard.open(out, "wb") as changed,
        tarfile.open(fileobj=changed, mode="w|") as new,
    ):
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            for name, data in change(member.name, content.read()):
                made = tarfile.TarInfo(name)
                made.size = len(data)
                new.addfile(made, io.BytesIO(data))
    return out


def edited(name: str, **changes: Any) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
    """Change keys of the JSON in a member."""

    def change(found: str, data: bytes) -> list[tuple[str, bytes]]:
        return [(found, json.dumps(json.loads(data) | changes).encode() if found == name else data)]

    return change


def refused(config: Config, archive: Path, match: str) -> None:
    with pytest.raises(StateError, match=match) as caught:
        restore(config, archive)
    assert "\n" not in str(caught.value)
    assert not config.database.exists()
    assert not State(config.database).half_restored.exists()


def test_a_backup_of_a_newer_schema_is_refused(archive: Path, tmp_path: Path) -> None:
    newer = repacked(archive, edited(HEAD, schema=newest_schema() + 1))
    refused(elsewhere(tmp_path), newer, "was written by a newer version .* update this installation")


def test_a_backup_of_another_workload_is_refused(archive: Path, tmp_path: Path) -> None:
    refused(make_config(tmp_path / "x", name="other"), archive, "is a backup of tickets, and the config is of other")


def test_an_edited_file_is_named(archive: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        return [(name, data[:-1] + b"!" if name.endswith("safetensors") else data)]

    refused(
        elsewhere(tmp_path), repacked(archive, change), "is damaged: state/rounds/1/adapter.*safetensors is not the"
    )


@pytest.mark.parametrize("added", ["state/extra", "../../outside", "/tmp/absolute"])
def test_what_is_not_listed_or_leads_out_of_the_folder_is_refused(archive: Path, tmp_path: Path, added: str) -> None:
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        return [(name, data), *([(added, b"evil")] if name == HEAD else [])]

    refused(elsewhere(tmp_path), repacked(archive, change), "is damaged|cannot be read as a backup")
    assert not (tmp_path / "outside").exists() and not Path("/tmp/absolute").exists()


def test_a_link_in_it_is_refused(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "link.tar.zst"
    with (
        zstandard.open(archive, "rb") as packed,
        tarfile.open(fileobj=packed, mode="r|") as tar,
        zstandard.open(out, "wb") as changed,
        tarfile.open(fileobj=changed, mode="w|") as new,
    ):
        first = tar.next()
        assert first is not None
        new.addfile(first, tar.extractfile(first))
        link = tarfile.TarInfo("state/rounds")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        new.addfile(link)
    refused(elsewhere(tmp_path), out, "is no plain file")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_refused(archive: Path, tmp_path: Path, share: float) -> None:
    data = archive.read_bytes()
    cut = tmp_path / "cut.tar.zst"
    cut.write_bytes(data[: int(share * len(data))])
    refused(elsewhere(tmp_path), cut, "cannot be read as a backup|cut short|is no backup|damaged")


def test_any_other_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a backup, " * 100)
    refused(elsewhere(tmp_path), other, "cannot be read as a backup")
    refused(elsewhere(tmp_path), tmp_path / "nothing", "does not exist; give a file that `flywheel backup` wrote")


def test_a_home_of_several_workloads_keeps_the_registry_that_they_share(
    workload: Workload, archive: Path, tmp_path: Path
) -> None:
    neighbour = make_config(workload.folder, name="other")
    with State(neighbour.database).transaction():
        pass
    with pytest.raises(StateError, match=r"holds other workloads too \(other\), which share its MLflow store"):
        restore(workload.config, archive, force=True)


def test_a_round_that_somebody_runs_is_not_replaced_under_them(workload: Workload, archive: Path) -> None:
    workload.collect("b", traffic(2, prefix="b"))
    workload.open()
    with pytest.raises(StateError, match="round 2 is being run by"):
        restore(workload.config, archive, force=True)


def test_a_registry_that_a_server_has_open_is_not_replaced_under_it(workload: Workload, archive: Path) -> None:
    store = workload.config.home / "mlflow.db"
    hold = f"store = open({str(store)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"open\n"
        before = workload.content()
        with pytest.raises(StateError, match=rf"process {server.pid} \(python.*\) has .*mlflow.db open .* stop it"):
            restore(workload.config, archive, force=True)
        assert workload.content() == before
        server.communicate(b"\n")
    assert restore(workload.config, archive, force=True).aside is not None


def test_what_a_version_needs_and_is_not_there_is_told(workload: Workload, tmp_path: Path) -> None:
    shutil.rmtree(workload.config.round_folder(1) / "adapter-0123456789ab")
    made = backup(workload.config, tmp_path / "t.tar.zst")
    assert [Path(path).name for path in made.missing] == ["adapter-0123456789ab"]


def test_what_is_outside_is_named(workload: Workload, tmp_path: Path) -> None:
    uri = "postgresql://db.example:5432/mlflow"
    data = workload.config.model_dump(mode="json") | {"mlflow": {"tracking_uri": uri}}
    made = backup(Config.model_validate(data), tmp_path / "t.tar.zst")
    assert any("MLflow's store (postgresql://db.example)" in thing for thing in made.outside)


def test_a_backup_beside_a_writer_is_of_one_moment(workload: Workload, tmp_path: Path) -> None:
    """It waits for the transaction that is open, and holds all of it."""
    other = python(
        """
        import sys, time
        from pathlib import Path
        from tasks.db import State
        with State(Path(sys.argv[1])).transaction() as tx:
            print("holding", flush=True)
            time.sleep(1.0)
            tx.run("set_verdict", round_id=1, verdict="reject")
        """,
        str(workload.config.database),
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "holding\n"
    started = time.monotonic()
    archive = backup(workload.config, tmp_path / "t.tar.zst").file
    assert time.monotonic() - started > 0.4
    other.communicate()
    config = elsewhere(tmp_path)
    restore(config, archive)
    assert Workload(config.home.parent, config).value("select verdict from rounds") == "reject"


def test_where_a_file_is_within_the_folder_is_told_by_its_path_alone() -> None:
    assert str(inside(".flywheel/tickets/rounds/3/adapter-a")) == "rounds/3/adapter-a"
    assert str(inside("/srv/x/tickets/snapshots/snapshot-b.parquet")) == "snapshots/snapshot-b.parquet"


def test_a_list_of_files_has_sizes_and_hashes(archive: Path) -> None:
    found: dict[str, bytes] = {}
    with zstandard.open(archive, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
    listed = json.loads(found.pop(FILES))
    found.pop(HEAD)
    assert listed == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in found.items()
    }
