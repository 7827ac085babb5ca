"""The training set: every usable correction, demonstrations as production is, and nothing that is held out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.blend import answers_json, blend, composition, without_copies
from tasks.chat import MARK, held_answer
from tasks.errors import StateError
from tasks.rounds import read_evidence
from tasks.snapshots import answer_json, read_snapshot
from tasks.split import COPIES
from tests.conftest import Saved, Workload, correction, distinct, inference, make_workload, thumb, traffic


def blended(workload: Workload) -> dict[str, Any]:
    return blend(workload.config, workload.to_split())


def test_the_snapshot_holds_no_row_that_is_held_out(workload: Workload) -> None:
    workload.collect("a", traffic(failures=30, successes=60, given=30))
    made = blended(workload)
    sides = workload.rows("select distinct side from snapshot_rows join sides using (input_hash)")
    assert sides == [{"side": "train"}]
    path = Path(workload.value("select path from snapshots"))
    assert made["hash"] == workload.value("select snapshot_hash from rounds")
    lines = read_snapshot(path, made["hash"]).to_dicts()
    held_out = {r["input"] for r in workload.rows("select input from regression_cases where tier <> 'fixed'")}
    assert held_out and not held_out & {r["prompt"] for r in lines}
    answers = {r["signal_id"]: r["answer"] for r in workload.rows("select signal_id, answer from signals")}
    assert all(json.loads(r["chosen"]) == [{"role": "assistant", "content": answers[r["signal_id"]]}] for r in lines)
    rows = workload.rows("select signal_id, source, producer from snapshot_rows order by position")
    assert rows == [{key: r[key] for key in ("signal_id", "source", "producer")} for r in lines]
    assert made["corrections"] == sum(r["signal"] == "correction" for r in lines) == 20


def test_the_composition_names_signals_sources_and_producers() -> None:
    signals = ["correction"] * 3 + ["demonstration"]
    producers = ["person:j", "person:m", "person:m", "person:r"]
    rows = pl.DataFrame({"signal": signals, "source": ["production"] * 4, "producer": producers})
    assert composition(rows) == [
        {"signal": "correction", "source": "production", "rows": 3, "producers": {"person:m": 2, "person:j": 1}},
        {"signal": "demonstration", "source": "production", "rows": 1, "producers": {"person:r": 1}},
    ]


def test_the_same_rows_give_the_same_snapshot(tmp_path: Path) -> None:
    records = traffic(failures=10, successes=20, given=5)
    hashes = set()
    for name, order in (("one", records), ("other", records[::-1])):
        workload = make_workload(tmp_path / name)
        workload.collect("a", order)
        hashes.add(blended(workload)["hash"])
    assert len(hashes) == 1


def test_signals_that_arrive_while_a_round_runs_do_not_change_its_snapshot(tmp_path: Path) -> None:
    """A round that is killed and resumed after another pass trains on what an undisturbed one trains on."""
    hashes = set()
    for name in ("undisturbed", "resumed"):
        workload = make_workload(tmp_path / name)
        workload.collect("a", traffic(failures=10, successes=20))
        round_ = workload.to_split()
        if name == "resumed":
            again = [thumb(f"s{n:03}", by="person:jonas", minutes=5) for n in range(10)]
            workload.collect("b", [*again, *(correction(f"s{n:03}", "better", minutes=6) for n in range(10, 20))])
            round_ = workload.open()
        hashes.add(blend(workload.config, round_)["hash"])
    assert len(hashes) == 1


def test_without_a_usable_correction_there_is_no_training(workload: Workload) -> None:
    workload.collect("a", [inference("i"), correction("i", "1"), correction("i", "2", "person:jonas"), *traffic(0, 5)])
    with pytest.raises(StateError, match="round 1 has no usable correction") as caught:
        blended(workload)
    assert "\n" not in str(caught.value)


def test_corrections_without_any_demonstration_are_not_trained_on(workload: Workload) -> None:
    workload.collect("a", traffic(failures=10))
    with pytest.raises(StateError, match="round 1 has corrections and not one demonstration on its training side"):
        blended(workload)
    assert workload.value("select stage from rounds") == "blend"
    assert not (workload.config.folder / "snapshots").exists()


def test_a_blend_without_a_single_correction_is_not_trained_on(tmp_path: Path) -> None:
    bounded = {"demonstrations_per_correction": 9, "corrections_share": 0.1}
    workload = make_workload(tmp_path, blend=bounded)
    workload.collect("a", traffic(failures=10, given=4))
    with pytest.raises(StateError, match=r"too few demonstrations for a single correction at .*corrections_share 0\.1"):
        blended(workload)


def test_demonstrations_that_the_config_keeps_out_do_not_count(tmp_path: Path) -> None:
    sources = [{"name": name, "path": str(tmp_path / "traffic" / f"{name}*.jsonl")} for name in ("a", "b")]
    workload = make_workload(tmp_path, sources=sources, blend={"sources": [{"name": "b", "weight": 0}]})
    workload.write("b", traffic(0, given=9))
    workload.collect("a", traffic(failures=10))
    with pytest.raises(StateError, match=r"not one demonstration on its training side that blend\.sources lets in"):
        blended(workload)


def test_rows_with_one_answer_alone_are_not_trained_on(workload: Workload) -> None:
    """Whatever is asked, such a model would say `right`."""
    calls = [record for n in range(9) for record in (inference(f"i{n}"), correction(f"i{n}"))]
    workload.collect("a", [*calls, *traffic(0, given=9)])
    with pytest.raises(StateError, match=r"all \d+ rows that round 1 would train on have the same answer"):
        blended(workload)


def test_the_evidence_says_how_far_the_blend_is_from_production(workload: Workload) -> None:
    workload.collect("a", traffic(failures=20, successes=60, given=10))
    blended(workload)
    distance = read_evidence(workload.config)[0]["card"]["distance"]
    assert distance.keys() == {"slices", "labels", "clusters"}
    assert distance["slices"] == 0.0
    assert 0.0 < distance["labels"] < 0.3


def test_corrections_of_earlier_rounds_are_replayed_as_the_config_says(tmp_path: Path) -> None:
    first = make_workload(tmp_path / "workload")
    first.collect("a", traffic(failures=20, successes=60))
    judged = first.to_split()
    blend(first.config, judged)
    first.close(judged)
    first.collect("b", traffic(failures=20, successes=60, prefix="b"))
    saved = Saved(first)
    for share, expected in ((1.0, 26), (0.5, 13 + 6), (0.0, 13)):
        saved.restored()
        workload = make_workload(first.folder, blend={"replay": share})
        assert blended(workload)["corrections"] == expected
        left = read_evidence(workload.config)[-1]["not_chosen"]["correction"]
        assert left == 26 - expected


def test_of_near_duplicates_one_row_is_trained_on(workload: Workload) -> None:
    records = [inference(f"i{n}", "the very same words of one ticket in a row") for n in range(5)]
    workload.collect("a", [*records, *(correction(f"i{n}", minutes=n) for n in range(5))])
    workload.collect("b", traffic(0, 5))
    assert blended(workload)["corrections"] == 1


def viral(count: int, answers: int, start: int = 0) -> list[dict[str, Any]]:
    """Corrections of one long text with another number in it each time."""
    text = distinct("viral", 40)
    records = []
    for n in range(start, start + count):
        records += [inference(f"v{n:04}", f"{text} {n}"), correction(f"v{n:04}", f"answer {n % answers}")]
    return records


def test_one_viral_failure_is_a_few_rows_and_a_few_cases(workload: Workload) -> None:
    """A thousand near-copies with different answers must neither fill the training set nor the suite."""
    workload.collect("a", [*viral(300, answers=100), *traffic(failures=20, given=40)])
    made = blended(workload)
    assert made["corrections"] == COPIES + 13
    assert made["copies_left_out"] == {"correction": 300 - COPIES, "demonstration": 0}
    assert read_evidence(workload.config)[0]["copies_left_out"] == made["copies_left_out"]
    cases = workload.rows("select distinct expected from regression_cases where expected like 'answer%'")
    assert len(cases) == COPIES


def test_of_copies_the_latest_answers_are_trained_on(workload: Workload) -> None:
    """Where the right answer to a viral question has changed, the old one must not keep the new one out."""
    workload.collect("a", [*viral(20, answers=20), *traffic(0, given=20)])
    workload.close(workload.to_split())
    workload.collect("b", viral(COPIES, answers=1_000, start=500))
    blended(workload)
    answers = workload.rows("select corrected_output from corrections join snapshot_rows on correction_id = signal_id")
    assert {row["corrected_output"] for row in answers} == {f"answer {500 + n}" for n in range(COPIES)}
    assert (
        workload.value("select count(*) from regression_cases where tier = 'fixed' and retired_round is null") == COPIES
    )


COPY = st.tuples(
    st.sampled_from("gh"), st.sampled_from(["correction", "demonstration"]), st.sampled_from("abcd"), st.integers(1, 3)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(COPY, max_size=20), st.integers(1, 3), st.randoms())
def test_of_each_group_the_latest_answers_are_taken_whatever_order_rows_come_in(
    found: list[tuple[str, str, str, int]], copies: int, rng: random.Random
) -> None:
    rows = [(*each, f"s{n:02}") for n, each in enumerate(found)]
    columns = ["group_hash", "signal", "answer", "ingest_seq", "signal_id"]
    expected = set()
    for group in {row[:2] for row in rows}:
        own = [row for row in rows if row[:2] == group]
        firsts = {
            answer: (-max(row[3] for row in own if row[2] == answer), min(row[4] for row in own if row[2] == answer))
            for answer in {row[2] for row in own}
        }
        expected |= {id_ for _, id_ in sorted(firsts.values())[:copies]}
    schema = {name: pl.Int64 if name == "ingest_seq" else pl.String for name in columns}
    for order in (rows, rng.sample(rows, len(rows))):
        taken = without_copies(pl.DataFrame(order, schema=schema, orient="row"), copies)
        assert set(taken["signal_id"]) == expected and taken.height == len(expected)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\x1f\x7f\u2028'), max_size=9)))
def test_answers_are_spelled_at_once_as_one_by_one(answers: list[str]) -> None:
    """Two spellings of one answer would be two snapshots."""
    answers = [answer.removeprefix(MARK) for answer in answers] + [held_answer(CALL)]
    assert answers_json(pl.Series(answers, dtype=pl.String)).to_list() == [answer_json(each) for each in answers]


CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}
