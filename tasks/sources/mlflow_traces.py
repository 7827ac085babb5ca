"""Traces of an MLflow experiment and what reviewers and judges say about them in its assessments.

MLflow cannot be asked which traces have been assessed since, so a pull looks through the outlines (without spans) of
all traces that began within `review_days` before the last pull, and reads those whole that ended, or have an assessment
that was written, after it, or up to `overlap_seconds` before it. What was read before is known by its content. Where
the config names all assessments that count, only traces that have them are looked through: much faster where there are
many traces and few reviews.

Missed are assessments of traces older than `review_days`; traces that are written, with their old times, later than
`overlap_seconds` after they ended; and assessments that are deleted: what was collected from them stays. A trace that
is still running is read once it has ended. Offsets are how MLflow pages, so each outline costs a little more than the
one before.

A row is a trace: trace_id, state, created_at (milliseconds), request and response (of the root span), metadata, tags,
attributes (of the root span), root_span_id, and assessments. `compile_traces` turns it into records.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import orjson

from tasks.errors import SourceError
from tasks.records import printable, sha256
from tasks.sources.base import Part
from tasks.sources.mapping import (
    MapRow,
    Row,
    compile_rows,
    is_message,
    json_text,
    parse_row,
    to_answer,
    to_rating,
    to_thumb,
)
from tasks.sources.settings import MlflowSourceConfig, RecordMapping

if TYPE_CHECKING:
    import polars as pl

PAGE = 500  # the most that a tracking server gives
FETCH = 100
ANSWER_SECONDS = 10.0
BATCH = 5_000
DAY_MS = 86_400_000
# Expectations by MLflow's own names that are no whole answers.
PARTIAL = {"expected_facts", "expected_retrieved_context", "expected_tool_calls", "guidelines"}
# Where MLflow keeps request and response once more.
COPIES = {"mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.traceInputs", "mlflow.traceOutputs"}
PRODUCERS = {"HUMAN": "person", "LLM_JUDGE": "model", "CODE": "rule"}


@dataclass(frozen=True)
class Outline:
    """A trace without its spans: when it ended or was last assessed, in ms since 1970."""

    trace_id: str
    changed_ms: int


class MlflowSource:
    """Pulls one part, the experiment; its rows are the traces that ended or were assessed since the last pull."""

    def __init__(self, config: MlflowSourceConfig, tracking_uri: str) -> None:
        self.name = config.name
        self._config = config
        self._tracking_uri = config.tracking_uri or tracking_uri
        self._part = f"experiment {config.experiment}"

    def pull(self, cursors: Mapping[str, str]) -> Iterator[Part]:
        """The traces that are new or newly assessed; nothing where the last pull saw the same.

        Raises:
            SourceError: the tracking server cannot be reached, or has no such experiment.
        """
        cursor = json.loads(cursors.get(self._part, "{}"))
        pulled_ms = cursor.get("pulled_ms")
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        overlap_ms = int(self._config.overlap_seconds * 1000)
        experiment = self._open()
        found = self._outlines(experiment, pulled_ms)
        if pulled_ms is not None:
            found = _changed(found, pulled_ms - overlap_ms)
        if found and _digest(found) != cursor.get("digest"):
            stands = {"pulled_ms": now_ms, "digest": _digest(_changed(found, now_ms - overlap_ms))}
            batches = self._batches(experiment, found)
            yield Part(self._part, json.dumps(stands), batches, whole=pulled_ms is None)

    def _outlines(self, experiment: "_Experiment", pulled_ms: int | None) -> list[Outline]:
        """The traces that have ended, and may have changed since the last pull; each once, by the time they began."""
        found: dict[str, Outline] = {}
        for where in [None] if pulled_ms is None else self._filters(pulled_ms):
            page = None
            while True:
                traces = self._search(experiment, where, PAGE, page)
                found |= {trace.info.trace_id: _outline(trace.info) for trace in traces if _has_ended(trace.info)}
                if not (page := traces.token):
                    break
        return list(found.values())

    def _filters(self, pulled_ms: int) -> list[str]:
        """What is searched for: all that may still be assessed, or, where assessments are named, what has them."""
        config = self._config
        reviewed = f"trace.timestamp_ms >= {pulled_ms - int(config.review_days * DAY_MS)}"
        if config.corrections is None or config.thumbs is None or config.ratings is None:
            return [reviewed]
        names = [("expectation", name) for name in config.corrections]
        names += [("feedback", name) for name in dict.fromkeys(config.thumbs + config.ratings)]
        ended = f"trace.end_time_ms >= {pulled_ms - int(config.overlap_seconds * 1000)}"
        return [ended, *(f"{reviewed} AND {kind}.`{name}` IS NOT NULL" for kind, name in names)]

    def _batches(self, experiment: "_Experiment", outlines: list[Outline]) -> "Iterator[pl.DataFrame]":
        import polars as pl

        for first in range(0, len(outlines), BATCH):
            ids = [outline.trace_id for outline in outlines[first : first + BATCH]]
            numbers = pl.Series("row", range(first + 1, first + 1 + len(ids)), dtype=pl.Int64)
            yield pl.DataFrame([numbers, pl.Series("raw", list(self._read(experiment, ids)), dtype=pl.String)])

    def _read(self, experiment: "_Experiment", ids: list[str]) -> Iterator[str]:
        """Each trace as a row, in their order."""
        for first in range(0, len(ids), FETCH):
            some = ids[first : first + FETCH]
            where = f"trace.request_id IN ({', '.join(map(_quoted, some))})"
            traces = self._search(experiment, where, FETCH, None, include_spans=True)
            rows = {trace.info.trace_id: _row(trace) for trace in traces}
            # A trace whose spans cannot be read is left out by MLflow; here it is a row, and is quarantined.
            yield from (_json(rows.get(trace_id, {"trace_id": trace_id})) for trace_id in some)

    def _open(self) -> "_Experiment":
        self._find()
        import mlflow

        with self._reported():
            client = mlflow.MlflowClient(tracking_uri=self._tracking_uri)
            experiment = client.get_experiment_by_name(self._config.experiment)
        if experiment is None:
            raise SourceError(
                f"source {self.name}: there is no experiment {self._config.experiment} at {self._tracking_uri}; "
                f"correct experiment or tracking_uri in the config"
            )
        return _Experiment(client, experiment.experiment_id)

    def _find(self) -> None:
        """See that there is something at the tracking address.

        MLflow would make an empty store where a file is missing, and ask a server that does not answer for minutes.
        """
        address = urlsplit(self._tracking_uri)
        if address.scheme.startswith("sqlite"):
            path = unquote(address.path.removeprefix("/"))
            if path and path != ":memory:" and not os.path.isfile(path):
                raise SourceError(
                    f"source {self.name}: there is no file {path}, which tracking_uri {self._tracking_uri} names (seen "
                    f"from {os.getcwd()}); correct tracking_uri in the config, or log traces first"
                )
        elif address.scheme in ("http", "https"):
            import httpx

            try:
                # Whether anybody answers is all that is asked, and nothing secret is sent.
                httpx.head(self._tracking_uri, timeout=ANSWER_SECONDS, verify=False)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._unreadable(str(error)) from error

    def _search(
        self, experiment: "_Experiment", where: str | None, limit: int, page: str | None, include_spans: bool = False
    ) -> Any:
        with self._reported():
            return experiment.client.search_traces(
                locations=[experiment.experiment_id],
                filter_string=where,
                max_results=limit,
                order_by=["timestamp_ms ASC"],
                page_token=page,
                include_spans=include_spans,
            )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            line = str(error).strip().split("\n")[0]
            raise self._unreadable(line) from error

    def _unreadable(self, reason: str) -> SourceError:
        return SourceError(
            f"source {self.name}: traces cannot be read from {self._tracking_uri}: {printable(reason)}; see that it "
            f"runs, or correct tracking_uri in the config"
        )


@dataclass(frozen=True)
class _Experiment:
    client: Any
    experiment_id: str


def _outline(info: Any) -> Outline:
    moments = [info.request_time + (info.execution_duration or 0)]
    moments += [assessment.last_update_time_ms or 0 for assessment in info.assessments]
    return Outline(info.trace_id, max(moments))


def _has_ended(info: Any) -> bool:
    return bool(info.state != "IN_PROGRESS")


def _changed(outlines: Iterable[Outline], since_ms: int) -> list[Outline]:
    return [outline for outline in outlines if outline.changed_ms >= since_ms]


def _digest(outlines: Iterable[Outline]) -> str:
    return sha256(sorted([outline.trace_id, outline.changed_ms] for outline in outlines))


def _quoted(text: str) -> str:
    """A trace's id as a text of MLflow's search; ids are MLflow's own and hold no quotes."""
    return "'" + text.replace("'", "") + "'"


