"""What a config may say about a source: files, a query, MLflow traces, and how their rows are mapped to records.

A mapping is data: a record kind, and for each of its keys a path into the row (`$.a.b`, `$.list[0]`, `$['odd key']`),
a text that holds such paths (`person:{$.reviewer}`), or a constant. `$row` is the hash of the whole row. Everything
that can be wrong with it before a row is seen is refused here, when the config is read.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from tasks.secrets import ENV_NAME, has_password

Kind = Literal["inference", "correction", "thumb", "rating", "demonstration", "preference", "retraction"]
OnMalformed = Literal["refuse", "quarantine"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
Text = Annotated[str, Field(min_length=1)]


def _without_password(uri: str) -> str:
    if has_password(uri) or re.match(r"https?://[^/?#]*@", uri):
        raise ValueError(
            "it holds a password, which would get into logs and files; for a server put it into the environment: "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; before a database start "
            "an MLflow server"
        )
    return uri


TrackingUri = Annotated[str, Field(min_length=1), AfterValidator(_without_password)]
Names = tuple[Annotated[str, Field(pattern=r"^[^`]+$")], ...]

_TERMS = ("licence", "guideline")
_MORE = ("slices", "tools")
_STRENGTH = ("scale", "degree", "rubric", "is_close")
_SIGNAL = ("inference_id", "value", "producer", "created_at", *_TERMS)
# Each kind's keys.
KEYS: dict[str, tuple[str, ...]] = {
    "inference": ("inference_id", "messages", "output", "model_version", "created_at", *_MORE, *_TERMS),
    "correction": ("inference_id", "corrected_output", "producer", "created_at", *_TERMS),
    "thumb": _SIGNAL,
    "rating": _SIGNAL,
    "demonstration": ("demonstration_id", "messages", "producer", "created_at", *_MORE, *_TERMS),
    "preference": (
        "preference_id", "messages", "chosen", "rejected", "producer", "created_at", *_MORE, *_STRENGTH, *_TERMS
    ),
    "retraction": ("inference_id", "producer", "created_at", "reason"),
}  # fmt: skip
OPTIONAL = frozenset((*_MORE, "reason", *_TERMS, *_STRENGTH))  # may be left out, by a mapping or by a row
IDS = ("inference_id", "demonstration_id", "preference_id")

PRESETS: dict[str, dict[str, Any]] = {
    "openai_chat_log": {
        "record": "inference",
        "inference_id": "$.response.id",
        "messages": "$.request.messages",
        "output": "$.response.choices[0].message",
        "model_version": "$.response.model",
        "created_at": "$.response.created",
        "tools": "$.request.tools",
    },
    "openai_fine_tuning": {
        "record": "demonstration",
        "demonstration_id": "$row",
        "messages": "$.messages",
        "tools": "$.tools",
    },
    "openai_preference": {
        "record": "preference",
        "preference_id": "$row",
        "messages": "$.input.messages",
        "chosen": "$.preferred_output",
        "rejected": "$.non_preferred_output",
        "tools": "$.input.tools",
    },
}

_STEP = r"\.(\w[\w-]*)|\[(-?\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\[\"((?:[^\"\\]|\\.)*)\"\]"
_PATH = re.compile(rf"\$(?:{_STEP})+", re.DOTALL)
_STEPS = re.compile(_STEP, re.DOTALL)
_PLACEHOLDER = re.compile(rf"\{{(\$row|\$(?:{_STEP})+)\}}", re.DOTALL)
_URL = re.compile(r"[a-z][a-z0-9+_]*://")
_SECRET_OPTION = re.compile(r"pass|pwd|secret|token|^key$|account_key|api_key|sas|credential", re.IGNORECASE)
# As SQLAlchemy's text() finds them: no `::cast`, no time of day, no `\:`.
_BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")


class Model(BaseModel):
    """Base of what stands in a config: frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Path(NamedTuple):
    """A place in a row, as it was written and as the keys and indices that lead there; `$row` has none."""

    text: str
    steps: tuple[str | int, ...]


def parse_path(text: str) -> Path:
    """A path from its text.

    Raises:
        ValueError: it is malformed.
    """
    if text == "$row":
        return Path(text, ())
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no path; write $.key, $.list[0] or $['odd key']")
    return Path(text, tuple(_step(found) for found in _STEPS.finditer(text)))


def _step(found: re.Match[str]) -> str | int:
    name, index, single, double = found.groups()
    if index is not None:
        return int(index)
    return name if name is not None else re.sub(r"\\(.)", r"\1", single if single is not None else double)


