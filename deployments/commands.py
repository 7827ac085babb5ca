"""The command of each program: `make up` runs these as processes, `compose.yaml` each in a container.

Databases, folders and passwords are in the environment, never among arguments, which any user of a machine can read.
"""

import sys


def prefect(*arguments: str) -> list[str]:
    """Prefect's own command line, from this environment and never waiting for an answer from a terminal."""
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def prefect_server(host: str, port: int) -> list[str]:
    """The Prefect server, with its UI."""
    return prefect("server", "start", "--host", host, "--port", str(port))


def mlflow_server(host: str, port: int, asks_password: bool) -> list[str]:
    """The MLflow server, with its UI; with `asks_password` it knows users."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    return [*command, "--app-name", "basic-auth"] if asks_password else command


def worker(pool: str, name: str) -> list[str]:
    """A worker of a pool. Its name is fixed, so that the list of workers does not grow with each start."""
    return prefect("worker", "start", "--pool", pool, "--name", name)


def deploy(env_file: str | None = None) -> list[str]:
    """What makes pools, deployments and automations."""
    return [sys.executable, "-m", "deployments.deploy", *(["--env-file", env_file] if env_file else [])]
