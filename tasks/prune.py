"""What is deleted once nothing refers to it, by a stated policy: `flywheel prune`, and at the end of each round.

Of closed rounds, the latest `budget.keep_rounds` keep everything. Of those before them goes what only served to run
them (checkpoints, members of an average, queues, answers, logs, specs), and where no version came of a round, its
adapter and its snapshot's file too. Their rows in the state stay. Whatever a version has stays for ever, whoever refers
to it: the registry, the audit log, the suite, a reference pin. So does what an unfinished round has, and each round's
list of flips.

What is kept is told by the names of files, which have hashes in them, and not by their paths: those on record may be
relative to another folder. Only entries of the workload's own folders are looked at, and symbolic links are left alone.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.config import Config
from tasks.costs import bytes_of
from tasks.db import Row, require_state
from tasks.errors import FlywheelError

KEPT_OF_ANY = {"flips.parquet"}
KEPT_OF_VERSIONS = {"probe.json", "flips.parquet"}  # a champion is probed with what its round left


@dataclass(frozen=True)
class Pruned:
    """What was deleted (or would be), relative to the workload's folder, its size, and what was left alone and why."""

    paths: tuple[str, ...]
    bytes: int
    left: tuple[str, ...]


def prune(config: Config, dry_run: bool = False) -> Pruned:
    """Delete what the policy lets go; what was deleted.

    The state is locked meanwhile, so that no round begins that would find a file and lose it. What a kill leaves behind
    goes the next time.

    Raises:
        StateError: nothing has been collected yet.
    """
    with require_state(config.database).transaction() as tx:
        rounds = tx.rows("list_kept_files")
        folder = config.folder.resolve()
        found = list(prunable(folder, rounds, config.budget.keep_rounds))
        left = [f"{path.relative_to(folder)}: {reason}" for path, reason in found if reason]
        gone = [path for path, reason in found if not reason]
        size = bytes_of(*gone)
        if not dry_run:
            left += _delete(gone, folder)
    return Pruned(tuple(str(path.relative_to(folder)) for path in gone), size, tuple(left))


def prunable(folder: Path, rounds: Sequence[Row], keep_rounds: int) -> Iterator[tuple[Path, str | None]]:
    """Entries of a workload's folder that may go, each with the reason where it is to be left alone all the same.

    `rounds`: rows of list_kept_files, oldest first.
    """
    closed = [row for row in rounds if row["is_closed"]]
    old = closed[: max(0, len(closed) - keep_rounds)]
    recent = [row for row in rounds if row not in old]
    kept = {name for row in recent for name in _names(row, "adapter_path", "snapshot_path")}
    kept |= {name for row in rounds for name in _names(row, "version_adapter_path", "version_snapshot_path")}
    for row in old:
        always = KEPT_OF_VERSIONS if row["version"] else KEPT_OF_ANY
        for path in _entries(folder / "rounds" / str(row["round_id"])):
            if path.name not in kept | always:
                yield path, _refusal(path, folder)
    if all(row["is_closed"] for row in rounds):  # an unfinished one may be about to refer to a file that it has found
        of_old = {name for row in old for name in _names(row, "snapshot_path")}
        for path in _entries(folder / "snapshots"):
            if path.name in of_old - kept:
                yield path, _refusal(path, folder)


def _names(row: Row, *columns: str) -> Iterator[str]:
    yield from (Path(row[column]).name for column in columns if row[column])


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _refusal(path: Path, folder: Path) -> str | None:
    """Why a path is not touched: it, or a folder on the way to it, is a link, and may lead anywhere."""
    if any(part.is_symlink() for part in (path, path.parent, path.parent.parent) if part != folder):
        return "a symbolic link, or behind one; it is left alone"
    return None


def _delete(paths: Sequence[Path], folder: Path) -> Iterator[str]:
    """Delete files and folders; a sentence for each that could not be."""
    for path in paths:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            yield f"{path.relative_to(folder)}: {error.strerror or error}"
    for place in {path.parent for path in paths if path.parent.parent.name == "rounds"}:
        with contextlib.suppress(OSError):  # something is left in it
            place.rmdir()


def prune_after_round(config: Config, warn: Callable[[str], None]) -> None:
    """`prune` at the end of a round, which nothing that goes wrong with it may spoil: `warn` is told."""
    try:
        left = prune(config).left
    except (OSError, FlywheelError) as error:
        left = (str(error),)
    for sentence in left:
        warn(f"Not pruned: {sentence}")
