"""The HTML report of a workload's rounds: one self-contained file for people, from the rounds' evidence.

    write_report([json.loads(path.read_text()) for path in evidence_files], Path("report.html"))

The page needs no network: style, script and charts are inside, and its content security policy refuses the
rest. Everything that comes from data is escaped by Jinja (autoescape) and drawn as text.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks import findings, headlines
from tasks.cost_words import COLUMNS, cost_table
from tasks.headlines import Evidence, dig, number, plain, records
from tasks.shadow_words import shadow_lines
from tasks.snapshot_card import card_lines

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = Path(__file__).with_name("report.html.j2")
STAGES = (
    "collect",
    "screen",
    "cluster",
    "split",
    "blend",
    "snapshot",
    "train",
    "regress",
    "gate",
    "register",
)
SHOWN_FLIPS = 150  # a round's page stays under a few hundred kilobytes; the rest is counted and pointed to
SHOWN_ROUNDS = 8  # told in full; older ones keep their line at the top
SHOWN_TEXT = 700  # characters of one production text

# Without it the page shows everything; with it the flip table can be searched, and prints unfolded.
SCRIPT = """
document.querySelectorAll('.flips').forEach(function (box) {
  var find = box.querySelector('input'), kind = box.querySelector('select');
  var shown = box.querySelector('.shown');
  var rows = Array.from(box.querySelectorAll('tbody tr'));
  function filter() {
    var words = find.value.toLowerCase().split(/\\s+/), n = 0;
    rows.forEach(function (row) {
      var text = row.textContent.toLowerCase();
      var on = !kind.value || row.dataset.kind === kind.value;
      on = on && words.every(function (word) { return text.includes(word); });
      row.hidden = !on; n += on;
    });
    shown.textContent = n + ' of ' + rows.length + ' rows';
  }
  box.querySelector('.find').hidden = false;
  find.addEventListener('input', filter); kind.addEventListener('change', filter); filter();
});
window.addEventListener('beforeprint', function () {
  document.querySelectorAll('details').forEach(function (d) { d.open = true; });
});
"""


class Piece(NamedTuple):
    """A part of an output; `wrong` where it is not in the right answer."""

    text: str
    wrong: bool


class Stage(NamedTuple):
    """A stage of the round; `start` and `share` are percentages of the time the round measured."""

    name: str
    seconds: float | None
    start: float
    share: float


class RoundView(NamedTuple):
    """What the template shows of one round beside the evidence itself."""

    evidence: Evidence
    number: Any
    tone: str
    word: str
    outcome: str
    why: str
    headline: headlines.Headline
    measured: bool
    stages: list[Stage]
    clusters: list[dict[str, Any]]
    cluster_changes: list[str]
    contradictions: list[str]
    card: list[tuple[str, str]]
    proposals: list[str]
    drift: str | None
    growing: list[str]
    rules: str
    asked: list[findings.Asked]
    would_decide: list[str]
    places: list[findings.Place]
    baselines: list[findings.Baseline]
    shadow: list[str]
    facts: list[findings.Fact]
    notes: list[str]
    cost: list[list[str]]
    flips: list[dict[str, Any]]
    flip_total: int
    charts: dict[str, str]


def marked(output: Any, expected: Any) -> list[Piece]:
    """An output in pieces, those that differ from the right answer marked, compared word by word."""
    texts = (plain(output, SHOWN_TEXT), plain(expected, SHOWN_TEXT))
    given, right = ([str(t) for t in re.findall(r"\w+|\s+|[^\w\s]", text)] for text in texts)
    matcher = difflib.SequenceMatcher(a=given, b=right, autojunk=False)
    pieces = []
    for operation, start, end, _, _ in matcher.get_opcodes():
        if start < end:
            pieces.append(Piece("".join(given[start:end]), wrong=operation != "equal"))
    return pieces


def stages(evidence: Evidence) -> list[Stage]:
    """The round's stages in their order, those not reached without a time."""
    timings = dig(evidence, "timings") or {}
    known = {name: number(timings, name) for name in [*STAGES, *(n for n in timings if n not in STAGES)]}
    total = sum(value or 0 for value in known.values()) or 1.0
    line, start = [], 0.0
    for name, taken in known.items():
        share = 100 * (taken or 0) / total
        line.append(Stage(plain(name, 20), taken, round(start, 3), round(share, 3)))
        start += share
    return line


