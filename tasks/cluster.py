"""Stage 3: failures become classes that share a cause.

A class of failures is not a topic: what is clustered is the input together with how the output was wrong. New
failures join the nearest existing cluster first, so that a cluster keeps its id from round to round; the rest is
clustered by HDBSCAN (Campello et al. 2013), which needs no number of classes and leaves noise as noise.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import ClusterConfig, Config
from tasks.db import Row, State
from tasks.drift import drift
from tasks.embed import embed
from tasks.records import now, user_text
from tasks.rounds import Round, record_evidence, writing
from tasks.score import parse_json

if TYPE_CHECKING:
    import numpy as np

MIN_SAMPLES = 3
MAP_POINTS = 1000


@dataclass(frozen=True)
class Failure:
    """A failed inference as the clusterer sees it; where nobody `corrected` it, `reason` says what failed."""

    inference_id: str
    text: str
    output: str
    corrected: str | None
    reason: str | None = None

    @property
    def wrong(self) -> str:
        """How the output was wrong, in words."""
        return difference(self.output, self.corrected, self.reason)


def difference(output: str, corrected: str | None, reason: str | None = None) -> str:
    """How an output was wrong, in words: the JSON fields that differ, the two answers, or the rule that it broke.

    >>> difference('{"a": 1, "b": 2}', '{"a": 1, "b": 3}')
    'b: 2 → 3'
    """
    if corrected is None:
        return reason or "rejected without a correction"
    said, right = _fields(output), _fields(corrected)
    if right is None:
        return f"{_short(output)} → {_short(corrected)}"
    if said is None:
        return "not the expected JSON"
    keys = [key for key in right | said if right.get(key) != said.get(key)]
    return "; ".join(f"{key}: {_plain(said.get(key))} → {_plain(right.get(key))}" for key in keys)


def _fields(text: str) -> dict[str, Any] | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _plain(value: Any) -> str:
    return _short(value if isinstance(value, str) else json.dumps(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def features(state: State, failures: Sequence[Failure], config: Config) -> "np.ndarray":
    """Unit-length vectors (failures x 2 dimensions): the input's embedding beside that of the difference."""
    import numpy as np

    inputs = embed(state, [failure.text for failure in failures], config.encoder)
    wrongs = embed(state, [failure.wrong for failure in failures], config.encoder)
    both = np.hstack([inputs, config.cluster.error_weight * wrongs])
    return both / np.linalg.norm(both, axis=1, keepdims=True)


def join_existing(
    vectors: "np.ndarray", centroids: "np.ndarray", threshold: float
) -> tuple["np.ndarray", "np.ndarray"]:
    """For each vector the index of the nearest centroid, or -1 below the cosine `threshold`; and the cosine."""
    import numpy as np

    if len(centroids) == 0:
        return np.full(len(vectors), -1), np.zeros(len(vectors))
    cosines = vectors @ centroids.T
    nearest = cosines.argmax(axis=1)
    best = cosines[np.arange(len(vectors)), nearest]
    return np.where(best >= threshold, nearest, -1), best


def find_clusters(vectors: "np.ndarray", config: ClusterConfig) -> "np.ndarray":
    """A label for each vector, 0 and up by falling size, -1 for noise."""
    import numpy as np

    if len(vectors) < 2 * config.min_size:
        return np.full(len(vectors), -1)
    from sklearn.cluster import HDBSCAN

    # Unit-length vectors: the Euclidean distance orders pairs as the cosine does. Leaves of the tree, because a
    # class of failures is a fine thing: the default would rather make one cluster of nearly everything.
    clusterer = HDBSCAN(
        min_cluster_size=config.min_size, min_samples=MIN_SAMPLES, cluster_selection_method="leaf", copy=True
    )
    labels = np.asarray(clusterer.fit_predict(vectors))
    if (labels < 0).all():
        labels = _one_cluster(vectors, config)
    order = {label: rank for rank, (label, _) in enumerate(Counter(labels[labels >= 0].tolist()).most_common())}
    return np.asarray([order.get(label, -1) for label in labels.tolist()])


