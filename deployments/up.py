"""Start everything that a person looks at, on this machine, and stop it on Ctrl-C.

    python -m deployments.up [--host 127.0.0.1] [--prefect-port 4200] [--mlflow-port 5000] [--home .flywheel]
                             [--env-file deployments/staging.env]

The Prefect server, the MLflow server over the registry that the rounds write, a worker of each work pool, and the
deployments and automations (`deployments.deploy`). Both servers listen on this machine only, unless `--host` says
otherwise, and then only with passwords; their logs are in HOME/logs.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployments import commands
from deployments.environment import (
    ROOT,
    DeployError,
    deployment_variables,
    is_loopback,
    refuse_open_servers,
    with_authentication,
)
from deployments.services import Guard, Service, Stopping, start, stop

HOST = "127.0.0.1"
START_S = 180.0
# What only servers and deploying need is kept from workers, whose runs execute what a config names.
NOT_FOR_WORKERS = (
    "FLYWHEEL_NOTIFY_URL",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)


@dataclass(frozen=True)
class Settings:
    """Where things are: the address and ports of the two servers, and the folder that holds all state."""

    host: str
    prefect_port: int
    mlflow_port: int
    home: Path
    env_file: Path | None

    @property
    def here(self) -> str:
        """The address by which programs of this machine reach the servers."""
        return HOST if self.host in ("0.0.0.0", "::") or is_loopback(self.host) else self.host

    @property
    def prefect_url(self) -> str:
        """Address of Prefect's UI."""
        return f"http://{self.here}:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow's UI."""
        return f"http://{self.here}:{self.mlflow_port}"

    @property
    def asks_password(self) -> bool:
        """Whether MLflow's server knows users."""
        return bool(os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD"))

    def environment(self) -> dict[str, str]:
        """What servers run with: the caller's environment, this server's address, and databases in `home`."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        defaults = {
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Scheduled LLM judges of MLflow's own: not used here, and they cost two more processes.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.home / 'mlflow.db'}",
            "MLFLOW_ARTIFACTS_DESTINATION": str(self.home / "mlartifacts"),
            "MLFLOW_AUTH_CONFIG_PATH": str(self.home / "mlflow-users.ini"),
            "FLYWHEEL_MLFLOW_URL": self.mlflow_url,
            "FLYWHEEL_FOLDER": str(ROOT),
        }
        ours = {"PREFECT_API_URL": f"{self.prefect_url}/api", "PYTHONPATH": path}
        return with_authentication(defaults | dict(os.environ) | ours)

    def worker_environment(self) -> dict[str, str]:
        """What workers and their runs have of it."""
        return {name: value for name, value in self.environment().items() if name not in NOT_FOR_WORKERS}


def parse(arguments: list[str] | None = None) -> Settings:
    """Settings from the command line."""
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m deployments.up", description=about)
    parser.add_argument("--host", default=HOST, help="of both servers; any but this machine's own needs passwords")
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--home", type=Path, default=ROOT / ".flywheel", help="state and logs")
    parser.add_argument("--env-file", type=Path, help="variables that differ from deployments/default.env")
    given = parser.parse_args(arguments)
    return Settings(given.host, given.prefect_port, given.mlflow_port, given.home.resolve(), given.env_file)


def check_free(host: str, port: int, option: str) -> None:
    """Raises DeployError when something listens on the port already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            name = option.removeprefix("--").replace("-", "_").upper()
            raise DeployError(
                f"port {port} cannot be had ({error.strerror}): stop what uses it, "
                f"or give another with {option} (make up {name}=...)"
            ) from error


def ended(service: Service) -> str:
    """What to say of a service that is gone, with the end of its log."""
    return f"the {service.name} ended by itself; its log, {service.log}, closes with\n{service.last_lines()}"


def wait_for(service: Service, url: str, stopping: Stopping) -> bool:
    """Wait until `url` answers; False when a stop was asked for meanwhile.

    Raises:
        DeployError: the service ended, or does not answer within START_S seconds.
    """
    import httpx

    deadline = time.monotonic() + START_S
    while not stopping.asked:
        if service.process.poll() is not None:
            raise DeployError(ended(service))
        if time.monotonic() > deadline:
            raise DeployError(f"{service.name} does not answer after {START_S:.0f} s; its log is {service.log}")
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    return False


def server_commands(settings: Settings) -> dict[str, tuple[str, list[str]]]:
    """For each server: the address that tells whether it is up, and its command."""
    mlflow = commands.mlflow_server(settings.host, settings.mlflow_port, settings.asks_password)
    return {
        "Prefect server": (
            f"{settings.prefect_url}/api/health",
            commands.prefect_server(settings.host, settings.prefect_port),
        ),
        "MLflow server": (f"{settings.mlflow_url}/health", mlflow),
    }


def deploy(settings: Settings, stopping: Stopping) -> None:
    """Make pools, deployments and automations, or bring them up to date.

    Raises:
        DeployError: it is refused; the message is the last line.
    """
    if stopping.asked:
        return
    log = settings.home / "logs" / "deploy.log"
    command = commands.deploy(str(settings.env_file.resolve()) if settings.env_file else None)
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            env=settings.environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    lines = log.read_text(errors="replace").strip().splitlines() or [""]
    if done.returncode and not stopping.asked:
        raise DeployError(f"{lines[-1].removeprefix('deploy: ')} (all of it: {log})")
    if unheard := [line for line in lines if line.startswith("Nobody is notified")]:
        print(unheard[-1], flush=True)


def write_user_settings(settings: Settings) -> None:
    """Where MLflow keeps its users, once it asks for a password; the password itself is in the environment alone."""
    lines = ["[mlflow]", "default_permission = READ", f"database_uri = sqlite:///{settings.home / 'mlflow-users.db'}"]
    if settings.asks_password:
        (settings.home / "mlflow-users.ini").write_text("\n".join([*lines, "admin_username = admin", ""]))


@contextmanager
def running(settings: Settings, stopping: Stopping) -> Iterator[list[Service]]:
    """The servers and the workers, started in order; ended in the opposite order, whatever happens."""
    logs, env, guard = settings.home / "logs", settings.environment(), Guard()
    services: list[Service] = []
    try:
        servers = server_commands(settings)
        for name, (_, command) in servers.items():
            services.append(start(name, command, env, ROOT, logs / f"{name.split()[0].lower()}.log", guard))
        if all(wait_for(s, servers[s.name][0], stopping) for s in services):
            deploy(settings, stopping)
        if not stopping.asked:
            variables = deployment_variables(settings.env_file, env)
            for kind in ("local", "gpu"):
                command = commands.worker(variables[f"FLYWHEEL_{kind.upper()}_POOL"], kind)
                env = settings.worker_environment()
                services.append(start(f"{kind} worker", command, env, ROOT, logs / f"{kind}-worker.log", guard))
        yield services
    finally:
        for service in reversed(services):
            # A worker that is asked nicely gives its runs up before the server that keeps their states goes.
            stop(service, guard, polite=signal.SIGINT if service.name.endswith("worker") else None)
        guard.close()


def greeting(settings: Settings) -> str:
    """What a person needs to know once all is up."""
    variables = deployment_variables(settings.env_file)
    workload, config = variables["FLYWHEEL_WORKLOAD"], variables["FLYWHEEL_CONFIG"]
    password = ", with PREFECT_API_AUTH_STRING" if os.environ.get("PREFECT_SERVER_API_AUTH_STRING") else ""
    return f"""
  Prefect  {settings.prefect_url}   flows, schedules, runs: Deployments > {workload}-round > Run
  MLflow   {settings.mlflow_url}   models, versions side by side, evidence
  logs     {settings.home / "logs"}

  Runs from another terminal appear there with
    PREFECT_API_URL={settings.prefect_url}/api .venv/bin/flywheel run run_round --config {config}{password}
  The first round needs traffic: `make demo` makes some. Ctrl-C stops everything.
"""


def serve(settings: Settings, stopping: Stopping) -> None:
    """Start everything, say where it is, and wait until a stop is asked for or a part of it ends."""
    refuse_open_servers(settings.host)
    check_free(settings.host, settings.prefect_port, "--prefect-port")
    check_free(settings.host, settings.mlflow_port, "--mlflow-port")
    deployment_variables(settings.env_file)
    (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    (settings.home / "prefect").mkdir(exist_ok=True)
    write_user_settings(settings)
    print("Starting the Prefect server, the MLflow server and two workers (about half a minute) ...", flush=True)
    with running(settings, stopping) as services:
        if not stopping.asked:
            print(greeting(settings), flush=True)
        while not stopping.asked:
            for service in services:
                if service.process.poll() is not None:
                    raise DeployError(ended(service))
            time.sleep(0.5)
        print("\nStopping ...", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; 0 after a stop that was asked for, 1 with one clear line otherwise."""
    settings = parse(arguments)
    try:
        serve(settings, Stopping())
    except DeployError as error:
        print(f"make up: {error}", file=sys.stderr)
        return 1
    print("Stopped.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
