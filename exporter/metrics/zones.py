"""Families about zones and what DNS servers say of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric

from exporter.metrics.family import RECORD, ZONE, ZONE_SERVER, Sample, counter, gauge, histogram, states
from exporter.model import Host, LookupStatus
from exporter.state import Histogram, ServerView, Snapshot, ZoneView


def zone_families(snapshot: Snapshot) -> Iterator[Metric]:
    """Show the zones, their lookups at every DNS server, and their records."""
    yield _zone_info(snapshot.zones)
    at_servers = [(zone.zone, view) for zone in snapshot.zones for view in zone.servers]
    yield from _lookups(at_servers, snapshot.lookup_durations)
    yield from _records(snapshot.zones)


def _zone_info(zones: Sequence[ZoneView]) -> Metric:
    names = sorted({name for zone in zones for name in zone.labels})
    return gauge(
        "kms_zone_info",
        "1 for every configured zone, with the labels that the configuration gives it.",
        (*ZONE, *names),
        (((zone.zone, *(zone.labels.get(name, "") for name in names)), 1) for zone in zones),
    )


def _lookups(
    views: Sequence[tuple[str, ServerView]], durations: Iterable[tuple[str, Histogram]]
) -> Iterator[Metric]:
    def each(value: Callable[[ServerView], float | None]) -> Iterator[Sample]:
        for zone, view in views:
            if (found := value(view)) is not None:
                yield (zone, view.dns_server), found

    yield states(
        "kms_srv_lookup_status",
        "1 for the outcome of the last SRV lookup of the zone at this DNS server, 0 for all others.",
        (*ZONE_SERVER, "status"),
        LookupStatus,
        (((zone, view.dns_server), view.lookup.status) for zone, view in views if view.lookup),
    )
    yield gauge(
        "kms_srv_lookup_seconds",
        "Duration of the last SRV lookup that got an answer.",
        ZONE_SERVER,
        each(lambda view: view.answered_seconds),
    )
    yield histogram(
        "kms_srv_lookup_duration_seconds",
        "Duration of every SRV lookup at this DNS server, answered or not.",
        ("dns_server",),
        (((dns_server,), histogram) for dns_server, histogram in durations),
    )
    yield counter("kms_srv_lookups_total", "SRV lookups made.", ZONE_SERVER, each(lambda view: view.lookups))
    yield counter(
        "kms_srv_lookup_failures_total",
        "SRV lookups without a usable answer (which ok, nxdomain and nodata are).",
        ZONE_SERVER,
        each(lambda view: view.failures),
    )
    yield gauge(
        "kms_srv_records",
        "SRV records in the last answer; 0 for nxdomain and nodata, absent while there is no usable answer.",
        ZONE_SERVER,
        each(lambda view: view.lookup.record_count if _is_usable(view) and view.lookup else None),
    )
    yield gauge(
        "kms_srv_record_info",
        "1 for every SRV record of the last answer, while it is usable.",
        (*ZONE_SERVER, "target", "port", "priority", "weight"),
        (
            ((zone, view.dns_server, r.target, str(r.port), str(r.priority), str(r.weight)), 1)
            for zone, view in views
            if view.lookup
            for r in view.lookup.records
        ),
    )
    yield gauge(
        "kms_srv_record_ttl_seconds",
        "Smallest TTL in the last answer that held records; counts down where a cache answers.",
        ZONE_SERVER,
        each(lambda view: view.lookup.ttl_seconds if view.lookup else None),
    )
    yield gauge(
        "kms_dns_answer_authoritative",
        "1 when the last usable answer came from a server with authority for the zone, 0 from a cache.",
        ZONE_SERVER,
        each(lambda view: view.lookup.authoritative if view.lookup else None),
    )
    yield gauge(
        "kms_dns_soa_serial",
        "Serial of the zone's SOA record at this DNS server. Never compare it across servers: each domain "
        "controller counts its own.",
        ZONE_SERVER,
        each(lambda view: view.lookup.soa_serial if view.lookup else None),
    )


def _is_usable(view: ServerView) -> bool:
    return view.lookup is not None and view.lookup.status.usable


def _records(zones: Sequence[ZoneView]) -> Iterator[Metric]:
    yield gauge(
        "kms_srv_record_published",
        "1 while any DNS server publishes the record, by its last usable answer; 0 while it is expected and "
        "missing, and after it vanished, until it is forgotten.",
        RECORD,
        (
            (_record_labels(zone, host), float(host in (zone.published or ())))
            for zone in zones
            for host in _known(zone)
        ),
    )
    yield gauge(
        "kms_srv_record_expected",
        "1 for a record that the configuration expects, 0 for one that nobody asked for; absent for a zone "
        "where nothing is said of it.",
        RECORD,
        (
            (_record_labels(zone, host), float(zone.is_expected(host)))
            for zone in zones
            if zone.expected is not None
            for host in _known(zone)
        ),
    )
    yield gauge(
        "kms_zone_hosts_expected",
        "Hosts that the configuration expects in the zone, where it says so.",
        ZONE,
        (((zone.zone,), len(zone.expected)) for zone in zones if zone.expected is not None),
    )


def _known(zone: ZoneView) -> list[Host]:
    return sorted((zone.published or frozenset()) | zone.vanished | zone.missing)


def _record_labels(zone: ZoneView, host: Host) -> tuple[str, str, str]:
    return zone.zone, host.target, str(host.port)
