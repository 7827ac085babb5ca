"""Failures become classes: what belongs together, under ids that stay, with labels a person can read.

The vectors of the texts are put into the state beforehand, so that no encoder is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from tasks.cluster import Failure, centroids, cluster, describe, difference, similarity, to_the_letter
from tasks.cluster_names import name_cluster
from tasks.db import State
from tasks.rounds import Round, read_evidence
from tasks.screen import screen
from tests.conftest import Record, Workload, correction, distinct, inference, make_workload, thumb

DIMENSIONS = 16


@pytest.mark.parametrize(
    ("output", "corrected", "expected"),
    [
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 3}', "b: 2 → 3"),
        ('{"a": "x"}', '{"a": "y", "b": true}', "a: x → y; b: null → true"),
        ('{"a": 1, "c": 2}', '{"a": 1}', "c: 2 → null"),
        ("no", "yes", "no → yes"),
        ("oops", '{"a": 1}', "not the expected JSON"),
        ("[1]", '{"a": 1}', "not the expected JSON"),
        ("no", None, "rejected without a correction"),
        ("x" * 100, "y", "x" * 59 + "… → y"),
    ],
)
def test_how_an_output_was_wrong_is_said_in_words(output: str, corrected: str | None, expected: str) -> None:
    assert difference(output, corrected) == expected


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def bunch(rng: np.random.Generator, direction: int, count: int) -> np.ndarray:
    """Unit vectors around an axis."""
    vectors = rng.normal(0, 0.05, (count, DIMENSIONS))
    vectors[:, direction] += 1
    return unit(vectors)


def test_the_same_changes_are_the_same_and_the_reverse_is_another() -> None:
    there, back, again, more = to_the_letter(["a: x → y", "a: y → x", "a: x → y", "a: x → y; b: 1 → 2"], 384)
    assert np.array_equal(there, again)
    assert abs(there @ back) < 0.2
    assert there @ more == pytest.approx(0.5**0.5, abs=0.1)
    assert np.linalg.norm(more) == pytest.approx(1)


def test_failures_that_are_wrong_the_other_way_round_are_another_class(workload: Workload) -> None:
    """The encoder finds `low → high` and `high → low` alike, and the inputs are alike too."""
    rng = np.random.default_rng(0)
    ways = {"up": ("low", "high"), "down": ("high", "low")}
    texts = {way: [distinct(f"{way}{n}") for n in range(15)] for way in ways}
    vectors = {text: vector for some in texts.values() for text, vector in zip(some, bunch(rng, 0, 15), strict=True)}
    for way, (said, right) in ways.items():
        calls = [inference(f"{way}{n}", text, output=said) for n, text in enumerate(texts[way])]
        workload.collect(way, calls + [correction(f"{way}{n}", right) for n in range(15)])
        vectors[f"{said} → {right}"] = np.eye(DIMENSIONS)[1]
    remember(workload, vectors)
    cluster(workload.config, screened(workload))
    query = "select count(*) as n, count(distinct inference_id[1:2]) as ways from cluster_members group by cluster_id"
    assert workload.rows(query) == [{"n": 15, "ways": 1}, {"n": 15, "ways": 1}]


def test_a_vector_is_the_more_typical_the_nearer_it_is_to_its_own_centroid() -> None:
    vectors = unit(np.array([[1, 0, 0], [1, 0.1, 0], [0.4, 1, 0], [0, 0, 1.0], [0, 1, 1]]))
    labels = np.array([0, 0, 0, 1, -1])
    cosines = similarity(vectors, labels, centroids(vectors, labels))
    assert cosines[3:].tolist() == [1, 0]
    assert cosines[1] > cosines[0] > cosines[2] > 0


def failure(text: str, output: str = "no", corrected: str | None = "yes") -> Failure:
    return Failure("i", text, output, corrected)


def test_a_label_names_the_difference_and_the_terms_that_set_it_apart() -> None:
    parcels = [
        failure(f"the parcel of the courier is late {n}", '{"c": "billing"}', '{"c": "shipping"}') for n in range(5)
    ]
    locks = [failure("the account is locked, the code is refused", '{"c": "billing"}', '{"c": "security"}')] * 5
    first, second = describe([parcels, locks], ["the weather is nice", "hello again"])
    assert first.startswith("c: billing → shipping · ")
    assert "parcel" in first
    assert second.startswith("c: billing → security · ")
    assert "locked" in second


def test_texts_without_words_get_a_label_too() -> None:
    assert describe([[failure("1 2 3")]], []) == ["no → yes"]


def remember(workload: Workload, vectors: dict[str, np.ndarray]) -> None:
    """Put the vectors of texts into the state, as the encoder would have."""
    import polars as pl

    key = workload.config.encoder.key
    rows = [
        {"text_hash": hashlib.sha256(text.encode()).hexdigest(), "encoder": key, "vector": vector.tolist()}
        for text, vector in vectors.items()
    ]
    schema: dict[str, Any] = {"text_hash": pl.String, "encoder": pl.String, "vector": pl.List(pl.Float32)}
    with State(workload.config.database).transaction() as tx:
        tx.load("insert_embeddings", pl.DataFrame(rows, schema=schema))


def kind(prefix: str, direction: int, count: int) -> tuple[list[Record], dict[str, np.ndarray]]:
    """Corrected calls of one kind, wrong in the way that goes with the direction, and the vectors of their texts."""
    answer = f"right {'abcdefgh'[direction]}"
    vectors = bunch(np.random.default_rng(direction), direction, count)
    texts = [distinct(f"{prefix}{n}") for n in range(count)]
    records = [inference(f"{prefix}{n:02}", text) for n, text in enumerate(texts)]
    fixes = [correction(f"{prefix}{n:02}", answer) for n in range(count)]
    wrong = np.zeros(DIMENSIONS)
    wrong[direction] = 1
    return records + fixes, dict(zip(texts, vectors, strict=True)) | {f"wrong → {answer}": wrong}


def clustered(workload: Workload, name: str, kinds: Iterable[tuple[str, int, int]]) -> Round:
    for prefix, direction, count in kinds:
        records, vectors = kind(prefix, direction, count)
        workload.collect(f"{name}{prefix}", records)
        remember(workload, vectors)
    round_ = screened(workload)
    cluster(workload.config, round_)
    return round_


def screened(workload: Workload) -> Round:
    round_ = workload.open()
    screen(workload.config, round_)
    return round_


def test_failures_are_clustered_and_ranked_by_impact(workload: Workload) -> None:
    clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)])
    found = read_evidence(workload.config)[0]["clusters"]
    assert [(c["cluster_id"], c["failures"]) for c in found] == [("c001", 20), ("c002", 12)]
    assert found[0]["share_of_traffic"] == 20 / 32
    assert found[0]["label"].startswith("wrong → right b")
    assert [set(example) for example in found[0]["examples"]] == [{"input", "output", "corrected"}] * 3
    assert workload.value("select count(*) from corrections where failure_cluster = 'c001'") == 20


def test_a_cluster_keeps_its_id_and_a_new_kind_gets_its_own(workload: Workload) -> None:
    workload.close(clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)]))
    before = workload.rows("select * from clusters")
    clustered(workload, "two", [("c", 1, 4), ("m", 2, 17), ("n", 3, 12)])
    assert members(workload, 2) == {"c001": 4, "c003": 17, "c004": 12}
    assert workload.rows("select * from clusters where first_round = 1") == before


def members(workload: Workload, round_id: int) -> dict[str | None, int]:
    query = "select cluster_id, count(*) as n from cluster_members where round_id = ? group by all"
    return {row["cluster_id"]: row["n"] for row in workload.rows(query, round_id)}


def test_one_new_kind_of_failure_is_a_cluster(workload: Workload) -> None:
    """Once the old kinds have their clusters, the usual news is a single further one; it is not noise."""
    workload.close(clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)]))
    clustered(workload, "two", [("c", 1, 10), ("n", 2, 60)])
    found = members(workload, 2)
    assert found["c001"] == 10
    assert found.get("c003", 0) >= 50


def test_noise_stays_without_a_cluster(workload: Workload) -> None:
    clustered(workload, "one", [("a", 0, 5)])
    assert workload.rows("select distinct cluster_id from cluster_members") == [{"cluster_id": None}]
    assert read_evidence(workload.config)[0]["clusters"] == []


def test_a_round_without_failures_has_no_clusters(workload: Workload) -> None:
    workload.collect("a", [inference("i"), thumb("i")])
    assert cluster(workload.config, screened(workload)) == []


def test_corrections_of_earlier_traffic_have_a_share_that_json_can_hold(workload: Workload) -> None:
    """No call came in with them: their share of the traffic is no number over zero."""
    import json

    records, vectors = kind("a", 0, 20)
    workload.collect("calls", [r for r in records if r["record"] == "inference"])
    workload.close(workload.open())
    workload.collect("fixes", [r for r in records if r["record"] == "correction"])
    remember(workload, vectors)
    cluster(workload.config, screened(workload))
    clusters = read_evidence(workload.config)[1]["clusters"]
    json.dumps(clusters, allow_nan=False)
    assert all(0 <= (row["share_of_traffic"] or 0) <= 1 for row in clusters)


def test_clusters_keep_their_ids_when_another_encoder_finds_them(workload: Workload) -> None:
    workload.close(clustered(workload, "one", [("a", 0, 20), ("b", 1, 20)]))
    changed = make_workload(workload.folder, encoder={"model": "other/encoder"})
    for prefix, now in (("a", 5), ("b", 6)):  # what the other encoder makes of the old texts
        old, new = kind(prefix, {"a": 0, "b": 1}[prefix], 20)[1], kind(prefix, now, 20)[1]
        remember(changed, dict(zip(old, new.values(), strict=True)))
    round_ = clustered(changed, "two", [("n", 2, 20)])
    assert members(changed, round_.round_id) == {"c003": 20}
    assert members(changed, 1) == {"c001": 20, "c002": 20}


def test_a_class_that_proves_to_be_two_is_split_and_that_is_on_record(workload: Workload) -> None:
    """As few they looked like one; once there are more of them, in two bunches, they are two."""
    records, vectors = kind("a", 0, 12)
    texts = [text for text in vectors if "→" not in text]
    rng = np.random.default_rng(7)
    tilted = bunch(rng, 0, 12)
    tilted[6:, 3] += 0.35
    workload.collect("one", records)
    remember(workload, vectors | dict(zip(texts, unit(tilted), strict=True)))
    workload.close(clustered(workload, "two", [("b", 1, 20)]))
    assert members(workload, 1) == {"c001": 20, "c002": 12}

    more, far = kind("m", 0, 80)
    texts = [text for text in far if "→" not in text]
    tilted = bunch(rng, 0, 80)
    tilted[40:, 3] += 0.35
    workload.collect("three", more)
    remember(workload, far | dict(zip(texts, unit(tilted), strict=True)))
    round_ = clustered(workload, "four", [])
    evidence = read_evidence(workload.config)[-1]
    assert [(c["kind"], c["source"], c["target"], c["failures"]) for c in evidence["cluster_changes"]] == [
        ("split", "c002", "c003", 6)
    ]
    assert members(workload, round_.round_id) == {"c002": 40, "c003": 46}
    assert workload.value("select count(*) from corrections where failure_cluster = 'c003'") == 46


def test_failures_in_slices_that_weigh_more_come_first(workload: Workload) -> None:
    severity = [{"slice": "tier", "value": "gold", "weight": 3}, {"slice": "tier/x", "value": "1", "weight": 0.5}]
    weighted = make_workload(workload.folder, cluster={"severity": severity})
    records, vectors = kind("a", 0, 12)
    for record in records[:6]:
        record["slices"] = {"tier": "gold", "tier/x": "1"}
    weighted.collect("gold", records)
    remember(weighted, vectors)
    clustered(weighted, "one", [("b", 1, 20)])
    found = read_evidence(weighted.config)[0]["clusters"]
    assert [(c["failures"], c["impact"]) for c in found] == [(12, 24 / 32), (20, 20 / 32)]


def test_a_name_that_a_person_gave_stands_before_the_one_that_was_found(workload: Workload) -> None:
    workload.close(clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)]))
    name_cluster(workload.config, "c002", "parcels that are late", "person:maria")
    name_cluster(workload.config, "c002", "late parcels", "person:jo")
    clustered(workload, "two", [("c", 0, 9), ("d", 1, 10)])
    found = {c["cluster_id"]: c for c in read_evidence(workload.config)[-1]["clusters"]}
    assert (found["c002"]["label"], found["c002"]["label_by"]) == ("late parcels", "person:jo")
    assert found["c001"]["label_by"] is None


def test_where_nothing_failed_anew_nothing_moves(workload: Workload) -> None:
    workload.close(clustered(workload, "one", [("a", 0, 12), ("b", 1, 20)]))
    before = workload.rows("select * from cluster_members order by all")
    workload.collect("calm", [inference("i"), thumb("i")])
    assert cluster(workload.config, screened(workload)) == []
    assert workload.rows("select * from cluster_members order by all") == before
