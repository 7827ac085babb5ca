"""MLflow's SQLite file, made whole or not at all.

MLflow makes its tables and migrates them one by one. Killed within these seconds, it leaves a file that it can neither
finish nor use, and no version could be registered any more.
"""

from pathlib import Path

from filelock import FileLock

SQLITE = "sqlite:///"


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
