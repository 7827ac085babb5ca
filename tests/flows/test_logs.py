"""A known error in Prefect's log is one line; an unknown one keeps its traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from flows.logs import shorten_known_errors
from tasks.errors import SourceError

NAMES = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")


class Kept(logging.Handler):
    """Keeps what it is handed, formatted."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(params=NAMES)
def logger(request: pytest.FixtureRequest) -> Iterator[tuple[logging.Logger, Kept]]:
    found, handler = logging.getLogger(request.param), Kept()
    before = list(found.filters)
    found.addHandler(handler)
    yield found, handler
    found.removeHandler(handler)
    for logger_name in NAMES:
        logging.getLogger(logger_name).filters = before


def report(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except type(error):
        logger.error("Encountered an exception in %s", "run", exc_info=sys.exc_info())


def test_a_known_error_is_its_one_line(logger: tuple[logging.Logger, Kept]) -> None:
    shorten_known_errors()
    report(logger[0], SourceError("source a: line 3: 100 % wrong; mend it"))
    assert logger[1].lines == ["source a: line 3: 100 % wrong; mend it"]


def test_an_unknown_error_keeps_its_traceback(logger: tuple[logging.Logger, Kept]) -> None:
    shorten_known_errors()
    report(logger[0], ZeroDivisionError("by zero"))
    assert "Traceback" in logger[1].lines[0]
    assert "Encountered an exception in run" in logger[1].lines[0]


def test_other_lines_pass_unchanged(logger: tuple[logging.Logger, Kept]) -> None:
    shorten_known_errors()
    shorten_known_errors()
    logger[0].warning("%d rows", 3)
    assert logger[1].lines == ["3 rows"]
