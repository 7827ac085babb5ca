"""One YAML file a workload, validated before anything else happens.

Every model is frozen and refuses unknown keys, so that a typing error is found when the file is read and not
after an hour of training. Limits that vLLM sets on adapters are checked here for the same reason.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from tasks.adapter_options import STUDENT_RATE, AdapterConfig, DistilConfig, MemberConfig
from tasks.base_models import check_no_pickles
from tasks.check_options import CheckConfig
from tasks.data_options import (
    BlendConfig,
    CandidatesConfig,
    ClusterConfig,
    ConsistencyConfig,
    EncoderConfig,
    RedactionConfig,
    ScreeningConfig,
    SplitConfig,
)
from tasks.engine_options import REACHED_BY, EngineConfig
from tasks.errors import ConfigError
from tasks.gate_options import GateConfig
from tasks.methods import DEFAULTS, STAGES, Method, Task, check_candidates, check_method
from tasks.operation_options import OPERATED, BudgetConfig, PromotionConfig, ServingConfig, WatchConfig
from tasks.resources import resource
from tasks.scorer_options import SCORER_TYPES, ScorerConfig
from tasks.secrets import HOW_TO_NAME, hide_credentials
from tasks.sources.settings import Model, SourceConfig, TrackingUri
from tasks.suite_options import SuiteConfig
from tasks.trainer_options import DpoConfig, TrainerConfig

AModel = TypeVar("AModel", bound=Model)

KINDS_OF_ENTRIES = ("files", "sql", "mlflow_traces", "json_schema", "regex", "labels", "python")


class ModelConfig(Model):
    """The base model: a hub id or a folder, and the lengths (tokens) it is used with."""

    base: str = Field(min_length=1)
    max_length: int = Field(512, ge=16)
    max_new_tokens: int = Field(64, ge=1)
    trust_remote_code: str | None = Field(None, description="the id in base once more: its own Python code is run")

    @field_validator("trust_remote_code", mode="before")
    @classmethod
    def _is_a_name(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(
                "true would run the code of whatever model stands in base next; repeat the base whose code you have "
                "read, or leave it out"
            )
        return value

    @model_validator(mode="after")
    def _trusts_its_base_alone(self) -> "ModelConfig":
        if self.trust_remote_code not in (None, self.base):
            raise ValueError(
                f"trust_remote_code names {self.trust_remote_code} and base is {self.base}: code that nobody has "
                f"vouched for is not run; read that of {self.base} and name it, or leave it out"
            )
        return self

    @property
    def trusts_code(self) -> bool:
        """Whether the Python code that comes with the base model is run."""
        return self.trust_remote_code is not None

    @model_validator(mode="after")
    def _answer_fits(self) -> "ModelConfig":
        if self.max_new_tokens >= self.max_length:
            raise ValueError("max_new_tokens must be smaller than max_length")
        return self


class MlflowConfig(Model):
    """Where models are registered; without a URI, a SQLite file in `home`."""

    tracking_uri: TrackingUri | None = None


class Config(Model):
    """A workload. Relative paths are taken from the folder the command runs in."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    home: Path = Path(".flywheel")
    task: Task = "right_answer"
    method: Method | None = Field(None, description="of training; by default sft, or dpo where answers are only better")
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    checks: tuple[CheckConfig, ...] = ()
    failing_rating: int = Field(2, ge=0, le=5, description="this many stars or fewer make a call a failure")
    redaction: RedactionConfig = RedactionConfig()
    quarantine_days: int = Field(30, ge=1, description="after which the text of a row in quarantine is removed")
    scorer: ScorerConfig
    model: ModelConfig
    encoder: EncoderConfig = EncoderConfig()
    cluster: ClusterConfig = ClusterConfig()
    split: SplitConfig = SplitConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()
    screening: ScreeningConfig = ScreeningConfig()
    blend: BlendConfig = BlendConfig()
    candidates: CandidatesConfig | None = Field(None, description="sampled and made pairs of, where it is given")
    adapter: AdapterConfig = AdapterConfig()
    trainer: TrainerConfig = TrainerConfig()
    dpo: DpoConfig = DpoConfig()
    suite: SuiteConfig = SuiteConfig()
    engine: EngineConfig = EngineConfig()
    gate: GateConfig = GateConfig()
    promotion: PromotionConfig = PromotionConfig()
    serving: ServingConfig = ServingConfig()
    budget: BudgetConfig = BudgetConfig()
    watch: WatchConfig = WatchConfig()
    mlflow: MlflowConfig = MlflowConfig()

    @field_validator("sources", "checks")
    @classmethod
    def _names_differ(cls, parts: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"two {info.field_name} have the same name")
        return parts

    @model_validator(mode="after")
    def _blend_names_sources(self) -> "Config":
        named = {source.name: source for source in self.blend.sources}
        known = {source.name for source in self.sources}
        if unknown := sorted(named.keys() - known):
            raise ValueError(f"blend.sources: there is no source {unknown[0]}; there are {', '.join(sorted(known))}")
        shares = [source.share for source in named.values() if source.share is not None]
        if named.keys() == known and len(shares) == len(named) and sum(shares) < 1.0 - 1e-9:
            raise ValueError(f"blend.sources: every source has a share, and they sum to {sum(shares):g}, not 1")
        if named.keys() == known and all(0 in (source.share, source.weight, source.cap) for source in named.values()):
            raise ValueError("blend.sources: no source is left that gives demonstrations; raise a weight, share or cap")
        return self

    @model_validator(mode="after")
    def _split_names_sources(self) -> "Config":
        known = {source.name for source in self.sources}
        if unknown := sorted(set(self.split.taught) - known):
            raise ValueError(f"split.taught: there is no source {unknown[0]}; there are {', '.join(sorted(known))}")
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> "Config":
        check_method(self.task, self.training_method, self.scorer, self.dpo)
        if self.candidates is not None:
            check_candidates(self.task, self.training_method, self.scorer, bool(self.checks))
        adapters = [adapter.target_modules for adapter, _ in self.members]
        if self.student is not None:
            adapters.append(self.student["adapter"]["target_modules"])
        on_head = any("lm_head" in modules for modules in adapters)
        if "dpo" in STAGES[self.training_method] and on_head:
            raise ValueError(
                "adapter.target_modules: preferences cannot be trained on with an adapter on lm_head, which TRL's loss "
                "would pass over; remove it, or use method: sft"
            )
        return self

    @property
    def members(self) -> list[tuple[AdapterConfig, TrainerConfig]]:
        """Options of each adapter that is trained; with several, these are averaged.

        Raises:
            ValueError: those of a member do not fit.
        """
        return [
            self._with_options(f"adapter.members.{place}", recipe)
            for place, recipe in enumerate(self.adapter.recipes)
            for _ in range(recipe.count)
        ]

    @property
    def student(self) -> dict[str, Any] | None:
        """How the one adapter is trained that learns from the members, where one does.

        Raises:
            ValueError: its options do not fit.
        """
        if (distil := self.adapter.distil) is None:
            return None
        own = {"prompt_dropout": 0.0, "learning_rate": STUDENT_RATE * self.trainer.learning_rate}
        adapter, trainer = self._with_options("adapter.distil", distil, own)
        if trainer.prompt_dropout:
            raise ValueError("adapter.distil.trainer.prompt_dropout: the variants are thinned out already; remove it")
        options = {"adapter": adapter.lora, "trainer": trainer.arguments()}
        return options | {"copies": distil.copies, "champion": distil.champion}

    def _with_options(
        self, where: str, recipe: MemberConfig | DistilConfig, own: dict[str, Any] | None = None
    ) -> tuple[AdapterConfig, TrainerConfig]:
        for part in {"members", "strength", "distil"} & recipe.adapter.keys():
            raise ValueError(f"{where}.adapter.{part}: it is of what is made of the members; remove it")
        adapter = self.adapter.lora | recipe.adapter | {"members": 1}
        trainer = self.trainer.model_dump(mode="json") | (own or {}) | recipe.trainer
        return _checked(AdapterConfig, adapter, f"{where}.adapter"), _checked(
            TrainerConfig, trainer, f"{where}.trainer"
        )

    @property
    def training_method(self) -> Method:
        """How this workload is trained."""
        return self.method or DEFAULTS[self.task]

    @property
    def folder(self) -> Path:
        """Folder of this workload's state."""
        return self.home / self.name

    @property
    def database(self) -> Path:
        """The workload's DuckDB file."""
        return self.folder / "state.duckdb"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking and registry address."""
        return self.mlflow.tracking_uri or f"sqlite:///{(self.home / 'mlflow.db').resolve()}"

    @property
    def artifact_location(self) -> str | None:
        """Where MLflow keeps artifacts: beside its SQLite file, or wherever a tracking server says."""
        return None if self.mlflow.tracking_uri else (self.home / "mlartifacts").resolve().as_uri()

    def round_folder(self, round_id: int) -> Path:
        """Folder of one round's files."""
        return self.folder / "rounds" / str(round_id)

    def sha256(self) -> str:
        """Hash of the config, so that a round can say what it ran with; no result hangs on what is left out."""
        left_out: dict[str, Any] = {"engine": REACHED_BY} | dict.fromkeys(OPERATED, True)
        return hashlib.sha256(self.model_dump_json(exclude=left_out).encode()).hexdigest()


