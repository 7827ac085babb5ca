"""Where MLflow keeps its records: a SQLite file, which is made whole or not at all, or a server, which may be gone.

MLflow makes the file's tables one by one. Killed within these seconds, it leaves a file that it can neither finish nor
use, and no version could be registered any more.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from filelock import FileLock

from tasks.errors import FlywheelError
from tasks.secrets import hide_credentials

SQLITE = "sqlite:///"
TRIES, PAUSE_SECONDS, ANSWER_SECONDS = 3, 2.0, 10.0
UNANSWERED = "failed with exception"  # so MLflow's client says that a request got no answer, however often it tried


def store_file(tracking_uri: str) -> Path | None:
    """The SQLite file that a tracking URI names; None where it names a server."""
    return Path(tracking_uri.removeprefix(SQLITE)) if tracking_uri.startswith(SQLITE) else None


def make_store(tracking_uri: str) -> None:
    """Create the SQLite file that the URI names, with all of MLflow's tables; one that is there stays as it is."""
    path = store_file(tracking_uri)
    if path is None or path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            _make(path.with_name(f".{path.name}.partial")).replace(path)


def _make(path: Path) -> Path:
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    for leftover in path.parent.glob(f"{path.name}*"):  # with the journal of one that was cut short
        leftover.unlink()
    engine = create_sqlalchemy_engine(f"{SQLITE}{path}")
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
    return path


def check_server(tracking_uri: str) -> None:
    """See that the tracking server can be reached, before MLflow's client tries for minutes in silence.

    One behind a proxy is left to that client.

    Raises:
        FlywheelError: nothing listens there, at several tries within some seconds.
    """
    address = urlsplit(tracking_uri)
    if address.scheme not in ("http", "https") or address.hostname is None:
        return
    if address.scheme in getproxies() and not proxy_bypass(address.hostname):
        return
    port = address.port or {"http": 80, "https": 443}[address.scheme]
    for left in reversed(range(TRIES)):
        try:
            socket.create_connection((address.hostname, port), ANSWER_SECONDS).close()
            return
        except OSError as error:
            if not left:
                raise _lost(tracking_uri, str(error)) from error
            time.sleep(PAUSE_SECONDS)


@contextmanager
def naming_lost_server(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow's client raises within when its server has gone into one line.

    Raises:
        FlywheelError: that happened.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as NoConnection

    try:
        yield
    except (MlflowException, NoConnection) as error:
        if isinstance(error, MlflowException) and UNANSWERED not in str(error):
            raise
        raise _lost(tracking_uri, str(error).partition(UNANSWERED)[2] or str(error)) from error


def _lost(tracking_uri: str, reason: str) -> FlywheelError:
    address = hide_credentials(tracking_uri)
    said = (reason.strip().splitlines() or ["no answer"])[0][:160]
    return FlywheelError(
        f"MLflow at {address} does not answer ({said}); start it, or correct mlflow.tracking_uri, and run the same "
        f"command again, which goes on where this one was"
    )
