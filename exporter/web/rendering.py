"""Pages that take a while to make: one at a time, shared by who asks meanwhile, and in nobody's way."""

import asyncio
import gzip as gzip_codec
from collections.abc import Callable, Generator, Hashable, Mapping

from aiohttp import hdrs, web

from exporter.steps import Steps, run_in_steps
from exporter.threads import run_aside
from exporter.web.exposition import Page, accepts_gzip

_GZIP_LEVEL = 1  # markup repeats: higher levels save little and cost much
_MIN_COMPRESSED_BYTES = 1000
_NO_PAGE = Page(body=b"", headers={})


class SharedPages:
    """Makes pages; requests that come while the same page is made share it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way: dict[Hashable, asyncio.Task[Page]] = {}
        self._waiting: dict[Hashable, list[web.Request]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def page(
        self, request: web.Request, key: Hashable, prepare: Callable[[], Callable[[], Page] | Steps[Page]]
    ) -> Page:
        """Give the page of `key`, or the one that is being made for another request.

        `prepare` takes from the event loop's world what the page shows, and gives the work, in steps or for a
        thread: a large page must not hold up a health check. One at a time, for they would only take the
        processor from each other. A page for which nobody waits any more is not made.
        """
        self._waiting.setdefault(key, []).append(request)
        if key not in self._under_way:
            self._under_way[key] = asyncio.create_task(self._make(key, prepare), name=self._name)
        return await asyncio.shield(self._under_way[key])

    async def _make(self, key: Hashable, prepare: Callable[[], Callable[[], Page] | Steps[Page]]) -> Page:
        try:
            async with self._one_at_a_time:
                if all(request.transport is None for request in self._waiting[key]):  # they hung up
                    return _NO_PAGE
                work = prepare()
                return await (run_in_steps(work) if isinstance(work, Generator) else run_aside(work))
        finally:
            del self._under_way[key], self._waiting[key]


def accepted(request: web.Request) -> str:
    """Give what the Accept headers of a request say, as one (RFC 9110, 5.3)."""
    return ",".join(request.headers.getall(hdrs.ACCEPT, []))


def wants_gzip(request: web.Request) -> bool:
    """Tell whether whoever asks takes a compressed answer."""
    return accepts_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])))


def pack(text: str, headers: Mapping[str, str], *, gzip: bool) -> Page:
    """Make the bytes of a page, compressed if asked for and worth it; `headers` describe it."""
    body = text.encode()
    described = {**headers, hdrs.VARY: hdrs.ACCEPT_ENCODING}
    if gzip and len(body) >= _MIN_COMPRESSED_BYTES:
        body = gzip_codec.compress(body, compresslevel=_GZIP_LEVEL)
        described[hdrs.CONTENT_ENCODING] = "gzip"
    return Page(body=body, headers=described)
