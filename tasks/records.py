"""The records that sources yield, and the hashes they are known by.

One JSON object a line; `record` says which of the seven kinds it is. A chat message is `{"role", "content"}`; calls of
tools and their results are spelled as in OpenAI's chat API. An answer is a text, or an assistant's message that calls
tools; read, it is the text that the state holds it as (`tasks.chat`).
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
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

from tasks.chat import MARK, Turn, calls_tools, held_answer, read_input

Text = Annotated[str, Field(min_length=1)]
Slices = Annotated[dict[str, str], BeforeValidator(lambda value: {} if value is None else value)]
Producer = Annotated[str, Field(pattern=r"^(person|model|rule):.+", description="person:NAME, model:ID or rule:NAME")]
DEGREES = {5: range(3), 8: range(1, 5)}  # how much better, by the points of the scale


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Signal(_Record):
    """What may be said of every signal: its licence or consent, and the version of the guideline it was made under."""

    licence: Text | None = None
    guideline: Text | None = None


def _none_for_nothing(value: Any) -> Any:
    return None if value == [] else value


class Function(_Record):
    """Which tool is called, and with what: JSON in a text, as the model wrote it."""

    name: Text
    arguments: str


class ToolCall(_Record):
    """One call of a tool; its result is the `tool` turn with this id."""

    id: Text
    type: Literal["function"] = "function"
    function: Function


class Message(_Record):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: Annotated[tuple[ToolCall, ...] | None, BeforeValidator(_none_for_nothing)] = None
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> "Message":
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls belong to the assistant's turns, and not to the {self.role}'s")
        if (self.tool_call_id is None) is (self.role == "tool"):
            raise ValueError(
                "a tool's turn needs a tool_call_id, the id of the call that it answers, and no other has one"
            )
        if self.content is None if self.role == "tool" else not (self.content or self.tool_calls):
            raise ValueError(f"content: the {self.role}'s turn must have a text")
        return self

    def turn(self) -> Turn:
        """The message as it is held: what it does not have is left out."""
        turn = self.model_dump(mode="json", exclude_none=True)
        return {key: value for key, value in turn.items() if key != "content" or value or not self.tool_calls}


def ends_before_answer(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages, if the last is the user's or the result of a tool.

    Raises:
        ValueError: it is not.
    """
    if messages[-1].role not in ("user", "tool"):
        raise ValueError("the last message must be the user's or a tool's; answers stand in keys of their own")
    return messages


