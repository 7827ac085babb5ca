"""How a workload is operated: promotion, serving, budget, watch (parts of a config that no result hangs on).

They may be changed while a round is unfinished, and are not in the config's hash.
"""

from typing import Literal

from pydantic import Field, field_validator

from tasks.secrets import ENV_NAME
from tasks.sources.settings import Model

OPERATED = {"promotion", "serving", "budget", "watch"}


class PromotionConfig(Model):
    """Who has the last word once the gate says `promote`."""

    approval: Literal["auto", "ask", "never"] = Field(
        "auto", description="ask: a person approves or rejects; never: only `flywheel promote` moves the champion"
    )
    expires_hours: float = Field(72.0, gt=0.0, description="after which a round that nobody answered for is held")
    shadow: int = Field(
        0, ge=0, description="of the latest calls, so many are answered by the challenger before it serves"
    )


class ServingConfig(Model):
    """A vLLM server that production asks; it is told to load each new champion. The API key is in the environment."""

    address: str | None = Field(None, pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$", description="http://HOST:PORT")
    name: str | None = Field(
        None, pattern=r"^[\w.-]+$", description="of the model that clients ask for; by default the workload's name"
    )
    api_key_env: str | None = Field(None, pattern=ENV_NAME)
    timeout_s: float = Field(30.0, gt=0.0, description="of one request")


class Ceiling(Model):
    """What may be spent; what is left out is not bounded."""

    hours: float | None = Field(None, gt=0.0)
    gpu_hours: float | None = Field(None, gt=0.0)
    tokens_trained: int | None = Field(None, ge=1)
    tokens_generated: int | None = Field(None, ge=1)
    gigabytes_kept: float | None = Field(None, gt=0.0)


class BudgetConfig(Model):
    """Ceilings of a round and of thirty days, and how many rounds' working files are kept."""

    round: Ceiling = Ceiling()
    month: Ceiling = Ceiling()
    keep_rounds: int = Field(5, ge=0, description="whose working files stay; what anything refers to always stays")


class WatchConfig(Model):
    """How production under a new champion is compared with production before it."""

    on_worse: Literal["notice", "rollback"] = "notice"
    error_budget: float = Field(0.02, gt=0.0, lt=0.5, description="chance of one false alarm, however long it watches")
    margin: float = Field(0.0, ge=0.0, lt=1.0, description="a failure rate higher by this much is not worse yet")
    settle_hours: float = Field(
        24.0, ge=0.0, le=8760.0, description="calls count once so old, with what was said by then"
    )
    days: float = Field(30.0, gt=0.0, le=3650.0, description="so long before and after a promotion is looked at")
    names: tuple[str, ...] = Field(
        ("{version}", "v{version}", "{workload}-v{version}", "{workload}"),
        description="what production calls a version; a name without {version} is whoever is champion at the time",
    )

    @field_validator("names")
    @classmethod
    def _has_no_other_places(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            left = name.replace("{version}", "").replace("{workload}", "")
            if not name or "{" in left or "}" in left:
                raise ValueError(f"{name!r} is no name of a version; write one such as tickets-v{{version}}")
        return names
