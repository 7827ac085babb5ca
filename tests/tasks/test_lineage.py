"""Everything traces: from a version to each row it learned from, and from a correction to each version it is in."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tasks.config import Config
from tasks.db import State
from tasks.errors import FlywheelError, StateError
from tasks.lineage import lineage, status, versions_with_correction
from tasks.rounds import writing
from tests.conftest import Workload, correction, demonstration, inference, make_workload, quarantining, traffic


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """A round that ended in version 1, and traffic of a second one that has not begun."""
    workload = make_workload(tmp_path_factory.mktemp("lineage"))
    stated = {"licence": "CC-BY-4.0", "guideline": "v3"}
    records = [record | (stated if record["record"] != "thumb" else {}) for record in traffic(20, 30, 10)]
    workload.collect("a", records)
    round_ = workload.to_gate(lambda role, case: role == "challenger" or case["stratum"] != "failure")
    with writing(workload.config, round_, "gate"):
        pass
    workload.register(round_)
    move = {
        "move_id": round_.round_key, "from_version": None, "to_version": "1", "moved_by": "gate", "reason": "better",
        "round_id": 1, "created_at": datetime(2026, 3, 2),
    }  # fmt: skip
    with State(workload.config.database).transaction() as tx:
        for event in ("intended", "moved"):
            tx.run("insert_promotion", event=event, **move)
    workload.close(round_, "promote", "1")
    workload.collect("b", [*traffic(2, prefix="b"), correction("b-unknown")])
    return workload


def test_status_says_where_the_workload_stands(closed: Workload) -> None:
    found = status(closed.config)
    assert found["champion"] == {"label": "v1", "version": "1"}
    assert [(r["round"], r["stage"], r["verdict"]) for r in found["rounds"]] == [(1, "closed", "promote")]
    assert found["rounds"][0]["champion_after"]["label"] == "v1"
    assert found["rounds"][0]["requested_by"] == "person:test"
    assert [(v["version"], v["round"], v["verdict"]) for v in found["versions"]] == [("1", 1, "promote")]
    assert found["unfinished_moves"] == []
    json.dumps(found, default=str, allow_nan=False)


def test_the_counts_of_the_status_reconcile(closed: Workload) -> None:
    counts = status(closed.config)["counts"]
    assert counts["reconciles"]
    assert counts["read"] == counts["stored"] + counts["known"] + counts["quarantined"] == 115
    assert (counts["inferences"], counts["corrections"], counts["feedback"], counts["demonstrations"]) == (
        52,
        23,
        30,
        10,
    )


def test_a_count_that_does_not_reconcile_is_admitted(closed: Workload, workload: Workload) -> None:
    workload.collect("a", traffic(2))
    import duckdb

    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute("delete from inferences where inference_id = 'f000'")
    assert not status(workload.config)["counts"]["reconciles"]


def test_each_training_row_names_source_producer_and_kind(closed: Workload) -> None:
    found = lineage(closed.config, "1")
    rows = found["rows"]
    assert [row["position"] for row in rows] == list(range(len(rows)))
    assert {(row["kind"], row["source"], row["producer"]) for row in rows} == {
        ("correction", "production", "person:maria"), ("demonstration", "production", "person:maria"),
        ("demonstration", "production", "rule:seed"),
    }  # fmt: skip
    assert sum(row["kind"] == "correction" for row in rows) == 13
    assert (found["round"], found["verdict"], found["trained_after"]["label"]) == (1, "promote", "base")
    assert [move["event"] for move in found["moves"]] == ["intended", "moved"]
    json.dumps(found, default=str, allow_nan=False)


def test_each_training_row_names_its_licence_and_guideline(closed: Workload) -> None:
    """The licence of a confirmed call is the call's; the guideline would be that of who confirmed it."""
    rows = lineage(closed.config, "1")["rows"]
    assert {row["licence"] for row in rows} == {"CC-BY-4.0"}
    stated = {(row["inference_id"] or "d")[0]: row["guideline"] for row in rows}
    assert stated == {"f": "v3", "d": "v3", "s": None}


def test_each_training_row_leads_back_to_the_record_it_came_from(closed: Workload) -> None:
    stored = {row["signal_id"]: row for row in closed.rows("select * from signals")}
    for row in lineage(closed.config, "1")["rows"]:
        assert stored[row["signal_id"]]["content_hash"] == row["content_hash"]


def test_a_correction_leads_to_the_versions_that_contain_it(closed: Workload) -> None:
    trained = closed.value("select min(correction_id) from corrections where use_for_training")
    held_out = closed.value("select min(correction_id) from corrections where use_for_eval and not use_for_training")
    assert [row["version"] for row in versions_with_correction(closed.config, trained)] == ["1"]
    assert versions_with_correction(closed.config, held_out) == []


def test_an_unknown_version_is_refused_with_those_there_are(closed: Workload) -> None:
    with pytest.raises(FlywheelError, match="tickets has no version 9; its versions: 1"):
        lineage(closed.config, "9")


def test_without_a_state_there_is_one_clear_line(fresh_config: Config) -> None:
    for ask in (status, lambda config: lineage(config, "1"), lambda config: versions_with_correction(config, "x")):
        with pytest.raises(StateError, match="does not exist yet; run `flywheel run"):
            ask(fresh_config)
    assert not fresh_config.home.exists()


def test_status_counts_what_was_quarantined_and_excluded(tmp_path_factory: pytest.TempPathFactory) -> None:
    workload = quarantining(tmp_path_factory.mktemp("excluded"))
    workload.collect(
        "a", [inference("i"), correction("i", "1"), correction("i", "2", "person:jonas"), demonstration("d")]
    )
    workload.collect("b", "nonsense\n")
    workload.to_split()
    found = status(workload.config)
    assert found["excluded_corrections"] == {"contradicts another answer (same input)": 2}
    assert found["counts"]["in_quarantine"] == found["counts"]["quarantined"] == 1
    assert found["rounds"][0]["verdict"] is None
