"""One check of a zone, static host or client's search, from its DNS servers to a probe of every endpoint.

Composes discovery and probing, shares what several zones have in common, and bounds it all: queries and
connects in flight, and a deadline for the whole check. What was seen before comes in as `Memory`; what is
seen now goes out as a value. Keeps no state but results that may be reused within the interval.
"""

import copy
import functools
import math
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Self

from exporter.checks.deadline import Deadline
from exporter.checks.means import CheckSettings, Following, Means, begin_probe
from exporter.checks.repetition import Repetition, Routines, find_routine
from exporter.checks.run import Run, gather
from exporter.checks.servers import Servers, merge_servers
from exporter.checks.slots import Slots
from exporter.discovery import Discovery, Question, Transport
from exporter.model import (
    ClientCheck,
    DnsServer,
    Host,
    HostCheck,
    Memory,
    ProbeResult,
    Search,
    ServerCheck,
    ServerSelector,
    TargetLookup,
    ZoneCheck,
    endpoints_of,
    is_address,
)
from exporter.names import MAX_NAME
from exporter.sharing import SharedResults

__all__ = ["CheckSettings", "Checker"]

_ENDPOINTS_KEPT = 50_000
_SERIAL_SECONDS = 60.0  # a serial is of interest when the answer changes, and else now and then


