"""One question to one DNS server: UDP with tries, TCP when the answer was cut, EDNS with a way back.

Owns the sockets of DNS and nothing of what an answer means; tells of every message that it sent. Follows
RFC 1035 (4.2, transport), RFC 7766 (TCP after truncation), RFC 6891 (EDNS, and 6.2.2: FORMERR from a server
that does not know it) and RFC 5452 (only an answer with our id, from the address asked, on the port we sent
from, counts).
"""

import asyncio
import contextlib
import socket
import weakref
from collections.abc import Mapping
from typing import Self

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from exporter.discovery.exchange import EXPECTED_ERRORS, Answer, Exchange, Journal, Reply
from exporter.discovery.plain import PlainAnswer, PlainReader
from exporter.discovery.queries import EDNS_PAYLOAD_BYTES, make_query, rdtype_of
from exporter.discovery.wire import Budget, examine
from exporter.failures import classify_lookup
from exporter.model import DnsServer, Family, LookupStatus, family_of
from exporter.sockets import Arrivals, open_socket, socket_address
from exporter.threads import run_aside

_WORK_AT_ONCE = 5000  # 20 records: more than that is read in a thread, for the event loop's sake
_BYTES_PER_WORK = 3  # what it takes to find that out
_RECEIVE_ERRORS = {Family.IPV4: (socket.IPPROTO_IP, 11), Family.IPV6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR and IPV6_RECVERR of Linux (ip(7), ipv6(7)): hear of ICMP "host unreachable", too."""


class Transport:
    """Sends queries and brings back replies; bounded in time and in queries in flight per server."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        attempts: int,
        source_addresses: Mapping[Family, str],
        max_in_flight: int,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._source_addresses = source_addresses
        self._max_in_flight = max_in_flight
        self._budget = Budget()
        self._plain = PlainReader()
        # Weak, so that they go with the last query to a server: which servers there are can change.
        self._slots: weakref.WeakValueDictionary[DnsServer, asyncio.Semaphore] = weakref.WeakValueDictionary()
        self._reading: weakref.WeakValueDictionary[DnsServer, asyncio.Lock] = weakref.WeakValueDictionary()

    def within(self, budget: Budget) -> Self:
        """Give this transport with a budget for reading; sockets and turns go on being shared."""
        bounded = object.__new__(type(self))  # copy.copy takes much longer, for each check
        bounded.__dict__.update(self.__dict__)
        bounded._budget = budget
        return bounded

    async def ask(self, server: DnsServer, name: str, rdtype: dns.rdatatype.RdataType) -> Exchange:
        """Ask `server` for the records of `rdtype` at `name` (canonical form).

        Takes at most `attempts` timeouts over UDP and one over TCP, and as many again for a server that
        refuses EDNS.
        """
        slots = self._slots.get(server)
        if slots is None:
            slots = self._slots[server] = asyncio.Semaphore(self._max_in_flight)
        async with slots:
            journal = Journal(server, name, rdtype)
            reply = await self._ask(server, journal, make_query(name, rdtype))
            if isinstance(reply, Answer) and reply.rcode() == dns.rcode.FORMERR:
                journal.edns = False
                reply = await self._ask(server, journal, make_query(name, rdtype, edns=False))
            return Exchange(reply, tuple(journal.queries))

    async def _ask(self, server: DnsServer, journal: Journal, query: bytes) -> Reply:
        try:
            reply = await self._ask_udp(server, journal, query)
            if _is_cut(reply):
                reply = await journal.note("tcp", self._ask_tcp(server, query))
        except EXPECTED_ERRORS as error:
            return classify_lookup(error)
        return LookupStatus.BAD_RESPONSE if _is_cut(reply) else reply

    async def _ask_udp(self, server: DnsServer, journal: Journal, query: bytes) -> Answer | PlainAnswer:
        with contextlib.ExitStack() as opened:
            try:
                sock = opened.enter_context(self._connected(server))
                arrivals = opened.enter_context(Arrivals(sock))
            except OSError as error:
                journal.note_unsent("udp", error)
                raise
            failures = []
            for _ in range(self._attempts):
                try:
                    return await journal.note("udp", self._try_udp(server, arrivals, query))
                except OSError as failure:  # silence, or an ICMP error about this or an earlier try
                    failures.append(failure)
                    _drain_errors(sock)
            raise next((each for each in failures if not isinstance(each, TimeoutError)), failures[0])

    async def _try_udp(self, server: DnsServer, arrivals: Arrivals, query: bytes) -> Answer | PlainAnswer:
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        arrivals.expect(self._timeout_seconds)
        arrivals.sock.send(query)
        return await self._read(server, await _receive(arrivals, query), query, deadline)

    def _connected(self, server: DnsServer) -> socket.socket:
        family = family_of(server.address)
        source_address = self._source_addresses.get(family)
        sock = open_socket(server.address, socket.SOCK_DGRAM, source_address=source_address)
        try:
            sock.setsockopt(*_RECEIVE_ERRORS[family], 1)
            sock.connect(socket_address(server.address, server.port))
        except OSError:
            sock.close()
            raise
        return sock

    async def _ask_tcp(self, server: DnsServer, query: bytes) -> Answer | PlainAnswer:
        # Not dnspython's own way: it uses asyncio.wait_for, which can lose a cancellation before Python 3.12.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        source_address = self._source_addresses.get(family_of(server.address))
        with open_socket(server.address, socket.SOCK_STREAM, source_address=source_address) as sock:
            async with asyncio.timeout_at(deadline):
                await loop.sock_connect(sock, socket_address(server.address, server.port))
                await loop.sock_sendall(sock, len(query).to_bytes(2, "big") + query)
                size = int.from_bytes(await _receive_exactly(sock, 2), "big")
                return await self._read(server, await _receive_exactly(sock, size), query, deadline)

    async def _read(
        self, server: DnsServer, wire: bytes, query: bytes, deadline: float
    ) -> Answer | PlainAnswer:
        """Read an answer; one that takes long in a thread, and one at a time of each check and each server.

        To the interpreter the event loop is one thread among others: many of them would leave it little. The
        server's turn comes first, so that nobody waits for another server's while it is that of his check.
        """
        if len(wire) <= EDNS_PAYLOAD_BYTES:
            if plain := self._plain.read((server.address, server.port, query[2:]), wire, query):
                return plain
            examined = examine(wire)
            if examined.work <= _WORK_AT_ONCE:
                return _parse(examined.wire, query)
        rdtype = rdtype_of(query)
        reading = self._reading.setdefault(server, asyncio.Lock())
        async with asyncio.timeout_at(deadline), reading, self._budget.reading:
            self._budget.spend(len(wire) // _BYTES_PER_WORK, rdtype)
            examined = await run_aside(lambda: examine(wire))
            self._budget.spend(examined.work, rdtype)
            return await run_aside(lambda: _parse(examined.wire, query))


async def _receive(arrivals: Arrivals, query: bytes) -> bytes:
    """Wait for the datagram that answers `query`; those with another id are strays and passed over."""
    while True:
        wire = await arrivals.receive(EDNS_PAYLOAD_BYTES)
        if wire[:2] != query[:2]:
            await asyncio.sleep(0)  # nothing else is waited for while a flood of datagrams is there
            continue
        return wire


def _is_cut(reply: Answer | PlainAnswer) -> bool:
    return isinstance(reply, Answer) and bool(reply.flags & dns.flags.TC)


async def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = await asyncio.get_running_loop().sock_recv(sock, size - len(received))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


def _parse(wire: bytes, query: bytes) -> Answer:
    cut = int.from_bytes(wire[2:4], "big") & dns.flags.TC  # anywhere, in the middle of a record too
    answer = dns.message.from_wire(wire, question_only=bool(cut))
    if not isinstance(answer, Answer) or not dns.message.from_wire(query).is_response(answer):
        raise dns.query.BadResponse
    return answer


def _drain_errors(sock: socket.socket) -> None:
    """Empty the queue of ICMP errors: the socket would look readable for as long as it holds any."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
