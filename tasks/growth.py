"""How large a tier of the suite may become: above its bound, cases are retired, the oldest redundant ones first.

What a tier measures must not change with its size. So its cases fall into strata: failure or success, the class of
failures, and the expected answer where those are labels: so few that there are CASES_A_LABEL cases to one, on average,
or more. A stratum's share of the bound is its share of the cases, but one at least. Within a stratum, those go first
whose group of near-duplicates has another case in the tier, the oldest first; after them the oldest. Cases in protected
slices stay.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.db import Row

CASES_A_LABEL = 10
REDUNDANT = "above suite.max_cases: a near-duplicate of another case"
OLDEST = "above suite.max_cases: among the oldest of its kind"
BEYOND_BOUND = (REDUNDANT, OLDEST)

Stratum = tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """A case of a tier: what it is one of, its group of near-duplicates, and the round that added it."""

    case_id: str
    stratum: Stratum
    group_hash: str
    added_round: int
    is_protected: bool = False


def members(cases: Sequence[Row], canonical: Callable[[str], str]) -> list[Member]:
    """The active cases of one tier with their strata; `canonical` spells equal answers alike."""
    answers = [canonical(case["expected"]) for case in cases]
    are_labels = len(set(answers)) * CASES_A_LABEL <= len(cases)
    return [
        Member(
            case["case_id"],
            (case["stratum"] or "", case["cluster_id"] or "", answer if are_labels else ""),
            case["group_hash"],
            case["added_round"],
            case["is_protected"],
        )
        for case, answer in zip(cases, answers, strict=True)
    ]


def beyond_bound(cases: Sequence[Member], bound: int) -> dict[str, str]:
    """The cases of a tier to retire so that `bound` are left, by id, each with the reason.

    The order of `cases` makes no difference. More are left where more than `bound` are protected.
    """
    if len(cases) <= bound:
        return {}
    strata: defaultdict[Stratum, list[Member]] = defaultdict(list)
    for case in cases:
        strata[case.stratum].append(case)
    sizes = {stratum: len(found) for stratum, found in strata.items()}
    protected = {stratum: sum(case.is_protected for case in found) for stratum, found in strata.items()}
    kept = quotas(sizes, protected, bound)
    in_group = Counter(case.group_hash for case in cases)
    out: dict[str, str] = {}
    for stratum in sorted(strata):
        out |= _retired(strata[stratum], sizes[stratum] - kept[stratum], in_group)
    return out


def _retired(cases: Sequence[Member], excess: int, in_group: Counter[str]) -> dict[str, str]:
    """The `excess` cases of a stratum to retire; `in_group`, how many of each group are left, is brought up to date."""
    oldest_first = sorted((case for case in cases if not case.is_protected), key=_age)
    out: dict[str, str] = {}
    for reason in BEYOND_BOUND:
        for case in oldest_first:
            if len(out) == excess:
                return out
            if case.case_id not in out and (reason == OLDEST or in_group[case.group_hash] > 1):
                out[case.case_id] = reason
                in_group[case.group_hash] -= 1
    return out


def _age(case: Member) -> tuple[int, str]:
    return case.added_round, hashlib.sha256(case.case_id.encode()).hexdigest()


def quotas(sizes: Mapping[Stratum, int], protected: Mapping[Stratum, int], bound: int) -> dict[Stratum, int]:
    """How many cases each stratum keeps: `bound` in all, which is less than there are.

    Its proportional share, by largest remainder; but no fewer than are protected, and one at least. Where that alone
    is more than the bound, one each for the largest, as far as it goes.
    """
    least = {stratum: max(1, protected[stratum]) for stratum in sizes}
    if sum(least.values()) >= bound:
        free = max(0, bound - sum(protected.values()))
        unprotected = sorted((s for s in sizes if not protected[s]), key=lambda s: (-sizes[s], s))
        return dict(protected) | dict.fromkeys(unprotected[:free], 1)
    shared = set(sizes)
    while True:
        seats = bound - sum(least[stratum] for stratum in sizes.keys() - shared)
        cases = sum(sizes[stratum] for stratum in shared)
        small = {stratum for stratum in shared if sizes[stratum] * seats < least[stratum] * cases}
        if not small:
            return least | _largest_remainder({stratum: sizes[stratum] for stratum in shared}, seats)
        shared -= small


def _largest_remainder(sizes: Mapping[Stratum, int], seats: int) -> dict[Stratum, int]:
    cases = sum(sizes.values())
    given = {stratum: size * seats // cases for stratum, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda stratum: (-(sizes[stratum] * seats % cases), stratum))
    for stratum in by_remainder[: seats - sum(given.values())]:
        given[stratum] += 1
    return given
