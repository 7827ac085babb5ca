"""Adapters as files: what one is known by, and which base model it was trained on.

An adapter's weights fit any base of the same shape and make sense on one alone, so each is kept with a fingerprint of
the base that it was trained on.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import FlywheelError

WEIGHTS = "adapter_model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
CONFIG = "adapter_config.json"
BASE = "base.json"

BLOCKS = 32  # of each file of weights: enough to tell two trainings apart, and read in no time
BLOCK_BYTES = 65_536


def adapter_sha256(folder: Path) -> str:
    """Hash (64 hex digits) of an adapter: its weights, its PEFT config, and the base it belongs to, where it says so.

    Raises:
        FlywheelError: the weights or the config are missing, or the weights are a pickle.
    """
    check_adapter(folder)
    digest = hashlib.sha256()
    for name in (WEIGHTS, CONFIG):
        file = folder / name
        if not file.is_file():
            raise FlywheelError(f"the adapter {folder} has no {name}; restore it from the registry's copy")
        digest.update(file.read_bytes())
    if (folder / BASE).is_file():
        digest.update((folder / BASE).read_bytes())
    return digest.hexdigest()


def check_adapter(folder: Path) -> None:
    """Refuse an adapter folder without safetensors: PEFT and vLLM would look for pickles, or on the hub.

    Raises:
        FlywheelError: see above; says what to do.
    """
    if (folder / WEIGHTS).is_file():
        return
    if found := pickles(folder):
        raise FlywheelError(
            f"the adapter {folder} has its weights in {found[0]}, a pickle, which may run any code when it is read; "
            f"restore {WEIGHTS} from the registry's copy"
        )
    raise FlywheelError(f"the adapter {folder} has no {WEIGHTS}; restore it from the registry's copy")


def pickles(folder: Path) -> list[str]:
    """Names of the files in a folder that hold weights as pickles do."""
    return sorted(file.name for file in folder.glob("*") if file.suffix in PICKLES)


def base_sha256(base: str) -> str | None:
    """Fingerprint of a base model: its config, and of each file of weights the size and blocks spread over it.

    None where its files are not on this machine: a hub id that has not been loaded yet.
    """
    folder = files_of(base)
    if folder is None:
        return None
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(f"{file.name}/{file.stat().st_size}".encode())
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def files_of(base: str) -> Path | None:
    """The folder of a base model, which for a hub id is that of its copy; None where its files are not here."""
    if Path(base).is_dir():
        return Path(base) if (Path(base) / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(base, "config.json") if base.count("/") == 1 and base[0] not in "./~" else None
    return Path(found).parent if isinstance(found, str) else None


def _blocks(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        for number in range(BLOCKS):
            opened.seek(number * max(0, size - BLOCK_BYTES) // (BLOCKS - 1))
            yield opened.read(BLOCK_BYTES)


def record_base(folder: Path, base: str) -> None:
    """Write down in an adapter's folder which base it was trained on."""
    record = {"base": base, "sha256": base_sha256(base)}
    (folder / BASE).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")


def check_base(folder: Path, base: str) -> None:
    """Refuse an adapter that was trained on another base than `base`.

    One of which no base is on record, or whose files are no more, is not judged here.

    Raises:
        FlywheelError: the base's fingerprint is another one.
    """
    if not (folder / BASE).is_file():
        return
    record = json.loads((folder / BASE).read_text(encoding="utf-8"))
    found = base_sha256(base)
    if found is not None and record["sha256"] not in (None, found):
        raise FlywheelError(
            f"the adapter {folder} was trained on another base: on {record['base']} (sha256 {record['sha256'][:12]}), "
            f"and model.base is {base} (sha256 {found[:12]}); set model.base back, or train on this one"
        )
