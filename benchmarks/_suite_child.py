"""What the children of the suite's benchmark do: both ways on one engine, and a long queue with its memory."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.answering import _answer, _tokenizer, main, pieces, render
from tasks.child import Progress
from tasks.engine import OwnEngine
from tasks.parity import agreement

KIB = 1024


def stream(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Answer a queue as the product does; its facts, and the most memory (bytes) that this process had resident."""
    facts = main(spec, lambda **message: None)
    return facts | {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB}


def compare(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Both ways in turn, each first in every other repeat; the first repeat warms up and is left out.

    Seconds (of wall and of this process's processors) by way and repeat; how many answers differ between both ways; the
    engine's start, and how far it and the trainer are apart.
    """
    begun = time.perf_counter()
    engine = OwnEngine(spec["base"], spec["max_length"], spec["adapters"], spec["dtype"])
    start = time.perf_counter() - begun
    agreed = agreement(engine, spec["probes"])
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: _plain(engine, spec),
        "ours": lambda: _ours(engine, spec, "all"),
        "cached": lambda: _ours(engine, spec, "challenger"),
    }
    _ours(engine, spec, "all")  # plain calls get its tokens
    seconds: dict[str, list[list[float]]] = {way: [] for way in ways}
    differ = 0
    for repeat in range(spec["repeats"] + 1):
        answers = {}
        for way in list(ways)[:: 1 if repeat % 2 else -1]:
            engine._llm.reset_prefix_cache()
            begun, worked = time.perf_counter(), time.process_time()
            answers[way] = ways[way]()
            took = [time.perf_counter() - begun, time.process_time() - worked]
            if repeat:
                seconds[way].append(took)
            progress(repeat=repeat, way=way, seconds=took[0])
        differ = max(differ, sum(answers["ours"][key] != text for key, text in answers["plain"].items()))
    return {"start": start, "seconds": seconds, "differ": differ, "agreement": agreed}


def _ours(engine: OwnEngine, spec: dict[str, Any], which: str) -> dict[str, str]:
    """Rendering, streaming and writing down, as in the product; the answers by role and case."""
    folder = Path(spec["folder"]) / which
    folder.mkdir(exist_ok=True)
    for old in (folder / "answers").glob("*"):
        old.unlink()
    tokenizer = _tokenizer(spec["base"])
    rows = render(Path(spec["queues"][which]), folder / "prompts.parquet", tokenizer, spec["max_length"])
    told = spec | {"folder": str(folder), "part_rows": 2048, "structured_outputs": None}
    _answer(engine, told, folder / "prompts.parquet", rows, lambda **message: None)
    return {
        f"{row['role']}/{row['case_id']}": row["output"]
        for file in (folder / "answers").glob("*.parquet")
        for piece in pieces(file)
        for row in piece
    }


def _plain(engine: OwnEngine, spec: dict[str, Any]) -> dict[str, str]:
    """One call of `LLM.generate` a model, with all prompts as tokens at once."""
    from vllm import SamplingParams

    answers = {}
    rows = [row for piece in pieces(Path(spec["folder"]) / "all" / "prompts.parquet") for row in piece]
    for role in ("champion", "challenger"):
        asked = [row for row in rows if row["role"] == role]
        given = engine._llm.generate(
            [{"prompt_token_ids": row["token_ids"]} for row in asked],
            SamplingParams(temperature=0.0, max_tokens=spec["max_new_tokens"]),
            lora_request=engine._requests[asked[0]["adapter"]],
            use_tqdm=False,
        )
        for row, output in zip(asked, given, strict=True):
            answers[f"{role}/{row['case_id']}"] = output.outputs[0].text
    return answers
