"""Prefect's log lines for errors that a user can act on: one line, without a traceback."""

import logging

from tasks.disk import is_full
from tasks.errors import FlywheelError


class _ShortenKnownErrors(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record; drop the traceback of a FlywheelError or a full disk, whose message says it all."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, FlywheelError) or is_full(error):
            record.msg, record.args = str(error), ()
            record.exc_info = record.exc_text = None
        return True


SHORTEN = _ShortenKnownErrors()


def shorten_known_errors() -> None:
    """Apply to the loggers that Prefect's engine reports failed runs with; done twice, it is done once."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(SHORTEN)
