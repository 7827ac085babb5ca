"""What a child does in the tests of a real engine: an engine in the tests' own process would stay in it."""

from __future__ import annotations

from typing import Any

from tasks.child import Progress
from tasks.engine import OwnEngine, Prompt


def answer(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The answers to prompts under each constraint of the spec, by the place of the prompt; and log-probabilities."""
    engine = OwnEngine(spec["base"], 32, spec["adapters"])
    prompts = [Prompt(place, ids, adapter) for place, (ids, adapter) in enumerate(spec["prompts"])]
    answers = []
    for constraint in spec["constraints"]:
        replies = sorted(engine.answer(prompts, 4, constraint), key=lambda reply: reply.prompt.key)
        answers.append([[reply.text, reply.tokens] for reply in replies])
    likeliest = {prompt.key: found for prompt, found in engine.likeliest(prompts)}
    return {"answers": answers, "likeliest": [sorted(likeliest[place].items()) for place in range(len(prompts))]}
