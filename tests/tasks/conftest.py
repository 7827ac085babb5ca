"""Fixtures that tests of several modules share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks import server
from tests.tasks.production import Production


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> Iterator[Production]:
    """A stand-in for production's server, which is asked again without waiting long."""
    monkeypatch.setattr(server, "BACKOFF_SECONDS", 0.001)
    started = Production()
    yield started
    started.server.close()
