"""Two kills of many: what is killed goes on where it was, and ends as if nothing had been. A benchmark has more.

python -m benchmarks.kill_recovery
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._kill_world import World, build_world
from benchmarks._kills import Kill, Undisturbed, kill, restore, undisturbed_round

STAGES = ("collect", "screen", "cluster", "split", "blend")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Undisturbed]:
    """A round up to its snapshot, kept at each stage's entry."""
    world = build_world(tmp_path_factory.mktemp("kills"), steps=1, bulk=0)
    return world, undisturbed_round(world, STAGES)


@pytest.mark.parametrize("moment", [Kill("collect", 0.5), Kill("blend", 0.6, "write")], ids=str)
def test_a_killed_stage_is_taken_up_and_ends_as_an_undisturbed_one(
    undisturbed: tuple[World, Undisturbed], moment: Kill
) -> None:
    outcome = kill(*undisturbed, moment)
    assert outcome.was_killed
    assert outcome.recovered, outcome
    assert outcome.repeated_steps == 0


def test_the_comparison_sees_a_row_that_is_lost_and_a_file_that_is_left(
    undisturbed: tuple[World, Undisturbed], tmp_path: Path
) -> None:
    """A harness that found everything equal would prove nothing."""
    import duckdb

    from benchmarks._traces import leftovers, traces, unreadable

    world, round_ = undisturbed
    restore(world, "screen")
    with duckdb.connect(str(world.home / "tickets" / "state.duckdb")) as connection:
        connection.execute("delete from corrections where correction_id = (select max(correction_id) from corrections)")
    (world.home / ".tickets-staging-x").mkdir()
    (world.home / "cut.json").write_text("{")
    (lost,) = traces(world, world.config).differences(round_.after["collect"])
    assert lost.startswith("corrections: 1 of")
    assert lost.endswith("missing")
    assert leftovers(world) == ["unfinished .tickets-staging-x"]
    assert [line.partition(":")[0] for line in unreadable(world)] == ["cannot read cut.json"]
