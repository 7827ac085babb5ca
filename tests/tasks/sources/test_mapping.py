"""Rows become the records that the config declares, or are refused with the key and path that are at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.records import parse_record, sha256
from tasks.sources.mapping import MapRow, compile_mapping, to_rating, to_thumb
from tasks.sources.settings import FilesSourceConfig

CALL = {
    "record": "inference",
    "inference_id": "$.id",
    "messages": [{"role": "user", "content": "$.question"}],
    "output": "$.answer",
    "model_version": "$.model",
    "created_at": "$.at",
}
ROW = {"id": "i1", "question": "Where?", "answer": "Here.", "model": "7", "at": "2026-03-01T12:00:00+00:00"}
THUMB = {
    "record": "thumb",
    "inference_id": "$.id",
    "value": "$.up",
    "producer": "person:{$.who}",
    "created_at": "$.at",
}
LOG = {
    "request": {
        "model": "gpt",
        "temperature": 0.2,
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Where is it?"}], "name": "ann"},
        ],
    },
    "response": {
        "id": "chatcmpl-1",
        "model": "gpt-2026",
        "created": 1772366400,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Here."}}],
    },
}


def compiled(records: Any) -> MapRow:
    return compile_mapping(FilesSourceConfig.model_validate({"name": "a", "path": "x", "records": records}).records)


def mapped(records: Any, row: Any) -> list[dict[str, Any]]:
    """The records of a row; each is one that the flywheel takes."""
    lines = compiled(records)(json.dumps(row))
    for line in lines:
        parse_record(line)
    return [json.loads(line) for line in lines]


def one(change: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    (record,) = mapped([CALL | change], ROW | row)
    return record


def refusal(records: Any, row: Any) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        compiled(records)(row if isinstance(row, str) else json.dumps(row))
    return str(caught.value)


def test_a_row_becomes_the_record_that_is_declared() -> None:
    assert one({"slices": {"language": "$.lang"}}, {"lang": "de"}) == {
        "record": "inference",
        "inference_id": "i1",
        "messages": [{"role": "user", "content": "Where?"}],
        "output": "Here.",
        "model_version": "7",
        "created_at": "2026-03-01T12:00:00+00:00",
        "slices": {"language": "de"},
    }


def test_rows_that_are_records_pass_as_they_are() -> None:
    assert compile_mapping(None)("nonsense") == ["nonsense"]


def test_one_row_may_give_several_records_or_none() -> None:
    thumb = THUMB | {"when": "$.up"}
    row = ROW | {"up": True, "who": "maria"}
    assert [record["record"] for record in mapped([CALL, thumb], row)] == ["inference", "thumb"]
    assert mapped([thumb], ROW) == []


@pytest.mark.parametrize(("flag", "there"), [(True, 1), ("x", 1), (0, 1), (False, 0), (None, 0), ("", 0)])
def test_when_decides_whether_there_is_a_record(flag: Any, there: int) -> None:
    assert len(mapped([CALL | {"when": "$.flag"}], ROW | {"flag": flag})) == there


def test_a_thumb_that_is_false_points_down_and_is_not_left_out() -> None:
    thumb = THUMB | {"when": "$.up"}
    assert [record["value"] for record in mapped([thumb], ROW | {"up": False, "who": "maria"})] == ["down"]
    assert mapped([thumb], ROW | {"up": None, "who": "maria"}) == []


def test_paths_reach_into_lists_odd_keys_and_json_in_text() -> None:
    row = {"id": 7, "odd key": {"list": [{"x": "first"}, {"x": "last"}]}, "payload": json.dumps({"answer": "Inside."})}
    assert one({"model_version": "$['odd key'].list[-1].x"}, row)["model_version"] == "last"
    assert one({"output": "$.payload.answer"}, row)["output"] == "Inside."


def test_a_number_under_an_id_becomes_text() -> None:
    assert one({}, {"id": 7})["inference_id"] == "7"
    assert one({}, {"id": 7.0})["inference_id"] == "7"
    assert "the number 1e+20 is not known exactly" in refusal([CALL], ROW | {"id": 1e20})
    assert "inference_id: is true or false" in refusal([CALL], ROW | {"id": True})


def test_what_a_row_may_leave_out_is_left_out() -> None:
    terms = {"licence": "$.consent", "guideline": "v{$.guide}"}
    assert "licence" not in one(terms, {"consent": None})
    record = one(terms, {"consent": "yes, 2026", "guide": 3})
    assert (record["licence"], record["guideline"]) == ("yes, 2026", "v3")
    preference = {
        "record": "preference", "preference_id": "$.id", "messages": "$.m", "chosen": "$.a", "rejected": "$.b",
        "producer": "person:{$.who}", "created_at": "$.at", "scale": 5, "degree": "$.much", "is_close": "$.close",
    }  # fmt: skip
    row = ROW | {"m": [{"role": "user", "content": "q"}], "a": "x", "b": "y", "who": "jo", "much": "2", "close": "no"}
    (record,) = mapped([preference], row)
    assert (record["scale"], record["degree"], record["is_close"]) == (5, 2, False)
    taken_back = {"record": "retraction", "reason": "$.why"} | {key: THUMB[key] for key in ("inference_id", "producer")}
    (record,) = mapped([taken_back | {"created_at": "$.at"}], ROW | {"who": "jo"})
    assert "reason" not in record


def test_the_row_itself_can_be_the_id() -> None:
    first = one({"inference_id": "$row"}, {})
    assert first["inference_id"] == sha256(ROW)
    again = compiled([CALL | {"inference_id": "$row"}])(json.dumps(dict(reversed(ROW.items())), indent=1))
    assert json.loads(again[0])["inference_id"] == first["inference_id"]
    assert one({"inference_id": "log-{$row}"}, {})["inference_id"] == f"log-{sha256(ROW)}"


@pytest.mark.parametrize(
    ("given", "timezone", "expected"),
    [
        ("2026-03-01T12:00:00Z", None, "2026-03-01T12:00:00+00:00"),
        ("2026-03-01 12:00:00.5+01", None, "2026-03-01T12:00:00.500000+01:00"),
        ("2026-03-01T12:00:00", "Europe/Berlin", "2026-03-01T12:00:00+01:00"),
        ("2026-07-01T12:00:00", "Europe/Berlin", "2026-07-01T12:00:00+02:00"),
        ("2026-03-01T12:00:00Z", "Europe/Berlin", "2026-03-01T12:00:00+00:00"),
        (1772366400, None, "2026-03-01T12:00:00+00:00"),
        (1772366400.25, None, "2026-03-01T12:00:00.250000+00:00"),
        (1772366400250, None, "2026-03-01T12:00:00.250000+00:00"),
        ("1772366400", None, "2026-03-01T12:00:00+00:00"),
        (0, None, "1970-01-01T00:00:00+00:00"),
    ],
)
def test_times_are_understood_in_the_forms_that_logs_have(given: Any, timezone: str | None, expected: str) -> None:
    assert one({"timezone": timezone}, {"at": given})["created_at"] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-03-01T12:00:00", "inference: created_at: '2026-03-01T12:00:00' has no zone; add timezone: NAME"),
        ("yesterday", "'yesterday' is no time; write one such as"),
        ("x" * 200 + "\x1b", "..."),
        (1e300, "is no time in seconds or milliseconds"),
        (True, "is true or false, and must be a time"),
        ([], "is a list, and must be a time"),
        (None, "created_at: $.at is null"),
    ],
)
def test_what_is_no_time_is_refused(given: Any, expected: str) -> None:
    assert expected in refusal([CALL], ROW | {"at": given})


@pytest.mark.parametrize("given", [True, 1, "up", "Yes", "true", " GOOD ", "thumbs_up", "👍", 1.0])
def test_the_usual_words_for_up(given: Any) -> None:
    assert to_thumb(given) == "up"


@pytest.mark.parametrize("given", [False, 0, -1, "down", "NO", "false", "bad", "dislike", "👎"])
def test_the_usual_words_for_down(given: Any) -> None:
    assert to_thumb(given) == "down"


@pytest.mark.parametrize("given", ["sideways", "", 2, None, [], {}, 0.5])
def test_what_is_neither_up_nor_down_is_refused(given: Any) -> None:
    with pytest.raises(ValueError):
        to_thumb(given)


@pytest.mark.parametrize(("given", "expected"), [(4, 4), (4.0, 4), ("4", 4), ("4.5", 4.5), (0, 0)])
def test_ratings_are_numbers_or_their_text(given: Any, expected: float) -> None:
    assert to_rating(given) == expected
    assert type(to_rating(given)) is type(expected)


@pytest.mark.parametrize("given", ["many", True, None, "inf", "nan", [5]])
def test_what_is_no_number_is_no_rating(given: Any) -> None:
    with pytest.raises(ValueError, match="is no number"):
        to_rating(given)


def test_labels_are_text_in_order_and_missing_ones_are_left_out() -> None:
    slices = {"z": "$.z", "b": "$.b", "a": "$.a", "c": "fixed", "n": "$.n"}
    record = one({"slices": slices}, {"z": 3, "b": True, "n": None})
    assert list(record["slices"].items()) == [("b", "true"), ("c", "fixed"), ("z", "3")]
    assert one({"slices": "$.labels"}, {"labels": {"y": 1, "x": "a", "n": None}})["slices"] == {"x": "a", "y": "1"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"category": "billing", "ok": True}, '{"category":"billing","ok":true}'),
        (["a", 1], '["a",1]'),
        (3, "3"),
        ({"role": "assistant", "content": "Here."}, "Here."),
        ([{"role": "assistant", "content": "Here."}], "Here."),
        ("", ""),
    ],
)
def test_an_answer_is_text_or_json_as_text(given: Any, expected: str) -> None:
    assert one({}, {"answer": given})["output"] == expected


def test_messages_are_joined_from_constants_and_paths_and_read_from_text() -> None:
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    record = one({"messages": [{"role": "system", "content": "Be brief."}, "$.history"]}, {"history": history})
    assert [message["content"] for message in record["messages"]] == ["Be brief.", "a", "b", "c"]
    assert one({"messages": "$.history"}, {"history": json.dumps(history)})["messages"] == history


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": None}, "inference: inference_id: $.id is null"),
        ({"question": None}, "inference: messages: $.question is null"),
        ({"question": 3}, "message 0 has no text as its content"),
        ({"model": []}, "inference: model_version: is a list, and must be text or a number"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_key_and_path(row: dict[str, Any], expected: str) -> None:
    assert expected in refusal([CALL], ROW | row)


def test_a_path_that_leads_nowhere_is_named() -> None:
    assert refusal([CALL], {}) == "inference: inference_id: $.id is not there"
    assert "thumb: producer: $.who is not there" in refusal([THUMB], ROW | {"up": True})
    row = ROW | {"up": True, "who": "maria"}
    assert "producer: 'maria' must begin with" in refusal([THUMB | {"producer": "$.who"}], row)


@pytest.mark.parametrize(
    "row", ["", "nonsense", "[1]", "null", '{"a": NaN}', "[" * 100_000, '{"a": "\\ud800"}', "\x00"]
)
def test_what_is_no_json_object_is_refused(row: str) -> None:
    assert "the row is no" in refusal([CALL], row)


def test_a_chat_log_becomes_an_inference() -> None:
    (record,) = mapped("openai_chat_log", LOG)
    assert record == {
        "record": "inference",
        "inference_id": "chatcmpl-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is it?"}],
        "output": "Here.",
        "model_version": "gpt-2026",
        "created_at": "2026-03-01T12:00:00+00:00",
    }


CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
IMAGE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
            "calls tools, but not as id and function",
        ),
        ({"role": "assistant", "content": None, "function_call": {"name": "f"}}, "has a function_call"),
        ({"role": "assistant", "content": None}, "has no text as its content"),
        ({"role": "assistant", "content": IMAGE}, "images and other parts cannot be mapped yet"),
        ({"role": "function", "content": "x"}, "the role 'function'; system, user, assistant and tool can be mapped"),
        ({"role": ["user"], "content": "x"}, "has the role a list"),
    ],
)
def test_chats_that_are_more_than_text_are_refused_with_that_reason(message: dict[str, Any], expected: str) -> None:
    answered = json.loads(json.dumps(LOG))
    answered["response"]["choices"][0]["message"] = message
    assert "inference: output: message 0 " in (line := refusal("openai_chat_log", answered))
    assert expected in line
    asked = json.loads(json.dumps(LOG))
    asked["request"]["messages"].insert(1, message)
    assert "inference: messages: message 1 " in (line := refusal("openai_chat_log", asked))
    assert expected in line


def test_a_log_with_calls_of_tools_becomes_an_inference() -> None:
    """What a log has beside the calls is left out, and arguments that are no text yet become one."""
    call = {"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": {"id": 7}}}
    calling = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
    kept = CALLS[0] | {"function": {"name": "f", "arguments": '{"id":7}'}}
    log = json.loads(json.dumps(LOG))
    log["request"]["messages"] += [calling, {"role": "tool", "tool_call_id": "c", "content": "gone", "name": "f"}]
    log["request"]["tools"] = [{"type": "function", "function": {"name": "f"}}]
    log["response"]["choices"][0]["message"] = calling
    (record,) = mapped("openai_chat_log", log)
    assert record["messages"][2:] == [
        {"role": "assistant", "tool_calls": [kept]}, {"role": "tool", "content": "gone", "tool_call_id": "c"},
    ]  # fmt: skip
    assert record["output"] == {"role": "assistant", "tool_calls": [kept]}
    assert record["tools"] == log["request"]["tools"]
    log["request"]["tools"] = []
    assert "tools" not in mapped("openai_chat_log", log)[0]


def test_a_preset_can_be_changed_key_by_key() -> None:
    preset = {"preset": "openai_chat_log", "when": "$.response.choices", "model_version": "v3", "slices": {"a": "$.x"}}
    (record,) = mapped(preset, LOG | {"x": "y"})
    assert (record["model_version"], record["slices"]) == ("v3", {"a": "y"})
    assert mapped(preset, {"request": LOG["request"], "response": {"error": "overloaded"}}) == []


@pytest.mark.parametrize("depth", [300, 1000, 100_000])
def test_deep_nesting_is_no_crash(depth: int) -> None:
    raw = json.dumps(ROW)[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"
    for change in ({"inference_id": "$row"}, {"output": "$.deep"}):
        try:
            compiled([CALL | change])(raw)
        except ValueError as error:
            assert "\n" not in str(error)


TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = [
    [CALL | {"slices": {"a": "$.question", "b": "$.x.y"}}, THUMB | {"when": "$.up"}],
    "openai_chat_log",
    {"preset": "openai_preference", "producer": "person:{$.who}", "created_at": "$.at", "timezone": "Europe/Berlin"},
    [{"record": "rating", "inference_id": "$row", "value": "$.up", "producer": "$.who", "created_at": "$.at"}],
]
COMPILED = [compiled(mapping) for mapping in MAPPINGS]
PREFERENCE = {
    "input": {"messages": LOG["request"]["messages"]},
    "preferred_output": [{"role": "assistant", "content": "a"}],
    "non_preferred_output": [{"role": "assistant", "content": "b"}],
}
WHOLE = ROW | LOG | PREFERENCE | {"up": True, "who": "person:maria", "x": {"y": 1}}


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A row that would do, with something else in some places, and perhaps cut short or with other characters."""
    row = json.loads(json.dumps(WHOLE))
    for _ in range(draw(st.integers(0, 3))):
        place: Any = row
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if draw(st.booleans()) or not isinstance(place[key], dict | list):
                place[key] = draw(JSON)
                break
            place = place[key]
    text = json.dumps(row, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 4)) == 0:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.text(max_size=3)) + draw(st.sampled_from([text[cut:], ""]))
    return text


@settings(max_examples=300, deadline=None)
@given(raw=mutated())
def test_a_mutated_row_is_mapped_or_refused_in_one_line(raw: str) -> None:
    for map_row in COMPILED:
        try:
            lines = map_row(raw)
        except ValueError as error:
            assert str(error)
            assert str(error).isprintable()
        else:
            assert all(json.loads(line)["record"] for line in lines)
            assert not any("\n" in line for line in lines)
