"""What is gated is what was trained, each role is asked its cases once, and half a run is never a result."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psutil
import pytest

from tasks import answering, regress
from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.blend import blend
from tasks.db import State
from tasks.engine import Prompt, Reply
from tasks.errors import ChildError, FlywheelError
from tasks.few_shot import nearest
from tasks.parity import predicted
from tasks.reference import pin_reference
from tasks.rounds import Round, record_evidence, stage_of, writing
from tests.conftest import Workload, make_workload, traffic
from tests.tasks.test_answering import Words
from tests.tasks.tiny import leaning_adapter, undecided_base

PROBE = [{"token_ids": [1, 2], "likeliest": [[7, -0.1], [8, -2.5]]}]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "adapter", b"weights")


def make_adapter(folder: Path, weights: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}), encoding="utf-8")
    return folder


@dataclass
class Fake:
    """An engine that answers with the number of tokens asked, and dies after so many answers."""

    lives: int = 10**9
    apart: float = 0.0
    asked: list[Prompt] = field(default_factory=list)

    def answer(
        self, prompts: Iterable[Prompt], max_new_tokens: int, constraint: dict[str, Any] | None = None
    ) -> Iterator[Reply]:
        for prompt in reversed(list(prompts)):  # finished in another order than asked
            if self.lives == 0:
                raise ChildError("the engine died")
            self.lives -= 1
            self.asked.append(prompt)
            yield Reply(prompt, f"{len(prompt.token_ids)} tokens", 3)

    def likeliest(self, prompts: Iterable[Prompt]) -> Iterator[tuple[Prompt, dict[int, float]]]:
        for prompt in prompts:
            yield prompt, {7: -0.1 - self.apart, 8: -2.5, 9: -9.0}

    def close(self) -> None:
        pass

    @property
    def roles(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for prompt in self.asked:
            counts[prompt.key["role"]] = counts.get(prompt.key["role"], 0) + 1
        return counts


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The child's work is done in this process, by an engine that is none."""
    fake = Fake()

    def run(function: str, spec: dict[str, Any], folder: Path, on_progress: Any = None) -> dict[str, Any]:
        told = json.loads(json.dumps(spec))
        return answering.main(told, on_progress or (lambda **message: None))

    monkeypatch.setattr(regress, "run_child", run)
    monkeypatch.setattr(answering, "_start", lambda spec: fake)
    monkeypatch.setattr(answering, "_tokenizer", lambda base: Words())
    return fake


def to_regress(folder: Path, adapter: Path, records: list[Any] | None = None, **changes: Any) -> tuple[Workload, Round]:
    """A round whose challenger is trained."""
    options = {"engine": {"noise_sample": 3, "few_shot": 0}} | changes
    workload = make_workload(folder, **options)
    workload.collect("a", records or traffic(12, 12, 12))
    round_ = workload.to_split()
    blend(workload.config, round_)
    trained(workload, round_, adapter)
    return workload, round_


def trained(workload: Workload, round_: Round, adapter: Path) -> None:
    folder = workload.config.round_folder(round_.round_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "probe.json").write_text(json.dumps(PROBE), encoding="utf-8")
    with writing(workload.config, round_, "train") as tx:
        sha = adapter_sha256(adapter)
        tx.run("set_round_adapter", round_id=round_.round_id, adapter_path=str(adapter), adapter_sha256=sha)
        record_evidence(tx, round_, training={"device": "cpu"})


def results(workload: Workload) -> dict[str, int]:
    rows = workload.rows("select role, count(*) as cases from case_results group by role")
    return {row["role"]: row["cases"] for row in rows}


def evidence(workload: Workload) -> dict[str, Any]:
    return dict(json.loads(workload.value("select evidence from rounds order by round_id desc")))


def register(workload: Workload, version: str, adapter: Path) -> None:
    with State(workload.config.database).transaction() as tx:
        tx.run(
            "insert_version",
            version=version, round_id=int(version) + 100, snapshot_hash="h", adapter_path=str(adapter),
            adapter_sha256=adapter_sha256(adapter), created_at=datetime(2026, 3, 2),
        )  # fmt: skip


def models(workload: Workload, round_: Round) -> dict[str, regress.Model]:
    with State(workload.config.database).transaction() as tx:
        return regress.models_of(tx, workload.config, round_, {"name": None})


