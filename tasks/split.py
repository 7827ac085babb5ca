"""Stage 4: each input gets its side once and for ever: `train`, `unseen` or `anchor`.

Newcomers that are near-duplicates of one another get one side. It is that of the earlier rows beside them; one that
has neighbours on another side is left out. Groups without earlier neighbours are drawn by hash, stratified (failures
within their cluster), the largest going to `train`. What was drawn is never drawn again.

What taught the base is no anchor: the base knows it by heart, and would be held to be better than any model that has to
answer it as it answers what is new.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config
from tasks.data_options import SplitConfig
from tasks.db import Row, State
from tasks.duplicates import components
from tasks.proposals import propose, store
from tasks.rounds import Round, record_evidence, writing
from tasks.suite import update_suite

if TYPE_CHECKING:
    import polars as pl

Side = Literal["train", "unseen", "anchor", "none"]
Kind = Literal["failure", "confirmed", "taught", "given"]

TWO_SIDES = "near-duplicates on two sides"
# Of a group of near-duplicates, so many with different answers are trained on, and become cases of one tier. Where the
# answer hangs on what changes from copy to copy (an order number), one row would not show it, and five do.
COPIES = 5


@dataclass(frozen=True)
class Newcomer:
    """An input without a side. `stratum` is what the draw is balanced within, such as the failure's cluster."""

    input_hash: str
    kind: Kind
    stratum: str


@dataclass(frozen=True)
class Drawn:
    """The side of an input, why, and the near-duplicate group it belongs to (by its first member's hash)."""

    side: Side
    reason: str
    group_hash: str


def draw_sides(
    newcomers: Sequence[Newcomer],
    pairs: Iterable[tuple[str, str]],
    old: Mapping[str, Drawn],
    config: SplitConfig,
) -> dict[str, Drawn]:
    """The side of each newcomer, by input hash. The order of the arguments' rows makes no difference.

    Of the near-duplicates, `pairs` need hold no more than those that `tasks.duplicates` lists.
    """
    pairs = list(pairs)
    sided = {key: value for key, value in old.items() if value.side != "none"}
    beside = _beside(pairs, sided)
    free: dict[str, list[Newcomer]] = {}
    drawn: dict[str, Drawn] = {}
    for group_hash, members in _group(newcomers, pairs, sided).items():
        earlier = {key for member in members for key in beside[member.input_hash]}
        if earlier:
            drawn |= _inherit(members, beside, {key: sided[key] for key in earlier})
        else:
            free[group_hash] = members
    return drawn | _draw_groups(free, config)


def crossings(pairs: Iterable[tuple[str, str]], sides: Mapping[str, Drawn]) -> list[str]:
    """Held-out inputs with a near-duplicate on the training side: their cases have to be retired."""
    crossed = set()
    for pair in pairs:
        found = [sides[key].side for key in pair if key in sides]
        if len(found) == 2 and "train" in found and found[0] != found[1]:
            crossed |= {key for key in pair if sides[key].side in ("unseen", "anchor")}
    return sorted(crossed)


def known_by_heart(pairs: Iterable[tuple[str, str]], sides: Mapping[str, Drawn], taught: Collection[str]) -> list[str]:
    """Anchors that taught the base, or have a near-duplicate that did: they make no cases."""
    groups = {sides[key].group_hash for key in taught if key in sides}
    beside = {key for left, right in pairs for key, other in ((left, right), (right, left)) if other in taught}
    anchors = {key: drawn.group_hash for key, drawn in sides.items() if drawn.side == "anchor"}
    return sorted(key for key, group in anchors.items() if group in groups or key in beside)


def _beside(pairs: Iterable[tuple[str, str]], sided: Mapping[str, Drawn]) -> defaultdict[str, set[str]]:
    """For each input, its near-duplicates that have a side."""
    beside: defaultdict[str, set[str]] = defaultdict(set)
    for left, right in pairs:
        if right in sided:
            beside[left].add(right)
        if left in sided:
            beside[right].add(left)
    return beside


def _group(
    newcomers: Sequence[Newcomer], pairs: Sequence[tuple[str, str]], sided: Mapping[str, Drawn]
) -> dict[str, list[Newcomer]]:
    """Newcomers that near-duplicates connect, also by way of inputs that have no side and are no newcomers."""
    keys = {newcomer.input_hash for newcomer in newcomers} | {key for pair in pairs for key in pair}
    group_of = components(keys - sided.keys(), pairs)
    groups: defaultdict[str, list[Newcomer]] = defaultdict(list)
    for newcomer in newcomers:
        groups[group_of[newcomer.input_hash]].append(newcomer)
    return groups


