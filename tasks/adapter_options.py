"""Options of the adapter that a round trains (`adapter` in a config), within what vLLM serves."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from tasks.data_options import Share
from tasks.sources.settings import Model

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class MemberConfig(Model):
    """Members that are trained with other options than the config's own."""

    count: int = Field(1, ge=1, description="so many adapters, each with its own seed")
    adapter: dict[str, Any] = Field(default={}, description="options in place of those of `adapter`")
    trainer: dict[str, Any] = Field(default={}, description="options in place of those of `trainer`")


class DistilConfig(Model):
    """One adapter that learns what the members say together, in place of the average of their weights."""

    copies: int = Field(6, ge=1, description="variants of each row's input that the members are asked")
    champion: float = Field(
        1.0, ge=0.0, description="weight of what the champion says, or else the base, where a member's is 1"
    )
    adapter: dict[str, Any] = Field(default={}, description="options in place of those of `adapter`")
    trainer: dict[str, Any] = Field(
        default={}, description="options in place of those of `trainer`, of whose learning_rate it takes a third"
    )


# The default. One that is to answer as several do, to inputs of which a part is missing, needs room for it.
DISTIL = DistilConfig(adapter={"r": 64, "lora_alpha": 128}, trainer={"num_train_epochs": 2})
# Of the trainer's learning rate, where it has none of its own: it sees six times the rows, and at the whole rate it
# forgot what the members knew (docs/training.md has the figures).
STUDENT_RATE = 1 / 3


class AdapterConfig(Model):
    """LoRA (Hu et al. 2021), limited to what vLLM can serve; names are PEFT's own."""

    r: int = 16
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: Share = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | str = True
    modules_to_save: tuple[str, ...] = ()
    members: Annotated[int, Field(ge=1)] | Annotated[tuple[MemberConfig, ...], Field(min_length=1)] = Field(
        4,
        description="so many adapters are trained, each with its own seed; without distil their weights are averaged",
    )
    distil: DistilConfig | None = Field(
        None,
        description="the members teach one adapter what they say together; by default so where there are several",
    )
    strength: float = Field(
        1.0, gt=0.0, le=2.0, description="what the adapter is scaled by when it is trained: less fixes and breaks less"
    )

    @model_validator(mode="before")
    @classmethod
    def _several_are_distilled_unless_said_otherwise(cls, options: Any) -> Any:
        if isinstance(options, dict) and "distil" not in options and options.get("members") != 1:
            return options | {"distil": DISTIL}
        return options

    @field_validator("r")
    @classmethod
    def _rank_is_served(cls, rank: int) -> int:
        if rank not in VLLM_RANKS:
            raise ValueError(f"vLLM serves ranks {', '.join(map(str, VLLM_RANKS))}, not {rank}")
        return rank

    @property
    def lora(self) -> dict[str, Any]:
        """The options of PEFT's LoraConfig."""
        return self.model_dump(mode="json", exclude={"modules_to_save", "members", "strength", "distil"})

    @property
    def recipes(self) -> tuple[MemberConfig, ...]:
        """What each kind of member is trained with."""
        return (MemberConfig(count=self.members),) if isinstance(self.members, int) else self.members

    @property
    def served_rank(self) -> int:
        """The rank of the adapter that is served: members are put beside one another, not pressed together."""
        if self.distil is not None:
            return int(self.distil.adapter.get("r", self.r))
        return sum(recipe.count * int(recipe.adapter.get("r", self.r)) for recipe in self.recipes)

    @model_validator(mode="after")
    def _vllm_can_serve_it(self) -> "AdapterConfig":
        if self.distil is None and self.served_rank not in VLLM_RANKS:
            raise ValueError(
                f"members: {sum(recipe.count for recipe in self.recipes)} of them"
                f"{'' if 'members' in self.model_fields_set else ', the default,'} make one adapter of rank "
                f"{self.served_rank}, and vLLM serves ranks {', '.join(map(str, VLLM_RANKS))}; change their number or r"
            )
        if self.use_dora:
            raise ValueError("use_dora: vLLM does not serve DoRA adapters; remove it")
        if self.init_lora_weights not in (True, "gaussian"):
            raise ValueError("init_lora_weights: vLLM serves adapters initialised with true or gaussian only")
        if self.modules_to_save:
            raise ValueError("modules_to_save: vLLM serves no fully trained modules; remove it")
        return self
