"""The latest results, their counters, and what has vanished: everything a scrape shows.

The only mutable store of the project, used from the event loop alone. Checks go in, a snapshot of views and
the changes worth a line in the log come out. Keeps nothing that is neither configured, published, nor
vanished within `forget_after`.

| module | holds |
| --- | --- |
| views | what is shown, immutable |
| zones | zones and what was seen of them |
| holdings | hosts, targets and endpoints, while somebody leads to them |
| table | values that live for as long as somebody holds them |
| revisions | numbers that tell whether anything has changed |
| changes | what differs between two views |
| histogram | a histogram as a value |
"""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from exporter.model import (
    ClientCheck,
    Found,
    Groups,
    Host,
    HostCheck,
    Memory,
    Search,
    TargetLookup,
    ZoneCheck,
)
from exporter.state.changes import Change
from exporter.state.histogram import Histogram
from exporter.state.holdings import Holdings
from exporter.state.revisions import NO_REVISION, next_revision
from exporter.state.views import (
    ClientView,
    EndpointView,
    ExporterView,
    Rejection,
    ServerView,
    Snapshot,
    StaticHostView,
    ZoneView,
    without_queries,
)
from exporter.state.zones import ZoneKey, Zones, ZoneSettings

__all__ = [
    "NO_REVISION",
    "Change",
    "ClientSettings",
    "ClientView",
    "EndpointView",
    "ExporterView",
    "Histogram",
    "Rejection",
    "ServerView",
    "Snapshot",
    "State",
    "StaticHostView",
    "ZoneSettings",
    "ZoneView",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the state needs to know of a kind of client: its suffixes in order, and its DNS servers."""

    suffixes: tuple[str, ...]
    dns_servers: tuple[str, ...]
    open_ended: bool


@dataclass(slots=True, kw_only=True)
class _StaticHost:
    """A static host; `revision` is that of its addresses at the servers that were asked for them."""

    targets: Mapping[str, TargetLookup] = field(default_factory=dict)
    groups: Groups = field(default_factory=dict)
    last_check: float | None = None
    revision: int = field(default_factory=next_revision)


class State:
    """Results of checks, kept for as long as they are of any use.

    `log_lines_dropped` tells how many lines the log has lost so far.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        log_lines_dropped: Callable[[], int] = lambda: 0,
    ) -> None:
        self._monotonic = monotonic
        self._log_lines_dropped = log_lines_dropped
        self._interval_seconds = 0.0
        self._rpc_bind = True
        self._zone_names: tuple[str, ...] = ()
        self._clients: Mapping[str, ClientSettings] = {}
        self._static_hosts: dict[Host, _StaticHost] = {}
        self._holdings = Holdings()
        self._zones = Zones(self._holdings)
        self._ready = False
        self.configurations = 0
        """How often it was told what is configured: what it keeps may be something else each time."""
        self.exporter = ExporterView()

    def configure(
        self,
        *,
        zones: Mapping[str, ZoneSettings],
        static_hosts: Iterable[Host],
        clients: Mapping[str, ClientSettings],
        interval_seconds: float,
        forget_after_seconds: float,
        vanished_per_zone: int,
        rpc_bind: bool,
    ) -> None:
        """Take over what is configured from now on; what is not any more leaves at once."""
        self.configurations += 1
        self._interval_seconds = interval_seconds
        self._rpc_bind = rpc_bind
        self._zone_names = tuple(zones)
        self._clients = clients
        wanted = dict.fromkeys(static_hosts)
        with self._holdings.handing_over():
            self._zones.configure(
                {ZoneKey(name): settings for name, settings in zones.items()} | _searched(clients),
                forget_after_seconds=forget_after_seconds,
                vanished_per_zone=vanished_per_zone,
            )
            for host in self._static_hosts.keys() - wanted.keys():
                self._holdings.release(("host", host))
        self._static_hosts = {host: self._static_hosts.get(host, _StaticHost()) for host in wanted}

    def memory_of_zone(self, name: str) -> Memory:
        """Give what the next check of a zone has to know."""
        return self._zones.memory(ZoneKey(name), self._monotonic())

    def memory_of_search(self, search: Search) -> Mapping[str, Memory]:
        """Give what the next check of a kind of client has to know, by suffix."""
        now = self._monotonic()
        return {suffix: self._zones.memory(ZoneKey(suffix, search.client), now) for suffix in search.suffixes}

    def memory_of_host(self, host: Host) -> Memory:
        """Give what the next check of a static host has to know."""
        static = self._static_hosts.get(host, _StaticHost())
        return replace(self._holdings.memory([("host", host)]), groups=static.groups)

    def apply_zone(self, check: ZoneCheck) -> list[Change]:
        """Take over the check of a zone and tell what it changed; nothing when the zone is not configured."""
        return self._apply(ZoneKey(check.zone), check)

    def apply_client(self, check: ClientCheck) -> list[Change]:
        """Take over the check of a kind of client and tell what it changed, as `apply_zone` does."""
        return [
            change
            for suffix in check.suffixes
            for change in self._apply(ZoneKey(suffix.zone, check.client), suffix)
        ]

    def apply_host(self, check: HostCheck) -> list[Change]:
        """Take over the check of a static host and tell what it changed, as `apply_zone` does."""
        static = self._static_hosts.get(check.host)
        if static is None:
            return []
        owner = ("host", check.host)
        if check.targets != static.targets:
            static.targets = {label: without_queries(seen) for label, seen in check.targets.items()}
            static.revision = next_revision()
            self._holdings.hold(
                owner, ((label, [check.host], [seen]) for label, seen in static.targets.items())
            )
        changes = self._holdings.apply_targets(
            owner,
            ((label, (seen,)) for label, seen in static.targets.items()),
            now=self._monotonic(),
            fresh=self._interval_seconds,
        )
        changes += self._holdings.apply_probes(check.probes, fresh=self._interval_seconds)
        static.groups = check.groups
        static.last_check = check.finished_at
        return changes

    def is_ready(self) -> bool:
        """Tell whether everything configured has been checked once; what a reload adds does not undo that."""
        if not self._ready:
            hosts = (host.last_check for host in self._static_hosts.values())
            self._ready = self._zones.all_checked() and None not in hosts
        return self._ready

    def snapshot(self) -> Snapshot:
        """Give everything there is to show, after forgetting what vanished long enough ago."""
        now = self._monotonic()
        return Snapshot(
            zones=self._zones.views(map(ZoneKey, self._zone_names), now),
            clients=tuple(self._client_view(name, now) for name in self._clients),
            targets=self._holdings.targets(),
            hosts=self._holdings.hosts(),
            endpoints=self._holdings.endpoints(),
            static_hosts=tuple(self._static_host_view(host) for host in self._static_hosts),
            rpc_bind=self._rpc_bind,
            lookup_durations=tuple(self._zones.lookup_durations.items()),
            exporter=replace(self.exporter, log_lines_dropped=self._log_lines_dropped()),
        )

    def revision_of(self, found: Found) -> int:
        """Give the revision of what was just checked, as its view has it; none when it is not configured."""
        now = self._monotonic()
        match found:
            case ZoneCheck():
                return self._zones.revision(ZoneKey(found.zone), now)
            case HostCheck() if found.host in self._static_hosts:
                return self._static_host_view(found.host).revision
            case ClientCheck() if found.client in self._clients:
                return self._client_view(found.client, now).revision
            case _:
                return NO_REVISION

    def snapshot_of(self, found: Found) -> Snapshot:
        """Give what `snapshot` would of what was just checked, and of what that leads to; no more than that.

        Nothing when it is not configured any more.
        """
        now = self._monotonic()
        match found:
            case ZoneCheck():
                key = ZoneKey(found.zone)
                held = self._held(self._zones.holders(key))
                return replace(held, zones=self._zones.views([key], now))
            case HostCheck() if found.host in self._static_hosts:
                held = self._held([("host", found.host)])
                return replace(held, static_hosts=(self._static_host_view(found.host),))
            case ClientCheck() if found.client in self._clients:
                suffixes = self._clients[found.client].suffixes
                keys = [ZoneKey(suffix, found.client) for suffix in suffixes]
                held = self._held(owner for key in keys for owner in self._zones.holders(key))
                return replace(held, clients=(self._client_view(found.client, now),))
            case _:
                return Snapshot()

    def count_overruns(self, missed: int) -> None:
        """Count checks that were still running when the next one was due."""
        self.exporter = replace(self.exporter, overruns=self.exporter.overruns + missed)

    def count_internal_error(self) -> None:
        """Count a bug that was caught."""
        self.exporter = replace(self.exporter, internal_errors=self.exporter.internal_errors + 1)

    def count_rejected(self, reason: Rejection) -> None:
        """Count a connection to the pages that could not be taken."""
        rejected = {**self.exporter.rejected, reason: self.exporter.rejected[reason] + 1}
        self.exporter = replace(self.exporter, rejected=rejected)

    def observe_lag(self, seconds: float) -> None:
        """Take note of how late the event loop was."""
        self.exporter = replace(self.exporter, event_loop_lag=self.exporter.event_loop_lag.observe(seconds))

    def observe_tasks(self, count: int) -> None:
        """Take note of how many tasks there are on the event loop."""
        self.exporter = replace(self.exporter, tasks=count)

    def record_reload(self, *, successful: bool, at: float) -> None:
        """Take note of an attempt to load the configuration, at a Unix time."""
        success = at if successful else self.exporter.last_reload_success
        self.exporter = replace(self.exporter, last_reload_successful=successful, last_reload_success=success)

    def _held(self, owners: Iterable[Hashable]) -> Snapshot:
        owners = tuple(owners)
        return Snapshot(
            targets=self._holdings.targets_of(owners),
            endpoints=self._holdings.endpoints_of(owners),
            rpc_bind=self._rpc_bind,
        )

    def _client_view(self, name: str, now: float) -> ClientView:
        keys = (ZoneKey(suffix, name) for suffix in self._clients[name].suffixes)
        suffixes = self._zones.views(keys, now)
        return ClientView(
            client=name,
            suffixes=suffixes,
            revision=max((suffix.revision for suffix in suffixes), default=NO_REVISION),
        )

    def _static_host_view(self, host: Host) -> StaticHostView:
        static = self._static_hosts[host]
        return StaticHostView(
            host=host,
            dns_servers=tuple(sorted(static.targets)),
            last_check=static.last_check,
            revision=max(static.revision, self._holdings.revision([("host", host)])),
        )

    def _apply(self, key: ZoneKey, check: ZoneCheck) -> list[Change]:
        return self._zones.apply(key, check, now=self._monotonic(), fresh_seconds=self._interval_seconds)


def _searched(clients: Mapping[str, ClientSettings]) -> dict[ZoneKey, ZoneSettings]:
    return {
        ZoneKey(suffix, name): ZoneSettings(dns_servers=client.dns_servers, open_ended=client.open_ended)
        for name, client in clients.items()
        for suffix in client.suffixes
    }