def test_the_bare_base_model_has_no_adapter(tmp_path: Path, adapter: Path) -> None:
    found = models(*to_regress(tmp_path / "w", adapter))
    assert {role: model.adapter for role, model in found.items() if role in ("champion", "challenger")} == {
        "champion": None,
        "challenger": str(adapter),
    }


def test_outcomes_say_which_suite_it_was_and_what_was_remembered(tmp_path: Path, adapter: Path, engine: Fake) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter, scorer={"type": "labels", "labels": ["right 1"]})
    regress.regress(workload.config, round_)
    outcomes = workload.rows("select tier, * from case_results join regression_cases using (case_id)")
    assert {row["suite_hash"] for row in outcomes} == {evidence(workload)["suite_hash"]}
    assert not any(row["is_valid"] or row["is_right"] for row in outcomes)
    remembered = {(row["tier"], row["role"]) for row in outcomes if row["in_snapshot"]}
    assert remembered == {("fixed", "challenger")}, "the bare base model has no snapshot"


def test_each_role_is_asked_its_cases_and_each_answer_is_kept_with_its_length(
    tmp_path: Path, adapter: Path, engine: Fake
) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter)
    judged: list[tuple[int, int]] = []
    made = regress.regress(workload.config, round_, on_judged=lambda *told: judged.append(told))
    assert made["cases"] > 15
    assert judged == [(2 * made["cases"] + 3,) * 2], "what takes long with a judge is told, too"
    assert results(workload) == {"champion": made["cases"], "challenger": made["cases"], "champion_again": 3}
    assert workload.value("select count(*) from case_results where tokens = 3 and answered_by is not null") == sum(
        results(workload).values()
    )
    assert stage_of(workload.config, round_) == "gate"
    facts = evidence(workload)["engine"]
    assert facts["prompts"] == len(engine.asked) == sum(results(workload).values())
    assert facts["starts"] == 1 and facts["reused"] == 0 and facts["output_tokens"] == 3 * facts["prompts"]
    assert evidence(workload)["logprob_agreement"] == {
        "tokens": 2, "max_abs_difference": 0.0, "tolerance": 1e-3, "dtype": "float32",
    }  # fmt: skip
    assert not (workload.config.round_folder(1) / "suite").exists(), "texts of cases are not left lying about"


def test_answers_are_told_apart_whatever_order_they_are_finished_in(
    tmp_path: Path, adapter: Path, engine: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regress, "PART_ROWS", 4)
    workload, round_ = to_regress(tmp_path / "w", adapter)
    regress.regress(workload.config, round_)
    rows = workload.rows("select input, output from case_results join regression_cases using (case_id)")
    words = [sum(len(turn["content"].split()) for turn in json.loads(row["input"])) for row in rows]
    assert [row["output"] for row in rows] == [f"{count} tokens" for count in words]


def test_an_engine_that_dies_leaves_nothing_half_written_and_what_it_finished_is_not_asked_again(
    tmp_path: Path, adapter: Path, engine: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regress, "PART_ROWS", 4)
    workload, round_ = to_regress(tmp_path / "w", adapter)
    engine.lives = 19
    with pytest.raises(ChildError, match="the engine died"):
        regress.regress(workload.config, round_)
    assert results(workload) == {} and stage_of(workload.config, round_) == "regress"
    first, engine.asked, engine.lives = engine.asked, [], 10**9
    made = regress.regress(workload.config, round_)
    again = [prompt for prompt in first if prompt.key["role"] == "champion_again"]
    assert len(again) == 3, "the fake answers from the end of the queue"
    assert made["reused"] == 19 - len(again)
    assert results(workload) == {"champion": made["cases"], "challenger": made["cases"], "champion_again": 3}
    assert engine.roles["champion_again"] == 3


def test_what_a_model_has_answered_is_not_asked_again_but_the_second_run_is(
    tmp_path: Path, adapter: Path, engine: Fake
) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter)
    first = regress.regress(workload.config, round_)
    workload.close(round_, "reject")
    workload.collect("b", traffic(6, 6, 6, prefix="b"))
    engine.asked = []
    round_ = workload.to_split()
    blend(workload.config, round_)
    trained(workload, round_, make_adapter(tmp_path / "other", b"others"))
    made = regress.regress(workload.config, round_)
    new = made["cases"] - workload.value("select count(*) from regression_cases where added_round = 1")
    assert made["reused"] == first["cases"] == made["cases"] - new
    assert engine.roles == {"champion": new, "challenger": made["cases"], "champion_again": 3}


