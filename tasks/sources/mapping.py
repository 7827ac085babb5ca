"""From rows to records: the mappings of a config, compiled once, then some microseconds a row.

What a mapping can say is in `tasks.sources.settings`. A row that cannot be mapped raises ValueError with one sentence
that names the key and the path, and the whole row is then a row for the quarantine.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from tasks.records import printable, sha256
from tasks.sources.settings import IDS, OPTIONAL, Path, RecordMapping, parse_path, parse_text

Row = dict[str, Any]
Getter = Callable[[Row], Any]
Convert = Callable[[Any], Any]
MapRow = Callable[[str], list[str]]

# `developer` is what newer chat APIs call the system's turn.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_UP = {"up", "yes", "true", "1", "like", "good", "positive", "thumbs_up", "thumbs-up", "👍"}
_DOWN = {"down", "no", "false", "0", "-1", "dislike", "bad", "negative", "thumbs_down", "thumbs-down", "👎"}
_EPOCH = re.compile(r"\d{9,10}(\.\d+)?|\d{12,13}")
_EXACT = 2**53
# Seconds reach this number in the year 5138; milliseconds did in 1973.
_MILLISECONDS_FROM = 1e11


class MissingError(ValueError):
    """A path that leads nowhere in this row, or to null."""


def compile_mapping(records: Sequence[RecordMapping] | None) -> MapRow:
    """A function from a row, as one JSON object in text, to the lines of its records; None: the row is one already.

    Raises:
        ValueError: (the function) the row cannot be mapped; one sentence that says which key or path is at fault.
    """
    if records is None:
        return lambda raw: [raw]
    map_row = compile_rows(records)
    return lambda raw: map_row(parse_row(raw))


def compile_rows(records: Sequence[RecordMapping]) -> Callable[[Row], list[str]]:
    """As `compile_mapping`, from rows that have been parsed already."""
    compiled = [(_when(mapping), _record(mapping)) for mapping in records]
    return lambda row: [record(row) for applies, record in compiled if applies(row)]


def parse_row(raw: str) -> Row:
    """The row's JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        row = orjson.loads(raw)
    except ValueError as error:
        raise ValueError(f"the row is no valid JSON: {error}") from error
    if type(row) is not dict:
        raise ValueError("the row is no JSON object")
    return row


def json_text(value: Any) -> str:
    """The value as JSON on one line, without spaces, its keys in the order they have.

    Raises:
        ValueError: it cannot be written so.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error


def _when(mapping: RecordMapping) -> Callable[[Row], bool]:
    if mapping.when is None:
        return lambda row: True
    get = _follow(parse_path(mapping.when))
    # A thumb that is false is a thumb down, and no missing thumb.
    false_counts = mapping.when == mapping.values.get("value")

    def applies(row: Row) -> bool:
        try:
            value = get(row)
        except MissingError:
            return False
        return value is not None and value != "" and (false_counts or value is not False)

    return applies


def _record(mapping: RecordMapping) -> Callable[[Row], str]:
    fields = [(key, _field(mapping, key, value)) for key, value in mapping.values.items()]

    def record(row: Row) -> str:
        values = {"record": mapping.record}
        for key, field in fields:
            try:
                values[key] = field(row)
            except MissingError as error:
                if key not in OPTIONAL:
                    raise ValueError(f"{mapping.record}: {key}: {error}") from error
            except ValueError as error:
                raise ValueError(f"{mapping.record}: {key}: {error}") from error
        return json_text({key: value for key, value in values.items() if value is not None})

    return record


def _field(mapping: RecordMapping, key: str, value: Any) -> Getter:
    if key == "slices":
        return _slices(value)
    get, convert = compile_value(value), _converter(mapping, key)
    return lambda row: convert(get(row))


def _converter(mapping: RecordMapping, key: str) -> Convert:
    if key == "value":
        return to_thumb if mapping.record == "thumb" else to_rating
    if key == "created_at":
        return _moments(mapping.timezone)
    if key in IDS:
        return to_name
    return _CONVERTERS.get(key, to_answer)


def compile_value(value: Any) -> Getter:
    """A function from a row to what a mapping's value means in it; lists and mappings are looked through.

    Raises:
        MissingError: (the function) a path leads nowhere, or to null.
    """
    if isinstance(value, str):
        return _compile_text(value)
    if isinstance(value, Mapping):
        getters = {key: compile_value(each) for key, each in value.items()}
        return lambda row: {key: get(row) for key, get in getters.items()}
    if isinstance(value, list | tuple):
        items = [compile_value(each) for each in value]
        return lambda row: [get(row) for get in items]
    return lambda row: value


def _compile_text(text: str) -> Getter:
    parsed = parse_text(text)
    if isinstance(parsed, Path):
        return _present(parsed)
    if isinstance(parsed, str):
        return lambda row: text
    pieces = [piece if isinstance(piece, str) else _present(piece) for piece in parsed]
    return lambda row: "".join(piece if isinstance(piece, str) else to_name(piece(row)) for piece in pieces)


def _present(path: Path) -> Getter:
    get = _follow(path)

    def present(row: Row) -> Any:
        value = get(row)
        if value is None:
            raise MissingError(f"{path.text} is null")
        return value

    return present


def _follow(path: Path) -> Getter:
    if path.text == "$row":
        return _hash
    steps = path.steps

    def follow(row: Row) -> Any:
        value: Any = row
        for step in steps:
            if type(value) is str:
                value = _opened(value)
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                raise MissingError(f"{path.text} is not there") from None
        return value

    return follow


def _hash(row: Row) -> str:
    try:
        return sha256(row)
    except RecursionError as error:
        raise ValueError("the row is nested too deeply to be hashed") from error


def _opened(text: str) -> Any:
    """What a text holds that is itself JSON, as columns of CSV files and databases often are; else nothing."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _slices(value: Any) -> Getter:
    """Labels in order; one that the row does not have is left out."""
    if not isinstance(value, Mapping):
        get = compile_value(value)
        return lambda row: _labels(get(row))
    getters = sorted((key, compile_value(each)) for key, each in value.items())

    def slices(row: Row) -> dict[str, str]:
        found = {}
        for key, get in getters:
            try:
                found[key] = _label(get(row))
            except MissingError:
                continue
        return found

    return slices


