"""/metrics: the state as metric families, rendered off the event loop."""

import asyncio
import functools

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from exporter.metrics import SnapshotCollector
from exporter.threads import run_aside
from exporter.web.backend import Backend
from exporter.web.exposition import Page, accepts_gzip, normalize_accept, render


class MetricsPage:
    """The metrics of now; requests that come while a page is made for the same format share it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._process = _process_collectors()
        self._rendering: dict[tuple[str, bool], asyncio.Task[Page]] = {}
        self._one_at_a_time = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of this page."""
        return [web.get(self._backend.paths.route("/metrics"), self._metrics)]

    async def _metrics(self, request: web.Request) -> web.Response:
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


def _process_collectors() -> tuple[Collector, ...]:
    """Make prometheus_client's own collectors, which register themselves somewhere unless told where."""
    scratch = CollectorRegistry()
    return (
        ProcessCollector(registry=scratch),
        PlatformCollector(registry=scratch),
        GCCollector(registry=scratch),
    )