class FlowRequest(Model):
    """What a person, a schedule or an event asks of a flow; Prefect's UI draws its form from this model."""

    config: str = Field(
        "configs/tickets.yaml",
        title="Config file",
        description="Path of the workload's YAML file, from the folder the worker runs in",
        pattern=r"\.ya?ml$",
    )
    requested_by: str = Field(
        "schedule",
        min_length=1,
        max_length=100,
        title="Requested by",
        description="Who or what asks for it, such as person:maria; on record with what comes of it",
    )


class RoundRequest(FlowRequest):
    """What is asked of a round."""

    min_corrections: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        title="Corrections that make a round worth running",
        description="Leave empty to use the config's own number",
    )
    heavy_stages: Literal["here", "gpu"] = Field(
        "here",
        title="Where models are trained and run",
        description="here: in the round's own process; gpu: by a worker of the gpu pool that sees the same files",
    )


def load_config(path: str | Path) -> Config:
    """Read and check a workload's config.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or does not fit; the line names file and key.
    """
    file = find_config(path)
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; give a YAML file with --config FILE") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values; see configs/tickets.yaml for one")
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from error


def find_config(path: str | Path) -> Path:
    """The file itself, or the example of that name that the package carries (``configs/tickets.yaml``)."""
    file = Path(path)
    if file.is_file():
        return file
    try:
        return resource("configs", file.name) if file.parent.name in {"configs", ""} else file.resolve(strict=True)
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist; give one with --config FILE") from None


