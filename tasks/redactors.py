"""A workload's redactor, and processes that redact where there is much to do.

Redaction is work of Python, of which a process does one thing at a time. So many texts are given to processes of their
own, and the threads that type rows go on meanwhile. Such a process is `python -m tasks.redactors`: from its standard
input it reads its settings, then requests, as lines of JSON, and answers each with a line. It ends when its input does,
and so with its parent.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from tasks.chat import Turn, answer_message, calls_tools, held_answer, held_input, read_input
from tasks.checks import import_function
from tasks.child import environment, last_line
from tasks.config import Config
from tasks.errors import ChildError, FlywheelError
from tasks.redact import Redactor
from tasks.scratch_folders import scratch_folder

FEW = 2_000  # texts that are redacted sooner here than a process starts


class Redactors:
    """Redacts texts here or, where they are many, in `most` processes, which are there within its context.

    Raises:
        ConfigError: the redaction's settings do not work, or its recogniser of names cannot be imported.
    """

    def __init__(self, config: Config, log: Path, most: int) -> None:
        self._settings = _settings(config)
        self._here = _make_redactor(self._settings)
        self._log, self._most = log, most
        self._lock = threading.Lock()
        self._processes: list[_Process] = []
        self._idle: SimpleQueue[_Process] = SimpleQueue()

    @property
    def finds_names(self) -> bool:
        """Whether every text has to be read, and not only those with a sign of personal data."""
        return self._here.finds_names

    def redact(self, text: str) -> str:
        """One text, redacted here."""
        with self._lock:
            return self._here.redact(text)

    def redact_all(self, texts: Sequence[str], are_messages: bool = False) -> list[str]:
        """The texts redacted, in their order; of conversations and of answers that call tools, each text by itself.

        Raises:
            FlywheelError: the recogniser of names names a place that is not in the text.
            ChildError: a process that redacts died.
        """
        with self._lock:  # a recogniser of names need not bear to be called by two threads
            if len(texts) < FEW and not self._processes:
                return _redact_all(self._here, texts, are_messages)
            if not self._processes:
                self._processes = [_Process(self._settings, self._log) for _ in range(self._most)]
                for process in self._processes:
                    self._idle.put(process)
        process = self._idle.get()
        try:
            return process.redact_all(texts, are_messages)
        finally:
            self._idle.put(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.close()


class _Process:
    """One process that redacts."""

    def __init__(self, settings: dict[str, Any], log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tasks.redactors"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=environment(),
                start_new_session=True,
            )
        self._send(settings | {"path": sys.path})

    def redact_all(self, texts: Sequence[str], are_messages: bool) -> list[str]:
        self._send({"texts": texts, "are_messages": are_messages})
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise ChildError(f"a process that redacts ended with status {self._process.wait()}: {last_line(self._log)}")
        answer = json.loads(line)
        if "error" in answer:
            raise FlywheelError(answer["error"])
        return list(answer["texts"])

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead, as reading its answer says
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _settings(config: Config) -> dict[str, Any]:
    """What makes the workload's redactor; its key is made once and never leaves the workload's folder."""
    key = config.home / f"{config.name}.redaction-key"
    if not key.is_file():
        _make_key(key)
    return {"style": config.redaction.style, "key": str(key), "names": config.redaction.names}


def _make_key(path: Path) -> None:
    """Write a key, whole or not at all; where another process was sooner, its key stands."""
    with scratch_folder(path.parent, f".{path.name}-") as folder:
        with open(folder / path.name, "xb", opener=_for_the_owner) as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(folder / path.name, path)


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make_redactor(settings: dict[str, Any]) -> Redactor:
    names = import_function(settings["names"], "redaction.names") if settings["names"] else None
    return Redactor(settings["style"], Path(settings["key"]).read_bytes(), names)


def _redact_all(redactor: Redactor, texts: Sequence[str], are_messages: bool) -> list[str]:
    """Each text redacted once; system prompts and labels recur."""
    known: dict[str, str] = {}

    def redacted(text: str) -> str:
        if (found := known.get(text)) is None:
            found = known[text] = redactor.redact(text)
        return found

    if not are_messages:
        return [_redact_answer(text, redacted) for text in texts]
    return [_redact_conversation(text, redacted) for text in texts]


def _redact_conversation(held: str, redacted: Callable[[str], str]) -> str:
    messages, tools = read_input(held)
    for message in messages:
        _redact_turn(message, redacted)
    return held_input(messages, tools and _redact_strings(tools, redacted))


def _redact_answer(held: str, redacted: Callable[[str], str]) -> str:
    if not calls_tools(held):
        return redacted(held)
    turn = answer_message(held)
    _redact_turn(turn, redacted)
    return held_answer(turn)


def _redact_turn(turn: Turn, redacted: Callable[[str], str]) -> None:
    if "content" in turn:
        turn["content"] = redacted(turn["content"])
    for call in turn.get("tool_calls", ()):
        call["function"]["arguments"] = redacted(call["function"]["arguments"])


def _redact_strings(value: Any, redacted: Callable[[str], str]) -> Any:
    """A definition of tools with every text in it redacted by itself: it stays what it is to a program."""
    if isinstance(value, dict):
        return {key: _redact_strings(each, redacted) for key, each in value.items()}
    if isinstance(value, list):
        return [_redact_strings(each, redacted) for each in value]
    return redacted(value) if isinstance(value, str) else value


def main() -> None:
    """Answer what comes in until there is no more; what a recogniser of names prints goes to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    sys.path[:] = settings["path"]
    redactor = _make_redactor(settings)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"texts": _redact_all(redactor, **json.loads(line))}
        except FlywheelError as error:
            answer = {"error": str(error)}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
