"""How an output is held against the right answer. A scorer is a pure check of (output, expected)."""

import json
from collections.abc import Callable

from tasks.config import ScorerConfig

Scorer = Callable[[str, str], bool]


def make_scorer(config: ScorerConfig) -> Scorer:
    """The check that a workload's config names."""
    return {"exact": exact, "json_fields": json_fields}[config.type]


def exact(output: str, expected: str) -> bool:
    """The same text, white space at the ends aside."""
    return output.strip() == expected.strip()


def json_fields(output: str, expected: str) -> bool:
    """The same JSON value, whatever the order of keys and the spacing; what does not parse is wrong."""
    try:
        return bool(json.loads(output) == json.loads(expected))
    except ValueError:
        return False
