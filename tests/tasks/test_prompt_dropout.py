"""Word dropout: what is asked loses tokens, others each time; what is trained on and the markup lose none."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.prompt_dropout import IGNORED, PromptDropout, left_in, markup
from tests.tasks.tiny import tiny_tokenizer

ROWS = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=40)


def row(asked: int, seed: int = 0) -> dict[str, Any]:
    ids = random.Random(seed).choices(range(5, 1000), k=asked)
    return {"input_ids": [1, *ids, 2, 7, 3], "labels": [IGNORED] * (asked + 2) + [7, 3]}


def thinned(share: float, epoch: int = 0, seed: int = 0, asked: int = 1000) -> dict[str, Any]:
    return PromptDropout(list, share, {1, 2}, seed, lambda: epoch)([row(asked)])[0]


@given(ROWS, st.floats(0, 0.99), st.sets(st.integers(0, 20)), st.randoms(use_true_random=False))
def test_what_is_trained_on_and_what_is_kept_stays_in_its_order(
    tokens: list[tuple[int, bool]], share: float, kept: set[int], rng: random.Random
) -> None:
    ids, labels = [token for token, _ in tokens], [token if trained else IGNORED for token, trained in tokens]
    places = left_in(ids, labels, share, kept, rng)
    assert places == sorted(set(places))
    assert {place for place, (token, trained) in enumerate(tokens) if trained or token in kept} <= set(places)
    assert share > 0 or len(places) == len(tokens)


def test_the_share_that_is_left_out_is_the_one_asked_for() -> None:
    found = thinned(0.3)
    assert 0.25 < 1 - (len(found["input_ids"]) - 4) / 1000 < 0.35
    assert found["labels"] == [IGNORED] * (len(found["input_ids"]) - 2) + [7, 3]


def test_seed_epoch_and_row_alone_decide_what_is_left_out() -> None:
    assert thinned(0.3) == thinned(0.3)
    assert thinned(0.3) != thinned(0.3, epoch=1)
    assert thinned(0.3) != thinned(0.3, seed=1)
    two = PromptDropout(list, 0.3, {1, 2}, 0, lambda: 0)([row(50, seed=1), row(50, seed=2)])
    assert two[::-1] == PromptDropout(list, 0.3, {1, 2}, 0, lambda: 0)([row(50, seed=2), row(50, seed=1)])


def test_the_markup_of_a_conversation_is_kept() -> None:
    tokenizer = tiny_tokenizer()
    assert {tokenizer.pad_token_id, tokenizer.eos_token_id} <= markup(tokenizer)
    assert tokenizer.convert_tokens_to_ids("a") not in markup(tokenizer)
