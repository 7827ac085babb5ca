"""The metrics by which people compare versions: the right numbers, under names that MLflow takes."""

from __future__ import annotations

import copy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import metrics as metrics_module
from tasks.metrics import metrics, safe
from tests.round_evidence import earlier_round, round_evidence

MLFLOW_NAME = re.compile(r"[/\w.\- :]{1,250}")


def test_metrics_are_rates_and_counts_of_each_tier() -> None:
    evidence = round_evidence(1, "promote")
    found = metrics(evidence)
    for row in evidence["tiers"]:
        name = "/".join(filter(None, (row["tier"], row["stratum"])))
        assert found[f"{name}/accuracy"] == row["challenger_right"] / row["cases"]
        assert found[f"{name}/negative_flips"] == row["negative_flips"]
    assert found["gate/weighted_difference"] == evidence["gate"]["weighted"]["difference"]
    assert found["gate/anchor_low"] == evidence["gate"]["anchor"]["low"]
    assert all(isinstance(value, int | float) for value in found.values())


def test_slices_clusters_and_rules_are_compared_too() -> None:
    found = metrics(round_evidence(2, "reject"))
    assert found["slice/language:fr/accuracy"] == pytest.approx(149 / 257)
    assert found["slice/language:fr/difference"] < -0.3
    assert found["cluster/c001/unseen_fixed_share"] == 14 / 40
    assert found["cluster/c001/cases"] == 40
    assert found["few_shot/unseen/failure/cases"] == 190
    assert found["gate/p_superiority"] > 0.99
    assert 0.10 < found["gate/negative_flip_rate"] < found["gate/negative_flip_upper"]
    assert (found["gate/rules_passed"], found["gate/rules_failed"]) == (3, 5)
    assert found["fixed/new_share"] == 74 / 80
    assert found["flaky/share"] == 5 / 171
    assert found["remembered/accuracy"] == 291 / 330
    assert found["learned/cases"] == 1190
    assert found["judge/kappa"] == 0.71


def test_what_an_earlier_version_did_not_measure_is_left_out() -> None:
    found = metrics(earlier_round())
    assert found["gate/anchor_low"] < 0
    assert not [name for name in found if name.startswith(("slice/", "few_shot/", "remembered/", "judge/", "flaky/"))]


def test_only_so_many_slices_and_clusters_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "SHOWN_SLICES", 2)
    monkeypatch.setattr(metrics_module, "SHOWN_CLUSTERS", 3)
    found = metrics(round_evidence(1, "promote"))
    assert len([name for name in found if name.startswith("slice/") and name.endswith("/accuracy")]) == 2
    assert len([name for name in found if name.startswith("cluster/") and name.endswith("/cases")]) == 3


def test_a_name_does_not_depend_on_what_else_there_is() -> None:
    evidence = round_evidence(1, "promote")
    fewer = copy.deepcopy(evidence)
    fewer["slice_outcomes"] = fewer["slice_outcomes"][1:]
    assert set(metrics(fewer)) < set(metrics(evidence))


def test_plain_slices_keep_their_names() -> None:
    assert safe("plan=gold") == "plan:gold"
    assert safe("c001") == "c001"
    assert safe("plan=a/b").startswith("plan:a_b-")


@given(st.lists(st.text(max_size=300) | st.text(st.sampled_from("a=:/. _-"), max_size=5), unique=True))
def test_names_are_taken_by_mlflow_and_are_never_the_same(texts: list[str]) -> None:
    import posixpath

    names = [f"slice/{safe(text)}/accuracy" for text in texts]
    assert len(set(names)) == len(names)
    assert all(MLFLOW_NAME.fullmatch(name) and posixpath.normpath(name) == name for name in names)
