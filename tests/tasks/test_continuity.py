"""Classes of before stay: newcomers join them, and they are split or merged only where that is plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.continuity import Change, carry_over
from tasks.graph import Links
from tests.tasks.test_graph import cliques

NONE = -1


def carried(
    sizes: list[int], old: list[int], fresh: list[int] | None = None, bridge: float = 1.0, min_size: int = 4
) -> tuple[list[int], list[Change]]:
    """`carry_over` on a ring of cliques, which are the new communities unless `fresh` says otherwise."""
    links, kinds = cliques(sizes, bridge)
    found = kinds if fresh is None else np.array(fresh)
    labels, changes = carry_over(links, found, np.array(old), np.ones(len(kinds), int), min_size)
    return labels.tolist(), changes


def test_at_first_all_communities_are_new() -> None:
    assert carried([5, 5], [NONE] * 10) == ([0] * 5 + [1] * 5, [])


def test_newcomers_join_the_class_that_their_community_was() -> None:
    assert carried([10, 10, 10], [0] * 7 + [NONE] * 3 + [1] * 10 + [2] * 9 + [NONE]) == (
        [0] * 10 + [1] * 10 + [2] * 10,
        [],
    )


def test_newcomers_that_are_a_community_of_their_own_are_a_new_class() -> None:
    labels, changes = carried([10, 10, 10], [0] * 10 + [1] * 10 + [NONE] * 10)
    assert labels[:20] == [0] * 10 + [1] * 10
    assert len(set(labels[20:])) == 1
    assert labels[20] >= 2
    assert changes == []


def test_a_few_newcomers_are_no_class_of_their_own() -> None:
    labels, _ = carried([10, 10, 3], [0] * 10 + [1] * 10 + [NONE] * 3)
    assert set(labels[20:]) <= {0, 1}


def test_a_class_that_is_plainly_two_is_split_and_the_larger_part_keeps_the_label() -> None:
    labels, changes = carried([12, 8, 12], [0] * 20 + [1] * 12)
    assert labels[:12] == [0] * 12
    assert set(labels[12:20]).isdisjoint({0, 1})
    assert changes == [Change("split", 0, labels[12])]


def test_a_part_that_plainly_belongs_to_another_class_moves_there() -> None:
    labels, changes = carried([12, 20, 12], [0] * 12 + [0] * 8 + [1] * 12 + [2] * 12)
    assert labels == [0] * 12 + [1] * 20 + [2] * 12
    assert changes == [Change("split", 0, 1)]


def test_classes_that_are_plainly_one_are_merged_into_the_larger() -> None:
    labels, changes = carried([20, 12, 12], [0] * 8 + [1] * 12 + [2] * 12 + [3] * 12)
    assert labels == [1] * 20 + [2] * 12 + [3] * 12
    assert changes == [Change("merge", 0, 1)]


def blurred(likeness: float) -> Links:
    """Two cliques of ten whose members are all linked by `likeness`, and a third one, linked by single links."""
    kinds = np.repeat([0, 1, 2, 2], 10)
    weights = (kinds[:, None] == kinds) + likeness * ((kinds[:, None] < 2) & (kinds < 2) & (kinds[:, None] != kinds))
    np.fill_diagonal(weights, 0)
    weights[0, -1] = weights[-1, 0] = 1
    rows, columns = weights.nonzero()
    return Links(rows, columns, weights[rows, columns], len(kinds))


ONE, TWO = [0] * 20 + [1] * 20, [0] * 10 + [2] * 10 + [1] * 20


@pytest.mark.parametrize(("old", "fresh"), [(ONE, TWO), (TWO, ONE)], ids=["one class", "two classes"])
@pytest.mark.parametrize(("likeness", "plainly"), [(0.05, 2), (0.1, None), (0.3, None), (0.8, 1)])
def test_a_class_that_is_neither_plainly_one_nor_plainly_two_stays_what_it_was(
    old: list[int], fresh: list[int], likeness: float, plainly: int | None
) -> None:
    labels, _ = carry_over(blurred(likeness), np.array(fresh), np.array(old), np.ones(40, int), min_size=4)
    assert len(set(labels[:20].tolist())) == (plainly or len(set(old[:20])))


def test_noise_stays_noise_and_members_stay_members() -> None:
    labels, _ = carried([10, 10], [0] * 10 + [1] * 9 + [NONE], fresh=[NONE] * 10 + [1] * 9 + [NONE])
    assert labels == [0] * 10 + [1] * 9 + [NONE]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_member_loses_its_class_but_by_a_change_on_record(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(2, 12), min_size=2, max_size=5))
    count = sum(sizes)
    old = data.draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count))
    fresh = data.draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count))
    bridge = data.draw(st.sampled_from([0.1, 1.0, 3.0]))
    labels, changes = carried(sizes, old, fresh, bridge=bridge, min_size=2)
    merged = {change.source: change.target for change in changes if change.kind == "merge"}
    allowed = {(c.source, merged.get(c.target, c.target)) for c in changes} | {(c.source, c.target) for c in changes}
    assert all(a == b or (a, b) in allowed for a, b in zip(old, labels, strict=True) if a >= 0)
    assert all(b >= 0 for a, b in zip(old, labels, strict=True) if a >= 0)
    assert not set(merged) & set(labels)
    assert all(any(b == c.target for b in labels) or c.target in merged for c in changes)
