"""What preference tuning may break, measured on a sample after training, and an alarm for each.

Three things go wrong unseen while the loss falls: the chosen answers become less likely too (Pal et al. 2024, "Smaug"),
answers become alike (Kirk et al. 2024), and pairs of which the model would say neither answer teach little (Tajwar et
al. 2024).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tasks.adapters import check_adapter
from tasks.trainer_options import DpoConfig

SAMPLE = 48  # pairs that are measured
BATCH = 16  # prompts that are answered at once
DRAWS = 4  # answers that each model gives to an input
OUTSIDE_NATS = 1.0  # a token; so much less likely than the champion's own words are pairs from elsewhere
LESS_DIVERSE = 0.75  # of the champion's distinct answers
OTHER_LENGTH = 1.2  # ratio of mean lengths


def alarms(measured: dict[str, Any], dpo: DpoConfig) -> list[str]:
    """A sentence for each thing that looks wrong, and what to do about it. See `measure` for the keys."""
    found = [_unusual_beta(dpo), _falling(measured), _alike(measured), _outside(measured), _lengths(measured, dpo)]
    return [sentence for sentence in found if sentence is not None]


def _unusual_beta(dpo: DpoConfig) -> str | None:
    low, high = dpo.usual_beta
    if low <= dpo.beta <= high:
        return None
    return f"dpo.beta is {dpo.beta:g}; usual with loss_type {', '.join(dpo.loss_type)} are {low:g} to {high:g}"


def _falling(measured: dict[str, Any]) -> str | None:
    """A fall that chance does not explain: more than two standard errors of the mean of paired differences."""
    changes = measured["chosen_changes"]
    error = stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else math.inf
    if fmean(changes) >= -2 * error:
        return None
    return (
        f"the chosen answers became less likely, by {-fmean(changes):.2f} nats a token over {len(changes)} pairs: "
        "raise the weight of sft in dpo.loss_weights, raise dpo.beta, or train for less long"
    )


def _alike(measured: dict[str, Any]) -> str | None:
    before, after = measured["distinct_champion"], measured["distinct_challenger"]
    if after >= LESS_DIVERSE * before:
        return None
    return (
        f"answers became alike: of {DRAWS} to one input {after:.1f} are distinct, of the champion's {before:.1f}; "
        "raise dpo.beta, or train for less long"
    )


def _outside(measured: dict[str, Any]) -> str | None:
    """Neither answer is like what the champion says. A failure and its correction are not meant: one is its own."""
    gap = measured["own_logprob"] - measured["nearest_logprob"]
    if gap <= OUTSIDE_NATS:
        return None
    return (
        f"pairs lie outside what the champion says: even the likelier answer of each is less likely than its own, by "
        f"{gap:.1f} nats a token; such pairs teach little, add some of its own answers (candidates in the config)"
    )


def _lengths(measured: dict[str, Any], dpo: DpoConfig) -> str | None:
    chosen, rejected = measured["chosen_tokens"], measured["rejected_tokens"]
    if "sigmoid_norm" in dpo.loss_type or max(chosen, rejected) < OTHER_LENGTH * min(chosen, rejected):
        return None
    return (
        f"chosen answers have {chosen:.0f} tokens on average and rejected ones {rejected:.0f}, so that length is "
        "learned too; dpo: {loss_type: [sigmoid_norm, sft], beta: 5} counts by token"
    )


def measure(trainer: Any, champion: str | None, max_new_tokens: int) -> dict[str, Any]:
    """Log-probabilities and diversity of the trained model, its reference and the champion, on a sample of the pairs.

    Args:
        trainer: TRL's DPOTrainer, trained; its dataset has token ids.
        champion: the champion's adapter, None for the bare base.

    Returns:
        chosen_changes: for each pair, change of the chosen answer's log-probability a token, trained less reference.
        own_logprob, chosen_logprob, rejected_logprob, nearest_logprob: means a token under the champion, of its own
        answers, of the pairs', and of the likelier one of each pair. distinct_champion, distinct_challenger: of DRAWS
        answers to one input at temperature 1, mean number that are distinct. chosen_tokens, rejected_tokens: mean
        lengths, over all pairs.
    """
    from transformers import set_seed

    models = _Models(trainer, champion)
    dataset = trainer.train_dataset
    rows = dataset.select(range(0, len(dataset), max(1, len(dataset) // SAMPLE))).to_list()[:SAMPLE]
    prompts = [row["prompt_ids"] for row in rows]
    set_seed(trainer.args.seed)
    own, said = (models.answers(who, prompts, max_new_tokens) for who in ("champion", "challenger"))
    scored = {
        (who, which): [models.logprob(who, row["prompt_ids"], row[f"{which}_ids"]) for row in rows]
        for who, which in (
            ("challenger", "chosen"), ("reference", "chosen"), ("champion", "chosen"), ("champion", "rejected"),
        )
    }  # fmt: skip
    own_scores = [models.logprob("champion", prompt, answers[0]) for prompt, answers in zip(prompts, own, strict=True)]
    paired = zip(scored["challenger", "chosen"], scored["reference", "chosen"], strict=True)
    return {
        "pairs": len(rows),
        "chosen_changes": [after - before for after, before in paired],
        "own_logprob": fmean(own_scores),
        "chosen_logprob": fmean(scored["champion", "chosen"]),
        "rejected_logprob": fmean(scored["champion", "rejected"]),
        "nearest_logprob": fmean(map(max, scored["champion", "chosen"], scored["champion", "rejected"])),
        "distinct_champion": _distinct(own),
        "distinct_challenger": _distinct(said),
        "chosen_tokens": fmean(map(len, dataset["chosen_ids"])),
        "rejected_tokens": fmean(map(len, dataset["rejected_ids"])),
    }


def _distinct(answers: Sequence[Sequence[Sequence[int]]]) -> float:
    return fmean(len({tuple(answer) for answer in given}) for given in answers)


class _Models:
    """Trained model, reference and champion: one base in memory, with each one's adapter."""

    def __init__(self, trainer: Any, champion: str | None) -> None:
        self.model = trainer.accelerator.unwrap_model(trainer.model).eval()
        self.device = trainer.args.device
        self.pad = trainer.processing_class.pad_token_id
        self.end = {trainer.processing_class.eos_token_id, self.pad}
        if champion is not None:
            check_adapter(Path(champion))
            self.model.load_adapter(champion, "champion")

    def _run(self, who: str) -> Any:
        """A context in which the model is the one named: its adapter, or none where it has none."""
        from trl.trainer.utils import use_adapter

        name = {"challenger": "default", "reference": "ref", "champion": "champion"}[who]
        return use_adapter(self.model, name if name in self.model.peft_config else None)

    def logprob(self, who: str, prompt: list[int], answer: list[int]) -> float:
        """Mean log-probability of an answer's tokens (nats)."""
        import torch

        ids = torch.tensor([prompt + answer], device=self.device)
        with torch.no_grad(), self._run(who):
            logits = self.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
        return float(logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None]).mean())

    def answers(self, who: str, prompts: list[list[int]], max_new_tokens: int) -> list[list[list[int]]]:
        """DRAWS answers to each prompt at temperature 1, as token ids up to the one that ends them."""
        drawn: list[list[list[int]]] = []
        for start in range(0, len(prompts), BATCH):
            made = self._draw(who, prompts[start : start + BATCH], max_new_tokens)
            drawn += [made[place : place + DRAWS] for place in range(0, len(made), DRAWS)]
        return drawn

    def _draw(self, who: str, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        import torch

        width = max(map(len, prompts))
        ids = torch.tensor([[self.pad] * (width - len(prompt)) + prompt for prompt in prompts], device=self.device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=self.device)
        with torch.no_grad(), self._run(who):
            made = self.model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                num_return_sequences=DRAWS, max_new_tokens=max_new_tokens,
            )  # fmt: skip
        return [self._until_end(answer) for answer in made[:, width:].tolist()]

    def _until_end(self, answer: list[int]) -> list[int]:
        ends = [place for place, token in enumerate(answer) if token in self.end]
        return answer[: ends[0] + 1] if ends else answer
