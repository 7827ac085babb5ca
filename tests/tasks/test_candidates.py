"""Pairs of the champion's own answers: ranked by the task's rule, sampled once, never to inputs that are held out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.blend import blend
from tasks.candidates import Answer, Ranked, _asked, _store, derive, find_candidates, rank
from tasks.chat import calls_tools, held_answer
from tasks.db import Row, State
from tasks.errors import FlywheelError, LeaseLostError
from tasks.rounds import Round, open_or_resume, read_evidence
from tasks.score import make_canonical
from tasks.scorer_options import ExactScorer
from tasks.snapshot_card import card_lines
from tasks.snapshots import read_conversations
from tests.conftest import (
    Record,
    Workload,
    correction,
    demonstration,
    distinct,
    inference,
    make_workload,
    preference,
    rating,
    retraction,
    traffic,
)
from tests.tasks.tiny import leaning_adapter, tiny_tokenizer, undecided_base

NOTHING_HELD_OUT = {"split": {"unseen": 0.0, "anchor": 0.0}}
RIGHT: dict[str, Any] = {"method": "sft_then_dpo", "candidates": {"per_input": 4}}
BETTER: dict[str, Any] = {
    "task": "better_answer",
    "scorer": {"type": "none"},
    "candidates": {"per_input": 4},
    "checks": [{"name": "polite", "type": "regex", "pattern": "please"}],
}


def asked(workload: Workload, round_: Round) -> list[Row]:
    assert workload.config.candidates is not None
    return _asked(State(workload.config.database), workload.config, round_, workload.config.candidates)[0]


def inputs_of(workload: Workload, records: list[Record]) -> list[Row]:
    workload.collect("a", records)
    return asked(workload, workload.to_split())


def said(workload: Workload, round_: Round, answers: dict[str, list[str]]) -> None:
    """Put answers into the state as if they had been sampled, by signal; `no` four times for the others."""
    rows = asked(workload, round_)
    given = [[[text, True] for text in answers.get(row["signal_id"], ["no"] * 4)] for row in rows]
    _store(State(workload.config.database), round_, rows, given, 0)


def whole(*texts: str) -> list[Answer]:
    return [Answer(text, True) for text in texts]


def test_of_better_and_worse_answers_the_most_frequent_come_first() -> None:
    ranked = rank(
        whole("bad", "fine", "awful", "good", "awful ", "good"), lambda text: text in ("fine", "good"), str.strip
    )
    assert ranked == Ranked(["good", "fine"], ["awful", "bad"])
    assert ranked.outcome == "pairs"


def test_calls_of_tools_are_ranked_as_they_are_held() -> None:
    """The sign that announces them is white space to Python."""
    calls = held_answer({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]})
    same = make_canonical(ExactScorer(type="exact"))
    assert rank(whole(calls, " no\n"), calls_tools, same) == Ranked([calls], ["no"])


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        (whole("good", "good"), "all better"),
        (whole("bad", "worse"), "none better"),
        ([Answer("good", False), Answer("bad", False)], "no whole answer"),
        (whole("", " \n"), "no whole answer"),
        ([*whole("bad"), Answer("good", False)], "none better"),
        ([], "no whole answer"),
    ],
)
def test_a_tie_is_no_pair_and_what_was_cut_off_is_no_answer(answers: list[Answer], outcome: str) -> None:
    assert rank(answers, lambda text: text == "good", str.strip).outcome == outcome


@given(st.lists(st.builds(Answer, st.sampled_from(["a", "a ", "b", "c", " c", "", "dd"]), st.booleans()), max_size=16))
def test_each_distinct_answer_is_ranked_once(answers: list[Answer]) -> None:
    ranked = rank(answers, lambda text: text.strip() in "ab", str.strip)
    texts = ranked.better + ranked.worse
    assert sorted(texts) == sorted({answer.text.strip() for answer in answers if answer.is_whole} - {""})


def test_only_inputs_of_the_training_side_are_asked_one_of_a_group_and_corrected_ones_first(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **RIGHT)
    copies = [inference("x", distinct("f000") + " please"), correction("x", "right")]
    rows = inputs_of(workload, [*traffic(20, 20, 10), *copies])
    sides = workload.rows("select * from sides")
    trained, others = (
        {row["group_hash"] for row in sides if (row["side"] == "train") is is_it} for is_it in (True, False)
    )
    assert others and len(trained) < len(sides) - len(others)
    assert sorted(row["group_hash"] for row in rows) == sorted(trained)
    kinds = [row["signal_id"].startswith(("confirmed:", "d0")) for row in rows]
    assert kinds == sorted(kinds) and True in kinds and False in kinds


def test_no_more_than_so_many_inputs_are_asked_and_the_seed_says_which(tmp_path: Path) -> None:
    chosen = []
    for seed in (0, 0, 1):
        changes = RIGHT | {"candidates": {"max_inputs": 10, "seed": seed}}
        workload = make_workload(tmp_path / str(len(chosen)), **changes, **NOTHING_HELD_OUT)
        chosen.append([row["input_hash"] for row in inputs_of(workload, traffic(3, 40))])
    assert len(chosen[0]) == 10
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0]) & set(chosen[2])) >= 3  # the corrected ones


def test_what_was_taken_back_or_left_out_is_not_asked(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **RIGHT, **NOTHING_HELD_OUT)
    workload.collect("a", [*traffic(3, 3), retraction("f000", minutes=5)])
    round_ = workload.to_split()
    assert {row["inference_id"] for row in asked(workload, round_)} == {"f001", "f002", "s000", "s001", "s002"}
    moment = datetime(2026, 3, 2)
    with State(workload.config.database).transaction() as tx:
        tx.run(
            "insert_signal_use", signal_id="confirmed:s000", use="leave out", set_by="person:m", reason="r",
            set_at=moment,
        )  # fmt: skip
    assert {row["inference_id"] for row in asked(workload, round_)} == {"f001", "f002", "s001", "s002"}


def test_checks_rank_answers_to_inputs_that_have_no_right_one_too_but_not_calls_of_tools(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    rated = [inference("r1", "Which is it?", output="one"), inference("r2", "Which is it?", output="two")]
    records = [
        inference("f000"), correction("f000", "please"), preference("p1"), preference("p2", tools=tools),
        *rated, rating("r1", 5), rating("r2", 3),
    ]  # fmt: skip
    better = make_workload(tmp_path / "better", **BETTER, **NOTHING_HELD_OUT)
    assert {text(row) for row in inputs_of(better, records)} == {distinct("f000"), distinct("p1"), "Which is it?"}
    right = make_workload(tmp_path / "right", **RIGHT, **NOTHING_HELD_OUT)
    assert {text(row) for row in inputs_of(right, records)} == {distinct("f000")}


def text(row: Row) -> str:
    return str(json.loads(row["input"])[-1]["content"])


def test_answers_are_known_by_all_that_they_depend_on_and_by_nothing_else(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **RIGHT, **NOTHING_HELD_OUT)
    calls = {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    tiny_tokenizer().save_pretrained(workload.config.model.base)  # what counts the calls' tokens
    workload.collect("a", [inference("i1"), correction("i1"), inference("i2"), correction("i2", calls)])
    round_ = workload.to_split()

    def known_by(**changes: Any) -> list[str]:
        config = workload.config.model_copy(update={"candidates": None})
        made = type(workload)(workload.folder, config.model_validate(config.model_dump() | {"candidates": changes}))
        return [row["sampled_by"] for row in sorted(asked(made, round_), key=lambda row: row["inference_id"])]

    base = known_by()
    assert base[0] != base[1]  # the second is read by holding it against the right calls
    assert known_by(max_inputs=7) == base
    others = [known_by(per_input=3), known_by(temperature=0.7), known_by(seed=1)]
    assert len({first for first, _ in [base, *others]}) == 4


def test_pairs_of_candidates_are_frozen_with_where_they_come_from(tmp_path: Path) -> None:
    """With the answers given, nothing is asked: the base model does not even exist."""
    workload = make_workload(tmp_path, **RIGHT, **NOTHING_HELD_OUT)
    workload.collect("a", traffic(3, 5))
    round_ = workload.to_split()
    said(workload, round_, {"confirmed:s001": ["odd", "fine", "odd", "no"], "confirmed:s002": ["fine"] * 4})
    made = blend(workload.config, round_)
    (row,) = workload.rows("select * from snapshot_rows where derived like '%candidates%'")
    assert json.loads(row["derived"]) == {
        "how": "candidates of the champion, ranked by scorer", "model_version": "base",
    }  # fmt: skip
    assert (row["signal_id"], row["inference_id"]) == ("confirmed:s001", "s001")
    assert (row["producer"], row["source"]) == ("rule:scorer", "production")
    frozen = read_conversations(Path(workload.value("select path from snapshots")))
    (pair,) = [each for each in frozen if each["rejected"] and each["signal_id"] == "confirmed:s001"]
    assert (pair["messages"][-1]["content"], pair["rejected"][0]["content"]) == ("fine", "odd")
    assert made["pairs"] == 4
    card = read_evidence(workload.config)[0]["card"]
    assert card["candidates"] == made["candidates"]
    assert card["candidates"] == {
        "champion": "base", "ranked_by": "scorer",
        "counts": {"inputs": 8, "pairs": 1, "all better": 1, "none better": 6, "no whole answer": 0,
                   "pairs that were there": 0},
    }  # fmt: skip
    assert dict(card_lines(card))["Candidates of the champion (base), ranked by scorer"].startswith(
        "inputs 8 · pairs 1"
    )


def test_the_snapshot_is_a_function_of_its_rows(tmp_path: Path) -> None:
    """The same answers, stored in another order and another folder, are the same snapshot."""
    hashes = set()
    for name, order in (("a", 1), ("b", -1)):
        workload = make_workload(tmp_path / name, **RIGHT, **NOTHING_HELD_OUT)
        workload.collect("a", traffic(3, 5))
        round_ = workload.to_split()
        for row in asked(workload, round_)[::order]:
            _store(State(workload.config.database), round_, [row], [[["fine", True], ["odd", True]]], 0)
        hashes.add(blend(workload.config, round_)["hash"])
    assert len(hashes) == 1


def test_what_people_said_of_two_answers_comes_before_what_a_rule_says(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **BETTER, **NOTHING_HELD_OUT)
    workload.collect("a", [preference("p1", "do", "please do"), preference("p2", "do", "go")])
    round_ = workload.to_split()
    said(workload, round_, {"p1": ["please do", "do"], "p2": ["please do", "do"]})
    made = blend(workload.config, round_)
    rows = read_conversations(Path(workload.value("select path from snapshots")))
    pairs = {(row["signal_id"], row["messages"][-1]["content"], row["rejected"][0]["content"]) for row in rows}
    assert pairs == {("p1", "do", "please do"), ("p2", "do", "go"), ("p2", "please do", "do")}
    counts = made["candidates"]["counts"]
    assert (counts["inputs"], counts["pairs"], counts["pairs that were there"]) == (2, 1, 1)


def test_a_rule_does_not_settle_what_people_are_opposed_on(tmp_path: Path) -> None:
    """Both opinions are held for review: the same pair from the champion's own answers would decide for one of them."""
    workload = make_workload(tmp_path, **BETTER, **NOTHING_HELD_OUT)
    same_input: Record = {"messages": preference("p1")["messages"]}
    opposed = preference("p2", "please do", "do", producer="person:jonas", **same_input)
    workload.collect("a", [preference("p1", "do", "please do"), opposed, preference("p3", "go", "please go")])
    round_ = workload.to_split()
    (row,) = (row for row in asked(workload, round_) if row["signal_id"] in {"p1", "p2"})
    said(workload, round_, {row["signal_id"]: ["please do", "do"], "p3": ["please stay", "stay"]})
    blend(workload.config, round_)
    rows = read_conversations(Path(workload.value("select path from snapshots")))
    pairs = {(row["messages"][-1]["content"], row["rejected"][0]["content"]) for row in rows}
    assert pairs == {("go", "please go"), ("please stay", "stay")}