def _json(row: Row) -> str:
    """Applications record what they like; what JSON has no form for is shown as text, and NaN as null."""
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a number of more than 64 bits, half a character
        return json.dumps(row, default=str)


def _row(trace: Any) -> Row:
    info = trace.info
    row: Row = {
        "trace_id": info.trace_id,
        "state": str(info.state),
        "created_at": info.request_time,
        "metadata": _without_copies(info.trace_metadata),
        "tags": _without_copies(info.tags),
        "assessments": [_assessment(each) for each in info.assessments],
    }
    root = next((span for span in trace.data.spans if span.parent_id is None), None)
    if root is None:
        return row
    return row | {
        "request": root.inputs,
        "response": root.outputs,
        "root_span_id": root.span_id,
        "attributes": _without_copies(root.attributes),
    }


def _without_copies(values: Mapping[str, Any]) -> Row:
    """In one order: a server gives tags in another each time, and the same trace has to be the same row."""
    return {key: values[key] for key in sorted(values) if key not in COPIES}


def _assessment(assessment: Any) -> Row:
    kind = "expectation" if assessment.expectation else "feedback" if assessment.feedback else "other"
    return {
        "assessment_id": assessment.assessment_id,
        "name": assessment.name,
        "kind": kind,
        "value": None if kind == "other" else getattr(assessment, kind).value,
        "source_type": assessment.source.source_type,
        "source_id": assessment.source.source_id,
        "span_id": assessment.span_id,
        "valid": assessment.valid is not False,
        "updated_ms": assessment.last_update_time_ms,
    }