class Checker:
    """Checks zones and static hosts; those that share targets and endpoints share the work on them.

    A check takes at most one interval, or what `within` says: steps that are not finished by then are
    `timeout`. With `reuse` off, checks share only work that is under way: each result is of now.
    """

    def __init__(
        self, settings: CheckSettings, discovery: Discovery | None = None, *, reuse: bool = True
    ) -> None:
        self.settings = settings
        self._within_seconds = settings.interval_seconds
        self._reuses = reuse
        self._routines = Routines()
        self._means = Means(
            settings=settings,
            discovery=discovery or Discovery(_transport(settings)),
            probe_slots=Slots(settings.max_concurrency, functools.partial(begin_probe, settings)),
            followed=Following(),
            probes=SharedResults(
                "probe",
                interval_seconds=settings.interval_seconds,
                lifetime=lambda _: math.inf if reuse else 0.0,
            ),
            addresses=SharedResults(
                "addresses",
                interval_seconds=settings.interval_seconds,
                lifetime=lambda lookup: lookup.ttl_seconds if reuse else 0.0,
            ),
            serials=SharedResults(
                "serial",
                interval_seconds=2 * _SERIAL_SECONDS,  # of which its owner reuses a result for half
                lifetime=lambda soa: math.inf if reuse and soa.serial is not None else 0.0,
            ),
            allows=functools.lru_cache(maxsize=_ENDPOINTS_KEPT)(settings.boundaries.allows),
        )

    def within(self, seconds: float) -> Self:
        """Give this checker with another deadline for each check; the work on them goes on being shared."""
        hurried = copy.copy(self)
        hurried._within_seconds = seconds  # noqa: SLF001 (of the same class)
        return hurried

    async def check_zone(self, zone: str, selectors: Sequence[ServerSelector], memory: Memory) -> ZoneCheck:
        """Look at a zone once: at each of its DNS servers, and at every endpoint that one leads to."""
        owner, deadline = ("zone", zone), Deadline(self._within_seconds)
        routine = self._routines.take(owner, selectors, memory)
        if routine is None:
            return await self._check_zone(zone, selectors, memory, deadline)
        with Repetition(self._means, routine, owner=owner, zone=zone, deadline=deadline) as repetition:
            check = await repetition.make()
            if check is None:
                return await self._check_zone(zone, selectors, memory, deadline, repetition.questions)
        self._routines.keep(owner, routine)
        return check

    async def _check_zone(
        self,
        zone: str,
        selectors: Sequence[ServerSelector],
        memory: Memory,
        deadline: Deadline,
        begun: Mapping[DnsServer, Question] | None = None,
    ) -> ZoneCheck:
        owner = "zone", zone
        with Run(self._means, owner=owner, deadline=deadline, memories=[memory], begun=begun) as run:
            run.recall()
            servers = await run.find_servers(zone, selectors, memory.groups)
            seen = await run.check_servers(zone, servers, memory)
            check = _zone_check(run, zone, servers, seen, await run.finish_probes())
        followed = self._means.followed.last((owner, zone))
        if self._reuses:
            self._routines.keep(owner, find_routine(selectors, memory, check, followed, at_once=run.share))
        return check

    async def check_search(
        self, search: Search, selectors: Iterable[ServerSelector], memories: Mapping[str, Memory]
    ) -> ClientCheck:
        """Look once at all that a kind of client may find: at every suffix, through each of its DNS servers.

        `memories` has one for each suffix. A group stands for the servers that it means for any suffix, since
        a client asks the same ones for all of them.
        """
        selectors = tuple(selectors)
        with self._run(("client", search.client), *memories.values()) as run:
            run.recall()
            found = await gather(
                [run.find_servers(suffix, selectors, memories[suffix].groups) for suffix in search.suffixes]
            )
            servers = merge_servers(found)
            seen = await gather(
                [run.check_servers(suffix, servers, memories[suffix]) for suffix in search.suffixes]
            )
            probes = await run.finish_probes()
            return ClientCheck(
                client=search.client,
                suffixes=tuple(
                    _zone_check(run, suffix, servers, checks, probes)
                    for suffix, servers, checks in zip(search.suffixes, found, seen, strict=True)
                ),
            )

    async def check_host(self, host: Host, selectors: Iterable[ServerSelector], memory: Memory) -> HostCheck:
        """Look at a static host once; a name is resolved at each DNS server."""
        with self._run(("host", host), memory) as run:
            run.recall()
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
                duration_seconds=run.elapsed_seconds,
                groups=servers.groups,
                refused=servers.refused,
                queries=servers.queries,
            )

    async def _resolve_host(
        self, run: Run, target: str, selectors: Iterable[ServerSelector], memory: Memory
    ) -> tuple[Servers, dict[str, TargetLookup]]:
        names = self._candidates(target)
        servers = await run.find_servers(names[0], selectors, memory.groups)
        found = await gather([run.resolve(target, names, server, memory) for server in servers.addresses])
        targets = {server.label: lookup for server, lookup in zip(servers.addresses, found, strict=True)}
        for word, status in servers.missing.items():
            targets[word] = TargetLookup(target=target, failure=status)
        return servers, targets

    async def close(self) -> None:
        """Cancel shared work that is still under way."""
        await self._means.probes.close()
        await self._means.addresses.close()
        await self._means.serials.close()

    def _run(self, owner: Hashable, *memories: Memory) -> Run:
        return Run(self._means, owner=owner, deadline=Deadline(self._within_seconds), memories=memories)

    def _candidates(self, target: str) -> tuple[str, ...]:
        """Complete a short name as the resolver of this machine does; others stand for themselves."""
        if "." in target:
            return (target,)
        names = (f"{target}.{suffix}" for suffix in self._means.discovery.system().search)
        return tuple(name for name in names if len(name) <= MAX_NAME) or (target,)


def _transport(settings: CheckSettings) -> Transport:
    return Transport(
        timeout_seconds=settings.timeout_seconds,
        attempts=settings.attempts,
        source_addresses=settings.source_addresses,
        max_in_flight=settings.max_concurrency,
    )


def _address_itself(address: str) -> TargetLookup:
    return TargetLookup(target=address, addresses=(address,), probed=(address,))


def _zone_check(
    run: Run,
    zone: str,
    found: Servers,
    seen: tuple[ServerCheck, ...],
    probes: tuple[ProbeResult, ...],
) -> ZoneCheck:
    return ZoneCheck(
        zone=zone,
        finished_at=time.time(),
        duration_seconds=run.elapsed_seconds,
        servers=seen,
        probes=probes,
        groups=found.groups,
        refused=found.refused,
        queries=found.queries,
    )
