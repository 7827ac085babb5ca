"""What the suite and the sampling of candidates share: a vLLM engine, its adapters, and what an answer is known by."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from tasks.adapters import adapter_sha256, base_sha256, check_adapter, files_of
from tasks.chat import MARK, same_calls
from tasks.child import gpus
from tasks.config import Config
from tasks.errors import FlywheelError
from tasks.records import sha256

MAX_SEQUENCES = 256
WAITING = 256  # requests beside those that are answered, so that a place that falls free is taken at once
KV_CACHE_GIB = "1"
LOGPROBS = 16  # a trainer lists five; servers give 20 at most
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".onnx"}


@dataclass(frozen=True)
class Prompt:
    """What is asked: token ids up to where the answer begins, and the adapter that answers (None: the bare base).

    `key` is whatever tells the prompt apart. What is asked `afresh` takes nothing that was computed for another prompt.
    """

    key: Any
    token_ids: list[int]
    adapter: str | None = None
    afresh: bool = False


class Reply(NamedTuple):
    """The text of an answer, and its length in tokens."""

    prompt: Prompt
    text: str
    tokens: int


class OwnEngine:
    """An engine of this process, for the adapters that are named (paths)."""

    def __init__(
        self, base: str, max_length: int, adapters: Sequence[str], dtype: str | None = None, trusts_code: bool = False
    ) -> None:
        lora: dict[str, Any] = {}
        if adapters:
            # One place more than there are adapters: on a CPU, vLLM 0.32 answers prompts for the bare base that share a
            # batch with others with whatever is in the last place, which stays empty so.
            rank, places = max(map(adapter_rank, adapters)), len(adapters) + 1
            lora = {"enable_lora": True, "max_lora_rank": rank, "max_loras": places}
        self._llm = start_engine(base, max_length, dtype=dtype, trusts_code=trusts_code, **lora)
        self._requests = {adapter: adapter_request(adapter, number) for number, adapter in enumerate(adapters, 1)}
        self._numbers = count()

    def answer(
        self, prompts: Iterable[Prompt], max_new_tokens: int, constraint: dict[str, Any] | None = None
    ) -> Iterator[Reply]:
        """The likeliest answers, as they are finished.

        The prompts are read as places fall free: no more than MAX_SEQUENCES + WAITING are held at a time, and nothing
        waits for a batch to end.
        """
        params = _params(max_tokens=max_new_tokens, structured_outputs=_constraint(constraint))
        for prompt, output in self._run(prompts, params):
            yield Reply(prompt, output.text, len(output.token_ids))

    def likeliest(self, prompts: Iterable[Prompt]) -> Iterator[tuple[Prompt, dict[int, float]]]:
        """The log-probabilities of the LOGPROBS likeliest next tokens, by token id."""
        for prompt, output in self._run(prompts, _params(max_tokens=1, logprobs=LOGPROBS)):
            yield prompt, {token: entry.logprob for token, entry in output.logprobs[0].items()}

    def close(self) -> None:
        """Nothing is left to do: the engine ends with its process."""

    def _run(self, prompts: Iterable[Prompt], params: Any) -> Iterator[tuple[Prompt, Any]]:
        engine, asked, left = self._llm.llm_engine, dict[str, Prompt](), iter(prompts)
        while True:
            for prompt in islice(left, MAX_SEQUENCES + WAITING - len(asked)):
                asked[self._add(engine, prompt, params)] = prompt
            if not asked:
                return
            for output in engine.step():
                if output.finished:
                    yield asked.pop(output.request_id), output.outputs[0]

    def _add(self, engine: Any, prompt: Prompt, params: Any) -> str:
        from vllm.inputs.engine import tokens_input

        number = str(next(self._numbers))
        salt = f"request {number}" if prompt.afresh else None
        request = None if prompt.adapter is None else self._requests[prompt.adapter]
        try:
            engine.add_request(number, tokens_input(prompt.token_ids, cache_salt=salt), params, lora_request=request)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise FlywheelError(f"vLLM refuses to answer: {reason}; see engine.structured_outputs and model") from error
        return number


def _params(**options: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(temperature=0.0, output_kind=RequestOutputKind.FINAL_ONLY, **options)


def _constraint(constraint: dict[str, Any] | None) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(**constraint) if constraint else None


def start_engine(
    base: str, max_length: int, *, dtype: str | None = None, trusts_code: bool = False, **options: Any
) -> Any:
    """A vLLM engine (`vllm.LLM`) of this process, on a GPU where there is one; `options` are more of vLLM's."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", KV_CACHE_GIB)
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import LLM

    return LLM(
        model=base,
        load_format="safetensors",
        trust_remote_code=trusts_code,
        dtype=dtype or engine_dtype(),
        max_model_len=max_length,
        max_num_seqs=MAX_SEQUENCES,
        enforce_eager=not gpus(),
        seed=0,
        **options,
    )


def engine_dtype() -> str:
    """What an engine of this machine computes in."""
    return "bfloat16" if gpus() else "float32"


def adapter_request(adapter: str | None, number: int) -> Any:
    """What tells the engine to answer with an adapter, known to it by a number from 1; None for the bare base."""
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    check_adapter(Path(adapter))
    return LoRARequest(Path(adapter).name, number, adapter)


def read_calls(output: str, written: str | None, expected: str) -> str:
    """An output as it is held: where the model wrote the right calls, these; any other text stays what it is."""
    return expected if written is not None and same_calls(output, written) else output.lstrip(MARK)


def answerer(config: Config, adapter: str | None, engine: str | None = None) -> str:
    """Hash of all that an answer depends on beside its input: base and chat template, adapter, lengths and engine.

    `engine` names another one than this machine's own.
    """
    return sha256(
        {
            "base": base_files(config.model.base),
            "adapter": adapter_sha256(Path(adapter)) if adapter else None,
            "max_length": config.model.max_length,
            "max_new_tokens": config.model.max_new_tokens,
            "engine": engine or f"{vllm_version()} {engine_dtype()}",
        }
    )


def base_files(base: str) -> list[Any]:
    """What a base model is known by: its weights' fingerprint, and its other files, the tokenizer's among them."""
    folder = files_of(base)
    files = sorted(folder.iterdir()) if folder else []
    texts = [file for file in files if file.is_file() and file.suffix not in WEIGHTS]
    hashes = [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in texts]
    others = [[file.name, file.stat().st_size] for file in files if file.suffix in WEIGHTS]
    return [base_sha256(base) or base, hashes, others]


def vllm_version() -> str:
    """The installed vLLM, whose CPU build goes by another name."""
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name} {importlib.metadata.version(name)}"
    raise FlywheelError("vLLM is not installed; install the pins in requirements/ (`make env`)")


def checked_adapter(path: str, recorded: str) -> str:
    """The folder of an adapter that is the recorded one.

    Raises:
        FlywheelError: its hash is another one.
    """
    if (found := adapter_sha256(Path(path))) != recorded:
        raise FlywheelError(
            f"the adapter {path} has sha256 {found[:12]}, not the recorded {recorded[:12]}; "
            f"restore it from the registry's copy"
        )
    return str(Path(path).resolve())


def adapter_rank(adapter: str) -> int:
    """The rank that an adapter was saved with."""
    return int(json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))["r"])
