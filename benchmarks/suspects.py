"""How many of the wrong labels in BANKING77 are flagged, and how many of the flags are right.

    python -m benchmarks.suspects --data DIR [--seeds 3]

One label in ten is made wrong at random: as any other intent, as the one most like it, or, as in a round, in
corrections alone, with four demonstrations for each. The check's settings were chosen on other questions (half of
train.csv); these are the other half and test.csv. Beside it, on the same questions, what is usually done: logistic
regression on sentence embeddings, with cleanlab's own choice of flags, and with as many of the labels least believed in
as the check flags. The data set has wrong labels of its own, which count against all three as false flags.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks._bars import Bar, close
from benchmarks._questions import parser, questions
from tasks.data_options import ScreeningConfig
from tasks.demo.banking77 import read_rows
from tasks.duplicates import is_short
from tasks.scorer_options import ExactScorer
from tasks.suspects import SLIP, Answer, find_suspects

WRONG = 0.1
CORRECTIONS = 0.2
EXACT = ExactScorer(type="exact")
CHOSEN_ON = 5_000
THRESHOLD = ScreeningConfig().suspect_score
THRESHOLDS = (0.9, 0.95, 0.98, 1.0)
Arm = Literal["any other", "the most like it", "corrections alone"]
ARMS: tuple[Arm, ...] = ("any other", "the most like it", "corrections alone")
Found = dict[str, tuple[float, float, int]]


def held_back(data: str | None) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Texts, vectors and intents of the questions that nothing was chosen on; None without data."""
    parts = [questions(data, split) for split in ("train", "test")]
    if parts[0] is None or parts[1] is None:
        return None
    texts = [
        [row.text for row in read_rows(Path(data or "") / "banking77" / f"{name}.csv")] for name in ("train", "test")
    ]
    kept = np.random.default_rng(1).permutation(len(texts[0]))[CHOSEN_ON:]
    vectors = np.concatenate([parts[0][0][kept], parts[1][0]])
    intents = np.concatenate([parts[0][1][kept], parts[1][1]])
    return [*(texts[0][place] for place in kept), *texts[1]], vectors, intents


def planted(intents: np.ndarray, vectors: np.ndarray, arm: Arm, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels with some made wrong, which those are, and which rows are corrections."""
    rng = np.random.default_rng(seed)
    classes = int(intents.max()) + 1
    corrections = rng.random(len(intents)) < (CORRECTIONS if arm == "corrections alone" else 1.0)
    wrong = corrections & (rng.random(len(intents)) < WRONG)
    labels = intents.copy()
    if arm == "the most like it":
        centres = np.stack([vectors[intents == intent].mean(axis=0) for intent in range(classes)])
        cosines = centres @ centres.T / np.linalg.norm(centres, axis=1) / np.linalg.norm(centres, axis=1)[:, None]
        np.fill_diagonal(cosines, -1.0)
        labels[wrong] = cosines.argmax(axis=1)[intents[wrong]]
    else:
        labels[wrong] = (intents[wrong] + rng.integers(1, classes, wrong.sum())) % classes
    return labels, wrong, corrections


def checked(
    texts: Sequence[str], vectors: np.ndarray, labels: np.ndarray, corrections: np.ndarray
) -> tuple[dict[float, np.ndarray], float]:
    """What the check flags at each threshold, and its seconds; of demonstrations, only short texts are encoded."""
    kinds = ["correction" if each else "demonstration" for each in corrections.tolist()]
    encoded = [kind == "correction" or is_short(text) for kind, text in zip(kinds, texts, strict=True)]
    answers = [
        Answer(f"s{place}", text, f"intent {label:02}", f"g{place}", kind, is_encoded)
        for place, (text, label, kind, is_encoded) in enumerate(
            zip(texts, labels.tolist(), kinds, encoded, strict=True)
        )
    ]
    vector_of = dict(zip(texts, vectors, strict=True))
    started = time.perf_counter()
    found, _ = find_suspects(
        answers, lambda chosen: np.stack([vector_of[text] for text in chosen]), EXACT, min(THRESHOLDS)
    )
    seconds = time.perf_counter() - started
    flags = {threshold: np.zeros(len(texts), bool) for threshold in THRESHOLDS}
    for suspect in found:
        for threshold, flagged in flags.items():
            flagged[int(suspect.signal_id[1:])] = suspect.verdict.share >= threshold or suspect.verdict.slip >= SLIP
    return flags, seconds


def usual(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What logistic regression on the vectors believes of each given label, and cleanlab's default flags."""
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    beliefs = cross_val_predict(LogisticRegression(max_iter=200), vectors, labels, cv=5, method="predict_proba")
    return beliefs[np.arange(len(labels)), labels], find_label_issues(labels, beliefs, n_jobs=1)


def counted(flagged: np.ndarray, wrong: np.ndarray) -> tuple[float, float, int]:
    """Precision, recall and number of flags."""
    hits = int((flagged & wrong).sum())
    return hits / max(1, int(flagged.sum())), hits / int(wrong.sum()), int(flagged.sum())


def measure(texts: Sequence[str], vectors: np.ndarray, intents: np.ndarray, arm: Arm, seed: int) -> tuple[Found, float]:
    """Precision, recall and flags of each way on one planting, on corrections alone, and the check's seconds."""
    labels, wrong, corrections = planted(intents, vectors, arm, seed)
    ours, seconds = checked(texts, vectors, labels, corrections)
    beliefs, flags = usual(vectors, labels)
    found = {f"check at {threshold}": counted(ours[threshold] & corrections, wrong) for threshold in THRESHOLDS}
    least = np.zeros(len(labels), bool)
    least[np.argsort(np.where(corrections, beliefs, 2.0))[: found[f"check at {THRESHOLD}"][2]]] = True
    return found | {
        "least believed in, as many": counted(least, wrong),
        "cleanlab": counted(flags & corrections, wrong),
    }, seconds


def averaged(runs: Sequence[Found]) -> dict[str, dict[str, float]]:
    """The mean over plantings, way by way."""
    keys = ("precision", "recall", "flags")
    return {
        way: {key: round(float(np.mean([run[way][place] for run in runs])), 3) for place, key in enumerate(keys)}
        for way in runs[0]
    }


def main() -> None:
    """Measure, print the table and the JSON."""
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=3)
    chosen = options.parse_args()
    data = held_back(chosen.data)
    if data is None:
        close("suspects", [], {})
        return
    context: dict[str, Any] = {"questions": len(data[0]), "seeds": chosen.seeds}
    seconds = []
    for arm in ARMS:
        runs = [measure(*data, arm, seed) for seed in range(chosen.seeds)]
        seconds += [took for _, took in runs]
        context[arm] = averaged([found for found, _ in runs])
        for way, figures in context[arm].items():
            print(f"{arm:18}  {way:27}  " + "  ".join(f"{name} {value:g}" for name, value in figures.items()))
    context["seconds"] = round(float(np.median(seconds)), 1)
    bars = []
    for arm, least in zip(ARMS, ((0.9, 0.9), (0.8, 0.3), (0.85, 0.9)), strict=True):
        ours = context[arm][f"check at {THRESHOLD}"]
        bars += [
            Bar(f"{key}, {arm}", ours[key], ">=", bar) for key, bar in zip(("precision", "recall"), least, strict=True)
        ]
    close("suspects", bars, context)


if __name__ == "__main__":
    main()
