"""Variables of an environment, and servers that would stand open."""

from pathlib import Path

import pytest

from deployments.environment import (
    FOLDER,
    DeployError,
    deployment_variables,
    is_loopback,
    read_variables,
    refuse_open_servers,
    with_authentication,
)

PASSWORDS = {
    "PREFECT_SERVER_API_AUTH_STRING": "admin:prefect-secret",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "mlflow-secret-1",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "key-secret",
}


def test_what_is_nearer_wins(tmp_path: Path) -> None:
    file = tmp_path / "here.env"
    file.write_text("# a comment\n\nFLYWHEEL_TIMEZONE=Europe/Berlin\nFLYWHEEL_ROUND_CRON=30 1 * * *\n")
    found = deployment_variables(file, {"FLYWHEEL_ROUND_CRON": "0 4 * * *", "FLYWHEEL_FOLDER": "/srv"})
    assert found["FLYWHEEL_TIMEZONE"] == "Europe/Berlin"
    assert found["FLYWHEEL_ROUND_CRON"] == "0 4 * * *"
    assert found["FLYWHEEL_COLLECT_CRON"] == read_variables(FOLDER / "default.env")["FLYWHEEL_COLLECT_CRON"]
    assert found["FLYWHEEL_WORKLOAD"] == "tickets"
    assert found["FLYWHEEL_FOLDER"] == "/srv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("FLYWHEEL_TIMEZON=UTC\n", "FLYWHEEL_TIMEZON,"), ("FLYWHEEL_POOL: local\n", "line 1"), (None, "cannot be read")],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path: Path, text: str | None, expected: str) -> None:
    file = tmp_path / "wrong.env"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DeployError, match=expected) as caught:
        deployment_variables(file, {})
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_staging_differs_in_what_keeps_it_apart() -> None:
    default, staging = (read_variables(FOLDER / f"{name}.env") for name in ("default", "staging"))
    assert set(staging) <= set(default)
    for name in ("FLYWHEEL_CONFIG", "FLYWHEEL_LOCAL_POOL", "FLYWHEEL_GPU_POOL"):
        assert staging[name] != default[name]
    assert staging["FLYWHEEL_SCHEDULES"] == "false"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.1.2.3", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("missing", list(PASSWORDS))
def test_an_open_server_is_refused_with_what_is_missing(missing: str) -> None:
    given = {name: value for name, value in PASSWORDS.items() if name != missing}
    with pytest.raises(DeployError, match=missing) as caught:
        refuse_open_servers("0.0.0.0", given)
    assert not [secret for secret in given.values() if secret in str(caught.value)]
    refuse_open_servers("127.0.0.1", given)
    refuse_open_servers("0.0.0.0", PASSWORDS)


def test_clients_get_the_servers_passwords() -> None:
    env = with_authentication(PASSWORDS)
    assert env["PREFECT_API_AUTH_STRING"] == "admin:prefect-secret"
    assert (env["MLFLOW_TRACKING_USERNAME"], env["MLFLOW_TRACKING_PASSWORD"]) == ("admin", "mlflow-secret-1")
    assert with_authentication({}) == {}
    assert with_authentication(PASSWORDS | {"PREFECT_API_AUTH_STRING": "own"})["PREFECT_API_AUTH_STRING"] == "own"
