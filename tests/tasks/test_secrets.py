"""Secrets are named in a config and found elsewhere; nothing that is said or written holds one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fsspec import register_implementation
from fsspec.implementations.memory import MemoryFileSystem

from tasks.child import environment
from tasks.config import load_config
from tasks.errors import ConfigError, SourceError
from tasks.secrets import block_name, find_secret, has_password, hide, hide_credentials, missing, read_secret
from tests.conftest import inference, lines, make_config, make_workload, python, write_config

KEY = "sk-ant-abcDEF0123456789"


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", f" {KEY}\n")
    assert find_secret("TEST_KEY") == read_secret("TEST_KEY", "engine.api_key_env") == KEY
    assert hide(f"refused: {KEY}, sorry") == "refused: ***, sorry"


def test_a_secret_that_is_nowhere_is_missed_with_both_ways_to_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    assert find_secret("TEST_KEY") is None
    with pytest.raises(ConfigError) as caught:
        read_secret("TEST_KEY", "engine.api_key_env")
    line = str(caught.value)
    assert line.startswith("engine.api_key_env: the environment variable TEST_KEY is not set")
    assert "Secret block test-key" in line and "export TEST_KEY" in line and missing("TEST_KEY") in line
    assert "\n" not in line


def test_a_secret_in_the_environment_needs_no_prefect() -> None:
    code = "import os, sys; from tasks.secrets import find_secret; os.environ['A'] = 'x'; find_secret('A')"
    child = python(f"{code}; print('prefect' in sys.modules)")
    assert child.communicate(timeout=60)[0].strip() == "False"


def test_a_prefect_server_that_is_away_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    from prefect.settings import PREFECT_API_URL
    from prefect.settings.context import temporary_settings

    # Whatever server another test has named: settings of a context win over the environment.
    away = {PREFECT_API_URL: "http://maria:geheim@127.0.0.1:1/api"}
    with temporary_settings(updates=away), pytest.raises(ConfigError) as caught:
        find_secret("TEST_KEY")
    assert "http://***@127.0.0.1:1/api cannot be asked for its Secret block test-key" in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(("name", "expected"), [("JUDGE_KEY", "judge-key"), ("_a_1_", "a-1"), ("x", "x")])
def test_a_block_is_named_as_prefect_allows(name: str, expected: str) -> None:
    assert block_name(name) == expected


def test_the_password_of_a_url_is_hidden_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_URL", "postgresql://maria:ge%40heim@db.internal/chats?sslpassword=verborgen&a=bc")
    find_secret("TEST_URL")
    said = hide('user "maria", password "ge@heim" (ge%40heim), key verborgen, abc')
    assert said == 'user "maria", password "***" (***), key ***, abc'


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://u:p@host", True),
        ("postgresql://host/db?password=x", True),
        ("https://host/a?access_token=x", True),
        ("postgresql://u@host/db", False),
        ("s3://bucket/a:b@c", False),
        ("sqlite:////data/a.db", False),
    ],
)
def test_urls_with_passwords_are_told(url: str, is_one: bool) -> None:
    assert has_password(url) is is_one
    assert (hide_credentials(url) != url) is (is_one or "u@" in url)


SOURCE = {"name": "s", "path": "x"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mlflow": {"tracking_uri": f"https://maria:{KEY}@host"}}, "MLFLOW_TRACKING_PASSWORD"),
        ({"mlflow": {"tracking_uri": f"https://{KEY}@host"}}, "MLFLOW_TRACKING_TOKEN"),
        ({"mlflow": {"tracking_uri": f"postgresql://m:{KEY}@host/db"}}, "before a database start an MLflow server"),
        ({"engine": {"address": f"http://maria:{KEY}@host"}}, "engine.address"),
        ({"engine": {"address": "http://h", "api_key_env": KEY}}, "never the secret itself"),
        ({"serving": {"address": "http://h", "api_key_env": KEY}}, "never the secret itself"),
        ({"sources": [SOURCE | {"storage": {"secret": KEY}}]}, "name that as storage_env.secret"),
        ({"sources": [SOURCE | {"storage": {"account_key": KEY}}]}, "name that as storage_env.account_key"),
        ({"sources": [SOURCE | {"storage_env": {"secret": KEY}}]}, "never the secret itself"),
        ({"sources": [SOURCE | {"path": f"sftp://maria:{KEY}@host/x"}]}, "path holds a password"),
        (
            {"sources": [{"type": "sql", "name": "s", "url_env": KEY, "query": "select 1", "cursor": "a"}]},
            "never the secret itself",
        ),
        (
            {"sources": [{"type": "sql", "name": "s", "url": f"x://a:{KEY}@h", "query": "select 1", "cursor": "a"}]},
            "url holds a password",
        ),
    ],
)
def test_a_secret_in_a_config_is_refused_and_not_repeated(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    path = write_config(make_config(tmp_path), tmp_path / "config.yaml")
    import yaml

    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert expected in shown and KEY not in shown


class _Vault(MemoryFileSystem):
    """A storage that wants a key, and says it aloud when it is wrong."""

    protocol = "vault"
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("vault:/")))

    def __init__(self, *arguments: Any, secret: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        if secret != KEY:
            raise PermissionError(f"access denied for {secret}")


def test_storage_options_that_are_secrets_come_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register_implementation("vault", _Vault, clobber=True)
    MemoryFileSystem().pipe("/flywheel-vault/a.jsonl", lines([inference("i")]).encode())
    source = {"name": "vault", "path": "vault://flywheel-vault/*.jsonl", "storage_env": {"secret": "TEST_VAULT"}}
    workload = make_workload(tmp_path, sources=[source])
    monkeypatch.delenv("TEST_VAULT", raising=False)
    with pytest.raises(ConfigError, match=r"storage_env\.secret: the environment variable TEST_VAULT is not set"):
        workload.collect()
    monkeypatch.setenv("TEST_VAULT", "not-the-right-one")
    with pytest.raises(SourceError, match=r"access denied for \*\*\*") as caught:
        workload.collect()
    assert caught.value.__cause__ is None, "a traceback would show what the storage said"
    monkeypatch.setenv("TEST_VAULT", KEY)
    assert workload.collect().stored == 1
    assert KEY.encode() not in workload.config.database.read_bytes()


def test_a_child_has_what_its_parent_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    read_secret("TEST_KEY", "x")
    assert environment()["TEST_KEY"] == KEY
    assert KEY not in " ".join(sys.argv)
