"""What the README and docs/ promise: links that lead somewhere, and every command and every key of the config."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from flows.cli import app
from tasks.config import Config
from tests.conftest import ROOT

PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")] + sorted(ROOT.glob("docs/*.md"))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = readme.split("\n## Commands\n")[1].split("\n## ")[0]
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert {name for name in commands if f"`flywheel {name}" not in listed and f"|{name} " not in listed} == set()


def test_every_key_of_the_config_is_described() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert {key for key in Config.model_fields if f"`{key}" not in page} == set()
