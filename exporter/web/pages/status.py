"""The pages for people: everything with what to do about it, and each thing alone with its last checks."""

import difflib
import functools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from exporter.config import Config, parse_host
from exporter.history import CheckRecord
from exporter.model import host_port
from exporter.names import MAX_NAME, canonical
from exporter.report import make_report
from exporter.state import Snapshot
from exporter.web.backend import Backend
from exporter.web.exposition import Page
from exporter.web.html import Html
from exporter.web.pages.cards import Kind, Streaks, View, make_card, make_cards, views_of
from exporter.web.pages.detail import make_detail
from exporter.web.pages.finding import BadQueryError, Query, parse_query
from exporter.web.pages.overview import make_listing, make_overview
from exporter.web.pages.past import make_past
from exporter.web.rendering import SharedPages, wants_gzip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a page shows, taken at one moment."""

    snapshot: Snapshot
    streaks: Streaks
    now: float


class _UnknownNameError(LookupError):
    """Nothing that is checked here has this name."""


class StatusPages:
    """The pages for people; requests for the same page while it is made share it."""

    def __init__(self, backend: Backend, html: Html) -> None:
        self._backend = backend
        self._html = html
        self._shared = SharedPages("status page")

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these pages."""
        route = self._backend.paths.route
        return [
            web.get(route("/"), self._status),
            web.get(route("/zones/{name}"), functools.partial(self._alone, Kind.ZONE)),
            web.get(route("/hosts/{name}"), functools.partial(self._alone, Kind.HOST)),
            web.get(route("/clients/{name:.+}"), functools.partial(self._alone, Kind.CLIENT)),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        try:
            query = parse_query(request.query)
        except BadQueryError as error:
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=f"{error}\n")
        gzip, config = wants_gzip(request), self._backend.config()
        if config.web.probe_only:
            work = functools.partial(self._render_listings, config, query, gzip=gzip)
            return await self._answer(request, ("listings", query, gzip), lambda: work)
        return await self._answer(
            request,
            ("status", query, gzip),
            lambda: functools.partial(self._render_status, self._look(), query, gzip=gzip),
        )

    async def _alone(self, kind: Kind, request: web.Request) -> web.Response:
        """Show one thing alone; any spelling of its name leads to the page with the canonical one."""
        given, gzip = request.match_info["name"], wants_gzip(request)
        name = _canonical(kind, given)
        part, check = request.query.get("part", ""), request.query.get("check", "")

        def prepare() -> Callable[[], Page]:
            seen = self._look()
            if (view := views_of(seen.snapshot, kind).get(name)) is None:
                raise _UnknownNameError
            records = self._backend.history.checks(kind.subject(name))
            return functools.partial(
                self._render_alone, seen, view, part=part, check=check, gzip=gzip, records=records
            )

        try:
            answer = await self._answer(request, (kind, name, part, check, gzip), prepare)
        except _UnknownNameError:
            return await self._unknown(kind, request)
        if name != given:
            query = f"?{request.query_string}" if request.query_string else ""
            raise web.HTTPFound(f"{self._backend.paths.link(kind.path(name))}{query}")
        return answer

    async def _unknown(self, kind: Kind, request: web.Request) -> web.Response:
        given, gzip, config = request.match_info["name"], wants_gzip(request), self._backend.config()
        on_demand = config.web.probe_only

        def prepare() -> Callable[[], Page]:
            seen = self._look()
            names = _configured(kind, config) if on_demand else views_of(seen.snapshot, kind).keys()
            return functools.partial(
                self._render_unknown, kind, given, names, now=seen.now, on_demand=on_demand, gzip=gzip
            )

        key = ("unknown", kind, given, gzip)
        return await self._answer(request, key, prepare, status=HTTPStatus.NOT_FOUND)

    async def _answer(
        self,
        request: web.Request,
        key: object,
        prepare: Callable[[], Callable[[], Page]],
        *,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> web.Response:
        page = await self._shared.page(request, key, prepare)
        return web.Response(status=status, body=page.body, headers=page.headers)

    def _look(self) -> Seen:
        backend = self._backend
        return Seen(snapshot=backend.snapshot(), streaks=backend.history.streaks(), now=time.time())

    def _render_status(self, seen: Seen, query: Query, *, gzip: bool) -> Page:
        hosts = {view.host for view in seen.snapshot.static_hosts}
        report = make_report(seen.snapshot, hosts=hosts)
        cards = make_cards(seen.snapshot, report, seen.streaks, now=seen.now)
        overview = make_overview(cards, seen.snapshot, query, now=seen.now)
        return self._html.render("status.html", now=seen.now, gzip=gzip, overview=overview)

    def _render_listings(self, config: Config, query: Query, *, gzip: bool) -> Page:
        """Show what can be asked for, where nothing is checked on a timer."""
        zones, hosts, clients = (_configured(kind, config) for kind in Kind)
        return self._html.render(
            "on_demand.html",
            now=time.time(),
            gzip=gzip,
            query=query,
            listings=(make_listing(Kind.ZONE, zones, query), make_listing(Kind.HOST, hosts, query)),
            idle=len(clients),
            more_allowed=bool(config.web.probe_allow),
        )

    def _render_alone(
        self,
        seen: Seen,
        view: View,
        *,
        part: str,
        check: str,
        gzip: bool,
        records: tuple[CheckRecord, ...],
    ) -> Page:
        """Show one thing: what it unfolds to on the status page, and its past; a `part` is the former."""
        card = make_card(view, seen.snapshot, seen.streaks, now=seen.now)
        endpoints = {each.endpoint: each for each in seen.snapshot.endpoints}
        detail = make_detail(card, endpoints, now=seen.now)
        if part == "detail":
            return self._html.render("detail.html", now=seen.now, gzip=gzip, detail=detail)
        past = tuple(make_past(records, asked=check, now=seen.now))
        return self._html.render("alone.html", now=seen.now, gzip=gzip, card=card, detail=detail, past=past)

    def _render_unknown(
        self, kind: Kind, given: str, names: Collection[str], *, now: float, on_demand: bool, gzip: bool
    ) -> Page:
        name = _canonical(kind, given)
        near = [name] if name in names else _near(given, names)
        return self._html.render(
            "unknown.html",
            now=now,
            gzip=gzip,
            kind=kind,
            given=given,
            near=near,
            is_configured=name in names,
            total=len(names),
            on_demand=on_demand,
        )


def _canonical(kind: Kind, given: str) -> str:
    """Spell a name from a URL as on cards of that kind; what cannot be a name stays as it is."""
    match kind:
        case Kind.ZONE:
            return canonical(given)
        case Kind.HOST:
            try:
                host = parse_host(given)
            except ValueError:
                return given
            return host_port(host.target, host.port)
        case Kind.CLIENT:
            return given


def _configured(kind: Kind, config: Config) -> Collection[str]:
    """Name everything of a kind that is configured, as its card would."""
    match kind:
        case Kind.ZONE:
            return [zone.name for zone in config.zones]
        case Kind.HOST:
            return [host_port(host.target, host.port) for host in config.hosts]
        case Kind.CLIENT:
            return [client.name for client in config.clients]


def _near(given: str, names: Collection[str]) -> list[str]:
    """Find names that are spelled alike."""
    if len(given) > MAX_NAME:
        return []
    known = {name.casefold(): name for name in names}
    return [known[each] for each in difflib.get_close_matches(given.casefold(), known, n=5)]
