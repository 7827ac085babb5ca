"""How today's inputs differ from those that the champion was trained on.

Views that a person can act on: which share of today's inputs lies further from all training inputs than training
inputs lie from one another, which inputs those are, and which clusters have more of today's inputs near them than of
the training inputs. The distance is that of the nearest neighbour among sentence embeddings (a one-class view: Breunig
et al. 2000 use the same neighbours for local outliers).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tasks.config import Config
from tasks.db import State
from tasks.embed import embed
from tasks.records import user_text
from tasks.rounds import Round

if TYPE_CHECKING:
    import numpy as np

EXPECTED = 0.05
SAMPLE = 500
MIN_SAMPLE = 50
BLOCK = 4096


@dataclass(frozen=True)
class Drift:
    """`novel_share` of today's inputs is unlike what was trained on, `expected_share` would be without any drift.

    `low` and `high` are the 95 % interval of the share (Wilson 1927); `novel` are the places of the most unlike inputs,
    the farthest first.
    """

    inputs: int
    trained: int
    novel_share: float
    low: float
    high: float
    expected_share: float
    novel: tuple[int, ...]

    @property
    def has_drifted(self) -> bool:
        """Whether there is more that is new than chance would have it, and more than a little."""
        return self.low > 2 * self.expected_share


def nearest_cosine(vectors: "np.ndarray", others: "np.ndarray", *, same: bool = False) -> "np.ndarray":
    """The greatest cosine of each vector (n x d, unit length) to the others (m x d), without itself if `same`."""
    import numpy as np

    best = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ others.T
        if same:
            places = np.arange(start, start + len(cosines))
            cosines[places - start, places] = -1.0
        best[start : start + BLOCK] = cosines.max(axis=1)
    return best


def measure_drift(today: "np.ndarray", trained: "np.ndarray", examples: int = 5) -> Drift:
    """Compare today's inputs (n x d) with training inputs (m x d), both unit-length; m and n at least 2.

    An input is novel when its nearest training input is farther than that of all but `EXPECTED` of the training inputs.
    """
    import numpy as np

    limit = np.quantile(nearest_cosine(trained, trained, same=True), EXPECTED)
    cosines = nearest_cosine(today, trained)
    novel = cosines < limit
    low, high = wilson(int(novel.sum()), len(today))
    farthest = [int(place) for place in np.argsort(cosines)[:examples] if novel[place]]
    return Drift(len(today), len(trained), float(novel.mean()), low, high, EXPECTED, tuple(farthest))


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(hits, trials).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Growth:
    """A cluster that more of today's inputs are nearest to than of the training inputs: both shares.

    `low` is the low end of the 95 % interval of their difference (Newcombe 1998, method 10).
    """

    cluster_id: str
    today: float
    trained: float
    low: float


def growing(today: "np.ndarray", trained: "np.ndarray", centres: Mapping[str, "np.ndarray"]) -> list[Growth]:
    """Clusters that more of today's inputs (n x d) are nearest to than of the training inputs (m x d), most first.

    `centres` are the clusters' centroids (d, unit length); only what is more than chance is listed.
    """
    import numpy as np

    if not centres:
        return []
    ids, rows = list(centres), np.stack(list(centres.values()))
    counts = [np.bincount((each @ rows.T).argmax(axis=1), minlength=len(ids)) for each in (today, trained)]
    found = []
    for id_, now, before in zip(ids, *(count.tolist() for count in counts), strict=True):
        share, old = now / len(today), before / len(trained)
        low = share - old - math.hypot(share - wilson(now, len(today))[0], wilson(before, len(trained))[1] - old)
        if low > 0:
            found.append(Growth(id_, share, old, low))
    return sorted(found, key=lambda growth: -growth.low)


def drift(config: Config, round_: Round, centres: Mapping[str, "np.ndarray"]) -> dict[str, Any] | None:
    """How the round's traffic differs from what its champion was trained on, with texts of what is novel.

    `centres` are the centroids of the clusters' inputs. None where the champion was not trained here, or either sample
    is too small to say.
    """
    if round_.champion_version is None:
        return None
    state = State(config.database)
    with state.transaction() as tx:
        window = {"pinned_seq": round_.pinned_seq, "round_id": round_.round_id}
        today = [user_text(row["input"]) for row in tx.rows("list_window_inputs", limit=SAMPLE, **window)]
        rows = tx.rows("list_trained_inputs", version=round_.champion_version, limit=SAMPLE)
        trained = [user_text(row["input"]) for row in rows]
    if min(len(today), len(trained)) < MIN_SAMPLE:
        return None
    vectors = embed(state, [*today, *trained], config.encoder)
    parts = vectors[: len(today)], vectors[len(today) :]
    found = measure_drift(*parts)
    return asdict(found) | {
        "has_drifted": found.has_drifted,
        "novel": [today[place] for place in found.novel],
        "growing": [asdict(growth) for growth in growing(*parts, centres)],
    }
