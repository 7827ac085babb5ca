"""How far two raters agree beyond chance. Pure functions of their labels."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple


class Kappa(NamedTuple):
    """Cohen's kappa with its two-sided interval, within -1 and 1, and the share of items on which both agree."""

    kappa: float
    low: float
    high: float
    agreement: float


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable], confidence: float = 0.95) -> Kappa:
    """The agreement of two raters on the same items, in order, of which there is at least one.

    Cohen (1960); the interval is by the large-sample standard error of Fleiss, Cohen and Everitt (1969), "Large sample
    standard errors of kappa and weighted kappa", which is not the one under independence. It is narrow for few items,
    and a point where both always agree. Where both always say the same one thing, chance alone would have them agree:
    kappa is 0 then, and the interval all there is.

    Raises:
        ValueError: there are no items, or one rater has labelled more of them.
    """
    pairs = Counter(zip(first, second, strict=True))
    items = sum(pairs.values())
    if not items:
        raise ValueError("no items to compare")
    mine, theirs = Counter(first), Counter(second)
    by_chance = sum(mine[label] * theirs[label] for label in mine) / items**2
    agreement = sum(count for (left, right), count in pairs.items() if left == right) / items
    if by_chance == 1.0:
        return Kappa(0.0, -1.0, 1.0, agreement)
    kappa = (agreement - by_chance) / (1 - by_chance)
    spread = -((kappa - by_chance * (1 - kappa)) ** 2)
    for (left, right), count in pairs.items():
        if left == right:
            spread += count / items * (1 - (mine[left] + theirs[left]) / items * (1 - kappa)) ** 2
        else:
            spread += count / items * ((theirs[left] + mine[right]) / items * (1 - kappa)) ** 2
    error = math.sqrt(max(0.0, spread) / items) / (1 - by_chance)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return Kappa(kappa, max(-1.0, kappa - reach), min(1.0, kappa + reach), agreement)
