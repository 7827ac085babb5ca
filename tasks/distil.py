"""One adapter that answers as several models do together (Hinton et al. 2015, arXiv 1503.02531).

The mean of several models' predictions usually breaks less than each of them, and than the mean of their weights, and
fixes as much as the best; but it has to be served as one model. What one model can take over depends on what it is
shown: of the inputs that all were trained on, everyone knows the answer by heart. So it is shown many variants of them
that lack a part, with what the others make of each (Beyer et al. 2022, "Knowledge distillation: A good teacher is
patient and consistent").
"""

import os
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tasks.adapters import check_adapter
from tasks.prompt_dropout import IGNORED, left_in

LEFT_OUT = 0.5  # share of an input's tokens that a variant lacks at most
LIKELIEST = 20  # tokens of each prediction that are learnt from; the others have next to nothing of it
FILE = "taught.safetensors"

TokenRow = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Taught:
    """What is predicted at each trained token of some rows, one row after another.

    Attributes:
        starts: where each row's predictions begin, and where the last one's end; of shape (rows + 1,).
        tokens: the likeliest tokens at each place; of shape (places, LIKELIEST or the vocabulary's size).
        shares: their probabilities, which sum to 1.
    """

    starts: np.ndarray
    tokens: np.ndarray
    shares: np.ndarray


def variants(rows: Sequence[TokenRow], copies: int, kept: Collection[int], seed: int) -> list[TokenRow]:
    """So many variants of each row (`input_ids`, `labels`), each without some of the tokens of what is asked.

    How many each lacks is drawn, too: from none to LEFT_OUT of them.

    Args:
        rows: conversations as token ids, of which the answer alone has labels.
        copies: variants of each.
        kept: tokens that structure a conversation, which none lacks.
        seed: decides what is drawn.
    """
    rng = random.Random(seed)
    return [_thinned(row, rng.uniform(0.0, LEFT_OUT), kept, rng) for _ in range(copies) for row in rows]


def _thinned(row: TokenRow, share: float, kept: Collection[int], rng: random.Random) -> TokenRow:
    places = left_in(row["input_ids"], row["labels"], share, kept, rng)
    return {name: [row[name][place] for place in places] for name in ("input_ids", "labels")}


def teach(trainer: Any, rows: Sequence[TokenRow], voices: Sequence[tuple[str | None, float]]) -> Taught:
    """What models say together to each trained token of the rows: the weighted mean of their probabilities.

    Args:
        trainer: of the adapter that is to learn it; the others are laid on its base by turns.
        rows: as of `variants`.
        voices: folder of each adapter, None for the base alone, and its weight.
    """
    import torch

    model, collate, size = trainer.model, trainer.data_collator, 2 * trainer.args.per_device_train_batch_size
    names = [None if folder is None else f"voice{place}" for place, (folder, _) in enumerate(voices)]
    for name, (folder, _) in zip(names, voices, strict=True):
        if name is not None:
            check_adapter(Path(str(folder)))
            model.load_adapter(folder, name)
    starts = np.cumsum([0, *(sum(label != IGNORED for label in row["labels"]) for row in rows)])
    width = min(LIKELIEST, model.config.vocab_size)
    tokens, shares = (np.zeros((starts[-1], width), dtype=kind) for kind in (np.int32, np.float32))
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]["input_ids"]))
    model.eval()
    for first in range(0, len(order), size):
        places = order[first : first + size]
        batch = {name: tensor.to(model.device) for name, tensor in collate([rows[place] for place in places]).items()}
        with torch.no_grad():
            together = sum(weight * _said(model, name, batch) for name, (_, weight) in zip(names, voices, strict=True))
            likeliest = together.topk(width, dim=-1)
        where = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in places])
        tokens[where] = likeliest.indices.cpu().numpy()
        shares[where] = (likeliest.values / likeliest.values.sum(dim=-1, keepdim=True)).cpu().numpy()
    model.set_adapter("default")
    for name in filter(None, names):
        model.delete_adapter(name)
    return Taught(starts, tokens, shares)


def _said(model: Any, name: str | None, batch: dict[str, Any]) -> Any:
    """Probabilities at each trained token of a batch, row by row, under an adapter or of the base alone."""
    from contextlib import nullcontext

    if name is not None:
        model.set_adapter(name)
    with model.disable_adapter() if name is None else nullcontext():
        labels = batch["labels"][:, 1:]
        places = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        logits = model(**inputs, logits_to_keep=places, use_cache=False).logits
    return logits[labels[:, places] != IGNORED].float().softmax(dim=-1)


class WithTaught:
    """A collator over another one: it adds what the rows' trained tokens are to be."""

    def __init__(self, collate: Any, taught: Taught) -> None:
        self.collate, self.taught = collate, taught

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch of rows that know their `position`."""
        import torch

        starts = self.taught.starts
        where = np.concatenate([np.arange(starts[row["position"]], starts[row["position"] + 1]) for row in rows])
        batch: dict[str, Any] = self.collate([{name: row[name] for name in ("input_ids", "labels")} for row in rows])
        batch["taught_tokens"] = torch.from_numpy(self.taught.tokens[where]).long()
        batch["taught_shares"] = torch.from_numpy(self.taught.shares[where])
        return batch


def keep(folder: Path, key: str, taught: Taught) -> None:
    """Keep what was taught, whole or not at all, for a training that resumes."""
    from safetensors.numpy import save_file

    unfinished = folder / f".{FILE}"
    save_file(asdict(taught), unfinished, metadata={"key": key})
    os.replace(unfinished, folder / FILE)


def kept(folder: Path, key: str) -> Taught | None:
    """What was kept under the key, if anything was."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="numpy") as found:
            if (found.metadata() or {}).get("key") != key:
                return None
            return Taught(**{part.name: found.get_tensor(part.name) for part in fields(Taught)})
    except (OSError, SafetensorError):
        return None
