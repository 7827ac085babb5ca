"""OpenAI's fine-tuning files, written: the chat format and the preference format.

They are read as any other file is, by the mappings that `tasks.sources.settings` has under the names
`openai_fine_tuning` and `openai_preference`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks.chat import answer_message, read_input
from tasks.errors import SourceError
from tasks.sources.mapping import json_text


def export_chat(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line of the chat format for each row: its `input` with the right answer after it.

    A row is one of the demonstrations (`input`, `output`) or of the corrections (`input`, `corrected_output`), its
    texts as the state holds them. Lines have no end of line; there is one for each row, in its order.

    Raises:
        SourceError: a row without input (a correction whose inference has not come in) or without an answer.
    """
    for row in rows:
        answer = _one_of(row, "corrected_output", "output")
        messages, tools = read_input(_one_of(row, "input"))
        yield json_text({"messages": [*messages, answer_message(answer)]} | ({"tools": tools} if tools else {}))


def export_preferences(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line of the preference format for each row: its `input`, the better answer and the worse one.

    A row is one of the preferences (`input`, `chosen`, `rejected`) or of the corrections (`input`, `corrected_output`,
    `model_output`). See `export_chat`.

    Raises:
        SourceError: a row without input or without one of the answers.
    """
    for row in rows:
        messages, tools = read_input(_one_of(row, "input"))
        yield json_text(
            {
                "input": {"messages": messages, "tools": tools or [], "parallel_tool_calls": True},
                "preferred_output": [answer_message(_one_of(row, "corrected_output", "chosen"))],
                "non_preferred_output": [answer_message(_one_of(row, "model_output", "rejected"))],
            }
        )


def _one_of(row: Mapping[str, Any], *keys: str) -> str:
    for key in keys:
        if isinstance(value := row.get(key), str):
            return value
    id_ = next((str(value) for key, value in row.items() if key.endswith("_id")), "without an id")
    raise SourceError(f"row {id_} cannot be exported: it has no {' or '.join(keys)}; leave it out")
