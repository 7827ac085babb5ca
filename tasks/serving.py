"""The vLLM server that production asks: told to load each champion, and switched only once that one has answered.

Clients ask for one stable name, always. A version is first loaded under a name of its own, which its hash is part of,
and has to answer a real prompt there; then the stable name is given to it.

How the stable name changes hands: `load_inplace` does it in one step, but vLLM 0.32 keeps that flag with the name and
reads the adapter from disk at each step of the model from then on. To unload the name and load it again leaves a moment
in which it does not exist. So the old adapter is reloaded in place, which changes nothing and holds the name's lock, and
unloading and loading are sent while it is held: the server does both at once after it, and requests that come in between
wait at the same lock. Calls that have begun are finished by the old adapter.
"""

import math
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.adapters import CONFIG, WEIGHTS, adapter_sha256
from tasks.chat import Conversation
from tasks.config import Config
from tasks.errors import FlywheelError
from tasks.server import Connection, load_adapter

PROBE_TOKENS = 8
APART_SECONDS = 0.004  # between the three requests of a switch, so that they arrive in order


def stable_name(config: Config) -> str:
    """The name of the model that clients ask for."""
    return config.serving.name or config.name


def served(config: Config) -> str | None:
    """The folder of the adapter that the stable name stands for on the server; None where the name is not there.

    Raises:
        FlywheelError: the server cannot be asked.
    """
    with _connect(config) as connection:
        return _root(connection, stable_name(config))


def prove(config: Config, adapter: str, asked: Conversation) -> None:
    """Load an adapter (a folder) on the server under a name of its own and let it answer; what is served stays.

    Raises:
        FlywheelError: the server cannot be reached, does not load it, or it does not answer with numbers.
    """
    with _connect(config) as connection:
        _prove(connection, _own_name(config, adapter), adapter, asked)


def switch(config: Config, adapter: str, asked: Conversation) -> None:
    """Give the stable name to an adapter that has answered; nothing is done where it has the name already.

    Raises:
        FlywheelError: as `prove`; the stable name stands for what it stood for.
    """
    with _connect(config, 3) as connection:
        stable, own = stable_name(config), _own_name(config, adapter)
        before = _root(connection, stable)
        if before != adapter:
            _prove(connection, own, adapter, asked)
            _hand_over(connection, stable, before, adapter)
        _unload(connection, own)


def blank_adapter(like: Path, folder: Path) -> str:
    """An adapter of the same shape as `like` that changes nothing: with it, the bare base answers. Its folder.

    Every number in it is zero, in whatever type: the header of the weights is copied and their bytes are left empty.
    """
    target = folder / f"blank-{adapter_sha256(like)[:12]}"
    if not target.is_dir():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        shutil.copy(like / CONFIG, partial / CONFIG)
        _write_zeros(like / WEIGHTS, partial / WEIGHTS)
        partial.rename(target)
    return str(target.resolve())


def _write_zeros(weights: Path, blank: Path) -> None:
    """Copy a safetensors file without its numbers: eight bytes with the header's length, the header, and zeros."""
    with weights.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
    with blank.open("wb") as file:
        file.write(length + header)
        file.truncate(weights.stat().st_size)


@contextmanager
def _connect(config: Config, concurrency: int = 1) -> Iterator[Connection]:
    options = config.serving
    address = str(options.address)
    with Connection(address, options.api_key_env, options.timeout_s, concurrency, "serving") as connection:
        yield connection


def _own_name(config: Config, adapter: str) -> str:
    return f"{stable_name(config)}-{adapter_sha256(Path(adapter))[:12]}"


def _root(connection: Connection, name: str) -> str | None:
    models = connection.get("/v1/models")["data"]
    return next((str(model["root"]) for model in models if model["id"] == name and model.get("parent")), None)


def _prove(connection: Connection, name: str, adapter: str, asked: Conversation) -> None:
    load_adapter(connection, name, adapter)
    try:
        answer = connection.post("/v1/chat/completions", _question(name, asked))
        _check_answer(connection.address, adapter, answer)
    except FlywheelError:
        _unload(connection, name)
        raise


def _question(name: str, asked: Conversation) -> dict[str, Any]:
    tools = {"tools": asked.tools, "tool_choice": "none"} if asked.tools else {}
    decoding = {"max_tokens": PROBE_TOKENS, "temperature": 0.0, "logprobs": True}
    return {"model": name, "messages": asked.messages} | tools | decoding


def _check_answer(address: str, adapter: str, answer: dict[str, Any]) -> None:
    """Refuse an answer without tokens, or of a model that computes no numbers."""
    tokens = ((answer.get("choices") or [{}])[0].get("logprobs") or {}).get("content") or []
    if not tokens or not all(math.isfinite(token["logprob"]) for token in tokens):
        found = "no token" if not tokens else "tokens without a probability"
        raise FlywheelError(f"{address} answers with {found} under the adapter {adapter}; train another version")


def _hand_over(connection: Connection, name: str, before: str | None, adapter: str) -> None:
    """Change what the stable name stands for; see the module for how, and why so."""
    loading = {"lora_name": name, "lora_path": adapter}
    if before is not None:
        steps = [
            ("/v1/load_lora_adapter", {"lora_name": name, "lora_path": before, "load_inplace": True}),
            ("/v1/unload_lora_adapter", {"lora_name": name}),
            ("/v1/load_lora_adapter", loading),
        ]
        _send_in_order(connection, steps)
    # Whatever came of the three: the name is given to the adapter where it has not got it.
    for _ in range(2):
        if _root(connection, name) == adapter:
            return
        if not load_adapter(connection, name, adapter):
            _unload(connection, name)
    if _root(connection, name) != adapter:
        raise FlywheelError(f"{connection.address} does not serve {adapter} as {name}; see the server's log")


def _send_in_order(connection: Connection, steps: list[tuple[str, dict[str, Any]]]) -> None:
    """Send requests side by side, each shortly after the one before; answers are waited for, and not judged."""
    threads = [threading.Thread(target=_send, args=(connection, *step), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
        time.sleep(APART_SECONDS)
    for thread in threads:
        thread.join()


def _send(connection: Connection, path: str, body: dict[str, Any]) -> None:
    try:
        connection.try_post(path, body)
    except FlywheelError:
        return  # what the name stands for afterwards is looked at


def _unload(connection: Connection, name: str) -> None:
    connection.try_post("/v1/unload_lora_adapter", {"lora_name": name})


