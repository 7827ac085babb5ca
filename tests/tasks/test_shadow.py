"""Before it serves, the challenger answers what production was asked last; what differs is shown to be reviewed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import answering
from tasks import shadow as stage
from tasks.config import Config
from tasks.engine import Prompt, Reply
from tasks.errors import ChildError, FlywheelError
from tasks.markdown import verdict_markdown
from tasks.report import render_report
from tasks.rounds import Round, read_evidence, stage_of, writing
from tasks.shadow import shadow
from tasks.shadow_review import read_shadow, write_review
from tests.conftest import ROOT, Record, Workload, distinct, inference, thumb
from tests.tasks.test_answering import Words
from tests.tasks.test_cluster import kind, remember
from tests.tasks.test_regress import make_adapter, to_regress


class Two:
    """An engine whose champion says `wrong`, and whose challenger says `right b` to every second input."""

    def __init__(self) -> None:
        self.lives = 10**9
        self.asked: list[tuple[str, str]] = []

    def answer(
        self, prompts: Iterable[Prompt], max_new_tokens: int, constraint: dict[str, Any] | None = None
    ) -> Iterator[Reply]:
        for prompt in prompts:
            if self.lives == 0:
                raise ChildError("the engine died")
            self.lives -= 1
            role, id_ = prompt.key["role"], prompt.key["case_id"]
            self.asked.append((role, id_))
            yield Reply(prompt, "right b" if role == "challenger" and int(id_, 16) % 2 else " wrong", 2)

    def close(self) -> None:
        pass


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Two:
    """The child's work is done in this process, by an engine that is none."""
    fake = Two()

    def run(function: str, spec: dict[str, Any], folder: Path, on_progress: Any = None) -> dict[str, Any]:
        return answering.main(json.loads(json.dumps(spec)), on_progress or (lambda **message: None))

    monkeypatch.setattr(stage, "run_child", run)
    monkeypatch.setattr(answering, "_start", lambda spec: fake)
    monkeypatch.setattr(answering, "_tokenizer", lambda base: Words())
    return fake


def to_shadow(
    folder: Path, latest: int = 6, verdict: str = "promote", extra: Iterable[Record] = ()
) -> tuple[Workload, Round]:
    """A round of 36 judged calls, as many inputs, that waits at the stage; the challenger is version 1."""
    adapter = make_adapter(folder / "adapter", b"weights")
    records = [record for n in range(12) for record in (inference(f"n{n:02}", minutes=n), thumb(f"n{n:02}", minutes=n))]
    failed, vectors = kind("b", 1, 24)
    workload, round_ = to_regress(folder, adapter, [*records, *failed, *extra], promotion={"shadow": latest})
    # The inputs of the n's, and how answers differ, are like the b's.
    texts = [distinct(f"n{n:02}") for n in range(12)] + [" wrong → right b"]
    remember(workload, vectors | dict.fromkeys(texts, vectors["wrong → right b"]))
    for name in ("regress", "gate"):
        with writing(workload.config, round_, name) as tx:
            if name == "gate":
                tx.run("set_verdict", round_id=round_.round_id, verdict=verdict)
    with writing(workload.config, round_, "register") as tx:
        tx.run("set_challenger", round_id=round_.round_id, version="1")
    return workload, round_


@pytest.fixture
def ready(tmp_path: Path, engine: Two) -> tuple[Workload, Round]:
    return to_shadow(tmp_path)


def test_both_models_answer_the_latest_inputs_and_what_differs_is_counted(
    ready: tuple[Workload, Round], engine: Two
) -> None:
    workload, round_ = ready
    found = shadow(workload.config, round_)
    latest = {row["input_hash"] for row in workload.rows("select * from inferences order by created_at desc limit 6")}
    assert {id_ for _, id_ in engine.asked} == latest
    assert found["compared"] == 6
    differing = [id_ for id_ in latest if int(id_, 16) % 2]
    assert found["differ"] == len(differing)
    rows = workload.rows("select * from shadow_answers where differs")
    assert {row["input_hash"] for row in rows} == set(differing)
    assert stage_of(workload.config, round_) == "approve"
    assert not (workload.config.round_folder(1) / "shadow").exists()


@pytest.mark.parametrize(("latest", "verdict"), [(0, "promote"), (6, "hold"), (6, "reject")])
def test_without_a_promotion_or_a_policy_nobody_is_asked(
    tmp_path: Path, engine: Two, latest: int, verdict: str
) -> None:
    workload, round_ = to_shadow(tmp_path, latest, verdict)
    assert shadow(workload.config, round_) == {}
    assert engine.asked == []
    assert stage_of(workload.config, round_) == "approve"
    assert "shadow" not in read_evidence(workload.config)[0]
    with pytest.raises(FlywheelError, match=r"round 1 of tickets had no shadow; set promotion.shadow"):
        read_shadow(workload.config, 1)


