"""Near-duplicate texts, exactly: every pair with a Jaccard similarity at the threshold or above, and no other.

A near-duplicate that were missed could be trained on and tested with, so the join is exact and not a sketch: sets
that are similar enough must share one of their rarest members (prefix filtering; Bayardo, Ma and Srikant 2007, "Scaling
up all pairs similarity search").
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping

SHINGLE_WORDS = 3
# Scripts without spaces between words: each character counts as one.
_SPACELESS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_SPACELESS}]|(?:(?![{_SPACELESS}])\w)+")


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


def near_duplicates(texts: Mapping[str, str], threshold: float) -> list[tuple[str, str, float]]:
    """Pairs of keys whose texts have a Jaccard similarity of `threshold` or more, with it; smaller key first."""
    sets = {key: shingles(text) for key, text in texts.items()}
    frequency = Counter(shingle for members in sets.values() for shingle in members)
    index: defaultdict[str, list[str]] = defaultdict(list)
    pairs = []
    for key in sorted(sets, key=lambda key: (len(sets[key]), key)):
        members = sets[key]
        smallest = math.ceil(threshold * len(members) - 1e-9)
        rarest = sorted(members, key=lambda shingle: (frequency[shingle], shingle))[: len(members) - smallest + 1]
        for other in {other for shingle in rarest for other in index[shingle]}:
            if len(sets[other]) >= smallest and (similarity := jaccard(members, sets[other])) >= threshold:
                pairs.append((min(key, other), max(key, other), similarity))
        for shingle in rarest:
            index[shingle].append(key)
    return sorted(pairs)


def components(keys: set[str], pairs: list[tuple[str, str]]) -> dict[str, str]:
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
