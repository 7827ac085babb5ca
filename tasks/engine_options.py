"""Options of the engine that answers the regression suite (`engine` in a config)."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.secrets import ENV_NAME
from tasks.sources.settings import Model

Served = Literal["champion", "challenger", "reference"]
TEXTS = ("regex", "grammar", "structural_tag")
CONSTRAINTS = ("json", "json_object", "choice", *TEXTS)  # as vLLM names them (StructuredOutputsParams)
REACHED_BY = {"address", "api_key_env", "timeout_s", "concurrency"}  # may be mended while a round is unfinished


class EngineConfig(Model):
    """What is asked beside champion and challenger, and of which engine: one of its own, or a server that runs already.

    `address` and what follows it are about such a server; the API key is in the environment variable, or the Prefect
    Secret block, that is named.
    """

    noise_sample: int = Field(200, ge=0, description="cases that the champion answers twice, protected ones beside")
    few_shot: int = Field(4, ge=0, le=64, description="corrections in the champion's prompt, for comparison; 0: off")
    few_shot_cases: int = Field(300, ge=0, description="new unseen failures that are asked so, at most")
    seed: int = 0
    structured_outputs: dict[str, Any] | None = Field(None, description=f"one of {', '.join(CONSTRAINTS)}")
    address: str | None = Field(None, pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$", description="http://HOST:PORT")
    api_key_env: str | None = Field(None, pattern=ENV_NAME)
    adapters: dict[Served, str] = Field(default={}, description="names of those that the server has loaded itself")
    timeout_s: float = Field(120.0, gt=0.0, description="of one request")
    concurrency: int = Field(64, ge=1, le=4096, description="requests at a time")

    @field_validator("structured_outputs")
    @classmethod
    def _is_one_constraint(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        if given is None:
            return None
        if len(given) != 1 or not given.keys() <= set(CONSTRAINTS):
            raise ValueError(f"write one of {', '.join(CONSTRAINTS)}, not {', '.join(map(str, given)) or 'nothing'}")
        ((name, value),) = given.items()
        if not _fits(name, value):
            raise ValueError(f"{name}: {_FORMS[name]}")
        return given

    @model_validator(mode="after")
    def _needs_a_server(self) -> "EngineConfig":
        for name in ("api_key_env", "adapters"):
            if self.address is None and getattr(self, name):
                raise ValueError(f"{name} is about a server that runs already; give its address, or remove {name}")
        return self


_FORMS = dict.fromkeys(TEXTS, "write a text") | {
    "json": "write a JSON schema",
    "json_object": "write true",
    "choice": "write a list of answers, none of them twice",
}


def _fits(name: str, value: Any) -> bool:
    if name == "choice":
        are_texts = isinstance(value, list) and all(isinstance(each, str) and each for each in value)
        return are_texts and 0 < len(value) == len(set(value))
    if name == "json":
        return isinstance(value, dict)
    return value is True if name == "json_object" else isinstance(value, str) and bool(value)
