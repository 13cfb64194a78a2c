"""Large pages to slow readers: in pieces, under a deadline, and within a bound on what all of them hold.

A page of many megabytes that is written at once stays in memory until the last reader has taken it. Here only
what the kernel has room for is written; a reader that is too slow for the deadline, or for the others, is cut
off.
"""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

PIECE_BYTES = 64 * 1024
MOST_BYTES = 64 * 1024 * 1024
SEND_SECONDS = 30.0


class Sending:
    """Sends what is larger than a piece; pages that are the same object count once."""

    def __init__(self, *, seconds: float = SEND_SECONDS, most_bytes: int = MOST_BYTES) -> None:
        self.seconds = seconds
        self._most_bytes = most_bytes
        self._under_way: dict[_LargeResponse, bytes] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have a large page sent in pieces; any other answer goes as it is."""
        response = await handler(request)
        if request.method == "HEAD" or not isinstance(response, web.Response) or response.compression:
            return response
        body = response.body
        if not isinstance(body, bytes) or len(body) <= PIECE_BYTES:
            return response
        return _LargeResponse(response, body, request.transport, self)

    def begin(self, response: "_LargeResponse", body: bytes) -> None:
        """Take note of a page that is being sent; the oldest ones give way when all hold too much."""
        self._under_way[response] = body
        for oldest in tuple(self._under_way):
            if oldest is response or self.held_bytes() <= self._most_bytes:
                break
            oldest.abort()
            self.end(oldest)

    def end(self, response: "_LargeResponse") -> None:
        """Take note that a page was sent, or will not be."""
        self._under_way.pop(response, None)

    def held_bytes(self) -> int:
        """Tell how much is held by pages that are being sent."""
        return sum({id(body): len(body) for body in self._under_way.values()}.values())


class _LargeResponse(web.StreamResponse):
    """A page that is written piece by piece, each when the one before has been taken."""

    def __init__(
        self, page: web.Response, body: bytes, transport: asyncio.Transport | None, sending: Sending
    ) -> None:
        super().__init__(status=page.status, reason=page.reason, headers=page.headers)
        self.content_length = len(body)
        self._content = body
        self._transport = transport
        self._sending = sending

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the page; raises ConnectionError, which aiohttp expects, for a reader gone or too slow."""
        body, self._content = self._content, b""
        self._sending.begin(self, body)
        try:
            async with asyncio.timeout(self._sending.seconds):
                for start in range(0, len(body), PIECE_BYTES):
                    await self.write(body[start : start + PIECE_BYTES])
                await super().write_eof(data)
        except TimeoutError as error:
            self.abort()
            raise ConnectionResetError("the reader is too slow") from error
        finally:
            self._sending.end(self)

    def abort(self) -> None:
        """Cut the reader off, along with what the connection still holds."""
        if self._transport is not None:
            self._transport.abort()
