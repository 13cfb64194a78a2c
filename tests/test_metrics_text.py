"""Tests of metrics as text: the same bytes as prometheus_client's, and no more work than there is news."""

import contextlib
import itertools
import math
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.metrics import Chunk, Encode, Exposition, compress, join, text
from exporter.metrics.convert import to_metric
from exporter.metrics.family import (
    Blocks,
    Column,
    Family,
    Sample,
    Settled,
    counters,
    gauge,
    gauges,
    histogram,
    info,
    itself,
    states,
)
from exporter.metrics.layout import Only, write_number
from exporter.metrics.text import Writer
from exporter.model import LookupStatus, ProbeFailure, ZoneCheck
from exporter.state import Histogram, Snapshot, State
from exporter.steps import Steps, finish
from exporter.web.exposition import choose_format
from tests.builders import (
    SnapshotCollector,
    answer,
    at_server,
    configure,
    host,
    probed,
    reached,
    record,
    zone_check,
    zone_settings,
)
from tests.test_metrics import BUILD, GOLDEN_SNAPSHOT, snapshots

ESCAPINGS = ("underscores", "allow-utf-8", "dots", "values")
ACCEPTED = (
    "",
    "text/plain;version=0.0.4",
    *(f"text/plain;version=1.0.0;escaping={escaping}" for escaping in ESCAPINGS),
    "application/openmetrics-text",
    *(f"application/openmetrics-text;version=1.0.0;escaping={escaping}" for escaping in ESCAPINGS),
    "application/openmetrics-text;version=2.0.0",
)
"""An Accept header for every format that there is."""

THOROUGH = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Counting:
    """An encoder that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, collector: Collector) -> bytes:
        """Encode in the text format."""
        self.asked += 1
        return generate_latest(collector)


def expected(encode: Encode, families: Sequence[Family]) -> bytes:
    """Give what prometheus_client makes of families, without the mark of the end."""
    return encode(Only(*map(to_metric, families))).removesuffix(encode(Only()))


# --- The same bytes

TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", 'a"b', "a\\b", "a\nb", "\\n", "{}", "%s", "\0", "\0000\0", "é", "\N{PILE OF POO}"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, True, False, 0.0, -0.0, 0.1, 1e-7, 1e22, 1e6, 999999.5, -1e6, -1e22, 2**53 + 1]),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e9, 1.7e9, 1700000000.1234567, 9999999999.9, 1e10]),
    st.floats(),
    st.integers(-(2**70), 2**70),
)
ROWS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3)


@st.composite
def pages(draw: st.DrawFn) -> list[Family]:
    """Draw a page of families of every shape; two share their rows."""
    rows = draw(ROWS)
    column = st.lists(st.none() | NUMBERS, min_size=len(rows), max_size=len(rows))
    labels = ("b", "a")
    words = st.sampled_from(LookupStatus)
    durations = st.lists(st.tuples(st.tuples(TEXTS), histograms()), max_size=2)
    return [
        gauges("kms_one", draw(st.sampled_from(["help", 'a "b" \\ c\nd'])), labels, rows, draw(column)),
        counters("kms_two_total", "help", labels, rows, draw(column)),
        info("kms_info", "help", (*labels, draw(st.sampled_from(["c", "d", "__e", "B"]))), draw(triples())),
        states("kms_state", "help", (*labels, "c"), LookupStatus, [(row, draw(words)) for row in rows]),
        histogram("kms_histogram", "help", ("b",), draw(durations)),
        gauge("kms_bare", "help", (), [((), each) for each in draw(st.lists(NUMBERS, max_size=1))]),
    ]


def triples() -> st.SearchStrategy[list[tuple[str, ...]]]:
    """Draw rows of three labels."""
    return st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=3)


def histograms() -> st.SearchStrategy[Histogram]:
    """Draw a histogram of a few observations."""

    def observe(seconds: list[float]) -> Histogram:
        seen = Histogram()
        for each in seconds:
            seen = seen.observe(each)
        return seen

    return st.lists(st.floats(0, 20), max_size=3).map(observe)


ROWS_IN_A_STEP = st.sampled_from([1, 2, 1000])


@contextlib.contextmanager
def rows_in_a_step(number: int) -> Iterator[None]:
    """Have rows written so many at a time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(text, "_STEP_ROWS", number)
        yield


