"""Pairs of the champion's own answers: sampled at a positive temperature, and ranked by a rule.

Pairs of what a model says itself teach more than those of answers that it would never give (Tajwar et al. 2024). The
rule is the task's: where there is a right answer, one that the scorer holds for right beats one that it does not; where
answers are only better, one that passes all checks, and that nobody has faulted, beats one that does not. Answers are
kept in the state chunk by chunk, under a hash of all that they depend on: what was sampled once is not asked for again,
whatever is killed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tasks.adapters import check_base
from tasks.case_scores import score_all
from tasks.chat import Conversation, calls_tools, read_input, token_ids, written_calls
from tasks.checks import make_check
from tasks.child import Progress, gpus, run_child
from tasks.config import Config
from tasks.costs import add_cost
from tasks.data_options import CandidatesConfig
from tasks.db import Row, State
from tasks.engine import adapter_rank, adapter_request, answerer, checked_adapter, read_calls, start_engine
from tasks.methods import RANKED_BY
from tasks.records import canonical_json, sha256
from tasks.rounds import Round, held_row, label, note_gpus
from tasks.score import make_canonical

SEQUENCES = 512  # answers that are asked for, and stored, at once
OUTCOMES = ("pairs", "all better", "none better", "no whole answer")


class Answer(NamedTuple):
    """A sampled answer as it is held, and whether it ended before it was cut off."""

    text: str
    is_whole: bool


class Ranked(NamedTuple):
    """The distinct answers to an input, better and worse ones, each the most frequent first."""

    better: list[str]
    worse: list[str]

    @property
    def outcome(self) -> str:
        """What becomes of the input, by the words of the counts."""
        if self.better and self.worse:
            return "pairs"
        return "all better" if self.better else "none better" if self.worse else "no whole answer"


@dataclass(frozen=True)
class Candidates:
    """Pairs by the keys of `tasks.pairs.list_pairs`, and what became of the inputs, counted: they sum to `inputs`."""

    pairs: list[Row]
    champion: str
    ranked_by: str
    counts: dict[str, int]

    def facts(self, taken: Sequence[Row]) -> dict[str, Any]:
        """For the evidence, once it is known which pairs are taken: the others are there already, from elsewhere."""
        hashes = {pair["content_hash"] for pair in taken}
        known = sum(pair["content_hash"] not in hashes for pair in self.pairs)
        counts = self.counts | {"pairs": len(self.pairs) - known, "pairs that were there": known}
        return {"champion": self.champion, "ranked_by": self.ranked_by, "counts": counts}


def rank(answers: Iterable[Answer], is_better: Callable[[str], bool], canonical: Callable[[str], str]) -> Ranked:
    """Distinct answers (by their canonical form) parted in better and worse; of as frequent ones the first stays first.

    Answers that were cut off are nobody's answer, and blank ones would pass rules of what must not be said: both are
    passed over. White space at the ends is left out: engines put some there when they turn tokens into text.
    """
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for answer in answers:
        text = _trimmed(answer.text)
        if answer.is_whole and text:
            first.setdefault(form := canonical(text), text)
            counts[form] += 1
    texts = [first[form] for form, _ in counts.most_common()]
    better = [text for text in texts if is_better(text)]
    return Ranked(better, [text for text in texts if text not in better])


def _trimmed(held: str) -> str:
    return held if calls_tools(held) else held.strip()


def find_candidates(config: Config, round_: Round, on_progress: Progress | None = None) -> Candidates | None:
    """Sample what the state lacks and rank all of it; None where the config asks for no candidates.

    Raises:
        FlywheelError: the champion's adapter is not the recorded one or belongs to another base, or sampling failed.
        LeaseLostError: another runner has taken the round over.
    """
    if config.candidates is None:
        return None
    state = State(config.database)
    rows, adapter = _asked(state, config, round_, config.candidates)
    found = _stored(state, rows)
    missing = [row for row in rows if row["input_hash"] not in found]
    if missing:
        _sample(state, config, round_, config.candidates, missing, adapter, on_progress)
        found = _stored(state, rows)
    return derive(rows, found, config, round_.champion_version)


def derive(
    rows: Sequence[Row], answers: dict[str, list[Answer]], config: Config, champion_version: str | None
) -> Candidates:
    """At most one pair of each input (of `list_candidate_inputs`, with its answers by input_hash): a pure function."""
    ranked_by, canonical = RANKED_BY[config.task], make_canonical(config.scorer)
    made = canonical_json(
        {"how": f"candidates of the champion, ranked by {ranked_by}", "model_version": champion_version or "base"}
    )
    judge = _judge(config, rows, answers)
    pairs, counts = [], {"inputs": len(rows)} | dict.fromkeys(OUTCOMES, 0)
    for row in sorted(rows, key=lambda row: str(row["signal_id"])):
        ranked = rank(answers[row["input_hash"]], judge(row), canonical)
        counts[ranked.outcome] += 1
        if ranked.outcome == "pairs":
            pairs.append(_pair(row, ranked.better[0], ranked.worse[0], made, f"rule:{ranked_by}"))
    return Candidates(pairs, str(label(champion_version)["label"]), ranked_by, counts)


def _judge(
    config: Config, rows: Sequence[Row], answers: dict[str, list[Answer]]
) -> Callable[[Row], Callable[[str], bool]]:
    """For an input, what says whether an answer to it is one of the better ones."""
    if RANKED_BY[config.task] == "scorer":
        asked = sorted({(_trimmed(each.text), row["answer"]) for row in rows for each in answers[row["input_hash"]]})
        scores = score_all(config, [text for text, _ in asked], [right for _, right in asked])
        is_right = {pair: score.is_right for pair, score in zip(asked, scores, strict=True)}
        return lambda row: lambda text: is_right[text, row["answer"]]
    checks, same = [make_check(check) for check in config.checks], make_canonical(config.scorer)

    def judge(row: Row) -> Callable[[str], bool]:
        faulted = set(map(same, row["faulted"]))
        return lambda text: same(text) not in faulted and all(check(text) is None for check in checks)

    return judge


def _pair(row: Row, better: str, worse: str, derived: str, producer: str) -> Row:
    return row | {
        "signal": "preference",
        "answer": better,
        "rejected": worse,
        "derived": derived,
        "producer": producer,
        "content_hash": sha256([row["input_hash"], better, worse]),
    }


def _asked(state: State, config: Config, round_: Round, asked: CandidatesConfig) -> tuple[list[Row], str | None]:
    """The inputs to sample answers to, each with what its answers are known by, and the champion's adapter."""
    with state.transaction() as tx:
        rows = tx.rows(
            "list_candidate_inputs", pinned_seq=round_.pinned_seq, ranked_by=RANKED_BY[config.task],
            seed=str(asked.seed), max_inputs=asked.max_inputs,
        )  # fmt: skip
        version = tx.row("get_version", version=round_.champion_version) if round_.champion_version else None
    adapter = checked_adapter(version["adapter_path"], version["adapter_sha256"]) if version else None
    if adapter is not None:
        check_base(Path(adapter), config.model.base)
    model = [answerer(config, adapter), asked.per_input, asked.temperature, asked.seed]
    return [row | {"sampled_by": sha256([*model, _calls(row)])} for row in rows], adapter


