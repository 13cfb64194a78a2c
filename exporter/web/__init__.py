"""The HTTP side: routes and pages over what the state shows.

Owns no results; everything it answers comes from a snapshot or goes through a callable it was given.

| module | holds |
| --- | --- |
| backend | what the pages need from the rest of the process |
| paths | where the pages are, behind a reverse proxy too |
| pages | the status page, its kin, and the same as JSON |
| html, assets, words, rendering | how pages are made, and what they load |
| errors | what is answered when there is no page, or a bug |
| metrics, exposition | /metrics |
| targets, service_discovery | /sd |
| probing | /probe |
| service | health, readiness, reload, /config |
| serving | sockets, TLS, access, and what connections may take |
"""

from aiohttp import hdrs, web

from exporter.web.assets import Assets
from exporter.web.backend import Backend
from exporter.web.errors import Errors
from exporter.web.html import Html
from exporter.web.metrics import MetricsPage
from exporter.web.pages.api import StatusApi
from exporter.web.pages.status import StatusPages
from exporter.web.paths import Paths, make_paths
from exporter.web.probing import ProbePage
from exporter.web.service import ServicePages
from exporter.web.serving.access import Access
from exporter.web.serving.sending import Sending
from exporter.web.targets import TargetsPage

__all__ = ["Backend", "Paths", "make_application", "make_paths"]


def make_application(backend: Backend, access: Access | None = None) -> web.Application:
    """Make the application with all its routes; without `access` they are open to everybody."""
    access = access or Access(backend.paths)
    assets = Assets(backend.paths)
    html = Html(paths=backend.paths, assets=assets, build=backend.build)
    application = web.Application(
        middlewares=[Sending().middleware, access.middleware, Errors(backend, html).middleware]
    )
    application.on_response_prepare.extend([_add_headers, access.add_headers])
    for pages in (
        StatusPages(backend, html),
        StatusApi(backend),
        MetricsPage(backend),
        ProbePage(backend),
        TargetsPage(backend),
        ServicePages(backend),
        assets,
    ):
        application.add_routes(pages.routes())
    return application


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Have a browser take an answer for what it says that it is, and not look for markup in text from DNS.

    Nor is anybody told which libraries of which version answer.
    """
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers[hdrs.SERVER] = "kms-exporter"
