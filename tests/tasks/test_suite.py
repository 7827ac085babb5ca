"""The suite: what enters it and what does not, versions that a hash names, and rounds that can be looked at again."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.blend import blend
from tasks.config import Config
from tasks.db import Row, State
from tasks.growth import BEYOND_BOUND, OLDEST
from tasks.rounds import Round, read_evidence
from tasks.suite import active_cases, count_cases, in_snapshot, read_suite, suite_hash
from tests.conftest import (
    ROOT,
    Record,
    Workload,
    correction,
    demonstration,
    distinct,
    inference,
    make_workload,
    preference,
    thumb,
    traffic,
)

JUDGE = "model:judge"


def suite_of(config: Config, round_id: int) -> list[Row]:
    with State(config.database).transaction() as tx:
        return active_cases(tx, config, round_id)


def case(id_: str, **said: Any) -> dict[str, Any]:
    return {
        "case_id": id_, "input_hash": "h", "expected": "right", "tier": "unseen", "stratum": None,
        "is_protected": False,
    } | said  # fmt: skip


cases = st.lists(
    st.builds(
        case, st.text(max_size=4), input_hash=st.text(max_size=3), expected=st.text(max_size=5),
        tier=st.sampled_from(["fixed", "unseen", "anchor"]), stratum=st.sampled_from(["failure", "success", None]),
        is_protected=st.booleans(),
    ),
    unique_by=lambda row: row["case_id"], max_size=6,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(cases, cases, st.randoms())
def test_equal_suites_have_equal_hashes_in_any_order_and_others_do_not(
    one: list[Row], other: list[Row], rng: random.Random
) -> None:
    shuffled = [dict(rng.sample(list(row.items()), len(row))) for row in rng.sample(one, len(one))]
    assert suite_hash(row | {"input": "whatever", "added_round": 3} for row in shuffled) == suite_hash(one)
    same = {row["case_id"]: row for row in one} == {row["case_id"]: row for row in other}
    assert (suite_hash(one) == suite_hash(other)) == same


@pytest.mark.parametrize(
    "change",
    [{"case_id": "b"}, {"input_hash": "i"}, {"expected": "wrong"}, {"tier": "fixed"}, {"stratum": "failure"},
     {"stratum": ""}, {"is_protected": True}],
)  # fmt: skip
def test_whatever_a_case_says_is_in_the_hash(change: dict[str, Any]) -> None:
    assert suite_hash([case("a")]) != suite_hash([case("a") | change])


def test_the_hash_is_what_the_documentation_says() -> None:
    """So that any program can compute it; the texts are hashed as UTF-8."""
    from hashlib import sha256

    said = "1:a1:h4:né5:fixed7:failure1:1\n1:b1:h5:right6:unseen-1:0\n".replace("4:né", "3:né")
    rows = [case("b"), case("a", expected="né", tier="fixed", stratum="failure", is_protected=True)]
    assert suite_hash(rows) == sha256(said.encode()).hexdigest()


def test_each_round_has_the_hash_of_its_suite_and_a_version_of_it(workload: Workload) -> None:
    workload.collect("a", traffic(failures=20, successes=10, given=10))
    workload.close(workload.to_split())
    workload.collect("b", traffic(failures=6, prefix="b"))
    workload.close(workload.to_split())
    workload.close(workload.to_split())
    hashes = [evidence["suite_hash"] for evidence in read_evidence(workload.config)]
    assert hashes == [suite_hash(suite_of(workload.config, round_id)) for round_id in (1, 2, 3)]
    assert hashes[0] != hashes[1] == hashes[2]
    versions = workload.rows("select * from suite_versions order by first_round")
    assert [(row["suite_hash"], row["first_round"]) for row in versions] == [(hashes[0], 1), (hashes[1], 2)]
    tiers = {row["tier"]: row for row in count_cases(suite_of(workload.config, 1)) if row["stratum"] != "success"}
    assert versions[0]["fixed"] == tiers["fixed"]["cases"]
    assert versions[0]["anchor"] == tiers["anchor"]["cases"]


def test_a_case_is_added_and_retired_and_never_changed(workload: Workload) -> None:
    """Rounds in which answers are revised, doubted and taken back: what a case said when it came in, it still says."""
    rng = random.Random(2)
    before: dict[str, Row] = {}
    for number in range(4):
        records: list[Record] = traffic(failures=8, successes=6, given=4, prefix=f"r{number}")
        for earlier in range(number):
            picked = [rng.randrange(6) for _ in range(3)]
            records += [correction(f"r{earlier}f{n:03}", f"revised {number}", minutes=10 + number) for n in picked]
            records += [thumb(f"r{earlier}s{n:03}", "down", by=f"person:p{number}", minutes=20) for n in picked]
        workload.collect(f"r{number}", records)
        workload.close(workload.to_split())
        now = {row["case_id"]: row for row in workload.rows("select * from regression_cases")}
        assert now.keys() >= before.keys()
        for id_, row in before.items():
            changed = {column for column in row if row[column] != now[id_][column]}
            assert changed <= ({"retired_round", "retired_because"} if row["retired_round"] is None else set())
        assert all((row["retired_round"] is None) == (row["retired_because"] is None) for row in now.values())
        before = now
    assert any(row["retired_round"] for row in before.values())


def test_no_statement_changes_more_of_a_case_than_its_end() -> None:
    for path in (ROOT / "sql" / "queries").glob("*.sql"):
        statement = "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.startswith("--"))
        assert not re.search(r"\b(delete from|merge into) regression_cases\b", statement), path.name
        if found := re.search(r"\bupdate regression_cases\s+set\s(.*?)\s(from|where)\b", statement, re.DOTALL):
            assert set(re.findall(r"(\w+) = ", found[1])) == {"retired_round", "retired_because"}, path.name
            assert "retired_round is null" in statement, path.name


def test_nearly_every_correction_that_is_for_evaluation_is_a_case(workload: Workload) -> None:
    """Nobody has to add it; the rest say what another case says already."""
    same = [inference("x", distinct("f000")), correction("x", "right 0")]
    workload.collect("a", [*traffic(failures=40), *same])
    workload.to_split()
    for_eval = {
        row["correction_id"] for row in workload.rows("select correction_id from corrections where use_for_eval")
    }
    found = {row["signal_id"] for row in suite_of(workload.config, 1)}
    assert len(for_eval) == 41
    assert found < for_eval
    assert len(found) == 40


def tiers(workload: Workload) -> dict[str, str]:
    rows = workload.rows("select signal_id, tier from regression_cases where retired_round is null")
    return {row["signal_id"]: row["tier"] for row in rows}


def held_out(workload: Workload) -> set[str]:
    """Ids of the usable signals whose inputs are held out."""
    query = """select signal_id from signals join sides using (input_hash)
               where side in ('unseen', 'anchor') and excluded_because is null"""
    return {row["signal_id"] for row in workload.rows(query)}


def judged_by(producer: str) -> list[Record]:
    """Signals of every kind, all by one producer."""
    return [
        *(record for n in range(20) for record in (inference(f"f{n:02}"), correction(f"f{n:02}", f"r{n}", producer))),
        *(
            record
            for n in range(20)
            for record in (inference(f"s{n:02}", output="fine"), thumb(f"s{n:02}", by=producer))
        ),
        *(demonstration(f"d{n:02}", by=producer) for n in range(20)),
    ]


def test_what_a_model_said_is_never_held_out_as_right(workload: Workload) -> None:
    """A judge's thumb up, another model's answer: they may be trained on, and prove nothing."""
    workload.collect("a", judged_by(JUDGE))
    workload.to_split()
    assert len(held_out(workload)) > 15
    assert set(tiers(workload).values()) == {"fixed"}
    used = workload.rows(
        "select distinct side, use_for_training, use_for_eval from corrections join sides using (input_hash)"
    )
    assert {tuple(row.values()) for row in used} == {("train", True, True), ("unseen", False, False)}


@pytest.mark.parametrize("producer", ["person:maria", "rule:catalogue"])
def test_what_people_and_rules_said_is(workload: Workload, producer: str) -> None:
    workload.collect("a", judged_by(producer))
    workload.to_split()
    assert held_out(workload) <= tiers(workload).keys()


def test_a_person_makes_gold_of_what_a_model_said(workload: Workload) -> None:
    """The same thumb, the same correction, by a person, later; the case is theirs, for the gate's leave-one-out too."""
    corrected = [correction(f"f{n:02}", f"r{n}", minutes=9) for n in range(20)]
    confirmed = [thumb(f"s{n:02}", minutes=9) for n in range(20)]
    workload.collect("a", [*judged_by(JUDGE), *corrected, *confirmed])
    workload.to_split()
    found = tiers(workload)
    assert {id_ for id_ in held_out(workload) if not id_.startswith("d")} <= found.keys()
    assert not any(id_.startswith("d") for id_ in found)
    producers = "select distinct producer from regression_cases where tier <> 'fixed'"
    assert workload.value(producers) == "person:maria"


