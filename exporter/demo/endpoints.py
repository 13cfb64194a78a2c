"""TCP endpoints that stand in for KMS hosts: reachable, closed, filtered, or something else than KMS.

The furthest that any of them goes is to answer an RPC bind, as `binding` says; a request ends the connection.
Needs Linux, where all of 127.0.0.0/8 is there to be bound and a listening socket with a full accept queue
drops SYNs (listen(2), tcp(7)), which no unprivileged packet filter could do.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial

from exporter.demo.binding import ENDPOINT_MAPPER, KMS, Syntax, answer, bind_length
from exporter.demo.sockets import Binding, Serve, accepting, bind_together, port_of, receive_exactly
from exporter.demo.zones import Behaviour
from exporter.model import KMS_PORT
from exporter.rpc import HEADER_BYTES, MAX_FRAGMENT_BYTES

_HOLD_SECONDS = 30.0
_FILL_SECONDS = 1.0
_MAX_CONNECTIONS = 128
_FULL_WITH_ONE = 0  # Linux queues one connection more than the backlog says
_BANNER = b"220 mail.kms.test ESMTP\r\n"


@contextlib.asynccontextmanager
async def endpoints(
    behaviours: Mapping[str, Behaviour], *, hold_seconds: float = _HOLD_SECONDS
) -> AsyncIterator[int]:
    """Play an endpoint at every address; yields their TCP port, the one of KMS where it is free.

    No connection lasts longer than `hold_seconds`, and none is read further than the longest bind.
    """
    bindings = [_binding(address, behaviour) for address, behaviour in behaviours.items()]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [stack.enter_context(s) for s in bind_together(bindings, preferred_port=KMS_PORT)]
        for sock, (address, behaviour) in zip(sockets, behaviours.items(), strict=True):
            if behaviour in _SERVES:
                serve = partial(_bounded, _SERVES[behaviour], hold_seconds)
                name = f"demo-endpoint-{address}"
                await stack.enter_async_context(
                    accepting(sock, serve, name=name, max_connections=_MAX_CONNECTIONS)
                )
            elif behaviour is Behaviour.DROPS:
                stack.enter_context(await _filler(sock))
        yield port_of(sockets[0])


def _binding(address: str, behaviour: Behaviour) -> Binding:
    match behaviour:
        case Behaviour.REFUSES:  # bound but not listening: refused, and nobody else can take the port
            return Binding(address=address, backlog=None)
        case Behaviour.DROPS:
            return Binding(address=address, backlog=_FULL_WITH_ONE)
        case _:
            return Binding(address=address)


async def _bounded(serve: Serve, hold_seconds: float, connection: socket.socket) -> None:
    async with asyncio.timeout(hold_seconds):
        await serve(connection)


async def _answer_bind(interfaces: Collection[Syntax], connection: socket.socket) -> None:
    """Answer one bind, then wait for the peer to close; whatever else it sends ends the connection."""
    header = await receive_exactly(connection, HEADER_BYTES)
    length = bind_length(header)
    if length is None:
        return
    pdu = header + await receive_exactly(connection, length - HEADER_BYTES)
    response = answer(pdu, interfaces, port=port_of(connection))
    if response is not None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, response)
        await loop.sock_recv(connection, 1)


async def _greet(connection: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, _BANNER)
    await _keep_silent(connection)


async def _keep_silent(connection: socket.socket) -> None:
    """Read on without a word until the peer closes its side or has sent too much."""
    await receive_exactly(connection, MAX_FRAGMENT_BYTES)


_SERVES: Mapping[Behaviour, Serve] = {
    Behaviour.KMS: partial(_answer_bind, {KMS}),
    Behaviour.OTHER_RPC: partial(_answer_bind, {ENDPOINT_MAPPER}),
    Behaviour.BANNER: _greet,
    Behaviour.SILENT: _keep_silent,
}


async def _filler(listener: socket.socket) -> socket.socket:
    """Connect to a listener that never accepts, to fill its queue for as long as the connection is open.

    When that takes too long, the queue is full already: somebody else was faster.
    """
    with contextlib.ExitStack() as stack:
        filler = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        filler.settimeout(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FILL_SECONDS):
                await asyncio.get_running_loop().sock_connect(filler, listener.getsockname())
        stack.pop_all()
        return filler
