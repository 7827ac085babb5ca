"""What was said can be taken back: by its author in the data, or by name; nothing is deleted or changed beside it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from tasks.blend import blend
from tasks.errors import StateError
from tasks.export import export
from tasks.retract import retract
from tasks.screen import screen
from tasks.status import status
from tests.conftest import (
    Record,
    Workload,
    correction,
    distinct,
    inference,
    make_workload,
    rating,
    retraction,
    thumb,
    traffic,
)
from tests.tasks.test_collect import counts, reconciles
from tests.tasks.test_screen import JONAS, MARIA, reasons, screened

RETRACTED = "retracted by its author"


def correction_id(workload: Workload, output: str = "right") -> str:
    return str(workload.value("select correction_id from corrections where corrected_output = ?", output))


def signals(workload: Workload) -> list[tuple[str, str | None]]:
    rows = workload.rows("select signal_id, excluded_because from signals_at(99) order by signal_id")
    return [(row["signal_id"], row["excluded_because"]) for row in rows]


def test_an_author_takes_back_what_they_said_before(workload: Workload) -> None:
    records = [inference("i"), correction("i", "1", minutes=1), retraction("i", minutes=2)]
    assert screened(workload, [*records, correction("i", "2", JONAS, 1)]) == {
        ("i", MARIA, "1"): RETRACTED, ("i", JONAS, "2"): None,
    }  # fmt: skip
    assert reconciles(workload)


def test_what_is_said_later_stands(workload: Workload) -> None:
    records = [
        inference("i"),
        correction("i", "1", minutes=1),
        retraction("i", minutes=2),
        correction("i", "2", minutes=3),
    ]
    assert screened(workload, records) == {("i", MARIA, "1"): RETRACTED, ("i", MARIA, "2"): None}


def test_whatever_comes_first_the_end_is_the_same(tmp_path: Path) -> None:
    """A retraction may come in before what it takes back, and before its call."""
    records = [inference("i"), correction("i"), retraction("i")]
    for number, order in enumerate(permutations(records)):
        workload = make_workload(tmp_path / str(number))
        for name, record in zip("abc", order, strict=True):
            workload.collect(name, [record])
        screen(workload.config, workload.open())
        assert reasons(workload) == {("i", MARIA, "right"): RETRACTED}
        assert workload.value("select count(*) from failures_at(99)") == 0


def test_a_thumb_that_is_taken_back_says_nothing(workload: Workload) -> None:
    records = [inference(id_, output="fine") for id_ in "abcd"]
    records += [thumb("a", "down"), thumb("a", by=JONAS), retraction("a")]
    records += [thumb("b"), retraction("b")]
    records += [thumb("c"), thumb("c", by=JONAS), retraction("c")]
    records += [thumb("d", "down"), retraction("d")]
    workload.collect("x", records)
    assert signals(workload) == [("confirmed:a", None), ("confirmed:b", RETRACTED), ("confirmed:c", None)]
    assert workload.value("select count(*) from failures_at(99)") == 0


def test_few_stars_that_are_taken_back_are_no_failure(workload: Workload) -> None:
    workload.collect("x", [inference("a"), rating("a", 1, MARIA), thumb("a", by=JONAS)])
    assert workload.value("select count(*) from failures_at(99)") == 1
    workload.collect("y", [retraction("a")])
    assert workload.value("select count(*) from failures_at(99)") == 0
    assert signals(workload) == [("confirmed:a", None)]


def test_a_retraction_comes_in_once_and_its_reason_redacted(workload: Workload) -> None:
    records: list[Record] = [retraction("i", reason="ask anna.k@firma-mail.de")]
    assert counts(workload.collect("a", records)) == (1, 1, 0, 0)
    assert counts(workload.collect("b", records)) == (1, 0, 1, 0)
    assert "anna.k" not in workload.value("select reason from retractions")


def test_who_took_back_what_they_faulted_is_not_counted_as_a_judge(workload: Workload) -> None:
    from tasks.db import State

    workload.collect("a", [inference("i"), thumb("i", "down"), retraction("i")])
    with State(workload.config.database).transaction() as tx:
        assert tx.rows("count_judged", pinned_seq=1, round_id=1) == []


@pytest.fixture
def judged(workload: Workload) -> Workload:
    """A round whose suite has a case for a correction that two people gave of calls with the same words."""
    text = distinct("same")
    same = [inference("i", text), inference("j", text), correction("i", "gold"), correction("j", "gold", JONAS, 2)]
    workload.collect("a", [*traffic(failures=12, successes=6, given=4), *same])
    round_ = workload.to_split()
    workload.close(round_)
    return workload


def gold_cases(workload: Workload) -> list[tuple[str, str | None]]:
    query = "select producer, retired_because from regression_cases where expected = 'gold' order by added_round"
    return [(row["producer"], row["retired_because"]) for row in workload.rows(query)]


def test_a_retracted_correction_leaves_snapshot_and_suite_and_another_answer_takes_its_place(judged: Workload) -> None:
    (first,) = gold_cases(judged)
    author, other = (MARIA, JONAS) if first[0] == MARIA else (JONAS, MARIA)
    call = judged.value(
        "select inference_id from corrections where corrected_by = ? and corrected_output = 'gold'", author
    )
    judged.collect("b", [retraction(call, author), inference("new"), correction("new", "fresh")])
    round_ = judged.to_split()
    assert gold_cases(judged) == [(author, RETRACTED), (other, None)]
    blend(judged.config, round_)
    trained = judged.rows("select s.producer from snapshot_rows s join corrections on signal_id = correction_id "
                          "where corrected_output = 'gold'")  # fmt: skip
    assert author not in [row["producer"] for row in trained]
    assert (
        judged.value("select use_for_training or use_for_eval from corrections where excluded_because = ?", RETRACTED)
        is False
    )


def test_a_person_takes_a_correction_back_by_its_id(judged: Workload) -> None:
    id_ = judged.value("select signal_id from regression_cases where expected = 'gold'")
    found = retract(judged.config, id_[:12], "person:lead", "wrong price\nlist")
    assert found["correction_id"] == id_
    why = "retracted by person:lead: wrong price\\nlist"
    assert judged.value("select excluded_because from corrections where correction_id = ?", id_) == why
    assert status(judged.config)["excluded_corrections"][why] == 1
    assert reconciles(judged)
    judged.to_split()
    assert [reason for _, reason in gold_cases(judged)] == [why, None]
    with pytest.raises(StateError, match="is out already: retracted by person:lead"):
        retract(judged.config, id_, "person:lead", "again")


def test_an_open_round_ends_as_it_began(workload: Workload, tmp_path: Path) -> None:
    workload.collect("a", traffic(failures=3))
    round_ = workload.to_split()
    before = workload.rows("select signal_id, excluded_because from signals_at(?) order by all", round_.pinned_seq)
    retract(workload.config, correction_id(workload, "right 0"), "person:lead", "wrong")
    screen_again = "select signal_id, excluded_because from signals_at(?) order by all"
    assert workload.rows(screen_again, round_.pinned_seq) == before
    workload.close(round_)
    assert export(workload.config, "chat", tmp_path / "x.jsonl") == 2


@pytest.mark.parametrize(
    ("id_", "by", "why", "expected"),
    [
        ("zz", "person:a", "x", "no correction has an id that begins with zz"),
        ("", "person:a", "x", "more than one correction"),
        ("zz", "person:a", " ", "say who takes the correction back, and why"),
        ("zz", "person:", "x", "say who takes the correction back, and why"),
    ],
)
def test_what_cannot_be_taken_back_is_said(workload: Workload, id_: str, by: str, why: str, expected: str) -> None:
    workload.collect("a", traffic(failures=2))
    before = workload.content()
    with pytest.raises(StateError, match=expected):
        retract(workload.config, id_, by, why)
    assert workload.content() == before
