"""Publishes a round's page, the artifact WORKLOAD-round, with a version for each round."""

import os
from typing import Any

from prefect.artifacts import create_markdown_artifact

from tasks.config import Config


def publish_round(evidence: dict[str, Any], config: Config) -> None:
    """Once a round has come to an end, or waits for a person: its page, with links to its other artifacts."""
    from tasks.headlines import outcome
    from tasks.round_page import round_markdown

    create_markdown_artifact(
        key=f"{config.name}-round",
        markdown=round_markdown(evidence, _links(config.name), _version_url(evidence, config), _report(config)),
        description=f"Round {evidence['round']}: {outcome(evidence)}",
    )


def _report(config: Config) -> str:
    return str(config.folder / "report.html")


def _links(workload: str) -> dict[str, str]:
    """Addresses in Prefect's UI of the latest artifacts of a workload, which are those of its only running round."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

    from tasks.round_page import PARTS

    keys = {f"{workload}-{part}": part for part in PARTS}
    wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=list(keys)))
    with get_client(sync_client=True) as client:
        found = client.read_latest_artifacts(artifact_filter=wanted)
    return {keys[each.key]: f"/artifacts/artifact/{each.latest_id}" for each in found if each.key}


def _version_url(evidence: dict[str, Any], config: Config) -> str | None:
    """The challenger's page in MLflow, where a server is known: the config's own, or that of `make up`."""
    version = (evidence.get("challenger") or {}).get("version")
    tracking = config.tracking_uri if config.tracking_uri.startswith("http") else os.environ.get("FLYWHEEL_MLFLOW_URL")
    return f"{tracking.rstrip('/')}/#/models/{config.name}/versions/{version}" if version and tracking else None
