"""Which corrections are used: the author's last word, when nobody contradicts it; everything else says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.db import State
from tasks.screen import screen
from tests.conftest import Record, Workload, correction, demonstration, distinct, inference, make_workload, thumb

MARIA, JONAS, KOFI = "person:maria", "person:jonas", "person:kofi"


def reasons(workload: Workload) -> dict[tuple[str, str, str], str | None]:
    rows = workload.rows("select inference_id, corrected_by, corrected_output, excluded_because from corrections")
    return {(r["inference_id"], r["corrected_by"], r["corrected_output"]): r["excluded_because"] for r in rows}


def screened(workload: Workload, records: list[Record]) -> dict[tuple[str, str, str], str | None]:
    workload.collect("a", records)
    screen(workload.config, workload.open())
    return reasons(workload)


def test_a_plain_correction_is_used(workload: Workload) -> None:
    assert screened(workload, [inference("i"), correction("i")]) == {("i", MARIA, "right"): None}


def test_the_authors_last_word_counts(workload: Workload) -> None:
    found = screened(workload, [inference("i"), correction("i", "1", minutes=1), correction("i", "2", minutes=2)])
    assert found == {("i", MARIA, "1"): "superseded by its author", ("i", MARIA, "2"): None}


def test_who_takes_a_correction_back_corrects_nothing(workload: Workload) -> None:
    found = screened(workload, [inference("i"), correction("i", "1", minutes=1), correction("i", "wrong", minutes=2)])
    assert found == {("i", MARIA, "1"): "superseded by its author", ("i", MARIA, "wrong"): "agrees with the model"}
    assert workload.value("select count(*) from failures") == 0


def test_people_who_disagree_are_both_left_out(workload: Workload) -> None:
    found = screened(workload, [inference("i"), correction("i", "1", MARIA), correction("i", "2", JONAS)])
    assert set(found.values()) == {"contradicts another answer (same input)"}


def test_people_who_disagree_about_the_same_input_of_two_calls_are_both_left_out(workload: Workload) -> None:
    records = [
        inference("i", "same text"),
        inference("j", "same text"),
        correction("i", "1"),
        correction("j", "2", JONAS),
    ]
    assert set(screened(workload, records).values()) == {"contradicts another answer (same input)"}


def test_agreement_is_used_once(workload: Workload) -> None:
    found = screened(
        workload, [inference("i"), correction("i", by=MARIA, minutes=1), correction("i", by=JONAS, minutes=2)]
    )
    assert found == {("i", MARIA, "right"): None, ("i", JONAS, "right"): "repeats another correction"}


def test_a_contradiction_that_is_settled_is_used(workload: Workload) -> None:
    records = [
        inference("i"),
        correction("i", "1", MARIA),
        correction("i", "2", JONAS, 1),
        correction("i", "1", JONAS, 2),
    ]
    found = screened(workload, records)
    assert [output for (_, _, output), reason in found.items() if reason is None] == ["1"]


def test_a_correction_without_its_inference_waits(workload: Workload) -> None:
    workload.collect("a", [inference("j"), correction("j")])
    assert screened(workload, [correction("i")])[("i", MARIA, "right")] == "its inference has not arrived"


def test_each_screening_decides_anew(workload: Workload) -> None:
    """A contradiction that a later pass brings takes an earlier correction out of use; settling it brings it back."""
    screened(workload, [inference("i"), correction("i", "1", MARIA)])
    workload.close(workload.open())
    workload.collect("b", [correction("i", "2", JONAS, minutes=2)])
    screen(workload.config, workload.open())
    assert reasons(workload)["i", MARIA, "1"] == "contradicts another answer (same input)"
    workload.close(workload.open())
    workload.collect("c", [correction("i", "1", JONAS, minutes=3)])
    screen(workload.config, workload.open())
    assert reasons(workload)["i", MARIA, "1"] is None


def test_two_spellings_of_one_json_answer_do_not_contradict(tmp_path: Path) -> None:
    """Where the scorer compares JSON fields, reviewers who differ in spacing alone agree."""
    workload = make_workload(tmp_path, scorer={"type": "json_fields"})
    found = screened(
        workload, [inference("i"), correction("i", '{"a":1}', MARIA, 1), correction("i", '{"a": 1}', JONAS, 2)]
    )
    assert "contradicts another answer (same input)" not in found.values()


def test_near_duplicates_are_found_among_everything_with_an_answer(workload: Workload) -> None:
    text = distinct("x", 14)
    near = f"{text} now"
    workload.collect(
        "a", [inference("i", text), correction("i"), demonstration("d", near), inference("lonely", near + " a")]
    )
    assert screen(workload.config, workload.open())["new inputs with a near-duplicate"] == 2
    assert workload.value("select jaccard from near_duplicates") == pytest.approx(12 / 13)


def test_short_texts_that_mean_the_same_are_near_duplicates(workload: Workload) -> None:
    """Their runs of three words would never show it."""
    texts = ["reset my password", "please reset my password", "I want to change my address"]
    workload.collect("a", [demonstration(f"d{n}", text) for n, text in enumerate(texts)])
    screen(workload.config, workload.open())
    pairs = workload.rows("select jaccard < 0.8 as is_far, cosine >= 0.85 as is_near from near_duplicates")
    assert pairs == [{"is_far": True, "is_near": True}]


@pytest.mark.parametrize("changes", [{"split": {"near_meaning": None}}, {}])
def test_the_encoder_reads_short_texts_alone_and_can_be_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    workload = make_workload(tmp_path, **changes)
    words = {} if changes else {"words": 9}
    workload.collect("a", [demonstration(f"d{n}", distinct(f"d{n}", **words)[: 30 if changes else None]) for n in "ab"])
    screen(workload.config, workload.open())
    assert workload.value("select count(*) from embeddings") == 0


def test_a_later_round_finds_the_side_of_a_near_duplicate(workload: Workload) -> None:
    text = distinct("x", 30)
    workload.collect("a", [demonstration("d", text)])
    workload.close(workload.to_split())
    workload.collect("b", [demonstration(f"e{n}", f"{text} {n}") for n in range(50)])
    workload.to_split()
    assert workload.value("select count(*) from near_duplicates") < 150
    assert workload.rows("select distinct side from sides") == [{"side": "train"}]


def test_the_counts_of_the_window_are_in_the_evidence(workload: Workload) -> None:
    records: list[Any] = [inference(f"i{n}") for n in range(4)]
    workload.collect("a", [*records, correction("i0"), thumb("i1", "down"), thumb("i2"), correction("i3", "wrong")])
    screen(workload.config, workload.open())
    from tasks.rounds import read_evidence

    evidence = read_evidence(workload.config)[0]
    counts = evidence["counts"]
    assert (counts["read"], counts["stored"], counts["inferences"], counts["corrections"]) == (8, 8, 4, 2)
    assert (counts["failures"], counts["failure_rate"]) == (2, 0.5)
    assert evidence["excluded"] == [{"signal": "correction", "reason": "agrees with the model", "rows": 1}]


def test_what_comes_in_after_the_pin_is_not_screened(workload: Workload) -> None:
    workload.collect("a", [inference("i"), correction("i", "1", MARIA)])
    round_ = workload.open()
    workload.collect("b", [correction("i", "2", JONAS), inference("j", distinct("i")), correction("j", "3")])
    screen(workload.config, round_)
    assert set(reasons(workload).values()) == {None}
    with State(workload.config.database).transaction() as tx:
        window = tx.rows("count_window", pinned_seq=round_.pinned_seq, round_id=round_.round_id)[0]
    assert (window["inferences"], window["failures"], window["corrections"]) == (1, 1, 1)


def test_an_inference_that_arrives_after_the_pin_is_not_in_the_round(workload: Workload) -> None:
    """A round that was killed and is resumed after another pass must use what an undisturbed one would have used."""
    workload.collect("a", [correction("i"), inference("j"), correction("j")])
    round_ = workload.open()
    workload.collect("b", [inference("i")])
    screen(workload.config, round_)
    assert reasons(workload)["i", MARIA, "right"] == "its inference has not arrived"


def test_a_failure_that_is_reported_after_the_pin_is_not_in_the_rate(workload: Workload) -> None:
    workload.collect("a", [inference("i"), correction("i"), inference("j")])
    round_ = workload.open()
    workload.collect("b", [thumb("j", "down")])
    screen(workload.config, round_)
    with State(workload.config.database).transaction() as tx:
        window = tx.rows("count_window", pinned_seq=round_.pinned_seq, round_id=round_.round_id)[0]
    assert window["failures"] == 1


def test_text_that_tries_to_be_sql_goes_through(workload: Workload) -> None:
    text = "'; drop table corrections; -- " + distinct("x")
    found = screened(workload, [inference(text, text), correction(text, "'; delete from rounds; --")])
    assert list(found.values()) == [None]
    assert len(workload.rows("select * from rounds")) == 1
