"""A failure between two rounds is told by the class that the next round will put it in, and no class is changed by it.

The vectors of the texts are put into the state beforehand, so that no encoder is loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tasks.cluster import cluster
from tasks.cluster_names import known_clusters
from tasks.newcomers import place
from tasks.watch import look
from tests.conftest import ROOT, Saved, Workload, correction, inference, make_workload, thumb, write_config
from tests.tasks.test_cluster import clustered, kind, remember, screened
from tests.tasks.test_watch import promote


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Two classes of a closed round, and since then failures of one of them and of a kind that was not there."""
    workload = make_workload(tmp_path_factory.mktemp("newcomers") / "workload")
    workload.close(clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)]))
    for prefix, direction, count in [("c", 1, 4), ("n", 2, 17)]:
        records, vectors = kind(prefix, direction, count)
        workload.collect(f"two{prefix}", records)
        remember(workload, vectors)
    return Saved(workload)


@pytest.fixture
def known(waiting: Saved) -> Workload:
    return waiting.restored()


def homes(workload: Workload, table: str = "provisional_members") -> dict[str, str | None]:
    found = workload.rows(f"select inference_id, cluster_id from {table} where inference_id[1] in ('c', 'n')")
    return {row["inference_id"]: row["cluster_id"] for row in found}


def test_newcomers_are_told_by_the_class_that_they_would_join(known: Workload) -> None:
    """c001 is the larger class, of the b's, which the c's are like; the n's are like none there is."""
    placed = place(known.config)
    assert placed.by_class == {"c001": 4, None: 17}
    assert placed.sentence == "21 failures since the last round; 4 would join 1 known class, 17 none of them."
    assert {id_[0]: home for id_, home in homes(known).items()} == {"c": "c001", "n": None}


def test_the_next_round_says_the_same_of_those_that_join(known: Workload) -> None:
    place(known.config)
    before = homes(known)
    cluster(known.config, screened(known))
    after = homes(known, "cluster_members")
    assert {id_: home for id_, home in after.items() if before[id_]} == {i: h for i, h in before.items() if h}
    assert {after[id_] for id_ in before if before[id_] is None} == {"c003"}


def test_classes_and_their_members_stay_what_they_are(known: Workload) -> None:
    before = known.content()
    place(known.config)
    after = known.content()
    assert {name for name in after if after[name] != before.get(name)} == {"provisional_members"}


def test_a_second_run_has_nothing_to_do_and_changes_nothing(known: Workload) -> None:
    first = place(known.config)
    content = known.content()
    second = place(known.config)
    assert (first.is_new, second.is_new, second.by_class) == (True, False, first.by_class)
    assert known.content() == content


def test_what_comes_in_is_placed_with_the_rest_anew(known: Workload) -> None:
    place(known.config)
    records, vectors = kind("cc", 1, 3)
    known.collect("three", records)
    remember(known, vectors)
    placed = place(known.config)
    assert (placed.is_new, placed.by_class["c001"]) == (True, 7)


def test_a_failure_that_is_corrected_since_is_looked_at_again(known: Workload) -> None:
    known.collect("thumbs", [inference("t", "like a b"), thumb("t", "down")])
    vectors = kind("b", 1, 1)[1]
    remember(known, {"like a b": next(iter(vectors.values())), "thumb down": vectors["wrong → right b"] * 0 + 0.25})
    place(known.config)
    known.collect("fix", [correction("t", "right b")])
    assert place(known.config).is_new
    assert known.value("select cluster_id from provisional_members where inference_id = 't'") == "c001"


def test_once_a_round_has_looked_at_them_nothing_is_provisional(known: Workload) -> None:
    place(known.config)
    cluster(known.config, screened(known))
    assert [row["new_failures"] for row in known_clusters(known.config)] == [0, 0, 0]
    placed = place(known.config)
    assert placed.by_class == {}
    assert placed.sentence == "No new failures since the last round."
    assert known.value("select count(*) from provisional_members") == 0


def test_the_list_of_classes_says_how_many_are_new(known: Workload) -> None:
    place(known.config)
    found = {row["cluster_id"]: (row["failures"], row["new_failures"]) for row in known_clusters(known.config)}
    assert found == {"c001": (20, 4), "c002": (12, 0)}


def test_before_the_first_round_there_is_no_class_to_join(workload: Workload) -> None:
    records, vectors = kind("a", 0, 5)
    workload.collect("a", records)
    remember(workload, vectors)
    placed = place(workload.config)
    assert placed.by_class == {None: 5}
    assert not place(workload.config).is_new


def test_the_watch_tells_a_new_failure_by_its_provisional_class(known: Workload) -> None:
    """The c's came in after the move, under the new version, and no round has looked at them."""
    promote(known)
    records, vectors = kind("d", 1, 6)
    known.collect("d", [r | ({"model_version": "1"} if r["record"] == "inference" else {}) for r in records])
    remember(known, vectors)
    place(known.config)
    classes = {row["cluster_id"]: row["after"]["failures"] for row in look(known.config)["classes"]}
    assert classes == {"c001": 6, "c002": 0}


def test_an_idle_run_loads_no_model_library(known: Workload) -> None:
    place(known.config)
    config = write_config(known.config, known.folder / "config.yaml")
    code = """
        import sys, time
        from tasks.config import load_config
        from tasks.newcomers import place
        config = load_config(sys.argv[1])
        begun = time.perf_counter()
        assert not place(config).is_new
        print(time.perf_counter() - begun)
        assert not {"torch", "sentence_transformers", "sklearn"} & sys.modules.keys()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(config)]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 1
