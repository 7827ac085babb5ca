"""The charts of a round as Matplotlib figures, for MLflow and, drawn inline, for the report.

Figures are made without pyplot, so that nothing is kept in global state. Their colours are for white paper;
`svg` turns them into CSS variables, so that the page decides what they are in dark and in light. Labels that
come from data are drawn with mathematics parsing off: a `$` is a `$`.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

from tasks.headlines import (
    Evidence,
    count,
    dig,
    model_name,
    number,
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
PALETTE = {"ink": "#3d444d", "before": "#8b949e", "after": "#0072b2", "good": "#00805a", "bad": "#c8510a"}
INK, BEFORE, AFTER, GOOD, BAD = PALETTE.values()
WIDTH = 5.6  # inches; the report shows a figure at about 1.35 times that
SHOWN_CLUSTERS = 8
# Okabe and Ito's colours that are left beside grey; they are the same in dark and in light.
MAP_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def _figure(height: float, panels: int = 1, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(panels, 1, squeeze=False)[:, 0])
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


def _forest_row(ax: Axes, title: str, result: Any, threshold: float, threshold_name: str) -> None:
    """One difference with its interval, in percentage points, on its own scale; the shaded side passes."""
    ax.set_title(title, loc="left", fontsize=9, color=INK, pad=6)
    ax.set_yticks([])
    ax.set_ylim(-1, 1)
    values = {key: number(result, key) for key in ("difference", "low", "high")}
    middle, low, high = (None if v is None else 100 * v for v in values.values())
    if middle is None or low is None or high is None:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "not measured", ha="center", va="center", color=INK, fontsize=9, transform=ax.transAxes)
        return
    ends = [threshold, 0.0, low, high]
    room = 0.14 * ((max(ends) - min(ends)) or 1.0)
    ax.set_xlim(min(ends) - room, max(ends) + room)
    ax.axvspan(threshold, max(ends) + room, color=GOOD, alpha=0.1, linewidth=0)
    ax.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    colour = GOOD if low > threshold else BAD if high < threshold else INK
    ax.plot([low, high], [0, 0], color=colour, linewidth=2.6, solid_capstyle="butt")
    ax.plot([low, low, high, high], [0, 0, 0, 0], "|", color=colour, markersize=9, markeredgewidth=1.8)
    ax.plot([middle], [0], "D", color=colour, markersize=7)
    _say(ax, middle, 0.62, f"{points(middle / 100)}  [{points(low / 100)}, {points(high / 100)}]", ha="center")
    ax.xaxis.set_major_formatter(lambda value, _: points(value / 100).removesuffix(".0"))
    right_half = threshold - min(ends) > max(ends) - threshold
    side, offset = ("right", -4) if right_half else ("left", 4)
    ax.annotate(
        threshold_name,
        (threshold, -0.85),
        xytext=(offset, 0),
        textcoords="offset points",
        ha=side,
        fontsize=7.5,
        color=INK,
    )


def gate_chart(evidence: Evidence) -> Figure:
    """What the gate saw, as a forest plot: weighted difference against zero, anchor against its margin."""
    weighted, anchor = dig(evidence, "gate", "weighted"), dig(evidence, "gate", "anchor")
    if weighted is None and anchor is None:
        return _notice("The round ended before the gate measured anything.")
    figure, (upper, lower) = _figure(2.9, panels=2)
    confidence = number(evidence, "gate", "confidence")
    level = "" if confidence is None else f", {100 * confidence:.0f}% interval"
    _forest_row(upper, f"Production accuracy, difference in points{level}", weighted, 0.0, "no difference")
    margin = 100 * (number(anchor, "margin") or 0.0)
    _forest_row(
        lower,
        "Anchor accuracy, must stay above the margin",
        anchor,
        -margin,
        f"margin {points(-margin / 100)}",
    )
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
