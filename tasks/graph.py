"""A graph of nearest neighbours, and what a walk on it costs to tell.

Each vector is linked to its nearest neighbours, and a link weighs the more the nearer it is for that vector (as in
UMAP; McInnes et al. 2018, section 3.1). Above EXACT rows, neighbours are looked for in the nearest cells of a coarse
k-means alone. A partition of the nodes is judged by the map equation (Rosvall and Bergstrom 2008, equation 2): by the
bits a step that it takes to tell a random walk's way. That depends on a community and what it borders on, hardly on
how many rows there are, so that classes of ten and of a hundred thousand members are found side by side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch

DIMENSIONS = 192  # that are left of wider vectors: on real texts, classes are no worse than in all 384
SAMPLE = 50_000  # rows that the directions of these are found on
EXACT = 20_000  # rows up to which every pair is compared
CELL = 500  # rows that a cell of the coarse k-means holds on average
SAMPLED = 64  # rows a cell that the k-means is fitted on
PROBED = 12  # cells in which the neighbours of a row are looked for
BLOCK = 1_024  # rows compared with others at once


class Flows(NamedTuple):
    """Of a random walk's steps, which share is spent in each community, and which leaves it."""

    visits: "np.ndarray"
    exits: "np.ndarray"


@dataclass(frozen=True)
class Links:
    """An undirected graph of `size` nodes: `weights` from `rows` to `columns`, each link in both directions."""

    rows: "np.ndarray"
    columns: "np.ndarray"
    weights: "np.ndarray"
    size: int

    @property
    def matrix(self) -> Any:
        """The adjacency matrix (scipy's CSR); links that are listed twice are added up."""
        from scipy import sparse

        return sparse.csr_matrix((self.weights, (self.rows, self.columns)), shape=(self.size, self.size))

    def joined(self, labels: "np.ndarray", count: int | None = None) -> "Links":
        """The graph of the `count` communities: the links between two are one, those within are a loop."""
        size = int(labels.max()) + 1 if count is None else count
        entries = Links(labels[self.rows], labels[self.columns], self.weights, size).matrix.tocoo()
        return Links(entries.row, entries.col, entries.data, size)

    def flows(self, labels: "np.ndarray", count: int) -> Flows:
        """The walk's flows, where node i is in community `labels[i]` of `count`."""
        import numpy as np

        start, end, total = labels[self.rows], labels[self.columns], self.weights.sum()
        visits = np.bincount(start, self.weights, count) / total
        within = np.bincount(start, self.weights * (start == end), count) / total
        return Flows(visits, np.maximum(visits - within, 0))


def own_bits(flows: Flows) -> "np.ndarray":
    """Each community's own part of the map equation."""
    return entropy(flows.visits + flows.exits) - 2 * entropy(flows.exits)


def entropy(share: "np.ndarray") -> "np.ndarray":
    """x log2 x, 0 for 0 (a sum of these, negative, is Shannon's)."""
    import numpy as np

    return share * np.log2(np.maximum(share, 1e-300))


def cost_of_joining(left: Flows, right: Flows, between: "np.ndarray", leaving: float) -> "np.ndarray":
    """Bits a step by which the walk is longer to tell once `left` and `right` are one; negative where it is shorter.

    `between` is the share of steps from the one to the other, `leaving` that of all steps that leave a community.
    """
    import numpy as np

    exits = np.maximum(left.exits + right.exits - 2 * between, 0)
    index = entropy(np.maximum(leaving - 2 * between, 0)) - entropy(np.asarray(leaving))
    return index + own_bits(Flows(left.visits + right.visits, exits)) - own_bits(left) - own_bits(right)


