"""What rules propose not to train on, and what people decide instead; made anew when a round draws its sides.

By then contradictions are settled and failures have their classes, and nothing has been made of a signal yet. Rules
that the config lets take effect leave a signal out: of training, and where its answer is in doubt of the suite too. A
person overrules either way with `flywheel use`, for good. Nothing is deleted.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tasks.chat import Conversation, answer_message, calls_tools, read_input
from tasks.checks import make_check
from tasks.config import Config
from tasks.data_options import Rule
from tasks.db import Row, State, Transaction, require_state
from tasks.duplicates import components, is_short
from tasks.errors import StateError
from tasks.lint import (
    LEAST_OUTPUTS,
    SAMPLE,
    Finding,
    chat_tokenizer,
    check_facts,
    check_format,
    check_length,
    compare_inputs,
    count_conversations,
    count_tokens,
)
from tasks.records import now, sha256, user_text
from tasks.rounds import Round
from tasks.suspects import FITTED, Answer, find_suspects

if TYPE_CHECKING:
    import polars as pl

Use = Literal["train", "leave out"]

# The answer itself is in doubt: no case of the suite is made of it either.
WRONG: tuple[Rule, ...] = ("suspect_label", "format")
TEMPLATE_TOKENS, MESSAGE_TOKENS = 64, 16  # that a chat template says of its own accord, at most: at all, and a message


@dataclass(frozen=True)
class Proposal:
    """A rule's wish to leave a signal out, and why. `score` is how sure it is, where it says."""

    signal_id: str
    rule: Rule
    reason: str
    score: float | None = None


@dataclass(frozen=True)
class Proposed:
    """What rules propose in a round, how many answers could be checked for being right, and how inputs compare."""

    proposals: Sequence[Proposal]
    judged: Mapping[str, int]
    inputs: Mapping[str, float | int] | None


def propose(config: Config, round_: Round) -> Proposed:
    """What the rules say of the usable signals of a round.

    Confirmed calls beyond a sample are looked at only if they might be too long to train on.
    """
    state = State(config.database)
    with state.transaction() as tx:
        long = config.model.max_length - TEMPLATE_TOKENS - MESSAGE_TOKENS
        rows = tx.rows("list_proposable", pinned_seq=round_.pinned_seq, limit=FITTED, long=long)
        pairs = [(row["left_hash"], row["right_hash"]) for row in tx.rows("list_near_duplicates")]
        outputs = tx.rows("measure_outputs", pinned_seq=round_.pinned_seq)[0]
        window = {"pinned_seq": round_.pinned_seq, "round_id": round_.round_id}
        production = [user_text(row["input"]) for row in tx.rows("list_window_inputs", limit=SAMPLE, **window)]
    suspects, judged = propose_suspects(config, state, rows, pairs)
    found = [*suspects, *propose_singletons(rows), *propose_by_lint(config, rows, outputs), *propose_long(config, rows)]
    given = [user_text(row["input"]) for row in rows if _kind(row) == "demonstration"]
    return Proposed(found, judged, compare_inputs(given, production))


def _kind(row: Row) -> str:
    """`correction`, `demonstration` (a given one) or `confirmed`."""
    return "confirmed" if row["signal"] == "demonstration" and row["stratum"] else str(row["signal"])


def propose_suspects(
    config: Config, state: State, rows: Sequence[Row], pairs: Iterable[tuple[str, str]]
) -> tuple[list[Proposal], dict[str, int]]:
    """Answers that are likely wrong; how many answers could be judged, and how many could not.

    Of corrections all are looked at, of demonstrations at most FITTED, by hash. Those texts are encoded that a round
    encodes anyway: of corrections for their classes, and short ones.
    """
    from tasks.embed import embed

    chosen = _chosen(rows)
    hashes = {row["input_hash"] for row in chosen}
    group_of = components(hashes, pairs)
    answers = []
    for row in chosen:
        text = user_text(row["input"])
        encoded = row["signal"] == "correction" or (config.split.near_meaning is not None and is_short(text))
        group = group_of[row["input_hash"]]
        answers.append(Answer(row["signal_id"], text, row["answer"], group, _kind(row), encoded))
    suspects, judged = find_suspects(
        answers, lambda texts: embed(state, texts, config.encoder), config.scorer, config.screening.suspect_score
    )
    counts = {"judged": len(judged), "not_judged": len(rows) - len(judged)}
    return [
        Proposal(
            each.signal_id, "suspect_label", _doubt(each.field, each.given, each.verdict.likelier), round(each.score, 4)
        )
        for each in suspects
    ], counts


def _chosen(rows: Sequence[Row]) -> list[Row]:
    corrections = [row for row in rows if row["signal"] == "correction"]
    others = [row for row in rows if row["signal"] != "correction"]
    if len(others) > FITTED:
        others = sorted(others, key=lambda row: sha256(row["signal_id"]))[:FITTED]
    return sorted([*corrections, *others], key=lambda row: str(row["signal_id"]))


def _doubt(field: str, given: str, likelier: str) -> str:
    where = f"{field}: " if field else ""
    return f"{where}{given[:80]} was given, but answers to inputs like it speak for {likelier[:80]}"


def propose_singletons(rows: Sequence[Row]) -> list[Proposal]:
    """Corrections of failures that belong to no class of failures: too rare, or too odd, to be a pattern."""
    reason = "its failure belongs to no class of failures"
    return [Proposal(row["signal_id"], "singleton_cluster", reason) for row in rows if row["in_no_cluster"]]


