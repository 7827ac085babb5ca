"""The collected signals, or a frozen snapshot, as files for other trainers: OpenAI's formats, and TRL's columns."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.chat import for_template, read_input
from tasks.config import Config
from tasks.db import Row, Transaction, require_state
from tasks.errors import ConfigError, StateError
from tasks.records import printable
from tasks.screen import decide_uses
from tasks.snapshots import answer_json, read_snapshot
from tasks.sources.mapping import json_text
from tasks.sources.openai_files import export_chat, export_preferences

LAYOUTS = ("chat", "preferences", "trl-sft", "trl-dpo")
OF_PAIRS = ("preferences", "trl-dpo")


def export(config: Config, layout: str, path: Path, snapshot: str | None = None) -> int:
    """Write signals to a file; how many there are. The file is there whole or not at all.

    Usable signals are screened as a round does it: an author's latest counts, and contradictions are resolved by the
    config. With `snapshot` (a hash, its beginning, or a version) the rows of that snapshot are written instead.
    OpenAI's layouts are JSON lines; TRL's columns (`messages`, or `prompt`, `chosen` and `rejected` as messages) are
    Parquet where the file is named `.parquet`, else JSON lines.

    Raises:
        ConfigError: there is no such layout, or it is none of a snapshot or of such a file.
        StateError: nothing has been collected, nothing is usable, the snapshot is not to be had, or the file cannot be
            written.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no format {layout}; write {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}")
    if not layout.startswith("trl-") and (snapshot is not None or path.suffix == ".parquet"):
        raise ConfigError(
            f"{layout} is written as JSON lines of the signals; snapshots and Parquet go with trl-sft, trl-dpo"
        )
    with require_state(config.database).transaction() as tx:
        rows = _signals(tx, config, layout) if snapshot is None else _snapshot_rows(tx, config, layout, snapshot)
    if not rows:
        if snapshot is not None:
            raise StateError("that snapshot has no row with a worse answer; leave out --snapshot to export the signals")
        raise StateError(f"{config.name} has no signals for {layout} yet; collect corrections first")
    _write(path, rows, layout)
    return len(rows)


def _signals(tx: Transaction, config: Config, layout: str) -> list[Row]:
    """The usable signals, each with input and answer, or with input and two answers."""
    # An unfinished round has pinned what it reads: what came in later waits for the next one here too.
    unfinished = tx.row("open_round")
    pinned = unfinished["pinned_seq"] if unfinished else tx.rows("next_ingest_seq")[0]["ingest_seq"] - 1
    decide_uses(tx, config, pinned)
    if layout in OF_PAIRS:
        rows = tx.rows("list_preferences_to_export", pinned_seq=pinned)
    else:
        rows = tx.rows("list_answers_to_export", pinned_seq=pinned)
    return [_trl_row(_with_turns(row)) for row in rows] if layout.startswith("trl-") else rows


def _with_turns(row: Mapping[str, str]) -> dict[str, str]:
    """A signal by the columns of a snapshot."""
    better = {"prompt": row["input"], "chosen": answer_json(row["chosen" if "chosen" in row else "output"])}
    return better | ({"rejected": answer_json(row["rejected"])} if "rejected" in row else {})


def _snapshot_rows(tx: Transaction, config: Config, layout: str, name: str) -> list[Row]:
    import polars as pl

    found = tx.rows("find_snapshots", version=name.removeprefix("v"), prefix=name)
    if len(found) != 1:
        what = "no snapshot or version" if not found else "more than one snapshot with a hash that begins with"
        raise StateError(
            f"{config.name} has {what} {printable(name)}; see `flywheel status --json` for those there are"
        )
    frozen = read_snapshot(Path(found[0]["path"]), found[0]["snapshot_hash"])
    columns = ["prompt", "chosen", *(["rejected"] if layout in OF_PAIRS else [])]
    rows = frozen.filter(pl.col("rejected").is_not_null()) if layout in OF_PAIRS else frozen
    return [_trl_row(row) for row in rows.select(columns).iter_rows(named=True)]


def _trl_row(row: Mapping[str, str]) -> dict[str, Any]:
    """A row by TRL's columns, in its conversational form."""
    messages, tools = read_input(row["prompt"])
    turns = {key: for_template(json.loads(text)) for key, text in row.items() if key != "prompt"}
    prompt, offered = for_template(messages), {"tools": tools} if tools else {}
    return offered | ({"prompt": prompt} | turns if "rejected" in turns else {"messages": prompt + turns["chosen"]})


def _lines(rows: Sequence[Row], layout: str) -> list[str]:
    if layout == "chat":
        return list(export_chat(rows))
    return list(export_preferences(rows)) if layout == "preferences" else [json_text(row) for row in rows]


def _write(path: Path, rows: Sequence[Row], layout: str) -> None:
    import polars as pl

    temporary = path.with_name(f".{path.name}.partial")
    if path.suffix == ".parquet" and any("tools" in row for row in rows):
        raise ConfigError(
            f"{path}: a Parquet table would give every call of a tool the arguments of all the others, as nulls; "
            f"name the file .jsonl"
        )
    try:
        if path.suffix == ".parquet":
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary)
        else:
            temporary.write_text("".join(f"{line}\n" for line in _lines(rows, layout)), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StateError(
            f"{path} cannot be written: {error.strerror or error}; give another file with --out"
        ) from error