def test_a_shadow_that_was_killed_asks_only_what_is_left(ready: tuple[Workload, Round], engine: Two) -> None:
    workload, round_ = ready
    engine.lives = 5
    with pytest.raises(ChildError):
        shadow(workload.config, round_)
    assert workload.value("select count(*) from shadow_answers") == 0
    engine.lives = 10**9
    found = shadow(workload.config, round_)
    assert (found["reused"], found["compared"], len(engine.asked)) == (5, 6, 12)
    assert len(set(engine.asked)) == 12


def test_what_comes_in_meanwhile_is_not_asked(ready: tuple[Workload, Round], engine: Two) -> None:
    workload, round_ = ready
    workload.collect("more", [inference("newer", minutes=10_000)])
    shadow(workload.config, round_)
    assert workload.value("select count(*) from shadow_answers where inference_id = 'newer'") == 0


def test_an_input_that_is_too_long_is_left_out_and_counted(tmp_path: Path, engine: Two) -> None:
    workload, round_ = to_shadow(tmp_path, extra=[inference("long", distinct("long", 60), minutes=500)])
    short = workload.config.model.model_copy(update={"max_length": 60, "max_new_tokens": 10})
    found = shadow(workload.config.model_copy(update={"model": short}), round_)
    assert (found["asked"], found["compared"], found["too_long"]) == (6, 5, 1)


def test_a_difference_is_put_to_the_class_that_it_is_like(tmp_path: Path, engine: Two) -> None:
    """The challenger corrects `wrong` to `right b`, which is what people corrected in the class."""
    workload, round_ = to_shadow(tmp_path, latest=36)
    in_class(workload)
    found = shadow(workload.config, round_)
    classes = workload.rows(
        "select cluster_id, count(*) as n from shadow_answers where differs group by all order by n"
    )
    assert sum(row["n"] for row in classes) == found["differ"]
    assert "c001" in {row["cluster_id"] for row in classes}
    own = workload.rows("select distinct cluster_id from shadow_answers where differs and inference_id[1] = 'b'")
    assert own == [{"cluster_id": "c001"}]
    assert read_evidence(workload.config)[0]["shadow"]["classes"][0]["label"] == "late parcels"


def in_class(workload: Workload) -> None:
    """What the b's have in common is a class of an earlier round."""
    import duckdb

    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute("insert into clusters values ('c001', 'late parcels', 1, now()::timestamp)")
        connection.execute(
            "insert into cluster_members select inference_id, 'c001', 1, 1 from inferences where inference_id[1] = 'b'"
        )


@pytest.fixture
def told(ready: tuple[Workload, Round]) -> Workload:
    workload, round_ = ready
    shadow(workload.config, round_)
    return workload


def test_the_report_and_the_verdict_say_what_the_shadow_found(told: Workload) -> None:
    evidence = read_evidence(told.config)
    differ = evidence[0]["shadow"]["differ"]
    said = f"base and v1 differ on {differ} of production&#39;s latest 6 inputs"
    assert said in render_report(evidence)
    assert f"differ on {differ} of production's latest 6 inputs" in verdict_markdown(evidence[0])


def test_a_shadow_can_be_read_and_one_of_no_round_is_refused(told: Workload) -> None:
    found = read_shadow(told.config, 1)
    assert {row["challenger_output"] for row in found["answers"]} == {"right b"}
    assert found["said"][0].startswith(f"base and v1 differ on {len(found['answers'])} of production's latest 6 inputs")
    with pytest.raises(FlywheelError, match="round 9 of tickets does not exist"):
        read_shadow(told.config, 9)


def test_what_reviewers_fill_in_comes_back_through_the_example_mapping(told: Workload, tmp_path: Path) -> None:
    """The example source reads the file as it is written: nothing comes of blanks, and what is filled in is stored."""
    review = tmp_path / "shadow" / "review.jsonl"
    write_review(read_shadow(told.config, 1), review)
    lines = [json.loads(line) for line in review.read_text(encoding="utf-8").splitlines()]
    assert len(lines) >= 2
    source = yaml.safe_load((ROOT / "configs/sources/shadow_review.yaml").read_text(encoding="utf-8"))[0]
    source["path"] = str(review)
    mapped = Workload(told.folder, Config.model_validate(told.config.model_dump(mode="json") | {"sources": [source]}))
    assert mapped.collect().read == 0

    lines[0] |= {"reviewer": "maria", "right_answer": "the right one"}
    lines[1] |= {"reviewer": "maria", "challenger_is_better": True}
    review.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    stored = mapped.collect().by_kind
    assert (stored["corrections"], stored["preferences"]) == (1, 1)
    correction = told.rows("select * from corrections where corrected_output = 'the right one'")[0]
    assert (correction["inference_id"], correction["corrected_by"]) == (lines[0]["inference_id"], "person:maria")
    preference = told.rows("select * from preferences")[0]
    assert (preference["chosen"], preference["rejected"].strip()) == ("right b", "wrong")


def test_a_file_that_cannot_be_written_is_named(told: Workload, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FlywheelError, match="cannot be written"):
        write_review(read_shadow(told.config, 1), tmp_path / "file" / "review.jsonl")
