"""Stage 8: champion and challenger answer the whole regression suite, on one vLLM engine, in a child process.

Both are LoRA adapters of the same engine (a champion without an adapter is the bare base model), so that nothing
but the adapter differs between them. Before any case is judged, the server's log-probabilities are held against
the trainer's: what is gated must be what was trained. A case that the same model has answered before, with the same
decoding on the same engine, is not asked again.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.adapters import check_base
from tasks.case_scores import score_cases
from tasks.chat import Conversation, calls_tools, read_input, token_ids, written_calls
from tasks.child import Progress, run_child
from tasks.config import Config
from tasks.db import Row, State, Transaction
from tasks.engine import adapter_rank, adapter_request, answerer, checked_adapter, read_calls, start_engine
from tasks.errors import FlywheelError
from tasks.leaks import guard
from tasks.rounds import Round, held_row, record_evidence, writing
from tasks.suite import active_cases

ROLES = ("champion", "challenger")
CHUNK = 512
SERVER_LOGPROBS = 20


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Generate in this process (the child): the outputs of each role, in the prompts' order. See `regress`.

    Raises:
        FlywheelError: trainer and server disagree, or a prompt leaves no room for its answer.
    """
    rank = spec["max_lora_rank"]
    llm = start_engine(spec["base"], spec["max_length"], enable_lora=True, max_lora_rank=rank, max_loras=len(ROLES))
    agreement = _agreement(llm, spec["adapters"]["challenger"], spec["probe"])
    if agreement["max_abs_difference"] > spec["logprob_tolerance"]:
        raise FlywheelError(
            f"trainer and server disagree: a log-probability differs by {agreement['max_abs_difference']:.4f} nats "
            f"(tolerance {spec['logprob_tolerance']}), so what would be gated is not what was trained; check that "
            f"model.base is the folder the adapter was trained on"
        )
    tokenizer = llm.get_tokenizer()
    inputs = [read_input(held) for held in spec["inputs"]]
    prompts = _prompts(tokenizer, inputs, spec["max_length"] - spec["max_new_tokens"])
    written = {
        place: written_calls(tokenizer, inputs[place], answer)
        for place, answer in enumerate(spec["expected"])
        if calls_tools(answer)
    }
    asked = {role: [prompts[place] for place in places] for role, places in spec["asked"].items()}
    outputs = _generate(llm, asked, spec["adapters"], spec["max_new_tokens"], progress)
    for role, places in spec["asked"].items():
        outputs[role] = [
            read_calls(output, written.get(place), spec["expected"][place])
            for place, output in zip(places, outputs[role], strict=True)
        ]
    return {"outputs": outputs, "logprob_agreement": agreement | {"tolerance": spec["logprob_tolerance"]}}


def _request(role: str, adapter: str | None) -> Any:
    return adapter_request(adapter, ROLES.index(role) + 1)


