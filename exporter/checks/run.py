"""The steps of one check: which servers to ask, what each one says, and a probe of all that it leads to.

Bounded by a deadline: what is not finished by then is `timeout`. Work that other checks do too is shared.
"""

import asyncio
import dataclasses
import math
from collections.abc import Coroutine, Hashable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from exporter.checks.allotment import Allotment
from exporter.checks.deadline import Deadline, unfinished
from exporter.checks.means import Followed, Means, Turn
from exporter.checks.serials import Serials
from exporter.checks.servers import Finder, Servers
from exporter.checks.targets import merge_target, worst_status
from exporter.checks.turns import Turns
from exporter.discovery import Budget, Question
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
    hosts_of,
)
from exporter.names import SRV_PREFIX
from exporter.probe import not_probed

T = TypeVar("T")

_ADDRESS_TYPES = {Family.IPV4: "A", Family.IPV6: "AAAA"}
_SHARE = 4  # one check uses a quarter of what all have, so that one zone full of dead ends delays no other


class Run:
    """The steps of one check, under its deadline and in its owner's name.

    `memories` say what was seen before and what should be, for what is probed first where not all may be. A
    check of a zone may have `begun` with questions.
    As a context it ends with the check: no probe begins after it.
    """

    def __init__(
        self,
        means: Means,
        *,
        owner: Hashable,
        deadline: Deadline,
        memories: Iterable[Memory],
        begun: Mapping[DnsServer, Question] | None = None,
    ) -> None:
        self._means = means
        self._settings = means.settings
        self._families = means.settings.address_families
        self._deadline = deadline
        self._begun = begun or {}
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
        self.share = math.ceil(means.settings.max_concurrency / _SHARE)
        self._probes = Turns(self.share, self._start_probe)
        self._lookup_share = asyncio.Semaphore(self.share)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._probes.stop()
        del self._probes  # each knows the other: the collector of garbage would have to find them

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
        followed = self._means.followed.turn((self._owner, zone))
        seen = await gather(
            [self._check_server(zone, server, memory, followed) for server in servers.addresses]
        )
        missing = (
            ServerCheck(dns_server=word, lookup=SrvLookup(status=status, duration_seconds=0.0), asked=False)
            for word, status in servers.missing.items()
        )
        return (*seen, *missing)

    async def _check_server(
        self, zone: str, server: DnsServer, memory: Memory, followed: Turn
    ) -> ServerCheck:
        """Look at a zone through one DNS server, and start to probe what it leads to.

        Hosts that were published there at the last look, or by anybody lately, are followed too, for they may
        have vanished with this answer, or there may be none; so are those that should be published.
        """
        lookup = await self._deadline.keep(
            self._discovery.lookup_srv(
                zone,
                server,
                expected=frozenset(memory.expected),
                known=hosts_of(memory.records.get(server.label, ())),
                limit=self._settings.records_per_zone,
                begun=self._begun.get(server),
            ),
            late=lambda: SrvLookup(
                status=LookupStatus.TIMEOUT,
                duration_seconds=self._deadline.within_seconds,
                queries=unfinished(server.label, SRV_PREFIX + zone, "SRV"),
            ),
        )
        serials = Serials(self._means, self._deadline, owner=self._owner, zone=zone)
        serial = serials.begin(server, lookup, lambda: self._discovery)
        targets = await self._follow(server, lookup, memory, followed)
        lookup = await serials.finish(server, lookup, serial)
        return ServerCheck(dns_server=server.label, lookup=lookup, targets=targets)

    async def _follow(
        self, server: DnsServer, lookup: SrvLookup, memory: Memory, followed: Turn
    ) -> tuple[TargetLookup, ...]:
        """Find the addresses of hosts at a server, and start to probe them.

        Hardly ever is anything there that was not at the last check, and then nor is anything in what
        follows from it.
        """
        last, kept = followed
        known = last.get(server)
        if known and known.is_of(lookup, memory):
            kept[server] = known
            self.start_probes(known.endpoints)
            return known.targets
        published = hosts_of(memory.records.get(server.label, ()))
        hosts = hosts_of(lookup.records) | published | {*memory.expected, *memory.vanished}
        targets = await self._resolve_all(hosts, server, lookup, memory)
        endpoints = endpoints_of(hosts, targets)
        self.start_probes(endpoints)
        found = Followed(memory, lookup.records, lookup.glue, targets, endpoints)
        glued = all((each.target, family) in lookup.glue for each in targets for family in self._families)
        if glued and found.is_small():
            kept[server] = found
        return targets

    async def _resolve_all(
        self, hosts: Iterable[Host], server: DnsServer, lookup: SrvLookup, memory: Memory
    ) -> tuple[TargetLookup, ...]:
        targets, label = sorted({host.target for host in hosts}), server.label
        if not lookup.status.answered:  # nor would it answer for the targets: spare the wait
            return tuple(
                TargetLookup(
                    target=target,
                    probed=memory.addresses.get((label, target), ()),
                    failure=lookup.status,
                    asked=False,
                )
                for target in targets
            )
        glued = {
            target: found
            for target in targets
            if (found := self._read_glue(target, lookup.glue, memory.addresses.get((label, target), ())))
        }
        asked = [target for target in targets if target not in glued]
        answers = await gather([self.resolve(target, (target,), server, memory, lookup) for target in asked])
        glued.update(zip(asked, answers, strict=True))
        return tuple(glued[target] for target in targets)

    def _read_glue(self, target: str, glue: Glue, known: tuple[str, ...]) -> TargetLookup | None:
        """Find the addresses of a target in what came along with an answer, if all families did."""
        lookups = {family: glue[target, family] for family in self._families if (target, family) in glue}
        if len(lookups) < len(self._families):
            return None
        return merge_target(target, lookups, known=known, limit=self._settings.addresses_per_target)

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
            lookups = await gather(
                [self._lookup_addresses(name, family, server, glue) for family in self._families]
            )
            found = merge_target(
                target,
                dict(zip(self._families, lookups, strict=True)),
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
            late=lambda: AddressLookup(
                status=LookupStatus.TIMEOUT, queries=unfinished(server.label, name, _ADDRESS_TYPES[family])
            ),
        )

    async def _shared_lookup(self, name: str, family: Family, server: DnsServer) -> AddressLookup:
        async with self._lookup_share:  # before it begins: who else wants it does not wait for our turn
            return await asyncio.shield(
                self._means.addresses.start((name, family, server), self._owner, self._look_up_addresses)
            )

    def _look_up_addresses(self, key: tuple[str, Family, DnsServer]) -> Coroutine[Any, Any, AddressLookup]:
        return self._discovery.lookup_addresses(*key)

    def recall(self) -> None:
        """Start to probe what was seen before, while DNS is being asked."""
        self.start_probes(endpoint for memory in self._memories for endpoint in memory.endpoints)

    def start_probes(self, endpoints: Iterable[Endpoint]) -> None:
        """Start to probe endpoints, unless this or another check does or lately did.

        Where there may be more than `probes_per_check`, some wait until all have come in.
        """
        new = set(endpoints) - self._refused
        if new <= self._probes.begun.keys():
            return
        allows = self._means.allows
        refused = {endpoint for endpoint in new if not allows(endpoint.address, endpoint.port)}
        self._refused |= refused
        self._probes.add(refused)
        self._probes.add(self._allotment.take(new - refused, sources=max(1, self._sources)))

    def _start_probe(self, endpoint: Endpoint) -> asyncio.Future[ProbeResult]:
        return self._means.probes.start(endpoint, self._owner, self._begin_probe)

    def _begin_probe(self, endpoint: Endpoint) -> asyncio.Future[ProbeResult]:
        return _refuse(endpoint) if endpoint in self._refused else self._means.probe_slots.run(endpoint)

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
                probe.result() if probe.done() else not_probed(endpoint, ProbeFailure.TIMEOUT)
                for endpoint, probe in self._probes.begun.items()
            ),
            *(not_probed(endpoint, ProbeFailure.TIMEOUT) for endpoint in self._probes.waiting),
            *(_ignore(endpoint, IgnoredReason.PROBES_PER_CHECK) for endpoint in self._allotment.left),
        )


async def gather(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do pieces of work at the same time; a single one, as there often is, without a task of its own."""
    if len(works) == 1:
        return [await works[0]]
    return await asyncio.gather(*works)


def _refuse(endpoint: Endpoint) -> asyncio.Future[ProbeResult]:
    refused: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
    refused.set_result(_ignore(endpoint, IgnoredReason.NOT_ALLOWED))
    return refused


def _ignore(endpoint: Endpoint, reason: IgnoredReason) -> ProbeResult:
    return not_probed(endpoint, ProbeFailure.NOT_ALLOWED)._replace(ignored=reason)
