"""/probe: a check made now, and only its metrics.

The multi-target pattern of https://prometheus.io/docs/guides/multi-target-exporter/. A scrape has to be
answered before Prometheus gives up, so a check gets the time that the scrape has, less what the answer needs.
"""

import functools
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry

from exporter.config import Config
from exporter.metrics import ProbeCollector
from exporter.model import Host, ServerGroup, host_port
from exporter.ondemand import Look, Refusal, Refused, Wanted
from exporter.report import make_report
from exporter.report.text import write_text
from exporter.subjects import subjects
from exporter.trace import show_trace, trace_of
from exporter.web.backend import Backend
from exporter.web.exposition import Page, normalize_accept, render
from exporter.web.rendering import SharedPages, accepted, pack, wants_gzip

TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
DEFAULT_TIMEOUT_SECONDS = 10.0  # that of Prometheus, for whoever says nothing
OFFSET_SECONDS = 0.5
_TEXT: Mapping[str, str] = {hdrs.CONTENT_TYPE: "text/plain; charset=utf-8"}
_STATUS: Mapping[Refused, HTTPStatus] = {
    Refused.INVALID: HTTPStatus.BAD_REQUEST,
    Refused.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Refused.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    target: str
    dns_server: str | None
    debug: bool


class ProbePage:
    """Checks on demand, for Prometheus as metrics and for a person as text."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._shared = SharedPages("probe")

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of this page."""
        return [web.get(self._backend.paths.route("/probe"), self._probe)]

    async def _probe(self, request: web.Request) -> web.Response:
        ondemand = self._backend.ondemand
        asked = _read(request)
        if isinstance(asked, Refusal):
            return _refuse(asked)
        wanted = ondemand.admit(asked.target, asked.dns_server)
        if isinstance(wanted, Refusal):
            return _refuse(wanted)
        within_seconds = check_seconds(request.headers.get(TIMEOUT_HEADER), ondemand.config)
        look = await ondemand.look(wanted, within_seconds)
        if isinstance(look, Refusal):
            return _refuse(look)
        accept, gzip = normalize_accept(accepted(request)), wants_gzip(request)
        if asked.debug:
            work = functools.partial(_explain, wanted, look, within_seconds, gzip=gzip)
        else:
            work = functools.partial(render, _registry(look), accept=accept, gzip=gzip)
        key = (id(look), asked.debug, within_seconds, accept, gzip)
        page = await self._shared.page(request, key, lambda: work)
        return web.Response(body=page.body, headers=page.headers)


def check_seconds(header: str | None, config: Config) -> float:
    """Give the time for a check out of the time for a scrape, which `header` has in seconds.

    What is no time counts as none given. Half of a very short one is kept, so that even then there is an
    answer. No check takes longer than those on schedule may.
    """
    try:
        timeout_seconds = float(header) if header is not None else DEFAULT_TIMEOUT_SECONDS
    except ValueError:
        timeout_seconds = DEFAULT_TIMEOUT_SECONDS
    if not 0 < timeout_seconds < math.inf:
        timeout_seconds = DEFAULT_TIMEOUT_SECONDS
    return min(max(timeout_seconds - OFFSET_SECONDS, timeout_seconds / 2), config.interval)


def _read(request: web.Request) -> _Asked | Refusal:
    """Read the parameters; names that mean nothing here are passed over, as exporters do."""
    query = request.query
    for name in ("target", "dns_server", "debug"):
        if len(query.getall(name, [])) > 1:
            return _invalid(f"{name} is given more than once")
    if not (target := query.get("target", "")):
        return _invalid("target is missing: give a zone, or host:port of a KMS host")
    debug = query.get("debug", "false")
    if debug not in {"true", "false"}:
        return _invalid("debug must be true or false")
    return _Asked(target=target, dns_server=query.get("dns_server"), debug=debug == "true")


def _invalid(reason: str) -> Refusal:
    return Refusal(why=Refused.INVALID, reason=reason)


def _refuse(refusal: Refusal) -> web.Response:
    headers = {hdrs.RETRY_AFTER: "1"} if refusal.why is Refused.BUSY else {}
    return web.Response(status=_STATUS[refusal.why], text=f"{refusal.reason}\n", headers=headers)


def _registry(look: Look) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ProbeCollector(look.snapshot, configured=look.configured))
    return registry


def _explain(wanted: Wanted, look: Look, within_seconds: float, *, gzip: bool) -> Page:
    """Write for a person what was asked, each step, what it comes to, and the metrics."""
    report = make_report(look.snapshot, hosts=look.config.hosts)
    with io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") as stream:
        write_text(report, stream)
        stream.seek(0)
        shown = stream.read()
    metrics = render(_registry(look), accept="", gzip=False).body.decode()
    steps = show_trace(trace_of(look.found))
    text = f"{_introduce(wanted, look, within_seconds)}\n{steps}\n{shown}\n{metrics}"
    return pack(text, _TEXT, gzip=gzip)


def _introduce(wanted: Wanted, look: Look, within_seconds: float) -> str:
    subject = wanted.subject
    [servers] = subjects(look.config).values()
    named = ", ".join(each.value if isinstance(each, ServerGroup) else each.label for each in servers)
    what = (
        f"host {host_port(subject.target, subject.port)}"
        if isinstance(subject, Host)
        else f"zone {subject.name}"
    )
    origin = "configured" if look.configured else "allowed by web.probe_allow"
    return f"{what}, {origin}\nDNS servers asked for: {named}\nTime for the check: {within_seconds:g} s\n"
