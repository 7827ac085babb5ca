"""What every source is: something that yields what is new since its cursors, part by part, as rows of JSON text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Part:
    """A piece of a source that has changed: a file, the rows of a query, the traces of an experiment.

    `name` is what a person finds its rows by. `cursor` (JSON) is where the source stands once all of `batches` have
    been stored; it is not kept when any of them fails. `whole` says that everything that the part holds is read, and
    not only what came after a cursor. Each batch is a frame of `row` (Int64, from 1: the line of a file, the place in a
    result) and `raw` (String: the row as one JSON object, untrusted and unchecked; Binary where it is no UTF-8 text).
    Batches are pulled lazily and hold some ten thousand rows each, or more. `share_before` is the share of what the
    source pulls that lies in earlier parts, where it is known.
    """

    name: str
    cursor: str
    batches: "Iterator[pl.DataFrame]"
    whole: bool = True
    share_before: float = 0.0


class Source(Protocol):
    """Pulls what is new. Raises SourceError, with the source's name in it, where it cannot be read."""

    name: str

    def pull(self, cursors: Mapping[str, str]) -> Iterator[Part]:
        """Parts that are new or have changed, given the cursor of each part that was stored before, by its name."""
        ...
