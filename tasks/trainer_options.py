"""The trainers' options in a config: the usual ones typed here, every other one under TRL's own name.

What is not typed here is looked up among the fields of TRL's dataclass, for which the library is imported; a config
that holds the usual options alone is read without it.
"""

import difflib
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from tasks.sources.settings import Model

# What the product sets itself, and what to use in place of it.
SET_HERE = {
    "output_dir": "files of a round are kept in its folder, under `home`",
    "max_length": "it is model.max_length, which the server is given too",
    "report_to": "metrics go to MLflow, under mlflow.tracking_uri",
    "run_name": "MLflow's run is named after the round",
    "project": "MLflow's experiment is named after the workload",
    "disable_tqdm": "progress goes to Prefect and MLflow",
    "log_level": "what libraries print goes to the round's folder",
    "log_level_replica": "what libraries print goes to the round's folder",
    "save_strategy": "checkpoints are saved every checkpoint_seconds",
    "save_steps": "checkpoints are saved every checkpoint_seconds",
    "save_total_limit": "the last two checkpoints are kept while it trains",
    "save_only_model": "a checkpoint has to hold all that resuming needs",
    "resume_from_checkpoint": "a round that was interrupted resumes by itself",
    "ignore_data_skip": "a round that was interrupted sees the rows that it had not seen",
    "load_best_model_at_end": "there are no evaluation rows here; the regression suite and the gate judge the adapter",
    "assistant_only_loss": "no token is trained on that is not the assistant's",
    "completion_only_loss": "no token is trained on that is not the assistant's",
    "model_init_kwargs": "the base is loaded from model.base",
    "trust_remote_code": "whose code is run is said by model.trust_remote_code",
    "chat_template_path": "the chat template is the base model's, which the server uses too",
    "eos_token": "it is the base model's, which the server uses too",
    "pad_token": "it is the base model's",
    "dataset_text_field": "rows are conversations",
    "dataset_kwargs": "rows are prepared the same way each time, so that each can be named",
    "remove_unused_columns": "rows are prepared the same way each time, so that each can be named",
    "shuffle_dataset": "rows keep their order, so that each can be named; the sampler shuffles them",
    "local_rank": "the launcher sets it",
    "use_cpu": "a GPU is used where there is one",
    "sync_ref_model": "the reference is the model that training started from",
    "padding_free": "rows of like length share a batch, so that little is padded",
    "packing": "rows that share a sequence could not be weighted one by one; they are grouped by length",
}
PREFIXES_SET_HERE = {
    "hub_": "nothing is sent to a model hub",
    "push_to_hub": "nothing is sent to a model hub",
    "trackio_": "metrics go to MLflow, under mlflow.tracking_uri",
    "do_": "a round trains, and then the regression suite judges",
    "eval_": "there are no evaluation rows here; the regression suite and the gate judge the adapter",
}


Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "warmup_stable_decay",
]

Loss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "sft",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
]


class _Options(Model):
    """Typed options, and with them any other field of the TRL dataclass that the subclass names."""

    model_config = ConfigDict(extra="allow")
    trl_class: ClassVar[str]

    gradient_accumulation_steps: int = Field(1, ge=1)
    weight_decay: float = Field(0.0, ge=0.0)
    max_grad_norm: float = Field(1.0, gt=0.0)
    seed: int = 0
    checkpoint_seconds: float = Field(
        60.0, ge=0.0, description="time between checkpoints, from which a training that was killed goes on"
    )

    @model_validator(mode="before")
    @classmethod
    def _others_are_the_trainers(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        others = {key: value for key, value in options.items() if key not in cls.model_fields}
        return options | checked_options(cls.trl_class, others, tuple(cls.model_fields))

    def arguments(self) -> dict[str, Any]:
        """The options under the trainer's own names: what its TRL dataclass is made with."""
        return self.model_dump(mode="json", exclude={"checkpoint_seconds"})


class TrainerConfig(_Options):
    """Options of TRL's SFTConfig, by its names, and `prompt_dropout`."""

    trl_class = "SFTConfig"

    num_train_epochs: float = Field(3.0, gt=0.0)
    learning_rate: float = Field(2e-4, gt=0.0)
    per_device_train_batch_size: int = Field(16, ge=1)
    lr_scheduler_type: Schedule = "cosine"
    warmup_steps: float = Field(0.05, ge=0.0, description="steps, or a share of them when below 1")
    label_smoothing_factor: float = Field(0.0, ge=0.0, lt=1.0)
    prompt_dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="share of the tokens of what is asked that are left out, others each time"
    )


