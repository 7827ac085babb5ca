"""Corrections within a bound among demonstrations as production is, whatever the config asks for and rows come in."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data_options import BlendConfig, BlendSource
from tasks.mix import apportion, cell_weights, choose, distances, newest, sizes, total_variation, with_cells

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


START = datetime(2026, 3, 1)


def row(id_: str, slices: str = "de", stratum: str | None = "success", **changes: Any) -> dict[str, Any]:
    return {
        "signal": "demonstration", "signal_id": id_, "source": "production", "answer": "a", "slices": slices,
        "stratum": stratum, "cluster_id": None, "created_at": START, "is_replayed": False,
    } | changes  # fmt: skip


def pool(count: int, slices: str = "de", stratum: str | None = "success", **changes: Any) -> list[dict[str, Any]]:
    key = f"{slices}{stratum}{changes.get('source', '')}{changes.get('answer', '')}"
    return [row(f"{key}{n:03}", slices, stratum, **changes) for n in range(count)]


def failures(count: int, cluster: str = "c1", **changes: Any) -> list[dict[str, Any]]:
    return [
        row(f"{cluster}{n:03}", "de", "failure", signal="correction", cluster_id=cluster,
            created_at=START + timedelta(minutes=n), **changes)
        for n in range(count)
    ]  # fmt: skip


PRODUCTION = [("de", "a", None, 25), ("en", "a", None, 75)]


def blended(
    rows: list[dict[str, Any]], production: list[tuple[str, str, str | None, int]] = PRODUCTION, **options: Any
) -> list[dict[str, Any]]:
    """The blend of the rows; production is given as (slices, answer, cluster, calls)."""
    config = options.pop("config", None) or BlendConfig(**{"min_corrections": 1} | options)
    schema = {"slices": pl.String, "answer": pl.String, "cluster_id": pl.String, "calls": pl.Int64}
    frame = pl.DataFrame(
        rows, infer_schema_length=None, schema_overrides={"stratum": pl.String, "cluster_id": pl.String}
    )
    celled = with_cells(frame, pl.DataFrame(production, schema=schema, orient="row"), str.strip)
    return choose(*celled, config).to_dicts()


def count(rows: list[dict[str, Any]], *keys: str) -> Counter[Any]:
    return Counter(tuple(each[key] for key in keys) if len(keys) > 1 else each[keys[0]] for each in rows)


def test_all_corrections_and_twice_as_many_demonstrations() -> None:
    chosen = blended(failures(20) + pool(100, "de") + pool(100, "en"))
    assert count(chosen, "signal", "slices") == {
        ("correction", "de"): 20, ("demonstration", "de"): 4, ("demonstration", "en"): 36,
    }  # fmt: skip


CELLS = st.dictionaries(KEYS, st.integers(1, 40), min_size=1)


@given(CELLS, st.dictionaries(KEYS, st.integers(0, 60)), st.integers(1, 200))
def test_with_the_corrections_all_is_nearer_to_production_than_demonstrations_alone_can_be(
    calls: dict[str, int], corrections: dict[str, int], demonstrations: int
) -> None:
    weights = cell_weights(calls, corrections, demonstrations)
    assert math.isclose(sum(weights.values()), demonstrations)
    assert all(weight > 0 for weight in weights.values())
    total, rows = sum(calls.values()), demonstrations + sum(corrections.values())
    shares = {cell: number / total for cell, number in calls.items()}

    def distance(given_: dict[str, float]) -> float:
        whole = {cell: (given_.get(cell, 0) + corrections.get(cell, 0)) / rows for cell in calls | corrections}
        return total_variation(whole, shares)

    assert distance(weights) <= distance({cell: share * demonstrations for cell, share in shares.items()}) + 1e-4


def test_labels_keep_the_share_that_they_have_in_production() -> None:
    """Confirmed calls are what the champion gets right: labels that it misses are too rare among them."""
    production = [("de", "common", None, 50), ("de", "missed", None, 50)]
    chosen = blended(failures(20) + pool(300, answer="common") + pool(30, answer="missed"), production)
    assert count(chosen, "signal", "answer")["demonstration", "missed"] == 20


def test_answers_that_hardly_ever_come_again_are_no_labels() -> None:
    production = [("de", f"sentence {n}", None, 1) for n in range(40)] + [("en", "other", None, 4)]
    rows = [row(f"s{n:03}", answer=f"sentence {n}") for n in range(40)] + [row(f"t{n:03}", "en") for n in range(40)]
    chosen = blended(failures(10) + rows, production)
    assert count(chosen, "signal", "slices")["demonstration", "en"] == round(30 * 4 / 44)


def test_given_demonstrations_keep_their_share_of_all() -> None:
    chosen = blended(failures(20) + pool(75) + pool(25, "x", None), [("de", "a", None, 9)])
    assert count(chosen, "stratum") == {"failure": 20, "success": 30, None: 10}


def test_corrections_never_are_more_than_their_share() -> None:
    """With five demonstrations there are five corrections: more of them alone break a model."""
    assert count(blended(failures(20) + pool(5)), "signal") == {"correction": 5, "demonstration": 5}
    chosen = blended(failures(20) + pool(5), corrections_share=0.8)
    assert count(chosen, "signal") == {"correction": 20, "demonstration": 5}


def test_no_demonstrations_where_none_are_asked_for() -> None:
    assert len(blended(failures(7) + pool(5), demonstrations_per_correction=0, corrections_share=1.0)) == 7


def test_all_demonstrations_there_are() -> None:
    assert len(blended(failures(7) + pool(90, "en"), demonstrations_per_correction="all")) == 97


def test_earlier_corrections_are_replayed_as_far_as_asked_for_each_cluster_alike_newest_first() -> None:
    old = failures(10, "c1", is_replayed=True) + failures(20, "c2", is_replayed=True)
    chosen = blended(old + failures(6, "c3") + pool(100), replay=0.3)
    kept = {each["signal_id"] for each in chosen if each["signal"] == "correction"}
    assert kept == {*(f"c1{n:03}" for n in range(7, 10)), *(f"c2{n:03}" for n in range(14, 20)),
                    *(f"c3{n:03}" for n in range(6))}  # fmt: skip
    assert len(blended(old + failures(6, "c3") + pool(100))) == 108


def test_what_is_new_comes_before_what_is_replayed() -> None:
    rows = pl.DataFrame(failures(9, "c1", is_replayed=True) + failures(3, "c1", source="x")).with_columns(
        order=pl.lit("")
    )
    assert newest(rows, 4)["is_replayed"].to_list() == [False] * 3 + [True]


def test_sources_have_the_shares_they_were_given() -> None:
    rows = failures(20) + pool(100) + pool(100, "x", None, source="tickets")
    shared = BlendSource(name="tickets", share=0.25)
    assert count(blended(rows, sources=(shared,)), "signal", "source")["demonstration", "tickets"] == 10
    weighed = BlendSource(name="tickets", weight=3.0)
    assert count(blended(rows, sources=(weighed,)), "signal", "source")["demonstration", "tickets"] == 30
    for nothing in (BlendSource(name="tickets", weight=0.0), BlendSource(name="tickets", share=0.0)):
        assert "tickets" not in count(blended(rows, sources=(nothing,)), "source")


def test_another_seed_chooses_other_demonstrations() -> None:
    first, other = (blended(failures(20) + pool(200), seed=seed) for seed in (0, 1))
    assert {r["signal_id"] for r in first} != {r["signal_id"] for r in other}


SOURCES = ("production", "tickets", "letters")
SIGNALS = st.lists(
    st.builds(
        lambda source, cell, kind, answer, minute: (source, cell, kind, answer, minute),
        st.sampled_from(SOURCES), st.sampled_from(["de", "en"]), st.sampled_from(["new", "old", "confirmed", "given"]),
        st.sampled_from("ab"), st.integers(0, 9),
    ),
    min_size=1, max_size=60,
)  # fmt: skip
ENTRIES = st.fixed_dictionaries(
    {},
    optional={"cap": st.integers(0, 20)} | {"weight": st.floats(0, 4)},
)
OPTIONS = st.fixed_dictionaries(
    {
        "demonstrations_per_correction": st.sampled_from([1.0, 1.5, 2.0, 7.0, "all"]),
        "corrections_share": st.sampled_from([0.5, 0.6, 1.0]),
        "replay": st.sampled_from([0.0, 0.4, 1.0]),
        "max_rows": st.none() | st.integers(8, 40),
        "seed": st.integers(0, 3),
        "sources": st.dictionaries(st.sampled_from(SOURCES), ENTRIES).map(
            lambda entries: tuple(BlendSource(name=name, **entry) for name, entry in sorted(entries.items()))
        ),
    }
)


def signals(found: list[tuple[str, str, str, str, int]]) -> list[dict[str, Any]]:
    rows = []
    for n, (source, cell, kind, answer, minute) in enumerate(found):
        changes: dict[str, Any] = {"source": source, "answer": answer}
        if kind in ("new", "old"):
            moment = START + timedelta(minutes=minute)
            changes |= {"signal": "correction", "cluster_id": f"c{minute % 3}", "created_at": moment}
            changes["is_replayed"] = kind == "old"
        stratum = {"confirmed": "success", "given": None}.get(kind, "failure")
        rows.append(row(f"s{n:03}", cell, stratum, **changes))
    return rows


@settings(max_examples=150, deadline=None)
@given(SIGNALS, OPTIONS)
def test_whatever_is_asked_for_bounds_hold_and_nothing_is_in_it_twice(
    found: list[tuple[str, str, str, str, int]], options: dict[str, Any]
) -> None:
    rows, config = signals(found), BlendConfig(**{"min_corrections": 1} | options)
    chosen = blended(rows, config=config)
    ids = [each["signal_id"] for each in chosen]
    assert len(set(ids)) == len(ids) and set(ids) <= {each["signal_id"] for each in rows}
    corrections = [each for each in chosen if each["signal"] == "correction"]
    assert len(corrections) <= config.corrections_share * len(chosen) + 1e-6
    assert config.max_rows is None or len(chosen) <= config.max_rows
    replayed = sum(each["is_replayed"] for each in corrections)
    assert replayed <= round(config.replay * sum(each["is_replayed"] for each in rows))
    for source in config.sources:
        own = [each for each in chosen if each["source"] == source.name]
        assert source.cap is None or len(own) <= source.cap
        assert source.weight != 0 or all(each["signal"] == "correction" for each in own)
    ratio = config.demonstrations_per_correction
    if ratio != "all" and len(corrections) == sum(each["signal"] == "correction" for each in rows):
        assert len(chosen) - len(corrections) <= math.ceil(ratio * len(corrections))


@settings(max_examples=80, deadline=None)
@given(SIGNALS, OPTIONS, st.randoms())
def test_the_choice_does_not_see_the_order_of_rows(
    found: list[tuple[str, str, str, str, int]], options: dict[str, Any], rng: random.Random
) -> None:
    rows, config = signals(found), BlendConfig(**{"min_corrections": 1} | options)
    first = blended(rows, config=config)
    assert blended(rng.sample(rows, len(rows)), rng.sample(PRODUCTION, 2), config=config) == first


@given(st.integers(0, 400), st.integers(0, 400), OPTIONS)
def test_all_that_fits_is_taken(corrections: int, demonstrations: int, options: dict[str, Any]) -> None:
    config = BlendConfig(**{"min_corrections": 1} | options | {"max_rows": None})
    kept, wanted = sizes(corrections, demonstrations, config)
    ratio = config.demonstrations_per_correction
    if ratio == "all":
        assert wanted == demonstrations
    elif demonstrations >= ratio * corrections + 1:
        assert (kept, wanted) == (corrections, math.ceil(ratio * corrections))
    if config.corrections_share == 1.0:
        assert kept == corrections


def test_the_distance_from_production_is_that_of_slices_labels_and_clusters() -> None:
    production = [("de", "a", None, 60), ("de", "b", "c1", 20), ("en", "a", "c2", 20)]
    schema = {"slices": pl.String, "answer": pl.String, "cluster_id": pl.String, "calls": pl.Int64}
    rows = pl.DataFrame(
        failures(5, "c1", answer="b") + pool(5) + pool(50, "en", None),
        infer_schema_length=None,
    )
    celled = with_cells(rows, pl.DataFrame(production, schema=schema, orient="row"), str.strip)
    assert distances(*celled) == {"slices": 0.2, "labels": 0.3, "clusters": 0.3}


@given(st.dictionaries(KEYS, st.integers(1, 9), min_size=1), st.dictionaries(KEYS, st.integers(1, 9), min_size=1))
def test_total_variation_is_a_distance(one: dict[str, int], other: dict[str, int]) -> None:
    first, second = ({key: n / sum(counts.values()) for key, n in counts.items()} for counts in (one, other))
    assert total_variation(first, first) == 0
    assert total_variation(first, second) == total_variation(second, first) <= 1
    assert (total_variation(first, second) == 1) == (not first.keys() & second.keys())


@pytest.mark.parametrize("count_", [0, 1, 5, 9])
def test_so_many_are_kept_as_asked_for(count_: int) -> None:
    rows = pl.DataFrame(failures(5, "c1") + failures(4, "c2")).with_columns(order=pl.lit(""))
    assert newest(rows, count_).height == count_