def _check_arguments(message: Message) -> None:
    """See that a tool can read what its calls are made with: what is wrong in a log must not be taught."""
    for call in message.tool_calls or ():
        try:
            is_object = isinstance(json.loads(call.function.arguments), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise ValueError(f"the arguments of {call.function.name} are no JSON object")


def _answer(value: Any) -> Any:
    """The text that an answer is held as."""
    if isinstance(value, str) and value.startswith(MARK):
        raise ValueError("must not begin with the control character U+001E, which marks calls of tools")
    if not isinstance(value, dict):
        return value
    message = _assistant(value)
    return held_answer(message.turn()) if message.tool_calls else _answer(message.content)


def _right_answer(value: Any) -> Any:
    if isinstance(value, dict):
        _check_arguments(_assistant(value))
    return _answer(value)


def _assistant(value: dict[str, Any]) -> Message:
    try:
        message = Message.model_validate(value)
    except ValidationError as error:
        raise ValueError(_sentence(error, 0)) from error
    if message.role != "assistant":
        raise ValueError("an answer is a text, or the assistant's message")
    return message


def _tool(value: dict[str, Any]) -> dict[str, Any]:
    function = value.get("function")
    if value.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("a tool is {type: function, function: {name, description, parameters}}")
    return value


Answer = Annotated[str, BeforeValidator(_answer)]
RightAnswer = Annotated[Text, BeforeValidator(_right_answer)]
Tool = Annotated[dict[str, Any], AfterValidator(_tool)]
Tools = Annotated[tuple[Tool, ...] | None, BeforeValidator(_none_for_nothing)]


class Inference(_Signal):
    """One production call. Its messages end with the user's turn or a tool's; `output` is what the model said."""

    record: Literal["inference"]
    inference_id: Text
    messages: tuple[Message, ...] = Field(min_length=1)
    output: Answer
    model_version: Text
    created_at: AwareDatetime
    slices: Slices = {}
    tools: Tools = None

    _ends_before_answer = field_validator("messages")(ends_before_answer)


class Correction(_Signal):
    """What should have been produced instead of an inference's output, and who says so."""

    record: Literal["correction"]
    inference_id: Text
    corrected_output: RightAnswer
    producer: Producer
    created_at: AwareDatetime


class Thumb(_Signal):
    """A yes or no to an inference's output."""

    record: Literal["thumb"]
    inference_id: Text
    value: Literal["up", "down"]
    producer: Producer
    created_at: AwareDatetime


class Rating(_Signal):
    """Stars for an inference's output, from 1 (bad) to 5."""

    record: Literal["rating"]
    inference_id: Text
    value: int = Field(ge=1, le=5, strict=True)
    producer: Producer
    created_at: AwareDatetime


class Demonstration(_Signal):
    """An input with its right output, which is the last message."""

    record: Literal["demonstration"]
    demonstration_id: Text
    messages: tuple[Message, ...] = Field(min_length=2)
    producer: Producer
    created_at: AwareDatetime
    slices: Slices = {}
    tools: Tools = None

    @model_validator(mode="after")
    def _ends_with_answer(self) -> "Demonstration":
        asked, answer = self.messages[-2:]
        if asked.role not in ("user", "tool") or answer.role != "assistant":
            raise ValueError("the last two messages must be the user's or a tool's, and the assistant's")
        _right_answer(answer.turn() if answer.tool_calls else answer.content)
        return self


class Preference(_Signal):
    """Two answers to one input, and which is better. Its messages end with the user's turn or a tool's.

    How much better is a `degree` on a `scale` of 5 or 8 points. On 5 points, from much worse over a tie to much better,
    it is 0 (a tie), 1 or 2; on 8 points, which have no tie, 1 to 4. `is_close`: whoever judged hesitated.
    """

    record: Literal["preference"]
    preference_id: Text
    messages: tuple[Message, ...] = Field(min_length=1)
    chosen: RightAnswer
    rejected: Answer
    producer: Producer
    created_at: AwareDatetime
    slices: Slices = {}
    tools: Tools = None
    scale: int | None = Field(None, strict=True)
    degree: int | None = Field(None, strict=True)
    rubric: Text | None = None
    is_close: bool | None = Field(None, strict=True)

    _ends_before_answer = field_validator("messages")(ends_before_answer)

    @model_validator(mode="after")
    def _degree_is_on_its_scale(self) -> "Preference":
        if self.scale is None and self.degree is None:
            return self
        degrees = DEGREES.get(self.scale or 0)
        if degrees is None:
            raise ValueError("scale must be 5 or 8, the points of the scale that degree is on")
        if self.degree is not None and self.degree not in degrees:
            raise ValueError(f"degree must be {degrees[0]} to {degrees[-1]} on a scale of {self.scale} points")
        return self


class Retraction(_Record):
    """A producer takes back all that they said before this moment of an inference's output."""

    record: Literal["retraction"]
    inference_id: Text
    producer: Producer
    created_at: AwareDatetime
    reason: Text | None = None


Record = Inference | Correction | Thumb | Rating | Demonstration | Preference | Retraction
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="record")])


def parse_record(line: str | bytes) -> Record:
    """One record from one line of JSON.

    Raises:
        ValueError: with one sentence that says which key is wrong and why.
    """
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        raise ValueError(_sentence(error, 1)) from error


def _sentence(error: ValidationError, depth: int) -> str:
    """What is wrong first, behind the keys that lead there from `depth` on."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"][depth:])
    message = problem["msg"].removeprefix("Value error, ")
    return printable(f"{where}: {message}" if where else message)


def uses_tools(record: Record) -> bool:
    """Whether tools are offered or called in a record, or answer in it."""
    if isinstance(record, Inference | Demonstration | Preference) and (
        record.tools or any(message.tool_calls or message.role == "tool" for message in record.messages)
    ):
        return True
    return any(
        calls_tools(str(getattr(record, key, ""))) for key in ("output", "corrected_output", "chosen", "rejected")
    )


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
    """A record without tools as one line of JSON in its one canonical spelling: keys in order, the moment in UTC.

    Raises:
        OverflowError: the moment lies beyond the calendar in UTC.
    """
    values = record.model_dump(mode="json", exclude_none=True) | {
        "created_at": record.created_at.astimezone(UTC).isoformat()
    }
    if "slices" in values:
        values["slices"] = dict(sorted(values["slices"].items()))
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def utc(moment: datetime) -> datetime:
    """The moment in UTC without its zone, which is how times are stored."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def now() -> datetime:
    """This moment, as times are stored."""
    return utc(datetime.now(UTC))


def user_text(held: str) -> str:
    """What the model was asked, by which inputs are compared and clustered: all that the user wrote.

    Where tools have answered since the user's last turn, their results too: on the same question, another result needs
    another answer.
    """
    messages = read_input(held).messages
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return "\n".join(
        message["content"]
        for place, message in enumerate(messages)
        if message["role"] == "user" or (message["role"] == "tool" and place > last)
    )
