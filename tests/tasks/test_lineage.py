"""Everything traces: from a version to each row it learned from, and from a correction to each version it is in."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tasks.blend import blend
from tasks.config import Config
from tasks.db import State
from tasks.errors import FlywheelError, StateError
from tasks.lineage import lineage, where
from tasks.rounds import writing
from tasks.status import status
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
        "round_id": 1, "created_at": datetime(2026, 3, 2), "evidence_sha256": None,
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


def test_a_correction_leads_to_the_snapshots_and_versions_that_contain_it(closed: Workload) -> None:
    trained = closed.value("select min(correction_id) from corrections where use_for_training")
    found = where(closed.config, trained)
    assert (found["kind"], found["side"], found["versions"], found["why_in_none"]) == (
        "correction",
        "train",
        ["1"],
        None,
    )
    (row,) = found["snapshots"]
    assert (row["round"], row["verdict"], row["version"], row["kind"]) == (1, "promote", "1", "correction")
    assert lineage(closed.config, "1")["rows"][row["position"]]["signal_id"] == trained
    assert row["snapshot_hash"] == lineage(closed.config, "1")["snapshot_hash"]
    json.dumps(found, default=str, allow_nan=False)


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(closed: Workload) -> None:
    id_ = closed.value("select min(correction_id) from corrections where use_for_training")
    assert where(closed.config, id_[:20])["signal_id"] == id_
    with pytest.raises(FlywheelError, match=r"several signals begin with d00: d000, d001, d002; give more of the id"):
        where(closed.config, "d00")
    with pytest.raises(FlywheelError, match=r"tickets has no signal \\x1bnone; ids are in `flywheel lineage"):
        where(closed.config, "\x1bnone")


def test_an_id_that_another_begins_with_is_found(workload: Workload) -> None:
    workload.collect("a", [demonstration("d1"), demonstration("d10"), demonstration("d11")])
    assert where(workload.config, "d1")["signal_id"] == "d1"


def test_confirmed_calls_and_given_demonstrations_are_found(closed: Workload) -> None:
    rows = lineage(closed.config, "1")["rows"]
    for row in (next(r for r in rows if r["producer"] == who and r["kind"] == "demonstration")
                for who in ("rule:seed", "person:maria")):  # fmt: skip
        assert where(closed.config, row["signal_id"])["versions"] == ["1"]


def test_a_correction_that_is_in_no_snapshot_says_why(closed: Workload) -> None:
    def why(sql: str) -> str:
        return str(where(closed.config, closed.value(sql))["why_in_none"])

    held_out = "select min(correction_id) from corrections where use_for_eval and not use_for_training"
    assert why(held_out) == "its input is held out (unseen): it is for evaluation alone, and never trained on"
    fresh = "select min(correction_id) from corrections where inference_id = 'bf000'"
    assert why(fresh) == "it waits for the next round"
    early = "select min(correction_id) from corrections where inference_id = 'b-unknown'"
    assert why(early) == "its inference has not arrived"


def test_a_signal_that_was_left_out_says_why(workload: Workload) -> None:
    """Contradicted, superseded, standing for another's copies, or not chosen."""
    calls = [inference("x"), correction("x", "1"), correction("x", "2", "person:jonas"), inference("y")]
    calls += [correction("y", "early"), correction("y", "late", minutes=9)]
    calls += [inference(f"z{n}", "the very same words of one ticket in a row") for n in range(3)]
    calls += [correction(f"z{n}", minutes=n) for n in range(3)]
    workload.collect("a", [*calls, *traffic(failures=9, successes=80)])
    blend(workload.config, workload.to_split())

    def why(inference_id: str) -> set[str | None]:
        ids = workload.rows("select correction_id from corrections where inference_id = ?", inference_id)
        return {where(workload.config, row["correction_id"])["why_in_none"] for row in ids}

    assert why("x") == {"it is left out: contradicts another answer (same input)"}
    assert "it is left out: superseded by its author" in why("y")
    assert "near-duplicates of it were trained on in its place" in why("z0") | why("z1") | why("z2")
    left = (
        "select signal_id from signals join sides using (input_hash) where side = 'train' and signal_id not in (select "
    )
    one = workload.value(f"{left} signal_id from snapshot_rows) and stratum = 'success' limit 1")
    assert where(workload.config, one)["why_in_none"].startswith("the blend did not choose it")


def test_what_was_trained_on_and_is_no_signal_any_more_says_both(workload: Workload) -> None:
    workload.collect("a", traffic(failures=9, successes=40))
    round_ = workload.to_split()
    blend(workload.config, round_)
    confirmed = workload.value("select min(signal_id) from snapshot_rows where signal = 'demonstration'")
    workload.collect("b", [correction(confirmed.removeprefix("confirmed:"), "better", minutes=9)])
    found = where(workload.config, confirmed)
    assert [row["round"] for row in found["snapshots"]] == [1]
    assert "it is no usable signal any more" in found["excluded_because"]


def test_an_unknown_version_is_refused_with_those_there_are(closed: Workload) -> None:
    with pytest.raises(FlywheelError, match="tickets has no version 9; its versions: 1"):
        lineage(closed.config, "9")


def test_without_a_state_there_is_one_clear_line(fresh_config: Config) -> None:
    for ask in (status, lambda config: lineage(config, "1"), lambda config: where(config, "x")):
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
