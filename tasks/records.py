"""The records that sources yield, and the hashes they are known by.

One JSON object a line; `record` says which of the six kinds it is. A chat message is `{"role", "content"}`.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

Text = Annotated[str, Field(min_length=1)]
Slices = Annotated[dict[str, str], BeforeValidator(lambda value: {} if value is None else value)]
Producer = Annotated[str, Field(pattern=r"^(person|model|rule):.+", description="person:NAME, model:ID or rule:NAME")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(_Record):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text


def ends_with_user(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages, if the last is the user's.

    Raises:
        ValueError: it is not.
    """
    if messages[-1].role != "user":
        raise ValueError("the last message must be the user's; answers stand in keys of their own")
    return messages


class Inference(_Record):
    """One production call. Its messages end with the user's turn; `output` is what the model said."""

    record: Literal["inference"]
    inference_id: Text
    messages: tuple[Message, ...] = Field(min_length=1)
    output: str
    model_version: Text
    created_at: AwareDatetime
    slices: Slices = {}

    _ends_with_user = field_validator("messages")(ends_with_user)


class Correction(_Record):
    """What should have been produced instead of an inference's output, and who says so."""

    record: Literal["correction"]
    inference_id: Text
    corrected_output: Text
    producer: Producer
    created_at: AwareDatetime


class Thumb(_Record):
    """A yes or no to an inference's output."""

    record: Literal["thumb"]
    inference_id: Text
    value: Literal["up", "down"]
    producer: Producer
    created_at: AwareDatetime


class Rating(_Record):
    """Stars for an inference's output, from 1 (bad) to 5."""

    record: Literal["rating"]
    inference_id: Text
    value: int = Field(ge=1, le=5, strict=True)
    producer: Producer
    created_at: AwareDatetime


class Demonstration(_Record):
    """An input with its right output, which is the last message."""

    record: Literal["demonstration"]
    demonstration_id: Text
    messages: tuple[Message, ...] = Field(min_length=2)
    producer: Producer
    created_at: AwareDatetime
    slices: Slices = {}

    @model_validator(mode="after")
    def _ends_with_answer(self) -> "Demonstration":
        if [message.role for message in self.messages[-2:]] != ["user", "assistant"]:
            raise ValueError("the last two messages must be the user's and the assistant's")
        return self


class Preference(_Record):
    """Two answers to one input, and which is better. Its messages end with the user's turn."""

    record: Literal["preference"]
    preference_id: Text
    messages: tuple[Message, ...] = Field(min_length=1)
    chosen: Text
    rejected: str
    producer: Producer
    created_at: AwareDatetime
    slices: Slices = {}

    _ends_with_user = field_validator("messages")(ends_with_user)


Record = Inference | Correction | Thumb | Rating | Demonstration | Preference
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="record")])


def parse_record(line: str | bytes) -> Record:
    """One record from one line of JSON.

    Raises:
        ValueError: with one sentence that says which key is wrong and why.
    """
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"][1:])
        message = problem["msg"].removeprefix("Value error, ")
        raise ValueError(printable(f"{where}: {message}" if where else message)) from error


def printable(text: str) -> str:
    """The text on one line, control characters escaped: what a record says must not steer a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return _CANONICAL.encode(value)


def sha256(value: Any) -> str:
    """Hash (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_line(record: Record) -> str:
    """The record as one line of JSON in its one canonical spelling: keys in order, the moment in UTC.

    Raises:
        OverflowError: the moment lies beyond the calendar in UTC.
    """
    values = record.model_dump(mode="json") | {"created_at": record.created_at.astimezone(UTC).isoformat()}
    if "slices" in values:
        values["slices"] = dict(sorted(values["slices"].items()))
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def utc(moment: datetime) -> datetime:
    """The moment in UTC without its zone, which is how times are stored."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def now() -> datetime:
    """This moment, as times are stored."""
    return utc(datetime.now(UTC))


def user_text(input_json: str) -> str:
    """What the user wrote: the content of the user's turns, by which inputs are compared and clustered."""
    return "\n".join(message["content"] for message in json.loads(input_json) if message["role"] == "user")
