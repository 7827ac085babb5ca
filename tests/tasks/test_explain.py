"""A round on a page: its sentences are there for whole rounds, and nothing breaks where parts are missing."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.config import Config
from tasks.db import State
from tasks.errors import StateError
from tasks.explain import Explanation, as_json, explain, next_steps, sections_of
from tasks.headlines import outcome
from tasks.rounds import abandon
from tests.conftest import Workload, make_workload, traffic
from tests.round_evidence import earlier_round, round_evidence, unfinished_round

OPENED, CLOSED = datetime(2026, 3, 2, 18, 0), datetime(2026, 3, 2, 18, 7)


def row(evidence: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The row of a round as its evidence has it."""
    return {
        "round_id": evidence["round"],
        "requested_by": "person:maria",
        "champion_version": "1",
        "challenger_version": "2",
        "opened_at": OPENED,
        "closed_at": CLOSED,
        "verdict": evidence["verdict"],
        "stage": "closed",
    } | changes


def told(evidence: dict[str, Any], **changes: Any) -> dict[str, list[str]]:
    return {section.title: section.sentences for section in sections_of(evidence, row(evidence, **changes))}


@pytest.mark.parametrize("verdict", ["promote", "hold", "reject"])
def test_a_whole_round_is_told_section_by_section(verdict: str) -> None:
    evidence = round_evidence(2, verdict)
    found = told(evidence)
    assert found["What was asked for"] == [
        "Round 2 was opened on 2026-03-02 18:00 UTC for maria",
        "It was held against v1, the champion then",
        "It was closed on 2026-03-02 18:07 UTC, after 7 min 0 s",
    ]
    assert any("failures fall into 6 classes" in said for said in found["The data"])
    assert any("contradicts another answer" in said for said in found["What was left out"])
    assert any("104 steps and 52 s on cpu" in said for said in found["How it was trained"])
    assert any(said.startswith("Unseen failures right: ") for said in found["What the suite said"])
    assert len(found["What the gate asked"]) > 5
    assert found["The verdict"][0] == outcome(evidence)
    assert any("train 72 s" in said for said in found["What it cost"])


def test_a_verdict_is_told_with_what_spoke_against_it_once() -> None:
    evidence = round_evidence(2, "reject")
    verdict = told(evidence)["The verdict"]
    assert len(verdict) == len(set(verdict)) > 1
    passed = {found["sentence"] for found in evidence["gate"]["findings"] if found["state"] == "passed"}
    assert not passed & {said.removeprefix("- ") for said in verdict[2:]}
    promoted = told(round_evidence(1, "promote"))["The verdict"]
    assert promoted[1].startswith("- production accuracy rises by ")


def test_shadow_and_cost_are_told_where_they_are_on_record() -> None:
    classes = [{"cluster_id": "c001", "label": "billing", "answers": 3}, {"cluster_id": None, "answers": 1}]
    total = {"gpu_seconds": 5400.0, "tokens_trained": 12_000, "tokens_generated": 900, "bytes_kept": 2**21}
    evidence = round_evidence(2, "promote") | {
        "shadow": {"compared": 200, "differ": 4, "classes": classes},
        "cost": {"total": total, "stages": {"train": {"seconds": 70.0}, "gate": {"seconds": 0.1}}},
    }
    found = told(evidence)
    assert found["Before it served"] == [
        "It answered 200 of the latest calls beside the champion; 4 answers differ",
        "- 3 are like the failures of c001 (billing)",
    ]
    assert found["What it cost"] == [
        "Its stages took 70 s: train 70 s",
        "1.50 GPU hours, 12,000 tokens trained on, 900 generated, 2.0 MiB kept",
    ]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"members": 4, "distilled": False}, "tokens; 4 adapters were trained and averaged"),
        ({"members": 3, "distilled": True}, "tokens; 3 adapters taught one what they say together"),
        ({"members": 1, "distilled": True}, "tokens; 1 adapter taught one what they say together"),
        ({"members": 1, "distilled": False}, "trained tokens"),
        ({}, "trained tokens"),
    ],
)
def test_what_an_adapter_was_made_of_is_told(made: dict[str, Any], expected: str) -> None:
    evidence = round_evidence(2, "promote")
    evidence["training"]["stages"] = {"sft": made}
    assert told(evidence)["How it was trained"][1].endswith(expected)


def test_what_is_missing_is_left_out() -> None:
    evidence = unfinished_round()
    found = {title: said for title, said in told(evidence, closed_at=None, stage="split").items() if said}
    assert found["What was asked for"][-1] == "It is not finished: the stage that comes next is split"
    assert not {"How it was trained", "What the suite said", "What the gate asked", "The verdict"} & found.keys()
    assert told(evidence | {"verdict": None})["The verdict"] == ["It was given up, without a verdict"]


