"""The serial of a zone at a DNS server, which is asked for when an answer changes, and else now and then."""

import asyncio
from collections.abc import Callable, Hashable
from typing import NamedTuple

from exporter.checks.deadline import Deadline, unfinished
from exporter.checks.means import Means
from exporter.discovery import Discovery, SoaLookup
from exporter.model import DnsServer, SrvLookup


class Serial(NamedTuple):
    """A serial that a lookup did not bring along; one that was `asked` for takes its time."""

    work: asyncio.Future[SoaLookup]
    asked: bool


class Serials:
    """Adds serials to the lookups of one check of a zone, by its deadline."""

    def __init__(self, means: Means, deadline: Deadline, *, owner: Hashable, zone: str) -> None:
        self._means = means
        self._deadline = deadline
        self._owner = owner
        self._zone = zone

    def begin(
        self, server: DnsServer, lookup: SrvLookup, discovery: Callable[[], Discovery]
    ) -> Serial | None:
        """Ask for the serial where it did not come along; for the same answer, not at every check.

        `discovery` gives what asks.
        """
        if lookup.soa_serial is not None or not lookup.status.usable:
            return None
        work = self._means.serials.start(
            (self._zone, server),
            self._owner,
            lambda key: discovery().lookup_soa_serial(*key),
            tag=lookup.fingerprint,
        )
        return Serial(work, asked=not work.done())

    async def finish(self, server: DnsServer, lookup: SrvLookup, serial: Serial | None) -> SrvLookup:
        """Add the serial to a lookup, and the query for it, if that is a part of this check."""
        if serial is None:
            return lookup
        if not serial.asked:
            return lookup._replace(soa_serial=serial.work.result().serial)
        soa = await self._deadline.keep(
            asyncio.shield(serial.work),
            late=lambda: SoaLookup(None, unfinished(server.label, self._zone, "SOA")),
        )
        return lookup._replace(soa_serial=soa.serial, queries=lookup.queries + soa.queries)
