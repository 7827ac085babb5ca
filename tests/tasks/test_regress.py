"""What is gated is what was trained: adapters by their hash, answers by the workload's own scorer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.chat import Conversation
from tasks.db import State
from tasks.errors import FlywheelError
from tasks.regress import _adapters, _judge, _prompts
from tests.conftest import Workload, make_workload, traffic


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"weights")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}), encoding="utf-8")
    return folder


def test_the_bare_base_model_has_no_adapter(workload: Workload, adapter: Path) -> None:
    workload.collect("a", traffic(3, 3))
    round_ = workload.open()
    with State(workload.config.database).transaction() as tx:
        tx.run("set_round_adapter", round_id=1, adapter_path=str(adapter), adapter_sha256=adapter_sha256(adapter))
        assert _adapters(tx, round_) == {"champion": None, "challenger": str(adapter)}


def test_answers_are_judged_by_the_workloads_scorer(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, scorer={"type": "json_fields"})
    workload.collect("a", traffic(1))
    cases = [{"case_id": "x", "expected": '{"a": 1}'}, {"case_id": "y", "expected": '{"a": 2}'}]
    outputs = {"champion": {"x": '{"a":1}', "y": "no"}, "challenger": {"x": '{"a": 1} ', "y": '{"a":2}'}}
    answerers = {"champion": "hash of base", "challenger": "hash of adapter"}
    frame, evidence = _judge(workload.config, workload.open(), cases, outputs, answerers)
    assert evidence == {}
    found = frame.to_dicts()
    assert {r["role"]: r["answered_by"] for r in found} == answerers
    assert [(r["role"], r["case_id"], r["score"], r["is_right"], r["is_valid"], r["model_version"]) for r in found] == [
        ("champion", "x", 1.0, True, True, "base"), ("champion", "y", 0.0, False, False, "base"),
        ("challenger", "x", 1.0, True, True, "round 1"), ("challenger", "y", 1.0, True, True, "round 1"),
    ]  # fmt: skip


class Words:
    """A tokenizer that gives a token a word."""

    def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> list[int]:
        return list(range(sum(len(message["content"].split()) for message in messages)))


def test_a_case_that_leaves_no_room_for_an_answer_is_refused() -> None:
    short, long = (Conversation([{"role": "user", "content": "word " * words}], None) for words in (5, 6))
    assert _prompts(Words(), [short], 5) == [{"prompt_token_ids": [0, 1, 2, 3, 4]}]
    with pytest.raises(FlywheelError, match=r"has 6 tokens, which leaves no room .* raise it") as caught:
        _prompts(Words(), [long], 5)
    assert "\n" not in str(caught.value)
