"""What the models answered to the suite, counted into what the gate's decision rests on.

`tally` turns cases into a `Tally`, which holds no text and no model: counts of units by how much the challenger differs
from the champion. The decision (`tasks.decision`) sees nothing else.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import covariance, fmean, variance
from typing import Literal

from pydantic import Field

from tasks.duplicates import components
from tasks.gate_options import GateConfig
from tasks.paired import upper_rate
from tasks.sources.settings import Model

SHOWN_EXAMPLES = 3


@dataclass(frozen=True)
class Answer:
    """What one model's answer to a case came to. `score` is from 0 to 1; `tokens` is its length, if it is known."""

    score: float
    is_right: bool
    is_valid: bool = True
    tokens: int | None = None


@dataclass(frozen=True)
class Case:
    """A case of the suite with the answers of both models, and of the others that were asked.

    `group` names what near-duplicates have in common. `is_new`: it came in since the last round that was judged.
    `again` is the champion's second answer.
    """

    case_id: str
    tier: str
    stratum: str | None
    group: str
    cluster: str | None
    slices: Mapping[str, str]
    producer: str
    is_new: bool
    champion: Answer
    challenger: Answer
    reference: Answer | None = None
    few_shot: Answer | None = None
    again: Answer | None = None

    @property
    def is_negative_flip(self) -> bool:
        """Right before, wrong now."""
        return self.champion.is_right and not self.challenger.is_right

    def is_flaky(self, is_relative: bool) -> bool:
        """The champion, asked twice, did not answer alike; where scores are relative, one of its answers was better."""
        if self.again is None:
            return False
        if is_relative:
            return self.again.score != 0.5
        return (self.again.is_right, self.again.score) != (self.champion.is_right, self.champion.score)


class Facts(Model):
    """What the decision rests on beside the cases.

    `nights`: rounds judged against this champion, this one included. `slice_rates`: share of a slice's calls that
    failed, by `name=value`. `judged`: for each producer how many calls they judged and how many of those failed.
    `protected`: slices, as `name=value`, in which each negative flip needs a person. `doubts`: reasons to let a person
    decide whatever the cases say. `is_relative`: scores say which of two answers is better (1, 0.5, 0), and right is
    what won, so that nothing is right by itself.
    """

    calls: int
    failures: int
    nights: int = 1
    slice_rates: dict[str, float] = Field(default_factory=dict)
    judged: dict[str, tuple[int, int]] = Field(default_factory=dict)
    protected: tuple[str, ...] = ()
    is_relative: bool = False
    doubts: tuple[str, ...] = ()


Differences = dict[float, int]


class Production(Model):
    """Units of the failure and the success stratum by their difference, and the share of production that fails."""

    failure: Differences
    success: Differences
    failure_rate: float


class Slice(Model):
    """A slice's units, as production or on anchor, and cases that it lost."""

    name: str
    production: Production | None = None
    anchor: Differences | None = None
    lost: int = 0
    examples: tuple[str, ...] = ()


class Share(Model):
    """So many of so many, and which of them for example."""

    count: int = 0
    of: int = 0
    examples: tuple[str, ...] = ()


class Lengths(Model):
    """Mean output lengths (tokens) over units, and the sums from which a margin on their ratio is tested."""

    units: int = 0
    champion: float = 0.0
    challenger: float = 0.0
    champion_variance: float = 0.0
    challenger_variance: float = 0.0
    covariance: float = 0.0


class Prompted(Model):
    """A cluster's unseen failures, and how many of them each way of fixing gets right."""

    cluster: str
    cases: int
    few_shot: int
    challenger: int


class Tally(Model):
    """Everything that the decision is a function of, the config aside. Differences are challenger - champion."""

    nights: int
    production: Production
    champion_accuracy: float
    challenger_accuracy: float
    success_from: Literal["unseen", "anchor"]
    negative_flips: Production
    anchor: Differences
    anchor_champion: float
    anchor_challenger: float
    reference: Differences | None = None
    slices: tuple[Slice, ...] = ()
    protected: Share = Share()
    fixed: Share = Share()
    earlier_fixes: Share = Share()
    validity: Differences = Field(default_factory=dict)
    lengths: Lengths = Lengths()
    flaky: Share = Share()
    without: dict[str, Production] = Field(default_factory=dict)
    lost_in: dict[str, Share] = Field(default_factory=dict)
    prompted: tuple[Prompted, ...] = ()
    is_relative: bool = False
    doubts: tuple[str, ...] = ()