def test_whose_word_counts_can_be_said(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, suite={"verified_by": [JUDGE]})
    workload.collect("a", judged_by(JUDGE))
    workload.to_split()
    assert held_out(workload) <= tiers(workload).keys()


def test_cases_of_whom_one_does_not_trust_any_more_are_retired(workload: Workload) -> None:
    workload.collect("a", judged_by("rule:old"))
    workload.close(workload.to_split())
    assert set(tiers(workload).values()) == {"fixed", "unseen", "anchor"}
    narrow = make_workload(workload.folder, suite={"verified_by": ["person:*"]})
    narrow.to_split()
    assert set(tiers(narrow).values()) == {"fixed"}
    reasons = "select distinct retired_because from regression_cases where retired_round = 2"
    assert narrow.value(reasons) == "no trusted producer stands behind its answer"


def sliced(count: int) -> list[Record]:
    return [
        record
        for n in range(count)
        for record in (inference(f"i{n:03}", tier="gold" if n % 4 == 0 else "free"), correction(f"i{n:03}", f"r{n}"))
    ]


def test_a_slice_that_is_protected_later_covers_older_cases_at_once(workload: Workload) -> None:
    workload.collect("a", sliced(20))
    workload.to_split()
    assert not any(row["is_protected"] for row in suite_of(workload.config, 1))
    guarded = make_workload(workload.folder, suite={"protected": [{"slice": "tier", "value": "gold"}]})
    found = suite_of(guarded.config, 1)
    assert all(row["is_protected"] == ('"gold"' in row["slices"]) for row in found)
    assert sum(row["is_protected"] for row in found) == 5
    assert suite_hash(found) != suite_hash(suite_of(workload.config, 1))
    assert sum(row["protected"] for row in count_cases(found)) == 5


