"""Options of how an output is held against the right answer (`scorer` in a config)."""

from typing import Literal

from tasks.sources.settings import Model


class ScorerConfig(Model):
    """How an output is held against the right answer: the same text, or the same JSON fields, or (none) not at all."""

    type: Literal["exact", "json_fields", "none"]
