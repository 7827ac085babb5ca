"""Folders for the work of one process, which are cleared away by the next one where theirs was killed.

Its process holds a lock on such a folder (flock(2)) for as long as it lives, which is how the others tell.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is made; it is gone afterwards, and so are those that killed processes left."""
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent):  # nobody clears away what another has made and not locked yet
        _clear_all(parent, prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def clear_leftovers(parent: Path, prefix: str) -> None:
    """Clear away what killed processes have left in `parent`."""
    with _locked(parent):
        _clear_all(parent, prefix)


def _clear_all(parent: Path, prefix: str) -> None:
    for leftover in parent.glob(f"{prefix}*"):
        _clear(leftover)


def _clear(folder: Path) -> None:
    with suppress(FileNotFoundError), _locked(folder, wait=False) as free:
        if free:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """The lock on a folder, or False where another has it and nobody waits."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(opened, wait)
    finally:
        os.close(opened)


def _lock(opened: int, wait: bool) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
