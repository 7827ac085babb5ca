"""The one place that loads base models, tokenizers and adapters: weights are data, and code is run by name alone.

Weights come as safetensors; pickles, which are programs, are refused with how to convert them. A model's own Python
code is run only where the config repeats the model's id (`model.trust_remote_code`).
"""

from pathlib import Path
from typing import Any

from tasks.adapters import check_adapter, pickles
from tasks.errors import ConfigError


def load_tokenizer(base: str | Path, trusts_code: bool = False, **options: Any) -> Any:
    """The tokenizer of a base model (hub id or folder); `options` are more of `from_pretrained`'s.

    Raises:
        ConfigError: it cannot be loaded as it is.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(base, trust_remote_code=trusts_code, **options)
    except (OSError, ValueError) as error:
        raise _refusal(base, "the tokenizer", error) from error


def load_base(base: str | Path, trusts_code: bool = False, **options: Any) -> Any:
    """A base model (hub id or folder) with its weights; `options` are more of `from_pretrained`'s.

    Raises:
        ConfigError: it cannot be loaded as it is, for example because its weights are pickles.
    """
    from transformers import AutoModelForCausalLM

    check_no_pickles(base)
    try:
        return AutoModelForCausalLM.from_pretrained(
            base, trust_remote_code=trusts_code, use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        raise _refusal(base, "the model", error) from error


def load_adapter(model: Any, adapter: str | Path, **options: Any) -> Any:
    """The model with an adapter on it (PEFT's, from a folder); `options` are more of `PeftModel.from_pretrained`'s.

    Raises:
        FlywheelError: the adapter's weights are no safetensors.
    """
    from peft import PeftModel

    check_adapter(Path(adapter))
    return PeftModel.from_pretrained(model, str(adapter), **options)


def working_dtype() -> Any:
    """What a base is trained in: bfloat16 on a GPU, else float32."""
    import torch

    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def check_no_pickles(base: str | Path) -> None:
    """Refuse a base model's folder whose weights are pickles alone; hub ids are not looked up here.

    Raises:
        ConfigError: see above; says how to convert it.
    """
    folder = Path(base)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and (found := pickles(folder)):
        raise ConfigError(f"model.base: {base} has its weights in {found[0]}, a pickle, {_how_to_convert(base)}")


def _how_to_convert(base: str | Path) -> str:
    return (
        f"which may run any code when it is read; if you trust it, convert it once, in Python: "
        f"AutoModelForCausalLM.from_pretrained({str(base)!r}).save_pretrained(FOLDER) and "
        f"AutoTokenizer.from_pretrained({str(base)!r}).save_pretrained(FOLDER); then set model.base to FOLDER"
    )


def _refusal(base: str | Path, what: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason:
        return ConfigError(
            f"model.base: {base} comes with Python code of its own, which is not run; if you have read and trust it, "
            f"write model.trust_remote_code: {base}"
        )
    if "safetensors" in reason:
        return ConfigError(f"model.base: {base} has no safetensors; its weights are pickles, {_how_to_convert(base)}")
    return ConfigError(f"model.base: {what} of {base} could not be loaded: {reason[:300]}")
