"""When the next run is due: asked of the Prefect server that is named, within a second, or said why not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks import schedule
from tasks.schedule import next_runs
from tests.conftest import Workload, write_config

REQUESTS: list[tuple[str, dict[str, Any], dict[str, str]]] = []


@contextmanager
def server(answers: dict[str, Any], delay: float = 0.0) -> Iterator[str]:
    """A server that answers by path as Prefect's API does; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            REQUESTS.append((self.path, json.loads(body), dict(self.headers)))
            time.sleep(delay)
            found = answers.get(self.path)
            data = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/api"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def scheduled(flow: str, config: str, hour: int) -> dict[str, Any]:
    moment = f"2026-03-02T{hour:02}:00:00Z"
    return {"flow_id": flow, "parameters": {"request": {"config": config}}, "expected_start_time": moment}


FLOWS = [{"id": "1", "name": "run_round"}, {"id": "2", "name": "collect_failures"}]


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    REQUESTS.clear()


def test_without_a_server_that_is_named_none_is_asked() -> None:
    assert next_runs("configs/tickets.yaml") == {"runs": [], "why": "no Prefect server is asked (PREFECT_API_URL)"}


def test_the_next_run_of_each_flow_of_this_config(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_config(workload.config, workload.folder / "tickets.yaml")
    monkeypatch.chdir(workload.folder)
    runs = [
        scheduled("2", "tickets.yaml", 1), scheduled("2", str(path), 2), scheduled("1", "configs/banking77.yaml", 2),
        scheduled("1", str(path), 3), {"flow_id": "1", "parameters": {}, "expected_start_time": "x"},
    ]  # fmt: skip
    with server({"/api/flow_runs/filter": runs, "/api/flows/filter": FLOWS}) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:secret")
        found = next_runs("tickets.yaml")
    assert found == {
        "runs": [
            {"flow": "collect_failures", "at": "2026-03-02T01:00:00Z"},
            {"flow": "run_round", "at": "2026-03-02T03:00:00Z"},
        ],
        "why": None,
    }  # fmt: skip
    assert REQUESTS[0][1]["flow_runs"]["state"]["type"]["any_"] == ["SCHEDULED"]
    assert REQUESTS[1][1]["flows"]["id"]["any_"] == ["1", "2"]
    assert all(headers["Authorization"].startswith("Basic ") for _, _, headers in REQUESTS)


def test_a_server_that_has_nothing_of_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with server({"/api/flow_runs/filter": [scheduled("1", "configs/banking77.yaml", 2)]}) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        found = next_runs("configs/tickets.yaml")
    assert found == {"runs": [], "why": f"nothing of it is scheduled at {address}"}


@pytest.mark.parametrize("answers", [{}, {"/api/flow_runs/filter": {"not": "a list"}}, {"/api/flow_runs/filter": [{}]}])
def test_a_server_that_answers_something_else_holds_nobody_up(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(answers) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        assert "does not answer (" in str(next_runs("configs/tickets.yaml")["why"])


def test_a_slow_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "SECONDS", 0.2)
    with server({"/api/flow_runs/filter": []}, delay=1.5) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        started = time.monotonic()
        assert "does not answer (ReadTimeout)" in str(next_runs("configs/tickets.yaml")["why"])
        assert time.monotonic() - started < 1.2


def test_no_server_at_the_address_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert "does not answer (ConnectError)" in str(next_runs("configs/tickets.yaml")["why"])
