"""The charts of a round as Matplotlib figures, for MLflow and, drawn inline, for the report.

Figures are made without pyplot, so that nothing is kept in global state. Their colours are for white paper;
`svg` turns them into CSS variables, so that the page decides what they are in dark and in light. Labels that
come from data are drawn with mathematics parsing off: a `$` is a `$`.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

from tasks.findings import SIGNS, findings, harmed_slices, worst_slices
from tasks.headlines import (
    Evidence,
    count,
    dig,
    model_name,
    number,
    percent,
    plain,
    points,
    ranked_clusters,
    records,
    stratum_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe and Ito, whose colours people with any colour vision tell apart. The report has styles under
# the same names.
PALETTE = {
    "ink": "#3d444d",
    "before": "#8b949e",
    "after": "#0072b2",
    "good": "#00805a",
    "bad": "#c8510a",
    "hold": "#855b00",
}
INK, BEFORE, AFTER, GOOD, BAD, HOLD = PALETTE.values()
WIDTH = 5.6  # inches; the report shows a figure at about 1.35 times that
SHOWN_CLUSTERS = 8
SHOWN_HARMED = 6
# Okabe and Ito's colours that are left beside grey; they are the same in dark and in light.
MAP_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def _figure(
    height: float, panels: int = 1, width: float = WIDTH, ratios: list[float] | None = None
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(panels, 1, squeeze=False, height_ratios=ratios)[:, 0])
    for ax in axes:
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.spines["bottom"].set_color(INK)
        ax.spines["bottom"].set_alpha(0.4)
        ax.tick_params(colors=INK, labelsize=8, length=0, pad=5)
        ax.grid(axis="x", color=INK, alpha=0.13, linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def _notice(message: str) -> Figure:
    """A figure that says why there is no chart."""
    figure, (ax,) = _figure(0.9)
    ax.set_axis_off()
    ax.text(0.5, 0.5, message, ha="center", va="center", color=INK, fontsize=9, transform=ax.transAxes)
    return figure


def _short(text: Any, limit: int) -> str:
    """One line of at most `limit` characters, so that no text from data pushes a chart out of its frame."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _say(ax: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text at data coordinates, in ink unless told otherwise, never parsed as mathematics."""
    defaults: dict[str, Any] = {"color": INK, "fontsize": 8.5, "va": "center", "parse_math": False}
    ax.text(x, y, text, **(defaults | style))


