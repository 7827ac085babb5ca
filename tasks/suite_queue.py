"""The suite's queue: which role is asked which cases, in which order, and what need not be asked again.

Everything passes through Parquet files in the round's folder, piece by piece. The queue is ordered by adapter, since an
engine that changes adapters within a batch is slower; the champion's second run comes last and shuffled, so that no
case has the neighbours that it had before.
"""

import hashlib
import heapq
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.answering import PIECE_ROWS, answer_schema, pieces, queue_schema, table
from tasks.chat import calls_tools
from tasks.config import Config
from tasks.db import BATCH_ROWS, Row, Transaction
from tasks.engine_options import EngineConfig
from tasks.few_shot import examples_for, read_corrections
from tasks.records import sha256
from tasks.suite import suite_at

if TYPE_CHECKING:
    import polars as pl

AGAIN = "champion_again"
SMALL = ("case_id", "tier", "stratum", "added_round", "is_protected")


@dataclass(frozen=True)
class Model:
    """A version that is asked: its name, its adapter's folder (None: the bare base), the hash of what answers, and that
    of the snapshot that it was trained on (None: no such)."""

    version: str
    adapter: str | None
    answered_by: str
    snapshot_hash: str | None = None


@dataclass(frozen=True)
class Files:
    """Where the queue's files are."""

    folder: Path

    @property
    def cases(self) -> Path:
        """The suite as of the round."""
        return self.folder / "cases.parquet"

    @property
    def queue(self) -> Path:
        """All that there has to be an answer to."""
        return self.folder / "queue.parquet"

    @property
    def asked(self) -> Path:
        """What of it has to be asked."""
        return self.folder / "asked.parquet"

    @property
    def answers(self) -> Path:
        """The folder of the answers' files."""
        return self.folder / "answers"

    @property
    def known(self) -> Path:
        """The answers that were there before."""
        return self.answers / "known.parquet"