def test_a_slice_with_odd_characters_and_another_value_are_told_apart(tmp_path: Path) -> None:
    protected = [{"slice": "a/b~c", "value": "1"}, {"slice": "plan", "value": "gold"}, {"slice": "plan", "value": "x'"}]
    workload = make_workload(tmp_path, suite={"protected": protected})
    slices = [{"a/b~c": "1"}, {"a/b~c": "2"}, {"plan": "gold", "a/b~c": "1"}, {"plan": "x'"}, {"plan": "goldish"}]
    records = [
        record
        for n, found in enumerate(slices)
        for record in (inference(f"i{n}", **found), correction(f"i{n}", f"r{n}"))
    ]
    workload.collect("a", records)
    workload.to_split()
    guarded = {json.dumps(json.loads(row["slices"])) for row in suite_of(workload.config, 1) if row["is_protected"]}
    assert guarded <= {json.dumps(dict(sorted(slices[n].items()))) for n in (0, 2, 3)}
    assert len(guarded) == 3


def test_new_cases_are_those_since_the_last_round_that_was_judged(workload: Workload) -> None:
    workload.collect("a", traffic(failures=10))
    workload.close(workload.to_split())
    workload.collect("b", traffic(failures=10, prefix="b"))
    workload.to_split()
    new = {row["added_round"]: row["is_new"] for row in suite_of(workload.config, 2)}
    assert new == {1: False, 2: True}
    assert {row["is_new"] for row in suite_of(workload.config, 1)} == {True}
    assert all(row["group_hash"] for row in suite_of(workload.config, 2))


