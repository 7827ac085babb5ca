"""A registry with versions in it, and a stand-in of the server that production asks.

from tests.tasks.production import Production, register_copy, with_server, write_adapter
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tasks.adapters import CONFIG, WEIGHTS
from tasks.config import Config
from tasks.db import State
from tasks.rounds import record_evidence, writing
from tests.conftest import Saved, Workload, make_workload, traffic
from tests.tasks.test_server import StandIn

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def write_adapter(folder: Path, seed: int = 0) -> Path:
    """An adapter of a few numbers, as PEFT saves one."""
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(seed)
    parts = {f"{MODULE}.lora_A.weight": (2, 8), f"{MODULE}.lora_B.weight": (8, 2)}
    save_file({name: numbers.normal(size=shape).astype("f4") for name, shape in parts.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"r": 2, "target_modules": ["q_proj", "v_proj"]}), encoding="utf-8")
    return folder


def registered_workload(folder: Path, at: str) -> Saved:
    """A round that is registered as version 1, in the state and in a real MLflow, and has come to a stage."""
    workload = make_workload(folder / "workload", mlflow={"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}"})
    workload.collect("a", traffic(failures=5, successes=5))
    round_ = workload.to_gate(lambda role, case: True)
    with writing(workload.config, round_, "gate") as tx:
        record_evidence(tx, round_, suite_hash="s", gate={"results_sha256": "r"}, reasons=["it is better"])
    adapter = write_adapter(workload.folder / "adapter")
    workload.register(round_, adapter=adapter, at=at)
    with State(workload.config.database).transaction() as tx:
        tx.run("release_lease", round_id=round_.round_id, token=round_.lease_token)
    register_copy(workload.config, adapter, workload.folder / "artifacts")
    shutil.copyfile(folder / "mlflow.db", folder / "saved.db")
    return Saved(workload)


def restored(saved: Saved) -> Workload:
    """What `registered_workload` has made, as it was then."""
    workload = saved.restored()
    folder = workload.folder.parent
    shutil.copyfile(folder / "saved.db", folder / "mlflow.db")  # into the file that MLflow holds open
    return workload


def register_copy(config: Config, adapter: Path, artifacts: Path) -> None:
    """Log an adapter to MLflow as `tasks.register` lays it out, and make a version of it."""
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient(config.tracking_uri, config.tracking_uri)
    experiment = client.get_experiment_by_name(config.name)
    place = experiment.experiment_id if experiment else client.create_experiment(config.name, artifacts.as_uri())
    logged = client.create_logged_model(place, name="adapter")
    client.log_model_artifacts(logged.model_id, str(_laid_out(adapter)))
    client.finalize_logged_model(logged.model_id, "READY")
    if experiment is None:
        client.create_registered_model(config.name)
    mlflow.set_tracking_uri(config.tracking_uri)  # where a version is made, MLflow looks for its model there alone
    client.create_model_version(config.name, source=f"models:/{logged.model_id}", model_id=logged.model_id)
    mlflow.set_tracking_uri(None)


def _laid_out(adapter: Path) -> Path:
    """The adapter's files in a folder `peft`; its config with its lists in another order, as a set gives them."""
    folder = adapter.with_name(f"{adapter.name}.logged") / "peft"
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes())
    options = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    options["target_modules"] = options["target_modules"][::-1]
    (folder / CONFIG).write_text(json.dumps(options), encoding="utf-8")
    return folder.parent


class Production:
    """What a vLLM server with runtime updating says to loads, unloads and questions; `names` is what it serves."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.numberless: set[str] = set()
        self.refused: set[str] = set()
        self.server = StandIn(self._answer)
        self.address = self.server.address

    def _answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/v1/models":
            adapters = [{"id": name, "root": root, "parent": "base"} for name, root in self.names.items()]
            return 200, {"data": [{"id": "base", "root": "base"}, *adapters]}
        if path == "/v1/load_lora_adapter":
            return self._load(body["lora_name"], body["lora_path"], body.get("load_inplace", False))
        if path == "/v1/unload_lora_adapter":
            return (200, "") if self.names.pop(body["lora_name"], None) else (404, "cannot be found")
        root = self.names.get(body["model"])
        if root is None:
            return 404, {"error": {"message": f"The model {body['model']} does not exist."}}
        tokens = [{"token": "x", "logprob": float("nan") if root in self.numberless else -0.1}]
        return 200, {"choices": [{"message": {"content": "x"}, "logprobs": {"content": tokens}}]}

    def _load(self, name: str, path: str, in_place: bool) -> tuple[int, Any]:
        if name in self.names and not in_place:
            return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
        if path in self.refused or not Path(path).is_dir():
            return 400, {"error": {"message": "rank 64 is greater than max_lora_rank"}}
        self.names[name] = path
        return 200, ""


def with_server(config: Config, address: str) -> Config:
    """The config with a server that production asks."""
    return config.model_copy(update={"serving": config.serving.model_copy(update={"address": address})})
