"""Secrets are planted wherever a config can name one; then all that was said and written is searched for them."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.case_scores import check_scorer, judge_evidence, score_cases
from tasks.config import Config, load_config
from tasks.db import State
from tasks.engine_options import EngineConfig
from tasks.errors import FlywheelError
from tasks.gate import gate
from tasks.report import write_report
from tasks.rounds import read_evidence, record_evidence
from tasks.secrets import for_children, read_secret
from tasks.server import describe
from tasks.suite import active_cases
from tests.conftest import ROOT, Workload, make_workload, traffic, write_config
from tests.tasks.judge_server import JudgeServer, serving

JUDGE, ENGINE, SQL, WRONG, MLFLOW = (
    "judge-1f6c9a27e0b4", "engine-83d5c1f0a96e", "sql-5b0e7d94c2fa", "wrong-7c2a9f3e61d8", "mlflow-e94b07d3f15c"
)  # fmt: skip
PLANTED = (JUDGE, ENGINE, SQL, WRONG, MLFLOW)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as made:
        made.key = JUDGE
        yield made


def votes(folder: Path, number: int) -> str:
    """A database of thumbs, behind a URL that holds a password: SQLite passes over what it does not know of one."""
    path = folder / "votes.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table votes (inference_id text, value text, producer text, created_at text, n int)")
        rows = [(f"s{i:03}", "up", "person:maria", "2026-03-01T12:05:00Z", i) for i in range(number)]
        connection.executemany("insert into votes values (?, ?, ?, ?, ?)", rows)
    return f"sqlite:///file:{path}?uri=true&password={SQL}"


def sql_source() -> dict[str, Any]:
    query = "select 'thumb' as record, inference_id, value, producer, created_at, n from votes"
    fields = {name: f"$.{name}" for name in ("inference_id", "value", "producer", "created_at")}
    return {
        "type": "sql", "name": "votes", "url_env": "PLANTED_SQL_URL", "query": query, "cursor": "n",
        "records": [{"record": "thumb"} | fields],
    }  # fmt: skip


def judged_by(server: JudgeServer) -> dict[str, Any]:
    return {
        "type": "judge", "address": server.address, "model": "judge-1", "mode": "pointwise", "rubric": "Be right.",
        "api_key_env": "PLANTED_JUDGE_KEY", "retries": 0, "min_calibration_cases": 2, "min_agreement": 0.0,
    }  # fmt: skip


def flywheel(*arguments: str, **environment: str) -> str:
    """Run the command in a process of its own; all that it says, and its status."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], capture_output=True, text=True, timeout=1000,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip
    return f"{done.stdout}{done.stderr}\nstatus {done.returncode}"


def prefect_says() -> str:
    """Logs, states, parameters and artifacts of every run that the Prefect server knows."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        parts: list[Any] = [*client.read_flow_runs(), *client.read_task_runs(), *client.read_artifacts()]
        parts += client.read_logs(log_filter=None, limit=200)
    return "\n".join(part.model_dump_json() for part in parts)


def prefect_files() -> list[Path]:
    """The files of the Prefect server's database."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    database = Path(str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition(":///")[2])
    return list(database.parent.rglob("*"))


def found_in(files: list[Path], said: str, wanted: tuple[str, ...] = PLANTED) -> dict[str, list[str]]:
    """Where each planted secret was found; nothing is what is wanted."""
    contents = {str(file): file.read_bytes() for file in files if file.is_file()} | {"what was said": said.encode()}
    return {
        secret: places
        for secret in wanted
        if (places := [name for name, content in contents.items() if secret.encode() in content])
    }


@pytest.fixture
def server_url(prefect_server: None) -> str:
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())


def save_block(name: str, value: str) -> None:
    from prefect.blocks.system import Secret

    Secret(value=value).save(name, overwrite=True, _sync=True)


