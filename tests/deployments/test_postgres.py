"""The servers on PostgreSQL, by the commands and settings of compose.yaml, as processes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml

from deployments import commands
from deployments.environment import FOLDER
from deployments.services import Guard, Service, start, stop
from tests.deployments.running_up import ROOT, environment, free_port
from tests.postgres_server import running_postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
PASSWORD = "prefect:password-1"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a server with the databases that its container would have."""
    with running_postgres() as url:
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("create database prefect"))
            connection.execute(sa.text((FOLDER / "create_databases.sql").read_text()))
        yield url


def settings(service: str, postgres: str, folder: Path, port: int) -> dict[str, str]:
    """The environment of a service in compose.yaml, with this server's database, folder, port and password."""
    socket = postgres.partition("/postgres?")[2]
    found = {}
    for name, value in SERVICES[service]["environment"].items():
        driver, at, database = str(value).partition("://flywheel:${POSTGRES_PASSWORD}@postgres:5432/")
        given = f"{driver}://flywheel@/{database}?{socket}" if at else str(value)
        given = given.replace("/srv/mlflow", str(folder)).replace("${PREFECT_AUTH}", PASSWORD)
        found[name] = given.replace(":4200", f":{port}").replace(":5000", f":{port}")
    return {name: value for name, value in found.items() if "${" not in value}


@pytest.fixture
def servers(postgres: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Addresses of both servers once they answer."""
    ports = {"prefect": free_port(), "mlflow": free_port()}
    run = {
        "prefect": commands.prefect_server("127.0.0.1", ports["prefect"]),
        "mlflow": commands.mlflow_server("127.0.0.1", ports["mlflow"], asks_password=False),
    }
    guard, running = Guard(), list[Service]()
    try:
        for name, command in run.items():
            env = environment(PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_SERVER_ANALYTICS_ENABLED="false")
            env |= settings(f"{name}-server", postgres, tmp_path, ports[name])
            running.append(start(name, command, env, ROOT, tmp_path / f"{name}.log", guard))
        urls = [f"http://127.0.0.1:{ports[name]}" for name in run]
        wait_for(f"{urls[0]}/api/health", running[0])
        wait_for(f"{urls[1]}/health", running[1])
        yield urls[0], urls[1]
    finally:
        for service in running:
            stop(service, guard)
        guard.close()


def wait_for(url: str, service: Service, seconds: float = 150.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        assert service.process.poll() is None, service.last_lines(20)
        assert time.monotonic() < deadline, service.last_lines(20)
        time.sleep(0.5)


def test_both_servers_keep_their_state_in_postgres(servers: tuple[str, str], postgres: str) -> None:
    prefect, mlflow = servers
    auth = httpx.BasicAuth(*PASSWORD.split(":"))
    made = httpx.post(
        f"{prefect}/api/work_pools/", json={"name": "gpu", "type": "process"}, auth=auth, trust_env=False, timeout=30
    )
    assert made.status_code == 201, made.text
    made = httpx.post(
        f"{mlflow}/api/2.0/mlflow/experiments/create", json={"name": "tickets"}, trust_env=False, timeout=30
    )
    assert made.is_success, made.text
    assert rows(postgres, "prefect", "select name from work_pool") == ["gpu"]
    assert "tickets" in rows(postgres, "mlflow", "select name from experiments")


def rows(postgres: str, database: str, statement: str) -> list[str]:
    url = postgres.replace("postgresql:", "postgresql+psycopg:").replace("/postgres?", f"/{database}?")
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return [str(row[0]) for row in connection.execute(sa.text(statement))]
