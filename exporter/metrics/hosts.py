"""Families about hosts: their addresses, their endpoints, and whether they are up."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import Metric

from exporter.metrics.family import ENDPOINT, HOST, TARGET_SERVER, ZONE, Sample, counter, gauge
from exporter.model import NOT_AVAILABLE, Endpoint, TargetLookup
from exporter.state import EndpointView, Snapshot


def host_families(snapshot: Snapshot, *, note: str) -> Iterator[Metric]:
    """Show the targets' addresses, the endpoints, and the hosts; `note` is for the help of the probes."""
    yield from _targets(snapshot.targets)
    yield from _endpoints(snapshot.endpoints, note=note)
    yield from _hosts(snapshot, note=note)


def _targets(targets: Sequence[tuple[str, TargetLookup]]) -> Iterator[Metric]:
    yield gauge(
        "kms_host_address_info",
        "1 for every address of a target as this DNS server gave it last.",
        (*TARGET_SERVER, "address"),
        (((t.target, label, address), 1) for label, t in targets if label for address in t.addresses),
    )
    yield gauge(
        "kms_host_lookup_failure",
        "1 while this DNS server gives no address for the target, with the reason; absent otherwise.",
        (*TARGET_SERVER, "reason"),
        (((t.target, label, t.failure.value), 1) for label, t in targets if label and t.failure),
    )
    yield gauge(
        "kms_host_alias_info",
        "1 for a target that is an alias (CNAME), which RFC 2782 forbids and clients may refuse.",
        (*TARGET_SERVER, "alias_of"),
        (((t.target, label, t.alias_of), 1) for label, t in targets if label and t.alias_of),
    )


def _endpoints(views: Sequence[EndpointView], *, note: str) -> Iterator[Metric]:
    def each(value: Callable[[EndpointView], float | None]) -> Iterator[Sample]:
        for view in views:
            if (found := value(view)) is not None:
                yield _endpoint_labels(view.endpoint), found

    yield gauge(
        "kms_endpoint_up",
        f"1 when the last probe of this address of the host went all the way.{note}",
        ENDPOINT,
        each(lambda view: view.last.up),
    )
    yield gauge(
        "kms_endpoint_connect_seconds",
        "Round trip of the last TCP handshake as the kernel measured it; absent when it failed.",
        ENDPOINT,
        each(lambda view: view.last.connect_seconds),
    )
    yield counter(
        "kms_endpoint_syn_retransmits_total",
        "SYNs sent again because no answer came: loss that the round trip does not show.",
        ENDPOINT,
        each(lambda view: view.syn_retransmits),
    )
    yield gauge(
        "kms_endpoint_rpc_bind_seconds",
        f"From the RPC bind sent to its acceptance; absent when it failed.{note}",
        ENDPOINT,
        each(lambda view: view.last.rpc_bind_seconds),
    )
    yield gauge(
        "kms_endpoint_failure",
        "1 while the last probe failed, with the reason; absent otherwise.",
        (*ENDPOINT, "reason"),
        (
            ((*_endpoint_labels(view.endpoint), view.last.failure.value), 1)
            for view in views
            if view.last.failure
        ),
    )
    yield counter("kms_endpoint_probes_total", "Probes made.", ENDPOINT, each(lambda view: view.probes))
    yield counter(
        "kms_endpoint_probe_failures_total", "Probes that failed.", ENDPOINT, each(lambda view: view.failures)
    )
    yield gauge(
        "kms_endpoint_last_success_timestamp_seconds",
        "When a probe last went all the way, in Unix time.",
        ENDPOINT,
        each(lambda view: view.last_success),
    )


def _endpoint_labels(endpoint: Endpoint) -> tuple[str, str, str]:
    return endpoint.target, str(endpoint.port), endpoint.address


def _hosts(snapshot: Snapshot, *, note: str) -> Iterator[Metric]:
    up = snapshot.hosts_up()
    published = {
        zone.zone: [host for host in zone.published if host.target != NOT_AVAILABLE]
        for zone in snapshot.zones
        if zone.published is not None
    }
    yield gauge(
        "kms_host_up",
        f"1 when an endpoint of the host is up; 0 also when it has no address.{note}",
        HOST,
        (((host.target, str(host.port)), up[host]) for host in snapshot.hosts if host in up),
    )
    yield gauge(
        "kms_zone_hosts",
        "Hosts in the last usable answers of all DNS servers; absent until there is one.",
        ZONE,
        (((zone,), len(hosts)) for zone, hosts in published.items()),
    )
    yield gauge(
        "kms_zone_hosts_up",
        "Those of kms_zone_hosts that are up.",
        ZONE,
        (
            ((zone.zone,), sum(host in reached for host in published[zone.zone]))
            for zone, reached in snapshot.hosts_up_by_zone()
            if zone.zone in published
        ),
    )