@pytest.mark.parametrize("accept", ACCEPTED)
@settings(THOROUGH, max_examples=30)
@given(st.lists(pages(), min_size=1, max_size=4), ROWS_IN_A_STEP)
def test_same_bytes(accept: str, drawn: list[list[Family]], rows: int) -> None:
    """Pages that one writer makes of anything are those of prometheus_client, whatever came before each."""
    encode, _ = choose_format(accept)
    writer = Writer(encode)
    with rows_in_a_step(rows):
        for page in (*drawn, *drawn):
            assert join(finish(writer.write(page))) == expected(encode, page)


def give_up(steps: Steps[Any], *, after: int) -> None:
    """Take some steps, and no more."""
    with contextlib.closing(steps):
        for _ in itertools.islice(steps, after):
            pass


@settings(THOROUGH, max_examples=60)
@given(
    st.lists(st.tuples(pages(), st.integers(0, 40)), min_size=1, max_size=4), pages(), st.sampled_from([1, 2])
)
def test_same_bytes_after_pages_given_up(
    given_up: list[tuple[list[Family], int]], page: list[Family], rows: int
) -> None:
    """Wherever pages before were given up, the next is that of prometheus_client."""
    writer = Writer(generate_latest)
    with rows_in_a_step(rows):
        finish(writer.write(given_up[0][0]))
        for before, steps in given_up:
            give_up(writer.write(before), after=steps)
        for each in (page, given_up[-1][0], page):
            assert join(finish(writer.write(each))) == expected(generate_latest, each)


def test_same_bytes_after_an_error() -> None:
    """A bug half way through a page leaves the next as it should be."""

    def broken() -> Iterator[Family]:
        yield column(1, 2)
        raise ZeroDivisionError

    writer = Writer(generate_latest)
    for page in ([column(1, 2)], [column(2, 3)], [column(1, 2)]):
        with pytest.raises(ZeroDivisionError):
            finish(writer.write(broken()))
        assert join(finish(writer.write(page))) == expected(generate_latest, page)


@settings(THOROUGH, max_examples=30)
@given(st.lists(snapshots(), min_size=1, max_size=3), st.sampled_from(ACCEPTED))
def test_same_bytes_of_snapshots(drawn: list[Snapshot], accept: str) -> None:
    """Snapshots of one state after the other are written as prometheus_client writes each of them."""
    encode, content_type = choose_format(accept)
    exposition = Exposition(BUILD)
    end = encode(Only())
    for snapshot in (*drawn, *drawn):
        written = join(finish(exposition.write(snapshot, encode, content_type=content_type))) + end
        assert written == encode(SnapshotCollector(snapshot, BUILD))


FEW = st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2"]), unique=True)


@st.composite
def looks(draw: st.DrawFn) -> ZoneCheck:
    """Draw a check of one of two zones, which name the same targets at the same two servers."""
    targets = draw(st.dictionaries(st.sampled_from(["kms1.test", "kms2.test"]), FEW))
    lookup = draw(
        st.sampled_from(
            [
                answer(*map(record, targets)),
                answer(*map(record, targets), authoritative=True, ttl_seconds=5),
                answer(record("kms2.test")),
                answer(status=LookupStatus.TIMEOUT),
            ]
        )
    )
    servers = [at_server(label, lookup, targets) for label in draw(st.sampled_from([("a", "b"), ("a",)]))]
    failure = draw(st.sampled_from([None, ProbeFailure.TIMEOUT, ProbeFailure.NOT_RPC]))
    at = draw(st.integers(1, 3))
    probes = [probed(each, failure, at=at) for each in sorted(reached(servers))]
    return zone_check(*servers, zone=draw(st.sampled_from(["one.test", "two.test"])), at=at, probes=probes)


