"""Metrics in MLflow while a training runs, in the run that the round's version is registered from later.

Logging is done by a thread of its own: a server that is slow or gone must not hold up a training, and what could not
be logged is in the round's evidence, from which it is made good at registration.
"""

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tasks.tracking_store import make_store, store_file

ROUND_TAG = "flywheel.round_key"
TRAINING_TAG = "flywheel.training"  # set as long as nothing but the training's metrics was logged
CLOSE_SECONDS = 30.0
PREFIXES = {"sft": "train", "dpo": "dpo"}  # of a stage's metrics

Metrics = dict[str, float]


class LiveMetrics:
    """Logs steps to the round's run; used as a context, which waits a little for the last of them."""

    def __init__(
        self,
        tracking_uri: str,
        artifact_location: str | None,
        workload: str,
        round_id: int,
        round_key: str,
        warn: Callable[[str], None],
    ) -> None:
        self._place = (tracking_uri, artifact_location, workload, f"round {round_id}", round_key)
        self._warn = warn
        self._steps: queue.SimpleQueue[tuple[str, int, Metrics] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def log(self, stage: str, step: int, metrics: Metrics) -> None:
        """Have a step's metrics logged under the stage's prefix; returns at once."""
        self._steps.put((stage, step, metrics))

    def __enter__(self) -> "LiveMetrics":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        try:
            self._log_all()
        except Exception as error:  # noqa: BLE001 - whatever a server or its client raises, the training goes on
            self._warn(
                f"MLflow does not take the training's metrics, which are logged with the version then: {_reason(error)}"
            )

    def _log_all(self) -> None:
        if (item := self._steps.get()) is None:
            return
        import mlflow

        make_store(self._place[0])
        client = mlflow.MlflowClient(self._place[0])
        run_id = find_or_create_run(client, *self._place[1:])
        logged: dict[str, set[int]] = {}
        while item is not None:
            stage, step, metrics = item
            steps = logged.setdefault(stage, logged_steps(client, run_id, stage))
            if step not in steps:  # a training that was killed repeats the steps since its checkpoint
                client.log_batch(
                    run_id, [_metric(f"{PREFIXES[stage]}/{name}", metrics[name], step) for name in metrics]
                )
            item = self._steps.get()


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def end_runs(tracking_uri: str, workload: str, round_key: str, warn: Callable[[str], None]) -> None:
    """End what a round that is given up has left running in MLflow, as KILLED; nothing where there is nothing.

    A server that does not answer within CLOSE_SECONDS, or that refuses, is told of and holds nobody up.
    """
    file = store_file(tracking_uri)
    if file is not None and not file.is_file():
        return  # to ask would create it
    failed: list[str] = []
    thread = threading.Thread(target=_try_to_end, args=(tracking_uri, workload, round_key, failed.append), daemon=True)
    thread.start()
    thread.join(CLOSE_SECONDS)
    if thread.is_alive():
        failed.append(f"no answer in {CLOSE_SECONDS:.0f} s")
    if failed:
        warn(f"MLflow could not be told, so the round's run may be shown there as running: {failed[0]}")


def _try_to_end(tracking_uri: str, workload: str, round_key: str, fail: Callable[[str], None]) -> None:
    try:
        import mlflow

        client = mlflow.MlflowClient(tracking_uri)
        experiment = client.get_experiment_by_name(workload)
        running = f"tags.`{ROUND_TAG}` = '{round_key}' and attributes.status = 'RUNNING'"
        for run in client.search_runs([experiment.experiment_id], running) if experiment else ():
            client.set_terminated(run.info.run_id, "KILLED")
    except Exception as error:  # noqa: BLE001 - whatever a server or its client raises, the round is given up
        fail(_reason(error))


def _metric(name: str, value: float, step: int) -> Any:
    from mlflow.entities import Metric

    return Metric(name, value, int(1000 * time.time()), step)


def find_or_create_run(client: Any, artifact_location: str | None, workload: str, name: str, round_key: str) -> str:
    """The id of the run that the round's training is logged in."""
    experiment_id = find_or_create_experiment(client, workload, artifact_location)
    found = client.search_runs([experiment_id], f"tags.`{ROUND_TAG}` = '{round_key}' and tags.`{TRAINING_TAG}` = 'yes'")
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment_id, run_name=name, tags={ROUND_TAG: round_key, TRAINING_TAG: "yes"})
    return str(run.info.run_id)


def find_or_create_experiment(client: Any, name: str, artifact_location: str | None) -> str:
    """The id of the workload's experiment."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, artifact_location=artifact_location))


def logged_steps(client: Any, run_id: str, stage: str) -> set[int]:
    """Steps of a stage whose loss a run has."""
    return {metric.step for metric in client.get_metric_history(run_id, f"{PREFIXES[stage]}/loss")}
