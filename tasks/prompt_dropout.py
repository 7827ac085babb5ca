"""Word dropout: a share of the tokens of what is asked is left out, others each time a row is trained on.

What a model knows by heart teaches it nothing more, so rows that it was taught before do not hold on to what it can do
when they are trained on again. With a part of each question missing they do: the answer has to follow from the rest
(Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", section 3.2).
"""

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

IGNORED = -100  # PyTorch's label for tokens that the loss passes over


class PromptDropout:
    """A collator before another one: it leaves tokens out of the rows, by seed, epoch and row alone."""

    def __init__(
        self,
        collate: Callable[[list[dict[str, Any]]], Any],
        share: float,
        kept: Collection[int],
        seed: int,
        epoch: Callable[[], int],
    ) -> None:
        self.collate, self.share, self.kept, self.seed, self.epoch = collate, share, frozenset(kept), seed, epoch

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """The batch of the rows, each without some of its tokens."""
        return self.collate([self._thinned(row) for row in rows])

    def _thinned(self, row: dict[str, Any]) -> dict[str, Any]:
        # Not by a generator that runs on: a training that resumes has to meet the rest as it would have met it.
        rng = random.Random(f"{self.seed}/{self.epoch()}/{row['input_ids']}")
        places = left_in(row["input_ids"], row["labels"], self.share, self.kept, rng)
        return row | {name: [row[name][place] for place in places] for name in ("input_ids", "labels")}


def left_in(
    ids: Sequence[int], labels: Sequence[int], share: float, kept: Collection[int], rng: random.Random
) -> list[int]:
    """Places of the tokens that stay: all that are trained on or in `kept`, and of the others each but for a share."""
    return [
        place
        for place, (token, label) in enumerate(zip(ids, labels, strict=True))
        if label != IGNORED or token in kept or rng.random() >= share
    ]


def markup(tokenizer: Any) -> set[int]:
    """Tokens that structure a conversation: the tokenizer's special ones."""
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return special | set(tokenizer.all_special_ids)
