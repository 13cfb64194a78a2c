"""Families as text, of which nothing is written again that is as it was the last time.

From one scrape to the next a few numbers change and hardly a label. So labels are written once for as long as
they are there, and a family whose samples are all as they were is not written at all. What is kept is what
the last page had in it: it grows with the page, and with nothing else.
"""

import itertools
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from exporter.metrics.chunk import Chunk
from exporter.metrics.family import Blocks, Column, Family, Histograms, LabelValues, Sample, Settled
from exporter.metrics.layout import Encode, Labels, Layout, lay_out, write_number, write_numbers
from exporter.steps import Steps

_STEP_ROWS = 1000  # a few milliseconds

T = TypeVar("T")

SharedRows: TypeAlias = dict[tuple[int, Labels], tuple[Sequence[LabelValues], list[str]]]
"""Rows of this page, told apart by their identity, with their labels as they are written."""


class Writer:
    """Writes families in the format of `encode`, one page after the other.

    A page that is given up half way does no harm: what is kept changes only together with what it belongs to.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._families: dict[str, tuple[object, _Write]] = {}
        self._rows: SharedRows = {}

    def write(self, families: Iterable[Family]) -> Steps[list[Chunk]]:
        """Write a page: some chunks for each family."""
        chunks: list[Chunk] = []
        try:
            for family in families:
                yield
                chunks += yield from self._write(family)
        finally:
            self._rows.clear()
        return chunks

    def _write(self, family: Family) -> Steps[list[Chunk]]:
        """Write a family, with what is kept of the last that had its name, if that had the same head."""
        head = (family.help, family.type, family.labels, type(family.content))
        known, write = self._families.get(family.name, (None, None))
        if known != head or write is None:
            write = self._begin(family)
            self._families[family.name] = (head, write)
        return write(family.content)

    def _begin(self, family: Family) -> "_Write":
        layout = lay_out(family, self._encode)
        match family.content:
            case Column():
                return _Columns(layout, self._rows).write
            case Settled():
                return _Settled(layout, self._rows).write
            case Blocks():
                return _Blocks(layout).write
            case Histograms():
                return _Histograms(layout).write


_Write: TypeAlias = Callable[[Any], Steps[list[Chunk]]]


class _Rows(Generic[T]):
    """Writes the labels of rows, each once for as long as it is there."""

    def __init__(self, write: Callable[[LabelValues], T]) -> None:
        self._write = write
        self._rows: Sequence[LabelValues] = ()
        self._written: list[T] = []

    def write(self, rows: Sequence[LabelValues]) -> Steps[list[T]]:
        """Give the labels of the rows."""
        if rows != self._rows:
            known: dict[LabelValues, T] = {}
            for some in _slices(self._rows):
                known.update(zip(self._rows[some], self._written[some], strict=True))
                yield
            written: list[T] = []
            for some in _slices(rows):
                written += [known[row] if row in known else self._write(row) for row in rows[some]]
                yield
            self._rows, self._written = rows, written
        return self._written


class _Columns:
    """Writes columns; such as have the same rows share what is written of them."""

    def __init__(self, layout: Layout, shared: SharedRows) -> None:
        [self._line] = layout.lines
        self._shared = shared
        self._rows = _Rows(self._line.labels.write)
        self._lines = _Lines(layout.header, name=self._line.name)

    def write(self, column: Column) -> Steps[list[Chunk]]:
        labels = yield from self._labels(column.rows)
        try:
            values: array[float] = array("d", column.values)  # type: ignore[arg-type]
        except TypeError:  # for a None, which is rare: a look at each value would cost more
            there = [
                (row, value) for row, value in zip(labels, column.values, strict=True) if value is not None
            ]
            labels, values = [row for row, _ in there], array("d", [value for _, value in there])
        return (yield from self._lines.write(labels, values))

    def _labels(self, rows: Sequence[LabelValues]) -> Steps[list[str]]:
        key = id(rows), self._line.labels
        if key not in self._shared:
            self._shared[key] = rows, (yield from self._rows.write(rows))
        return self._shared[key][1]


class _Settled:
    """Writes columns that hardly ever change."""

    def __init__(self, layout: Layout, shared: SharedRows) -> None:
        self._columns = _Columns(layout, shared)
        self._known: tuple[object, list[Chunk]] | None = None

    def write(self, settled: Settled) -> Steps[list[Chunk]]:
        if self._known is None or self._known[0] != settled.basis:
            column = settled.column()
            yield
            self._known = settled.basis, (yield from self._columns.write(column))
        return self._known[1]


class _Histograms:
    """Writes histograms."""

    def __init__(self, layout: Layout) -> None:
        self._rows = _Rows(lambda row: tuple(line.write(row) for line in layout.lines))
        self._lines = _Lines(layout.header)

    def write(self, content: Histograms) -> Steps[list[Chunk]]:
        rows = yield from self._rows.write(content.rows)
        starts = list(itertools.chain.from_iterable(rows))
        values = array("d")
        for histogram in content.histograms:
            values.extend(itertools.accumulate(histogram.counts))
            values.extend((sum(histogram.counts), histogram.sum))
        return (yield from self._lines.write(starts, values))


class _Lines:
    """Writes values after what comes before them, unless both are as they were."""

    def __init__(self, header: str, *, name: str = "") -> None:
        self._header = header
        self._name = name
        self._starts: list[str] = []
        self._written: list[tuple[bytes, Chunk]] = []

    def write(self, starts: list[str], values: "array[float]") -> Steps[list[Chunk]]:
        written: list[tuple[bytes, Chunk]] = []
        for number, some in enumerate(_slices(starts)):
            after = values[some].tobytes()  # the bytes, for 0.0 == -0.0 and nan != nan
            before = self._written[number] if number < len(self._written) else None
            if before is None or before[0] != after or self._starts[some] != starts[some]:
                before = after, Chunk(self._text(starts[some], values[some], is_first=not number))
                yield
            written.append(before)
        self._starts, self._written = starts, written
        return [chunk for _, chunk in written]

    def _text(self, starts: list[str], values: "array[float]", *, is_first: bool) -> bytes:
        if not starts:
            return self._header.encode()
        pieces = [f"\n{self._name}"] * (3 * len(starts))
        pieces[0] = self._header + self._name if is_first else self._name
        pieces[1::3], pieces[2::3] = starts, write_numbers(values)
        pieces.append("\n")
        return "".join(pieces).encode()


class _Blocks:
    """Writes blocks, each once for as long as its basis stays the same."""

    def __init__(self, layout: Layout) -> None:
        [self._line] = layout.lines
        self._header = layout.header
        self._kept: Mapping[Hashable, tuple[object, str]] = {}
        self._written: list[tuple[list[str], Chunk]] = []

    def write(self, blocks: Blocks[Any, Any]) -> Steps[list[Chunk]]:
        kept: dict[Hashable, tuple[object, str]] = {}
        written: list[tuple[list[str], Chunk]] = []
        for number, some in enumerate(_slices(blocks.parts)):
            texts: list[str] = []
            for key, subject in blocks.parts[some]:
                basis = blocks.basis(subject)
                known = self._kept.get(key)
                if known is None or known[0] != basis:
                    known = basis, "".join(self._write(blocks.expand(key, subject)))
                    yield
                kept[key] = known
                texts.append(known[1])
            before = self._written[number] if number < len(self._written) else None
            if before is None or before[0] != texts:
                header = "" if number else self._header
                before = texts, Chunk(f"{header}{''.join(texts)}".encode())
            written.append(before)
            yield
        self._kept, self._written = kept, written
        return [chunk for _, chunk in written]

    def _write(self, samples: Iterable[Sample]) -> Iterator[str]:
        return (f"{self._line.write(labels)}{write_number(value)}\n" for labels, value in samples)


def _slices(rows: Sequence[object]) -> list[slice]:
    """Give one part of the rows after the other, at least one."""
    return [slice(start, start + _STEP_ROWS) for start in range(0, len(rows) or 1, _STEP_ROWS)]
