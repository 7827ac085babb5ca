"""The process that is killed: it runs a round's stages as plain functions, and says on standard output where it is.

    python -m benchmarks._kill_child CONFIG UNTIL

It collects where nothing is collected yet, opens the round or takes it up, and runs stages until the round is at UNTIL.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.config import Config, load_config
from tasks.db import State
from tasks.rounds import Round, keep_lease, open_or_resume, stage_of


def main(config_file: str, until: str) -> None:
    """Run the stages, each named when it begins and when it has ended."""
    config = load_config(config_file)
    if not config.database.is_file() or until == "screen":
        _say("began", "collect")
        _collect(config)
        _say("ended", "collect")
    if until == "screen":
        return
    if _is_over(config):
        return
    round_ = open_or_resume(config, "person:kill")
    with keep_lease(config, round_):
        while (stage := stage_of(config, round_)) not in (until, "closed"):
            _say("began", stage)
            _function(stage)(config, round_)
            _say("ended", stage)


def _is_over(config: Config) -> bool:
    """Whether there was a round and it is closed: another would be opened now."""
    with State(config.database).transaction() as tx:
        return bool(tx.rows("list_rounds")) and tx.row("open_round") is None


def _say(*words: str) -> None:
    print(*words, flush=True)


def _collect(config: Config) -> None:
    from tasks.collect import collect

    collect(config)


def _function(stage: str) -> Callable[[Config, Round], object]:
    if stage == "train":
        return _train
    named: Callable[[Config, Round], object] = getattr(
        importlib.import_module(f"tasks.{stage}"), "finish" if stage == "promote" else stage
    )
    return named


def _train(config: Config, round_: Round) -> None:
    from tasks.train import train

    def tell(step: int = 0, **_: Any) -> None:
        if step:
            _say("step", str(step))

    train(config, round_, tell)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(*sys.argv[1:])
