"""Inputs of the same kind are no drift; a new kind is, and its inputs are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.drift import growing, measure_drift, nearest_cosine, wilson


def cloud(seed: int, rows: int, kind: int = 0) -> np.ndarray:
    """Unit-length vectors around one of several directions."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 16)) * 0.3
    vectors[:, kind] += 1.0
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_inputs_of_the_same_kind_are_no_drift() -> None:
    found = measure_drift(cloud(1, 400), cloud(2, 400))
    assert found.low < found.expected_share < found.high
    assert not found.has_drifted


def test_a_new_kind_of_input_is_drift_and_is_named() -> None:
    today = np.vstack([cloud(1, 160), cloud(3, 40, kind=5)])
    found = measure_drift(today, cloud(2, 400))
    assert found.has_drifted
    assert found.novel_share == pytest.approx(0.2 + 0.05, abs=0.05)
    assert set(found.novel) <= set(range(160, 200))


def test_the_nearest_is_found_over_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = cloud(1, 50)
    whole = nearest_cosine(vectors, vectors, same=True)
    monkeypatch.setattr("tasks.drift.BLOCK", 7)
    assert nearest_cosine(vectors, vectors, same=True) == pytest.approx(whole)
    assert (whole < 0.9999).all()


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0.0 <= low <= counts[0] / counts[1] + 1e-12
    assert counts[0] / counts[1] - 1e-12 <= high <= 1.0


def test_a_cluster_that_more_of_todays_inputs_are_near_to_is_named() -> None:
    centres = {f"c{kind}": np.eye(16, dtype=np.float32)[kind] for kind in range(4)}
    today = np.vstack([cloud(1, 100), cloud(2, 100, kind=1), cloud(3, 40, kind=2), cloud(4, 12, kind=3)])
    trained = np.vstack([cloud(5, 150), cloud(6, 80, kind=1), cloud(7, 10, kind=2), cloud(8, 10, kind=3)])
    found = growing(today, trained, centres)
    assert [growth.cluster_id for growth in found] == ["c2"]
    assert found[0].today == pytest.approx(40 / 252, abs=0.02)
    assert 0 < found[0].low < found[0].today - found[0].trained


def test_where_there_are_no_clusters_none_grows() -> None:
    assert growing(cloud(1, 100), cloud(2, 100), {}) == []
