"""What rules propose takes effect as the config says, a person has the last word, and the state tells the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.blend import blend
from tasks.db import State
from tasks.errors import StateError
from tasks.proposals import decide_use, proposals, propose_long
from tasks.rounds import read_evidence
from tasks.screen import screen
from tasks.split import split
from tasks.status import status
from tests.conftest import Workload, correction, demonstration, distinct, inference, make_workload, thumb

LABELS = {"type": "labels", "name": "labels", "labels": ["shipping", "account"]}
WORDS = {"shipping": "parcel courier delivery tracking", "account": "password login email locked"}


def labelled(failures: int, wrong: set[int], given: int = 0) -> list[dict[str, Any]]:
    """Corrected calls about two topics, some with the wrong label, and given demonstrations."""
    records = []
    for n in range(failures + given):
        topic = ("shipping", "account")[n % 2]
        text = f"{WORDS[topic]} {distinct(f'n{n}', 6)}"
        if n >= failures:
            records.append(demonstration(f"d{n:03}", text, topic))
        else:
            said = ("account", "shipping")[n % 2] if n in wrong else topic
            records += [inference(f"i{n:03}", text, "none"), correction(f"i{n:03}", said)]
    return records


def confirmed(count: int) -> list[dict[str, Any]]:
    """Calls that a person said yes to."""
    return [record for n in range(count) for record in (inference(f"s{n}", output="account"), thumb(f"s{n}"))]


def in_doubt(workload: Workload) -> dict[str, dict[str, Any]]:
    return {row["signal_id"]: row for row in proposals(workload.config)}


def uses(workload: Workload) -> dict[str, tuple[bool, bool]]:
    rows = workload.rows("select inference_id, use_for_training, use_for_eval from corrections")
    return {row["inference_id"]: (row["use_for_training"], row["use_for_eval"]) for row in rows}


def id_of(workload: Workload, inference_id: str) -> str:
    return str(workload.value("select correction_id from corrections where inference_id = ?", inference_id))


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """A round that has been split, with four wrong labels of forty, none of them read twice by a test that writes."""
    workload = make_workload(tmp_path_factory.mktemp("suspects"))
    workload.collect("a", labelled(40, {3, 10, 17, 24}, given=80))
    workload.to_split()
    return workload


def test_suspect_labels_are_neither_trained_on_nor_cases(screened: Workload) -> None:
    found = in_doubt(screened)
    wrong = {id_of(screened, f"i{n:03}") for n in (3, 10, 17, 24)}
    assert {key for key, row in found.items() if row["rule"] == "suspect_label"} == wrong
    assert all(row["is_left_out"] and row["score"] > 0.5 for row in found.values())
    assert "speak for" in found[id_of(screened, "i003")]["reason"]
    assert {use for key, use in uses(screened).items() if int(key[1:]) in (3, 10, 17, 24)} == {(False, False)}
    assert (
        screened.value("select count(*) from regression_cases where signal_id in (select signal_id from proposals)")
        == 0
    )
    assert {use[1] for key, use in uses(screened).items() if int(key[1:]) not in (3, 10, 17, 24)} == {True}


def test_evidence_and_status_say_how_many(screened: Workload) -> None:
    evidence = read_evidence(screened.config)[0]["proposals"]
    row = {"signal": "correction", "rule": "suspect_label", "proposed": 4, "left_out": 4, "overruled": 0}
    assert evidence["rules"] == status(screened.config)["proposals"]["rules"] == [row]
    assert evidence["answers"] == {"judged": 120, "not_judged": 0}


def one_bad_format(folder: Path, **screening: Any) -> Workload:
    workload = make_workload(folder, checks=[LABELS], screening=screening, split={"unseen": 0.0})
    bad = [inference("bad", output="account"), correction("bad", "Shipping!")]
    records = [*labelled(6, set()), *bad, *confirmed(20)]
    workload.collect("a", records)
    return workload


def trained_on(workload: Workload) -> set[str]:
    rows = workload.rows(
        "select corrections.inference_id from snapshot_rows "
        "join corrections on signal_id = correction_id join rounds using (snapshot_hash) "
        "where round_id = (select max(round_id) from rounds)"
    )
    return {row["inference_id"] for row in rows}


def run_to_blend(workload: Workload) -> None:
    blend(workload.config, workload.to_split())


def test_a_person_overrules_a_rule_for_good_and_can_take_it_back(tmp_path: Path) -> None:
    workload = one_bad_format(tmp_path)
    run_to_blend(workload)
    assert "bad" not in trained_on(workload)
    key = id_of(workload, "bad")
    decide_use(workload.config, key, "train", "person:maria", "we want this spelling")
    assert uses(workload)["bad"] == (True, True)
    for number in range(2):
        workload.close(workload.open())
        workload.collect(f"more{number}", [inference(f"m{number}", output="x"), correction(f"m{number}", "account")])
        run_to_blend(workload)
        assert "bad" in trained_on(workload)
    row = in_doubt(workload)[key]
    assert (row["is_left_out"], row["decided_by"], row["decided_because"]) == (
        False, "person:maria", "we want this spelling",
    )  # fmt: skip
    assert read_evidence(workload.config)[-1]["proposals"]["rules"][0]["overruled"] == 1
    decide_use(workload.config, key, "leave out", "person:jonas", "no, we do not")
    assert uses(workload)["bad"] == (False, False)
    assert workload.value("select count(*) from signal_uses") == 2


def test_a_person_leaves_out_what_no_rule_minds(tmp_path: Path) -> None:
    workload = one_bad_format(tmp_path)
    workload.to_split()
    key = id_of(workload, "i001")
    decide_use(workload.config, key, "leave out", "person:maria", "a test of ours")
    blend(workload.config, workload.open())
    assert not trained_on(workload) & {"i001", "bad"}
    assert "i002" in trained_on(workload)
    assert in_doubt(workload)[key]["rule"] is None
    workload.close(workload.open())
    workload.collect("more", [inference("m"), correction("m", "account")])
    workload.to_split()
    retired = workload.rows("select signal_id, retired_because from regression_cases where retired_round is not null")
    assert retired == [{"signal_id": key, "retired_because": "left out by person:maria"}]


def test_a_case_whose_answer_stands_again_is_another_version_of_it(tmp_path: Path) -> None:
    """The earlier one stays as it was, so that old verdicts can be looked up."""
    workload = one_bad_format(tmp_path)
    workload.to_split()
    key = id_of(workload, "i001")
    for number, use in enumerate(("leave out", "train"), start=2):
        decide_use(workload.config, key, use, "person:maria", "a test of ours")
        workload.close(workload.open())
        workload.collect(f"more{number}", [inference(f"m{number}"), correction(f"m{number}", "account")])
        workload.to_split()
    cases = f"select case_id, added_round, retired_round from regression_cases where signal_id = '{key}' order by 2"
    assert workload.rows(cases) == [
        {"case_id": key, "added_round": 1, "retired_round": 2},
        {"case_id": f"{key}@3", "added_round": 3, "retired_round": None},
    ]


def test_a_rule_that_takes_no_effect_is_shown_alone(tmp_path: Path) -> None:
    workload = one_bad_format(tmp_path, leave_out=[])
    run_to_blend(workload)
    assert "bad" in trained_on(workload)
    (row,) = in_doubt(workload).values()
    assert (row["rule"], row["is_left_out"]) == ("format", False)


def test_a_failure_of_no_class_is_proposed_once_classes_were_looked_for(tmp_path: Path) -> None:
    """It may still be a case: that it is rare does not make its answer wrong."""
    import polars as pl

    workload = make_workload(tmp_path, screening={"leave_out": ["singleton_cluster"]}, split={"unseen": 0.5})
    workload.collect("a", [record for n in range(9) for record in (inference(f"i{n}"), correction(f"i{n}", f"r{n}"))])
    round_ = workload.open()
    screen(workload.config, round_)
    clusters = ["c001"] * 4 + ["c002", None, None, None]
    members = pl.DataFrame(
        {"inference_id": [f"i{n}" for n in range(8)], "cluster_id": clusters, "similarity": 0.5, "round_id": 1}
    )
    with State(workload.config.database).transaction() as tx:
        tx.load("insert_cluster_members", members)
    workload.skip(round_, "cluster")
    split(workload.config, round_)
    alone = {id_of(workload, f"i{n}") for n in range(4, 8)}
    assert {key for key, each in in_doubt(workload).items() if each["is_left_out"]} == alone
    drawn = workload.rows("select signal_id, side from signals join sides using (input_hash)")
    sides = {row["signal_id"]: row["side"] for row in drawn}
    cases = {row["signal_id"] for row in workload.rows("select signal_id from regression_cases")}
    assert cases == {key for key, side in sides.items() if side == "unseen" or key not in alone}
    for n in range(9):
        side = sides[id_of(workload, f"i{n}")]
        is_trained = side == "train" and not 4 <= n < 8
        assert uses(workload)[f"i{n}"] == (is_trained, is_trained or side == "unseen")


def test_confirmed_calls_are_productions_own_answers_and_not_linted(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, checks=[])
    records = [inference("a", output="It costs $1234."), thumb("a"), demonstration("d", answer="It costs $1234.")]
    workload.collect("a", records)
    workload.to_split()
    assert {(row["signal_id"], row["rule"]) for row in in_doubt(workload).values()} == {("d", "facts")}


@pytest.mark.parametrize(
    ("key", "reason", "said"),
    [("nobody", "why", "is no correction"), (None, " ", "has to have a reason"), (None, "why", "another reason")],
)
def test_a_decision_that_cannot_be_taken_is_refused(tmp_path: Path, key: str | None, reason: str, said: str) -> None:
    workload = make_workload(tmp_path)
    workload.collect("a", [inference("i"), correction("i", "1"), correction("i", "2", "person:jonas")])
    workload.to_split()
    chosen = key or id_of(workload, "i") if key else id_of(workload, "i")
    with pytest.raises(StateError, match=said):
        decide_use(workload.config, chosen, "train", "person:maria", reason)
    assert workload.value("select count(*) from signal_uses") == 0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with a token for each word, and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    wrapped.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    folder = tmp_path_factory.mktemp("base")
    wrapped.save_pretrained(str(folder))
    return folder


def row(words: int, answer_words: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": " ".join(["word"] * words)}]
    texts = {"input": json.dumps(messages), "answer": " ".join(["yes"] * answer_words)}
    return texts | {"signal_id": f"{words}/{answer_words}", "signal": "correction", "stratum": "failure"}


def test_rows_longer_than_the_model_is_used_with_are_found(tmp_path: Path, base: Path) -> None:
    """Training would cut the answer off, and say so after the model has been loaded."""
    workload = make_workload(tmp_path, model={"base": str(base), "max_length": 60, "max_new_tokens": 20})
    rows = [row(5, 1), row(57, 1), row(58, 1), row(10, 19), row(10, 20)]
    found = propose_long(workload.config, rows)
    assert [(each.signal_id, each.rule) for each in found] == [("58/1", "over_length"), ("10/20", "length")]
    assert "61 tokens" in found[0].reason and "model.max_length (60)" in found[0].reason


def test_short_rows_need_no_tokenizer(tmp_path: Path) -> None:
    assert propose_long(make_workload(tmp_path).config, [row(5, 1)]) == []


def test_a_rule_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="singleton_cluster"):
        make_workload(tmp_path, screening={"leave_out": ["feelings"]})
