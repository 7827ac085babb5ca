"""Rows of a query, from any database that SQLAlchemy reaches, as far as they are beyond the last one seen.

A pull asks first how far the cursor column has got, then reads up to there, in its order, through a server-side cursor.
The next pull begins `overlap` before that, so that rows which were committed late are seen; those that were read
before are known by their content, and a table in which nothing has changed gives no part at all.

Missed are rows that are committed later than `overlap` after the rows around them, and, where the query binds
`:cursor` itself, rows without a value in the cursor column.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from tasks.errors import SourceError
from tasks.records import printable
from tasks.secrets import find_secret, hide, missing
from tasks.sources.base import Part
from tasks.sources.settings import SqlSourceConfig

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import URL, Connection, Select
    from sqlalchemy.sql.elements import ColumnElement

PART = "query"
SECRET = "***"
OVERLAP = 300.0
# What is found where no driver is named is not what is installed.
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}

Bound = datetime | date | int | float | Decimal | str
_READ: dict[str, Callable[[Any], Bound]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "str": str,
}


@dataclass(frozen=True)
class Seen:
    """How far the cursor column had got, and how many rows lay within the overlap before that."""

    value: Bound
    rows: int

    def dump(self, column: str) -> str:
        """As JSON, with the value's type and the column that it is of."""
        value = self.value.isoformat() if isinstance(self.value, date) else str(self.value)
        return json.dumps({"column": column, "type": _type(self.value), "value": value, "rows": self.rows})


class SqlSource:
    """Pulls one part, `query`: its rows are JSON objects by column name."""

    def __init__(self, config: SqlSourceConfig) -> None:
        self.name = config.name
        self._config = config

    def pull(self, cursors: Mapping[str, str]) -> Iterator[Part]:
        """The rows beyond the cursor; nothing where there are none, or none but those of the last pull.

        Raises:
            SourceError: the database cannot be reached, or the query cannot be run as it is.
        """
        seen = self._load(cursors.get(PART))
        after = self._config.start if seen is None else self._before(seen.value)
        with self._connected() as connection:
            found = self._look(connection, after)
        if found is not None and found != seen:
            batches = self._batches(after, found.value)
            yield Part(PART, found.dump(self._config.cursor), batches, whole=seen is None)

    def _load(self, cursor: str | None) -> "Seen | None":
        """Where the last pull ended; None for the first one, and for one that went by another column."""
        stored = json.loads(cursor) if cursor else {}
        if stored.get("column") != self._config.cursor:
            return None
        return Seen(_READ[stored["type"]](stored["value"]), stored["rows"])

    def _before(self, value: Bound) -> Bound:
        """The cursor's value from which rows are read again."""
        overlap = self._config.overlap
        if isinstance(value, str):
            if overlap:
                raise self._error(
                    f"overlap: the cursor column {self._config.cursor} holds text, from which nothing can be "
                    f"subtracted; set overlap: 0, or let the query cast it to a time or a number"
                )
            return value
        step = OVERLAP if overlap is None else overlap
        if isinstance(value, datetime):
            return value - timedelta(seconds=step)
        if isinstance(value, date):
            return value - timedelta(days=-(-step // 86_400))
        if isinstance(value, Decimal):
            return value - Decimal(str(step))
        return value - (int(step) if isinstance(value, int) else step)

    def _look(self, connection: "Connection", after: Bound | None) -> "Seen | None":
        """How far the cursor column has got beyond `after`, and how many rows the next pull will read again."""
        from sqlalchemy import func, or_

        column, select = self._select(after)
        wanted = [func.max(column), func.count(), func.count(column)]
        beyond = select.where(or_(column > after, column.is_(None))) if self._adds_bound(after) else select
        newest, rows, filled = connection.execute(beyond.with_only_columns(*wanted)).one()
        if rows > filled:
            raise self._error(
                f"{rows - filled} rows have no value in the cursor column {self._config.cursor}, and would be lost; "
                f"give them one, leave them out in the query, or choose another column"
            )
        if newest is None:
            return None
        value = self._bound(newest)
        before = self._before(value)
        column, select = self._select(before)
        window = select.where(column > before, column <= value).with_only_columns(func.count())
        return Seen(value, connection.execute(window).scalar_one())

    def _bound(self, value: Any) -> Bound:
        if isinstance(value, Bound) and not isinstance(value, bool):
            return value
        raise self._error(
            f"the cursor column {self._config.cursor} holds {type(value).__name__} values; choose a column of times "
            f"or numbers, or let the query cast it to one"
        )

    def _adds_bound(self, after: Bound | None) -> bool:
        return after is not None and not self._config.binds_cursor

    def _select(self, after: Bound | None) -> "tuple[ColumnElement[Any], Select[Any]]":
        """The cursor column and a selection of all columns of the query, which is a table of its own in it."""
        import sqlalchemy as sa

        # The line's end closes a comment, if the query ends with one.
        query = sa.text(f"{self._config.query}\n")
        if self._config.binds_cursor:
            query = query.bindparams(cursor=after)
        rows = query.columns(sa.column(self._config.cursor)).subquery("source_rows")
        return rows.c[self._config.cursor], sa.select(sa.literal_column("*")).select_from(rows)

    def _batches(self, after: Bound | None, until: Bound) -> "Iterator[pl.DataFrame]":
        column, select = self._select(after)
        if self._adds_bound(after):
            select = select.where(column > after)
        ordered = select.where(column <= until).order_by(column)
        size = self._config.batch_rows
        with self._connected() as connection:
            result = connection.execution_options(stream_results=True, yield_per=size).execute(ordered)
            names = self._names(list(result.keys()))
            first = 1
            for rows in result.partitions(size):
                yield _frame(first, [self._json(names, row) for row in rows])
                first += len(rows)

    def _names(self, names: list[str]) -> list[str]:
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise self._error(f"the query gives two columns named {doubled[0]}; rename one with AS")
        return names

    def _json(self, names: list[str], row: Sequence[Any]) -> str:
        values = dict(zip(names, row, strict=True))
        try:
            return orjson.dumps(values, default=_plain).decode()
        except TypeError:
            name = next(name for name, value in values.items() if not _is_json(value))
            raise self._error(
                f"column {name} holds a {type(values[name]).__name__} value, which JSON has no form for; cast it to "
                f"text in the query, or leave it out"
            ) from None

    @contextmanager
    def _connected(self) -> "Iterator[Connection]":
        """A connection for reading; whatever goes wrong on it is a SourceError."""
        from sqlalchemy import create_engine, exc, pool

        url = self._url()
        try:
            engine = create_engine(url, poolclass=pool.NullPool)
        except (exc.ArgumentError, ImportError) as error:
            raise self._error(f"{_hidden(url)}: {_line(error, url)}; correct the URL, or install its driver") from None
        try:
            connection = engine.connect()
        except exc.SQLAlchemyError as error:
            raise self._error(
                f"cannot connect to {_hidden(url)}: {_line(error, url)}; see that it runs, and that host, user and "
                f"password are right"
            ) from None
        try:
            with connection:
                yield connection
        except exc.SQLAlchemyError as error:
            raise self._error(
                f"the query failed: {_line(error, url)}; correct query and cursor ({self._config.cursor})"
            ) from None

    def _url(self) -> "URL":
        from sqlalchemy import exc, make_url

        text = self._config.url
        if text is None:
            name = str(self._config.url_env)
            text = find_secret(name)
            if text is None:
                raise self._error(missing(name, "postgresql://USER:PASSWORD@HOST/DATABASE"))
        try:
            url = make_url(text)
        except (exc.ArgumentError, ValueError):
            where = "url" if self._config.url else f"what url_env names ({self._config.url_env})"
            raise self._error(
                f"{where} holds no database URL; write DIALECT://USER@HOST/DATABASE, and in a "
                f"user or password %40 for @, %3A for :, %2F for /"
            ) from None
        return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))

    def _error(self, problem: str) -> SourceError:
        return SourceError(f"source {self.name}: {problem}")


