"""Conversations with calls of tools: how the state holds them, and how chat templates, scorers and people get them.

An input is held as the JSON of its messages; where tools were offered, as the JSON of `{"messages", "tools"}`. An
answer is held as its text; one that calls tools as MARK and the JSON of the assistant's turn. No text that comes in as
an answer begins with MARK, so whatever a model writes, the one is never taken for the other.

Turns are spelled as in OpenAI's chat API: the arguments of a call are JSON in a text.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.errors import FlywheelError

if TYPE_CHECKING:
    from datasets import Dataset

MARK = "\x1e"  # what announces JSON in a stream of texts, RFC 7464

Turn = dict[str, Any]


class Conversation(NamedTuple):
    """The turns before an answer, and the definitions of the tools that the model was offered; None: no tools."""

    messages: list[Turn]
    tools: list[dict[str, Any]] | None


def held_input(messages: Sequence[Turn], tools: Sequence[Mapping[str, Any]] | None) -> str:
    """The text that an input is held as."""
    return _json({"messages": messages, "tools": tools} if tools else messages)


def read_input(held: str) -> Conversation:
    """The conversation from the text that it is held as."""
    value = json.loads(held)
    return Conversation(value["messages"], value["tools"]) if isinstance(value, dict) else Conversation(value, None)


def held_answer(turn: Turn) -> str:
    """The text that an assistant's turn is held as."""
    return MARK + _json(turn) if turn.get("tool_calls") else str(turn["content"])


def calls_tools(answer: str) -> bool:
    """Whether an answer, as it is held, calls tools."""
    return answer.startswith(MARK)


def answer_message(answer: str) -> Turn:
    """The assistant's turn from the text that it is held as."""
    if calls_tools(answer):
        turn: Turn = json.loads(answer.removeprefix(MARK))
        return turn
    return {"role": "assistant", "content": answer}


def canonical_calls(answer: str) -> str:
    """The form in which two spellings of an answer that calls tools are the same text.

    The ids of calls are made up anew each time; arguments are the same whatever the order of keys and the spacing.
    """
    turn = answer_message(answer)
    calls = [[call["function"]["name"], _arguments(call)] for call in turn["tool_calls"]]
    content = (turn.get("content") or "").strip()
    return MARK + json.dumps([content, calls], ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def shown(answer: str) -> str:
    """An answer as people read it: its text, then each call as `name({...})`."""
    if not calls_tools(answer):
        return answer
    turn = answer_message(answer)
    calls = (f"{call['function']['name']}({call['function']['arguments']})" for call in turn["tool_calls"])
    return "\n".join(filter(None, (turn.get("content"), *calls)))


def for_template(messages: Iterable[Turn]) -> list[Turn]:
    """The turns as chat templates take them: arguments as mappings, and a content for every turn."""
    return [_for_template(turn) for turn in messages]


def _for_template(turn: Turn) -> Turn:
    turn = turn | {"content": turn.get("content") or ""}
    if calls := turn.get("tool_calls"):
        turn["tool_calls"] = [call | {"function": call["function"] | {"arguments": _arguments(call)}} for call in calls]
    return turn


def _arguments(call: Mapping[str, Any]) -> Any:
    """A call's arguments; the text itself where a model wrote what is no JSON."""
    text = call["function"]["arguments"]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def chat_dataset(rows: Iterable[Mapping[str, Any]]) -> "Dataset":
    """Rows of `messages` and, where they have any, `tools`, as TRL's trainers take them.

    The completion is the last turn: nobody said that what the model answered before is right, and what it called on its
    way may be another row's held-out answer. As JSON, because a table would give every call the arguments of all the
    others, as nulls.
    """
    return _dataset([_turns(row, "completion") for row in rows])


def pair_dataset(rows: Iterable[Mapping[str, Any]]) -> "Dataset":
    """Rows of `messages` that end with the better answer, the worse as `rejected` messages, and `tools`; see above."""
    return _dataset([_turns(row, "chosen") | {"rejected": for_template(row["rejected"])} for row in rows])


def _turns(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    *prompt, answer = for_template(row["messages"])
    return {"prompt": prompt, name: [answer], "tools": row.get("tools")}


def _dataset(rows: list[dict[str, Any]]) -> "Dataset":
    """The rows, each with its `position` among them."""
    from datasets import Dataset, Features, Json, List, Value

    columns = dict.fromkeys((*rows[0],), List(Json())) if rows else {}
    given = [row | {"position": position} for position, row in enumerate(rows)]
    return Dataset.from_list(given, features=Features(columns | {"position": Value("int64")}))


def token_ids(tokenizer: Any, messages: Iterable[Turn], tools: Any, prompt: bool) -> list[int]:
    """A conversation in tokens, by the model's chat template; a prompt ends where its answer begins."""
    return list(
        tokenizer.apply_chat_template(
            for_template(messages), tools=tools or None, add_generation_prompt=prompt, return_dict=False
        )
    )


def written_calls(tokenizer: Any, conversation: Conversation, answer: str) -> str:
    """What the model has to write for an answer that calls tools, by its chat template, as `same_calls` takes it.

    Raises:
        FlywheelError: the template does not write calls, or not behind the prompt.
    """
    messages, tools = conversation
    prompt = token_ids(tokenizer, messages, tools, prompt=True)
    whole = token_ids(tokenizer, [*messages, answer_message(answer)], tools, prompt=False)
    text = tokenizer.decode(whole[len(prompt) :], skip_special_tokens=True)
    names = [call["function"]["name"] for call in answer_message(answer)["tool_calls"]]
    if whole[: len(prompt)] != prompt or not all(name in text for name in names):
        raise FlywheelError(
            f"an answer calls {names[0]}, but the chat template of model.base does not write calls of tools behind a "
            f"prompt; give that model a chat_template that does, or leave such answers out"
        )
    return str(text)


def check_template(tokenizer: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """See that the chat template writes the answers of these rows (`messages`, `tools`), if one calls tools.

    Raises:
        FlywheelError: it does not: a model would be taught to say nothing.
    """
    row = next((row for row in rows if row["messages"][-1].get("tool_calls")), None)
    if row is not None:
        *messages, answer = row["messages"]
        written_calls(tokenizer, Conversation(messages, row.get("tools")), held_answer(answer))


def same_calls(output: str, written: str) -> bool:
    """Whether a model wrote what its template writes, whatever the spelling of the JSON in it and the white space.

    Some templates write the ids of calls; a model makes up others.
    """
    return _pieces(output) == _pieces(written)


def _pieces(text: str) -> list[str]:
    """The words of a text, and each JSON object in it as one, in its canonical spelling."""
    decoder, pieces, start = json.JSONDecoder(), [], 0
    while (place := text.find("{", start)) >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            value, end = text[place], place + 1
        if isinstance(value, dict) and "name" in value:
            value.pop("id", None)
        pieces += [*text[start:place].split(), json.dumps(value, sort_keys=True)]
        start = end
    return [*pieces, *text[start:].split()]


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
