"""The collected signals as files for other trainers, in the formats that OpenAI's fine-tuning takes."""

from pathlib import Path

from tasks.config import Config
from tasks.db import require_state
from tasks.errors import ConfigError, StateError
from tasks.screen import decide_uses
from tasks.sources.openai_files import export_chat, export_preferences

LAYOUTS = ("chat", "preferences")


def export(config: Config, layout: str, path: Path) -> int:
    """Write the usable signals to a file of JSON lines; how many there are. The file is there whole or not at all.

    Signals are screened as a round does it: an author's latest counts, and contradictions are resolved by the config.

    Raises:
        ConfigError: there is no such layout.
        StateError: nothing has been collected, nothing is usable, or the file cannot be written.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no format {layout}; write {' or '.join(LAYOUTS)}")
    with require_state(config.database).transaction() as tx:
        # An unfinished round has pinned what it reads: what came in later waits for the next one here too.
        unfinished = tx.row("open_round")
        pinned = unfinished["pinned_seq"] if unfinished else tx.rows("next_ingest_seq")[0]["ingest_seq"] - 1
        decide_uses(tx, config, pinned)
        if layout == "chat":
            lines = list(export_chat(tx.rows("list_answers_to_export", pinned_seq=pinned)))
        else:
            lines = list(export_preferences(tx.rows("list_preferences_to_export", pinned_seq=pinned)))
    if not lines:
        raise StateError(f"{config.name} has no signals for {layout} yet; collect corrections first")
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StateError(f"{path} cannot be written: {error.strerror}; give another file with --out") from error
    return len(lines)
