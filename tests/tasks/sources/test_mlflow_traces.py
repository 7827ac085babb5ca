"""Traces and what reviewers say about them in MLflow become inferences, corrections, thumbs and ratings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import AssessmentSource, Expectation, Feedback
from mlflow.tracing.provider import reset as reset_tracing

from tasks.chat import answer_message
from tasks.errors import SourceError
from tasks.records import parse_record
from tasks.sources import mlflow_traces
from tasks.sources.mapping import MapRow
from tasks.sources.mlflow_traces import MlflowSource, compile_traces, find_answer, find_messages, find_tools
from tasks.sources.settings import MlflowSourceConfig

MARIA = AssessmentSource(source_type="HUMAN", source_id="maria")
JUDGE = AssessmentSource(source_type="LLM_JUDGE", source_id="judge-4")
CODE = AssessmentSource(source_type="CODE", source_id="length.py")
QUESTION = {"messages": [{"role": "user", "content": "Where is it?"}], "model": "gpt"}


def completion(text: str) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


ANSWER = completion("Here.")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow store of its own in a SQLite file."""
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        reset_tracing()
        mlflow.set_tracking_uri(uri)
        yield uri
    mlflow.set_tracking_uri(before)
    reset_tracing()


class Production:
    """An experiment with calls, and a source that pulls from it as the flywheel does, cursor by cursor."""

    def __init__(self, tracking: str, name: str, folder: Path) -> None:
        self.tracking = tracking
        self.name = name
        mlflow.create_experiment(name, artifact_location=folder.as_uri())
        mlflow.set_experiment(name)
        self.cursors: dict[str, str] = {}

    def call(self, inputs: Any = QUESTION, outputs: Any = ANSWER, start_ms: int | None = None) -> str:
        """Log one call; the trace's id."""
        client = mlflow.MlflowClient()
        start_ns = None if start_ms is None else start_ms * 1_000_000
        span = client.start_trace(
            "chat", inputs=inputs, tags={"version": "7", "language": "de"}, start_time_ns=start_ns
        )
        end_ns = None if start_ns is None else start_ns + 1_000_000
        client.end_trace(span.trace_id, outputs=outputs, end_time_ns=end_ns)
        return str(span.trace_id)

    def config(self, **changes: Any) -> MlflowSourceConfig:
        data = {"name": "assistant", "experiment": self.name, "model_version": "$.tags.version"}
        return MlflowSourceConfig.model_validate(data | changes)

    def pull(self, **changes: Any) -> list[str]:
        """The rows that are new or have changed; the cursor is kept once all have been read."""
        rows: list[str] = []
        for part in MlflowSource(self.config(**changes), self.tracking).pull(self.cursors):
            assert part.whole is (not self.cursors)
            frame = pl.concat(part.batches)
            assert frame["row"].to_list() == list(range(1, frame.height + 1))
            rows += frame["raw"].to_list()
            self.cursors[part.name] = part.cursor
        return rows

    def records(self, **changes: Any) -> list[Any]:
        map_row = compile_traces(self.config(**changes))
        return [parse_record(line) for raw in self.pull(**changes) for line in map_row(raw)]

    def signals(self, **changes: Any) -> list[tuple[str, Any, str]]:
        """Of all records but inferences: kind, value and producer."""
        return [
            (record.record, getattr(record, "value", getattr(record, "corrected_output", None)), record.producer)
            for record in self.records(**changes)
            if record.record != "inference"
        ]


@pytest.fixture
def production(tracking: str, request: pytest.FixtureRequest, tmp_path: Path) -> Production:
    return Production(tracking, request.node.name, tmp_path)


def test_a_trace_becomes_an_inference(production: Production) -> None:
    trace_id = production.call()
    (record,) = production.records(slices={"language": "$.tags.language", "region": "$.tags.region"})
    assert (record.record, record.inference_id, record.output, record.model_version) == (
        "inference",
        trace_id,
        "Here.",
        "7",
    )
    assert [(message.role, message.content) for message in record.messages] == [("user", "Where is it?")]
    assert record.slices == {"language": "de"}
    assert record.created_at.timestamp() * 1000 == mlflow.get_trace(trace_id).info.request_time


