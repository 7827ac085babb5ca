"""What `flywheel doctor` asks of servers: MLflow's store, Prefect's, and the addresses that the config names."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from tasks.backup import local_store
from tasks.checkup import Check, ok, warning, wrong
from tasks.config import Config
from tasks.db import State
from tasks.doctor_machine import version_of
from tasks.errors import ConfigError
from tasks.rounds import label
from tasks.schedule import prefect_auth, prefect_headers
from tasks.scorer_options import JudgeScorer
from tasks.secrets import read_secret

SECONDS = 5.0
MLFLOW_SECONDS = 30.0


def check_mlflow(config: Config, options: str) -> Iterator[Check]:
    """Whether the registry can be reached, and says the same of the champion as the state does."""
    recorded = _champion(config)
    store = local_store(config)
    if store is not None and not store.is_file():
        if recorded is None:
            yield ok("MLflow", f"{store} is made when the first version is registered")
        else:
            found = f"{store} is not there, and the champion on record is v{recorded}"
            yield wrong("MLflow", found, f"flywheel restore FILE{options}")
        return
    found, error = _ask(lambda: _alias(config), MLFLOW_SECONDS)
    where = str(store) if store is not None else "the tracking server"
    if error:
        yield wrong("MLflow", f"{where} cannot be asked: {error}", "start it (make up), or correct mlflow.tracking_uri")
    elif found != recorded:
        said = f"its alias champion is {label(found)['label']}, on record is {label(recorded)['label']}"
        again = label(recorded)["label"]
        yield wrong("MLflow", said, f"flywheel promote {again} --by YOU --reason 'set the alias right'{options}")
    else:
        yield ok("MLflow", f"{where}, alias champion is {label(found)['label']}, as on record")


def _champion(config: Config) -> str | None:
    state = State(config.database)
    if not config.database.is_file() or state.half_restored.is_file():
        return None
    with state.transaction() as tx:
        row = tx.row("get_champion")
    return row["to_version"] if row else None


def _alias(config: Config) -> str | None:
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient(tracking_uri=config.tracking_uri, registry_uri=config.tracking_uri)
    try:
        found = client.get_registered_model(config.name).aliases.get("champion")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return None if found is None else str(found)


def _ask(question: Any, seconds: float) -> tuple[Any, str]:
    """The answer, or why there is none: whatever a client raises, or that it took too long."""
    answers: list[Any] = []
    errors: list[str] = []

    def run() -> None:
        try:
            answers.append(question())
        except Exception as error:  # noqa: BLE001 - whatever a server or its client raises
            errors.append((str(error).strip() or type(error).__name__).splitlines()[0])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0], ""
    return None, errors[0] if errors else f"no answer in {seconds:.0f} s"


def check_prefect(config: Config, options: str) -> Iterator[Check]:
    """Whether the Prefect server that is named answers, and is of the installed version."""
    address = os.environ.get("PREFECT_API_URL")
    installed = version_of("prefect")
    if not address:
        yield ok("Prefect", f"{installed}; no server is named (PREFECT_API_URL), so each run has one for its time")
        return
    try:
        with httpx.Client(timeout=SECONDS, headers=prefect_headers(), auth=prefect_auth()) as client:
            client.get(f"{address}/health").raise_for_status()
            served = str(client.get(f"{address}/version").raise_for_status().json())
    except (httpx.HTTPError, ValueError) as error:
        yield wrong("Prefect", f"{address} does not answer: {error}", "make up; or correct PREFECT_API_URL")
        return
    if served != installed:
        yield warning("Prefect", f"{address} is {served}, installed is {installed}", "run one version of both")
    else:
        yield ok("Prefect", f"{address}, {served}")


def check_addresses(config: Config, options: str) -> Iterator[Check]:
    """The servers that the config names: of production, of the suite, of the judge."""
    asked = {"serving": (config.serving.address, config.serving.api_key_env)}
    asked["engine"] = (config.engine.address, config.engine.api_key_env)
    for name, (address, key_env) in asked.items():
        if address is not None:
            yield _models(name, f"{address.rstrip('/')}/v1/models", key_env)
    if isinstance(config.scorer, JudgeScorer):
        yield _models("scorer", f"{config.scorer.address.rstrip('/')}/models", config.scorer.api_key_env)


def _models(name: str, url: str, key_env: str | None) -> Check:
    """Whether an OpenAI-compatible server lists its models."""
    try:
        headers = {"Authorization": f"Bearer {read_secret(key_env, f'{name}.api_key_env')}"} if key_env else {}
    except ConfigError as error:
        return wrong(name, str(error), f"export {key_env}=...")
    try:
        answer = httpx.get(url, headers=headers, timeout=SECONDS, trust_env=False).raise_for_status().json()
        names = [str(model["id"]) for model in answer["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return wrong(name, f"{url} does not answer: {reason}", f"start it, or correct {name}.address in the config")
    return ok(name, f"{url}: {', '.join(names[:4]) or 'no model'}")