def bounded(folder: Path, most: int, **suite: Any) -> Workload:
    return make_workload(folder, suite={"max_cases": most} | suite)


def test_a_tier_that_grew_beyond_its_bound_is_cut_back_and_older_rounds_stay_as_they_were(tmp_path: Path) -> None:
    workload = bounded(tmp_path, 12)
    workload.collect("a", traffic(failures=16, given=20))
    workload.close(workload.to_split())
    first = suite_of(workload.config, 1)
    workload.collect("b", traffic(failures=16, given=20, prefix="b"))
    workload.close(workload.to_split())
    assert suite_of(workload.config, 1) == first
    assert read_evidence(workload.config)[0]["suite_hash"] == suite_hash(first)
    second = count_cases(suite_of(workload.config, 2))
    assert {row["tier"]: row["cases"] for row in second} == {"fixed": 12, "unseen": 12, "anchor": 8}
    gone = workload.rows("select * from regression_cases where retired_round is not null")
    assert {row["retired_because"] for row in gone} == {OLDEST}
    assert {row["added_round"] for row in gone} == {1}


def test_what_was_retired_for_want_of_room_does_not_come_back_as_new(tmp_path: Path) -> None:
    """Nor does a copy of it that had been passed over, though the bound has been raised since."""
    workload = bounded(tmp_path, 6)
    copies = [
        record
        for n in range(20)
        for record in (inference(f"c{n}", f"{distinct('f001')} n{n}"), correction(f"c{n}", "1"))
    ]
    workload.collect("a", [*traffic(failures=30), *copies])
    workload.close(workload.to_split())
    workload = bounded(tmp_path, 5000)
    workload.close(workload.to_split())
    assert {row["added_round"] for row in workload.rows("select added_round from regression_cases")} == {1}
    assert max(row["cases"] for row in count_cases(suite_of(workload.config, 2))) == 6


def test_protected_cases_stay_when_a_tier_is_cut_back(tmp_path: Path) -> None:
    workload = bounded(tmp_path, 6, protected=[{"slice": "tier", "value": "gold"}])
    workload.collect("a", sliced(24))
    workload.close(workload.to_split())
    workload.collect("b", traffic(failures=20, prefix="b"))
    workload.close(workload.to_split())
    kept = suite_of(workload.config, 2)
    assert sum(row["is_protected"] for row in kept) == 6
    assert {row["tier"]: row["cases"] for row in count_cases(kept)} == {"fixed": 6, "unseen": 6}
    reasons = {
        row["retired_because"] for row in workload.rows("select * from regression_cases where retired_round > 0")
    }
    assert reasons <= set(BEYOND_BOUND)


def snapshot_of(workload: Workload, round_: Round) -> str:
    return str(workload.value("select snapshot_hash from rounds where round_id = ?", round_.round_id))


def test_a_model_knows_the_cases_of_what_it_was_trained_on_and_no_others(workload: Workload) -> None:
    workload.collect("a", traffic(failures=20, successes=20, given=20))
    round_ = workload.to_split()
    blend(workload.config, round_)
    suite, trained_on = suite_of(workload.config, 1), snapshot_of(workload, round_)
    with State(workload.config.database).transaction() as tx:
        assert in_snapshot(tx, None) == in_snapshot(tx, "no such snapshot") == set()
        known = in_snapshot(tx, trained_on)
    assert known == {row["case_id"] for row in suite if row["tier"] == "fixed"}


