"""Options of the rules that an output has to pass (`checks` in a config)."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tasks.sources.settings import Model


class _Check(Model):
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")


class JsonSchemaCheck(_Check):
    """The output must be JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any]


class RegexCheck(_Check):
    """The output must match an expression (or, forbidden, must not), as a whole or anywhere."""

    type: Literal["regex"]
    pattern: str
    whole: bool = False
    forbidden: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern


class LabelsCheck(_Check):
    """The output must be one of the labels."""

    type: Literal["labels"]
    labels: tuple[str, ...] = Field(min_length=1)


class PythonCheck(_Check):
    """A function of the output's text that returns None or True where it is fine, else the reason."""

    type: Literal["python"]
    function: str = Field(pattern=r"^[\w.]+:\w+$")


CheckConfig = Annotated[JsonSchemaCheck | RegexCheck | LabelsCheck | PythonCheck, Field(discriminator="type")]
