"""Raw rows become typed rows, in bulk: what the database can prove to be a valid record is never read one by one.

A row is taken in bulk when its JSON text says exactly what the typed columns say, character by character; then no key
is unknown, missing, doubled or of another type. Whatever is left is read one by one with pydantic, which says what is
wrong with it, or spells it canonically and sends it through the same statement: there is one way to be typed. Only a
record in which tools are offered or called is not typed by a statement, but as it was read.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.chat import held_answer, held_input
from tasks.db import Transaction
from tasks.records import (
    Correction,
    Demonstration,
    Inference,
    Preference,
    Record,
    canonical_line,
    parse_record,
    sha256,
    uses_tools,
    utc,
)

if TYPE_CHECKING:
    import polars as pl

    from tasks.redactors import Redactors

ALIKE = 16  # characters that rows of one kind from one writer have in common at their beginning
GROUPS = 24
MESSAGES = [{"role": "VARCHAR", "content": "VARCHAR"}]
TERMS = ("licence", "guideline")
STRENGTH = ("scale", "degree", "rubric", "is_close")
OPTIONAL = frozenset(("slices", "tools", "reason", *TERMS, *STRENGTH))


@dataclass(frozen=True)
class Shape:
    """The types of a row's keys in their order, and of those that it leaves out, as JSON."""

    types: str
    absent: str


@dataclass(frozen=True)
class Kind:
    """A kind of record: its keys with their JSON types in canonical order, its table, and the texts in it."""

    record: str
    table: str
    keys: dict[str, Any]
    texts: tuple[str, ...] = ()

    def shape(self, keys: list[str]) -> Shape | None:
        """The shape of a row with these keys; None where it cannot be of this kind."""
        absent = [key for key in self.keys if key in OPTIONAL and key not in keys]
        spelled = [*keys, *absent]
        if len(spelled) != len(self.keys) or set(spelled) != set(self.keys):
            return None
        types = {key: self.keys[key] for key in keys}
        # A structure in DuckDB has at least one key.
        return Shape(json.dumps(types), json.dumps({"_": "BOOLEAN"} | {key: self.keys[key] for key in absent}))


def _keys(*names: str) -> dict[str, Any]:
    special: dict[str, Any] = {"messages": MESSAGES, "slices": "JSON", "tools": "JSON"}
    special |= {"scale": "BIGINT", "degree": "BIGINT", "is_close": "BOOLEAN"}
    return {name: special.get(name, "VARCHAR") for name in ("record", *names)}


KINDS = (
    Kind(
        "inference",
        "inferences",
        _keys("inference_id", "messages", "output", "model_version", "created_at", "slices", "tools", *TERMS),
        ("input", "output"),
    ),
    Kind(
        "correction",
        "corrections",
        _keys("inference_id", "corrected_output", "producer", "created_at", *TERMS),
        ("corrected_output",),
    ),
    Kind("thumb", "thumbs", _keys("inference_id", "value", "producer", "created_at", *TERMS)),
    Kind(
        "rating",
        "ratings",
        _keys("inference_id", "value", "producer", "created_at", *TERMS) | {"value": "BIGINT"},
    ),
    Kind(
        "demonstration",
        "demonstrations",
        _keys("demonstration_id", "messages", "producer", "created_at", "slices", "tools", *TERMS),
        ("input", "output"),
    ),
    Kind(
        "preference",
        "preferences",
        _keys(
            "preference_id",
            "messages",
            "chosen",
            "rejected",
            "producer",
            "created_at",
            "slices",
            "tools",
            *STRENGTH,
            *TERMS,
        ),
        ("input", "chosen", "rejected"),
    ),
    Kind("retraction", "retractions", _keys("inference_id", "producer", "created_at", "reason"), ("reason",)),
)


@dataclass(frozen=True)
class Rejected:
    """A row that is no valid record: its number in its part, its text as far as it is text, and why."""

    row: int
    raw: str
    reason: str


@dataclass(frozen=True)
class Typed:
    """A batch: for each kind that is in it a frame by `row`, not yet redacted; and what was rejected."""

    frames: "list[tuple[Kind, pl.DataFrame]]"
    rejected: list[Rejected]


def type_batch(tx: Transaction, batch: "pl.DataFrame") -> Typed:
    """Type the rows of a batch (row, raw); each row comes out once, typed or rejected."""
    import polars as pl

    if batch["raw"].dtype == pl.Binary:
        frames: list[tuple[Kind, pl.DataFrame]] = []
        left = batch
    else:
        frames, left = _type_in_bulk(tx, batch)
    spelled, frames_with_tools, rejected = _read(left)
    if spelled.height:
        more, lost = _type_in_bulk(tx, spelled)
        assert not lost.height, f"a valid record was not typed: {lost['raw'][0][:200]}"
        frames += more
    return Typed(frames + frames_with_tools, rejected)


