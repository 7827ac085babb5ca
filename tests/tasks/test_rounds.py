"""The state machine: a round can be killed anywhere and taken up again, by one runner at a time."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tasks import rounds
from tasks.blend import blend
from tasks.config import Config
from tasks.db import State
from tasks.errors import LeaseLostError, StateError
from tasks.records import now
from tasks.retract import retract
from tasks.rounds import (
    STAGES,
    abandon,
    has_work,
    keep_lease,
    label,
    open_or_resume,
    read_evidence,
    record_evidence,
    stage_of,
    writing,
)
from tasks.screen import screen
from tasks.status import status
from tests.conftest import (
    Saved,
    Workload,
    correction,
    inference,
    make_workload,
    preference,
    python,
    rating,
    retraction,
    thumb,
    traffic,
)

UNKNOWN = {"uptime_until": None, "uptime": None}  # of a machine's own clock
RUNNER = """
import os, sys, time
from pathlib import Path
from tasks.config import load_config
from tasks.rounds import open_or_resume
round_ = open_or_resume(load_config(sys.argv[1]), "person:other")
print(round_.lease_token, flush=True)
if "stay" in sys.argv:
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    workload = make_workload(tmp_path_factory.mktemp("rounds") / "workload")
    workload.collect("a", traffic(failures=5, successes=5))
    return Saved(workload)


@pytest.fixture
def ready(collected: Saved) -> Workload:
    """A workload with five corrections that no round has seen."""
    return collected.restored()


def config_file(workload: Workload) -> str:
    from tests.conftest import write_config

    return str(write_config(workload.config, workload.folder / "config.yaml"))


def test_a_round_pins_what_has_been_collected(ready: Workload) -> None:
    round_ = ready.open()
    assert (round_.round_id, round_.pinned_seq, round_.champion_version, round_.champion) == (1, 1, None, "base")
    assert stage_of(ready.config, round_) == "screen"
    ready.collect("b", traffic(1, prefix="b"))
    assert ready.open().pinned_seq == 1


def test_there_is_work_when_enough_corrections_are_new(ready: Workload) -> None:
    assert has_work(ready.config, 5)
    assert not has_work(ready.config, 6)


def test_an_unfinished_round_is_work_however_little_is_new(ready: Workload) -> None:
    ready.open()
    assert has_work(ready.config, 1000)


def test_judged_corrections_are_not_new_and_later_ones_are(ready: Workload) -> None:
    ready.close(ready.open(), "reject")
    assert not has_work(ready.config, 1)
    ready.collect("b", traffic(2, prefix="b"))
    assert has_work(ready.config, 2)
    assert not has_work(ready.config, 3)


def test_corrections_whose_inferences_came_later_are_new(workload: Workload) -> None:
    """Corrections can arrive first; they must not be taken for judged by a round that could not use them."""
    workload.collect("a", [*traffic(1), *(correction(f"late{n}") for n in range(30))])
    workload.close(workload.open())
    workload.collect("b", [inference(f"late{n}") for n in range(30)])
    assert has_work(workload.config, 20)


def move_alias(workload: Workload, version: str | None, place: int) -> None:
    with State(workload.config.database).transaction() as tx:
        tx.run(
            "insert_promotion", event="moved", move_id=f"m{place}", from_version=None, to_version=version,
            moved_by="gate", reason="r", round_id=1, created_at=now(), evidence_sha256=None,
        )  # fmt: skip


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    workload = make_workload(tmp_path_factory.mktemp("promoted") / "workload", split={"unseen": 0.3})
    workload.collect("a", traffic(failures=10, successes=20, given=4))
    round_ = workload.to_gate(lambda role, case: True)
    with writing(workload.config, round_, "gate") as tx:
        tx.run("set_verdict", round_id=round_.round_id, verdict="promote")
    workload.register(round_)
    workload.close(round_, "promote", "1")
    move_alias(workload, "1", 1)
    return Saved(workload)


@pytest.fixture
def serving(promoted: Saved) -> Workload:
    """A workload whose champion was trained on some of its ten corrections and twenty confirmed calls."""
    return promoted.restored()


