"""The engine's options: what cannot work is refused when the config is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.config import load_config
from tasks.engine_options import CONSTRAINTS, EngineConfig
from tests.conftest import make_config, write_config


@pytest.mark.parametrize(
    "constraint",
    [
        {"choice": ["a", "b"]},
        {"regex": "[ab]"},
        {"json": {"type": "object"}},
        {"json_object": True},
        {"grammar": "root"},
    ],
)
def test_one_constraint_is_taken_as_vllm_names_it(constraint: dict[str, Any]) -> None:
    assert EngineConfig(structured_outputs=constraint).structured_outputs == constraint


@pytest.mark.slow
def test_the_names_of_constraints_are_those_of_the_installed_vllm() -> None:
    from vllm.sampling_params import StructuredOutputsParams

    fields = {field.name for field in dataclasses.fields(StructuredOutputsParams) if field.init}
    assert fields - set(CONSTRAINTS) == {
        "disable_any_whitespace", "disable_additional_properties", "whitespace_pattern",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"structured_outputs": {}}, "write one of json, .* not nothing"),
        ({"structured_outputs": {"choice": ["a"], "regex": "a"}}, "write one of .* not choice, regex"),
        ({"structured_outputs": {"guided_choice": ["a"]}}, "not guided_choice"),
        ({"structured_outputs": {"choice": ["a", "a"]}}, "choice: write a list of answers, none of them twice"),
        ({"structured_outputs": {"choice": []}}, "choice: write a list"),
        ({"structured_outputs": {"json_object": False}}, "json_object: write true"),
        ({"structured_outputs": {"regex": 3}}, "regex: write a text"),
        ({"structured_outputs": {"json": "text"}}, "json: write a JSON schema"),
        ({"address": "localhost:8000"}, "match pattern"),
        ({"address": "http://me:secret@host"}, "match pattern"),
        ({"api_key_env": "KEY"}, "api_key_env is about a server that runs already; give its address"),
        ({"adapters": {"champion": "a"}}, "adapters is about a server"),
        ({"adress": "http://x"}, "Extra inputs"),
        ({"noise_sample": -1}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        EngineConfig(**given)


def test_a_round_goes_on_when_its_server_is_reached_otherwise_and_not_when_it_asks_otherwise(tmp_path: Path) -> None:
    """A time-out is told to be raised, so that raising it must not make the round another one."""
    config = make_config(tmp_path)
    assert load_config(write_config(config, tmp_path / "c.yaml")).sha256() == config.sha256()
    moved = make_config(tmp_path, engine={"address": "http://host:1/prefix", "timeout_s": 9, "concurrency": 2})
    assert moved.sha256() == config.sha256()
    assert make_config(tmp_path, engine={"noise_sample": 9}).sha256() != config.sha256()
