"""/metrics: the state as metric families, rendered off the event loop."""

import functools
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from exporter.metrics import SnapshotCollector
from exporter.web.backend import Backend
from exporter.web.exposition import Page, normalize_accept, render
from exporter.web.rendering import SharedPages, accepted, wants_gzip


class MetricsPage:
    """The metrics of now; requests that come while a page is made for the same format share it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._process = _process_collectors()
        self._shared = SharedPages("metrics")

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of this page."""
        return [web.get(self._backend.paths.route("/metrics"), self._metrics)]

    async def _metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics of now, or, while another request for the same is served, with its page."""
        accept = normalize_accept(accepted(request))
        key = accept, wants_gzip(request)
        page = await self._shared.page(request, key, lambda: self._prepare(*key))
        return web.Response(body=page.body, headers=page.headers)

    def _prepare(self, accept: str, gzip: bool) -> Callable[[], Page]:  # noqa: FBT001 (one of two encodings)
        """Collect what there is to show now, and give the rendering of it."""
        registry = CollectorRegistry(auto_describe=False)
        for collector in (SnapshotCollector(self._backend.snapshot(), self._backend.build), *self._process):
            registry.register(collector)
        return functools.partial(render, registry, accept=accept, gzip=gzip)


def _process_collectors() -> tuple[Collector, ...]:
    """Make prometheus_client's own collectors, which register themselves somewhere unless told where."""
    scratch = CollectorRegistry()
    return (
        ProcessCollector(registry=scratch),
        PlatformCollector(registry=scratch),
        GCCollector(registry=scratch),
    )