def _legend(ax: Axes, entries: list[tuple[str, str]], columns: int | None = None) -> None:
    """Named dots above the axes, from (colour, name), side by side or in so many columns."""
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], marker="o", linestyle="", color=colour, markersize=6) for colour, _ in entries]
    legend = ax.legend(
        dots,
        [_short(name, 40) for _, name in entries],
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns or len(entries),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handletextpad=0.2,
        columnspacing=1.4,
        borderaxespad=0.1,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _dumbbell(ax: Axes, y: float, before: float, after: float) -> None:
    """One row: both accuracies (percent), joined by a line in the colour of the direction."""
    ax.plot([before, after], [y, y], color=GOOD if after >= before else BAD, linewidth=2.4, alpha=0.55, zorder=2)
    ax.plot([before], [y], "o", color=BEFORE, markersize=8, zorder=3)
    ax.plot([after], [y], "o", color=AFTER, markersize=8, zorder=4)
    low, high = sorted((before, after))
    if round(low, 1) != round(high, 1):
        _say(ax, low - 3, y, f"{low:.1f}", ha="right")
    _say(ax, high + 3, y, f"{high:.1f}", ha="left")


def tier_chart(evidence: Evidence) -> Figure:
    """Accuracy by tier and stratum in percent, champion against challenger, one row each."""
    tiers = [t for t in records(evidence, "tiers") if (number(t, "cases") or 0) > 0]
    if not tiers:
        return _notice("No regression case was run in this round.")
    figure, (ax,) = _figure(0.85 + 0.42 * len(tiers))
    names = []
    for y, tier in enumerate(tiers):
        cases = number(tier, "cases") or 1
        before, after = (100 * (number(tier, key) or 0) / cases for key in ("champion_right", "challenger_right"))
        _dumbbell(ax, y, before, after)
        names.append(f"{_short(stratum_name(tier), 34)}  ({count(cases)})")
    ax.set_yticks(range(len(names)), names, fontsize=8.5, parse_math=False)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.set_xlim(-13, 114)
    ax.set_xticks(range(0, 101, 25), [f"{tick}%" for tick in range(0, 101, 25)])
    champion, challenger = (
        model_name(evidence, "champion", "before"),
        model_name(evidence, "challenger", "after"),
    )
    _legend(ax, [(BEFORE, f"champion {champion}"), (AFTER, f"challenger {challenger}")])
    return figure


# What each rule's number is: a change (which must lie right of its margin), or a share that may be at most or must be
# at least so much. The rules of a kind share an axis.
_CHANGE, _AT_MOST, _AT_LEAST = (
    "Change of accuracy in points: the bar has to end up right of its margin",
    "Share that breaks: the bar has to end up left of its margin",
    "Share that is learned: the mark has to end up right of its margin",
)
_PANELS = {
    "superiority": (_CHANGE, "Production"),
    "anchor": (_CHANGE, "Anchor, everyday cases"),
    "reference": (_CHANGE, "Anchor, against the reference"),
    "slices": (_CHANGE, "Slice"),
    "producers": (_CHANGE, "Production, without"),
    "valid outputs": (_CHANGE, "Answers of the right form"),
    "negative flips": (_AT_MOST, "Right before, wrong now"),
    "earlier fixes": (_AT_MOST, "Earlier fixes lost"),
    "fixed": (_AT_LEAST, "Corrections that it was taught"),
}
_MARKS = {"passed": (GOOD, "D", "full"), "open": (HOLD, "o", "none"), "failed": (BAD, "X", "full")}


def _forest(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """The findings that were measured against a margin, by panel; slices are the worst, whether harmed or not."""
    rows = [row for row in findings(evidence) if row.get("rule") != "slices"]
    slices = [*harmed_slices(evidence)[:SHOWN_HARMED], *worst_slices(evidence)]
    panels: dict[str, list[dict[str, Any]]] = {_CHANGE: [], _AT_MOST: [], _AT_LEAST: []}
    for rule, (panel, _) in _PANELS.items():
        panels[panel] += [
            row
            for row in [*rows, *slices]
            if row.get("rule") == rule and None not in [number(row, key) for key in ("value", "low", "high", "bound")]
        ]
    return {panel: found for panel, found in panels.items() if found}


def _forest_row(ax: Axes, y: int, row: dict[str, Any], ends: tuple[float, float], is_change: bool) -> None:
    """One finding: its interval and its margin, and to the right what was measured and what it came to."""
    middle, low, high, bound = (100 * (number(row, key) or 0.0) for key in ("value", "low", "high", "bound"))
    is_at_most = _PANELS[str(row["rule"])][0] == _AT_MOST
    is_unharmed = row["rule"] == "slices" and row["state"] == "passed"
    colour, marker, fill = (INK, "D", "none") if is_unharmed else _MARKS[str(row["state"])]
    passes = (ends[0], bound) if is_at_most else (bound, ends[1])
    if not is_unharmed:  # such a slice passes wherever its bar ends: among many, one lies left by chance
        ax.fill_between(passes, y - 0.36, y + 0.36, color=GOOD, alpha=0.1, linewidth=0)
    ax.plot([bound, bound], [y - 0.36, y + 0.36], color=INK, linewidth=1.3, linestyle=(0, (3, 2)))
    ax.plot([low, high], [y, y], color=colour, linewidth=2.4, solid_capstyle="butt")
    ax.plot([low, high], [y, y], "|", color=colour, markersize=8, markeredgewidth=1.6, linestyle="")
    ax.plot([middle], [y], marker, color=colour, markersize=8, fillstyle=fill, markeredgewidth=1.6, linestyle="")
    show = points if is_change else percent
    right = {"x": 1.015, "transform": ax.get_yaxis_transform(), "va": "center", "parse_math": False}
    said = f"{show(middle / 100)}  [{show(low / 100)}, {show(high / 100)}]"
    ax.text(y=y - 0.17, s=said, color=INK, fontsize=8.5, **right)
    came_to = "no harm shown" if is_unharmed else f"{row['state']}  ·  margin {show(bound / 100)}"
    ax.text(y=y + 0.22, s=f"{SIGNS[str(row['state'])]} {came_to}", color=colour, fontsize=7.5, **right)


def _forest_panel(ax: Axes, title: str, rows: list[dict[str, Any]]) -> None:
    ax.set_title(title, loc="left", fontsize=9, color=INK, pad=5)
    numbers = [100 * (number(row, key) or 0.0) for row in rows for key in ("value", "low", "high", "bound")]
    is_change = title == _CHANGE
    lowest, highest = min([*numbers, 0.0] if is_change else [0.0, *numbers]), max(numbers)
    if title == _AT_LEAST:
        lowest, highest = min(numbers), 100.0
    room = 0.06 * ((highest - lowest) or 1.0)
    ends = (lowest - room, highest + room)
    for y, row in enumerate(rows):
        _forest_row(ax, y, row, ends, is_change)
    names = [f"{_PANELS[str(row['rule'])][1]} {_short(row.get('subject'), 24)}".strip() for row in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=8.5, parse_math=False)
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.set_xlim(*ends)
    unit = points if is_change else percent
    ax.xaxis.set_major_formatter(lambda value, _: unit(value / 100).replace(".0", ""))


def gate_chart(evidence: Evidence) -> Figure:
    """What the gate measured, as a forest plot: each finding with its interval against its own margin."""
    panels = _forest(evidence)
    if not panels:
        return _notice("The round ended before the gate measured anything.")
    ratios = [len(rows) + 0.5 for rows in panels.values()]
    height = 0.45 * sum(len(rows) for rows in panels.values()) + 0.55 * len(panels) + 0.3
    figure, axes = _figure(height, panels=len(panels), width=1.45 * WIDTH, ratios=ratios)
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        _forest_panel(ax, title, rows)
    confidence = number(evidence, "gate", "confidence") or 0.95
    said = f"bars are {100 * confidence:g}% intervals, dashes are margins; some rules ask for more certainty than that"
    axes[-1].set_xlabel(said, color=INK, fontsize=8)
    return figure


def _cluster_row(ax: Axes, y: int, cluster: dict[str, Any], widest: float) -> None:
    """One cluster: its name above its share of production calls and what remains of it (percent)."""
    share = 100 * (number(cluster, "share_of_traffic") or 0)
    unseen, fixed = number(cluster, "unseen"), number(cluster, "unseen_fixed")
    _say(
        ax,
        0,
        y - 0.3,
        _short(cluster.get("label") or cluster.get("cluster_id") or "unnamed", 100),
        fontsize=8.5,
    )
    ax.barh(y + 0.06, share, height=0.24, color=BEFORE, alpha=0.55)
    remaining = ""
    if unseen and fixed is not None:
        left = share * max(0.0, unseen - fixed) / unseen
        ax.barh(y + 0.06, left, height=0.24, color=AFTER)
        remaining = f" → {left:.1f}%  ·  {count(fixed)} of {count(unseen)} unseen fixed"
    _say(ax, share + 0.015 * widest, y + 0.06, f"{share:.1f}%{remaining}", fontsize=8)


def cluster_chart(evidence: Evidence) -> Figure:
    """Failure clusters by impact: share of production calls before, and after by the unseen cases."""
    clusters = ranked_clusters(evidence)[:SHOWN_CLUSTERS]
    if not clusters:
        return _notice("No failure cluster was found in this round.")
    figure, (ax,) = _figure(0.6 + 0.44 * len(clusters), width=1.45 * WIDTH)
    widest = max(100 * (number(c, "share_of_traffic") or 0) for c in clusters) or 1.0
    for y, cluster in enumerate(clusters):
        _cluster_row(ax, y, cluster, widest)
    ax.set_yticks([])
    ax.set_ylim(len(clusters) - 0.6, -0.6)
    ax.set_xlim(0, 1.5 * widest)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}%")
    _legend(ax, [(BEFORE, "of production calls, before"), (AFTER, "after, estimated on unseen failures")])
    return figure


def map_chart(evidence: Evidence) -> Figure:
    """Each failure as a dot near those that it resembles, in the colour of its cluster; the largest are numbered."""
    points_ = [p for p in dig(evidence, "map") or [] if isinstance(p, list) and len(p) == 3]
    if not points_:
        return _notice("There were too few failures for a map.")
    figure, (ax,) = _figure(3.6, width=1.45 * WIDTH)
    ax.set_axis_off()
    names = [c.get("cluster_id") for c in ranked_clusters(evidence)][: len(MAP_COLOURS)]
    rest = [p for p in points_ if p[2] not in names]
    ax.scatter([p[0] for p in rest], [p[1] for p in rest], s=9, color=BEFORE, alpha=0.55, linewidths=0)
    for rank, (name, colour) in enumerate(zip(names, MAP_COLOURS, strict=False), start=1):
        members = [p for p in points_ if p[2] == name]
        if members:
            xs, ys = sorted(p[0] for p in members), sorted(p[1] for p in members)
            ax.scatter([p[0] for p in members], [p[1] for p in members], s=13, color=colour, linewidths=0)
            _say(ax, xs[len(xs) // 2], ys[len(ys) // 2], str(rank), ha="center", fontsize=11, fontweight="bold")
    labels = [c.get("label") for c in ranked_clusters(evidence)][: len(names)]
    dots = [
        (colour, f"{rank}  {_short(label, 34)}")
        for rank, (label, colour) in enumerate(zip(labels, MAP_COLOURS, strict=False), start=1)
    ]
    _legend(ax, dots, columns=2)
    return figure


def loss_chart(evidence: Evidence) -> Figure:
    """Training loss by optimiser step; its last value is written at the end of the line."""
    pairs = dig(evidence, "training", "loss") or []
    curve = [
        (p[0], p[1]) for p in pairs if len(p) == 2 and None not in (number({"v": p[0]}, "v"), number({"v": p[1]}, "v"))
    ]
    if not curve:
        return _notice("No training loss was recorded in this round.")
    steps, losses = zip(*curve, strict=True)
    figure, (ax,) = _figure(2.1)
    ax.grid(axis="y", color=INK, alpha=0.13, linewidth=0.8)
    ax.plot(steps, losses, color=AFTER, linewidth=2, marker="o", markersize=3.5 if len(curve) < 40 else 0)
    _say(ax, steps[-1] + 0.02 * max(steps), losses[-1], f"{losses[-1]:.2f}", color=AFTER)
    ax.set_ylim(0, max(losses) * 1.1 or 1.0)
    ax.set_xlim(0, max(steps) * 1.1 or 1.0)
    ax.set_xlabel("optimiser step", color=INK, fontsize=8.5)
    ax.set_ylabel("loss", color=INK, fontsize=8.5)
    return figure


def _inline(markup: str, title: str) -> str:
    """Matplotlib's SVG document as an inline element: named, scalable, in the page's own colours."""
    body = markup[markup.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"', r"\1\2", body)
    for name, colour in PALETTE.items():
        body = re.sub(rf"(fill|stroke): {colour}", rf"\1: var(--{name})", body)
    name = escape(title, quote=True)
    return body.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)


def svg(figure: Figure, title: str) -> str:
    """The figure as an inline `<svg>`, the same bytes for the same data; text stays text."""
    import io
    import warnings

    from matplotlib import rc_context

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.hashsalt": "flywheel", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*missing")  # only measured here, drawn by the browser
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    return _inline(buffer.getvalue(), title)
