"""What a round's shadow found, for people: both answers where they differ, and a file for reviewers that comes back."""

import json
from pathlib import Path
from typing import Any

from tasks.chat import answer_message, calls_tools, read_input, shown
from tasks.config import Config
from tasks.db import Row, require_state
from tasks.differences import difference
from tasks.errors import FlywheelError
from tasks.records import now, user_text
from tasks.rounds import complete_evidence
from tasks.shadow_words import shadow_lines

ROLES = ("champion", "challenger")


def read_shadow(config: Config, round_id: int) -> Row:
    """The shadow of a round: counts, `said` in sentences, and `answers`: what differs, with both answers.

    Raises:
        StateError: nothing has been collected yet.
        FlywheelError: there is no such round, or no shadow was asked for in it.
    """
    with require_state(config.database).transaction() as tx:
        row = tx.row("get_round", round_id=round_id)
        answers = tx.rows("list_shadow_answers", round_id=round_id)
    evidence = complete_evidence(config.name, row) if row else {}
    if "shadow" not in evidence:
        why = "had no shadow; set promotion.shadow in the config for later rounds" if row else "does not exist"
        raise FlywheelError(f"round {round_id} of {config.name} {why} (`flywheel status` lists the rounds)")
    return {
        "workload": config.name,
        "round": round_id,
        "champion": evidence["champion"],
        "challenger": evidence["challenger"] or {"label": f"round {round_id}", "version": None},
        **evidence["shadow"],
        "said": [f"{line}." for line in shadow_lines(evidence)],
        "answers": [_readable(row) for row in answers],
    }


def _readable(row: Row) -> Row:
    outputs = {f"{role}_output": shown(row[f"{role}_output"]) for role in ROLES}
    changed = difference(outputs["champion_output"], outputs["challenger_output"])
    return (
        row
        | outputs
        | {"difference": changed, "text": user_text(row["input"]), "held": {r: row[f"{r}_output"] for r in ROLES}}
    )


def write_review(found: Row, path: Path) -> None:
    """Write what differs as JSON lines, with blanks for a reviewer; configs/sources/shadow_review.yaml reads them back.

    Raises:
        FlywheelError: the file cannot be written.
    """
    asked_at = f"{now():%Y-%m-%dT%H:%M:%SZ}"
    lines = [json.dumps(_to_review(found, row, asked_at), ensure_ascii=False) + "\n" for row in found["answers"]]
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("".join(lines), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise FlywheelError(f"{path} cannot be written: {error.strerror}; name another file as --out") from error


def _to_review(found: Row, row: Row, asked_at: str) -> Row:
    """A line for a reviewer. What they fill in: who they are, and the right answer, or whose answer is better."""
    conversation = read_input(row["input"])
    return {
        "review_id": f"{found['workload']}-shadow-{found['round']}-{row['input_hash'][:16]}",
        "inference_id": row["inference_id"],
        "asked_at": asked_at,
        "messages": conversation.messages,
        "tools": conversation.tools,
        "class": row["cluster_id"],
        **{f"{role}_version": found[role]["label"] for role in ROLES},
        **{role: _answer_of(row["held"][role]) for role in ROLES},
        "reviewer": None,
        "right_answer": None,
        "champion_is_better": None,
        "challenger_is_better": None,
    }


def _answer_of(held: str) -> Any:
    return answer_message(held) if calls_tools(held) else held
