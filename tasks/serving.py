"""The vLLM server that production asks: told to load each champion, and switched only once that one has answered.

Clients ask for one stable name, always. A version is first loaded under a name of its own, which its hash is part of,
and has to answer a real prompt there; only then the stable name is given to it, in place: at no moment is it missing,
and calls that have begun are finished by the new adapter. The names of versions are taken away again.

The bare base has no adapter to load; it is served by one of zeros.
"""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.adapters import CONFIG, WEIGHTS, adapter_sha256
from tasks.chat import Conversation, read_input
from tasks.config import Config
from tasks.db import require_state
from tasks.errors import FlywheelError
from tasks.moves import moving
from tasks.probe import real_input
from tasks.server import Connection, load_adapter, reason
from tasks.serving_middleware import HEADER, PATH
from tasks.verify import check_files

PROBE_TOKENS = 8


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


def switch(config: Config, adapter: str, asked: Conversation) -> str | None:
    """Give the stable name to an adapter that has answered; nothing is done where it has the name already.

    Returns:
        What is not as it should be with the server, though it serves the adapter; None where nothing is.

    Raises:
        FlywheelError: as `prove`; the stable name stands for what it stood for.
    """
    with _connect(config) as connection:
        own, remark = _own_name(config, adapter), None
        if _root(connection, stable_name(config)) != adapter:
            _prove(connection, own, adapter, asked)
            remark = _hand_over(connection, stable_name(config), adapter)
        _unload(connection, own)
    return remark


def serve(config: Config, version: str | None) -> str | None:
    """Let the stable name stand for a version (None: the bare base); see `switch`.

    Raises:
        FlywheelError: as `switch`; or its files are not what was gated.
    """
    adapter = _adapter(config, version)
    if adapter is None or _is_served(config, version, adapter):
        return None
    return switch(config, adapter, read_input(real_input(config)))


def mend(config: Config) -> str | None:
    """Let the server serve the champion, if it does not, as after it was started anew; what was done.

    A move that is on its way is left alone.

    Raises:
        FlywheelError: the server cannot be asked, or see `serve`.
    """
    if config.serving.address is None:
        return None
    with moving(config):
        with require_state(config.database).transaction() as tx:
            row = tx.row("get_champion")
            if tx.rows("list_unfinished_moves"):
                return None
        before = served(config)
        serve(config, row["to_version"] if row else None)
        after = served(config)
    if after == before:
        return None
    return f"{config.serving.address} served {before or 'nothing'} as {stable_name(config)}, and now {after}"


def _adapter(config: Config, version: str | None) -> str | None:
    """The folder of what a version is served by; None where the bare base has nothing to be served by yet."""
    with require_state(config.database).transaction() as tx:
        known = tx.rows("list_versions")
    if version is not None:
        return check_files(config, next(row for row in known if row["version"] == version))
    return blank_adapter(Path(known[-1]["adapter_path"]), config.folder / "serving") if known else None


def _is_served(config: Config, version: str | None, adapter: str) -> bool:
    """Whether the stable name stands for an adapter; one of zeros is as good as another."""
    found = served(config)
    return found == adapter or (version is None and found is not None and Path(found).parent == Path(adapter).parent)


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
def _connect(config: Config) -> Iterator[Connection]:
    options = config.serving
    address = str(options.address)
    with Connection(address, options.api_key_env, options.timeout_s, part="serving") as connection:
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


def _hand_over(connection: Connection, name: str, adapter: str) -> str | None:
    """Let the stable name stand for an adapter; see `switch`."""
    is_there = _root(connection, name) is not None
    response = connection.try_post(PATH, {"lora_name": name, "lora_path": adapter, "load_inplace": is_there})
    if not response.is_success or _root(connection, name) != adapter:
        raise FlywheelError(f"{connection.address} does not serve {adapter} as {name}: {reason(response)}")
    if is_there and HEADER not in response.headers:
        return (
            f"{connection.address} runs without --middleware tasks.serving_middleware.ReadOnce: until it is started "
            f"anew, vLLM up to 0.32 reads the adapter from disk at each step, which is slow"
        )
    return None


def _unload(connection: Connection, name: str) -> None:
    connection.try_post("/v1/unload_lora_adapter", {"lora_name": name})
