"""MLflow's SQLite file is there whole or not at all."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tasks.tracking_store import make_store, store_file
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
