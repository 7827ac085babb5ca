"""Failures that came in since the last round: which known class each would join, until a round decides.

It is found as a round finds it (`tasks.communities`), so by the same rule: newcomers join the class that they have the
strongest links with, unless they are plainly one of their own. The classes stay what they are; what is found here is
written anew as a whole each time, and only where something has come in or a round has changed the classes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tasks.cluster import Failure, failures_of, features, places_of
from tasks.config import Config
from tasks.db import State, require_state
from tasks.records import sha256

if TYPE_CHECKING:
    import polars as pl


class Placed(NamedTuple):
    """How many failures no round has looked at, by the known class that each would join; None: none of them."""

    by_class: dict[str | None, int]
    is_new: bool

    @property
    def sentence(self) -> str:
        """The counts in words."""
        total = sum(self.by_class.values())
        if not total:
            return "No new failures since the last round."
        new = "Nothing has changed: " if not self.is_new else ""
        without = self.by_class.get(None, 0)
        known = len(self.by_class.keys() - {None})
        classes = f"{known} known class{'' if known == 1 else 'es'}"
        would = f"{total - without} would join {classes}, {without} none of them"
        return f"{new}{total} failures since the last round; {would}."


def place(config: Config) -> Placed:
    """Find the class that each failure since the last round would join, and write it down.

    Raises:
        StateError: nothing has been collected yet.
    """
    state = require_state(config.database)
    with state.transaction() as tx:
        found_by = sha256([config.encoder.key, config.cluster.model_dump(), tx.rows("get_classes_version")[0]])
        if tx.rows("count_unplaced", found_by=found_by)[0]["failures"] == 0:
            return Placed(_counts(tx.frame("list_provisional_members")), is_new=False)
        rows = tx.frame("list_failures", pinned_seq=2**31 - 1, round_id=2**31 - 1)
        waiting = tx.frame("list_unplaced")
    placed = _placed(config, state, rows, waiting, found_by)
    with state.transaction() as tx:
        tx.run("clear_provisional_members")
        if placed.height:
            tx.load("insert_provisional_members", placed)
    return Placed(_counts(placed), is_new=True)


def _placed(
    config: Config, state: State, rows: "pl.DataFrame", waiting: "pl.DataFrame", found_by: str
) -> "pl.DataFrame":
    """Rows of provisional_members, for the failures that wait."""
    import polars as pl

    homes: dict[str, str | None] = {}
    if waiting.height:
        homes = dict(zip(rows["inference_id"], classes_of(config, state, rows), strict=True))
    found = pl.Series([homes.get(id_) for id_ in waiting["inference_id"]], dtype=pl.String)
    return waiting.with_columns(cluster_id=found, found_by=pl.lit(found_by))


def classes_of(config: Config, state: State, rows: "pl.DataFrame", more: Sequence[Failure] = ()) -> list[str | None]:
    """For each failure (the columns of list_failures), and then for `more` of them, the known class it belongs to.

    That of old ones is on record; a newcomer's is the one that it would join, None for none.
    """
    from tasks.communities import find_communities

    failures = [*failures_of(rows), *more]
    known = sorted(rows["cluster_id"].drop_nulls().unique())
    vectors = features(state, [f.text for f in failures], [f.wrong for f in failures], config)
    if not known:  # the vectors are stored, which is what the next round takes longest for
        return [None] * len(failures)
    on_record = [*rows["cluster_id"], *(None for _ in more)]
    found = find_communities(vectors, min_size=config.cluster.min_size, before=places_of(on_record, known))
    names = [known[label] if 0 <= label < len(known) else None for label in found.labels.tolist()]
    return [old or new for old, new in zip(on_record, names, strict=True)]


def _counts(placed: "pl.DataFrame") -> dict[str | None, int]:
    counts = Counter(placed["cluster_id"].to_list())
    return dict(sorted(counts.items(), key=lambda item: (item[0] is None, -item[1], item[0] or "")))