def test_an_answer_that_a_person_faulted_is_not_better_for_passing_the_checks(tmp_path: Path) -> None:
    """The champion is likely to say again what was corrected; it would be taught to."""
    workload = make_workload(tmp_path, **BETTER, **NOTHING_HELD_OUT)
    workload.collect("a", [inference("i1", output="please go"), correction("i1", "please wait")])
    round_ = workload.to_split()
    (row,) = asked(workload, round_)
    said(workload, round_, {row["signal_id"]: ["please go", " please go", "please stay", "go"]})
    (pair,) = [row for row in find_pairs(workload, round_) if "checks" in row["derived"]]
    assert (pair["answer"], pair["rejected"]) == ("please stay", "please go")


def find_pairs(workload: Workload, round_: Round) -> list[Row]:
    found = find_candidates(workload.config, round_)
    assert found is not None
    return found.pairs


def test_candidates_alone_are_pairs_enough_where_answers_are_only_better(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **BETTER, **NOTHING_HELD_OUT)
    workload.collect("a", [demonstration("d1", answer="please")])
    round_ = workload.to_split()
    said(workload, round_, {"d1": ["please", "no"]})
    assert blend(workload.config, round_)["rows"] == 1


def test_a_runner_that_lost_the_round_stores_no_answers(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **RIGHT, **NOTHING_HELD_OUT)
    workload.collect("a", traffic(3))
    old = workload.to_split()
    open_or_resume(workload.config, "person:other")
    with pytest.raises(LeaseLostError):
        said(workload, old, {})
    assert workload.value("select count(*) from candidates") == 0