def calls(workload: Workload, signal: str, trained: bool = True) -> list[str]:
    """Calls of which a correction, or a confirmation, is in the champion's snapshot, or is not."""
    query = "select inference_id from snapshot_rows where signal = ? and inference_id is not null"
    known = {"correction": "f", "demonstration": "s"}[signal]
    ids = [row["inference_id"] for row in workload.rows(query, signal)]
    every = workload.rows("select inference_id from inferences where starts_with(inference_id, ?) order by 1", known)
    return [row["inference_id"] for row in every if (row["inference_id"] in ids) is trained]


def test_what_the_champion_learned_and_was_taken_back_counts_towards_a_round(serving: Workload) -> None:
    """One each: a few retractions of many are no reason to train."""
    trained = calls(serving, "correction")
    assert len(trained) > 2
    serving.collect("b", [retraction(id_) for id_ in trained[:2]])
    assert status(serving.config)["retracted_in_champion"] == 2
    assert has_work(serving.config, 2)
    assert not has_work(serving.config, 3)
    id_ = serving.value("select correction_id from corrections where inference_id = ?", trained[2])
    retract(serving.config, id_, "person:lead", "wrong price list")
    assert has_work(serving.config, 3)
    serving.collect("c", traffic(4, prefix="c"))
    assert has_work(serving.config, 7)
    assert not has_work(serving.config, 8)


def test_what_was_never_trained_on_is_no_reason_to_train_when_it_is_taken_back(serving: Workload) -> None:
    held_out = calls(serving, "correction", trained=False)
    assert held_out
    serving.collect("b", [retraction(id_) for id_ in held_out])
    assert not has_work(serving.config, 1)


def test_a_call_that_somebody_else_confirms_too_needs_no_unlearning(serving: Workload) -> None:
    one, both, *_ = calls(serving, "demonstration")
    serving.collect("b", [thumb(both, by="person:jo", minutes=3), retraction(both)])
    assert not has_work(serving.config, 1)
    serving.collect("c", [retraction(one)])
    assert has_work(serving.config, 1)
    assert not has_work(serving.config, 2)


def test_a_retraction_that_a_round_has_judged_is_no_news_again(serving: Workload) -> None:
    """Held, the champion stays as it was trained: to train for it once more would say the same."""
    serving.collect("b", [retraction(calls(serving, "correction")[0])])
    given_up = serving.open()
    assert abandon(serving.config, print) == given_up.round_id
    assert has_work(serving.config, 1)
    serving.close(serving.open(), "hold")
    assert not has_work(serving.config, 1)
    assert status(serving.config)["retracted_in_champion"] == 1


def test_where_the_base_serves_again_nothing_is_to_be_unlearned(serving: Workload) -> None:
    serving.collect("b", [retraction(calls(serving, "correction")[0])])
    move_alias(serving, None, 2)
    assert not has_work(serving.config, 1)


@pytest.mark.parametrize("taken_back", ["better", "worse"])
def test_a_rating_that_a_pair_was_made_of_counts_when_it_is_taken_back(tmp_path: Path, taken_back: str) -> None:
    workload = make_workload(tmp_path, task="better_answer", scorer={"type": "none"}, split={"unseen": 0.0})
    said = [inference(id_, "Which one of these is it?", output=id_) for id_ in ("better", "worse")]
    by = "person:jo"
    workload.collect("a", [*said, rating("better", 5, by), rating("worse", 3, by), preference("p1"), preference("p2")])
    round_ = workload.to_split()
    blend(workload.config, round_)
    for stage in ("train", "regress", "gate"):
        workload.skip(round_, stage)
    workload.register(round_)
    workload.close(round_, "hold", "1")
    move_alias(workload, "1", 1)
    workload.collect("b", [retraction(taken_back, by)])
    assert has_work(workload.config, 1)
    assert not has_work(workload.config, 2)


def test_without_replay_retractions_alone_give_a_round_nothing_to_train_on(serving: Workload) -> None:
    serving.collect("b", [retraction(id_) for id_ in calls(serving, "correction")[:2]])
    config = serving.config.model_copy(update={"blend": serving.config.blend.model_copy(update={"replay": 0.0})})
    assert not has_work(config, 1)
    serving.collect("c", traffic(1, prefix="c"))
    assert has_work(config, 3)


def test_an_unfinished_round_is_resumed_at_its_stage(ready: Workload) -> None:
    first = ready.open()
    screen(ready.config, first)
    again = ready.open()
    assert (again.round_id, again.round_key) == (first.round_id, first.round_key)
    assert again.lease_token > first.lease_token
    assert stage_of(ready.config, again) == "cluster"


