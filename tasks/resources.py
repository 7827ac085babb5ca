"""Where the files that are not Python live: `sql/` and `configs/`, in a checkout and in an installed wheel."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "_resources"
_CHECKOUT = Path(__file__).parent.parent


def resource(*parts: str) -> Path:
    """Path of a file or folder such as ``resource("sql", "queries")``.

    A wheel carries both folders beside this module; a checkout has them at its top level.

    Raises:
        FileNotFoundError: neither place has it.
    """
    for root in (_PACKAGED, _CHECKOUT):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"{'/'.join(parts)} is neither in {_PACKAGED} nor in {_CHECKOUT}")
