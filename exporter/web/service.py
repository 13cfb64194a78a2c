"""The pages for those who run the exporter: health, readiness, reload, configuration."""

from http import HTTPStatus

from aiohttp import web

from exporter.config import dump
from exporter.threads import run_aside
from exporter.web.backend import Backend


class ServicePages:
    """What an orchestrator or an administrator asks of the process itself."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these pages."""
        route = self._backend.paths.route
        return [
            web.get(route("/-/healthy"), self._healthy),
            web.get(route("/-/ready"), self._ready),
            web.post(route("/-/reload"), self._reload),
            web.get(route("/config"), self._config),
        ]

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="kms-exporter is healthy.\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self._backend.is_ready():
            return web.Response(text="kms-exporter is ready.\n")
        return web.Response(
            status=HTTPStatus.SERVICE_UNAVAILABLE, text="Not every zone has been checked yet.\n"
        )

    async def _config(self, _request: web.Request) -> web.Response:
        """Show the running configuration with its defaults: as text, for a browser would download YAML."""
        config = self._backend.config()
        return web.Response(text=await run_aside(lambda: dump(config)))

    async def _reload(self, _request: web.Request) -> web.Response:
        problems = await self._backend.reload()
        if not problems:
            return web.Response(text="configuration reloaded\n")
        text = "".join(f"{problem}\n" for problem in problems)
        return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text=f"configuration refused\n{text}")
