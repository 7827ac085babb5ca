"""The regression suite: cases with the rounds they were valid in, and versions of it that a hash names.

A case is added in one round, retired in another one with the reason, and never changed in between: the suite as of any
round can be listed again. Nearly everything that people said enters it by itself. What a model said does not: a
held-out case needs a producer behind its answer that `suite.verified_by` names.

A suite's hash is over what its cases say. The content of a case is the text of HASHED's columns, one after another in
that order: `-` for null, otherwise the number of the value's UTF-8 bytes in decimal, a colon, and the value; protected
is `1` or `0`. The hash is the SHA-256 of the contents by case_id (in the order of its code points), each followed by a
line feed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.config import Config
from tasks.db import Row, Transaction, require_state
from tasks.growth import BEYOND_BOUND, beyond_bound, members
from tasks.records import now
from tasks.rounds import Round, record_evidence
from tasks.score import make_canonical

if TYPE_CHECKING:
    import polars as pl

HASHED = ("case_id", "input_hash", "expected", "tier", "stratum", "is_protected")
TIERS = ("fixed", "unseen", "anchor")

# Reasons for which a case is retired since it is too near to what is trained on. Its input never makes a case again.
NEAR_TRAINING = "near-duplicate of a training row"
SAME_INPUT = "its input is in the round's snapshot"
SAME_GROUP = "in one group of near-duplicates with a row of the round's snapshot"
ON_RECORD = "on record as a near-duplicate of a row of the round's snapshot"
SAME_WORDS = "near-duplicate, by its words, of a row of the round's snapshot"
LEAKS = (SAME_INPUT, SAME_GROUP, ON_RECORD, SAME_WORDS)
TAUGHT_THE_BASE = "it, or a near-duplicate, taught the base"  # and it is a case again should that have been wrong


def suite_hash(cases: Iterable[Mapping[str, Any]]) -> str:
    """The hash (64 hex digits) of a suite, by the HASHED columns of its cases, whatever order they come in."""
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda case: str(case["case_id"])):
        digest.update(b"".join(_content(case[column]) for column in HASHED) + b"\n")
    return digest.hexdigest()


def _content(value: str | bool | None) -> bytes:
    if value is None:
        return b"-"
    text = (str(int(value)) if isinstance(value, bool) else value).encode()
    return b"%d:%b" % (len(text), text)


def active_cases(tx: Transaction, config: Config, round_id: int) -> list[Row]:
    """The suite as of a round, by case_id: the columns of a case, `group_hash`, `is_new` and `is_protected`."""
    return tx.rows("list_active_cases", **suite_at(config, round_id))


def suite_at(config: Config, round_id: int) -> dict[str, Any]:
    """What `list_active_cases` is asked with."""
    return {"round_id": round_id, "protected": json.dumps([part.model_dump() for part in config.suite.protected])}


def count_cases(cases: Iterable[Row]) -> list[Row]:
    """How many cases there are by `tier` and `stratum`, and how many of these are `protected`."""
    counts: Counter[tuple[str, str | None]] = Counter()
    protected: Counter[tuple[str, str | None]] = Counter()
    for case in cases:
        counts[case["tier"], case["stratum"]] += 1
        protected[case["tier"], case["stratum"]] += case["is_protected"]
    return [
        {"tier": tier, "stratum": stratum, "cases": counts[tier, stratum], "protected": protected[tier, stratum]}
        for tier, stratum in sorted(counts, key=lambda key: (key[0], key[1] or "~"))
    ]


def in_snapshot(tx: Transaction, snapshot_hash: str | None) -> set[str]:
    """Ids of the cases that a model trained on the snapshot knows: of its inputs, and near-duplicates of them.

    None, for the bare base model, is no snapshot: it knows none.
    """
    return {row["case_id"] for row in tx.rows("list_cases_in_snapshot", snapshot_hash=snapshot_hash)}


def update_suite(
    tx: Transaction, config: Config, round_: Round, crossed: Sequence[str], known: Sequence[str], copies: int
) -> None:
    """Retire what does not hold any more, add the round's new cases, and bound each tier; on record as a version.

    Args:
        crossed: hashes of held-out inputs that turned out to be near-duplicates of training rows.
        known: hashes of anchors that the base knows by heart. Should that turn out to be wrong, they are cases again.
        copies: so many cases of a group of near-duplicates, at most, are in a tier.
    """
    window = {"round_id": round_.round_id, "pinned_seq": round_.pinned_seq}
    trusted = list(config.suite.verified_by)
    for hashes, reason in ((crossed, NEAR_TRAINING), (known, TAUGHT_THE_BASE)):
        tx.run("retire_held_out_cases", hashes=list(hashes), reason=reason, round_id=round_.round_id)
    tx.run("retire_excluded_cases", verified_by=trusted, **window)
    tx.run(
        "insert_regression_cases",
        copies=copies, verified_by=trusted, known=list(known), leaked=[NEAR_TRAINING, *LEAKS],
        beyond_bound=list(BEYOND_BOUND), **window,
    )  # fmt: skip
    if config.task == "better_answer":
        tx.run(
            "insert_preference_cases",
            copies=copies,
            verified_by=trusted,
            known=list(known),
            leaked=[NEAR_TRAINING, *LEAKS, *BEYOND_BOUND],
            **window,
        )
    retire(tx, round_, _beyond_bound(active_cases(tx, config, round_.round_id), config))
    record_suite(tx, config, round_)


def _beyond_bound(cases: Sequence[Row], config: Config) -> dict[str, str]:
    canonical = make_canonical(config.scorer)
    out: dict[str, str] = {}
    for tier, size in Counter(case["tier"] for case in cases).items():
        if size > config.suite.max_cases:
            of_tier = members([case for case in cases if case["tier"] == tier], canonical)
            out |= beyond_bound(of_tier, config.suite.max_cases)
    return out


def retire(tx: Transaction, round_: Round, reasons: Mapping[str, str]) -> None:
    """Retire cases, by id with the reason, from this round on."""
    if reasons:
        tx.load("retire_cases", _frame(reasons), round_id=round_.round_id)


def _frame(reasons: Mapping[str, str]) -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame({"case_id": list(reasons), "reason": list(reasons.values())})


def record_suite(tx: Transaction, config: Config, round_: Round) -> list[Row]:
    """Put the suite as of the round on record: its version, and in the evidence its hash and what it holds."""
    cases = active_cases(tx, config, round_.round_id)
    tiers = Counter(case["tier"] for case in cases)
    version = suite_hash(cases)
    tx.run(
        "insert_suite_version",
        suite_hash=version, round_id=round_.round_id, created_at=now(),
        protected=sum(case["is_protected"] for case in cases), **{tier: tiers[tier] for tier in TIERS},
    )  # fmt: skip
    record_evidence(tx, round_, suite=count_cases(cases), suite_hash=version)
    return cases


def read_suite(config: Config) -> dict[str, Any]:
    """The suite as of the latest round: what it holds, its hash and versions, its bound, and what was retired and why.

    Raises:
        StateError: nothing has been collected yet.
    """
    with require_state(config.database).transaction() as tx:
        round_id = max((row["round_id"] for row in tx.rows("list_rounds")), default=0)
        cases = active_cases(tx, config, round_id)
        retired = tx.rows("count_retired_cases", round_id=round_id)
        versions = tx.rows("list_suite_versions")
    return {
        "workload": config.name,
        "round": round_id or None,
        "suite_hash": suite_hash(cases),
        "max_cases": config.suite.max_cases,
        "cases": count_cases(cases),
        "retired": retired,
        "versions": versions,
    }
