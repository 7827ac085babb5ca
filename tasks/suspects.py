"""Suspect labels: answers that everything else with a known answer speaks against.

Confident learning (Northcutt et al. 2021): each answer is predicted from the others, and is suspect where another one
is much likelier than the one given. Two classifiers predict it out of fold (a near-duplicate never vouches for its
twin): one reads the words of all inputs, one the sentence embeddings of those that a round encodes anyway. Together
they are better than either: words know forms and names, meanings need few examples.

Classes are the answers in the scorer's canonical form, for `json_fields` those of each field. An answer that hardly
ever occurs, such as free text, cannot be predicted and is not judged.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tasks.score import make_canonical, parse_json
from tasks.scorer_options import ScorerConfig

if TYPE_CHECKING:
    import numpy as np

FOLDS = 5
FEWEST = 50  # rows below which nothing is fitted
# Groups of near-duplicates that an answer needs to be judged, and how many different answers are judged. Of an answer
# that was right in six rows, one in ten would be flagged; with ten rows it is hardly more than elsewhere.
LEAST, MOST = 10, 300
FITTED, WORK = 20_000, 2_000_000  # rows that a classifier is fitted on, and these times classes; of more, a sample
WORDS = 300  # dimensions that words and runs of characters are reduced to
PENALTY = 3.0  # C of scikit-learn
SLIP, LEAST_SLIPS = 0.5, 1e-4  # from which probability on an answer is taken for a slip; their least share
TOLERANCE, STEPS = 1e-3, 100  # of the solver
FLOOR = 1e-6  # the least probability: an unknown answer is not impossible


@dataclass(frozen=True)
class Answer:
    """An input with the answer somebody gave; `group` names its near-duplicates, `kind` is that of the signal."""

    signal_id: str
    text: str
    answer: str
    group: str
    kind: str
    is_encoded: bool


class Verdict(NamedTuple):
    """The likeliest other label: its probability over that of both, and that of the given one being a slip.

    A slip is an answer that might as well have been drawn by lot. How many there are is estimated, so that hardly any
    is seen in clean data and most are where there are many. Mistakes that are made again and again are no slips: the
    classifiers learn them, and only a large share of another label tells.
    """

    likelier: str
    share: float
    slip: float


@dataclass(frozen=True)
class Suspect:
    """An answer that is likely wrong: `field` of it ("" for the whole), what was given, and the verdict on it."""

    signal_id: str
    field: str
    given: str
    verdict: Verdict

    @property
    def score(self) -> float:
        """How sure it is: the greater of the verdict's two probabilities."""
        return max(self.verdict.share, self.verdict.slip)


def labels_by_field(answers: Sequence[str], scorer: ScorerConfig) -> dict[str, list[str | None]]:
    """What is to be predicted: for each field, each answer's value as text, None where an answer lacks it.

    Answers that are no JSON objects, and all those of the `exact` scorer, have one field, "".
    """
    canonical = make_canonical(scorer)
    values = [
        _fields(canonical(answer)) if scorer.type == "json_fields" else {"": canonical(answer)} for answer in answers
    ]
    return {
        field: [value.get(field) for value in values] for field in sorted({key for value in values for key in value})
    }


def _fields(answer: str) -> dict[str, str]:
    try:
        value = parse_json(answer)
    except ValueError:
        return {"": answer}
    if not isinstance(value, dict):
        return {"": answer}
    return {key: json.dumps(each, ensure_ascii=False, sort_keys=True) for key, each in value.items()}


def word_features(texts: Sequence[str]) -> "np.ndarray":
    """Texts as unit-length vectors of their words and runs of characters (texts x at most WORDS, float32).

    TF-IDF of words, pairs of words and runs of two to five characters, reduced by a truncated singular value
    decomposition (latent semantic analysis; Deerwester et al. 1990).
    """
    import numpy as np
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    least = 2 if len(texts) < 1_000 else 3
    kinds = (
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, token_pattern=r"\w+", dtype=np.float32),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=least, dtype=np.float32),
    )
    counts = sparse.hstack([kind.fit_transform(texts) for kind in kinds]).tocsr()
    size = min(WORDS, counts.shape[0] - 1, counts.shape[1] - 1)
    reduced = TruncatedSVD(size, n_iter=2, random_state=0).fit_transform(counts)
    return np.asarray(reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-9), np.float32)


