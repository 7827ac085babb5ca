"""Similar sets, compiled: texts as sets of hashed shingles, and the join that finds which of them are alike.

The join is exact. Two sets that are similar enough share one of their rarest members (prefix filter; Bayardo, Ma and
Srikant 2007, "Scaling up all pairs similarity search"), and where they do, the members that are left bound their
overlap (positional filter; Xiao et al. 2008, "Efficient similarity joins for near duplicate detection"). It does not
list all pairs: what is connected already is passed over, so that thousands of near-copies cost no more than so many
strangers.

Imported where it is used: importing numba takes half a second, and the first call on a machine compiles for seconds.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

APART, WORD, SPACELESS = 0, 1, 2  # what a character can be
OPEN = 3  # the label of sets that are not settled; there are three lesser ones
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


class Sets(NamedTuple):
    """Many sets, one behind the other: set i is `members[ends[i]:ends[i + 1]]`."""

    members: np.ndarray
    ends: np.ndarray


class Ordered(NamedTuple):
    """Sets of which each lists its members from rare to common (int32 ranks).

    Members that no other set has are left out, and counted in `lonely`.
    """

    members: np.ndarray
    ends: np.ndarray
    lonely: np.ndarray
    ranks: int


class Room(NamedTuple):
    """How many of its first members each set is looked for by, and under how many it is found."""

    looked_for: np.ndarray
    found_by: np.ndarray


class Groups(NamedTuple):
    """What is connected so far: union-find's parents, the labels, and which labels a set has a pair with (bits)."""

    parents: np.ndarray
    labels: np.ndarray
    beside: np.ndarray


class Index(NamedTuple):
    """The sets that are found under each member, as linked lists: set, place of the member in it, next entry.

    `skip` is an entry further on, up to which all are of one group.
    """

    sets: np.ndarray
    places: np.ndarray
    following: np.ndarray
    skip: np.ndarray


class Found(NamedTuple):
    """Pairs of sets by place, and their Jaccard similarities."""

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray


@njit(cache=True)
def _mix(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> _HALF)) * _MIX
    value = (value ^ (value >> _HALF)) * _MIX
    return value ^ (value >> _HALF)


@njit(cache=True)
def _words(characters: np.ndarray, start: int, end: int, kinds: np.ndarray, words: np.ndarray) -> int:
    """Write the 64-bit hashes of a text's words to `words`; how many there are."""
    count, word, is_open = 0, np.uint64(0), False
    for place in range(start, end):
        kind = kinds[characters[place]]
        if is_open and kind != WORD:
            words[count] = _mix(word)
            count, is_open = count + 1, False
        if kind == WORD:
            word = ((word if is_open else np.uint64(0)) ^ np.uint64(characters[place] + 1)) * _ODD
            word ^= word >> _HALF
            is_open = True
        elif kind == SPACELESS:
            words[count] = _mix(np.uint64(characters[place] + 1) * _ODD)
            count += 1
    if is_open:
        words[count] = _mix(word)
        count += 1
    return count


@njit(cache=True)
def hash_shingles(characters: np.ndarray, lengths: np.ndarray, kinds: np.ndarray, run: int) -> tuple[np.ndarray, ...]:
    """Members and ends (see `Sets`) of the texts' runs of `run` words, as 64-bit hashes.

    `characters` holds the code points (uint32) of all texts, `lengths` how many each has, `kinds` what each code point
    is. Among forty million different shingles, the chance that any two share a hash is one in twenty thousand.
    """
    words = np.empty(lengths.max() + 1, np.uint64)
    members, ends = np.empty(len(characters) + len(lengths), np.uint64), np.zeros(len(lengths) + 1, np.int64)
    start, filled = 0, 0
    for text in range(len(lengths)):
        count = _words(characters, start, start + lengths[text], kinds, words)
        start += lengths[text]
        size = min(run, count)
        runs = np.empty(max(1, count - run + 1), np.uint64)
        for place in range(len(runs)):
            shingle = np.uint64(size + 1)
            for word in words[place : place + size]:
                shingle = _mix(shingle * _ODD + word)
            runs[place] = shingle
        runs = np.unique(runs)
        members[filled : filled + len(runs)] = runs
        filled += len(runs)
        ends[text + 1] = filled
    return members[:filled].copy(), ends


