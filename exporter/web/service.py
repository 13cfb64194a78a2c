"""The pages for those who run the exporter: health, readiness, reload, configuration."""

import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.config import Config, dump
from exporter.health import name_some
from exporter.web.backend import Backend
from exporter.web.exposition import Page
from exporter.web.rendering import SharedPages, pack, wants_gzip

_TEXT: Mapping[str, str] = {hdrs.CONTENT_TYPE: "text/plain; charset=utf-8"}  # YAML a browser would download


class ServicePages:
    """What an orchestrator or an administrator asks of the process itself."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._shared = SharedPages("configuration")

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
        """Say what the watchdog of a service manager hears, to whoever restarts processes without one."""
        if stalled := self._backend.stalled():
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"Checks have stalled: {name_some(stalled)}\n"
            )
        return web.Response(text="kms-exporter is healthy.\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self._backend.is_ready():
            return web.Response(text="kms-exporter is ready.\n")
        return web.Response(
            status=HTTPStatus.SERVICE_UNAVAILABLE, text="Not every zone has been checked yet.\n"
        )

    async def _config(self, request: web.Request) -> web.Response:
        """Show the running configuration with its defaults."""
        gzip = wants_gzip(request)
        page = await self._shared.page(request, gzip, lambda: self._prepare_config(gzip=gzip))
        return web.Response(body=page.body, headers=page.headers)

    def _prepare_config(self, *, gzip: bool) -> Callable[[], Page]:
        return functools.partial(_render, self._backend.config(), gzip=gzip)

    async def _reload(self, _request: web.Request) -> web.Response:
        problems = await self._backend.reload()
        if not problems:
            return web.Response(text="configuration reloaded\n")
        text = "".join(f"{problem}\n" for problem in problems)
        return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text=f"configuration refused\n{text}")


def _render(config: Config, *, gzip: bool) -> Page:
    return pack(dump(config), _TEXT, gzip=gzip)
