"""What the gate found, in sentences for people.

    reasons(decide(tally, config).findings)

What speaks against a promotion comes first, then what is open, then what passed.
"""

from collections.abc import Iterable, Mapping, Sequence

from tasks.decision import Decision, Finding
from tasks.outcomes import Share, Tally
from tasks.paired import Estimate

ORDER = ("failed", "open", "passed")
SHOWN_PLACES = 3
MIN_PROMPTED = 5
FIXED_BY_PROMPT = 0.75
BY_HEART = 0.2  # so many of the mistakes that it makes elsewhere: the champion may know such rows by heart
_MORE_CASES = {  # where those of each set come from
    "the failure stratum": "correct more of production's failures",
    "the success stratum": "confirm more right answers, or give demonstrations that no model was trained on",
    "anchor": "give demonstrations that no model was trained on",
    "the suite": "collect more preferences and corrections",
}
SHOWN_ID = 12  # of an id that is a hash; the beginning of one is enough for every command


def reasons(findings: Iterable[Finding]) -> list[str]:
    """A sentence for each finding, without its full stop, the gravest first."""
    return [sentence(finding) for finding in sorted(findings, key=lambda finding: ORDER.index(finding.state))]


def sentence(finding: Finding) -> str:
    """What was found, what it was held against, and what would decide it where it is open."""
    said = _SAID[finding.rule](finding)
    asked_for = _asked_for(finding.more) if finding.state == "open" and finding.strata else ""
    shown = finding.examples if finding.state != "passed" else ()
    return said + asked_for + _for_example(shown)


def remarks(decision: Decision, tally: Tally) -> list[str]:
    """What is worth knowing and decides nothing: where it got worse, what is flaky, what a prompt would fix."""
    found = []
    if decision.verdict == "reject" and tally.lost_in:
        found.append(f"what got worse is mostly in {', '.join(_places(tally.lost_in))}")
    if _is_by_heart(decision, tally):
        found.append(
            f"the champion gets {tally.anchor_champion:.0%} of anchor right, and {tally.champion_accuracy:.0%} of "
            f"production: if those demonstrations taught it, name their source in split.taught"
        )
    if tally.flaky.count:
        found.append(
            f"{tally.flaky.count} of {tally.flaky.of} cases were answered differently when the champion was asked "
            f"again, and do not count{_for_example(tally.flaky.examples)}"
        )
    for part in tally.prompted:
        if part.cases >= MIN_PROMPTED and part.few_shot >= max(part.challenger, FIXED_BY_PROMPT * part.cases):
            found.append(
                f"{part.cluster} is fixed by a prompt: with corrections in it the champion gets {part.few_shot} of "
                f"{part.cases} unseen failures right, the challenger {part.challenger}"
            )
    return found


def _is_by_heart(decision: Decision, tally: Tally) -> bool:
    """Whether anchor is shown to be lost, and the champion makes far fewer mistakes there than elsewhere."""
    is_lost = any((finding.rule, finding.state) == ("anchor", "failed") for finding in decision.findings)
    return is_lost and 1.0 - tally.anchor_champion < BY_HEART * (1.0 - tally.champion_accuracy)


def _cases(finding: Finding) -> str:
    share = finding.share or Share()
    return f"only {share.count} cases in {finding.subject}, {share.of} are needed: {_MORE_CASES[finding.subject]}"


def _superiority(finding: Finding) -> str:
    found = _found(finding)
    if finding.state == "passed":
        return f"production accuracy rises by {_span(found)}"
    if finding.state == "failed":
        return f"production accuracy changes by {_span(found)}: it would fall"
    surely = f"p is {finding.p_value:.2g}, and tonight {finding.level:.2g} is needed"
    return (
        f"production accuracy would change by {_span(found)}: {surely if found.low > 0 else 'not shown to be better'}"
    )


def _anchor(finding: Finding) -> str:
    against = "" if finding.rule == "anchor" else " against the pinned reference"
    said = f"anchor changed by {_span(_found(finding))}{against}"
    margin = f"{-100 * (finding.bound or 0):g}"
    return {
        "passed": f"{said}: within the margin of {margin}",
        "open": f"{said}: a loss of more than the margin of {margin} cannot be ruled out",
        "failed": f"{said}: worse by more than the margin of {margin}",
    }[finding.state]