def test_a_near_duplicate_of_what_a_model_was_trained_on_is_known_to_it(workload: Workload) -> None:
    """The snapshot of round 1 and a case that came in with round 2, of the same group and by a pair on record."""
    workload.collect("a", traffic(failures=20, successes=20))
    round_ = workload.to_split()
    blend(workload.config, round_)
    first = snapshot_of(workload, round_)
    workload.close(round_)
    trained = workload.value("select min(inference_id) from snapshot_rows where signal = 'correction'")
    text = f"{distinct(trained)} again"
    workload.collect("b", [inference("x", text), correction("x", "other"), *traffic(failures=10, prefix="b")])
    workload.to_split()
    copy, *others = workload.rows(
        "select case_id from regression_cases where added_round = 2 order by expected <> 'other', tier = 'fixed'"
    )
    stranger = others[0]["case_id"]
    with State(workload.config.database).transaction() as tx:
        assert copy["case_id"] in in_snapshot(tx, first)
        assert stranger not in in_snapshot(tx, first)
        link(tx, workload, stranger)
        assert stranger in in_snapshot(tx, first)


def link(tx: Any, workload: Workload, case_id: str) -> None:
    """Put a case's input on record as a near-duplicate of a training row."""
    import polars as pl

    (row,) = [row for row in active_cases(tx, workload.config, 2) if row["case_id"] == case_id]
    trained = tx.rows("list_training_rows", pinned_seq=1)[0]["input_hash"]
    left, right = sorted((row["input_hash"], trained))
    frame = pl.DataFrame({"left_hash": [left], "right_hash": [right], "jaccard": [0.9], "cosine": [None]})
    tx.load("merge_near_duplicates", frame, round_id=2)


def test_the_suite_can_be_looked_at(tmp_path: Path) -> None:
    workload = bounded(tmp_path, 6, protected=[{"slice": "tier", "value": "gold"}])
    workload.collect("a", sliced(24))
    workload.close(workload.to_split())
    found = read_suite(workload.config)
    assert found.keys() == {"workload", "round", "suite_hash", "max_cases", "cases", "retired", "versions"}
    assert (found["workload"], found["round"], found["max_cases"]) == ("tickets", 1, 6)
    assert found["suite_hash"] == suite_hash(suite_of(workload.config, 1)) == found["versions"][-1]["suite_hash"]
    assert sum(row["protected"] for row in found["cases"]) == 6
    assert {row["reason"] for row in found["retired"]} == {OLDEST}
    assert sum(row["cases"] for row in found["retired"]) == 24 - sum(row["cases"] for row in found["cases"])


BETTER = {"task": "better_answer", "scorer": {"type": "none"}, "split": {"unseen": 0.5, "anchor": 0.5}}


def test_held_out_inputs_of_preferences_are_cases_where_answers_are_only_better(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **BETTER)
    tie = preference("tie", degree=0, scale=5)
    workload.collect("a", [preference(f"p{n}") for n in range(20)] + [preference("model", producer="model:judge"), tie])
    found = suite_of(workload.config, workload.to_split().round_id)
    held_out = {row["input_hash"] for row in workload.rows("select input_hash from sides where side = 'anchor'")}
    assert {case["input_hash"] for case in found} <= held_out
    assert 8 <= len(found) <= 11
    assert {(case["tier"], case["stratum"], case["expected"]) for case in found} == {("anchor", None, "this")}
    assert not {"model", "tie"} & {case["case_id"] for case in found}


def test_what_was_preferred_is_no_right_answer(workload: Workload) -> None:
    workload.collect("a", [preference(f"p{n}") for n in range(20)] + traffic(2, 2))
    assert not [case for case in suite_of(workload.config, workload.to_split().round_id) if case["tier"] == "anchor"]


def test_a_preference_that_an_opposite_one_takes_away_is_no_case_any_more(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **BETTER)
    workload.collect("a", [preference(f"p{n}") for n in range(20)])
    first = workload.to_split()
    before = {case["case_id"] for case in suite_of(workload.config, first.round_id)}
    workload.close(first)
    one = sorted(before)[0]
    opposite = preference("opposite", chosen="that", rejected="this", producer="person:tom")
    opposite["messages"] = preference(one)["messages"]
    workload.collect("b", [opposite])
    after = {case["case_id"] for case in suite_of(workload.config, workload.to_split().round_id)}
    assert before - after == {one}
    assert after <= before
