"""The status page: what an administrator opens first."""

import jinja2
from aiohttp import web

from exporter.web.backend import Backend

_PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("exporter.web"), autoescape=True, undefined=jinja2.StrictUndefined
)


class StatusPages:
    """The pages for people."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these pages."""
        return [web.get(self._backend.paths.route("/"), self._landing)]

    async def _landing(self, _request: web.Request) -> web.Response:
        page = _PAGES.get_template("landing.html").render(build=self._backend.build)
        return web.Response(text=page, content_type="text/html")
