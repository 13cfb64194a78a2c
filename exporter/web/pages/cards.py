"""What the status page lists: zones, static hosts and kinds of clients, each with a row per DNS server.

Pure functions from a report, and since when each verdict has been what it is, to what a template shows.
"""

import enum
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from exporter.diagnosis import (
    ClientDiagnosis,
    HostSight,
    LikelyError,
    NextStep,
    ServerDiagnosis,
    StaticDiagnosis,
)
from exporter.history import Streak, name_of_client
from exporter.model import host_port
from exporter.report import (
    ClientReport,
    Report,
    ServerReport,
    StaticReport,
    Status,
    ZoneReport,
    make_report,
    worst,
)
from exporter.report.words import show_meaning
from exporter.state import ClientView, Snapshot, StaticHostView, ZoneView
from exporter.web.words import Moment, Tone, moment, tone_of

Part: TypeAlias = ServerReport | StaticReport | ClientReport
View: TypeAlias = ZoneView | StaticHostView | ClientView
Streaks: TypeAlias = Mapping[tuple[str, str], Streak]
"""Since when each verdict has been what it is, by what was checked and DNS server."""

NOT_CHECKED = "not checked yet"


class Kind(enum.StrEnum):
    """A kind of what is checked on its own."""

    ZONE = "zone"
    HOST = "host"
    CLIENT = "client"

    @property
    def one(self) -> str:
        """What a person calls one of them."""
        return _WORDS[self][0]

    @property
    def many(self) -> str:
        """What a person calls several of them."""
        return _WORDS[self][1]

    def subject(self, name: str) -> str:
        """Give what the history calls one of them."""
        return name_of_client(name) if self is Kind.CLIENT else name

    def path(self, name: str) -> str:
        """Give the path of the page of one of them, as it stands in a link."""
        return f"/{self}s/{urllib.parse.quote(name, safe=':')}"


