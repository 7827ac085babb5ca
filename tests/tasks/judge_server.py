"""Somebody else's model server, as far as a judge needs one: /v1/chat/completions over HTTP on the loopback device.

It judges by a rule that tests choose, and can be slow, broken, biased or particular about its key.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = Callable[[list[str]], str]

_ANSWER = re.compile(r"^<<<ANSWER( [AB])? (\w+)>>>\n(.*?)\n<<<END \2>>>$", re.MULTILINE | re.DOTALL)


def quality(text: str) -> int:
    """What an answer says of itself: `quality 3` is better than `quality 2`."""
    found = re.search(r"quality (\d)", text)
    return int(found[1]) if found else 0


def by_quality(answers: list[str]) -> str:
    """The verdict of a perfect judge, pairwise, or on whether an answer is right (3 and more)."""
    if len(answers) == 1:
        return "yes" if quality(answers[0]) >= 3 else "no"
    first, second = map(quality, answers)
    return "tie" if first == second else "A" if first > second else "B"


class JudgeServer(ThreadingHTTPServer):
    """What it does can be changed while it runs; what it was asked is kept."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rule: Rule = by_quality
        self.reply: Callable[[str, int], str] = lambda verdict, asked: json.dumps({"reason": "r", "verdict": verdict})
        self.key: str | None = None
        self.seconds = 0.0  # before it answers
        self.is_dripping = False
        self.failures: list[int] = []  # statuses to answer with first
        self.fails_after: int | None = None  # requests that go well
        self.body: bytes | None = None  # instead of a chat completion
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self.open = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def questions(self) -> list[str]:
        """What was asked, each as text."""
        return [json.dumps(body["messages"][:2]) for body in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.asked.append(body)
            server.keys.append(self.headers.get("authorization"))
            number = len(server.asked)
            server.open += 1
            server.most_at_once = max(server.most_at_once, server.open)
        time.sleep(server.seconds)
        with server.lock:  # before it answers: who has the answer may ask again at once
            server.open -= 1
        with suppress(BrokenPipeError, ConnectionResetError):  # who asked has gone
            self._answer(server, body, number)

    def _answer(self, server: JudgeServer, body: dict[str, Any], number: int) -> None:
        if self.path != "/v1/chat/completions":
            return self._send(404, b'{"error": {"message": "no such path"}}')
        if server.key is not None and self.headers.get("authorization") != f"Bearer {server.key}":
            return self._send(401, json.dumps({"error": {"message": f"bad: {self.headers['authorization']}"}}).encode())
        if server.failures:
            status = server.failures.pop(0)
            return self._send(status, b'{"error": {"message": "no such model"}}')
        if server.fails_after is not None and number > server.fails_after:
            return self._send(500, b"broken")
        answers = [text for _, _, text in _ANSWER.findall(body["messages"][1]["content"])]
        content = server.reply(server.rule(answers), number)
        whole = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
        return self._send(200, whole if server.body is None else server.body)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        for part in [bytes([byte]) for byte in body] if self.server.is_dripping else [body]:
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(0.05 if self.server.is_dripping else 0.0)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[JudgeServer]:
    """A server of its own, gone at the end."""
    with JudgeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
