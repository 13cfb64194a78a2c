"""Builders of what a check brings home, with defaults for all that a test does not care about.

Nothing here looks at a network or a clock. A zone's usual target is `kms1`, its usual address 192.0.2.1
(TEST-NET-1, RFC 5737).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter import metrics
from exporter.build import BuildInfo, read_build_info
from exporter.diagnosis import HostSight, ServerDiagnosis, diagnose
from exporter.diagnosis.verdicts import judge
from exporter.metrics.convert import to_metric
from exporter.model import (
    NOT_AVAILABLE,
    ClientCheck,
    DnsServer,
    Endpoint,
    Groups,
    Host,
    HostCheck,
    LookupStatus,
    ProbeFailure,
    ProbeResult,
    Record,
    ServerCheck,
    SrvLookup,
    TargetLookup,
    ZoneCheck,
    endpoints_of,
    fingerprint,
    hosts_of,
)
from exporter.state import (
    ClientSettings,
    ClientView,
    EndpointView,
    ServerView,
    Snapshot,
    State,
    StaticHostView,
    ZoneSettings,
    ZoneView,
)

ZONE = "contoso.test"
SERVER = "192.0.2.53"
TARGET = "kms1.contoso.test"
ADDRESS = "192.0.2.1"
PORT = 1688
CLIENT = "branch"
INTERVAL_SECONDS = 60.0
FORGET_AFTER_SECONDS = 100.0
VANISHED_PER_ZONE = 3
AFTER_HANDSHAKE = frozenset(
    {
        ProbeFailure.RPC_TIMEOUT,
        ProbeFailure.RPC_CLOSED,
        ProbeFailure.RPC_BUSY,
        ProbeFailure.NOT_RPC,
        ProbeFailure.INTERFACE_UNKNOWN,
        ProbeFailure.RPC_REJECTED,
    }
)
NOT_MADE = frozenset({ProbeFailure.NOT_ALLOWED, ProbeFailure.LOCAL_ERROR})


class Clock:
    """A monotonic clock that stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time in seconds."""
        return self.now


def host(target: str = TARGET, port: int = PORT) -> Host:
    """Build a host."""
    return Host(target=target, port=port)


def endpoint(target: str = TARGET, port: int = PORT, address: str = ADDRESS) -> Endpoint:
    """Build an endpoint."""
    return Endpoint(target=target, port=port, address=address)


def record(target: str = TARGET, port: int = PORT, *, priority: int = 0, weight: int = 0) -> Record:
    """Build an SRV record."""
    return Record(priority=priority, weight=weight, port=port, target=target)


def answer(*records: Record, status: LookupStatus | None = None, **fields: Any) -> SrvLookup:
    """Build the outcome of an SRV lookup; without a status it is `ok` with records and `nodata` without.

    Records of port 0 stand apart, as discovery has them, unless their target is `.`.
    """
    portless = [each for each in records if not each.port and each.target != NOT_AVAILABLE]
    defaults: dict[str, Any] = {
        "records": tuple(sorted(each for each in records if each not in portless)),
        "portless": tuple(sorted(portless)),
        "duration_seconds": 0.02,
        "record_count": len(records),
        "fingerprint": fingerprint(records),
    }
    return SrvLookup(
        status=status or (LookupStatus.OK if records else LookupStatus.NODATA), **defaults | fields
    )


def addresses(target: str, *found: str, **fields: Any) -> TargetLookup:
    """Build the outcome of a target's address lookup; without an address it failed with `nxdomain`."""
    failure = None if found else LookupStatus.NXDOMAIN
    return TargetLookup(target=target, **{"addresses": found, "probed": found, "failure": failure} | fields)


def at_server(
    dns_server: str, lookup: SrvLookup, targets: Mapping[str, Sequence[str]] | None = None
) -> ServerCheck:
    """Build a zone's check at one DNS server.

    `targets` gives the addresses of targets, those of vanished and missing hosts too; a target in `lookup`
    that is not among them has the usual address.
    """
    found = {host.target: (ADDRESS,) for host in hosts_of(lookup.records)} | dict(targets or {})
    lookups = tuple(addresses(target, *literals) for target, literals in sorted(found.items()))
    return ServerCheck(dns_server=dns_server, lookup=lookup, targets=lookups)