def test_an_expectation_is_a_correction_by_the_person_who_wrote_it(production: Production) -> None:
    trace_id = production.call()
    mlflow.log_expectation(trace_id=trace_id, name="expected_response", value="There.", source=MARIA)
    mlflow.log_expectation(trace_id=trace_id, name="fields", value={"place": "there"}, source=JUDGE)
    mlflow.log_expectation(trace_id=trace_id, name="expected_facts", value=["It is there"], source=MARIA)
    assert production.signals() == [
        ("correction", "There.", "person:maria"),
        ("correction", '{"place":"there"}', "model:judge-4"),
    ]


def test_feedback_is_a_thumb_or_a_rating(production: Production) -> None:
    trace_id = production.call()
    for name, value, source in [
        ("correct", False, MARIA),
        ("safe", "yes", JUDGE),
        ("short", True, CODE),
        ("stars", 4, MARIA),
        ("comment", "I rather like it", MARIA),
        ("similarity", 1.0, JUDGE),
        ("percent", 80, MARIA),
        ("unsure", "unknown", JUDGE),
    ]:
        mlflow.log_feedback(trace_id=trace_id, name=name, value=value, source=source)
    mlflow.log_feedback(trace_id=trace_id, name="failed", error=ValueError("no answer"), source=JUDGE)
    assert production.signals() == [
        ("thumb", "down", "person:maria"),
        ("thumb", "up", "model:judge-4"),
        ("thumb", "up", "rule:length.py"),
        ("rating", 4, "person:maria"),
    ]


def test_only_the_named_assessments_count(production: Production) -> None:
    trace_id = production.call()
    mlflow.log_expectation(trace_id=trace_id, name="expected_response", value="There.", source=MARIA)
    mlflow.log_expectation(trace_id=trace_id, name="note", value="see above", source=MARIA)
    for name, value in [("correct", 0), ("polite", True), ("score", 2), ("stars", 5)]:
        mlflow.log_feedback(trace_id=trace_id, name=name, value=value, source=JUDGE)
    assert production.signals(corrections=["expected_response"], thumbs=["correct"], ratings=["score"]) == [
        ("correction", "There.", "person:maria"),
        ("thumb", "down", "model:judge-4"),
        ("rating", 2, "model:judge-4"),
    ]


def test_an_assessment_that_was_replaced_does_not_count(production: Production) -> None:
    """MLflow's UI does not change an assessment but writes another over it."""
    trace_id = production.call()
    first = mlflow.log_expectation(trace_id=trace_id, name="expected_response", value="Ther", source=MARIA)
    changed = Expectation(name="expected_response", value="There.", source=MARIA)
    changed.overrides = first.assessment_id
    mlflow.log_assessment(trace_id, changed)
    thumb = mlflow.log_feedback(trace_id=trace_id, name="correct", value=True, source=MARIA)
    mlflow.override_feedback(trace_id=trace_id, assessment_id=thumb.assessment_id, value=False, source=MARIA)
    assert production.signals() == [("correction", "There.", "person:maria"), ("thumb", "down", "person:maria")]


def test_an_assessment_of_a_step_in_the_call_does_not_count(production: Production) -> None:
    with mlflow.start_span("chat") as root:
        root.set_inputs(QUESTION)
        with mlflow.start_span("retrieve") as step:
            step.set_outputs("nothing")
        root.set_outputs("Here.")
        mlflow.update_current_trace(tags={"version": "7"})
    for span, value in ((root, True), (step, False)):
        feedback = Feedback(name="correct", value=value, source=MARIA, span_id=span.span_id)
        mlflow.log_assessment(root.trace_id, feedback)
    assert production.signals() == [("thumb", "up", "person:maria")]


def test_a_reviewer_without_a_login_is_a_person_all_the_same(production: Production) -> None:
    trace_id = production.call()
    nobody = AssessmentSource(source_type="HUMAN", source_id="")
    mlflow.log_feedback(trace_id=trace_id, name="correct", value=True, source=nobody)
    assert production.signals() == [("thumb", "up", "person:unknown")]


