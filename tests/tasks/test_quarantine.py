"""What could not be taken can be looked at, mended and read again; the books stay right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.errors import StateError
from tasks.quarantine import forget_cursors, quarantined, quarantined_row
from tests.conftest import Workload, inference, lines, quarantining
from tests.tasks.test_collect import counts, reconciles


@pytest.fixture
def broken(tmp_path: Path) -> Workload:
    workload = quarantining(tmp_path)
    workload.collect("a", f"nonsense\n{lines([inference('i1')])}" + '{"record": "inference", "x": "a@b-mail.de"}\n')
    return workload


def test_what_lies_there_is_listed_with_its_place(broken: Workload) -> None:
    first, second = quarantined(broken.config)
    assert (first["part"], first["row"], second["row"]) == (str(broken.folder / "traffic" / "a.jsonl"), 1, 3)
    assert "raw" not in first


def test_one_row_is_shown_whole_and_redacted(broken: Workload) -> None:
    row = quarantined_row(broken.config, quarantined(broken.config)[1]["quarantine_id"][:10])
    assert row["raw"].startswith('{"record": "inference", "x": "')
    assert "a@b-mail.de" not in row["raw"]


@pytest.mark.parametrize(("prefix", "problem"), [("zz", "no row"), ("", "more than one row")])
def test_an_id_that_names_no_single_row_is_refused(broken: Workload, prefix: str, problem: str) -> None:
    with pytest.raises(StateError, match=problem):
        quarantined_row(broken.config, prefix)


def test_a_mended_row_leaves_quarantine(broken: Workload) -> None:
    mended = broken.collect("a", lines([inference("i0"), inference("i1")]))
    assert counts(mended) == (2, 1, 1, 0)
    assert quarantined(broken.config) == []
    assert reconciles(broken)


def test_retry_reads_what_has_not_changed(broken: Workload) -> None:
    assert broken.collect().read == 0
    assert forget_cursors(broken.config) == 1
    assert counts(broken.collect()) == (3, 0, 3, 0)
    assert len(quarantined(broken.config)) == 2
    assert reconciles(broken)


def test_the_text_expires_and_the_books_stay(broken: Workload) -> None:
    from tasks.db import State

    later = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=31)
    with State(broken.config.database).transaction() as tx:
        assert tx.run("expire_quarantined_rows", moment=later) == 2
    assert quarantined_row(broken.config, quarantined(broken.config)[0]["quarantine_id"])["raw"] is None
    assert reconciles(broken)


def test_nothing_in_quarantine_is_nothing_to_read_again(tmp_path: Path) -> None:
    workload = quarantining(tmp_path)
    workload.collect("a", [inference("i1")])
    assert forget_cursors(workload.config) == 0