def judge(
    answers: Sequence[Answer], labels: Sequence[str], words: "np.ndarray", meanings: "np.ndarray"
) -> list[Verdict]:
    """For each answer the likeliest other label, and how much speaks for it.

    `labels` are the answers' classes, of which there are at least two; `words` and `meanings` their inputs' features
    (answers x dimensions). Rows of `meanings` count where the answer `is_encoded`.
    """
    import numpy as np

    classes, codes = np.unique(labels, return_inverse=True)
    folds, weights = _folds(answers, codes), _weights(answers, codes)
    fitted = _sample(answers, min(FITTED, WORK // len(classes)))
    encoded = np.array([row.is_encoded for row in answers])
    parts = [_out_of_fold(words, codes, folds, weights, fitted)]
    if encoded.sum() >= FEWEST:
        parts.append(_out_of_fold(meanings, codes, folds, weights, fitted & encoded))
    else:
        encoded[:] = False
    kinds = np.array([row.kind for row in answers])
    verdicts: dict[int, Verdict] = {}
    for kind in np.unique(kinds):
        for with_meanings in (False, True):
            rows = np.flatnonzero((kinds == kind) & (encoded == with_meanings))
            used = [*(parts if with_meanings else parts[:1]), _shift(codes, kinds)]
            shown = rows if len(rows) >= FEWEST else np.flatnonzero(encoded >= with_meanings)
            fits = [_fit([part[shown] for part in used], codes[shown], with_slips=slips) for slips in (False, True)]
            found = _verdicts([part[rows] for part in used], codes[rows], fits)
            verdicts |= {
                row: Verdict(str(classes[likelier]), *scores)
                for row, (likelier, *scores) in zip(rows.tolist(), found, strict=True)
            }
    return [verdicts[place] for place in range(len(answers))]


def _judgeable(answers: Sequence[Answer], labels: Sequence[str | None]) -> list[int]:
    """Places of the answers whose label at least LEAST groups have; of the MOST commonest labels, if there are two."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for row, label in zip(answers, labels, strict=True):
        if label is not None:
            groups[label].add(row.group)
    enough = [label for label, each in groups.items() if len(each) >= LEAST]
    known = set(sorted(enough, key=lambda label: (-len(groups[label]), label))[:MOST])
    places = [place for place, label in enumerate(labels) if label in known]
    return places if len(known) > 1 and len(places) >= FEWEST else []


def _folds(rows: Sequence[Answer], codes: "np.ndarray") -> "np.ndarray":
    """A fold for each row: groups are dealt out label by label, in the order of their names' hashes."""
    import numpy as np

    first: dict[str, int] = {}
    for row, code in zip(rows, codes.tolist(), strict=True):
        first[row.group] = min(code, first.get(row.group, code))
    dealt = sorted(first, key=lambda group: (first[group], _hash(group)))
    fold_of = {group: place % FOLDS for place, group in enumerate(dealt)}
    return np.array([fold_of[row.group] for row in rows])


def _weights(rows: Sequence[Answer], codes: "np.ndarray") -> "np.ndarray":
    """Near-duplicates with one answer count as one row together: what went viral does not outvote the rest."""
    import numpy as np

    keys = [(row.group, code) for row, code in zip(rows, codes.tolist(), strict=True)]
    counts = Counter(keys)
    return np.array([1 / counts[key] for key in keys])


def _sample(rows: Sequence[Answer], size: int) -> "np.ndarray":
    """Which rows classifiers are fitted on: all, or so many by hash."""
    import numpy as np

    if len(rows) <= size:
        return np.ones(len(rows), bool)
    chosen = np.zeros(len(rows), bool)
    chosen[sorted(range(len(rows)), key=lambda place: _hash(rows[place].signal_id))[:size]] = True
    return chosen


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _out_of_fold(
    features: "np.ndarray",
    codes: "np.ndarray",
    folds: "np.ndarray",
    weights: "np.ndarray",
    fitted: "np.ndarray",
) -> "np.ndarray":
    """Log-probabilities (rows x classes), each row's by logistic regression on the other folds."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    found = np.full((len(codes), int(codes.max()) + 1), FLOOR)
    for fold in range(FOLDS):
        ours, others = np.flatnonzero(folds == fold), np.flatnonzero((folds != fold) & fitted)
        if len(np.unique(codes[others])) < 2 or not len(ours):
            continue
        model = LogisticRegression(C=PENALTY, tol=TOLERANCE, max_iter=STEPS)
        model.fit(features[others], codes[others], sample_weight=weights[others])
        found[np.ix_(ours, model.classes_)] = np.maximum(model.predict_proba(features[ours]), FLOOR)
    return np.log(found)


def _shift(codes: "np.ndarray", kinds: "np.ndarray") -> "np.ndarray":
    """How much commoner each class is among signals of a row's kind than among all, in logs (rows x classes).

    Corrections are about what fails, so that their answers are others than those of confirmed calls (label shift;
    Saerens et al. 2002). Where inputs say little, they would all look like slips without it.
    """
    import numpy as np

    classes = int(codes.max()) + 1
    everywhere = (np.bincount(codes, minlength=classes) + 1) / (len(codes) + classes)
    shift = np.empty((len(codes), classes))
    for kind in np.unique(kinds):
        rows = kinds == kind
        shift[rows] = np.log((np.bincount(codes[rows], minlength=classes) + 1) / (rows.sum() + classes) / everywhere)
    return shift


def _verdicts(
    parts: Sequence["np.ndarray"], codes: "np.ndarray", fits: Sequence[tuple[list[float], float]]
) -> list[tuple[int, float, float]]:
    """The likeliest other class of answers, its share and the probability of a slip; `fits` are without and with slips.

    Corrections are harder to predict than confirmed calls, so that each kind of signal has fits of its own.
    """
    import numpy as np

    places = np.arange(len(codes))
    (shares, _), (slip_shares, slips) = fits
    logs = _log_softmax(parts, shares)
    given = logs[places, codes].copy()
    logs[places, codes] = -np.inf
    ratios = 1 / (1 + np.exp(np.clip(given - logs.max(axis=1, initial=-np.inf), -50, 50)))
    right = np.exp(_log_softmax(parts, slip_shares)[places, codes])
    by_slip = slips / parts[0].shape[1]
    slipped = by_slip / np.maximum((1 - slips) * right + by_slip, 1e-12)
    return list(zip(logs.argmax(axis=1).tolist(), ratios.tolist(), slipped.tolist(), strict=True))


def _log_softmax(parts: Sequence["np.ndarray"], shares: Iterable[float]) -> "np.ndarray":
    """The classifiers' log-probabilities, each times how much it counts, as log-probabilities again."""
    from scipy.special import log_softmax

    return log_softmax(sum(share * part for share, part in zip(shares, parts, strict=True)), axis=1)


def _fit(parts: Sequence["np.ndarray"], codes: "np.ndarray", *, with_slips: bool) -> tuple[list[float], float]:
    """How much each classifier counts, and which share of answers is arbitrary: what makes the given ones likeliest.

    The first also takes back what classifiers are too sure of (temperature scaling; Guo et al. 2017). Of few answers
    nothing is fitted.
    """
    import numpy as np
    from scipy.optimize import minimize

    equal, places = [1 / len(parts)] * len(parts), np.arange(len(codes))
    if len(codes) < FEWEST:
        return equal, 0.0

    def loss(values: "np.ndarray") -> float:
        logs = _log_softmax(parts, values[:-1].tolist())[places, codes]
        if with_slips:
            logs = np.logaddexp(np.log1p(-values[-1]) + logs, np.log(values[-1] / parts[0].shape[1]))
        return -float(logs.mean())

    bounds = [(0.0, 4.0)] * len(parts) + [(LEAST_SLIPS, 0.5) if with_slips else (0.0, 0.0)]
    *shares, slips = minimize(loss, [*equal, LEAST_SLIPS if not with_slips else 0.05], bounds=bounds).x.tolist()
    return shares, slips


def find_suspects(
    answers: Sequence[Answer], encode: Callable[[Sequence[str]], "np.ndarray"], scorer: ScorerConfig, threshold: float
) -> tuple[list[Suspect], list[str]]:
    """Answers that are likely slips, or to which another has a share of `threshold` or more; and all ids judged.

    `encode` gives unit-length vectors (texts x dimensions) of the texts that are encoded. Of an answer with several
    suspect fields, the worst is named.
    """
    import numpy as np

    fields = labels_by_field([row.answer for row in answers], scorer)
    places = {field: _judgeable(answers, labels) for field, labels in fields.items()}
    judged = sorted(set().union(*places.values()))
    if not judged:
        return [], []
    row_of = {place: row for row, place in enumerate(judged)}
    words = word_features([answers[place].text for place in judged])
    meanings = _meanings([answers[place] for place in judged], encode)
    worst: dict[str, Suspect] = {}
    for field, chosen in places.items():
        if chosen:
            rows = np.array([row_of[place] for place in chosen])
            labels = [str(fields[field][place]) for place in chosen]
            verdicts = judge([answers[place] for place in chosen], labels, words[rows], meanings[rows])
            for place, given, verdict in zip(chosen, labels, verdicts, strict=True):
                found = Suspect(answers[place].signal_id, field, given, verdict)
                if verdict.share < threshold and verdict.slip < SLIP:
                    continue
                if found.signal_id not in worst or found.score > worst[found.signal_id].score:
                    worst[found.signal_id] = found
    return [worst[key] for key in sorted(worst)], [answers[place].signal_id for place in judged]


def _meanings(answers: Sequence[Answer], encode: Callable[[Sequence[str]], "np.ndarray"]) -> "np.ndarray":
    """The vectors of those that are encoded, in their rows; without dimensions where they are too few to fit."""
    import numpy as np

    encoded = [place for place, row in enumerate(answers) if row.is_encoded]
    if len(encoded) < FEWEST:
        return np.zeros((len(answers), 0), np.float32)
    vectors = encode([answers[place].text for place in encoded])
    found = np.zeros((len(answers), vectors.shape[1]), np.float32)
    found[encoded] = vectors
    return found
