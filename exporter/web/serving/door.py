"""What stands between a connection and aiohttp: who may come in, and for how long nothing may happen.

aiohttp waits for ever for the rest of a request, and for a reader that takes nothing. A door does not: it
knows from its server when a request is under way, and closes what idles otherwise.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

_RESPONSE_431 = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What a connection may do, in seconds and bytes.

    `head`: from the first byte of a request, or from the connection, to the end of its head. `idle`: between
    requests. `handshake`: of TLS. `stalled`: for a reader to take something. `close`: to say goodbye.
    `linger`: for a body that no page has asked for.
    """

    head_seconds: float = 10
    idle_seconds: float = 75
    handshake_seconds: float = 10
    stalled_seconds: float = 30
    close_seconds: float = 5
    linger_seconds: float = 2
    head_bytes: int = 64 * 1024
    body_bytes: int = 64 * 1024
    buffer_bytes: int = 64 * 1024
    connections: int = 512


class Door(asyncio.Protocol):
    """The protocol of one connection: passes on to aiohttp's what it lets in."""

    def __init__(
        self,
        handler: web.RequestHandler,
        manners: Manners,
        *,
        admits: Callable[[asyncio.Transport], bool],
    ) -> None:
        self.handler = handler
        self.gone = asyncio.get_running_loop().create_future()
        self._manners = manners
        self._admits = admits
        self._is_in = False
        self._is_retired = False
        self._requests = 0
        self._received = 0
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.quiet_since: float | None = None
        """Since when no request has been under way, in loop time; None while one is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the connection in, or close it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (what a stream's protocol is given)
        self._transport = transport
        transport.set_write_buffer_limits(high=self._manners.buffer_bytes)
        if self._is_retired or not self._admits(transport):
            self.close()
            return
        self._is_in = True
        self.quiet_since = asyncio.get_running_loop().time()
        self._wait(self._manners.head_seconds)
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, unless it is more than any head of a request needs."""
        if not self._is_in:
            return
        if not self._requests:
            if not self._received:
                self._wait(self._manners.head_seconds)
            self._received += len(data)
            if self._received - len(data) > self._manners.head_bytes:
                self._refuse()
                return
        self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the client will send no more: it has hung up, and no page is made for it any more."""
        if self._is_in:
            self.handler.eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is no more."""
        for timer in (self._idle, self._stalled):
            if timer is not None:
                timer.cancel()
        self._transport = None
        if not self.gone.done():
            self.gone.set_result(None)
        if self._is_in:
            self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the reader is slow, and give it time."""
        if self._is_in:
            self.handler.pause_writing()
        loop = asyncio.get_running_loop()
        self._stalled = loop.call_later(self._manners.stalled_seconds, self.abort)

    def resume_writing(self) -> None:
        """Pass on that the reader has taken something."""
        if self._stalled is not None:
            self._stalled.cancel()
        if self._is_in:
            self.handler.resume_writing()

    def begin(self) -> None:
        """Take note that a request is under way: it may take the time that its page needs."""
        self._requests += 1
        self._received = 0
        self.quiet_since = None
        if self._idle is not None:
            self._idle.cancel()

    def end(self) -> None:
        """Take note that the answer to a request is written."""
        self._requests -= 1
        self._received = 0
        if not self._requests:
            self.quiet_since = asyncio.get_running_loop().time()
        self._wait(self._manners.idle_seconds)

    def retire(self) -> None:
        """Close the connection as soon as no request is under way, or its handshake is done."""
        self._is_retired = True
        if self._requests:
            self.handler.close()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, by force when the other side does not go along."""
        if self._transport is not None:
            self._transport.close()
            self._wait(self._manners.close_seconds, self.abort)

    def abort(self) -> None:
        """Cut the connection, along with what was still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def _wait(self, seconds: float, then: Callable[[], None] | None = None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._idle = asyncio.get_running_loop().call_later(seconds, then or self.close)

    def _refuse(self) -> None:
        self._is_in, handler = False, self.handler
        if self._transport is not None:
            self._transport.write(_RESPONSE_431)
        handler.connection_lost(None)
        self.close()
