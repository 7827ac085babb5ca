"""A middleware for the vLLM server that production asks, so that a switched adapter is read from disk once.

vllm serve BASE --enable-lora --middleware tasks.serving_middleware.ReadOnce

With `load_inplace`, a name changes what it stands for at one moment. vLLM 0.32 keeps that flag with the name, though,
and reads the adapter anew at each step of the model from then on (its issue 33791). This takes the flag away once the
adapter is loaded. It needs nothing but vLLM: the file can be copied to wherever the server runs.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

HEADER = "x-adapters-read-once"
PATH = "/v1/load_lora_adapter"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ReadOnce:
    """ASGI middleware; it looks at the responses to loads of adapters alone, and says in a header that it is there."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; where an adapter was loaded, before that is told."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                for request in scope["app"].state.openai_serving_models.lora_requests.values():
                    request.load_inplace = False
                message["headers"] = [*message.get("headers", ()), (HEADER.encode(), b"yes")]
            await send(message)

        await self.app(scope, receive, told)
