"""Made-up worlds for the tests of the alert rules, and the series that an exporter would show of them.

A world goes through the exporter's own state, diagnosis and metrics, check by check, so the rules are given
what they would be given in earnest: names, labels, and what hangs together. Nothing here looks at a network.
A timeline is what one exporter went through, up to one common end; what it showed comes out in promtool's
notation for series, with the staleness markers that Prometheus leaves behind.
"""

import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from exporter.build import BuildInfo
from exporter.model import (
    ClientCheck,
    Endpoint,
    Host,
    HostCheck,
    IgnoredReason,
    LookupStatus,
    Memory,
    ProbeFailure,
    ProbeResult,
    Record,
    ServerCheck,
    TargetLookup,
    ZoneCheck,
    endpoints_of,
    hosts_of,
    is_address,
)
from exporter.state import State
from tests.builders import (
    Clock,
    addresses,
    answer,
    client_settings,
    configure,
    families,
    probed,
    zone_check,
    zone_settings,
)

ZONE = "contoso.com"
DC1 = "10.0.0.10"
DC2 = "10.0.0.11"
GROUP_WITHOUT_MEMBERS = "authoritative"
FOREVER_SECONDS = 1e9
VANISHED_PER_ZONE = 64
BUILD = BuildInfo(version="1.0.0", revision="unknown", python="3.11.2")

Answer: TypeAlias = tuple[Record, ...] | LookupStatus
"""What a DNS server says of a zone: records, or how the lookup ends without any."""
Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels."""
Samples: TypeAlias = dict[Series, float]
"""One scrape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A zone as it is configured, and what each of its DNS servers says of it.

    What is not `configured` is there only for clients that search it.
    """

    servers: Mapping[str, Answer]
    expected: tuple[Host, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    authoritative: bool = True
    malformed: int = 0
    configured: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is configured and what is out there.

    `addresses` are those of targets that have others than the usual one, and `unresolved` says why a target
    has none at a DNS server. `failing`, `handshake_seconds` and `retransmits` are by address: why a probe of
    it fails, how long its handshake takes, how many SYNs each probe sends again, or why it is not made. The
    last three are about the exporter: what it counts at each check, and whether it took the configuration.
    """

    zones: Mapping[str, Zone]
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unresolved: Mapping[tuple[str, str], LookupStatus] = field(default_factory=dict)
    failing: Mapping[str, ProbeFailure] = field(default_factory=dict)
    handshake_seconds: Mapping[str, float] = field(default_factory=dict)
    retransmits: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, IgnoredReason] = field(default_factory=dict)
    hosts: tuple[Host, ...] = ()
    clients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overruns: int = 0
    bugs: int = 0
    reloads: bool = True

    @property
    def watched(self) -> Mapping[str, Zone]:
        """The zones of the configuration."""
        return {name: zone for name, zone in self.zones.items() if zone.configured}


def address_of(target: str) -> str:
    """Give the usual address of a target: that of kms7.contoso.com is 10.1.0.7."""
    return f"10.1.0.{target.partition('.')[0].removeprefix('kms')}"


