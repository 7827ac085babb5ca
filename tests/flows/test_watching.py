"""`flywheel watch` and `shadow`, and the flows that place new failures and watch the champion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.cluster_failures import cluster_failures
from flows.watch_champion import watch_champion
from tasks.config import RoundRequest
from tasks.db import State
from tasks.promote import champion
from tasks.rounds import record_evidence
from tests.conftest import Workload, inference, make_workload, thumb, write_config
from tests.tasks.test_cluster import kind, remember
from tests.tasks.test_watch import MAYBE, calls, promote


@pytest.fixture(autouse=True)
def _own_prefect_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


def flywheel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def config_of(workload: Workload) -> str:
    return str(write_config(workload.config, workload.folder / "config.yaml"))


@pytest.fixture
def worse(workload: Workload) -> Workload:
    workload.collect("before", calls("a", 400, 40))
    promote(workload)
    workload.collect("after", calls("b", 100, 60, "1", MAYBE))
    return workload


def test_watch_says_where_it_stands_and_changes_nothing(worse: Workload) -> None:
    content = worse.content()
    result = flywheel("watch", "--config", config_of(worse))
    assert result.exit_code == 0
    assert "Watching v1 against base" in result.stdout
    assert "Production fails more often under v1: 10.0% before, 60.0% now" in " ".join(result.stdout.split())
    assert worse.content() == content


def test_watch_gives_programs_what_it_counted(worse: Workload) -> None:
    found = json.loads(flywheel("watch", "--json", "--config", config_of(worse)).stdout)
    assert (found["is_worse"], found["before"]["calls"], found["after"]["failures"]) == (True, 400, 60)


def test_a_round_without_a_shadow_is_refused_on_one_line(workload: Workload) -> None:
    workload.collect("a", [inference("i"), thumb("i")])
    result = flywheel("shadow", "1", "--config", config_of(workload))
    assert result.exit_code == 1
    assert result.stderr == "error: round 1 of tickets does not exist (`flywheel status` lists the rounds)\n"


def test_shadow_shows_both_answers_and_writes_them_for_reviewers(workload: Workload, tmp_path: Path) -> None:
    import polars as pl

    workload.collect("a", [inference("i", "where is it?"), thumb("i")])
    round_ = workload.open()
    row = {
        "round_id": 1, "inference_id": "i", "input_hash": "h" * 64, "differs": True,
        "input": json.dumps([{"role": "user", "content": "where is [it]?"}]),
        "champion_output": "no idea", "challenger_output": "at [home]",
    }  # fmt: skip
    with State(workload.config.database).transaction() as tx:
        tx.load("insert_shadow_answers", pl.DataFrame([row]))
        record_evidence(tx, round_, shadow={"asked": 2, "compared": 2, "differ": 1, "too_long": 0, "classes": []})
    review = tmp_path / "review.jsonl"
    result = flywheel("shadow", "1", "--out", str(review), "--config", config_of(workload))
    assert result.exit_code == 0, result.output
    assert "differ on 1 of production's latest 2 inputs (50.0%)." in " ".join(result.stdout.split())
    assert "where is [it]?" in result.stdout
    assert "no idea → at [home]" in result.stdout
    assert f"1 rows in {review}" in " ".join(result.stdout.split())
    line = json.loads(review.read_text(encoding="utf-8"))
    assert (line["champion"], line["challenger"], line["reviewer"]) == ("no idea", "at [home]", None)
    printed = json.loads(flywheel("shadow", "1", "--json", "--config", config_of(workload)).stdout)
    assert [answer["inference_id"] for answer in printed["answers"]] == ["i"]


@pytest.mark.usefixtures("prefect_server")
def test_the_flows_place_new_failures_and_act_on_what_got_worse(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, watch={"on_worse": "rollback"})
    records, vectors = kind("k", 0, 12)
    workload.collect("before", calls("a", 400, 40) + records)
    remember(workload, vectors | {row["text"]: vectors["wrong → right a"] for row in texts(workload)})
    promote(workload)
    workload.collect("after", calls("b", 100, 60, "1", MAYBE))
    remember(workload, {row["text"]: vectors["wrong → right a"] for row in texts(workload)})
    request = RoundRequest(config=config_of(workload))
    placed = cluster_failures(request)
    assert sum(placed.by_class.values()) == 12 + 40 + 60
    found = watch_champion(request)
    assert found["said"] == ["base serves again since the watch took v1 back; that is not watched."]
    assert champion(workload.config) is None


def texts(workload: Workload) -> list[dict[str, str]]:
    """What users wrote in calls whose vector the state lacks, and how thumbs say that an answer was wrong."""
    rows = workload.rows(
        "select distinct json_extract_string(input, '$[1].content') as text from inferences union select 'thumb down'"
    )
    known = {row["text_hash"] for row in workload.rows("select text_hash from embeddings")}
    import hashlib

    return [row for row in rows if hashlib.sha256(row["text"].encode()).hexdigest() not in known]
