"""Near-duplicates: never a false pair, never a missed copy, and no order that matters."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.duplicates import components, jaccard, near_duplicates, shingles

WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
TEXTS = st.lists(WORDS, min_size=0, max_size=12).map(" ".join)
MANY = st.dictionaries(st.text("abc", min_size=1, max_size=3), TEXTS, max_size=8)
PAIRS = st.lists(st.tuples(*[st.sampled_from("abcdef")] * 2), max_size=8)


@settings(deadline=None, max_examples=50)
@given(MANY, st.floats(0.5, 1.0))
def test_every_reported_pair_is_one(texts: dict[str, str], threshold: float) -> None:
    for left, right, similarity in near_duplicates(texts, threshold):
        assert left < right
        assert similarity == jaccard(shingles(texts[left]), shingles(texts[right])) >= threshold


@settings(deadline=None, max_examples=50)
@given(MANY, TEXTS)
def test_copies_are_always_found(texts: dict[str, str], text: str) -> None:
    texts = texts | {"x": text, "y": f"  {text.upper()} !"}
    assert ("x", "y", 1.0) in near_duplicates(texts, 1.0)


@settings(deadline=None, max_examples=50)
@given(MANY, st.randoms())
def test_the_order_of_texts_makes_no_difference(texts: dict[str, str], rng: random.Random) -> None:
    shuffled = list(texts.items())
    rng.shuffle(shuffled)
    assert near_duplicates(texts, 0.6) == near_duplicates(dict(shuffled), 0.6)


def nearly(rng: random.Random, words: list[str], changes: int) -> str:
    """The text with some of its words replaced."""
    changed = list(words)
    for place in rng.sample(range(len(words)), changes):
        changed[place] = f"other{rng.random()}"
    return " ".join(changed)


def test_near_duplicates_above_the_threshold_are_not_missed() -> None:
    """A missed pair can be drawn to train and unseen both: what was remembered would count as learned."""
    rng = random.Random(7)
    texts, expected = {}, set()
    for number in range(300):
        words = [f"w{rng.randrange(5000)}" for _ in range(rng.choice((30, 40, 60)))]
        texts[f"{number:03}a"], texts[f"{number:03}b"] = " ".join(words), nearly(rng, words, rng.choice((1, 2)))
        if jaccard(shingles(texts[f"{number:03}a"]), shingles(texts[f"{number:03}b"])) >= 0.8:
            expected.add((f"{number:03}a", f"{number:03}b"))
    found = {(left, right) for left, right, _ in near_duplicates(texts, 0.8)}
    assert len(expected) > 100
    assert len(expected - found) <= 0.01 * len(expected)


def test_what_is_and_is_not_near() -> None:
    base = "my parcel has not arrived and the tracking page has shown nothing new for two whole weeks now please help"
    texts = {
        "base": base,
        "typo": base.replace("please", "plaese"),
        "other": "how do i change my password on the phone",
    }
    assert [pair[:2] for pair in near_duplicates(texts, 0.7)] == [("base", "typo")]


def test_a_language_without_spaces_has_near_duplicates_too() -> None:
    text = "我的包裹还没有到请帮我查一下物流信息已经两个星期没有更新了非常着急谢谢"
    assert near_duplicates({"a": text, "b": text.replace("谢谢", "多谢")}, 0.6)


@given(PAIRS)
def test_components_are_what_the_pairs_connect(pairs: list[tuple[str, str]]) -> None:
    keys = set("abcde")
    group = components(keys, pairs)
    assert group.keys() == keys
    for left, right in pairs:
        if left in keys and right in keys:
            assert group[left] == group[right]
    for key, first in group.items():
        assert first == min(other for other in keys if group[other] == group[key])


@given(PAIRS, st.randoms())
def test_components_do_not_see_the_order_of_pairs(pairs: list[tuple[str, str]], rng: random.Random) -> None:
    shuffled = [pair[::-1] if rng.random() < 0.5 else pair for pair in rng.sample(pairs, len(pairs))]
    assert components(set("abcde"), pairs) == components(set("abcde"), shuffled)


def test_unconnected_keys_stay_alone() -> None:
    assert components({"a", "b", "c"}, [("a", "x"), ("b", "x")]) == {"a": "a", "b": "b", "c": "c"}
