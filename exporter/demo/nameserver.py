"""The lab's name servers on the network: UDP and TCP, all on one port (RFC 7766, RFC 1035, 4.2).

Moves bytes and nothing else; what is answered is decided in `authority`.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial

import structlog

from exporter.demo.authority import Zones, respond
from exporter.demo.sockets import Binding, accepting, bind_together, port_of, receive_exactly

PREFERRED_PORT = 10053
"""As stable as can be without root: it shows in labels."""
_MAX_CONNECTIONS = 64
_IDLE_SECONDS = 5.0
_MAX_DATAGRAM_BYTES = 65535
_LENGTH_BYTES = 2

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def nameservers(
    zones_by_address: Mapping[str, Zones],
    clock: Callable[[], float],
    *,
    idle_seconds: float = _IDLE_SECONDS,
    max_connections: int = _MAX_CONNECTIONS,
) -> AsyncIterator[int]:
    """Serve zones at every address; yields the port of all. `clock` counts the seconds since the start.

    A TCP client has `idle_seconds` for each query, from its first byte to the last one of the answer.
    """
    bindings = [binding for address in zones_by_address for binding in _tcp_and_udp(address)]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [stack.enter_context(s) for s in bind_together(bindings, preferred_port=PREFERRED_PORT)]
        pairs = zip(sockets[::2], sockets[1::2], strict=True)
        for (tcp, udp), (address, zones) in zip(pairs, zones_by_address.items(), strict=True):
            stack.enter_context(_answering(udp, zones, clock))
            serve = partial(_serve, zones, clock, idle_seconds)
            name = f"demo-dns-tcp-{address}"
            await stack.enter_async_context(accepting(tcp, serve, name=name, max_connections=max_connections))
        yield port_of(sockets[0])


def _tcp_and_udp(address: str) -> tuple[Binding, Binding]:
    return Binding(address=address), Binding(address=address, kind=socket.SOCK_DGRAM, backlog=None)


@contextlib.contextmanager
def _answering(udp: socket.socket, zones: Zones, clock: Callable[[], float]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_reader(udp, _serve_datagram, udp, zones, clock)
    try:
        yield
    finally:
        loop.remove_reader(udp)


async def _serve(
    zones: Zones, clock: Callable[[], float], idle_seconds: float, connection: socket.socket
) -> None:
    while True:
        async with asyncio.timeout(idle_seconds):
            if not await _serve_query(connection, zones, clock):
                return


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
    length = await receive_exactly(connection, _LENGTH_BYTES)
    query = await receive_exactly(connection, int.from_bytes(length, "big"))
    if not query:
        return False
    response = respond(query, zones, clock(), udp=False)
    if response is not None:
        prefix = len(response).to_bytes(_LENGTH_BYTES, "big")
        await asyncio.get_running_loop().sock_sendall(connection, prefix + response)
    await asyncio.sleep(0)  # so that a client with many queries in a row cannot keep the loop to itself
    return True