def test_nothing_new_gives_no_part(production: Production) -> None:
    assert production.pull() == []
    production.call()
    assert len(production.pull()) == 1
    assert production.pull() == []


def test_a_new_trace_is_pulled_without_the_old_ones(production: Production) -> None:
    production.call()
    production.pull(overlap_seconds=0)
    later = production.call()
    (row,) = production.pull(overlap_seconds=0)
    assert json.loads(row)["trace_id"] == later


def test_an_old_trace_is_pulled_again_when_it_is_assessed(production: Production) -> None:
    """Reviewers come days after the call."""
    import time

    old = production.call(start_ms=int(time.time() * 1000) - 5 * 86_400_000)
    production.call()
    assert len(production.pull(overlap_seconds=0)) == 2
    assert production.pull(overlap_seconds=0) == []
    mlflow.log_expectation(trace_id=old, name="expected_response", value="There.", source=MARIA)
    assert production.signals(overlap_seconds=0) == [("correction", "There.", "person:maria")]
    mlflow.log_feedback(trace_id=old, name="correct", value=False, source=MARIA)
    assert production.pull(overlap_seconds=0, review_days=3) == []
    assert len(production.pull(overlap_seconds=0)) == 1


def test_named_assessments_are_found_without_looking_through_all_traces(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    names: dict[str, Any] = {"corrections": ["the right answer"], "thumbs": ["correct"], "ratings": []}
    days_ago = int(time.time() * 1000) - 5 * 86_400_000
    old, other, _ = [production.call(start_ms=days_ago) for _ in range(3)]
    assert len(production.pull(overlap_seconds=0, **names)) == 3
    assert production.pull(overlap_seconds=0, **names) == []
    mlflow.log_expectation(trace_id=old, name="the right answer", value="There.", source=MARIA)
    mlflow.log_feedback(trace_id=old, name="correct", value=False, source=MARIA)
    mlflow.log_feedback(trace_id=other, name="polite", value=False, source=MARIA)
    new = production.call()
    outlined: list[str] = []
    outline = mlflow_traces._outline
    monkeypatch.setattr(mlflow_traces, "_outline", lambda info: outlined.append(info.trace_id) or outline(info))
    assert {json.loads(row)["trace_id"] for row in production.pull(overlap_seconds=0, **names)} == {old, new}
    assert set(outlined) == {old, new}


def test_a_revised_expectation_comes_again_with_its_later_time(production: Production) -> None:
    trace_id = production.call()
    first = mlflow.log_expectation(trace_id=trace_id, name="expected_response", value="Ther", source=MARIA)
    (before,) = [record for record in production.records() if record.record == "correction"]
    revised = Expectation(name="expected_response", value="There.")
    mlflow.update_assessment(trace_id=trace_id, assessment_id=first.assessment_id, assessment=revised)
    (after,) = [record for record in production.records() if record.record == "correction"]
    assert (before.corrected_output, after.corrected_output) == ("Ther", "There.")
    assert after.created_at > before.created_at


def test_many_traces_come_in_batches_and_each_once(production: Production, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_traces, "PAGE", 2)
    monkeypatch.setattr(mlflow_traces, "FETCH", 2)
    monkeypatch.setattr(mlflow_traces, "BATCH", 3)
    made = [production.call() for _ in range(7)]
    (part,) = MlflowSource(production.config(), production.tracking).pull({})
    batches = list(part.batches)
    assert [batch.height for batch in batches] == [3, 3, 1]
    assert sorted(json.loads(raw)["trace_id"] for raw in pl.concat(batches)["raw"]) == sorted(made)


def test_a_call_that_failed_has_the_empty_answer(production: Production) -> None:
    with pytest.raises(ZeroDivisionError), mlflow.start_span("chat") as span:
        span.set_inputs(QUESTION)
        mlflow.update_current_trace(tags={"version": "7"})
        raise ZeroDivisionError
    (record,) = production.records()
    assert record.output == ""


def test_a_traced_function_of_one_text_is_understood(production: Production) -> None:
    @mlflow.trace
    def answer(question: str) -> dict[str, str]:
        mlflow.update_current_trace(tags={"version": "7"})
        return {"place": question[::-1]}

    answer("abc")
    (record,) = production.records()
    assert record.messages[0].content == "abc"
    assert record.output == '{"place":"cba"}'


def test_other_shapes_are_mapped_by_the_config(production: Production) -> None:
    production.call(inputs={"question": "Where?", "limit": 3}, outputs={"answer": "Here.", "took": 0.1})
    (row,) = production.pull()
    with pytest.raises(ValueError, match="no messages are found in the request; say where they are with messages:"):
        compile_traces(production.config())(row)
    changes = {"messages": [{"role": "user", "content": "$.request.question"}], "output": "$.response.answer"}
    (line,) = compile_traces(production.config(**changes))(row)
    record: Any = parse_record(line)
    assert (record.messages[0].content, record.output) == ("Where?", "Here.")


def test_calls_and_definitions_of_tools_are_taken_from_a_trace(production: Production) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "find"}}]
    asked = {"messages": [{"role": "user", "content": "Where?"}], "tools": tools}
    answered = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]}
    production.call(inputs=asked, outputs=answered)
    (row,) = production.pull()
    (line,) = compile_traces(production.config())(row)
    record: Any = parse_record(line)
    assert answer_message(record.output)["tool_calls"] == [call]
    assert list(record.tools) == tools
    assert find_tools({"request": asked}) == tools
    assert find_tools("Where?") is find_tools({"tools": "none"}) is None