def order_by_rarity(sets: Sets) -> Ordered:
    """The sets with their members as ranks, the rarest first; equal frequencies are ordered by the member itself."""
    _, number, counts = np.unique(sets.members, return_inverse=True, return_counts=True)
    ranks = np.full(len(counts), -1, np.int32)
    shared = np.flatnonzero(counts > 1)
    ranks[shared[np.argsort(counts[shared], kind="stable")]] = np.arange(len(shared), dtype=np.int32)
    members, ends, lonely = _drop_lonely(ranks[number], sets.ends)
    return Ordered(members, ends, lonely, len(shared))


@njit(cache=True)
def _drop_lonely(ranks: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, ...]:
    kept, filled = np.zeros_like(ends), 0
    lonely = np.empty(len(ends) - 1, np.int32)
    for text in range(len(ends) - 1):
        begin = filled
        for place in range(ends[text], ends[text + 1]):
            if ranks[place] >= 0:
                ranks[filled] = ranks[place]
                filled += 1
        lonely[text] = ends[text + 1] - ends[text] - (filled - begin)
        ranks[begin:filled].sort()
        kept[text + 1] = filled
    return ranks[:filled].copy(), kept, lonely


def join(sets: Sets, threshold: float, labels: np.ndarray) -> Found:
    """Pairs of sets with a Jaccard similarity of `threshold` or more: as many as are needed, and only true ones.

    Labels (int8) run from 0 to OPEN. The pairs connect the sets labelled OPEN as all pairs would, and a set that is
    similar to sets of a lesser label is in a pair with one of them, for each of those labels.
    """
    ordered, sizes = order_by_rarity(sets), np.diff(sets.ends)
    looked_for = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    # Of an open set, only others that are as large are still to come.
    small = sizes - np.ceil(2 * threshold / (1 + threshold) * sizes - 1e-9).astype(np.int64) + 1
    found_by = np.where(labels == OPEN, small, looked_for)
    room = Room(*(_places(each, ordered) for each in (looked_for, found_by)))
    # Lesser labels first: whatever a set needs to be paired with has then been listed before it.
    order = np.lexsort((np.arange(len(sizes)), sizes, labels))
    # Made here: a tuple of arrays that compiled code builds for itself loses them.
    index = Index(*(np.empty(room.found_by.sum(), np.int32) for _ in Index._fields))
    return Found(*_link(ordered, room, sizes, order, index, threshold, groups(labels)))


def _places(prefix: np.ndarray, ordered: Ordered) -> np.ndarray:
    """How many of the listed members are among the rarest `prefix`, of which some are not listed."""
    return np.clip(prefix - ordered.lonely, 0, np.diff(ordered.ends))


def groups(labels: np.ndarray) -> Groups:
    """The groups before any pair is known: the sets of a lesser label are one, each open one stands for itself."""
    parents = np.arange(len(labels))
    for label in range(OPEN):
        places = np.flatnonzero(labels == label)
        parents[places] = places[:1]
    return Groups(parents, labels, np.zeros(len(labels), np.int8))


