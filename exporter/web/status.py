"""The pages for people: all zones with what is seen and what to do, and each zone with its last checks."""

import difflib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from aiohttp import web

from exporter.history import CheckRecord
from exporter.names import MAX_NAME, parse_name
from exporter.report import make_report
from exporter.state import Snapshot, ZoneView
from exporter.web.assets import Assets
from exporter.web.backend import Backend
from exporter.web.cards import Streaks, make_cards, make_zone_card
from exporter.web.detail import make_detail
from exporter.web.exposition import Page
from exporter.web.finding import BadQueryError, Query, parse_query
from exporter.web.html import Html
from exporter.web.overview import make_overview
from exporter.web.past import make_past
from exporter.web.rendering import SharedPages, wants_gzip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a page shows, taken at one moment."""

    snapshot: Snapshot
    streaks: Streaks
    now: float


class StatusPages:
    """The pages for people; requests for the same page while it is made share it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._assets = Assets(backend.paths)
        self._html = Html(paths=backend.paths, assets=self._assets, build=backend.build)
        self._shared = SharedPages("status page")

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these pages."""
        route = self._backend.paths.route
        return [
            web.get(route("/"), self._status),
            web.get(route("/zones/{zone}"), self._zone),
            *self._assets.routes(),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        try:
            query = parse_query(request.query)
        except BadQueryError as error:
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=f"{error}\n")
        gzip = wants_gzip(request)
        return await self._answer(
            ("status", query, gzip),
            lambda: functools.partial(self._render_status, self._look(), query, gzip=gzip),
        )

    async def _zone(self, request: web.Request) -> web.Response:
        """Show one zone; any spelling of its name leads to the page with the canonical one."""
        given, gzip, seen = request.match_info["zone"], wants_gzip(request), self._look()
        zone = _canonical(given)
        view = next((view for view in seen.snapshot.zones if view.zone == zone), None)
        if view is None:
            page = self._render_unknown(seen, given, gzip=gzip)
            return web.Response(status=HTTPStatus.NOT_FOUND, body=page.body, headers=page.headers)
        if zone != given:
            query = f"?{request.query_string}" if request.query_string else ""
            raise web.HTTPFound(f"{self._html.zone_link(zone)}{query}")
        part, check = request.query.get("part", ""), request.query.get("check", "")
        work = functools.partial(self._render_zone, seen, view, part=part, check=check, gzip=gzip)
        return await self._answer(
            ("zone", zone, part, check, gzip),
            lambda: functools.partial(work, records=self._backend.history.checks(zone)),
        )

    async def _answer(self, key: object, prepare: Callable[[], Callable[[], Page]]) -> web.Response:
        page = await self._shared.page(key, prepare)
        return web.Response(body=page.body, headers=page.headers)

    def _look(self) -> Seen:
        backend = self._backend
        return Seen(snapshot=backend.snapshot(), streaks=backend.history.streaks(), now=time.time())

    def _render_status(self, seen: Seen, query: Query, *, gzip: bool) -> Page:
        hosts = {view.host for view in seen.snapshot.static_hosts}
        report = make_report(seen.snapshot, hosts=hosts)
        cards = make_cards(seen.snapshot, report, seen.streaks, now=seen.now)
        overview = make_overview(cards, seen.snapshot, query, now=seen.now)
        return self._html.render("status.html", now=seen.now, gzip=gzip, overview=overview)

    def _render_zone(
        self,
        seen: Seen,
        view: ZoneView,
        *,
        part: str,
        check: str,
        gzip: bool,
        records: tuple[CheckRecord, ...],
    ) -> Page:
        """Show a zone alone: what it unfolds to on the status page, and its past; a `part` is the former."""
        [zone] = make_report(replace(seen.snapshot, zones=(view,), clients=()), hosts=()).zones
        card = make_zone_card(zone, seen.streaks, now=seen.now)
        endpoints = {each.endpoint: each for each in seen.snapshot.endpoints}
        detail = make_detail(card, endpoints, now=seen.now)
        if part == "detail":
            return self._html.render("detail.html", now=seen.now, gzip=gzip, detail=detail)
        past = tuple(make_past(records, asked=check, now=seen.now))
        return self._html.render("zone.html", now=seen.now, gzip=gzip, card=card, detail=detail, past=past)

    def _render_unknown(self, seen: Seen, given: str, *, gzip: bool) -> Page:
        zones = [view.zone for view in seen.snapshot.zones]
        near = difflib.get_close_matches(given.casefold(), zones, n=5) if len(given) <= MAX_NAME else []
        return self._html.render(
            "unknown.html", now=seen.now, gzip=gzip, given=given, near=near, total=len(zones)
        )


def _canonical(given: str) -> str:
    """Spell a name from a URL as zones are spelled; what cannot be a name stays as it is."""
    try:
        return parse_name(given)
    except ValueError:
        return given
