"""How a family is written in a format: taken from what prometheus_client makes of a sample of it.

So there is nothing here of what tells formats apart. Only two things are known, for they are the same in all:
how the values of labels are escaped and how numbers are written
(https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

import math
import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.metrics.convert import to_metric
from exporter.metrics.family import Column, Family, Histograms, LabelValues
from exporter.state import Histogram

Encode: TypeAlias = Callable[[Collector], bytes]
"""An encoder of prometheus_client: one of a format."""

_LONG = 1e6  # from here on Python would write numbers in another way
_YEAR_2001, _YEAR_2286 = 1e9, 1e10  # Unix times: there are many
_MARK = re.compile("\0([0-9]+)\0")
_ZERO = "0.0"


@dataclass(frozen=True, slots=True)
class Labels:
    """How labels are written: the places of values, and the text around them."""

    places: tuple[int, ...]
    around: tuple[str, ...]

    def write(self, values: LabelValues) -> str:
        """Write the labels with these values."""
        written = [self.around[0]]
        for place, text in zip(self.places, self.around[1:], strict=True):
            value = values[place]
            written += _escape(value) if isinstance(value, str) else str(value), text
        return "".join(written)


@dataclass(frozen=True, slots=True)
class Line:
    """How a sample is written, but for its value."""

    name: str
    labels: Labels

    def write(self, values: LabelValues) -> str:
        """Write all that is before the value."""
        return self.name + self.labels.write(values)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a family is written: what stands above it, and each sample of one row."""

    header: str
    lines: tuple[Line, ...]


class Only(Collector):
    """Gives these metrics, and no others."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Give them."""
        return self._metrics


def lay_out(family: Family, encode: Encode) -> Layout:
    """Find out how a family is written, by having one encoded that has nothing in its place."""
    end = encode(Only()).decode()
    header = encode(Only(_sample(family, rows=[]))).decode().removesuffix(end)
    marks = tuple(f"\0{place}\0" for place in range(len(family.labels)))
    text = encode(Only(_sample(family, rows=[marks]))).decode().removesuffix(end).removeprefix(header)
    return Layout(header, tuple(_line(line) for line in text.removesuffix("\n").split("\n")))


def write_number(value: float) -> str:
    """Write a value."""
    number = float(value)
    return repr(number) if -_LONG < number < _LONG else _write_long(number)


def write_numbers(numbers: "array[float]") -> Iterable[str]:
    """Write values."""
    if not numbers or not math.isfinite(sum(numbers)):
        return map(write_number, numbers)
    most = max(numbers)
    if most < _LONG:  # as nearly always
        return map(repr, numbers)
    if most < _YEAR_2286 and min(numbers) >= _YEAR_2001:
        return [_write_time(digits) for digits in map(repr, numbers)]
    return map(write_number, numbers)


def _write_long(number: float) -> str:
    if _YEAR_2001 <= number < _YEAR_2286:
        return _write_time(repr(number))
    return floatToGoString(number)  # type: ignore[no-untyped-call, no-any-return]


def _write_time(digits: str) -> str:
    """Write a Unix time, of which ten digits come before the point."""
    written = f"{digits[0]}.{digits[1:10]}{digits[11:]}"
    return f"{written if digits[-1] != '0' else written.rstrip('.0')}e+09"


def _sample(family: Family, *, rows: list[LabelValues]) -> Metric:
    content = (
        Histograms(rows=rows, histograms=[Histogram()] * len(rows))
        if isinstance(family.content, Histograms)
        else Column(rows=rows, values=[0.0] * len(rows))
    )
    return to_metric(
        Family(name=family.name, help=family.help, type=family.type, labels=family.labels, content=content)
    )


def _line(line: str) -> Line:
    first, *rest = _MARK.split(line.removesuffix(_ZERO))
    name, brace, around = first.partition("{")
    return Line(name, Labels(tuple(map(int, rest[::2])), (brace + around, *rest[1::2])))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
