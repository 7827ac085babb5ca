"""A config that cannot work is refused in one clear line; one that can is read back as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.adapter_options import VLLM_RANKS, AdapterConfig
from tasks.config import Config, RoundRequest, check_base_model, find_config, load_config
from tasks.errors import ConfigError
from tests.conftest import ROOT, make_config, write_config

VALID: dict[str, Any] = {
    "name": "tickets",
    "sources": [{"name": "production", "path": "x/*.jsonl"}],
    "scorer": {"type": "exact"},
    "model": {"base": "org/model"},
}


def refusal(folder: Path, data: Any) -> str:
    """The one line that a config is refused with."""
    path = folder / "broken.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": "red"}, "colour: unknown key"),
        ({"adapter": {"rnk": 8}}, "adapter.rnk: unknown key"),
        ({"sources": [{"name": "production", "path": "x", "on_error": "skip"}]}, "sources.0.on_error: unknown key"),
        ({"adapter": {"r": 12}}, "adapter.r: vLLM serves ranks 1, 8, 16, 32, 64, 128, 256, 320, 512, not 12"),
        ({"adapter": {"r": 0}}, "not 0"),
        (
            {"adapter": {"members": [{"count": 2}, {"adapter": {"r": 8}}], "distil": None}},
            "3 of them make one adapter of rank 40",
        ),
        (
            {"adapter": {"members": [{}, {"trainer": {"learning_rte": 1}}]}},
            "members.1.trainer: learning_rte is no option",
        ),
        ({"adapter": {"members": [{"adapter": {"r": 7}}]}}, "adapter.members.0.adapter.r: vLLM serves ranks 1, 8"),
        ({"adapter": {"members": [{"adapter": {"strength": 2}}]}}, "members.0.adapter.strength: it is of what"),
        ({"adapter": {"distil": {"adapter": {"r": 7}}}}, "adapter.distil.adapter.r: vLLM serves ranks 1, 8"),
        ({"adapter": {"distil": {"adapter": {"distil": {}}}}}, "adapter.distil.adapter.distil: it is of what is made"),
        (
            {"adapter": {"distil": {"trainer": {"prompt_dropout": 0.1}}}},
            "adapter.distil.trainer.prompt_dropout: the variants are thinned out already; remove it",
        ),
        ({"adapter": {"members": [{"trainer": {"seed": "a"}}]}}, "adapter.members.0.trainer.seed: Input should be a"),
        ({"adapter": {"members": []}}, "adapter.members"),
        ({"adapter": {"r": 1, "distil": None}}, "members: 4 of them, the default, make one adapter of rank 4, and"),
        ({"adapter": {"members": 3, "distil": None}}, "members: 3 of them make one adapter of rank 48, and"),
        ({"adapter": {"use_dora": True}}, "vLLM does not serve DoRA"),
        ({"adapter": {"init_lora_weights": "pissa"}}, "init_lora_weights"),
        ({"adapter": {"modules_to_save": ["lm_head"]}}, "modules_to_save"),
        ({"split": {"unseen": 1.2}}, "split.unseen: Input should be less than 1, got 1.2"),
        ({"model": {"base": ""}}, "model.base"),
        ({"model": {"base": "a/b", "max_length": 32, "max_new_tokens": 32}}, "max_new_tokens must be smaller"),
        ({"name": "Tickets/../x"}, "name: String should match pattern"),
        ({"task": "best_answer"}, "task: Input should be 'right_answer' or 'better_answer'"),
        ({"method": "dpo"}, "dpo alone throws the right answer away"),
        ({"trainer": {"learning_rat": 1}}, "trainer: learning_rat is no option of TRL's SFTConfig; did you mean"),
        ({"scorer": {"type": "vibes"}}, "scorer: type must be exact, none,"),
        ({"scorer": {"type": "labels", "labels": []}}, "scorer.labels: Tuple should have at least 1 item"),
        ({"scorer": {"type": "regex", "pattern": "("}}, "scorer: pattern: no regular expression"),
        ({"scorer": {"type": "rouge_l"}}, "scorer.right_at: this key is missing; add it"),
        ({"sources": []}, "sources"),
        ({"gate": {"confidence": 1.0}}, "gate.confidence"),
        ({"trainer": {"learning_rate": -1}}, "trainer.learning_rate"),
        ({"trainer": {"learning_rate": "fast"}}, "trainer.learning_rate"),
        ({"trainer": "fast"}, "trainer"),
        ({"suite": {"max_case": 9}}, "suite.max_case: unknown key"),
        ({"suite": {"max_cases": 0}}, "suite.max_cases: Input should be greater than or equal to 1, got 0"),
        ({"suite": {"verified_by": ["maria"]}}, "suite.verified_by.0: String should match pattern"),
        ({"suite": {"verified_by": []}}, "suite.verified_by: Tuple should have at least 1 item"),
        ({"suite": {"protected": [{"slice": "tier", "weight": 5}]}}, "suite.protected.0.value: this key is missing"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_wrong(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(tmp_path, VALID | change)


@pytest.mark.parametrize("key", list(VALID))
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert f"{key}: this key is missing; add it" in refusal(tmp_path, {k: v for k, v in VALID.items() if k != key})


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    source = {"name": "production", "path": "x"}
    assert "two sources have the same name" in refusal(tmp_path, VALID | {"sources": [source, source]})


def test_further_problems_are_counted(tmp_path: Path) -> None:
    assert "(and 1 more)" in refusal(tmp_path, VALID | {"colour": 1, "shape": 2})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must hold a mapping"),
        ("- a\n- b\n", "must hold a mapping"),
        ("just words", "must hold a mapping"),
        ("a: [1, 2", "not valid YAML"),
        ("a: b: c\n", "not valid YAML"),
        ("x: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("1: 2\n", "this key is missing"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: ärger".encode("latin-1"))
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize("name", ["absent.yaml", "configs/absent.yaml", "no/such/folder/x.yaml"])
def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} does not exist; give one with --config FILE"):
        load_config(name)


def test_a_folder_in_place_of_the_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(tmp_path)


def test_an_endless_number_is_refused_when_the_file_is_read(tmp_path: Path) -> None:
    """`.inf` is valid YAML; the blend would fail on it after an hour of other work."""
    assert "demonstrations_per_correction" in refusal(
        tmp_path, VALID | {"blend": {"demonstrations_per_correction": float("inf")}}
    )


@pytest.mark.parametrize(
    ("blend", "expected"),
    [
        ({"demonstrations_per_correction": -1}, "write a number that is not negative, or all, got -1"),
        ({"demonstrations_per_correction": "some"}, "write a number that is not negative, or all, got 'some'"),
        ({"demonstrations_per_correction": 0.5}, "makes 67% of the rows corrections, and corrections_share allows 50%"),
        ({"max_rows": 30}, "max_rows 30 has room for 10 corrections at 2 demonstrations each, and a round needs 20"),
        ({"sources": [{"name": "production", "share": 0.5, "weight": 2}]}, "a share and a weight; keep one"),
        ({"sources": [{"name": "production"}] * 2}, "two entries have the same name"),
        ({"sources": [{"name": "a", "share": 0.7}, {"name": "b", "share": 0.7}]}, "the shares sum to 1.4"),
        ({"sources": [{"name": "elsewhere", "share": 0.7}]}, "there is no source elsewhere; there are production"),
        ({"sources": [{"name": "production", "share": 0.7}]}, "every source has a share, and they sum to 0.7, not 1"),
        ({"sources": [{"name": "production", "cap": 0}]}, "no source is left that gives demonstrations"),
    ],
)
def test_a_blend_that_contradicts_itself_is_refused(tmp_path: Path, blend: dict[str, Any], expected: str) -> None:
    said = refusal(tmp_path, VALID | {"blend": blend})
    assert expected in said and "blend" in said


@pytest.mark.parametrize(
    ("distil", "rate"),
    [
        (None, 1e-3),
        ({}, 1e-3),
        ({"trainer": {"num_train_epochs": 1}}, 1e-3),
        ({"trainer": {"learning_rate": 5e-4}}, 5e-4),
    ],
)
def test_what_is_taught_learns_at_a_third_of_the_rate_unless_it_has_its_own(
    tmp_path: Path, distil: dict[str, Any] | None, rate: float
) -> None:
    adapter = {"adapter": {"distil": distil}} if distil is not None else {}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(VALID | adapter | {"trainer": {"learning_rate": 3e-3}}), encoding="utf-8")
    config = load_config(path)
    assert config.student is not None
    assert config.student["trainer"]["learning_rate"] == pytest.approx(rate)
    assert {trainer.learning_rate for _, trainer in config.members} == {3e-3}


def test_a_split_that_names_no_source_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, VALID | {"split": {"taught": ["production", "elsewhere"]}})
    assert "split.taught: there is no source elsewhere; there are production" in said


def test_a_blend_may_take_all_demonstrations(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(VALID | {"blend": {"demonstrations_per_correction": "all"}}), encoding="utf-8")
    assert load_config(path).blend.demonstrations_per_correction == "all"


def test_the_examples_that_are_carried_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        assert load_config(f"configs/{file.name}").name == file.stem


def test_a_file_of_the_users_own_comes_before_the_carried_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    own = Path("configs/tickets.yaml")
    own.write_text(yaml.safe_dump(VALID | {"name": "mine"}), encoding="utf-8")
    assert find_config("configs/tickets.yaml") == own
    assert load_config("configs/tickets.yaml").name == "mine"


def test_by_default_four_adapters_teach_one() -> None:
    default = AdapterConfig(r=8)
    assert default.distil is not None
    assert (default.distil.copies, default.distil.champion) == (6, 1.0)
    assert (default.members, default.served_rank) == (4, 64)
    assert AdapterConfig.model_validate(default.model_dump(mode="json")) == default
    assert AdapterConfig(r=8, members=2).distil == default.distil
    alone, averaged = AdapterConfig(r=8, members=1), AdapterConfig(r=8, distil=None)
    assert (alone.distil, alone.served_rank) == (None, 8)
    assert (averaged.distil, averaged.served_rank) == (None, 32)


def test_a_config_is_frozen(fresh_config: Config) -> None:
    with pytest.raises(ValidationError):
        fresh_config.name = "other"  # type: ignore[misc]


@settings(max_examples=40, deadline=None)
@given(
    rank=st.sampled_from(VLLM_RANKS),
    unseen=st.floats(0, 0.49),
    anchor=st.floats(0, 0.49),
    rate=st.floats(1e-6, 1.0),
    modules=st.one_of(st.just("all-linear"), st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple)),
    path=st.text(min_size=1),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rank: int, unseen: float, anchor: float, rate: float,
    modules: str | tuple[str, ...], path: str,
) -> None:  # fmt: skip
    folder = tmp_path_factory.getbasetemp() / "round_trip"
    config = make_config(
        folder,
        sources=[{"name": "production", "path": path, "on_malformed": "quarantine"}],
        adapter={"r": rank, "target_modules": modules},
        split={"unseen": unseen, "anchor": anchor},
        trainer={"learning_rate": rate},
    )
    again = load_config(write_config(config, folder / "deep" / "config.yaml"))
    assert again == config
    assert again.sha256() == config.sha256()


def test_the_hash_changes_with_every_key(tmp_path: Path) -> None:
    first = make_config(tmp_path)
    for change in ({"gate": {"confidence": 0.9}}, {"model": {"base": "other/base"}}, {"split": {"seed": 1}}):
        assert make_config(tmp_path, **change).sha256() != first.sha256()


def test_mlflow_is_a_file_beside_the_state_until_a_server_is_named(tmp_path: Path) -> None:
    own = make_config(tmp_path)
    assert own.tracking_uri == f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"
    assert own.artifact_location == (tmp_path / "home" / "mlartifacts").as_uri()
    server = make_config(tmp_path, mlflow={"tracking_uri": "http://localhost:5000"})
    assert server.tracking_uri == "http://localhost:5000"
    assert server.artifact_location is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_corrections": 0},
        {"min_corrections": 1_000_001},
        {"requested_by": ""},
        {"requested_by": "x" * 101},
        {"config": "rm -rf"},
        {"heavy_stages": "cloud"},
        {"surprise": 1},
    ],
)
def test_the_form_of_a_round_has_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RoundRequest(**wrong)


def test_the_form_of_a_round_can_be_sent_empty() -> None:
    assert RoundRequest().min_corrections is None
    assert RoundRequest(min_corrections=1, config="a.yml").config == "a.yml"


def test_a_base_model_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}", encoding="utf-8")
    check_base_model(make_config(tmp_path))


def test_a_base_model_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"model.base: the folder {tmp_path / 'base'} does not exist"):
        check_base_model(make_config(tmp_path))


@pytest.mark.parametrize("base", ["./models/x", ".flywheel/models/tickets", "~/models/x", "a/b/c"])
def test_a_path_is_not_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="does not exist; point it at a model folder"):
        check_base_model(make_config(tmp_path, model={"base": base}))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        check_base_model(make_config(tmp_path))
