"""How well clusters agree with what people say belongs together: bank customers' questions, 77 intents, not told.

    python -m benchmarks.cluster_quality --data DIR

Inputs alone, with the default settings. These, and the method, were chosen on parts of train.csv that are like test.csv
(40 questions of each intent); the bars are of test.csv. Noise counts as a class of its own in both scores: normalised
mutual information and the adjusted Rand index (Hubert and Arabie 1985). Half a minute.
"""

import time
from typing import Any

import numpy as np

from benchmarks._bars import Bar, close
from benchmarks._questions import balanced, parser, questions
from tasks.communities import find_communities
from tasks.data_options import ClusterConfig

EACH = 40
SEEDS = range(5)


def agreement(vectors: np.ndarray, intents: np.ndarray) -> dict[str, Any]:
    """Both scores, the number of clusters, the share of noise and the seconds it took."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    begun = time.perf_counter()
    labels = find_communities(vectors, min_size=ClusterConfig().min_size).labels
    seconds = time.perf_counter() - begun
    return {
        "nmi": round(normalized_mutual_info_score(intents, labels), 4),
        "ari": round(adjusted_rand_score(intents, labels), 4),
        "clusters": int(labels.max()) + 1,
        "noise": round(float((labels < 0).mean()), 4),
        "seconds": round(seconds, 2),
    }


def main() -> None:
    """Measure, print the table and the JSON."""
    options = parser(__doc__ or "").parse_args()
    train, test = (questions(options.data, split) for split in ("train", "test"))
    if train is None or test is None:
        return close("cluster_quality", [], {"skipped": "no data"})
    parts = [balanced(train[1], EACH, seed) for seed in SEEDS]
    context: dict[str, Any] = {
        "test": agreement(*test),
        "train": agreement(*train),
        "parts_of_train": [agreement(train[0][part], train[1][part]) for part in parts],
    }
    found = context["test"]
    bars = [
        Bar("normalised mutual information", found["nmi"], ">=", 0.82),
        Bar("adjusted Rand index", found["ari"], ">=", 0.5),
    ]
    close("cluster_quality", bars, context)


if __name__ == "__main__":
    main()
