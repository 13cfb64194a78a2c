"""One check of a zone or static host, from the lookup at every DNS server to a probe of every endpoint.

Composes discovery and probing, shares what several zones have in common, and bounds it all: queries and
connects in flight, and a deadline for the whole check. What was seen before comes in as `Memory`; what is
seen now goes out as a value. Keeps no state but results that may be reused within the interval.
"""

import asyncio
import dataclasses
import functools
import time
from collections.abc import Awaitable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from exporter.discovery import Discovery, Transport
from exporter.model import (
    AddressLookup,
    DnsServer,
    Endpoint,
    Family,
    Glue,
    Host,
    HostCheck,
    LookupStatus,
    Memory,
    ProbeFailure,
    ProbeResult,
    ServerCheck,
    ServerGroup,
    ServerSelector,
    SrvLookup,
    TargetLookup,
    ZoneCheck,
    endpoints_of,
    family_of,
    hosts_of,
    is_address,
)
from exporter.names import MAX_NAME
from exporter.probe import Network, is_allowed, not_probed, probe
from exporter.sharing import SharedResults

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """What holds for every check alike; the names are those of the configuration."""

    interval_seconds: float
    timeout_seconds: float
    attempts: int
    source_addresses: Mapping[Family, str]
    address_families: tuple[Family, ...]
    max_concurrency: int
    networks: tuple[Network, ...]
    ports: tuple[int, ...]
    records_per_zone: int
    addresses_per_target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The DNS servers that a configured list stands for right now.

    `missing` gives the reason for each group word that leads to none; the word then stands where the
    label of a server would, lest the zone looks as if nobody had to be asked.
    """

    addresses: tuple[DnsServer, ...] = ()
    authoritative: frozenset[DnsServer] = frozenset()
    missing: Mapping[str, LookupStatus] = field(default_factory=dict)


class Checker:
    """Checks zones and static hosts; those that share targets and endpoints share the work on them.

    A check takes at most one interval: steps that are not finished by then are `timeout`.
    """

    def __init__(self, settings: CheckSettings) -> None:
        self.settings = settings
        interval_seconds = settings.interval_seconds
        self.discovery = Discovery(
            Transport(
                timeout_seconds=settings.timeout_seconds,
                attempts=settings.attempts,
                source_addresses=settings.source_addresses,
                max_in_flight=settings.max_concurrency,
            )
        )
        self.probe_slots = asyncio.Semaphore(settings.max_concurrency)
        self.probes = SharedResults[Endpoint, ProbeResult]("probe", interval_seconds=interval_seconds)
        self.addresses = SharedResults[tuple[str, Family, DnsServer], AddressLookup](
            "addresses", interval_seconds=interval_seconds, lifetime=lambda lookup: lookup.ttl_seconds
        )

    async def check_zone(self, zone: str, selectors: Iterable[ServerSelector], memory: Memory) -> ZoneCheck:
        """Look at a zone once: at each of its DNS servers, and at every endpoint that one leads to."""
        run = _Run(self, owner=("zone", zone))
        run.start_probes(memory.endpoints)
        servers = await run.find_servers(zone, selectors, memory.authoritative)
        seen = await asyncio.gather(*(run.check_server(zone, server, memory) for server in servers.addresses))
        probes = await run.finish_probes()
        return ZoneCheck(
            zone=zone,
            finished_at=time.time(),
            duration_seconds=run.elapsed_seconds,
            servers=(*seen, *_not_found(servers.missing)),
            probes=probes,
            authoritative=servers.authoritative,
        )

    async def check_host(self, host: Host, selectors: Iterable[ServerSelector], memory: Memory) -> HostCheck:
        """Look at a static host once; a name is resolved at each DNS server."""
        run = _Run(self, owner=("host", host))
        run.start_probes(memory.endpoints)
        if is_address(host.target):
            servers, targets = Servers(), {"": _address_itself(host.target)}
        else:
            servers, targets = await self._resolve_host(run, host.target, selectors, memory)
        run.start_probes(endpoints_of([host], targets.values()))
        return HostCheck(
            host=host,
            targets=targets,
            probes=await run.finish_probes(),
            finished_at=time.time(),
            authoritative=servers.authoritative,
        )

    async def _resolve_host(
        self, run: "_Run", target: str, selectors: Iterable[ServerSelector], memory: Memory
    ) -> tuple[Servers, dict[str, TargetLookup]]:
        names = self._candidates(target)
        servers = await run.find_servers(names[0], selectors, memory.authoritative)
        found = await asyncio.gather(
            *(run.resolve(target, names, server, memory) for server in servers.addresses)
        )
        targets = {server.label: lookup for server, lookup in zip(servers.addresses, found, strict=True)}
        for word, status in servers.missing.items():
            targets[word] = TargetLookup(target=target, failure=status)
        return servers, targets

    async def close(self) -> None:
        """Cancel shared work that is still under way."""
        await self.probes.close()
        await self.addresses.close()

    def _candidates(self, target: str) -> tuple[str, ...]:
        """Complete a short name as the resolver of this machine does; others stand for themselves."""
        if "." in target:
            return (target,)
        names = (f"{target}.{suffix}" for suffix in self.discovery.system().search)
        return tuple(name for name in names if len(name) <= MAX_NAME) or (target,)


class _Run:
    """The steps of one check, under its deadline and in its owner's name."""

    def __init__(self, checker: Checker, *, owner: Hashable) -> None:
        self._checker = checker
        self._settings = checker.settings
        self._owner = owner
        self._started = asyncio.get_running_loop().time()
        self._deadline = self._started + checker.settings.interval_seconds
        self._probes: dict[Endpoint, asyncio.Task[ProbeResult]] = {}

    @property
    def elapsed_seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._started

    async def find_servers(
        self, name: str, selectors: Iterable[ServerSelector], known: frozenset[DnsServer]
    ) -> Servers:
        """Turn a configured list into addresses, in order and without repetition.

        While the authoritative servers cannot be found, those found before (`known`) go on being asked.
        """
        addresses: dict[DnsServer, None] = {}
        authoritative: frozenset[DnsServer] = frozenset()
        missing: dict[str, LookupStatus] = {}
        for selector in selectors:
            status = LookupStatus.UNREACHABLE
            if isinstance(selector, DnsServer):
                members: tuple[DnsServer, ...] = (selector,)
            elif selector is ServerGroup.SYSTEM:
                members = self._checker.discovery.system().servers
            else:
                authoritative, status = await self._find_authoritative(name, known)
                members = tuple(sorted(authoritative))
            addresses.update(dict.fromkeys(members))
            if not members:
                missing[str(selector)] = status
        return Servers(addresses=tuple(addresses), authoritative=authoritative, missing=missing)

    async def _find_authoritative(
        self, name: str, known: frozenset[DnsServer]
    ) -> tuple[frozenset[DnsServer], LookupStatus]:
        found, status = await self._by_deadline(
            self._checker.discovery.find_authoritative(name, self._settings.address_families),
            late=(frozenset(), LookupStatus.TIMEOUT),
        )
        if not found and status.usable:  # somebody serves every zone: such an answer cannot be right
            status = LookupStatus.BAD_RESPONSE
        return (found if status.usable else found | known), status

    async def check_server(self, zone: str, server: DnsServer, memory: Memory) -> ServerCheck:
        """Look at a zone through one DNS server, and start to probe what it leads to.

        Hosts that were published there at the last look, or by anybody lately, are followed too: they may
        have vanished with this answer, or there may be none.
        """
        published = hosts_of(memory.records.get(server.label, ()))
        lookup = await self._by_deadline(
            self._checker.discovery.lookup_srv(
                zone, server, known=published, limit=self._settings.records_per_zone
            ),
            late=SrvLookup(status=LookupStatus.TIMEOUT, duration_seconds=self._settings.interval_seconds),
        )
        hosts = hosts_of(lookup.records) | published | set(memory.vanished)
        serial, targets = await asyncio.gather(
            self._soa_serial(zone, server, lookup), self._follow(hosts, server, lookup, memory)
        )
        lookup = dataclasses.replace(lookup, soa_serial=serial)
        return ServerCheck(dns_server=server.label, lookup=lookup, targets=targets)

    async def _soa_serial(self, zone: str, server: DnsServer, lookup: SrvLookup) -> int | None:
        if lookup.soa_serial is not None or not lookup.status.usable:
            return lookup.soa_serial
        return await self._by_deadline(self._checker.discovery.lookup_soa_serial(zone, server), late=None)

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
            if found.failure is None:
                return found
            without.setdefault(found.failure, found)
        return without[worst_status(without)]

    async def _lookup_addresses(
        self, name: str, family: Family, server: DnsServer, glue: Glue
    ) -> AddressLookup:
        if known := glue.get((name, family)):
            return known
        lookup = self._checker.addresses.start(
            (name, family, server),
            self._owner,
            lambda: self._checker.discovery.lookup_addresses(name, family, server),
        )
        return await self._by_deadline(
            asyncio.shield(lookup), late=AddressLookup(status=LookupStatus.TIMEOUT)
        )

    def start_probes(self, endpoints: Iterable[Endpoint]) -> None:
        """Start to probe endpoints, unless this or another check does or lately did."""
        for endpoint in endpoints:
            if endpoint not in self._probes:
                work = functools.partial(self._probe, endpoint)
                self._probes[endpoint] = self._checker.probes.start(endpoint, self._owner, work)

    async def finish_probes(self) -> tuple[ProbeResult, ...]:
        """Wait for the probes that were started; those not done by the deadline are `timeout`."""
        if self._probes:
            left_seconds = self._deadline - asyncio.get_running_loop().time()
            await asyncio.wait(self._probes.values(), timeout=max(0.0, left_seconds))
        return tuple(
            task.result() if task.done() else not_probed(endpoint, ProbeFailure.TIMEOUT)
            for endpoint, task in self._probes.items()
        )

    async def _probe(self, endpoint: Endpoint) -> ProbeResult:
        settings = self._settings
        if not is_allowed(endpoint.address, endpoint.port, networks=settings.networks, ports=settings.ports):
            return not_probed(endpoint, ProbeFailure.NOT_ALLOWED)
        async with self._checker.probe_slots:
            return await probe(
                endpoint,
                timeout_seconds=settings.timeout_seconds,
                source_address=settings.source_addresses.get(family_of(endpoint.address)),
            )

    async def _by_deadline(self, work: Awaitable[T], *, late: T) -> T:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await work
        except TimeoutError:
            return late


