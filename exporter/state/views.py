"""What the state shows of itself: immutable views, taken together in a snapshot.

A snapshot can be rendered in another thread while checks go on. Times are Unix time, in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.model import Endpoint, Host, IgnoredReason, ProbeResult, Record, SrvLookup, TargetLookup
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
            lookup=lookup,
            answered_seconds=lookup.duration_seconds if answered else self.answered_seconds,
            records=lookup.records if usable else self.records,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneView:
    """A configured zone. `published` and `vanished` are keyed as records are: by target and port."""

    zone: str
    labels: Mapping[str, str]
    servers: tuple[ServerView, ...]
    published: frozenset[Host]
    vanished: frozenset[Host]
    ignored: Mapping[IgnoredReason, int]
    last_check: float | None
    check_duration_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """An endpoint: its last result and its counters since it became known."""

    endpoint: Endpoint
    last: ProbeResult
    probes: int
    failures: int
    syn_retransmits: int
    last_success: float | None


def count_probe(before: EndpointView | None, result: ProbeResult) -> EndpointView:
    """Give the view of an endpoint after one more result."""
    last_success = before.last_success if before else None
    return EndpointView(
        endpoint=result.endpoint,
        last=result,
        probes=(before.probes if before else 0) + 1,
        failures=(before.failures if before else 0) + (not result.up),
        syn_retransmits=(before.syn_retransmits if before else 0) + result.syn_retransmits,
        last_success=result.finished_at if result.up else last_success,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterView:
    """The exporter's own health."""

    overruns: int = 0
    internal_errors: int = 0
    last_reload_successful: bool | None = None
    last_reload_success: float | None = None
    event_loop_lag: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything there is to show at one moment.

    `targets` are keyed by DNS server label; `hosts` are all that are being probed, published or not.
    `static_hosts` gives the time of the last check, None before the first.
    """

    zones: tuple[ZoneView, ...] = ()
    targets: tuple[tuple[str, TargetLookup], ...] = ()
    hosts: tuple[Host, ...] = ()
    endpoints: tuple[EndpointView, ...] = ()
    static_hosts: tuple[tuple[Host, float | None], ...] = ()
    lookup_durations: tuple[tuple[str, Histogram], ...] = ()
    exporter: ExporterView = field(default_factory=ExporterView)
