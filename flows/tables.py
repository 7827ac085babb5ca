"""Terminal tables of `flywheel lineage` and the commands that list things."""

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.headlines import plain, rule_name

if TYPE_CHECKING:
    from tasks.gate import Replay

SHOWN_ROWS = 50


def print_replay(found: "Replay", console: Console | None = None) -> None:
    """A decision that was made again: the verdict, whether it is the recorded one, and why."""
    console = console or Console(highlight=False)
    same = "as recorded" if not found.differences else "[red]not as recorded[/red]"
    console.print(
        f"Round {found.round_id}: [bold]{found.verdict}[/bold], {same} (outcomes {found.results_sha256[:12]})"
    )
    for difference in found.differences:
        console.print(f"  [red]{escape(difference)}[/red]")
    for reason in found.reasons:
        console.print(f"  {escape(plain(reason))}")


def print_quarantine(rows: list[dict[str, Any]], options: str = "", console: Console | None = None) -> None:
    """Where each row in quarantine came from and why it lies there."""
    console = console or Console(highlight=False)
    if not rows:
        console.print("Nothing lies in quarantine.")
        return
    table = Table("id", "source", "from", "row", "why", box=None, pad_edge=False)
    for row in rows[:SHOWN_ROWS]:
        place = (row["quarantine_id"][:12], row["source"], escape(row["part"]), str(row["row"]), escape(row["reason"]))
        table.add_row(*place)
    console.print(table)
    more = f"; the first {SHOWN_ROWS} are shown, all of them with --json" if len(rows) > SHOWN_ROWS else ""
    typed = escape(options)
    console.print(f"{_counted(len(rows), 'row')}{more}. One of them whole: flywheel quarantine show ID{typed}")
    console.print(f"Mend them where they came from, then: flywheel quarantine retry{typed}")


def print_clusters(rows: list[dict[str, Any]], options: str = "", console: Console | None = None) -> None:
    """Each class of failures with its size and name."""
    console = console or Console(highlight=False)
    if not rows:
        console.print("There are no classes of failures yet; a round finds them.")
        return
    table = Table("id", "failures", "new", "latest", "since round", "called", "by", box=None, pad_edge=False)
    for row in rows[:SHOWN_ROWS]:
        counts = (row["cluster_id"], str(row["failures"]), str(row["new_failures"] or ""))
        when = (f"{row['latest']:%Y-%m-%d}", str(row["first_round"]))
        table.add_row(*counts, *when, escape(plain(row["label"], 80)), escape(plain(row["label_by"] or "-")))
    console.print(table)
    more = f"; the {SHOWN_ROWS} largest are shown, all of them with --json" if len(rows) > SHOWN_ROWS else ""
    classes = "1 class" if len(rows) == 1 else f"{len(rows)} classes"
    console.print(f"{classes}{more}. To name one: flywheel clusters name ID NAME --by YOU{escape(options)}")


def print_contradictions(rows: list[dict[str, Any]], options: str = "", console: Console | None = None) -> None:
    """Which signals say different things of one input, group by group, and what stands."""
    console = console or Console(highlight=False)
    if not rows:
        console.print("No signals contradict each other. (A round looks for such, and so does an export.)")
        return
    table = Table("input", "answer", "by", "on", "signal", "", box=None, pad_edge=False)
    groups = [list(group) for _, group in groupby(rows, key=lambda row: (row["kind"], row["group_hash"]))]
    for group in groups[:SHOWN_ROWS]:
        said = ""
        for row in group:
            text, answer = escape(plain(row["input"], 60)), escape(_said(row))
            stands = "stands" if row["stands"] else escape(row["reason"])
            who = (escape(plain(row["producer"], 30)), f"{row['created_at']:%Y-%m-%d}", escape(row["signal_id"][:12]))
            table.add_row("" if text == said else text, answer, *who, stands)
            said = text
        table.add_section()
    console.print(table)
    more = f"; the first {SHOWN_ROWS} are shown, all of them with --json" if len(groups) > SHOWN_ROWS else ""
    console.print(f"{_counted(len(groups), 'group')}{more}. What stands is decided by `consistency` in the config;")
    console.print("a later correction or preference by the same person replaces the earlier one.")


def _said(row: dict[str, Any]) -> str:
    """The answer that a signal says is right, or the two of which it says that one is better."""
    answer = plain(row["answer"], 40)
    return f"{answer} over {plain(row['rejected'], 40)}" if "rejected" in row else answer


def print_proposals(rows: list[dict[str, Any]], options: str = "", console: Console | None = None) -> None:
    """What rules propose to leave out of training, those first that are left out, and what people decided."""
    console = console or Console(highlight=False)
    if not rows:
        console.print("No rule has anything to say against a signal. (A round asks them.)")
        return
    table = Table("signal", "rule", "why", "sure", "input", "answer", "", box=None, pad_edge=False)
    for row in rows[:SHOWN_ROWS]:
        said = (
            rule_name(row["rule"]) if row["rule"] else "-",
            escape(plain(row["reason"] or row["decided_because"], 160)),
        )
        score = "-" if row["score"] is None else f"{row['score']:.2f}"
        texts = escape(plain(row["input"], 50)), escape(plain(row["answer"], 40))
        used = "left out" if row["is_left_out"] else "used"
        by = f", says {escape(plain(row['decided_by'], 30))}" if row["decided_by"] else ""
        # Ids of corrections are hashes, of which the beginning tells enough; others are whatever they were given as.
        key = row["signal_id"][:12] if row["signal"] == "correction" else plain(row["signal_id"])
        table.add_row(escape(key), *said, score, *texts, f"{used}{by}")
    console.print(table)
    more = f"; the first {SHOWN_ROWS} are shown, all of them with --json" if len(rows) > SHOWN_ROWS else ""
    console.print(
        f"{_counted(len(rows), 'proposal')}{more}. Which rules take effect: `screening.leave_out` in the config."
    )
    console.print(f"To decide: flywheel use SIGNAL --train|--leave-out --by YOU --reason WHY{escape(options)}")