def test_a_round_of_an_earlier_version_is_told() -> None:
    found = told(earlier_round())
    assert any(said.startswith("✓ Would production be better off?") for said in found["What the gate asked"])
    assert found["The verdict"][0].endswith("in place of base")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_missing_or_odd_part_breaks_it(data: st.DataObject) -> None:
    """Evidence is whatever some version wrote: any part may be absent, null or of another shape."""
    evidence = copy.deepcopy(round_evidence(2, data.draw(st.sampled_from(["promote", "hold", "reject"]))))
    parts = sorted(evidence.keys() - {"round", "verdict"})
    for part in data.draw(st.lists(st.sampled_from(parts), max_size=8)):
        odd = data.draw(st.sampled_from(["absent", None, {}, []]))
        if odd == "absent":
            evidence.pop(part, None)
        else:
            evidence[part] = odd
    for section in sections_of(evidence, row(evidence)):
        assert all(isinstance(said, str) and said for said in section.sentences)


def words(command: str) -> str:
    return " ".join(command.split()[1:3])


@pytest.mark.parametrize(
    ("changes", "champion", "expected"),
    [
        ({"stage": "approve", "closed_at": None}, "1", ["approve 2", "reject 2"]),
        ({"stage": "train", "closed_at": None}, "1", ["run run_round", "abandon"]),
        ({}, "2", ["gate replay", "lineage 2", "promote 1", "history"]),
        ({}, "1", ["gate replay", "lineage 2", "promote 2", "history"]),
        ({"challenger_version": None}, "1", ["gate replay", "history"]),
    ],
)
def test_what_to_type_next_fits_where_the_round_stands(
    changes: dict[str, Any], champion: str, expected: list[str]
) -> None:
    evidence = round_evidence(2, "promote")
    assert [words(step.command) for step in next_steps(evidence, row(evidence, **changes), champion)] == expected


def closed_round(workload: Workload) -> Config:
    workload.collect("a", traffic(failures=6, successes=4, given=4))
    workload.close(workload.to_split())
    return workload.config


def test_a_round_of_a_state_is_told_with_what_came_after(workload: Workload) -> None:
    config = closed_round(workload)
    with State(config.database).transaction() as tx:
        tx.run(
            "insert_notice", kind="budget", text="round 1 is over its ceiling", round_id=1, version=None,
            created_at=datetime(2026, 3, 5),
        )  # fmt: skip
    found: Explanation = explain(config, 1, " --config x.yaml")
    assert found.sections[-1].title == "What happened since"
    assert found.sections[-1].sentences == ["2026-03-05 00:00 UTC: Round 1 is over its ceiling", "base serves now"]
    assert found.next[-1].command == "flywheel history --config x.yaml"
    assert json.loads(json.dumps(as_json(found)))["sections"][0]["title"] == "What was asked for"


def test_a_version_that_was_taken_back_says_so_on_its_rounds_page(workload: Workload) -> None:
    config = closed_round(workload)
    with State(config.database).transaction() as tx:
        tx.run("set_challenger", round_id=1, version="1")
        for day, (before, after) in enumerate([(None, "1"), ("1", None)], start=4):
            tx.run(
                "insert_promotion", event="moved", evidence_sha256=None, move_id=f"m{day}", from_version=before,
                to_version=after, moved_by="person:jo", reason="why not", round_id=None,
                created_at=datetime(2026, 3, day),
            )  # fmt: skip
    assert explain(config, 1).sections[-1].sentences == [
        "2026-03-04 00:00 UTC: Jo made v1 the champion, in place of base: why not",
        "2026-03-05 00:00 UTC: Jo rolled the champion back from v1 to base: why not",
        "base serves now",
    ]


def test_a_round_that_was_given_up_is_told(workload: Workload) -> None:
    config = closed_round(workload)
    workload.collect("b", traffic(failures=3, prefix="x"))
    workload.open()
    abandon(config, print)
    (verdict,) = [section for section in explain(config, 2).sections if section.title == "The verdict"]
    assert verdict.sentences == ["It was given up, without a verdict"]


def test_a_round_that_is_not_there_is_named(workload: Workload, tmp_path: Path) -> None:
    config = closed_round(workload)
    with pytest.raises(StateError, match=r"tickets has no round 9; its rounds are 1 to 1 \(`flywheel status`"):
        explain(config, 9)
    with pytest.raises(StateError, match="does not exist yet"):
        explain(make_workload(tmp_path / "other").config, 1)