def parse_text(text: str) -> Path | tuple[str | Path, ...] | str:
    """What a text in a mapping means: a path, the pieces of a text that holds paths, or the text itself.

    Raises:
        ValueError: a path, or the place of one, is malformed.
    """
    if text == "$row" or text.startswith(("$.", "$[")):
        return parse_path(text)
    if "{$" not in text:
        return text
    pieces = tuple(_pieces(text))
    if any(isinstance(piece, str) and "{$" in piece for piece in pieces):
        raise ValueError(f"{text!r} holds a malformed path; write {{$.key}}, {{$.list[0]}} or {{$['odd key']}}")
    return pieces


def _pieces(text: str) -> Iterator[str | Path]:
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        yield text[end : found.start()]
        yield parse_path(found[1])
        end = found.end()
    yield text[end:]


def _checked(value: Any) -> Any:
    """A value of a mapping whose every path is well formed; moments, which YAML reads for itself, become text again."""
    if isinstance(value, str):
        parse_text(value)
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _checked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(each) for each in value]
    if value is None or isinstance(value, int | float):
        return value
    raise ValueError(f"{value!r} is neither a path, a text, a number, a list nor a mapping")


Value = Annotated[Any, BeforeValidator(_checked)]


class RecordMapping(BaseModel):
    """How a row becomes one record: the kind, a value for each of its keys, and when there is one at all.

    `when` is a path; the row gives no such record where it is absent, null, false or an empty text. (A thumb whose
    `when` is its own `value` is there when that is false: it points down.) `timezone` is that of times without one.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Value]

    record: Kind
    when: str | None = None
    timezone: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The record's keys in their canonical order, each with its path, text or constant."""
        given = self.__pydantic_extra__
        return {key: given[key] for key in KEYS[self.record] if key in given}

    @field_validator("when")
    @classmethod
    def _when_is_a_path(cls, when: str | None) -> str | None:
        if when is not None:
            parse_path(when)
        return when

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, timezone: str | None) -> str | None:
        if timezone is not None:
            try:
                ZoneInfo(timezone)
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(f"{timezone!r} is no time zone; write one such as Europe/Berlin or UTC") from error
        return timezone

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "RecordMapping":
        given, known = self.__pydantic_extra__, KEYS[self.record]
        if unknown := [key for key in given if key not in known]:
            raise ValueError(f"a {self.record} has no key {unknown[0]}; its keys are {', '.join(known)}")
        if missing := [key for key in known if key not in given and key not in OPTIONAL]:
            raise ValueError(f"a {self.record} needs {' and '.join(missing)}; give each a path, a text or a constant")
        for key in IDS:
            if isinstance(given.get(key), str) and isinstance(parse_text(given[key]), str):
                raise ValueError(f"{key} would be {given[key]!r} in every row; write a path, or $row")
        _check_constants(self)
        return self


def _check_constants(mapping: RecordMapping) -> None:
    values = mapping.values
    producer, moment = values.get("producer"), values["created_at"]
    if isinstance(producer, str) and not re.match(r"(person|model|rule):.|\$", producer):
        raise ValueError(f"producer {producer!r} must begin with person:, model: or rule:, as in person:{{$.reviewer}}")
    if isinstance(moment, str) and isinstance(parse_text(moment), str):
        try:
            aware = datetime.fromisoformat(moment).tzinfo is not None or mapping.timezone is not None
        except ValueError as error:
            raise ValueError(f"created_at {moment!r} is no time; write one such as 2026-03-01T00:00:00Z") from error
        if not aware:
            raise ValueError(f"created_at {moment!r} has no zone; write one such as 2026-03-01T00:00:00Z")


def _expand(records: Any) -> Any:
    """One mapping or preset, or a list of them, as a list of mappings."""
    if records is None:
        return None
    given = records if isinstance(records, list | tuple) else [records]
    if not given:
        raise ValueError("records is empty; write a preset or a list of mappings, or leave it out")
    return tuple(map(_expand_one, given))


def _expand_one(given: Any) -> Any:
    if isinstance(given, str):
        given = {"preset": given}
    if not isinstance(given, dict) or "preset" not in given:
        return given
    changes = {key: value for key, value in given.items() if key != "preset"}
    preset = PRESETS.get(given["preset"]) if isinstance(given["preset"], str) else None
    if preset is None:
        raise ValueError(f"there is no preset {given['preset']!r}; there are {', '.join(PRESETS)}")
    if missing := [key for key in KEYS[preset["record"]] if key not in preset | changes and key not in OPTIONAL]:
        example = f"{{preset: {given['preset']}, producer: person:NAME, created_at: 2026-03-01T00:00:00Z}}"
        raise ValueError(f"rows of {given['preset']} do not say {' and '.join(missing)}; write records: {example}")
    return preset | changes


Records = Annotated[tuple[RecordMapping, ...] | None, BeforeValidator(_expand)]


class Terms(Model):
    """What is true of all that a source holds, unless a row says otherwise: licence or consent, guideline's version."""

    licence: Text | None = None
    guideline: Text | None = None


