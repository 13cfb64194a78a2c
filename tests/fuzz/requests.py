"""Whole requests, as bytes over a connection on loopback, to the real server with every page that it has.

An input is what a client sends first; a last request follows it, so that every connection comes to its end.
Nothing that a request asks for is looked at: checks on demand have their result ready.
"""

import asyncio
import contextlib
import gzip
import http.client
import io
import json
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus

from exporter.build import BuildInfo
from exporter.config import Config, parse
from exporter.discovery import ResolvConf
from exporter.history import History
from exporter.model import Found, Host, HostCheck, ZoneCheck
from exporter.narrowing import is_configured, isolate
from exporter.ondemand import Look, OnDemand, Refusal, Wanted
from exporter.state import State
from exporter.subjects import configure
from exporter.web import Backend, make_application
from exporter.web.serving.door import Manners
from exporter.web.serving.listen import listen
from exporter.web.serving.server import Server
from tests.builders import addresses, answer, at_server, client_check, host_check, record, zone_check
from tests.fuzz.target import Run, Target
from tests.page import read_page

_DEADLINE_SECONDS = 30.0
_LAST = b"\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_SERVER = "192.0.2.53"
_HOSTILE = r"\060evil\062.test"
_CONFIG = parse(
    b"dns: {servers: [192.0.2.53]}\n"
    b"web: {probe_allow: [allowed.test, 10.0.0.0/8]}\n"
    b"zones:\n"
    b"  - {name: contoso.com, labels: {site: '<evil>\"&'}}\n"
    b"  - {name: xn--bcher-kva.example, labels: {site: x}}\n"
    b"hosts: [kms9.contoso.com, 10.1.2.3]\n"
    b"clients: [{name: 'a/b <evil>', suffixes: [contoso.com]}]\n"
)
_STATUSES = frozenset(
    {
        HTTPStatus.OK,
        HTTPStatus.FOUND,
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.EXPECTATION_FAILED,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
_NEVER = frozenset({"evil", "img", "iframe", "object", "embed", "base", "style"})
"""Elements that no template has."""
_LINKS = ("href", "src", "action")
_OWN_LINK = re.compile(r"(?:/(?!/)|[?#])[!#-;=?-~]*")
"""A link within this server, with nothing in it that has to be quoted in a URL."""

_VISIBLE = re.compile(r"[\x20-\x7e]*")


class _Ready(OnDemand):
    """Checks on demand whose results are there before they begin."""

    async def look(self, wanted: Wanted, within_seconds: float) -> Look | Refusal:
        """Answer with a zone that has a record with a hostile target, or with a host that is up."""
        del within_seconds
        subject = wanted.subject
        found = host_check(subject, "192.0.2.9") if isinstance(subject, Host) else _zone(subject.name)
        config = isolate(self.config, subject, wanted.server)
        return Look(
            config=config,
            configured=is_configured(subject, self.config),
            snapshot=_state(config, found)[0].snapshot(),
            found=found,
        )


class _Visitor:
    """Sends inputs to one server, each over a connection of its own, and looks at what comes back."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.errors = 0
        self._address = address

    def count(self) -> None:
        """Take note of a bug that a page met."""
        self.errors += 1

    async def visit(self, data: bytes) -> bool:
        """Send an input and read all there is to read; taken is what a page answered with 200."""
        async with asyncio.timeout(_DEADLINE_SECONDS):
            received = await self._exchange(data + _LAST)
        assert not self.errors, "a page met a bug"
        assert b"HTTP/1.1 500" not in received
        return _check(received, is_head=data.startswith(b"HEAD ")) if received else False

    async def _exchange(self, sent: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        received = bytearray()
        with socket.socket() as sock:
            # Reset in the end, for a connection that waits for strays would keep its port for a minute.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.settimeout(0)
            await loop.sock_connect(sock, self._address)
            try:
                await loop.sock_sendall(sock, sent)
                while piece := await loop.sock_recv(sock, 2**16):
                    received += piece
            except ConnectionError:  # it closed before it had read all, and what was on its way is lost
                return b""
        return bytes(received)


class _Bytes(io.BytesIO):
    """Bytes where http.client wants a socket."""

    def makefile(self, *_arguments: object) -> "_Bytes":
        """Give what was received."""
        return self


def _check(received: bytes, *, is_head: bool) -> bool:
    """Look at the first answer."""
    response = http.client.HTTPResponse(_Bytes(received), method="HEAD" if is_head else "GET")  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    assert response.status in _STATUSES, response.status
    for name, value in response.getheaders():
        assert _VISIBLE.fullmatch(value), (name, value)
    if location := response.headers["Location"]:
        assert _OWN_LINK.fullmatch(location), location
    if response.headers["Content-Encoding"] == "gzip" and not is_head:
        body = gzip.decompress(body)
    if not is_head:
        _check_body(response.headers.get_content_type(), body)
    return response.status == HTTPStatus.OK


def _check_body(content_type: str, body: bytes) -> None:
    text = body.decode()
    if content_type == "application/json":
        json.loads(text)
    elif content_type == "text/html" and text.startswith("<!doctype"):
        for element in read_page(text):
            assert element.name not in _NEVER, element.name
            for name in _LINKS:
                link = element.attributes.get(name, "")
                assert not link or _OWN_LINK.fullmatch(link), link


def _zone(name: str) -> ZoneCheck:
    records = answer(record(_HOSTILE), record("kms1.contoso.com", priority=1))
    return zone_check(at_server(_SERVER, records, {_HOSTILE: ()}), zone=name)


def _state(config: Config, *found: Found) -> tuple[State, History]:
    state = State()
    configure(state, config)
    history = History(state)
    for check in found:
        match check:
            case ZoneCheck():
                state.apply_zone(check)
            case HostCheck():
                state.apply_host(check)
            case _:
                state.apply_client(check)
        history.note(check)
    return state, history


async def _reload() -> tuple[object, ...]:
    return ()


def _backend() -> Backend:
    zones = [_zone(zone.name) for zone in _CONFIG.zones]
    client = client_check(zones[0], client=_CONFIG.clients[0].name)
    by_name, by_address = _CONFIG.hosts
    down = host_check(by_name, targets={_SERVER: addresses(by_name.target)})
    state, history = _state(_CONFIG, *zones, down, host_check(by_address, "10.1.2.3", dns_server=""), client)
    return Backend(
        snapshot=state.snapshot,
        is_ready=lambda: True,
        reload=_reload,
        count_internal_error=lambda: None,
        build=BuildInfo(version="1", revision="", python="3"),
        history=history,
        config=lambda: _CONFIG,
        ondemand=_Ready(_CONFIG, system=ResolvConf),
    )


@contextlib.contextmanager
def _serve() -> Iterator[Run]:
    with asyncio.Runner() as runner, listen("127.0.0.1", 0) as listening:
        visitor = _Visitor(listening.getsockname())
        backend = replace(_backend(), count_internal_error=visitor.count)
        server = Server(
            [listening],
            make_application(backend),
            count_internal_error=visitor.count,
            manners=Manners(linger_seconds=0.01),
        )
        runner.run(server.__aenter__())
        try:
            yield lambda data: runner.run(visitor.visit(data))
        finally:
            runner.run(server.__aexit__(None, None, None))


_PATHS = (
    "",
    "metrics",
    "probe",
    "sd",
    "config",
    "api/v1/status",
    "-/healthy",
    "-/ready",
    "static/",
    "zones/",
)
_HEADERS = ("Accept", "Accept-Encoding", "Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "Host")
REQUEST = Target(
    open=_serve,
    words=(
        *(f"GET /{path}".encode() for path in _PATHS),
        *(f"\r\n{name}: ".encode() for name in _HEADERS),
        *(b"POST /-/reload", b"HEAD /", b"OPTIONS *", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n\r\n"),
        *(b"?target=contoso.com", b"?target=a.allowed.test", b"&debug=true", b"&dns_server=10.0.0.1"),
        *(b"?q=", b"&verdict=trouble", b"?check=", b"?part=detail", b"?dns_zone=contoso.com"),
        *(
            b"/hosts/kms9.contoso.com",
            b"/hosts/10.1.2.3:1688",
            b"/clients/a%2Fb%20%3Cevil%3E",
            b"/zones/CONTOSO.com",
        ),
        *(
            b"%0d%0a",
            b"%00",
            b"%ff",
            b"%2f",
            b"%252f",
            b"//evil.test",
            b"/..",
            b"%3Cevil%3E",
            b"\xff",
            b"\xc3\xbc",
        ),
        *(b"text/html", b"application/openmetrics-text; version=1.0.0", b"gzip", b"chunked", b"100-continue"),
        *(
            b"X-Prometheus-Scrape-Timeout-Seconds: ",
            b"websocket",
            b"0\r\n\r\n",
            b"\r\nConnection: keep-alive",
        ),
    ),
    longest=4096,
)
