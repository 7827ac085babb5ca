"""Signals that give one input different right answers: found in every round, and resolved as the config declares.

Beside it, how much one producer may say: nobody, and no attacker, steers the model alone.

Corrections, confirmed calls and given demonstrations are held against each other, by their answers in the scorer's
canonical form. What does not stand is left out of training and suite with the reason; nothing is deleted, and the next
round decides anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tasks.chat import shown
from tasks.config import Config
from tasks.data_options import Policy
from tasks.db import Row, Transaction, require_state
from tasks.duplicates import components
from tasks.records import sha256, user_text
from tasks.score import make_canonical

if TYPE_CHECKING:
    import polars as pl

SAME_INPUT, NEAR_DUPLICATE = "same input", "near-duplicate"
HELD = "contradicts another answer"
OVERRULED: Mapping[Policy, str] = {
    "newest": "contradicted by a newer answer",
    "majority": "contradicted by the majority",
    "trusted": "contradicted by a trusted producer",
}


@dataclass(frozen=True)
class Claim:
    """What a signal says is the right answer for a group: one input, or near-duplicates of one another."""

    signal_id: str
    group: str
    input_hash: str
    answer: str
    producer: str
    created_at: datetime


@dataclass(frozen=True)
class Decision:
    """Whether a signal in a contradiction stands, and why not."""

    signal_id: str
    group: str
    kind: str
    policy: Policy
    reason: str | None


def standing_answer(claims: Sequence[Claim], policy: Policy, trusted: Sequence[str]) -> str | None:
    """The answer that stands among several; None where the policy settles nothing, as on a tie.

    `newest` is the latest one's; `majority` that of most producers, each with a voice for every answer given; `trusted`
    the newest of the first producer, or pattern of producers, that has any.
    """
    if policy == "newest":
        latest = max(claim.created_at for claim in claims)
        return _only({claim.answer for claim in claims if claim.created_at == latest})
    if policy == "majority":
        voices: defaultdict[str, set[str]] = defaultdict(set)
        for claim in claims:
            voices[claim.answer].add(claim.producer)
        most = max(map(len, voices.values()))
        return _only({answer for answer, producers in voices.items() if len(producers) == most})
    if policy == "trusted":
        for pattern in trusted:
            if theirs := [claim for claim in claims if fnmatchcase(claim.producer, pattern)]:
                return standing_answer(theirs, "newest", ())
    return None


def _only(answers: set[str]) -> str | None:
    return answers.pop() if len(answers) == 1 else None


def decide(claims: Iterable[Claim], kind: str, policy: Policy, trusted: Sequence[str] = ()) -> list[Decision]:
    """The decision on each signal of every group in which answers differ; groups that agree are not in it.

    Near-duplicates contradict each other where inputs differ too: the same input is another kind's affair.
    """
    groups: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        groups[claim.group].append(claim)
    decisions = []
    for group, members in sorted(groups.items()):
        if len({claim.answer for claim in members}) < 2:
            continue
        if kind == NEAR_DUPLICATE and len({claim.input_hash for claim in members}) < 2:
            continue
        answer = standing_answer(members, policy, trusted)
        overruled = f"{HELD if answer is None else OVERRULED[policy]} ({kind})"
        for claim in sorted(members, key=lambda claim: claim.signal_id):
            stands = policy == "keep" or claim.answer == answer
            decisions.append(Decision(claim.signal_id, group, kind, policy, None if stands else overruled))
    return decisions


def beyond_share(producers: Mapping[str, str], share: float) -> list[str]:
    """Which corrections (id: producer) to leave out so that no producer has more than `share` of those that are left.

    As few as can be. Of a producer's corrections those stay whose ids' hashes are smallest, so that more of the others'
    bring back the same ones. Where there are too few producers for the share, all have the same.
    """
    of: defaultdict[str, list[str]] = defaultdict(list)
    for correction_id, producer in producers.items():
        of[producer].append(correction_id)
    sizes = [len(ids) for ids in of.values()]
    most, fewest = max(sizes, default=0), min(sizes, default=0)
    while (fitting := max(int(share * sum(min(size, most) for size in sizes)), fewest)) < most:
        most = fitting
    return sorted(each for ids in of.values() for each in sorted(ids, key=sha256)[most:])


def exclude_beyond_share(tx: Transaction, config: Config, pinned_seq: int) -> None:
    """Leave out the corrections that are more than one producer may give."""
    import polars as pl

    if config.consistency.producer_share < 1.0:
        producers = {
            row["correction_id"]: row["producer"] for row in tx.rows("list_usable_corrections", pinned_seq=pinned_seq)
        }
        if beyond := beyond_share(producers, config.consistency.producer_share):
            tx.load("exclude_beyond_share", pl.DataFrame({"correction_id": beyond}))


def resolve_contradictions(tx: Transaction, config: Config, pinned_seq: int) -> list[Row]:
    """Decide anew what stands among all usable signals up to a pass over the sources, and record it.

    For each kind of contradiction that there is: the policy, groups, signals in them, and how many are left out.
    """
    tx.run("clear_contradictions")
    same, near = _decide_all(tx, config, pinned_seq)
    if decisions := [*same, *near]:
        tx.load("insert_contradictions", _frame(decisions))
        tx.run("exclude_contradicted_corrections")
    return [summarise(found) for found in (same, near) if found]


def _decide_all(tx: Transaction, config: Config, pinned_seq: int) -> tuple[list[Decision], list[Decision]]:
    """The decisions on signals with the same input, and on those of near-duplicates that are left then."""
    import polars as pl

    rules = config.consistency
    found = tx.frame("list_claims", pinned_seq=pinned_seq)
    answers = found["answer"].unique()
    canonical = make_canonical(config.scorer)
    spelled = pl.DataFrame({"answer": answers, "canonical": [canonical(answer) for answer in answers]})
    found = found.join(spelled, on="answer").select(pl.exclude("answer")).rename({"canonical": "answer"})
    same = decide(_disputed(found, "input_hash"), SAME_INPUT, rules.same_input, rules.trusted)
    out = {decision.signal_id for decision in same if decision.reason is not None}
    left = found.filter(~pl.col("signal_id").is_in(sorted(out)))
    pairs = [(row["left_hash"], row["right_hash"]) for row in tx.rows("list_near_duplicates")]
    group_of = components({key for pair in pairs for key in pair}, pairs)
    if not group_of:
        return same, []
    grouped = left.join(
        pl.DataFrame({"input_hash": list(group_of), "group_hash": list(group_of.values())}), on="input_hash"
    )
    return same, decide(_disputed(grouped, "group_hash"), NEAR_DUPLICATE, rules.near_duplicates, rules.trusted)


def _disputed(found: "pl.DataFrame", group: str) -> list[Claim]:
    """The claims of those groups in which there is more than one answer."""
    import polars as pl

    disputed = found.filter(pl.col("answer").n_unique().over(group) > 1).with_columns(group=pl.col(group))
    keys = ("signal_id", "group", "input_hash", "answer", "producer", "created_at")
    return [Claim(**row) for row in disputed.select(keys).to_dicts()]


def _frame(decisions: Sequence[Decision]) -> "pl.DataFrame":
    import polars as pl

    rows = [(each.signal_id, each.group, each.kind, each.policy, each.reason) for each in decisions]
    schema = dict.fromkeys(("signal_id", "group_hash", "kind", "policy", "reason"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def summarise(decisions: Sequence[Decision]) -> Row:
    """What was decided on contradictions of one kind: policy, groups, signals in them, and how many are left out."""
    return {
        "kind": decisions[0].kind,
        "policy": decisions[0].policy,
        "groups": len({decision.group for decision in decisions}),
        "signals": len(decisions),
        "left_out": sum(decision.reason is not None for decision in decisions),
    }


def contradictions(config: Config) -> list[Row]:
    """Every signal in a contradiction as last decided, group by group: input, answer, producer, whether it stands.

    Of opposite preferences each says too which answer it rejects.
    """
    with require_state(config.database).transaction() as tx:
        rows = tx.rows("list_contradictions", pinned_seq=2**31 - 1)
        rows += tx.rows("list_opposite_preferences", pinned_seq=2**31 - 1)
    return [row | {"input": user_text(row["input"])} | _shown_answers(row) for row in rows]


def _shown_answers(row: Row) -> Row:
    return {key: shown(row[key]) for key in ("answer", "rejected") if key in row}
