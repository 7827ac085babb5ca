"""`flywheel doctor`: is everything there that a round needs, and is it what is on record?

It starts nothing and changes nothing but a schema of an earlier version, which every command migrates. A check that
cannot be made says so, and the others go on.
"""

from collections.abc import Callable, Iterator, Sequence

from tasks import doctor_machine, doctor_servers, doctor_state
from tasks.checkup import Check, wrong
from tasks.config import Config
from tasks.errors import FlywheelError

Examination = Callable[[Config, str], Iterator[Check]]

EXAMINATIONS: dict[str, Examination] = {
    "python": doctor_machine.check_python,
    "packages": doctor_machine.check_packages,
    "GPU": doctor_machine.check_gpu,
    "vLLM": doctor_machine.check_vllm,
    "base model": doctor_machine.check_base,
    "disk": doctor_machine.check_disk,
    "state": doctor_state.check_state,
    "MLflow": doctor_servers.check_mlflow,
    "Prefect": doctor_servers.check_prefect,
    "servers": doctor_servers.check_addresses,
}


def examine(config: Config, options: str = "") -> list[Check]:
    """Every check of a workload; `options` have to be typed after a command for it to read the same config."""
    return [check for name in EXAMINATIONS for check in _guarded(name, config, options)]


def is_well(checks: Sequence[Check]) -> bool:
    """Whether nothing is wrong; warnings may be."""
    return all(check.state != "wrong" for check in checks)


def _guarded(name: str, config: Config, options: str) -> Iterator[Check]:
    """The checks of one examination; what ends it is the last of them."""
    try:
        yield from EXAMINATIONS[name](config, options)
    except FlywheelError as error:
        yield wrong(name, str(error), "")
    except Exception as error:  # noqa: BLE001 - libraries raise what they like, and a doctor must not faint
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        yield wrong(name, f"could not be looked at: {type(error).__name__}: {reason}", "")