def test_rounds_are_numbered_and_one_is_open_at_a_time(ready: Workload) -> None:
    ready.close(ready.open())
    assert ready.open().round_id == 2
    assert ready.value("select count(*) from rounds where stage <> 'closed'") == 1
    assert ready.value("select count(distinct round_key) from rounds") == 2


def test_a_dead_runners_round_is_taken_over_at_once(ready: Workload) -> None:
    other = python(RUNNER, config_file(ready))
    assert other.communicate()[0] == "1\n"
    assert other.returncode == 0
    assert ready.open().lease_token == 2


def test_a_live_runners_round_is_left_to_it(ready: Workload) -> None:
    other = python(RUNNER, config_file(ready), "stay", stdin=-1)
    assert other.stdout is not None
    assert other.stdout.readline() == "1\n"
    before = ready.content()
    with pytest.raises(StateError, match=rf"round 1 is being run by .*:{other.pid}; wait for it to finish"):
        ready.open()
    with pytest.raises(StateError, match="is being run by"):
        abandon(ready.config, print)
    assert ready.content() == before
    other.communicate("")
    assert ready.open().lease_token == 2


def test_a_runner_elsewhere_is_taken_over_when_its_lease_has_run_out(ready: Workload) -> None:
    round_ = ready.open()
    lease = {"round_id": 1, "owner": "elsewhere:1", "token": round_.lease_token, "started_at": now()} | UNKNOWN
    with State(ready.config.database).transaction() as tx:
        tx.run("take_lease", until=now() + timedelta(seconds=30), **lease)
    with pytest.raises(StateError, match="elsewhere:1"):
        ready.open()
    with State(ready.config.database).transaction() as tx:
        tx.run("take_lease", until=now() - timedelta(seconds=1), **lease)
    assert ready.open().lease_token == round_.lease_token + 1


def test_a_runner_that_was_taken_over_can_write_nothing(ready: Workload) -> None:
    old = ready.open()
    new = ready.open()
    before = ready.content()
    with pytest.raises(LeaseLostError, match="taken over"):
        screen(ready.config, old)
    with pytest.raises(LeaseLostError):
        stage_of(ready.config, old)
    with pytest.raises(LeaseLostError), State(ready.config.database).transaction() as tx:
        record_evidence(tx, old, counts={})
    assert ready.content() == before
    screen(ready.config, new)


def test_a_stage_whose_runner_was_overtaken_meanwhile_is_taken_back(ready: Workload) -> None:
    round_ = ready.open()
    with pytest.raises(LeaseLostError), writing(ready.config, round_, "screen") as tx:
        tx.run("set_verdict", round_id=1, verdict="promote")
        tx.run("take_lease", round_id=1, owner="x:1", token=9, until=now(), started_at=now(), **UNKNOWN)
    assert ready.value("select verdict from rounds") is None


def test_a_stage_that_fails_leaves_the_round_where_it_was(ready: Workload) -> None:
    round_ = ready.open()
    with pytest.raises(ZeroDivisionError), writing(ready.config, round_, "screen") as tx:
        record_evidence(tx, round_, half="written")
        raise ZeroDivisionError
    assert stage_of(ready.config, round_) == "screen"
    assert "half" not in read_evidence(ready.config)[0]


def test_stages_are_run_in_order_and_once(ready: Workload) -> None:
    round_ = ready.open()
    with pytest.raises(LeaseLostError, match="is at screen, not at split"), writing(ready.config, round_, "split"):
        pass
    for stage, following in pairwise(STAGES):
        with writing(ready.config, round_, stage):
            pass
        assert stage_of(ready.config, round_) == following


def test_another_config_is_refused_while_a_round_is_unfinished(ready: Workload) -> None:
    ready.open()
    changed = make_workload(ready.folder, split={"unseen": 0.1})
    before = ready.content()
    with pytest.raises(StateError, match="opened with another config; restore that config, or give it up"):
        changed.open()
    assert ready.content() == before
    assert abandon(changed.config, print) == 1
    assert changed.open().round_id == 2


def test_after_a_round_is_given_up_its_corrections_are_new_again(ready: Workload) -> None:
    ready.open()
    assert abandon(ready.config, print) == 1
    assert abandon(ready.config, print) is None
    assert has_work(ready.config, 5)
    assert read_evidence(ready.config)[0]["verdict"] is None


