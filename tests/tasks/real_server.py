"""A real vLLM server on the loopback, of a base that is made in no time.

from tests.tasks.real_server import running_server
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tasks.child import environment
from tests.tasks.tiny import undecided_base


@contextmanager
def running_server(folder: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """A server of the undecided base that takes adapters while it runs; its address and the base."""
    base = undecided_base(folder / "base")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "float32", "--max-model-len", "64", "--max-num-seqs", "16"]
    command += ["--enable-lora", "--max-lora-rank", "8", "--enforce-eager", *options]
    env = environment() | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 240
        while not _is_up(address):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-3000:]
            time.sleep(0.5)
        yield address, base
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False
