"""What one environment differs in from another: variables from files, and what the servers' settings ask of each other.

`default.env` names every variable with what it is where nobody says otherwise; a file of the lines that differ
(`staging.env`) wins over it, and the environment of the process over both. They are filled into `prefect.yaml`.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")


class DeployError(Exception):
    """What keeps the servers or deployments from being set up, in one line for the person who asked for them."""


def read_variables(file: Path) -> dict[str, str]:
    """The NAME=VALUE lines of a file; blank ones and those that begin with # are left out.

    Raises:
        DeployError: the file cannot be read, or a line is something else.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DeployError(f"{file} cannot be read: {error.strerror}; name a file with --env-file") from error
    found = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            match = LINE.fullmatch(line)
            if match is None:
                raise DeployError(f"{file} line {number} is no NAME=VALUE; mend it")
            found[match[1]] = match[2].strip()
    return found


def deployment_variables(file: Path | None, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Every variable that prefect.yaml is filled in with: of the defaults, of a file, and of the environment, the last
    that has it. FLYWHEEL_WORKLOAD is the name in the config, and FLYWHEEL_FOLDER where flow runs work.

    Raises:
        DeployError: a file is not as it should be, names a variable that there is not, or the config is not valid.
    """
    from tasks.config import load_config
    from tasks.errors import ConfigError

    defaults = read_variables(FOLDER / "default.env")
    changes = read_variables(file) if file else {}
    if unknown := sorted(set(changes) - set(defaults)):
        raise DeployError(f"{file} sets {unknown[0]}, which nothing reads; deployments/default.env has the names")
    said = defaults | changes | {name: given[name] for name in defaults if given.get(name)}
    try:
        workload = load_config(said["FLYWHEEL_CONFIG"]).name
    except ConfigError as error:
        raise DeployError(f"{error} (FLYWHEEL_CONFIG)") from None
    return said | {"FLYWHEEL_WORKLOAD": workload, "FLYWHEEL_FOLDER": given.get("FLYWHEEL_FOLDER") or os.getcwd()}


def is_loopback(host: str) -> bool:
    """Whether a host name or address is reached from this machine alone.

    Raises:
        DeployError: the name is not known.
    """
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise DeployError(f"--host {host}: {error.strerror}; give an address of this machine") from None
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def refuse_open_servers(host: str, given: Mapping[str, str] = os.environ) -> None:
    """Others may reach the servers only where both ask for a password.

    Raises:
        DeployError: `host` is no loopback address and a password is missing.
    """
    needed = {
        "PREFECT_SERVER_API_AUTH_STRING": "USER:PASSWORD of the Prefect server",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "password of MLflow's user admin, of 12 characters or more",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "any long random text",
    }
    missing = [f"{name} ({what})" for name, what in needed.items() if not given.get(name)]
    if missing and not is_loopback(host):
        raise DeployError(
            f"--host {host} would let others start runs and replace models without a password; set "
            f"{', '.join(missing)}, or leave --host out"
        )


def with_authentication(given: Mapping[str, str]) -> dict[str, str]:
    """The environment with what clients of the servers need where these ask for a password."""
    env = dict(given)
    if password := given.get("PREFECT_SERVER_API_AUTH_STRING"):
        env.setdefault("PREFECT_API_AUTH_STRING", password)
    if password := given.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        env.setdefault("MLFLOW_TRACKING_USERNAME", given.get("MLFLOW_AUTH_ADMIN_USERNAME", "admin"))
        env.setdefault("MLFLOW_TRACKING_PASSWORD", password)
    return env
