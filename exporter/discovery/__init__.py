"""DNS as a client sees it: SRV lookups, addresses of targets, and which servers there are to ask.

Answers come back as value objects of the model; an expected failure is one of their statuses. Knows
neither the schedule nor what was seen before, but for what a caller passes in.
"""

import asyncio
import time
from collections.abc import Set as AbstractSet
from pathlib import Path

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
from exporter.discovery.system import RESOLV_CONF, ResolvConf, parse_resolv_conf, read_resolv_conf
from exporter.discovery.transport import Answer, Reply, Transport
from exporter.model import AddressLookup, DnsServer, Family, Host, LookupStatus, SrvLookup
from exporter.names import SRV_PREFIX

__all__ = ["RESOLV_CONF", "Discovery", "ResolvConf", "Transport", "parse_resolv_conf"]


class Discovery:
    """The lookups that the project needs, each one question to one server."""

    def __init__(self, transport: Transport, *, resolv_conf: Path = RESOLV_CONF) -> None:
        self._transport = transport
        self._resolv_conf = resolv_conf

    def system(self) -> ResolvConf:
        """Read the servers and suffixes of this machine as they are now."""
        return read_resolv_conf(self._resolv_conf)

    async def lookup_srv(
        self,
        zone: str,
        server: DnsServer,
        *,
        expected: AbstractSet[Host],
        known: AbstractSet[Host],
        limit: int,
    ) -> SrvLookup:
        """Look up `_vlmcs._tcp.<zone>` at `server`; `expected`, `known` and `limit` as in `read_srv`."""
        start = time.perf_counter()
        reply = await self._transport.ask(server, SRV_PREFIX + zone, dns.rdatatype.SRV)
        duration_seconds = time.perf_counter() - start
        if isinstance(reply, LookupStatus):
            return SrvLookup(status=reply, duration_seconds=duration_seconds)
        return read_srv(reply, duration_seconds=duration_seconds, expected=expected, known=known, limit=limit)

    async def lookup_soa_serial(self, zone: str, server: DnsServer) -> int | None:
        """Ask `server` for the serial of `zone`, or of the zone that encloses it; None where it has none."""
        reply = await self._transport.ask(server, zone, dns.rdatatype.SOA)
        if isinstance(reply, LookupStatus) or not read_status(reply).usable:
            return None
        authority = read_authority(reply)
        return authority.serial if authority else None

    async def lookup_addresses(self, name: str, family: Family, server: DnsServer) -> AddressLookup:
        """Look up the addresses of one family for `name` at `server`."""
        reply = await self._transport.ask(server, name, ADDRESS_TYPES[family])
        return AddressLookup(status=reply) if isinstance(reply, LookupStatus) else read_addresses(reply)

    async def find_authoritative(
        self, name: str, families: tuple[Family, ...]
    ) -> tuple[frozenset[DnsServer], LookupStatus]:
        """Find the name servers of the zone that `name` belongs to, by asking this machine's resolvers.

        Returns their addresses of the given families, and `ok`, or the status of a lookup that failed on
        the way: then servers may be missing.
        """
        resolvers = self.system().servers
        names, status = await self._name_servers(name, resolvers)
        replies = await asyncio.gather(
            *(self._first_usable(ns, ADDRESS_TYPES[family], resolvers) for ns in names for family in families)
        )
        found: set[DnsServer] = set()
        for reply in replies:
            if isinstance(reply, LookupStatus):
                status = reply
            else:
                found.update(DnsServer(address=address) for address in read_addresses(reply).addresses)
        return frozenset(found), status

    async def _name_servers(
        self, name: str, resolvers: tuple[DnsServer, ...]
    ) -> tuple[tuple[str, ...], LookupStatus]:
        reply = await self._first_usable(name, dns.rdatatype.NS, resolvers)
        parent = name.partition(".")[2]
        if parent and isinstance(reply, Answer) and is_alias(reply):  # so no zone of its own: RFC 1034, 3.6.2
            return await self._name_servers(parent, resolvers)
        if isinstance(reply, Answer) and not read_name_servers(reply):
            zone = read_authority(reply)
            if zone and zone.apex != ".":  # a top-level domain that does not exist is no matter for the root
                reply = await self._first_usable(zone.apex, dns.rdatatype.NS, resolvers)
        if isinstance(reply, LookupStatus):
            return (), reply
        names = read_name_servers(reply)
        return names, LookupStatus.OK if names else LookupStatus.NODATA

    async def _first_usable(
        self, name: str, rdtype: dns.rdatatype.RdataType, resolvers: tuple[DnsServer, ...]
    ) -> Reply:
        """Ask the resolvers in turn, as a stub resolver does, until one answers without an error."""
        reply: Reply = LookupStatus.UNREACHABLE
        for resolver in resolvers:
            reply = await self._transport.ask(resolver, name, rdtype)
            if isinstance(reply, Answer):
                status = read_status(reply)
                if status.usable:
                    return reply
                reply = status
        return reply
