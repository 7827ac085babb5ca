"""Typing in bulk gives what reading one by one gives; whatever is not sure goes the long way round."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.chat import MARK, read_input
from tasks.db import scratch
from tasks.records import canonical_line, parse_record
from tasks.staging import Typed, _type_in_bulk, type_batch
from tests.conftest import (
    Record,
    at,
    correction,
    demonstration,
    inference,
    preference,
    quarantining,
    rating,
    retraction,
    thumb,
)

TERMS = {"guideline": "v3", "licence": "CC-BY-4.0"}
STRENGTH: Any = {"scale": 5, "degree": 0, "rubric": "tone", "is_close": True}
EVERY = [
    inference("i1", language="de"),
    correction("i1"),
    thumb("i1"),
    rating("i1"),
    demonstration("d1"),
    preference("p1", slices={"b": "1", "a": "2"}, rejected=""),
    retraction("i1", reason="misread"),
]
STATED = [
    *(record | TERMS for record in EVERY[:5]),
    preference("p1", **STRENGTH, **TERMS),
    preference("p1", scale=8, degree=4),
    retraction("i1"),
]


def frame(lines: list[str] | list[bytes]) -> pl.DataFrame:
    kind = pl.Binary if lines and isinstance(lines[0], bytes) else pl.String
    return pl.DataFrame({"row": range(len(lines)), "raw": pl.Series(lines, dtype=kind)})


def typed(folder: Path, lines: list[str] | list[bytes]) -> Typed:
    with scratch(folder) as tx:
        return type_batch(tx, frame(lines))


def in_bulk(folder: Path, lines: list[str]) -> int:
    """How many of the lines the database vouches for."""
    with scratch(folder) as tx:
        frames, left = _type_in_bulk(tx, frame(lines))
    taken = sum(rows.height for _, rows in frames)
    assert taken + left.height == len(lines)
    return taken


@pytest.mark.parametrize("record", EVERY, ids=lambda record: record["record"])
def test_every_kind_in_its_canonical_spelling_is_taken_in_bulk(tmp_path: Path, record: Record) -> None:
    line = canonical_line(parse_record(json.dumps(record)))
    assert in_bulk(tmp_path, [line]) == 1
    assert in_bulk(tmp_path, [f"  {line}\r\n"]) == 1


@pytest.mark.parametrize("record", EVERY, ids=lambda record: record["record"])
def test_keys_in_another_order_are_taken_in_bulk(tmp_path: Path, record: Record) -> None:
    """A writer has its own order of keys and keeps to it."""
    canonical = json.loads(canonical_line(parse_record(json.dumps(record))))
    assert in_bulk(tmp_path, [json.dumps(dict(reversed(canonical.items())), ensure_ascii=False)]) == 1


@pytest.mark.parametrize("record", STATED, ids=lambda record: f"{record['record']}-{len(record)}")
def test_keys_that_may_be_absent_are_taken_in_bulk_too(tmp_path: Path, record: Record) -> None:
    line = json.dumps(record, ensure_ascii=False)
    nulls = json.dumps(dict.fromkeys(type(parse_record(line)).model_fields) | record)
    assert in_bulk(tmp_path, [line]) == 1
    hashes = pl.concat([rows.select("content_hash") for _, rows in typed(tmp_path, [line, nulls]).frames])
    assert hashes.height == 2
    assert hashes["content_hash"].n_unique() == 1


def test_what_is_stated_is_part_of_what_a_record_is_known_by(tmp_path: Path) -> None:
    """Else a licence that is withdrawn, or another degree, would be taken for what is known already."""
    rows = [thumb("i1"), thumb("i1") | {"licence": "a"}, thumb("i1") | {"guideline": "a"}]
    rows += [preference("p1", scale=scale, degree=degree) for scale, degree in ((5, 0), (5, 1), (8, 1))]
    frames = typed(tmp_path, [json.dumps(row) for row in rows]).frames
    assert len({value for _, frame in frames for value in frame["content_hash"]}) == len(rows)


CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"mail": "anna.k@firma-mail.de"}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "anna.k@firma-mail.de has none"}
TOOLS = [{"type": "function", "function": {"name": "find", "description": "Ask anna.k@firma-mail.de about it."}}]
ASKED = inference("i1")["messages"]
WITH_TOOLS = [
    inference("i1", output=CALLING) | {"messages": [*ASKED, CALLING, RESULT], "tools": TOOLS} | TERMS,
    correction("i1", CALLING),
    demonstration("d1") | {"messages": [*ASKED, CALLING]},
    preference("p1", chosen=CALLING, tools=TOOLS, **STRENGTH),
]


@pytest.mark.parametrize("record", WITH_TOOLS, ids=lambda record: record["record"])
def test_a_record_with_tools_has_the_columns_of_one_without(tmp_path: Path, record: Record) -> None:
    """They are merged by the same statement, from the same files."""
    plain = next(each for each in EVERY if each["record"] == record["record"])
    (_, expected), (_, found) = typed(tmp_path, [json.dumps(plain), json.dumps(record)]).frames
    assert dict(found.schema) == dict(expected.schema)
    spaced = json.dumps(dict(reversed(record.items())), indent=1, ensure_ascii=False)
    ((_, again),) = typed(tmp_path, [spaced]).frames
    assert again["content_hash"].to_list() == found["content_hash"].to_list()
    other = json.loads(json.dumps(record).replace("find", "seek"))
    ((_, changed),) = typed(tmp_path, [json.dumps(other)]).frames
    assert changed["content_hash"].to_list() != found["content_hash"].to_list()


def test_empty_lists_of_tools_are_none(tmp_path: Path) -> None:
    """vLLM writes an empty list of calls with every answer, OpenAI one of tools with every preference."""
    turn = {"role": "assistant", "content": "Hm?", "tool_calls": []}
    talk = [ASKED[0], {"role": "user", "content": "Hm"}, turn, ASKED[1]]
    bare = [turn if turn["role"] != "assistant" else {"role": "assistant", "content": "Hm?"} for turn in talk]
    lines = [
        json.dumps(inference("i1") | {"messages": talk, "tools": []}),
        json.dumps(inference("i1") | {"messages": bare}),
    ]
    assert pl.concat([rows for _, rows in typed(tmp_path, lines).frames])["content_hash"].n_unique() == 1


def test_nothing_personal_is_left_in_calls_results_and_definitions_of_tools(tmp_path: Path) -> None:
    workload = quarantining(tmp_path)
    found = workload.collect("a", WITH_TOOLS)
    assert (found.stored, found.quarantined) == (4, 0)
    assert "anna" not in repr(workload.content())
    held = workload.value("select input from inferences")
    (person,) = set(re.findall(r"[\w.]+@[\w.-]+", held))
    assert person in workload.value("select corrected_output from corrections")
    assert json.loads(json.loads(held)["messages"][2]["tool_calls"][0]["function"]["arguments"]) == {"mail": person}
    hashes = workload.rows("select sha256(input) = input_hash as fits from inferences union all select sha256(input) = "
                           "input_hash from preferences")  # fmt: skip
    assert all(row["fits"] for row in hashes)
    assert workload.collect("b", WITH_TOOLS).known == 4


def test_slices_may_be_absent_or_null_in_bulk(tmp_path: Path) -> None:
    absent = {key: value for key, value in inference("i1").items() if key != "slices"}
    lines = [json.dumps(absent), json.dumps(absent | {"slices": None}), json.dumps(absent | {"slices": {}})]
    assert in_bulk(tmp_path, lines) == 3
    rows = pl.concat([rows for _, rows in typed(tmp_path, lines).frames])
    assert rows["slices"].to_list() == ["{}"] * 3
    assert rows["content_hash"].n_unique() == 1
    assert parse_record(lines[1]) == parse_record(lines[2])


NOT_SURE = {
    "an unknown key": inference("i1") | {"colour": "red"},
    "a missing key": {k: v for k, v in inference("i1").items() if k != "output"},
    "a number for a text": inference("i1") | {"output": 5},
    "null for a text": inference("i1") | {"output": None},
    "a list for a text": inference("i1") | {"output": ["x"]},
    "no messages": inference("i1") | {"messages": []},
    "an unknown role": inference("i1") | {"messages": [{"role": "robot", "content": "x"}]},
    "a result of no call": inference("i1") | {"messages": [{"role": "tool", "content": "x"}]},
    "tools that are none": inference("i1") | {"tools": ["find"]},
    "the sign of a call": inference("i1", output="\x1e{}"),
    "the sign of a call in a correction": correction("i1", "\x1e{}"),
    "the sign of a call in a demonstration": demonstration("d1", answer="\x1e{}"),
    "the sign of a call in a preference": preference("p1", rejected="\x1e"),
    "an empty turn": inference("i1") | {"messages": [{"role": "user", "content": ""}]},
    "a null turn": inference("i1") | {"messages": [{"role": "user", "content": None}]},
    "null among the messages": inference("i1") | {"messages": [None, {"role": "user", "content": "x"}]},
    "the assistant's turn last": inference("i1") | {"messages": [{"role": "assistant", "content": "x"}]},
    "a key too many in a turn": inference("i1") | {"messages": [{"role": "user", "content": "x", "name": "y"}]},
    "an empty id": inference(""),
    "no zone": inference("i1") | {"created_at": "2026-03-01T12:00:00"},
    "no such day": inference("i1") | {"created_at": "2026-02-30T12:00:00Z"},
    "no such year": inference("i1") | {"created_at": "0000-02-03T12:00:00Z"},
    "before the calendar": inference("i1") | {"created_at": "0001-01-01T00:00:00+14:00"},
    "a slice that is a number": inference("i1") | {"slices": {"a": 1}},
    "slices that are a list": inference("i1") | {"slices": ["a"]},
    "no producer": correction("i1", by="maria"),
    "an empty producer": correction("i1", by="person:"),
    "an empty correction": correction("i1", corrected=""),
    "a thumb sideways": thumb("i1", "sideways"),
    "no stars": rating("i1", 0),
    "half a star": rating("i1") | {"value": 2.5},
    "stars that are true": rating("i1", True),
    "an empty licence": thumb("i1") | {"licence": ""},
    "a guideline that is a number": correction("i1") | {"guideline": 3},
    "a licence of a retraction": retraction("i1") | {"licence": "x"},
    "an empty reason": retraction("i1", reason=""),
    "a degree without a scale": preference("p1", degree=1),
    "another scale": preference("p1", scale=7, degree=1),
    "a tie on eight points": preference("p1", scale=8, degree=0),
    "much more than much": preference("p1", scale=5, degree=3),
    "a degree below none": preference("p1", scale=5, degree=-1),
    "half a degree": preference("p1", scale=5, degree=1.5),
    "a degree that is true": preference("p1", scale=5, degree=True),
    "close by a word": preference("p1", is_close="true"),
    "an empty rubric": preference("p1", rubric=""),
    "one message": demonstration("d1") | {"messages": [{"role": "user", "content": "x"}]},
    "the user's turn last": demonstration("d1") | {"messages": [{"role": "user", "content": "x"}] * 2},
    "an empty choice": preference("p1", chosen=""),
    "another kind": {"record": "wish"},
    "no kind": {"inference_id": "i1"},
}


@pytest.mark.parametrize("problem", NOT_SURE)
def test_what_is_not_valid_is_rejected_with_a_reason(tmp_path: Path, problem: str) -> None:
    line = json.dumps(NOT_SURE[problem])
    assert in_bulk(tmp_path, [line]) == 0
    found = typed(tmp_path, [line])
    assert not found.frames
    assert found.rejected[0].reason
    assert "\n" not in found.rejected[0].reason


def test_a_doubled_key_is_not_taken_in_bulk(tmp_path: Path) -> None:
    line = json.dumps(inference("i1"))[:-1]
    for more in ('"output": "other"', '"slices": {"a": "1", "a": "2"}', '"zz": 1'):
        assert in_bulk(tmp_path, [f"{line}, {more}}}"]) == 0
    assert in_bulk(tmp_path, [line.replace('"role": "user"', '"role": "system", "role": "user"') + "}"]) == 0


SPELLED = st.sampled_from([*EVERY, *STATED]).flatmap(
    lambda record: st.permutations(list(record)).map(lambda keys: {key: record[key] for key in keys})
)
# An answer that begins with MARK is refused, which has a test of its own.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda t: t[0] != MARK)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(record=SPELLED, text=TEXT, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_however_a_record_is_spelled_it_is_typed_alike(
    tmp_path_factory: pytest.TempPathFactory, record: Record, text: str, ascii_only: bool, indent: int | None
) -> None:
    """Equal hashes, or the same record would be stored twice."""
    folder = tmp_path_factory.getbasetemp()
    texts = {key: text for key in ("output", "corrected_output", "chosen", "inference_id") if key in record}
    line = json.dumps(record | texts, ensure_ascii=ascii_only, indent=indent)
    canonical = canonical_line(parse_record(line))
    found = typed(folder, [line, canonical])
    assert not found.rejected
    hashes = pl.concat([rows.select("content_hash") for _, rows in found.frames])
    assert hashes.height == 2
    assert hashes["content_hash"].n_unique() == 1


def mutate(line: bytes, rng: random.Random) -> bytes:
    """A line as a broken exporter would write it."""
    place = rng.randrange(len(line))
    insert = rng.choice([*b'"{[,\\', b"\x00", b"\xff", b"\\u0000", b"\\ud800", b"NaN", b"1e999", b"\xe2\x80", b"null"])
    insert = insert if isinstance(insert, bytes) else bytes([insert])
    return rng.choice(
        [
            lambda: line[:place],
            lambda: line[:place] + insert + line[place:],
            lambda: line[:place] + insert + line[place + len(insert) :],
            lambda: line[place:] + line[:place],
            lambda: line.replace(b'"', b"'", rng.randrange(1, 9)),
            lambda: line.replace(b"12:00:00", rng.choice([b"25:00:00", b"12:00", b"12:00:60"])),
            lambda: line.replace(b"+00:00", rng.choice([b"", b"Z", b"+25:00", b"+05:30", b" UTC", b"-14:00"])),
            lambda: line.replace(b'"right"', b"[" * rng.choice([3, 3000]) + b"1"),
            lambda: line.replace(b'"wrong"', b'"' + b"x" * rng.choice([10, 300_000]) + b'"'),
            lambda: line.replace(b'"record"', b'"record": 1, "record"'),
            lambda: line.replace(b"maria", rng.choice([b"", b"\\n", "\u202e".encode()])),
            lambda: line.replace(b'"user"', rng.choice([b'"USER"', b"1", b"null", b'"tool"'])),
        ]
    )()


def test_ten_thousand_broken_rows_end_in_one_place_each(tmp_path: Path) -> None:
    """No crash, each stored or in quarantine with a reason, and the counts reconcile."""
    rng = random.Random(0)
    workload = quarantining(tmp_path)
    whole = [json.dumps(record | {"created_at": at(0)}).encode() for record in [*EVERY, *STATED, *WITH_TOOLS]]
    rows = []
    for number in range(10_000):
        line = rng.choice(whole).replace(b'"i1"', f'"i{number}"'.encode()).replace(b'1"', f'{number}"'.encode())
        rows.append(mutate(line, rng).replace(b"\n", b" "))
    rows = [row for row in rows if row.strip()]
    for name, part in (("a", rows[:5000]), ("b", rows[5000:])):
        workload.write(name, b"\n".join(part))
    found = workload.collect()
    assert found.read == len(rows)
    assert found.read == found.stored + found.known + found.quarantined
    assert found.stored > 500
    assert found.quarantined > 5000
    reasons = Counter(row["reason"] for row in workload.rows("select reason from quarantined_rows"))
    assert all(reasons)
    assert len(reasons) > 20
    stored = {read_input(row["input"]).messages[-1]["role"] for row in workload.rows("select input from inferences")}
    assert stored == {"user", "tool"}
    assert workload.collect().read == 0
