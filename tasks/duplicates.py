"""Near-duplicate texts: MinHash finds candidates, their exact Jaccard similarity decides.

Broder, "On the resemblance and containment of documents" (1997); the index is datasketch's MinHashLSH.
"""

import re
from collections.abc import Mapping

SHINGLE_WORDS = 3
PERMUTATIONS = 64


def shingles(text: str) -> frozenset[str]:
    """The text's runs of three words, lower-cased, without punctuation; a shorter text is one shingle."""
    words = re.findall(r"\w+", text.lower())
    if len(words) <= SHINGLE_WORDS:
        return frozenset({" ".join(words)})
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Size of the intersection over size of the union; 1.0 for equal sets."""
    union = len(left | right)
    return len(left & right) / union if union else 1.0


def near_duplicates(texts: Mapping[str, str], threshold: float) -> list[tuple[str, str, float]]:
    """Pairs of keys whose texts have a Jaccard similarity of `threshold` or more, with it; smaller key first.

    MinHash may miss a pair that lies just at the threshold; it never reports a false one.
    """
    from datasketch import MinHash, MinHashLSH

    sets = {key: shingles(text) for key, text in texts.items()}
    index = MinHashLSH(threshold=max(0.1, threshold - 0.15), num_perm=PERMUTATIONS)
    pairs = []
    hashes = MinHash.generator(
        ([shingle.encode() for shingle in sorted(sets[key])] for key in sets), num_perm=PERMUTATIONS
    )
    for key, minhash in zip(sets, hashes, strict=True):
        for other in index.query(minhash):
            similarity = jaccard(sets[key], sets[other])
            if similarity >= threshold:
                pairs.append((min(key, other), max(key, other), similarity))
        index.insert(key, minhash)
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
