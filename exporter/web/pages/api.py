"""`/api/v1/status`: the status page for programs.

The keys are a public interface, those of `kms-exporter check --format=json` and some more; see
docs/status-api.md and deploy/status.schema.json.
"""

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import hdrs, web

from exporter.model import host_port
from exporter.report import ClientReport, StaticReport, ZoneReport, make_report
from exporter.report.machine import client_document, static_document, zone_document
from exporter.state import Snapshot
from exporter.web.backend import Backend
from exporter.web.exposition import Page
from exporter.web.pages.cards import Card, Streaks, make_cards
from exporter.web.pages.finding import BadQueryError, Query, parse_query
from exporter.web.pages.overview import count_verdicts
from exporter.web.rendering import SharedPages, pack, wants_gzip

P = TypeVar("P")

_HEADERS: Mapping[str, str] = {
    hdrs.CONTENT_TYPE: "application/json; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store",
}


class StatusApi:
    """The status as JSON; requests for the same while it is made share it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._shared = SharedPages("status as JSON")

    def routes(self) -> list[web.RouteDef]:
        """Give the route of the status."""
        return [web.get(self._backend.paths.route("/api/v1/status"), self._status)]

    async def _status(self, request: web.Request) -> web.Response:
        try:
            query = parse_query(request.query)
        except BadQueryError as error:
            text = json.dumps({"error": str(error)})
            return web.Response(status=HTTPStatus.BAD_REQUEST, body=f"{text}\n".encode(), headers=_HEADERS)
        gzip, backend = wants_gzip(request), self._backend
        page = await self._shared.page(
            request,
            (query, gzip),
            lambda: functools.partial(
                _render,
                backend.snapshot(),
                backend.history.streaks(),
                query,
                ready=backend.is_ready(),
                gzip=gzip,
            ),
        )
        return web.Response(body=page.body, headers=page.headers)


def _render(snapshot: Snapshot, streaks: Streaks, query: Query, *, ready: bool, gzip: bool) -> Page:
    document = status_document(snapshot, streaks, query, ready=ready, now=time.time())
    return pack(f"{json.dumps(document, separators=(',', ':'))}\n", _HEADERS, gzip=gzip)


def status_document(
    snapshot: Snapshot, streaks: Streaks, query: Query, *, ready: bool, now: float
) -> dict[str, Any]:
    """Give all that is looked for, trouble first as on the page; the summary is about everything."""
    report = make_report(snapshot, hosts={view.host for view in snapshot.static_hosts})
    cards = make_cards(snapshot, report, streaks, now=now)
    static_cards, client_cards = (
        {card.name: card for card in each if query.finds(card)}
        for each in (cards.static_hosts, cards.clients)
    )
    return {
        "generated_at": now,
        "ready": ready,
        "summary": {
            "zones": len(cards.zones),
            "trouble": sum(card.tone.is_trouble for card in cards.zones),
            "by_verdict": dict(count_verdicts(cards.zones)),
        },
        "zones": [_zone(card, card.zone) for card in cards.zones if card.zone and query.finds(card)],
        "static_hosts": [
            static_document(static) | _seen(static_cards[name], static)
            for name, static in _in_order(report.static_hosts, _host_name, static_cards)
        ],
        "clients": [
            client_document(client)
            | {"suffixes": list(client_cards[name].suffixes)}
            | _seen(client_cards[name], client)
            for name, client in _in_order(report.clients, lambda each: each.diagnosis.client, client_cards)
        ],
    }


def _in_order(
    parts: Iterable[P], name_of: Callable[[P], str], cards: Mapping[str, Card]
) -> Sequence[tuple[str, P]]:
    """Bring what is looked for into the order of the cards, each with the name of its own."""
    places = {name: place for place, name in enumerate(cards)}
    named = [(name_of(part), part) for part in parts]
    return sorted((each for each in named if each[0] in places), key=lambda each: places[each[0]])


def _host_name(static: StaticReport) -> str:
    host = static.diagnosis.sight.host
    return host_port(host.target, host.port)


def _zone(card: Card, zone: ZoneReport) -> dict[str, Any]:
    """Add to what the check command says of a zone what only a running exporter knows."""
    document, view = zone_document(zone), zone.diagnosis.view
    since = {row.dns_server: row.since.at for row in card.rows if row.since}
    return document | {
        "dns_servers": [each | {"since": since.get(each["dns_server"])} for each in document["dns_servers"]],
        "labels": dict(view.labels),
        "last_check": view.last_check,
        "check_duration_seconds": view.check_duration_seconds,
        "vanished": [
            {"host": host_port(host.target, host.port), "since": view.vanished_at.get(host)}
            for host in sorted(view.vanished)
        ],
    }


def _seen(card: Card, part: StaticReport | ClientReport) -> dict[str, Any]:
    since = next((row.since for row in card.rows if row.dns_server == part.diagnosis.dns_server), None)
    return {"since": since.at if since else None, "last_check": card.checked.at if card.checked else None}