def write_cases(tx: Transaction, config: Config, round_id: int, path: Path) -> list[Row]:
    """Write the suite as of a round; of each case what says who is asked it, by SMALL."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    small, writer = [], None
    for batch in tx.batches("list_active_cases", **suite_at(config, round_id)):
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_table(pa.Table.from_batches([batch]))
        small += batch.select([name for name in SMALL if name in batch.schema.names]).to_pylist()
    if writer is None:
        path.unlink(missing_ok=True)
    else:
        writer.close()
    return small


def choose(
    cases: Sequence[Row], round_id: int, roles: Iterable[str], options: EngineConfig
) -> dict[str, frozenset[str] | None]:
    """Which cases each role is asked, by id; None: all. In the order of the queue."""
    unseen = (
        case["case_id"]
        for case in cases
        if (case["tier"], case["stratum"], case["added_round"]) == ("unseen", "failure", round_id)
    )
    protected = {case["case_id"] for case in cases if case["is_protected"]}
    some = {
        "few_shot": sample(unseen, options.few_shot_cases if options.few_shot else 0, options.seed),
        "reference": frozenset(case["case_id"] for case in cases if case["tier"] == "anchor"),
        AGAIN: sample((case["case_id"] for case in cases), options.noise_sample, options.seed) | protected,
    }
    asked = ("champion", "few_shot", "challenger", *(["reference"] if "reference" in roles else []), AGAIN)
    return {role: some.get(role) for role in asked}


def sample(case_ids: Iterable[str], size: int, seed: int) -> frozenset[str]:
    """So many of the cases at most, by hash: whatever else there is, the same ones stay in it as long as they may."""
    return frozenset(heapq.nsmallest(size, case_ids, lambda id_: hashlib.sha256(f"{seed}/{id_}".encode()).digest()))


def write_queue(
    config: Config,
    files: Files,
    chosen: Mapping[str, frozenset[str] | None],
    models: Mapping[str, Model],
    snapshot: Path,
) -> int:
    """Write all that there has to be an answer to; how many rows."""
    from pyarrow import parquet as pq

    rows = 0
    with pq.ParquetWriter(files.queue, queue_schema()) as writer:
        for role, case_ids in chosen.items():
            for piece in _of_role(config, files, role, case_ids, snapshot):
                made = [queue_row(role, models[role], case) for case in piece]
                writer.write_table(table(made, queue_schema()))
                rows += len(made)
    return rows


def _of_role(
    config: Config, files: Files, role: str, case_ids: frozenset[str] | None, snapshot: Path
) -> Iterator[list[Row]]:
    if case_ids is None:
        yield from read_cases(files)
        return
    few = [case for piece in read_cases(files) for case in piece if case["case_id"] in case_ids] if case_ids else []
    if role == AGAIN:
        random.Random(config.engine.seed).shuffle(few)
    if role == "few_shot" and few:
        shown = examples_for(config, [case["input"] for case in few], read_corrections(snapshot))
        few = [case | {"shown": turns} for case, turns in zip(few, shown, strict=True)]
    yield from (few[start : start + PIECE_ROWS] for start in range(0, len(few), PIECE_ROWS))


def read_cases(files: Files) -> Iterator[list[Row]]:
    """The suite, some cases at a time; nothing where it is empty."""
    return pieces(files.cases, BATCH_ROWS) if files.cases.is_file() else iter(())


def queue_row(role: str, model: Model, case: Row) -> Row:
    """A case (case_id, input, expected) as it is asked, in the columns of the queue."""
    calls = case["expected"] if calls_tools(case["expected"]) else None
    shown = case.get("shown")
    return {
        "role": role,
        "case_id": case["case_id"],
        "answered_by": sha256([model.answered_by, case["input"], calls, shown]),
        "adapter": model.adapter,
        "input": case["input"],
        "calls": calls,
        "shown": shown,
        "afresh": role == AGAIN,
    }


def find_known(tx: Transaction, files: Files) -> int:
    """Put aside what the state knows, or an earlier run of this round has answered, and write what is left to ask.

    Returns how many answers are known.
    """
    import polars as pl

    files.answers.mkdir(exist_ok=True)
    queue = pl.scan_parquet(files.queue)
    found = [_from_state(tx, files), *sorted(files.answers.glob("*.parquet"))]
    known = (
        pl.scan_parquet(found, glob=False)
        .filter(pl.col("role") != AGAIN)
        .unique(["role", "case_id", "answered_by"], keep="first", maintain_order=True)
        .join(queue, on=["role", "case_id", "answered_by"], how="semi", maintain_order="left")
    )
    partial = files.known.with_suffix(".partial")
    known.sink_parquet(partial)
    partial.replace(files.known)
    for path in found:
        if path != files.known:
            path.unlink()
    left = queue.join(pl.scan_parquet(files.known), on=["role", "case_id"], how="anti", maintain_order="left")
    left.sink_parquet(files.asked, row_group_size=BATCH_ROWS)
    return int(pl.scan_parquet(files.known).select(pl.len()).collect().item())


def _from_state(tx: Transaction, files: Files) -> Path:
    from pyarrow import parquet as pq

    path = files.folder / "state.parquet"
    with tx.incoming([files.queue]), pq.ParquetWriter(path, answer_schema()) as writer:
        for batch in tx.batches("list_known_answers"):
            writer.write_batch(batch.cast(answer_schema()))
    return path


def read_answered(files: Files) -> Iterator[tuple[list[Row], "pl.DataFrame"]]:
    """The suite, some cases at a time, with their answers."""
    import polars as pl

    answers = _answers(files)
    for cases in read_cases(files):
        wanted = pl.LazyFrame({"case_id": [case["case_id"] for case in cases]})
        yield cases, answers.join(wanted, on="case_id", how="semi").collect()


def count_shown(files: Files) -> dict[str, Any]:
    """How many cases were asked with corrections in their prompt, how many of these had none, and how many it were."""
    import polars as pl

    shown = pl.col("shown").fill_null(0)
    found = _answers(files).filter(pl.col("role") == "few_shot")
    return dict(
        found.select(cases=pl.len(), shown=shown.sum(), without=(shown == 0).sum()).collect().row(0, named=True)
    )


def count_generated(tx: Transaction, files: Files) -> int:
    """Tokens of the answers that this round had to ask for, whichever of its attempts did: all but the state's."""
    import polars as pl

    with tx.incoming([files.queue]):
        stored = tx.frame("list_known_answers").lazy()
    of_state = stored.select("role", "case_id", "answered_by")
    found = _answers(files).join(of_state, on=["role", "case_id", "answered_by"], how="anti")
    return int(found.select(pl.col("tokens").sum()).collect().item() or 0)


def _answers(files: Files) -> "pl.LazyFrame":
    import polars as pl

    return pl.scan_parquet(sorted(files.answers.glob("*.parquet")), glob=False)
