"""What a benchmark found: rows with a target or without, and how they are shown. Pure; measures nothing."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_HEADINGS = ("what", "unit", "ours", "peer", "ratio", "target", "met")
_MARKS = {None: "", True: "yes", False: "NO"}


class CannotCompareError(Exception):
    """A comparison that could not be done as it says, so that it has no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison. The target, at most or at least, is for the ratio if there is a peer, else for ours."""

    group: str
    what: str
    unit: str
    ours: float
    peer: float | None = None
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How often the peer's number goes into ours; None without a peer, infinite where its number is 0."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.peer else math.inf

    @property
    def target(self) -> str:
        """What is to be reached, as a person reads it; empty where nothing is."""
        if self.most is not None:
            return f"<= {_number(self.most)}"
        return "" if self.least is None else f">= {_number(self.least)}"

    @property
    def met(self) -> bool | None:
        """Whether the target is reached, None without one."""
        judged = self.ours if self.ratio is None else self.ratio
        if self.most is not None:
            return judged <= self.most
        return None if self.least is None else judged >= self.least

    def as_json(self) -> dict[str, Any]:
        """Give what the JSON file holds of it."""
        ratio = None if self.ratio is None or math.isinf(self.ratio) else self.ratio
        return asdict(self) | {"ratio": ratio, "met": self.met}


def table(rows: Iterable[Row]) -> str:
    """Lay rows out in columns, those of each group under its name."""
    lines, cells, group = list[str](), list[tuple[str, ...]]([_HEADINGS]), ""
    for row in rows:
        if row.group != group:
            group = row.group
            cells.append((f"[{group}]", *[""] * (len(_HEADINGS) - 1)))
        cells.append(_cells(row))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first, unit, *rest = line
        padded = [cell.rjust(width) for cell, width in zip(rest, widths[2:], strict=True)]
        lines.append("  ".join((first.ljust(widths[0]), unit.ljust(widths[1]), *padded)).rstrip())
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    peer, ratio = ("" if value is None else _number(value) for value in (row.peer, row.ratio))
    return (row.what, row.unit, _number(row.ours), peer, ratio, row.target, _MARKS[row.met])


def _number(value: float) -> str:
    """Show three digits that count, or all of those before the point."""
    if not value or math.isinf(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest value that so many percent of them do not exceed (the nearest rank)."""
    if not values:
        raise CannotCompareError("there is nothing to take a percentile of")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]
