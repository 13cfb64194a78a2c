"""What a metric family is here, how families are made, and the label names that many of them share.

Plain values, of which `text` makes a page and `convert` the objects of prometheus_client. What a family holds
comes in one of four shapes, so that whoever writes it can keep what does not change from one scrape to the
next: a column of values, one that hardly ever changes, blocks that follow from little, histograms.
"""

import enum
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from exporter.state import Histogram

LabelValues: TypeAlias = tuple[str | int, ...]
"""The values of the labels, in the order of the names; hosts and endpoints are such as they are."""

Sample: TypeAlias = tuple[LabelValues, float]

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")

ZONE = ("dns_zone",)
ZONE_SERVER = ("dns_zone", "dns_server")
RECORD = ("dns_zone", "target", "port")
TARGET_SERVER = ("target", "dns_server")
HOST = ("target", "port")
ENDPOINT = ("target", "port", "address")
CLIENT_SERVER = ("client", "dns_server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One value for each row; where it is None there is no sample.

    Families that have the same labels share one list of rows: then its labels are looked up once for all.
    """

    rows: Sequence[LabelValues]
    values: Sequence[float | None]

    def samples(self) -> Iterator[Sample]:
        """Give the samples."""
        for labels, value in zip(self.rows, self.values, strict=True):
            if value is not None:
                yield labels, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A column that is not even worked out while its `basis` equals that of the time before."""

    basis: object
    column: Callable[[], Column]

    def samples(self) -> Iterator[Sample]:
        """Give the samples."""
        return self.column().samples()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks(Generic[K, S]):
    """Several samples for each part, which is a key and a subject.

    A subject whose `basis` equals that of the one that had the key before has the samples that that one had:
    they are written only once.
    """

    parts: Sequence[tuple[K, S]]
    expand: Callable[[K, S], Iterable[Sample]]
    basis: Callable[[S], object]

    def samples(self) -> Iterator[Sample]:
        """Give the samples."""
        for key, subject in self.parts:
            yield from self.expand(key, subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histograms:
    """A histogram for each row."""

    rows: Sequence[LabelValues]
    histograms: Sequence[Histogram]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric family: its name, as its series have it, what it means, and its samples."""

    name: str
    help: str
    type: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    content: Column | Settled | Blocks[Any, Any] | Histograms


def gauge(name: str, help_text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Family:
    """Make a family of gauges."""
    return gauges(name, help_text, labels, *_transposed(samples))


def gauges(
    name: str,
    help_text: str,
    labels: Sequence[str],
    rows: Sequence[LabelValues],
    values: Sequence[float | None],
) -> Family:
    """Make a family of gauges of a column."""
    column = Column(rows=rows, values=values)
    return Family(name=name, help=help_text, type="gauge", labels=tuple(labels), content=column)


def counter(name: str, help_text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Family:
    """Make a family of counters."""
    return replace(gauge(name, help_text, labels, samples), type="counter")


def counters(
    name: str,
    help_text: str,
    labels: Sequence[str],
    rows: Sequence[LabelValues],
    values: Sequence[float | None],
) -> Family:
    """Make a family of counters of a column."""
    return replace(gauges(name, help_text, labels, rows, values), type="counter")


def info(name: str, help_text: str, labels: Sequence[str], rows: Iterable[LabelValues]) -> Family:
    """Make a family of gauges that are 1, for what the labels say."""
    known = list(rows)
    return gauges(name, help_text, labels, known, [1.0] * len(known))


def settled_info(
    name: str, help_text: str, labels: Sequence[str], basis: object, rows: Callable[[], Iterable[LabelValues]]
) -> Family:
    """Make a family of gauges that are 1, for what the labels say while `basis` is the same."""

    def column() -> Column:
        known = list(rows())
        return Column(rows=known, values=[1.0] * len(known))

    content = Settled(basis=basis, column=column)
    return Family(name=name, help=help_text, type="gauge", labels=tuple(labels), content=content)


def states(
    name: str,
    help_text: str,
    labels: Sequence[str],
    vocabulary: type[enum.StrEnum],
    current: Iterable[tuple[LabelValues, enum.StrEnum]],
) -> Family:
    """Make a family of state gauges: one series for every word, 1 for the current; the last label has it."""

    def expand(values: LabelValues, word: enum.StrEnum) -> Iterator[Sample]:
        return (((*values, state.value), float(state is word)) for state in vocabulary)

    content = Blocks(parts=list(current), expand=expand, basis=itself)
    return Family(name=name, help=help_text, type="gauge", labels=tuple(labels), content=content)


def histogram(
    name: str, help_text: str, labels: Sequence[str], samples: Iterable[tuple[LabelValues, Histogram]]
) -> Family:
    """Make a family of histograms."""
    found = list(samples)
    content = Histograms(rows=[labels for labels, _ in found], histograms=[each for _, each in found])
    return Family(name=name, help=help_text, type="histogram", labels=tuple(labels), content=content)


def itself(subject: S) -> S:
    """Take all of a subject for its basis."""
    return subject


def _transposed(samples: Iterable[Sample]) -> tuple[list[LabelValues], list[float]]:
    found = list(samples)
    return [labels for labels, _ in found], [value for _, value in found]
