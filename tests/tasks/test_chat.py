"""Calls of tools through every stage: what came in is what a model is shown, trained on and judged by."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.blend import blend
from tasks.candidates import Answer, _read
from tasks.chat import (
    MARK,
    Conversation,
    answer_message,
    calls_tools,
    chat_dataset,
    check_template,
    for_template,
    held_answer,
    held_input,
    read_input,
    same_calls,
    shown,
    written_calls,
)
from tasks.engine import read_calls
from tasks.errors import FlywheelError
from tasks.prompt_dropout import IGNORED
from tasks.records import parse_record, user_text
from tasks.snapshots import read_conversations
from tests.conftest import (
    Record,
    Workload,
    correction,
    demonstration,
    distinct,
    inference,
    make_workload,
    preference,
    thumb,
)

TOOLS = [
    {"type": "function", "function": {"name": "find_order", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "refund", "parameters": {"type": "object"}}},
]
USER = {"role": "user", "content": "Where is my order?"}


def calling(name: str = "find_order", id_: str = "c1", **arguments: Any) -> Record:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "tool_calls": [{"id": id_, "type": "function", "function": function}]}


def result(content: str, id_: str = "c1") -> Record:
    return {"role": "tool", "content": content, "tool_call_id": id_}


# As many models' templates are: definitions first, a call as JSON in tags, a result as a turn of its own.
TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool.function.name }} {% endfor %}</tools>{{ '\n' }}{% endif %}"
    "{% for message in messages %}<{{ message.role }}>"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}"
    "{% for call in message.tool_calls %}"
    "<call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</call>"
    "{% endfor %}<end>{% endgeneration %}"
    "{% else %}{{ message.content }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One token a byte, and the template above."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(letters, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", chat_template=TEMPLATE)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT)
def test_no_text_that_comes_in_is_taken_for_a_call(text: str) -> None:
    """Not even one that spells out what a call is held as."""
    for answer in (text, held_answer(calling(id=text)), held_answer(calling()).removeprefix(MARK) + text):
        line = json.dumps(inference("i", output=answer))
        try:
            held = parse_record(line).output  # type: ignore[union-attr]
        except ValueError:
            assert answer.startswith(MARK)
            continue
        assert answer_message(held) == {"role": "assistant", "content": answer}


@given(TEXT, TEXT)
def test_what_is_held_is_what_was_said(content: str, argument: str) -> None:
    turn = calling(id=argument) | ({"content": content} if content else {})
    assert answer_message(held_answer(turn)) == turn
    assert calls_tools(held_answer(turn))
    messages = [USER, turn, result(content)]
    assert read_input(held_input(messages, TOOLS)) == (messages, TOOLS)
    assert read_input(held_input(messages, None)) == (messages, None)


def test_an_input_without_tools_is_held_as_it_always_was() -> None:
    assert held_input([USER], []) == held_input([USER], None) == '[{"role":"user","content":"Where is my order?"}]'


def test_people_read_calls_as_calls() -> None:
    assert shown(held_answer(calling(id=7) | {"content": "One moment."})) == 'One moment.\nfind_order({"id": 7})'
    assert shown("plain") == "plain"


def test_templates_get_arguments_as_mappings_and_a_content() -> None:
    (turn,) = for_template([calling(id=7)])
    assert (turn["content"], turn["tool_calls"][0]["function"]["arguments"]) == ("", {"id": 7})
    (broken,) = for_template([{"role": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]}])  # fmt: skip
    assert broken["tool_calls"][0]["function"]["arguments"] == "{"


def test_a_question_is_compared_with_the_results_that_it_is_answered_from() -> None:
    """The same question needs another answer when a tool finds something else; older results are history."""
    talk = [USER, calling(), result("It is lost.")]
    assert user_text(held_input(talk, TOOLS)) == "Where is my order?\nIt is lost."
    later = [*talk, {"role": "assistant", "content": "Lost."}, {"role": "user", "content": "Refund it."}]
    assert user_text(held_input(later, None)) == "Where is my order?\nRefund it."
    assert user_text(held_input([calling(), result("x")], None)) == "x"


def test_no_call_gets_the_arguments_of_another() -> None:
    rows = [{"messages": [USER, calling(id=1)]}, {"messages": [USER, calling(city="Rome")], "tools": TOOLS}]
    found = chat_dataset(rows)
    calls = [row["completion"][0]["tool_calls"][0]["function"]["arguments"] for row in found]
    assert calls == [{"id": 1}, {"city": "Rome"}]
    assert [row["tools"] for row in found] == [None, TOOLS]
    assert found[0]["prompt"] == [USER]


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ('<call>{"name": "find_order", "arguments": {"id": 7, "all": true}}</call>', True),
        ('<call>\n{"arguments":{"all":true,"id":7},"name":"find_order"}\n</call>', True),
        ('<call>{"name": "find_order", "arguments": {"id": 7, "all": true}, "id": "x7"}</call>', True),
        ('<call>{"name": "find_order", "arguments": {"id": 7, "all": 1}}</call>', False),
        ('<call>{"name": "find_order", "arguments": {"id": 8, "all": true}}</call>', False),
        ('Sure. <call>{"name": "find_order", "arguments": {"id": 7, "all": true}}</call>', False),
        ('<call>{"name": "find_order", "arguments": {"id": 7, "all": true}', False),
        ("{" * 5_000, False),
        ("", False),
    ],
)
def test_a_call_is_right_when_it_is_what_the_template_writes(tokenizer: Any, output: str, right: bool) -> None:
    conversation, answer = Conversation([USER], TOOLS), held_answer(calling(id=7, all=True))
    written = written_calls(tokenizer, conversation, answer)
    assert same_calls(output, written) is right
    assert read_calls(output, written, answer) == (answer if right else output)


def test_whatever_a_model_writes_it_is_no_held_call() -> None:
    answer = held_answer(calling())
    assert not calls_tools(read_calls(answer, None, "plain"))
    assert not calls_tools(read_calls(MARK + answer, "<call>", answer))


def test_sampled_calls_are_read_as_the_suite_reads_them(tokenizer: Any) -> None:
    """One in another spelling is the right answer itself, not a text; one that was cut off is not whole."""
    calls = held_answer(calling(id=7))
    spelled = '<call>{"arguments": {"id":7}, "name": "find_order"}</call>'
    outputs = [
        SimpleNamespace(text=text, finish_reason=reason)  # what of vLLM's CompletionOutput is read
        for text, reason in ((spelled, "stop"), ("No.", "stop"), (spelled, "length"))
    ]
    assert _read(outputs, tokenizer, Conversation([USER], TOOLS), calls) == [
        Answer(calls, True), Answer("No.", True), Answer(calls, False),
    ]  # fmt: skip
    assert _read(outputs[:1], tokenizer, Conversation([USER], TOOLS), None) == [Answer(spelled, True)]


def test_a_template_that_writes_no_calls_is_refused(tokenizer: Any) -> None:
    """It would teach the model to say nothing, and no answer could be right."""
    mute = copy.deepcopy(tokenizer)
    mute.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}"
    rows = [{"messages": [USER, {"role": "assistant", "content": "Lost."}]}, {"messages": [USER, calling()]}]
    check_template(mute, rows[:1])
    check_template(tokenizer, rows)
    with pytest.raises(FlywheelError, match=r"an answer calls find_order, but .* give that model a") as caught:
        check_template(mute, rows)
    assert "\n" not in str(caught.value)


def with_base(folder: Path, tokenizer: Any) -> Workload:
    """A workload that holds nothing out, with a base whose tokenizer counts."""
    tokenizer.save_pretrained(folder / "base")
    model = {"base": str(folder / "base"), "max_length": 4096}
    return make_workload(folder, model=model, split={"unseen": 0.0, "anchor": 0.0})


@pytest.fixture
def agent(tmp_path: Path, tokenizer: Any) -> Workload:
    """Calls of an agent: a wrong call that was corrected, a wrong answer to a result, a right call, a demonstration."""
    workload = with_base(tmp_path, tokenizer)
    asked = [{"role": "user", "content": distinct(name)} for name in ("lost", "late", "fine", "seed")]
    offered = {"tools": TOOLS}
    workload.collect("a", [
        inference("call", output=calling("refund", id=7)) | {"messages": [asked[0]]} | offered,
        correction("call", calling(id=7)),
        inference("answer", output="It is on its way.") | offered
        | {"messages": [asked[1], calling(id=8), result(distinct("result"))]},
        correction("answer", "It is lost."),
        inference("right", output=calling(id=9)) | {"messages": [asked[2]]} | offered,
        thumb("right"),
        demonstration("seed") | {"messages": [asked[3], calling(id=1), result("none"), calling("refund", "c2", id=1)]},
    ])  # fmt: skip
    return workload


def test_tools_go_through_every_stage(agent: Workload, tokenizer: Any) -> None:
    """From a record with calls of tools to what the chat template makes of its training row."""
    round_ = agent.to_split()
    assert agent.value("select count(*) from regression_cases where starts_with(expected, chr(30))") == 1
    blend(agent.config, round_)
    rows = {row["signal_id"]: row for row in read_conversations(Path(agent.value("select path from snapshots")))}
    assert len(rows) == 4
    corrected = agent.value("select correction_id from corrections where inference_id = 'call'")
    assert rows[corrected]["messages"][-1] == calling(id=7)
    assert rows[corrected]["tools"] == TOOLS
    assert rows["seed"]["tools"] is None
    texts = {
        signal_id: tokenizer.apply_chat_template(row["prompt"] + row["completion"], tools=row["tools"], tokenize=False)
        for signal_id, row in zip(rows, chat_dataset(rows.values()), strict=True)
    }
    assert texts[corrected] == (
        f"<tools>find_order refund </tools>\n<user>{distinct('lost')}\n"
        '<assistant><call>{"name": "find_order", "arguments": {"id": 7}}</call><end>\n'
    )
    assert texts["seed"].endswith(
        '<tool>none\n<assistant><call>{"name": "refund", "arguments": {"id": 1}}</call><end>\n'
    )
    answer = agent.value("select correction_id from corrections where inference_id = 'answer'")
    assert f"<tool>{distinct('result')}\n<assistant>It is lost.<end>\n" in texts[answer]


def test_conversations_of_many_turns_go_through_every_stage(tmp_path: Path, tokenizer: Any) -> None:
    """Whole in the training row, whatever signal brings them; and a preference keeps them too."""
    workload = with_base(tmp_path, tokenizer)
    talks = {
        name: [{"role": ("user", "assistant")[turn % 2], "content": distinct(f"{name}{turn}")} for turn in range(5)]
        for name in ("wrong", "right", "given", "pair")
    }
    answer, other = ({"role": "assistant", "content": said} for said in ("right", "another"))
    workload.collect("a", [
        inference("wrong") | {"messages": talks["wrong"]}, correction("wrong"),
        inference("right", output="right") | {"messages": talks["right"]}, thumb("right"),
        demonstration("given") | {"messages": [*talks["given"], other]},
        preference("pair") | {"messages": talks["pair"]},
    ])  # fmt: skip
    blend(workload.config, workload.to_split())
    trained = [row["messages"] for row in read_conversations(Path(workload.value("select path from snapshots")))]
    expected = [[*talks["wrong"], answer], [*talks["right"], answer], [*talks["given"], other]]
    assert sorted(trained, key=str) == sorted(expected, key=str)
    assert read_input(workload.value("select input from preferences")).messages == talks["pair"]


def test_what_trl_trains_on_is_the_last_answer_as_the_template_writes_it(tmp_path: Path, tokenizer: Any) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=256, **size))
    rows = [
        {"messages": [USER, calling(id=7), result("gone"), {"role": "assistant", "content": "Gone."}], "tools": TOOLS},
        {"messages": [USER, calling(city="Rome")]},
        {"messages": [USER, calling(id=7), result("gone"), calling("refund", id=7)]},
    ]
    arguments = SFTConfig(str(tmp_path), assistant_only_loss=True, use_cpu=True, bf16=False, report_to="none")
    trainer = SFTTrainer(model, arguments, train_dataset=chat_dataset(rows), processing_class=tokenizer)
    trained = [
        tokenizer.decode([label for label in row["labels"] if label != IGNORED]) for row in trainer.train_dataset
    ]
    assert trained == [
        "Gone.<end>",
        '<call>{"name": "find_order", "arguments": {"city": "Rome"}}</call><end>',
        '<call>{"name": "refund", "arguments": {"id": 7}}</call><end>',
    ]


def test_what_agrees_with_a_call_corrects_nothing(workload: Workload) -> None:
    """Ids are made up anew each time, and keys come in any order."""
    said = inference("i", output=calling(a=1, b=2))
    workload.collect("a", [said, correction("i", calling(id_="c9", b=2, a=1))])
    workload.to_split()
    assert workload.value("select excluded_because from corrections") == "agrees with the model"


def test_rules_judge_texts_and_pass_over_calls(tmp_path: Path) -> None:
    check = {"name": "known", "type": "labels", "labels": ["yes"]}
    workload = make_workload(tmp_path, checks=[check])
    workload.collect("a", [inference("i", output=calling()), inference("j", output="no")])
    assert workload.rows("select inference_id from checks") == [{"inference_id": "j"}]
