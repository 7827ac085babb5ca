"""A server that runs already: asked as our own engine is, and what it fails with is said with what to do about it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks import server
from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.engine import Prompt
from tasks.engine_options import EngineConfig
from tasks.errors import FlywheelError
from tasks.parity import agreement, predicted
from tasks.server import ATTEMPTS, Served, Server, describe
from tests.tasks.real_server import running_server
from tests.tasks.tiny import leaning_adapter, tiny_tokenizer

Answer = Callable[[str, Any], tuple[int, Any]]


class StandIn:
    """A server on this machine that answers as it is told, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, Any, str | None]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stand_in.asked.append((self.path, json.loads(body or b"null"), self.headers.get("Authorization")))
                status, value = answer(self.path, stand_in.asked[-1][1])
                text = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], StandIn]]:
    monkeypatch.setattr(server, "BACKOFF_SECONDS", 0.001)
    opened: list[StandIn] = []

    def make(answer: Answer) -> StandIn:
        opened.append(StandIn(answer))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def completion(text: str = "fine", tokens: int = 2) -> tuple[int, Any]:
    return 200, {"choices": [{"text": text}], "usage": {"completion_tokens": tokens}}


def ask(
    address: str, *prompts: Prompt, timeout_s: float = 5.0, adapters: tuple[str, ...] = (), **named: str
) -> list[Any]:
    asked = Server(address, None, timeout_s, 4, "base", named, adapters)
    try:
        return sorted(asked.answer(prompts, 8, {"choice": ["a"]}), key=lambda reply: reply.prompt.key)
    finally:
        asked.close()


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_text("{}")
    return str(tmp_path)


def test_prompts_go_as_tokens_and_each_reply_finds_its_prompt(stand_in: Any) -> None:
    told = stand_in(lambda path, body: completion(str(sum(body["prompt"])), len(body["prompt"])))
    replies = ask(told.address, *(Prompt(number, [number, 1]) for number in range(40)))
    assert [(reply.text, reply.tokens) for reply in replies] == [(str(number + 1), 2) for number in range(40)]
    path, body, _ = told.asked[0]
    assert path == "/v1/completions"
    assert body | {"prompt": None} == {
        "model": "base", "prompt": None, "temperature": 0.0, "seed": 0, "max_tokens": 8,
        "structured_outputs": {"choice": ["a"]},
    }  # fmt: skip


def test_what_is_asked_afresh_shares_nothing_with_other_prompts(stand_in: Any) -> None:
    told = stand_in(lambda path, body: completion())
    ask(told.address, Prompt(0, [1], afresh=True), Prompt(1, [1], afresh=True), Prompt(2, [1]))
    salts = [body.get("cache_salt") for _, body, _ in told.asked]
    assert len({salt for salt in salts if salt}) == 2 and salts.count(None) == 1


def test_what_passes_is_tried_again(stand_in: Any) -> None:
    failures = iter([503, 500, 429])
    told = stand_in(lambda path, body: (status, {}) if (status := next(failures, None)) else completion())
    assert [reply.text for reply in ask(told.address, Prompt(0, [1]))] == ["fine"]
    assert len(told.asked) == ATTEMPTS


def test_a_server_that_keeps_failing_is_named_with_what_it_says(stand_in: Any) -> None:
    told = stand_in(lambda path, body: (500, {"error": {"message": "out of\nmemory"}}))
    with pytest.raises(
        FlywheelError, match=rf"{told.address}/v1/completions fails: 500 out of memory, {ATTEMPTS} times; see"
    ):
        ask(told.address, Prompt(0, [1]))
    assert len(told.asked) == ATTEMPTS


def test_a_server_that_does_not_answer_in_time_is_named(stand_in: Any) -> None:
    told = stand_in(lambda path, body: (time.sleep(0.3), completion())[1])
    with pytest.raises(FlywheelError, match=r"did not answer within 0\.05 s, 4 times; .* raise engine\.timeout_s"):
        ask(told.address, Prompt(0, [1]), timeout_s=0.05)


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BACKOFF_SECONDS", 0.001)
    with pytest.raises(
        FlywheelError, match=r"http://127\.0\.0\.1:1/version cannot be reached .* see that the server runs"
    ):
        describe(EngineConfig(address="http://127.0.0.1:1"), 64)


def test_a_refusal_is_not_tried_again(stand_in: Any) -> None:
    told = stand_in(lambda path, body: (400, {"error": {"message": "too long"}}))
    with pytest.raises(FlywheelError, match="refuses: 400 too long; see engine and model"):
        ask(told.address, Prompt(0, [1]))
    assert len(told.asked) == 1


