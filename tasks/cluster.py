"""Stage 3: failures become classes that share a cause.

A class of failures is not a topic: what is clustered is the input together with how the output was wrong. All failures
are looked at each time (`tasks.communities`), and those that have a cluster keep it, unless it is clearly two, or one
with another; that is then on record.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.chat import shown
from tasks.communities import find_communities
from tasks.config import Config
from tasks.continuity import Change
from tasks.db import Row, State
from tasks.differences import difference
from tasks.drift import drift
from tasks.embed import embed
from tasks.progress import ProgressBar, Show
from tasks.records import now, user_text
from tasks.rounds import Round, record_evidence, writing

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

TYPICAL = 200  # members of a cluster that its label is made from
MAP_POINTS = 1000
MAP_LEAST = 6
BLOCK = 4096


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


def features(
    state: State, texts: Sequence[str], wrongs: Sequence[str], config: Config, on_progress: Show | None = None
) -> "np.ndarray":
    """Unit-length vectors (failures x 2 dimensions): the input's embedding beside that of how the output was wrong.

    The latter half in words, half to the letter. The input's alone, if `error_weight` is 0.
    """
    import numpy as np

    inputs, weight = embed(state, texts, config.encoder, on_progress), config.cluster.error_weight
    if not weight:
        return inputs
    width = inputs.shape[1]
    vectors = np.empty((len(texts), 2 * width), np.float32)
    vectors[:, :width] = inputs
    del inputs  # a million failures take gigabytes
    vectors[:, width:] = embed(state, wrongs, config.encoder, on_progress)
    for start in range(0, len(wrongs), BLOCK):
        half = vectors[start : start + BLOCK, width:]
        half += to_the_letter(wrongs[start : start + BLOCK], width)
        half *= weight / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-12)
    vectors /= np.float32((1 + weight**2) ** 0.5)  # both halves have unit length
    return vectors


def to_the_letter(wrongs: Sequence[str], width: int) -> "np.ndarray":
    """Vectors (wrongs x width) that are the same for the same changes of fields, and unrelated for others.

    A sentence encoder hardly tells `low → high` from `high → low`. Each change stands for a random direction, drawn
    from its text (random indexing; Kanerva, Kristofersson and Holst 2000).
    """
    import numpy as np

    rows = {}
    for wrong in set(wrongs):
        seeds = [list(hashlib.sha256(change.encode()).digest()) for change in wrong.split("; ")]
        total = np.sum([np.random.default_rng(seed).normal(size=width) for seed in seeds], axis=0)
        rows[wrong] = (total / np.linalg.norm(total)).astype(np.float32)
    return np.stack([rows[wrong] for wrong in wrongs])


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
        weights = vectorizer.fit_transform([*documents, *background]).tocsr()
        names = vectorizer.get_feature_names_out()
    except ValueError:  # no term is left: texts of digits, or of stop words alone
        weights = None
    labels = []
    for place, cluster in enumerate(members):
        wrong = Counter(failure.wrong for failure in cluster).most_common(1)[0][0]
        terms = _top_terms(weights[place].toarray()[0], names) if weights is not None else []
        labels.append(" · ".join([wrong, ", ".join(terms)]) if terms else wrong)
    return labels


def _top_terms(weights: "np.ndarray", names: "np.ndarray") -> list[str]:
    best = weights.argsort()[::-1][:3]
    return [str(names[i]) for i in best if weights[i] > 0]


def cluster(config: Config, round_: Round, on_progress: Show | None = None) -> list[Row]:
    """Give each failure its cluster, old or new; the clusters of the round's failures, ranked by impact."""
    import numpy as np

    state = State(config.database)
    with state.transaction() as tx:
        rows = tx.frame("list_failures", pinned_seq=round_.pinned_seq, round_id=round_.round_id)
        taken = tx.rows("count_clusters")[0]["clusters"]
        background = tx.rows("list_background_inputs", pinned_seq=round_.pinned_seq)
    if rows["was_seen"].all():
        return _store(config, round_, map=[], drift=drift(config, round_, {}))
    failures = failures_of(rows)
    vectors = features(state, [f.text for f in failures], [f.wrong for f in failures], config, on_progress)
    ids: list[str | None] = sorted(rows["cluster_id"].drop_nulls().unique())
    before = places_of(rows["cluster_id"], ids)
    labels, changes = find_communities(vectors, min_size=config.cluster.min_size, before=before)
    ids += [f"c{number:03d}" for number in range(taken + 1, taken + 1 + int(labels.max(initial=-1)) + 1 - len(ids))]
    centres = centroids(vectors, labels)
    places = np.flatnonzero(rows["is_recent"].to_numpy() & ~rows["was_seen"].to_numpy())
    return _store(
        config,
        round_,
        new=_new_clusters(failures, labels, ids, int(before.max(initial=-1)) + 1, background, round_),
        members=_changed_members(rows, before, labels, similarity(vectors, labels, centres), ids, round_),
        changes=_changes(changes, before, labels, ids, round_),
        map=draw_map(vectors[places], [ids[i] if i >= 0 else None for i in labels[places]]),
        drift=drift(
            config, round_, {str(id_): centre for id_, centre in zip(ids, _inputs(centres, config), strict=True)}
        ),
    )