class DpoConfig(_Options):
    """Options of TRL's DPOConfig, by its names. `sft` in loss_type is the supervised term on the chosen answer."""

    trl_class = "DPOConfig"

    beta: float = Field(0.1, allow_inf_nan=False)
    loss_type: tuple[Loss, ...] = Field(("sigmoid", "sft"), min_length=1)
    loss_weights: tuple[Annotated[float, Field(ge=0.0, allow_inf_nan=False)], ...] | None = None
    num_train_epochs: float = Field(1.0, gt=0.0)
    learning_rate: float = Field(5e-5, gt=0.0)
    per_device_train_batch_size: int = Field(8, ge=1)
    lr_scheduler_type: Schedule = "linear"
    warmup_steps: float = Field(0.1, ge=0.0, description="steps, or a share of them when below 1")

    @field_validator("beta")
    @classmethod
    def _holds_to_the_reference(cls, beta: float) -> float:
        if beta <= 0:
            raise ValueError("nothing holds the model to its reference at 0 or below; usual are 0.01 to 0.5")
        return beta

    @model_validator(mode="after")
    def _losses_fit(self) -> "DpoConfig":
        if set(self.loss_type) == {"sft"}:
            raise ValueError(
                "loss_type: sft alone learns nothing from the rejected answers; add sigmoid, or use method: sft"
            )
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ValueError(
                f"loss_weights: one for each of loss_type is needed, {len(self.loss_type)} and not "
                f"{len(self.loss_weights)}"
            )
        return self

    @property
    def is_supervised(self) -> bool:
        """Whether the chosen answers are trained on as they are, too."""
        weights = self.loss_weights or (1.0,) * len(self.loss_type)
        return any(loss == "sft" and weight > 0 for loss, weight in zip(self.loss_type, weights, strict=True))

    @property
    def usual_beta(self) -> tuple[float, float]:
        """The range of beta that is in use with this loss.

        Rafailov et al. (2023) used 0.1, and 0.5 for summaries; Tunstall et al. (2023) 0.1, and 0.01 in their handbook.
        Losses by token need more: Lambert et al. (2024) used 5, Meng et al. (2024) 2 to 10.
        """
        return (2.0, 10.0) if "sigmoid_norm" in self.loss_type else (0.01, 0.5)


def checked_options(trl_class: str, options: dict[str, Any], typed: tuple[str, ...]) -> dict[str, Any]:
    """The options as values of the TRL dataclass's fields. `typed`: options that are known beside those.

    Raises:
        ValueError: one is set by the product itself, is no option of the trainer, or its value does not fit.
    """
    for name in options:
        if (reason := _set_here(name)) is not None:
            raise ValueError(f"{name} cannot be set: {reason}; remove it")
    if not options:
        return {}
    hints = _fields(trl_class)
    return {name: _value(name, value, hints, trl_class, typed) for name, value in options.items()}


def _set_here(name: str) -> str | None:
    prefixed = (reason for prefix, reason in PREFIXES_SET_HERE.items() if name.startswith(prefix))
    return SET_HERE.get(name) or next(prefixed, None)


def _fields(trl_class: str) -> dict[str, Any]:
    """The type of each field of a TRL dataclass."""
    from dataclasses import fields

    import trl

    made = getattr(trl, trl_class)
    hints = get_type_hints(made)
    return {field.name: hints[field.name] for field in fields(made) if field.init}


def _value(name: str, value: Any, hints: dict[str, Any], trl_class: str, typed: tuple[str, ...]) -> Any:
    if name not in hints:
        known = [option for option in (*hints, *typed) if _set_here(option) is None]
        near = difflib.get_close_matches(name, known, 1)
        advice = f"did you mean {near[0]}?" if near else "remove it or correct its spelling"
        raise ValueError(f"{name} is no option of TRL's {trl_class}; {advice}")
    try:
        # As JSON's types: a config is written down with every round, and read by a child process.
        return TypeAdapter(hints[name]).dump_python(TypeAdapter(hints[name]).validate_python(value), mode="json")
    except ValidationError as error:
        raise ValueError(f"{name}: {error.errors()[0]['msg']}, got {value!r}") from error