def test_adapters_are_loaded_under_their_hash_and_unloaded(stand_in: Any, adapter: str) -> None:
    told = stand_in(lambda path, body: completion() if path == "/v1/completions" else (200, b"Success"))
    ask(told.address, Prompt(0, [1], adapter), Prompt(1, [1]), adapters=(adapter,))
    name = f"flywheel-{adapter_sha256(Path(adapter))[:12]}"
    assert told.asked[0][:2] == ("/v1/load_lora_adapter", {"lora_name": name, "lora_path": adapter})
    assert told.asked[-1][:2] == ("/v1/unload_lora_adapter", {"lora_name": name})
    assert sorted(body["model"] for path, body, _ in told.asked if path == "/v1/completions") == ["base", name]


def test_adapters_that_the_config_names_are_not_loaded(stand_in: Any, adapter: str) -> None:
    told = stand_in(lambda path, body: completion())
    ask(told.address, Prompt(0, [1], adapter), adapters=(adapter,), **{adapter: "mine"})
    assert [(path, body["model"]) for path, body, _ in told.asked] == [("/v1/completions", "mine")]


def test_a_server_that_loads_no_adapters_is_refused_with_what_to_set(stand_in: Any, adapter: str) -> None:
    told = stand_in(lambda path, body: (404, {"detail": "Not Found"}))
    with pytest.raises(
        FlywheelError, match=r"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or .* name them in engine\.adapters"
    ):
        ask(told.address, Prompt(0, [1], adapter), adapters=(adapter,))


def test_an_adapter_that_the_server_cannot_see_is_named(stand_in: Any, adapter: str) -> None:
    told = stand_in(lambda path, body: (404, {"error": {"message": f"failed: No adapter found for {adapter}"}}))
    with pytest.raises(FlywheelError, match=rf"does not load the adapter {adapter}: 404 .* has to see that folder"):
        ask(told.address, Prompt(0, [1], adapter), adapters=(adapter,))


def test_the_key_is_taken_from_the_environment_and_not_told(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = stand_in(lambda path, body: (401, {"error": {"message": "Unauthorized"}}))
    options = EngineConfig(address=told.address, api_key_env="SECRET_OF_MINE")
    with pytest.raises(FlywheelError, match="SECRET_OF_MINE is not set"):
        describe(options, 64)
    monkeypatch.setenv("SECRET_OF_MINE", "tell-nobody")
    with pytest.raises(FlywheelError, match="401 Unauthorized; name the environment variable") as caught:
        describe(options, 64)
    assert told.asked[0][2] == "Bearer tell-nobody" and "tell-nobody" not in str(caught.value)


def test_a_server_that_takes_too_few_tokens_is_refused(stand_in: Any) -> None:
    models = {"data": [{"id": "m", "max_model_len": 32}, {"id": "a", "parent": "m"}], "version": "1.2"}
    told = stand_in(lambda path, body: (200, models))
    assert describe(EngineConfig(address=told.address), 32) == Served("vllm 1.2", "m")
    with pytest.raises(
        FlywheelError, match=r"takes 32 tokens and model\.max_length is 64; start .* --max-model-len 64"
    ):
        describe(EngineConfig(address=told.address), 64)


def test_what_is_no_vllm_server_is_said(stand_in: Any) -> None:
    told = stand_in(lambda path, body: (200, b"<html>"))
    with pytest.raises(FlywheelError, match=r"no JSON; engine\.address must be that of a vLLM server"):
        describe(EngineConfig(address=told.address), 64)


@pytest.fixture
def vllm_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real server of the undecided base, on the loopback; its address and the base."""
    with running_server(tmp_path, "--max-loras", "1") as (address, base):
        yield address, base


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_real_server_answers_with_adapters_and_constraints_and_agrees_with_the_trainer(
    vllm_server: tuple[str, Path], tmp_path: Path
) -> None:
    address, base = vllm_server
    adapter = str(leaning_adapter(base, tmp_path / "leaning"))
    options = EngineConfig(address=address)
    served = describe(options, 64)
    assert served.model == str(base) and served.version.startswith("vllm 0.")
    ids = tiny_tokenizer()("c d e : a .")["input_ids"]
    prefixes = predicted(str(base), Path(adapter), [{"input_ids": ids, "labels": [-100] * 4 + ids[4:]}])
    asked = Server(address, None, 60.0, 4, served.model, {}, [adapter])
    probe = {"prefixes": prefixes, "adapter": adapter, "dtype": "unknown", "tolerance": 1e-3}
    found = agreement(asked, {"challenger": probe})
    assert found["tokens"] == 10 and 0 < found["max_abs_difference"] < 1e-3
    prompts = [Prompt(place, ids[:4], each) for place, each in enumerate((None, adapter))]
    free = {reply.prompt.key: reply.text.strip() for reply in asked.answer(prompts, 4)}
    assert free[0] in ("a", "b") and free[1] == "b"
    bound = list(asked.answer(prompts, 4, {"choice": ["k", "p"]}))
    assert {reply.text.strip() for reply in bound} <= {"k", "p"} and {reply.tokens for reply in bound} == {2}
    asked.close()
    assert [model["id"] for model in httpx.get(f"{address}/v1/models", trust_env=False).json()["data"]] == [
        served.model
    ]
