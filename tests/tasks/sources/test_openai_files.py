"""What is exported for OpenAI's fine-tuning reads back as the same messages and answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.chat import MARK, held_answer, held_input
from tasks.errors import SourceError
from tasks.records import Demonstration, Preference, canonical_json, parse_record
from tasks.sources.mapping import compile_mapping
from tasks.sources.openai_files import export_chat, export_preferences
from tasks.sources.settings import FilesSourceConfig

SAID = {"producer": "person:maria", "created_at": "2026-03-01T00:00:00Z"}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=MARK), min_size=1, max_size=30)
CALLING = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id":7}'}}],
}
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=3)


@st.composite
def inputs(draw: st.DrawFn) -> list[dict[str, str]]:
    turns = [*draw(TURNS), ("user", draw(TEXT))]
    return [{"role": role, "content": content} for role, content in turns]


def imported(preset: str, line: str) -> Any:
    records = {"preset": preset} | SAID
    config = FilesSourceConfig.model_validate({"name": "a", "path": "x", "records": records})
    (record,) = compile_mapping(config.records)(line)
    return parse_record(record)


def turns(record: Demonstration | Preference) -> list[dict[str, str]]:
    return [message.model_dump(exclude_none=True) for message in record.messages]


@settings(max_examples=60, deadline=None)
@given(messages=inputs(), answer=TEXT, key=st.sampled_from(["output", "corrected_output"]))
def test_chat_files_read_back_as_what_was_exported(messages: Any, answer: str, key: str) -> None:
    (line,) = export_chat([{"input": canonical_json(messages), key: answer}])
    assert "\n" not in line
    record = imported("openai_fine_tuning", line)
    assert isinstance(record, Demonstration)
    assert turns(record) == [*messages, {"role": "assistant", "content": answer}]


@settings(max_examples=60, deadline=None)
@given(messages=inputs(), better=TEXT, worse=TEXT | st.just(""))
def test_preference_files_read_back_as_what_was_exported(messages: Any, better: str, worse: str) -> None:
    (line,) = export_preferences([{"input": canonical_json(messages), "chosen": better, "rejected": worse}])
    record = imported("openai_preference", line)
    assert isinstance(record, Preference)
    assert (turns(record), record.chosen, record.rejected) == (messages, better, worse)


def test_calls_results_and_definitions_of_tools_read_back_as_what_was_exported() -> None:
    messages = [{"role": "user", "content": "q"}, CALLING, {"role": "tool", "content": "", "tool_call_id": "c1"}]
    held = held_input(messages, TOOLS)
    (line,) = export_chat([{"input": held, "output": held_answer(CALLING)}])
    demonstration = imported("openai_fine_tuning", line)
    assert isinstance(demonstration, Demonstration)
    assert [message.turn() for message in demonstration.messages] == [*messages, CALLING]
    assert list(demonstration.tools or ()) == TOOLS
    (line,) = export_preferences([{"input": held, "chosen": held_answer(CALLING), "rejected": "no"}])
    preference = imported("openai_preference", line)
    assert isinstance(preference, Preference)
    assert (preference.chosen, preference.rejected) == (held_answer(CALLING), "no")
    assert list(preference.tools or ()) == TOOLS


def test_a_correction_is_a_preference_for_it_over_what_the_model_said() -> None:
    row = {"input": '[{"role":"user","content":"q"}]', "model_output": "wrong", "corrected_output": "right"}
    (line,) = export_preferences([row])
    assert json.loads(line) == {
        "input": {"messages": [{"role": "user", "content": "q"}], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": "right"}],
        "non_preferred_output": [{"role": "assistant", "content": "wrong"}],
    }


def test_the_same_line_is_the_same_record() -> None:
    """A file that is read twice, or lies in two places, gives each demonstration once."""
    (line,) = export_chat([{"input": '[{"role":"user","content":"q"}]', "output": "a"}])
    spaced = json.dumps(json.loads(line), indent=None, separators=(", ", ": "))
    assert imported("openai_fine_tuning", line) == imported("openai_fine_tuning", spaced)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"correction_id": "c1", "input": None, "corrected_output": "x"}, "row c1 cannot be exported: it has no input"),
        ({"input": "[]"}, "row without an id cannot be exported: it has no corrected_output or output; leave it out"),
    ],
)
def test_a_row_that_is_not_whole_is_named(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        list(export_chat([row]))
