"""Near-duplicates: the groups that comparing every pair would give, never a false pair, and no order that matters."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.duplicates import (
    ADDED_WORD,
    SIDES,
    Pair,
    _hashed,
    components,
    is_short,
    jaccard,
    near_duplicates,
    near_meanings,
    shingles,
)

WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
TEXTS = st.lists(WORDS, min_size=0, max_size=12).map(" ".join)
KEYS = st.text("abc", min_size=1, max_size=3)
MANY = st.dictionaries(KEYS, TEXTS, max_size=8)
SIDED = st.dictionaries(KEYS, st.sampled_from(SIDES), max_size=6)
PAIRS = st.lists(st.tuples(*[st.sampled_from("abcdef")] * 2), max_size=8)


@st.composite
def copies(draw: st.DrawFn) -> dict[str, str]:
    """Texts of a few kinds, each with a word changed here and there."""
    kinds = draw(st.lists(st.lists(WORDS, min_size=1, max_size=12), min_size=1, max_size=3))
    texts = {}
    for key in draw(st.lists(KEYS, max_size=10, unique=True)):
        words = list(draw(st.sampled_from(kinds)))
        for place in draw(st.lists(st.integers(0, len(words) - 1), max_size=2)):
            words[place] = draw(WORDS)
        texts[key] = " ".join(words)
    return texts


def every_pair(texts: Mapping[str, str], threshold: float) -> dict[tuple[str, str], float]:
    """All near-duplicates, by comparing each text with each."""
    sets = {key: shingles(text) for key, text in texts.items()}
    found = {pair: jaccard(sets[pair[0]], sets[pair[1]]) for pair in combinations(sorted(texts), 2)}
    return {pair: similarity for pair, similarity in found.items() if similarity >= threshold}


def grouped(texts: Mapping[str, str], pairs: Iterable[tuple[str, str]], sides: Mapping[str, str]) -> dict[str, str]:
    """The groups of the texts that have no side."""
    return components(texts.keys() - sides.keys(), pairs)


def sides_beside(pairs: Iterable[tuple[str, str]], sides: Mapping[str, str]) -> set[tuple[str, str]]:
    """Which earlier side each text has a near-duplicate on."""
    order = [*SIDES, "none"]
    both = {pair for one, other in pairs for pair in ((one, other), (other, one))}
    return {
        (key, sides[other])
        for key, other in both
        if order.index(sides.get(key, "none")) > order.index(sides.get(other, "none"))
    }


def keys_of(pairs: Iterable[Pair]) -> list[tuple[str, str]]:
    return [(pair.left, pair.right) for pair in pairs]


@settings(deadline=None, max_examples=200)
@given(copies() | MANY, st.floats(0.3, 1.0), SIDED)
def test_the_pairs_say_all_that_comparing_every_pair_would(
    texts: dict[str, str], threshold: float, sides: dict[str, str]
) -> None:
    """What is missed can be drawn to train and unseen both: what was remembered would count as learned."""
    sides = {key: side for key, side in sides.items() if key in texts}
    every, found = every_pair(texts, threshold), near_duplicates(texts, threshold, sides)
    assert {keys: similarity for *keys_, similarity in found for keys in [tuple(keys_)]}.items() <= every.items()
    assert grouped(texts, keys_of(found), sides) == grouped(texts, every, sides)
    assert sides_beside(keys_of(found), sides) == sides_beside(every, sides)


@settings(deadline=None, max_examples=50)
@given(MANY, TEXTS)
def test_copies_are_always_found(texts: dict[str, str], text: str) -> None:
    texts = texts | {"x": text, "y": f"  {text.upper()} !"}
    group_of = components(set(texts), keys_of(near_duplicates(texts, 1.0)))
    assert group_of["x"] == group_of["y"]


@settings(deadline=None, max_examples=50)
@given(copies(), st.randoms())
def test_the_order_of_texts_makes_no_difference(texts: dict[str, str], rng: random.Random) -> None:
    shuffled = list(texts.items())
    rng.shuffle(shuffled)
    assert near_duplicates(texts, 0.6) == near_duplicates(dict(shuffled), 0.6)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(max_size=20) | TEXTS, min_size=1, max_size=6))
def test_hashed_shingles_are_the_shingles(texts: list[str]) -> None:
    """In any script, and for characters that change their length when they are lowered."""
    hashed = _hashed(texts)
    found = [set(hashed.members[start:end].tolist()) for start, end in zip(hashed.ends, hashed.ends[1:], strict=False)]
    for (left, one), (right, other) in combinations(zip(texts, found, strict=True), 2):
        assert jaccard(frozenset(one), frozenset(other)) == jaccard(shingles(left), shingles(right))
    assert [len(members) for members in found] == [len(shingles(text)) for text in texts]


def nearly(rng: random.Random, words: list[str], changes: int) -> str:
    """The text with some of its words replaced."""
    changed = list(words)
    for place in rng.sample(range(len(words)), changes):
        changed[place] = f"other{rng.random()}"
    return " ".join(changed)


def test_near_duplicates_above_the_threshold_are_not_missed() -> None:
    rng = random.Random(7)
    texts = {}
    for number in range(300):
        words = [f"w{rng.randrange(5000)}" for _ in range(rng.choice((30, 40, 60)))]
        texts[f"{number:03}a"], texts[f"{number:03}b"] = " ".join(words), nearly(rng, words, rng.choice((1, 2)))
    expected = every_pair(texts, 0.8)
    assert len(expected) > 100
    assert set(keys_of(near_duplicates(texts, 0.8))) == set(expected)


@pytest.mark.parametrize("old", [0, 5_000])
def test_a_viral_text_costs_a_pair_a_copy(old: int) -> None:
    """Ten thousand copies with another number each have fifty million pairs."""
    words = [f"w{n}" for n in range(40)]
    texts = {f"{n:05}": " ".join([*words[:20], f"n{n}", *words[20:]]) for n in range(10_000)}
    sides = dict.fromkeys(list(texts)[:old], "train")
    pairs = near_duplicates(texts, 0.8, sides)
    assert len(pairs) < 20_000
    assert len(set(grouped(texts, keys_of(pairs), sides).values())) == 1
    assert sides_beside(keys_of(pairs), sides) == {(key, "train") for key in texts.keys() - sides.keys() if old}


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


@settings(deadline=None, max_examples=100)
@given(copies(), SIDED, st.integers(0, 2**32))
def test_meanings_are_grouped_as_by_comparing_every_pair(
    texts: dict[str, str], sides: dict[str, str], seed: int
) -> None:
    """Copies word for word have the vector of one of them here, as they have an encoder's."""
    sides = {key: side for key, side in sides.items() if key in texts}
    of_words = {text: np.random.default_rng(seed + n).normal(size=3) for n, text in enumerate(sorted(texts.values()))}
    vectors = np.array([of_words[text] for text in texts.values()], np.float32).reshape(-1, 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    places = {key: place for place, key in enumerate(texts)}

    def is_near(left: str, right: str) -> bool:
        few, many = sorted((set(texts[key].split()) for key in (left, right)), key=len)
        cosine = cosines[places[left], places[right]]
        return bool(cosine >= 0.8 or (cosine >= 0.8 - ADDED_WORD and few <= many and len(many) - len(few) <= 1))

    every = [pair for pair in combinations(sorted(texts), 2) if is_near(*pair)]
    found = keys_of(near_meanings(texts, vectors, 0.8, sides))
    assert set(found) <= set(every)
    found += keys_of(near_duplicates(texts, 1.0, sides))
    assert grouped(texts, found, sides) == grouped(texts, every, sides)
    assert sides_beside(found, sides) == sides_beside(every, sides)


def test_what_differs_in_a_number_does_not_mean_the_same() -> None:
    """Of "order 12" and "order 13" the number is most of what is said, and often what the answer hangs on."""
    texts = {"a": "cancel order 12", "b": "cancel order 13", "c": "please cancel order 12"}
    assert keys_of(near_meanings(texts, np.ones((3, 1), np.float32), 0.95)) == [("a", "c")]


def test_more_short_texts_than_can_be_compared_each_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among so many, near ones are looked for; of planted pairs hardly any is missed."""
    monkeypatch.setattr("tasks.duplicates.EXACT", 1_000)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12_000, 32)).astype(np.float32)
    vectors[6_000:] = vectors[:6_000] + 0.05 * rng.normal(size=(6_000, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = {f"{n:05}": "text " + "".join(chr(97 + int(digit)) for digit in f"{n:05}") for n in range(12_000)}
    found = keys_of(near_meanings(texts, vectors, 0.95))
    assert len({(f"{n:05}", f"{n + 6_000:05}") for n in range(6_000)} & set(found)) > 5_900


@pytest.mark.parametrize(
    ("text", "expected"), [("", False), ("?!", False), ("reset my password", True), ("w " * 8, True), ("w " * 9, False)]
)
def test_which_texts_are_short(text: str, expected: bool) -> None:
    assert is_short(text) is expected


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
