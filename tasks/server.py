"""A vLLM server that runs already, asked through its OpenAI-compatible API instead of an engine of our own.

Prompts go as token ids to /v1/completions, so that the chat template is ours here too. Adapters are loaded for the
time of the suite through /v1/load_lora_adapter, under names that their hash is part of, from where they lie: the server
has to see that folder. Those that it has loaded itself are named in the config.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import httpx

from tasks.adapters import adapter_sha256
from tasks.engine import LOGPROBS, Prompt, Reply
from tasks.engine_options import EngineConfig
from tasks.errors import FlywheelError
from tasks.records import printable
from tasks.secrets import hide, read_secret

T = TypeVar("T")

ATTEMPTS = 4
BACKOFF_SECONDS = 0.5  # before the second attempt; twice as long before each one more
AGAIN = {408, 429, 500, 502, 503, 504}  # what may be otherwise a moment later
TOKEN = "token_id:"
AGAIN_WITH = {
    "engine": "engine.timeout_s or lower engine.concurrency, and run the round again: what was answered is kept",
    "serving": "serving.timeout_s, and try again",
}
OTHERWISE = {"engine": ", or let it load them itself and name them in engine.adapters", "serving": ""}


class Served(NamedTuple):
    """What a server says of itself: its vLLM, and the name of its base model."""

    version: str
    model: str


def describe(options: EngineConfig, max_length: int) -> Served:
    """What the config's server runs.

    Raises:
        FlywheelError: it does not answer, serves no model, or takes fewer tokens than `max_length`.
    """
    with Connection(str(options.address), options.api_key_env, options.timeout_s) as connection:
        version = connection.get("/version").get("version", "of unknown version")
        models = [model for model in connection.get("/v1/models")["data"] if not model.get("parent")]
        if not models:
            raise FlywheelError(f"{options.address} serves no base model; start it with the one in model.base")
        longest = models[0].get("max_model_len")
        if longest is not None and longest < max_length:
            raise FlywheelError(
                f"{options.address} takes {longest} tokens and model.max_length is {max_length}; start the server with "
                f"--max-model-len {max_length}, or lower max_length"
            )
    return Served(f"vllm {version}", str(models[0]["id"]))


class Connection:
    """JSON to and from one address; what may pass is tried again, a few times."""

    def __init__(
        self,
        address: str,
        api_key_env: str | None,
        timeout_s: float,
        concurrency: int = 1,
        part: Literal["engine", "serving"] = "engine",
    ) -> None:
        """`part` is the one of the config that names the server."""
        self.address = address.rstrip("/")
        self._timeout_s, self.part = timeout_s, part
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        timeout = httpx.Timeout(timeout_s, pool=None)
        self._client = httpx.Client(timeout=timeout, limits=limits, headers=_key(api_key_env, part), trust_env=False)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        """What is at a path; raises as `post` does."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What is answered to a body.

        Raises:
            FlywheelError: the server cannot be reached, is too slow or fails, ATTEMPTS times; or it refuses.
        """
        return self._json("POST", path, body)

    def try_post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """The response to a body, whatever its status, unless that may be another one a moment later."""
        return self._send("POST", path, body)

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        response = self._send(method, path, body)
        if not response.is_success:
            raise FlywheelError(f"{self.address}{path} refuses: {reason(response)}; {_remedy(response, self.part)}")
        try:
            return response.json()
        except ValueError as error:
            raise FlywheelError(
                f"{self.address}{path} answers with what is no JSON; {self.part}.address must be that of a vLLM server"
            ) from error

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        failure = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                response = self._client.request(method, self.address + path, json=body)
            except httpx.TimeoutException:
                failure = f"did not answer within {self._timeout_s:g} s"
            except httpx.TransportError as error:
                failure = f"cannot be reached ({printable(str(error)) or type(error).__name__})"
            else:
                if response.status_code not in AGAIN:
                    return response
                failure = f"fails: {reason(response)}"
        raise FlywheelError(
            f"{self.address}{path} {failure}, {ATTEMPTS} times; see that the server runs and is well, raise "
            f"{AGAIN_WITH[self.part]}"
        )


def _key(api_key_env: str | None, part: str) -> dict[str, str]:
    if api_key_env is None:
        return {}
    return {"Authorization": f"Bearer {read_secret(api_key_env, f'{part}.api_key_env')}"}


def reason(response: httpx.Response) -> str:
    """The status, and what the server says of it, on one line."""
    try:
        said = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = response.text
    return f"{response.status_code} {printable(' '.join(hide(str(said)).split()))[:300]}".strip()


def _remedy(response: httpx.Response, part: str) -> str:
    if response.status_code in (401, 403):
        return f"name the environment variable, or the Prefect Secret block, that holds its key as {part}.api_key_env"
    return f"see {part} and model in the config, and how the server was started"


def load_adapter(connection: Connection, name: str, adapter: str) -> bool:
    """Load an adapter (a folder that the server sees) under a name; False where the name is taken already.

    Raises:
        FlywheelError: the server loads no adapters while it runs, or not this one.
    """
    response = connection.try_post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": adapter})
    if response.is_success:
        return True
    if "already been loaded" in response.text:
        return False
    if response.status_code == 404 and "No adapter" not in response.text:
        raise FlywheelError(
            f"{connection.address} loads no adapters while it runs; start it with --enable-lora and the environment "
            f"variable VLLM_ALLOW_RUNTIME_LORA_UPDATING=True{OTHERWISE[connection.part]}"
        )
    raise FlywheelError(
        f"{connection.address} does not load the adapter {adapter}: {reason(response)}; it has to see that folder, and "
        f"be started with --enable-lora and a --max-lora-rank of the adapter's or more"
    )


class Server:
    """A server with the adapters that are asked for, loaded until it is closed."""

    def __init__(
        self,
        address: str,
        api_key_env: str | None,
        timeout_s: float,
        concurrency: int,
        model: str,
        named: Mapping[str, str],
        adapters: Sequence[str],
    ) -> None:
        self._connection = Connection(address, api_key_env, timeout_s, concurrency)
        self._concurrency = concurrency
        self._names: dict[str | None, str] = {None: model}
        self._loaded: list[str] = []
        try:
            for adapter in adapters:
                self._names[adapter] = named[adapter] if adapter in named else self._load(adapter)
        except BaseException:
            self.close()
            raise

    def answer(
        self, prompts: Iterable[Prompt], max_new_tokens: int, constraint: dict[str, Any] | None = None
    ) -> Iterator[Reply]:
        """The likeliest answers, as they come; of the prompts no more than `concurrency` are held at a time."""
        body: dict[str, Any] = {"max_tokens": max_new_tokens}
        if constraint:
            body["structured_outputs"] = constraint
        for prompt, given in self._run(prompts, body):
            yield Reply(prompt, given["choices"][0]["text"], given["usage"]["completion_tokens"])

    def likeliest(self, prompts: Iterable[Prompt]) -> Iterator[tuple[Prompt, dict[int, float]]]:
        """The log-probabilities of the likeliest next tokens, by token id."""
        for prompt, given in self._run(
            prompts, {"max_tokens": 1, "logprobs": LOGPROBS, "return_tokens_as_token_ids": True}
        ):
            listed = given["choices"][0]["logprobs"]["top_logprobs"][0]
            yield prompt, {int(token.removeprefix(TOKEN)): logprob for token, logprob in listed.items()}

    def close(self) -> None:
        """Unload the adapters that were loaded, as far as the server still answers."""
        try:
            for name in self._loaded:
                self._connection.try_post("/v1/unload_lora_adapter", {"lora_name": name})
        except FlywheelError:
            pass  # what made it fail is told already, or nothing hangs on it
        finally:
            self._connection.__exit__()

    def _load(self, adapter: str) -> str:
        name = f"flywheel-{adapter_sha256(Path(adapter))[:12]}"
        # A name has the hash of the adapter in it: one that is there already is the same.
        if load_adapter(self._connection, name, adapter):
            self._loaded.append(name)
        return name

    def _run(self, prompts: Iterable[Prompt], body: Mapping[str, Any]) -> Iterator[tuple[Prompt, Any]]:
        """One adapter after another: on a CPU, vLLM 0.32 may take one for the bare base where they share a batch."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                for _, same in groupby(prompts, lambda prompt: prompt.adapter):
                    yield from self._run_at_once(pool, same, body)
            finally:
                pool.shutdown(cancel_futures=True)

    def _run_at_once(
        self, pool: ThreadPoolExecutor, prompts: Iterator[Prompt], body: Mapping[str, Any]
    ) -> Iterator[tuple[Prompt, Any]]:
        asked: dict[Future[Any], Prompt] = {}
        while True:
            for prompt in islice(prompts, self._concurrency - len(asked)):
                asked[pool.submit(self._ask, prompt, body)] = prompt
            if not asked:
                return
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                yield asked.pop(future), future.result()

    def _ask(self, prompt: Prompt, body: Mapping[str, Any]) -> Any:
        salt = {"cache_salt": os.urandom(16).hex()} if prompt.afresh else {}
        asked = {"model": self._names[prompt.adapter], "prompt": prompt.token_ids, "temperature": 0.0, "seed": 0}
        return self._connection.post("/v1/completions", asked | salt | dict(body))
