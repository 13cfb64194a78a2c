"""The HTTP side: routes and pages over what the state shows.

Owns no results; everything it answers comes from a snapshot or goes through a callable it was given.

| module | holds |
| --- | --- |
| backend | what the pages need from the rest of the process |
| paths | where the pages are, behind a reverse proxy too |
| errors | what is answered when there is no page, or a bug |
| metrics, exposition | /metrics |
| service | health, readiness, reload |
| listen | listening sockets |
"""

from aiohttp import web

from exporter.web.backend import Backend
from exporter.web.errors import Errors
from exporter.web.metrics import MetricsPage
from exporter.web.paths import Paths, make_paths
from exporter.web.service import ServicePages
from exporter.web.status import StatusPages

__all__ = ["Backend", "Paths", "make_application", "make_paths"]


def make_application(backend: Backend) -> web.Application:
    """Make the application with all its routes."""
    application = web.Application(middlewares=[Errors(backend).middleware])
    for pages in (StatusPages(backend), MetricsPage(backend), ServicePages(backend)):
        application.add_routes(pages.routes())
    return application
