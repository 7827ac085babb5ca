"""A server that asks for passwords, and what it tells people: from new corrections to a message at a webhook."""

import importlib.util
import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from deployments import commands
from tests.conftest import lines, make_workload, traffic, write_config
from tests.deployments.running_up import NEVER, ROOT, Up, up_and_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PREFECT_PASSWORD = "flywheel:prefect-password-1"
MLFLOW_PASSWORD = "mlflow-password-1"
TOKEN = "webhook-token-1"


class Receiver(HTTPServer):
    """A webhook on loopback, and the texts that came in."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        texts = self.texts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == f"/hook/{TOKEN}":
                    texts.append(json.loads(body)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Up]:
    """With passwords, a webhook, and a workload of which enough is new but whose base model is missing."""
    folder = tmp_path_factory.mktemp("world")
    workload = make_workload(folder, blend={"min_corrections": 5})
    workload.write("traffic", lines(traffic(6)))
    env = {
        "PREFECT_SERVER_API_AUTH_STRING": PREFECT_PASSWORD,
        "FLYWHEEL_NOTIFY_URL": f"http://127.0.0.1:{receiver.server_port}/hook/{TOKEN}",
        "FLYWHEEL_CONFIG": str(write_config(workload.config, folder / "tickets.yaml")),
        "FLYWHEEL_FOLDER": str(folder),
        **{f"FLYWHEEL_{flow}_CRON": NEVER for flow in ("COLLECT", "CLUSTER", "ROUND", "WATCH")},
    }
    if importlib.util.find_spec("flask_wtf"):
        env |= {"MLFLOW_AUTH_ADMIN_PASSWORD": MLFLOW_PASSWORD, "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret-key-1"}
    with up_and_running(folder / "up", env) as started:
        yield started


def test_who_has_no_password_is_not_let_in(up: Up) -> None:
    assert httpx.post(f"{up.prefect}/api/deployments/filter", json={}, trust_env=False).status_code == 401
    assert len(up.posted("/deployments/filter")) == 5
    if "MLFLOW_AUTH_ADMIN_PASSWORD" in up.env:
        address = f"{up.mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
        assert httpx.get(address, trust_env=False).status_code == 401
        allowed = httpx.get(address, auth=("admin", MLFLOW_PASSWORD), trust_env=False)
        assert allowed.status_code == 200


def test_enough_corrections_start_a_round_once_and_its_failure_reaches_a_person(up: Up, receiver: Receiver) -> None:
    def rounds() -> list[str]:
        runs = up.posted("/flow_runs/filter", flows={"name": {"any_": ["run_round"]}})
        return [run["id"] for run in runs if not run["auto_scheduled"]]

    collected = up.ended(up.run("collect_failures/tickets-collect"))
    assert (collected["name"], collected["state_name"]) == ("tickets: collect, by hand", "Completed")
    (started,) = up.wait_for(rounds, 60, up.logs)
    round_ = up.ended(started)
    assert round_["name"] == "tickets: round, enough corrections"
    assert round_["state_name"] == "Failed"

    up.wait_for(lambda: receiver.texts, 60, up.logs)
    assert len(receiver.texts) == 1
    text = receiver.texts[0]
    assert text.startswith("Flywheel: tickets: round, enough corrections failed\n")
    assert "model.base" in text
    assert f"{up.prefect}/runs/flow-run/{started}" in text

    again = up.ended(up.run("collect_failures/tickets-collect"))
    assert again["state_name"] == "Completed"
    assert rounds() == [started]


@pytest.mark.parametrize("event", ["approval.asked", "watch.worse", "budget.held"])
def test_what_needs_a_person_reaches_one(up: Up, receiver: Receiver, event: str) -> None:
    resource = {"prefect.resource.id": "flywheel.workload.tickets", "prefect.resource.name": "tickets"}
    said = {"round": 7, "text": f"this is {event}"}
    sent = {"id": str(uuid4()), "occurred": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "event": f"flywheel.{event}"}
    up.client.post("/events", json=[sent | {"resource": resource, "payload": said}]).raise_for_status()

    def texts() -> list[str]:
        return [text for text in receiver.texts if text.startswith(f"Flywheel: tickets: {event}\n")]

    (text,) = up.wait_for(texts, 60, up.logs)
    assert "round: 7" in text.splitlines()
    assert f"text: this is {event}" in text.splitlines()


def test_secrets_are_in_no_log(up: Up) -> None:
    files = [*(up.home / "logs").glob("*.log"), up.output]
    assert len(files) >= 6
    for file in files:
        text = file.read_text(errors="replace")
        for secret in (PREFECT_PASSWORD, MLFLOW_PASSWORD, TOKEN):
            assert secret not in text, file
    shown = json.dumps(up.posted("/block_documents/filter")) + json.dumps(up.posted("/automations/filter"))
    assert TOKEN not in shown


def test_deploying_again_changes_nothing_but_what_is_gone_from_the_file(up: Up, tmp_path: Path) -> None:
    def names() -> list[str]:
        return sorted(a["name"] for a in up.posted("/automations/filter"))

    flow = up.client.get("/deployments/name/run_round/tickets-round").json()
    old = {"name": "tickets", "flow_id": flow["flow_id"], "entrypoint": flow["entrypoint"], "tags": ["tickets"]}
    own = old | {"name": "own", "entrypoint": "mine.run"}
    up.posted("/deployments/", **old)
    up.posted("/deployments/", **own)
    before = names()
    assert len(before) == len(set(before)) == 8
    env = up.env | {"PREFECT_API_URL": f"{up.prefect}/api", "PREFECT_API_AUTH_STRING": PREFECT_PASSWORD}
    env |= {"PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(commands.deploy(), cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert names() == before
    deployed = {d["name"] for d in up.posted("/deployments/filter")}
    assert deployed == {"own"} | {f"tickets-{kind}" for kind in ("collect", "cluster", "round", "stage", "watch")}
    assert len(up.posted("/block_documents/filter")) == 1

    wrong = env | {"PREFECT_API_AUTH_STRING": "flywheel:wrong"}
    done = subprocess.run(commands.deploy(), cwd=ROOT, env=wrong, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("deploy: the Prefect server at")
    assert "PREFECT_API_AUTH_STRING" in done.stderr.splitlines()[-1]
