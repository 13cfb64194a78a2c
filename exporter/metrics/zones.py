"""Families about zones and what DNS servers say of them."""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence

from exporter.metrics.family import (
    RECORD,
    ZONE,
    ZONE_SERVER,
    Blocks,
    Family,
    LabelValues,
    Sample,
    counters,
    gauge,
    gauges,
    histogram,
    info,
    itself,
    states,
)
from exporter.model import Host, LookupStatus, Record, SrvLookup
from exporter.state import Histogram, ServerView, Snapshot, ZoneView


def zone_families(snapshot: Snapshot) -> Iterator[Family]:
    """Show the zones, their lookups at every DNS server, and their records."""
    yield _zone_info(snapshot.zones)
    at_servers = [(zone.zone, view) for zone in snapshot.zones for view in zone.servers]
    yield from _lookups(at_servers, snapshot.lookup_durations)
    yield from _answers(at_servers)
    yield from _records(snapshot.zones)


def _zone_info(zones: Sequence[ZoneView]) -> Family:
    names = sorted({name for zone in zones for name in zone.labels})
    return info(
        "kms_zone_info",
        "1 for every configured zone, with the labels that the configuration gives it.",
        (*ZONE, *names),
        ((zone.zone, *(zone.labels.get(name, "") for name in names)) for zone in zones),
    )


def _lookups(
    views: Sequence[tuple[str, ServerView]], durations: Iterable[tuple[str, Histogram]]
) -> Iterator[Family]:
    rows = [(zone, view.dns_server) for zone, view in views]
    yield states(
        "kms_srv_lookup_status",
        "1 for the outcome of the last SRV lookup of the zone at this DNS server, 0 for all others.",
        (*ZONE_SERVER, "status"),
        LookupStatus,
        (((zone, view.dns_server), view.lookup.status) for zone, view in views if view.lookup),
    )
    yield gauges(
        "kms_srv_lookup_seconds",
        "Duration of the last SRV lookup that got an answer.",
        ZONE_SERVER,
        rows,
        [view.answered_seconds for _, view in views],
    )
    yield histogram(
        "kms_srv_lookup_duration_seconds",
        "Duration of every SRV lookup at this DNS server, answered or not.",
        ("dns_server",),
        (((dns_server,), histogram) for dns_server, histogram in durations),
    )
    yield counters(
        "kms_srv_lookups_total", "SRV lookups made.", ZONE_SERVER, rows, [view.lookups for _, view in views]
    )
    yield counters(
        "kms_srv_lookup_failures_total",
        "SRV lookups without a usable answer (which ok, nxdomain and nodata are).",
        ZONE_SERVER,
        rows,
        [view.failures for _, view in views],
    )


def _answers(views: Sequence[tuple[str, ServerView]]) -> Iterator[Family]:
    looked_up = [(zone, view.dns_server, view.lookup) for zone, view in views if view.lookup]
    rows: list[LabelValues] = [(zone, dns_server) for zone, dns_server, _ in looked_up]

    def each(value: Callable[[SrvLookup], float | None]) -> tuple[list[LabelValues], list[float | None]]:
        return rows, [value(lookup) for _, _, lookup in looked_up]

    yield gauges(
        "kms_srv_records",
        "SRV records in the last answer; 0 for nxdomain and nodata, absent while there is no usable answer.",
        ZONE_SERVER,
        *each(lambda lookup: lookup.record_count if lookup.status.usable else None),
    )
    yield Family(
        name="kms_srv_record_info",
        help="1 for every SRV record of the last answer, while it is usable.",
        type="gauge",
        labels=(*ZONE_SERVER, "target", "port", "priority", "weight"),
        content=Blocks(
            parts=[((zone, dns_server), lookup.records) for zone, dns_server, lookup in looked_up],
            expand=_record_infos,
            basis=itself,
        ),
    )
    yield gauges(
        "kms_srv_record_ttl_seconds",
        "Smallest TTL in the last answer that held records; counts down where a cache answers.",
        ZONE_SERVER,
        *each(operator.attrgetter("ttl_seconds")),
    )
    yield gauges(
        "kms_dns_answer_authoritative",
        "1 when the last usable answer came from a server with authority for the zone, 0 from a cache.",
        ZONE_SERVER,
        *each(operator.attrgetter("authoritative")),
    )
    yield gauges(
        "kms_dns_soa_serial",
        "Serial of the zone's SOA record at this DNS server. Never compare it across servers: each domain "
        "controller counts its own.",
        ZONE_SERVER,
        *each(operator.attrgetter("soa_serial")),
    )


def _record_infos(at: tuple[str, str], records: Iterable[Record]) -> Iterator[Sample]:
    return (((*at, r.target, str(r.port), str(r.priority), str(r.weight)), 1) for r in records)


def _records(zones: Sequence[ZoneView]) -> Iterator[Family]:
    basis = operator.attrgetter("published", "vanished", "expected")
    yield Family(
        name="kms_srv_record_published",
        help="1 while any DNS server publishes the record, by its last usable answer; 0 while it is expected "
        "and missing, and after it vanished, until it is forgotten.",
        type="gauge",
        labels=RECORD,
        content=Blocks(parts=[(zone.zone, zone) for zone in zones], expand=_published, basis=basis),
    )
    opinions = [(zone.zone, zone) for zone in zones if zone.expected is not None]
    yield Family(
        name="kms_srv_record_expected",
        help="1 for a record that the configuration expects, 0 for one that nobody asked for; absent for a "
        "zone where nothing is said of it.",
        type="gauge",
        labels=RECORD,
        content=Blocks(parts=opinions, expand=_expected, basis=basis),
    )
    yield gauge(
        "kms_zone_hosts_expected",
        "Hosts that the configuration expects in the zone, where it says so.",
        ZONE,
        (((zone.zone,), len(zone.expected)) for zone in zones if zone.expected is not None),
    )


def _published(name: str, zone: ZoneView) -> Iterator[Sample]:
    published = zone.published or ()
    return (((name, host.target, str(host.port)), float(host in published)) for host in _known(zone))


def _expected(name: str, zone: ZoneView) -> Iterator[Sample]:
    return (((name, host.target, str(host.port)), float(zone.is_expected(host))) for host in _known(zone))


def _known(zone: ZoneView) -> list[Host]:
    return sorted((zone.published or frozenset()) | zone.vanished | zone.missing)
