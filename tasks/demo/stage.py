"""Sets the demo's scene, step by step; each step that has been done is found and not done again."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from tasks.child import Progress, run_child
from tasks.config import Config
from tasks.db import State, require_state
from tasks.demo.worlds import Record, World
from tasks.promote import champion
from tasks.rounds import read_evidence


def rounds_closed(config: Config) -> int:
    """How many rounds of the workload have been run to their end."""
    if not config.database.is_file():
        return 0
    return sum(evidence["stage"] == "closed" for evidence in read_evidence(config))


def start_over(config: Config) -> None:
    """Remove a finished demo's state, traffic and registered versions; its base model and its MLflow runs stay."""
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient(tracking_uri=config.tracking_uri, registry_uri=config.tracking_uri)
    try:
        client.delete_registered_model(config.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    shutil.rmtree(config.folder)


def prepare_base(config: Config, world: World, on_progress: Progress) -> Path:
    """Build the world's base model or find it built, and put it where the config looks for it."""
    models = config.home / "models"
    spec = {
        "spec": world.spec.model_dump(mode="json"),
        "conversations": world.conversations,
        "folder_root": str(models),
    }
    folder = Path(run_child("tasks.demo.children:build", spec, config.folder / "demo", on_progress)["folder"])
    link = models / world.name
    temporary = models / f".{world.name}.{os.getpid()}"
    temporary.symlink_to(folder.name)
    temporary.replace(link)
    return link


def make_traffic(config: Config, world: World, number: int, on_progress: Progress) -> Path:
    """Let the champion answer window `number` (from 1), have it reviewed, and write the source's file.

    With the first one comes what exists beside the traffic, and, in a source's file of its own, what taught the base.
    """
    path = config.folder / "traffic" / f"window-{number}.jsonl"
    if path.is_file():
        return path
    window = world.windows[number - 1]
    version, adapter = serving(config)
    outputs = answers(config, window.prompts, adapter, on_progress)
    records = window.review(outputs, version or "base")
    if number == 1:
        records = [*world.given, *records]
        if world.taught:
            _write(config.folder / "taught" / "base.jsonl", _lines(world.taught))
    _write(path, _lines(records))
    return path


def serving(config: Config) -> tuple[str | None, str | None]:
    """The champion's version and its adapter's folder; both None for the bare base model."""
    if not config.database.is_file():
        return None, None
    version = champion(config)
    if version is None:
        return None, None
    with State(config.database).transaction() as tx:
        return version, tx.rows("get_version", version=version)[0]["adapter_path"]


def answers(
    config: Config, prompts: list[list[dict[str, str]]], adapter: str | None, on_progress: Progress
) -> list[str]:
    """What a model answers to the prompts, as production would serve it."""
    spec = {
        "base": config.model.base,
        "adapter": adapter,
        "prompts": prompts,
        "max_new_tokens": config.model.max_new_tokens,
    }
    return list(run_child("tasks.demo.children:serve", spec, config.folder / "demo", on_progress)["outputs"])


def test_accuracy(config: Config, world: World, on_progress: Progress) -> dict[str, float]:
    """Accuracy on the world's untouched test rows: of the bare base model, and of every registered version."""
    from tasks.case_scores import score_all

    assert world.test is not None
    prompts, truths = world.test
    with require_state(config.database).transaction() as tx:
        adapters = {f"v{row['version']}": row["adapter_path"] for row in tx.rows("list_versions")}
    found = {}
    for name, adapter in {"base": None, **adapters}.items():
        outputs = answers(config, prompts, adapter, on_progress)
        found[name] = sum(score.is_right for score in score_all(config, outputs, truths)) / len(truths)
    return found


def _lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