class _Exporter:
    """The exporter's own state, fed with checks of a world."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._state = State(monotonic=self._clock)
        self._configured: World | None = None
        self._began: float | None = None

    def check(self, world: World, at: float) -> None:
        """Check everything once, at a Unix time."""
        self._clock.now = at
        self.configure(world, at)
        for zone in world.watched:
            self._state.apply_zone(self._check(world, zone, self._state.memory_of_zone(zone), at))
        for client, suffixes in world.clients.items():
            checks = (self._check(world, suffix, Memory(), at) for suffix in suffixes)
            self._state.apply_client(ClientCheck(client=client, suffixes=tuple(checks)))
        for host in world.hosts:
            self._state.apply_host(_check_host(world, host, at))
        self._state.count_overruns(world.overruns)
        for _ in range(world.bugs):
            self._state.count_internal_error()

    def configure(self, world: World, at: float) -> None:
        """Load the configuration of a world, unless that was the last one loaded. The first is its start."""
        self._began = at if self._began is None else self._began
        if world is self._configured:
            return
        configure(
            self._state,
            {
                name: zone_settings(*zone.servers, labels=zone.labels, expected=zone.expected)
                for name, zone in world.watched.items()
            },
            hosts=world.hosts,
            clients={
                name: client_settings(*suffixes, servers=tuple(world.zones[suffixes[0]].servers))
                for name, suffixes in world.clients.items()
            },
            vanished_per_zone=VANISHED_PER_ZONE,
            forget_after_seconds=FOREVER_SECONDS,
        )
        self._state.record_reload(successful=world.reloads, at=at)
        self._configured = world

    def _check(self, world: World, name: str, memory: Memory, at: float) -> ZoneCheck:
        zone = world.zones[name]
        servers = [_check_server(world, zone, server, said, memory) for server, said in zone.servers.items()]
        followed = frozenset((*memory.vanished, *memory.expected))
        found = {
            endpoint
            for server in servers
            for endpoint in endpoints_of(
                hosts_of(server.lookup.records)
                | hosts_of(memory.records.get(server.dns_server, ()))
                | followed,
                server.targets,
            )
        }
        probes = [_probe(world, endpoint, at) for endpoint in sorted(found)]
        return zone_check(*servers, zone=name, at=at, probes=probes)

    def scrape(self) -> Samples:
        """Give every sample but those of histograms, and when the process began."""
        began = {("process_start_time_seconds", ()): self._began}
        return {series: at for series, at in began.items() if at is not None} | {
            (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
            for family in families(self._state.snapshot(), BUILD)
            if family.type != "histogram"
            for sample in family.samples
        }


def _check_server(world: World, zone: Zone, server: str, said: Answer, memory: Memory) -> ServerCheck:
    records = () if isinstance(said, LookupStatus) else said
    ignored = {IgnoredReason.MALFORMED: zone.malformed} if zone.malformed else {}
    lookup = answer(
        *records,
        status=said if isinstance(said, LookupStatus) else None,
        authoritative=zone.authoritative,
        ignored=ignored,
    )
    hosts = hosts_of(records) | hosts_of(memory.records.get(server, ()))
    targets = {host.target for host in (*hosts, *memory.vanished, *memory.expected)}
    return ServerCheck(
        dns_server=server,
        lookup=lookup,
        targets=tuple(_resolve(world, server, target, lookup.status) for target in sorted(targets)),
        asked=server != GROUP_WITHOUT_MEMBERS,
    )


def _resolve(world: World, server: str, target: str, status: LookupStatus) -> TargetLookup:
    """Look a target up at a server whose lookup of the zone ended with `status`; a dead one is not asked."""
    known = world.addresses.get(target, (address_of(target),))
    if not status.answered:
        return addresses(target, failure=status, probed=known, asked=False)
    if reason := world.unresolved.get((server, target)):
        return addresses(target, failure=reason)
    return addresses(target, *known)


def _check_host(world: World, host: Host, at: float) -> HostCheck:
    if is_address(host.target):
        targets = {"": addresses(host.target, host.target)}
    else:
        servers = {server: said for zone in world.zones.values() for server, said in zone.servers.items()}
        targets = {
            server: _resolve(
                world, server, host.target, said if isinstance(said, LookupStatus) else LookupStatus.OK
            )
            for server, said in servers.items()
        }
    probes = (_probe(world, endpoint, at) for endpoint in sorted(endpoints_of([host], targets.values())))
    return HostCheck(host=host, finished_at=at, targets=targets, probes=tuple(probes))


def _probe(world: World, endpoint: Endpoint, at: float) -> ProbeResult:
    if reason := world.left_out.get(endpoint.address):
        return probed(endpoint, ProbeFailure.NOT_ALLOWED, at=at, ignored=reason)
    failure = world.failing.get(endpoint.address)
    measured = {"syn_retransmits": world.retransmits.get(endpoint.address, 0)}
    if failure is None and endpoint.address in world.handshake_seconds:
        measured["connect_seconds"] = world.handshake_seconds[endpoint.address]  # type: ignore[assignment]
    return probed(endpoint, failure, at=at, **measured)


# --- What an exporter goes through


class Kind(enum.Enum):
    """What becomes of scrapes in a phase."""

    LOOKS = enum.auto()
    DOWN = enum.auto()
    GAP = enum.auto()
    WEDGED = enum.auto()
    REMOVED = enum.auto()


@dataclass(frozen=True, slots=True)
class Phase:
    """A number of scrapes of the same kind."""

    kind: Kind
    scrapes: int
    world: World | None = None


def sees(world: World, scrapes: int) -> Phase:
    """Be scraped, each time after one more check."""
    return Phase(Kind.LOOKS, scrapes, world)


def down(scrapes: int) -> Phase:
    """Do not run: scrapes fail, and what was known is lost."""
    return Phase(Kind.DOWN, scrapes)


def gap(scrapes: int) -> Phase:
    """Go on, but nobody scrapes, for Prometheus itself is away."""
    return Phase(Kind.GAP, scrapes)


def wedged(scrapes: int, world: World | None = None) -> Phase:
    """Answer scrapes, and load the configuration of a world if one is given, but check nothing any more."""
    return Phase(Kind.WEDGED, scrapes, world)


def removed(scrapes: int) -> Phase:
    """Be no scrape target of Prometheus any more."""
    return Phase(Kind.REMOVED, scrapes)


@dataclass(frozen=True, slots=True)
class Timeline:
    """One exporter. `view` tells jobs of one case apart; `on_demand` is /probe in place of /metrics."""

    phases: tuple[Phase, ...]
    instance: str = "10.0.5.1:11688"
    view: str = ""
    on_demand: bool = False


def history(timeline: Timeline, *, job: str, scrapes: int, seconds: float) -> Iterator[tuple[str, str]]:
    """Give the series of a timeline that ends with the last of so many scrapes, each with its values."""
    start = scrapes - sum(phase.scrapes for phase in timeline.phases)
    assert start >= 0, f"{job} is too long"
    exporter = _Exporter()
    told: dict[Series, list[str]] = {}
    at = start
    for phase in timeline.phases:
        first: Samples = {}
        last: Samples = {}
        if phase.kind is Kind.LOOKS and phase.world:
            for number in range(phase.scrapes):
                exporter.check(phase.world, (at + number) * seconds)
                if number == 0:
                    first = exporter.scrape()
            last = exporter.scrape()
        elif phase.kind is Kind.WEDGED:
            if phase.world:
                exporter.configure(phase.world, at * seconds)
            first = last = exporter.scrape()
        elif phase.kind is Kind.DOWN:
            exporter = _Exporter()
        _tell(told, phase, first, last, at)
        at += phase.scrapes
    for (name, labels), values in told.items():
        if not timeline.on_demand or _is_probed(name):
            yield _notation(name, (*labels, ("instance", timeline.instance), ("job", job))), " ".join(values)


def _tell(told: dict[Series, list[str]], phase: Phase, first: Samples, last: Samples, at: int) -> None:
    """Add the values of one phase; between its first and last scrape counters and timestamps grow evenly."""
    steps = phase.scrapes - 1
    is_scraped = {Kind.LOOKS: 1.0, Kind.WEDGED: 1.0, Kind.DOWN: 0.0}
    if phase.kind in is_scraped:
        up: Series = ("up", ())
        first, last = first | {up: is_scraped[phase.kind]}, last | {up: is_scraped[phase.kind]}
    for series in first.keys() | told.keys():
        values = told.setdefault(series, _nothing(at))
        if series in first:
            slope = (last.get(series, first[series]) - first[series]) / (steps or 1)
            values.append(f"{first[series]!r}{slope:+.15g}x{steps}")
        elif phase.kind is Kind.GAP or not values or values[-1].startswith("_"):
            values += _nothing(phase.scrapes)
        else:
            values += ["stale", *_nothing(steps)]


def _nothing(scrapes: int) -> list[str]:
    return [f"_x{scrapes}"] if scrapes else []


def _notation(name: str, labels: Iterable[tuple[str, str]]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels)) + "}"


def _is_probed(name: str) -> bool:
    """Tell whether /probe has a metric: gauges of what was looked at, nothing of the exporter's own."""
    return not name.startswith(("kms_exporter_", "kms_zone_info", "process_")) and not name.endswith("_total")


