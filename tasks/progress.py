"""Progress bars in Prefect's UI, and what they may not do: cost a stage time, or end it when the server is away."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from uuid import UUID

    from tasks.config import SourceConfig
    from tasks.sources.base import Part

Show = Callable[[float, float, str], None]  # so much is done, of so much, and what else is to be said

LEAST_SECONDS = 1.0  # between two updates
RETRY_SECONDS = 30.0  # after a server did not answer


class ProgressBar:
    """A progress artifact of the flow run that it is used in, made when there is something to show.

    Outside of a flow run it does nothing. What the server refuses, or does not answer to, is left out: a bar that stays
    where it was is no reason to lose hours of training.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._artifact: UUID | None = None
        self._next = 0.0
        self._shown = -1.0

    def show(self, done: float, total: float, detail: str = "") -> None:
        """So much is done; updates come at most once a second, but for the last one. `detail` goes behind the name."""
        percent = 100.0 * min(1.0, done / total) if total > 0 else 100.0
        moment = time.monotonic()
        is_due = moment >= self._next or (percent == 100.0 and self._next - moment <= LEAST_SECONDS)
        if not is_due or percent == self._shown or not _in_run():
            return
        self._next = moment + LEAST_SECONDS
        try:
            self._send(percent, f"{self._description}: {detail}" if detail else self._description)
        except Exception:  # noqa: BLE001 - whatever the server or its client raises, the work goes on
            self._next = moment + RETRY_SECONDS
        else:
            self._shown = percent

    def _send(self, percent: float, description: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._artifact is None:
            self._artifact = cast("UUID", create_progress_artifact(progress=percent, description=description))
        else:
            update_progress_artifact(artifact_id=self._artifact, progress=percent, description=description)


def watched(
    parts: "Iterator[tuple[SourceConfig, Part]]", sources: "Sequence[SourceConfig]", show: Show
) -> "Iterator[tuple[SourceConfig, Part]]":
    """The parts as they are; while their batches are read, `show` is told how far through the sources that is."""
    records = 0
    places = {source.name: place for place, source in enumerate(sources)}

    def batches(of: "Part", done: float) -> Iterator[Any]:
        nonlocal records
        for batch in of.batches:
            records += batch.height
            show(done, len(sources), f"{records:,} records read")
            yield batch

    for source, part in parts:
        before = places[source.name] + part.share_before
        yield source, replace(part, batches=batches(part, before))
    if records:
        show(len(sources), len(sources), f"{records:,} records read")


def _in_run() -> bool:
    from prefect.context import FlowRunContext, TaskRunContext

    return (FlowRunContext.get() or TaskRunContext.get()) is not None