@pytest.mark.parametrize(
    ("changes", "call", "expected"),
    [
        ({"model_version": "$.tags.absent"}, {}, "inference: model_version: $.tags.absent is not there"),
        ({}, {"outputs": None}, "inference: the trace has no response"),
        ({}, {"outputs": {"choices": [{"message": {"role": "assistant", "content": None}}]}}, "has no text as its"),
        ({}, {"inputs": {"messages": [{"role": "function", "content": "x"}]}}, "has the role 'function'"),
    ],
)
def test_a_trace_that_cannot_be_mapped_says_why(
    production: Production, changes: dict[str, Any], call: dict[str, Any], expected: str
) -> None:
    production.call(**call)
    (row,) = production.pull()
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        compile_traces(production.config(**changes))(row)
    assert expected in str(caught.value)


def test_a_trace_without_readable_spans_is_a_row_for_the_quarantine(production: Production) -> None:
    with pytest.raises(ValueError, match="the trace has no root span that can be read"):
        compile_traces(production.config())('{"trace_id": "tr-1"}')


ROW = {
    "trace_id": "tr-1",
    "state": "OK",
    "created_at": 1772366400000,
    "request": QUESTION,
    "response": ANSWER,
    "root_span_id": "s",
    "metadata": {},
    "tags": {"version": "7"},
    "attributes": {},
    "assessments": [
        {"name": name, "kind": kind, "value": value, "source_type": "HUMAN", "source_id": "maria", "span_id": None,
         "valid": True, "updated_ms": 1772366400000}
        for name, kind, value in [("a", "expectation", {"x": 1}), ("b", "feedback", True), ("c", "feedback", 4)]
    ],
}  # fmt: skip
TRACE: MapRow = compile_traces(
    MlflowSourceConfig(name="assistant", experiment="x", model_version="$.tags.version", slices={"a": "$.attributes.x"})
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), value=JSON)
def test_a_mutated_row_is_mapped_or_refused_in_one_line(data: st.DataObject, value: Any) -> None:
    row = json.loads(json.dumps(ROW))
    place: Any = row
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    try:
        lines = TRACE(json.dumps(row))
    except ValueError as error:
        assert str(error).isprintable()
    else:
        assert all(json.loads(line)["record"] for line in lines)


def test_a_row_gives_an_inference_and_its_signals() -> None:
    kinds = [json.loads(line)["record"] for line in TRACE(json.dumps(ROW))]
    assert kinds == ["inference", "correction", "thumb", "rating"]


