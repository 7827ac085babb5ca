"""Whether an adapter loads in vLLM and answers: asked of an engine of its own, in a child process.

python -m tasks.child tasks.probe:main SPEC.json
"""

import math
from contextlib import closing
from pathlib import Path
from typing import Any

from tasks.base_models import load_tokenizer
from tasks.chat import read_input, token_ids
from tasks.child import Progress, run_child
from tasks.config import Config
from tasks.db import require_state
from tasks.engine import OwnEngine, Prompt
from tasks.errors import FlywheelError

PROBE_TOKENS = 8


def real_input(config: Config) -> str:
    """An input that production has seen, as the state holds it.

    Raises:
        FlywheelError: there is none.
    """
    with require_state(config.database).transaction() as tx:
        row = tx.row("get_probe_input")
    if row is None:
        raise FlywheelError(f"{config.name} has no input to ask a version; run `flywheel run collect_failures` first")
    return str(row["input"])


def probe(config: Config, adapter: str, folder: Path) -> dict[str, Any]:
    """Let an adapter answer a real input, on an engine in a child process whose log is kept in `folder`.

    Raises:
        ChildError: vLLM does not load it.
        FlywheelError: see `main`.
    """
    base = config.model.base
    spec = {
        "base": str(Path(base).resolve()) if Path(base).is_dir() else base,
        "trusts_code": config.model.trusts_code,
        "adapter": adapter,
        "max_length": config.model.max_length,
        "input": real_input(config),
    }
    return run_child("tasks.probe:main", spec, folder)


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Answer one input with the adapter, in this process (the child): the answer, and its length in tokens.

    The spec has `base` and `adapter` (folders, or a hub id), `trusts_code`, `max_length` (tokens) and `input` (as
    the state holds it).

    Raises:
        FlywheelError: the model answers with nothing, or with what has no probability.
    """
    asked = read_input(spec["input"])
    ids = token_ids(load_tokenizer(spec["base"], spec["trusts_code"]), asked.messages, asked.tools, prompt=True)
    prompt = Prompt(0, ids[: spec["max_length"] - PROBE_TOKENS], spec["adapter"])
    with closing(OwnEngine(spec["base"], spec["max_length"], [spec["adapter"]], None, spec["trusts_code"])) as engine:
        ((_, likeliest),) = engine.likeliest([prompt])
        (reply,) = engine.answer([prompt], PROBE_TOKENS)
    if not reply.tokens or not all(map(math.isfinite, likeliest.values())):
        raise FlywheelError(f"with the adapter {spec['adapter']}, vLLM computes no numbers; train another version")
    return {"answer": reply.text, "tokens": reply.tokens}
