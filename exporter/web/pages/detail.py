"""What a zone, static host or kind of client unfolds to: records, endpoints, the ladder, the steps.

Pure functions from a card to what a template shows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.diagnosis import HostSight, Mark, NextStep, Rung, StaticDiagnosis
from exporter.model import NOT_AVAILABLE, Endpoint, Host, IgnoredReason, Record, host_port
from exporter.report.words import MARK_SYMBOLS, show_chances, show_error
from exporter.state import EndpointView, ZoneView
from exporter.trace import show_milliseconds
from exporter.web.pages.cards import Card, Part, Row, server_of
from exporter.web.pages.sparkline import Sparkline, sparkline
from exporter.web.words import Moment, Tone, moment

_MARK_TONES = {
    Mark.PASSED: Tone.OK,
    Mark.PARTLY: Tone.DEGRADED,
    Mark.FAILED: Tone.FAILED,
    Mark.UNKNOWN: Tone.UNKNOWN,
    Mark.NOT_REACHED: Tone.UNCHECKED,
}
_MARK_WORDS = {
    Mark.PASSED: "holds",
    Mark.PARTLY: "holds in part",
    Mark.FAILED: "fails",
    Mark.UNKNOWN: "not known",
    Mark.NOT_REACHED: "not reached",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A few words, and how what they say stands."""

    tone: Tone
    text: str
    since: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRow:
    """A record, or a host that has none; `servers` are the DNS servers that publish it, empty for all."""

    priority: str
    weight: str
    port: int
    target: str
    servers: tuple[str, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRow:
    """An address of a host, or why there is none; `servers` gave it, empty for all."""

    host: str
    address: str
    servers: tuple[str, ...]
    connect: str
    bind: str
    note: Note
    recent: Sparkline | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRow:
    """A rung of the ladder: symbol and word of its mark, its name, and the particulars."""

    tone: Tone
    symbol: str
    word: str
    rung: Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDetail:
    """What one DNS server leads to."""

    row: Row
    meaning: str
    rungs: tuple[RungRow, ...]
    error: str
    chances: str
    steps: tuple[NextStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """All that shows of one card."""

    card: Card
    records: tuple[RecordRow, ...]
    endpoints: tuple[EndpointRow, ...]
    servers: tuple[ServerDetail, ...]


def make_detail(card: Card, endpoints: Mapping[Endpoint, EndpointView], *, now: float) -> Detail:
    """Unfold a card; `endpoints` have the last probes."""
    rows = {row.dns_server: row for row in card.rows}
    return Detail(
        card=card,
        records=tuple(_records(card, now)) if card.zone else (),
        endpoints=tuple(_endpoints(card, endpoints)),
        servers=tuple(_server(part, rows[part.diagnosis.dns_server]) for part in card.parts),
    )


def _server(part: Part, row: Row) -> ServerDetail:
    server = server_of(part)
    return ServerDetail(
        row=row,
        meaning=row.meaning[:1].upper() + row.meaning[1:],
        rungs=tuple(
            RungRow(
                tone=_MARK_TONES[rung.mark],
                symbol=MARK_SYMBOLS[rung.mark],
                word=_MARK_WORDS[rung.mark],
                rung=rung,
            )
            for rung in part.ladder
        ),
        error=show_error(row.error) if row.error else "",
        chances=show_chances(server) if server else "",
        steps=part.steps,
    )


def _records(card: Card, now: float) -> Iterator[RecordRow]:
    """List the records of all DNS servers, and then the hosts that have none and had or should have one."""
    if card.zone is None:
        return
    view = card.zone.diagnosis.view
    published = defaultdict[Record, list[str]](list)
    stale = set[str]()
    for server in view.servers:
        lookup = server.lookup
        if lookup and not lookup.status.usable:
            stale.add(server.dns_server)
        portless = lookup.portless if lookup else ()
        for record in (*(server.records or ()), *portless):
            published[record].append(server.dns_server)
    for record, labels in sorted(published.items()):
        yield RecordRow(
            priority=str(record.priority),
            weight=str(record.weight),
            port=record.port,
            target=record.target,
            servers=() if len(labels) == len(view.servers) else tuple(labels),
            notes=tuple(_record_notes(record, view, stale >= set(labels))),
        )
    answers = {sight.host for sight in card.sights() if sight.works}
    for host in sorted(view.vanished | view.missing):
        yield _gone(host, view, now, answers=host in answers)


def _record_notes(record: Record, view: ZoneView, stale: bool) -> Iterator[Note]:  # noqa: FBT001 (the third fact)
    if not record.port and record.target != NOT_AVAILABLE:
        yield Note(tone=Tone.FAILED, text="port 0 leads nowhere")
    elif view.expected is not None:
        expected = view.is_expected(record.host)
        yield Note(tone=Tone.OK if expected else Tone.DEGRADED, text="expected" if expected else "unexpected")
    if stale:
        yield Note(tone=Tone.UNKNOWN, text="by the last usable answer")


def _gone(host: Host, view: ZoneView, now: float, *, answers: bool) -> RecordRow:
    notes = list[Note]()
    if host in view.missing:
        notes.append(Note(tone=Tone.FAILED, text="expected, and missing"))
    if host in view.vanished:
        at = view.vanished_at.get(host)
        since = None if at is None else moment(at, now=now)
        notes.append(Note(tone=Tone.FAILED, text="vanished", since=since))
    if answers:
        notes.append(Note(tone=Tone.DEGRADED, text="record gone, host answers"))
    return RecordRow(
        priority="", weight="", port=host.port, target=host.target, servers=(), notes=tuple(notes)
    )


def _endpoints(card: Card, known: Mapping[Endpoint, EndpointView]) -> Iterator[EndpointRow]:
    """List the addresses of every host by the DNS servers that give them, and where there is none, why."""
    places = _places(card)
    for host, sights in places.items():
        addresses = defaultdict[str, list[str]](list)
        nothing = defaultdict[str, list[str]](list)
        for label, sight in sights:
            for address in sight.lookup.addresses if sight.lookup else ():
                addresses[address].append(label)
            if sight.lookup is None or not sight.lookup.addresses:
                nothing[_why_nothing(sight)].append(label)
        total = len(sights)
        for address, labels in addresses.items():
            one = Endpoint(target=host.target, port=host.port, address=address)
            yield _endpoint(one, known.get(one), _some(labels, total))
        for why, labels in nothing.items():
            yield EndpointRow(
                host=host_port(host.target, host.port),
                address="",
                servers=_some(labels, total),
                connect="",
                bind="",
                note=Note(tone=Tone.FAILED, text=why),
            )


def _places(card: Card) -> Mapping[Host, Sequence[tuple[str, HostSight]]]:
    """Tell of every host at which DNS servers it was looked at, and what came of it."""
    found = defaultdict[Host, list[tuple[str, HostSight]]](list)
    for part in card.parts:
        label = part.diagnosis.dns_server
        for sight in _sights(part):
            found[sight.host].append((label, sight))
    return found


def _sights(part: Part) -> Iterable[HostSight]:
    if isinstance(part.diagnosis, StaticDiagnosis):
        return (part.diagnosis.sight,)
    server = server_of(part)
    return (*server.hosts, *server.absent) if server else ()


def _some(labels: Sequence[str], total: int) -> tuple[str, ...]:
    """Name DNS servers only where they are not all."""
    return () if len(labels) == total else tuple(labels)


def _why_nothing(sight: HostSight) -> str:
    if sight.lookup is None:
        return "not looked up yet"
    return f"no address ({sight.lookup.failure})" if sight.lookup.failure else "no address"


def _endpoint(one: Endpoint, view: EndpointView | None, servers: tuple[str, ...]) -> EndpointRow:
    last = view.last if view else None
    connect, bind = (last.connect_seconds, last.rpc_bind_seconds) if last else (None, None)
    return EndpointRow(
        host=host_port(one.target, one.port),
        address=one.address,
        servers=servers,
        connect="" if connect is None else show_milliseconds(connect),
        bind="" if bind is None else show_milliseconds(bind),
        note=_outcome(view),
        recent=sparkline(view.recent) if view else None,
    )


def _outcome(view: EndpointView | None) -> Note:
    if view is None:
        return Note(tone=Tone.UNCHECKED, text="not probed yet")
    if view.last.failure is None:
        return Note(tone=Tone.OK, text="up")
    if view.last.ignored is IgnoredReason.PROBES_PER_CHECK:
        return Note(tone=Tone.UNKNOWN, text=f"not probed: limits.{view.last.ignored}")
    return Note(tone=Tone.FAILED, text=view.last.failure.value)
