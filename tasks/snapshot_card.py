"""The card of a snapshot: what it is made of and what stayed out, for people (Markdown, report) and programs (JSON)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.headlines import count, dig, number, plain, records
from tasks.markdown import escape, markdown_table

if TYPE_CHECKING:
    import polars as pl

MOST_VALUES = 40  # of one column; the others are counted together
OTHERS = "(others)"


def make_card(
    frozen: "pl.DataFrame", left_out: Mapping[str, Mapping[str, int]], distance: Mapping[str, float]
) -> dict[str, Any]:
    """The card of frozen rows, as JSON: rows by signal, producer, source, class and slice, and the answers' lengths.

    `left_out` counts, for each reason, the signals that stayed out, by kind; `distance` is that of the blend from
    production (see `tasks.mix.distances`).
    """
    import polars as pl

    text = pl.col("chosen").str.json_path_match("$[-1].content").fill_null("")
    answers = frozen.select(text.alias("text")).select(
        words=pl.col("text").str.count_matches(r"\S+"), characters=pl.col("text").str.len_chars()
    )
    failed = frozen.filter(pl.col("cluster_id").is_not_null())
    return {
        "rows": frozen.height,
        "by": {
            "signal": _values(frozen["signal"]),
            "source": _values(frozen["source"]),
            "producer": _values(frozen["producer"]),
            "class of failures": _values(failed["cluster_id"]),
            "slices": _values(frozen["slices"]),
        },
        "answer": {name: _spread(answers[name]) for name in answers.columns},
        "distance": dict(distance),
        "left_out": {reason: dict(kinds) for reason, kinds in left_out.items() if any(kinds.values())},
    }


def _values(column: "pl.Series") -> dict[str, int]:
    """How often each value comes, the most frequent first; rare ones of many together."""
    counts = column.value_counts().sort(["count", column.name], descending=[True, False])
    shown = dict(counts.head(MOST_VALUES).iter_rows())
    rest = counts.slice(MOST_VALUES)["count"].sum()
    return shown | ({OTHERS: rest} if rest else {})


def _spread(lengths: "pl.Series") -> dict[str, float]:
    quantiles = {"shortest": 0.0, "median": 0.5, "95% are at most": 0.95, "longest": 1.0}
    return {name: float(lengths.quantile(share, "nearest") or 0) for name, share in quantiles.items()}


def card_lines(card: Any) -> list[tuple[str, str]]:
    """The card in lines of a name and what is said of it; of what is missing nothing is said."""
    lines = []
    if isinstance(by := dig(card, "by"), Mapping):
        lines += [(f"By {name}", _counted(counts)) for name, counts in by.items()]
    for unit in ("words", "characters"):
        if isinstance(spread := dig(card, "answer", unit), Mapping):
            lines.append((f"Answer, {unit}", _counted(spread)))
    if isinstance(distance := dig(card, "distance"), Mapping):
        text = " · ".join(f"{plain(name, 80)} {plain(value, 8)}" for name, value in distance.items())
        lines.append(("Distance from production (total variation, 0 to 1)", text))
    if isinstance(counts := dig(card, "candidates", "counts"), Mapping):
        whose, rule = dig(card, "candidates", "champion"), dig(card, "candidates", "ranked_by")
        lines.append((f"Candidates of the champion ({whose}), ranked by {rule}", _counted(counts)))
    if isinstance(left := dig(card, "left_out"), Mapping):
        lines += [(f"Left out: {reason}", _counted(kinds)) for reason, kinds in left.items()]
    return [(plain(name, 120), text) for name, text in lines if text]


def _counted(counts: Any) -> str:
    pairs = counts.items() if isinstance(counts, Mapping) else ()
    return " · ".join(f"{plain(key, 80)} {count(number({'v': value}, 'v'))}" for key, value in pairs)


def card_markdown(evidence: Mapping[str, Any]) -> str:
    """The card of a round's snapshot as Markdown; whatever comes from data is shown as what it says."""
    card = dig(evidence, "card")
    head = f"# Snapshot {escape(dig(evidence, 'snapshot', 'hash'))}\n\n{count(dig(card, 'rows'))} training rows."
    rows = [[escape(name), escape(text)] for name, text in card_lines(card)]
    return f"{head}\n\n{markdown_table([['', 'Rows'], *rows])}\n"


def left_out(evidence: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What stayed out of a round's snapshot, for each reason by kind of signal, from the round's evidence so far."""
    reasons: dict[str, dict[str, int]] = {
        "near-duplicates of rows that are in it": dict(dig(evidence, "copies_left_out") or {}),
        "not chosen by the blend": dict(dig(evidence, "not_chosen") or {}),
    }
    for row in records(evidence, "excluded"):
        reasons.setdefault(str(row["reason"]), {})[str(row.get("signal") or "correction")] = row["rows"]
    return reasons