def check_base_folder(config: Config) -> bool:
    """Whether the base model is a folder, checked; False where it is a hub id, which is not looked up here.

    Raises:
        ConfigError: the folder does not exist or holds no model, or its weights are pickles.
    """
    base = config.model.base
    if Path(base).is_dir():
        if not (Path(base) / "config.json").is_file():
            raise ConfigError(f"model.base: {base} holds no config.json; point it at a transformers model folder")
        check_no_pickles(base)
        return True
    if base.startswith((".", "/", "~")) or base.count("/") != 1:
        raise ConfigError(
            f"model.base: the folder {base} does not exist; point it at a model folder or give a hub id "
            f"(`flywheel demo` builds the demo's)"
        )
    return False


def check_base_model(config: Config) -> None:
    """Refuse a base model that is not to be had, before a round is opened for it.

    Raises:
        ConfigError: see `check_base_folder`; or the hub has no such id.
    """
    if check_base_folder(config):
        return
    from huggingface_hub import hf_hub_download

    base = config.model.base
    try:
        hf_hub_download(base, "config.json")
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"model.base: {base} is no folder and could not be had from the hub: {reason}") from error


def make_request(**values: Any) -> RoundRequest:
    """A round request from the command line's options.

    Raises:
        ConfigError: an option is out of bounds; the line names it.
    """
    try:
        return RoundRequest(**values)
    except ValidationError as error:
        raise ConfigError(f"--{_first_problem(error).replace('_', '-', 1)}") from error


def _checked(model: type[AModel], values: dict[str, Any], where: str) -> AModel:
    """The values as a part of a config; what does not fit is said as of a key of `where`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(f"{'.'.join((where, *map(str, problem['loc'])))}: {_advice(problem)}") from error


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{_location(first)}: {_advice(first)}{more}"


def _location(problem: Any) -> str:
    places = problem["loc"]
    # Behind a place in a list, or the scorer, pydantic names the kind that it took the entry for; nobody wrote that.
    pairs = zip((None, *places), places, strict=False)
    written = [
        part
        for before, part in pairs
        if not (isinstance(before, int) and part in KINDS_OF_ENTRIES)
        and not (before == "scorer" and part in SCORER_TYPES)
    ]
    return ".".join(map(str, written)) or "the file"


def _advice(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown key; remove it or correct its spelling"
    if problem["type"] == "missing":
        return "this key is missing; add it"
    if any(str(part).endswith("_env") for part in problem["loc"]):
        return HOW_TO_NAME  # what was given is likely to be a secret
    message = hide_credentials(str(problem["msg"]).removeprefix("Value error, "))
    given = problem["input"]
    given = hide_credentials(given) if isinstance(given, str) else given
    return f"{message}, got {given!r}" if isinstance(given, str | int | float) else message
