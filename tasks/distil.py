"""One adapter that answers as several models do together (Hinton et al. 2015, arXiv 1503.02531).

The mean of several models' predictions usually breaks less than each of them, and than the mean of their weights, and
fixes as much as the best; but it has to be served as one model. What one model can take over depends on what it is
shown: of the inputs that all were trained on, everyone knows the answer by heart. So it is shown many variants of them
that lack a part, with what the others make of each (Beyer et al. 2022, "Knowledge distillation: A good teacher is
patient and consistent").
"""

import os
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tasks.adapters import check_adapter
from tasks.child import Progress, is_first
from tasks.prompt_dropout import IGNORED, left_in, markup

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


def have_taught(trainer: Any, tokenizer: Any, spec: dict[str, Any], key: str, progress: Progress) -> None:
    """Give a trainer variants of its rows in place of them, with what the voices of the spec say to these.

    It is kept in the spec's folder, under the training's key, so that one that resumes asks nobody again.
    """
    from datasets import Dataset

    rows = trainer.train_dataset.select_columns(["input_ids", "labels"]).to_list()
    folder = Path(spec["folder"])
    varied = variants(rows, spec["copies"], markup(tokenizer), spec["trainer"]["seed"])
    taught = kept(folder, key)
    if taught is None:
        progress(stage="sft", note=f"{len(spec['voices'])} models answer {len(varied)} inputs for one to learn from")
        taught = teach(trainer, varied, spec["voices"], lambda text: progress(stage="sft", note=text))
        if is_first():
            keep(folder, key, taught)
    trainer.data_collator = WithTaught(trainer.data_collator, taught)
    trainer.train_dataset = Dataset.from_list([{**row, "position": place} for place, row in enumerate(varied)])


def teach(
    trainer: Any, rows: Sequence[TokenRow], voices: Sequence[tuple[str | None, float]], tell: Callable[[str], None]
) -> Taught:
    """What models say together to each trained token of the rows: the weighted mean of their probabilities.

    Where several processes train, each asks for its share of the rows, and all end with the whole.

    Args:
        trainer: of the adapter that is to learn it; the others are laid on its base by turns.
        rows: as of `variants`.
        voices: folder of each adapter, None for the base alone, and its weight.
        tell: told how far it is, a tenth at a time.
    """
    model, accelerator, size = trainer.model, trainer.accelerator, 2 * trainer.args.per_device_train_batch_size
    weights = _take_on(model, voices)
    starts = np.cumsum([0, *(sum(label != IGNORED for label in row["labels"]) for row in rows)])
    width = min(LIKELIEST, model.config.vocab_size)
    tokens, shares = (np.zeros((starts[-1], width), dtype=kind) for kind in (np.int32, np.float32))
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]["input_ids"]))
    batches = [order[first : first + size] for first in range(0, len(order), size)]
    mine = batches[accelerator.process_index :: accelerator.num_processes]
    model.eval()
    for number, places in enumerate(mine, 1):
        where = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in places])
        batch = trainer.data_collator([rows[place] for place in places])
        tokens[where], shares[where] = _likeliest(model, weights, batch, width)
        if number * 10 // len(mine) > (number - 1) * 10 // len(mine):
            tell(f"{number * 10 // len(mine) * 10} % of the inputs are answered")
    _let_go(model, weights)
    # Each place was filled by one process, and is zero in the others.
    tokens, shares = (_summed(accelerator, part) for part in (tokens, shares))
    return Taught(starts, tokens, shares)


def _take_on(model: Any, voices: Sequence[tuple[str | None, float]]) -> dict[str | None, float]:
    """Load the adapters of the voices into a model; the weight of each by its name there, None for the base."""
    weights: dict[str | None, float] = {}
    for place, (folder, weight) in enumerate(voices):
        if folder is None:
            weights[None] = weight
            continue
        check_adapter(Path(folder))
        model.load_adapter(folder, f"voice{place}")
        weights[f"voice{place}"] = weight
    return weights


def _let_go(model: Any, weights: Mapping[str | None, float]) -> None:
    model.set_adapter("default")
    for name in filter(None, weights):
        model.delete_adapter(name)


def _summed(accelerator: Any, part: np.ndarray) -> np.ndarray:
    """The sum of an array over the processes."""
    import torch

    together: np.ndarray = accelerator.reduce(torch.from_numpy(part).to(accelerator.device), "sum").cpu().numpy()
    return together


def _likeliest(
    model: Any, weights: Mapping[str | None, float], batch: Mapping[str, Any], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest tokens at each trained place of a batch, and their shares, by all voices together."""
    import torch

    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    with torch.no_grad():
        likeliest = sum(weight * _said(model, name, batch) for name, weight in weights.items()).topk(width, dim=-1)
    shares = likeliest.values / likeliest.values.sum(dim=-1, keepdim=True)
    return likeliest.indices.cpu().numpy(), shares.cpu().numpy()


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


def forget(folder: Path) -> None:
    """Remove what was kept: the adapter that learnt it is there."""
    (folder / FILE).unlink(missing_ok=True)
