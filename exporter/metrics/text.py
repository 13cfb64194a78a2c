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

T = TypeVar("T")

SharedRows: TypeAlias = dict[tuple[int, Labels], tuple[Sequence[LabelValues], list[str]]]
"""Rows of this page, told apart by their identity, with their labels as they are written."""


class Writer:
    """Writes families in the format of `encode`; not for two threads at once."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._families: dict[str, tuple[object, Callable[[Any], Chunk]]] = {}
        self._rows: SharedRows = {}

    def write(self, families: Iterable[Family]) -> list[Chunk]:
        """Write a page: a chunk for each family."""
        try:
            return [self._write(family) for family in families]
        finally:
            self._rows.clear()

    def _write(self, family: Family) -> Chunk:
        """Write a family, with what is kept of the last that had its name, if that had the same head."""
        head = (family.help, family.type, family.labels, type(family.content))
        known, write = self._families.get(family.name, (None, None))
        if known != head or write is None:
            write = self._begin(family)
            self._families[family.name] = (head, write)
        return write(family.content)

    def _begin(self, family: Family) -> Callable[[Any], Chunk]:
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


class _Rows(Generic[T]):
    """Writes the labels of rows, each once for as long as it is there."""

    def __init__(self, write: Callable[[LabelValues], T]) -> None:
        self._write = write
        self._rows: Sequence[LabelValues] = ()
        self._written: list[T] = []

    def write(self, rows: Sequence[LabelValues]) -> list[T]:
        """Give the labels of the rows."""
        if rows != self._rows:
            known = dict(zip(self._rows, self._written, strict=True))
            self._written = [known[row] if row in known else self._write(row) for row in rows]
            self._rows = rows
        return self._written


class _Columns:
    """Writes columns; such as have the same rows share what is written of them."""

    def __init__(self, layout: Layout, shared: SharedRows) -> None:
        [self._line] = layout.lines
        self._shared = shared
        self._rows = _Rows(self._line.labels.write)
        self._lines = _Lines(layout.header, name=self._line.name)

    def write(self, column: Column) -> Chunk:
        labels = self._labels(column.rows)
        try:
            return self._lines.write(labels, array("d", column.values))  # type: ignore[arg-type]
        except TypeError:  # for a None, which is rare: a look at each value would cost more
            there = [
                (row, value) for row, value in zip(labels, column.values, strict=True) if value is not None
            ]
        return self._lines.write([row for row, _ in there], array("d", [value for _, value in there]))

    def _labels(self, rows: Sequence[LabelValues]) -> list[str]:
        key = id(rows), self._line.labels
        if key not in self._shared:
            self._shared[key] = rows, self._rows.write(rows)
        return self._shared[key][1]


class _Settled:
    """Writes columns that hardly ever change."""

    def __init__(self, layout: Layout, shared: SharedRows) -> None:
        self._columns = _Columns(layout, shared)
        self._known: tuple[object, Chunk] | None = None

    def write(self, settled: Settled) -> Chunk:
        if self._known is None or self._known[0] != settled.basis:
            self._known = settled.basis, self._columns.write(settled.column())
        return self._known[1]


class _Histograms:
    """Writes histograms."""

    def __init__(self, layout: Layout) -> None:
        self._rows = _Rows(lambda row: tuple(line.write(row) for line in layout.lines))
        self._lines = _Lines(layout.header)

    def write(self, content: Histograms) -> Chunk:
        starts = list(itertools.chain.from_iterable(self._rows.write(content.rows)))
        values = array("d")
        for histogram in content.histograms:
            values.extend(itertools.accumulate(histogram.counts))
            values.extend((sum(histogram.counts), histogram.sum))
        return self._lines.write(starts, values)


class _Lines:
    """Writes values after what comes before them, unless both are as they were."""

    def __init__(self, header: str, *, name: str = "") -> None:
        self._header = header.removesuffix("\n")
        self._before = f"\n{name}"
        self._known: tuple[list[str], bytes] | None = None
        self._chunk = Chunk(b"")

    def write(self, starts: list[str], values: "array[float]") -> Chunk:
        after = starts, values.tobytes()  # the bytes, for 0.0 == -0.0 and nan != nan
        if after != self._known:
            pieces = [self._before] * (3 * len(starts))
            pieces[1::3], pieces[2::3] = starts, write_numbers(values)
            self._chunk = Chunk(f"{self._header}{''.join(pieces)}\n".encode())
            self._known = after
        return self._chunk


class _Blocks:
    """Writes blocks, each once for as long as its basis stays the same."""

    def __init__(self, layout: Layout) -> None:
        [self._line] = layout.lines
        self._header = layout.header
        self._kept: Mapping[Hashable, tuple[object, str]] = {}
        self._texts: list[str] | None = None
        self._chunk = Chunk(b"")

    def write(self, blocks: Blocks[Any, Any]) -> Chunk:
        kept, texts = {}, []
        for key, subject in blocks.parts:
            basis = blocks.basis(subject)
            known = self._kept.get(key)
            if known is None or known[0] != basis:
                known = basis, "".join(self._write(blocks.expand(key, subject)))
            kept[key] = known
            texts.append(known[1])
        if texts != self._texts:
            self._chunk = Chunk(f"{self._header}{''.join(texts)}".encode())
        self._kept, self._texts = kept, texts
        return self._chunk

    def _write(self, samples: Iterable[Sample]) -> Iterator[str]:
        return (f"{self._line.write(labels)}{write_number(value)}\n" for labels, value in samples)