@settings(THOROUGH, max_examples=40)
@given(st.lists(looks(), max_size=8), st.integers(0, 100))
def test_same_bytes_of_a_state(checks: list[ZoneCheck], given_up_after: int) -> None:
    """While one state is told one thing after the other, each of its snapshots is written as it is.

    That pages are given up in between does no harm.
    """
    state, exposition = State(), Exposition(BUILD)
    expecting = zone_settings(open_ended=True, expected=[host("kms1.test")])
    configure(state, {"one.test": expecting, "two.test": zone_settings(open_ended=True)})
    for check in checks:
        state.apply_zone(check)
        give_up(exposition.write(state.snapshot(), generate_latest, content_type="a"), after=given_up_after)
        for _ in range(2):
            snapshot = state.snapshot()
            written = join(finish(exposition.write(snapshot, generate_latest, content_type="a")))
            assert written == generate_latest(SnapshotCollector(snapshot, BUILD))


def test_formats_take_turns() -> None:
    """One exposition serves all formats in turn."""
    exposition = Exposition(BUILD)
    for accept in (*ACCEPTED, *ACCEPTED, *ACCEPTED[:2], *ACCEPTED[:2]):
        encode, content_type = choose_format(accept)
        written = join(finish(exposition.write(GOLDEN_SNAPSHOT, encode, content_type=content_type)))
        assert written + encode(Only()) == encode(SnapshotCollector(GOLDEN_SNAPSHOT, BUILD))


@given(NUMBERS)
def test_numbers(value: float) -> None:
    """A number is written as prometheus_client writes it."""
    assert write_number(value) == floatToGoString(value)  # type: ignore[no-untyped-call]


@given(st.floats(1e9, 1e10))
def test_unix_times(value: float) -> None:
    """A Unix time, of which there are many, is written as prometheus_client writes it."""
    assert write_number(value) == floatToGoString(value)  # type: ignore[no-untyped-call]


# --- Nothing twice

ROW = ("192.0.2.53", 'a "b"')
OTHER = ("192.0.2.54", "c")


def one(content: Column | Settled | Blocks[Any, Any], *, help_text: str = "help") -> Family:
    """Make a family with two labels."""
    return Family(name="kms_one", help=help_text, type="gauge", labels=("b", "a"), content=content)


def column(*values: float | None, rows: Sequence[tuple[str, str]] = (ROW, OTHER)) -> Family:
    """Make a family of a column."""
    return one(Column(rows=list(rows), values=values))


def blocks(*subjects: int) -> Family:
    """Make a family of a block for each subject, of which the tens are of no account."""

    def expand(key: int, subject: int) -> Iterator[Sample]:
        yield (str(key), "units"), subject % 10
        yield (str(key), "next"), subject % 10 + 1

    return one(Blocks(parts=list(enumerate(subjects)), expand=expand, basis=lambda subject: subject % 10))


def settled(basis: object, *values: float) -> Family:
    """Make a family of a column that rests on something."""
    return one(Settled(basis=basis, column=lambda: Column(rows=[ROW, OTHER], values=values)))


def seconds(*values: float) -> Family:
    """Make a family of one histogram of these observations."""
    observed = Histogram()
    for value in values:
        observed = observed.observe(value)
    return histogram("kms_one", "help", ("b",), [(("192.0.2.53",), observed)])


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        pytest.param(column(1, 0.5), column(1.0, 0.5), True, id="column"),
        pytest.param(column(1, None), column(1, None), True, id="column with a gap"),
        pytest.param(column(math.nan, 1), column(math.nan, 1), True, id="column with nan"),
        pytest.param(column(1, 0.5), column(1, 0.25), False, id="other value"),
        pytest.param(column(0.0, 1), column(-0.0, 1), False, id="other sign of zero"),
        pytest.param(column(1, None), column(None, 1), False, id="other gap"),
        pytest.param(column(1, 1), column(1, 1, rows=(OTHER, ROW)), False, id="other order"),
        pytest.param(column(1, 1), column(1, rows=(ROW,)), False, id="row gone"),
        pytest.param(blocks(1, 2), blocks(11, 22), True, id="blocks"),
        pytest.param(blocks(1, 2), blocks(1, 3), False, id="other block"),
        pytest.param(blocks(1, 2), blocks(2, 1), False, id="blocks changed places"),
        pytest.param(blocks(1, 2), blocks(1), False, id="block gone"),
        pytest.param(settled(1, 2, 3), settled(1, 2, 3), True, id="settled"),
        pytest.param(settled(1, 2, 3), settled(2, 2, 3), True, id="other basis of the same"),
        pytest.param(settled(1, 2, 3), settled(2, 3, 2), False, id="other basis"),
        pytest.param(seconds(0.25), seconds(0.25), True, id="histogram"),
        pytest.param(seconds(0.25), seconds(0.25, 0.5), False, id="observation"),
        pytest.param(column(1, 1), replace(column(1, 1), help="other"), False, id="other help"),
        pytest.param(column(1, 1), replace(column(1, 1), labels=("b", "c")), False, id="other labels"),
        pytest.param(column(1, 1), blocks(1), False, id="other shape"),
    ],
)
def test_written_again(before: Family, after: Family, kept: bool) -> None:  # noqa: FBT001 - one of two outcomes
    """A family is written again exactly when something of it is not as it was, and then as it is."""
    writer = Writer(generate_latest)
    [first] = finish(writer.write([before]))
    [second] = finish(writer.write([after]))
    assert (first is second) is kept
    assert second.text == expected(generate_latest, [after])


