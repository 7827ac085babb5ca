"""How the outputs of many cases are held against their right answers, by the scorer that the config names.

Most scorers look at one output after another; an encoder is given all texts at once, and a judge the inputs too.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tasks.calibration import calibrate
from tasks.chat import calls_tools
from tasks.config import Config
from tasks.db import Row, State
from tasks.embed import embed
from tasks.endpoint import read_key
from tasks.errors import ConfigError, FlywheelError
from tasks.judge import SHOWN, judge_cases
from tasks.score import Score, graded, make_scorer, score_calls
from tasks.scorer_options import EmbeddingScorer, JudgeScorer, NoScorer, PythonScorer, RegexScorer, ScorerConfig


class Scored(NamedTuple):
    """The scores by role and case_id, and of a judge the counts of its verdicts (see `tasks.judge.judge_cases`)."""

    scores: dict[str, dict[str, Score]]
    verdicts: tuple[Row, ...] = ()


def check_scorer(config: Config) -> None:
    """Refuse a scorer that could not be used, before anything is trained for it.

    Raises:
        ConfigError: its function cannot be imported, or the judge's key is not in the environment.
    """
    if isinstance(config.scorer, JudgeScorer):
        read_key(config.scorer)
    elif not isinstance(config.scorer, EmbeddingScorer):
        make_scorer(config.scorer)


def score_cases(config: Config, cases: Sequence[Row], outputs: Mapping[str, Mapping[str, str]]) -> Scored:
    """Score what each role answered to some of the suite's cases.

    Args:
        config: the workload's.
        cases: rows of regression_cases: case_id, input, expected, signal_id.
        outputs: by role and case_id; a role may have answered some of the cases only.

    Raises:
        ConfigError: the judge's key is not in the environment, or see `score_all`.
        FlywheelError: the judge cannot be reached, or see `score_all`.
    """
    if isinstance(config.scorer, JudgeScorer):
        judged, counts = judge_cases(config, config.scorer, cases, outputs)
        return Scored(judged, (counts,))
    scores = {}
    for role, answers in outputs.items():
        answered = [case for case in cases if case["case_id"] in answers]
        ids = [case["case_id"] for case in answered]
        expected = [case["expected"] for case in answered]
        found = score_all(config, [answers[id_] for id_ in ids], expected, [f"case {id_} ({role})" for id_ in ids])
        scores[role] = dict(zip(ids, found, strict=True))
    return Scored(scores)


def judge_evidence(config: Config, pinned_seq: int, verdicts: Sequence[Row]) -> dict[str, Row]:
    """What a judge adds to the round's evidence: how far it agrees with people, and the counts of its verdicts, which
    came some cases at a time. Nothing for other scorers.

    Args:
        pinned_seq: the last pass over the sources that counts.

    Raises:
        ConfigError, FlywheelError: see `tasks.judge.ask`.
    """
    if not isinstance(config.scorer, JudgeScorer):
        return {}
    total: Row = {}
    for counts in verdicts:
        total = {key: total[key] + value if total else value for key, value in counts.items()}
    if total:
        total["no_verdict_cases"] = total["no_verdict_cases"][:SHOWN]
    return {"judge": calibrate(config, config.scorer, pinned_seq) | {"verdicts": total}}


def needs_expected(scorer: ScorerConfig) -> bool:
    """Whether an output is held against a right answer; a function of the user's own decides that for itself."""
    if isinstance(scorer, RegexScorer):
        return scorer.mode == "extract"
    return not isinstance(scorer, NoScorer | PythonScorer | JudgeScorer)


def refuse_blank(cases: Sequence[Row]) -> None:
    """Refuse cases whose right answer says nothing, so that nothing could be held against it.

    Raises:
        FlywheelError: there is one; the line names it.
    """
    blank = [case for case in cases if not case["expected"].strip()]
    if blank:
        raise FlywheelError(
            f"case {blank[0]['case_id']} ({len(blank)} in all) has a blank right answer, against which nothing can be "
            f"judged; leave it out with `flywheel use {blank[0]['signal_id']} --leave-out --by YOU --reason WHY`, give "
            f"the round up with `flywheel abandon`, and run another"
        )


def score_all(
    config: Config, outputs: Sequence[str], expected: Sequence[str], names: Sequence[str] | None = None
) -> list[Score]:
    """The score of each output, in their order; `names` say in errors which one is meant.

    Raises:
        ConfigError: a function or a schema is no such thing, the encoder cannot be had, or the scorer is a judge.
        FlywheelError: the scorer failed on an output.
    """
    if isinstance(config.scorer, EmbeddingScorer):
        return _by_meaning(config, config.scorer, outputs, expected)
    if isinstance(config.scorer, JudgeScorer):
        raise ConfigError("scorer: a judge needs the inputs, which are not at hand here; use another scorer")
    scorer = make_scorer(config.scorer)
    scores = []
    for place, (output, right) in enumerate(zip(outputs, expected, strict=True)):
        try:
            scores.append(scorer(output, right))
        except Exception as error:
            where = names[place] if names is not None else f"the output that begins {output[:60]!r}"
            raise FlywheelError(
                f"scorer {_named(config.scorer)} failed on {where}: {_line(error)}; mend it and run the round again"
            ) from error
    return scores


def _named(scorer: ScorerConfig) -> str:
    return f"python ({scorer.function})" if isinstance(scorer, PythonScorer) else scorer.type


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _by_meaning(
    config: Config, scorer: EmbeddingScorer, outputs: Sequence[str], expected: Sequence[str]
) -> list[Score]:
    """Cosines of the outputs and their right answers; vectors of texts that the state has are not computed again.

    A blank output means nothing, and an angle below zero no more than one of zero.
    """
    import numpy as np

    pairs = list(zip(outputs, expected, strict=True))
    texts = [place for place, pair in enumerate(pairs) if not any(map(calls_tools, pair)) and pair[0].strip()]
    vectors = embed(State(config.database), [text.strip() for place in texts for text in pairs[place]], config.encoder)
    cosines = np.einsum("ij,ij->i", vectors[0::2], vectors[1::2]).clip(0.0, 1.0)
    scores = [score_calls(*pair) if any(map(calls_tools, pair)) else Score(0.0, False, True) for pair in pairs]
    for place, cosine in zip(texts, cosines.tolist(), strict=True):
        scores[place] = graded(round(cosine, 6), scorer.right_at)
    return scores
