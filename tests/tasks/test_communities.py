"""Classes are found without their number: large beside small, the same whatever the order, noise left as noise."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.communities import cut, find_communities, ladder, settle
from tests.tasks.test_graph import cliques, planted, unit


def test_classes_of_ten_and_of_hundreds_are_found_side_by_side_the_largest_first() -> None:
    sizes = [600, 200, 60, 30, 20, 10, 10]
    vectors, kinds = planted(sizes, spread=0.06)
    labels = find_communities(vectors, min_size=8).labels
    assert np.array_equal(np.unique(labels[kinds < 5]), np.arange(5))
    assert np.bincount(labels).tolist() == sizes
    assert all(len(np.unique(labels[kinds == kind])) == 1 for kind in range(7))


def test_the_order_of_the_rows_does_not_matter() -> None:
    vectors, _ = planted([50, 40, 30, 20], spread=0.2, strays=30)
    order = np.random.default_rng(1).permutation(len(vectors))
    assert np.array_equal(
        find_communities(vectors[order], min_size=8).labels, find_communities(vectors, min_size=8).labels[order]
    )


def test_what_lies_far_from_everything_is_noise() -> None:
    vectors, kinds = planted([60, 40, 20], spread=0.05, strays=20)
    labels = find_communities(vectors, min_size=8).labels
    assert (labels[kinds < 0] == -1).mean() > 0.9
    assert (labels[kinds >= 0] == -1).mean() < 0.05


def test_vectors_without_any_classes_are_noise() -> None:
    vectors, _ = planted([], strays=300)
    assert (find_communities(vectors, min_size=8).labels == -1).all()


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_rows_are_no_class(count: int) -> None:
    assert find_communities(np.ones((count, 4), np.float32), min_size=8).labels.tolist() == [-1] * count


def test_copies_of_one_failure_are_a_class() -> None:
    assert find_communities(unit(np.ones((8, 4))), min_size=8).labels.tolist() == [0] * 8


def test_one_failure_that_came_in_a_thousand_times_does_not_split_its_class() -> None:
    vectors, kinds = planted([40, 40, 40])
    labels = find_communities(np.vstack([vectors, np.repeat(vectors[:1], 1000, axis=0)]), min_size=8).labels
    assert set(labels[: len(kinds)][kinds == 0]) == set(labels[len(kinds) :]) == {0}


@pytest.mark.parametrize("sizes", [[6] * 5, [40, 20, 10, 5], [5] * 60])
def test_the_graph_is_cut_between_cliques_however_many_there_are(sizes: list[int]) -> None:
    """A cut by modularity alone would join neighbours in a long ring of small cliques."""
    links, kinds = cliques(sizes, bridge=1.0)
    labels = cut(*ladder(links, seed=0), np.ones(links.size), min_size=4)
    pairs = {(a, b) for a, b in zip(kinds.tolist(), labels.tolist(), strict=True)}
    assert len(pairs) == len(sizes) == len(set(labels.tolist()))


def test_there_is_no_cut_that_leaves_only_parts_too_small_for_a_class() -> None:
    links, _ = cliques([6, 6], bridge=1.0)
    assert len(set(cut(*ladder(links, seed=0), np.ones(12), min_size=7).tolist())) == 1
    assert len(set(cut(*ladder(links, seed=0), np.ones(12), min_size=6).tolist())) == 2


def test_members_of_communities_that_are_too_small_go_to_the_next_one() -> None:
    links, kinds = cliques([10, 2], bridge=1.0)
    assert settle(links, kinds, np.ones(12, int), min_size=5).tolist() == [0] * 12


def test_a_node_that_is_linked_to_no_community_of_some_size_is_noise() -> None:
    links, kinds = cliques([10, 4], bridge=0.0)
    assert settle(links, kinds, np.ones(14, int), min_size=5).tolist() == [0] * 10 + [-1] * 4


def test_classes_of_before_keep_their_labels_and_take_in_what_is_theirs() -> None:
    vectors, kinds = planted([60, 40, 30, 30], spread=0.06)
    before = np.where(kinds == 3, -1, 2 - kinds)  # in an order that falling size would not give
    before[::5] = -1
    found = find_communities(vectors, min_size=8, before=before)
    assert found.labels.tolist() == np.where(kinds == 3, 3, 2 - kinds).tolist()
    assert found.changes == []


def test_a_failure_of_before_that_comes_in_again_keeps_its_label() -> None:
    vectors = unit(np.eye(4)[[0, 1, 1, 2]])
    labels = find_communities(vectors, min_size=2, before=np.array([0, 1, -1, -1])).labels
    assert labels.tolist() == [0, 1, 1, -1]