def test_blocks_are_expanded_once() -> None:
    """Of several blocks, only the one whose basis is another one is expanded again."""
    expanded: list[str] = []

    def expand(key: str, subject: int) -> list[Sample]:
        expanded.append(key)
        return [((key, "a"), subject)]

    def page(**subjects: int) -> list[Family]:
        return [one(Blocks(parts=list(subjects.items()), expand=expand, basis=itself))]

    writer = Writer(generate_latest)
    finish(writer.write(page(x=1, y=2)))
    text = join(finish(writer.write(page(y=2, x=3, z=4))))
    assert expanded == ["x", "y", "x", "z"]
    assert [line.split()[-1] for line in text.decode().splitlines()[2:]] == ["2.0", "3.0", "4.0"]


class Watched(str):
    """A text that counts how often it is written."""

    __slots__ = ()
    written = 0

    def replace(self, *args: Any) -> str:
        """Escape something, which is done once for every kind of character."""
        Watched.written += 1
        return super().replace(*args)


def test_labels_are_written_once() -> None:
    """When a row comes or goes, the labels of the others are not written again."""
    rows = [(Watched(number), "") for number in range(10)]
    writer = Writer(generate_latest)
    finish(writer.write([column(*range(8), rows=rows[:8])]))
    once = Watched.written
    assert once
    page = [column(*range(9), rows=rows[1:])]
    text = join(finish(writer.write(page)))
    assert Watched.written == once + once // 4
    assert text == expected(generate_latest, page)


def test_settled_column_is_left_alone() -> None:
    """What a column rests on being the same, the column is not even worked out."""
    worked_out: list[int] = []

    def page(basis: int) -> list[Family]:
        def column() -> Column:
            worked_out.append(basis)
            return Column(rows=[ROW], values=[basis])

        return [one(Settled(basis=basis, column=column))]

    writer = Writer(generate_latest)
    for basis in (1, 1, 2, 2, 1):
        assert join(finish(writer.write(page(basis)))).endswith(f" {basis}.0\n".encode())
    assert worked_out == [1, 2, 1]


def test_snapshots_without_revisions() -> None:
    """Nothing is taken for the same where nobody keeps a revision of it."""
    exposition = Exposition(BUILD)
    empty = replace(GOLDEN_SNAPSHOT, zones=(), clients=(), static_hosts=())
    for base in (GOLDEN_SNAPSHOT, empty):
        for snapshot in (base, replace(base, targets=(), endpoints=()), base):
            written = join(finish(exposition.write(snapshot, generate_latest, content_type="a")))
            assert written == generate_latest(SnapshotCollector(snapshot, BUILD))


def test_encoder_is_asked_once() -> None:
    """prometheus_client tells how a family is written once, not for every page."""
    encode = Counting()
    exposition = Exposition(BUILD)
    finish(exposition.write(GOLDEN_SNAPSHOT, encode, content_type="a"))
    asked = encode.asked
    assert asked
    finish(exposition.write(GOLDEN_SNAPSHOT, encode, content_type="a"))
    assert encode.asked == asked


