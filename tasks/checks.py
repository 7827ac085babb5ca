"""Rules that an output has to pass; one that it breaks is a failing signal, with the rule as its producer.

Each maker returns a function of the output's text that gives the reason why it is rejected, or None.
"""

import importlib
import json
import re
from collections.abc import Callable
from typing import Any, cast

from tasks.check_options import CheckConfig, JsonSchemaCheck, LabelsCheck, PythonCheck, RegexCheck
from tasks.errors import ConfigError

Check = Callable[[str], str | None]


def make_check(config: CheckConfig) -> Check:
    """The check that a config describes.

    Raises:
        ConfigError: its schema, expression or function is no such thing.
    """
    match config:
        case JsonSchemaCheck():
            return json_schema_check(config.json_schema, f"checks.{config.name}")
        case RegexCheck():
            return _regex(config)
        case LabelsCheck():
            return _labels(config)
        case PythonCheck():
            return _python(config)


def json_schema_check(schema: dict[str, Any], where: str) -> Check:
    """A check that an output is JSON which fits a schema.

    Raises:
        ConfigError: the schema is none; the line begins with `where`, the key in the config.
    """
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import validator_for

    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"{where}: no valid JSON schema: {error.message}") from error
    validator = kind(schema)

    def check(output: str) -> str | None:
        try:
            value = json.loads(output)
        except (ValueError, RecursionError):
            return "is no JSON"
        problem = best_match(validator.iter_errors(value))
        return None if problem is None else f"{problem.json_path}: {problem.message}"[:200]

    return check


def _regex(config: RegexCheck) -> Check:
    pattern = re.compile(config.pattern)

    def check(output: str) -> str | None:
        found = pattern.fullmatch(output) if config.whole else pattern.search(output)
        return (
            None if bool(found) is not config.forbidden else f"{'matches' if found else 'does not match'} the pattern"
        )

    return check


def _labels(config: LabelsCheck) -> Check:
    labels = frozenset(config.labels)

    def check(output: str) -> str | None:
        return None if output.strip() in labels else "is none of the allowed labels"

    return check


def _python(config: PythonCheck) -> Check:
    function = import_function(config.function, f"checks.{config.name}")

    def check(output: str) -> str | None:
        reason: Any = function(output)
        return None if reason is None or reason is True else str(reason) if reason else "is rejected"

    return check


def import_function(path: str, where: str) -> Callable[..., Any]:
    """The function at an import path, `package.module:function`.

    Raises:
        ConfigError: there is none; the line begins with `where`, the key in the config.
    """
    module, _, name = path.partition(":")
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}: {path} cannot be imported: {error}; give package.module:function") from error
    if not callable(function):
        raise ConfigError(f"{where}: {path} is no function")
    return cast(Callable[..., Any], function)
