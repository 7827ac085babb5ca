"""What one stage of a round is asked for with, where it runs in another process than the round."""

from typing import Literal

from pydantic import Field

from tasks.config import Config
from tasks.rounds import Round
from tasks.sources.settings import Model

HeavyStage = Literal["blend", "train", "regress", "shadow"]


class StageRequest(Model):
    """A stage, and the round's fields: whoever has the token may write, as long as no other runner has a newer one."""

    config: str = Field(title="Config file", pattern=r"\.ya?ml$", description="From the folder the worker runs in")
    stage: HeavyStage = Field(title="Stage")
    round_id: int = Field(ge=1, title="Round")
    round_key: str = Field(min_length=1)
    pinned_seq: int = Field(ge=0, description="The last pass over the sources that the round sees")
    lease_token: int = Field(ge=0, description="The token of the round's runner")
    champion_version: str | None = None

    @property
    def round(self) -> Round:
        """The round as its runner holds it."""
        return Round(self.round_id, self.round_key, self.pinned_seq, self.lease_token, self.champion_version)


def is_heavy(stage: str, config: Config) -> bool:
    """Whether a stage trains a model or has one answer."""
    heavy = {"train": True, "regress": True, "blend": config.candidates is not None}
    return heavy.get(stage, False) or (stage == "shadow" and config.promotion.shadow > 0)
