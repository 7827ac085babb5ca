"""Typing in bulk gives what reading one by one gives; whatever is not sure goes the long way round."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.db import scratch
from tasks.records import canonical_line, parse_record
from tasks.staging import Typed, _type_in_bulk, type_batch
from tests.conftest import Record, at, correction, demonstration, inference, quarantining, thumb


def preference(id_: str = "p1") -> Record:
    return {
        "record": "preference",
        "preference_id": id_,
        "messages": [{"role": "user", "content": "Which?"}],
        "chosen": "this",
        "rejected": "",
        "producer": "person:maria",
        "created_at": at(0),
        "slices": {"b": "1", "a": "2"},
    }


def rating(value: Any = 3) -> Record:
    return {"record": "rating", "inference_id": "i1", "value": value, "producer": "model:judge", "created_at": at(0)}


EVERY = [inference("i1", language="de"), correction("i1"), thumb("i1"), rating(), demonstration("d1"), preference()]


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
    "an unknown role": inference("i1") | {"messages": [{"role": "tool", "content": "x"}]},
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
    "no stars": rating(0),
    "half a star": rating(2.5),
    "stars that are true": rating(True),
    "one message": demonstration("d1") | {"messages": [{"role": "user", "content": "x"}]},
    "the user's turn last": demonstration("d1") | {"messages": [{"role": "user", "content": "x"}] * 2},
    "an empty choice": preference() | {"chosen": ""},
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


SPELLED = st.sampled_from(EVERY).flatmap(
    lambda record: st.permutations(list(record)).map(lambda keys: {key: record[key] for key in keys})
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


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
    whole = [json.dumps(record | {"created_at": at(0)}).encode() for record in EVERY]
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
    stored = {json.loads(row["input"])[-1]["role"] for row in workload.rows("select input from inferences")}
    assert stored == {"user"}
    assert workload.collect().read == 0
