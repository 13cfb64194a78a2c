"""The HTTP side: routes and pages over what the state shows.

Owns no results; everything it answers comes from a snapshot or goes through a callable it was given.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import jinja2
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from exporter.build import BuildInfo
from exporter.metrics import SnapshotCollector
from exporter.state import Snapshot
from exporter.threads import run_aside
from exporter.web.exposition import Page, accepts_gzip, normalize_accept, render

log = structlog.get_logger(__name__)

_PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("exporter.web"), autoescape=True, undefined=jinja2.StrictUndefined
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the pages need from the rest of the process.

    `reload` gives the problems of a configuration that was refused, none when it was taken over.
    """

    snapshot: Callable[[], Snapshot]
    is_ready: Callable[[], bool]
    reload: Callable[[], Awaitable[tuple[object, ...]]]
    count_internal_error: Callable[[], None]
    build: BuildInfo


def make_application(backend: Backend) -> web.Application:
    """Make the application with all its routes."""
    pages = _Pages(backend)
    application = web.Application(middlewares=[pages.catch_bugs])
    application.add_routes(
        [
            web.get("/", pages.landing),
            web.get("/metrics", pages.metrics),
            web.get("/-/healthy", pages.healthy),
            web.get("/-/ready", pages.ready),
            web.post("/-/reload", pages.reload),
        ]
    )
    return application


class _Pages:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._process = _process_collectors()
        self._rendering: dict[tuple[str, bool], asyncio.Task[Page]] = {}
        self._one_at_a_time = asyncio.Lock()

    @web.middleware
    async def catch_bugs(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 500 to a request that met a bug; the log and a counter tell of it, the answer does not."""
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:
            self._backend.count_internal_error()
            log.exception("internal error", path=request.path)
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="internal error, see the log\n")

    async def landing(self, _request: web.Request) -> web.Response:
        page = _PAGES.get_template("landing.html").render(build=self._backend.build)
        return web.Response(text=page, content_type="text/html")

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics of now, or, while another request for the same is served, with its page."""
        accept = normalize_accept(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        key = accept, accepts_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])))
        if key not in self._rendering:
            self._rendering[key] = asyncio.create_task(self._render(*key), name="render")
            self._rendering[key].add_done_callback(lambda _: self._rendering.pop(key))
        page = await asyncio.shield(self._rendering[key])
        return web.Response(body=page.body, headers=page.headers)

    async def _render(self, accept: str, gzip: bool) -> Page:  # noqa: FBT001 (one of two encodings)
        """Render off the event loop: a large page must not hold up a health check, let alone a probe.

        One at a time, for threads would only take the processor from each other and from the event loop.
        """
        async with self._one_at_a_time:
            registry = CollectorRegistry(auto_describe=False)
            for collector in (
                SnapshotCollector(self._backend.snapshot(), self._backend.build),
                *self._process,
            ):
                registry.register(collector)
            return await run_aside(functools.partial(render, registry, accept=accept, gzip=gzip))

    async def healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="kms-exporter is healthy.\n")

    async def ready(self, _request: web.Request) -> web.Response:
        if self._backend.is_ready():
            return web.Response(text="kms-exporter is ready.\n")
        return web.Response(
            status=HTTPStatus.SERVICE_UNAVAILABLE, text="Not every zone has been checked yet.\n"
        )

    async def reload(self, _request: web.Request) -> web.Response:
        problems = await self._backend.reload()
        if not problems:
            return web.Response(text="configuration reloaded\n")
        text = "".join(f"{problem}\n" for problem in problems)
        return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text=f"configuration refused\n{text}")


def _process_collectors() -> tuple[Collector, ...]:
    """Make prometheus_client's own collectors, which register themselves somewhere unless told where."""
    scratch = CollectorRegistry()
    return (
        ProcessCollector(registry=scratch),
        PlatformCollector(registry=scratch),
        GCCollector(registry=scratch),
    )