def test_without_the_setting_nothing_is_sampled(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, method="sft_then_dpo", **NOTHING_HELD_OUT)
    workload.collect("a", traffic(3, 5))
    round_ = workload.to_split()
    assert find_candidates(workload.config, round_) is None
    blend(workload.config, round_)
    assert "candidates" not in read_evidence(workload.config)[0]["card"]


def test_the_pairs_name_the_version_that_answered(tmp_path: Path) -> None:
    config = make_workload(tmp_path, **RIGHT).config
    row = {"signal_id": "c", "input_hash": "h", "answer": "yes"}
    found = derive([row], {"h": whole("yes", "no")}, config, "7")
    assert json.loads(found.pairs[0]["derived"])["model_version"] == "7"
    assert found.champion == "v7"


class Killed(Exception):
    pass


def kill_at_once(done: int, total: int) -> None:
    raise Killed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_real_champion_is_sampled_once_whatever_is_killed(tmp_path: Path) -> None:
    """Through vLLM, on 70 inputs in chunks of 32; one of them is too long to be answered."""
    model = {"base": str(undecided_base(tmp_path / "base")), "max_length": 64, "max_new_tokens": 4}
    changes = RIGHT | NOTHING_HELD_OUT | {"model": model, "candidates": {"per_input": 16, "max_inputs": 70}}
    failed = [record for n in range(40) for record in (inference(f"f{n}", output="b"), correction(f"f{n}", "a"))]
    given = [demonstration(f"d{n}", answer="b") for n in range(40)]
    records = [*failed, *given, inference("long", "a " * 58), correction("long", "a")]

    undisturbed, killed = (make_workload(tmp_path / name, **changes) for name in ("undisturbed", "killed"))
    rounds = {}
    for workload in (undisturbed, killed):
        workload.collect("a", records)
        rounds[workload.folder] = workload.to_split()
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    made = blend(undisturbed.config, rounds[undisturbed.folder], tell)
    assert told == [(32, 70), (64, 70), (70, 70)]
    counts = made["candidates"]["counts"]
    assert counts["inputs"] == 70 == sum(counts.values()) - 70
    assert counts["pairs that were there"] > 30  # b was corrected to a
    assert counts["pairs"] > 20
    assert counts["no whole answer"] == 1
    rows = undisturbed.rows("select * from snapshot_rows where derived like '%ranked by scorer%'")
    assert len(rows) == counts["pairs"]
    assert {json.loads(row["derived"])["model_version"] for row in rows} == {"base"}

    with pytest.raises(Killed):
        blend(killed.config, rounds[killed.folder], kill_at_once)
    assert killed.value("select count(distinct input_hash) from candidates") == 32
    told.clear()
    assert blend(killed.config, rounds[killed.folder], tell)["hash"] == made["hash"]
    assert told == [(32, 38), (38, 38)]
    assert killed.content()["candidates"] == undisturbed.content()["candidates"]

    told.clear()
    find_candidates(killed.config, rounds[killed.folder], tell)
    assert told == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_champions_adapter_answers_and_not_the_bare_base(tmp_path: Path) -> None:
    """The base says b half of the time, and with this adapter four times in five."""
    base = undecided_base(tmp_path / "base")
    adapter = leaning_adapter(base, tmp_path / "adapter")
    model = {"base": str(base), "max_length": 64, "max_new_tokens": 4}
    workload = make_workload(
        tmp_path / "w", **RIGHT | NOTHING_HELD_OUT | {"model": model, "candidates": {"per_input": 16}}
    )
    workload.collect("a", [record for n in range(20) for record in (inference(f"f{n}"), correction(f"f{n}", "a"))])
    round_ = replace(workload.to_split(), champion_version="1")
    with State(workload.config.database).transaction() as tx:
        tx.run(
            "insert_version", version="1", round_id=round_.round_id, snapshot_hash="h", adapter_path=str(adapter),
            adapter_sha256=adapter_sha256(adapter), created_at=datetime(2026, 3, 2),
        )  # fmt: skip
    found = find_candidates(workload.config, round_)
    assert found is not None
    assert {json.loads(pair["derived"])["model_version"] for pair in found.pairs} == {"1"}
    said_b = workload.value("select avg((trim(output) = 'b')::int) from candidates where model_version = '1'")
    assert 0.7 < said_b < 0.87
    (adapter / WEIGHTS).write_bytes(b"others")
    with pytest.raises(FlywheelError, match="not the recorded"):
        find_candidates(workload.config, round_)
