"""The one page that a round leaves in Prefect: what came of it, and links to everything that says more."""

from collections.abc import Mapping
from typing import Any

from tasks.cost_words import cost_sentence
from tasks.headlines import count, dig, outcome, records, seconds, verdict_word, why
from tasks.markdown import escape, markdown_table

PARTS = {  # artifacts of a round, by the end of their keys, in the order in which they are read
    "verdict": "Verdict: what the gate asked and found",
    "flips": "Flips: answers that changed",
    "clusters": "Classes of failures",
    "blend": "Training rows by source and producer",
    "snapshot": "Card of the snapshot",
}


def round_markdown(evidence: Mapping[str, Any], links: Mapping[str, str], version_url: str | None, report: str) -> str:
    """The page, as Markdown. `links` has addresses by the keys of PARTS; a part without one is left out."""
    number = escape(dig(evidence, "round"))
    lines = [
        f"# {escape(dig(evidence, 'workload'))}: round {number}, {verdict_word(evidence)}",
        f"{escape(outcome(evidence))}. {escape(why(evidence), 400)}".strip(),
        markdown_table(_facts(evidence, version_url, report)),  # the first row is the table's head
        _time(evidence),
    ]
    if said := [f"- [{name}]({links[key]})" for key, name in PARTS.items() if key in links]:
        lines += ["## Look closer", "\n".join(said)]
    lines += ["## On the command line", "\n".join(f"- `{command}`" for command in _commands(evidence))]
    return "\n\n".join(line for line in lines if line) + "\n"


def _facts(evidence: Mapping[str, Any], version_url: str | None, report: str) -> list[list[str]]:
    challenger = escape(dig(evidence, "challenger", "label") or "none was registered")
    snapshot = dig(evidence, "snapshot", "hash")
    rows = [
        ["Champion now", escape(dig(evidence, "champion_after", "label"))],
        ["Challenger", f"[{challenger}]({version_url})" if version_url else challenger],
        ["Production calls since the last round", count(dig(evidence, "counts", "inferences"))],
        ["of them failed", count(dig(evidence, "counts", "failures"))],
        ["Classes of failures", count(len(records(evidence, "clusters")))],
        [
            "Trained on",
            f"{count(dig(evidence, 'snapshot', 'rows'))} rows, snapshot `{snapshot[:12]}`" if snapshot else "",
        ],
        ["Cost", cost_sentence(dig(evidence, "cost", "total"))],
        ["Report", f"`{report}`"],
    ]
    return [row for row in rows if row[1]]


def _time(evidence: Mapping[str, Any]) -> str:
    """How long it took, by stage: outside of the table, whose cells are cut off on the right."""
    timings: dict[str, float] = dig(evidence, "timings") or {}
    parts = ", ".join(f"{escape(stage)} {seconds(spent)}" for stage, spent in timings.items() if spent >= 1)
    return f"It took {seconds(sum(timings.values()))}: {parts}." if parts else ""


def _commands(evidence: Mapping[str, Any]) -> list[str]:
    number = escape(dig(evidence, "round"))
    version = dig(evidence, "challenger", "version")
    traced = [f"flywheel lineage {escape(version)}"] if version else []
    return [f"flywheel gate replay {number}", *traced, "flywheel status"]
