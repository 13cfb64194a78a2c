"""/sd: the KMS hosts for Prometheus to discover."""

import functools
from http import HTTPStatus

from aiohttp import web

from exporter.names import parse_name
from exporter.state import Snapshot
from exporter.threads import run_aside
from exporter.web.backend import Backend
from exporter.web.service_discovery import narrow, render, target_groups, unknown_zones


class TargetsPage:
    """The hosts of now.

    Prometheus goes on with the last list while it gets an error, so an error is the answer whenever a list
    would lack hosts that are there.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of this page."""
        return [web.get(self._backend.paths.route("/sd"), self._targets)]

    async def _targets(self, request: web.Request) -> web.Response:
        """Answer with all hosts, or with those of the zones that the query names."""
        if not self._backend.is_ready():
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE, text="Not every zone has been checked yet.\n"
            )
        snapshot = self._backend.snapshot()
        zones = [_canonical(text) for text in request.query.getall("dns_zone", [])]
        if unknown_zones(snapshot, zones):
            return web.Response(
                status=HTTPStatus.NOT_FOUND, text="A zone that dns_zone names is not in the configuration.\n"
            )
        if zones:
            snapshot = narrow(snapshot, zones)
        return web.json_response(text=await run_aside(functools.partial(_render, snapshot)))


def _render(snapshot: Snapshot) -> str:
    return render(target_groups(snapshot))


def _canonical(text: str) -> str:
    """Bring the name of a zone into the form of the configuration; what is no name stays as it is."""
    try:
        return parse_name(text) if text else text
    except ValueError:
        return text