def _labels(value: Any) -> dict[str, str]:
    if type(value) is not dict:
        raise ValueError("is no mapping of names to labels")
    return {key: _label(value[key]) for key in sorted(value) if value[key] is not None}


def _label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else to_name(value)


def to_name(value: Any) -> str:
    """A text, or a whole number as text.

    Raises:
        ValueError: it is neither, or a number too large to have been read exactly.
    """
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is float:
        if value.is_integer() and abs(value) < _EXACT:
            return str(int(value))
        raise ValueError(f"the number {value} is not known exactly; write it as text")
    raise ValueError(f"is {_kind(value)}, and must be text or a number")


def to_producer(value: Any) -> str:
    """Who said so: `person:NAME`, `model:ID` or `rule:NAME`.

    Raises:
        ValueError: it is none of them.
    """
    if type(value) is str and value.startswith(("person:", "model:", "rule:")) and value[-1] != ":":
        return value
    raise ValueError(f"{_shown(value)} must begin with person:, model: or rule:, and a name must follow")


def to_thumb(value: Any) -> str:
    """`up` or `down`, from booleans, 1, 0 and -1, and the words that are usual for them.

    Raises:
        ValueError: it is none of them.
    """
    word = _label(value).strip().lower()
    if word in _UP or word in _DOWN:
        return "up" if word in _UP else "down"
    raise ValueError(f"{_shown(value)} is neither up nor down; give true and false, or up and down")


