"""What a round found, as artifacts in Prefect's UI: clusters, blend, flips and verdict."""

from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact


def publish_clusters(evidence: dict[str, Any]) -> None:
    """The ranked clusters of the round's failures, as a table, how they changed, and how its inputs have drifted."""
    from tasks.headlines import cluster_changes, drift_sentence, growing_clusters
    from tasks.markdown import clusters_table, escape

    said = [*cluster_changes(evidence), drift_sentence(evidence), *growing_clusters(evidence)]
    create_table_artifact(
        key=f"{evidence['workload']}-clusters",
        table=clusters_table(evidence),
        description=". ".join(
            [f"Failure classes of round {evidence['round']}, by impact", *(escape(each, 300) for each in said if each)]
        ),
    )


def publish_blend(evidence: dict[str, Any]) -> None:
    """What the snapshot is made of, as a table and as its card."""
    from tasks.headlines import contradictions, proposals
    from tasks.markdown import blend_table
    from tasks.snapshot_card import card_markdown

    made = f"Training rows of round {evidence['round']}, snapshot {evidence['snapshot']['hash'][:12]}"
    create_table_artifact(
        key=f"{evidence['workload']}-blend",
        table=blend_table(evidence),
        description=". ".join([made, *contradictions(evidence), *proposals(evidence)]),
    )
    create_markdown_artifact(
        key=f"{evidence['workload']}-snapshot",
        markdown=card_markdown(evidence),
        description=f"Card of the snapshot of round {evidence['round']}",
    )


def publish_shadow(evidence: dict[str, Any]) -> None:
    """The verdict once more, with what the challenger answered beside the champion; nothing where no shadow was run."""
    if "shadow" in evidence:
        publish_verdict(evidence)


def publish_verdict(evidence: dict[str, Any]) -> None:
    """The verdict with its reasons, and the flips, negative ones first."""
    from tasks.headlines import count, headline
    from tasks.markdown import flips_table, verdict_markdown

    numbers = headline(evidence)
    create_markdown_artifact(
        key=f"{evidence['workload']}-verdict",
        markdown=verdict_markdown(evidence),
        description=f"Verdict of round {evidence['round']}",
    )
    create_table_artifact(
        key=f"{evidence['workload']}-flips",
        table=flips_table(evidence),
        description=f"Flips of round {evidence['round']}: {count(numbers.negative_flips)} right before and wrong now, "
        f"{count(numbers.fixes)} fixed",
    )
