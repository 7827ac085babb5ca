"""Classes that were there before stay, and take in what belongs to them.

Communities that are found anew each time differ a little each time, where the data does not say clearly how they are
to be cut. So what was told before stands, and is changed only where the graph's new communities, and the bits that
the map equation saves, both say so: newcomers join a class unless they are clearly one of their own, a class is split
or merged only where that is clearly better told. Members keep their class otherwise.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from tasks.graph import Flows, Links, cost_of_joining

if TYPE_CHECKING:
    import numpy as np

INERTIA = 0.6  # bits a step that a change has to save those it concerns, or things stay as they are


@dataclass(frozen=True)
class Change:
    """Members of one class that now are another's; a merged class has none left."""

    kind: Literal["split", "merge"]
    source: int
    target: int


class Parts(NamedTuple):
    """What each label has of each new community: label, community, members; and which part a node is in, or -1."""

    label: "np.ndarray"
    community: "np.ndarray"
    size: "np.ndarray"
    of_node: "np.ndarray"


def carry_over(
    links: Links, fresh: "np.ndarray", old: "np.ndarray", copies: "np.ndarray", min_size: int
) -> tuple["np.ndarray", list[Change]]:
    """The label of each node (-1 none), given its label of before and its new community (both -1 for none).

    Labels up to the greatest of before keep their meaning; new ones follow it in no order, with gaps.
    """
    import numpy as np

    known, communities = int(old.max(initial=-1)) + 1, int(fresh.max(initial=-1)) + 1
    if not known or not communities:
        return np.where(old >= 0, old, np.where(fresh >= 0, known + fresh, -1)), []
    labels = np.where(old >= 0, old, np.where(fresh >= 0, known + fresh, -1))
    labels = _take_in(links, labels, copies, known, communities, min_size)
    parts = _parts(labels, fresh, copies)
    owner = _owners(parts, known + communities, communities)
    labels, splits = _split(links, labels, parts, owner, known, min_size)
    merges = _merge(links, labels, parts, owner, known)
    for merge in merges:
        labels[labels == merge.source] = merge.target
    return labels, splits + merges


def _take_in(
    links: Links, labels: "np.ndarray", copies: "np.ndarray", known: int, communities: int, min_size: int
) -> "np.ndarray":
    """The labels once newcomers, by community, have joined the class that they have the strongest links with.

    Unless they are enough for a class, and telling them apart saves INERTIA bits a step of theirs.
    """
    import numpy as np

    count = known + communities
    graph, flows = _told(links, labels, count)
    newcomers = np.arange(known, count)
    home, between = _strongest(graph, known, count)
    cost = cost_of_joining(_of(flows, newcomers), _of(flows, home), between, flows.exits.sum())
    few = np.bincount(labels[labels >= 0], copies[labels >= 0], count)[known:] < min_size
    joins = (between > 0) & (few | (cost < INERTIA * flows.visits[newcomers]))
    target = np.concatenate([np.arange(known), np.where(joins, home, newcomers), [-1]])
    return target[labels]


def _told(links: Links, labels: "np.ndarray", count: int) -> tuple[Links, Flows]:
    """The graph of the `count` labels, each node without one alone after them, its weights shares of all; its flows."""
    import numpy as np

    alone = np.flatnonzero(labels < 0)
    everyone = labels.copy()
    everyone[alone] = count + np.arange(len(alone))
    graph = links.joined(everyone, count + len(alone))
    graph = replace(graph, weights=graph.weights / graph.weights.sum())
    return graph, graph.flows(np.arange(graph.size), graph.size)


def _strongest(graph: Links, known: int, count: int) -> tuple["np.ndarray", "np.ndarray"]:
    """For each label from `known` to `count`, the one below `known` that it has the strongest link with; and that."""
    import numpy as np

    kept = (graph.rows >= known) & (graph.rows < count) & (graph.columns < known)
    rows, columns, weights = graph.rows[kept] - known, graph.columns[kept], graph.weights[kept]
    order = np.lexsort((-columns, weights))
    home, between = np.zeros(count - known, int), np.zeros(count - known)
    home[rows[order]], between[rows[order]] = columns[order], weights[order]  # the last, strongest one stands
    return home, between


