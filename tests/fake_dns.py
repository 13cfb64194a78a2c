"""A DNS server for the tests, that says what real ones will not: nothing, junk, or too much of it.

Answers on one loopback port over UDP and TCP from threads of its own, so that it serves an event loop of the
same process as well as another process. Every socket is bound before the server is handed out. What it
answers is a script: small functions from a query to datagrams or to what becomes of a connection.

Real answers from real zones are the business of BIND in `services.py`.
"""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from exporter.model import DnsServer

LOOPBACK = "127.0.0.1"
DEADLINE_SECONDS = 60.0
"""Only ends a test that would hang; nothing is concluded from how long anything takes."""
TTL_SECONDS = 300
_BIND_TRIES = 50
_LENGTH_BYTES = 2
_MAX_MESSAGE_BYTES = 65535
_POLL_SECONDS = 0.02  # how long a stop takes at most; nothing else waits for it

Query = dns.message.QueryMessage
Datagrams = Callable[[Query], Iterable[bytes]]
"""What the server sends back for one query over UDP."""
Connection = Callable[[socket.socket, Query], None]
"""What the server does with one query over TCP; the connection is closed afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query as it arrived, and where from."""

    transport: Literal["udp", "tcp"]
    query: Query
    address: str
    port: int


class FakeDns:
    """A scripted DNS server on loopback, running from `with` to the end of its block.

    Each datagram takes the next step of `udp`, and the last step is for all that follow. Without `tcp` the
    port is taken there and refuses connections. An error in a step is raised at the end of the block.
    """

    def __init__(self, *udp: Datagrams, tcp: Connection | None = None, address: str = LOOPBACK) -> None:
        self._changed = threading.Condition()
        self._asked: list[Asked] = []
        self._errors: list[BaseException] = []
        self._udp = udp
        self._tcp = tcp
        self._servers = _bind_both(
            address, self._guarded(self._answer_datagram), self._guarded(self._answer_connection)
        )
        if tcp:
            self._servers[1].server_activate()
        self.server = DnsServer(address=address, port=self._servers[0].server_address[1])
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name=f"fake DNS {address}")
            for server in self._servers[: 2 if tcp else 1]
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, _thread in zip(self._servers, self._threads, strict=False):
            server.shutdown()
        for thread in self._threads:
            thread.join()
        for server in self._servers:
            server.server_close()
        for error in self._errors:
            raise error

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The queries so far, in the order of their arrival."""
        with self._changed:
            return tuple(self._asked)

    @property
    def transports(self) -> list[str]:
        """How the queries so far were sent, in the order of their arrival."""
        return [asked.transport for asked in self.asked]

    def wait_for(self, count: int) -> tuple[Asked, ...]:
        """Wait until so many queries have arrived: a query is sent before it is received."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._asked) >= count, DEADLINE_SECONDS)
            return tuple(self._asked)

    def _note(self, transport: Literal["udp", "tcp"], query: Query, peer: tuple[Any, ...]) -> int:
        with self._changed:
            before = self.transports.count(transport)
            self._asked.append(Asked(transport=transport, query=query, address=peer[0], port=peer[1]))
            self._changed.notify_all()
            return before

    def _guarded(self, answer: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            try:
                answer(*arguments)
            except ConnectionError:
                pass  # the other side may hang up, or not wait for the answer any more
            except Exception as error:  # noqa: BLE001 - it belongs to the test, not to this thread
                self._errors.append(error)

        return guarded

    def _answer_datagram(self, request: tuple[bytes, socket.socket], peer: tuple[Any, ...]) -> None:
        wire, sock = request
        query = _parse(wire)
        step = min(self._note("udp", query, peer), len(self._udp) - 1)
        for datagram in self._udp[step](query):
            sock.sendto(datagram, peer)

    def _answer_connection(self, connection: socket.socket, peer: tuple[Any, ...]) -> None:
        assert self._tcp
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        length = int.from_bytes(_read_exactly(connection, _LENGTH_BYTES), "big")
        query = _parse(_read_exactly(connection, length))
        self._note("tcp", query, peer)
        self._tcp(connection, query)


# --- Steps of a script


def silence(query: Query) -> Iterable[bytes]:
    """Send nothing."""
    return ()


def says(
    *answer: str, edit: Callable[[dns.message.Message], object] | None = None, **sections: Any
) -> Datagrams:
    """Send the answer that `respond` makes of the same arguments, after `edit` has changed it."""

    def datagrams(query: Query) -> Iterable[bytes]:
        message = respond(query, *answer, **sections)
        if edit:
            edit(message)
        return (message.to_wire(max_size=_MAX_MESSAGE_BYTES),)

    return datagrams


def streams(datagrams: Datagrams, *, chunk_bytes: int | None = None) -> Connection:
    """Send over TCP what `datagrams` would send over UDP, in chunks if told so."""

    def converse(connection: socket.socket, query: Query) -> None:
        for wire in datagrams(query):
            message = len(wire).to_bytes(_LENGTH_BYTES, "big") + wire
            for start in range(0, len(message), chunk_bytes or len(message)):
                connection.sendall(message[start : start + (chunk_bytes or len(message))])

    return converse


def hangs(connection: socket.socket, query: Query) -> None:
    """Keep the connection open without a word until the other side closes it."""
    connection.settimeout(DEADLINE_SECONDS)
    connection.recv(1)


# --- Messages


def respond(
    query: Query,
    *answer: str,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    flags: dns.flags.Flag = dns.flags.AA,
    authority: Iterable[str] = (),
    additional: Iterable[str] = (),
) -> Query:
    """Make a response of records such as `kms1.contoso.com. 60 IN A 192.0.2.1`.

    TTL and class may be left out. Records that differ only in their data become one set, as on the wire.
    """
    response = dns.message.make_response(query)
    assert isinstance(response, Query)
    response.flags |= flags
    response.set_rcode(rcode)
    for section, lines in (
        (response.answer, answer),
        (response.authority, authority),
        (response.additional, additional),
    ):
        for line in lines:
            record = _parse_record(line)
            rrset = response.find_rrset(section, record.name, record.rdclass, record.rdtype, create=True)
            rrset.add(record[0], record.ttl)
    return response


def _parse_record(line: str) -> dns.rrset.RRset:
    name, *fields = line.split()
    ttl = int(fields.pop(0)) if fields[0].isdecimal() else TTL_SECONDS
    rdclass = fields.pop(0) if fields[0] in {"IN", "CH", "HS"} else "IN"
    rdtype, *rdata = fields
    return dns.rrset.from_text(name, ttl, rdclass, rdtype, " ".join(rdata))


# --- Sockets


class _Udp(socketserver.UDPServer):
    """UDP; one thread, so that queries are answered in the order in which they came."""

    max_packet_size = _MAX_MESSAGE_BYTES

    def __init__(self, address: str, answer: Callable[..., None]) -> None:
        self.address_family = _family(address)
        self._answer = answer
        super().__init__((address, 0), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._answer(request, client_address)


class _Tcp(socketserver.ThreadingTCPServer):
    """TCP; a thread per connection, so that one that hangs keeps no other waiting. Closing waits for them."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: str, port: int, answer: Callable[..., None]) -> None:
        self.address_family = _family(address)
        self._answer = answer
        super().__init__((address, port), socketserver.BaseRequestHandler, bind_and_activate=False)
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._answer(request, client_address)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _bind_both(
    address: str, datagram: Callable[..., None], connection: Callable[..., None]
) -> tuple[_Udp, _Tcp]:
    """Bind one port for UDP and TCP: the machine chooses it for one, and it may be taken for the other."""
    for _ in range(_BIND_TRIES):
        udp = _Udp(address, datagram)
        try:
            return udp, _Tcp(address, udp.server_address[1], connection)
        except OSError:
            udp.server_close()
    raise OSError(f"no port of {address} is free for both UDP and TCP")


def _parse(wire: bytes) -> Query:
    message = dns.message.from_wire(wire)
    assert isinstance(message, Query)
    return message


def _read_exactly(connection: socket.socket, size_bytes: int) -> bytes:
    data = b""
    while len(data) < size_bytes:
        chunk = connection.recv(size_bytes - len(data))
        if not chunk:
            raise ConnectionResetError
        data += chunk
    return data
