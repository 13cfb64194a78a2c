"""The latest results, their counters, and what has vanished: everything a scrape shows.

The only mutable store of the project, used from the event loop alone. Checks go in, a snapshot of views and
the changes worth a line in the log come out. Keeps nothing that is neither configured, published, nor
vanished within `forget_after`.
"""

import collections
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from exporter.model import (
    NOT_AVAILABLE,
    Groups,
    Host,
    HostCheck,
    IgnoredReason,
    Memory,
    TargetLookup,
    ZoneCheck,
    hosts_of,
)
from exporter.state.changes import Change, server_changes
from exporter.state.histogram import Histogram
from exporter.state.holdings import Holdings
from exporter.state.table import HeldTable
from exporter.state.views import EndpointView, ExporterView, ServerView, Snapshot, ZoneView

__all__ = [
    "Change",
    "EndpointView",
    "ExporterView",
    "Histogram",
    "ServerView",
    "Snapshot",
    "State",
    "ZoneSettings",
    "ZoneView",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSettings:
    """What the state needs to know of a configured zone.

    `dns_servers` are the labels of the servers named by address; `open_ended` says that others are found
    out at each check.
    """

    labels: Mapping[str, str]
    dns_servers: tuple[str, ...]
    open_ended: bool


@dataclass(slots=True, kw_only=True)
class _Zone:
    settings: ZoneSettings
    servers: dict[str, ServerView] = field(default_factory=dict)
    targets: dict[str, tuple[TargetLookup, ...]] = field(default_factory=dict)
    published: frozenset[Host] = frozenset()
    vanished: dict[Host, float] = field(default_factory=dict)
    ignored: collections.Counter[IgnoredReason] = field(default_factory=collections.Counter)
    groups: Groups = field(default_factory=dict)
    last_check: float | None = None
    check_duration_seconds: float | None = None

    def keep_servers(self, servers: Mapping[str, ServerView]) -> None:
        """Set the servers, and with them what is published."""
        self.servers = dict(servers)
        self.published = frozenset(record.host for view in servers.values() for record in view.records or ())


@dataclass(slots=True, kw_only=True)
class _StaticHost:
    groups: Groups = field(default_factory=dict)
    last_check: float | None = None


class State:
    """Results of checks, kept for as long as they are of any use."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._interval_seconds = 0.0
        self._forget_after_seconds = 0.0
        self._vanished_per_zone = 0
        self._zones: dict[str, _Zone] = {}
        self._static_hosts: dict[Host, _StaticHost] = {}
        self._holdings = Holdings()
        self._lookup_durations: HeldTable[str, Histogram] = HeldTable()
        self._ready = False
        self.exporter = ExporterView()

    def configure(
        self,
        *,
        zones: Mapping[str, ZoneSettings],
        static_hosts: Iterable[Host],
        interval_seconds: float,
        forget_after_seconds: float,
        vanished_per_zone: int,
    ) -> None:
        """Take over what is configured from now on; what is not any more leaves at once."""
        self._interval_seconds = interval_seconds
        self._forget_after_seconds = forget_after_seconds
        self._vanished_per_zone = vanished_per_zone
        for gone in self._zones.keys() - zones.keys():
            self._drop_zone(gone)
        for name, settings in zones.items():
            zone = self._zones.setdefault(name, _Zone(settings=settings))
            zone.settings = settings
            self._keep_servers(name, zone)
        wanted = dict.fromkeys(static_hosts)
        for host in self._static_hosts.keys() - wanted.keys():
            self._holdings.release(("host", host))
        self._static_hosts = {host: self._static_hosts.get(host, _StaticHost()) for host in wanted}

    def memory_of_zone(self, name: str) -> Memory:
        """Give what the next check of a zone has to know."""
        zone = self._zones.get(name)
        if zone is None:
            return Memory()
        self._forget_vanished(name, zone)
        owners = [("zone", name), *(("vanished", name, host) for host in zone.vanished)]
        return replace(
            self._holdings.memory(owners),
            records={label: view.records for label, view in zone.servers.items() if view.records},
            vanished=tuple(host for host in zone.vanished if host.target != NOT_AVAILABLE),
            groups=zone.groups,
        )

    def memory_of_host(self, host: Host) -> Memory:
        """Give what the next check of a static host has to know."""
        static = self._static_hosts.get(host, _StaticHost())
        return replace(self._holdings.memory([("host", host)]), groups=static.groups)

    def apply_zone(self, check: ZoneCheck) -> list[Change]:
        """Take over the check of a zone and tell what it changed; nothing when the zone is not configured."""
        zone = self._zones.get(check.zone)
        if zone is None:
            return []
        present = {server.dns_server for server in check.servers}
        zone.keep_servers({label: view for label, view in zone.servers.items() if label in present})
        before = zone.published
        changes = self._apply_lookups(zone, check)
        zone.targets = {server.dns_server: server.targets for server in check.servers}
        self._hold_zone(check.zone, zone, before)
        changes += self._apply_targets(("zone", check.zone), zone.targets)
        changes += self._holdings.apply_probes(check.probes)
        zone.groups = check.groups
        zone.last_check = check.finished_at
        zone.check_duration_seconds = check.duration_seconds
        return changes

    def apply_host(self, check: HostCheck) -> list[Change]:
        """Take over the check of a static host and tell what it changed, as `apply_zone` does."""
        static = self._static_hosts.get(check.host)
        if static is None:
            return []
        self._holdings.hold(
            ("host", check.host), ((label, [check.host], [lookup]) for label, lookup in check.targets.items())
        )
        changes = self._apply_targets(
            ("host", check.host), {label: (lookup,) for label, lookup in check.targets.items()}
        )
        changes += self._holdings.apply_probes(check.probes)
        static.groups = check.groups
        static.last_check = check.finished_at
        return changes

    def is_ready(self) -> bool:
        """Tell whether everything configured has been checked once; what a reload adds does not undo that."""
        if not self._ready:
            zones = (zone.last_check for zone in self._zones.values())
            hosts = (host.last_check for host in self._static_hosts.values())
            self._ready = None not in (*zones, *hosts)
        return self._ready

    def snapshot(self) -> Snapshot:
        """Give everything there is to show, after forgetting what vanished long enough ago."""
        for name, zone in self._zones.items():
            self._forget_vanished(name, zone)
        return Snapshot(
            zones=tuple(_view(name, zone) for name, zone in self._zones.items()),
            targets=self._holdings.targets(),
            hosts=self._holdings.hosts(),
            endpoints=self._holdings.endpoints(),
            static_hosts=tuple((host, static.last_check) for host, static in self._static_hosts.items()),
            lookup_durations=tuple(self._lookup_durations.items()),
            exporter=self.exporter,
        )

    def count_overruns(self, missed: int) -> None:
        """Count checks that were still running when the next one was due."""
        self.exporter = replace(self.exporter, overruns=self.exporter.overruns + missed)

    def count_internal_error(self) -> None:
        """Count a bug that was caught."""
        self.exporter = replace(self.exporter, internal_errors=self.exporter.internal_errors + 1)

    def observe_lag(self, seconds: float) -> None:
        """Take note of how late the event loop was."""
        self.exporter = replace(self.exporter, event_loop_lag=self.exporter.event_loop_lag.observe(seconds))

    def record_reload(self, *, successful: bool, at: float) -> None:
        """Take note of an attempt to load the configuration, at a Unix time."""
        success = at if successful else self.exporter.last_reload_success
        self.exporter = replace(self.exporter, last_reload_successful=successful, last_reload_success=success)

    def _apply_lookups(self, zone: _Zone, check: ZoneCheck) -> list[Change]:
        changes: list[Change] = []
        self._lookup_durations.hold(("zone", check.zone), (server.dns_server for server in check.servers))
        views: dict[str, ServerView] = {}
        for server in check.servers:
            old = zone.servers.get(server.dns_server, ServerView(dns_server=server.dns_server))
            new = old.after(server.lookup, asked=server.asked)
            changes += server_changes(check.zone, old, new)
            views[server.dns_server] = new
            zone.ignored.update(server.lookup.ignored)
            zone.ignored[IgnoredReason.ADDRESSES_PER_TARGET] += sum(t.ignored for t in server.targets)
            if server.asked:
                histogram = self._lookup_durations.get(server.dns_server) or Histogram()
                self._lookup_durations[server.dns_server] = histogram.observe(server.lookup.duration_seconds)
        zone.keep_servers(views)
        return changes

    def _apply_targets(self, owner: Hashable, seen: Mapping[str, tuple[TargetLookup, ...]]) -> list[Change]:
        return self._holdings.apply_targets(
            owner, seen.items(), now=self._monotonic(), fresh=self._interval_seconds
        )

    def _hold_zone(self, name: str, zone: _Zone, before: frozenset[Host]) -> None:
        """Hold what the zone leads to now, and remember for a while what it led to `before`."""
        after = zone.published
        for host in sorted(before - after):
            zone.vanished[host] = self._monotonic()
        self._hold_seen(name, zone)
        for host in zone.vanished.keys() & after:
            self._forget_host(name, zone, host)
        excess = len(zone.vanished) - self._vanished_per_zone
        for host in sorted(zone.vanished, key=lambda host: (zone.vanished[host], host))[: max(0, excess)]:
            self._forget_host(name, zone, host)
            zone.ignored[IgnoredReason.VANISHED_PER_ZONE] += 1

    def _hold_seen(self, name: str, zone: _Zone) -> None:
        """Hold what was seen at the zone's servers last; a vanished host holds its own, to go alone.

        What changes hands between the two is held by the new owner before the old one lets go.
        """
        seen = {label: zone.targets.get(label, ()) for label in zone.servers}
        by_target = {label: {lookup.target: lookup for lookup in lookups} for label, lookups in seen.items()}
        for host in zone.vanished.keys() - zone.published:
            self._holdings.hold(
                ("vanished", name, host),
                (
                    (label, [host], [lookups[host.target]] if host.target in lookups else [])
                    for label, lookups in by_target.items()
                ),
            )
        self._holdings.hold(
            ("zone", name),
            ((label, hosts_of(view.records or ()), seen[label]) for label, view in zone.servers.items()),
        )

    def _keep_servers(self, name: str, zone: _Zone) -> None:
        """Drop the servers that are not configured any more, and start the counters of new ones at 0."""
        wanted = zone.settings.dns_servers
        kept = zone.servers if zone.settings.open_ended else zone.servers.keys() & set(wanted)
        zone.keep_servers(
            {label: view for label, view in zone.servers.items() if label in kept}
            | {label: ServerView(dns_server=label) for label in wanted if label not in kept}
        )
        self._lookup_durations.hold(("zone", name), zone.servers)
        for label in zone.servers:
            self._lookup_durations[label] = self._lookup_durations.get(label) or Histogram()
        zone.targets = {label: targets for label, targets in zone.targets.items() if label in kept}
        self._hold_seen(name, zone)

    def _drop_zone(self, name: str) -> None:
        zone = self._zones.pop(name)
        for host in list(zone.vanished):
            self._forget_host(name, zone, host)
        self._holdings.release(("zone", name))
        self._lookup_durations.release(("zone", name))

    def _forget_vanished(self, name: str, zone: _Zone) -> None:
        too_old = self._monotonic() - self._forget_after_seconds
        for host in [host for host, since in zone.vanished.items() if since <= too_old]:
            self._forget_host(name, zone, host)

    def _forget_host(self, name: str, zone: _Zone, host: Host) -> None:
        del zone.vanished[host]
        self._holdings.release(("vanished", name, host))


def _view(name: str, zone: _Zone) -> ZoneView:
    return ZoneView(
        zone=name,
        labels=zone.settings.labels,
        servers=tuple(zone.servers.values()),
        published=zone.published,
        vanished=frozenset(zone.vanished),
        ignored={reason: zone.ignored[reason] for reason in IgnoredReason},
        last_check=zone.last_check,
        check_duration_seconds=zone.check_duration_seconds,
    )
