"""Options of the gate (`gate` in a config)."""

from typing import Annotated

from pydantic import Field

from tasks.sources.settings import Model

Level = Annotated[float, Field(gt=0.0, lt=0.5)]


class GateConfig(Model):
    """What a challenger has to show, how surely, and how much of what it may lose. Margins and rates are of 1."""

    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="of the intervals that are shown, and of a rejection")
    error_budget: Level = Field(
        0.02, description="between two promotions, the chance that a model that is no better is promoted"
    )
    anchor_margin: float = Field(0.028, gt=0.0, le=0.5, description="loss of accuracy on anchor that is tolerated")
    anchor_level: Level = Field(0.01, description="chance that a model that loses the whole margin passes")
    slice_level: Level = Field(0.05, description="chance that any slice is found harmed where none is")
    max_negative_flips: float = Field(
        0.05, gt=0.0, le=1.0, description="of production's calls, so many may be right before and wrong now"
    )
    min_fixed: float = Field(0.9, ge=0.0, le=1.0, description="of this round's corrections that were trained on")
    invalid_margin: float = Field(0.02, gt=0.0, le=1.0, description="more outputs of the wrong form that are tolerated")
    length_margin: float = Field(0.25, gt=0.0, description="longer outputs that are tolerated, as a share")
    min_cases: int = Field(30, ge=1, description="units per stratum; below it the gate holds")
    min_slice_cases: int = Field(20, ge=1, description="units below which a slice is not judged by itself")
    power: float = Field(0.8, gt=0.5, lt=1.0, description="with which the cases that a hold asks for would decide")
    unit: str | None = Field(None, description="a slice whose cases depend on one another, as those of one customer do")
    logprob_tolerance: float | None = Field(
        None,
        gt=0.0,
        description="nats a token between trainer and server; by default 0.001 in float32, 0.05 in bfloat16",
    )
