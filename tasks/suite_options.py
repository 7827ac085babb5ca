"""Options of the regression suite (`suite` in a config)."""

from typing import Annotated

from pydantic import Field

from tasks.sources.settings import Model


class Slice(Model):
    """A slice of production, and the value of it that is meant."""

    slice: str = Field(min_length=1)
    value: str


class SuiteConfig(Model):
    """Which cases the suite holds, how many at most, and whose word is right enough to judge a model by."""

    protected: tuple[Slice, ...] = Field((), description="slices in which a single negative flip needs a person")
    max_cases: int = Field(5000, ge=1, description="of each tier; above it, the oldest redundant ones are retired")
    verified_by: tuple[Annotated[str, Field(pattern=r"^(person|model|rule):.+")], ...] = Field(
        ("person:*", "rule:*"), min_length=1, description="producers whose answers held-out cases may expect"
    )