def _inherit(
    members: Sequence[Newcomer], beside: Mapping[str, set[str]], earlier: Mapping[str, Drawn]
) -> dict[str, Drawn]:
    """The members' side: that of the earlier rows beside any of them, `train` where there are several.

    A member beside a row of another side is left out: it may neither be trained on nor held out.
    """
    side, first = min((_PRECEDENCE.index(value.side), key) for key, value in earlier.items())
    group = earlier[first].group_hash
    taken = Drawn(_PRECEDENCE[side], "near-duplicate of an earlier row", group)
    drawn = {}
    for member in members:
        others = {earlier[key].side for key in beside[member.input_hash]} - {taken.side}
        drawn[member.input_hash] = Drawn("none", TWO_SIDES, group) if others else taken
    return drawn


_PRECEDENCE: tuple[Side, ...] = ("train", "unseen", "anchor")


def _draw_groups(groups: Mapping[str, Sequence[Newcomer]], config: SplitConfig) -> dict[str, Drawn]:
    strata: defaultdict[tuple[Kind, str], list[str]] = defaultdict(list)
    for group_hash, members in groups.items():
        kind, stratum = min((_RANK[m.kind], m.kind, m.stratum) for m in members)[1:]
        strata[kind, stratum].append(group_hash)
    drawn = {}
    for (kind, _), members_of in strata.items():
        ordered = sorted(members_of, key=lambda group: (-len(groups[group]), _order(config.seed, group)))
        for group_hash, side in zip(ordered, _sides(kind, len(ordered), config), strict=True):
            for member in groups[group_hash]:
                drawn[member.input_hash] = Drawn(side, "drawn", group_hash)
    return drawn


# A group that holds a failure is drawn as one: failures are what there is least of.
_RANK: dict[Kind, int] = {"failure": 0, "confirmed": 1, "taught": 2, "given": 3}


def _order(seed: int, group_hash: str) -> str:
    return hashlib.sha256(f"{seed}/{group_hash}".encode()).hexdigest()


def _sides(kind: Kind, groups: int, config: SplitConfig) -> list[Side]:
    """How many groups of a stratum go to each side, training first: a stratum of one is trained on.

    Production's rows are held out as `unseen` and given demonstrations as `anchor`, but for those that taught the base.
    A confirmed call would make a poor anchor: it is there because the champion was right, so that any other model could
    only be worse on it.
    """
    side: Side = "anchor" if kind == "given" else "unseen"
    share = {"given": config.anchor, "taught": 0.0}.get(kind, config.unseen)
    held_out = min(round(share * groups), groups - 1)
    train: list[Side] = ["train"] * (groups - held_out)
    return train + [side] * held_out


def split(config: Config, round_: Round) -> dict[str, int]:
    """Draw the sides of all new inputs and add the round's regression cases; counts by side.

    Before that, rules propose what not to train on, and what makes no case.
    """
    with State(config.database).transaction() as tx:
        old = {row["input_hash"]: _drawn(row) for row in tx.rows("list_sides")}
        taught = {row["input_hash"] for row in tx.rows("list_taught_inputs", sources=list(config.split.taught))}
        newcomers = [_newcomer(row, taught) for row in tx.rows("list_newcomers", pinned_seq=round_.pinned_seq)]
        pairs = [(row["left_hash"], row["right_hash"]) for row in tx.rows("list_near_duplicates")]
    proposed = propose(config, round_)
    drawn = draw_sides(newcomers, pairs, old, config.split)
    sides = old | drawn
    crossed, known = crossings(pairs, sides), known_by_heart(pairs, sides, taught)
    with writing(config, round_, "split") as tx:
        if drawn:
            tx.load("insert_sides", _frame(drawn), round_id=round_.round_id)
        found = store(tx, config, proposed, round_.pinned_seq)
        tx.run("set_correction_uses", verified_by=list(config.suite.verified_by))
        update_suite(tx, config, round_, crossed, known, COPIES)
        counts = {row["side"]: row["inputs"] for row in tx.rows("count_sides", round_id=round_.round_id)}
        record_evidence(tx, round_, sides=counts, proposals=found)
    return counts


def _newcomer(row: Row, taught: Collection[str]) -> Newcomer:
    is_taught = row["kind"] == "given" and row["input_hash"] in taught
    return Newcomer(row["input_hash"], "taught" if is_taught else row["kind"], row["stratum"])


def _drawn(row: Row) -> Drawn:
    return Drawn(row["side"], row["reason"], row["group_hash"])


def _frame(drawn: dict[str, Drawn]) -> "pl.DataFrame":
    import polars as pl

    rows = [(key, value.side, value.reason, value.group_hash) for key, value in drawn.items()]
    return pl.DataFrame(rows, schema=["input_hash", "side", "reason", "group_hash"], orient="row")


@task(name="split", cache_policy=NO_CACHE)
def split_task(config: Config, round_: Round) -> None:
    """Prefect task around `split`."""
    counts = split(config, round_)
    parts = ", ".join(f"{count} {side}" for side, count in counts.items()) or "nothing new"
    get_run_logger().info("Drew the sides of new inputs: %s", parts)
