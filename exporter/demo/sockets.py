"""Sockets of the lab: bound together on one port, and TCP connections that cannot pile up.

Plain non-blocking sockets on the event loop. A socket belongs to exactly one owner at any moment, so that
a stop in the middle of an accept leaves nothing open.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

_ATTEMPTS = 20
_BACKLOG = 128

log = structlog.get_logger(__name__)

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """An IPv4 address to bind; a TCP socket listens if it has a `backlog`, else its port is just taken."""

    address: str
    kind: socket.SocketKind = socket.SOCK_STREAM
    backlog: int | None = _BACKLOG


def bind_together(bindings: Iterable[Binding], *, preferred_port: int) -> list[socket.socket]:
    """Bind all addresses on one port: the preferred one where it is free everywhere, else any.

    Raises OSError when that cannot be had.
    """
    bindings = tuple(bindings)
    for _ in range(_ATTEMPTS):
        try:
            return _bind_all(bindings, preferred_port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            preferred_port = 0
    return _bind_all(bindings, preferred_port)


def _bind_all(bindings: Iterable[Binding], port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as stack:
        sockets = []
        for binding in bindings:
            sock = stack.enter_context(socket.socket(socket.AF_INET, binding.kind))
            _bind(sock, binding, port)
            port = port_of(sock)
            sockets.append(sock)
        stack.pop_all()
        return sockets


def _bind(sock: socket.socket, binding: Binding, port: int) -> None:
    sock.settimeout(0)
    if binding.backlog is not None:  # without this, a port used a minute ago counts as taken
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((binding.address, port))
    if binding.backlog is not None:
        sock.listen(binding.backlog)


def port_of(sock: socket.socket) -> int:
    """Tell the port that a socket is bound to."""
    port: int = sock.getsockname()[1]
    return port


@contextlib.asynccontextmanager
async def accepting(
    listener: socket.socket, serve: Serve, *, name: str, max_connections: int
) -> AsyncIterator[None]:
    """Run `serve` on every connection, in a task of its own; on exit all of them are ended and closed.

    Connections beyond `max_connections` are closed at once. What `serve` raises as OSError (a reset, a
    timeout) is the end of that connection and nothing more.
    """
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def accept() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # gone again, or no file descriptor left: the event loop calls again
            return
        if len(tasks) >= max_connections:
            connection.close()
            return
        connection.settimeout(0)
        task = loop.create_task(_attend(serve, connection), name=name)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # Not in the task itself: one that is cancelled before its first step would leave it open.
        task.add_done_callback(lambda _: connection.close())

    loop.add_reader(listener, accept)
    try:
        yield
    finally:
        loop.remove_reader(listener)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Receive exactly `size` bytes; nothing when the peer closes before."""
    received = b""
    while len(received) < size:
        chunk = await asyncio.get_running_loop().sock_recv(connection, size - len(received))
        if not chunk:
            return b""
        received += chunk
    return received


async def _attend(serve: Serve, connection: socket.socket) -> None:
    try:
        await serve(connection)
    except OSError:
        pass
    except Exception:
        log.exception("demo connection failed")