def test_formats_are_kept_while_they_are_used() -> None:
    """What is kept for a format survives pages of another one in between, but not two of them in a row."""
    encode = Counting()
    exposition = Exposition(BUILD)

    def begins_anew(content_type: str) -> bool:
        before = encode.asked
        finish(exposition.write(GOLDEN_SNAPSHOT, encode, content_type=content_type))
        return encode.asked > before

    assert [begins_anew(each) for each in "ababba"] == [True, True, False, False, False, True]


def test_nothing_is_kept_of_what_is_gone() -> None:
    """However many labels come and go, a writer keeps those of its last page."""

    def page(number: int) -> list[Family]:
        rows = [(f"{number}", f"{each}") for each in range(200)]
        subjects = [(row, LookupStatus.OK) for row in rows]
        durations = [((name,), Histogram()) for _, name in rows[:20]]
        return [
            gauges("kms_one", "help", ("b", "a"), rows, [number] * len(rows)),
            states("kms_state", "help", ("b", "a", "c"), LookupStatus, subjects),
            histogram("kms_histogram", "help", ("a",), durations),
        ]

    writer = Writer(generate_latest)
    sizes = []
    tracemalloc.start()
    try:
        for number in range(100, 120):
            finish(writer.write(page(number)))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes[5:]) < 1.5 * min(sizes[:5])
    del writer


def test_shared_rows() -> None:
    """Families with the same rows each have their own name, and lists that look alike are told apart."""
    rows = [ROW]
    page = [
        gauges("kms_one", "help", ("b", "a"), rows, [1]),
        counters("kms_two_total", "help", ("b", "a"), rows, [2]),
        gauges("kms_three", "help", ("a", "b"), rows, [3]),
        gauges("kms_four", "help", ("b", "a"), [OTHER], [4]),
    ]
    writer = Writer(generate_latest)
    for _ in range(2):
        assert join(finish(writer.write(page))) == expected(generate_latest, page)


def test_basis_tells_all() -> None:
    """After any snapshot, what is written of another is what an exposition without a past would write."""
    zone = GOLDEN_SNAPSHOT.zones[0]
    variants = [
        replace(zone, published=None),
        replace(zone, expected=None),
        replace(zone, expected=frozenset()),
        replace(zone, vanished=frozenset()),
        replace(zone, ignored=dict.fromkeys(zone.ignored, 7)),
        replace(zone, labels={}),
        replace(zone, servers=zone.servers[1:]),
    ]
    exposition = Exposition(BUILD)
    for variant in itertools.chain.from_iterable(zip(variants, itertools.repeat(zone))):
        snapshot = replace(GOLDEN_SNAPSHOT, zones=(variant,))
        written = join(finish(exposition.write(snapshot, generate_latest, content_type="a")))
        assert written == generate_latest(SnapshotCollector(snapshot, BUILD))


# --- Compressed

GZIP = zlib.MAX_WBITS + 16
SMALL, LARGE = b"small\n", b"".join(b"%d\n" % number for number in range(20_000))


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b""],
        [SMALL],
        [LARGE],
        [SMALL, LARGE],
        [LARGE, SMALL],
        [LARGE, LARGE],
        [SMALL, LARGE, SMALL, LARGE, b""],
    ],
    ids=lambda texts: "-".join(str(len(text)) for text in texts) or "none",
)
def test_compressed(texts: list[bytes]) -> None:
    """A compressed page is one gzip member that holds the page, also where chunks come again."""
    chunks = [Chunk(text) for text in texts]
    for order in (chunks, chunks, chunks[::-1]):
        decompress = zlib.decompressobj(wbits=GZIP)
        assert decompress.decompress(finish(compress(order))) == join(order)
        assert decompress.eof
        assert not decompress.unused_data


def test_large_chunks_are_compressed_once() -> None:
    """A large chunk that comes again is not compressed again, a small one takes no room."""
    large, small = Chunk(LARGE), Chunk(SMALL)
    finish(compress([large, small]))
    assert finish(large.deflated()) is finish(large.deflated())
    assert finish(large.deflated()) in finish(compress([small, large, small]))
    assert len(finish(compress([large, large]))) > 1.9 * len(finish(compress([large])))
    assert len(finish(compress([small] * 1000))) < len(SMALL) * 20
