"""From a snapshot to metric families: the only place that knows a metric's name.

Pure but for the collector class that hands the families to prometheus_client. Names, labels and meaning are a
public interface; they follow https://prometheus.io/docs/practices/naming/ and
https://prometheus.io/docs/instrumenting/writing_exporters/. Values are those of the last check, not of the
moment of the scrape: the exporter looks on its own timer.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from exporter.build import BuildInfo
from exporter.model import Endpoint, Host, LookupStatus, hosts_of
from exporter.state import EndpointView, ExporterView, Histogram, ServerView, Snapshot, ZoneView

Sample = tuple[Sequence[str], float]

ZONE = ("dns_zone",)
ZONE_SERVER = ("dns_zone", "dns_server")
RECORD = ("dns_zone", "target", "port")
TARGET_SERVER = ("target", "dns_server")
HOST = ("target", "port")
ENDPOINT = ("target", "port", "address")


class SnapshotCollector(Collector):
    """Hands one snapshot to prometheus_client; usable in any thread."""

    def __init__(self, snapshot: Snapshot, build: BuildInfo) -> None:
        self._snapshot = snapshot
        self._build = build

    def collect(self) -> Iterable[Metric]:
        """Give the families of the snapshot."""
        return families(self._snapshot, self._build)


def families(snapshot: Snapshot, build: BuildInfo) -> Iterator[Metric]:
    """Turn a snapshot into metric families, in the order in which a reader would want them."""
    yield from _zones(snapshot.zones)
    yield from _lookups(_at_servers(snapshot.zones), snapshot.lookup_durations)
    yield from _records(snapshot.zones)
    yield from _targets(snapshot)
    yield from _endpoints(snapshot.endpoints)
    yield from _hosts(snapshot)
    yield from _checks(snapshot)
    yield from _exporter(snapshot.exporter, build)


def _gauge(name: str, help_text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, help_text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str, help_text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=labels)
    for values, histogram in samples:
        buckets = [(_bound(bound), count) for bound, count in histogram.cumulative()]
        family.add_metric(values, buckets, histogram.sum)
    return family


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else str(seconds)


def _zones(zones: Sequence[ZoneView]) -> Iterator[Metric]:
    names = sorted({name for zone in zones for name in zone.labels})
    yield _gauge(
        "kms_zone_info",
        "1 for every configured zone, with the labels that the configuration gives it.",
        (*ZONE, *names),
        (((zone.zone, *(zone.labels.get(name, "") for name in names)), 1) for zone in zones),
    )


def _at_servers(zones: Sequence[ZoneView]) -> list[tuple[str, ServerView]]:
    return [(zone.zone, view) for zone in zones for view in zone.servers]


def _lookups(
    views: Sequence[tuple[str, ServerView]], durations: Iterable[tuple[str, Histogram]]
) -> Iterator[Metric]:
    def each(value: Callable[[ServerView], float | None]) -> Iterator[Sample]:
        for zone, view in views:
            if (found := value(view)) is not None:
                yield (zone, view.dns_server), found

    yield _gauge(
        "kms_srv_lookup_status",
        "1 for the outcome of the last SRV lookup of the zone at this DNS server, 0 for all others.",
        (*ZONE_SERVER, "status"),
        (
            ((zone, view.dns_server, status.value), float(status is view.lookup.status))
            for zone, view in views
            if view.lookup
            for status in LookupStatus
        ),
    )
    yield _gauge(
        "kms_srv_lookup_seconds",
        "Duration of the last SRV lookup that got an answer.",
        ZONE_SERVER,
        each(lambda view: view.answered_seconds),
    )
    yield _histogram(
        "kms_srv_lookup_duration_seconds",
        "Duration of every SRV lookup at this DNS server, answered or not.",
        ("dns_server",),
        (((dns_server,), histogram) for dns_server, histogram in durations),
    )
    yield _counter("kms_srv_lookups_total", "SRV lookups made.", ZONE_SERVER, each(lambda view: view.lookups))
    yield _counter(
        "kms_srv_lookup_failures_total",
        "SRV lookups without a usable answer (which ok, nxdomain and nodata are).",
        ZONE_SERVER,
        each(lambda view: view.failures),
    )
    yield _gauge(
        "kms_srv_records",
        "SRV records in the last answer; 0 for nxdomain and nodata, absent while there is no usable answer.",
        ZONE_SERVER,
        each(lambda view: view.lookup.record_count if _is_usable(view) and view.lookup else None),
    )
    yield _gauge(
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
    yield _gauge(
        "kms_srv_record_ttl_seconds",
        "Smallest TTL in the last answer that held records; counts down where a cache answers.",
        ZONE_SERVER,
        each(lambda view: view.lookup.ttl_seconds if view.lookup else None),
    )
    yield _gauge(
        "kms_dns_answer_authoritative",
        "1 when the last usable answer came from a server with authority for the zone, 0 from a cache.",
        ZONE_SERVER,
        each(lambda view: view.lookup.authoritative if view.lookup else None),
    )
    yield _gauge(
        "kms_dns_soa_serial",
        "Serial of the zone's SOA record at this DNS server. Never compare it across servers: each domain "
        "controller counts its own.",
        ZONE_SERVER,
        each(lambda view: view.lookup.soa_serial if view.lookup else None),
    )


def _is_usable(view: ServerView) -> bool:
    return view.lookup is not None and view.lookup.status.usable


def _records(zones: Sequence[ZoneView]) -> Iterator[Metric]:
    yield _gauge(
        "kms_srv_record_published",
        "1 while any DNS server publishes the record, by its last usable answer; 0 after it vanished, until "
        "it is forgotten.",
        RECORD,
        (
            ((zone.zone, host.target, str(host.port)), float(host in zone.published))
            for zone in zones
            for host in sorted(zone.published | zone.vanished)
        ),
    )


def _targets(snapshot: Snapshot) -> Iterator[Metric]:
    targets = snapshot.targets
    yield _gauge(
        "kms_host_address_info",
        "1 for every address of a target as this DNS server gave it last.",
        (*TARGET_SERVER, "address"),
        (((t.target, label, address), 1) for label, t in targets if label for address in t.addresses),
    )
    yield _gauge(
        "kms_host_lookup_failure",
        "1 while this DNS server gives no address for the target, with the reason; absent otherwise.",
        (*TARGET_SERVER, "reason"),
        (((t.target, label, t.failure.value), 1) for label, t in targets if label and t.failure),
    )
    yield _gauge(
        "kms_host_alias_info",
        "1 for a target that is an alias (CNAME), which RFC 2782 forbids and clients may refuse.",
        (*TARGET_SERVER, "alias_of"),
        (((t.target, label, t.alias_of), 1) for label, t in targets if label and t.alias_of),
    )


def _endpoints(views: Sequence[EndpointView]) -> Iterator[Metric]:
    def each(value: Callable[[EndpointView], float | None]) -> Iterator[Sample]:
        for view in views:
            if (found := value(view)) is not None:
                yield _endpoint_labels(view.endpoint), found

    yield _gauge(
        "kms_endpoint_up",
        "1 when the last probe of this address of the host went all the way.",
        ENDPOINT,
        each(lambda view: view.last.up),
    )
    yield _gauge(
        "kms_endpoint_connect_seconds",
        "Round trip of the last TCP handshake as the kernel measured it; absent when it failed.",
        ENDPOINT,
        each(lambda view: view.last.connect_seconds),
    )
    yield _counter(
        "kms_endpoint_syn_retransmits_total",
        "SYNs sent again because no answer came: loss that the round trip does not show.",
        ENDPOINT,
        each(lambda view: view.syn_retransmits),
    )
    yield _gauge(
        "kms_endpoint_failure",
        "1 while the last probe failed, with the reason; absent otherwise.",
        (*ENDPOINT, "reason"),
        (
            ((*_endpoint_labels(view.endpoint), view.last.failure.value), 1)
            for view in views
            if view.last.failure
        ),
    )
    yield _counter("kms_endpoint_probes_total", "Probes made.", ENDPOINT, each(lambda view: view.probes))
    yield _counter(
        "kms_endpoint_probe_failures_total", "Probes that failed.", ENDPOINT, each(lambda view: view.failures)
    )
    yield _gauge(
        "kms_endpoint_last_success_timestamp_seconds",
        "When a probe last went all the way, in Unix time.",
        ENDPOINT,
        each(lambda view: view.last_success),
    )


def _endpoint_labels(endpoint: Endpoint) -> tuple[str, str, str]:
    return endpoint.target, str(endpoint.port), endpoint.address


def _hosts(snapshot: Snapshot) -> Iterator[Metric]:
    up: defaultdict[Host, bool] = defaultdict(bool)
    for view in snapshot.endpoints:
        up[view.endpoint.host] |= view.last.up
    published = {
        zone.zone: hosts_of(record for view in zone.servers for record in view.records or ())
        for zone in snapshot.zones
        if any(view.records is not None for view in zone.servers)
    }
    yield _gauge(
        "kms_host_up",
        "1 when an endpoint of the host is up; 0 also when it has no address.",
        HOST,
        (((host.target, str(host.port)), float(up[host])) for host in snapshot.hosts),
    )
    yield _gauge(
        "kms_zone_hosts",
        "Hosts in the last usable answers of all DNS servers; absent until there is one.",
        ZONE,
        (((zone,), len(hosts)) for zone, hosts in published.items()),
    )
    yield _gauge(
        "kms_zone_hosts_up",
        "Those of kms_zone_hosts that are up.",
        ZONE,
        (((zone,), sum(up[host] for host in hosts)) for zone, hosts in published.items()),
    )


def _checks(snapshot: Snapshot) -> Iterator[Metric]:
    zones = [zone for zone in snapshot.zones if zone.last_check is not None]
    yield _gauge(
        "kms_exporter_last_check_timestamp_seconds",
        "When the last check of the zone was finished, in Unix time.",
        ZONE,
        (((zone.zone,), zone.last_check) for zone in zones if zone.last_check is not None),
    )
    yield _gauge(
        "kms_exporter_check_duration_seconds",
        "Duration of the last check of the zone.",
        ZONE,
        (((zone.zone,), zone.check_duration_seconds or 0.0) for zone in zones),
    )
    yield _gauge(
        "kms_exporter_static_host_last_check_timestamp_seconds",
        "When the last check of the static host was finished, in Unix time.",
        HOST,
        (((host.target, str(host.port)), at) for host, at in snapshot.static_hosts if at is not None),
    )
    yield _counter(
        "kms_exporter_records_ignored_total",
        "Records and addresses left out of results because they were malformed or over a limit.",
        (*ZONE, "reason"),
        (
            ((zone.zone, reason.value), count)
            for zone in snapshot.zones
            for reason, count in zone.ignored.items()
        ),
    )


def _exporter(view: ExporterView, build: BuildInfo) -> Iterator[Metric]:
    yield _counter(
        "kms_exporter_checks_overrun_total",
        "Checks that were still running when the next one was due.",
        (),
        [((), view.overruns)],
    )
    yield _counter(
        "kms_exporter_internal_errors_total",
        "Bugs caught; the log has a traceback of each.",
        (),
        [((), view.internal_errors)],
    )
    yield _histogram(
        "kms_exporter_event_loop_lag_seconds",
        "How much later than asked for the event loop woke up.",
        (),
        [((), view.event_loop_lag)],
    )
    yield _gauge(
        "kms_exporter_config_last_reload_successful",
        "1 when the last attempt to load the configuration succeeded.",
        (),
        [((), view.last_reload_successful)] if view.last_reload_successful is not None else [],
    )
    yield _gauge(
        "kms_exporter_config_last_reload_success_timestamp_seconds",
        "When the configuration was last loaded, in Unix time.",
        (),
        [((), view.last_reload_success)] if view.last_reload_success is not None else [],
    )
    yield _gauge(
        "kms_exporter_build_info",
        "1, with what is running in the labels.",
        ("version", "revision", "python"),
        [((build.version, build.revision, build.python), 1)],
    )