def _of(flows: Flows, places: "np.ndarray") -> Flows:
    return Flows(flows.visits[places], flows.exits[places])


def _parts(labels: "np.ndarray", fresh: "np.ndarray", copies: "np.ndarray") -> Parts:
    import numpy as np

    both = (labels >= 0) & (fresh >= 0)
    width = int(fresh.max()) + 1
    keys, places = np.unique(labels[both].astype(np.int64) * width + fresh[both], return_inverse=True)
    of_node = np.full(len(labels), -1)
    of_node[both] = places
    return Parts(keys // width, keys % width, np.bincount(places, copies[both], len(keys)), of_node)


def _owners(parts: Parts, count: int, communities: int) -> "np.ndarray":
    """For each new community, the largest of the labels that have most of their members in it, or -1."""
    import numpy as np

    order = np.lexsort((parts.size, np.bincount(parts.label, parts.size, count)[parts.label]))
    owner, main = np.full(communities, -1), _main(parts, count)
    kept = order[main[parts.label[order]] == parts.community[order]]
    owner[parts.community[kept]] = parts.label[kept]  # the last, largest one stands
    return owner


def _main(parts: Parts, count: int) -> "np.ndarray":
    """For each label the community that most of its members are in, or -1."""
    import numpy as np

    main, order = np.full(count, -1), np.argsort(parts.size, kind="stable")
    main[parts.label[order]] = parts.community[order]
    return main


def _split(
    links: Links, labels: "np.ndarray", parts: Parts, owner: "np.ndarray", known: int, min_size: int
) -> tuple["np.ndarray", list[Change]]:
    """The labels once parts have left that are clearly told apart: for the owner of their community, or a new label."""
    import numpy as np

    count = known + len(owner)
    apart = parts.community != _main(parts, count)[parts.label]
    leaves = apart & (parts.size >= min_size) & (parts.label < known) & _is_costly(links, labels, parts, count)
    target = np.where(owner >= 0, owner, count + np.arange(len(owner)))[parts.community]
    moves = np.append(np.where(leaves, target, -1), -1)[parts.of_node]
    changes = [Change("split", int(parts.label[i]), int(target[i])) for i in np.flatnonzero(leaves)]
    return np.where(moves >= 0, moves, labels), changes


def _is_costly(links: Links, labels: "np.ndarray", parts: Parts, count: int) -> "np.ndarray":
    """For each part, whether telling it with the rest of its label takes INERTIA bits a step more than apart."""
    import numpy as np

    total, start, size = links.weights.sum(), parts.of_node[links.rows], len(parts.size)
    kept = start >= 0
    rows, columns, start = links.rows[kept], links.columns[kept], start[kept]
    shares = links.weights[kept] / total
    visits = np.bincount(start, shares, size)
    inside = np.bincount(start, shares * (parts.of_node[columns] == start), size)
    rest = np.bincount(start, shares * (labels[columns] == labels[rows]), size) - inside
    _, flows = _told(links, labels, count)
    whole, part = _of(flows, parts.label), Flows(visits, visits - inside)
    others = Flows(whole.visits - visits, np.maximum(whole.exits - part.exits + 2 * rest, 0))
    return np.asarray(cost_of_joining(part, others, rest, flows.exits.sum()) > INERTIA * visits)


def _merge(links: Links, labels: "np.ndarray", parts: Parts, owner: "np.ndarray", known: int) -> list[Change]:
    """Labels of before that are clearly better told as one with the owner of their community."""
    import numpy as np

    main = _main(parts, known + len(owner))[:known]
    labelled = np.bincount(labels[labels >= 0], minlength=known)[:known] > 0
    sources = np.flatnonzero(labelled & (main >= 0) & (owner[main] != np.arange(known)))
    if not len(sources):
        return []
    targets = owner[main[sources]]
    graph, flows = _told(links, labels, int(labels.max()) + 1)
    between = np.asarray(graph.matrix[sources, targets]).ravel()
    cost = cost_of_joining(_of(flows, sources), _of(flows, targets), between, flows.exits.sum())
    clear = cost < -INERTIA * flows.visits[sources]
    return [Change("merge", int(a), int(b)) for a, b in zip(sources[clear], targets[clear], strict=True)]
