"""A full disk, said in one line whatever library has met it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import DiskFullError, FlywheelError

# EFBIG: a file reached the size that is allowed (ulimit -f).
NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# DuckDB, SQLite, Polars, Arrow, safetensors and PyTorch have errors of their own, which say it in these words.
WORDS = (
    "no space left on device", "disk is full", "disk quota exceeded", "file too large",
    "pytorchstreamwriter failed writing file",
)  # fmt: skip
MIB = 2**20


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Turn what any library raises within because the disk that holds `folder` is full into one line.

    Raises:
        DiskFullError: that happened; how much is free, and what to do.
    """
    try:
        yield
    except FlywheelError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFullError(
            f"the disk is full: {_free(folder)} are free where {folder} lies. What was being written was taken back; "
            f"make room there and run the same command again, which goes on where this one was"
        ) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NUMBERS:
            return True
        if any(words in str(error).lower() for words in WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free(folder: Path) -> str:
    place = folder.absolute()
    with suppress(OSError):
        while not place.exists():
            place = place.parent
        return f"{shutil.disk_usage(place).free / MIB:.1f} MB"
    return "few bytes"
