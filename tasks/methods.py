"""Which training method fits which task: what a workload has decides how it may be trained.

A task has a right answer or a better one. Preference tuning alone teaches which of two answers is better and lets go of
the right one: both may become less likely (Rafailov et al. 2024, "From r to Q*"; Pal et al. 2024, "Smaug"). And where
many answers are good, supervised training on one of them teaches its wording.
"""

from typing import Literal

from tasks.scorer_options import JudgeScorer, ScorerConfig
from tasks.trainer_options import DpoConfig

Task = Literal["right_answer", "better_answer"]
Method = Literal["sft", "dpo", "sft_then_dpo"]
Stage = Literal["sft", "dpo"]
RankedBy = Literal["scorer", "checks"]

STAGES: dict[Method, tuple[Stage, ...]] = {"sft": ("sft",), "dpo": ("dpo",), "sft_then_dpo": ("sft", "dpo")}
DEFAULTS: dict[Task, Method] = {"right_answer": "sft", "better_answer": "dpo"}
# What tells a better answer from a worse one, where a model gave both. Checks alone could take a wrong one for better.
RANKED_BY: dict[Task, RankedBy] = {"right_answer": "scorer", "better_answer": "checks"}


def check_method(task: Task, method: Method, scorer: ScorerConfig, dpo: DpoConfig) -> None:
    """Refuse a method, or a scorer, that does not fit the task.

    Raises:
        ValueError: with the reason, and what to use instead.
    """
    if task == "right_answer":
        _check_right_answer(method, scorer, dpo)
    else:
        _check_better_answer(method, scorer)


def _check_right_answer(method: Method, scorer: ScorerConfig, dpo: DpoConfig) -> None:
    if method == "dpo":
        raise ValueError(
            "method: dpo alone throws the right answer away: it only makes it likelier than the wrong one, and both "
            "may become unlikely; use sft, or sft_then_dpo"
        )
    if method == "sft_then_dpo" and not dpo.is_supervised:
        raise ValueError(
            "dpo.loss_type: without the supervised term a right answer may become unlikely again; add sft to it, with "
            "a weight above 0"
        )
    if scorer.type == "none":
        raise ValueError(
            "scorer: with none nothing can be judged, and this task has right answers; use exact or json_fields, or "
            "another that holds outputs against them"
        )


def _check_better_answer(method: Method, scorer: ScorerConfig) -> None:
    if method != "dpo":
        raise ValueError(
            f"method: {method} freezes one phrasing: supervised training on an answer that is only better than another "
            "teaches its wording; use dpo, whose supervised term holds on to the chosen answers"
        )
    if isinstance(scorer, JudgeScorer):
        if scorer.mode == "pointwise":
            raise ValueError(
                "scorer: a judge with mode: pointwise says which answers are right, and task better_answer has none; "
                "use mode: pairwise, which says which of two is better"
            )
    elif scorer.type != "none":
        raise ValueError(
            f"scorer: {scorer.type} holds an output against the one right answer, and task better_answer has none; "
            "use scorer: {type: none}, or a judge with mode: pairwise"
        )


def check_candidates(task: Task, method: Method, scorer: ScorerConfig, has_checks: bool) -> None:
    """Refuse to sample candidates that could not be trained on, or not be ranked.

    Raises:
        ValueError: with the reason, and what to do instead.
    """
    if "dpo" not in STAGES[method]:
        raise ValueError(f"candidates: method {method} takes no pairs; use sft_then_dpo, or remove candidates")
    if RANKED_BY[task] == "scorer" and isinstance(scorer, JudgeScorer):
        raise ValueError(
            "candidates: a judge as the scorer ranks none, since training would learn to please what judges it "
            "afterwards; use another scorer, or remove candidates"
        )
    if RANKED_BY[task] == "checks" and not has_checks:
        raise ValueError(
            f"candidates: task {task} has no right answer to rank them by, so that checks have to, and there are none; "
            "add checks that good answers pass, or remove candidates"
        )