def _inputs(centres: "np.ndarray", config: Config) -> "np.ndarray":
    """The part of centroids that is the inputs', of unit length again."""
    import numpy as np

    inputs = centres[:, : centres.shape[1] // 2] if config.cluster.error_weight else centres
    return np.asarray(inputs / np.maximum(np.linalg.norm(inputs, axis=1, keepdims=True), 1e-12))


def failures_of(rows: "pl.DataFrame") -> list[Failure]:
    """The rows of list_failures as the clusterer sees them."""
    columns = ("inference_id", "input", "output", "corrected_output", "reason")
    return [
        Failure(id_, user_text(input_), shown(output), corrected and shown(corrected), reason)
        for id_, input_, output, corrected, reason in rows.select(columns).iter_rows()
    ]


def places_of(names: Iterable[str | None], known: Sequence[str | None]) -> "np.ndarray":
    """Where each name stands among the known ones, -1 for none."""
    import numpy as np

    places = {name: place for place, name in enumerate(known)}
    return np.array([places.get(name, -1) if name else -1 for name in names], int)


def centroids(vectors: "np.ndarray", labels: "np.ndarray") -> "np.ndarray":
    """The mean of the vectors of each label from 0 on, scaled to unit length (labels x dimensions)."""
    import numpy as np
    from scipy import sparse

    kept = np.flatnonzero(labels >= 0)
    ones, size = np.ones(len(kept), np.float32), (int(labels.max(initial=-1)) + 1, len(labels))
    sums = sparse.csr_matrix((ones, (labels[kept], kept)), shape=size) @ vectors
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def similarity(vectors: "np.ndarray", labels: "np.ndarray", centres: "np.ndarray") -> "np.ndarray":
    """Cosine of each vector to its label's centroid: how typical it is; 0 for noise."""
    import numpy as np

    kept = np.flatnonzero(labels >= 0)
    cosines = np.zeros(len(labels))
    for start in range(0, len(kept), BLOCK):
        part = kept[start : start + BLOCK]
        cosines[part] = np.einsum("nd,nd->n", vectors[part], centres[labels[part]])
    return cosines


def _new_clusters(
    failures: Sequence[Failure],
    labels: "np.ndarray",
    ids: Sequence[str | None],
    known: int,
    background: list[Row],
    round_: Round,
) -> list[Row]:
    """Rows of `clusters`, for the labels from `known` on; what sets them apart is said against the others too."""
    import numpy as np

    if len(ids) == known:
        return []
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.searchsorted(labels[order], np.arange(len(ids))))[1:]
    samples = [[failures[i] for i in group[:: 1 + len(group) // TYPICAL]] for group in groups]
    others = [[f.text for f in sample] for sample in samples[:known]]
    names = describe(samples[known:], [*map(" ".join, others), *(user_text(row["input"]) for row in background)])
    moment = now()
    return [
        {"cluster_id": id_, "label": name, "first_round": round_.round_id, "created_at": moment}
        for id_, name in zip(ids[known:], names, strict=True)
    ]


def _changed_members(
    rows: "pl.DataFrame",
    before: "np.ndarray",
    labels: "np.ndarray",
    similarities: "np.ndarray",
    ids: Sequence[str | None],
    round_: Round,
) -> "pl.DataFrame":
    """Rows of `cluster_members`: what is new, and what has another cluster now."""
    import numpy as np
    import polars as pl

    changed = np.flatnonzero((before != labels) | ~rows["was_seen"].to_numpy())
    return pl.DataFrame(
        {
            "inference_id": rows["inference_id"].gather(changed),
            "cluster_id": pl.Series([ids[i] if i >= 0 else None for i in labels[changed].tolist()], dtype=pl.String),
            "similarity": similarities[changed],
            "round_id": pl.repeat(round_.round_id, len(changed), dtype=pl.Int32, eager=True),
        }
    )


def _changes(
    changes: Sequence[Change], before: "np.ndarray", labels: "np.ndarray", ids: Sequence[str | None], round_: Round
) -> list[Row]:
    """Rows of `cluster_changes`."""
    return [
        {
            "round_id": round_.round_id,
            "kind": change.kind,
            "source": ids[change.source],
            "target": ids[change.target],
            "failures": int(((before == change.source) & (labels == change.target)).sum()),
        }
        for change in changes
    ]


def draw_map(vectors: "np.ndarray", ids: Sequence[str | None]) -> list[list[Any]]:
    """Where each of at most MAP_POINTS failures lies in the plane (0 to 1), and its cluster's id: [x, y, id].

    Neighbours stay neighbours (t-SNE; van der Maaten and Hinton 2008); distances between clusters mean little.
    """
    import numpy as np

    if len(vectors) < MAP_LEAST:
        return []
    from sklearn.manifold import TSNE

    chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), MAP_POINTS)).astype(int)
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    flat = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors[chosen])
    flat = (flat - flat.min(axis=0)) / np.maximum(np.ptp(flat, axis=0), 1e-9)
    return [[round(float(x), 3), round(float(y), 3), ids[i]] for (x, y), i in zip(flat, chosen.tolist(), strict=True)]


