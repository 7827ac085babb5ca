"""Parity: what the trainer predicts with an adapter, against what the engine that is asked predicts with it.

Prefix by prefix, each answered with one token: the CPU build of vLLM cannot give log-probabilities of a prompt's own
tokens under an adapter.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.base_models import load_adapter, load_base, working_dtype
from tasks.engine import Prompt
from tasks.errors import FlywheelError
from tasks.prompt_dropout import IGNORED

PREDICTED = 5  # likeliest tokens at each place
# Nats. Two float32 computations differ by rounding, 1e-5 as a rule; bfloat16 has three digits.
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.05}
UNKNOWN = "unknown"  # what a server computes in, which it does not say


def tolerance(dtypes: Iterable[str], given: float | None = None) -> float:
    """How far log-probabilities may be apart: what was given, or what the coarser of both sides' types allows."""
    if given is not None:
        return given
    return max(TOLERANCES.get(dtype, TOLERANCES["bfloat16"]) for dtype in dtypes)


def agreement(engine: Any, probes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How far trainer and engine are apart, for the challenger and, by role, for others that have a probe.

    A probe has `prefixes` (rows of `token_ids`, and `likeliest` tokens with the trainer's log-probabilities), the
    `adapter`, `dtype` and `tolerance`. Empty where there are no probes.

    Raises:
        FlywheelError: one is further apart than its tolerance.
    """
    if not probes:
        return {}
    found = {role: _probe(engine, role, probe) for role, probe in probes.items()}
    return found.pop("challenger") | ({"others": found} if found else {})


def _probe(engine: Any, role: str, probe: Mapping[str, Any]) -> dict[str, Any]:
    prompts = [Prompt(row["likeliest"], row["token_ids"], probe["adapter"]) for row in probe["prefixes"]]
    apart = [
        difference for prompt, served in engine.likeliest(prompts) for difference in _differences(prompt.key, served)
    ]
    greatest = math.nan if any(map(math.isnan, apart)) else max(apart, default=0.0)
    if not greatest <= probe["tolerance"]:
        raise FlywheelError(
            f"trainer and server disagree on the {role}: a log-probability differs by {greatest:.4f} nats (tolerance "
            f"{probe['tolerance']:g}, {probe['dtype']}), so what would be gated is not what was trained; check that "
            f"model.base is the folder the adapter was trained on"
        )
    return {
        "tokens": len(apart),
        "max_abs_difference": greatest,
        "tolerance": probe["tolerance"],
        "dtype": probe["dtype"],
    }


def _differences(likeliest: Sequence[tuple[int, float]], served: Mapping[int, float]) -> list[float]:
    """Of each token that the trainer holds for likely; one that the server does not list is less likely than all."""
    floor = min(served.values())
    return [abs(logprob - served.get(token, floor)) for token, logprob in likeliest]


def predicted(
    base: str, adapter: Path, rows: Sequence[Mapping[str, Any]], trusts_code: bool = False
) -> list[dict[str, Any]]:
    """What an adapter predicts in some rows, at each token that is trained on: the trainer's side.

    Args:
        rows: `input_ids` and `labels` of each.

    Returns:
        Prefixes (`token_ids`), each with the PREDICTED `likeliest` next tokens and their log-probabilities.
    """
    import torch

    model = load_adapter(load_base(base, trusts_code, dtype=working_dtype()), adapter).eval()
    prefixes = []
    for row in rows:
        with torch.no_grad():
            logprobs = model(torch.tensor([row["input_ids"]])).logits[0].float().log_softmax(dim=-1)
        for place in (i for i, label in enumerate(row["labels"]) if label != IGNORED and i > 0):
            values, tokens = logprobs[place - 1].topk(PREDICTED)
            likeliest = list(zip(tokens.tolist(), values.tolist(), strict=True))
            prefixes.append({"token_ids": row["input_ids"][:place], "likeliest": likeliest})
    return prefixes
