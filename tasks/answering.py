"""The child process that answers the suite's queue: renders it, checks parity, and streams it through one engine.

The queue, the rendered prompts and the answers are Parquet files that are read and written piece by piece, so that
memory does not grow with the number of cases. Answers are written down as they are finished: what was answered before a
process died need not be asked again.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.base_models import load_tokenizer
from tasks.chat import Conversation, Turn, read_input, token_ids, written_calls
from tasks.child import Progress
from tasks.engine import OwnEngine, Prompt, Reply, read_calls
from tasks.errors import FlywheelError
from tasks.parity import agreement
from tasks.records import printable

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_ROWS = 1024  # of the queue, rendered and read at a time
PART_SECONDS = 20.0  # after which answers are written down, however few they are
PART = "part-{:05d}.parquet"


class Engine(Protocol):
    """What answers: an engine of this process, or a server."""

    def answer(
        self, prompts: Iterable[Prompt], max_new_tokens: int, constraint: dict[str, Any] | None = None
    ) -> Iterator[Reply]:
        """The answers, in the order in which they are finished."""

    def likeliest(self, prompts: Iterable[Prompt]) -> Iterator[tuple[Prompt, dict[int, float]]]:
        """Log-probabilities (nats) of the likeliest next tokens, by token id."""

    def close(self) -> None:
        """Give back what was taken of a server."""


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Answer the queue in this process; the facts of it. See `tasks.regress` for the spec.

    Raises:
        FlywheelError: a prompt leaves no room for its answer, trainer and server disagree, or a server fails.
    """
    folder = Path(spec["folder"])
    begun = time.perf_counter()
    prompts = folder / "prompts.parquet"
    rendered = render(Path(spec["queue"]), prompts, _tokenizer(spec), _room(spec), spec["leave_out_long"])
    rendering = time.perf_counter() - begun
    with closing(_start(spec)) as engine:
        agreed = agreement(engine, spec["probes"])
        begun = time.perf_counter()
        facts = _answer(engine, spec, prompts, rendered, progress)
        return facts | {
            "logprob_agreement": agreed,
            "prompts": rendered,
            "rendering_seconds": round(rendering, 3),
            "seconds": round(time.perf_counter() - begun, 3),
        }


def _start(spec: dict[str, Any]) -> Engine:
    adapters = spec["adapters"]
    if spec["server"] is None:
        return OwnEngine(spec["base"], spec["max_length"], adapters, spec["dtype"], spec["trusts_code"])
    from tasks.server import Server

    return Server(**spec["server"], adapters=adapters)


def _tokenizer(spec: dict[str, Any]) -> Any:
    return load_tokenizer(spec["base"], spec["trusts_code"])


def _room(spec: dict[str, Any]) -> int:
    return int(spec["max_length"] - spec["max_new_tokens"])


class TooLongError(FlywheelError):
    """A prompt leaves no room for its answer."""


def render(queue: Path, prompts: Path, tokenizer: Any, room: int, leave_out_long: bool = False) -> int:
    """Write the rows of the queue with their prompts' tokens, and what answers that call tools have to be; how many.

    All of them, before any is asked: that the last of many prompts is too long should not be found hours later.

    Raises:
        TooLongError: a prompt has more than `room` tokens, and such are not left out; names the case.
    """
    from pyarrow import parquet as pq

    rows = 0
    with pq.ParquetWriter(prompts, _prompt_schema()) as writer:
        for piece in pieces(queue):
            rendered = list(_render_all(piece, tokenizer, room, leave_out_long))
            writer.write_table(table(rendered, _prompt_schema()))
            rows += len(rendered)
    return rows


def _render_all(
    rows: Iterable[Mapping[str, Any]], tokenizer: Any, room: int, leave_out_long: bool
) -> Iterator[dict[str, Any]]:
    for row in rows:
        try:
            yield _render(row, tokenizer, room)
        except TooLongError:
            if not leave_out_long:
                raise


def _render(row: Mapping[str, Any], tokenizer: Any, room: int) -> dict[str, Any]:
    asked = read_input(row["input"])
    ids, shown = _prompt(row, asked, tokenizer, room)
    return {
        "role": row["role"],
        "case_id": row["case_id"],
        "answered_by": row["answered_by"],
        "adapter": row["adapter"],
        "afresh": row["afresh"],
        "token_ids": ids,
        "calls": row["calls"],
        "written": written_calls(tokenizer, asked, row["calls"]) if row["calls"] is not None else None,
        "shown": shown,
    }


def _prompt(row: Mapping[str, Any], asked: Conversation, tokenizer: Any, room: int) -> tuple[list[int], int | None]:
    """Token ids of the input's chat, and how many corrections stand before it (None where none should).

    Of these, the farthest are left out until the rest fits.
    """
    examples = [] if row["shown"] is None else json.loads(row["shown"])
    while True:
        ids = token_ids(tokenizer, with_examples(asked.messages, examples), asked.tools, prompt=True)
        if len(ids) <= room:
            return ids, None if row["shown"] is None else len(examples)
        if not examples:
            raise TooLongError(
                f"regression case {printable(row['case_id'])} has {len(ids)} tokens, and there is room for {room} "
                f"beside an answer (model.max_length less model.max_new_tokens); raise max_length. The case ends: "
                f"{printable((asked.messages[-1].get('content') or '')[-60:])!r}"
            )
        examples = examples[1:]


