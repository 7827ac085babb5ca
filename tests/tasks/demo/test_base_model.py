"""The base that the demo builds: reused when finished, absent when killed, loadable by anybody."""

from pathlib import Path

import pytest

from tasks.demo import base_model
from tasks.demo.base_model import BaseSpec, base_folder, build_base, is_built, main
from tasks.demo.production import answer
from tasks.demo.tickets import SCHEMA_TOKENS, old_world

TINY = BaseSpec(
    name="tiny", vocab_size=400, single_tokens=SCHEMA_TOKENS, hidden_size=32, intermediate_size=32, layers=1, steps=2,
    batch_size=4,
)  # fmt: skip
TALK = [ticket.conversation for ticket in old_world(40, seed=1)]


class Killed(BaseException):
    """Stands for a signal in the middle of a build."""


def test_a_finished_base_is_reused(tmp_path: Path) -> None:
    steps: list[int] = []
    folder = build_base(TALK, TINY, tmp_path, lambda step, *_: steps.append(step))
    assert steps == [1, 2] and is_built(folder)
    assert build_base(TALK, TINY, tmp_path, lambda step, *_: steps.append(step)) == folder
    assert steps == [1, 2]


def test_spec_and_conversations_name_the_folder(tmp_path: Path) -> None:
    names = {
        base_folder(TALK, TINY, tmp_path),
        base_folder(TALK[1:], TINY, tmp_path),
        base_folder(TALK, TINY.model_copy(update={"steps": 3}), tmp_path),
    }
    assert len(names) == 3


def test_a_killed_build_leaves_nothing_that_passes_for_a_base(tmp_path: Path) -> None:
    def die(step: int, steps: int, loss: float) -> None:
        raise Killed

    with pytest.raises(Killed):
        build_base(TALK, TINY, tmp_path, die)
    assert not is_built(base_folder(TALK, TINY, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_folder_is_built_anew(tmp_path: Path) -> None:
    folder = base_folder(TALK, TINY, tmp_path)
    folder.mkdir()
    (folder / "config.json").write_text("{")
    assert is_built(build_base(TALK, TINY, tmp_path))


def test_no_conversations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none were given"):
        build_base([], TINY, tmp_path)


def test_the_base_answers_each_prompt_in_order_and_the_template_marks_the_answer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = Path(main({"spec": TINY.model_dump(), "conversations": TALK, "folder_root": str(tmp_path)})["folder"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer.apply_chat_template(TALK[0], return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(marked) == TALK[0][-1]["content"] + base_model.EOS
    prompts = [conversation[:2] for conversation in TALK[:5]]
    assert answer(folder, None, prompts, 4, batch_size=2) == answer(folder, None, prompts, 4, batch_size=5)


def test_whole_answers_are_one_token_each() -> None:
    talk = [[{"role": "user", "content": "where is it"}, {"role": "assistant", "content": "card_arrival"}]] * 3
    tokenizer = base_model.train_tokenizer(talk, TINY.model_copy(update={"whole_answers": True}))
    assert tokenizer.tokenize("card_arrival") == ["card_arrival"]


def test_token_dropout_spares_the_answer_and_the_roles() -> None:
    import random

    example = base_model._Example([2, 90, 91, 92, 4, 300, 1], [0, 0, 0, 0, 0, 1, 1])
    thinned = base_model._thinned(random.Random(0), example, 0.99)
    assert [token for token in thinned.ids if token not in (90, 91, 92)] == [2, 4, 300, 1]
    assert sum(thinned.assistant) == 2
