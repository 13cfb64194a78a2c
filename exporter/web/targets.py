"""/sd: the KMS hosts for Prometheus to discover."""

import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.names import canonical
from exporter.state import Snapshot
from exporter.web.backend import Backend
from exporter.web.exposition import Page
from exporter.web.rendering import SharedPages, pack, wants_gzip
from exporter.web.service_discovery import narrow, render, target_groups, unknown_zones

_HEADERS: Mapping[str, str] = {hdrs.CONTENT_TYPE: "application/json; charset=utf-8"}


class _UnknownZoneError(LookupError):
    """A zone that is asked for is not in the configuration."""


class TargetsPage:
    """The hosts of now; requests for the same zones while the list is made share it.

    Prometheus goes on with the last list while it gets an error, so an error is the answer whenever a list
    would lack hosts that are there.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._shared = SharedPages("service discovery")

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of this page."""
        return [web.get(self._backend.paths.route("/sd"), self._targets)]

    async def _targets(self, request: web.Request) -> web.Response:
        """Answer with all hosts, or with those of the zones that the query names."""
        if self._backend.config().web.probe_only:
            return _refuse(HTTPStatus.NOT_FOUND, "With web.probe_only, no hosts are known here.")
        if not self._backend.is_ready():
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Not every zone has been checked yet.")
        zones = frozenset(map(canonical, request.query.getall("dns_zone", [])))
        gzip = wants_gzip(request)
        try:
            page = await self._shared.page(request, (zones, gzip), lambda: self._prepare(zones, gzip=gzip))
        except _UnknownZoneError:
            return _refuse(HTTPStatus.NOT_FOUND, "A zone that dns_zone names is not in the configuration.")
        return web.Response(body=page.body, headers=page.headers)

    def _prepare(self, zones: frozenset[str], *, gzip: bool) -> Callable[[], Page]:
        snapshot = self._backend.snapshot()
        if unknown_zones(snapshot, zones):
            raise _UnknownZoneError
        return functools.partial(_render, narrow(snapshot, zones) if zones else snapshot, gzip=gzip)


def _render(snapshot: Snapshot, *, gzip: bool) -> Page:
    return pack(render(target_groups(snapshot)), _HEADERS, gzip=gzip)


def _refuse(status: HTTPStatus, reason: str) -> web.Response:
    return web.Response(status=status, text=f"{reason}\n")
