"""TCP endpoints that stand in for KMS hosts: reachable, closed or filtered, and nothing beyond TCP.

They never send a byte. Needs Linux, where all of 127.0.0.0/8 is there to be bound and a listening socket
with a full accept queue drops SYNs (listen(2), tcp(7)), which no unprivileged packet filter could do.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping

from exporter.demo.sockets import Binding, accepting, bind_together, port_of
from exporter.demo.zones import Behaviour
from exporter.model import KMS_PORT

_HOLD_SECONDS = 30.0
_FILL_SECONDS = 1.0
_MAX_CONNECTIONS = 128
_CHUNK_BYTES = 4096
_MAX_CHUNKS = 16
_FULL_WITH_ONE = 0  # Linux queues one connection more than the backlog says

_BINDINGS = {
    Behaviour.ACCEPTS: lambda address: Binding(address=address),
    Behaviour.REFUSES: lambda address: Binding(address=address, backlog=None),
    Behaviour.DROPS: lambda address: Binding(address=address, backlog=_FULL_WITH_ONE),
}


@contextlib.asynccontextmanager
async def endpoints(behaviours: Mapping[str, Behaviour]) -> AsyncIterator[int]:
    """Play an endpoint at every address; yields their TCP port, the one of KMS where it is free."""
    bindings = [_BINDINGS[behaviour](address) for address, behaviour in behaviours.items()]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [stack.enter_context(s) for s in bind_together(bindings, preferred_port=KMS_PORT)]
        for sock, (address, behaviour) in zip(sockets, behaviours.items(), strict=True):
            match behaviour:
                case Behaviour.ACCEPTS:
                    name = f"demo-endpoint-{address}"
                    await stack.enter_async_context(
                        accepting(sock, _hold, name=name, max_connections=_MAX_CONNECTIONS)
                    )
                case Behaviour.DROPS:
                    stack.enter_context(await _filler(sock))
                case Behaviour.REFUSES:
                    pass  # bound but not listening: refused, and nobody else can take the port
        yield port_of(sockets[0])


async def _hold(connection: socket.socket) -> None:
    """Keep a connection until the peer closes it, but neither for ever nor whatever it sends."""
    async with asyncio.timeout(_HOLD_SECONDS):
        for _ in range(_MAX_CHUNKS):
            if not await asyncio.get_running_loop().sock_recv(connection, _CHUNK_BYTES):
                return


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
