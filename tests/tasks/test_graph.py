"""A graph of nearest neighbours, and what it costs to tell a walk on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks import graph
from tasks.graph import Flows, Links, condense, cost_of_joining, distinct, entropy, nearest, own_bits, weigh

DIMENSIONS = 64


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def planted(sizes: list[int], spread: float = 0.1, strays: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around random directions, and the class of each; strays, of no class (-1), lie anywhere."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(len(sizes), DIMENSIONS)))
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    members = centres[kinds] + rng.normal(0, spread, (len(kinds), DIMENSIONS))
    vectors = np.vstack([members, rng.normal(size=(strays, DIMENSIONS))])
    return unit(vectors), np.append(kinds, np.full(strays, -1))


def cliques(sizes: list[int], bridge: float) -> tuple[Links, np.ndarray]:
    """Cliques in a ring, each joined to the next by one link; and the clique of each node."""
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    weights = (kinds[:, None] == kinds).astype(float)
    np.fill_diagonal(weights, 0)
    starts = np.cumsum([0, *sizes[:-1]])
    for here, there in zip(starts, np.roll(starts, -1), strict=True):
        weights[here, there] = weights[there, here] = bridge
    rows, columns = weights.nonzero()
    return Links(rows, columns, weights[rows, columns], len(kinds)), kinds


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_different_rows_are_told_apart_and_equal_ones_are_not(data: st.DataObject) -> None:
    values = st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0**-20])
    rows = data.draw(arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=values)) + np.float32(0)
    first, copy_of = distinct(rows)
    assert np.array_equal(rows[first][copy_of], rows)
    assert len(first) == len(np.unique(rows, axis=0))


def test_neighbours_are_the_nearest_others() -> None:
    vectors, _ = planted([30, 30], spread=0.3)
    ids, distances = nearest(vectors, 5)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    assert np.array_equal(ids, np.argsort(-cosines, axis=1)[:, :5])
    assert distances == pytest.approx(1 - np.take_along_axis(cosines, ids, axis=1), abs=1e-5)


def test_many_rows_are_searched_cell_by_cell_and_hardly_a_neighbour_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = planted([500] * 16, spread=0.15)
    exact, _ = nearest(vectors, 10)
    monkeypatch.setattr(graph, "EXACT", 1000)
    found, distances = nearest(vectors, 10)
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(exact, found, strict=True)]) > 9
    assert (np.diff(distances, axis=1) >= 0).all()
    assert not (found == np.arange(len(found))[:, None]).any()


def test_a_link_that_both_ends_have_weighs_twice() -> None:
    ids, distances = np.array([[1], [0], [1]]), np.array([[0.2], [0.2], [0.5]])
    assert weigh(ids, distances).matrix.toarray().tolist() == [[0, 2, 0], [2, 0, 1], [0, 1, 0]]


def told(links: Links, labels: np.ndarray, count: int) -> float:
    """Bits a step that a walk takes, but for the nodes' own part, which is the same however they are grouped."""
    flows = links.flows(labels, count)
    return float(entropy(flows.exits.sum()) + own_bits(flows).sum())


@given(st.integers(0, 2**32 - 1), st.integers(3, 30))
@settings(max_examples=50, deadline=None)
def test_the_cost_of_joining_two_communities_is_what_the_walk_gets_longer_by(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.random((size, size)) * (rng.random((size, size)) < 0.4), 1)
    weights[0, 1] = 1.0
    weights += weights.T
    rows, columns = weights.nonzero()
    links, labels = Links(rows, columns, weights[rows, columns], size), rng.integers(0, 3, size)
    flows = links.flows(labels, 3)
    between = weights[np.ix_(labels == 0, labels == 1)].sum() / weights.sum()
    one, other = (Flows(flows.visits[[i]], flows.exits[[i]]) for i in (0, 1))
    cost = cost_of_joining(one, other, np.array([between]), flows.exits.sum())
    joined = np.where(labels == 1, 0, labels)
    assert cost[0] == pytest.approx(told(links, joined, 3) - told(links, labels, 3), abs=1e-9)


def test_wide_vectors_keep_the_directions_in_which_they_differ() -> None:
    rng = np.random.default_rng(0)
    narrow = unit(rng.normal(size=(300, 20)))
    wide = (narrow @ np.linalg.qr(rng.normal(size=(400, 20)))[0].T).astype(np.float32)
    rows = condense(wide, np.arange(300))
    assert rows.shape[1] < 400
    assert rows @ rows.T == pytest.approx(narrow @ narrow.T, abs=1e-3)
