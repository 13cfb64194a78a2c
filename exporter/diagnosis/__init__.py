"""What a Windows client would meet, worked out from what was seen: verdicts, likely errors, chances, advice.

Pure functions of a snapshot: no I/O, no clock, no memory. So a page, a scrape and the check command say the
same of the same observations. One diagnosis may help with the next: what has the same revision in both is not
worked out again.

| module | holds |
| --- | --- |
| findings | what a diagnosis consists of |
| verdicts | the ladder: how far a client gets |
| errors | the Windows error that it is likely to show |
| selection | the chance that its first attempt works |
| profiles | which of several suffixes a client ends up with |
| ladder | the same, rung by rung, for people |
| advice, repairs | what to do next |
"""

import functools
from collections.abc import Iterable, Iterator, Mapping

from exporter.diagnosis.advice import advise, advise_static, remark
from exporter.diagnosis.errors import Certainty, ErrorCode, LikelyError, likely_error
from exporter.diagnosis.findings import (
    ClientDiagnosis,
    Diagnosis,
    ServerDiagnosis,
    StaticDiagnosis,
    ZoneDiagnosis,
)
from exporter.diagnosis.ladder import Mark, Rung, static_ladder, zone_ladder
from exporter.diagnosis.profiles import SuffixSight, deciding_suffix
from exporter.diagnosis.repairs import NextStep, Place
from exporter.diagnosis.selection import Selection, first_attempt
from exporter.diagnosis.verdicts import HostSight, Verdict, judge
from exporter.model import NOT_AVAILABLE, Endpoint, Host, LookupStatus, ProbeResult, SrvLookup, TargetLookup
from exporter.state import NO_REVISION, ClientView, ServerView, Snapshot, StaticHostView, ZoneView
from exporter.steps import Steps, finish

__all__ = [
    "Certainty",
    "ClientDiagnosis",
    "Diagnosis",
    "ErrorCode",
    "HostSight",
    "LikelyError",
    "Mark",
    "NextStep",
    "Place",
    "Rung",
    "Selection",
    "ServerDiagnosis",
    "StaticDiagnosis",
    "Verdict",
    "ZoneDiagnosis",
    "advise",
    "advise_static",
    "diagnose",
    "diagnosing",
    "remark",
    "static_ladder",
    "zone_ladder",
]


def diagnose(snapshot: Snapshot, before: Diagnosis | None = None) -> Diagnosis:
    """Work out what clients meet by everything in a snapshot; what has no result yet is left out.

    What has not changed since the diagnosis `before` is taken from there. Its verdicts, errors, chances and
    names are those of now, but the times and counters of what was seen may be older than the snapshot's.
    """
    return finish(diagnosing(snapshot, before))


def diagnosing(snapshot: Snapshot, before: Diagnosis | None = None) -> Steps[Diagnosis]:
    """Do what `diagnose` does, step by step."""
    sights = _Sights(snapshot)
    known = _Known(before) if before else _Known(_NOTHING)
    zones: list[ZoneDiagnosis] = []
    for view in snapshot.zones:
        if (zone := known.zones.get((view.zone, view.revision))) is None:
            zone = _zone(view, sights)
            yield
        zones.append(zone)
    static_hosts: list[StaticDiagnosis] = []
    for static in snapshot.static_hosts:
        static_hosts += known.static_hosts.get((static.host, static.revision)) or _static(static, sights)
        yield
    clients: list[ClientDiagnosis] = []
    for client in snapshot.clients:
        clients += known.clients.get((client.client, client.revision)) or _client(client, sights)
        yield
    return Diagnosis(zones=tuple(zones), static_hosts=tuple(static_hosts), clients=tuple(clients))


_NOTHING = Diagnosis(zones=(), static_hosts=(), clients=())