@njit(cache=True)
def _root(parents: np.ndarray, node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(cache=True)
def _is_known(state: Groups, node: int, other: int) -> bool:
    """Whether a pair of the two would say nothing new. The node's label is not less than the other's."""
    if state.labels[node] == state.labels[other]:
        return _root(state.parents, node) == _root(state.parents, other)
    return state.beside[node] >> state.labels[other] & 1 == 1


@njit(cache=True)
def _pair(state: Groups, node: int, other: int) -> None:
    if state.labels[node] == state.labels[other]:
        state.parents[_root(state.parents, node)] = _root(state.parents, other)
    else:
        state.beside[node] |= 1 << state.labels[other]


@njit(cache=True)
def choose_pairs(state: Groups, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Which of the pairs are needed (see `join`), each taken in turn; the groups are brought up to date."""
    needed = np.zeros(len(left), np.bool_)
    for place in range(len(left)):
        node, other = left[place], right[place]
        if state.labels[node] < state.labels[other]:
            node, other = other, node
        if not _is_known(state, node, other):
            needed[place] = True
            _pair(state, node, other)
    return needed


@njit(cache=True)
def _overlap(members: np.ndarray, left: int, left_end: int, right: int, right_end: int) -> int:
    count = 0
    while left < left_end and right < right_end:
        if members[left] == members[right]:
            count, left, right = count + 1, left + 1, right + 1
        elif members[left] < members[right]:
            left += 1
        else:
            right += 1
    return count


@njit(cache=True)
def add_a_word(members: np.ndarray, ends: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each pair of sets (see `Sets`), whether one holds all of the other, and at most one member more."""
    adds = np.zeros(len(left), np.bool_)
    for place in range(len(left)):
        one, other = left[place], right[place]
        sizes = ends[one + 1] - ends[one], ends[other + 1] - ends[other]
        if max(sizes) - min(sizes) <= 1:
            shared = _overlap(members, ends[one], ends[one + 1], ends[other], ends[other + 1])
            adds[place] = shared == min(sizes)
    return adds


@njit(cache=True)
def _similarity(
    sets: Ordered, sizes: np.ndarray, left: int, right: int, at: int, there: int, threshold: float
) -> float:
    """The Jaccard similarity of two sets, the first common member of which is at these places of theirs.

    0.0 where what is left from there on is too little for the threshold.
    """
    both = sizes[left] + sizes[right]
    rest = min(sizes[left] - sets.lonely[left] - at, sizes[right] - sets.lonely[right] - there)
    if rest < threshold / (1 + threshold) * both - 1e-6:
        return 0.0
    shared = _overlap(
        sets.members, sets.ends[left] + at, sets.ends[left + 1], sets.ends[right] + there, sets.ends[right + 1]
    )
    return shared / (both - shared)


@njit(cache=True)
def _beyond(index: Index, entry: int, parents: np.ndarray) -> int:
    """The next entry of a list that is of another group; the way there is remembered."""
    group, later = _root(parents, index.sets[entry]), index.skip[entry]
    while later >= 0 and _root(parents, index.sets[later]) == group:
        later = index.skip[later]
    index.skip[entry] = later
    return later


@njit(cache=True)
def _link(
    sets: Ordered, room: Room, sizes: np.ndarray, order: np.ndarray, index: Index, threshold: float, state: Groups
) -> tuple[np.ndarray, ...]:
    filled = 0
    heads, seen = np.full(sets.ranks, -1, np.int32), np.full(len(order), -1, np.int32)
    left, right, similarity = [0 for _ in range(0)], [0 for _ in range(0)], [0.0 for _ in range(0)]
    for node in order:
        start = sets.ends[node]
        for at in range(room.looked_for[node]):
            entry = heads[sets.members[start + at]]
            while entry >= 0:
                other = np.int64(index.sets[entry])
                if _is_known(state, node, other):
                    entry = _beyond(index, entry, state.parents)
                    continue
                if seen[other] != node:
                    seen[other] = node
                    alike = _similarity(sets, sizes, node, other, at, index.places[entry], threshold)
                    if alike >= threshold:
                        left.append(int(node))
                        right.append(int(other))
                        similarity.append(alike)
                        _pair(state, node, other)
                entry = index.following[entry]
        for at in range(room.found_by[node]):
            member = sets.members[start + at]
            index.sets[filled], index.places[filled] = node, at
            index.following[filled] = index.skip[filled] = heads[member]
            heads[member] = filled
            filled += 1
    return np.array(left), np.array(right), np.array(similarity)