def _agreement(llm: Any, adapter: str, probe: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The largest difference (nats) between the trainer's and the server's log-probabilities of the likeliest tokens.

    Prefix by prefix, each answered with one token: the CPU build cannot give log-probabilities of a prompt's own
    tokens under an adapter.
    """
    from vllm import SamplingParams

    answers = llm.generate(
        [{"prompt_token_ids": row["token_ids"]} for row in probe],
        SamplingParams(max_tokens=1, temperature=0.0, logprobs=SERVER_LOGPROBS),
        lora_request=_request("challenger", adapter),
        use_tqdm=False,
    )
    differences = []
    for row, answer in zip(probe, answers, strict=True):
        served = {token: entry.logprob for token, entry in answer.outputs[0].logprobs[0].items()}
        # A token that the server does not list is less likely there than all it lists.
        floor = min(served.values())
        differences += [abs(logprob - served.get(token, floor)) for token, logprob in row["likeliest"]]
    return {"tokens": len(differences), "max_abs_difference": max(differences)}


def _prompts(tokenizer: Any, inputs: Sequence[Conversation], room: int) -> list[dict[str, Any]]:
    """Token ids of each input's chat, up to where the answer begins."""
    prompts = []
    for messages, tools in inputs:
        ids = token_ids(tokenizer, messages, tools, prompt=True)
        if len(ids) > room:
            raise FlywheelError(
                f"a regression case has {len(ids)} tokens, which leaves no room for an answer within "
                f"model.max_length; raise it. The case begins: {messages[-1]['content'][:60]!r}"
            )
        prompts.append({"prompt_token_ids": ids})
    return prompts


def _generate(
    llm: Any,
    asked: dict[str, list[dict[str, Any]]],
    adapters: dict[str, str | None],
    max_new_tokens: int,
    progress: Progress,
) -> dict[str, list[str]]:
    from vllm import SamplingParams

    greedy = SamplingParams(temperature=0.0, max_tokens=max_new_tokens)
    total = sum(map(len, asked.values()))
    outputs: dict[str, list[str]] = {}
    for role, prompts in asked.items():
        outputs[role] = []
        for start in range(0, len(prompts), CHUNK):
            answers = llm.generate(
                prompts[start : start + CHUNK], greedy, lora_request=_request(role, adapters[role]), use_tqdm=False
            )
            outputs[role] += [answer.outputs[0].text for answer in answers]
            progress(done=sum(map(len, outputs.values())), total=total)
    return outputs


def regress(config: Config, round_: Round, on_progress: Progress | None = None) -> dict[str, Any]:
    """Run the suite as of this round on both models and store each case's outcome; counts.

    Raises:
        FlywheelError: an adapter is not the one that was recorded or belongs to another base, or see `main`.
    """
    guard(config, round_)
    with State(config.database).transaction() as tx:
        cases = active_cases(tx, config, round_.round_id)
        adapters = _adapters(tx, round_)
        for adapter in filter(None, adapters.values()):
            check_base(Path(adapter), config.model.base)
        answerers = {role: answerer(config, adapter) for role, adapter in adapters.items()}
        known = {
            role: {row["case_id"]: row["output"] for row in tx.rows("list_answers", answered_by=known_by)}
            for role, known_by in answerers.items()
        }
    asked = {role: [i for i, case in enumerate(cases) if case["case_id"] not in known[role]] for role in ROLES}
    folder = config.round_folder(round_.round_id)
    spec = {
        "base": config.model.base,
        "adapters": adapters,
        "max_lora_rank": max(adapter_rank(adapter) for adapter in adapters.values() if adapter),
        "max_length": config.model.max_length,
        "max_new_tokens": config.model.max_new_tokens,
        "inputs": [case["input"] for case in cases],
        "expected": [case["expected"] for case in cases],
        "asked": asked,
        "probe": json.loads((folder / "probe.json").read_text(encoding="utf-8")),
        "logprob_tolerance": config.gate.logprob_tolerance,
    }
    answered = run_child("tasks.regress:main", spec, folder, on_progress)
    for role, places in asked.items():
        given = zip(places, answered["outputs"][role], strict=True)
        known[role] |= {cases[place]["case_id"]: output for place, output in given}
    results, evidence = _judge(config, round_, cases, known, answerers)
    with writing(config, round_, "regress") as tx:
        tx.run("delete_case_results", round_id=round_.round_id)
        if cases:
            tx.load("insert_case_results", results)
        record_evidence(tx, round_, logprob_agreement=answered["logprob_agreement"], **evidence)
    reused = sum(len(cases) - len(places) for places in asked.values())
    return {"cases": len(cases), "reused": reused} | answered["logprob_agreement"]


def _adapters(tx: Transaction, round_: Round) -> dict[str, str | None]:
    """The folder of each role's adapter, its hash checked; None for a champion that is the bare base model."""
    challenger = held_row(tx, round_)
    champion = tx.row("get_version", version=round_.champion_version) if round_.champion_version else None
    return {
        role: checked_adapter(row["adapter_path"], row["adapter_sha256"]) if row else None
        for role, row in zip(ROLES, (champion, challenger), strict=True)
    }


def _judge(
    config: Config,
    round_: Round,
    cases: Sequence[Row],
    outputs: dict[str, dict[str, str]],
    answerers: dict[str, str],
) -> tuple[Any, dict[str, Row]]:
    """The frame of case_results, and what the scorer adds to the evidence."""
    import polars as pl

    scores, evidence = score_cases(config, cases, {role: outputs[role] for role in ROLES}, round_.pinned_seq)
    versions = {"champion": round_.champion_version or "base", "challenger": f"round {round_.round_id}"}
    frame = pl.DataFrame(
        [
            {
                "round_id": round_.round_id,
                "role": role,
                "model_version": versions[role],
                "case_id": case["case_id"],
                "output": outputs[role][case["case_id"]],
                "score": scores[role][case["case_id"]].value,
                "is_right": scores[role][case["case_id"]].is_right,
                "is_valid": scores[role][case["case_id"]].is_valid,
                "answered_by": answerers[role],
            }
            for role in ROLES
            for case in cases
        ]
    )
    return frame, evidence


@task(name="regress", cache_policy=NO_CACHE)
def regress_task(config: Config, round_: Round) -> None:
    """Prefect task around `regress`, with a progress bar in the UI."""
    logger = get_run_logger()
    bar = create_progress_artifact(progress=0.0, description=f"Regression suite of round {round_.round_id}")
    logger.info("Starting one vLLM engine for champion and challenger")

    def show(done: int, total: int) -> None:
        update_progress_artifact(artifact_id=bar, progress=100 * done / total)  # type: ignore[arg-type]
        logger.info("%d of %d answers", done, total)

    made = regress(config, round_, show)
    logger.info(
        "Both models answered %d cases (%d answers were known); trainer and server agree to %.1e nats over %d tokens",
        made["cases"], made["reused"], made["max_abs_difference"], made["tokens"],
    )  # fmt: skip
