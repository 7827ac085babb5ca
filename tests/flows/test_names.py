"""What runs are called."""

from pathlib import Path

import pytest

from flows.names import asked_for, purpose, round_title, stage_title
from tasks.config import FlowRequest
from tasks.requests import StageRequest


@pytest.mark.parametrize(
    ("requested_by", "expected"),
    [
        ("schedule:nightly", "nightly"),
        ("event:enough-corrections", "enough corrections"),
        ("person:maria", "for maria"),
        ("person:cli", "from the command line"),
        ("schedule", "schedule"),
        ("person:", "person"),
        ("maria", "maria"),
    ],
)
def test_why_a_run_was_started(requested_by: str, expected: str) -> None:
    assert purpose(requested_by) == expected


def test_names_say_workload_and_purpose(tmp_path: Path) -> None:
    request = FlowRequest(config="configs/tickets.yaml", requested_by="schedule:hourly")
    assert asked_for("collect", request) == "tickets: collect, hourly"
    assert round_title("tickets", 3, "person:maria") == "tickets: round 3, for maria"
    wrong = FlowRequest(config=str(tmp_path / "gone.yaml"), requested_by="schedule:hourly")
    assert asked_for("collect", wrong) == "gone: collect, hourly"


def test_a_stage_says_its_round() -> None:
    request = StageRequest(
        config="configs/tickets.yaml", stage="train", round_id=3, round_key="k", pinned_seq=1, lease_token=2
    )
    assert stage_title(request) == "tickets: train, round 3"
    assert (request.round.round_id, request.round.lease_token, request.round.champion_version) == (3, 2, None)
