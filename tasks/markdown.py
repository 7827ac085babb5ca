"""Prefect's artifacts of a round, as Markdown and table rows: clusters, blend, flips, verdict.

Prefect renders the cells of a table artifact as Markdown too, so that everything that comes from data goes
through `escape`: a ticket that says `<script>` or `[click](here)` is shown as what it says.
"""

from __future__ import annotations

import re
from typing import Any

from tasks.headlines import (
    Evidence,
    count,
    dig,
    headline,
    outcome,
    percent,
    plain,
    points,
    ranked_clusters,
    ranked_flips,
    records,
    stratum_name,
    trend,
    verdict_word,
)

_MARKS = re.compile(r"([\\`*_\[\]#|~!$@])|(?<=[:])(?=//)|(?<=www)(?=\.)")
_OPENERS = re.compile(r"^(\d*)(?=[-+=:.)])")


def escape(value: Any, limit: int | None = None) -> str:
    """One line of Markdown that shows exactly `value`: no emphasis, link, tag or table cell comes of it."""
    line = " ".join(plain(value, limit).split())
    line = _MARKS.sub(r"\\\1", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _OPENERS.sub(r"\1\\", line)


def clusters_table(evidence: Evidence) -> list[dict[str, Any]]:
    """Rows of the cluster artifact, ranked by impact."""
    return [
        {
            "cluster": escape(c.get("cluster_id")),
            "label": escape(c.get("label"), 120),
            "failures": count(c.get("failures")),
            "share of traffic": percent(c.get("share_of_traffic")),
            "impact": percent(c.get("impact")),
            "since the last round": trend(c) or "new",
            "train": count(c.get("train")),
            "unseen": count(c.get("unseen")),
            "unseen fixed": count(c.get("unseen_fixed")),
        }
        for c in ranked_clusters(evidence)
    ]


def blend_table(evidence: Evidence) -> list[dict[str, Any]]:
    """Rows of the blend artifact: what was trained on, by signal and source, then what was left out."""
    used = [
        {
            "signal": escape(b.get("signal")),
            "source": escape(b.get("source")),
            "rows": count(b.get("rows")),
            "producers": ", ".join(f"{escape(who)} {count(n)}" for who, n in (b.get("producers") or {}).items()),
        }
        for b in records(evidence, "blend")
    ]
    left = [
        {
            "signal": f"{escape(x.get('signal') or 'correction')} left out",
            "source": escape(x.get("reason")),
            "rows": count(x.get("rows")),
            "producers": "",
        }
        for x in records(evidence, "excluded")
    ]
    return used + left


def flips_table(evidence: Evidence, limit: int = 200) -> list[dict[str, Any]]:
    """Rows of the flip artifact, negative flips first, at most `limit`; a last row counts those left out."""
    flips = ranked_flips(evidence)
    table = [
        {
            "flip": escape(f.get("kind")),
            "tier": escape(stratum_name(f)),
            "cluster": escape(f.get("cluster")),
            "input": escape(f.get("input"), 240),
            "right answer": escape(f.get("expected"), 240),
            "champion": escape(f.get("champion_output"), 240),
            "challenger": escape(f.get("challenger_output"), 240),
        }
        for f in flips[:limit]
    ]
    if len(flips) > limit:
        note = f"{len(flips) - limit:,} more, all in the round's evidence.json"
        table.append((dict.fromkeys(table[0], "") if table else {}) | {"flip": "…", "input": note})
    return table


def markdown_table(rows: list[list[str]]) -> str:
    """A Markdown table of cells that are escaped already; the first row is its head."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def verdict_markdown(evidence: Evidence) -> str:
    """The verdict artifact: the outcome, its reasons, the headline numbers and the tiers, as Markdown."""
    h = headline(evidence)
    lines = [
        f"# Round {escape(dig(evidence, 'round'))}: {verdict_word(evidence)}",
        escape(outcome(evidence)) + ".",
    ]
    lines += ["\n".join(f"- {escape(reason)}" for reason in dig(evidence, "reasons") or [])]
    numbers = [
        ["Measured", "Champion", "Challenger", "Difference"],
        [
            "Production failure rate",
            percent(h.failure_before),
            percent(h.failure_after),
            f"{points(None if h.difference is None else -h.difference)} points",
        ],
        [
            "Unseen failures answered right",
            count(h.unseen_before),
            count(h.unseen_right),
            f"of {count(h.unseen_cases)}",
        ],
        ["Negative flips", "", count(h.negative_flips), f"of {count(h.cases)} cases, {count(h.fixes)} fixes"],
        ["Anchor", "", "", f"{points(h.anchor)} points, margin {points(h.anchor_margin).lstrip('+')}"],
    ]
    lines += [markdown_table(numbers)]
    tiers = [
        [
            escape(stratum_name(t)),
            count(t.get("cases")),
            count(t.get("champion_right")),
            count(t.get("challenger_right")),
            count(t.get("fixes")),
            count(t.get("negative_flips")),
        ]
        for t in records(evidence, "tiers")
    ]
    if tiers:
        columns = ["Tier", "Cases", "Champion right", "Challenger right", "Fixes", "Negative flips"]
        lines += ["## By tier", markdown_table([columns, *tiers])]
    return "\n\n".join(line for line in lines if line) + "\n"
