"""The way back: each rollback goes to an earlier champion, and never to what a rollback was made to get away from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.moves import previous

Step = str | None
VERSIONS = st.sampled_from([None, "1", "2", "3", "4"])


def moves(*versions: Step) -> list[dict[str, Step]]:
    return [{"to_version": version} for version in versions]


def test_the_champion_before_the_present_one_is_the_nearest() -> None:
    assert previous(moves("1", "2", "3")) == ["2", "1", None]
    assert previous(moves("1")) == [None]


def test_where_only_the_base_has_served_there_is_no_way_back() -> None:
    assert previous([]) == []
    assert previous(moves("1", None)) == []


def test_after_a_rollback_the_next_one_goes_further_back() -> None:
    assert previous(moves("1", "2", "3", "2")) == ["1", None]
    assert previous(moves("1", "2", "3", "2", "1")) == [None]


def test_what_was_promoted_after_a_rollback_is_left_to_what_it_was_held_against() -> None:
    assert previous(moves("1", "2", "1", "3")) == ["1", None]


@given(st.lists(VERSIONS, max_size=12))
def test_rolling_back_again_and_again_ends_at_the_base_and_never_comes_round(made: list[Step]) -> None:
    seen, log = [made[-1] if made else None], list(made)
    while line := previous(moves(*log)):
        assert line[0] not in seen
        seen.append(line[0])
        log.append(line[0])
    assert seen[-1] is None


@given(st.lists(VERSIONS, max_size=12), VERSIONS)
def test_a_version_that_was_left_for_an_earlier_one_is_no_target(made: list[Step], bad: Step) -> None:
    line = previous(moves(*made))
    if line:
        after = previous(moves(*made, line[0]))
        assert (made[-1] if made else None) not in after
