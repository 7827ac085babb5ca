"""Options of the gate (`gate` in a config)."""

from pydantic import Field

from tasks.sources.settings import Model


class GateConfig(Model):
    """What a challenger has to show. `anchor_margin` is the loss of accuracy on `anchor` that is tolerated."""

    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    anchor_margin: float = Field(0.02, gt=0.0, le=0.5)
    min_cases: int = Field(30, ge=1, description="per stratum; below it the gate holds")
    logprob_tolerance: float | None = Field(
        None,
        gt=0.0,
        description="nats a token between trainer and server; by default 0.001 in float32, 0.05 in bfloat16",
    )