class FilesSourceConfig(Terms):
    """Files that `path` (a glob; local, or a URL that fsspec opens with the options in `storage`) matches."""

    type: Literal["files"] = "files"
    name: Name
    path: Text
    format: Literal["auto", "jsonl", "parquet", "csv"] = "auto"
    records: Records = Field(None, description="None: the rows are records already")
    storage: dict[str, Any] = {}
    storage_env: dict[str, Annotated[str, Field(pattern=ENV_NAME)]] = Field(
        default={}, description="options that are secrets, by the environment variable or Prefect Secret block"
    )
    on_malformed: OnMalformed = "quarantine"

    @model_validator(mode="after")
    def _holds_no_secret(self) -> "FilesSourceConfig":
        if has_password(self.path):
            raise ValueError("path holds a password; give user and password by storage and storage_env")
        for name, value in self.storage.items():
            if isinstance(value, str) and _SECRET_OPTION.search(name):
                raise ValueError(
                    f"storage.{name} is a secret; put it into an environment variable and name that as "
                    f"storage_env.{name}"
                )
        return self


class SqlSourceConfig(Terms):
    """Rows of a query, those whose `cursor` column is beyond the last one seen.

    The query is asked for rows beyond it from outside, or, where that is slow, from within: it may use `:cursor`.
    """

    type: Literal["sql"] = "sql"
    name: Name
    url: str | None = Field(None, description="SQLAlchemy's; without a password")
    url_env: str | None = Field(
        None, pattern=ENV_NAME, description="environment variable, or Prefect Secret block, that holds the URL"
    )
    query: Text
    cursor: Text = Field(description="a column of the result that grows: a time or a number; never null")
    start: datetime | int | float | str | None = Field(None, description="rows beyond it only; all when left out")
    overlap: float | None = Field(
        None, ge=0.0, description="seconds (units, of a number) read again for what came late; 300, and none for text"
    )
    batch_rows: int = Field(10_000, ge=1, le=1_000_000)
    records: Records = Field(None, description="None: the rows are records already")
    on_malformed: OnMalformed = "quarantine"

    @property
    def binds_cursor(self) -> bool:
        """Whether the query says itself where `:cursor` goes."""
        return bool(_BOUND.search(self.query))

    @field_validator("query")
    @classmethod
    def _binds_cursor_only(cls, query: str) -> str:
        if others := set(_BOUND.findall(query)) - {"cursor"}:
            name = min(others)
            raise ValueError(f"only :cursor can be bound, not :{name}; a colon that is none is written \\:{name}")
        return query.strip().rstrip(";").rstrip()

    @model_validator(mode="after")
    def _can_be_reached(self) -> "SqlSourceConfig":
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give either url, or url_env: the environment variable that holds it")
        if self.url is not None and has_password(self.url):
            raise ValueError("url holds a password; put it into an environment variable and name that as url_env")
        if self.url is not None and not _URL.match(self.url):
            raise ValueError("url is no database URL; write DIALECT://USER@HOST/DATABASE")
        if self.binds_cursor and self.start is None:
            raise ValueError("the query uses :cursor, so start is needed: the value to begin with")
        return self


class MlflowSourceConfig(Terms):
    """Traces of an MLflow experiment with their assessments.

    `model_version`, `slices`, and, where the shape of requests does not say it, `messages` and `output` are values of a
    mapping; the row has trace_id, state, created_at, request, response, metadata, tags and attributes (of the root
    span). `corrections`, `thumbs` and `ratings` name the assessments that count as such; pulls are fast where all do.
    """

    type: Literal["mlflow_traces"] = "mlflow_traces"
    name: Name
    tracking_uri: TrackingUri | None = Field(None, description="None: the workload's own")
    experiment: Text
    overlap_seconds: float = Field(3600.0, ge=0.0, description="read again for traces that were written late")
    review_days: float = Field(30.0, gt=0.0, description="how old a trace may be when it is assessed")
    model_version: Annotated[Text, BeforeValidator(_checked)]
    messages: Value = None
    output: Value = None
    slices: Annotated[dict[str, str], BeforeValidator(_checked)] = {}
    corrections: Names | None = Field(None, description="expectations; None: all that are whole answers")
    thumbs: Names | None = Field(None, description="yes-or-no feedback; None: all of it")
    ratings: Names | None = Field(None, description="feedback from 1 to 5; None: all that people give")
    on_malformed: OnMalformed = "quarantine"


def _type(source: Any) -> Any:
    return source.get("type", "files") if isinstance(source, dict) else getattr(source, "type", None)


SourceConfig = Annotated[
    Annotated[FilesSourceConfig, Tag("files")]
    | Annotated[SqlSourceConfig, Tag("sql")]
    | Annotated[MlflowSourceConfig, Tag("mlflow_traces")],
    Discriminator(
        _type,
        custom_error_type="source_type",
        custom_error_message="type must be files, sql or mlflow_traces",
    ),
]
