"""Tests of the HTTP side: routes, formats and pages, over real sockets on loopback."""

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPMethod, HTTPStatus

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter import steps
from exporter.build import BuildInfo
from exporter.health import Stalled
from exporter.model import Host, TargetLookup
from exporter.state import Snapshot, StaticHostView
from exporter.web import Backend, Paths, make_application
from exporter.web.exposition import accepts_gzip
from exporter.web.serving.listen import listen
from tests.builders import addresses, host
from tests.services import DEADLINE_SECONDS, need_ipv6

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"
PAGES = ["/", "/metrics", "/-/healthy", "/-/ready"]
BUILD = BuildInfo(version="1.2.3", revision="abc", python="3.11.7")

Client = TestClient[web.Request, web.Application]


async def _accept() -> tuple[object, ...]:
    return ()


def backend(
    *,
    snapshot: Callable[[], Snapshot] = Snapshot,
    is_ready: Callable[[], bool] = lambda: True,
    reload: Callable[[], Awaitable[tuple[object, ...]]] = _accept,
    count_internal_error: Callable[[], None] = lambda: None,
    build: BuildInfo = BUILD,
    paths: Paths | None = None,
    stalled: Stalled = tuple,
) -> Backend:
    """Build what the pages need from the rest of the process."""
    return Backend(
        snapshot=snapshot,
        is_ready=is_ready,
        reload=reload,
        count_internal_error=count_internal_error,
        build=build,
        paths=paths or Paths(),
        stalled=stalled,
    )


def visit(visitor: Callable[[Client], Awaitable[None]], served: Backend | None = None) -> None:
    """Serve the pages, and let a visitor come by; it leaves headers and compression to what it asks for."""

    async def serve() -> None:
        server = TestServer(make_application(served or backend()))
        plain = {"Accept": "*/*", "Accept-Encoding": "identity"}
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            TestClient(server, auto_decompress=False, headers=plain) as client,
        ):
            await visitor(client)

    asyncio.run(serve())


# --- Routes


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/", "text/html"), ("/metrics", TEXT), ("/-/healthy", TEXT), ("/-/ready", TEXT)],
)
def test_page(path: str, content_type: str) -> None:
    """Every page is there, says what it is, and answers HEAD as it does GET but without a body."""

    async def look(client: Client) -> None:
        answer = await client.get(path)
        assert answer.status == HTTPStatus.OK
        assert answer.content_type == content_type
        assert answer.charset == "utf-8"
        assert await answer.read()
        head = await client.head(path)
        assert head.status == HTTPStatus.OK
        assert head.headers["Content-Type"] == answer.headers["Content-Type"]
        assert int(head.headers["Content-Length"]) > 0
        assert await head.read() == b""

    visit(look)


@pytest.mark.parametrize("path", ["/no-such-page", "/metrics/", "/-/", "/templates/status.html"])
def test_unknown_page(path: str) -> None:
    """What is not there is not found, whatever the method."""

    async def look(client: Client) -> None:
        for method in set(HTTPMethod) - {HTTPMethod.CONNECT}:  # which asks for a tunnel, not for a page
            assert (await client.request(method, path)).status == HTTPStatus.NOT_FOUND

    visit(look)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *(("POST", path, {"GET", "HEAD"}) for path in PAGES),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
        ("GET", "/-/reload", {"POST"}),
        ("HEAD", "/-/reload", {"POST"}),
        ("PUT", "/-/reload", {"POST"}),
    ],
)
def test_method_not_allowed(method: str, path: str, allowed: set[str]) -> None:
    """A page refuses other methods and names its own; in particular no link can reload."""

    async def refuse() -> tuple[object, ...]:
        pytest.fail("reloaded")

    async def look(client: Client) -> None:
        answer = await client.request(method, path)
        assert answer.status == HTTPStatus.METHOD_NOT_ALLOWED
        assert set(answer.headers["Allow"].split(",")) == allowed

    visit(look, backend(reload=refuse))


def test_readiness() -> None:
    """The exporter is healthy from the start, but ready only when everything has been checked."""
    ready = False

    async def look(client: Client) -> None:
        nonlocal ready
        assert (await client.get("/-/ready")).status == HTTPStatus.SERVICE_UNAVAILABLE
        assert (await client.get("/-/healthy")).status == HTTPStatus.OK
        ready = True
        assert (await client.get("/-/ready")).status == HTTPStatus.OK

    visit(look, backend(is_ready=lambda: ready))