def _slices(finding: Finding) -> str:
    if finding.state == "passed":
        return f"no harm is shown in any of {finding.subject}"
    return f"slice {finding.subject} changed by {_span(_found(finding))}: it got worse"


def _negative_flips(finding: Finding) -> str:
    found = _found(finding)
    said = f"{found.value:.1%} of production's calls would be right before and wrong now"
    tolerated = f"{finding.bound or 0:.1%} that are tolerated"
    return {
        "passed": f"{said} (at most {found.high:.1%}), fewer than the {tolerated}",
        "open": f"{said}, and up to {found.high:.1%} cannot be ruled out: more than the {tolerated}",
        "failed": f"{said}: more than the {tolerated}",
    }[finding.state]


def _protected(finding: Finding) -> str:
    share = finding.share or Share()
    if finding.state == "passed":
        return f"none of {share.of} protected cases got worse"
    return f"{share.count} of {share.of} protected cases got worse: a person has to look"


def _fixed(finding: Finding) -> str:
    share = finding.share or Share()
    said = f"{share.count} of {share.of} failures whose fix was trained on are fixed"
    wanted = f"{finding.bound or 0:.0%} are wanted: it has not learned what it was taught"
    return said if finding.state == "passed" else f"{said}, {wanted}"


def _earlier_fixes(finding: Finding) -> str:
    share = finding.share or Share()
    said = f"{share.count} of {share.of} earlier fixes are lost"
    return said if finding.state == "passed" else f"{said}, more than differ between two runs of one model"


def _valid_outputs(finding: Finding) -> str:
    said = f"outputs of the right form changed by {_span(_found(finding))}"
    margin = f"{-100 * (finding.bound or 0):g}"
    return {
        "passed": said,
        "open": f"{said}: a loss of more than {margin} cannot be ruled out",
        "failed": f"{said}: more than {margin} are lost",
    }[finding.state]


def _output_length(finding: Finding) -> str:
    ratio = "" if finding.ratio is None else f" are {finding.ratio:.2f} times as long as before"
    tolerated = f"{finding.bound or 1:g} times that is tolerated"
    return {
        "passed": f"outputs{ratio}",
        "open": f"outputs{ratio}: more than the {tolerated} cannot be ruled out",
        "failed": f"outputs{ratio}: more than the {tolerated}",
    }[finding.state]


def _producers(finding: Finding) -> str:
    changes = f"without those cases production changes by {_span(_found(finding))}"
    return f"the gain rests on {finding.subject} alone: {changes}"


_SAID = {
    "cases": _cases,
    "superiority": _superiority,
    "anchor": _anchor,
    "reference": _anchor,
    "slices": _slices,
    "negative flips": _negative_flips,
    "protected": _protected,
    "fixed": _fixed,
    "earlier fixes": _earlier_fixes,
    "valid outputs": _valid_outputs,
    "output length": _output_length,
    "producers": _producers,
    "doubts": lambda finding: finding.subject,
}


def _found(finding: Finding) -> Estimate:
    assert finding.estimate is not None
    return finding.estimate


def _asked_for(more: Mapping[str, int] | None) -> str:
    if more is None:
        return "; at these rates no number of cases would show it"
    needed = [f"{count:,} more {kind}" for kind, count in more.items()]
    return f"; about {' and '.join(needed)} would decide it" if needed else ""


def _places(lost_in: Mapping[str, Share]) -> list[str]:
    return [
        f"{place} ({lost.count} of {lost.of}{_for_example(lost.examples, ', ')})"
        for place, lost in list(lost_in.items())[:SHOWN_PLACES]
    ]


def _for_example(examples: Sequence[str], start: str = "; ") -> str:
    return f"{start}for example {', '.join(each[:SHOWN_ID] for each in examples)}" if examples else ""


def _span(found: Estimate) -> str:
    return f"{_points(found.value)} points ({_points(found.low)} to {_points(found.high)})"


def _points(share: float) -> str:
    return f"{100 * share + 0.0:+.1f}"
