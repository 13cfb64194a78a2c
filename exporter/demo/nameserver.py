"""The lab's name server on the network: UDP and TCP on one loopback port (RFC 7766, RFC 1035, 4.2).

Moves bytes and nothing else; what is answered is decided in `authority`.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import structlog

from exporter.demo.authority import Zones, respond
from exporter.demo.sockets import Binding, accepting, bind_together, port_of
from exporter.demo.zones import DNS_ADDRESS

_PREFERRED_PORT = 10053  # as stable as can be without root: it shows in labels
_MAX_CONNECTIONS = 64
_IDLE_SECONDS = 5.0
_MAX_DATAGRAM_BYTES = 65535
_LENGTH_BYTES = 2

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def nameserver(
    zones: Zones,
    clock: Callable[[], float],
    *,
    idle_seconds: float = _IDLE_SECONDS,
    max_connections: int = _MAX_CONNECTIONS,
) -> AsyncIterator[int]:
    """Serve the zones; yields the port. `clock` counts the seconds since the start.

    A TCP client has `idle_seconds` for each query, from its first byte to the last one of the answer.
    """
    loop = asyncio.get_running_loop()

    async def serve(connection: socket.socket) -> None:
        while True:
            async with asyncio.timeout(idle_seconds):
                if not await _serve_query(connection, zones, clock):
                    return

    udp_and_tcp = (
        Binding(address=DNS_ADDRESS),
        Binding(address=DNS_ADDRESS, kind=socket.SOCK_DGRAM, backlog=None),
    )
    async with contextlib.AsyncExitStack() as stack:
        tcp, udp = (
            stack.enter_context(s) for s in bind_together(udp_and_tcp, preferred_port=_PREFERRED_PORT)
        )
        loop.add_reader(udp, _serve_datagram, udp, zones, clock)
        stack.callback(loop.remove_reader, udp)
        await stack.enter_async_context(
            accepting(tcp, serve, name="demo-dns-tcp", max_connections=max_connections)
        )
        yield port_of(tcp)


def _serve_datagram(sock: socket.socket, zones: Zones, clock: Callable[[], float]) -> None:
    try:
        query, client = sock.recvfrom(_MAX_DATAGRAM_BYTES)
        response = respond(query, zones, clock(), udp=True)
        if response is not None:
            sock.sendto(response, client)
    except OSError:
        pass  # no datagram after all, or the client is gone; UDP promises nothing
    except Exception:
        log.exception("demo DNS query failed")


async def _serve_query(connection: socket.socket, zones: Zones, clock: Callable[[], float]) -> bool:
    """Answer the next query on a connection; False when there is none."""
    length = await _receive(connection, _LENGTH_BYTES)
    query = await _receive(connection, int.from_bytes(length, "big"))
    if not query:
        return False
    response = respond(query, zones, clock(), udp=False)
    if response is not None:
        prefix = len(response).to_bytes(_LENGTH_BYTES, "big")
        await asyncio.get_running_loop().sock_sendall(connection, prefix + response)
    await asyncio.sleep(0)  # so that a client with many queries in a row cannot keep the loop to itself
    return True


async def _receive(connection: socket.socket, size: int) -> bytes:
    """Receive exactly `size` bytes; nothing when the peer closes before."""
    received = b""
    while len(received) < size:
        chunk = await asyncio.get_running_loop().sock_recv(connection, size - len(received))
        if not chunk:
            return b""
        received += chunk
    return received
