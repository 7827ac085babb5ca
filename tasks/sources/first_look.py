"""The first look at a source: a config that fits none of its rows is refused, before they all end in quarantine.

A row that cannot be taken is the row's fault once others of its source have been. Before that, where not one of the
first rows can, it is more likely that `records` names the wrong keys, or is missing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from tasks.errors import SourceError
from tasks.records import printable
from tasks.sources.base import Part, Source
from tasks.sources.mapping import parse_row

if TYPE_CHECKING:
    import polars as pl

# One row says nothing about the config.
LEAST = 2
# So many rows of which none fits need no others beside them.
ENOUGH = 10_000
SHOWN_KEYS = 10


class FirstLook:
    """A source, and the mapping of its rows; None where they are records already."""

    def __init__(self, source: Source, mapping: Callable[[str], list[str]] | None) -> None:
        self.name = source.name
        self._source = source
        self._mapping = mapping

    def pull(self, cursors: Mapping[str, str]) -> Iterator[Part]:
        """The source's parts.

        Raises:
            SourceError: nothing was stored from the source before, and of the first rows none fits the config.
        """
        parts = self._source.pull(cursors)
        if not cursors:
            for part in islice(parts, 1):
                yield replace(part, batches=self._checked(part))
        yield from parts

    def _checked(self, part: Part) -> Iterator["pl.DataFrame"]:
        """The part's batches; the first ones are held back until a row fits."""
        held, fits, misfits, first = [], False, 0, ""
        for batch in part.batches:
            held.append(batch)
            fits, more, found = self._look(batch)
            misfits, first = misfits + more, first or found
            if fits or misfits >= ENOUGH:
                break
        if not fits and misfits >= LEAST:
            hint = "" if self._mapping else " (say under records what its rows hold)"
            raise SourceError(
                f"source {self.name}: none of the first {misfits} rows of {part.name} can be taken. {first}. Correct "
                f"the source{hint} in the config; nothing was stored"
            )
        yield from held
        yield from part.batches

    def _look(self, batch: "pl.DataFrame") -> tuple[bool, int, str]:
        """Whether a row fits; else how many do not, and why the first does not.

        Rows that are no JSON objects say nothing about the config.
        """
        misfits, first = 0, ""
        for row, raw in batch.iter_rows():
            try:
                keys = parse_row(raw)
            except ValueError:
                continue
            reason = self._misfit(raw, keys)
            if reason is None:
                return True, misfits, first
            misfits += 1
            first = first or f"Row {row}: {reason}; its keys are {_shown(keys)}"
        return False, misfits, first

    def _misfit(self, raw: str, row: dict[str, Any]) -> str | None:
        """Why the row does not fit; None where it does."""
        if self._mapping is None:
            return None if "record" in row else "it does not say which kind of record it is"
        try:
            self._mapping(raw)
        except ValueError as error:
            return str(error)
        return None


def _shown(row: dict[str, Any]) -> str:
    keys = [printable(key[:40]) for key in islice(row, SHOWN_KEYS)]
    return ", ".join(keys) + (", ..." if len(row) > SHOWN_KEYS else "")
