"""Clusters get the names that people give them."""

from __future__ import annotations

import pytest

from tasks.cluster_names import known_clusters, name_cluster
from tasks.db import State
from tasks.errors import StateError
from tests.conftest import Workload
from tests.tasks.test_cluster import clustered


def test_clusters_are_listed_by_size_under_their_latest_name(workload: Workload) -> None:
    clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)])
    name_cluster(workload.config, "c002", "parcels", "person:maria")
    name_cluster(workload.config, "c002", " late parcels\n", "person:jo")
    found = known_clusters(workload.config)
    assert [(row["cluster_id"], row["failures"], row["label_by"]) for row in found] == [
        ("c001", 20, None),
        ("c002", 12, "person:jo"),
    ]
    assert found[1]["label"] == "late parcels"
    assert workload.value("select count(*) from cluster_labels") == 2


@pytest.mark.parametrize(
    ("cluster_id", "label", "says"),
    [("c009", "late", "c009 is no cluster with failures; there are c001, c002"), ("c001", " ", "has to have words")],
)
def test_a_name_that_cannot_be_given_is_refused(workload: Workload, cluster_id: str, label: str, says: str) -> None:
    clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)])
    with pytest.raises(StateError, match=says):
        name_cluster(workload.config, cluster_id, label, "person:jo")
    assert workload.value("select count(*) from cluster_labels") == 0


def test_where_there_are_no_clusters_it_says_so(workload: Workload) -> None:
    with State(workload.config.database).transaction():
        pass
    assert known_clusters(workload.config) == []
    with pytest.raises(StateError, match="there are none yet"):
        name_cluster(workload.config, "c001", "late", "person:jo")
