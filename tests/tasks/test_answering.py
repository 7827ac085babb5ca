"""The child that answers the queue: every prompt has room, and every answer is written down whole."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from tasks.answering import (
    Parts,
    answer_schema,
    example_turns,
    pieces,
    queue_schema,
    render,
    table,
    with_examples,
)
from tasks.errors import FlywheelError


class Words:
    """A tokenizer that gives a token a word."""

    def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> list[int]:
        return list(range(sum(len(message["content"].split()) for message in messages)))


def asked(case_id: str, words: int, shown: list[int] | None = None) -> dict[str, Any]:
    examples = None if shown is None else json.dumps([_user(each) for each in shown])
    return {
        "role": "champion", "case_id": case_id, "answered_by": "hash", "input": json.dumps(_user(words)),
        "adapter": None, "calls": None, "shown": examples, "afresh": False,
    }  # fmt: skip


def _user(words: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "word " * words}]


def rendered(folder: Path, rows: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    pq.write_table(table(rows, queue_schema()), folder / "queue.parquet")
    assert render(folder / "queue.parquet", folder / "prompts.parquet", Words(), room) == len(rows)
    return pl.read_parquet(folder / "prompts.parquet").to_dicts()


def test_a_case_that_leaves_no_room_for_an_answer_is_named(tmp_path: Path) -> None:
    assert rendered(tmp_path, [asked("short", 5)], 5)[0]["token_ids"] == [0, 1, 2, 3, 4]
    with pytest.raises(
        FlywheelError, match=r"case long has 6 tokens, and there is room for 5 .* raise max_length"
    ) as caught:
        rendered(tmp_path, [asked("short", 5), asked("long", 6)], 5)
    assert "\n" not in str(caught.value)


def test_of_corrections_in_a_prompt_the_farthest_are_left_out_until_the_rest_fits(tmp_path: Path) -> None:
    rows = [asked("all", 2, [4, 3, 1]), asked("some", 5, [4, 3, 1]), asked("none", 10, [4, 3, 1]), asked("plain", 10)]
    found = {row["case_id"]: (row["shown"], len(row["token_ids"])) for row in rendered(tmp_path, rows, 10)}
    assert found == {"all": (3, 10), "some": (2, 9), "none": (0, 10), "plain": (None, 10)}


def test_corrections_stand_behind_what_the_system_says_and_before_the_question() -> None:
    system, question = {"role": "system", "content": "s"}, {"role": "user", "content": "q"}
    earlier = example_turns(
        json.dumps([system, {"role": "user", "content": "e"}]), {"role": "assistant", "content": "a"}
    )
    assert [turn["content"] for turn in with_examples([system, question], [earlier, earlier])] == list("seaeaq")
    assert with_examples([question], [])[0] == question


@given(
    st.lists(st.text(min_size=1, max_size=5), max_size=40, unique=True),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_answers_come_back_whole_and_once_in_whatever_order_they_are_finished(
    tmp_path_factory: pytest.TempPathFactory, case_ids: list[str], size: int, order: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    parts = Parts(folder, size)
    finished = case_ids.copy()
    order.shuffle(finished)
    for id_ in finished:
        row = {"role": "champion", "case_id": id_, "answered_by": "h", "output": f"answer to {id_}"}
        parts.add(row | {"tokens": len(id_), "shown": None})
    parts.write()
    files = sorted(folder.iterdir())
    assert len(files) == -(-len(case_ids) // size), "no file of nothing, and no unfinished one"
    rows = [row for file in files for piece in pieces(file, 3) for row in piece]
    assert {row["case_id"]: row["output"] for row in rows} == {id_: f"answer to {id_}" for id_ in case_ids}
    assert len(rows) == len(case_ids)


def test_the_schemas_say_what_must_be_there() -> None:
    assert [field.name for field in answer_schema() if not field.nullable] == [
        "role",
        "case_id",
        "answered_by",
        "output",
    ]