def probed(
    one: Endpoint, failure: ProbeFailure | None = None, *, at: float = 1.0, **fields: Any
) -> ProbeResult:
    """Build the result of a probe that was finished at the Unix and monotonic time `at`.

    It was measured as far as it went: a failure of the RPC bind comes after a handshake.
    """
    connected = failure is None or failure in AFTER_HANDSHAKE
    times = {
        "started_at": None if failure in NOT_MADE else at - 0.0075,
        "connected_at": at - 0.004 if connected else None,
        "connect_seconds": 0.003 if connected else None,
        "rpc_bind_seconds": 0.004 if failure is None else None,
    }
    return ProbeResult(
        endpoint=one,
        failure=failure,
        **{"finished_at": at, "finished_monotonic": at} | times | fields,
    )


def zone_check(
    *servers: ServerCheck,
    zone: str = ZONE,
    at: float = 1.0,
    probes: Iterable[ProbeResult] | None = None,
    groups: Groups | None = None,
    refused: tuple[DnsServer, ...] = (),
) -> ZoneCheck:
    """Build a check of a zone; without `probes`, every endpoint that it leads to was found to be up."""
    if probes is None:
        probes = (probed(one, at=at) for one in sorted(reached(servers)))
    return ZoneCheck(
        zone=zone,
        finished_at=at,
        duration_seconds=0.5,
        servers=servers,
        probes=tuple(probes),
        groups=groups or {},
        refused=refused,
    )


def reached(servers: Iterable[ServerCheck]) -> set[Endpoint]:
    """Tell which endpoints the records and addresses of a check lead to, whoever publishes the records."""
    checks = tuple(servers)
    hosts = {host for check in checks for host in hosts_of(check.lookup.records)}
    return {one for check in checks for one in endpoints_of(hosts, check.targets)}


def host_check(one: Host, *found: str, dns_server: str = SERVER, at: float = 1.0, **fields: Any) -> HostCheck:
    """Build a check of a static host whose endpoints were all found to be up."""
    lookup = addresses(one.target, *found)
    probes = tuple(probed(each, at=at) for each in sorted(endpoints_of([one], [lookup])))
    return HostCheck(host=one, finished_at=at, **{"targets": {dns_server: lookup}, "probes": probes} | fields)


def client_check(*suffixes: ZoneCheck, client: str = CLIENT) -> ClientCheck:
    """Build a check of all that a kind of client searches, from one of each suffix, in its order."""
    return ClientCheck(client=client, suffixes=suffixes)


def zone_settings(
    *servers: str,
    open_ended: bool = False,
    labels: Mapping[str, str] | None = None,
    expected: Iterable[Host] | None = None,
) -> ZoneSettings:
    """Build the settings of a zone; without servers it is looked up at the usual one."""
    return ZoneSettings(
        dns_servers=_named(servers, open_ended=open_ended),
        open_ended=open_ended,
        labels=labels or {},
        expected=None if expected is None else tuple(expected),
    )


def client_settings(*suffixes: str, servers: Sequence[str] = (), open_ended: bool = False) -> ClientSettings:
    """Build the settings of a kind of client; it searches the usual zone unless told otherwise."""
    return ClientSettings(
        suffixes=suffixes or (ZONE,),
        dns_servers=_named(servers, open_ended=open_ended),
        open_ended=open_ended,
    )


def _named(servers: Sequence[str], *, open_ended: bool) -> tuple[str, ...]:
    return tuple(servers) or (() if open_ended else (SERVER,))


