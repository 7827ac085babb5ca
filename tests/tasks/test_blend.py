"""The training set: every usable correction, demonstrations as production is, and nothing that is held out."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.blend import apportion, blend, choose, composition
from tasks.errors import StateError
from tasks.rounds import read_evidence
from tasks.snapshots import read_snapshot
from tasks.split import COPIES
from tests.conftest import Workload, correction, distinct, inference, make_workload, thumb, traffic

KEYS = st.sampled_from("abcdef")
WEIGHTS = st.dictionaries(KEYS, st.floats(0, 1))
AVAILABLE = st.dictionaries(KEYS, st.integers(0, 40))


@given(st.integers(0, 120), WEIGHTS, AVAILABLE)
def test_everything_asked_for_is_given_and_never_more_than_there_is(
    total: int, weights: dict[str, float], available: dict[str, int]
) -> None:
    given_ = apportion(total, weights, available)
    assert given_.keys() == available.keys()
    assert all(0 <= count <= available[key] for key, count in given_.items())
    assert sum(given_.values()) == min(total, sum(available.values()))


@settings(max_examples=300)
@given(st.integers(0, 200), st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_where_nothing_is_scarce_each_share_is_its_quota(total: int, parts: list[int]) -> None:
    """The quota rule: a slice gets its exact share rounded down or up, so that rare slices are not starved."""
    weights = {f"{place:02}": part / sum(parts) for place, part in enumerate(parts)}
    given_ = apportion(total, weights, dict.fromkeys(weights, total))
    for key, weight in weights.items():
        assert math.floor(total * weight - 1e-6) <= given_[key] <= math.ceil(total * weight + 1e-6)


def test_many_rare_slices_keep_their_share_together() -> None:
    rare = {f"rare{n:03}": 0.001 for n in range(100)}
    given_ = apportion(100, {"common": 0.9} | rare, dict.fromkeys(["common", *rare], 1000))
    assert given_["common"] == 90


def test_what_a_slice_cannot_supply_goes_to_the_others() -> None:
    assert apportion(10, {"a": 0.9, "b": 0.1}, {"a": 2, "b": 50}) == {"a": 2, "b": 8}
    assert apportion(10, {}, {"a": 5, "b": 50}) == {"a": 5, "b": 5}
    assert apportion(5, {"a": 1.0}, {"a": 3, "b": 9}) == {"a": 3, "b": 2}


def row(id_: str, slices: str = "{}", stratum: str | None = "success", signal: str = "demonstration") -> dict[str, Any]:
    return {
        "signal": signal, "signal_id": id_, "inference_id": None, "input": '[{"role":"user","content":"u"}]',
        "input_hash": id_, "answer": "a", "slices": slices, "stratum": stratum, "producer": f"person:{id_[0]}",
        "source": "production", "content_hash": id_, "cluster_id": None,
    }  # fmt: skip


def pool(count: int, slices: str, stratum: str | None = "success") -> list[dict[str, Any]]:
    return [row(f"{slices}{stratum}{n:03}", slices, stratum) for n in range(count)]


CORRECTIONS = [row(f"c{n:03}", "de", "failure", "correction") for n in range(20)]


def test_all_corrections_and_twice_as_many_demonstrations() -> None:
    chosen = choose(CORRECTIONS, pool(100, "de") + pool(100, "en"), {"de": 0.25, "en": 0.75}, 2.0, 0)
    assert Counter((r["signal"], r["slices"]) for r in chosen) == {
        ("correction", "de"): 20, ("demonstration", "de"): 10, ("demonstration", "en"): 30,
    }  # fmt: skip


def test_given_demonstrations_keep_their_share_of_all() -> None:
    chosen = choose(CORRECTIONS, pool(75, "de") + pool(25, "x", None), {"de": 1.0}, 2.0, 0)
    assert Counter(r["stratum"] for r in chosen if r["signal"] == "demonstration") == {"success": 30, None: 10}


def test_too_few_demonstrations_are_all_taken() -> None:
    assert len(choose(CORRECTIONS, pool(5, "de"), {"de": 1.0}, 2.0, 0)) == 25
    assert choose(CORRECTIONS, [], {}, 2.0, 0)


@given(st.randoms())
def test_the_choice_does_not_see_the_order_of_rows(rng: random.Random) -> None:
    demonstrations = pool(40, "de") + pool(40, "en") + pool(9, "x", None)
    first = choose(CORRECTIONS, demonstrations, {"de": 0.3, "en": 0.7}, 1.5, 4)
    corrections, others = (rng.sample(rows, len(rows)) for rows in (CORRECTIONS, demonstrations))
    assert choose(corrections, others, {"en": 0.7, "de": 0.3}, 1.5, 4) == first


def test_another_seed_chooses_other_demonstrations() -> None:
    first, other = (choose(CORRECTIONS, pool(200, "de"), {"de": 1.0}, 1.0, seed) for seed in (0, 1))
    assert {r["signal_id"] for r in first} != {r["signal_id"] for r in other}


def test_the_composition_names_signals_sources_and_producers() -> None:
    rows = [row("ma", signal="correction"), row("mb", signal="correction"), row("j", signal="correction"), row("r")]
    assert composition(rows) == [
        {"signal": "correction", "source": "production", "rows": 3, "producers": {"person:m": 2, "person:j": 1}},
        {"signal": "demonstration", "source": "production", "rows": 1, "producers": {"person:r": 1}},
    ]


def blended(workload: Workload) -> dict[str, Any]:
    return blend(workload.config, workload.to_split())


def test_the_snapshot_holds_no_row_that_is_held_out(workload: Workload) -> None:
    workload.collect("a", traffic(failures=30, successes=60, given=30))
    made = blended(workload)
    sides = workload.rows("select distinct side from snapshot_rows join sides using (input_hash)")
    assert sides == [{"side": "train"}]
    path = Path(workload.value("select path from snapshots"))
    assert made["hash"] == workload.value("select snapshot_hash from rounds")
    lines = read_snapshot(path, made["hash"]).to_dicts()
    held_out = {r["input"] for r in workload.rows("select input from regression_cases where tier <> 'fixed'")}
    assert held_out and not held_out & {r["prompt"] for r in lines}
    answers = {r["signal_id"]: r["answer"] for r in workload.rows("select signal_id, answer from signals")}
    assert all(json.loads(r["chosen"]) == [{"role": "assistant", "content": answers[r["signal_id"]]}] for r in lines)
    rows = workload.rows("select signal_id, source, producer from snapshot_rows order by position")
    assert rows == [{key: r[key] for key in ("signal_id", "source", "producer")} for r in lines]
    assert made["corrections"] == sum(r["signal"] == "correction" for r in lines) == 20


def test_the_same_rows_give_the_same_snapshot(tmp_path: Path) -> None:
    records = traffic(failures=10, successes=20, given=5)
    hashes = set()
    for name, order in (("one", records), ("other", records[::-1])):
        workload = make_workload(tmp_path / name)
        workload.collect("a", order)
        hashes.add(blended(workload)["hash"])
    assert len(hashes) == 1


def test_signals_that_arrive_while_a_round_runs_do_not_change_its_snapshot(tmp_path: Path) -> None:
    """A round that is killed and resumed after another pass trains on what an undisturbed one trains on."""
    hashes = set()
    for name in ("undisturbed", "resumed"):
        workload = make_workload(tmp_path / name)
        workload.collect("a", traffic(failures=10, successes=20))
        round_ = workload.to_split()
        if name == "resumed":
            again = [thumb(f"s{n:03}", by="person:jonas", minutes=5) for n in range(10)]
            workload.collect("b", [*again, *(correction(f"s{n:03}", "better", minutes=6) for n in range(10, 20))])
            round_ = workload.open()
        hashes.add(blend(workload.config, round_)["hash"])
    assert len(hashes) == 1


def test_without_a_usable_correction_there_is_no_training(workload: Workload) -> None:
    workload.collect("a", [inference("i"), correction("i", "1"), correction("i", "2", "person:jonas"), *traffic(0, 5)])
    with pytest.raises(StateError, match="round 1 has no usable correction") as caught:
        blended(workload)
    assert "\n" not in str(caught.value)


def test_of_near_duplicates_one_row_is_trained_on(workload: Workload) -> None:
    records = [inference(f"i{n}", "the very same words of one ticket in a row") for n in range(5)]
    workload.collect("a", [*records, *(correction(f"i{n}", minutes=n) for n in range(5))])
    assert blended(workload)["rows"] == 1


def viral(count: int, answers: int, start: int = 0) -> list[dict[str, Any]]:
    """Corrections of one long text with another number in it each time."""
    text = distinct("viral", 40)
    records = []
    for n in range(start, start + count):
        records += [inference(f"v{n:04}", f"{text} {n}"), correction(f"v{n:04}", f"answer {n % answers}")]
    return records


def test_one_viral_failure_is_a_few_rows_and_a_few_cases(workload: Workload) -> None:
    """A thousand near-copies with different answers must neither fill the training set nor the suite."""
    workload.collect("a", [*viral(300, answers=100), *traffic(failures=20)])
    made = blended(workload)
    others = workload.value("select count(*) from sides where side = 'train' and reason = 'drawn'") - 300
    assert made["corrections"] == COPIES + others
    assert made["copies_left_out"] == {"correction": 300 - COPIES}
    assert read_evidence(workload.config)[0]["copies_left_out"] == {"correction": 300 - COPIES}
    cases = workload.rows("select distinct expected from regression_cases where expected like 'answer%'")
    assert len(cases) == COPIES


def test_of_copies_the_latest_answers_are_trained_on(workload: Workload) -> None:
    """Where the right answer to a viral question has changed, the old one must not keep the new one out."""
    workload.collect("a", viral(20, answers=20))
    workload.close(workload.to_split())
    workload.collect("b", viral(COPIES, answers=1_000, start=500))
    blended(workload)
    answers = workload.rows("select corrected_output from corrections join snapshot_rows on correction_id = signal_id")
    assert {row["corrected_output"] for row in answers} == {f"answer {500 + n}" for n in range(COPIES)}
    assert workload.value("select count(*) from regression_cases where retired_round is null") == COPIES