def propose_by_lint(config: Config, rows: Sequence[Row], outputs: Row) -> list[Proposal]:
    """What `tasks.lint` finds in corrections and given demonstrations; confirmed calls are production's own answers."""
    checks = {check.name: make_check(check) for check in config.checks}
    found: list[Finding] = []
    for row in rows:
        if _kind(row) == "confirmed" or calls_tools(row["answer"]):
            continue
        key, answer = row["signal_id"], row["answer"]
        found += check_format(key, answer, checks)
        if outputs["outputs"] >= LEAST_OUTPUTS:
            found += check_length(key, answer, outputs["shortest"], outputs["longest"])
        found += check_facts(key, answer, _said(row["input"]))
    return [Proposal(each.signal_id, each.rule, each.reason) for each in found]


def _said(held: str) -> str:
    return "\n".join(message.get("content") or "" for message in read_input(held).messages)


def propose_long(config: Config, rows: Sequence[Row]) -> list[Proposal]:
    """Signals with more tokens than the base is used with, and answers with more than it may produce.

    No token is shorter than a byte: the tokenizer is loaded and asked only where there is something to count.
    """
    most, answer_most = config.model.max_length, config.model.max_new_tokens
    long = [row for row in rows if _most_tokens(_conversation(row)) > most]
    wordy = [
        row
        for row in rows
        if _kind(row) != "confirmed" and not calls_tools(row["answer"]) and len(row["answer"].encode()) >= answer_most
    ]
    if not long and not wordy:
        return []
    tokenizer = chat_tokenizer(config.model.base, config.model.trusts_code)
    tokens = count_conversations(tokenizer, [_conversation(row) for row in long])
    answer_tokens = count_tokens(tokenizer, [row["answer"] for row in wordy])
    return [
        Proposal(row["signal_id"], "over_length", _too_long("prompt and answer have", size, "max_length", most))
        for row, size in zip(long, tokens, strict=True)
        if size > most
    ] + [
        # The end of the answer takes a token too.
        Proposal(row["signal_id"], "length", _too_long("the answer has", size, "max_new_tokens", answer_most))
        for row, size in zip(wordy, answer_tokens, strict=True)
        if size >= answer_most
    ]


def _too_long(what: str, tokens: int, key: str, most: int) -> str:
    return f"{what} {tokens} tokens, more than model.{key} ({most}) leaves room for; raise it or shorten the row"


def _conversation(row: Row) -> Conversation:
    messages, tools = read_input(row["input"])
    return Conversation([*messages, answer_message(row["answer"])], tools)


def _most_tokens(conversation: Conversation) -> float:
    """No fewer tokens than the conversation has; how a template spells calls and tools is its own affair."""
    messages, tools = conversation
    if tools or any(message.get("tool_calls") for message in messages):
        return math.inf
    return TEMPLATE_TOKENS + sum(len(message["content"].encode()) + MESSAGE_TOKENS for message in messages)


def store(tx: Transaction, config: Config, proposed: Proposed, pinned_seq: int) -> dict[str, Any]:
    """Replace what was proposed before; what came of it, as a round's evidence tells it."""
    tx.run("clear_proposals")
    if proposed.proposals:
        tx.load("insert_proposals", _frame(proposed.proposals, config))
    return {
        "rules": tx.rows("count_proposals", pinned_seq=pinned_seq),
        "answers": dict(proposed.judged),
        "inputs": proposed.inputs,
    }


def _frame(proposals: Sequence[Proposal], config: Config) -> "pl.DataFrame":
    """Rows of `proposals`; of several findings by one rule the first is told."""
    import polars as pl

    first: dict[tuple[str, Rule], Proposal] = {}
    for each in proposals:
        first.setdefault((each.signal_id, each.rule), each)
    rows = [
        (
            each.signal_id,
            each.rule,
            each.reason,
            each.score,
            each.rule in config.screening.leave_out,
            each.rule in WRONG,
        )
        for each in first.values()
    ]
    texts = dict.fromkeys(("signal_id", "rule", "reason"), pl.String)
    schema = texts | {"score": pl.Float64, "leaves_out": pl.Boolean, "is_wrong": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


def proposals(config: Config) -> list[Row]:
    """What rules propose and people decided, signal by signal, with what is left out first."""
    with require_state(config.database).transaction() as tx:
        rows = tx.rows("list_proposals", pinned_seq=2**31 - 1)
    return [row | {"input": user_text(row["input"])} for row in rows]


def decide_use(config: Config, signal_id: str, use: Use, producer: str, reason: str) -> str:
    """Train on a signal, or leave it out, from now on, whatever rules propose; on record with who said so, and why.

    The id of the signal, of which the beginning will do.

    Raises:
        StateError: there is no such signal, it cannot be trained on for another reason, or no reason is given.
    """
    if not reason.strip():
        raise StateError("a decision has to have a reason; say why in --reason")
    with require_state(config.database).transaction() as tx:
        signal = _one_signal(tx, signal_id)
        if use == "train" and signal["excluded_because"] is not None:
            raise StateError(
                f"{signal['signal_id']} is left out for another reason, which a decision does not overrule: "
                f"{signal['excluded_because']}"
            )
        values = {"use": use, "set_by": producer, "reason": reason.strip(), "set_at": now()}
        tx.run("insert_signal_use", signal_id=signal["signal_id"], **values)
        tx.run("set_correction_uses", verified_by=list(config.suite.verified_by))
        return str(signal["signal_id"])


def _one_signal(tx: Transaction, signal_id: str) -> Row:
    """The signal of that id, or the only one whose id begins so."""
    found = tx.rows("get_signal", signal_id=signal_id)
    if not found:
        raise StateError(
            f"{signal_id} is no correction, given demonstration or confirmed call (confirmed:INFERENCE_ID); "
            f"`flywheel proposals` and `flywheel lineage` name them"
        )
    if len(found) > 1 and found[0]["signal_id"] != signal_id:
        raise StateError(f"{signal_id} begins the ids of several signals; give more of it")
    return found[0]
