"""The `flywheel` command. Heavy imports wait until a command needs them, so that `--help` is instant."""

import typer

from flows.commands import decisions, looking, models, running, signals, telling, upkeep, watching
from flows.commands.common import STATUSES

app = typer.Typer(
    help="Turns production failures of a fine-tuned model into the next, verified model.",
    epilog="Exit statuses: " + "; ".join(f"{status} {meaning}" for status, meaning in STATUSES.items()) + ".",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (running, looking, telling, decisions, models, watching, signals, upkeep):
    app.add_typer(group.app)


if __name__ == "__main__":
    app()
