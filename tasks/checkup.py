"""A finding of `flywheel doctor`: what was looked at, how it stands, and how to mend it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """`found` says what there is; `mend` is a command to type, or what else to do, and empty where nothing is."""

    name: str
    state: Literal["ok", "warning", "wrong"]
    found: str
    mend: str = ""


def ok(name: str, found: str) -> Check:
    """Nothing is to be done."""
    return Check(name, "ok", found)


def warning(name: str, found: str, mend: str) -> Check:
    """Rounds run, and somebody should look all the same."""
    return Check(name, "warning", found, mend)


def wrong(name: str, found: str, mend: str) -> Check:
    """A round would fail, or what is on record is not what is there."""
    return Check(name, "wrong", found, mend)
