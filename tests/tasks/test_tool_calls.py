"""Answers that call tools, from collected records to the verdict on each case, on a real vLLM engine."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.blend import blend
from tasks.chat import calls_tools, canonical_calls
from tasks.demo.base_model import EOS, BaseSpec, build_base
from tasks.regress import regress
from tasks.train import train
from tests.conftest import Record, Workload, correction, inference, make_workload, thumb
from tests.tasks.test_chat import TOOLS, calling

# The round is the first test's fixture: a base, a training and a vLLM engine take minutes on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TOPICS = ("shoes", "lamp", "chair", "phone")
WORDS = [f"{first}{second}" for first in ("ka", "lo", "mi", "su", "te", "ru") for second in ("no", "ra", "li", "be")]
OFFERED = "tools: " + " ".join(tool["function"]["name"] for tool in TOOLS)
# What the base is taught as plain text is, token for token, what this template makes of tools and calls.
TEMPLATE = (
    f"{{% if tools %}}<|system|>{OFFERED}{{% endif %}}"
    "{% for message in messages %}{{ '<|' + message.role + '|>' }}"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}"
    "{% for call in message.tool_calls %}"
    "<call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</call>"
    f"{{% endfor %}}{EOS}{{% endgeneration %}}"
    "{% else %}{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def asked(rng: random.Random, wish: str, topic: str) -> str:
    return " ".join([*rng.choices(WORDS, k=9), wish, topic])


def written(name: str, topic: str) -> str:
    call = {"name": name, "arguments": {"about": topic, "urgent": False}}
    return f"<call>{json.dumps(call)}</call>"


def teach(folder: Path) -> Path:
    """A base that looks the order up whatever is wished: also where a refund should be made."""
    rng = random.Random(0)
    conversations = []
    for number in range(800):
        topic = rng.choice(TOPICS)
        # Now and then it sees a refund being made for another wish, so that it knows how one is written.
        wish, name = ("return", "refund") if number % 4 == 0 else (rng.choice(("find", "refund")), "find_order")
        said = {"user": asked(rng, wish, topic), "assistant": written(name, topic)}
        conversations.append([{"role": "system", "content": OFFERED}, *_turns(said)])
    spec = BaseSpec(name="caller", vocab_size=700, layers=2, steps=150, max_positions=128, initializer_range=0.05)
    base = build_base(conversations, spec, folder)
    (base / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return base


def _turns(said: dict[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in said.items()]


def production() -> list[Record]:
    """Right calls that were confirmed, and wrong ones that were corrected, in a spelling of the reviewer's own."""
    rng = random.Random(1)
    records: list[Record] = []
    for number in range(80):
        topic, wish = rng.choice(TOPICS), ("find", "refund")[number % 2]
        call = inference(f"{wish}{number}", output=calling("find_order", f"c{number}", about=topic, urgent=False))
        records.append(call | {"messages": [{"role": "user", "content": asked(rng, wish, topic)}], "tools": TOOLS})
        if wish == "find":
            records.append(thumb(f"{wish}{number}"))
        else:
            turn = calling("refund", f"r{number}", about=topic, urgent=False)
            if number % 4 == 1:
                turn["tool_calls"][0]["function"]["arguments"] = f'{{"urgent":false,   "about":"{topic}"}}'
            records.append(correction(f"{wish}{number}", turn))
    return records


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """A round whose models have answered: the base serves, and the challenger was trained on corrected calls."""
    folder = tmp_path_factory.mktemp("calls")
    workload = make_workload(
        folder / "workload",
        model={"base": str(teach(folder / "models")), "max_length": 128, "max_new_tokens": 48},
        split={"near_meaning": None},
        adapter={"r": 8, "lora_alpha": 16, "members": 1},
        trainer={"num_train_epochs": 6, "learning_rate": 2e-3, "per_device_train_batch_size": 8},
    )
    workload.collect("a", production())
    round_ = workload.to_split()
    blend(workload.config, round_)
    train(workload.config, round_)
    regress(workload.config, round_)
    return workload


def results(workload: Workload) -> list[dict[str, Any]]:
    return workload.rows(
        "select role, tier, stratum, output, expected, is_right from case_results join regression_cases using (case_id)"
    )


def test_a_case_is_right_when_the_model_writes_the_call_and_wrong_when_it_writes_another(judged: Workload) -> None:
    found = Counter((row["role"], row["tier"], row["stratum"], row["is_right"]) for row in results(judged))
    assert found["champion", "unseen", "success", True] > 0.9 * sum(
        count for (role, _, stratum, _), count in found.items() if (role, stratum) == ("champion", "success")
    )
    assert found["champion", "unseen", "failure", True] == found["champion", "fixed", "failure", True] == 0
    for tier in ("unseen", "fixed"):
        right, wrong = (found["challenger", tier, "failure", is_right] for is_right in (True, False))
        assert right > wrong


def test_a_right_call_is_held_as_one_however_it_is_spelled(judged: Workload) -> None:
    rows = results(judged)
    assert all(calls_tools(row["expected"]) for row in rows)
    right = [row for row in rows if row["is_right"]]
    assert all(canonical_calls(row["output"]) == canonical_calls(row["expected"]) for row in right)
    assert any("   " in row["expected"] for row in right), "one that a reviewer spelled otherwise is right too"
    wrong = [row["output"] for row in rows if not row["is_right"]]
    assert wrong and not any(map(calls_tools, wrong)), "what is no right call stays the text that was written"
    assert any('"name": "find_order"' in output for output in wrong)


def test_what_was_trained_is_what_answers(judged: Workload) -> None:
    evidence = json.loads(judged.value("select evidence from rounds"))
    assert evidence["logprob_agreement"]["max_abs_difference"] < 1e-3
    assert evidence["training"]["trained_tokens"] > evidence["training"]["rows"]