_WORDS = {
    Kind.ZONE: ("zone", "zones"),
    Kind.HOST: ("static host", "static hosts"),
    Kind.CLIENT: ("kind of client", "kinds of clients"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Something at one DNS server, in a line; `step` is the first thing to do, `more` counts the others."""

    dns_server: str
    tone: Tone
    verdict: str
    meaning: str = ""
    error: LikelyError | None = None
    since: Moment | None = None
    step: str = ""
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A zone, static host or kind of client; `identity` is unique in a page, `suffixes` are a client's."""

    kind: Kind
    name: str
    tone: Tone
    rows: tuple[Row, ...]
    parts: tuple[Part, ...]
    checked: Moment | None
    zone: ZoneReport | None = None
    suffixes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The name of the element in the page."""
        return f"{self.kind}-{urllib.parse.quote(self.name, safe=':')}"

    @property
    def path(self) -> str:
        """The path of its own page, as it stands in a link."""
        return self.kind.path(self.name)

    @property
    def remarks(self) -> tuple[NextStep, ...]:
        """What is not as it should be, whatever the DNS server."""
        return self.zone.remarks if self.zone else ()

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that the configuration gives to a zone."""
        return self.zone.diagnosis.view.labels if self.zone else {}

    @property
    def verdicts(self) -> frozenset[str]:
        """The verdicts at all DNS servers."""
        return frozenset(row.verdict for row in self.rows if row.tone is not Tone.UNCHECKED)

    def sights(self) -> Iterator[HostSight]:
        """Give the hosts that it leads to, those that are gone at the end."""
        servers = [server for part in self.parts if (server := server_of(part))]
        for part in self.parts:
            if isinstance(part.diagnosis, StaticDiagnosis):
                yield part.diagnosis.sight
        for server in servers:
            yield from server.hosts
        for server in servers:
            yield from server.absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """All there is to list, each kind with trouble first and then by name."""

    zones: tuple[Card, ...]
    static_hosts: tuple[Card, ...]
    clients: tuple[Card, ...]


def make_cards(snapshot: Snapshot, report: Report, streaks: Streaks, *, now: float) -> Cards:
    """List what a report is about; what has no result yet is there too."""
    static_parts = defaultdict[str, list[StaticReport]](list)
    for static in report.static_hosts:
        host = static.diagnosis.sight.host
        static_parts[host_port(host.target, host.port)].append(static)
    client_parts = defaultdict[str, list[ClientReport]](list)
    for client in report.clients:
        client_parts[client.diagnosis.client].append(client)
    return Cards(
        zones=_sorted(_zone(zone, streaks, now) for zone in report.zones),
        static_hosts=_sorted(_static(view, static_parts, streaks, now) for view in snapshot.static_hosts),
        clients=_sorted(_client(view, client_parts, streaks, now) for view in snapshot.clients),
    )


def views_of(snapshot: Snapshot, kind: Kind) -> Mapping[str, View]:
    """Give what the state shows of everything of a kind, by the name on its card."""
    match kind:
        case Kind.ZONE:
            return {view.zone: view for view in snapshot.zones}
        case Kind.HOST:
            return {host_port(view.host.target, view.host.port): view for view in snapshot.static_hosts}
        case Kind.CLIENT:
            return {view.client: view for view in snapshot.clients}


def make_card(view: View, snapshot: Snapshot, streaks: Streaks, *, now: float) -> Card:
    """Make the card of one thing alone; all static hosts are witnesses to the advice, as ever."""
    alone = replace(
        snapshot,
        zones=(view,) if isinstance(view, ZoneView) else (),
        clients=(view,) if isinstance(view, ClientView) else (),
    )
    static_hosts = (view,) if isinstance(view, StaticHostView) else ()
    report = make_report(alone, hosts=[each.host for each in static_hosts])
    cards = make_cards(replace(alone, static_hosts=static_hosts), report, streaks, now=now)
    [card] = (*cards.zones, *cards.static_hosts, *cards.clients)
    return card


def server_of(part: Part) -> ServerDiagnosis | None:
    """Give what a zone's DNS server led to, of a client the one that decided; None for a static host."""
    match part.diagnosis:
        case ServerDiagnosis() as server:
            return server
        case ClientDiagnosis() as client:
            return client.server
        case _:
            return None


def _sorted(cards: Iterator[Card]) -> tuple[Card, ...]:
    return tuple(sorted(cards, key=lambda card: (card.tone.urgency, card.name)))


def _zone(zone: ZoneReport, streaks: Streaks, now: float) -> Card:
    view = zone.diagnosis.view
    rows = {part.diagnosis.dns_server: _row(part, view.zone, streaks, now) for part in zone.servers}
    labels = [server.dns_server for server in view.servers]
    return Card(
        kind=Kind.ZONE,
        name=view.zone,
        tone=tone_of(zone.status) if rows else Tone.UNCHECKED,
        rows=_with_unchecked(rows, labels),
        parts=zone.servers,
        checked=_checked(view.last_check, now),
        zone=zone,
    )


def _static(
    view: StaticHostView, known: Mapping[str, Sequence[StaticReport]], streaks: Streaks, now: float
) -> Card:
    name = host_port(view.host.target, view.host.port)
    parts = tuple(known.get(name, ()))
    rows = {part.diagnosis.dns_server: _row(part, name, streaks, now) for part in parts}
    return Card(
        kind=Kind.HOST,
        name=name,
        tone=_tone(parts),
        rows=_with_unchecked(rows, view.dns_servers),
        parts=parts,
        checked=_checked(view.last_check, now),
    )


def _client(
    view: ClientView, known: Mapping[str, Sequence[ClientReport]], streaks: Streaks, now: float
) -> Card:
    parts = tuple(known.get(view.client, ()))
    name = Kind.CLIENT.subject(view.client)
    rows = {part.diagnosis.dns_server: _row(part, name, streaks, now) for part in parts}
    labels = [server.dns_server for suffix in view.suffixes for server in suffix.servers]
    checks = [suffix.last_check for suffix in view.suffixes if suffix.last_check is not None]
    return Card(
        kind=Kind.CLIENT,
        name=view.client,
        tone=_tone(parts),
        rows=_with_unchecked(rows, labels),
        parts=parts,
        checked=_checked(max(checks, default=None), now),
        suffixes=tuple(suffix.zone for suffix in view.suffixes),
    )


def _tone(parts: Sequence[Part]) -> Tone:
    return tone_of(worst(part.status for part in parts)) if parts else Tone.UNCHECKED


def _checked(at: float | None, now: float) -> Moment | None:
    return None if at is None else moment(at, now=now)


def _with_unchecked(rows: Mapping[str, Row], labels: Sequence[str]) -> tuple[Row, ...]:
    """Add a row for each DNS server without a result, or one without a name where none is known."""
    places = dict.fromkeys((*labels, *rows)) or ("",)
    unchecked = {place: Row(dns_server=place, tone=Tone.UNCHECKED, verdict=NOT_CHECKED) for place in places}
    return tuple((unchecked | dict(rows)).values())


def _row(part: Part, name: str, streaks: Streaks, now: float) -> Row:
    found = part.diagnosis
    streak = streaks.get((name, found.dns_server))
    known = streak is not None and streak.verdict is found.verdict
    as_expected = part.status is Status.OK and not found.verdict.works
    return Row(
        dns_server=found.dns_server,
        tone=tone_of(part.status),
        verdict=found.verdict.value,
        meaning=_meaning(part, as_expected=as_expected),
        error=None if as_expected else found.error,
        since=moment(streak.since, now=now) if streak and known else None,
        step=next((_in_short(step) for step in part.steps), ""),
        more=max(0, len(part.steps) - 1),
    )


def _in_short(step: NextStep) -> str:
    """Give the words of a step, which may lead up to commands, as they stand without these."""
    return f"{step.text.removesuffix(':')}." if step.text.endswith(":") else step.text


def _meaning(part: Part, *, as_expected: bool) -> str:
    found = part.diagnosis
    if as_expected:
        return "nothing is published, as it should be"
    match found:
        case ServerDiagnosis():
            return show_meaning(found.verdict)
        case ClientDiagnosis():
            where = f"finds {found.dns_zone}" if found.dns_zone else f"{found.zone.view.zone} decides"
            return f"{where}: {show_meaning(found.verdict)}"
        case _:
            return show_meaning(found.verdict, of_one_host=True)