def _type_in_bulk(tx: Transaction, batch: "pl.DataFrame") -> "tuple[list[tuple[Kind, pl.DataFrame]], pl.DataFrame]":
    """The frames of the rows that the database can vouch for, and the rows that it cannot.

    Rows that begin alike are first tried as what the first of them is, which spares listing the keys of each.
    """
    import polars as pl

    frames: list[tuple[Kind, pl.DataFrame]] = []
    left = []
    groups = batch.group_by(pl.col("raw").str.slice(0, ALIKE), maintain_order=True)
    for _, rows in groups if batch.select(pl.col("raw").str.slice(0, ALIKE).n_unique()).item() <= GROUPS else []:
        left.append(_type_as(tx, _keys_of(tx, rows[:1])["keys"][0], rows, frames))
    rest = pl.concat(left) if left else batch
    left = [
        _type_as(tx, rows["keys"][0], rows.drop("keys"), frames)
        for rows in (_keys_of(tx, rest).partition_by("keys") if rest.height else [])
    ]
    return frames, pl.concat(left) if left else rest


def _keys_of(tx: Transaction, rows: "pl.DataFrame") -> "pl.DataFrame":
    with tx.incoming(rows):
        return tx.frame("list_keys")


def _type_as(
    tx: Transaction, keys: str | None, rows: "pl.DataFrame", frames: "list[tuple[Kind, pl.DataFrame]]"
) -> "pl.DataFrame":
    """Add to the frames those rows that are records with these keys; the others."""
    from tasks.redact import PREFILTER  # compiles a hundred expressions, which an idle run does not wait for

    for kind, shape in _candidates(keys):
        if rows.height:
            tx.load("parse_records", rows, shape=shape.types, absent=shape.absent)
            tx.run("match_spaced_records")
            typed = tx.frame(f"type_{kind.table}", suspicious=PREFILTER)
            if typed.height:
                frames.append((kind, typed))
                rows = rows.join(typed.select("row"), on="row", how="anti") if typed.height < rows.height else rows[:0]
    return rows


def _candidates(keys: str | None) -> Iterator[tuple[Kind, Shape]]:
    names = keys.split(" ") if keys else []
    for kind in KINDS:
        if (shape := kind.shape(names)) is not None:
            yield kind, shape


def _read(rows: "pl.DataFrame") -> "tuple[pl.DataFrame, list[tuple[Kind, pl.DataFrame]], list[Rejected]]":
    """Each row's canonical spelling (row, raw); frames of those with tools, which have none; and what is no record."""
    import polars as pl

    spelled, rejected = [], []
    with_tools: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, raw in rows.select("row", "raw").iter_rows():
        try:
            record = parse_record(raw)
            if uses_tools(record):
                with_tools[record.record].append({"row": row} | _columns(record))
            else:
                spelled.append((row, canonical_line(record)))
        except (ValueError, OverflowError) as error:
            text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw
            rejected.append(Rejected(row, text, str(error)))
    frames = [(kind, _frame(with_tools[kind.record])) for kind in KINDS if kind.record in with_tools]
    return pl.DataFrame(spelled, schema={"row": pl.Int64, "raw": pl.String}, orient="row"), frames, rejected


def _columns(record: Record) -> dict[str, Any]:
    """The columns of a record with tools: the same ones that the statement for its kind gives."""
    values = record.model_dump(exclude={"record", "messages", "tools", "slices"})
    values["created_at"] = utc(record.created_at)
    said = record.model_dump(mode="json", exclude_none=True) | {"created_at": values["created_at"].isoformat()}
    if isinstance(record, Correction):
        values["corrected_by"] = values.pop("producer")
    elif isinstance(record, Inference | Demonstration | Preference):
        messages = [message.turn() for message in record.messages]
        if isinstance(record, Demonstration):
            values["output"] = held_answer(messages.pop())
        values["input"] = held_input(messages, record.tools)
        values["input_hash"] = hashlib.sha256(values["input"].encode()).hexdigest()
        values["slices"] = json.dumps(dict(sorted(record.slices.items())), ensure_ascii=False, separators=(",", ":"))
    return values | {"content_hash": sha256(said), "is_suspicious": True}


def _frame(rows: list[dict[str, Any]]) -> "pl.DataFrame":
    import polars as pl

    types: dict[str, Any] = {"created_at": pl.Datetime("us"), "is_suspicious": pl.Boolean, "is_close": pl.Boolean}
    types |= dict.fromkeys(("row", "scale", "degree"), pl.Int64)
    return pl.DataFrame(rows, schema={key: types.get(key, pl.String) for key in rows[0]})


def redact(kind: Kind, frame: "pl.DataFrame", redactors: "Redactors | None") -> "pl.DataFrame":
    """The frame with personal data replaced in its texts; texts without a sign of any are not looked at again."""
    import polars as pl

    if redactors is None or not kind.texts:
        return frame.drop("is_suspicious")
    rows = frame if redactors.finds_names else frame.filter(pl.col("is_suspicious"))
    clean = frame[:0] if redactors.finds_names else frame.filter(~pl.col("is_suspicious"))
    redacted = rows.with_columns(
        pl.Series(name, redactors.redact_all(rows[name].to_list(), name == "input"), dtype=pl.String)
        for name in kind.texts
    )
    if "input" in kind.texts:
        hashes = [hashlib.sha256(text.encode()).hexdigest() for text in redacted["input"]]
        redacted = redacted.with_columns(pl.Series("input_hash", hashes, dtype=pl.String))
    return pl.concat([clean, redacted]).drop("is_suspicious")
