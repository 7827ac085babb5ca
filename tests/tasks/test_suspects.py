"""Wrong labels are found, right ones are left alone, and what cannot be judged is not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.scorer_options import ExactScorer, JsonFieldsScorer, ScorerConfig
from tasks.suspects import Answer, _folds, find_suspects, labels_by_field, word_features

EXACT, FIELDS = ExactScorer(type="exact"), JsonFieldsScorer(type="json_fields")
WORDS = {
    "shipping": ("parcel", "courier", "delivery", "tracking", "shipped", "address"),
    "account": ("password", "login", "email", "locked", "profile", "username"),
    "billing": ("invoice", "charged", "refund", "card", "payment", "receipt"),
}
FILLER = tuple(f"w{number}" for number in range(40))


def no_vectors(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError("nothing is encoded")


def made(count: int, wrong: set[int], seed: int = 0, **changes: Any) -> list[Answer]:
    """Answers to texts that their words give away, those at some places wrong."""
    rng = random.Random(seed)
    rows = []
    for place in range(count):
        label = rng.choice(list(WORDS))
        text = " ".join(rng.sample([*rng.choices(WORDS[label], k=3), *rng.choices(FILLER, k=5)], 8))
        said = random.Random(place).choice([other for other in WORDS if other != label]) if place in wrong else label
        values = {"group": f"g{place}", "kind": "correction", "is_encoded": False} | changes
        rows.append(Answer(f"s{place:03}", text, said, **values))
    return rows


def flagged(answers: Sequence[Answer], scorer: ScorerConfig = EXACT) -> set[str]:
    return {suspect.signal_id for suspect in find_suspects(answers, no_vectors, scorer, 0.95)[0]}


def test_planted_mistakes_are_found_and_said_with_what_is_likelier() -> None:
    wrong = set(range(0, 300, 10))
    answers = made(300, wrong)
    right = made(300, set())
    suspects, judged = find_suspects(answers, no_vectors, EXACT, 0.95)
    found = {int(suspect.signal_id[1:]) for suspect in suspects}
    assert len(found & wrong) >= 0.9 * len(wrong)
    assert len(found - wrong) <= 3
    assert len(judged) == 300
    for suspect in suspects:
        place = int(suspect.signal_id[1:])
        assert suspect.given == answers[place].answer
        if place in wrong:
            assert suspect.verdict.likelier == right[place].answer


def test_labels_without_mistakes_are_left_alone() -> None:
    assert len(flagged(made(300, set()))) <= 3


def test_the_order_of_rows_makes_no_difference() -> None:
    answers = made(200, set(range(0, 200, 20)))
    shuffled = random.Random(1).sample(answers, len(answers))
    ours, theirs = (
        find_suspects(sorted(each, key=lambda row: row.signal_id), no_vectors, EXACT, 0.9)[0]
        for each in (answers, shuffled)
    )
    assert ours == theirs


def test_a_copy_does_not_vouch_for_its_twin() -> None:
    """Ten copies of one mistake agree with one another; the others speak against them."""
    answers = made(300, set())
    first = answers[0]
    other = next(label for label in WORDS if label != first.answer)
    copies = [Answer(f"t{n}", first.text, other, "copies", "correction", False) for n in range(10)]
    assert {row.signal_id for row in copies} <= flagged([*answers[1:], *copies])


def test_what_is_rare_or_free_text_is_not_judged() -> None:
    rare = [Answer(f"r{n}", f"parcel {n}", "customs", f"r{n}", "correction", False) for n in range(4)]
    suspects, judged = find_suspects([*made(100, set()), *rare], no_vectors, EXACT, 0.95)
    assert not {row.signal_id for row in rare} & {*judged, *(each.signal_id for each in suspects)}
    free = [Answer(f"f{n}", f"text {n}", f"an answer of its own {n}", f"f{n}", "correction", False) for n in range(200)]
    assert find_suspects(free, no_vectors, EXACT, 0.95) == ([], [])


@pytest.mark.parametrize("answers", [[], made(49, set()), [*made(1, set())] * 1])
def test_few_answers_are_not_judged(answers: list[Answer]) -> None:
    assert find_suspects(answers, no_vectors, EXACT, 0.95) == ([], [])


def test_one_answer_for_everything_is_not_judged() -> None:
    answers = [Answer(f"s{n}", f"text {n}", "yes", f"g{n}", "correction", False) for n in range(100)]
    assert find_suspects(answers, no_vectors, EXACT, 0.95) == ([], [])


def test_json_answers_are_judged_field_by_field() -> None:
    wrong = set(range(0, 300, 15))
    answers = [
        Answer(row.signal_id, row.text, f'{{"topic":"{row.answer}","id":{place}}}', row.group, row.kind, False)
        for place, row in enumerate(made(300, wrong))
    ]
    suspects, judged = find_suspects(answers, no_vectors, FIELDS, 0.95)
    assert len({int(each.signal_id[1:]) for each in suspects} & wrong) >= 0.9 * len(wrong)
    assert {each.field for each in suspects} == {"topic"}
    assert len(judged) == 300


def test_fields_are_spelled_one_way_and_what_is_no_object_is_a_whole() -> None:
    fields = labels_by_field(['{"a": 1, "b": [2,3]}', '{"b":[2, 3]}', "no json", "[1]"], FIELDS)
    assert fields == {
        "": [None, None, "no json", "[1]"],
        "a": ["1", None, None, None],
        "b": ["[2, 3]"] * 2 + [None] * 2,
    }
    assert labels_by_field([" a ", "b"], EXACT) == {"": ["a", "b"]}


def test_meanings_find_what_words_do_not_show() -> None:
    """Inputs whose words say nothing are judged by their vectors, where those are to be had."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    centres = np.eye(3, 8)
    vectors = centres[truth] + rng.normal(0, 0.1, (300, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [" ".join(random.Random(n).choices(FILLER, k=6)) + f" {n}" for n in range(300)]
    vector_of = dict(zip(texts, vectors, strict=True))
    wrong = set(range(0, 300, 10))
    labels = [
        (label + 1 + place // 10 % 2) % 3 if place in wrong else label for place, label in enumerate(truth.tolist())
    ]
    answers = [
        Answer(f"s{n:03}", text, f"label {label}", f"g{n}", "correction", True)
        for n, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    found, _ = find_suspects(answers, lambda chosen: np.stack([vector_of[text] for text in chosen]), EXACT, 0.95)
    assert {int(each.signal_id[1:]) for each in found} == wrong


def test_word_features_are_of_unit_length() -> None:
    vectors = word_features([row.text for row in made(80, set())])
    assert vectors.shape[0] == 80
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)


rows = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=40)


@settings(deadline=None)
@given(rows)
def test_a_group_is_never_in_two_folds_and_folds_are_even(pairs: list[tuple[int, int]]) -> None:
    answers = [
        Answer(f"s{n}", "t", str(code), f"g{group}", "correction", False) for n, (group, code) in enumerate(pairs)
    ]
    folds = _folds(answers, np.array([code for _, code in pairs]))
    of_group = {row.group: set() for row in answers}
    for row, fold in zip(answers, folds.tolist(), strict=True):
        of_group[row.group].add(fold)
    assert all(len(each) == 1 for each in of_group.values())
    dealt = np.bincount([each.pop() for each in of_group.values()], minlength=5)
    assert dealt.max() - dealt.min() <= 1
