"""Options of how an output is held against the right answer (`scorer` in a config)."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from tasks.sources.settings import Model, Text

RightAt = Annotated[float, Field(gt=0.0, le=1.0)]
Tolerance = Annotated[float, Field(ge=0.0)]


class ExactScorer(Model):
    """The same text, white space at the ends aside."""

    type: Literal["exact"]


class NoScorer(Model):
    """None is right: answers of the workload are only better or worse."""

    type: Literal["none"]


class NormalisedScorer(Model):
    """The same text, whatever its case, white space and Unicode form (NFKC)."""

    type: Literal["normalised"]
    ignore_punctuation: bool = False


class JsonFieldsScorer(Model):
    """The same JSON value, but for `ignored` keys of the outermost object; valid if it parses and fits the schema."""

    type: Literal["json_fields"]
    value: Literal["all", "share"] = Field("all", description="share: graded by how many of the fields are right")
    ignored: tuple[Text, ...] = ()
    json_schema: dict[str, Any] | None = None

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            from jsonschema.exceptions import SchemaError
            from jsonschema.validators import validator_for

            try:
                validator_for(schema).check_schema(schema)
            except SchemaError as error:
                raise ValueError(f"no valid JSON schema: {error.message}") from error
        return schema


class LabelsScorer(Model):
    """The same label; an output that is none of the labels is invalid."""

    type: Literal["labels"]
    labels: tuple[Text, ...] = Field(min_length=1)


class RegexScorer(Model):
    """What the expression finds in the output and in the right answer is the same; or (match) the output matches it.

    `group` is what is compared: by default the first one, or all that is found where the expression has none.
    """

    type: Literal["regex"]
    pattern: str
    mode: Literal["extract", "match"] = "extract"
    group: int | str | None = None

    @property
    def compared(self) -> int | str:
        """The group that is compared."""
        return self.group if self.group is not None else min(1, re.compile(self.pattern).groups)

    @model_validator(mode="after")
    def _compiles(self) -> "RegexScorer":
        try:
            compiled = re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern: no regular expression: {error}") from error
        if self.group is not None and self.group not in {*range(compiled.groups + 1), *compiled.groupindex}:
            raise ValueError(f"group: the pattern has no group {self.group}; it has {compiled.groups}, and 0 is all")
        return self


class NumericScorer(Model):
    """The same number, within the greater of both tolerances; `relative` is of the right answer."""

    type: Literal["numeric"]
    absolute: Tolerance = 0.0
    relative: Tolerance = 0.0


class RougeLScorer(Model):
    """ROUGE-L (F-measure over words); right from `right_at` on."""

    type: Literal["rouge_l"]
    right_at: RightAt


class EmbeddingScorer(Model):
    """Cosine of the workload's encoder; right from `right_at` on."""

    type: Literal["embedding"]
    right_at: RightAt


class PythonScorer(Model):
    """A function of output and right answer that returns a bool, or 0 to 1, which is right from `right_at` on."""

    type: Literal["python"]
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    right_at: RightAt = 1.0


class JudgeScorer(Model):
    """A model behind an OpenAI-compatible endpoint says which of two answers is better, or how good one is."""

    type: Literal["judge"]
    address: str = Field(description="what comes before /chat/completions, such as https://judge.example/v1")
    model: Text
    api_key_env: str | None = Field(None, description="environment variable, or Prefect Secret block, of the key")
    mode: Literal["pairwise", "pointwise"]
    rubric: Text
    scale: Literal["yes_no", "1-5"] = Field("yes_no", description="of pointwise verdicts; 1 is 0.0, 5 is 1.0")
    right_at: RightAt = 0.75
    timeout_s: float = Field(60.0, gt=0.0, le=3600.0, description="of one request as a whole")
    retries: int = Field(3, ge=0, le=10)
    concurrency: int = Field(8, ge=1, le=64, description="requests at once")
    options: dict[str, Any] = Field(default={"temperature": 0}, description="more of each request's body")
    calibration_cases: int = Field(100, ge=2, le=10_000, description="people's verdicts that it is held against")
    min_calibration_cases: int = Field(30, ge=2)
    min_agreement: float = Field(0.6, ge=0.0, le=1.0, description="Cohen's kappa from which on it is trusted")
    seed: int = 0

    @field_validator("options")
    @classmethod
    def _options_are_more(cls, options: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted({"model", "messages", "stream", "n"} & options.keys()):
            raise ValueError(f"{taken[0]} is set by what asks the judge; remove it")
        return options

    # As a whole, since what is wrong with one value is said with the value, and here it may hold a key.
    @model_validator(mode="after")
    def _holds_no_key(self) -> "JudgeScorer":
        if not re.fullmatch(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?", self.address):
            raise ValueError("address: write https://HOST/v1, without a user, a query or a key (see api_key_env)")
        if self.address.rstrip("/").endswith("/completions"):
            raise ValueError("address: leave /chat/completions out, it is added")
        if self.api_key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.api_key_env):
            raise ValueError("api_key_env: write the name of an environment variable in capitals, never the key itself")
        return self

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "JudgeScorer":
        given = self.model_fields_set & {"scale", "right_at"}
        if self.mode == "pairwise" and given:
            raise ValueError(f"{min(given)} is of mode pointwise; pairwise says better, worse or tie; remove it")
        if self.min_calibration_cases > self.calibration_cases:
            raise ValueError(
                f"min_calibration_cases {self.min_calibration_cases} is more than calibration_cases "
                f"{self.calibration_cases}; no judge could be trusted"
            )
        return self


PureScorer = (
    ExactScorer
    | NoScorer
    | NormalisedScorer
    | JsonFieldsScorer
    | LabelsScorer
    | RegexScorer
    | NumericScorer
    | RougeLScorer
    | PythonScorer
)
SCORER_TYPES = (
    "exact", "none", "normalised", "json_fields", "labels", "regex", "numeric", "rouge_l", "embedding", "python",
    "judge",
)  # fmt: skip


def _type(scorer: Any) -> Any:
    return scorer.get("type") if isinstance(scorer, dict) else getattr(scorer, "type", None)


ScorerConfig = Annotated[
    Annotated[ExactScorer, Tag("exact")]
    | Annotated[NoScorer, Tag("none")]
    | Annotated[NormalisedScorer, Tag("normalised")]
    | Annotated[JsonFieldsScorer, Tag("json_fields")]
    | Annotated[LabelsScorer, Tag("labels")]
    | Annotated[RegexScorer, Tag("regex")]
    | Annotated[NumericScorer, Tag("numeric")]
    | Annotated[RougeLScorer, Tag("rouge_l")]
    | Annotated[PythonScorer, Tag("python")]
    | Annotated[EmbeddingScorer, Tag("embedding")]
    | Annotated[JudgeScorer, Tag("judge")],
    Discriminator(
        _type,
        custom_error_type="scorer_type",
        custom_error_message=f"type must be {', '.join(SCORER_TYPES[:-1])} or {SCORER_TYPES[-1]}",
    ),
]
