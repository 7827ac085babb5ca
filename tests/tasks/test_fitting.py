"""An adapter that a training leaves: known by its hash, under a path of its own, of rows that were all trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters import WEIGHTS, adapter_sha256
from tasks.errors import FlywheelError
from tasks.fitting import save
from tasks.train_child import main
from tests.conftest import python
from tests.tasks.tiny import Saved, conversations, tiny_base, tiny_spec

BASE = "org/base"


def test_each_adapter_has_a_path_of_its_own(tmp_path: Path) -> None:
    first, other = (save(Saved(weights), tmp_path, BASE) for weights in (b"one", b"two"))
    assert first != other
    assert adapter_sha256(first).startswith(first.name.removeprefix("adapter-"))


def test_the_same_training_has_the_same_hash_whatever_the_order_of_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import sys
        from pathlib import Path
        from tasks.fitting import save
        from tests.tasks.tiny import Saved
        print(save(Saved(b"one"), Path(sys.argv[1]), "org/base").name)
    """
    running = []
    for seed in "1234":
        (tmp_path / seed).mkdir()
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        running.append(python(code, str(tmp_path / seed)))
    names = {process.communicate()[0] for process in running}
    assert len(names) == 1 and names != {""}


def test_training_again_after_a_kill_finds_the_same_path(tmp_path: Path) -> None:
    first = save(Saved(b"one"), tmp_path, BASE)
    Saved(b"half").save_pretrained(str(tmp_path / "adapter.partial"))
    assert save(Saved(b"one"), tmp_path, BASE) == first
    assert (first / WEIGHTS).read_bytes() == b"one"


def test_a_row_without_a_token_to_learn_is_refused_by_name(tmp_path: Path) -> None:
    rows = conversations(3)
    rows[1]["messages"][0]["content"] = "a " * 40
    rows[1]["signal_id"] = "long"
    spec = tiny_spec(tmp_path / "round", tiny_base(tmp_path / "base"), rows)
    with pytest.raises(FlywheelError, match=r"training row long \(production\) has no assistant token"):
        main(spec, lambda **message: None)