def to_rating(value: Any) -> float:
    """A number, whole where it can be, from a number or its text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return int(number) if number.is_integer() else number
    raise ValueError(f"{_shown(value)} is no number")


def to_flag(value: Any) -> bool:
    """True or false, by the words that thumbs are given by.

    Raises:
        ValueError: it is none of them.
    """
    return to_thumb(value) == "up"


def _moments(timezone: str | None) -> Convert:
    """A converter to a moment by ISO 8601, from such a text, or from seconds or milliseconds since 1970."""
    zone = ZoneInfo(timezone) if timezone else None

    def to_moment(value: Any) -> str:
        moment = _moment(value)
        if moment.tzinfo is None:
            if zone is None:
                raise ValueError(f"{_shown(value)} has no zone; add timezone: NAME to the mapping")
            moment = moment.replace(tzinfo=zone)
        return moment.isoformat()

    return to_moment


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        if not _EPOCH.fullmatch(value):
            return _from_iso(value)
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is {_kind(value)}, and must be a time")
    seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{value} is no time in seconds or milliseconds since 1970") from error


def _from_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{_shown(text)} is no time; write one such as 2026-03-01T12:00:00Z") from error


def to_messages(value: Any) -> list[Row]:
    """Chat messages in OpenAI's spelling, from a list of them (lists in it are joined), or the JSON text of one.

    Raises:
        ValueError: a message that is more than text and calls of tools, such as an image; those cannot be mapped yet.
    """
    if type(value) is str:
        value = _opened(value)
    if type(value) is not list:
        raise ValueError("is no list of messages; write one such as [{role: user, content: $.question}]")
    messages = []
    for message in value:
        if type(message) is list:
            messages += to_messages(message)
        else:
            messages.append(_message(message, len(messages)))
    return messages


def _message(message: Any, place: int) -> Row:
    if type(message) is not dict:
        raise ValueError(f"message {place} is {_kind(message)}, and must be a mapping with role and content")
    role = message.get("role")
    if type(role) is not str or role not in _ROLES:
        raise ValueError(f"message {place} has the role {_shown(role)}; system, user, assistant and tool can be mapped")
    if message.get("function_call"):
        raise ValueError(f"message {place} has a function_call, which came before tool_calls and cannot be mapped")
    calls, content = message.get("tool_calls"), message.get("content")
    turn: Row = {"role": _ROLES[role]}
    if content or not calls:
        turn["content"] = content if type(content) is str else _only_text(content, place)
    if calls:
        turn["tool_calls"] = _calls(calls, place)
    if role == "tool":
        turn["tool_call_id"] = message.get("tool_call_id")
    return turn


def _calls(calls: Any, place: int) -> list[Row]:
    """Calls of tools without what a log has beside; arguments that are no text yet become one."""
    try:
        return [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["function"]["name"], "arguments": _json_of(call["function"]["arguments"])},
            }
            for call in calls
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"message {place} calls tools, but not as id and function with name and arguments") from error


def _json_of(arguments: Any) -> str:
    return arguments if type(arguments) is str else json_text(arguments)


def to_tools(value: Any) -> list[Any] | None:
    """Definitions of tools, from a list of them or the JSON text of one; None where there are none in it.

    Raises:
        ValueError: it is no list.
    """
    if type(value) is str:
        value = _opened(value)
    if type(value) is not list:
        raise ValueError("is no list of tools")
    return value or None


def _only_text(content: Any, place: int) -> str:
    """The text of a content that is a list of one part, which is text."""
    if type(content) is not list:
        raise ValueError(f"message {place} has no text as its content")
    parts = [part.get("text") if type(part) is dict else None for part in content]
    if len(parts) == 1 and type(parts[0]) is str:
        return parts[0]
    raise ValueError(f"message {place} has parts other than one text; images and other parts cannot be mapped yet")


def to_answer(value: Any) -> str | Row:
    """A text; the content of a chat message, or of a list of one; a message that calls tools; or else JSON text.

    Raises:
        ValueError: see `to_messages`.
    """
    if type(value) is str:
        return value
    if type(value) is list and value and all(map(is_message, value)):
        if len(value) > 1:
            raise ValueError(f"has {len(value)} messages, and an answer is one")
        value = value[0]
    if not is_message(value):
        return json_text(value)
    turn = _message(value, 0)
    return turn if "tool_calls" in turn else str(turn["content"])


def is_message(value: Any) -> bool:
    """Whether a value looks like a chat message."""
    return type(value) is dict and "role" in value and ("content" in value or "tool_calls" in value)


def _shown(value: Any) -> str:
    """A value as it may stand in a reason: short, and on one line."""
    if not isinstance(value, str):
        return str(value) if isinstance(value, int | float) else _kind(value)
    return f"'{printable(value if len(value) <= 80 else value[:77] + '...')}'"


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


_CONVERTERS: dict[str, Convert] = {
    "messages": to_messages,
    "tools": to_tools,
    "producer": to_producer,
    **dict.fromkeys(("model_version", "licence", "guideline", "rubric", "reason"), to_name),
    **dict.fromkeys(("scale", "degree"), to_rating),
    "is_close": to_flag,
}
