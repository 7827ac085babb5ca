"""Stage 2: which corrections can be used, and which inputs are near-duplicates of one another.

Redaction of personal data is not done here yet: connect sources that carry none.
"""

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config
from tasks.db import Row, State
from tasks.duplicates import near_duplicates
from tasks.records import user_text
from tasks.rounds import Round, record_evidence, writing
from tasks.score import make_canonical

if TYPE_CHECKING:
    import polars as pl


def screen(config: Config, round_: Round) -> dict[str, int]:
    """Mark unusable corrections with the reason and record near-duplicate pairs; counts by reason."""
    with State(config.database).transaction() as tx:
        inputs = tx.rows("list_signal_inputs", pinned_seq=round_.pinned_seq)
    pairs = near_duplicates({row["input_hash"]: user_text(row["input"]) for row in inputs}, config.split.near_duplicate)
    with writing(config, round_, "screen") as tx:
        corrections = tx.rows("list_pinned_corrections", pinned_seq=round_.pinned_seq)
        if corrections:
            tx.load("exclude_corrections", _answers_frame(corrections, config), pinned_seq=round_.pinned_seq)
        if pairs:
            tx.load("merge_near_duplicates", _pairs_frame(pairs), round_id=round_.round_id)
        excluded = tx.rows("count_excluded_corrections", pinned_seq=round_.pinned_seq)
        counts = tx.rows("count_window", pinned_seq=round_.pinned_seq, round_id=round_.round_id)[0]
        counts["failure_rate"] = counts["failures"] / counts["inferences"] if counts["inferences"] else 0.0
        record_evidence(tx, round_, counts=counts, excluded=excluded, near_duplicates=len(pairs))
    return {row["reason"]: row["rows"] for row in excluded} | {"near-duplicate pairs": len(pairs)}


def _answers_frame(corrections: list[Row], config: Config) -> "pl.DataFrame":
    import polars as pl

    canonical = make_canonical(config.scorer)
    rows = [
        (row["correction_id"], canonical(row["corrected_output"]), canonical(row["model_output"] or ""))
        for row in corrections
    ]
    return pl.DataFrame(rows, schema=["correction_id", "answer", "said"], orient="row")


def _pairs_frame(pairs: list[tuple[str, str, float]]) -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame(pairs, schema=["left_hash", "right_hash", "jaccard"], orient="row")


@task(name="screen", cache_policy=NO_CACHE)
def screen_task(config: Config, round_: Round) -> None:
    """Prefect task around `screen`."""
    found = screen(config, round_)
    details = "; ".join(f"{reason}: {count}" for reason, count in found.items())
    get_run_logger().info("Screened the corrections of round %d. %s", round_.round_id, details)