def test_other_decoding_is_asked_anew(tmp_path: Path, adapter: Path, engine: Fake) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter)
    regress.regress(workload.config, round_)
    answered = set(workload.rows("select answered_by from case_results")[0].values())
    other = make_workload(
        tmp_path / "o", engine={"noise_sample": 3, "few_shot": 0, "structured_outputs": {"choice": ["a"]}}
    )
    other.collect("a", traffic(12, 12, 12))
    round_ = other.to_split()
    blend(other.config, round_)
    trained(other, round_, adapter)
    regress.regress(other.config, round_)
    assert not answered & {row["answered_by"] for row in other.rows("select answered_by from case_results")}


def test_a_pinned_reference_answers_anchor_alone_and_not_where_it_is_the_champion(
    tmp_path: Path, adapter: Path, engine: Fake
) -> None:
    pinned = make_adapter(tmp_path / "pinned", b"pinned")
    workload, round_ = to_regress(tmp_path / "w", adapter)
    register(workload, "7", pinned)
    pin_reference(workload.config, "7", "person:maria", "our best")
    assert "reference" not in models(workload, replace(round_, champion_version="7"))
    regress.regress(workload.config, round_)
    found = workload.rows(
        "select distinct tier, model_version from case_results join regression_cases using (case_id) "
        "where role = 'reference'"
    )
    assert found == [{"tier": "anchor", "model_version": "7"}]
    assert {prompt.adapter for prompt in engine.asked if prompt.key["role"] == "reference"} == {str(pinned)}


def test_the_bare_base_model_can_be_the_reference(tmp_path: Path, adapter: Path, engine: Fake) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter)
    register(workload, "7", make_adapter(tmp_path / "champion", b"champion"))
    pin_reference(workload.config, "base", "person:maria", "where we started")
    found = models(workload, replace(round_, champion_version="7"))
    assert (found["reference"].version, found["reference"].adapter) == ("base", None)


def test_the_champion_is_asked_with_the_likest_corrections_in_its_prompt(
    tmp_path: Path, adapter: Path, engine: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tasks.few_shot.embed", lambda state, texts, encoder: pl.Series([[1.0]] * len(texts)).to_numpy()
    )
    monkeypatch.setattr("tasks.few_shot.nearest", lambda inputs, corrections, count: [list(range(count))] * len(inputs))
    options = {"noise_sample": 0, "few_shot": 2, "few_shot_cases": 3}
    workload, round_ = to_regress(tmp_path / "w", adapter, engine=options)
    regress.regress(workload.config, round_)
    rows = workload.rows(
        "select tier, stratum, tokens from case_results join regression_cases using (case_id) where role = 'few_shot'"
    )
    assert [(row["tier"], row["stratum"]) for row in rows] == [("unseen", "failure")] * 3
    assert evidence(workload)["engine"]["few_shot"] == {"cases": 3, "shown": 6, "without": 0, "corrections": 2}
    lengths = {
        role: {len(p.token_ids) for p in engine.asked if p.key["role"] == role} for role in ("champion", "few_shot")
    }
    assert lengths == {"champion": {13}, "few_shot": {13 + 2 * (12 + 2)}}


def test_the_nearest_correction_stands_last() -> None:
    vectors = pl.DataFrame([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]).to_numpy()
    assert nearest(vectors[:1], vectors, 2) == [[2, 0]]
    assert nearest(vectors[:2], vectors, 9) == [[1, 2, 0], [0, 2, 1]]


def test_a_round_whose_trainer_and_server_disagree_stops(tmp_path: Path, adapter: Path, engine: Fake) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter)
    engine.apart = 0.002
    with pytest.raises(
        FlywheelError, match=r"disagree on the challenger: .* differs by 0\.0020 nats \(tolerance 0\.001, float32\)"
    ):
        regress.regress(workload.config, round_)
    assert results(workload) == {} and stage_of(workload.config, round_) == "regress"


