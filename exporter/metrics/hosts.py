"""Families about hosts: their addresses, their endpoints, and whether they are up."""

import functools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from exporter.metrics.family import (
    ENDPOINT,
    HOST,
    TARGET_SERVER,
    ZONE,
    Blocks,
    Column,
    Family,
    Sample,
    Settled,
    counters,
    gauges,
    info,
    settled_info,
)
from exporter.model import NOT_AVAILABLE, Host, TargetLookup
from exporter.state import NO_REVISION, EndpointView, Snapshot, ZoneView


def host_families(snapshot: Snapshot, *, note: str) -> Iterator[Family]:
    """Show the targets' addresses, the endpoints, and the hosts; `note` is for the help of the probes."""
    revisions = _revisions(snapshot)
    yield from _targets(snapshot.targets, revisions)
    yield from _endpoints(snapshot.endpoints, note=note)
    yield from _hosts(snapshot, revisions, note=note)


def _targets(targets: Sequence[tuple[str, TargetLookup]], revisions: object) -> Iterator[Family]:
    yield settled_info(
        "kms_host_address_info",
        "1 for every address of a target as this DNS server gave it last.",
        (*TARGET_SERVER, "address"),
        revisions,
        lambda: ((t.target, label, address) for label, t in targets if label for address in t.addresses),
    )
    yield settled_info(
        "kms_host_lookup_failure",
        "1 while this DNS server gives no address for the target, with the reason; absent otherwise.",
        (*TARGET_SERVER, "reason"),
        revisions,
        lambda: ((t.target, label, t.failure.value) for label, t in targets if label and t.failure),
    )
    yield settled_info(
        "kms_host_alias_info",
        "1 for a target that is an alias (CNAME), which RFC 2782 forbids and clients may refuse.",
        (*TARGET_SERVER, "alias_of"),
        revisions,
        lambda: ((t.target, label, t.alias_of) for label, t in targets if label and t.alias_of),
    )


def _endpoints(views: Sequence[EndpointView], *, note: str) -> Iterator[Family]:
    rows = [view.endpoint for view in views]
    last = [view.last for view in views]
    yield gauges(
        "kms_endpoint_up",
        f"1 when the last probe of this address of the host went all the way.{note}",
        ENDPOINT,
        rows,
        [probe.up for probe in last],
    )
    yield gauges(
        "kms_endpoint_connect_seconds",
        "Round trip of the last TCP handshake as the kernel measured it; absent when it failed.",
        ENDPOINT,
        rows,
        [probe.connect_seconds for probe in last],
    )
    yield counters(
        "kms_endpoint_syn_retransmits_total",
        "SYNs sent again because no answer came: loss that the round trip does not show.",
        ENDPOINT,
        rows,
        [view.syn_retransmits for view in views],
    )
    yield gauges(
        "kms_endpoint_rpc_bind_seconds",
        f"From the RPC bind sent to its acceptance; absent when it failed.{note}",
        ENDPOINT,
        rows,
        [probe.rpc_bind_seconds for probe in last],
    )
    yield info(
        "kms_endpoint_failure",
        "1 while the last probe failed, with the reason; absent otherwise.",
        (*ENDPOINT, "reason"),
        (
            (*labels, probe.failure.value)
            for labels, probe in zip(rows, last, strict=True)
            if probe.failure is not None
        ),
    )
    yield counters(
        "kms_endpoint_probes_total", "Probes made.", ENDPOINT, rows, [view.probes for view in views]
    )
    yield counters(
        "kms_endpoint_probe_failures_total",
        "Probes that failed.",
        ENDPOINT,
        rows,
        [view.failures for view in views],
    )
    yield gauges(
        "kms_endpoint_last_success_timestamp_seconds",
        "When a probe last went all the way, in Unix time.",
        ENDPOINT,
        rows,
        [view.last_success for view in views],
    )


def _hosts(snapshot: Snapshot, revisions: object, *, note: str) -> Iterator[Family]:
    yield Family(
        name="kms_host_up",
        help=f"1 when an endpoint of the host is up; 0 also when it has no address.{note}",
        type="gauge",
        labels=HOST,
        content=Settled(basis=revisions, column=lambda: _host_up(snapshot)),
    )
    zones = [(zone.zone, zone) for zone in snapshot.zones if zone.published is not None]
    yield Family(
        name="kms_zone_hosts",
        help="Hosts in the last usable answers of all DNS servers; absent until there is one.",
        type="gauge",
        labels=ZONE,
        content=Blocks(
            parts=zones,
            expand=lambda name, zone: [((name,), len(_hosts_of(zone)))],
            basis=operator.attrgetter("published"),
        ),
    )
    yield Family(
        name="kms_zone_hosts_up",
        help="Those of kms_zone_hosts that are up.",
        type="gauge",
        labels=ZONE,
        content=Blocks(parts=zones, expand=_hosts_up(snapshot), basis=_revision),
    )


def _host_up(snapshot: Snapshot) -> Column:
    up = snapshot.hosts_up()
    return Column(
        rows=snapshot.hosts,
        values=[up.get(host) for host in snapshot.hosts],
    )


def _hosts_of(zone: ZoneView) -> list[Host]:
    return [host for host in zone.published or () if host.target != NOT_AVAILABLE]


def _hosts_up(snapshot: Snapshot) -> Callable[[str, ZoneView], Iterable[Sample]]:
    """Give what counts the hosts of a zone that are up, and looks for those only if it is called at all."""

    @functools.cache
    def hosts_up_in() -> Callable[[ZoneView], Collection[Host]]:
        return snapshot.hosts_up_in()

    def expand(name: str, zone: ZoneView) -> Iterable[Sample]:
        reached = hosts_up_in()(zone)
        return [((name,), sum(host in reached for host in _hosts_of(zone)))]

    return expand


def _revisions(snapshot: Snapshot) -> object:
    """Give what stays while nothing is news of hosts, their addresses, and whether they are up."""
    found = (
        *(zone.revision for zone in snapshot.zones),
        *(client.revision for client in snapshot.clients),
        *(static.revision for static in snapshot.static_hosts),
    )
    return found if found and NO_REVISION not in found else object()


def _revision(zone: ZoneView) -> object:
    """Give what stays while nothing is news of a zone and of what it leads to."""
    return zone.revision if zone.revision != NO_REVISION else object()
