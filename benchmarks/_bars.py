"""How every benchmark closes: a table for people, then one JSON object for programs."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Bar:
    """A measured value beside what is asked of it."""

    name: str
    value: float
    op: Literal["<=", ">="]
    bar: float

    @property
    def holds(self) -> bool:
        """Whether the value is on the right side of the bar."""
        return self.value <= self.bar if self.op == "<=" else self.value >= self.bar


def close(benchmark: str, bars: list[Bar], context: dict[str, Any]) -> None:
    """Print the table and, as the last line, the JSON."""
    table = Table(title=benchmark, title_justify="left")
    for column in ("", "measured", "bar", "holds"):
        table.add_column(column, justify="left" if not column else "right")
    for bar in bars:
        table.add_row(bar.name, f"{bar.value:.2f}", f"{bar.op} {bar.bar:g}", "yes" if bar.holds else "NO")
    Console().print(table)
    rows = [asdict(bar) | {"value": round(bar.value, 3), "holds": bar.holds} for bar in bars]
    print(json.dumps({"benchmark": benchmark, "bars": rows, "context": context}))
