"""What becomes of rows on their way into a training set: redaction, classes, sides, consistency, screening, blend."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.sources.settings import Model

Share = Annotated[float, Field(ge=0.0, le=1.0)]
HeldOut = Annotated[float, Field(ge=0.0, lt=1.0)]


class RedactionConfig(Model):
    """How personal data is replaced before anything is stored: by look-alikes, by placeholders, or not at all."""

    style: Literal["surrogate", "placeholder", "off"] = "surrogate"
    names: str | None = Field(
        None, pattern=r"^[\w.]+:\w+$", description="function (package.module:name) that finds names in a text"
    )


class EncoderConfig(Model):
    """Any sentence-transformers id or folder; `all-MiniLM-L6-v2` is carried by an installed package."""

    model: str = "all-MiniLM-L6-v2"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    sample: int | None = Field(
        None, ge=1_000, description="of more texts than this, only so many are encoded; the rest is estimated from them"
    )

    @property
    def key(self) -> str:
        """What vectors of this encoder are filed under; those of different encoders cannot be compared."""
        return f"{self.model}/{self.dtype}"


class Severity(Model):
    """What a failure counts for when classes are ranked, if its call has this value in this slice."""

    slice: str = Field(min_length=1)
    value: str
    weight: float = Field(ge=0.0, allow_inf_nan=False)


class ClusterConfig(Model):
    """How failures become classes, and which of them matter more than their number says."""

    min_size: int = Field(8, ge=2)
    error_weight: float = Field(1.0, ge=0.0, description="weight of how the output was wrong, beside the input")
    severity: tuple[Severity, ...] = Field((), description="the greatest weight of a failure's slices counts, else 1")


class SplitConfig(Model):
    """Shares of new rows that are held out, and how similar texts are near-duplicates."""

    seed: int = 0
    unseen: HeldOut = Field(0.35, description="of production rows: failures and confirmed calls")
    anchor: HeldOut = Field(0.2, description="of given demonstrations")
    taught: tuple[str, ...] = Field(
        (), description="sources of what the base was taught: a model is no worse for not knowing these by heart"
    )
    near_duplicate: float = Field(0.8, gt=0.0, le=1.0, description="Jaccard similarity of their runs of three words")
    near_meaning: float | None = Field(
        0.95, gt=0.0, le=1.0, description="cosine of texts of eight words or fewer; null: their words alone count"
    )


Policy = Literal["hold", "newest", "majority", "trusted", "keep"]


class ConsistencyConfig(Model):
    """What becomes of different right answers and opposite preferences, and how much one producer may say."""

    same_input: Literal["hold", "newest", "majority", "trusted"] = Field(
        "hold", description="hold: all are left out until their producers agree"
    )
    near_duplicates: Policy = Field(
        "keep", description="keep: all are used, since the answer may hang on the words that differ"
    )
    trusted: tuple[Annotated[str, Field(pattern=r"^(person|model|rule):.+")], ...] = Field(
        (), description="producers whose answer stands, the most trusted first; person:* is any person"
    )
    producer_share: float = Field(
        1.0, gt=0.0, le=1.0, description="of the usable corrections, at most so many are one producer's"
    )

    @model_validator(mode="after")
    def _somebody_is_trusted(self) -> "ConsistencyConfig":
        if "trusted" in (self.same_input, self.near_duplicates) and not self.trusted:
            raise ValueError("trusted: say whom, as in trusted: [person:maria]; nobody is named")
        return self


class BlendSource(Model):
    """How much of a source is in the blend: `share` or `weight` are of its demonstrations, `cap` of all its rows."""

    name: str = Field(min_length=1)
    share: Share | None = Field(None, description="of the demonstrations, so much is this source's")
    weight: float | None = Field(None, ge=0.0, description="how often it is drawn, beside 1 of the others")
    cap: int | None = Field(None, ge=0, description="rows at most")

    @model_validator(mode="after")
    def _share_or_weight(self) -> "BlendSource":
        if self.share is not None and self.weight is not None:
            raise ValueError(f"{self.name} has a share and a weight; keep one of them")
        return self


Rule = Literal["suspect_label", "over_length", "format", "length", "facts", "singleton_cluster"]


class ScreeningConfig(Model):
    """Which rules' proposals leave a signal out of training until a person says otherwise."""

    leave_out: tuple[Rule, ...] = Field(
        ("suspect_label", "over_length", "format"), description="what the other rules find is shown, and used"
    )
    suspect_score: float = Field(
        0.98, gt=0.5, le=1.0, description="how likely another answer has to be, of it and the given one"
    )


class BlendConfig(Model):
    """What a training set is made of: corrections raised within a bound, and demonstrations as production is."""

    min_corrections: int = Field(
        20, ge=1, description="new corrections, and retractions of what was trained on, that make a round worth running"
    )
    demonstrations_per_correction: float | Literal["all"] = Field(2.0, description="all: as many as there are")
    corrections_share: float = Field(0.5, gt=0.0, le=1.0, description="of the rows, at most so many are corrections")
    replay: Share = Field(1.0, description="of earlier rounds' corrections, so many are taken again")
    max_rows: int | None = Field(None, ge=2)
    sources: tuple[BlendSource, ...] = ()
    seed: int = 0

    @field_validator("demonstrations_per_correction", mode="before")
    @classmethod
    def _is_a_number_or_all(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
        if not is_number and value != "all":
            raise ValueError("write a number that is not negative, or all")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "BlendConfig":
        names = [source.name for source in self.sources]
        shares = sum(source.share or 0.0 for source in self.sources)
        if len(set(names)) < len(names):
            raise ValueError("sources: two entries have the same name")
        if shares > 1.0 + 1e-9:
            raise ValueError(f"sources: the shares sum to {shares:g}; they may sum to 1")
        if self.demonstrations_per_correction != "all":
            self._check_ratio(self.demonstrations_per_correction)
        return self

    def _check_ratio(self, ratio: float) -> None:
        share = 1 / (1 + ratio)
        if share > self.corrections_share + 1e-9:
            raise ValueError(
                f"demonstrations_per_correction {ratio:g} makes {share:.0%} of the rows corrections, and "
                f"corrections_share allows {self.corrections_share:.0%}; raise one of them"
            )
        if self.max_rows is not None and self.max_rows * share < self.min_corrections - 1e-9:
            raise ValueError(
                f"max_rows {self.max_rows} has room for {int(self.max_rows * share)} corrections at "
                f"{ratio:g} demonstrations each, and a round needs {self.min_corrections} (min_corrections); "
                f"raise max_rows"
            )


class CandidatesConfig(Model):
    """Answers of the champion to sample, to derive pairs from; what ranks them is the task's (`tasks.methods`)."""

    per_input: int = Field(8, ge=2, le=16)
    temperature: float = Field(1.0, le=2.0, allow_inf_nan=False)
    max_inputs: int = Field(500, ge=1, le=100_000, description="of those on the training side, corrected ones first")
    seed: int = 0

    @field_validator("temperature")
    @classmethod
    def _answers_differ(cls, temperature: float) -> float:
        if temperature <= 0:
            raise ValueError(
                "at 0 or below all answers to an input are the same, so that none is a better one; usual are 0.7 to 1"
            )
        if temperature < 0.01:
            raise ValueError("vLLM samples at 0.01 or more; usual are 0.7 to 1")
        return temperature
