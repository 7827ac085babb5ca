"""Prefect's artifacts of a round, as Markdown and table rows: clusters, blend, flips, verdict.

Prefect renders the cells of a table artifact as Markdown too, so that everything that comes from data goes
through `escape`: a ticket that says `<script>` or `[click](here)` is shown as what it says.
"""

from __future__ import annotations

import re
from typing import Any

from tasks.cost_words import COLUMNS, cost_table
from tasks.findings import SIGNS, TERMS, asked, baselines, facts, places, rules_line, would_decide
from tasks.headlines import (
    MISSING,
    Evidence,
    count,
    dig,
    flip_total,
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
from tasks.shadow_words import shadow_lines

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
    """Rows of the flip artifact, the gravest first, at most `limit`; a last row counts those left out."""
    flips = ranked_flips(evidence)
    table = [
        {
            "flip": escape(f.get("kind")),
            "protected": "protected" if f.get("is_protected") else "",
            "tier": escape(stratum_name(f)),
            "cluster": escape(f.get("cluster")),
            "trained on": {"True": "yes", "False": "no"}.get(str(f.get("in_snapshot")), ""),
            "right answer": escape(f.get("expected"), 240),
            "champion": escape(f.get("champion_output"), 240),
            "challenger": escape(f.get("challenger_output"), 240),
            "input": escape(f.get("input"), 240),
        }
        for f in flips[:limit]
    ]
    if table and (more := flip_total(evidence) - len(table)):
        note = f"{more:,} more; the whole list is flips.parquet of the round, and of its run in MLflow"
        table.append(dict.fromkeys(table[0], "") | {"flip": "…", "right answer": note})
    return table


def markdown_table(rows: list[list[str]]) -> str:
    """A Markdown table of cells that are escaped already; the first row is its head."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def verdict_markdown(evidence: Evidence) -> str:
    """The verdict artifact, as Markdown: the outcome, what was asked and found, the numbers, where it got worse."""
    lines = [f"# Round {escape(dig(evidence, 'round'))}: {verdict_word(evidence)}", escape(outcome(evidence)) + "."]
    lines += _findings(evidence)
    lines += [markdown_table(_numbers(evidence))]
    lines += _tiers(evidence)
    lines += _worse(evidence)
    lines += _baselines(evidence)
    lines += _facts(evidence)
    lines += _shadow(evidence)
    lines += _cost(evidence)
    return "\n\n".join(line for line in lines if line) + "\n"


def _cost(evidence: Evidence) -> list[str]:
    rows = [[escape(cell) for cell in row] for row in cost_table(evidence)]
    return ["## What it cost so far", markdown_table([list(COLUMNS), *rows])] if rows else []


def _findings(evidence: Evidence) -> list[str]:
    """What was asked, found and needed, and what would decide what is open; without findings the reasons alone."""
    if not records(evidence, "gate", "findings"):
        return [_list([escape(reason) for reason in dig(evidence, "reasons") or []])]
    rows = [
        # The screen cuts what is on the right.
        [
            f"{SIGNS[row.state]} {row.state}",
            escape(row.question),
            escape(row.found),
            escape(row.needed),
            escape(row.small),
        ]
        for row in asked(evidence)
    ]
    lines = [
        escape(rules_line(evidence).capitalize()) + ".",
        markdown_table([["Verdict", "What was asked", "What was found", "Needed", "Small print"], *rows]),
        f"p: {escape(TERMS['p'])}",
    ]
    if dig(evidence, "verdict") == "hold" and (deciders := would_decide(evidence)):
        lines += ["## What would decide it", _list([escape(each) for each in deciders])]
    if remarks := dig(evidence, "remarks"):
        lines += ["## Worth knowing", _list([escape(remark) for remark in remarks])]
    return lines


def _list(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _numbers(evidence: Evidence) -> list[list[str]]:
    h = headline(evidence)
    return [
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


def _tiers(evidence: Evidence) -> list[str]:
    keys = ("cases", "champion_right", "challenger_right", "fixes", "negative_flips")
    tiers = [
        [escape(stratum_name(tier)), *(count(tier.get(key)) for key in keys)] for tier in records(evidence, "tiers")
    ]
    columns = ["Tier", "Cases", "Champion right", "Challenger right", "Fixes", "Negative flips"]
    return ["## By tier", markdown_table([columns, *tiers])] if tiers else []


def _worse(evidence: Evidence) -> list[str]:
    """Where answers got worse, each place with an example; nothing for a version that was promoted."""
    if dig(evidence, "verdict") == "promote":
        return []
    rows = []
    for place in places(evidence):
        example = place.examples[0] if place.examples else {}
        texts = [escape(example.get(key), 240) for key in ("input", "expected", "champion_output", "challenger_output")]
        lost = MISSING if place.lost is None else f"{count(place.lost)} of {count(place.of)}"
        rows.append([escape(place.name), lost, *texts])
    columns = ["Where", "Got worse", "For example", "Right is", "Champion", "Challenger"]
    return ["## Where it got worse", markdown_table([columns, *rows])] if rows else []


def _baselines(evidence: Evidence) -> list[str]:
    rows = [
        [count(row.cases), count(row.few_shot), count(row.challenger), escape(row.name)] for row in baselines(evidence)
    ]
    columns = ["Cases", "Right by a prompt", "By the challenger", "Of"]
    explained = escape(TERMS["few-shot"])
    return ["## Would a prompt have fixed it?", explained, markdown_table([columns, *rows])] if rows else []


def _shadow(evidence: Evidence) -> list[str]:
    said = [f"{escape(line)}." for line in shadow_lines(evidence)]
    return ["## Beside the champion on the latest calls", _list(said)] if said else []


def _facts(evidence: Evidence) -> list[str]:
    said = [
        f"{escape(fact.name)}: {escape(fact.said)}" + (f" `{fact.command}`" if fact.command else "")
        for fact in facts(evidence)
    ]
    return ["## What the verdict's worth depends on", _list(said)] if said else []