class _Known:
    """Finds what a diagnosis has of something, by its name and revision; never what has no revision."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.zones = {
            (zone.view.zone, zone.view.revision): zone
            for zone in diagnosis.zones
            if zone.view.revision != NO_REVISION
        }
        self.static_hosts: dict[tuple[Host, int], list[StaticDiagnosis]] = {}
        for static in diagnosis.static_hosts:
            if static.revision != NO_REVISION:
                self.static_hosts.setdefault((static.sight.host, static.revision), []).append(static)
        self.clients: dict[tuple[str, int], list[ClientDiagnosis]] = {}
        for client in diagnosis.clients:
            if client.revision != NO_REVISION:
                self.clients.setdefault((client.client, client.revision), []).append(client)


class _Sights:
    """Finds what was seen of a host through a DNS server; its tables are made when they are needed."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @functools.cached_property
    def _lookups(self) -> Mapping[tuple[str, str], TargetLookup]:
        return {(label, lookup.target): lookup for label, lookup in self._snapshot.targets}

    @functools.cached_property
    def _probes(self) -> Mapping[Endpoint, ProbeResult]:
        return {view.endpoint: view.last for view in self._snapshot.endpoints}

    def of(self, hosts: Iterable[Host], dns_server: str) -> tuple[HostSight, ...]:
        return tuple(self._of(host, dns_server) for host in dict.fromkeys(hosts))

    def _of(self, host: Host, dns_server: str) -> HostSight:
        lookup = self._lookups.get((dns_server, host.target))
        return HostSight(host=host, lookup=lookup, probes=self._probes_of(host, lookup))

    def _probes_of(self, host: Host, lookup: TargetLookup | None) -> tuple[ProbeResult, ...]:
        addresses = lookup.addresses if lookup else ()
        endpoints = (Endpoint(host.target, host.port, address) for address in addresses)
        return tuple(probe for each in endpoints if (probe := self._probes.get(each)))


def _zone(view: ZoneView, sights: _Sights) -> ZoneDiagnosis:
    absent = sorted(host for host in view.vanished | view.missing if host.target != NOT_AVAILABLE)
    return ZoneDiagnosis(
        view=view,
        servers=tuple(
            _server(server, server.lookup, view, absent, sights) for server in view.servers if server.lookup
        ),
        agree=_agree(server.lookup for server in view.servers if server.lookup),
    )


def _server(
    server: ServerView, lookup: SrvLookup, zone: ZoneView, absent: Iterable[Host], sights: _Sights
) -> ServerDiagnosis:
    records = server.records or ()
    hosts = sights.of((r.host for r in records if r.target != NOT_AVAILABLE), server.dns_server)
    verdict = judge(lookup, hosts)
    works = {sight.host: sight.works for sight in hosts}
    return ServerDiagnosis(
        dns_server=server.dns_server,
        lookup=lookup,
        verdict=verdict,
        as_expected=zone.expected == frozenset() and verdict in {Verdict.SRV_MISSING, Verdict.SRV_DECLINED},
        error=likely_error(verdict, lookup.status),
        first_attempt=first_attempt((*lookup.records, *lookup.portless), works),
        hosts=hosts,
        absent=sights.of(absent, server.dns_server),
    )


def _agree(lookups: Iterable[SrvLookup]) -> bool | None:
    """Compare authoritative answers as sets of records: order and TTL are no part of what is published."""
    published = [each.fingerprint for each in lookups if each.authoritative and each.status.usable]
    return len(set(published)) == 1 if len(published) > 1 else None


def _static(view: StaticHostView, sights: _Sights) -> Iterator[StaticDiagnosis]:
    for dns_server in view.dns_servers:
        [sight] = sights.of([view.host], dns_server)
        if sight.lookup:
            yield StaticDiagnosis(dns_server=dns_server, sight=sight, revision=view.revision)


def _client(view: ClientView, sights: _Sights) -> Iterator[ClientDiagnosis]:
    suffixes = [_zone(suffix, sights) for suffix in view.suffixes]
    for label in dict.fromkeys(server.dns_server for suffix in suffixes for server in suffix.servers):
        deciding = deciding_suffix([_suffix_at(label, suffix) for suffix in suffixes])
        if deciding:
            won = deciding.server.lookup.status is LookupStatus.OK
            yield ClientDiagnosis(
                client=view.client,
                dns_server=label,
                dns_zone=deciding.zone.view.zone if won else None,
                zone=deciding.zone,
                server=deciding.server,
                revision=view.revision,
            )


def _suffix_at(dns_server: str, zone: ZoneDiagnosis) -> SuffixSight | None:
    server = next((server for server in zone.servers if server.dns_server == dns_server), None)
    return SuffixSight(zone=zone, server=server) if server else None
