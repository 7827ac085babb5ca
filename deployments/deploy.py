"""Make the work pools, deployments and automations of a workload on a Prefect server, or bring them up to date.

    python -m deployments.deploy [--env-file deployments/staging.env]

PREFECT_API_URL names the server, and PREFECT_API_AUTH_STRING its password where it asks for one. To be run from the
folder that flow runs are to work in: a checkout, or the place of an installation.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.automations import Notified, apply_automations
from deployments.environment import FOLDER, ROOT, DeployError, deployment_variables

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def create_pools(client: "SyncPrefectClient", names: list[str]) -> None:
    """Work pools of processes, each where there is none of that name; one that exists stays as it is."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    for name in dict.fromkeys(names):
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=process_template()))
            except ObjectAlreadyExists:  # another was quicker
                continue
            print(f"made the work pool {name}")


def process_template() -> dict[str, object]:
    """What a job of a process pool is made from, as `prefect work-pool create` would have it."""
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def deploy_all(variables: dict[str, str]) -> None:
    """Run `prefect deploy` on prefect.yaml with the variables filled in.

    Raises:
        DeployError: Prefect refuses.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    command += ["--prefect-file", str(FOLDER / "prefect.yaml")]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = dict(os.environ) | variables | {"PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode:
        last = " ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise DeployError(f"`prefect deploy` failed: {last}")


def remove_stale(client: "SyncPrefectClient", workload: str) -> None:
    """Remove deployments of the workload that prefect.yaml had under another name; their schedules would go on."""
    import yaml
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    entries = yaml.safe_load((FOLDER / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    names = {entry["name"].replace("{{ $FLYWHEEL_WORKLOAD }}", workload) for entry in entries}
    ours = {entry["entrypoint"] for entry in entries}
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[workload]))
    for found in client.read_deployments(deployment_filter=tagged):
        if found.entrypoint in ours and found.name not in names:
            client.delete_deployment(found.id)
            print(f"removed the deployment {found.name}, which is not in prefect.yaml any more")


def deploy(env_file: Path | None) -> str:
    """All of it; the workload's name.

    Raises:
        DeployError: a variable or the config is wrong, or Prefect refuses or does not answer.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    if not (address := PREFECT_API_URL.value()):
        raise DeployError("PREFECT_API_URL is not set; give the server's address, such as http://127.0.0.1:4200/api")
    variables = deployment_variables(env_file)
    try:
        with get_client(sync_client=True) as client:
            create_pools(client, [variables["FLYWHEEL_LOCAL_POOL"], variables["FLYWHEEL_GPU_POOL"]])
            deploy_all(variables)
            remove_stale(client, variables["FLYWHEEL_WORKLOAD"])
            notified = apply_automations(client, FOLDER / "automations.yaml")
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        hint = "set PREFECT_API_AUTH_STRING to its USER:PASSWORD" if status == 401 else "its log says why"
        raise DeployError(f"the Prefect server at {address} refuses ({status}); {hint}") from None
    except httpx.TransportError as error:
        raise DeployError(f"the Prefect server at {address} does not answer ({type(error).__name__})") from None
    print(told(notified))
    return variables["FLYWHEEL_WORKLOAD"]


def told(notified: Notified) -> str:
    """Whether anybody is notified, in one sentence."""
    if notified.block:
        return f"Notices go to the block {notified.block}."
    return "Nobody is notified of failures: set FLYWHEEL_NOTIFY_URL to a webhook and run this again."


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; 0, or 1 with one line of what is wrong."""
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m deployments.deploy", description=about)
    parser.add_argument("--env-file", type=Path, help="variables that differ from deployments/default.env")
    given = parser.parse_args(arguments)
    try:
        workload = deploy(given.env_file)
    except DeployError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    print(f"{workload} is deployed.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