def test_what_has_stalled_is_not_healthy() -> None:
    """While checks do not get on the exporter names a few of them, and is not healthy."""
    stalled = tuple(f"zone{number}.test" for number in range(1000))

    async def look(client: Client) -> None:
        nonlocal stalled
        answer = await client.get("/-/healthy")
        assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
        named = "zone0.test, zone1.test, zone2.test, zone3.test, zone4.test"
        assert await answer.text() == f"Checks have stalled: {named} and 995 more\n"
        stalled = ()
        assert (await client.get("/-/healthy")).status == HTTPStatus.OK

    visit(look, backend(stalled=lambda: stalled))


@pytest.mark.parametrize(
    ("problems", "status", "text"),
    [
        ((), HTTPStatus.OK, "configuration reloaded\n"),
        (
            ("line 2: interval: must be positive", "line 5: zones[1]: <b>"),
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "configuration refused\nline 2: interval: must be positive\nline 5: zones[1]: <b>\n",
        ),
    ],
)
def test_reload(problems: tuple[object, ...], status: HTTPStatus, text: str) -> None:
    """A reload says that it succeeded, or fails with every problem on a line of its own, as plain text."""

    async def reload() -> tuple[object, ...]:
        return problems

    async def look(client: Client) -> None:
        answer = await client.post("/-/reload")
        assert (answer.status, answer.content_type, await answer.text()) == (status, TEXT, text)

    visit(look, backend(reload=reload))


def test_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """A bug in a page is a 500 that keeps it to itself, counted and in the log; other pages go on."""
    counted: list[str] = []

    def broken() -> bool:
        raise ZeroDivisionError("the reason")

    async def look(client: Client) -> None:
        answer = await client.get("/-/ready")
        assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
        assert await answer.text() == "internal error, see the log\n"
        assert (await client.get("/-/healthy")).status == HTTPStatus.OK

    visit(look, backend(is_ready=broken, count_internal_error=lambda: counted.append("bug")))
    assert counted == ["bug"]
    assert "the reason" in capsys.readouterr().out


# --- /metrics


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/json", TEXT),
        (";;;,q=,\x80", TEXT),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
    ],
)
def test_format(accept: str, content_type: str) -> None:
    """/metrics is OpenMetrics for a client that asks for it, and the text format for any other."""

    async def look(client: Client) -> None:
        answer = await client.get("/metrics", headers={"Accept": accept})
        text = await answer.text()
        assert answer.content_type == content_type
        assert {"Accept", "Accept-Encoding"} <= set(answer.headers["Vary"].split(", "))
        assert text.endswith("# EOF\n") == (content_type == OPENMETRICS)
        assert 'kms_exporter_build_info{python="3.11.7",revision="abc",version="1.2.3"} 1.0' in text
        assert "\nprocess_cpu_seconds_total " in text
        assert "\npython_gc_collections_total{" in text
        assert "\npython_info{" in text

    visit(look)


def test_openmetrics_parses() -> None:
    """The whole page, prometheus_client's own metrics included, is valid OpenMetrics."""

    async def look(client: Client) -> None:
        answer = await client.get("/metrics", headers={"Accept": f"{OPENMETRICS};version=1.0.0"})
        families = list(parse_openmetrics(await answer.text()))  # type: ignore[no-untyped-call]
        assert "kms_exporter_checks_overrun" in {family.name for family in families}

    visit(look)


@pytest.mark.parametrize(
    ("encodings", "compressed"),
    [
        (["gzip"], True),
        (["br", "gzip;q=0.5"], True),
        (["identity"], False),
        (["gzip;q=0"], False),
        ([""], False),
    ],
)
def test_compression(encodings: list[str], compressed: bool) -> None:  # noqa: FBT001 - one of two outcomes
    """/metrics is compressed for a client that takes gzip, in one header or several, and for no other."""

    async def look(client: Client) -> None:
        headers = [("Accept-Encoding", encoding) for encoding in encodings]
        answer = await client.get("/metrics", headers=headers)
        body = await answer.read()
        assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
        assert int(answer.headers["Content-Length"]) == len(body)
        text = gzip.decompress(body) if compressed else body
        assert text.startswith(b"# HELP kms_zone_info ")

    visit(look)


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("gzip", True),
        ("GZip", True),
        (" gzip ", True),
        ("deflate, gzip, br", True),
        ("gzip;q=1", True),
        ("gzip;q=1.000", True),
        ("gzip;q=0.001", True),
        ("gzip ; q=0.5", True),
        ("identity;q=1, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.", False),
        ("gzip;q=0.000", False),
        ("gzip; Q=0", False),
        ("gzip ; q = 0", False),
        ("deflate, gzip;q=0, br", False),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzipped", False),
        ("bgzip", False),
        (",,;", False),
    ],
)
def test_accepts_gzip(accept_encoding: str, accepted: bool) -> None:  # noqa: FBT001 - one of two outcomes
    """An Accept-Encoding header takes gzip when it names it, unless with a quality of 0."""
    assert accepts_gzip(accept_encoding) is accepted