def _store(
    config: Config,
    round_: Round,
    *,
    new: list[Row] | None = None,
    members: "pl.DataFrame | None" = None,
    changes: list[Row] | None = None,
    **evidence: Any,
) -> list[Row]:
    import polars as pl

    with writing(config, round_, "cluster") as tx:
        if new:
            tx.load("insert_clusters", pl.DataFrame(new))
        if members is not None:
            tx.load("insert_cluster_members", members)
        if changes:
            tx.load("insert_cluster_changes", pl.DataFrame(changes))
        tx.run("set_failure_clusters")
        severity = json.dumps([rule.model_dump() for rule in config.cluster.severity])
        window = {"pinned_seq": round_.pinned_seq, "round_id": round_.round_id}
        ranked = _ranked(tx.rows("rank_clusters", severity=severity, **window))
        _compare(ranked, tx.row("get_last_judged_round", round_id=round_.round_id))
        changed = tx.rows("list_cluster_changes", round_id=round_.round_id)
        record_evidence(tx, round_, clusters=ranked, cluster_changes=changed, **evidence)
    return ranked


def _ranked(rows: list[Row]) -> list[Row]:
    keys = ("input", "output", "corrected")
    for row in rows:
        row["examples"] = [
            {key: user_text(example[key]) if key == "input" else example[key] and shown(example[key]) for key in keys}
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
    """Prefect task around `cluster`, with a progress bar in the UI for what has to be encoded."""
    ranked = cluster(config, round_, ProgressBar(f"Encoding the failures of round {round_.round_id}").show)
    logger = get_run_logger()
    logger.info("%d clusters of failures in this round; the largest:", len(ranked))
    for row in ranked[:5]:
        logger.info("  %s  %d failures  %s", row["cluster_id"], row["failures"], row["label"])
    return ranked