@pytest.mark.parametrize("odd", [float("nan"), 2**70, Path("x"), {1: "a"}])
def test_odd_values_in_a_trace_are_no_crash(production: Production, odd: Any) -> None:
    production.call(inputs={"messages": [{"role": "user", "content": "x"}], "odd": odd})
    (record,) = production.records()
    assert record.messages[0].content == "x"


def test_an_experiment_or_server_that_is_not_there_is_named(production: Production) -> None:
    absent = MlflowSource(production.config(experiment="absent"), production.tracking)
    with pytest.raises(SourceError, match=r"^source assistant: there is no experiment absent at sqlite:///.*; "):
        list(absent.pull({}))
    closed = MlflowSource(production.config(tracking_uri="http://127.0.0.1:1"), production.tracking)
    with pytest.raises(SourceError, match=r"^source assistant: traces cannot be read from http://127[^\n]*; see "):
        list(closed.pull({}))


def test_a_store_that_is_missing_is_named_and_not_made(production: Production, tmp_path: Path) -> None:
    """MLflow would make an empty one, so that a misspelt path looks like an experiment that is missing."""
    path = tmp_path / "absent" / "traces.db"
    absent = MlflowSource(production.config(tracking_uri=f"sqlite:///{path}"), production.tracking)
    with pytest.raises(SourceError, match=rf"^source assistant: there is no file {path}, [^\n]*; correct tracking_uri"):
        list(absent.pull({}))
    assert not path.parent.exists()


def test_a_server_that_is_not_there_is_named_at_once(production: Production, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow asks again for minutes; somebody who connects a source waits before the terminal."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    closed = MlflowSource(production.config(tracking_uri="http://127.0.0.1:1"), production.tracking)
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"traces cannot be read from http://127.0.0.1:1: .*; see that it runs"):
        list(closed.pull({}))
    assert time.monotonic() - started < 15.0


def test_a_trace_is_the_same_row_in_whatever_order_its_labels_come() -> None:
    """A server gives them in another order each time; a bad trace would lie in quarantine once for each."""
    assert list(mlflow_traces._without_copies({"b": 1, "a": 2, "mlflow.spanInputs": 3})) == ["a", "b"]


def test_a_trace_that_cannot_be_mapped_is_named_by_its_id() -> None:
    map_row = compile_traces(MlflowSourceConfig(name="a", experiment="e", model_version="$.tags.version"))
    with pytest.raises(ValueError, match=r"\(trace tr-1\)$"):
        map_row('{"trace_id": "tr-1"}')


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("Where?", "Where?"),
        ({"input": "Where?"}, "Where?"),
        ({"input": [{"role": "user", "content": "Where?"}], "model": "gpt"}, "Where?"),
        ({"request": {"messages": [{"role": "user", "content": "Where?"}]}}, "Where?"),
        ([{"role": "user", "content": "Where?"}], "Where?"),
    ],
)
def test_the_shapes_of_requests(request_: Any, expected: str) -> None:
    assert find_messages(request_)[-1]["content"] == expected


@pytest.mark.parametrize("request_", [None, 3, [], {}, {"a": 1, "b": 2}, {"messages": []}, {"messages": "x", "a": {}}])
def test_odd_requests_are_refused_or_one_text(request_: Any) -> None:
    try:
        assert find_messages(request_) == [{"role": "user", "content": "x"}]
    except ValueError as error:
        assert "no messages are found" in str(error)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Here.", "Here."),
        (completion("Here."), {"role": "assistant", "content": "Here."}),
        ({"choices": [{"text": "Here."}]}, "Here."),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
         {"role": "assistant", "content": "b"}),
        ({"output": [{"type": "reasoning"}, {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]}]},
         {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]}),
        ({"category": "billing"}, {"category": "billing"}),
        ([1, 2], [1, 2]),
    ],
)  # fmt: skip
def test_the_shapes_of_responses(response: Any, expected: Any) -> None:
    assert find_answer(response, "OK") == expected
