"""Stage 12: where the policy asks for it, a person approves or rejects what the gate promotes."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config import Config
from tasks.rounds import Round, writing


def approve(config: Config, round_: Round) -> None:
    """Stage approve."""
    with writing(config, round_, "approve"):
        pass


@task(name="approve", cache_policy=NO_CACHE)
def approve_task(config: Config, round_: Round) -> None:
    """Prefect task around `approve`."""
    approve(config, round_)
