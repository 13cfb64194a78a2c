"""/metrics: the state as metric families, rendered in steps between everything else on the event loop."""

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from exporter.metrics import Chunk, Exposition
from exporter.state import Snapshot
from exporter.steps import Steps
from exporter.web.backend import Backend
from exporter.web.exposition import Page, choose_format, make_page, normalize_accept
from exporter.web.rendering import SharedPages, accepted, wants_gzip


class MetricsPage:
    """The metrics of now; requests that come while a page is made for the same format share it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._exposition = Exposition(backend.build)
        self._process = _process_registry()
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

    def _prepare(self, accept: str, gzip: bool) -> Steps[Page]:  # noqa: FBT001 (one of two encodings)
        """Collect what there is to show now, and give the rendering of it."""
        return self._render(self._backend.snapshot(), accept=accept, gzip=gzip)

    def _render(self, snapshot: Snapshot, *, accept: str, gzip: bool) -> Steps[Page]:
        """Write a snapshot, and what prometheus_client knows of the process, with the end of the page."""
        encode, content_type = choose_format(accept)
        chunks = yield from self._exposition.write(snapshot, encode, content_type=content_type)
        end = Chunk(encode(self._process))
        return (yield from make_page([*chunks, end], content_type, gzip=gzip))


def _process_registry() -> CollectorRegistry:
    """Make a registry of prometheus_client's own collectors."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
