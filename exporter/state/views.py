"""What the state shows of itself: immutable views, taken together in a snapshot.

A snapshot can be rendered in another thread while checks go on. Times are Unix time, in seconds.
"""

import enum
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.model import (
    NOT_AVAILABLE,
    Endpoint,
    Host,
    IgnoredReason,
    ProbeResult,
    Record,
    SrvLookup,
    TargetLookup,
)
from exporter.state.histogram import Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """A zone at one DNS server: the last lookup, and the records of the last usable answer.

    `records` is None until there was one; `answered_seconds` is how long the last lookup took that got an
    answer.
    """

    dns_server: str
    lookups: int = 0
    failures: int = 0
    lookup: SrvLookup | None = None
    answered_seconds: float | None = None
    records: tuple[Record, ...] | None = None

    def after(self, lookup: SrvLookup, *, asked: bool = True) -> "ServerView":
        """Give the view after one more lookup, or a status in place of one when nobody was asked."""
        usable, answered = lookup.status.usable, asked and lookup.status.answered
        return ServerView(
            dns_server=self.dns_server,
            lookups=self.lookups + asked,
            failures=self.failures + (asked and not usable),
            lookup=replace(lookup, queries=()),
            answered_seconds=lookup.duration_seconds if answered else self.answered_seconds,
            records=lookup.records if usable else self.records,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneView:
    """A zone, or a suffix that a client searches. Records are told apart by target and port, as hosts are.

    `published` is None until there was a usable answer; `expected` is None where nobody said what should be
    published. `vanished_at` tells of each host that vanished when it was first missed.
    """

    zone: str
    servers: tuple[ServerView, ...]
    published: frozenset[Host] | None
    vanished: frozenset[Host]
    expected: frozenset[Host] | None
    labels: Mapping[str, str]
    ignored: Mapping[IgnoredReason, int]
    last_check: float | None
    check_duration_seconds: float | None
    vanished_at: Mapping[Host, float] = field(default_factory=dict)

    @property
    def missing(self) -> frozenset[Host]:
        """What is expected, and not published by any server."""
        if self.expected is None or self.published is None:
            return frozenset()
        return self.expected - self.published

    @property
    def unexpected(self) -> frozenset[Host]:
        """The hosts that are published although nobody asked for them."""
        if self.expected is None or self.published is None:
            return frozenset()
        return frozenset(host for host in self.published - self.expected if host.target != NOT_AVAILABLE)

    def is_expected(self, host: Host) -> bool:
        """Tell whether the configuration asks for a record. Nothing is expected: then `.` says just that."""
        return host in (self.expected or ()) or (not self.expected and host.target == NOT_AVAILABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientView:
    """A kind of client: the suffixes that it searches, in order, each looked up at its DNS servers."""

    client: str
    suffixes: tuple[ZoneView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticHostView:
    """A statically assigned host; `dns_servers` are the labels of those that were asked for its name.

    `last_check` is None before the first.
    """

    host: Host
    dns_servers: tuple[str, ...]
    last_check: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """An endpoint: its last result and its counters since it became known.

    `recent` has the seconds that the handshakes of the last probes took, oldest first; NaN where one failed.
    """

    endpoint: Endpoint
    last: ProbeResult
    probes: int
    failures: int
    syn_retransmits: int
    last_success: float | None
    recent: Sequence[float] = field(default=(), compare=False)


RECENT_PROBES = 30


def count_probe(before: EndpointView | None, result: ProbeResult) -> EndpointView:
    """Give the view of an endpoint after one more result."""
    last_success = before.last_success if before else None
    recent = array("f", before.recent[1 - RECENT_PROBES :] if before else ())  # four bytes each
    recent.append(math.nan if result.connect_seconds is None or not result.up else result.connect_seconds)
    return EndpointView(
        endpoint=result.endpoint,
        last=result,
        probes=(before.probes if before else 0) + 1,
        failures=(before.failures if before else 0) + (not result.up),
        syn_retransmits=(before.syn_retransmits if before else 0) + result.syn_retransmits,
        last_success=result.finished_at if result.up else last_success,
        recent=recent,
    )


class Rejection(enum.StrEnum):
    """Why a connection to the pages could not be taken: there are too many, or the machine has no room."""

    LIMIT = "limit"
    NO_RESOURCES = "no_resources"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterView:
    """The exporter's own health."""

    overruns: int = 0
    internal_errors: int = 0
    last_reload_successful: bool | None = None
    last_reload_success: float | None = None
    event_loop_lag: Histogram = field(default_factory=Histogram)
    tasks: int | None = None
    rejected: Mapping[Rejection, int] = field(default_factory=lambda: dict.fromkeys(Rejection, 0))
    log_lines_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything there is to show at one moment.

    `targets` are keyed by DNS server label; `hosts` are all that are being probed, published or not.
    `rpc_bind` tells whether probes go beyond the TCP handshake.
    """

    zones: tuple[ZoneView, ...] = ()
    clients: tuple[ClientView, ...] = ()
    targets: tuple[tuple[str, TargetLookup], ...] = ()
    hosts: tuple[Host, ...] = ()
    endpoints: tuple[EndpointView, ...] = ()
    static_hosts: tuple[StaticHostView, ...] = ()
    rpc_bind: bool = True
    lookup_durations: tuple[tuple[str, Histogram], ...] = ()
    exporter: ExporterView = field(default_factory=ExporterView)

    def hosts_up_by_zone(self) -> Iterator[tuple[ZoneView, frozenset[Host]]]:
        """Tell of each zone which hosts are up at an address that its own DNS servers give.

        What the servers of another zone say of a name is nothing to it: they may lie.
        """
        up: dict[str, set[Endpoint]] = {}
        for view in self.endpoints:
            if view.last.up:
                up.setdefault(view.endpoint.target, set()).add(view.endpoint)
        at_server: dict[str, set[Host]] = {}
        for dns_server, lookup in self.targets:
            at_server.setdefault(dns_server, set()).update(
                each.host for each in up.get(lookup.target, ()) if each.address in lookup.probed
            )
        for zone in self.zones:
            yield zone, frozenset().union(*(at_server.get(each.dns_server, ()) for each in zone.servers))

    def hosts_up(self) -> Mapping[Host, bool]:
        """Tell of each host with a result whether an endpoint of it is up; one without an address is not.

        Nobody knows of a host of which an endpoint was one too many to be probed, unless another is up.
        """
        up: dict[Host, bool] = {}
        for view in self.endpoints:
            up[view.endpoint.host] = up.get(view.endpoint.host, False) or view.last.up
        for view in self.endpoints:
            if view.last.ignored is IgnoredReason.PROBES_PER_CHECK and up.get(view.endpoint.host) is False:
                del up[view.endpoint.host]
        with_address = {lookup.target for _, lookup in self.targets if lookup.probed}
        without = {lookup.target for _, lookup in self.targets} - with_address
        return {host: False for host in self.hosts if host.target in without} | up
