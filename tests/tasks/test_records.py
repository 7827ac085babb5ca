"""Records are taken whole or refused in one sentence; equal contents have equal hashes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.records import canonical_json, canonical_line, parse_record, sha256, user_text, utc
from tests.conftest import correction, demonstration, inference, preference, rating, retraction, thumb


def parse(record: Any) -> Any:
    return parse_record(json.dumps(record))


TERMS = {"licence": "CC-BY-4.0", "guideline": "v3"}
WHOLE = [
    inference("i", language="de") | TERMS,
    correction("i") | TERMS,
    thumb("i") | TERMS,
    rating("i") | TERMS,
    demonstration("d") | TERMS,
    preference("p", slices={}, scale=8, degree=4, rubric="tone", is_close=False) | TERMS,
    retraction("i", reason="misread"),
]


@pytest.mark.parametrize("record", [*WHOLE, correction("i"), thumb("i"), demonstration("d")])
def test_each_kind_is_read_back_as_it_was_written(record: dict[str, Any]) -> None:
    read = parse(record).model_dump(mode="json", exclude_none=True)
    read["created_at"] = read["created_at"].replace("Z", "+00:00")
    assert read == record


USER = {"role": "user", "content": "u"}
ANSWER = {"role": "assistant", "content": "a"}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
BROKEN = CALLING | {"tool_calls": [CALL | {"function": {"name": "find", "arguments": "[1"}}]}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (inference("i") | {"record": "wish"}, "wish"),
        ({"inference_id": "i"}, "record"),
        ([], "object"),
        ("text", "object"),
        (inference("i") | {"colour": 1}, "colour: "),
        ({k: v for k, v in inference("i").items() if k != "output"}, "output: Field required"),
        (inference(""), "inference_id: "),
        (inference("i") | {"created_at": "2026-03-01T12:00:00"}, "created_at: Input should have timezone info"),
        (inference("i") | {"created_at": "yesterday"}, "created_at: "),
        (inference("i") | {"messages": []}, "messages: "),
        (inference("i") | {"messages": [USER, ANSWER]}, "the last message must be the user's or a tool's"),
        (inference("i") | {"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role: "),
        (inference("i") | {"messages": [{"role": "user", "content": ""}]}, "messages.0: content: the user's turn must"),
        (
            inference("i") | {"messages": [USER | {"tool_calls": [CALL]}]},
            "messages.0: tool_calls belong to the assistant",
        ),
        (
            inference("i") | {"messages": [CALLING, {"role": "tool", "content": "x"}]},
            "messages.1: a tool's turn needs a",
        ),
        (inference("i") | {"messages": [USER | {"tool_call_id": "c1"}]}, "messages.0: a tool's turn needs a"),
        (
            inference("i") | {"messages": [CALLING | {"tool_calls": [CALL | {"id": ""}]}]},
            "messages.0.tool_calls.0.id: ",
        ),
        (inference("i") | {"tools": [{"name": "f"}]}, "tools.0: a tool is {type: function"),
        (inference("i") | {"output": USER}, "output: an answer is a text, or the assistant's message"),
        (inference("i") | {"output": "\x1e{}"}, "output: must not begin with the control character U+001E"),
        (
            inference("i") | {"output": ANSWER | {"content": "\x1e{}"}},
            "output: must not begin with the control character",
        ),
        (correction("i") | {"corrected_output": CALLING | {"colour": 1}}, "corrected_output: colour: "),
        (correction("i") | {"corrected_output": BROKEN}, "corrected_output: the arguments of find are no JSON object"),
        (demonstration("d") | {"messages": [USER, BROKEN]}, "the arguments of find are no JSON object"),
        (demonstration("d") | {"messages": [USER, ANSWER | {"content": "\x1e"}]}, "must not begin with"),
        (inference("i") | {"slices": {"language": 3}}, "slices.language: "),
        (correction("i", corrected=""), "corrected_output: "),
        (correction("i", by="maria"), "producer: "),
        (correction("i", by="person:"), "producer: "),
        (thumb("i", value="sideways"), "value: "),
        (thumb("i") | {"licence": ""}, "licence: "),
        (preference("p", scale=7, degree=1), "scale must be 5 or 8"),
        (preference("p", degree=1), "scale must be 5 or 8"),
        (preference("p", scale=8, degree=0), "degree must be 1 to 4 on a scale of 8 points"),
        (preference("p", scale=5, degree=3), "degree must be 0 to 2 on a scale of 5 points"),
        (preference("p", scale=5, degree=True), "degree: "),
        (preference("p", is_close="yes"), "is_close: "),
        (retraction("i", reason=""), "reason: "),
        (demonstration("d") | {"messages": [USER]}, "messages: "),
        (demonstration("d") | {"messages": [ANSWER, USER]}, "the user's or a tool's, and the assistant's"),
    ],
)
def test_a_wrong_record_is_refused_with_its_key(record: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        parse(record)
    assert expected in str(caught.value)


@pytest.mark.parametrize("line", ["", "{", "nonsense", '{"record": "inference"', "[" * 10_000])
def test_what_is_no_json_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        parse_record(line)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="unicode"):
        parse_record(json.dumps(inference("i")).encode().replace(b"wrong", b"\xff\xfe"))


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid JSON"):
        parse_record(json.dumps(inference("i")).replace("wrong", "\\ud800"))


@pytest.mark.parametrize("tag", ["line\nbreak", "\x1b[2J"])
def test_a_hostile_kind_cannot_break_the_line_that_names_it(tag: str) -> None:
    """The reason is printed to a terminal: data must not be able to forge a second line or send control codes."""
    with pytest.raises(ValueError) as caught:
        parse({"record": tag})
    assert str(caught.value).isprintable()


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_hashes_do_not_see_the_order_of_keys(value: dict[str, Any]) -> None:
    again = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(again)
    assert sha256(value) == sha256(again)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=4, unique=True))
def test_different_texts_have_different_hashes(texts: list[str]) -> None:
    assert len({sha256(text) for text in texts}) == len(texts)


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-14, 14))
def test_times_are_stored_in_utc(moment: datetime, hours: int) -> None:
    there = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
    assert utc(there) == moment


def test_inputs_are_compared_by_what_the_user_wrote() -> None:
    messages = json.dumps(inference("i", "Where is my parcel?")["messages"])
    assert user_text(messages) == "Where is my parcel?"


def test_the_canonical_spelling_has_sorted_slices_and_the_moment_in_utc() -> None:
    record = inference("i", b="2", a="1") | {"created_at": "2026-03-01T13:00:00+01:00"}
    line = canonical_line(parse(record))
    assert '"slices":{"a":"1","b":"2"}' in line
    assert '"created_at":"2026-03-01T12:00:00+00:00"' in line
    assert canonical_line(parse_record(line)) == line
