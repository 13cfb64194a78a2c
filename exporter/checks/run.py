"""The steps of one check: which servers to ask, what each one says, and a probe of all that it leads to.

Bounded by a deadline: what is not finished by then is `timeout`. Work that other checks do too is shared.
"""

import asyncio
import dataclasses
import functools
import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from exporter.boundaries import Boundaries
from exporter.checks.allotment import Allotment
from exporter.checks.deadline import Deadline, unfinished
from exporter.checks.servers import Finder, Servers
from exporter.checks.targets import merge_target, worst_status
from exporter.checks.turns import Turns
from exporter.discovery import Budget, Discovery, SoaLookup
from exporter.model import (
    AddressLookup,
    DnsServer,
    Endpoint,
    Family,
    Glue,
    Groups,
    Host,
    IgnoredReason,
    LookupStatus,
    Memory,
    ProbeFailure,
    ProbeResult,
    Queries,
    ServerCheck,
    ServerSelector,
    SrvLookup,
    TargetLookup,
    endpoints_of,
    family_of,
    hosts_of,
)
from exporter.names import SRV_PREFIX
from exporter.probe import not_probed, probe
from exporter.sharing import SharedResults

T = TypeVar("T")

_ADDRESS_TYPES = {Family.IPV4: "A", Family.IPV6: "AAAA"}
_SHARE = 4  # one check uses a quarter of what all have, so that one zone full of dead ends delays no other


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """What holds for every check alike; the names are those of the configuration."""

    interval_seconds: float
    timeout_seconds: float
    attempts: int
    source_addresses: Mapping[Family, str]
    address_families: tuple[Family, ...]
    max_concurrency: int
    boundaries: Boundaries
    records_per_zone: int
    addresses_per_target: int
    probes_per_check: int
    rpc_bind: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What all checks work with: the same settings, lookups, and results to share."""

    settings: CheckSettings
    discovery: Discovery
    probe_slots: asyncio.Semaphore
    probes: SharedResults[Endpoint, ProbeResult]
    addresses: SharedResults[tuple[str, Family, DnsServer], AddressLookup]


class Run:
    """The steps of one check, under its deadline and in its owner's name.

    `memories` say what was seen before and what should be, for what is probed first where not all may be.
    As a context it ends with the check: no probe begins after it.
    """

    def __init__(
        self, means: Means, *, owner: Hashable, within_seconds: float, memories: Iterable[Memory]
    ) -> None:
        self._means = means
        self._settings = means.settings
        self._deadline = Deadline(within_seconds)
        self._discovery = means.discovery.within(Budget())
        self._finder = Finder(
            self._discovery,
            self._deadline,
            boundaries=means.settings.boundaries,
            families=means.settings.address_families,
        )
        self._owner = owner
        self._refused: set[Endpoint] = set()
        self._memories = tuple(memories)
        self._sources = 0
        self._allotment = Allotment(
            means.settings.probes_per_check,
            expected={host for memory in self._memories for host in memory.expected},
            known=[endpoint for memory in self._memories for endpoint in memory.endpoints],
        )
        share = math.ceil(means.settings.max_concurrency / _SHARE)
        self._probes = Turns(share, self._start_probe)
        self._lookup_share = asyncio.Semaphore(share)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._probes.stop()

    @property
    def elapsed_seconds(self) -> float:
        """The time since the check began."""
        return self._deadline.elapsed_seconds

    async def find_servers(self, name: str, selectors: Iterable[ServerSelector], known: Groups) -> Servers:
        """Turn a configured list into addresses, as `Finder.find` has it."""
        return await self._finder.find(name, selectors, known)

    async def check_servers(self, zone: str, servers: Servers, memory: Memory) -> tuple[ServerCheck, ...]:
        """Look at a zone through every DNS server; a group that leads to none has its word in their place."""
        self._sources += len(servers.addresses)
        seen = await asyncio.gather(
            *(self._check_server(zone, server, memory) for server in servers.addresses)
        )
        missing = (
            ServerCheck(dns_server=word, lookup=SrvLookup(status=status, duration_seconds=0.0), asked=False)
            for word, status in servers.missing.items()
        )
        return (*seen, *missing)

    async def _check_server(self, zone: str, server: DnsServer, memory: Memory) -> ServerCheck:
        """Look at a zone through one DNS server, and start to probe what it leads to.

        Hosts that were published there at the last look, or by anybody lately, are followed too, for they may
        have vanished with this answer, or there may be none; so are those that should be published.
        """
        published = hosts_of(memory.records.get(server.label, ()))
        expected = frozenset(memory.expected)
        lookup = await self._deadline.keep(
            self._discovery.lookup_srv(
                zone, server, expected=expected, known=published, limit=self._settings.records_per_zone
            ),
            late=SrvLookup(
                status=LookupStatus.TIMEOUT,
                duration_seconds=self._deadline.within_seconds,
                queries=unfinished(server.label, SRV_PREFIX + zone, "SRV"),
            ),
        )
        hosts = hosts_of(lookup.records) | published | expected.union(memory.vanished)
        soa, targets = await asyncio.gather(
            self._soa_serial(zone, server, lookup), self._follow(hosts, server, lookup, memory)
        )
        lookup = dataclasses.replace(lookup, soa_serial=soa.serial, queries=lookup.queries + soa.queries)
        return ServerCheck(dns_server=server.label, lookup=lookup, targets=targets)

    async def _soa_serial(self, zone: str, server: DnsServer, lookup: SrvLookup) -> SoaLookup:
        if lookup.soa_serial is not None or not lookup.status.usable:
            return SoaLookup(lookup.soa_serial)
        return await self._deadline.keep(
            self._discovery.lookup_soa_serial(zone, server),
            late=SoaLookup(None, unfinished(server.label, zone, "SOA")),
        )

    async def _follow(
        self, hosts: frozenset[Host], server: DnsServer, lookup: SrvLookup, memory: Memory
    ) -> tuple[TargetLookup, ...]:
        targets = await self._resolve_all(hosts, server, lookup, memory)
        self.start_probes(endpoints_of(hosts, targets))
        return targets

    async def _resolve_all(
        self, hosts: Iterable[Host], server: DnsServer, lookup: SrvLookup, memory: Memory
    ) -> tuple[TargetLookup, ...]:
        targets = sorted({host.target for host in hosts})
        if not lookup.status.answered:  # nor would it answer for the targets: spare the wait
            return tuple(
                TargetLookup(
                    target=target,
                    probed=memory.addresses.get((server.label, target), ()),
                    failure=lookup.status,
                    asked=False,
                )
                for target in targets
            )
        return tuple(
            await asyncio.gather(
                *(self.resolve(target, (target,), server, memory, lookup) for target in targets)
            )
        )

    async def resolve(
        self,
        target: str,
        names: tuple[str, ...],
        server: DnsServer,
        memory: Memory,
        answer: SrvLookup | None = None,
    ) -> TargetLookup:
        """Find the addresses of a target at one server, by the first of `names` that has any there.

        When none has, one whose lookup failed counts: it may be the one that had them before. Addresses that
        came along with `answer` are not asked for again.
        """
        glue: Glue = answer.glue if answer else {}
        known = memory.addresses.get((server.label, target), ())
        without: dict[LookupStatus, TargetLookup] = {}
        queries: Queries = ()
        for name in names:
            lookups = await asyncio.gather(
                *(
                    self._lookup_addresses(name, family, server, glue)
                    for family in self._settings.address_families
                )
            )
            found = merge_target(
                target,
                dict(zip(self._settings.address_families, lookups, strict=True)),
                known=known,
                limit=self._settings.addresses_per_target,
            )
            queries += found.queries
            if found.failure is None:
                return dataclasses.replace(found, queries=queries)
            without.setdefault(found.failure, found)
        return dataclasses.replace(without[worst_status(without)], queries=queries)

    async def _lookup_addresses(
        self, name: str, family: Family, server: DnsServer, glue: Glue
    ) -> AddressLookup:
        if known := glue.get((name, family)):
            return known
        return await self._deadline.keep(
            self._shared_lookup(name, family, server),
            late=AddressLookup(
                status=LookupStatus.TIMEOUT, queries=unfinished(server.label, name, _ADDRESS_TYPES[family])
            ),
        )

    async def _shared_lookup(self, name: str, family: Family, server: DnsServer) -> AddressLookup:
        async with self._lookup_share:  # before it begins: who else wants it does not wait for our turn
            work = functools.partial(self._discovery.lookup_addresses, name, family, server)
            return await asyncio.shield(
                self._means.addresses.start((name, family, server), self._owner, work)
            )

    def recall(self) -> None:
        """Start to probe what was seen before, while DNS is being asked."""
        self.start_probes(endpoint for memory in self._memories for endpoint in memory.endpoints)

    def start_probes(self, endpoints: Iterable[Endpoint]) -> None:
        """Start to probe endpoints, unless this or another check does or lately did.

        Where there may be more than `probes_per_check`, some wait until all have come in.
        """
        new = set(endpoints) - self._refused
        allows = self._settings.boundaries.allows
        refused = {endpoint for endpoint in new if not allows(endpoint.address, endpoint.port)}
        self._refused |= refused
        self._probes.add(refused)
        self._probes.add(self._allotment.take(new - refused, sources=max(1, self._sources)))

    def _start_probe(self, endpoint: Endpoint) -> asyncio.Task[ProbeResult]:
        work = functools.partial(_refuse if endpoint in self._refused else self._probe, endpoint)
        return self._means.probes.start(endpoint, self._owner, work)

    async def finish_probes(self) -> tuple[ProbeResult, ...]:
        """Wait for the probes that were started, and for those that waited as far as there is room for them.

        Those not done by the deadline are `timeout`; those there is no room for are `not_allowed`.
        """
        if not self._deadline.left_seconds:
            self._probes.stop()
        self._probes.add(self._allotment.take_rest())
        await self._probes.finish(self._deadline.left_seconds)
        return (
            *(
                task.result() if task.done() else not_probed(endpoint, ProbeFailure.TIMEOUT)
                for endpoint, task in self._probes.tasks.items()
            ),
            *(not_probed(endpoint, ProbeFailure.TIMEOUT) for endpoint in self._probes.waiting),
            *(_ignore(endpoint, IgnoredReason.PROBES_PER_CHECK) for endpoint in self._allotment.left),
        )

    async def _probe(self, endpoint: Endpoint) -> ProbeResult:
        async with self._means.probe_slots:
            return await probe(
                endpoint,
                timeout_seconds=self._settings.timeout_seconds,
                rpc_bind=self._settings.rpc_bind,
                source_address=self._settings.source_addresses.get(family_of(endpoint.address)),
            )


async def _refuse(endpoint: Endpoint) -> ProbeResult:
    return _ignore(endpoint, IgnoredReason.NOT_ALLOWED)


def _ignore(endpoint: Endpoint, reason: IgnoredReason) -> ProbeResult:
    return dataclasses.replace(not_probed(endpoint, ProbeFailure.NOT_ALLOWED), ignored=reason)
