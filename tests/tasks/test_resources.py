"""The files that are not Python are found, whatever folder a command runs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.resources import resource


def test_sql_and_configs_are_found_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert resource("sql", "queries", "get_round.sql").is_file()
    assert resource("configs", "tickets.yaml").is_file()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="sql/absent"):
        resource("sql", "absent")
