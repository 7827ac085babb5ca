"""Weights are data: pickles are refused, and a model's own code runs where its id is repeated, and nowhere else."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.base_models import load_adapter, load_base, load_tokenizer
from tasks.config import check_base_folder, check_base_model, load_config
from tasks.db import State
from tasks.embed import embed
from tasks.errors import ConfigError, FlywheelError
from tests.conftest import make_config, write_config
from tests.tasks.tiny import tiny_base, tiny_model, tiny_tokenizer


class _Bomb:
    """A pickle that leaves a mark where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


def bomb(file: Path, mark: Path) -> None:
    file.write_bytes(pickle.dumps(_Bomb(mark)))


@pytest.fixture
def pickled(tmp_path: Path) -> tuple[Path, Path]:
    """A base whose weights are a pickle that leaves a mark, and the mark."""
    base, mark = tiny_base(tmp_path / "pickled"), tmp_path / "it-ran"
    (base / "model.safetensors").unlink()
    bomb(base / "pytorch_model.bin", mark)
    return base, mark


def test_a_base_of_pickles_is_refused_unread_with_how_to_convert_it(pickled: tuple[Path, Path], tmp_path: Path) -> None:
    base, mark = pickled
    config = make_config(tmp_path, model={"base": str(base)})
    for refused in (lambda: check_base_folder(config), lambda: check_base_model(config), lambda: load_base(base)):
        with pytest.raises(ConfigError, match=r"its weights in pytorch_model\.bin, a pickle") as caught:
            refused()
        assert "save_pretrained(FOLDER)" in str(caught.value) and "\n" not in str(caught.value)
    assert not mark.exists()


def test_the_way_to_convert_a_base_works(tmp_path: Path) -> None:
    """What the refusal says to type, on a base whose pickle is honest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny_base(tmp_path / "base")
    torch.save(tiny_model().state_dict(), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(str(base)).save_pretrained(tmp_path / "new")
    AutoTokenizer.from_pretrained(str(base)).save_pretrained(tmp_path / "new")
    load_base(tmp_path / "new")
    assert load_tokenizer(tmp_path / "new").chat_template


def test_safetensors_are_read_even_beside_a_pickle(tmp_path: Path) -> None:
    base, mark = tiny_base(tmp_path / "base"), tmp_path / "it-ran"
    bomb(base / "pytorch_model.bin", mark)
    check_base_folder(make_config(tmp_path, model={"base": str(base)}))
    load_base(base)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_an_adapter_of_pickles_is_refused_unread(tmp_path: Path, name: str) -> None:
    adapter, mark = tmp_path / "adapter", tmp_path / "it-ran"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 4}), encoding="utf-8")
    bomb(adapter / name, mark)
    for refused in (lambda: adapter_sha256(adapter), lambda: load_adapter(None, adapter)):
        with pytest.raises(FlywheelError, match=rf"its weights in {name}, a pickle, .*; restore {WEIGHTS}"):
            refused()
    assert not mark.exists()


def test_an_encoder_of_pickles_is_refused_unread(tmp_path: Path) -> None:
    folder, mark = tmp_path / "encoder", tmp_path / "it-ran"
    tiny_model().config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    bomb(folder / "pytorch_model.bin", mark)
    with pytest.raises(ConfigError, match=r"encoder\.model: .* could not be loaded"):
        config = make_config(tmp_path, encoder={"model": str(folder)})
        embed(State(config.database), ["a"], config.encoder)
    assert not mark.exists()


@pytest.fixture
def with_code(tmp_path: Path) -> tuple[Path, Path]:
    """A base with Python code of its own, which leaves a mark when it runs, and the mark."""
    base, mark = tiny_base(tmp_path / "with-code"), tmp_path / "it-ran"
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": own}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (base / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(mark)!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n",
        encoding="utf-8",
    )
    return base, mark


def test_code_of_a_model_runs_only_where_it_is_named(
    with_code: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    base, mark = with_code
    with pytest.raises(ConfigError, match="comes with Python code of its own, which is not run") as caught:
        load_base(base)
    assert f"write model.trust_remote_code: {base}" in str(caught.value)
    assert not mark.exists()
    named = make_config(tmp_path, model={"base": str(base), "trust_remote_code": str(base)}).model
    load_base(named.base, named.trusts_code)
    assert mark.exists()


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        (True, "true would run the code of whatever model stands in base next; repeat the base"),
        (False, "repeat the base whose code you have read, or leave it out"),
        ("other/model", "trust_remote_code names other/model and base is org/model"),
    ],
)
def test_trust_is_given_to_a_name(tmp_path: Path, trusted: Any, expected: str) -> None:
    path = write_config(make_config(tmp_path, model={"base": "org/model"}), tmp_path / "config.yaml")
    text = path.read_text(encoding="utf-8").replace("trust_remote_code: null", f"trust_remote_code: {trusted}")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert expected in str(caught.value)
    assert not make_config(tmp_path, model={"base": "org/model"}).model.trusts_code