def without_address(hosts: Iterable[Host]) -> tuple[tuple[str, TargetLookup], ...]:
    """Build lookups that found no address: then the hosts are known to be down."""
    return tuple(("192.0.2.53", addresses(each.target)) for each in hosts)


def test_health_while_a_large_page_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A health check is answered while a large /metrics is still being rendered."""
    monkeypatch.setattr(steps, "STEP_SECONDS", 0)  # as on a machine that is slow
    hosts = tuple(host(f"kms{number}.contoso.test") for number in range(5000))
    static_hosts = tuple(StaticHostView(host=each, dns_servers=(), last_check=None) for each in hosts)
    asked = asyncio.Event()

    def snapshot() -> Snapshot:
        asked.set()
        return Snapshot(hosts=hosts, static_hosts=static_hosts, targets=without_address(hosts))

    async def look(client: Client) -> None:
        scrape = asyncio.create_task(client.get("/metrics"))
        await asked.wait()
        assert (await client.get("/-/healthy")).status == HTTPStatus.OK
        assert not scrape.done()
        text = await (await scrape).text()
        assert text.count("\nkms_host_up{") == len(hosts)

    visit(look, backend(snapshot=snapshot))


@pytest.mark.parametrize(
    "accept", ['application/openmetrics-text;version="1.0.0"', "text/plain;version=v1", "*"]
)
def test_accept_that_is_not_understood(accept: str) -> None:
    """An Accept header that the client library cannot read gets the plain format, not an error."""

    async def look(client: Client) -> None:
        answer = await client.get("/metrics", headers={"Accept": accept})
        assert (answer.status, answer.content_type) == (HTTPStatus.OK, TEXT)

    visit(look)


def test_concurrent_scrapes_share_a_page() -> None:
    """Scrapes at the same time are rendered once, and none after them gets an old page."""
    taken = 0

    def snapshot() -> Snapshot:
        nonlocal taken
        taken += 1
        hosts = tuple(host(f"kms{number}") for number in range(20_000))
        return Snapshot(hosts=hosts, targets=without_address(hosts))

    async def look(client: Client) -> None:
        pages = await asyncio.gather(*(client.get("/metrics") for _ in range(20)))
        assert {page.status for page in pages} == {HTTPStatus.OK}
        assert taken < 20
        before = taken
        await client.get("/metrics")
        assert taken == before + 1

    visit(look, backend(snapshot=snapshot))


def test_every_scrape_has_its_own_snapshot() -> None:
    """A scrape shows what is known when it comes."""
    known: list[Host] = []

    async def look(client: Client) -> None:
        for number in range(3):
            text = await (await client.get("/metrics")).text()
            assert text.count("\nkms_host_up{") == number
            known.append(host(f"kms{number}"))

    visit(look, backend(snapshot=lambda: Snapshot(hosts=tuple(known), targets=without_address(known))))


# --- Listening


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_listen_everywhere(address: str) -> None:
    """Without a host it is listened on all addresses, IPv4 and IPv6."""
    if ":" in address:
        need_ipv6()
    with listen("", 0) as listening:
        socket.create_connection((address, listening.getsockname()[1])).close()


@pytest.mark.parametrize(
    ("address", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("localhost", None)]
)
def test_listen(address: str, family: socket.AddressFamily | None) -> None:
    """A host may be an IPv4 address, an IPv6 address or a name; port 0 lets the machine choose."""
    if family is socket.AF_INET6:
        need_ipv6()
    with listen(address, 0) as listening:
        assert family in {None, listening.family}
        assert listening.getsockname()[1] > 0


def test_listen_on_a_taken_port() -> None:
    """A port that is taken is an error at once."""
    with listen("127.0.0.1", 0) as listening, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listening.getsockname()[1])