def with_examples(messages: list[Turn], examples: Iterable[list[Turn]]) -> list[Turn]:
    """The turns with those of the examples before them, behind what the system says."""
    first = next((place for place, turn in enumerate(messages) if turn["role"] != "system"), len(messages))
    return [*messages[:first], *(turn for example in examples for turn in example), *messages[first:]]


def example_turns(held: str, answer: Turn) -> list[Turn]:
    """An input with the turn that answers it, as earlier turns: without what the system says, which is said once."""
    return [*(turn for turn in read_input(held).messages if turn["role"] != "system"), answer]


def _answer(engine: Engine, spec: dict[str, Any], prompts: Path, total: int, progress: Progress) -> dict[str, Any]:
    """Stream the prompts through the engine and write the answers down, in whatever order they are finished."""
    parts = Parts(Path(spec["folder"]) / "answers", spec["part_rows"])
    replies = engine.answer(_asked(prompts), spec["max_new_tokens"], spec["structured_outputs"])
    tokens = prompt_tokens = 0
    try:
        for done, reply in enumerate(replies, 1):
            tokens, prompt_tokens = tokens + reply.tokens, prompt_tokens + len(reply.prompt.token_ids)
            if parts.add(_answer_row(reply)) or done == total:
                progress(done=done, total=total)
    finally:
        parts.write()
    return {"output_tokens": tokens, "prompt_tokens": prompt_tokens}


def _answer_row(reply: Reply) -> dict[str, Any]:
    row = reply.prompt.key
    return {
        "role": row["role"],
        "case_id": row["case_id"],
        "answered_by": row["answered_by"],
        "output": read_calls(reply.text, row["written"], row["calls"] or ""),
        "tokens": reply.tokens,
        "shown": row["shown"],
    }


def _asked(prompts: Path) -> Iterator[Prompt]:
    for piece in pieces(prompts):
        for row in piece:
            yield Prompt(row, row.pop("token_ids"), row.pop("adapter"), row.pop("afresh"))


class Parts:
    """Answers on their way to Parquet files, each of which is there whole or not at all."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._size = folder, size
        self._rows: list[dict[str, Any]] = []
        self._number = 0
        self._begun = time.monotonic()

    def add(self, row: dict[str, Any]) -> bool:
        """Take a row of ANSWERS' columns; whether a file was written."""
        self._rows.append(row)
        if len(self._rows) < self._size and time.monotonic() - self._begun < PART_SECONDS:
            return False
        self.write()
        return True

    def write(self) -> None:
        """Write what has not been written."""
        from pyarrow import parquet as pq

        if self._rows:
            path = self._folder / PART.format(self._number)
            partial = path.with_suffix(".partial")
            pq.write_table(table(self._rows, answer_schema()), partial)
            partial.replace(path)
            self._number += 1
        self._rows, self._begun = [], time.monotonic()


def pieces(path: Path, rows: int = PIECE_ROWS) -> Iterator[list[dict[str, Any]]]:
    """The rows of a Parquet file, so many at a time."""
    from pyarrow import parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows):
            yield batch.to_pylist()


def table(rows: list[dict[str, Any]], schema: "pa.Schema") -> "pa.Table":
    """Rows as a table of a schema."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema)


def answer_schema() -> "pa.Schema":
    """The columns of answers. shown: corrections in the prompt, where there should be some."""
    import pyarrow as pa

    texts = [pa.field(name, pa.string(), nullable=False) for name in ("role", "case_id", "answered_by", "output")]
    return pa.schema([*texts, pa.field("tokens", pa.int32()), pa.field("shown", pa.int32())])


def queue_schema() -> "pa.Schema":
    """The columns of the queue, in whose order is asked.

    calls: the right answer where it calls tools; shown: JSON of the turns of corrections that the prompt should have,
    the nearest last; afresh: nothing that was computed for another prompt may be used.
    """
    import pyarrow as pa

    texts = [pa.field(name, pa.string(), nullable=False) for name in ("role", "case_id", "answered_by", "input")]
    maybe = [pa.field(name, pa.string()) for name in ("adapter", "calls", "shown")]
    return pa.schema([*texts, *maybe, pa.field("afresh", pa.bool_())])


def _prompt_schema() -> "pa.Schema":
    import pyarrow as pa

    texts = [pa.field(name, pa.string(), nullable=False) for name in ("role", "case_id", "answered_by")]
    maybe = [pa.field(name, pa.string()) for name in ("adapter", "calls", "written")]
    rest = [("token_ids", pa.list_(pa.int32())), ("afresh", pa.bool_()), ("shown", pa.int32())]
    return pa.schema([*texts, *maybe, *(pa.field(name, kind) for name, kind in rest)])
