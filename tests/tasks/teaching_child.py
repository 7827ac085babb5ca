"""What a child does in the tests of teaching by several processes: each keeps what it was taught in its own folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tasks.chat import chat_dataset
from tasks.child import Progress
from tasks.distil import keep, teach
from tasks.fitting import load
from tasks.snapshots import read_conversations
from tasks.trainers import sft_trainer


def main(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Ask the voices of the spec about the rows of its snapshot."""
    model, tokenizer, lora = load(spec, None, spec["trainer"]["seed"])
    rows = chat_dataset(read_conversations(Path(spec["snapshot"])))
    trainer = sft_trainer(spec, model, tokenizer, rows, lora)
    own = Path(spec["kept_in"]) / os.environ.get("RANK", "0")
    own.mkdir(parents=True)
    inputs = trainer.train_dataset.select_columns(["input_ids", "labels"]).to_list()
    keep(own, "taught", teach(trainer, inputs, spec["voices"], lambda text: progress(note=text)))
    return {}
