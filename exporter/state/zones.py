"""Zones as they were seen last: their servers, what is published, and what has vanished or is missing.

A zone is either configured, or a suffix that a kind of client searches; both are kept in the same way. What a
zone leads to is held in `Holdings` for as long as the zone does. A check that finds all as it was is only
counted: what was worked out from the one before still holds, and the revision of the zone stays.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exporter.model import (
    NOT_AVAILABLE,
    Groups,
    Host,
    IgnoredReason,
    LookupStatus,
    Memory,
    TargetLookup,
    ZoneCheck,
    hosts_of,
)
from exporter.state.changes import Change, is_same_answer, server_changes
from exporter.state.histogram import Histogram
from exporter.state.holdings import Holdings
from exporter.state.revisions import NO_REVISION, next_revision
from exporter.state.table import HeldTable
from exporter.state.views import ServerView, ZoneView, without_queries


class Missed(NamedTuple):
    """When a host was first missed: by the monotonic clock, and in Unix time."""

    monotonic: float
    at: float


class ZoneKey(NamedTuple):
    """What tells zones apart: the name, and the client that searches it where it is not a zone of its own."""

    zone: str
    client: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSettings:
    """What the state needs to know of a zone.

    `dns_servers` are the labels of the servers named by address; `open_ended` says that others are found
    out at each check. `expected` is None where the configuration has no opinion.
    """

    dns_servers: tuple[str, ...]
    open_ended: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    expected: tuple[Host, ...] | None = None


@dataclass(slots=True, kw_only=True)
class _Zone:
    """A zone; `revision` is that of what is kept here, apart from times and counters.

    `is_answered` says that `published` comes from an answer, `is_settled` that a check has been taken over
    since the configuration was. `ignored` is never changed, but replaced. What is worked out is kept for as
    long as it holds: `total` is the revision of the zone and all it leads to, with the `latest` of the
    holdings that it is good for.
    """

    settings: ZoneSettings
    servers: dict[str, ServerView] = field(default_factory=dict)
    targets: dict[str, tuple[TargetLookup, ...]] = field(default_factory=dict)
    published: frozenset[Host] = frozenset()
    is_answered: bool = False
    vanished: dict[Host, Missed] = field(default_factory=dict)
    followed: frozenset[Host] = frozenset()
    ignored: Mapping[IgnoredReason, int] = field(default_factory=lambda: dict.fromkeys(IgnoredReason, 0))
    groups: Groups = field(default_factory=dict)
    last_check: float | None = None
    check_duration_seconds: float | None = None
    revision: int = field(default_factory=next_revision)
    is_settled: bool = False
    total: tuple[int, int] | None = None
    memory: tuple[int, Memory] | None = None
    shown: ZoneView | None = None

    def keep_servers(self, servers: Mapping[str, ServerView]) -> None:
        """Set the servers, and with them what is published."""
        self.servers = dict(servers)
        self.published = frozenset(record.host for view in servers.values() for record in view.records or ())
        self.is_answered = any(view.records is not None for view in servers.values())

    def is_as_found(self, check: ZoneCheck) -> bool:
        """Tell whether a check finds all as the one before did, apart from times, serials and counts."""
        if not self.is_settled or len(check.servers) != len(self.servers) or check.groups != self.groups:
            return False
        for view, server in zip(self.servers.values(), check.servers, strict=True):
            if (
                view.dns_server != server.dns_server
                or self.targets[server.dns_server] != server.targets
                or not is_same_answer(view.lookup, server.lookup)
            ):
                return False
        return True

    def count_ignored(self, check: ZoneCheck) -> None:
        """Count what a check left out."""
        for server in check.servers:
            for reason, count in server.lookup.ignored.items():
                self._count(reason, count)
            for target in server.targets:
                if target.ignored:
                    self._count(IgnoredReason.ADDRESSES_PER_TARGET, target.ignored)
        for probe in check.probes:
            if probe.ignored:
                self._count(probe.ignored, 1)
        if check.refused:
            self._count(IgnoredReason.NOT_ALLOWED, len(check.refused))

    def trim_vanished(self, limit: int) -> None:
        """Forget what vanished first where more than `limit` hosts have, and count it."""
        excess = len(self.vanished) - limit
        if excess <= 0:
            return
        for host in sorted(self.vanished, key=lambda host: (self.vanished[host], host))[:excess]:
            del self.vanished[host]
        self._count(IgnoredReason.VANISHED_PER_ZONE, excess)

    def _count(self, reason: IgnoredReason, count: int) -> None:
        if count:  # an answer says of each reason how often, and that is nearly always never
            self.ignored = {**self.ignored, reason: self.ignored[reason] + count}

    def unpublished(self) -> frozenset[Host]:
        """Give the hosts that are followed although nobody publishes them: they vanished, or are missing."""
        hosts = self.vanished.keys() | set(self.settings.expected or ())
        return frozenset(host for host in hosts - self.published if host.target != NOT_AVAILABLE)

    def touch(self) -> None:
        """Take note of a change."""
        self.revision = next_revision()
        self.total = None
        self.shown = None

    def view(self, name: str, revision: int) -> ZoneView:
        """Show the zone; `revision` is that of all it leads to."""
        if self.shown is None or self.shown.revision != revision:
            self.shown = self._view(name, revision)
        return self.shown

    def _view(self, name: str, revision: int) -> ZoneView:
        expected = self.settings.expected
        return ZoneView(
            zone=name,
            servers=tuple(self.servers.values()),
            published=self.published if self.is_answered else None,
            vanished=frozenset(self.vanished),
            vanished_at={host: missed.at for host, missed in self.vanished.items()},
            expected=None if expected is None else frozenset(expected),
            labels=self.settings.labels,
            ignored=self.ignored,
            last_check=self.last_check,
            check_duration_seconds=self.check_duration_seconds,
            revision=revision,
        )


class Zones:
    """All zones, with what they lead to held in `holdings`, and lookups counted per DNS server.

    Times are given in seconds of a monotonic clock.
    """

    def __init__(self, holdings: Holdings) -> None:
        self.lookup_durations: HeldTable[str, Histogram] = HeldTable()
        self._holdings = holdings
        self._zones: dict[ZoneKey, _Zone] = {}
        self._forget_after_seconds = 0.0
        self._vanished_per_zone = 0

    def configure(
        self,
        zones: Mapping[ZoneKey, ZoneSettings],
        *,
        forget_after_seconds: float,
        vanished_per_zone: int,
    ) -> None:
        """Keep these zones from now on; others leave at once, with all that only they led to."""
        self._forget_after_seconds = forget_after_seconds
        self._vanished_per_zone = vanished_per_zone
        for gone in self._zones.keys() - zones.keys():
            self._drop(gone)
        kept = self._zones
        self._zones = {key: kept.get(key, _Zone(settings=settings)) for key, settings in zones.items()}
        for key, settings in zones.items():
            zone = self._zones[key]
            zone.settings = settings
            zone.is_settled = False
            zone.touch()
            self._keep_servers(key, zone)

    def memory(self, key: ZoneKey, now: float) -> Memory:
        """Give what the next check of a zone has to know."""
        zone = self._zones.get(key)
        if zone is None:
            return Memory()
        self._forget_vanished(key, zone, now)
        revision = self._revision(key, zone)
        if zone.memory is None or zone.memory[0] != revision:
            zone.memory = revision, self._recall(key, zone)
        return zone.memory[1]

    def _recall(self, key: ZoneKey, zone: _Zone) -> Memory:
        return replace(
            self._holdings.memory(_owners(key, zone)),
            records={label: view.records for label, view in zone.servers.items() if view.records},
            vanished=tuple(host for host in zone.vanished if host.target != NOT_AVAILABLE),
            expected=zone.settings.expected or (),
            groups=zone.groups,
        )

    def apply(self, key: ZoneKey, check: ZoneCheck, *, now: float, fresh_seconds: float) -> list[Change]:
        """Take over a check and tell what it changed; nothing when the zone is not kept any more."""
        zone = self._zones.get(key)
        if zone is None:
            return []
        if zone.is_as_found(check):
            changes: list[Change] = []
            zone.servers = dict(_views(zone, check))
        else:
            changes = self._take_over(key, zone, check, now)
        self._count_lookups(check)
        zone.count_ignored(check)
        changes += self._holdings.apply_targets(key, zone.targets.items(), now=now, fresh=fresh_seconds)
        changes += self._holdings.apply_probes(check.probes, fresh=fresh_seconds)
        zone.last_check = check.finished_at
        zone.check_duration_seconds = check.duration_seconds
        zone.shown = None
        zone.view(key.zone, self._revision(key, zone))  # now, for a snapshot of all zones is made in one go
        return changes

    def revision(self, key: ZoneKey, now: float) -> int:
        """Tell which revision `views` would show of a zone; none when it is not kept any more."""
        zone = self._zones.get(key)
        if zone is None:
            return NO_REVISION
        self._forget_vanished(key, zone, now)
        return self._revision(key, zone)

    def _revision(self, key: ZoneKey, zone: _Zone) -> int:
        latest = self._holdings.latest
        if zone.total is None or zone.total[0] != latest:
            zone.total = latest, max(zone.revision, self._holdings.revision(_owners(key, zone)))
        return zone.total[1]

    def holders(self, key: ZoneKey) -> tuple[Hashable, ...]:
        """Name the owners of what a zone leads to."""
        zone = self._zones.get(key)
        return _owners(key, zone) if zone else ()

    def views(self, keys: Iterable[ZoneKey], now: float) -> tuple[ZoneView, ...]:
        """Show these zones, after forgetting what vanished long enough ago."""
        views = []
        for key in keys:
            if zone := self._zones.get(key):
                self._forget_vanished(key, zone, now)
                views.append(zone.view(key.zone, self._revision(key, zone)))
        return tuple(views)

    def all_checked(self) -> bool:
        """Tell whether every zone has been checked."""
        return all(zone.last_check is not None for zone in self._zones.values())

    def _take_over(self, key: ZoneKey, zone: _Zone, check: ZoneCheck, now: float) -> list[Change]:
        """Take over what a check found, and tell what it changed in the zone itself."""
        present = {server.dns_server for server in check.servers}
        zone.keep_servers({label: view for label, view in zone.servers.items() if label in present})
        before, published = zone.servers, zone.published
        zone.keep_servers(dict(_views(zone, check)))
        zone.targets = {
            server.dns_server: tuple(map(without_queries, server.targets)) for server in check.servers
        }
        zone.groups = check.groups
        zone.is_settled = True
        zone.touch()
        self._note_vanished(zone, published, Missed(monotonic=now, at=check.finished_at))
        self.lookup_durations.hold(key, present)
        self._hold_seen(key, zone)
        return [
            change
            for label, after in zone.servers.items()
            for change in server_changes(key.zone, before.get(label), after, client=key.client)
        ]

    def _count_lookups(self, check: ZoneCheck) -> None:
        for server in check.servers:
            if server.asked and server.lookup.status is not LookupStatus.LOCAL_ERROR:
                histogram = self.lookup_durations.get(server.dns_server) or Histogram()
                self.lookup_durations[server.dns_server] = histogram.observe(server.lookup.duration_seconds)

    def _note_vanished(self, zone: _Zone, before: frozenset[Host], missed: Missed) -> None:
        """Remember for a while what was published `before` and is not any more, within the limit."""
        for host in sorted(before - zone.published):
            zone.vanished[host] = missed
        for host in zone.vanished.keys() & zone.published:
            del zone.vanished[host]
        zone.trim_vanished(self._vanished_per_zone)

    def _hold_seen(self, key: ZoneKey, zone: _Zone) -> None:
        """Hold what was seen at the zone's servers last; an unpublished host holds its own, to go alone.

        What changes hands between the two is held by the new owner before the old one lets go.
        """
        seen = {label: zone.targets.get(label, ()) for label in zone.servers}
        by_target = {label: {lookup.target: lookup for lookup in lookups} for label, lookups in seen.items()}
        followed = zone.unpublished()
        for host in followed:
            self._holdings.hold(
                (key, host),
                (
                    (label, [host], [lookups[host.target]] if host.target in lookups else [])
                    for label, lookups in by_target.items()
                ),
            )
        self._holdings.hold(
            key,
            ((label, hosts_of(view.records or ()), seen[label]) for label, view in zone.servers.items()),
        )
        self._release(key, zone.followed - followed)
        zone.followed = followed

    def _keep_servers(self, key: ZoneKey, zone: _Zone) -> None:
        """Drop the servers that are not configured any more, and start the counters of new ones at 0."""
        wanted = zone.settings.dns_servers
        kept = zone.servers if zone.settings.open_ended else zone.servers.keys() & set(wanted)
        zone.keep_servers(
            {label: view for label, view in zone.servers.items() if label in kept}
            | {label: ServerView(dns_server=label) for label in wanted if label not in kept}
        )
        self.lookup_durations.hold(key, zone.servers)
        for label in zone.servers:
            self.lookup_durations[label] = self.lookup_durations.get(label) or Histogram()
        zone.targets = {label: targets for label, targets in zone.targets.items() if label in kept}
        self._hold_seen(key, zone)

    def _drop(self, key: ZoneKey) -> None:
        zone = self._zones.pop(key)
        self._release(key, zone.followed)
        self._holdings.release(key)
        self.lookup_durations.release(key)

    def _forget_vanished(self, key: ZoneKey, zone: _Zone, now: float) -> None:
        if not zone.vanished:
            return
        too_old = now - self._forget_after_seconds
        forgotten = [host for host, missed in zone.vanished.items() if missed.monotonic <= too_old]
        for host in forgotten:
            del zone.vanished[host]
        if forgotten:
            followed = zone.unpublished()
            self._release(key, zone.followed - followed)
            zone.followed = followed
            zone.touch()

    def _release(self, key: ZoneKey, hosts: Iterable[Host]) -> None:
        for host in hosts:
            self._holdings.release((key, host))


def _owners(key: ZoneKey, zone: _Zone) -> tuple[Hashable, ...]:
    """Name who holds what a zone leads to: the zone, and each host that it follows although unpublished."""
    return (key, *((key, host) for host in zone.followed)) if zone.followed else (key,)


def _views(zone: _Zone, check: ZoneCheck) -> Iterator[tuple[str, ServerView]]:
    """Show the servers of a zone after a check."""
    for server in check.servers:
        label = server.dns_server
        before = zone.servers.get(label) or ServerView(dns_server=label)
        yield label, before.after(server.lookup, asked=server.asked)
