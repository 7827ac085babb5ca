"""An adapter is used on the base that it was trained on, and on no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters import BASE, BLOCK_BYTES, CONFIG, WEIGHTS, adapter_sha256, base_sha256, check_base, record_base
from tasks.errors import FlywheelError


def make_base(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def make_adapter(folder: Path, base: Path) -> Path:
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"adapter")
    (folder / CONFIG).write_text("{}", encoding="utf-8")
    record_base(folder, str(base))
    return folder


def bare_adapter(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_text("{}", encoding="utf-8")
    return folder


def test_equal_adapters_have_equal_hashes(tmp_path: Path) -> None:
    one, same, other = (
        bare_adapter(tmp_path / name, weights) for name, weights in (("a", b"x"), ("b", b"x"), ("c", b"y"))
    )
    assert adapter_sha256(one) == adapter_sha256(same) != adapter_sha256(other)


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_an_adapter_that_lacks_a_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = bare_adapter(tmp_path / "adapter")
    (folder / missing).unlink()
    with pytest.raises(FlywheelError, match=f"the adapter {folder} has no {missing}"):
        adapter_sha256(folder)


def test_an_adapter_from_another_base_is_refused_with_both_names(tmp_path: Path) -> None:
    """Another training of the same shape: nothing else would notice."""
    base, other = make_base(tmp_path / "base"), make_base(tmp_path / "other", b"WEIGHTS")
    adapter = make_adapter(tmp_path / "adapter", base)
    check_base(adapter, str(base))
    with pytest.raises(FlywheelError, match="was trained on another base") as caught:
        check_base(adapter, str(other))
    assert str(base) in str(caught.value) and str(other) in str(caught.value)


def test_a_base_that_was_moved_is_the_same_base(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    check_base(adapter, str(shutil.move(base, tmp_path / "elsewhere")))


def test_an_adapter_of_which_no_base_is_on_record_is_not_judged(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", make_base(tmp_path / "base"))
    (adapter / BASE).unlink()
    check_base(adapter, str(make_base(tmp_path / "other", b"x")))


def test_a_base_that_is_not_on_this_machine_has_no_fingerprint() -> None:
    assert base_sha256("nobody/has-this-model") is None
    assert base_sha256("./no/folder") is None


def test_the_base_on_record_is_part_of_what_was_gated(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", make_base(tmp_path / "base"))
    before = adapter_sha256(adapter)
    record = json.loads((adapter / BASE).read_text(encoding="utf-8"))
    (adapter / BASE).write_text(json.dumps(record | {"sha256": None}), encoding="utf-8")
    assert adapter_sha256(adapter) != before


@given(size=st.integers(1, 3 * BLOCK_BYTES), place=st.floats(0, 1, exclude_max=True))
def test_a_changed_byte_in_a_small_base_is_seen(
    tmp_path_factory: pytest.TempPathFactory, size: int, place: float
) -> None:
    folder = tmp_path_factory.mktemp("bases")
    changed = bytearray(size)
    changed[int(place * size)] = 1
    before, after = make_base(folder / "a", bytes(size)), make_base(folder / "b", bytes(changed))
    assert base_sha256(str(before)) != base_sha256(str(after))