# --- Shorthand


def records(*names: str) -> tuple[Record, ...]:
    """Build records of equal standing: `kms1` is kms1.contoso.com:1688, and `kms1:1689` has another port."""
    return tuple(Record(priority=0, weight=0, port=host.port, target=host.target) for host in hosts(*names))


def hosts(*names: str) -> tuple[Host, ...]:
    """Build hosts, spelled as `records` has them."""
    split = (name.partition(":") for name in names)
    return tuple(Host(target=f"{name}.{ZONE}", port=int(port or 1688)) for name, _, port in split)


def world(*answers: Answer, expected: Iterable[Host] | None = None, **fields: object) -> World:
    """Build a world of one zone, whose DNS servers give these answers.

    The fields are those of `World`, or `labels`, `authoritative` and `malformed` of the zone.
    """
    about_zone = {key: fields.pop(key) for key in ("labels", "authoritative", "malformed") if key in fields}
    zone = Zone(
        servers=dict(zip((DC1, DC2), answers, strict=False)),
        expected=None if expected is None else tuple(expected),
        **about_zone,  # type: ignore[arg-type]
    )
    return World(zones={ZONE: zone}, **fields)  # type: ignore[arg-type]


def repeat(phases: Iterable[Phase], times: int) -> tuple[Phase, ...]:
    """Go through the same phases again and again."""
    return tuple(itertools.chain.from_iterable(itertools.repeat(tuple(phases), times)))