def merge_target(
    target: str, lookups: Mapping[Family, AddressLookup], *, known: tuple[str, ...], limit: int
) -> TargetLookup:
    """Make one result of the lookups of a target's address families at one server.

    Addresses in `known`, the ones probed so far, are kept where their family's lookup failed. At most
    `limit` addresses stay, known ones first, then in order, so that rotation invents no change.
    """
    current = {address for lookup in lookups.values() for address in lookup.addresses}
    kept = {
        address
        for address in known
        if (lookup := lookups.get(family_of(address))) and not lookup.status.usable
    }
    familiar = set(known)
    probed = sorted(current | kept, key=lambda address: (address not in familiar, address))
    chosen = sorted(probed[:limit])
    return TargetLookup(
        target=target,
        addresses=tuple(address for address in chosen if address in current),
        probed=tuple(chosen),
        failure=None if current else worst_status([lookup.status for lookup in lookups.values()]),
        alias_of=next((lookup.alias_of for lookup in lookups.values() if lookup.alias_of), None),
        ignored=len(probed) - len(chosen),
    )


def worst_status(statuses: Iterable[LookupStatus]) -> LookupStatus:
    """Choose the one reason why a target has no address from those of its names and address families.

    A lookup that failed leaves it open whether there are addresses; NXDOMAIN says more than NODATA.
    """
    order = [LookupStatus.NXDOMAIN, LookupStatus.NODATA]
    return min(statuses, key=lambda status: order.index(status) if status in order else -1)


def _address_itself(address: str) -> TargetLookup:
    return TargetLookup(target=address, addresses=(address,), probed=(address,))


def _not_found(missing: Mapping[str, LookupStatus]) -> Iterable[ServerCheck]:
    for word, status in missing.items():
        yield ServerCheck(dns_server=word, lookup=SrvLookup(status=status, duration_seconds=0.0))
