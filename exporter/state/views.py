"""What the state shows of itself: immutable views, taken together in a snapshot.

A snapshot can be rendered in another thread while checks go on. Times are Unix time, in seconds. The
`revision` of a view changes with everything that a diagnosis of it rests on, and is `NO_REVISION` where the
state does not keep it.
"""

import enum
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from exporter.model import (
    NOT_AVAILABLE,
    Endpoint,
    Glue,
    Host,
    IgnoredReason,
    ProbeResult,
    Record,
    SrvLookup,
    TargetLookup,
)
from exporter.state.histogram import Histogram
from exporter.state.revisions import NO_REVISION


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
            lookup=_without_ballast(lookup),
            answered_seconds=lookup.duration_seconds if answered else self.answered_seconds,
            records=lookup.records if usable else self.records,
        )


def without_queries(seen: TargetLookup) -> TargetLookup:
    """Leave out of the addresses of a target what it took to get them."""
    return replace(seen, queries=()) if seen.queries else seen


_NO_GLUE: Glue = MappingProxyType({})


def _without_ballast(lookup: SrvLookup) -> SrvLookup:
    """Leave out of a lookup what nobody asks for once the check is over."""
    return lookup._replace(glue=_NO_GLUE, queries=())


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
    revision: int = field(default=NO_REVISION, compare=False)

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
    revision: int = field(default=NO_REVISION, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticHostView:
    """A statically assigned host; `dns_servers` are the labels of those that were asked for its name.

    `last_check` is None before the first.
    """

    host: Host
    dns_servers: tuple[str, ...]
    last_check: float | None
    revision: int = field(default=NO_REVISION, compare=False)


class EndpointView(NamedTuple):
    """An endpoint: its last result and its counters since it became known.

    `recent` has the seconds that the handshakes of the last probes took, oldest first; NaN where one failed.
    A tuple, for one is made for every probe, and a frozen dataclass takes four times as long to make.
    """

    endpoint: Endpoint
    last: ProbeResult
    probes: int
    failures: int
    syn_retransmits: int
    last_success: float | None
    recent: Sequence[float] = ()


RECENT_PROBES = 30


def count_probe(before: EndpointView | None, result: ProbeResult) -> EndpointView:
    """Give the view of an endpoint after one more result."""
    if before is None:
        before = EndpointView(
            endpoint=result.endpoint, last=result, probes=0, failures=0, syn_retransmits=0, last_success=None
        )
    up = result.failure is None
    recent = array("f", before.recent[1 - RECENT_PROBES :])  # four bytes each
    recent.append(result.connect_seconds if up and result.connect_seconds is not None else math.nan)
    return EndpointView(
        endpoint=result.endpoint,
        last=result,
        probes=before.probes + 1,
        failures=before.failures + (not up),
        syn_retransmits=before.syn_retransmits + result.syn_retransmits,
        last_success=result.finished_at if up else before.last_success,
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

    def hosts_up_in(self) -> Callable[[ZoneView], frozenset[Host]]:
        """Give what tells of a zone which of its hosts are up at an address that its own DNS servers give.

        What the servers of another zone say of a name is nothing to it: they may lie.
        """
        up = {view.endpoint for view in self.endpoints if view.last.failure is None}
        probed = {(dns_server, lookup.target): lookup.probed for dns_server, lookup in self.targets}

        def hosts_up_in(zone: ZoneView) -> frozenset[Host]:
            labels = [server.dns_server for server in zone.servers]
            return frozenset(
                host
                for host in zone.published or ()
                for label in labels
                for address in probed.get((label, host.target), ())
                if (*host, address) in up
            )

        return hosts_up_in

    def hosts_up(self) -> Mapping[Host, bool]:
        """Tell of each host with a result whether an endpoint of it is up; one without an address is not.

        Nobody knows of a host of which an endpoint was one too many to be probed, unless another is up.
        """
        up = {view.endpoint[:2] for view in self.endpoints if view.last.failure is None}  # equal to hosts
        failed = [view for view in self.endpoints if view.last.failure is not None]
        unknown = {
            view.endpoint[:2] for view in failed if view.last.ignored is IgnoredReason.PROBES_PER_CHECK
        }
        down = {view.endpoint[:2] for view in failed} - unknown
        without = {lookup.target for _, lookup in self.targets if not lookup.probed}
        if without:
            without -= {lookup.target for _, lookup in self.targets if lookup.probed}
        return {
            host: host in up for host in self.hosts if host in up or host in down or host.target in without
        }
