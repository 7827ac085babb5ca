"""One correction round: production failures in, a gated and registered model version out.

    flywheel run run_round --config configs/tickets.yaml

A round that was interrupted is picked up at the stage where it stopped. Where nothing new has come in, or a round waits
for a person, the flow ends after the first step, without loading a model library.
"""

from typing import Any

from prefect import flow, get_run_logger

from flows.approval import mend_serving, resumed, settled, wait
from flows.artifacts import publish_blend, publish_clusters, publish_shadow, publish_verdict
from flows.collect_failures import collect_task
from flows.logs import shorten_known_errors
from flows.names import name_of_run, rename_run, round_title
from flows.round_page import publish_round
from tasks.approve import waiting
from tasks.budget import hold_before_start, next_stage
from tasks.case_scores import check_scorer
from tasks.config import Config, RoundRequest, check_base_folder, check_base_model, load_config
from tasks.disk import naming_full_disk
from tasks.prune import prune_after_round
from tasks.requests import is_heavy
from tasks.rounds import Round, has_work, keep_lease, open_or_resume, read_evidence


@flow(name="run_round", flow_run_name=lambda: name_of_run("round"))
def run_round(request: RoundRequest) -> dict[str, Any] | None:
    """The evidence of the round that was run, or None where there was nothing to do."""
    shorten_known_errors()
    config = load_config(request.config)
    if (decided := resumed(config)) is not None:
        publish_round(decided, config)
        return decided
    check_base_folder(config)
    collect_task(config)
    mend_serving(config)
    if (ended := settled(config)) is not None:
        publish_round(ended, config)
    if (asked := waiting(config)) is not None:
        return wait(config, asked)
    minimum = request.min_corrections or config.blend.min_corrections
    if not has_work(config, minimum):
        get_run_logger().info("Fewer than %d new corrections and retractions: no round is opened", minimum)
        return ended
    check_base_model(config)
    check_scorer(config)
    if (held := hold_before_start(config, request.requested_by)) is not None:
        return read_evidence(config, held)[0]
    round_ = open_or_resume(config, request.requested_by)
    get_run_logger().info("Round %d of %s, against champion %s", round_.round_id, config.name, round_.champion)
    rename_run(round_title(config.name, round_.round_id, request.requested_by))
    with keep_lease(config, round_):
        asked = None
        while asked is None and (stage := next_stage(config, round_, get_run_logger().warning)) != "closed":
            run_where_asked(stage, config, round_, request)
            asked = waiting(config) if stage == "approve" else None
    evidence = read_evidence(config, round_.round_id)[0]
    publish_round(evidence, config)
    if asked is not None:
        return wait(config, asked)
    prune_after_round(config, get_run_logger().warning)
    return evidence


def run_where_asked(stage: str, config: Config, round_: Round, request: RoundRequest) -> None:
    """Run one stage in this process, or, a heavy one, where the request says."""
    if request.heavy_stages == "gpu" and is_heavy(stage, config):
        from flows.gpu_pool import run_in_pool

        run_in_pool(stage, config, request.config, round_)
    else:
        run_stage(stage, config, round_)


def run_stage(stage: str, config: Config, round_: Round) -> None:
    """Run one stage, which moves the round on, and publish what it found to Prefect's UI."""
    from prefect import Task

    from tasks import approve, blend, cluster, gate, promote, register, regress, screen, shadow, split, train

    stages: dict[str, Task[[Config, Round], Any]] = {
        "screen": screen.screen_task,
        "cluster": cluster.cluster_task,
        "split": split.split_task,
        "blend": blend.blend_task,
        "train": train.train_task,
        "regress": regress.regress_task,
        "gate": gate.gate_task,
        "register": register.register_task,
        "shadow": shadow.shadow_task,
        "approve": approve.approve_task,
        "promote": promote.finish_task,
    }
    named = stages[stage].with_options(task_run_name=f"{stage}, round {round_.round_id}")
    with naming_full_disk(config.home):
        _ = named(config, round_)
    publish = {
        "cluster": publish_clusters, "blend": publish_blend, "gate": publish_verdict, "shadow": publish_shadow,
    }.get(stage)  # fmt: skip
    if publish is not None:
        publish(read_evidence(config, round_.round_id)[0])
