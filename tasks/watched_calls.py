"""What the watch counts: calls of the champion and of the one before it, once they are old enough to be judged alike.

Each input counts once a day, by its first call: retries and copies of one request would pass for evidence of their
own. A call counts once it is `settle_hours` old, with what was said of it by then, whoever answered it: people who
judge with a delay would make the newer calls look good otherwise.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks.config import Config
from tasks.db import Row, Transaction
from tasks.score import Canonical, make_canonical
from tasks.sequential import Sample

if TYPE_CHECKING:
    import numpy as np

BASE = "base"
ALWAYS, NEVER = datetime(1970, 1, 1), datetime(9999, 1, 1)
LAST_SEQ = 2**31 - 1
LOOKS = 200


@dataclass(frozen=True)
class Move:
    """A move of the champion that is watched, in the columns of get_watched_move."""

    move_id: str
    from_version: str | None
    to_version: str | None
    moved_by: str
    round_id: int | None
    moved_at: datetime
    since_at: datetime | None
    promoted_seq: int
    since_seq: int


@dataclass(frozen=True)
class Call:
    """A call that somebody judged or that fails: its place among all that count, from 1; who judged it; its class."""

    place: int
    is_failing: bool
    cluster_id: str | None
    judges: frozenset[str]


@dataclass(frozen=True)
class Calls:
    """How many calls count, in the order in which they came to; those judged or failing; and how many are too young."""

    total: int
    listed: tuple[Call, ...]
    waiting: int = 0
    next_at: datetime | None = None

    def sample(self, cluster_id: str | None = None) -> Sample:
        """How many calls there are and how many failed, in a class alone if one is named."""
        return Sample(self.total, sum(_fails(call, cluster_id) for call in self.listed))

    def path(self, cluster_id: str | None = None, without: str | None = None) -> tuple["np.ndarray", "np.ndarray"]:
        """The counts of `sample` at each of its failures, or some of them where there are many (looks, integers).

        Between two failures, evidence that things are worse only shrinks. `without` leaves out what somebody judged.
        """
        import numpy as np

        left_out, calls = 0, []
        for call in self.listed:
            if without in call.judges:
                left_out += 1
            elif _fails(call, cluster_id):
                calls.append(call.place - left_out)
        failures = np.arange(1, len(calls) + 1)
        chosen = np.unique(np.linspace(0, len(calls) - 1, min(len(calls), LOOKS)).astype(int))
        return np.array(calls, int)[chosen], failures[chosen]

    @property
    def judges(self) -> dict[str, int]:
        """How many of the calls each producer has judged, most first."""
        found = Counter(judge for call in self.listed for judge in call.judges)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def judged(self) -> int:
        """How many of the calls somebody has said anything about."""
        return sum(bool(call.judges) for call in self.listed)


def _fails(call: Call, cluster_id: str | None) -> bool:
    return call.is_failing and cluster_id in (None, call.cluster_id)


def names_of(config: Config, version: str | None) -> set[str]:
    """What production calls a version (None: the base) in the calls that it answers."""
    called = {_filled(config, name, version or BASE) for name in config.watch.names if "{version}" in name}
    return called if version else called | {config.model.base, PurePosixPath(config.model.base).name}


def stable_names(config: Config) -> set[str]:
    """What production calls whoever is champion at the time."""
    stable = {_filled(config, name, "") for name in config.watch.names if "{version}" not in name}
    return stable | ({config.serving.name} if config.serving.name else set())


def _filled(config: Config, name: str, version: str) -> str:
    return name.replace("{workload}", config.name).replace("{version}", version)


def read_before(tx: Transaction, config: Config, move: Move) -> Calls:
    """The calls that the champion before answered while it was champion, the last `watch.days` of them."""
    since = move.since_at or ALWAYS
    return _read(
        tx, config, move.from_version, is_before=True,
        after_seq=move.since_seq, until_seq=move.promoted_seq, since=since, until=move.moved_at,
    )  # fmt: skip


def read_after(tx: Transaction, config: Config, move: Move) -> Calls:
    """The calls that the champion has answered since it is, the first `watch.days` of them."""
    return _read(
        tx, config, move.to_version, is_before=False,
        after_seq=move.promoted_seq, until_seq=LAST_SEQ, since=move.moved_at, until=NEVER,
    )  # fmt: skip


def _read(tx: Transaction, config: Config, version: str | None, **bounds: Any) -> Calls:
    options = config.watch
    rows = tx.rows(
        "list_watched_calls",
        names=sorted(names_of(config, version)), stable=sorted(stable_names(config)),
        days=options.days, settle_hours=options.settle_hours, **bounds,
    )  # fmt: skip
    canonical = make_canonical(config.scorer)
    listed = tuple(_call(row, canonical) for row in rows if row["place"] is not None)
    return Calls(rows[0]["calls"], listed, rows[0]["waiting"], rows[0]["next_at"])


def _call(row: Row, canonical: Canonical) -> Call:
    """A correction that says what the model said, in the scorer's form, is no failure."""
    corrected = any(canonical(answer) != canonical(row["output"]) for answer in row["corrections"])
    is_failing = row["is_failing"] or corrected
    return Call(row["place"], is_failing, row["cluster_id"] if is_failing else None, frozenset(row["judged_by"]))


def unknown_names(tx: Transaction, config: Config, versions: Iterable[str | None]) -> list[Row]:
    """Under which other names than those of the versions calls have come in, with their numbers."""
    known = stable_names(config).union(*(names_of(config, version) for version in versions))
    return [row for row in tx.rows("list_watched_names", after_seq=0) if row["name"] not in known]
