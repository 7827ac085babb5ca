"""What happened is told in order and in words: who moved the champion, why, and what was taken back."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.blend import blend
from tasks.db import State
from tasks.errors import StateError
from tasks.history import Event, as_json, history, moves
from tasks.notices import record_notice
from tasks.reference import pin_reference
from tasks.rounds import abandon, writing
from tests.conftest import Workload, make_workload, retraction, traffic

DAY = datetime(2026, 3, 3)


@pytest.fixture
def registered(workload: Workload) -> Workload:
    """Version 1, held; the champion is the base."""
    workload.collect("a", traffic(failures=10, successes=10, given=5))
    round_ = workload.to_split()
    blend(workload.config, round_)
    workload.skip(round_, "train")
    for stage in ("regress", "gate"):
        with writing(workload.config, round_, stage):
            pass
    workload.register(round_)
    workload.close(round_, "hold", "1")
    return workload


def move(tx_of: Workload, before: str | None, after: str | None, by: str, reason: str, day: int, event: str) -> None:
    with State(tx_of.config.database).transaction() as tx:
        tx.run(
            "insert_promotion", evidence_sha256=None, move_id=f"{day}", event=event, from_version=before,
            to_version=after, moved_by=by, reason=reason, round_id=None, created_at=DAY + timedelta(days=day),
        )  # fmt: skip


def texts(workload: Workload) -> list[str]:
    return [event.text for event in history(workload.config)]


def test_a_round_is_told_from_its_opening_to_its_verdict(registered: Workload) -> None:
    told = texts(registered)
    assert "Round 1 was opened for test, against base" in told
    assert "v1 was registered, from round 1" in told
    assert any(text.startswith("Round 1: v1 was held, for want of evidence; base stays champion") for text in told)


def test_moves_say_who_why_and_whether_it_was_a_way_back(registered: Workload) -> None:
    move(registered, None, "1", "gate", "round 1 was promoted", 0, "moved")
    move(registered, "1", None, "person:maria", "it [b]swears[/b]", 1, "moved")
    move(registered, None, "1", "person:jonas", "mended", 2, "intended")
    kinds = ("promotion", "rollback", "unfinished move")
    found = [event for event in history(registered.config) if event.kind in kinds]
    assert [(event.kind, event.text) for event in found] == [
        ("promotion", "The gate made v1 the champion, in place of base: round 1 was promoted"),
        ("rollback", "Maria rolled the champion back from v1 to base: it [b]swears[/b]"),
        ("unfinished move", "A move of the champion to v1 was intended and has not been made; make it again"),
    ]
    assert (found[1].by, found[1].version, found[0].version) == ("person:maria", None, "1")


def test_what_people_and_the_system_decided_is_told(registered: Workload) -> None:
    pin_reference(registered.config, "v1", "person:maria", "ours")
    registered.collect("b", [retraction("f000"), retraction("f001"), retraction("f002", by="person:jo")])
    with State(registered.config.database).transaction() as tx:
        record_notice(tx, "watch_worse", "production fails more often under v1", 1, "1")
    registered.open()
    abandon(registered.config, print)
    told = texts(registered)
    for expected in (
        "Maria made v1 the reference: ours",
        "2 retractions by maria came in",
        "1 retraction by jo came in",
        "Production fails more often under v1",
        "Round 2 was given up, without a verdict",
    ):
        assert expected in told
    assert told.index("Round 2 was opened for test, against base") < told.index(
        "Round 2 was given up, without a verdict"
    )


@pytest.mark.parametrize(("decision", "word"), [("approve", "approved"), ("reject", "rejected")])
def test_a_decision_on_a_round_is_told_with_its_reason(registered: Workload, decision: str, word: str) -> None:
    import duckdb

    with duckdb.connect(str(registered.config.database)) as connection:
        connection.execute(
            "insert into approvals by name select 1 as round_id, ?::timestamp as asked_at, ?::timestamp as expires_at,"
            " ? as decision, 'person:maria' as decided_by, 'looked at it' as reason, ?::timestamp as decided_at",
            [DAY, DAY, decision, DAY],
        )
    assert f"Maria {word} round 1: looked at it" in texts(registered)


def test_events_come_oldest_first_with_times_that_programs_read(registered: Workload) -> None:
    events = history(registered.config)
    assert [event.at for event in events] == sorted(event.at for event in events)
    shown = as_json(events[0])
    assert shown.keys() == {"at", "kind", "text", "round", "version", "by", "before"}
    assert datetime.strptime(shown["at"], "%Y-%m-%dT%H:%M:%SZ")


def test_a_state_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="does not exist yet"):
        history(make_workload(tmp_path).config)


@given(st.lists(st.sampled_from([None, "1", "2", "3"]), min_size=1, max_size=12))
def test_a_move_back_is_told_as_one_if_and_only_if_it_goes_to_what_has_served(path: list[str | None]) -> None:
    rows = [
        {"from_version": before, "to_version": after, "moved_by": "gate", "reason": "r", "round_id": None,
         "created_at": DAY + timedelta(hours=hour)}
        for hour, (before, after) in enumerate(zip([None, *path], path, strict=False))
    ]  # fmt: skip
    told: list[Event] = list(moves(rows))
    for hour, event in enumerate(told):
        before = [None, *path][: hour + 1]
        is_back = path[hour] in before and path[hour] != before[-1]
        assert (event.kind == "rollback") is is_back
        assert event.version == path[hour]