def distinct(vectors: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """Where each different row stands first, and for every row which of those it equals.

    They are ordered by a hash of their content: what is done with them does not depend on the order they came in.
    """
    import numpy as np

    odd = np.random.default_rng(0).integers(2**63, size=vectors.shape[1], dtype=np.uint64) * 2 + 1
    hashes = np.empty(len(vectors), np.uint64)
    for part in _slices(len(vectors)):
        bits = np.ascontiguousarray(vectors[part], dtype=np.float32).view(np.uint32) * np.uint64(0x9E3779B97F4A7C15)
        hashes[part] = ((bits ^ (bits >> np.uint64(32))) * odd).sum(axis=1)
    _, first, copy_of = np.unique(hashes, return_index=True, return_inverse=True)
    return first, copy_of


def condense(vectors: "np.ndarray", chosen: "np.ndarray") -> "np.ndarray":
    """The `chosen` rows (float32, unit length), on their DIMENSIONS leading directions where they are wider."""
    import numpy as np

    if vectors.shape[1] <= DIMENSIONS:
        return np.ascontiguousarray(vectors[chosen], dtype=np.float32)
    sample = vectors[chosen[:: 1 + len(chosen) // SAMPLE]]
    directions = np.linalg.eigh(sample.T @ sample)[1][:, -DIMENSIONS:]
    rows = np.empty((len(chosen), DIMENSIONS), np.float32)
    for part in _slices(len(chosen)):
        rows[part] = vectors[chosen[part]] @ directions
        rows[part] /= np.maximum(np.linalg.norm(rows[part], axis=1, keepdims=True), 1e-12)
    return rows


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def nearest(rows: "np.ndarray", count: int, seed: int = 0) -> tuple["np.ndarray", "np.ndarray"]:
    """The `count` nearest other rows of each row, nearest first, and their cosine distances (both rows x count).

    Exact up to EXACT rows; above it nine in ten of the true neighbours are found, and near ones for the rest.
    """
    import numpy as np
    import torch

    points = torch.from_numpy(rows)
    ids = torch.arange(len(rows))[:, None].repeat(1, count)
    cosines = torch.full((len(rows), count), -1.0)
    for places, among in _by_cells(rows, seed) if len(rows) > EXACT else _by_blocks(len(rows)):
        found = points[places] @ points[among].T
        own = torch.searchsorted(among, places).clamp(max=len(among) - 1)
        listed = (among[own] == places).nonzero()[:, 0]
        found[listed, own[listed]] = -1.0  # nobody is their own neighbour
        found, which = found.topk(min(count, len(among)), dim=1)
        best, kept = torch.cat([cosines[places], found], dim=1).topk(count, dim=1)
        cosines[places], ids[places] = best, torch.cat([ids[places], among[which]], dim=1).gather(1, kept)
    return ids.numpy().astype(np.int32), (1 - cosines).clamp(min=0).numpy()


def _by_blocks(count: int) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    import torch

    everyone = torch.arange(count)
    return ((part, everyone) for part in everyone.split(BLOCK))


def _by_cells(rows: "np.ndarray", seed: int) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """For each cell of a coarse k-means, its rows, and all the rows that have it among their PROBED nearest cells."""
    import numpy as np
    import torch
    from sklearn.cluster import KMeans

    cells = len(rows) // CELL
    sample = rows[np.random.default_rng(seed).choice(len(rows), SAMPLED * cells, replace=False)]
    coarse = KMeans(cells, init=sample[:cells], n_init=1, max_iter=5, random_state=seed).fit(sample)
    centres = torch.from_numpy(coarse.cluster_centers_)
    offsets = (centres**2).sum(dim=1) / 2
    blocks = (block @ centres.T - offsets for block in torch.from_numpy(rows).split(8 * BLOCK))
    probed = torch.cat([closeness.topk(PROBED, dim=1).indices for closeness in blocks])
    members, visitors = _groups(probed[:, 0], cells), _groups(probed.flatten(), cells)
    for own, probing in zip(members, visitors, strict=True):
        # A crowd of near-copies fills whole cells: among them, some neighbours are as good as others.
        among = own[:: 1 + len(own) // (8 * CELL)]
        yield from ((places, among) for places in (probing // PROBED).split(8 * BLOCK) if len(among))


def _groups(labels: "torch.Tensor", count: int) -> "tuple[torch.Tensor, ...]":
    """The places of each label from 0 to `count` - 1, in ascending order."""
    return labels.argsort(stable=True).split(labels.bincount(minlength=count).tolist())


def weigh(ids: "np.ndarray", distances: "np.ndarray") -> Links:
    """The graph of neighbours; a link that both rows have counts twice.

    A row's nearest neighbour weighs 1, the others less by their distance beyond it, in units of the row's own mean.
    """
    import numpy as np

    beyond = distances - distances[:, :1]
    weights = np.exp(-beyond / np.maximum(beyond.mean(axis=1, keepdims=True), 1e-6)).ravel()
    rows, columns = np.repeat(np.arange(len(ids), dtype=np.int32), ids.shape[1]), ids.ravel()
    both = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    return Links(*both, np.concatenate([weights, weights]), len(ids))
