"""Start everything that a person looks at, on this machine, and stop it on Ctrl-C.

    python -m deployments.up [--prefect-port 4200] [--mlflow-port 5000] [--home .flywheel]

The Prefect server, the MLflow server over the registry that the rounds write, and a worker that carries out
the deployments of `prefect.yaml`. Both servers listen on this machine only; their logs are in HOME/logs.
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

from deployments.services import Guard, Service, Stopping, start, stop

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
POOL = "flywheel"
START_S = 180.0


class UpError(Exception):
    """What keeps the servers from running, in one line for the person who asked for them."""


@dataclass(frozen=True)
class Settings:
    """Where things are: ports of the two servers, and the folder that holds all state."""

    prefect_port: int
    mlflow_port: int
    home: Path

    @property
    def prefect_url(self) -> str:
        """Address of Prefect's UI."""
        return f"http://{HOST}:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow's UI."""
        return f"http://{HOST}:{self.mlflow_port}"

    def environment(self) -> dict[str, str]:
        """What the children run with: the caller's environment and this server's address.

        `PWD` is what prefect.yaml takes the working folder of the flow runs from.
        """
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        defaults = {
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Scheduled LLM judges of MLflow's own: not used here, and they cost two more processes.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        ours = {"PREFECT_API_URL": f"{self.prefect_url}/api", "PWD": str(ROOT), "PYTHONPATH": path}
        return defaults | dict(os.environ) | ours


def parse(arguments: list[str] | None = None) -> Settings:
    """Settings from the command line."""
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m deployments.up", description=about)
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--home", type=Path, default=ROOT / ".flywheel", help="state and logs")
    given = parser.parse_args(arguments)
    return Settings(given.prefect_port, given.mlflow_port, given.home.resolve())


def check_free(port: int, option: str) -> None:
    """Raises UpError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            name = option.removeprefix("--").replace("-", "_").upper()
            raise UpError(
                f"port {port} cannot be had ({error.strerror}): stop what uses it, "
                f"or give another with {option} (make up {name}=...)"
            ) from error


def ended(service: Service) -> str:
    """What to say of a service that is gone, with the end of its log."""
    return f"the {service.name} ended by itself; its log, {service.log}, closes with\n{service.last_lines()}"


def wait_for(service: Service, url: str, stopping: Stopping) -> bool:
    """Wait until `url` answers; False when a stop was asked for meanwhile.

    Raises:
        UpError: the service ended, or does not answer within START_S seconds.
    """
    import httpx

    deadline = time.monotonic() + START_S
    while not stopping.asked:
        if service.process.poll() is not None:
            raise UpError(ended(service))
        if time.monotonic() > deadline:
            raise UpError(f"{service.name} does not answer after {START_S:.0f} s; its log is {service.log}")
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    return False


def prefect_command(*arguments: str) -> list[str]:
    """Prefect's own command line, from this environment and never waiting for an answer from a terminal."""
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def server_commands(settings: Settings) -> dict[str, tuple[str, list[str]]]:
    """For each server: the address that tells whether it is up, and its command."""
    prefect = prefect_command("server", "start", "--host", HOST, "--port", str(settings.prefect_port))
    mlflow = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(settings.mlflow_port)]
    mlflow += ["--workers", "1", "--backend-store-uri", f"sqlite:///{settings.home / 'mlflow.db'}"]
    mlflow += ["--artifacts-destination", str(settings.home / "mlartifacts")]
    return {
        "Prefect server": (f"{settings.prefect_url}/api/health", prefect),
        "MLflow server": (f"{settings.mlflow_url}/health", mlflow),
    }


def deploy(settings: Settings, stopping: Stopping) -> None:
    """Create the work pool if it is missing, and the deployments of prefect.yaml.

    Raises:
        UpError: Prefect refuses; the message ends with its last lines.
    """
    import httpx

    steps = [prefect_command("deploy", "--all", "--prefect-file", "deployments/prefect.yaml")]
    pool = httpx.get(f"{settings.prefect_url}/api/work_pools/{POOL}", timeout=30.0, trust_env=False)
    if pool.status_code == httpx.codes.NOT_FOUND:
        steps.insert(0, prefect_command("work-pool", "create", POOL, "--type", "process"))
    log = settings.home / "logs" / "deploy.log"
    log.write_bytes(b"")
    for step in steps:
        if stopping.asked:
            return
        done = subprocess.run(
            step,
            env=settings.environment(),
            cwd=ROOT,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        with log.open("a") as lines:
            lines.write(done.stdout + done.stderr)
        if done.returncode and not stopping.asked:
            last = " ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
            raise UpError(f"`prefect {' '.join(step[4:])}` failed: {last} (all of it: {log})")


@contextmanager
def running(settings: Settings, stopping: Stopping) -> Iterator[list[Service]]:
    """The servers and the worker, started in order; ended in the opposite order, whatever happens."""
    logs, env, guard = settings.home / "logs", settings.environment(), Guard()
    services: list[Service] = []
    try:
        commands = server_commands(settings)
        for name, (_, command) in commands.items():
            services.append(start(name, command, env, ROOT, logs / f"{name.split()[0].lower()}.log", guard))
        if all(wait_for(s, commands[s.name][0], stopping) for s in services):
            deploy(settings, stopping)
        if not stopping.asked:
            # Its name is fixed, so that the list of workers does not grow with each start.
            command = prefect_command("worker", "start", "--pool", POOL, "--name", "local")
            services.append(start("worker", command, env, ROOT, logs / "worker.log", guard))
        yield services
    finally:
        for service in reversed(services):
            # A worker that is asked nicely gives its runs up before the server that keeps their states goes.
            stop(service, guard, polite=signal.SIGINT if service.name == "worker" else None)
        guard.close()


def greeting(settings: Settings) -> str:
    """What a person needs to know once all is up."""
    return f"""
  Prefect  {settings.prefect_url}   flows, schedules, runs: Deployments > tickets > Run
  MLflow   {settings.mlflow_url}   models, versions side by side, evidence
  logs     {settings.home / "logs"}

  Runs from another terminal appear there with
    PREFECT_API_URL={settings.prefect_url}/api .venv/bin/flywheel run run_round --config configs/tickets.yaml
  The first round needs traffic: `make demo` makes some. Ctrl-C stops everything.
"""


def serve(settings: Settings, stopping: Stopping) -> None:
    """Start everything, say where it is, and wait until a stop is asked for or a part of it ends."""
    check_free(settings.prefect_port, "--prefect-port")
    check_free(settings.mlflow_port, "--mlflow-port")
    (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    (settings.home / "prefect").mkdir(exist_ok=True)
    print("Starting the Prefect server, the MLflow server and a worker (about half a minute) ...", flush=True)
    with running(settings, stopping) as services:
        if not stopping.asked:
            print(greeting(settings), flush=True)
        while not stopping.asked:
            for service in services:
                if service.process.poll() is not None:
                    raise UpError(ended(service))
            time.sleep(0.5)
        print("\nStopping ...", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; 0 after a stop that was asked for, 1 with one clear line otherwise."""
    settings = parse(arguments)
    try:
        serve(settings, Stopping())
    except UpError as error:
        print(f"make up: {error}", file=sys.stderr)
        return 1
    print("Stopped.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