def _one_cluster(vectors: "np.ndarray", config: ClusterConfig) -> "np.ndarray":
    """Label 0 for what lies near the common centroid, if it is enough: one kind alone does not stand out as dense."""
    import numpy as np

    centroid = vectors.mean(axis=0)
    near = vectors @ (centroid / np.linalg.norm(centroid)) >= config.join_similarity
    return np.where(near, 0, -1) if near.sum() >= config.min_size else np.full(len(vectors), -1)


def describe(members: Sequence[Sequence[Failure]], background: Sequence[str]) -> list[str]:
    """A label for each cluster: its most frequent difference, and the terms that set its texts apart.

    Terms are weighted by class-based TF-IDF (Grootendorst 2022, BERTopic, section 3.3), against the other clusters
    and the background texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents = [" ".join(failure.text for failure in cluster) for cluster in members]
    vectorizer = TfidfVectorizer(
        stop_words="english", sublinear_tf=True, token_pattern=r"(?u)\b[^\W\d_]{3,}\b", max_df=0.6
    )
    try:
        weights = vectorizer.fit_transform([*documents, *background]).toarray()
    except ValueError:  # no term is left: texts of digits, or of stop words alone
        weights = None
    labels = []
    for place, cluster in enumerate(members):
        wrong = Counter(failure.wrong for failure in cluster).most_common(1)[0][0]
        terms = _top_terms(weights[place], vectorizer.get_feature_names_out()) if weights is not None else []
        labels.append(" · ".join([wrong, ", ".join(terms)]) if terms else wrong)
    return labels


def _top_terms(weights: "np.ndarray", names: "np.ndarray") -> list[str]:
    best = weights.argsort()[::-1][:3]
    return [str(names[i]) for i in best if weights[i] > 0]


def cluster(config: Config, round_: Round) -> list[Row]:
    """Assign the round's new failures to clusters, old and new; the round's clusters, ranked by impact."""
    import numpy as np

    state = State(config.database)
    with state.transaction() as tx:
        rows = tx.rows("list_unclustered_failures", pinned_seq=round_.pinned_seq)
        known = tx.rows("list_clusters", encoder=config.encoder.key)
        taken = tx.rows("count_clusters")[0]["clusters"]
        background = [
            user_text(row["input"]) for row in tx.rows("list_background_inputs", pinned_seq=round_.pinned_seq)
        ]
    failures = [
        Failure(row["inference_id"], user_text(row["input"]), row["output"], row["corrected_output"], row["reason"])
        for row in rows
    ]
    ids: list[str | None] = [None] * len(failures)
    similarities = np.zeros(len(failures))
    new: list[Row] = []
    places: list[list[Any]] = []
    if failures:
        vectors = features(state, failures, config)
        centroids = np.asarray([row["centroid"] for row in known], dtype=np.float32).reshape(
            len(known), vectors.shape[1]
        )
        joined, similarities = join_existing(vectors, centroids, config.cluster.join_similarity)
        ids = [known[i]["cluster_id"] if i >= 0 else None for i in joined.tolist()]
        rest = np.flatnonzero(joined < 0)
        labels = find_clusters(vectors[rest], config.cluster)
        new = _new_clusters(failures, vectors, rest, labels, background, taken, config, round_)
        for place, label in zip(rest.tolist(), labels.tolist(), strict=True):
            if label >= 0:
                ids[place] = new[label]["cluster_id"]
                similarities[place] = vectors[place] @ np.asarray(new[label]["centroid"], dtype=np.float32)
        places = draw_map(vectors, ids)
    members = [
        {
            "inference_id": failure.inference_id,
            "cluster_id": id_,
            "similarity": float(s),
            "round_id": round_.round_id,
        }
        for failure, id_, s in zip(failures, ids, similarities, strict=True)
    ]
    return _store(config, round_, new, members, map=places, drift=drift(config, round_))


def _new_clusters(
    failures: Sequence[Failure],
    vectors: "np.ndarray",
    rest: "np.ndarray",
    labels: "np.ndarray",
    background: Sequence[str],
    taken: int,
    config: Config,
    round_: Round,
) -> list[Row]:
    import numpy as np

    places = [rest[labels == label] for label in range(int(labels.max(initial=-1)) + 1)]
    if not places:
        return []
    names = describe([[failures[i] for i in cluster] for cluster in places], background)
    clusters = []
    for number, (cluster_places, name) in enumerate(zip(places, names, strict=True), start=taken + 1):
        centroid = vectors[cluster_places].mean(axis=0)
        clusters.append(
            {
                "cluster_id": f"c{number:03d}",
                "label": name,
                "encoder": config.encoder.key,
                "centroid": (centroid / np.linalg.norm(centroid)).tolist(),
                "first_round": round_.round_id,
                "created_at": now(),
            }
        )
    return clusters


def draw_map(vectors: "np.ndarray", ids: Sequence[str | None]) -> list[list[Any]]:
    """Where each of at most MAP_POINTS failures lies in the plane (0 to 1), and its cluster's id: [x, y, id].

    Neighbours stay neighbours (t-SNE; van der Maaten and Hinton 2008); distances between clusters mean little.
    """
    import numpy as np

    if len(vectors) < 2 * MIN_SAMPLES:
        return []
    from sklearn.manifold import TSNE

    chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), MAP_POINTS)).astype(int)
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    flat = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors[chosen])
    flat = (flat - flat.min(axis=0)) / np.maximum(np.ptp(flat, axis=0), 1e-9)
    return [[round(float(x), 3), round(float(y), 3), ids[i]] for (x, y), i in zip(flat, chosen.tolist(), strict=True)]


def _store(config: Config, round_: Round, new: list[Row], members: list[Row], **evidence: Any) -> list[Row]:
    import polars as pl

    schema = {
        "inference_id": pl.String,
        "cluster_id": pl.String,
        "similarity": pl.Float64,
        "round_id": pl.Int32,
    }
    with writing(config, round_, "cluster") as tx:
        if new:
            tx.load("insert_clusters", pl.DataFrame(new))
        if members:
            tx.load("insert_cluster_members", pl.DataFrame(members, schema=schema))
        tx.run("set_failure_clusters")
        ranked = _ranked(tx.rows("rank_clusters", pinned_seq=round_.pinned_seq, round_id=round_.round_id))
        _compare(ranked, tx.row("get_last_judged_round", round_id=round_.round_id))
        record_evidence(tx, round_, clusters=ranked, **evidence)
    return ranked


def _ranked(rows: list[Row]) -> list[Row]:
    keys = ("input", "output", "corrected")
    for row in rows:
        row["examples"] = [
            {key: user_text(example[key]) if key == "input" else example[key] for key in keys}
            for example in row["examples"]
        ]
    return rows


def _compare(ranked: list[Row], last: Row | None) -> None:
    """Add what the last judged round knew of each cluster: its share of traffic then, and what that round fixed."""
    before = {c["cluster_id"]: c for c in json.loads(last["evidence"]).get("clusters", [])} if last else {}
    for row in ranked:
        old = before.get(row["cluster_id"], {})
        row["previous_share"] = old.get("share_of_traffic")
        row["previous_unseen"], row["previous_fixed"] = old.get("unseen"), old.get("unseen_fixed")


@task(name="cluster", cache_policy=NO_CACHE)
def cluster_task(config: Config, round_: Round) -> list[Row]:
    """Prefect task around `cluster`."""
    ranked = cluster(config, round_)
    logger = get_run_logger()
    logger.info("%d clusters of failures in this round; the largest:", len(ranked))
    for row in ranked[:5]:
        logger.info("  %s  %d failures  %s", row["cluster_id"], row["failures"], row["label"])
    return ranked
