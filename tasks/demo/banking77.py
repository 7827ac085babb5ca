"""BANKING77: questions of real online-banking customers, each with one of 77 intents, as a workload.

The data (Casanueva et al. 2020, arXiv 2003.04807) stay where the user has them. 4,000 rows of train.csv teach the base
model, the others play production, and test.csv is only for saying afterwards what a round was worth.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.demo.base_model import BaseSpec
from tasks.errors import ConfigError

Record = dict[str, Any]

SYSTEM_PROMPT = "Intent?"
BASE_ROWS = 4_000
COLUMNS = ("text", "category")
ANNOTATOR = "person:annotator"
BASE_SPEC = BaseSpec(
    name="banking77",
    whole_answers=True,
    vocab_size=3_000,
    hidden_size=256,
    intermediate_size=512,
    layers=2,
    tied=False,
    initializer_range=0.04,
    steps=600,
    batch_size=64,
    learning_rate=2e-3,
    weight_decay=0.3,
    token_dropout=0.3,
)  # word dropout is what makes 4,000 rows suffice


@dataclass(frozen=True)
class Row:
    """One question and its intent; `row_id` names file and row, the header being row 1."""

    row_id: str
    text: str
    truth: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """System and user messages."""
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": self.text}]

    @property
    def conversation(self) -> list[dict[str, str]]:
        """The messages and the right answer."""
        return [*self.messages, {"role": "assistant", "content": self.truth}]


@dataclass(frozen=True)
class Banking77:
    """The rows that teach the base, those that arrive as production, and the untouched test rows."""

    base: list[Row]
    production: list[Row]
    test: list[Row]


def load(data: Path, *, seed: int = 0, base_rows: int = BASE_ROWS) -> Banking77:
    """Read `data`/train.csv and test.csv (columns text,category) and split the former by `seed`.

    Raises:
        ConfigError: a file is missing or unreadable, or a row lacks something; the line names file and row.
    """
    rows, test = read_rows(data / "train.csv"), read_rows(data / "test.csv")
    if len(rows) <= base_rows:
        raise ConfigError(
            f"{data / 'train.csv'} has {len(rows)} rows, but {base_rows} teach the base and others must play "
            "production; point --data at the full BANKING77 files"
        )
    order = random.Random(f"banking77/{seed}").sample(rows, len(rows))
    return Banking77(base=order[:base_rows], production=order[base_rows:], test=test)


def read_rows(file: Path) -> list[Row]:
    """The rows of one file, in order.

    Raises:
        ConfigError: see `load`.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            reader = csv.DictReader(opened)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{file} has no column {missing[0]}; its first line must be text,category")
            return [_row(file, number, cells) for number, cells in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}); point --data at a folder with train.csv, test.csv"
        ) from None


def review(
    rows: Sequence[Row], outputs: Sequence[str], *, model_version: str = "base", start: str = "2026-03-02T08:00:00Z"
) -> list[Record]:
    """Inferences, each followed by the annotator's correction (a wrong intent) or thumb up (the right one)."""
    records: list[Record] = []
    for index, (row, output) in enumerate(zip(rows, outputs, strict=True)):
        asked, judged = _time(start, 2 * index), _time(start, 2 * index + 60)
        verdict: Record = {"record": "thumb", "value": "up"}
        if output.strip() != row.truth:
            verdict = {"record": "correction", "corrected_output": row.truth}
        records.append(
            {
                "record": "inference",
                "inference_id": row.row_id,
                "messages": row.messages,
                "output": output,
                "model_version": model_version,
                "created_at": asked,
                "slices": {},
            }
        )
        records.append({**verdict, "inference_id": row.row_id, "producer": ANNOTATOR, "created_at": judged})
    return records


def _row(file: Path, number: int, cells: dict[str, str | None]) -> Row:
    text, category = ((cells[column] or "").strip() for column in COLUMNS)
    for column, cell in zip(COLUMNS, (text, category), strict=True):
        if not cell:
            raise ConfigError(f"{file} row {number}: {column} is empty; fill it or remove the row")
    return Row(f"banking77-{file.stem}-{number:05d}", text, category)


def _time(start: str, minutes: int) -> str:
    first = datetime.fromisoformat(start.replace("Z", "+00:00"))
    return (first + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
