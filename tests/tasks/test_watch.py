"""A champion under which production fails more often is noticed, once, like compared with like; and may be undone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tasks.db import State
from tasks.promote import champion, move_champion
from tasks.records import now
from tasks.watch import WATCHER, act, look
from tests.conftest import (
    Record,
    Workload,
    correction,
    demonstration,
    inference,
    make_workload,
    rating,
    retraction,
    thumb,
)

MAYBE = 60 * 24 * 2  # minutes after the first call, by when all calls before are over
CLEAR = 240


def calls(
    prefix: str, total: int, failing: int, version: str = "base", minutes: int = 0, by: str = "person:maria"
) -> list[Record]:
    """Calls of a version, one a minute, of which so many are thumbed down, spread evenly."""
    made: list[Record] = []
    for place in range(total):
        id_ = f"{prefix}{place:05}"
        made.append(inference(id_, minutes=minutes + place) | {"model_version": version})
        is_failing = (place + 1) * failing // total > place * failing // total
        made.append(thumb(id_, "down" if is_failing else "up", by=by, minutes=minutes + place + 1))
    return made


def promote(workload: Workload, version: str | None = "1", before: str | None = None, by: str = "gate") -> str:
    """A move of the champion on record, as promotion leaves it, without a registry."""
    moment = now()
    move = {
        "move_id": f"move of {moment}", "from_version": before, "to_version": version, "moved_by": by, "reason": "r",
        "round_id": 1, "evidence_sha256": None, "created_at": moment,
    }  # fmt: skip
    with State(workload.config.database).transaction() as tx:
        for event in ("intended", "moved"):
            tx.run("insert_promotion", event=event, **move)
    return str(move["move_id"])


def watched(workload: Workload, before: Iterable[Record], after: Iterable[Record]) -> dict[str, Any]:
    workload.collect("before", before)
    promote(workload)
    workload.collect("after", after)
    return look(workload.config)


def notices(workload: Workload) -> list[str]:
    return [row["kind"] for row in workload.rows("select kind from notices order by notice_id")]


def test_before_a_promotion_there_is_nothing_to_watch(workload: Workload) -> None:
    workload.collect("a", calls("a", 10, 5))
    found = look(workload.config)
    assert (found["state"], found["is_worse"]) == ("none", False)
    assert found["said"] == ["There has been no promotion yet, so there is nothing to watch."]
    assert act(workload.config) == found


def test_a_champion_that_fails_more_often_is_worse_and_one_that_does_not_is_not(tmp_path: Any) -> None:
    worse = watched(make_workload(tmp_path / "a"), calls("a", 1000, 100), calls("b", CLEAR, 84, "1", MAYBE))
    same = watched(make_workload(tmp_path / "b"), calls("a", 1000, 100), calls("b", CLEAR, 24, "1", MAYBE))
    assert (worse["is_worse"], same["is_worse"]) == (True, False)
    assert worse["least_rise"] > 0 > same["least_rise"]
    assert worse["before"]["rate"] == 0.1
    assert worse["said"][1].startswith("Production fails more often under v1: 10.0% before, 35.0% now, by ")
    assert same["said"][1] == "No sign that production fails more often than before."
    low, high = (f"{100 * same['after'][side]:.1f}%" for side in ("low", "high"))
    assert same["said"][-1] == f"v1: 24 of {CLEAR} calls failed, 10.0% ({low} to {high})."


def test_a_rise_within_the_margin_is_not_worse(tmp_path: Any) -> None:
    workload = make_workload(tmp_path, watch={"margin": 0.3})
    assert not watched(workload, calls("a", 1000, 100), calls("b", CLEAR, 84, "1", MAYBE))["is_worse"]


def test_looking_changes_nothing_and_finds_the_same_again(workload: Workload) -> None:
    found = watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    content = workload.content()
    assert look(workload.config) == found
    assert workload.content() == content


def test_once_worse_it_stays_so_whatever_comes_in_later(workload: Workload) -> None:
    watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    first = act(workload.config)
    workload.collect("later", calls("c", 1500, 0, "1", MAYBE + 200))
    assert first["is_worse"]
    assert act(workload.config)["is_worse"]
    assert notices(workload) == ["watch_worse"]


def test_a_finding_is_recorded_and_noticed_once(workload: Workload) -> None:
    watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    first = act(workload.config)
    content = workload.content()
    assert act(workload.config) == first
    assert workload.content() == content
    assert notices(workload) == ["watch_worse"]
    assert workload.value("select version from notices") == "1"
    assert champion(workload.config) == "1"  # the config asks for a notice alone


def test_what_was_found_before_a_kill_is_told_after_it(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    told: list[str] = []

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.watch.emit", killed)
    with pytest.raises(KeyboardInterrupt):
        act(workload.config)
    monkeypatch.setattr("tasks.watch.emit", lambda config, event, payload: told.append(event))
    act(workload.config)
    act(workload.config)
    assert told == ["watch.worse"]
    assert notices(workload) == ["watch_worse"]


def test_a_rollback_puts_the_champion_before_back_and_is_not_watched(tmp_path: Any) -> None:
    workload = make_workload(tmp_path, watch={"on_worse": "rollback"})
    watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    found = act(workload.config)
    assert champion(workload.config) is None
    assert found["said"] == ["base serves again since the watch took v1 back; that is not watched."]
    moved = workload.rows("select * from promotions where event = 'moved' order by promotion_id")[-1]
    assert (moved["from_version"], moved["to_version"], moved["moved_by"]) == ("1", None, WATCHER)
    assert moved["reason"].startswith("Production fails more often under v1")
    content = workload.content()
    act(workload.config)
    assert workload.content() == content
    assert notices(workload) == ["watch_worse", "rolled_back"]


def test_what_a_person_promotes_again_is_not_rolled_back_by_the_same_evidence(tmp_path: Any) -> None:
    workload = make_workload(tmp_path, watch={"on_worse": "rollback"})
    watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    act(workload.config)
    promote(workload, "1", by="person:maria")
    found = act(workload.config)
    assert (found["after"]["calls"], found["is_worse"]) == (0, False)
    assert champion(workload.config) == "1"


def test_a_rollback_that_was_killed_after_the_finding_is_made_by_the_next_run(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = make_workload(tmp_path, watch={"on_worse": "rollback"})
    watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    with monkeypatch.context() as patched:
        patched.setattr("tasks.promote._set_alias", lambda config, version: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            act(workload.config)
    assert champion(workload.config) == "1"
    act(workload.config)
    assert champion(workload.config) is None
    assert notices(workload) == ["watch_worse", "rolled_back"]


def test_a_champion_that_somebody_moved_meanwhile_is_left_alone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = make_workload(tmp_path, watch={"on_worse": "rollback"})
    watched(workload, calls("a", 400, 40), calls("b", 100, 60, "1", MAYBE))
    found = look(workload.config)
    promote(workload, "2", before="1", by="person:maria")
    monkeypatch.setattr("tasks.watch.look", lambda config: found)
    act(workload.config)
    assert champion(workload.config) == "2"


def test_one_persons_word_alone_rolls_nothing_back(tmp_path: Any) -> None:
    """Maria finds what she always found; a newcomer faults everything."""
    workload = make_workload(tmp_path, watch={"on_worse": "rollback"})
    after = calls("b", 400, 40, "1", MAYBE) + calls("c", 100, 100, "1", MAYBE + 500, by="person:rush")
    watched(workload, calls("a", 1000, 100), after)
    found = act(workload.config)
    assert (found["is_worse"], found["rests_on"]) == (True, ["person:rush"])
    assert "only by the word of person:rush, without whom nothing is proved" in found["said"][1]
    assert champion(workload.config) == "1"
    assert notices(workload) == ["watch_worse"]


def test_calls_that_are_too_young_do_not_count_and_what_is_said_late_does_not_either(tmp_path: Any) -> None:
    """The sources were passed over just now, so a call of an hour ago is not old enough."""
    workload = make_workload(tmp_path, watch={"days": 3650})
    late = 60 * 24 + 1
    said_late = [
        inference("x", minutes=MAYBE) | {"model_version": "1"},
        thumb("x", "down", minutes=MAYBE + late),
        inference("y", minutes=MAYBE) | {"model_version": "1"},
        thumb("y", "down", minutes=MAYBE + late - 2),
    ]
    young = (datetime.now().astimezone() - timedelta(hours=1)).isoformat()
    fresh = [inference("z") | {"model_version": "1", "created_at": young}, thumb("z", "down") | {"created_at": young}]
    found = watched(workload, calls("a", 10, 1), said_late + fresh)
    assert (found["after"]["calls"], found["after"]["failures"], found["waiting"]) == (2, 1, 1)
    assert "1 calls are younger than 24 hours and do not count yet" in found["said"][-1]


def test_people_who_judge_late_make_neither_side_look_good(tmp_path: Any) -> None:
    """Everything is judged after three days: with a day to settle, no call on either side has failed."""
    late = 60 * 24 * 3
    before, after = calls("a", 50, 25), calls("b", 50, 25, "1", MAYBE)
    for record in before + after:
        if record["record"] == "thumb":
            record["created_at"] = (datetime.fromisoformat(record["created_at"]) + timedelta(minutes=late)).isoformat()
    found = watched(make_workload(tmp_path / "a"), before, after)
    assert (found["before"]["failures"], found["after"]["failures"]) == (0, 0)
    patient = make_workload(tmp_path / "b", watch={"settle_hours": 100})
    found = watched(patient, before, after)
    assert (found["before"]["failures"], found["after"]["failures"]) == (25, 25)


def test_retries_of_one_request_count_once_a_day(workload: Workload) -> None:
    retried = [
        record
        for n in range(300)
        for record in (
            inference(f"r{n}", "the same", minutes=MAYBE + n) | {"model_version": "1"},
            thumb(f"r{n}", "down", minutes=MAYBE + n + 1),
        )
    ]
    found = watched(workload, calls("a", 400, 40), retried)
    assert (found["after"]["calls"], found["is_worse"]) == (1, False)


@pytest.mark.parametrize(
    ("signal", "fails"),
    [
        ([], False),
        ([correction("x", "right", minutes=MAYBE + 1)], True),
        ([correction("x", " wrong ", minutes=MAYBE + 1)], False),  # says what the model said
        ([correction("x", "right", minutes=MAYBE + 1), correction("x", "wrong", minutes=MAYBE + 2)], False),
        ([rating("x", 1, minutes=MAYBE + 1)], True),
        ([rating("x", 5, minutes=MAYBE + 1)], False),
        ([thumb("x", "down", minutes=MAYBE + 1), retraction("x", minutes=MAYBE + 2)], False),
        ([thumb("x", "down", minutes=MAYBE + 1), retraction("x", minutes=MAYBE + 60 * 24 * 2)], True),
    ],
)
def test_what_makes_a_call_fail(workload: Workload, signal: list[Record], fails: bool) -> None:
    found = watched(workload, calls("a", 5, 1), [inference("x", minutes=MAYBE) | {"model_version": "1"}, *signal])
    assert (found["after"]["calls"], found["after"]["failures"]) == (1, int(fails))


def test_an_output_that_a_rule_rejects_fails_without_anybodys_word(tmp_path: Any) -> None:
    workload = make_workload(tmp_path, checks=[{"type": "regex", "name": "short", "pattern": ".{1,8}", "whole": True}])
    found = watched(
        workload, calls("a", 5, 1), [inference("x", output="far too long", minutes=MAYBE) | {"model_version": "1"}]
    )
    assert (found["after"]["failures"], found["after"]["judged"]) == (1, 0)


def test_calls_of_other_versions_are_nobodys(workload: Workload) -> None:
    other = calls("o", 50, 50, "7", MAYBE) + calls("p", 50, 50, "base", MAYBE)
    found = watched(workload, calls("a", 50, 5), other + calls("b", 50, 5, "v1", MAYBE))
    assert (found["before"]["calls"], found["after"]["calls"], found["after"]["failures"]) == (50, 50, 5)


def test_under_one_name_for_every_champion_the_time_of_the_move_tells_them_apart(workload: Workload) -> None:
    workload.collect("before", calls("a", 50, 5, "tickets"))
    promote(workload)
    moment = now()
    new = [inference(f"n{n}") | {"model_version": "tickets", "created_at": f"{moment.isoformat()}Z"} for n in range(3)]
    late = [inference("late", minutes=100) | {"model_version": "tickets"}]  # made before the move, collected after it
    settings = workload.config.watch.model_copy(update={"settle_hours": 0.0})
    at_once = Workload(workload.folder, workload.config.model_copy(update={"watch": settings}))
    at_once.collect("after", new + late)
    found = look(at_once.config)
    assert (found["before"]["calls"], found["after"]["calls"]) == (51, 3)


def test_calls_under_names_that_are_no_versions_are_pointed_out(workload: Workload) -> None:
    found = watched(workload, calls("a", 5, 1), calls("b", 4, 1, "prod-blue", MAYBE))
    assert found["said"][-1] == (
        "Calls came in under names that are no version's: prod-blue (4); say in watch.names what versions are called."
    )


def test_what_production_calls_a_version_is_said_in_the_config(tmp_path: Any) -> None:
    workload = make_workload(tmp_path, watch={"names": ["prod-{version}"]})
    found = watched(workload, calls("a", 5, 1, "prod-base"), calls("b", 4, 2, "prod-1", MAYBE))
    assert (found["before"]["calls"], found["after"]["calls"]) == (5, 4)


def test_only_the_days_around_the_promotion_are_looked_at(tmp_path: Any) -> None:
    workload = make_workload(tmp_path, watch={"days": 1})
    before = calls("old", 5, 5) + calls("a", 10, 1, minutes=60 * 24 * 3)
    after = calls("b", 10, 1, "1", 60 * 24 * 5) + calls("late", 5, 5, "1", 60 * 24 * 8)
    found = watched(workload, before, after)
    assert (found["before"]["calls"], found["after"]["calls"]) == (10, 10)


def test_people_who_judge_more_than_before_are_pointed_out(workload: Workload) -> None:
    unjudged = [inference(f"u{n}", minutes=n) for n in range(100)]
    found = watched(workload, calls("a", 20, 10) + unjudged, calls("b", 20, 10, "1", MAYBE))
    assert "16.7% of calls were judged before, 100.0% are now: part may be attention." in found["said"]


def in_class(workload: Workload, cluster_id: str, prefixes: Iterable[str]) -> None:
    """The failures whose ids begin so belong to a class, as a round would have it."""
    import polars as pl

    with State(workload.config.database).transaction() as tx:
        for prefix in prefixes:
            ids = [row["inference_id"] for row in workload_failures(tx) if row["inference_id"].startswith(prefix)]
            rows = {
                "inference_id": ids,
                "cluster_id": [cluster_id] * len(ids),
                "similarity": [1.0] * len(ids),
                "round_id": [1] * len(ids),
            }
            tx.load("insert_cluster_members", pl.DataFrame(rows))


def workload_failures(tx: Any) -> list[dict[str, Any]]:
    return list(tx.rows("list_failures", pinned_seq=10**6, round_id=10**6))


def known_class(workload: Workload, cluster_id: str, label: str) -> None:
    import polars as pl

    row = {"cluster_id": cluster_id, "label": label, "first_round": 1, "created_at": now()}
    with State(workload.config.database).transaction() as tx:
        tx.load("insert_clusters", pl.DataFrame([row]))


def test_a_class_that_got_worse_is_named_though_all_together_have_not(workload: Workload) -> None:
    workload.collect("before", calls("a", 1000, 200) + calls("k", 500, 5, minutes=1001))
    known_class(workload, "c001", "late parcels")
    known_class(workload, "c002", "locked accounts")
    in_class(workload, "c001", ["a"])
    in_class(workload, "c002", ["k"])
    promote(workload)
    workload.collect("after", calls("b", 400, 30, "1", MAYBE) + calls("l", 200, 40, "1", MAYBE + 401))
    in_class(workload, "c001", ["b"])
    in_class(workload, "c002", ["l"])
    found = act(workload.config)
    assert (found["is_worse"], [row["cluster_id"] for row in found["classes"] if row["is_worse"]]) == (False, ["c002"])
    assert "Class c002 (locked accounts) got worse: 0.3% of calls before, 6.7% now." in found["said"]
    assert notices(workload) == ["watch_worse"]
    assert champion(workload.config) == "1"


def test_a_class_that_came_up_after_the_promotion_is_not_tested(workload: Workload) -> None:
    """It was found in the very calls that it would be tested on."""
    workload.collect("before", calls("a", 400, 40))
    promote(workload)
    workload.collect("after", calls("b", 400, 40, "1", MAYBE))
    known_class(workload, "c001", "new")
    in_class(workload, "c001", ["b"])
    assert look(workload.config)["classes"] == []


@pytest.mark.parametrize(("right", "kind"), [(19, "class_returned"), (5, None)])
def test_a_class_that_was_thought_fixed_and_comes_back_is_named(
    workload: Workload, right: int, kind: str | None
) -> None:
    """It fails as often as before; that is worse than what the suite promised with 19 of 20 cases right."""
    workload.collect("before", calls("a", 2000, 400))
    known_class(workload, "c001", "late parcels")
    in_class(workload, "c001", ["a"])
    trained_on(workload, "c001", cases=20, right=right)
    promote(workload)
    workload.collect("after", calls("b", 700, 140, "1", MAYBE))
    in_class(workload, "c001", ["b"])
    found = act(workload.config)
    assert not found["is_worse"]
    assert notices(workload) == ([kind] if kind else [])
    if kind:
        said = "20.0% of calls before, 20.0% now, though the suite had 19 of 20 right."
        assert f"Class c001 (late parcels) was thought fixed and is back: {said}" in found["said"]


def trained_on(workload: Workload, cluster_id: str, cases: int, right: int) -> None:
    """Version 1, trained on a correction of the class, and the outcomes of unseen cases of it."""
    import duckdb

    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute("insert into versions values ('1', 1, 's', 'a', 'b', now()::timestamp)")
        connection.execute(
            "insert into snapshot_rows by name select 's' as snapshot_hash, 0 as position, 'correction' as signal, "
            "'x' as signal_id, 'x' as input_hash, 'x' as content_hash, 's' as source, 'm' as producer, ? as cluster_id",
            [cluster_id],
        )
        connection.execute(
            "insert into regression_cases by name select 'k' || i as case_id, 'in' as input, 'h' || i as input_hash, "
            "'e' as expected, 'unseen' as tier, 'failure' as stratum, ? as cluster_id, '{}' as slices, 's' || i as "
            "signal_id, 'person:m' as producer, 's' as source, 1 as added_round from range(?) as t(i)",
            [cluster_id, cases],
        )
        connection.execute(
            "insert into case_results by name select 1 as round_id, 'challenger' as role, '1' as model_version, "
            "'k' || i as case_id, 'o' as output, (i < ?)::integer as score, i < ? as is_right from range(?) as t(i)",
            [right, right, cases],
        )


def test_a_person_may_move_the_champion_and_that_is_watched_too(workload: Workload) -> None:
    workload.collect("before", [*calls("a", 400, 40), demonstration("d")])
    promote(workload)
    workload.collect("after", calls("b", 400, 20, "1", MAYBE))
    move_champion(workload.config, None, "person:maria", "I want it so")
    workload.collect("again", calls("c", 400, 160, "base", MAYBE * 2))
    found = look(workload.config)
    assert (found["champion"]["label"], found["before_it"]["label"]) == ("base", "v1")
    assert (found["before"]["failures"], found["after"]["failures"], found["is_worse"]) == (20, 160, True)