def tally(cases: Sequence[Case], facts: Facts, config: GateConfig) -> Tally:
    """Count the cases. Those whose answer changes between two runs of the champion count only where protected."""
    unit_of = units(cases, config.unit)
    asked_twice = [case for case in cases if case.again is not None]
    steady = [case for case in cases if not case.is_flaky(facts.is_relative)]
    held = _held_out(steady, unit_of, facts, config)
    failure, success, anchor, rate = held.failure, held.success, held.anchor, held.failure_rate
    held_out = _once([*failure, *success, *anchor])

    def count(part: Iterable[Case], value: Callable[[Case], float] = _difference) -> Differences:
        return _counted(part, unit_of, value)

    def production(of: Callable[[Case], bool], rate: float, value: Callable[[Case], float] = _difference) -> Production:
        return Production(
            failure=count(filter(of, failure), value), success=count(filter(of, success), value), failure_rate=rate
        )

    def weighted(score: Callable[[Case], float]) -> float:
        return rate * _mean(count(failure, score)) + (1 - rate) * _mean(count(success, score))

    protected = [case for case in cases if not _named(case).isdisjoint(facts.protected)]
    new_fixes = [case for case in steady if case.tier == "fixed" and case.is_new]
    held_fixes = [case for case in steady if case.tier == "fixed" and not case.is_new and case.champion.is_right]
    return Tally(
        nights=facts.nights,
        production=production(_any, rate),
        champion_accuracy=weighted(lambda case: case.champion.score),
        challenger_accuracy=weighted(lambda case: case.challenger.score),
        success_from="unseen" if held.is_confirmed else "anchor",
        negative_flips=production(_any, rate, lambda case: float(case.is_negative_flip)),
        anchor=count(anchor),
        anchor_champion=_mean(count(anchor, lambda case: case.champion.score)),
        anchor_challenger=_mean(count(anchor, lambda case: case.challenger.score)),
        reference=_against_reference(anchor, facts.is_relative, count),
        slices=tuple(_slices(failure, success, anchor, held.is_confirmed, facts, config, unit_of)),
        protected=_share(protected, lambda case: case.is_negative_flip or case.is_flaky(facts.is_relative)),
        fixed=_share(new_fixes, lambda case: case.challenger.is_right),
        earlier_fixes=_share(held_fixes, lambda case: not case.challenger.is_right),
        validity=count(held_out, lambda case: float(case.challenger.is_valid) - float(case.champion.is_valid)),
        lengths=_lengths(held_out, unit_of),
        flaky=_share(asked_twice, lambda case: case.is_flaky(facts.is_relative)),
        without=_without(facts, production),
        lost_in=_lost_in(steady),
        prompted=() if facts.is_relative else tuple(_prompted(failure)),
        is_relative=facts.is_relative,
        doubts=facts.doubts,
    )


@dataclass(frozen=True)
class _HeldOut:
    """The strata of today's production, and anchor; `is_confirmed`: the successes are calls that were confirmed."""

    failure: Sequence[Case]
    success: Sequence[Case]
    anchor: Sequence[Case]
    failure_rate: float
    is_confirmed: bool


def _held_out(steady: Sequence[Case], unit_of: Mapping[str, str], facts: Facts, config: GateConfig) -> _HeldOut:
    anchor = [case for case in steady if case.tier == "anchor"]
    failure = [case for case in steady if case.tier == "unseen" and case.is_new and case.stratum == "failure"]
    confirmed = [case for case in steady if case.tier == "unseen" and case.is_new and case.stratum == "success"]
    if facts.is_relative:  # nothing is a failure or a success by itself: all that is held out is one stratum
        return _HeldOut([], _once([*failure, *confirmed, *anchor]), anchor, 0.0, False)
    is_enough = len({unit_of[case.case_id] for case in confirmed}) >= config.min_cases
    # Of anchor only what the champion gets right: the rest of it is no sample of production's successes.
    success = confirmed if is_enough else [case for case in anchor if case.champion.is_right]
    return _HeldOut(failure, success, anchor, facts.failures / max(1, facts.calls), is_enough)


def units(cases: Sequence[Case], name: str | None) -> dict[str, str]:
    """The unit of each case: near-duplicates are one, and with a slice's `name` so are all that share its value."""
    keys = {f"group {case.group}" for case in cases}
    pairs = []
    if name is not None:
        for case in cases:
            if name in case.slices:
                keys.add(value := f"value {case.slices[name]}")
                pairs.append((f"group {case.group}", value))
    unit_of = components(keys, pairs)
    return {case.case_id: unit_of[f"group {case.group}"] for case in cases}


def _any(case: Case) -> bool:
    return True


def _difference(case: Case) -> float:
    return case.challenger.score - case.champion.score


def _once(cases: Sequence[Case]) -> list[Case]:
    return list({case.case_id: case for case in cases}.values())


def _by_unit(cases: Iterable[Case], unit_of: Mapping[str, str], value: Callable[[Case], float]) -> list[float]:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for case in cases:
        values[unit_of[case.case_id]].append(value(case))
    return [fmean(values[unit]) for unit in sorted(values)]


def _counted(cases: Iterable[Case], unit_of: Mapping[str, str], value: Callable[[Case], float]) -> Differences:
    # Rounded, so that equal means of different summands are one value; 0.0 and -0.0 are the same key.
    return dict(sorted(Counter(round(mean, 9) + 0.0 for mean in _by_unit(cases, unit_of, value)).items()))