def test_the_champion_is_probed_too_where_its_probe_is_still_there(tmp_path: Path, adapter: Path, engine: Fake) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter)
    regress.regress(workload.config, round_)
    workload.skip(round_, "gate")
    workload.register(round_)
    with State(workload.config.database).transaction() as tx:
        tx.run("set_verdict", round_id=1, verdict="promote")
        served = tx.rows("list_rounds")
    assert served
    probes = tmp_path / "w" / "home" / "tickets" / "rounds"
    assert (probes / "1" / "probe.json").is_file()
    champion = Round(2, "k", 9, 1, "1")
    models = {role: regress.Model("v", f"/{role}", "hash") for role in ("champion", "challenger")}
    (probes / "2").mkdir()
    (probes / "2" / "probe.json").write_text(json.dumps(PROBE))
    with State(workload.config.database).transaction() as tx:
        tx.run("close_round", round_id=1, closed_at=served[0]["opened_at"])
        tx.run(
            "insert_round", round_key="k", config_sha256="c", requested_by="person:x", opened_at=served[0]["opened_at"]
        )
        found = regress._probes(tx, workload.config, champion, models, "bfloat16")
        assert {role: (probe["adapter"], probe["tolerance"]) for role, probe in found.items()} == {
            "challenger": ("/challenger", 0.05), "champion": ("/champion", 0.05),
        }  # fmt: skip
        shutil.rmtree(probes / "1")
        assert list(regress._probes(tx, workload.config, champion, models, "float32")) == ["challenger"]


def test_a_case_without_a_right_answer_is_refused_before_anything_is_asked(
    tmp_path: Path, adapter: Path, engine: Fake
) -> None:
    workload, round_ = to_regress(tmp_path / "w", adapter)
    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute("update regression_cases set expected = ' ' where tier = 'fixed'")
    with pytest.raises(FlywheelError, match="has a blank right answer"):
        regress.regress(workload.config, round_)
    assert not engine.asked and results(workload) == {}


def test_a_suite_without_cases_is_no_error_and_says_so(tmp_path: Path, adapter: Path, engine: Fake) -> None:
    """Where answers are only better or worse there may be none: the gate holds."""
    workload, round_ = to_regress(tmp_path / "w", adapter)
    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute("delete from regression_cases")
    assert regress.regress(workload.config, round_)["cases"] == 0
    assert evidence(workload)["engine"]["prompts"] == 0 and not engine.asked


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_engine_that_is_killed_half_way_leaves_nothing_and_the_round_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regress, "PART_ROWS", 16)
    base = undecided_base(tmp_path / "w" / "base")
    adapter = leaning_adapter(base, tmp_path / "leaning")
    workload, round_ = to_regress(
        tmp_path / "w", adapter, traffic(300, 300, 100),
        split={"near_meaning": None}, engine={"noise_sample": 50, "few_shot": 2, "few_shot_cases": 20},
        model={"base": str(base), "max_length": 64, "max_new_tokens": 4},
    )  # fmt: skip
    rows = [{"input_ids": [3, 4, 2, 5, 1], "labels": [-100, -100, -100, 5, 1]}]
    probe = workload.config.round_folder(1) / "probe.json"
    probe.write_text(json.dumps(predicted(str(base), adapter, rows)), encoding="utf-8")

    def kill(done: int, total: int) -> None:
        for each in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it is dead already, and told more before it was
                if "tasks.answering:main" in each.cmdline():
                    each.kill()

    with pytest.raises(
        ChildError, match=r"tasks\.answering:main ended with status -9: .*the whole story: .*answering\.log"
    ):
        regress.regress(workload.config, round_, kill)
    assert results(workload) == {} and stage_of(workload.config, round_) == "regress"
    made = regress.regress(workload.config, round_)
    assert made["reused"] >= 16
    assert results(workload) == {
        "champion": made["cases"], "challenger": made["cases"], "champion_again": 50, "few_shot": 20,
    }  # fmt: skip
    assert made["max_abs_difference"] < 1e-3 and made["tokens"] == 10
    rows = workload.rows("select role, output, tokens from case_results")
    assert {row["output"].strip() for row in rows} <= {"a", "b"} and {row["tokens"] for row in rows} == {2}
    facts = evidence(workload)["engine"]
    assert facts["prompts"] + facts["reused"] == len(rows)
    assert facts["few_shot"] == {"cases": 20, "shown": 40, "without": 0, "corrections": 2}
