"""DNS as a client sees it: SRV lookups, addresses of targets, and which servers there are to ask.

Answers come back as value objects of the model; an expected failure is one of their statuses. Knows
neither the schedule nor what was seen before, but for what a caller passes in.
"""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

import dns.rdatatype

from exporter.discovery.answers import (
    ADDRESS_TYPES,
    is_alias,
    read_addresses,
    read_authority,
    read_name_servers,
    read_srv,
    read_status,
)
from exporter.discovery.exchange import Answer, Exchange, Reply
from exporter.discovery.system import RESOLV_CONF, ResolvConf, parse_resolv_conf, read_resolv_conf
from exporter.discovery.transport import Question, Transport
from exporter.discovery.wire import Budget
from exporter.model import AddressLookup, DnsServer, Family, Host, LookupStatus, Queries, SrvLookup
from exporter.names import SRV_PREFIX

__all__ = [
    "RESOLV_CONF",
    "Authoritative",
    "Budget",
    "Discovery",
    "Question",
    "ResolvConf",
    "SoaLookup",
    "Transport",
    "parse_resolv_conf",
]


class SoaLookup(NamedTuple):
    """The serial of a zone, None where there is none to be had, and the queries for it."""

    serial: int | None
    queries: Queries = ()


class Authoritative(NamedTuple):
    """The name servers of a zone, and the queries that found them.

    `status` is `ok`, or that of a lookup that failed on the way: then servers may be missing.
    """

    servers: frozenset[DnsServer]
    status: LookupStatus
    queries: Queries = ()


class Discovery:
    """The lookups that the project needs, each one question to one server."""

    def __init__(self, transport: Transport, *, resolv_conf: Path = RESOLV_CONF) -> None:
        self._transport = transport
        self._resolv_conf = resolv_conf

    def within(self, budget: Budget) -> Self:
        """Give these lookups with a budget for reading answers."""
        bounded = object.__new__(type(self))
        bounded.__dict__.update(self.__dict__)
        bounded._transport = self._transport.within(budget)
        return bounded

    def system(self) -> ResolvConf:
        """Read the servers and suffixes of this machine as they are now."""
        return read_resolv_conf(self._resolv_conf)

    def begin_srv(self, zone: str, server: DnsServer) -> Question | None:
        """Begin to look up `_vlmcs._tcp.<zone>` at `server`, if there is room for it at once; None if not."""
        return self._transport.begin(server, SRV_PREFIX + zone, dns.rdatatype.SRV)

    def read_plain_srv(self, question: Question, *, limit: int) -> SrvLookup | None:
        """Give what `lookup_srv` would of a question that is over, if its first datagram got a plain answer.

        What is not plain, or has more than `limit` records, takes more than this.
        """
        exchange = self._transport.read_plain(question)
        if exchange is None or isinstance(exchange.reply, LookupStatus):
            return None
        lookup = read_srv(
            exchange.reply,
            duration_seconds=exchange.seconds,
            expected=frozenset(),
            known=frozenset(),
            limit=limit,
            queries=exchange.read_as(read_status(exchange.reply)),
        )
        return lookup if lookup.record_count <= limit else None

    async def lookup_srv(
        self,
        zone: str,
        server: DnsServer,
        *,
        expected: AbstractSet[Host],
        known: AbstractSet[Host],
        limit: int,
        begun: Question | None = None,
    ) -> SrvLookup:
        """Look up `_vlmcs._tcp.<zone>` at `server`, which may have `begun`; the others as in `read_srv`."""
        exchange = await self._transport.ask(server, SRV_PREFIX + zone, dns.rdatatype.SRV, begun=begun)
        reply, duration_seconds = exchange.reply, exchange.seconds
        if isinstance(reply, LookupStatus):
            return SrvLookup(status=reply, duration_seconds=duration_seconds, queries=exchange.queries)
        return read_srv(
            reply,
            duration_seconds=duration_seconds,
            expected=expected,
            known=known,
            limit=limit,
            queries=exchange.read_as(read_status(reply)),
        )

    async def lookup_soa_serial(self, zone: str, server: DnsServer) -> SoaLookup:
        """Ask `server` for the serial of `zone`, or of the zone that encloses it."""
        exchange = await self._transport.ask(server, zone, dns.rdatatype.SOA)
        reply = exchange.reply
        if isinstance(reply, LookupStatus):
            return SoaLookup(None, exchange.queries)
        status = read_status(reply)
        authority = read_authority(reply) if status.usable else None
        return SoaLookup(authority.serial if authority else None, exchange.read_as(status))

    async def lookup_addresses(self, name: str, family: Family, server: DnsServer) -> AddressLookup:
        """Look up the addresses of one family for `name` at `server`."""
        exchange = await self._transport.ask(server, name, ADDRESS_TYPES[family])
        if isinstance(exchange.reply, LookupStatus):
            return AddressLookup(status=exchange.reply, queries=exchange.queries)
        found = read_addresses(exchange.reply)
        return replace(found, queries=exchange.read_as(found.status))

    async def find_authoritative(self, name: str, families: tuple[Family, ...]) -> Authoritative:
        """Find the name servers of the zone that `name` belongs to, by asking this machine's resolvers.

        They are given by their addresses of `families`.
        """
        system = self.system()
        resolvers = system.servers
        if not resolvers:
            return Authoritative(frozenset(), system.missing)
        names, status, queries = await self._name_servers(name, resolvers)
        exchanges = await asyncio.gather(
            *(self._first_usable(ns, ADDRESS_TYPES[family], resolvers) for ns in names for family in families)
        )
        found: set[DnsServer] = set()
        for reply, asked in exchanges:
            queries += asked
            if isinstance(reply, LookupStatus):
                status = reply
            else:
                found.update(DnsServer(address=address) for address in read_addresses(reply).addresses)
        return Authoritative(frozenset(found), status, queries)

    async def _name_servers(
        self, name: str, resolvers: tuple[DnsServer, ...]
    ) -> tuple[tuple[str, ...], LookupStatus, Queries]:
        reply, queries = await self._first_usable(name, dns.rdatatype.NS, resolvers)
        parent = name.partition(".")[2]
        if parent and isinstance(reply, Answer) and is_alias(reply):  # so no zone of its own: RFC 1034, 3.6.2
            names, status, more = await self._name_servers(parent, resolvers)
            return names, status, queries + more
        if isinstance(reply, Answer) and not read_name_servers(reply):
            zone = read_authority(reply)
            if zone and zone.apex != ".":  # a top-level domain that does not exist is no matter for the root
                reply, more = await self._first_usable(zone.apex, dns.rdatatype.NS, resolvers)
                queries += more
        if isinstance(reply, LookupStatus):
            return (), reply, queries
        names = read_name_servers(reply) if isinstance(reply, Answer) else ()
        return names, LookupStatus.OK if names else LookupStatus.NODATA, queries

    async def _first_usable(
        self, name: str, rdtype: dns.rdatatype.RdataType, resolvers: tuple[DnsServer, ...]
    ) -> Exchange:
        """Ask the resolvers in turn, as a stub resolver does, until one answers without an error."""
        reply: Reply = LookupStatus.UNREACHABLE
        queries: Queries = ()
        for resolver in resolvers:
            exchange = await self._transport.ask(resolver, name, rdtype)
            reply = exchange.reply
            status = reply if isinstance(reply, LookupStatus) else read_status(reply)
            queries += exchange.read_as(status)
            if status.usable:
                break
            reply = status
        return Exchange(reply, queries)