def moment(value: Any) -> str:
    """An ISO time as `3 Mar 2026, 12:00 UTC`; other text as it is."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return plain(value, 40)
    return f"{time.day} {time:%b %Y, %H:%M} {time.tzname() or ''}".strip()


def share(rows: Any, blend: list[dict[str, Any]]) -> float:
    """A part's rows as a percentage of the blend's, two decimals; 0 where the blend is empty."""
    total = sum(number(part, "rows") or 0 for part in blend)
    return round(100 * (number({"v": rows}, "v") or 0) / (total or 1), 2)


def _charts(evidence: Evidence) -> dict[str, str]:
    """The charts for which the round has data, as inline SVG by name."""
    from tasks import charts

    available: dict[str, tuple[bool, Callable[[Evidence], Any], str]] = {
        "gate": (
            bool(dig(evidence, "gate")),
            charts.gate_chart,
            "Differences with their confidence intervals",
        ),
        "tiers": (bool(records(evidence, "tiers")), charts.tier_chart, "Accuracy by tier"),
        "clusters": (bool(records(evidence, "clusters")), charts.cluster_chart, "Failure clusters by impact"),
        "map": (bool(dig(evidence, "map")), charts.map_chart, "Map of the failures"),
        "loss": (bool(dig(evidence, "training", "loss")), charts.loss_chart, "Training loss by step"),
    }
    return {
        name: charts.svg(draw(evidence), f"{title}, round {dig(evidence, 'round')}")
        for name, (has_data, draw, title) in available.items()
        if has_data
    }


def _view(evidence: Evidence, full: bool) -> RoundView:
    flips = headlines.ranked_flips(evidence)
    numbers = headlines.headline(evidence)
    return RoundView(
        evidence=evidence,
        number=dig(evidence, "round") or "?",
        tone=str(dig(evidence, "verdict") or "unfinished"),
        word=headlines.verdict_word(evidence),
        outcome=headlines.outcome(evidence),
        why=headlines.why(evidence),
        headline=numbers,
        measured=numbers.difference is not None or numbers.cases is not None,
        stages=stages(evidence),
        clusters=headlines.ranked_clusters(evidence),
        cluster_changes=headlines.cluster_changes(evidence),
        contradictions=headlines.contradictions(evidence),
        card=card_lines(dig(evidence, "card")),
        proposals=headlines.proposals(evidence),
        drift=headlines.drift_sentence(evidence),
        growing=headlines.growing_clusters(evidence),
        rules=findings.rules_line(evidence),
        asked=findings.asked(evidence),
        would_decide=findings.would_decide(evidence),
        places=[] if dig(evidence, "verdict") == "promote" else findings.places(evidence),
        baselines=findings.baselines(evidence),
        shadow=shadow_lines(evidence),
        facts=findings.facts(evidence),
        notes=_notes(evidence),
        cost=cost_table(evidence),
        flips=flips[:SHOWN_FLIPS],
        flip_total=headlines.flip_total(evidence),
        charts=_charts(evidence) if full else {},
    )


def _notes(evidence: Evidence) -> list[str]:
    """Sentences beside the table of findings: what decides nothing, or all reasons where there are no findings."""
    has_findings = bool(records(evidence, "gate", "findings"))
    return list(dig(evidence, "remarks" if has_findings else "reasons") or [])


def _environment() -> Environment:
    from jinja2 import ChainableUndefined, Environment
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=ChainableUndefined, trim_blocks=True, lstrip_blocks=True)
    known = (
        headlines.percent,
        headlines.points,
        headlines.count,
        headlines.seconds,
        headlines.stratum_name,
        headlines.trend,
    )
    environment.filters |= {function.__name__: function for function in (*known, plain, moment, marked, share)}
    environment.filters["markup"] = Markup  # only for the charts and the script, which this package makes
    environment.globals |= {"interval": headlines.interval, "model_name": headlines.model_name}
    environment.globals |= {"terms": findings.TERMS, "signs": findings.SIGNS, "cost_columns": COLUMNS}
    return environment


def _order(rounds: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Newest round first: that is what somebody opens the page for."""
    yield from sorted(rounds, key=lambda evidence: number(evidence, "round") or 0, reverse=True)


def render_report(rounds: list[dict[str, Any]]) -> str:
    """The report as one HTML document. `rounds` are evidence objects in any order; parts may be missing."""
    views = [_view(evidence, full=place < SHOWN_ROUNDS) for place, evidence in enumerate(_order(rounds))]
    champion, version = headlines.champion_now(rounds)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    page = (
        _environment()
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            workload=plain(dig(views[0].evidence, "workload"), 80) if views else "no workload yet",
            champion=champion,
            version=version,
            rounds=views,
            shown_rounds=SHOWN_ROUNDS,
            shown_text=SHOWN_TEXT,
            script=SCRIPT,
            script_hash=f"sha256-{digest}",
        )
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def write_report(rounds: list[dict[str, Any]], path: Path) -> Path:
    """Write the report to `path` and return it; a reader sees the old page or the new one, never a half."""
    page = render_report(rounds)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return path
