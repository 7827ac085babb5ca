"""What a round changes, in the few figures that people ask for first: (name, before and after).

A pure function of a round's evidence, for the terminal and for `flywheel explain`.
"""

from tasks.headlines import Evidence, Headline, count, dig, headline, number, percent, points


def _change(before: str, after: str) -> str:
    return f"{before} → {after}"


def _failure_line(h: Headline, promoted: bool) -> tuple[str, str]:
    rates = _change(percent(h.failure_before), percent(h.failure_after)) + ("" if promoted else " had it served")
    known = "" if h.low is None or h.high is None else f" ({points(-h.high)} to {points(-h.low)} pts)"
    return "production failures", rates + known


def figures(evidence: Evidence) -> list[tuple[str, str]]:
    """The before and after of a round, as (name, value), what was not measured left out."""
    h = headline(evidence)
    facts: list[tuple[str, str]] = []
    if h.failure_after is not None:
        facts.append(_failure_line(h, dig(evidence, "verdict") == "promote"))
    if h.unseen_cases is not None:
        right = _change(count(h.unseen_before), count(h.unseen_right))
        facts.append(("unseen failures right", f"{right} of {count(h.unseen_cases)}"))
    if h.negative_flips is not None:
        facts.append(
            (
                "negative flips",
                f"{count(h.negative_flips)} of {count(h.cases)} cases ({count(h.fixes)} fixes)",
            )
        )
    if h.anchor is not None:
        margin = "" if h.anchor_margin is None else f", may lose {points(h.anchor_margin).lstrip('+')}"
        facts.append(("anchor", f"{points(h.anchor)} points{margin}"))
    if not facts and dig(evidence, "counts"):
        read, failed = (number(evidence, "counts", key) for key in ("read", "failures"))
        facts.append(("came in", f"{count(read)} rows, {count(failed)} failures"))
    return facts