def _mean(counts: Differences) -> float:
    return sum(value * count for value, count in counts.items()) / max(1, sum(counts.values()))


def _share(cases: Sequence[Case], is_counted: Callable[[Case], bool]) -> Share:
    counted = sorted(case.case_id for case in cases if is_counted(case))
    return Share(count=len(counted), of=len(cases), examples=tuple(counted[:SHOWN_EXAMPLES]))


def _against_reference(
    anchor: Sequence[Case], is_relative: bool, count: Callable[..., Differences]
) -> Differences | None:
    """Challenger - reference; where scores are relative, the reference's is of the comparison of these two."""

    def difference(case: Case) -> float:
        reference = case.reference.score if case.reference else 0.0
        return 1.0 - 2 * reference if is_relative else case.challenger.score - reference

    asked = [case for case in anchor if case.reference is not None]
    return count(asked, difference) if asked else None


def _slices(
    failure: Sequence[Case],
    success: Sequence[Case],
    anchor: Sequence[Case],
    is_anchor_apart: bool,
    facts: Facts,
    config: GateConfig,
    unit_of: Mapping[str, str],
) -> Iterable[Slice]:
    """Slices with enough units: as production where both strata have some, and on anchor where that is another set."""
    overall = facts.failures / max(1, facts.calls)
    names = sorted({name for case in [*failure, *success, *anchor] for name in _named(case)})
    for name in names:
        parts = [[case for case in part if name in _named(case)] for part in (failure, success, anchor)]
        failed, worked, given = (_counted(part, unit_of, _difference) for part in parts)
        lost = sorted({case.case_id for part in parts for case in part if case.is_negative_flip})
        shown = {"lost": len(lost), "examples": tuple(lost[:SHOWN_EXAMPLES])}
        rate = facts.slice_rates.get(name, overall)
        has_both = (failed or not rate) and worked
        if has_both and sum(failed.values()) + sum(worked.values()) >= config.min_slice_cases:
            production = Production(failure=failed, success=worked, failure_rate=rate)
            yield Slice(name=name, production=production, **shown)
        if (is_anchor_apart or not has_both) and sum(given.values()) >= config.min_slice_cases:
            yield Slice(name=name, anchor=given, **shown)


def _named(case: Case) -> set[str]:
    return {f"{name}={value}" for name, value in case.slices.items()}


def _lengths(cases: Sequence[Case], unit_of: Mapping[str, str]) -> Lengths:
    known = [case for case in cases if case.champion.tokens is not None and case.challenger.tokens is not None]
    before = _by_unit(known, unit_of, lambda case: case.champion.tokens or 0)
    after = _by_unit(known, unit_of, lambda case: case.challenger.tokens or 0)
    if len(before) < 2:
        return Lengths()
    return Lengths(
        units=len(before),
        champion=fmean(before),
        challenger=fmean(after),
        champion_variance=variance(before),
        challenger_variance=variance(after),
        covariance=covariance(before, after),
    )


def _without(facts: Facts, production: Callable[..., Production]) -> dict[str, Production]:
    """Production without each producer in turn; empty where one judged it all and nobody can be compared."""
    if len(facts.judged) < 2:
        return {}
    return {
        producer: production(
            lambda case, producer=producer: case.producer != producer,
            0.0 if facts.is_relative else max(0, facts.failures - failures) / max(1, facts.calls - judged),
        )
        for producer, (judged, failures) in sorted(facts.judged.items())
    }


def _lost_in(cases: Sequence[Case]) -> dict[str, Share]:
    """Negative flips by cluster and by slice, where they are densest first: by the lower limit of their share, so that
    neither one of two cases nor a slice that holds nearly everything comes first."""
    lost: defaultdict[str, list[str]] = defaultdict(list)
    seen: Counter[str] = Counter()
    for case in cases:
        places = _named(case) | ({f"cluster {case.cluster}"} if case.cluster else set())
        seen.update(places)
        if case.is_negative_flip:
            for place in places:
                lost[place].append(case.case_id)
    shares = {
        place: Share(count=len(ids), of=seen[place], examples=tuple(sorted(ids)[:SHOWN_EXAMPLES]))
        for place, ids in sorted(lost.items())
    }
    return dict(sorted(shares.items(), key=lambda item: upper_rate(item[1].of - item[1].count, item[1].of, 0.95)))


def _prompted(failure: Sequence[Case]) -> Iterable[Prompted]:
    asked: defaultdict[str, list[Case]] = defaultdict(list)
    for case in failure:
        if case.few_shot is not None and case.cluster is not None:
            asked[case.cluster].append(case)
    for cluster, cases in sorted(asked.items()):
        yield Prompted(
            cluster=cluster,
            cases=len(cases),
            few_shot=sum(case.few_shot is not None and case.few_shot.is_right for case in cases),
            challenger=sum(case.challenger.is_right for case in cases),
        )
