"""What `make env` tells uv of the settings that a machine gave to pip."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "requirements" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LISTING = """:env:.find-links='/wheels'
global.extra-index-url='file:///a file:///b'
global.find-links='/other'
install.index-url='https://mirror.example/simple'
"""


def test_pip_settings_the_environment_wins(install: ModuleType) -> None:
    assert install.pip_settings(LISTING) == {
        "find-links": "/wheels",
        "extra-index-url": "file:///a file:///b",
        "index-url": "https://mirror.example/simple",
    }


def test_settings_are_passed_on(install: ModuleType) -> None:
    env = install.uv_environment({"HOME": "/root"}, install.pip_settings(LISTING))
    assert env == {
        "HOME": "/root",
        "UV_FIND_LINKS": "/wheels",
        "UV_EXTRA_INDEX_URL": "file:///a file:///b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
    }


def test_what_the_user_told_uv_wins(install: ModuleType) -> None:
    own = {"UV_FIND_LINKS": "/mine", "UV_INDEX": "https://x.example", "UV_INDEX_STRATEGY": "first-index"}
    env = install.uv_environment(own, install.pip_settings(LISTING))
    assert env == own | {"UV_DEFAULT_INDEX": "https://mirror.example/simple"}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_requirements_are_pins_and_nothing_else(kind: str) -> None:
    lines = (ROOT / "requirements" / f"{kind}.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    names = [pin.partition("==")[0] for pin in pins]
    assert all("==" in pin and "://" not in pin for pin in pins)
    assert len(set(names)) == len(names)
    assert {"uv", "hatchling", "torch"} <= set(names)


def test_cpu_pins_leave_out_what_breaks_transformers() -> None:
    text = (ROOT / "requirements" / "cpu.txt").read_text()
    assert not [n for n in ("torchvision", "torchaudio", "torchcodec") if f"\n{n}==" in text]
