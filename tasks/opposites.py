"""Opposite preferences: of the same two answers to one input, one signal says the first is better, another the second.

They are found in every round and resolved as `consistency.same_input` declares, like different right answers. A
preference says which answer is better, and so do a correction of what the model said, and two answers that were rated.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tasks.config import Config
from tasks.consistency import Claim, Decision, decide, summarise
from tasks.data_options import Policy
from tasks.db import Row, Transaction
from tasks.records import sha256
from tasks.score import make_canonical

if TYPE_CHECKING:
    import polars as pl

OPPOSITE = "opposite preferences"
SUPERSEDED = "superseded by its author"


def decide_pairs(claims: Collection[Claim], policy: Policy, trusted: Sequence[str] = ()) -> list[Decision]:
    """The decision on each pair of every group in which the reverse is said too.

    Of a person who changed their mind the newest word counts, as an author's latest correction does: so people who
    disagree can come to agree. A model that is asked twice, with the answers swapped, has not changed its mind.
    """
    earlier = _taken_over(claims)
    standing = decide((claim for claim in claims if claim.signal_id not in earlier), OPPOSITE, policy, trusted)
    superseded = [
        Decision(claim.signal_id, claim.group, OPPOSITE, policy, SUPERSEDED)
        for claim in claims
        if claim.signal_id in earlier
    ]
    return sorted([*standing, *superseded], key=lambda decision: (decision.group, decision.signal_id))


def _taken_over(claims: Collection[Claim]) -> set[str]:
    """What people said the reverse of later."""
    said: defaultdict[tuple[str, str], list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.producer.startswith("person:"):
            said[claim.group, claim.producer].append(claim)
    earlier = set()
    for theirs in said.values():
        latest = max(claim.created_at for claim in theirs)
        last_words = {claim.answer for claim in theirs if claim.created_at == latest}
        earlier |= {claim.signal_id for claim in theirs if claim.answer not in last_words}
    return earlier


def group_of_pair(input_hash: str, *answers: str) -> str:
    """What an input's pair and its reverse have in common (64 hex digits); answers are in the scorer's form."""
    return sha256([input_hash, *sorted(answers)])


def resolve_opposites(tx: Transaction, config: Config, pinned_seq: int) -> list[Row]:
    """Decide anew which pairs stand among those of which one says the reverse of another, and record it.

    A preference, or two ratings, that do not stand make no pair; a correction that does not stand is left out
    altogether. Policy, groups, signals in them and how many are left out, as `resolve_contradictions` says it; what its
    author took over is none of them, like a correction that its author revised.
    """
    tx.run("clear_opposite_preferences")
    found = tx.frame("list_pair_claims", pinned_seq=pinned_seq)
    rules = config.consistency
    decisions = decide_pairs(_claims(found, config), rules.same_input, rules.trusted)
    if not decisions:
        return []
    tx.load("insert_opposite_preferences", _frame(decisions, found))
    tx.run("exclude_opposed_corrections")
    disputed = [decision for decision in decisions if decision.reason != SUPERSEDED]
    return [summarise(disputed)] if disputed else []


def _claims(found: "pl.DataFrame", config: Config) -> list[Claim]:
    """Which answer of two is the better one, in the scorer's form; two that are the same to the scorer are no pair."""
    same = make_canonical(config.scorer)
    claims = []
    for row in found.iter_rows(named=True):
        better, worse = same(row["answer"]), same(row["rejected"])
        if better != worse:
            said = (
                row["content_hash"],
                group_of_pair(row["input_hash"], better, worse),
                row["input_hash"],
                better,
                row["producer"],
                row["created_at"],
            )
            claims.append(Claim(*said))
    return claims


def _frame(decisions: Sequence[Decision], found: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    rows = [(each.signal_id, each.group, each.policy, each.reason) for each in decisions]
    schema = dict.fromkeys(("content_hash", "group_hash", "policy", "reason"), pl.String)
    origins = found.select("content_hash", "signal", "signal_id")
    return pl.DataFrame(rows, schema=schema, orient="row").join(origins, on="content_hash")
