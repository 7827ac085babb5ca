"""Texts are redacted alike here and in processes of their own, which end with what they were started for."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from tasks.config import Config
from tasks.errors import ChildError, ConfigError, FlywheelError
from tasks.redactors import Redactors
from tests.conftest import Workload, inference, make_workload, python

NAMES = """
import os

def find_names(text):
    print("a recogniser may print")
    if "die" in text:
        os._exit(3)
    if "fail" in text:
        raise RuntimeError("the model is not there")
    if "beyond" in text:
        return [(0, 999)]
    at = text.find("Maria")
    return [(at, at + 5)] if at >= 0 else []
"""
TEXTS = ["call +49 30 901820", "nothing", "write to maria.keller@firma.de\n", "", "Ünïcode \ud83d 4539 1488 0343 6467"]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_workload(tmp_path).config


@pytest.fixture
def with_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    (tmp_path / "own_names.py").write_text(NAMES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return make_workload(tmp_path, redaction={"names": "own_names:find_names"}).config


def here(config: Config) -> Redactors:
    config.home.mkdir(exist_ok=True)
    return Redactors(config, config.home / "log", 2)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few they are, texts are redacted in processes."""
    monkeypatch.setattr("tasks.redactors.FEW", 0)


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


def test_processes_redact_as_it_is_done_here(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    conversations = [json.dumps([{"role": "user", "content": text}], separators=(",", ":")) for text in TEXTS]
    with here(config) as redactors:
        before = children()
        expected = redactors.redact_all(TEXTS), redactors.redact_all(conversations, are_messages=True)
        assert children() == before  # for a few texts no process is worth its start
        assert expected[0] == [redactors.redact(text) for text in TEXTS]
    monkeypatch.setattr("tasks.redactors.FEW", 0)
    with here(config) as redactors:
        for _ in range(3):
            found = redactors.redact_all(TEXTS), redactors.redact_all(conversations, are_messages=True)
            assert found == expected
        assert len(children() - before) == 2
    assert children() == before
    assert "901820" not in expected[0][0] and expected[0][1] == "nothing"
    assert [json.loads(text)[0]["content"] for text in expected[1]] == expected[0]


@pytest.mark.usefixtures("apart")
def test_names_are_found_by_the_same_function(with_names: Config) -> None:
    with here(with_names) as redactors:
        assert redactors.finds_names
        found = redactors.redact_all(["by Maria", "by nobody"])
        assert found == [redactors.redact("by Maria"), "by nobody"]
        assert found[0] != "by Maria"


@pytest.mark.usefixtures("apart")
def test_what_is_wrong_with_a_recogniser_is_said_by_the_processes_too(with_names: Config) -> None:
    with (
        here(with_names) as redactors,
        pytest.raises(FlywheelError, match=r"redaction.names found names at \[\(0, 999"),
    ):
        redactors.redact_all(["beyond"])
    with here(with_names) as redactors, pytest.raises(ChildError, match="RuntimeError: the model is not there"):
        redactors.redact_all(["fail"])


@pytest.mark.usefixtures("apart")
def test_a_process_that_dies_is_reported_and_not_waited_for(with_names: Config) -> None:
    with here(with_names) as redactors:
        for _ in range(3):  # also by those that ask the dead one later
            with pytest.raises(ChildError, match="ended with status 3: a recogniser may print"):
                redactors.redact_all(["die"])


def test_a_recogniser_that_is_not_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    config = make_workload(tmp_path, redaction={"names": "nowhere:find_names"}).config
    with pytest.raises(ConfigError, match=r"redaction\.names: nowhere:find_names cannot be imported"):
        here(config)


@pytest.mark.usefixtures("apart")
def test_a_pass_whose_redaction_dies_leaves_nothing(with_names: Config, tmp_path: Path) -> None:
    workload = Workload(tmp_path, with_names)
    record = inference("i1", text="die")
    with pytest.raises(ChildError, match="ended with status 3"):
        workload.collect("a", [record])
    assert not with_names.database.exists()
    assert [path.name for path in with_names.home.iterdir()] == ["tickets.redaction-key"]


def test_a_key_whose_writer_was_killed_is_made_by_the_next(config: Config, tmp_path: Path) -> None:
    """An empty key would make the same substitutes for everybody who has one."""
    config.home.mkdir(parents=True, exist_ok=True)
    code = """
    import os, signal, sys
    from pathlib import Path
    from tasks import redactors
    redactors.secrets.token_bytes = lambda size: os.kill(os.getpid(), signal.SIGKILL)
    redactors._make_key(Path(sys.argv[1]))
    """
    key = config.home / "tickets.redaction-key"
    killed = python(code, str(key))
    killed.communicate()
    assert killed.returncode == -9
    assert not key.exists()
    with here(config):
        assert len(key.read_bytes()) == 32
        assert key.stat().st_mode & 0o077 == 0
    assert [path.name for path in config.home.iterdir()] == [key.name]