def _calls(row: Row) -> str | None:
    """The right answer where it calls tools: what a model writes for that is read by holding it against these calls."""
    return row["answer"] if row["answer"] is not None and calls_tools(row["answer"]) else None


def _stored(state: State, rows: Sequence[Row]) -> dict[str, list[Answer]]:
    """The answers that the state has, by input_hash."""
    import polars as pl

    wanted = pl.DataFrame({name: [row[name] for row in rows] for name in ("input_hash", "sampled_by")})
    found: dict[str, list[Answer]] = {}
    with state.transaction() as tx, tx.incoming(wanted.cast(pl.String)):
        for row in tx.rows("list_candidates"):
            found.setdefault(row["input_hash"], []).append(Answer(row["output"], row["is_whole"]))
    return found


def _sample(
    state: State,
    config: Config,
    round_: Round,
    asked: CandidatesConfig,
    rows: Sequence[Row],
    adapter: str | None,
    on_progress: Progress | None,
) -> None:
    """Let the champion answer in a child process; each chunk is stored whole when it comes."""

    def keep(start: int, answers: list[list[list[Any]]], tokens: int) -> None:
        part = rows[start : start + len(answers)]
        _store(state, round_, part, answers, tokens)
        if on_progress is not None:
            on_progress(done=start + len(part), total=len(rows))

    spec = {
        "base": config.model.base,
        "trusts_code": config.model.trusts_code,
        "adapter": adapter,
        "max_length": config.model.max_length,
        "max_new_tokens": config.model.max_new_tokens,
        "per_input": asked.per_input,
        "temperature": asked.temperature,
        "inputs": [row["input"] for row in rows],
        "calls": [_calls(row) for row in rows],
        "seeds": [int(sha256([asked.seed, row["input_hash"]])[:8], 16) for row in rows],
    }
    note_gpus(config, round_, "blend", min(1, gpus()))
    run_child("tasks.candidates:main", spec, config.round_folder(round_.round_id), keep)


