"""How one answer differs from another, in words that people read and classes of failures are made of."""

import json
from typing import Any

from tasks.score import parse_json


def difference(output: str, corrected: str | None, reason: str | None = None) -> str:
    """How an output was wrong, in words: the JSON fields that differ, the two answers, or the rule that it broke.

    >>> difference('{"a": 1, "b": 2}', '{"a": 1, "b": 3}')
    'b: 2 → 3'
    """
    if corrected is None:
        return reason or "rejected without a correction"
    said, right = _fields(output), _fields(corrected)
    if right is None:
        return f"{_short(output)} → {_short(corrected)}"
    if said is None:
        return "not the expected JSON"
    keys = [key for key in right | said if right.get(key) != said.get(key)]
    return "; ".join(f"{key}: {_plain(said.get(key))} → {_plain(right.get(key))}" for key in keys)


def _fields(text: str) -> dict[str, Any] | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _plain(value: Any) -> str:
    return _short(value if isinstance(value, str) else json.dumps(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
