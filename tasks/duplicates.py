"""Near-duplicate texts: by their words, exactly, and the short ones by their meaning as well.

A near-duplicate that were missed could be trained on and tested with, so the join on words is exact and not a sketch.
What is wanted of it are groups, not pairs: a text that came in twenty thousand times with another number has two
hundred million pairs, and twenty thousand links hold it together as well.

Three words in a row say little of a text of a few words. Short texts are compared by their embeddings too, and are
near-duplicates where these all but coincide, or come close and one text only adds a word ("please reset my password"),
and every number is the same.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from tasks.similar_sets import Sets

SHINGLE_WORDS = 3
SHORT_WORDS = 8  # a text of so many words or fewer is compared by its meaning too
SIDES = ("train", "unseen", "anchor")
CHUNK = 50_000  # texts that are hashed at once
BLOCK = 512  # vectors that are compared with all others at once
EXACT = 50_000  # short texts up to which all are compared; above it, each with those near it
NEIGHBOURS = 16
ADDED_WORD = 0.1  # by how much less the vectors of two texts need to agree if one only adds a word
# Scripts without spaces between words: each character counts as one.
_SPACELESS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_SPACELESS}]|(?:(?![{_SPACELESS}])\w)+")
_NUMBER = re.compile(r"\d+")


class Pair(NamedTuple):
    """Two keys, the smaller one first, and how similar their texts are (Jaccard, or the cosine of short ones)."""

    left: str
    right: str
    similarity: float


def shingles(text: str) -> frozenset[str]:
    """The text's runs of three words, lower-cased, without punctuation; a shorter text is one shingle."""
    words = _WORD.findall(text.lower())
    if len(words) <= SHINGLE_WORDS:
        return frozenset({" ".join(words)})
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Size of the intersection over size of the union; 1.0 for equal sets."""
    union = len(left | right)
    return len(left & right) / union if union else 1.0


def near_duplicates(texts: Mapping[str, str], threshold: float, sides: Mapping[str, str] | None = None) -> list[Pair]:
    """Pairs of keys whose texts have a Jaccard similarity of `threshold` or more: enough of them to draw sides by.

    They connect the keys without a side (train, unseen or anchor) into the same groups as all pairs would. A key that
    has no side is in a pair with a near-duplicate of each side that it has one of; an unseen one with a near-duplicate
    in train where there is one, an anchor one with one in either.
    """
    if not texts:
        return []
    from tasks.similar_sets import join

    keys = sorted(texts)
    found = join(_hashed([texts[key] for key in keys]), threshold, _labels(keys, sides or {}))
    return _pairs(keys, found.left, found.right, found.similarity)


def is_short(text: str) -> bool:
    """Whether the text has SHORT_WORDS words or fewer, but any."""
    return 0 < sum(1 for _ in islice(_WORD.finditer(text), SHORT_WORDS + 1)) <= SHORT_WORDS


def near_meanings(
    texts: Mapping[str, str], vectors: "np.ndarray", threshold: float, sides: Mapping[str, str] | None = None
) -> list[Pair]:
    """Pairs of keys whose texts have the same numbers and whose vectors have a cosine of `threshold` or more.

    ADDED_WORD less will do where one text has all the words of the other, and at most one more.
    `vectors` (texts x dimensions, float32, unit length) are in the order of `texts`. As many pairs as of
    `near_duplicates`, whose pairs are needed beside them: texts of the same words and side are taken as one. Above
    EXACT such texts, a pair is found if one is among the other's NEIGHBOURS nearest, of which one in ten is missed.
    """
    import numpy as np

    from tasks.similar_sets import add_a_word, choose_pairs, groups

    if not texts:
        return []
    order = sorted(range(len(texts)), key=list(texts).__getitem__)
    keys, labels = sorted(texts), _labels(sorted(texts), sides or {})
    words = [tuple(_WORD.findall(texts[key].lower())) for key in keys]
    codes = _codes(zip(labels.tolist(), words, strict=True))
    _, first, one_of = np.unique(codes, return_index=True, return_inverse=True)
    numbers = _codes(" ".join(_NUMBER.findall(texts[keys[place]])) for place in first)
    contained = _hashed([texts[keys[place]] for place in first], 1)
    vectors, labels = vectors[np.array(order)[first]], labels[first]
    state, found = groups(labels), []
    candidates = _blocks if len(first) <= EXACT else _nearest
    for left, right, cosines in candidates(vectors, threshold - ADDED_WORD):
        near = cosines >= threshold
        less = np.flatnonzero(~near)
        near[less] = add_a_word(contained.members, contained.ends, left[less], right[less])
        same = np.flatnonzero(near & (numbers[left] == numbers[right]))
        needed = same[choose_pairs(state, left[same], right[same])]
        found += list(zip(left[needed].tolist(), right[needed].tolist(), cosines[needed].tolist(), strict=True))
    return _spread(found, labels, first, one_of, keys)


def components(keys: set[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each key, the smallest key of the group that the pairs connect it to (pairs with other keys are ignored)."""
    parent = {key: key for key in keys}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for left, right in pairs:
        if left in parent and right in parent:
            first, second = sorted((root(left), root(right)))
            parent[second] = first
    return {key: root(key) for key in keys}


