"""Corrections in the prompt instead of in the weights: what the champion makes of the likest ones, for comparison.

Which corrections stand in a case's prompt is decided by the embeddings of what the users wrote, the ones that the round
has anyway (nearest neighbours as examples; Liu et al. 2022, "What Makes Good In-Context Examples for GPT-3?").
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasks.answering import example_turns
from tasks.chat import Turn
from tasks.config import Config
from tasks.db import State
from tasks.embed import embed
from tasks.records import canonical_json, user_text

if TYPE_CHECKING:
    import numpy as np

ROWS = 256  # cases that are held against all corrections at a time


class Example(NamedTuple):
    """A correction that was trained on: its input as it is held, and the right answer's turn."""

    input: str
    answer: Turn


def read_corrections(snapshot: Path) -> list[Example]:
    """The corrections of a snapshot's file, which was checked when it was trained on."""
    from pyarrow import parquet as pq

    rows = pq.read_table(snapshot, columns=["prompt", "chosen"], filters=[("signal", "=", "correction")])
    return [Example(row["prompt"], json.loads(row["chosen"])[-1]) for row in rows.to_pylist()]


def examples_for(config: Config, inputs: Sequence[str], corrections: Sequence[Example]) -> list[str]:
    """For each input (as it is held) the turns of its likest corrections, the nearest last, as JSON.

    Embeddings that the state lacks are computed and stored.
    """
    if not inputs or not corrections:
        return ["[]"] * len(inputs)
    state, texts = State(config.database), [user_text(each.input) for each in corrections]
    asked = embed(state, [user_text(each) for each in inputs], config.encoder)
    near = nearest(asked, embed(state, texts, config.encoder), config.engine.few_shot)
    return [canonical_json([_turns(corrections[place]) for place in places]) for places in near]


def nearest(inputs: "np.ndarray", corrections: "np.ndarray", count: int) -> list[list[int]]:
    """For each row of unit vectors the places of the `count` nearest others, the nearest last; ties by place."""
    import numpy as np

    found = []
    for start in range(0, len(inputs), ROWS):
        likeness = inputs[start : start + ROWS] @ corrections.T
        order = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
        found += order[:, ::-1].tolist()
    return found


def _turns(example: Example) -> list[Turn]:
    return example_turns(example.input, example.answer)