def test_a_secret_comes_from_a_prefect_block_within_and_without_a_flow(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow, task

    save_block("planted-block-key", JUDGE)

    @task
    def in_a_task() -> bool:
        return read_secret("PLANTED_BLOCK_KEY", "x") == JUDGE

    @flow
    def in_a_flow() -> bool:
        return read_secret("PLANTED_BLOCK_KEY", "x") == JUDGE and in_a_task()

    monkeypatch.delenv("PLANTED_BLOCK_KEY", raising=False)
    assert read_secret("PLANTED_BLOCK_KEY", "x") == JUDGE
    assert in_a_flow()
    assert for_children()["PLANTED_BLOCK_KEY"] == JUDGE
    monkeypatch.setenv("PLANTED_BLOCK_KEY", "of-the-environment")
    assert read_secret("PLANTED_BLOCK_KEY", "x") == "of-the-environment"


def test_a_block_that_holds_no_text_is_refused(server_url: str) -> None:
    save_block("planted-numbers", [1, 2])  # type: ignore[arg-type]
    with pytest.raises(FlywheelError, match="the Prefect Secret block planted-numbers holds no text"):
        read_secret("PLANTED_NUMBERS", "x")
    with pytest.raises(
        FlywheelError, match=r"there is no Prefect Secret block planted-nowhere; .* on the Prefect server"
    ):
        read_secret("PLANTED_NOWHERE", "x")


def test_planted_secrets_are_in_nothing_that_is_said_or_written(
    server_url: str, tmp_path: Path, judge: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources, judge and engine with right and wrong secrets, through the command line, Prefect and the stages."""
    workload = make_workload(tmp_path / "w", scorer=judged_by(judge))
    sources = [workload.config.sources[0].model_dump(mode="json"), sql_source()]
    workload = make_workload(tmp_path / "w", scorer=judged_by(judge), sources=sources, gate={"min_cases": 1})
    config = str(write_config(workload.config, tmp_path / "w" / "config.yaml"))
    workload.write("a", traffic(failures=8, successes=8, given=4))
    environment = {"PREFECT_API_URL": server_url, "PREFECT_HOME": str(tmp_path / "prefect")}
    collect = ("run", "collect_failures", "--config", config)
    said = [flywheel(*collect, **environment)]
    assert "Secret block planted-sql-url" in said[0] and said[0].endswith("status 1")
    wrong = f"postgresql://maria:{WRONG}@127.0.0.1:1/votes?connect_timeout=2"
    said.append(flywheel(*collect, **environment, PLANTED_SQL_URL=wrong))
    assert "cannot connect to postgresql+psycopg://maria:***@127.0.0.1:1/votes" in said[1]
    save_block("planted-sql-url", votes(tmp_path, 8))
    said.append(flywheel(*collect, **environment))
    assert "read 44 = stored 44" in said[2], "the password came from the block"

    said += judged(workload, judge, monkeypatch)
    said += asked_an_engine(judge, monkeypatch)
    files, shown = [*tmp_path.rglob("*"), *prefect_files()], "\n".join([*said, prefect_says()])
    assert found_in(files, shown) == {}
    names = found_in(files, shown, ("PLANTED_SQL_URL", "Be right."))  # what may be found is, so all is searched
    assert any("prefect-test.db" in place for place in names["PLANTED_SQL_URL"]), "errors are in Prefect's database"
    assert f"Bearer {JUDGE}" in judge.keys, "the key was used"


def judged(workload: Workload, judge: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A round whose cases a judge scores, with a wrong key first, through the gate to the report; what was said."""
    config = workload.config
    round_ = workload.to_gate(lambda role, case: True)
    with State(config.database).transaction() as tx:
        cases = active_cases(tx, config, round_.round_id)
    outputs = {"champion": {case["case_id"]: f"quality {place % 5}" for place, case in enumerate(cases)}}
    monkeypatch.setenv("PLANTED_JUDGE_KEY", WRONG)
    with pytest.raises(FlywheelError) as refused:
        score_cases(config, cases, outputs)
    monkeypatch.setenv("PLANTED_JUDGE_KEY", JUDGE)
    check_scorer(config)
    judge.reply = lambda verdict, asked: f'{{"verdict": "{verdict}", "reason": "your key is {JUDGE}"}}'
    scored = score_cases(config, cases, outputs)
    found = judge_evidence(config, round_.pinned_seq, list(scored.verdicts))
    with State(config.database).transaction() as tx:
        record_evidence(tx, round_, **found)
    gate(config, round_)
    write_report(read_evidence(config), config.folder / "report.html")
    shown = [flywheel("explain", "1", "--config", str(workload.folder / "config.yaml"))]
    return [str(refused.value), repr(refused.getrepr(showlocals=False)), *shown]


def asked_an_engine(judge: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A server that wants another key, and says the one that it was given; what was said."""
    options = EngineConfig(address=judge.address.removesuffix("/v1"), api_key_env="PLANTED_ENGINE_KEY")
    monkeypatch.setenv("PLANTED_ENGINE_KEY", ENGINE)
    with pytest.raises(FlywheelError) as refused:
        describe(options, 64)
    return [str(refused.value), repr(refused.getrepr(showlocals=False))]


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    """A tracking server of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "mlflow"
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _is_up(address):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-2000:]
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def planted_config(world: Config, folder: Path, judge: JudgeServer, mlflow: str) -> Config:
    """The small world's config, with a judge, a database of votes and an MLflow server that all want secrets."""
    changes = {
        "home": str(folder / "home"),
        "scorer": judged_by(judge),
        "sources": [world.sources[0].model_dump(mode="json"), sql_source()],
        "mlflow": {"tracking_uri": mlflow},
        "engine": {"noise_sample": 0, "few_shot": 0},
    }
    return load_config(write_config(Config.model_validate(world.model_dump(mode="json") | changes), folder / "c.yaml"))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_whole_round_leaves_no_planted_secret_anywhere(
    small_world: tuple[Config, Path], server_url: str, tmp_path: Path, judge: JudgeServer, mlflow_server: str
) -> None:
    """From collecting to registration: child specs, logs, snapshots, MLflow's runs and Prefect's database too."""
    config = planted_config(small_world[0], tmp_path, judge, mlflow_server)
    judge.rule = lambda answers: "yes" if '"category"' in answers[0] else "no"
    save_block("planted-sql-url", votes(tmp_path, 8))
    environment = {
        "PREFECT_API_URL": server_url, "PREFECT_HOME": str(tmp_path / "prefect"), "PLANTED_JUDGE_KEY": JUDGE,
        "MLFLOW_TRACKING_USERNAME": "maria", "MLFLOW_TRACKING_PASSWORD": MLFLOW,
    }  # fmt: skip
    said = flywheel("run", "run_round", "--config", str(tmp_path / "c.yaml"), **environment)
    assert said.endswith(("status 0", "status 3", "status 4")), said[-3000:]
    (evidence,) = read_evidence(config)
    assert evidence["stage"] == "closed" and evidence["judge"]
    files = [*tmp_path.rglob("*"), *prefect_files()]
    names = found_in(files, said, ("adapter_model", "person:maria"))  # what may be found is, so all is searched
    assert any("register.spec.json" in place for place in names["adapter_model"] + names["person:maria"])
    assert found_in(files, said + prefect_says()) == {}
    pickles = [file for file in files if file.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    assert not pickles, "what a round leaves behind is read as data"
