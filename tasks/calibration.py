"""How far a judge agrees with people: a judge that does not agree enough is shown, and decides nothing."""

from collections.abc import Sequence

from tasks.agreement import cohen_kappa
from tasks.config import Config
from tasks.db import Row, State
from tasks.judge import Pair, ask, compare, score_verdict
from tasks.scorer_options import JudgeScorer
from tasks.verdicts import Question

CONFIDENCE = 0.95


def calibrate(config: Config, judge: JudgeScorer, pinned_seq: int) -> Row:
    """Hold the judge against people, on what they said up to a pass over the sources; the record for the evidence.

    Pairwise: against people's preferences, ties too. Pointwise: against their verdicts on production's calls (thumbs
    up; corrections and thumbs down). Of both a sample of `calibration_cases`, drawn by `seed`; what people disagree on
    is left out. See `calibration` for the record.

    Raises:
        ConfigError, FlywheelError: see `tasks.judge.ask`.
    """
    query = "list_people_preferences" if judge.mode == "pairwise" else "list_judged_calls"
    with State(config.database).transaction() as tx:
        rows = tx.rows(query, pinned_seq=pinned_seq, seed=str(judge.seed), cases=judge.calibration_cases)
    said: list[str | None]
    if judge.mode == "pairwise":
        people = [row["better"] for row in rows]
        pairs = [Pair(row["input"], row["first"], row["second"]) for row in rows]
        said = [each.better for each in compare(config, judge, pairs)]
    else:
        people = ["right" if row["is_right"] else "wrong" for row in rows]
        verdicts = ask(config, judge, [Question(row["input"], (row["output"],)) for row in rows])
        scores = [score_verdict(judge, verdict) for verdict in verdicts]
        said = [None if score is None else "right" if score.is_right else "wrong" for score in scores]
    return calibration(judge, people, said)


def calibration(judge: JudgeScorer, people: Sequence[str], said: Sequence[str | None]) -> Row:
    """The record of how far a judge agrees with people on the same cases, in order: a pure function.

    Keys: mode, model, address; kappa (Cohen's) with low and high (95 %; see `cohen_kappa`) and agreement (a share), all
    None without cases; cases (with a verdict of both), no_verdict (of the judge); required, required_cases; is_trusted:
    whether kappa itself, not its interval, reaches what is required; reason: a sentence for people.
    """
    both = [(theirs, its) for theirs, its in zip(people, said, strict=True) if its is not None]
    found = cohen_kappa([theirs for theirs, _ in both], [its for _, its in both], CONFIDENCE) if both else None
    enough = len(both) >= judge.min_calibration_cases
    is_trusted = enough and found is not None and found.kappa >= judge.min_agreement
    measured = found._asdict() if found else dict.fromkeys(("kappa", "low", "high", "agreement"))
    record = {
        "mode": judge.mode,
        "model": judge.model,
        "address": judge.address,
        **measured,
        "cases": len(both),
        "no_verdict": len(people) - len(both),
        "required": judge.min_agreement,
        "required_cases": judge.min_calibration_cases,
        "is_trusted": is_trusted,
    }
    return record | {"reason": _reason(record, {theirs for theirs, _ in both})}


def _reason(record: Row, labels: set[str]) -> str:
    held = "the judge's verdicts are shown and do not count: "
    without = f" (and {record['no_verdict']} on which it gave no verdict)" if record["no_verdict"] else ""
    on = f"{record['cases']} cases that people judged{without}"
    if record["cases"] < record["required_cases"]:
        return f"{held}it could be held against {on}, and {record['required_cases']} are needed"
    if len(labels) == 1:
        return f"{held}of {on}, all were {labels.pop()}, so that agreement cannot be told from chance"
    measured = f"kappa {record['kappa']:.2f} ({record['low']:.2f} to {record['high']:.2f}) on {on}"
    if record["is_trusted"]:
        return f"the judge agrees with people: {measured}; {record['required']:.2f} is required"
    return f"{held}it agrees with people by {measured}, and {record['required']:.2f} is required"
