"""MLflow's SQLite file is there whole or not at all."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from tasks import tracking_store
from tasks.errors import FlywheelError
from tasks.tracking_store import check_server, make_store, naming_lost_server, store_file
from tests.conftest import python

MAKE = """
import sys
from tasks.tracking_store import make_store
make_store(sys.argv[1])
"""
USE = """
import sys
import mlflow
from tasks.tracking_store import make_store
make_store(sys.argv[1])
client = mlflow.MlflowClient(sys.argv[1])
client.create_experiment("tickets")
print(client.get_experiment_by_name("tickets").name)
"""


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_one_that_was_killed_while_it_was_made_can_be_made_again(tmp_path: Path, delay: float) -> None:
    uri, partial = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / ".mlflow.db.partial"
    maker = python(MAKE, uri)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size):
        assert time.monotonic() < deadline
        assert maker.poll() is None, maker.communicate()
        time.sleep(0.002)
    time.sleep(delay)
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    assert maker.returncode == -9
    assert not (tmp_path / "mlflow.db").exists()
    user = python(USE, uri)
    said, error = user.communicate()
    assert said == "tickets\n", error
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"kept")
    make_store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (tmp_path / "mlflow.db").read_bytes() == b"kept"


def test_a_server_has_no_file(tmp_path: Path) -> None:
    assert store_file("http://127.0.0.1:5000") is None
    make_store("http://127.0.0.1:5000")


def test_a_server_that_is_gone_is_one_line_and_quickly_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_store, "PAUSE_SECONDS", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        FlywheelError, match=rf"MLflow at http://\*\*\*@127.0.0.1:{port} does not answer .*; start it"
    ) as found:
        check_server(f"http://maria:secret@127.0.0.1:{port}")
    assert "secret" not in str(found.value)
    assert "\n" not in str(found.value)


def test_a_server_that_listens_is_left_to_mlflows_client() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        check_server(f"http://127.0.0.1:{server.getsockname()[1]}/mlflow")
    check_server("databricks")


def test_only_a_lost_server_is_named_so() -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(FlywheelError, match="does not answer \\(refused\\)"), naming_lost_server("http://x:1"):
        raise MlflowException("API request to http://x:1/api failed with exception refused")
    with pytest.raises(MlflowException, match="no such run"), naming_lost_server("http://x:1"):
        raise MlflowException("no such run")
