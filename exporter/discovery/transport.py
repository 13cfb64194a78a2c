"""One question to one DNS server: UDP with tries, TCP when the answer was cut, EDNS with a way back.

Knows nothing of what an answer means; tells of every message that it sent. Follows
RFC 1035 (4.2, transport), RFC 7766 (TCP after truncation), RFC 6891 (EDNS, and 6.2.2: FORMERR from a server
that does not know it) and RFC 5452 (only an answer with our id, from the address asked, on the port we sent
from, counts).
"""

import asyncio
import contextlib
import socket
import time
import weakref
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from exporter.discovery.datagrams import Heard, begin_asking
from exporter.discovery.exchange import EXPECTED_ERRORS, Answer, Exchange, Journal, Reply
from exporter.discovery.plain import PlainAnswer, PlainReader
from exporter.discovery.queries import EDNS_PAYLOAD_BYTES, make_query, rdtype_of
from exporter.discovery.room import Room
from exporter.discovery.wire import Budget, examine
from exporter.failures import classify_lookup
from exporter.model import DnsServer, Family, LookupStatus, family_of
from exporter.sockets import open_socket, socket_address
from exporter.threads import run_aside

_WORK_AT_ONCE = 5000  # 20 records: more than that is read in a thread, for the event loop's sake
_BYTES_PER_WORK = 3  # what it takes to find that out


class Question(NamedTuple):
    """A question that was begun; `heard` is what it comes to."""

    server: DnsServer
    name: str
    rdtype: dns.rdatatype.RdataType
    query: bytes
    heard: asyncio.Future[Heard]


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
        self._rooms: weakref.WeakValueDictionary[DnsServer, Room] = weakref.WeakValueDictionary()
        self._reading: weakref.WeakValueDictionary[DnsServer, asyncio.Lock] = weakref.WeakValueDictionary()

    def within(self, budget: Budget) -> Self:
        """Give this transport with a budget for reading; sockets and turns go on being shared."""
        bounded = object.__new__(type(self))  # copy.copy takes much longer, for each check
        bounded.__dict__.update(self.__dict__)
        bounded._budget = budget
        return bounded

    def begin(self, server: DnsServer, name: str, rdtype: dns.rdatatype.RdataType) -> Question | None:
        """Send the query that `ask` would, if there is room for it at once; None if not."""
        query = make_query(name, rdtype)
        room = self._room(server)
        if not room.try_enter():
            return None
        try:
            return Question(server, name, rdtype, query, self._begin(server, query, room.leave))
        except MemoryError:
            room.leave()
            return None

    def read_plain(self, question: Question) -> Exchange | None:
        """Give what a question that is over came to, where that is a plain answer to its first datagram."""
        server, name, rdtype, query, work = question
        heard = None if work.exception() else work.result()
        if heard is None or heard.wire is None or len(heard.attempts) > 1:
            return None
        plain = self._read_plain(server, heard.wire, query)
        if plain is None:
            return None
        asked_at, duration_seconds, _ = heard.attempts[0]
        journal = Journal(server, name, rdtype)
        journal.note_answer("udp", plain, asked_at, duration_seconds)
        return Exchange(plain, tuple(journal.queries))

    async def ask(
        self,
        server: DnsServer,
        name: str,
        rdtype: dns.rdatatype.RdataType,
        *,
        begun: Question | None = None,
    ) -> Exchange:
        """Ask `server` for the records of `rdtype` at `name` (canonical form); maybe that has `begun`.

        Takes at most `attempts` timeouts over UDP and one over TCP, one more where the answer takes long to
        read, and as many again for a server that refuses EDNS.
        """
        query = begun.query if begun else make_query(name, rdtype)
        if begun:
            with contextlib.suppress(*EXPECTED_ERRORS):  # which are noted later
                await begun.heard
            if exchange := self.read_plain(begun):
                return exchange
        journal = Journal(server, name, rdtype)
        room = self._room(server)
        await room.enter()
        try:
            reply = await self._ask(server, journal, query, begun.heard if begun else None)
            if isinstance(reply, Answer) and reply.rcode() == dns.rcode.FORMERR:
                journal.edns = False
                reply = await self._ask(server, journal, make_query(name, rdtype, edns=False))
            return Exchange(reply, tuple(journal.queries))
        finally:
            room.leave()

    def _room(self, server: DnsServer) -> Room:
        room = self._rooms.get(server)
        if room is None:
            room = self._rooms[server] = Room(self._max_in_flight)
        return room

    def _begin(
        self, server: DnsServer, query: bytes, ended: Callable[[], None] = lambda: None
    ) -> asyncio.Future[Heard]:
        return begin_asking(
            server,
            query,
            source_address=self._source_addresses.get(family_of(server.address)),
            attempts=self._attempts,
            timeout_seconds=self._timeout_seconds,
            ended=ended,
        )

    async def _ask(
        self, server: DnsServer, journal: Journal, query: bytes, begun: asyncio.Future[Heard] | None = None
    ) -> Reply:
        try:
            reply = await self._ask_udp(server, journal, query, begun)
            if _is_cut(reply):
                reply = await journal.note("tcp", self._ask_tcp(server, query))
        except EXPECTED_ERRORS as error:
            return classify_lookup(error)
        return LookupStatus.BAD_RESPONSE if _is_cut(reply) else reply

    async def _ask_udp(
        self, server: DnsServer, journal: Journal, query: bytes, begun: asyncio.Future[Heard] | None
    ) -> Reply:
        asked_at, start = time.time(), time.perf_counter()
        try:
            heard = await (begun or self._begin(server, query))
        except EXPECTED_ERRORS as error:
            journal.note_failure("udp", classify_lookup(error), asked_at, time.perf_counter() - start)
            raise
        return await self._read_heard(server, journal, query, heard)

    async def _read_heard(self, server: DnsServer, journal: Journal, query: bytes, heard: Heard) -> Reply:
        for asked_at, duration_seconds, failure in heard.attempts:
            if failure:
                journal.note_failure("udp", failure, asked_at, duration_seconds)
        if heard.wire is None:
            return heard.failure()
        asked_at, duration_seconds, _ = heard.attempts[-1]
        try:
            answer = self._read_plain(server, heard.wire, query) or await self._read(
                server, heard.wire, query, asyncio.get_running_loop().time() + self._timeout_seconds
            )
        except EXPECTED_ERRORS as error:
            journal.note_failure("udp", classify_lookup(error), asked_at, duration_seconds)
            raise
        journal.note_answer("udp", answer, asked_at, duration_seconds)
        return answer

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
                wire = await _receive_exactly(sock, size)
                return self._read_plain(server, wire, query) or await self._read(
                    server, wire, query, deadline
                )

    def _read_plain(self, server: DnsServer, wire: bytes, query: bytes) -> PlainAnswer | None:
        if len(wire) > EDNS_PAYLOAD_BYTES:
            return None
        return self._plain.read((server.address, server.port, query[2:]), wire, query)

    async def _read(self, server: DnsServer, wire: bytes, query: bytes, deadline: float) -> Answer:
        """Have dnspython read an answer; one that takes long in a thread.

        One of each check and each server at a time: to the interpreter the event loop is one thread among
        others, and many of them would leave it little. The server's turn comes first, so that nobody waits
        for another server's while it is that of his check.
        """
        if len(wire) <= EDNS_PAYLOAD_BYTES:
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


def _is_cut(reply: Reply) -> bool:
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
