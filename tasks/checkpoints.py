"""Checkpoints of a training that is under way: which of them are whole.

The list of a checkpoint's files with their hashes is written last. One without it, or with a file that is not the
listed one, was cut short, and the one before it is gone on from.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "whole.json"


@dataclass(frozen=True)
class Found:
    """The checkpoint to go on from, None where there is none, and why others were passed over."""

    folder: Path | None
    passed_over: tuple[str, ...]


def seal(folder: Path, key: str) -> None:
    """Write down that a checkpoint is whole, and what it is one of.

    Args:
        folder: its folder, all of its files written.
        key: hash of all that the training depends on.
    """
    manifest = {"key": key, "files": {name: _sha256(folder / name) for name in _names(folder)}}
    temporary = folder / f".{MANIFEST}"
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(folder / MANIFEST)


def last_whole(folder: Path, key: str) -> Found:
    """The newest whole checkpoint of the training `key` among those in `folder`."""
    passed_over: list[str] = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        problem = _problem(checkpoint, key)
        if problem is None:
            return Found(checkpoint, tuple(passed_over))
        passed_over.append(f"{checkpoint} {problem}")
    return Found(None, tuple(passed_over))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _problem(checkpoint: Path, key: str) -> str | None:
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        recorded, files = manifest["key"], manifest["files"]
    except (OSError, ValueError, KeyError):
        return "was cut short"
    if recorded != key:
        return "is of another training"
    for name, sha256 in files.items():
        if not (checkpoint / name).is_file():
            return f"lacks {name}"
        if _sha256(checkpoint / name) != sha256:
            return f"has another {name} than was saved"
    return None


def _names(folder: Path) -> list[str]:
    files = (file for file in folder.rglob("*") if file.is_file() and MANIFEST not in file.name)
    return sorted(str(file.relative_to(folder)) for file in files)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