def print_suite(suite: dict[str, Any], console: Console | None = None) -> None:
    """What each tier of the suite holds, which version of it that is, and what was retired in which round."""
    console = console or Console(highlight=False)
    if not suite["cases"]:
        console.print("The suite has no cases; a round adds them.")
    else:
        cases = _counted(sum(row["cases"] for row in suite["cases"]), "case")
        console.print(
            f"[bold]{suite['workload']}[/bold], as of round {suite['round']}: {cases}, version "
            f"{suite['suite_hash'][:12]} ({_counted(len(suite['versions']), 'version')} so far)"
        )
        table = Table("tier", "stratum", "cases", "protected", box=None, pad_edge=False)
        for row in suite["cases"]:
            table.add_row(row["tier"], row["stratum"] or "-", str(row["cases"]), str(row["protected"]))
        console.print(table)
    for tier in _overfull(suite):
        console.print(
            f"[yellow]{tier} has as many protected cases as suite.max_cases allows, or more, so that no other stays: "
            f"raise it, or protect less[/yellow]"
        )
    if suite["retired"]:
        table = Table("retired in", "tier", "cases", "why", box=None, pad_edge=False)
        for row in suite["retired"][-SHOWN_ROWS:]:
            place = (f"round {row['retired_round']}", row["tier"], str(row["cases"]))
            table.add_row(*place, escape(plain(row["reason"], 160)))
        console.print(table)
        if len(suite["retired"]) > SHOWN_ROWS:
            console.print(f"The last {SHOWN_ROWS} of {len(suite['retired'])} are shown, all of them with --json.")
    console.print(
        f"A tier holds {_counted(suite['max_cases'], 'case')} at most (suite.max_cases); of more, copies go first, "
        f"then the oldest of their kind."
    )


def _overfull(suite: dict[str, Any]) -> list[str]:
    """Tiers in which there is no room beside the protected cases."""
    protected = Counter[str]()
    for row in suite["cases"]:
        protected[row["tier"]] += row["protected"]
    return sorted(tier for tier, cases in protected.items() if cases >= suite["max_cases"])


def print_lineage(lineage: dict[str, Any], options: str = "", console: Console | None = None) -> None:
    """What a version is made of, by kind, source and producer; the rows themselves are in the JSON."""
    console = console or Console(highlight=False)
    console.print(
        f"[bold]{lineage['workload']} v{lineage['version']}[/bold]: round {lineage['round']}, "
        f"verdict {lineage['verdict']}, on base {escape(lineage['base'])}"
    )
    console.print(f"snapshot {lineage['snapshot_hash'][:12]}, adapter {lineage['adapter_sha256'][:12]}")
    counts = Counter((row["kind"], row["source"], row["producer"]) for row in lineage["rows"])
    table = Table("kind", "source", "producer", "rows", box=None, pad_edge=False)
    for (kind, source, producer), rows in sorted(counts.items()):
        table.add_row(kind, escape(source), escape(producer), str(rows))
    console.print(table)
    for key in ("licence", "guideline"):
        if stated := Counter(row[key] for row in lineage["rows"] if row[key]):
            said = ", ".join(f"{escape(plain(text))} ({_counted(rows, 'row')})" for text, rows in stated.most_common())
            console.print(f"{key}: {said}")
    console.print(
        f"Each of the {len(lineage['rows'])} rows: flywheel lineage {lineage['version']} --json{escape(options)}"
    )
    for move in lineage["moves"]:
        console.print(
            f"{move['created_at']:%Y-%m-%d %H:%M} {move['event']}: {move['from_version'] or 'base'} → "
            f"{move['to_version'] or 'base'} by {escape(move['moved_by'])} ({escape(move['reason'])})"
        )


def print_where(found: dict[str, Any], console: Console | None = None) -> None:
    """The snapshots and versions that a signal is in, or why it is in none."""
    console = console or Console(highlight=False)
    side = f", side {found['side']}" if found["side"] else ""
    console.print(f"[bold]{escape(plain(found['signal_id']))}[/bold]: {found['kind']}{side}")
    if found["why_in_none"]:
        console.print(f"In no snapshot: {escape(found['why_in_none'])}.")
        return
    table = Table("round", "snapshot", "row", "as", "verdict", "version", box=None, pad_edge=False)
    for row in found["snapshots"]:
        version = f"v{row['version']}" if row["version"] else "-"
        place = (str(row["round"]), row["snapshot_hash"][:12], str(row["position"]))
        table.add_row(*place, row["kind"], row["verdict"] or "-", version)
    console.print(table)
    if found["excluded_because"]:
        console.print(f"It will not be in the next: {escape(found['excluded_because'])}.")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