def configure(
    state: State,
    zones: Mapping[str, ZoneSettings] | None = None,
    *,
    hosts: Iterable[Host] = (),
    clients: Mapping[str, ClientSettings] | None = None,
    vanished_per_zone: int = VANISHED_PER_ZONE,
    forget_after_seconds: float = FORGET_AFTER_SECONDS,
    rpc_bind: bool = True,
) -> None:
    """Configure a state; without `zones` it watches the usual one."""
    state.configure(
        zones={ZONE: zone_settings()} if zones is None else zones,
        static_hosts=hosts,
        clients=clients or {},
        interval_seconds=INTERVAL_SECONDS,
        forget_after_seconds=forget_after_seconds,
        vanished_per_zone=vanished_per_zone,
        rpc_bind=rpc_bind,
    )


def zone_view(zone: str = ZONE, *servers: ServerView, **fields: Any) -> ZoneView:
    """Build what the state shows of a zone: what its servers publish, and no more unless `fields` say so."""
    answers = [view.records for view in servers if view.records is not None]
    published = frozenset(record.host for records in answers for record in records)
    defaults: dict[str, Any] = {
        "labels": {},
        "published": published if answers else None,
        "vanished": frozenset(),
        "expected": None,
        "ignored": {},
        "last_check": None,
        "check_duration_seconds": None,
    }
    return ZoneView(zone=zone, servers=servers, **defaults | fields)


def client_view(*suffixes: ZoneView, client: str = CLIENT) -> ClientView:
    """Build what the state shows of a kind of client, from what it shows of each suffix, in its order."""
    return ClientView(client=client, suffixes=suffixes)


def static_host_view(one: Host, *dns_servers: str, last_check: float | None = None) -> StaticHostView:
    """Build what the state shows of a static host; an address has the DNS server "" once it is checked."""
    return StaticHostView(host=one, dns_servers=dns_servers, last_check=last_check)


def endpoint_view(last: ProbeResult, **fields: Any) -> EndpointView:
    """Build what the state shows of an endpoint that was probed once."""
    defaults: dict[str, Any] = {
        "probes": 1,
        "failures": int(not last.up),
        "syn_retransmits": last.syn_retransmits,
        "last_success": last.finished_at if last.up else None,
    }
    return EndpointView(endpoint=last.endpoint, last=last, **defaults | fields)


def server_diagnosis(lookup: SrvLookup, *hosts: HostSight, **fields: Any) -> ServerDiagnosis:
    """Build what is said of a zone at one DNS server whose answer leads to these hosts."""
    defaults: dict[str, Any] = {
        "dns_server": SERVER,
        "as_expected": False,
        "error": None,
        "first_attempt": {},
        "absent": (),
    }
    return ServerDiagnosis(lookup=lookup, verdict=judge(lookup, hosts), hosts=hosts, **defaults | fields)


def metric_names() -> set[str]:
    """Name every metric that there is, as documents do: a histogram without the names of its parts."""
    return {family.name + "_total" * (family.type == "counter") for family in _families()}


def metric_labels() -> dict[str, set[str]]:
    """Give the labels of every metric by the names of its series: those of its parts, for a histogram."""
    known = dict[str, set[str]]()
    for family in _families():
        labels = set(family._labelnames)  # type: ignore[attr-defined] # the only place that has them without samples
        known |= {
            "gauge": {family.name: labels},
            "counter": {f"{family.name}_total": labels},
            "histogram": {
                f"{family.name}_bucket": labels | {"le"},
                f"{family.name}_sum": labels,
                f"{family.name}_count": labels,
            },
        }[family.type]
    return known


def families(snapshot: Snapshot, build: BuildInfo) -> Iterator[Metric]:
    """Give all families of a snapshot as prometheus_client has them."""
    return map(to_metric, metrics.families(snapshot, build, diagnose(snapshot)))


class SnapshotCollector(Collector):
    """Hands the families of a snapshot to prometheus_client's own encoders."""

    def __init__(self, snapshot: Snapshot, build: BuildInfo) -> None:
        self._snapshot = snapshot
        self._build = build

    def collect(self) -> Iterable[Metric]:
        """Give the families."""
        return families(self._snapshot, self._build)


def _families() -> Iterable[Metric]:
    return families(Snapshot(), read_build_info())