def _store(state: State, round_: Round, rows: Sequence[Row], answers: list[list[list[Any]]], tokens: int) -> None:
    import polars as pl

    frame = pl.DataFrame(
        [
            {key: row[key] for key in ("input_hash", "sampled_by")}
            | {"place": place, "output": text, "is_whole": is_whole}
            for row, given in zip(rows, answers, strict=True)
            for place, (text, is_whole) in enumerate(given)
        ]
    ).with_columns(model_version=pl.lit(round_.champion_version or "base"))
    with state.transaction() as tx:
        held_row(tx, round_)
        tx.load("insert_candidates", frame)
        add_cost(tx, round_.round_id, "blend", tokens_generated=tokens)


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Sample in this process (the child), chunk by chunk; each is reported as progress: for each input its answers.

    The same chunk gives the same answers, whichever chunks came before it: the seeds are the inputs' own, and nothing
    is left in the engine's cache.
    """
    adapter, total = spec["adapter"], len(spec["inputs"])
    lora: dict[str, Any] = (
        {"enable_lora": True, "max_lora_rank": adapter_rank(adapter), "max_loras": 1} if adapter else {}
    )
    llm = start_engine(spec["base"], spec["max_length"], trusts_code=spec["trusts_code"], **lora)
    size = max(1, SEQUENCES // spec["per_input"])
    for start in range(0, total, size):
        part = {name: spec[name][start : start + size] for name in ("inputs", "calls", "seeds")}
        llm.reset_prefix_cache()
        answers, tokens = _answers(llm, spec | part)
        progress(start=start, answers=answers, tokens=tokens)
    return {"inputs": total}


def _answers(llm: Any, spec: dict[str, Any]) -> tuple[list[list[Answer]], int]:
    """The answers to each input of a chunk, and their tokens in all.

    A prompt that leaves no room for an answer gets a blank one that is not whole.
    """
    from vllm import SamplingParams

    tokenizer, room = llm.get_tokenizer(), spec["max_length"] - spec["max_new_tokens"]
    inputs = [read_input(held) for held in spec["inputs"]]
    prompts = (token_ids(tokenizer, messages, tools, prompt=True) for messages, tools in inputs)
    asked = {place: {"prompt_token_ids": ids} for place, ids in enumerate(prompts) if len(ids) <= room}
    how = {"n": spec["per_input"], "temperature": spec["temperature"], "max_tokens": spec["max_new_tokens"]}
    drawn = llm.generate(
        list(asked.values()),
        [SamplingParams(**how, seed=spec["seeds"][place]) for place in asked],
        lora_request=adapter_request(spec["adapter"], 1),
        use_tqdm=False,
    )
    answers = [[Answer("", False)] for _ in inputs]
    for place, given in zip(asked, drawn, strict=True):
        answers[place] = _read(given.outputs, tokenizer, inputs[place], spec["calls"][place])
    return answers, sum(len(each.token_ids) for given in drawn for each in given.outputs)


def _read(outputs: Iterable[Any], tokenizer: Any, asked: Conversation, calls: str | None) -> list[Answer]:
    """Answers as they are held; those that an engine was stopped from finishing are not whole."""
    written = written_calls(tokenizer, asked, calls) if calls else None
    return [Answer(read_calls(each.text, written, calls or ""), each.finish_reason == "stop") for each in outputs]
