"""What a round costs: each stage's time once, that of killed attempts too, and nothing for waiting."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.cost_words import cost_sentence, cost_table, size
from tasks.costs import AMOUNTS, add_cost, bytes_of, round_cost, total_cost
from tasks.db import State
from tasks.leases import LEASE, lost_seconds, uptime
from tasks.records import now
from tasks.rounds import note_gpus, open_or_resume, read_evidence, writing
from tests.conftest import Workload, traffic


def age(workload: Workload, seconds: float) -> None:
    """Let the round's stage have begun, and its lease have been renewed last, as if time had gone by meanwhile."""
    import duckdb

    with duckdb.connect(str(workload.config.database)) as connection:
        connection.execute(
            "update rounds set stage_started_at = ?, stage_uptime = ?",
            [now() - timedelta(seconds=seconds), uptime() - seconds],
        )


def stage_costs(workload: Workload) -> dict[str, dict[str, float]]:
    return {row.pop("stage"): row for row in workload.rows("select * from costs")}


@pytest.fixture
def opened(workload: Workload) -> Workload:
    workload.collect("a", traffic(4))
    workload.open()
    return workload


def test_a_stages_seconds_are_written_when_the_round_moves_on(opened: Workload) -> None:
    round_ = open_or_resume(opened.config, "person:test")
    age(opened, 40)
    opened.skip(round_, "screen")
    assert stage_costs(opened)["screen"]["seconds"] == pytest.approx(40, abs=5)
    evidence = read_evidence(opened.config)[0]
    assert evidence["cost"]["stages"]["screen"]["seconds"] == evidence["cost"]["total"]["seconds"]


def test_what_a_killed_attempt_had_taken_counts_and_what_came_after_it_does_not(opened: Workload) -> None:
    """It ran 100 s, as far as its lease tells; then nobody did for an hour; the second attempt takes no time."""
    moment = now()
    with State(opened.config.database).transaction() as tx:
        tx.run(
            "take_lease", round_id=1, owner="gone:1", token=7, started_at=moment - timedelta(seconds=3700),
            until=moment - timedelta(seconds=3600) + LEASE, uptime=None, uptime_until=None,
        )  # fmt: skip
    round_ = open_or_resume(opened.config, "person:test")
    assert stage_costs(opened)["screen"]["seconds"] == pytest.approx(100)
    opened.skip(round_, "screen")
    assert stage_costs(opened)["screen"]["seconds"] == pytest.approx(100, abs=5)


def test_a_round_that_nobody_has_run_has_lost_nothing(opened: Workload) -> None:
    row = opened.rows("select * from rounds")[0]
    assert lost_seconds(row | {"lease_until": None}) == 0
    assert lost_seconds(row | {"lease_until": row["stage_started_at"]}) == 0, "a clock that was set back"


def test_gpu_seconds_are_those_of_all_devices_that_the_child_has(opened: Workload) -> None:
    round_ = open_or_resume(opened.config, "person:test")
    note_gpus(opened.config, round_, "screen", 4)
    age(opened, 30)
    opened.skip(round_, "screen")
    spent = stage_costs(opened)["screen"]
    assert spent["gpu_seconds"] == pytest.approx(4 * spent["seconds"])
    assert spent["gpu_seconds"] == pytest.approx(120, abs=20)


def test_what_a_stage_knows_is_added_to_what_it_took(opened: Workload) -> None:
    round_ = open_or_resume(opened.config, "person:test")
    with writing(opened.config, round_, "screen") as tx:
        add_cost(tx, 1, "screen", tokens_generated=7, bytes_kept=5)
        add_cost(tx, 1, "screen", tokens_trained=3, tokens_generated=1)
    with State(opened.config.database).transaction() as tx:
        total = round_cost(tx, 1)["total"]
    assert [total[key] for key in AMOUNTS[2:]] == [3, 8, 5]


def test_a_persons_time_costs_nothing(opened: Workload) -> None:
    round_ = open_or_resume(opened.config, "person:test")
    with State(opened.config.database).transaction() as tx:
        tx.run(
            "advance_round",
            round_id=1,
            stage="approve",
            started_at=now() - timedelta(days=3),
            uptime=uptime() - 259_200,
        )
    opened.skip(round_, "approve")
    assert stage_costs(opened)["approve"]["seconds"] == 0


def test_a_stage_that_fails_costs_what_it_took_once_it_is_taken_up_again(opened: Workload) -> None:
    """Nothing of the transaction that it failed in is kept, its time neither."""
    round_ = open_or_resume(opened.config, "person:test")
    with pytest.raises(RuntimeError), writing(opened.config, round_, "screen") as tx:
        add_cost(tx, 1, "screen", tokens_generated=7)
        raise RuntimeError
    assert stage_costs(opened)["screen"]["tokens_generated"] == 0


@settings(deadline=None, max_examples=30)
@given(amounts=st.lists(st.tuples(st.sampled_from(["blend", "train"]), st.integers(0, 10**9)), max_size=6))
def test_the_total_is_the_sum_of_what_was_added(amounts: list[tuple[str, int]], costs_state: State) -> None:
    with costs_state.transaction() as tx:
        before = total_cost(tx)["tokens_trained"]
        for stage, tokens in amounts:
            add_cost(tx, 1, stage, tokens_trained=tokens)
        assert total_cost(tx)["tokens_trained"] - before == sum(tokens for _, tokens in amounts)
        assert total_cost(tx, since=now() + timedelta(days=1))["tokens_trained"] == 0
        assert total_cost(tx, round_id=2)["tokens_trained"] == 0


@pytest.fixture(scope="module")
def costs_state(tmp_path_factory: pytest.TempPathFactory) -> State:
    return State(tmp_path_factory.mktemp("costs") / "state.duckdb")


def test_links_and_what_is_not_there_have_no_size(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_bytes(b"12345")
    (folder / "link").symlink_to(folder / "deep" / "file")
    assert bytes_of(folder, folder / "nothing") == 5
    assert bytes_of(folder / "deep" / "file") == 5


def test_costs_in_words() -> None:
    spent = {"seconds": 724.0, "gpu_seconds": 300.0, "tokens_trained": 1_200_000, "tokens_generated": 0}
    said = cost_sentence(spent | {"bytes_kept": 14_200_000})
    assert said == "12 min 4 s, 5 min 0 s of GPUs, 1,200,000 tokens trained on, 14.2 MB kept"
    assert cost_sentence(dict.fromkeys(AMOUNTS, 0.0)) == "0.0 s, no GPU"
    assert cost_sentence(None) == ""
    assert [size(number) for number in (None, 12, 1_500, 2_000_000, 3.25e9)] == [
        "–",
        "12 B",
        "1.5 kB",
        "2.0 MB",
        "3.2 GB",
    ]


def test_a_round_of_an_earlier_version_has_no_table_of_costs() -> None:
    assert cost_table({}) == []
    assert cost_table({"cost": {"stages": {"train": {"seconds": 5.0}}, "total": {"seconds": 5.0}}}) == [
        ["train", "5.0 s", "–", "–", "–", "–"],
        ["in all", "5.0 s", "–", "–", "–", "–"],
    ]
