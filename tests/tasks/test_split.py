"""Nothing trained on is evidence of generalising: each input gets one side, keeps it, and takes its copies along."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.blend import blend
from tasks.data_options import SplitConfig
from tasks.duplicates import jaccard, near_duplicates, shingles
from tasks.records import user_text
from tasks.screen import screen
from tasks.split import COPIES, TWO_SIDES, Drawn, Kind, Newcomer, Side, crossings, draw_sides, known_by_heart, split
from tasks.suite import TAUGHT_THE_BASE
from tests.conftest import Record, Workload, correction, demonstration, distinct, inference, make_config, thumb, traffic

CONFIG = SplitConfig()
HELD_OUT = ("unseen", "anchor")
KEYS = [f"k{n}" for n in range(10)]
KINDS: tuple[Kind, ...] = ("failure", "confirmed", "taught", "given")

newcomers = st.lists(
    st.builds(Newcomer, st.sampled_from(KEYS), st.sampled_from(KINDS), st.sampled_from(["", "c001"])),
    unique_by=lambda newcomer: newcomer.input_hash,
    max_size=8,
)
links = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)).filter(lambda p: p[0] < p[1]), max_size=12)
drawn_before = st.builds(Drawn, st.sampled_from(["train", "unseen", "anchor", "none"]), st.just("drawn"), st.just("g"))
old_sides = st.dictionaries(st.sampled_from(KEYS), drawn_before, max_size=6)


def only_new(found: Sequence[Newcomer], old: dict[str, Drawn]) -> list[Newcomer]:
    return [newcomer for newcomer in found if newcomer.input_hash not in old]


def side_pairs(pairs: Iterable[tuple[str, str]], sides: dict[str, Drawn]) -> list[set[str]]:
    return [{sides[key].side for key in pair} for pair in pairs if all(key in sides for key in pair)]


@settings(max_examples=120, deadline=None)
@given(newcomers, links, old_sides)
def test_no_newcomer_has_a_near_duplicate_on_another_side(
    found: list[Newcomer], pairs: list[tuple[str, str]], old: dict[str, Drawn]
) -> None:
    found = only_new(found, old)
    drawn = draw_sides(found, pairs, old, CONFIG)
    assert drawn.keys() == {newcomer.input_hash for newcomer in found}
    new_pairs = [pair for pair in pairs if any(key in drawn for key in pair)]
    for sides in side_pairs(new_pairs, old | drawn):
        assert len(sides - {"none"}) <= 1


@settings(max_examples=80, deadline=None)
@given(newcomers, links, old_sides)
def test_a_newcomer_inherits_or_is_left_out(
    found: list[Newcomer], pairs: list[tuple[str, str]], old: dict[str, Drawn]
) -> None:
    found = only_new(found, old)
    for key, value in draw_sides(found, pairs, old, CONFIG).items():
        beside = {old[a if b == key else b].side for a, b in pairs if key in (a, b) and (a in old or b in old)} - {
            "none"
        }
        if len(beside) > 1:
            assert (value.side, value.reason) == ("none", TWO_SIDES)
        if len(beside) == 1:
            assert value.side in beside | {"none"}


@settings(max_examples=80, deadline=None)
@given(newcomers, links, old_sides, st.randoms())
def test_the_order_of_rows_makes_no_difference(
    found: list[Newcomer], pairs: list[tuple[str, str]], old: dict[str, Drawn], rng: random.Random
) -> None:
    found = only_new(found, old)
    first = draw_sides(found, pairs, old, CONFIG)
    again = draw_sides(
        rng.sample(found, len(found)),
        [pair if rng.random() < 0.5 else (pair[1], pair[0]) for pair in rng.sample(pairs, len(pairs))],
        dict(rng.sample(list(old.items()), len(old))), CONFIG,
    )  # fmt: skip
    assert first == again


copied = st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 11), max_size=2)), min_size=1, max_size=9)


@settings(max_examples=150, deadline=None)
@given(st.lists(copied, min_size=1, max_size=3), st.sampled_from(KINDS), st.integers(0, 3))
def test_the_pairs_that_are_listed_are_enough_to_keep_the_sides_apart(
    rounds: list[list[tuple[int, list[int]]]], kind: Kind, seed: int
) -> None:
    """Rounds of near-copies, split by the few pairs that the join lists and checked on all there are."""
    texts: dict[str, str] = {}
    sides: dict[str, Drawn] = {}
    for number, copies in enumerate(rounds):
        fresh = []
        for n, (base, places) in enumerate(copies):
            words = [f"{base}w{place}" if place not in places else f"r{number}n{n}p{place}" for place in range(12)]
            texts[f"{number}{n}"] = " ".join(words)
            fresh.append(Newcomer(f"{number}{n}", kind, ""))
        pairs = near_duplicates(texts, 0.4, {key: drawn.side for key, drawn in sides.items() if drawn.side != "none"})
        config = SplitConfig(unseen=0.5, anchor=0.5, seed=seed)
        sides |= draw_sides(fresh, [(pair.left, pair.right) for pair in pairs], sides, config)
    sets = {key: shingles(text) for key, text in texts.items()}
    for left, right in combinations(texts, 2):
        if jaccard(sets[left], sets[right]) >= 0.4:
            assert len({sides[left].side, sides[right].side} - {"none"}) < 2


arrivals = st.dictionaries(
    st.sampled_from(KEYS), st.tuples(st.integers(0, 3), st.sampled_from(KINDS), st.sampled_from(["", "c001"]))
)


def by_round(
    arriving: dict[str, tuple[int, Kind, str]],
    pairs: Sequence[tuple[str, str]],
    config: SplitConfig,
    rng: random.Random,
) -> list[dict[str, Drawn]]:
    """The sides after each of four rounds, each of which sees the pairs among what has arrived, in any order."""
    sides: dict[str, Drawn] = {}
    after = []
    for number in range(4):
        found = [Newcomer(key, kind, stratum) for key, (when, kind, stratum) in arriving.items() if when == number]
        here = sides.keys() | {newcomer.input_hash for newcomer in found}
        known = [pair for pair in pairs if here.issuperset(pair)]
        drawn = draw_sides(rng.sample(found, len(found)), rng.sample(known, len(known)), sides, config)
        assert not drawn.keys() & sides.keys()
        assert drawn.keys() == {newcomer.input_hash for newcomer in found}
        sides = sides | drawn
        after.append(sides)
    return after


@settings(max_examples=150, deadline=None)
@given(arrivals, links, st.integers(0, 3), st.randoms())
def test_in_whatever_rounds_data_arrive_near_duplicates_never_are_on_two_sides(
    arriving: dict[str, tuple[int, Kind, str]], pairs: list[tuple[str, str]], seed: int, rng: random.Random
) -> None:
    """And a side, once drawn, stays; what has neighbours on two sides is on neither."""
    rounds = by_round(arriving, pairs, SplitConfig(unseen=0.5, anchor=0.5, seed=seed), rng)
    for earlier, later in pairwise(rounds):
        assert later.items() >= earlier.items()
    sides = rounds[-1]
    assert sides.keys() == arriving.keys()
    for found in side_pairs(pairs, sides):
        assert len(found - {"none"}) < 2
    assert crossings(pairs, sides) == []
    for number, before in enumerate([{}, *rounds[:-1]]):
        for key, (when, _, _) in arriving.items():
            if when == number:
                beside = {before[b if a == key else a].side for a, b in pairs if key in (a, b)
                          and (b if a == key else a) in before} - {"none"}  # fmt: skip
                assert sides[key].side == "none" or len(beside) < 2
                assert (sides[key].side == "none") <= (sides[key].reason == TWO_SIDES)


@settings(max_examples=60, deadline=None)
@given(arrivals, links, st.randoms(), st.randoms())
def test_the_order_within_rounds_makes_no_difference(
    arriving: dict[str, tuple[int, Kind, str]], pairs: list[tuple[str, str]], one: random.Random, other: random.Random
) -> None:
    assert by_round(arriving, pairs, CONFIG, one) == by_round(arriving, pairs, CONFIG, other)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(KINDS), st.sampled_from(["", "c001", "c002"])),
        st.lists(st.integers(0, 60), min_size=4, max_size=4), min_size=1,
    ),
    st.integers(0, 3),
    st.randoms(),
)  # fmt: skip
def test_in_each_stratum_the_share_that_is_held_out_is_the_configs_however_it_arrives(
    sizes: dict[tuple[Kind, str], list[int]], seed: int, rng: random.Random
) -> None:
    """Each round rounds once, so that after four of them a stratum is at most two rows off."""
    arriving = {
        f"{kind}/{stratum}/{number}/{n}": (number, kind, stratum)
        for (kind, stratum), counts in sizes.items()
        for number, count in enumerate(counts)
        for n in range(count)
    }
    config = SplitConfig(seed=seed)
    sides = by_round(arriving, [], config, rng)[-1]
    for (kind, stratum), counts in sizes.items():
        own = [drawn.side for key, drawn in sides.items() if arriving[key][1:] == (kind, stratum)]
        held_out, share = {"given": ("anchor", config.anchor), "taught": ("train", 1.0)}.get(
            kind, ("unseen", config.unseen)
        )
        assert set(own) <= {"train", held_out}
        assert abs(own.count(held_out) - share * sum(counts)) <= 0.5 * len(counts) + 1e-9


def test_newcomers_between_two_sides_are_trained_on_unless_they_are_beside_what_is_held_out() -> None:
    old = {"o1": Drawn("train", "drawn", "o1"), "o2": Drawn("unseen", "drawn", "o2")}
    pairs = [("n0000", "o1"), ("n0000", "n0001"), ("n0001", "n0002"), ("n0002", "o2")]
    drawn = draw_sides(many(3, "failure"), pairs, old, CONFIG)
    assert [drawn[f"n{n:04}"].side for n in range(3)] == ["train", "train", "none"]


def many(count: int, kind: Kind, stratum: str = "", prefix: str = "n") -> list[Newcomer]:
    return [Newcomer(f"{prefix}{n:04}", kind, stratum) for n in range(count)]


def shares(found: list[Newcomer], config: SplitConfig = CONFIG) -> dict[str, float]:
    sides = Counter(value.side for value in draw_sides(found, [], {}, config).values())
    return {side: sides[side] / len(found) for side in ("train", "unseen", "anchor")}


def test_shares_are_those_of_the_config() -> None:
    assert shares(many(1000, "failure")) == {"train": 0.65, "unseen": 0.35, "anchor": 0.0}
    assert shares(many(1000, "given")) == {"train": 0.8, "unseen": 0.0, "anchor": 0.2}
    assert shares(many(1000, "confirmed")) == {"train": 0.65, "unseen": 0.35, "anchor": 0.0}
    assert shares(many(1000, "taught")) == {"train": 1.0, "unseen": 0.0, "anchor": 0.0}


def test_shares_hold_within_each_cluster() -> None:
    found = many(100, "failure", "c001", "a") + many(40, "failure", "c002", "b")
    drawn = draw_sides(found, [], {}, CONFIG)
    for prefix, size in (("a", 100), ("b", 40)):
        unseen = sum(value.side == "unseen" for key, value in drawn.items() if key.startswith(prefix))
        assert unseen == round(0.35 * size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [CONFIG, SplitConfig(unseen=0.98, anchor=0.01), SplitConfig(unseen=0, anchor=0.99)])
def test_a_stratum_of_one_is_trained_on(kind: Kind, config: SplitConfig) -> None:
    assert draw_sides(many(1, kind), [], {}, config)["n0000"].side == "train"


def test_the_largest_groups_are_trained_on() -> None:
    """A ticket that came in twenty times must not fill the suite with copies of one question."""
    found = many(40, "failure")
    pairs = [("n0000", f"n{n:04}") for n in range(1, 10)]
    drawn = draw_sides(found, pairs, {}, CONFIG)
    assert {drawn[f"n{n:04}"].side for n in range(10)} == {"train"}
    assert {drawn[f"n{n:04}"].group_hash for n in range(10)} == {"n0000"}


def test_another_seed_draws_other_rows() -> None:
    found = many(100, "failure")
    first, other = (draw_sides(found, [], {}, SplitConfig(seed=seed)) for seed in (0, 1))
    assert first != other
    assert Counter(v.side for v in first.values()) == Counter(v.side for v in other.values())


def test_only_held_out_rows_beside_training_rows_cross() -> None:
    drawn: dict[str, Side] = {"a": "train", "b": "unseen", "c": "anchor", "d": "none"}
    sides = {key: Drawn(side, "drawn", key) for key, side in drawn.items()}
    assert crossings([("a", "b")], sides) == ["b"]
    assert crossings([("c", "a")], sides) == ["c"]
    assert crossings([("b", "c"), ("a", "d"), ("a", "zz"), ("a", "a")], sides) == []


@settings(max_examples=150, deadline=None)
@given(newcomers, links, old_sides, st.sets(st.sampled_from(KEYS)))
def test_no_anchor_that_counts_taught_the_base_or_is_near_what_did(
    found: list[Newcomer], pairs: list[tuple[str, str]], old: dict[str, Drawn], told_later: set[str]
) -> None:
    found = only_new(found, old)
    taught = told_later | {newcomer.input_hash for newcomer in found if newcomer.kind == "taught"}
    drawn = draw_sides(found, pairs, old, CONFIG)
    sides = old | drawn
    known = known_by_heart(pairs, sides, taught)
    assert {key for key in taught & sides.keys() if sides[key].side == "anchor"} <= set(known)
    anchors = {key for key, value in sides.items() if value.side == "anchor"} - set(known)
    assert not [pair for pair in pairs if anchors.intersection(pair) and taught.intersection(pair)]
    assert {sides[key].side for key in known} <= {"anchor"}
    assert not [key for key in taught - told_later if (drawn[key].side, drawn[key].reason) == ("anchor", "drawn")]


def test_what_is_like_a_row_that_taught_the_base_is_trained_on_and_what_failed_is_drawn_all_the_same() -> None:
    alike = {"t": "taught", "g": "given"}
    found = [Newcomer(key, kind, "") for key, kind in alike.items()] + many(200, "given")
    drawn = draw_sides(found, [("g", "t")], {}, SplitConfig(anchor=0.99))
    assert [drawn[key].side for key in alike] == ["train", "train"]
    failures = [*many(10, "failure"), *many(10, "taught", prefix="t")]
    drawn = draw_sides(failures, [(f"n{n:04}", f"t{n:04}") for n in range(10)], {}, SplitConfig(unseen=0.5))
    assert Counter(value.side for value in drawn.values()) == {"train": 10, "unseen": 10}


def noisy(rng: random.Random, prefix: str, kinds: int, rows: int) -> list[Record]:
    """Traffic with near-copies: texts of a few kinds with a word changed here and there."""
    records: list[Record] = []
    for n in range(rows):
        words = distinct(f"kind{rng.randrange(kinds)}", 14).split()
        for _ in range(rng.choice((0, 0, 1, 2))):
            words[rng.randrange(len(words))] = f"v{rng.randrange(50)}"
        id_, text = f"{prefix}{n:03}", " ".join(words)
        if rng.random() < 0.5:
            records += [inference(id_, text), correction(id_, f"right {text[:6]}")]
        elif rng.random() < 0.6:
            records += [inference(id_, text, output="fine"), thumb(id_)]
        else:
            records.append(demonstration(id_, text))
    return records


def test_over_rounds_no_side_changes_and_nothing_held_out_is_near_a_training_row(workload: Workload) -> None:
    """Three rounds on traffic full of near-copies, checked pair by pair."""
    rng = random.Random(3)
    before: dict[str, str] = {}
    for number in range(3):
        workload.collect(f"r{number}", noisy(rng, f"r{number}", kinds=12 + 4 * number, rows=30))
        round_ = workload.to_split()
        sides = {row["input_hash"]: row["side"] for row in workload.rows("select input_hash, side from sides")}
        assert sides.items() >= before.items()
        before = sides
        blend(workload.config, round_)
        suite = workload.rows("select * from regression_cases where retired_round is null and tier <> 'fixed'")
        trained = workload.rows("select input_hash from snapshot_rows")
        assert suite
        assert {side for row in trained for side in [sides[row["input_hash"]]]} == {"train"}
        assert all(sides[case["input_hash"]] in HELD_OUT for case in suite)
        assert not {case["input_hash"] for case in suite} & {row["input_hash"] for row in trained}
        for pair in workload.rows("select left_hash, right_hash from near_duplicates"):
            kinds = {sides.get(pair["left_hash"], "none"), sides.get(pair["right_hash"], "none")}
            assert not ("train" in kinds and kinds & set(HELD_OUT))
        workload.close(round_)


def test_no_near_copy_of_a_training_row_is_held_out(workload: Workload) -> None:
    """The same, measured on the texts themselves: what the index misses counts as well."""
    rng = random.Random(5)
    records = traffic(failures=150)
    for n in range(150):
        words = [*distinct(f"t{n}", 16).split(), *distinct(f"u{n}", 14).split()]
        other = list(words)
        other[rng.randrange(5, 25)] = "changed"
        for copy, text in enumerate((words, other)):
            records += [inference(f"{n:03}-{copy}", " ".join(text)), correction(f"{n:03}-{copy}", f"right {n}")]
    workload.collect("a", records)
    workload.to_split()
    rows = {r["inference_id"]: r for r in workload.rows("select * from signals join sides using (input_hash)")}
    crossed = 0
    for n in range(150):
        pair = [rows[f"{n:03}-{copy}"] for copy in (0, 1)]
        near = jaccard(*(shingles(user_text(row["input"])) for row in pair)) >= CONFIG.near_duplicate
        crossed += near and {row["side"] for row in pair} == {"train", "unseen"}
    assert crossed == 0


def test_a_fix_is_trained_on_and_kept_as_a_fixed_case(workload: Workload) -> None:
    workload.collect("a", traffic(failures=20, successes=20, given=20))
    workload.to_split()
    tiers = {
        (row["tier"], row["stratum"], row["side"])
        for row in workload.rows("select tier, stratum, side from regression_cases join sides using (input_hash)")
    }
    assert tiers == {
        ("fixed", "failure", "train"), ("unseen", "failure", "unseen"), ("unseen", "success", "unseen"),
        ("anchor", None, "anchor"),
    }  # fmt: skip


def test_corrections_say_what_they_are_used_for(workload: Workload) -> None:
    workload.collect(
        "a", [*traffic(failures=20), inference("x"), correction("x", "1"), correction("x", "2", "person:jonas")]
    )
    workload.to_split()
    uses = Counter(
        (row["side"], row["use_for_training"], row["use_for_eval"])
        for row in workload.rows("select * from corrections left join sides using (input_hash)")
    )
    assert uses == {("train", True, True): 13, ("unseen", False, True): 7, (None, False, False): 2}


def test_old_rows_that_turn_out_to_be_copies_retire_the_case(workload: Workload) -> None:
    workload.collect("a", traffic(failures=20))
    round_ = workload.to_split()
    workload.close(round_)
    held_out = workload.value("select min(input_hash) from sides where side = 'unseen'")
    trained = workload.value("select min(input_hash) from sides where side = 'train'")
    workload.collect("b", traffic(2, prefix="b"))
    round_ = workload.open()
    screen(workload.config, round_)
    workload.skip(round_, "cluster")
    import polars as pl

    from tasks.db import State

    with State(workload.config.database).transaction() as tx:
        frame = pl.DataFrame(
            {
                "left_hash": [min(held_out, trained)],
                "right_hash": [max(held_out, trained)],
                "jaccard": [0.9],
                "cosine": [None],
            }
        )
        tx.load("merge_near_duplicates", frame, round_id=2)
    split(workload.config, round_)
    case = workload.rows("select * from regression_cases where input_hash = ?", held_out)[0]
    assert (case["retired_round"], case["retired_because"]) == (2, "near-duplicate of a training row")
    assert workload.value("select side from sides where input_hash = ?", held_out) == "unseen"


def test_a_viral_text_that_is_held_out_is_a_few_cases(workload: Workload) -> None:
    """Each case counts alike in the gate; a group that has grown since it was drawn must not outvote the others."""
    workload.collect("a", traffic(failures=20))
    workload.close(workload.to_split())
    held_out = workload.value("select min(input_hash) from sides where side = 'unseen'")
    id_ = workload.value("select inference_id from inferences where input_hash = ?", held_out)
    text = distinct(id_)
    copies = [(f"c{n:03}", f"{text} n{n}") for n in range(100)]
    workload.collect("b", [r for id_, text in copies for r in (inference(id_, text), correction(id_, f"answer {id_}"))])
    workload.to_split()
    assert workload.value("select count(*) from sides where side = 'unseen' and round_id = 2") == 100
    in_group = workload.value(
        "select count(*) from regression_cases join sides using (input_hash) where group_hash = ?", held_out
    )
    assert in_group == COPIES


def test_what_taught_the_base_is_no_anchor_from_the_round_on_that_says_so(workload: Workload) -> None:
    """Demonstrations of two sources; then one is said to have taught the base, and then that this was wrong."""

    def anchors(number: int, *taught: str) -> Counter[str]:
        sources = [{"name": name, "path": str(workload.folder / "traffic" / f"{name}-*")} for name in ("gold", "old")]
        here = replace(
            workload, config=make_config(workload.folder, sources=sources, split={"taught": taught, "anchor": 0.5})
        )
        for name in ("gold", "old"):
            here.write(f"{name}-{number}", traffic(0, given=20, prefix=f"{name}{number}"))
        here.collect()
        here.close(here.to_split())
        cases = here.rows("select source, retired_because from regression_cases where retired_round is null")
        return Counter(case["source"] for case in cases)

    first = anchors(1)
    assert first.total() == 20
    assert anchors(2, "old") == {"gold": first["gold"] + 10}
    retired = workload.rows(
        "select source, retired_round, retired_because from regression_cases where retired_round > 0"
    )
    assert Counter(tuple(row.values()) for row in retired) == {("old", 2, TAUGHT_THE_BASE): first["old"]}
    trained = (
        "select count(*) from sides join demonstrations using (input_hash) where side = 'train' and source = 'old'"
    )
    assert workload.value(trained) == 20 - first["old"] + 20
    third = anchors(3)
    assert third.total() == 20 + 10 + 20
    assert third["old"] >= first["old"]
    assert workload.value("select count(*) from regression_cases where case_id like '%@3'") == first["old"]


def second_round(workload: Workload, records: list[Record]) -> None:
    """A further round on a suite of confirmed calls, after more signals on them."""
    workload.collect("a", traffic(failures=4, successes=40))
    workload.close(workload.to_split())
    workload.collect("b", records)
    workload.to_split()


@pytest.mark.parametrize("signal", ["corrected", "thumbed down"])
def test_a_case_whose_answer_was_found_wrong_is_retired(workload: Workload, signal: str) -> None:
    """A call that was confirmed and then corrected, or thumbed down: the suite must not go on expecting its output."""
    ids = [f"s{n:03}" for n in range(40)]
    wrong = [correction(i, "better", minutes=9) if signal == "corrected" else thumb(i, "down", minutes=9) for i in ids]
    second_round(workload, wrong)
    active = workload.value("select count(*) from regression_cases where retired_round is null and expected = 'fine'")
    assert active == 0


def test_a_superseded_case_is_retired_and_its_successor_added(workload: Workload) -> None:
    workload.collect("a", traffic(failures=20))
    workload.close(workload.to_split())
    workload.collect("b", [correction(f"f{n:03}", f"better {n}", minutes=9) for n in range(20)])
    workload.to_split()
    active = workload.rows("select * from regression_cases where retired_round is null")
    assert len(active) == 20
    assert all(case["expected"].startswith("better") for case in active)
    retired = workload.value("select list(distinct retired_because) from regression_cases where retired_round = 2")
    assert retired == ["superseded by its author"]


def test_a_split_that_is_run_again_is_refused_and_changes_nothing(workload: Workload) -> None:
    from tasks.errors import LeaseLostError

    workload.collect("a", traffic(6, 6))
    round_ = workload.to_split()
    before = workload.content()
    with pytest.raises(LeaseLostError):
        split(workload.config, round_)
    assert workload.content() == before
