"""Pairs for preference tuning: of an input, an answer that was chosen and one that was rejected.

Preferences are such pairs. Others are derived: a failure and its correction, the best rated answer to an input with a
worse rated one, and candidates of the champion (`tasks.candidates`). Each derived pair says how it was made, and which
model version had given the rejected answer.
"""

from collections.abc import Sequence

from tasks.config import Config
from tasks.db import Row, Transaction
from tasks.errors import StateError
from tasks.methods import STAGES
from tasks.opposites import group_of_pair
from tasks.records import canonical_json
from tasks.score import Canonical, make_canonical
from tasks.split import COPIES


def list_pairs(tx: Transaction, config: Config, pinned_seq: int, candidates: Sequence[Row] = ()) -> list[Row]:
    """The pairs on the training side, up to a pass over the sources; by signal_id, each input and pair of texts once.

    Those of candidates come last, unless the same two answers are a pair already, or opinions on them are opposed: what
    people said comes before a rule.

    Keys: signal_id, inference_id, input, input_hash, answer (chosen), rejected, derived (JSON text of how and
    model_version; None for a preference), source, producer, content_hash, cluster_id, slices, stratum, group_hash, and
    signal, which is `preference`. Answers that are the same to the scorer are no pair. None where the config's method
    has no stage that takes pairs.

    Raises:
        StateError: the method takes pairs, and there are none.
    """
    if "dpo" not in STAGES[config.training_method]:
        return []
    same = make_canonical(config.scorer)
    found = tx.rows("list_pairs", pinned_seq=pinned_seq, copies=COPIES)
    pairs = [_pair(row) for row in found if same(row["answer"]) != same(row["rejected"])]
    judged = {_group(pair, same) for pair in pairs}
    judged |= {row["group_hash"] for row in tx.rows("list_opposed_groups")}
    pairs += [pair for pair in candidates if _group(pair, same) not in judged]
    if not pairs:
        raise StateError(
            f"{config.name} has no pair of a better and a worse answer on its training side, and method "
            f"{config.training_method} learns from pairs: collect preferences, corrections or ratings (of several "
            f"answers to one input), and give the round up with `flywheel abandon --config FILE`"
        )
    return pairs


def _group(pair: Row, same: Canonical) -> str:
    return group_of_pair(pair["input_hash"], same(pair["answer"]), same(pair["rejected"]))


def _pair(row: Row) -> Row:
    how, version = row.pop("how"), row.pop("model_version")
    derived = canonical_json({"how": how, "model_version": version}) if how else None
    return row | {"signal": "preference", "derived": derived}