def _type(value: Bound) -> str:
    """The name under which a cursor's value is stored; a datetime is a date too, so that the order matters."""
    kinds = (datetime, date, int, float, Decimal)
    return next((kind.__name__ for kind in kinds if isinstance(value, kind)), "str")


def _frame(first: int, rows: list[str]) -> "pl.DataFrame":
    import polars as pl

    numbers = pl.Series("row", range(first, first + len(rows)), dtype=pl.Int64)
    return pl.DataFrame([numbers, pl.Series("raw", rows, dtype=pl.String)])


def _plain(value: Any) -> Any:
    """What JSON writes for the types of databases that it does not know; a decimal keeps its digits."""
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value)) if value.is_finite() else None
    if isinstance(value, time):
        return value.isoformat()
    if isinstance(value, _ADDRESSES):
        return str(value)
    raise TypeError


_ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)


def _is_json(value: Any) -> bool:
    try:
        orjson.dumps(value, default=_plain)
    except TypeError:
        return False
    return True


def _hidden(url: "URL") -> str:
    """The URL as it may be shown: without its password, wherever that stands."""
    return url.difference_update_query(filter(_is_secret, url.query)).render_as_string(hide_password=True)


def _is_secret(key: str) -> bool:
    return bool(re.search(r"pass|pwd|secret|token|key", key, re.IGNORECASE))


def _line(error: Exception, url: "URL") -> str:
    """The first line of what the driver says, without the password."""
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    secrets = [url.password, *(value for key, value in url.query.items() if _is_secret(key))]
    line = hide(text.splitlines()[0])
    for secret in filter(None, map(str, secrets)):
        line = line.replace(secret, SECRET)
    return printable(line)
