"""What the suite and the sampling of candidates share: a vLLM engine, its adapters, and what an answer is known by."""

import contextlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

from tasks.adapters import adapter_sha256
from tasks.chat import MARK, same_calls
from tasks.config import Config
from tasks.errors import FlywheelError
from tasks.records import sha256

MAX_SEQUENCES = 256
KV_CACHE_GIB = "1"


def start_engine(base: str, max_length: int, **options: Any) -> Any:
    """A vLLM engine (`vllm.LLM`) of this process, on a GPU where there is one; `options` are more of vLLM's."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", KV_CACHE_GIB)
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    import torch
    from vllm import LLM

    return LLM(
        model=base,
        dtype="bfloat16" if torch.cuda.is_available() else "float32",
        max_model_len=max_length,
        max_num_seqs=MAX_SEQUENCES,
        enforce_eager=not torch.cuda.is_available(),
        seed=0,
        **options,
    )


def adapter_request(adapter: str | None, number: int) -> Any:
    """What tells the engine to answer with an adapter, known to it by a number from 1; None for the bare base."""
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(Path(adapter).name, number, adapter)


def read_calls(output: str, written: str | None, expected: str) -> str:
    """An output as it is held: where the model wrote the right calls, these; any other text stays what it is."""
    return expected if written is not None and same_calls(output, written) else output.lstrip(MARK)


def answerer(config: Config, adapter: str | None) -> str:
    """Hash of all that an answer depends on beside its input: base, adapter, decoding and engine."""
    base = Path(config.model.base)
    files = sorted(base.iterdir()) if base.is_dir() else []
    stats = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return sha256(
        {
            "base": [str(base.resolve()) if base.is_dir() else config.model.base, stats],
            "adapter": adapter_sha256(Path(adapter)) if adapter else None,
            "max_length": config.model.max_length,
            "max_new_tokens": config.model.max_new_tokens,
            "engine": _engine(),
        }
    )


def _engine() -> str:
    """The installed vLLM, whose CPU build goes by another name."""
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name} {importlib.metadata.version(name)}"
    raise FlywheelError("vLLM is not installed; install the pins in requirements/ (`make env`)")


def checked_adapter(path: str, recorded: str) -> str:
    """The folder of an adapter that is the recorded one.

    Raises:
        FlywheelError: its hash is another one.
    """
    if (found := adapter_sha256(Path(path))) != recorded:
        raise FlywheelError(
            f"the adapter {path} has sha256 {found[:12]}, not the recorded {recorded[:12]}; "
            f"restore it from the registry's copy"
        )
    return str(Path(path).resolve())


def adapter_rank(adapter: str) -> int:
    """The rank that an adapter was saved with."""
    return int(json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))["r"])
