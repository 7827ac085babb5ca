"""Promote, hold or reject: a pure function of a tally of outcomes and the config.

Each rule comes to a finding: it passed, it is open (not enough evidence, or a person has to look), or it failed (harm
is shown). Any finding that failed rejects, any that is open holds, and only where all passed the verdict is to promote.
`tasks.reasons` says what was found in words.

The first rule asks whether production would be better off. On past failures alone nothing can break, so that every
random change would look like progress; and on what the champion gets right nothing can be fixed. So both are weighted
by their shares of production, and tested together.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from tasks.gate_options import GateConfig
from tasks.outcomes import Differences, Lengths, Production, Share, Slice, Tally
from tasks.paired import (
    Z_MAX,
    Estimate,
    Stratum,
    binomial_tail,
    critical,
    estimate,
    holm,
    p_above,
    score_test,
    times_as_many,
    upper_rate,
)

Verdict = Literal["promote", "hold", "reject"]
State = Literal["passed", "open", "failed"]
Rule = Literal[
    "cases",
    "superiority",
    "anchor",
    "reference",
    "slices",
    "negative flips",
    "protected",
    "fixed",
    "earlier fixes",
    "valid outputs",
    "output length",
    "producers",
    "doubts",
]

DIFFERENCES = (-1.0, 1.0)
RATES = (0.0, 1.0)
# Sum of k^-1.5 over all k: the weights of the nights sum to 1.
ALL_NIGHTS = 2.612375348685488


@dataclass(frozen=True)
class Finding:
    """What one rule came to.

    `subject` is what it is about, where a rule looks at several things (a slice, a producer). A mean over `strata`, or
    `share`, is held against `bound`, with a `p_value` that has to be below `level`. `more` says how many more cases of
    which kind would probably decide what is open; None where no number would.
    """

    rule: Rule
    state: State
    subject: str = ""
    strata: tuple[Stratum, ...] = ()
    bounds: tuple[float, float] = DIFFERENCES
    confidence: float = 0.95
    share: Share | None = None
    ratio: float | None = None
    bound: float | None = None
    p_value: float | None = None
    level: float | None = None
    more: Mapping[str, int] | None = field(default_factory=dict)
    examples: tuple[str, ...] = ()

    @cached_property
    def estimate(self) -> Estimate | None:
        """What was measured, with its interval; None where nothing was estimated."""
        if self.strata:
            return estimate(self.strata, self.confidence, self.bounds)
        if self.share is not None and self.share.of:
            count, of, side = self.share.count, self.share.of, 0.5 + self.confidence / 2
            return Estimate(count / of, 1.0 - upper_rate(of - count, of, side), upper_rate(count, of, side))
        return None


@dataclass(frozen=True)
class Decision:
    """A verdict and the findings that it follows from."""

    verdict: Verdict
    findings: tuple[Finding, ...]


def decide(tally: Tally, config: GateConfig) -> Decision:
    """The verdict on a challenger.

    Where scores are relative, what lost is not wrong, and rules about right answers say nothing.
    """
    findings = [
        *_scarce(tally, config),
        _superiority(tally, config),
        _not_inferior("anchor", tally.anchor, config),
        *([_not_inferior("reference", tally.reference, config)] if tally.reference else []),
        *_slice_harm(tally.slices, config),
        *_protected(tally.protected),
        *([] if tally.is_relative else [_negative_flips(tally, config), *_fixes(tally, config)]),
        *_outputs(tally, config),
        *(Finding("doubts", "open", doubt) for doubt in tally.doubts),
    ]
    if _verdict(findings) == "promote":
        findings += _rests_on_one(tally, config)
    return Decision(_verdict(findings), tuple(findings))


def level_of_night(night: int, budget: float) -> float:
    """The level of the `night`th judged round since the last promotion: all of them together spend the budget.

    Alpha spending over a sequence of tests without an end (as in Foster and Stine 2008, "Alpha-investing"): the weights
    sum to 1, so that some wrong promotion among any number of nights has at most the chance `budget` (union bound). A
    promotion ends the sequence: what follows is tested against another champion, on a budget of its own.
    """
    return budget * night**-1.5 / ALL_NIGHTS


def production_strata(production: Production) -> tuple[Stratum, ...]:
    """The strata weighted as production is."""
    rate = production.failure_rate
    return Stratum(rate, production.failure), Stratum(1.0 - rate, production.success)


def _verdict(findings: Iterable[Finding]) -> Verdict:
    states = {finding.state for finding in findings}
    return "reject" if "failed" in states else "hold" if "open" in states else "promote"


def _scarce(tally: Tally, config: GateConfig) -> Iterator[Finding]:
    """A finding that is open for each set of cases that is too small to be judged on."""
    parts = {"the failure stratum": tally.production.failure, "the success stratum": tally.production.success}
    if tally.is_relative:
        parts = {"the suite": tally.production.success}
    elif tally.success_from == "unseen":
        parts["anchor"] = tally.anchor
    for name, counts in parts.items():
        if (there := _units(counts)) < config.min_cases:
            share = Share(count=there, of=config.min_cases)
            yield Finding("cases", "open", name, share=share, more={f"cases in {name}": config.min_cases - there})


def _superiority(tally: Tally, config: GateConfig) -> Finding:
    kinds = {"unseen failures": tally.production.failure, "successes": tally.production.success}
    level = level_of_night(tally.nights, config.error_budget)
    return _tested("superiority", production_strata(tally.production), 0.0, level, kinds, config)


def _not_inferior(rule: Rule, counts: Differences, config: GateConfig) -> Finding:
    """Whether a loss of the whole margin on anchor can be ruled out."""
    strata = (Stratum(1.0, counts),)
    return _tested(rule, strata, -config.anchor_margin, config.anchor_level, {"anchor cases": counts}, config)


def _tested(
    rule: Rule,
    strata: tuple[Stratum, ...],
    bound: float,
    level: float,
    kinds: Mapping[str, Differences],
    config: GateConfig,
    is_at_most: bool = False,
) -> Finding:
    """Whether a mean is shown to lie above a bound (or below it, for a rate that may be at most so much).

    It failed where the mean is shown to lie on the wrong side. Where it is open, `kinds` are the units of which more
    would help.
    """
    bounds, sign = (RATES, -1.0) if is_at_most else (DIFFERENCES, 1.0)
    z = sign * score_test(strata, bound, bounds)
    wrong_side = critical((1.0 - config.confidence) / 2)
    state: State = "passed" if z > critical(level) else "failed" if z < -wrong_side else "open"
    return Finding(
        rule,
        state,
        strata=strata,
        bounds=bounds,
        confidence=config.confidence,
        bound=bound,
        p_value=p_above(z),
        level=level,
        more=_more(z, level, config.power, kinds) if state == "open" else {},
    )


def _more(z: float, level: float, power: float, kinds: Mapping[str, Differences]) -> dict[str, int] | None:
    """How many more cases of each kind would decide it with this power, if the rates stay; None: no number would."""
    times = times_as_many(z, level, power)
    return None if times is None else {k: max(1, math.ceil((times - 1) * _units(part))) for k, part in kinds.items()}


def _slice_harm(slices: Sequence[Slice], config: GateConfig) -> list[Finding]:
    """A finding that failed for each slice that got worse, or one that passed for all of them together."""
    if not slices:
        return []
    strata = [
        production_strata(part.production) if part.production else (Stratum(1.0, part.anchor or {}),) for part in slices
    ]
    adjusted = holm([p_above(-score_test(each, 0.0)) for each in strata])
    harmed = [
        Finding(
            "slices",
            "failed",
            part.name,
            strata=each,
            confidence=config.confidence,
            bound=0.0,
            p_value=p,
            level=config.slice_level,
            examples=part.examples,
        )
        for part, each, p in zip(slices, strata, adjusted, strict=True)
        if p <= config.slice_level
    ]
    names = len({part.name for part in slices})
    none = Finding("slices", "passed", f"{names} slices", bound=0.0, p_value=min(adjusted), level=config.slice_level)
    return harmed or [none]


def _negative_flips(tally: Tally, config: GateConfig) -> Finding:
    """Whether more negative flips than are tolerated can be ruled out."""
    flips = tally.negative_flips
    level, kinds = 1.0 - config.confidence, {"successes": flips.success}
    bound = config.max_negative_flips
    return _tested("negative flips", production_strata(flips), bound, level, kinds, config, is_at_most=True)


def _protected(flips: Share) -> Iterator[Finding]:
    """A single negative flip in a protected slice needs a person, whatever the others say."""
    if flips.of:
        state: State = "open" if flips.count else "passed"
        yield Finding("protected", state, share=flips, bound=0.0, examples=flips.examples)


def _fixes(tally: Tally, config: GateConfig) -> Iterator[Finding]:
    """What was trained on is fixed, and what earlier rounds fixed stays so, beyond what differs between two runs."""
    fixed, earlier, flaky = tally.fixed, tally.earlier_fixes, tally.flaky
    if fixed.of:
        state: State = "passed" if fixed.count >= config.min_fixed * fixed.of else "open"
        yield Finding("fixed", state, share=fixed, confidence=config.confidence, bound=config.min_fixed)
    if earlier.of:
        level = 1.0 - config.confidence
        noise = upper_rate(flaky.count, flaky.of, config.confidence) if flaky.of else level
        p = binomial_tail(earlier.count, earlier.of, noise)
        is_beyond_noise = p <= level and earlier.count > 1  # of a single case nobody can tell
        yield Finding(
            "earlier fixes",
            "failed" if is_beyond_noise else "passed",
            share=earlier,
            confidence=config.confidence,
            bound=noise,
            p_value=p,
            level=level,
            examples=earlier.examples,
        )


def _outputs(tally: Tally, config: GateConfig) -> Iterator[Finding]:
    """Outputs are of the right form as often as before, and not longer, within the margins."""
    level = 1.0 - config.confidence
    if tally.validity and not tally.is_relative:
        strata, kinds = (Stratum(1.0, tally.validity),), {"held-out cases": tally.validity}
        yield _tested("valid outputs", strata, -config.invalid_margin, level, kinds, config)
    if tally.lengths.units:
        yield _length(tally.lengths, 1.0 + config.length_margin, level)


def _length(lengths: Lengths, bound: float, level: float) -> Finding:
    """Whether outputs that are longer by the margin can be ruled out, by the ratio of mean lengths (Fieller 1954)."""
    excess = bound * lengths.champion - lengths.challenger
    variance = lengths.challenger_variance + bound**2 * lengths.champion_variance - 2 * bound * lengths.covariance
    error = math.sqrt(max(0.0, variance) / lengths.units)
    z = excess / error if error > 0 else math.copysign(Z_MAX, excess)
    state: State = "passed" if z > critical(level) else "failed" if z < -critical(level) else "open"
    ratio = lengths.challenger / lengths.champion if lengths.champion else None
    return Finding("output length", state, ratio=ratio, bound=bound, p_value=p_above(z), level=level, more=None)


def _rests_on_one(tally: Tally, config: GateConfig) -> Iterator[Finding]:
    """A finding that is open for each producer without whose word the challenger is not shown to be better.

    Where several people judge the traffic, a promotion must not rest on one of them: held-out cases carry their
    reviewer's mistakes, and a challenger that has learned those mistakes would look better on them.
    """
    level = (1.0 - config.confidence) / 2
    for producer, rest in tally.without.items():
        strata = production_strata(rest)
        p = p_above(score_test(strata, 0.0))
        if p > level:
            yield Finding(
                "producers",
                "open",
                producer,
                strata=strata,
                confidence=config.confidence,
                bound=0.0,
                p_value=p,
                level=level,
            )


def _units(counts: Differences) -> int:
    return sum(counts.values())
