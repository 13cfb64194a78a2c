"""KMS hosts as target groups of Prometheus' HTTP service discovery.

Pure functions of a snapshot. The format: https://prometheus.io/docs/prometheus/latest/http_sd/. There every
label value is text; one that lists things has a comma on either side of each, for matchers to find it by.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from exporter.diagnosis import HostSight, Verdict, ZoneDiagnosis, diagnose
from exporter.model import Host, Record, host_port
from exporter.state import Snapshot, ZoneView

NO_ZONE = ""
"""What static hosts have in place of a zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGroup:
    """One host as one zone publishes it, or as it was assigned, and what is known of it there."""

    target: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A host with the most preferred record that names it, and how each DNS server leads to it.

    `zone` and `record` are None for a static host.
    """

    host: Host
    zone: ZoneView | None
    record: Record | None
    sights: Mapping[str, HostSight]


def unknown_zones(snapshot: Snapshot, zones: Iterable[str]) -> list[str]:
    """List those of `zones` that are not configured."""
    return sorted(set(zones) - {NO_ZONE} - {view.zone for view in snapshot.zones})


def narrow(snapshot: Snapshot, zones: Collection[str]) -> Snapshot:
    """Leave these zones only, and static hosts only where NO_ZONE is one of them."""
    return replace(
        snapshot,
        zones=tuple(view for view in snapshot.zones if view.zone in zones),
        static_hosts=snapshot.static_hosts if NO_ZONE in zones else (),
    )


def target_groups(snapshot: Snapshot) -> tuple[TargetGroup, ...]:
    r"""Give each host that a zone publishes, by the last usable answers, and each static host.

    Zones and static hosts keep their order, hosts of a zone are sorted. A name that has bytes which no host
    name has, shown as `\DDD`, is left out: it is no address of anything.
    """
    up = snapshot.hosts_up()
    return tuple(
        TargetGroup(target=host_port(seen.host.target, seen.host.port), labels=_labels(seen, up))
        for seen in _seen(snapshot)
        if "\\" not in seen.host.target
    )


def render(groups: Iterable[TargetGroup]) -> str:
    """Write target groups as Prometheus reads them."""
    return json.dumps([{"targets": [group.target], "labels": dict(group.labels)} for group in groups])


def _seen(snapshot: Snapshot) -> Iterator[_Seen]:
    diagnosis = diagnose(replace(snapshot, clients=()))
    for zone in diagnosis.zones:
        yield from _published(zone)
    assigned: dict[Host, dict[str, HostSight]] = {view.host: {} for view in snapshot.static_hosts}
    for each in diagnosis.static_hosts:
        assigned[each.sight.host][each.dns_server] = each.sight
    for host, sights in assigned.items():
        yield _Seen(host=host, zone=None, record=None, sights=sights)


def _published(zone: ZoneDiagnosis) -> Iterator[_Seen]:
    sights: dict[Host, dict[str, HostSight]] = {}
    for server in zone.servers:
        for sight in server.hosts:
            sights.setdefault(sight.host, {})[server.dns_server] = sight
    preferred = _preferred(zone.view)
    for host in sorted(sights):
        yield _Seen(host=host, zone=zone.view, record=preferred[host], sights=sights[host])


def _preferred(zone: ZoneView) -> Mapping[Host, Record]:
    """Choose among the records of a host the one by which clients come to it first (RFC 2782)."""
    records = (record for server in zone.servers for record in server.records or ())
    return {
        record.host: record
        for record in sorted(records, key=lambda record: (record.priority, -record.weight), reverse=True)
    }


def _labels(seen: _Seen, up: Mapping[Host, bool]) -> Mapping[str, str]:
    zone, record = seen.zone, seen.record
    known = {address for sight in seen.sights.values() if sight.lookup for address in sight.lookup.addresses}
    labels = {
        "dns_zone": zone.zone if zone else NO_ZONE,
        "target": seen.host.target,
        "port": str(seen.host.port),
        "priority": str(record.priority) if record else "",
        "weight": str(record.weight) if record else "",
        "expected": _truth(zone.is_expected(seen.host)) if zone and zone.expected is not None else "",
        "static": _truth(zone is None),
        "up": _truth(up.get(seen.host)),
        "verdict": _verdict(seen),
        "dns_servers": _list(seen.sights.keys()),
        "addresses": _list(known),
    }
    labels |= {f"zone_label_{name}": value for name, value in (zone.labels if zone else {}).items()}
    return {f"__meta_kms_{name}": value for name, value in labels.items()}


def _verdict(seen: _Seen) -> Verdict:
    """Judge a host by the addresses of all DNS servers that lead to it, as if one had given them."""
    lookups = [sight.lookup for sight in seen.sights.values() if sight.lookup]
    lookup = next((lookup for lookup in lookups if lookup.addresses), lookups[0] if lookups else None)
    probes = tuple(probe for sight in seen.sights.values() for probe in sight.probes)
    return HostSight(host=seen.host, lookup=lookup, probes=probes).verdict


def _truth(value: bool | None) -> str:  # noqa: FBT001 (the value is the argument)
    return "" if value is None else str(value).lower()


def _list(items: Iterable[str]) -> str:
    found = sorted(filter(None, items))
    return f",{','.join(found)}," if found else ""
