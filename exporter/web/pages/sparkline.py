"""The last probes of an endpoint as a small line, drawn here so that a browser needs no script. Pure.

Path data as in https://www.w3.org/TR/SVG2/paths.html; colours are the style sheet's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 120, 24
_MARGIN = 2
_SLOTS = 30
_MISS_HEIGHT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparkline:
    """Path data of the line and of the failures below it, and what both say in words."""

    line: str
    misses: str
    label: str


def sparkline(seconds: Sequence[float]) -> Sparkline | None:
    """Draw round trips, oldest first and NaN for a failure; the newest is at the right. Nothing for none."""
    values = seconds[-_SLOTS:]
    if not values:
        return None
    good = [value for value in values if not math.isnan(value)]
    top = max(good, default=0.0)
    points = [
        (_x(len(values) - number), None if math.isnan(value) else _y(value, top))
        for number, value in enumerate(values, start=1)
    ]
    return Sparkline(
        line="".join(_line(points)),
        misses="".join(f"M{x} {HEIGHT}v-{_MISS_HEIGHT}" for x, y in points if y is None),
        label=_label(len(values), good),
    )


def _x(age: int) -> str:
    """Give the place of a probe, 0 being the newest."""
    return _short(WIDTH - _MARGIN - age * (WIDTH - 2 * _MARGIN) / (_SLOTS - 1))


def _y(value: float, top: float) -> str:
    """Give the height of a value above a line that starts at 0, so that small changes look small."""
    return _short(HEIGHT - _MARGIN - (value / top if top else 0.0) * (HEIGHT - 2 * _MARGIN))


def _short(coordinate: float) -> str:
    return f"{coordinate:.1f}".removesuffix(".0")


def _line(points: Sequence[tuple[str, str | None]]) -> Iterator[str]:
    """Join neighbours; a failure breaks the line, and a point alone is a stroke of no length: a dot."""
    drawing = False
    for number, (x, y) in enumerate(points):
        if y is None:
            drawing = False
            continue
        alone = not drawing and (number + 1 == len(points) or points[number + 1][1] is None)
        yield f"{'L' if drawing else 'M'}{x} {y}{'h0' if alone else ''}"
        drawing = True


def _label(total: int, good: Sequence[float]) -> str:
    failed = total - len(good)
    words = ["the last probe" if total == 1 else f"the last {total} probes"]
    if good:
        low, high = (f"{value * 1000:.2f}" for value in (min(good), max(good)))
        words.append(f"{low} ms" if low == high else f"{low} to {high} ms")
    words += [f"{failed} failed"] if failed else []
    return ", ".join(words)
