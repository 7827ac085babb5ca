"""Stage 11: before it serves, the challenger answers the latest calls beside the champion; differences are shown."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config import Config
from tasks.rounds import Round, writing


def shadow(config: Config, round_: Round) -> None:
    """Stage shadow."""
    with writing(config, round_, "shadow"):
        pass


@task(name="shadow", cache_policy=NO_CACHE)
def shadow_task(config: Config, round_: Round) -> None:
    """Prefect task around `shadow`."""
    shadow(config, round_)
