"""Classes in a set of vectors, their number not given: a graph of neighbours, cut where it is told in fewest bits.

1. Louvain's method (Blondel et al. 2008) on the graph of neighbours, at a falling resolution, makes a tree: many small
   communities, joined level by level.
2. Each branch is cut where the map equation is least (`tasks.graph`).
3. Communities that are hardly apart are one: in a great many rows without any parts, neighbours are few beside those
   who are as near, and the graph alone would cut them up.
4. Noise is left over: communities too small or too loose, and members that hang on by a thread.
5. Classes that there were before stay, and take in what belongs to them (`tasks.continuity`).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tasks.continuity import Change, carry_over
from tasks.graph import Links, condense, distinct, entropy, nearest, own_bits, weigh

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = (10, 30)  # fewest and most; in between, twice as many as the smallest class has members
PIECE = 16  # rows that a community of the finest level holds, about
COARSEST = 0.1  # resolution of the last level
TOLL = 0.1  # bits a step that a cut has to save a community's members, or it is not made
APART = 0.18  # how far two communities have to be apart, in units of how far their members are from one another
COHESION = 0.2  # of the way from how alike any two rows are to being the same, that a class's members have to come
ALIKE = 0.7  # mean cosine from which rows are a class, though nothing else is there to set them apart
FARTHER = 1.75  # times a community's usual distance to neighbours, from which a node is noise
FEW = 0.5  # if its share of neighbours in that community is below this (else from twice as far)
BLOCK = 1_024  # communities compared with others at once


class Communities(NamedTuple):
    """A label for each row, -1 for noise, and which communities of before were split or merged."""

    labels: "np.ndarray"
    changes: list[Change]


def find_communities(
    vectors: "np.ndarray", *, min_size: int, before: "np.ndarray | None" = None, seed: int = 0
) -> Communities:
    """The classes of unit-length `vectors` (rows x dimensions, float32).

    `before` is the label that a row had, -1 for none (rows); those labels stay, and new ones follow the greatest.
    Without it, labels are 0 and up by falling size. For one `seed` the same rows get the same labels, whatever order
    they come in; equal rows share a label.
    """
    import numpy as np

    first, copy_of = distinct(vectors)
    rows, copies = condense(vectors, first), np.bincount(copy_of)
    old = np.full(len(first), -1)
    if before is not None:
        np.maximum.at(old, copy_of, before)
    known = int(old.max(initial=-1)) + 1
    count = min(max(2 * min_size, NEIGHBOURS[0]), NEIGHBOURS[1], len(first) // 3)
    changes: list[Change] = []
    if count < 2:  # too few for a graph; but a failure can have come in many times
        labels = np.where(old >= 0, old, known + np.arange(len(first)))
    else:
        ids, distances = nearest(rows, count, seed)
        links = weigh(ids, distances)
        fresh = settle(links, cut(*ladder(links, seed), copies, min_size), copies, min_size)
        fresh = unite(vectors, fresh, copy_of)
        fresh[is_stray(fresh, ids, distances) & (copies < min_size)] = -1
        fresh = np.where(_is_class(rows, fresh, copies)[fresh], fresh, -1)
        labels, changes = carry_over(links, fresh, old, copies, min_size)
    numbers = _numbers(labels, copies, known, min_size)
    changes = [replace(change, target=int(numbers[change.target])) for change in changes]
    return Communities(np.append(numbers, -1)[labels][copy_of], changes)


def ladder(links: Links, seed: int) -> tuple[Links, "np.ndarray", list["np.ndarray"]]:
    """The finest communities' own graph, each node's place in it, and for each coarser level the communities' labels.

    From one level to the next the resolution is halved; a community is a union of the level's before.
    """
    import numpy as np
    from sknetwork.clustering import Louvain

    def louvain(graph: Links) -> "np.ndarray":
        return np.asarray(Louvain(resolution, shuffle_nodes=True, random_state=seed).fit_predict(graph.matrix))

    resolution = max(links.size / PIECE, 1.0)
    finest = louvain(links)
    pieces = graph = links.joined(finest)
    levels: list[np.ndarray] = []
    while resolution > COARSEST and graph.size > 1:
        resolution /= 2
        labels = louvain(graph)
        levels.append(labels[levels[-1]] if levels else labels)
        graph = graph.joined(labels)
    return pieces, finest, levels


def cut(
    pieces: Links, finest: "np.ndarray", levels: list["np.ndarray"], copies: "np.ndarray", min_size: int
) -> "np.ndarray":
    """Each node's community, given what `ladder` returns: parts become one where that takes fewer bits.

    Going up the levels, a community that cost its members' walk TOLL bits a step less in parts is left in parts; but
    not in parts of which none has `min_size` members (the nodes' `copies` counted).
    """
    import numpy as np

    current, members = np.arange(pieces.size), np.bincount(finest, copies)
    for level in levels:
        count, parents = int(current.max()) + 1, int(level.max()) + 1
        parent = np.zeros(count, np.int64)
        parent[current] = level
        parts, wholes = pieces.flows(current, count), pieces.flows(level, parents)
        leaving = parts.exits.sum()
        index = entropy(leaving - np.bincount(parent, parts.exits, parents) + wholes.exits) - entropy(leaving)
        apart = np.bincount(parent, own_bits(parts), parents)
        large = np.bincount(parent, np.bincount(current, members) >= min_size, parents)
        join = (index + own_bits(wholes) - apart < TOLL * wholes.visits) | (large == 0)
        current = np.unique(np.where(join[parent], parent, parents + np.arange(count)), return_inverse=True)[1][current]
    return np.asarray(current[finest])


def settle(links: Links, labels: "np.ndarray", copies: "np.ndarray", min_size: int) -> "np.ndarray":
    """The labels after each node, twice, has joined the community that it has the strongest links with.

    None joins one of fewer than `min_size` members (the nodes' `copies` counted); -1 where there is no other.
    """
    import numpy as np
    from scipy import sparse

    for _ in range(2):
        sizes = np.bincount(labels + 1, copies)
        sizes[0] = 0
        kept = sizes[labels[links.columns] + 1] >= min_size
        ends = links.rows[kept], labels[links.columns[kept]]
        pull = sparse.coo_matrix((links.weights[kept], ends), shape=(links.size, len(sizes)))
        pull.sum_duplicates()
        order = np.lexsort((pull.data, pull.row))
        labels = np.full(links.size, -1)
        labels[pull.row[order]] = pull.col[order]  # the last, strongest one stands
    return labels


def is_stray(labels: "np.ndarray", ids: "np.ndarray", distances: "np.ndarray") -> "np.ndarray":
    """Which nodes hang on by a thread: farther from their neighbours than usual, with few members among these.

    Or else twice as much farther. Usual is the median, over the members, of the mean distance to the neighbours.
    """
    import numpy as np

    mean = distances.mean(axis=1)
    order = np.lexsort((mean, labels))
    sizes = np.bincount(labels + 1)
    usual = mean[order[np.cumsum(sizes) - (sizes + 1) // 2]]
    few = (labels[ids] == labels[:, None]).mean(axis=1) < FEW
    return np.asarray((labels < 0) | (mean > np.where(few, FARTHER, 2 * FARTHER) * usual[labels + 1]))


def unite(vectors: "np.ndarray", labels: "np.ndarray", copy_of: "np.ndarray") -> "np.ndarray":
    """The labels of nodes, without gaps, once communities that are hardly apart and nearest to each other are one.

    `copy_of` is the node that each of the vectors is (vectors). It goes on as long as there are any.
    """
    import numpy as np

    kept = labels >= 0
    labels[kept] = np.unique(labels[kept], return_inverse=True)[1]
    sums, sizes = _sums(vectors, labels[copy_of])
    places = np.arange(len(sizes))
    while True:
        found, merged = np.unique(_hardly_apart(sums, sizes), return_inverse=True)
        if len(found) == len(sizes):
            return np.asarray(np.append(places, -1)[labels])
        places = merged[places]
        sums, sizes = _sums(sums, merged)[0], np.bincount(merged, sizes)


def _hardly_apart(sums: "np.ndarray", sizes: "np.ndarray") -> "np.ndarray":
    """For each community the one that it goes into: itself, or the other of a pair.

    Two are the farther apart the less alike their members are than members of one, over how unlike these are.
    """
    import numpy as np

    means, within, everyone = sums / sizes[:, None], _mean_cosine(sums, sizes), np.arange(len(sizes))
    other, least = everyone.copy(), np.full(len(sizes), np.inf)
    for start in range(0, len(sizes), BLOCK):
        part = everyone[start : start + BLOCK]
        alike = within[part, None] + within
        apart = (alike - 2 * means[part] @ means.T) / np.maximum(2 - alike, 1e-9)
        apart[part - start, part] = np.inf
        other[part], least[part] = apart.argmin(axis=1), apart.min(axis=1)
    pairs = (least < APART) & (other[other] == everyone)
    return np.where(pairs, np.minimum(everyone, other), everyone)


def _is_class(rows: "np.ndarray", labels: "np.ndarray", copies: "np.ndarray") -> "np.ndarray":
    """For each label, and last for noise, whether its members are alike: by COHESION more so than any rows are.

    Or alike enough, whatever the others are.
    """
    import numpy as np

    alike = np.append(_mean_cosine(*_sums(rows, labels, copies)), 0)
    anyhow = _mean_cosine((copies @ rows)[None], np.array([copies.sum()]))
    return np.asarray((alike >= ALIKE) | (alike - anyhow > COHESION * (1 - anyhow)))


def _sums(
    rows: "np.ndarray", labels: "np.ndarray", copies: "np.ndarray | None" = None
) -> tuple["np.ndarray", "np.ndarray"]:
    """For each label from 0 on, the sum of its rows, each as often as it has copies, and how many these are."""
    import numpy as np
    from scipy import sparse

    kept, count = np.flatnonzero(labels >= 0), int(labels.max(initial=-1)) + 1
    times = (np.ones(len(rows)) if copies is None else copies)[kept].astype(np.float32)
    shares = sparse.csr_matrix((times, (labels[kept], kept)), shape=(count, len(rows)))
    return np.asarray(shares @ rows), np.bincount(labels[kept], times, count)


def _mean_cosine(sums: "np.ndarray", sizes: "np.ndarray") -> "np.ndarray":
    """Mean cosine between two different members of groups of unit vectors, given the groups' sums and sizes."""
    import numpy as np

    return np.asarray(((sums**2).sum(axis=1) - sizes) / np.maximum(sizes * (sizes - 1), 1))


def _numbers(labels: "np.ndarray", copies: "np.ndarray", known: int, min_size: int) -> "np.ndarray":
    """What each label becomes: itself below `known`, above it by falling size; -1 if fewer than `min_size` have it."""
    import numpy as np

    kept = labels >= 0
    sizes = np.bincount(labels[kept], copies[kept], max(int(labels.max(initial=-1)) + 1, known))
    order = np.argsort(-sizes[known:], kind="stable")
    numbers = np.arange(len(sizes))
    numbers[known + order] = known + np.arange(len(order))
    return np.where((numbers < known) | (sizes >= min_size), numbers, -1)
