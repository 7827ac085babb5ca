"""Asks a model behind any OpenAI-compatible endpoint, with time limits and bounded retries. The key is never shown."""

import json
import threading
import time
from typing import Any

from tasks.chat import Turn
from tasks.errors import ConfigError, FlywheelError
from tasks.scorer_options import JudgeScorer
from tasks.secrets import hide, read_secret

BACKOFF_SECONDS, LONGEST_WAIT = 1.0, 60.0
MAX_BYTES = 1_000_000  # of a response
RETRIED = frozenset((408, 409, 425, 429))  # and everything from 500 on


class _TryAgainError(Exception):
    """A failure that may pass; `wait` is how long the server wants to be left alone (seconds)."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def read_key(judge: JudgeScorer) -> str | None:
    """The key, from the environment or a Prefect Secret block; None where the config names none.

    Raises:
        ConfigError: it is not to be had, or is no key.
    """
    if judge.api_key_env is None:
        return None
    key = read_secret(judge.api_key_env, "scorer.api_key_env")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"scorer.api_key_env: what {judge.api_key_env} holds is no key; it has signs that none has")
    return key


class Endpoint:
    """An endpoint that several threads may ask at once; a context manager."""

    def __init__(self, judge: JudgeScorer) -> None:
        import httpx

        self._judge, key = judge, read_key(judge)
        self._url = f"{judge.address.rstrip('/')}/chat/completions"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=judge.concurrency)
        self._client = httpx.Client(headers=headers, timeout=judge.timeout_s, limits=limits)
        self._stopped = threading.Event()

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def stop(self) -> None:
        """Let requests that wait for another attempt fail at once."""
        self._stopped.set()

    def ask(self, messages: list[Turn]) -> str:
        """What the model replies.

        Raises:
            FlywheelError: it refuses, or did not answer in the end; the line names the address and what to do.
        """
        judge = self._judge
        for attempt in range(judge.retries + 1):
            try:
                return hide(self._attempt(messages))
            except _TryAgainError as error:
                reason, wait = str(error), max(error.wait, BACKOFF_SECONDS * 2**attempt)
            if attempt == judge.retries or self._stopped.wait(min(wait, LONGEST_WAIT)):
                break
        raise FlywheelError(
            f"the judge at {judge.address} {hide(reason)} ({attempt + 1} attempts); see that it runs and can "
            f"be reached, and run the round again: what was judged is kept. scorer.timeout_s, scorer.retries and "
            f"scorer.concurrency say how it is asked"
        )

    def _attempt(self, messages: list[Turn]) -> str:
        import httpx

        body = {"model": self._judge.model, "messages": messages} | self._judge.options
        deadline = time.monotonic() + self._judge.timeout_s
        try:
            with self._client.stream("POST", self._url, json=body) as response:
                text = self._read(response, deadline)
        except httpx.TimeoutException:
            raise self._too_slow() from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Not as its cause: the exception holds the request, and that the key.
            raise _TryAgainError(f"could not be reached: {type(error).__name__}: {error}") from None
        if response.status_code in RETRIED or response.status_code >= 500:
            raise _TryAgainError(f"answers {response.status_code}", _seconds(response.headers.get("retry-after")))
        if response.status_code != 200:
            raise self._refusal(response.status_code, text)
        return _content(text)

    def _too_slow(self) -> _TryAgainError:
        return _TryAgainError(f"did not answer within {self._judge.timeout_s:g} s")

    def _read(self, response: Any, deadline: float) -> str:
        """The body; httpx limits each wait for more of it, so that one that drips in needs a limit as a whole."""
        body = b""
        for part in response.iter_bytes():
            body += part
            if time.monotonic() > deadline:
                raise self._too_slow()
            if len(body) > MAX_BYTES:
                raise _TryAgainError(f"answers with more than {MAX_BYTES} bytes")
        return body.decode(errors="replace")

    def _refusal(self, status: int, body: str) -> FlywheelError:
        judge = self._judge
        if status in (401, 403):  # what such a body says often holds a part of the key
            named = judge.api_key_env or "none: set scorer.api_key_env"
            return FlywheelError(f"the judge at {judge.address} refuses the key ({status}); it is read from {named}")
        return FlywheelError(
            f"the judge at {judge.address} refuses what it is asked ({status}): {hide(_said(body))}; correct "
            f"scorer.address, scorer.model or scorer.options"
        )


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isascii() and text.isdigit() else 0.0


def _content(body: str) -> str:
    """The reply in a response of the chat completions API."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _TryAgainError("answers with something else than a chat completion") from None
    return content if isinstance(content, str) else ""


def _said(body: str) -> str:
    """What a refusal says, in one line."""
    try:
        error = json.loads(body)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, LookupError, TypeError, RecursionError):
        text = body
    return " ".join(str(text).split())[:200]
