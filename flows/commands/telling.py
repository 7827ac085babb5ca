"""`flywheel history` and `explain`: what happened, and why, in words."""

from typing import Annotated

import typer

from flows.commands.common import DEFAULT_CONFIG, ConfigOption, JsonOption, one_line_errors, options, print_json
from flows.completion import complete_rounds

app = typer.Typer()


@app.command()
def history(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Everything that happened, a line an event: rounds, versions, moves of the champion, who decided what and why."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.history import as_json as event_json
        from tasks.history import history as read_history

        events = read_history(load_config(config))
    if as_json:
        print_json([event_json(event) for event in events])
    else:
        from flows.words import print_history

        print_history(events, options(config))


@app.command()
def explain(
    round_id: Annotated[
        int, typer.Argument(metavar="ROUND", help="Number of a round.", autocompletion=complete_rounds)
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """One round in plain sentences: on what data, what was found, why the verdict, and what came of it since."""
    with one_line_errors(config):
        from tasks.config import load_config
        from tasks.explain import as_json as explanation_json
        from tasks.explain import explain as explain_round

        found = explain_round(load_config(config), round_id, options(config))
    if as_json:
        print_json(explanation_json(found))
    else:
        from flows.words import print_explanation

        print_explanation(found)
