"""Stage 2: which signals can be used, and which inputs are near-duplicates of one another.

Personal data is gone by now: texts are redacted on their way in (`tasks/redact.py`).
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.config import Config
from tasks.consistency import exclude_beyond_share, resolve_contradictions
from tasks.db import Row, State, Transaction
from tasks.duplicates import Pair, is_short, jaccard, near_duplicates, near_meanings, shingles
from tasks.embed import embed
from tasks.opposites import resolve_opposites
from tasks.records import user_text
from tasks.rounds import Round, record_evidence, writing
from tasks.score import make_canonical

if TYPE_CHECKING:
    import polars as pl


def screen(config: Config, round_: Round) -> dict[str, int]:
    """Mark unusable signals with the reason and record near-duplicates; counts by reason.

    All inputs are joined anew each round, because that takes seconds for a hundred thousand. Pairs of inputs that have
    the same side already are not listed again.
    """
    with State(config.database).transaction() as tx:
        inputs = tx.rows("list_signal_inputs", pinned_seq=round_.pinned_seq)
        sides = {row["input_hash"]: row["side"] for row in tx.rows("list_sides") if row["side"] != "none"}
    texts = {row["input_hash"]: user_text(row["input"]) for row in inputs}
    pairs = near_duplicates(texts, config.split.near_duplicate, sides)
    meanings = _near_meanings(config, texts, sides)
    alike = {key for pair in [*pairs, *meanings] for key in (pair.left, pair.right)} - sides.keys()
    with writing(config, round_, "screen") as tx:
        if pairs or meanings:
            tx.load("merge_near_duplicates", _pairs_frame(texts, pairs, meanings), round_id=round_.round_id)
        contradictions = decide_uses(tx, config, round_.pinned_seq)
        excluded = tx.rows("count_excluded_signals", pinned_seq=round_.pinned_seq)
        counts = tx.rows("count_window", pinned_seq=round_.pinned_seq, round_id=round_.round_id)[0]
        counts["failure_rate"] = counts["failures"] / counts["inferences"] if counts["inferences"] else 0.0
        record_evidence(
            tx, round_, counts=counts, excluded=excluded, contradictions=contradictions, near_duplicates=len(alike)
        )
    by_reason = Counter[str]()
    for row in excluded:
        by_reason[row["reason"]] += row["rows"]
    return by_reason | {"new inputs with a near-duplicate": len(alike)}


def decide_uses(tx: Transaction, config: Config, pinned_seq: int) -> list[Row]:
    """Decide for each signal up to a pass over the sources whether, and why, it is left out.

    What contradictions and opposite preferences there are among them, as `resolve_contradictions` says it.
    """
    corrections = tx.rows("list_pinned_corrections", pinned_seq=pinned_seq)
    if corrections:
        tx.load("exclude_corrections", _answers_frame(corrections, config), pinned_seq=pinned_seq)
    found = resolve_contradictions(tx, config, pinned_seq) + resolve_opposites(tx, config, pinned_seq)
    exclude_beyond_share(tx, config, pinned_seq)
    return found


def _near_meanings(config: Config, texts: Mapping[str, str], sides: Mapping[str, str]) -> list[Pair]:
    """Pairs of short texts that mean the same; the encoder is loaded where there are new ones alone."""
    threshold = config.split.near_meaning
    short = {key: text for key, text in texts.items() if threshold is not None and is_short(text)}
    if threshold is None or len(short) < 2 or short.keys() <= sides.keys():
        return []
    vectors = embed(State(config.database), list(short.values()), config.encoder)
    return near_meanings(short, vectors, threshold, sides)


def _answers_frame(corrections: list[Row], config: Config) -> "pl.DataFrame":
    import polars as pl

    canonical = make_canonical(config.scorer)
    rows = [
        (row["correction_id"], canonical(row["corrected_output"]), canonical(row["model_output"] or ""))
        for row in corrections
    ]
    return pl.DataFrame(rows, schema=["correction_id", "answer", "said"], orient="row")


def _pairs_frame(texts: Mapping[str, str], pairs: list[Pair], meanings: list[Pair]) -> "pl.DataFrame":
    import polars as pl

    found = {(pair.left, pair.right): pair.similarity for pair in pairs}
    cosines = {(pair.left, pair.right): pair.similarity for pair in meanings}
    for left, right in cosines.keys() - found.keys():
        found[left, right] = jaccard(shingles(texts[left]), shingles(texts[right]))
    rows = [(*keys, words, cosines.get(keys)) for keys, words in found.items()]
    schema = {"left_hash": pl.String, "right_hash": pl.String, "jaccard": pl.Float64, "cosine": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@task(name="screen", cache_policy=NO_CACHE)
def screen_task(config: Config, round_: Round) -> None:
    """Prefect task around `screen`."""
    found = screen(config, round_)
    details = "; ".join(f"{reason}: {count}" for reason, count in found.items())
    get_run_logger().info("Screened the signals of round %d. %s", round_.round_id, details)
