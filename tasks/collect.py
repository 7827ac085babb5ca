"""Stage 1: pull what is new from the sources into the state, each record exactly once.

Rows are read, mapped, typed and redacted outside the database and wait in Parquet files; then one transaction merges
them on their keys and writes the counts and the cursors. A pass that fails half-way leaves all of it as it was.
"""

import json
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from tasks.chat import calls_tools
from tasks.checks import make_check
from tasks.config import Config, SourceConfig
from tasks.db import Row, State, Transaction, scratch
from tasks.disk import naming_full_disk
from tasks.errors import SourceError
from tasks.progress import Show, watched
from tasks.records import now, printable, sha256
from tasks.scratch_folders import clear_leftovers, scratch_folder
from tasks.sources.base import Part
from tasks.sources.make import make_mapping, make_source
from tasks.sources.settings import FilesSourceConfig
from tasks.staging import KINDS, TERMS, Rejected, redact, type_batch

if TYPE_CHECKING:
    import polars as pl

    from tasks.redactors import Redactors

PIECE_ROWS = 65_536  # rows that are typed and redacted at a time
CORES = min(4, os.cpu_count() or 1)
WORKERS = CORES + 1  # threads that type; one of them waits for redaction
PASSES = 3  # that are begun before others have come in between too often
REDACTORS = max(1, CORES // 2)  # processes that redact
CONFLICTING = ("inferences", "demonstrations", "preferences")
BOOKKEEPING = ("position", "part", "row", "source", "content_hash", "key")


class _OvertakenError(Exception):
    """Another pass has ended since this one began, so that its cursors and its place hold no more."""


@dataclass(frozen=True)
class Collected:
    """The counts of one pass; `read == stored + known + quarantined`."""

    read: int = 0
    stored: int = 0
    known: int = 0
    quarantined: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Piece:
    """Rows that were typed, redacted and written: the files and their rows by table, and the rejected rows."""

    part: int
    files: list[tuple[str, Path, int]]
    rejected: list[Rejected]


@dataclass
class _Stage:
    """What a pass has read so far: typed rows in Parquet files by table, rejected rows, and where the sources stand.

    `position` numbers the records over all parts; `parts` are the source and name of each. Pieces are worked on side by
    side, each at a `desk` of its own, a database in memory; what came of them is taken in the order of reading.
    """

    folder: Path
    redactors: "Redactors | None"
    sequence: int
    moment: datetime
    keep: timedelta
    files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    parts: list[tuple[SourceConfig, Part]] = field(default_factory=list)
    cursors: list[Row] = field(default_factory=list)
    quarantine: list[Row] = field(default_factory=list)
    staged: Counter[str] = field(default_factory=Counter)
    position: int = 0
    open: ExitStack = field(default_factory=ExitStack)
    desks: "SimpleQueue[Transaction]" = field(default_factory=SimpleQueue)
    workers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WORKERS))
    pieces: "deque[Future[_Piece]]" = field(default_factory=deque)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within it parts may be read; at its end all that was read is in the files."""
        with self.open, self.workers:
            yield
            while self.pieces:
                self._take()

    def read(self, source: SourceConfig, part: Part) -> None:
        """Read a part to its end.

        Raises:
            SourceError: it cannot be read, or a row is no valid record and the source refuses those.
        """
        self.parts.append((source, part))
        mapping, before = make_mapping(source), self.position
        for batch in part.batches:
            for rows in batch.iter_slices(PIECE_ROWS):
                self._add(rows if mapping is None else self._map(rows, mapping))
        self.cursors.append(
            {
                "source": source.name,
                "part": part.name,
                "cursor": part.cursor,
                "read_rows": self.position - before,
                "ingest_seq": self.sequence,
            }
        )

    def _map(self, batch: "pl.DataFrame", mapping: Callable[[str], list[str]]) -> "pl.DataFrame":
        """The records that the rows hold; a row that cannot be mapped is rejected here."""
        import polars as pl

        records = []
        for row, raw in batch.iter_rows():
            try:
                records += [(row, line) for line in mapping(raw)]
            except ValueError as error:
                self.position += 1
                self.reject(len(self.parts) - 1, Rejected(row, _text(raw), str(error)))
        return pl.DataFrame(records, schema={"row": pl.Int64, "raw": pl.String}, orient="row")

    def _add(self, batch: "pl.DataFrame") -> None:
        if batch.height:
            self.pieces.append(self.workers.submit(self._work, batch, len(self.parts) - 1, self.position))
            self.position += batch.height
        if len(self.pieces) > WORKERS:
            self._take()

    def _work(self, batch: "pl.DataFrame", part: int, position: int) -> _Piece:
        """Type and redact the rows of a part, of which the first has this position, and write them."""
        import polars as pl

        places = pl.int_range(position, position + batch.height, dtype=pl.Int64, eager=True)
        desk = self._desk()
        try:
            typed = type_batch(desk, pl.DataFrame({"row": places, "raw": batch["raw"]}))
        finally:
            self.desks.put(desk)
        source = self.parts[part][0]
        files = []
        for number, (kind, frame) in enumerate(typed.frames):
            path = self.folder / f"{position}-{number}.parquet"
            placed = frame.rename({"row": "position"}).with_columns(
                batch["row"].gather(frame["row"] - position).alias("row"),
                pl.lit(part).alias("part"),
                pl.lit(source.name).alias("source"),
                *(
                    pl.col(key).fill_null(stated)
                    for key in TERMS
                    if key in kind.keys and (stated := getattr(source, key))
                ),
            )
            redact(kind, placed, self.redactors).write_parquet(path, compression="lz4", statistics=False)
            files.append((kind.table, path, frame.height))
        rejected = [Rejected(batch["row"][each.row - position], each.raw, each.reason) for each in typed.rejected]
        return _Piece(part, files, rejected)

    def _desk(self) -> Transaction:
        """One that nobody works at; the first few are made here."""
        try:
            return self.desks.get_nowait()
        except Empty:
            return self.open.enter_context(scratch(self.folder))

    def _take(self) -> None:
        """Wait for the oldest piece, and keep what came of it."""
        piece = self.pieces.popleft().result()
        for table, path, rows in piece.files:
            self.files[table].append(path)
            self.staged[table] += rows
        for rejected in piece.rejected:
            self.reject(piece.part, rejected)

    def reject(self, part: int, rejected: Rejected) -> None:
        """Set a row aside, its text redacted.

        Raises:
            SourceError: its source refuses rows that are no records.
        """
        source, name = self.parts[part][0], self.parts[part][1].name
        if source.on_malformed == "refuse":
            raise SourceError(
                f"source {source.name}: {name} row {rejected.row}: {rejected.reason}. Mend it, or set on_malformed: "
                f"quarantine for this source; nothing was stored"
            )
        # A line of a file has its place for good; a row of a result has another in every pull.
        place = rejected.row if isinstance(source, FilesSourceConfig) else None
        self.quarantine.append(
            {
                "quarantine_id": sha256([source.name, name, place, rejected.raw, rejected.reason]),
                "source": source.name,
                "part": name,
                "row": rejected.row,
                "reason": rejected.reason,
                "raw": self.redactors.redact(rejected.raw.strip()) if self.redactors else rejected.raw.strip(),
                "created_at": self.moment,
                "expires_at": self.moment + self.keep,
                "ingest_seq": self.sequence,
                "resolved_seq": None,
            }
        )


def _text(raw: str | bytes) -> str:
    return raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw


def collect(config: Config, on_progress: Show | None = None) -> Collected:
    """One pass over all sources; the counts of what became of each record that was read.

    Where another pass ends in the meantime, as when a round collects beside a schedule that does, its rows are known by
    then: the pass is made again, for what is left.

    Raises:
        SourceError: a source cannot be read, a row of one that refuses those is no valid record, or other passes kept
            coming in between; the state is as it was before.
        DiskFullError: there is no room; the state is as it was before.
    """
    with naming_full_disk(config.home):
        for _ in range(PASSES):
            with suppress(_OvertakenError):
                return _collect(config, on_progress)
    raise SourceError(
        f"{PASSES} times in a row another pass over the sources ended while this one was made; the next run makes it, "
        f"or let fewer runs collect at the same time"
    )


def _collect(config: Config, on_progress: Show | None) -> Collected:
    state = State(config.database)
    sequence, cursors = _position(state)
    parts = _pull(config, cursors)
    if on_progress is not None:
        parts = watched(parts, config.sources, on_progress)
    first = next(parts, None)
    if first is None:
        if config.home.is_dir():
            clear_leftovers(config.home, _staging(config))
        return Collected()
    from tasks.redactors import Redactors

    with scratch_folder(config.home, _staging(config)) as folder:
        redactors = None if config.redaction.style == "off" else Redactors(config, folder / "redactors.log", REDACTORS)
        stage = _Stage(folder, redactors, sequence, now(), timedelta(days=config.quarantine_days))
        with redactors or nullcontext(), stage.working():
            stage.read(*first)
            for source, part in parts:
                stage.read(source, part)
        with state.transaction() as tx:
            if tx.rows("next_ingest_seq")[0]["ingest_seq"] != sequence:
                raise _OvertakenError
            return _store(tx, stage, config)


def _staging(config: Config) -> str:
    """How the names of the folders begin in which the rows of a pass wait."""
    return f".{config.name}-staging-"


def _pull(config: Config, cursors: dict[str, dict[str, str]]) -> Iterator[tuple[SourceConfig, Part]]:
    for source in config.sources:
        for part in make_source(source, config).pull(cursors.get(source.name, {})):
            yield source, part


def _position(state: State) -> tuple[int, dict[str, dict[str, str]]]:
    """The pass's number, and each source's cursors by part; a state that does not exist is not created for asking."""
    if not state.path.is_file():
        return 1, {}
    with state.transaction() as tx:
        cursors: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in tx.rows("list_source_cursors"):
            cursors[row["source"]][row["part"]] = row["cursor"]
        return tx.rows("next_ingest_seq")[0]["ingest_seq"], cursors


def _store(tx: Transaction, stage: _Stage, config: Config) -> Collected:
    by_kind = {}
    tx.run("write_in_any_order")
    for kind in KINDS:
        if files := stage.files.get(kind.table):
            with tx.incoming(files):
                limits = {"failing": config.failing_rating} if kind.table == "ratings" else {}
                by_kind[kind.table] = tx.run(f"merge_{kind.table}", ingest_seq=stage.sequence, **limits)
                if "licence" in kind.keys:
                    tx.run("merge_preference_details" if "degree" in kind.keys else "merge_details")
                if kind.table in CONFLICTING and by_kind[kind.table] < stage.staged[kind.table]:
                    _reject_conflicting(tx, stage, kind.table)
    quarantined = _store_quarantine(tx, stage)
    tx.load("merge_source_cursors", _frame(stage.cursors))
    tx.run("attach_corrections")
    _check_outputs(tx, config, stage.sequence)
    stored = sum(by_kind.values())
    known = stage.position - stored - quarantined
    tx.run(
        "insert_collection",
        ingest_seq=stage.sequence,
        started_at=stage.moment,
        finished_at=now(),
        read_rows=stage.position,
        stored_rows=stored,
        known_rows=known,
        quarantined_rows=quarantined,
    )
    return Collected(stage.position, stored, known, quarantined, by_kind)


def _reject_conflicting(tx: Transaction, stage: _Stage, table: str) -> None:
    """Reject what came in under an id that has another content."""
    for row in tx.rows(f"list_conflicting_{table}"):
        record = json.loads(row["raw"])
        reason = f"{printable(row['key'])} has come in with another content before; give changed records their own id"
        said = {key: value for key, value in record.items() if key not in BOOKKEEPING and value is not None}
        text = json.dumps(said, ensure_ascii=False)
        stage.reject(record["part"], Rejected(record["row"], text, reason))


def _store_quarantine(tx: Transaction, stage: _Stage) -> int:
    """Store what is rejected for the first time, and see what is mended; the number of rows that are new there."""
    tx.run("expire_quarantined_rows", moment=stage.moment)
    ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in stage.quarantine:
        ids[row["source"], row["part"]].append(row["quarantine_id"])
    whole = [
        {"source": source.name, "part": part.name, "quarantine_ids": ids[source.name, part.name]}
        for source, part in stage.parts
        if part.whole
    ]
    if whole:
        tx.load("resolve_quarantined_rows", _frame(whole), ingest_seq=stage.sequence)
    return tx.load("merge_quarantined_rows", _frame(stage.quarantine)) if stage.quarantine else 0


def _check_outputs(tx: Transaction, config: Config, sequence: int) -> None:
    """Hold the outputs that came in against the config's rules, which judge texts; equal outputs are looked at once."""
    checks = [(check.name, make_check(check)) for check in config.checks]
    if not checks:
        return
    found = [
        {"output": row["output"], "rule": name, "reason": reason}
        for row in tx.rows("list_unchecked_outputs", ingest_seq=sequence)
        for name, check in checks
        if not calls_tools(row["output"])
        if (reason := check(row["output"])) is not None
    ]
    if found:
        tx.load("insert_checks", _frame(found), ingest_seq=sequence)


def _frame(rows: list[Row]) -> Any:
    import polars as pl

    return pl.DataFrame(rows, infer_schema_length=None)
