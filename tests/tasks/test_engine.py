"""What the suite and the sampling of candidates share: adapters by their hash, and what an answer is known by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.child import run_child
from tasks.engine import MAX_SEQUENCES, WAITING, adapter_rank, answerer, checked_adapter
from tasks.errors import FlywheelError
from tests.conftest import make_workload
from tests.tasks.tiny import leaning_adapter, tiny_tokenizer, undecided_base


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"weights")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}), encoding="utf-8")
    return folder


def test_the_recorded_adapter_is_taken(adapter: Path) -> None:
    assert checked_adapter(str(adapter), adapter_sha256(adapter)) == str(adapter)
    assert adapter_rank(str(adapter)) == 8


@pytest.mark.parametrize("file", [WEIGHTS, "adapter_config.json"])
def test_an_adapter_that_was_changed_is_refused(adapter: Path, file: str) -> None:
    recorded = adapter_sha256(adapter)
    (adapter / file).write_bytes((adapter / file).read_bytes() + b" ")
    with pytest.raises(FlywheelError, match=f"{adapter} has sha256 .*, not the recorded {recorded[:12]}; restore it"):
        checked_adapter(str(adapter), recorded)


def test_what_answers_is_known_by_all_that_an_answer_depends_on(tmp_path: Path) -> None:
    """A changed base, template, adapter, length or engine must be asked again; the same one elsewhere need not be."""
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    for file in (base / "config.json", adapter / "adapter_config.json", adapter / "adapter_model.safetensors"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    config = make_workload(tmp_path).config
    longer = config.model_copy(update={"model": config.model.model_copy(update={"max_new_tokens": 99})})
    known = {answerer(config, None), answerer(config, str(adapter)), answerer(longer, None)}
    assert answerer(config, None) in known
    (base / "config.json").write_text("{ }")
    (adapter / "adapter_config.json").write_text("{ }")
    known |= {answerer(config, None), answerer(config, str(adapter)), answerer(config, None, "vllm 9 on a server")}
    assert len(known) == 6
    shutil.copytree(base, tmp_path / "copy")
    elsewhere = config.model_copy(update={"model": config.model.model_copy(update={"base": str(tmp_path / "copy")})})
    assert answerer(elsewhere, None) in known
    (tmp_path / "copy" / "chat_template.jinja").write_text("{{ messages }}")
    assert answerer(elsewhere, None) not in known


@pytest.mark.slow
def test_a_real_engine_answers_each_prompt_once_with_its_adapter_and_within_the_constraint(tmp_path: Path) -> None:
    """Of more prompts than it holds at a time; a model that knows nothing can only answer with a choice."""
    base, tokenizer = undecided_base(tmp_path / "base"), tiny_tokenizer()
    adapter = str(leaning_adapter(base, tmp_path / "leaning"))
    ids = tokenizer("c d e :")["input_ids"]
    prompts = [(ids, adapter if number % 2 else None) for number in range(MAX_SEQUENCES + WAITING + 90)]
    spec = {"base": str(base), "adapters": [adapter], "prompts": prompts, "constraints": [None, {"choice": ["k", "p"]}]}
    made = run_child("tests.tasks.engine_child:answer", spec, tmp_path)
    free, bound = ([text.strip() for text, _ in answers] for answers in made["answers"])
    assert len(free) == len(prompts) and set(free[1::2]) == {"b"} and set(free[0::2]) <= {"a", "b"}
    assert set(bound) <= {"k", "p"}
    assert {tokens for _, tokens in made["answers"][1]} == {2}, "the letter, and the end"
    likeliest = [dict(map(tuple, found)) for found in made["likeliest"]]
    ids_of = {letter: tokenizer.convert_tokens_to_ids(letter) for letter in "ab"}
    assert likeliest[1][ids_of["b"]] > likeliest[1][ids_of["a"]] + 1
    assert abs(likeliest[0][ids_of["a"]] - likeliest[0][ids_of["b"]]) < 0.5, "beside prompts for the adapter"