def compile_traces(config: MlflowSourceConfig) -> MapRow:
    """A function from a row of `MlflowSource` to the lines of its records: an inference, and what was said about it.

    Raises:
        ValueError: (the function) the trace cannot be mapped; one sentence that says why.
    """
    map_row = compile_rows([_inference(config)])

    def map_trace(raw: str) -> list[str]:
        row = parse_row(raw)
        try:
            return records(row)
        except ValueError as error:
            # Its place in a search does not lead anybody to a trace; its id does, in MLflow's UI.
            raise ValueError(f"{error} (trace {_shown_id(row)})") from error

    def records(row: Row) -> list[str]:
        if "request" not in row:
            raise ValueError("the trace has no root span that can be read")
        try:
            # What `messages` and `output` may lead into is left as it is.
            found = row | {"tools": find_tools(row["request"])}
            if config.messages is None:
                found = found | {"request": find_messages(row["request"])}
            if config.output is None:
                found = found | {"response": find_answer(row["response"], row["state"])}
            return map_row(found) + [json_text(signal) for signal in _signals(row, config)]
        except (KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
            raise ValueError("the row is no trace, as this source gives them") from error

    return map_trace


def _shown_id(row: Row) -> str:
    return printable(str(row.get("trace_id"))[:80])


def _inference(config: MlflowSourceConfig) -> RecordMapping:
    return RecordMapping.model_validate(
        {
            "record": "inference",
            "inference_id": "$.trace_id",
            "messages": "$.request" if config.messages is None else config.messages,
            "output": "$.response" if config.output is None else config.output,
            "model_version": config.model_version,
            "created_at": "$.created_at",
            "slices": config.slices,
            "tools": "$.tools",
        }
    )


def find_messages(request: Any) -> list[Any]:
    """The messages in a request: `{"messages": [...]}`, `{"input": ...}`, a list of them, or one text, the user's.

    A request of one argument is that argument.

    Raises:
        ValueError: it has another shape.
    """
    while isinstance(request, dict):
        key = next((key for key in ("messages", "input") if key in request), None)
        if key is None and len(request) != 1:
            break
        request = request[key] if key else next(iter(request.values()))
    if isinstance(request, str):
        return [{"role": "user", "content": request}]
    if isinstance(request, list) and request and all(map(is_message, request)):
        return request
    raise ValueError(
        "inference: no messages are found in the request; say where they are with messages: in the source's config, "
        "as in [{role: user, content: $.request.question}]"
    )


def find_tools(request: Any) -> list[Any] | None:
    """The definitions of tools in a request: `{"tools": [...]}`, also within a request of one argument."""
    while isinstance(request, dict) and "tools" not in request and len(request) == 1:
        request = next(iter(request.values()))
    tools = request.get("tools") if isinstance(request, dict) else None
    return tools if isinstance(tools, list) else None


def find_answer(response: Any, state: str) -> Any:
    """The answer in a response: a chat completion's first choice, the last message of a list, or the response itself.

    A call that failed has the empty answer.

    Raises:
        ValueError: there is no response, though the call did not fail.
    """
    if response is None:
        if state == "ERROR":
            return ""
        raise ValueError("inference: the trace has no response")
    if isinstance(response, dict):
        choices = response.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return choices[0].get("message", choices[0].get("text"))
        response = next((response[key] for key in ("messages", "output") if _are_messages(response.get(key))), response)
    return response[-1] if _are_messages(response) else response


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and is_message(value[-1])


def _signals(row: Row, config: MlflowSourceConfig) -> Iterator[Row]:
    """Corrections, thumbs and ratings from the assessments that hold, of the whole call and not of a step in it."""
    for assessment in row["assessments"]:
        if assessment["valid"] and assessment["span_id"] in (None, "", row["root_span_id"]):
            said = _said(assessment, config)
            if said is not None:
                yield {
                    "record": said[0],
                    "inference_id": row["trace_id"],
                    said[1]: said[2],
                    "producer": _producer(assessment),
                    "created_at": datetime.fromtimestamp(assessment["updated_ms"] / 1000, UTC).isoformat(),
                }


class _Said(NamedTuple):
    record: str
    key: str
    value: Any


def _said(assessment: Row, config: MlflowSourceConfig) -> _Said | None:
    """What an assessment amounts to; None where it is no such signal (a comment, a score on another scale)."""
    name, value = assessment["name"], assessment["value"]
    if assessment["kind"] == "expectation":
        whole = name not in PARTIAL if config.corrections is None else name in config.corrections
        return _Said("correction", "corrected_output", to_answer(value)) if whole else None
    if assessment["kind"] != "feedback" or value is None:
        return None
    try:
        if _rates(assessment, config):
            return _Said("rating", "value", to_rating(value))
        if isinstance(value, bool | str) if config.thumbs is None else name in config.thumbs:
            return _Said("thumb", "value", to_thumb(value))
    except ValueError:
        return None
    return None


def _rates(assessment: Row, config: MlflowSourceConfig) -> bool:
    """Whether feedback counts as stars; unless named, a judge's number is more likely to be on another scale."""
    value = assessment["value"]
    if config.ratings is not None:
        return assessment["name"] in config.ratings
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and assessment["source_type"] == "HUMAN" and value in (1, 2, 3, 4, 5)


def _producer(assessment: Row) -> str:
    """Without a login, MLflow's UI does not know who somebody is."""
    kind = PRODUCERS.get(assessment["source_type"], "rule")
    return f"{kind}:{assessment['source_id'] or ('unknown' if kind == 'person' else assessment['name'])}"
