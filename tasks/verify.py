"""What has to hold of a version before it serves: it is the one that was gated, it is kept whole, and it answers."""

import filecmp
import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from tasks.adapters import CONFIG, WEIGHTS, check_base
from tasks.chat import read_input
from tasks.config import Config
from tasks.db import Row
from tasks.engine import checked_adapter
from tasks.errors import FlywheelError
from tasks.probe import probe, real_input
from tasks.secrets import hide_credentials
from tasks.tracking_store import check_server, make_store, naming_lost_server

T = TypeVar("T")


def check_files(config: Config, row: Row) -> str:
    """The folder of a version's adapter, whose hash is the gated one and whose base is the config's.

    `row` is the version's in the state.

    Raises:
        FlywheelError: the files are missing or others, or they were trained on another base.
    """
    check_base(Path(row["adapter_path"]), config.model.base)
    return checked_adapter(row["adapter_path"], row["adapter_sha256"])


def check_registry(config: Config, version: str, adapter: str) -> None:
    """Hold the registry's copy of a version against its adapter's folder: the weights byte by byte, the config as JSON.

    Nothing but these two files is read, so nothing that lies in the registry is run.

    Raises:
        FlywheelError: they differ, or the registry fails.
    """
    with TemporaryDirectory() as folder:
        asking_mlflow(config, lambda: _download(config, version, folder))
        name = f"the registry's copy of {config.name} version {version}"
        weights, options = (next(Path(folder).rglob(file)) for file in (WEIGHTS, CONFIG))
        if not filecmp.cmp(weights, Path(adapter) / WEIGHTS, shallow=False):
            raise FlywheelError(f"{name} differs from what was gated, {adapter}/{WEIGHTS}; restore it from there")
        if _options(options) != _options(Path(adapter) / CONFIG):
            raise FlywheelError(f"{name} differs from what was gated, {adapter}/{CONFIG}; restore it from there")


def _download(config: Config, version: str, folder: str) -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    client = mlflow.MlflowClient(config.tracking_uri, config.tracking_uri)
    source = client.get_model_version(config.name, version).source
    location = client.get_logged_model(source.removeprefix("models:/")).artifact_location
    for file in (WEIGHTS, CONFIG):
        mlflow.artifacts.download_artifacts(
            f"{location}/peft/{file}", dst_path=folder, tracking_uri=config.tracking_uri
        )


def _options(file: Path) -> dict[str, Any]:
    """An adapter's config; its lists came out of sets, so that their order means nothing."""
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {key: sorted(value) if isinstance(value, list) else value for key, value in read.items()}


def asking_mlflow(config: Config, ask: Callable[[], T]) -> T:
    """What `ask` returns, which asks MLflow.

    Raises:
        FlywheelError: MLflow fails, whatever it fails with.
    """
    from mlflow.exceptions import MlflowException

    make_store(config.tracking_uri)
    check_server(config.tracking_uri)
    try:
        with naming_lost_server(config.tracking_uri):
            return ask()
    except (MlflowException, OSError) as error:
        said = hide_credentials((str(error).strip() or type(error).__name__).splitlines()[0])
        address = hide_credentials(config.tracking_uri)
        raise FlywheelError(
            f"MLflow at {address} fails: {said}; see that it runs and is whole, and try again"
        ) from error


def check_answers(config: Config, version: str, adapter: str) -> None:
    """Let a version answer a real input: on the server that production asks, or else on an engine of its own.

    Raises:
        FlywheelError: it does not load, or does not answer.
    """
    try:
        if config.serving.address is None:
            probe(config, adapter, config.folder / "verified" / version)
        else:
            from tasks.serving import prove

            prove(config, adapter, read_input(real_input(config)))
    except FlywheelError as error:
        raise FlywheelError(f"version {version} has not answered, and the champion stays: {error}") from error
