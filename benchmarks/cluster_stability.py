"""How many members keep their cluster's id when a tenth more failures come in.

    python -m benchmarks.cluster_stability --data DIR

Bank customers' questions (train.csv, and parts of it with 40 of each intent), in random orders: the first ten of every
eleven are clustered, then all of them, as a round does it. A member whose cluster is split or merged away loses its id
as one does that moves. For comparison: clusters found anew, matched one to one to those of before. One minute.
"""

from typing import Any

import numpy as np

from benchmarks._bars import Bar, close
from benchmarks._questions import balanced, parser, questions
from tasks.communities import find_communities
from tasks.data_options import ClusterConfig

EACH = 40
SEEDS = range(5)
MIN_SIZE = ClusterConfig().min_size


def kept(vectors: np.ndarray, intents: np.ndarray, seed: int) -> dict[str, Any]:
    """Shares of old members that keep their id, and how well the clusters agree with the intents."""
    from sklearn.metrics import normalized_mutual_info_score

    order = np.random.default_rng(seed).permutation(len(vectors))
    vectors, intents = vectors[order], intents[order]
    old = find_communities(vectors[: len(vectors) * 10 // 11], min_size=MIN_SIZE).labels
    before = np.concatenate([old, np.full(len(vectors) - len(old), -1)])
    carried = find_communities(vectors, min_size=MIN_SIZE, before=before)
    fresh = find_communities(vectors, min_size=MIN_SIZE).labels
    members = old >= 0
    return {
        "kept": round(float((carried.labels[: len(old)] == old)[members].mean()), 4),
        "kept_if_found_anew": round(matched(old[members], fresh[: len(old)][members]), 4),
        "splits": sum(change.kind == "split" for change in carried.changes),
        "merges": sum(change.kind == "merge" for change in carried.changes),
        "nmi": round(normalized_mutual_info_score(intents, carried.labels), 4),
        "nmi_if_found_anew": round(normalized_mutual_info_score(intents, fresh), 4),
    }


def matched(old: np.ndarray, new: np.ndarray) -> float:
    """Share of members whose new cluster is the one matched to their old one, by the best matching (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment

    shared = np.zeros((old.max() + 1, new.max() + 1), int)
    np.add.at(shared, (old[new >= 0], new[new >= 0]), 1)
    return float(shared[linear_sum_assignment(-shared)].sum() / len(old))


def main() -> None:
    """Measure, print the table and the JSON."""
    options = parser(__doc__ or "").parse_args()
    found = questions(options.data, "train")
    if found is None:
        return close("cluster_stability", [], {"skipped": "no data"})
    vectors, intents = found
    context = {f"{len(vectors)} questions": [kept(vectors, intents, seed) for seed in SEEDS]}
    parts = [balanced(intents, EACH, seed) for seed in SEEDS]
    context[f"{len(parts[0])} questions"] = [
        kept(vectors[part], intents[part], seed) for seed, part in zip(SEEDS, parts, strict=True)
    ]
    bars = [
        Bar(f"old members that keep their id, {name}, mean", float(np.mean([run["kept"] for run in runs])), ">=", 0.95)
        for name, runs in context.items()
    ]
    close("cluster_stability", bars, context)


if __name__ == "__main__":
    main()
