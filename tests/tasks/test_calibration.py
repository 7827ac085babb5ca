"""A judge counts where it agrees with people: what it is held against, and what makes it trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import endpoint
from tasks.calibration import calibrate, calibration
from tasks.scorer_options import JudgeScorer
from tests.conftest import (
    Record,
    Workload,
    correction,
    distinct,
    inference,
    make_workload,
    preference,
    rating,
    retraction,
    thumb,
)
from tests.tasks.judge_server import JudgeServer, quality, serving
from tests.tasks.test_judge import coin, judged_by
from tests.tasks.test_verdicts import a_judge


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(endpoint, "BACKOFF_SECONDS", 0.01)
    with serving() as made:
        yield made


def pointwise(folder: Path, server: JudgeServer, records: list[Record], **changes: Any) -> Workload:
    workload = make_workload(folder, scorer=judged_by(server, mode="pointwise", **changes))
    workload.collect("a", records)
    return workload


def pairwise(folder: Path, server: JudgeServer, records: list[Record], **changes: Any) -> Workload:
    scorer = judged_by(server, **changes)
    workload = make_workload(folder, task="better_answer", scorer=scorer)
    workload.collect("a", records)
    return workload


def held_against_people(workload: Workload) -> dict[str, Any]:
    assert isinstance(workload.config.scorer, JudgeScorer)
    return calibrate(workload.config, workload.config.scorer, 1)


def judged_calls(number: int) -> list[Record]:
    """Calls of quality 0 to 4, of which people confirm those from 3 on and correct or thumb down the others."""
    records = []
    for place in range(number):
        id_ = f"i{place:03}"
        records.append(inference(id_, output=f"{place}: quality {place % 5}"))
        if place % 5 >= 3:
            records.append(thumb(id_))
        else:
            records.append(correction(id_, "quality 5") if place % 2 else thumb(id_, "down"))
    return records


def preferences(number: int) -> list[Record]:
    return [
        preference(f"p{place:03}", f"{place}: quality {3 + place % 2}", f"{place}: quality {place % 3}")
        if place % 4
        else preference(f"p{place:03}", f"{place}: this quality 2", f"{place}: that quality 2", scale=5, degree=0)
        for place in range(number)
    ]


def test_a_judge_that_says_what_people_say_is_trusted(tmp_path: Path, server: JudgeServer) -> None:
    found = held_against_people(pointwise(tmp_path / "one", server, judged_calls(60)))
    assert (found["kappa"], found["low"], found["high"], found["agreement"]) == (1.0, 1.0, 1.0, 1.0)
    assert (found["cases"], found["no_verdict"], found["is_trusted"]) == (60, 0, True)
    assert found["reason"] == (
        "the judge agrees with people: kappa 1.00 (1.00 to 1.00) on 60 cases that people judged; 0.60 is required"
    )
    found = held_against_people(pairwise(tmp_path / "two", server, preferences(40)))
    assert (found["kappa"], found["cases"], found["is_trusted"]) == (1.0, 40, True)


def test_a_judge_that_throws_coins_is_not_trusted(tmp_path: Path, server: JudgeServer) -> None:
    server.rule = coin
    for number, workload in enumerate(
        (
            pointwise(tmp_path / "one", server, [*judged_calls(80)]),
            pairwise(tmp_path / "two", server, preferences(80)),
        )
    ):
        found = held_against_people(workload)
        assert not found["is_trusted"]
        assert abs(found["kappa"]) < 0.35, number
        assert found["reason"].startswith("the judge's verdicts are shown and do not count: it agrees with people by")
        assert found["reason"].endswith("and 0.60 is required")


def test_a_judge_that_looks_at_the_order_agrees_by_chance(tmp_path: Path, server: JudgeServer) -> None:
    server.rule = lambda answers: "A"
    found = held_against_people(pairwise(tmp_path, server, preferences(40)))
    assert (found["kappa"], found["is_trusted"]) == (0.0, False)


def test_a_judge_that_likes_what_comes_first_in_the_alphabet_agrees_by_chance(
    tmp_path: Path, server: JudgeServer
) -> None:
    """The better answer must not be told by its place."""
    server.rule = lambda answers: "A" if answers[0] < answers[1] else "B"
    records = [preference(f"p{place:03}", f"a{place} quality 4", f"b{place} quality 1") for place in range(40)]
    found = held_against_people(pairwise(tmp_path / "one", server, records))
    assert found["kappa"] == 1.0  # here the alphabet is right
    records = [preference(f"p{place:03}", f"{place % 2}{place} quality 4", f"{1 - place % 2}") for place in range(60)]
    found = held_against_people(pairwise(tmp_path / "two", server, records))
    assert abs(found["kappa"]) < 0.35


def test_too_few_cases_are_not_enough(tmp_path: Path, server: JudgeServer) -> None:
    found = held_against_people(pointwise(tmp_path / "few", server, judged_calls(29)))
    assert (found["kappa"], found["is_trusted"]) == (1.0, False)
    assert found["reason"] == (
        "the judge's verdicts are shown and do not count: it could be held against 29 cases that people judged, and 30 "
        "are needed"
    )
    none = held_against_people(pointwise(tmp_path / "none", server, [inference("i1")]))
    assert (none["kappa"], none["low"], none["cases"], none["is_trusted"]) == (None, None, 0, False)


def test_people_who_say_one_thing_only_are_no_measure(tmp_path: Path, server: JudgeServer) -> None:
    records = [record for i in range(40) for record in (inference(f"i{i}", output="quality 4"), thumb(f"i{i}"))]
    found = held_against_people(pointwise(tmp_path, server, records))
    assert (found["kappa"], found["agreement"], found["is_trusted"]) == (0.0, 1.0, False)
    assert "all were right, so that agreement cannot be told from chance" in found["reason"]


def test_cases_without_a_verdict_are_counted_and_are_no_agreement(tmp_path: Path, server: JudgeServer) -> None:
    server.rule = lambda answers: "hm" if quality(answers[0]) == 4 else "yes" if quality(answers[0]) >= 3 else "no"
    found = held_against_people(pointwise(tmp_path, server, judged_calls(50), retries=0))
    assert (found["cases"], found["no_verdict"], found["is_trusted"]) == (40, 10, True)
    assert "40 cases that people judged (and 10 on which it gave no verdict)" in found["reason"]


def test_a_sample_is_drawn_by_the_seed(tmp_path: Path, server: JudgeServer) -> None:
    drawn = []
    for seed in (0, 0, 1):
        workload = pointwise(tmp_path / f"{len(drawn)}", server, judged_calls(60), calibration_cases=40, seed=seed)
        server.asked.clear()
        assert held_against_people(workload)["cases"] == 40
        drawn.append(set(server.questions))
    assert drawn[0] == drawn[1] != drawn[2]


def test_only_people_are_a_measure_and_only_where_they_agree(tmp_path: Path, server: JudgeServer) -> None:
    records = [
        inference("up", output="quality 4"), thumb("up"),
        inference("corrected", output="quality 1"), correction("corrected", "quality 5"),
        inference("down", output="quality 2"), thumb("down", "down"),
        inference("model", output="quality 1"), thumb("model", "down", by="model:judge"),
        inference("rule", output="quality 1"), correction("rule", "quality 5", by="rule:x"),
        inference("both", output="quality 1"), thumb("both"), thumb("both", "down", by="person:jonas"),
        inference("starred", output="quality 1"), thumb("starred"), rating("starred", 1, by="person:jonas"),
        inference("taken back", output="quality 1"), thumb("taken back", "down"), retraction("taken back"),
        inference("nobody", output="quality 1"),
        inference("again", text=distinct("up"), output="quality 4"), thumb("again", by="person:jonas"),
    ]  # fmt: skip
    workload = pointwise(tmp_path, server, records, min_calibration_cases=3)
    found = held_against_people(workload)
    assert (found["cases"], found["agreement"]) == (3, 1.0)


def test_a_correction_that_agrees_with_the_model_faults_nothing(tmp_path: Path, server: JudgeServer) -> None:
    records = [inference("i1", output="quality 4"), correction("i1", "quality 4 "), thumb("i1")]
    workload = pointwise(tmp_path, server, records)
    workload.to_split()
    assert held_against_people(workload)["cases"] == 1


def test_preferences_that_people_are_opposed_on_are_no_measure(tmp_path: Path, server: JudgeServer) -> None:
    text: dict[str, Any] = {"messages": preference("p1")["messages"]}
    records = [
        preference("p1", "quality 4", "quality 1"),
        preference("p2", "quality 1", "quality 4", producer="person:jonas", **text),
        preference("p3", "quality 4", "quality 1"),
        preference("p4", "quality 4", "quality 2", producer="model:judge"),
        preference("p5", "quality 4", "quality 4 "),
    ]
    assert held_against_people(pairwise(tmp_path, server, records))["cases"] == 1


def test_the_estimate_has_to_reach_what_is_required_and_the_interval_is_said() -> None:
    people = ["right"] * 60 + ["wrong"] * 40
    said = [*["right"] * 52, *["wrong"] * 8, *["wrong"] * 28, *["right"] * 12]
    found = calibration(a_judge(min_agreement=0.57), people, said)
    assert found["kappa"] == pytest.approx(0.576, abs=0.001)
    assert found["low"] < 0.57 < found["kappa"] and found["is_trusted"]
    assert not calibration(a_judge(min_agreement=0.58), people, said)["is_trusted"]
    assert {"mode", "model", "address", "required", "required_cases"} <= found.keys()