def given_up_after_gate(ready: Workload) -> None:
    round_ = ready.to_gate(lambda role, case: True)
    with writing(ready.config, round_, "gate") as tx:
        tx.run("set_verdict", round_id=1, verdict="promote")
    ready.register(round_)
    abandon(ready.config, print)


def test_a_round_that_is_given_up_before_its_promotion_promotes_nothing(ready: Workload) -> None:
    """The gate had said promote and the alias was never moved: nobody may read that the challenger serves."""
    given_up_after_gate(ready)
    evidence = read_evidence(ready.config)[0]
    assert evidence["champion_after"] == {"label": "base", "version": None}


def test_after_a_round_is_given_up_behind_its_gate_its_corrections_are_new_again(ready: Workload) -> None:
    given_up_after_gate(ready)
    assert has_work(ready.config, 5)


def test_giving_up_where_nothing_was_collected_creates_no_state(fresh_config: Config) -> None:
    with contextlib.suppress(StateError):
        abandon(fresh_config, print)
    assert not fresh_config.database.exists()


def test_opening_a_round_where_nothing_was_collected_is_one_clear_line(fresh_config: Config) -> None:
    with pytest.raises(StateError):
        open_or_resume(fresh_config, "person:test")


def test_timings_and_evidence_add_up_over_stages(ready: Workload) -> None:
    round_ = ready.open()
    with writing(ready.config, round_, "screen") as tx:
        time.sleep(0.05)
        record_evidence(tx, round_, one=1)
    with writing(ready.config, round_, "cluster") as tx:
        record_evidence(tx, round_, two=2)
    evidence = read_evidence(ready.config)[0]
    assert (evidence["one"], evidence["two"]) == (1, 2)
    assert evidence["timings"].keys() == {"screen", "cluster"}
    assert 0.05 <= evidence["timings"]["screen"] < 30


def test_evidence_says_who_served_before_and_after(ready: Workload) -> None:
    ready.close(ready.open(), "promote", version="1")
    evidence = read_evidence(ready.config, 1)[0]
    assert evidence["champion"] == {"label": "base", "version": None}
    assert evidence["challenger"] == evidence["champion_after"] == {"label": "v1", "version": "1"}
    json.dumps(evidence)


def test_a_challenger_that_was_held_does_not_serve(ready: Workload) -> None:
    ready.close(ready.open(), "hold", version="1")
    assert read_evidence(ready.config)[0]["champion_after"]["label"] == "base"


def test_versions_are_named_to_people() -> None:
    assert label(None) == {"label": "base", "version": None}
    assert label("3") == {"label": "v3", "version": "3"}


def test_a_lease_is_kept_while_a_long_stage_works(ready: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "RENEW_SECONDS", 0.05)
    round_ = ready.open()
    query = "select lease_until from rounds"
    first = ready.value(query)
    with keep_lease(ready.config, round_):
        time.sleep(0.6)
    assert ready.value(query) > first


def test_a_lease_that_was_lost_is_not_renewed(ready: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "RENEW_SECONDS", 0.05)
    old = ready.open()
    ready.open()
    query = "select lease_until from rounds"
    first = ready.value(query)
    with keep_lease(ready.config, old):
        time.sleep(0.4)
    assert ready.value(query) == first


def test_a_runner_killed_inside_a_stage_is_picked_up_there(ready: Workload, tmp_path: Path) -> None:
    """Killed with its transaction open, a stage leaves nothing behind; run again, it ends as an undisturbed one."""
    code = """
    import os, signal, sys
    from tasks.config import load_config
    from tasks.rounds import open_or_resume, record_evidence, writing
    config = load_config(sys.argv[1])
    round_ = open_or_resume(config, "person:other")
    with writing(config, round_, "screen") as tx:
        tx.run("set_correction_uses", verified_by=["person:*"])
        record_evidence(tx, round_, half="written")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    other = python(code, config_file(ready))
    other.communicate()
    assert other.returncode == -9
    round_ = ready.open()
    assert stage_of(ready.config, round_) == "screen"
    screen(ready.config, round_)
    evidence = read_evidence(ready.config)[0]
    assert "half" not in evidence
    assert evidence["counts"]["failures"] == 5


def test_the_owner_of_a_lease_is_a_process_of_a_machine(ready: Workload) -> None:
    ready.open()
    host, _, pid = ready.value("select lease_owner from rounds").rpartition(":")
    assert host
    assert int(pid) == os.getpid()
