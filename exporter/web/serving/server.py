"""Serving an application on listening sockets: accepting, TLS, and the bounds on what clients may take.

Each connection is accepted here rather than by aiohttp, so that what serves TLS can change between two of
them while the sockets stay as they are, and so that those whose handshake is under way count too.
"""

import asyncio
import collections
import contextlib
import errno
import functools
import math
import socket
import ssl
import traceback
from collections.abc import Callable, Iterable
from typing import Self

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.model import host_port
from exporter.state import Rejection
from exporter.web.serving.door import Door, Manners
from exporter.web.serving.tls import Tls

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 0.4  # for requests under way; aiohttp may take it twice, and a stop at most 2 s
_PAUSE_SECONDS = 1.0
_QUIET_SECONDS = 60.0
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # accept(2)


class Server:
    """Serves an application; `use` changes how, for the connections to come.

    `count_rejected` hears of every connection that could not be taken, and every try to take one.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        application: web.Application,
        *,
        count_internal_error: Callable[[], None],
        count_rejected: Callable[[Rejection], None] = lambda _: None,
        manners: Manners | None = None,
    ) -> None:
        application.middlewares.insert(0, self._middleware)
        self._sockets = tuple(sockets)
        self._manners = manners or Manners()
        self._count_internal_error = count_internal_error
        self._count_rejected = count_rejected
        self._runner = web.AppRunner(
            application,
            handle_signals=False,
            access_log=None,
            shutdown_timeout=SHUTDOWN_SECONDS,
            lingering_time=self._manners.linger_seconds,
        )
        self._tls: Tls | None = None
        self._doors: dict[web.RequestHandler, Door] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self._untold: collections.Counter[str] = collections.Counter()
        self._told_at: dict[str, float] = {}

    def use(self, tls: Tls | None) -> None:
        """Serve TLS like this from now on, or plain HTTP.

        A connection goes on with the certificate that it was made with, unless clients now have to meet
        other terms: then it ends after the request that is under way.
        """
        before, self._tls = self._tls, tls
        if (before and before.terms) != (tls and tls.terms):
            for door in tuple(self._doors.values()):
                door.retire()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        for sock in self._sockets:
            sock.settimeout(0)  # as the event loop needs it
            address = host_port(*sock.getsockname()[:2])
            self._accepting.append(asyncio.create_task(self._accept(sock), name=f"accept {address}"))
            log.info("listening", address=address)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await self._runner.cleanup()
        for door in tuple(self._doors.values()):
            door.abort()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        """Accept connections for ever; when the machine has no room for one, it waits a little."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
                self._take(sock)
            except OSError as error:
                if error.errno in _NO_RESOURCES:
                    self._count_rejected(Rejection.NO_RESOURCES)
                self._tell("cannot accept a connection", reason=error.strerror or str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:
                self._count_internal_error()
                log.exception("internal error")
                await asyncio.sleep(_PAUSE_SECONDS)

    def _take(self, sock: socket.socket) -> None:
        if len(self._connections) >= self._manners.connections and not self._make_room():
            sock.close()
            self._count_rejected(Rejection.LIMIT)
            self._tell("too many connections", most=self._manners.connections)
            return
        connection = asyncio.create_task(self._serve(sock), name="connection")
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    def _make_room(self) -> bool:
        """Close the connection on which nothing has happened for longest, if there is one."""
        quiet = [(door.quiet_since, door) for door in self._doors.values() if door.quiet_since is not None]
        if not quiet:
            return False
        _, longest = min(quiet, key=lambda each: each[0])
        longest.quiet_since = None
        longest.abort()
        return True

    async def _serve(self, sock: socket.socket) -> None:
        """Serve one connection, from before its handshake to its end."""
        handler = self._make_handler()
        tls, manners = self._tls, self._manners
        door = Door(handler, manners, admits=functools.partial(self._admits, tls))
        self._doors[handler] = door
        try:
            with contextlib.closing(sock) as opened:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: door,
                    opened,
                    ssl=tls.context if tls else None,
                    ssl_handshake_timeout=manners.handshake_seconds if tls else None,
                    ssl_shutdown_timeout=manners.close_seconds if tls else None,
                )
                await door.gone
        except OSError as error:  # no handshake: a scanner, a client with another authority, a timeout
            log.debug("connection refused", reason=str(error))
            traceback.clear_frames(error.__traceback__)  # they hold each other, and large buffers of TLS
        finally:
            del self._doors[handler]

    def _make_handler(self) -> web.RequestHandler:
        server = self._runner.server
        if server is None:
            raise RuntimeError("the server is not running")
        return server()

    def _admits(self, tls: Tls | None, transport: asyncio.Transport) -> bool:
        connection = transport.get_extra_info("ssl_object")
        if tls is None or not isinstance(connection, ssl.SSLObject) or tls.admits(connection):
            return True
        peer = transport.get_extra_info("peername") or ("", 0)
        log.warning("client certificate refused: no allowed name in it", client=peer[0])
        return False

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Tell the door of a request from its beginning to the end of its answer, which aiohttp writes."""
        door = self._doors.get(request.protocol)
        task = asyncio.current_task()
        if door is not None and task is not None:  # the task of one request and its answer
            door.begin()
            task.add_done_callback(lambda _: door.end())
        if (request.content_length or 0) > self._manners.body_bytes:
            raise web.HTTPRequestEntityTooLarge(
                max_size=self._manners.body_bytes, actual_size=request.content_length or 0
            )
        return await handler(request)

    def _tell(self, event: str, **fields: object) -> None:
        """Log an event at most once a minute, with how often it happened since it was told of last."""
        self._untold[event] += 1
        now = asyncio.get_running_loop().time()
        if now - self._told_at.get(event, -math.inf) >= _QUIET_SECONDS:
            log.warning(event, **fields, times=self._untold.pop(event))
            self._told_at[event] = now
