"""A model as the judge: which of two outputs is better, or how good one is.

Verdicts are kept in the state as they come, under a hash of all that they depend on: what was asked once is not asked
again, whatever is killed, but for what was on its way. Which of two is better is asked in both orders. A reply in which
no verdict can be read is asked for again, and counts as no verdict in the end: nothing is guessed.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from tasks.chat import Turn, calls_tools
from tasks.config import Config
from tasks.db import Row, State
from tasks.endpoint import Endpoint
from tasks.records import now
from tasks.score import Score, make_canonical, score_calls
from tasks.scorer_options import JudgeScorer
from tasks.verdicts import (
    AGAIN,
    VALUES,
    Outcome,
    Question,
    allowed,
    kind_of,
    messages,
    outcome,
    question_hash,
    read_verdict,
)

# Whom each role's answers are held against, pairwise.
OPPONENTS = {
    "champion": "challenger",
    "challenger": "champion",
    "reference": "challenger",
    "few_shot": "challenger",
    "champion_again": "champion",
}
SHOWN, REPLY = 20, 2_000  # cases without a verdict that are named; characters of a reply that are kept


class Pair(NamedTuple):
    """Two answers to an input as it is held, and the right one where it calls tools."""

    input: str
    first: str
    second: str
    calls: str | None = None


class Compared(NamedTuple):
    """Which of two answers is better, None where a verdict is missing, and whether that hung on their order."""

    better: Outcome | None
    is_turned: bool = False


class Verdict(NamedTuple):
    """What a judge said (None: nothing that could be read), and its reply."""

    verdict: str | None
    reply: str


Scores = dict[str, dict[str, Score]]


def judge_cases(
    config: Config, judge: JudgeScorer, cases: Sequence[Row], outputs: Mapping[str, Mapping[str, str]]
) -> tuple[Scores, Row]:
    """The scores of each role's outputs by case_id, and counts of verdicts for the evidence.

    Pairwise: 1 for a win (right), 0.5 for a tie, 0 for a loss; champion and challenger are held against each other, the
    other roles against those in OPPONENTS. Pointwise: the value of the verdict. Where a verdict is missing on a case,
    none of its outputs is valid and none right, so that it speaks for no role. Calls of tools are compared as such.

    Args:
        config: the workload's.
        judge: its scorer.
        cases: rows of regression_cases: case_id, input, expected.
        outputs: by role and case_id; a role may have answered some of the cases only. Pairwise, whom a role is held
            against has answered these too.

    Raises:
        ConfigError: the key is not in the environment.
        FlywheelError: the endpoint refuses or cannot be reached; what it said until then is kept.
    """
    by_id = {case["case_id"]: case for case in cases}
    asked = [(role, id_) for role, answers in outputs.items() for id_ in by_id if id_ in answers]
    score = _pairwise if judge.mode == "pairwise" else _pointwise
    found, turned = score(config, judge, by_id, asked, outputs)
    missing = {id_ for (_, id_), each in zip(asked, found, strict=True) if each is None}
    none = Score(0.5 if judge.mode == "pairwise" else 0.0, False, False)
    scores: Scores = {role: {} for role in outputs}
    for (role, id_), each in zip(asked, found, strict=True):
        scores[role][id_] = none if each is None or id_ in missing else each
    counts = {"cases": len(cases), "no_verdict": len(missing), "no_verdict_cases": sorted(missing)[:SHOWN]}
    return scores, counts | ({"turned_by_order": turned} if judge.mode == "pairwise" else {})


Found = tuple[list[Score | None], int]


def _pairwise(
    config: Config,
    judge: JudgeScorer,
    cases: Mapping[str, Row],
    asked: Sequence[tuple[str, str]],
    outputs: Mapping[str, Mapping[str, str]],
) -> Found:
    pairs = [
        Pair(cases[id_]["input"], outputs[role][id_], outputs[OPPONENTS[role]][id_], _calls(cases[id_]))
        for role, id_ in asked
    ]
    compared = compare(config, judge, pairs)
    turned = {id_ for (_, id_), each in zip(asked, compared, strict=True) if each.is_turned}
    return [_of_outcome(each.better) for each in compared], len(turned)


def _of_outcome(better: Outcome | None) -> Score | None:
    values: dict[Outcome, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}
    return None if better is None else Score(values[better], better == "first", True)


def _calls(case: Row) -> str | None:
    return case["expected"] if calls_tools(case["expected"]) else None


def _pointwise(
    config: Config,
    judge: JudgeScorer,
    cases: Mapping[str, Row],
    asked: Sequence[tuple[str, str]],
    outputs: Mapping[str, Mapping[str, str]],
) -> Found:
    texts = [(role, id_) for role, id_ in asked if _calls(cases[id_]) is None]
    verdicts = ask(config, judge, [Question(cases[id_]["input"], (outputs[role][id_],)) for role, id_ in texts])
    said = dict(zip(texts, verdicts, strict=True))
    found = [
        score_verdict(judge, said[role, id_])
        if (role, id_) in said
        else score_calls(outputs[role][id_], cases[id_]["expected"])
        for role, id_ in asked
    ]
    return found, 0


def score_verdict(judge: JudgeScorer, verdict: str | None) -> Score | None:
    """The score by a pointwise verdict; None where there is none."""
    if verdict is None:
        return None
    value = VALUES[judge.scale][verdict]
    return Score(value, value >= judge.right_at, True)


def compare(config: Config, judge: JudgeScorer, pairs: Sequence[Pair]) -> list[Compared]:
    """Which of two answers is better, for each pair in order; what is the same text is a tie, and not asked.

    Raises:
        ConfigError, FlywheelError: see `judge_cases`.
    """
    same = make_canonical(judge)
    known = [_known(pair, same(pair.first) == same(pair.second)) for pair in pairs]
    questions = [
        Question(pair.input, answers)
        for pair, already in zip(pairs, known, strict=True)
        if already is None
        for answers in ((pair.first, pair.second), (pair.second, pair.first))
    ]
    verdicts = iter(ask(config, judge, questions))
    return [already or _compared(next(verdicts), next(verdicts)) for already in known]


def _known(pair: Pair, is_same: bool) -> Compared | None:
    if is_same:
        return Compared("tie")
    if pair.calls is None:
        return None
    first, second = (score_calls(answer, pair.calls).is_right for answer in (pair.first, pair.second))
    return Compared("tie" if first == second else "first" if first else "second")


def _compared(forward: str | None, backward: str | None) -> Compared:
    better = outcome(forward, backward)
    return Compared(better, better == "tie" and (forward, backward) != ("tie", "tie"))


def ask(config: Config, judge: JudgeScorer, questions: Sequence[Question]) -> list[str | None]:
    """The verdict on each question, in order; None where none could be read. Only what the state lacks is asked.

    Raises:
        ConfigError, FlywheelError: see `judge_cases`.
    """
    if not questions:
        return []
    state = State(config.database)
    asked = [messages(judge, question) for question in questions]
    hashes = [question_hash(judge, each) for each in asked]
    known = _stored(state, hashes)
    missing = {sha: each for sha, each in zip(hashes, asked, strict=True) if sha not in known}
    if missing:
        known |= _ask_all(state, judge, missing)
    return [known[sha] for sha in hashes]


def _stored(state: State, hashes: Sequence[str]) -> dict[str, str | None]:
    import polars as pl

    wanted = pl.DataFrame({"question_hash": sorted(set(hashes))}, schema={"question_hash": pl.String})
    with state.transaction() as tx, tx.incoming(wanted):
        return {row["question_hash"]: row["verdict"] for row in tx.rows("list_judgements")}


def _ask_all(state: State, judge: JudgeScorer, missing: Mapping[str, list[Turn]]) -> dict[str, str | None]:
    """Ask several at once; whatever is there when the state is written to is written together."""
    known: dict[str, str | None] = {}
    with Endpoint(judge) as endpoint, ThreadPoolExecutor(judge.concurrency) as pool:
        waiting: dict[Future[Verdict], str] = {
            pool.submit(_verdict, endpoint, judge, asked): sha for sha, asked in missing.items()
        }
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                known |= _keep(state, judge, {waiting[each]: each for each in done})
                for each in done:
                    each.result()
                    del waiting[each]
        except BaseException:
            endpoint.stop()
            pool.shutdown(cancel_futures=True)
            _keep(state, judge, {sha: each for each, sha in waiting.items() if each.done()})
            raise
    return known


def _keep(state: State, judge: JudgeScorer, done: Mapping[str, Future[Verdict]]) -> dict[str, str | None]:
    """Store the verdicts among what is done, which may have failed or been cancelled."""
    import polars as pl

    found = {sha: each.result() for sha, each in done.items() if not each.cancelled() and each.exception() is None}
    if found:
        kind, moment = kind_of(judge), now()
        rows = [(sha, kind, judge.model, each.verdict, each.reply[:REPLY], moment) for sha, each in found.items()]
        columns = ("question_hash", "mode", "model", "verdict", "reply", "judged_at")
        schema: dict[str, Any] = dict.fromkeys(columns, pl.String) | {"judged_at": pl.Datetime("us")}
        with state.transaction() as tx:
            tx.load("insert_judgements", pl.DataFrame(rows, schema=schema, orient="row"))
    return {sha: each.verdict for sha, each in found.items()}


def _verdict(endpoint: Endpoint, judge: JudgeScorer, asked: list[Turn]) -> Verdict:
    """Ask until a verdict can be read, as often as a request would be tried again."""
    turns = asked
    for _ in range(judge.retries + 1):
        reply = endpoint.ask(turns)
        verdict = read_verdict(reply, allowed(judge))
        if verdict is not None:
            break
        # The same question would be answered in the same way at temperature 0.
        turns = [*asked, {"role": "assistant", "content": reply[:REPLY]}, {"role": "user", "content": AGAIN}]
    return Verdict(verdict, reply)