def _pairs(keys: Sequence[str], left: "np.ndarray", right: "np.ndarray", similarity: "np.ndarray") -> list[Pair]:
    """The pairs by key, sorted; the keys are in order."""
    places = zip(left.tolist(), right.tolist(), similarity.tolist(), strict=True)
    return sorted(Pair(keys[min(one, other)], keys[max(one, other)], alike) for one, other, alike in places)


def _spread(
    pairs: Sequence[tuple[int, int, float]],
    labels: "np.ndarray",
    first: "np.ndarray",
    one_of: "np.ndarray",
    keys: Sequence[str],
) -> list[Pair]:
    """The pairs by key. What has to do with another side is said of every copy."""
    import numpy as np

    copies = np.split(np.argsort(one_of, kind="stable"), np.cumsum(np.bincount(one_of))[:-1])
    spread = []
    for one, other, cosine in pairs:
        node, lesser = (one, other) if labels[one] >= labels[other] else (other, one)
        for copy in copies[node] if labels[node] > labels[lesser] else copies[node][:1]:
            left, right = sorted((keys[copy], keys[first[lesser]]))
            spread.append(Pair(left, right, cosine))
    return sorted(spread)


def _labels(keys: Sequence[str], sides: Mapping[str, str]) -> "np.ndarray":
    import numpy as np

    from tasks.similar_sets import OPEN

    label_of = {side: label for label, side in enumerate(SIDES)}
    return np.array([label_of.get(sides.get(key, ""), OPEN) for key in keys], np.int8)


def _codes(values: Iterable[Hashable]) -> "np.ndarray":
    """A number for each value, the same for equal ones."""
    import numpy as np

    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values])


def _hashed(texts: Sequence[str], run: int = SHINGLE_WORDS) -> "Sets":
    """The texts' runs of words, hashed."""
    import numpy as np

    from tasks.similar_sets import Sets, hash_shingles

    members, sizes = [], []
    for start in range(0, len(texts), CHUNK):
        lowered = [text.lower() for text in texts[start : start + CHUNK]]
        characters = np.frombuffer("".join(lowered).encode("utf-32-le", "surrogatepass"), np.uint32)
        lengths = np.fromiter(map(len, lowered), np.int64, len(lowered))
        part, ends = hash_shingles(characters, lengths, _kinds(), run)
        members.append(part)
        sizes.append(np.diff(ends))
    return Sets(np.concatenate(members), np.concatenate([[0], np.cumsum(np.concatenate(sizes))]))


@cache
def _kinds() -> "np.ndarray":
    """For each code point, whether it is part of a word, a word of its own, or neither (see `similar_sets`)."""
    import sys

    import numpy as np

    from tasks.similar_sets import SPACELESS, WORD

    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    every = "".join(map(chr, range(len(kinds))))
    kinds[[match.start() for match in re.finditer(r"\w", every)]] = WORD
    kinds[[match.start() for match in re.finditer(f"[{_SPACELESS}]", every)]] = SPACELESS
    return kinds


def _blocks(vectors: "np.ndarray", threshold: float) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """Places of all pairs at the threshold or above, and their cosines, block by block."""
    import numpy as np

    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ vectors[: start + BLOCK].T
        left, right = np.nonzero(cosines >= threshold)
        before = right < left + start
        left, right = left[before], right[before]
        yield left + start, right, cosines[left, right]


def _nearest(vectors: "np.ndarray", threshold: float) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """The same for the pairs among which one is of the NEIGHBOURS nearest of the other, as far as they are found."""
    import numpy as np

    from tasks.graph import nearest

    ids, distances = nearest(vectors, NEIGHBOURS)
    rows, columns = np.nonzero(1 - distances >= threshold)
    yield rows, ids[rows, columns], 1 - distances[rows, columns]
