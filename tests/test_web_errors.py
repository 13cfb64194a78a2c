"""Tests of what is answered when there is no page for a request, over real sockets on loopback."""

import asyncio
from html.parser import HTMLParser
from http import HTTPMethod, HTTPStatus
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from exporter.web import Backend, Paths, make_application
from exporter.web.errors import prefers_html
from tests.services import DEADLINE_SECONDS
from tests.test_web import Client, backend, visit

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SAME_PREFIX = Paths(routes="/kms", links="/kms")
PLAIN = "text/plain"
HTML = "text/html"


def pages(served: Backend | None = None) -> set[str]:
    """List the pages that are routed: what a GET may ask for and has no part to fill in."""
    routes = make_application(served or backend()).router.routes()
    found = {route.resource.canonical for route in routes if route.resource and route.method == "GET"}
    return {path for path in found if "{" not in path}


class Links(HTMLParser):
    """Collects where the links of a page lead to, and what a browser would load or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.active: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        self.links += [value or "" for name, value in attrs if name == "href" and tag == "a"]
        self.active += [tag] * (tag in {"script", "style", "link", "img", "iframe", "form"})
        self.active += [name for name, _ in attrs if name.startswith("on") or name in {"src", "style"}]


# --- 404


@pytest.mark.parametrize(
    "path", ["/no-such-page", "/metrics/", "/METRICS", "/metrics/x", "/%2e%2e/etc/passwd"]
)
def test_not_found(path: str) -> None:
    """A program is told in plain text which pages there are, each on a line."""

    async def look(client: Client) -> None:
        answer = await client.get(path)
        assert (answer.status, answer.content_type) == (HTTPStatus.NOT_FOUND, PLAIN)
        first, heading, *listed = (await answer.text()).splitlines()
        assert first.startswith("There is no such page.")
        assert heading == "The pages are:"
        assert set(listed) == pages() >= {"/", "/metrics", "/sd", "/-/healthy"}

    visit(look)


def test_not_found_in_a_browser() -> None:
    """A person gets links to the pages, in a page that loads its style and icon and runs nothing."""

    async def look(client: Client) -> None:
        answer = await client.get("/no-such-page", headers={"Accept": BROWSER})
        assert (answer.status, answer.content_type) == (HTTPStatus.NOT_FOUND, HTML)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["Vary"] == "Accept"
        page = Links(await answer.text())
        assert set(page.links) - {"#main"} == pages()
        assert page.active == ["link", "link"]
        for link in pages():
            assert (await client.get(link)).status != HTTPStatus.NOT_FOUND, link

    visit(look)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/metrics/", "/metrics"),
        ("/sd//", "/sd"),
        ("/-/healthy/", "/-/healthy"),
        ("/no-such-page/", None),
        ("/-/reload/", None),
    ],
)
@pytest.mark.parametrize("accept", [PLAIN, BROWSER])
def test_hint(path: str, hint: str | None, accept: str) -> None:
    """Of a page with a slash too many the answer says which one is meant."""

    async def look(client: Client) -> None:
        answer = await client.get(path, headers={"Accept": accept})
        assert answer.status == HTTPStatus.NOT_FOUND
        text = await answer.text()
        assert text.count("Did you mean") == (hint is not None)
        assert hint is None or f"Did you mean {hint}?" in text

    visit(look)


HOSTILE = "<script>alert('x')</script>\"&amp;\u202e"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("accept", [PLAIN, BROWSER, HOSTILE.encode().decode("latin-1")])
def test_nothing_is_repeated(method: str, accept: str) -> None:
    """Nothing of a request is in the answer, whatever it asks for and however."""

    async def look(client: Client) -> None:
        answer = await client.request(
            method,
            f"/needle/{HOSTILE}",
            params={"needle": HOSTILE},
            headers={"Accept": accept, "X-Needle": "needle"},
        )
        assert answer.status == HTTPStatus.NOT_FOUND
        text = await answer.text()
        for piece in ("<script", "needle", "alert", "&amp;", "\u202e"):
            assert piece not in text
            assert piece not in str(answer.headers)

    visit(look)


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("text/html", True),
        ("Text/HTML;charset=utf-8", True),
        (BROWSER, True),
        ("text/plain,text/html", True),
        ("text/plain,text/html;q=0.9", False),
        ("text/plain;q=0.5, text/html; q=0.9", True),
        ("text/html;q=0", False),
        ("text/html;q=none", False),
        ("application/json", False),
        (";;;,q=,\x80", False),
    ],
)
def test_prefers_html(accept: str, html: bool) -> None:  # noqa: FBT001 - one of two outcomes
    """HTML is for whoever names it and likes plain text no better."""
    assert prefers_html(accept) is html


# --- Prefixes


def visit_below(paths: Paths, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    """Make one request of a server whose pages are elsewhere, and give status, headers and body."""

    async def look() -> tuple[int, dict[str, str], str]:
        server = TestServer(make_application(backend(paths=paths)))
        async with asyncio.timeout(DEADLINE_SECONDS), TestClient(server) as client:
            answer = await client.request(method, path, allow_redirects=False)
            return answer.status, dict(answer.headers), await answer.text()

    return asyncio.run(look())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("paths", "location"),
    [(SAME_PREFIX, "/kms/"), (Paths(routes="/kms", links="/monitoring/kms"), "/monitoring/kms/")],
)
def test_root_leads_to_the_prefix(paths: Paths, location: str, method: str) -> None:
    """Who asks for `/` alone is sent to where the pages are, by the way a browser takes."""
    status, headers, _ = visit_below(paths, "/", method)
    assert (status, headers["Location"]) == (HTTPStatus.FOUND, location)


@pytest.mark.parametrize(
    ("paths", "method", "path"),
    [
        (SAME_PREFIX, "POST", "/"),
        (SAME_PREFIX, "GET", "/metrics"),
        (SAME_PREFIX, "GET", "/kmsmetrics"),
        (Paths(routes="/kms", links=""), "GET", "/"),  # the way of a browser leads here again
    ],
)
def test_without_the_prefix(paths: Paths, method: str, path: str) -> None:
    """A request without the prefix is told of it."""
    status, _, text = visit_below(paths, path, method)
    assert status == HTTPStatus.NOT_FOUND
    assert "Every path here begins with /kms/." in text


@pytest.mark.parametrize(
    ("path", "hint"), [("/kms", "/x/"), ("/kms/metrics/", "/x/metrics"), ("/kms/none", None)]
)
def test_links_behind_a_proxy(path: str, hint: str | None) -> None:
    """Links and hints are those of a browser, where a proxy puts another prefix in front."""
    paths = Paths(routes="/kms", links="/x")
    status, _, text = visit_below(paths, path)
    assert status == HTTPStatus.NOT_FOUND
    first, _, *listed = text.splitlines()
    assert set(listed) == {path.replace("/kms", "/x", 1) for path in pages(backend(paths=paths))}
    assert first == "There is no such page." + (f" Did you mean {hint}?" if hint else "")


# --- 405, HEAD, and all others


@pytest.mark.parametrize("method", sorted(set(HTTPMethod) - {HTTPMethod.CONNECT}))
def test_methods(method: str) -> None:
    """Every page takes GET and HEAD; another method, OPTIONS too, is refused with those that there are."""

    async def look(client: Client) -> None:
        for path in pages():
            answer = await client.request(method, path)
            if method in {"GET", "HEAD"}:
                assert answer.status < HTTPStatus.NOT_FOUND, path
                continue
            assert (answer.status, answer.content_type) == (HTTPStatus.METHOD_NOT_ALLOWED, PLAIN), path
            assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
            assert await answer.text() == "This page does not take that method, only GET and HEAD.\n"

    visit(look)


def test_method_of_reload() -> None:
    """What is for POST says so to whoever follows a link to it."""

    async def look(client: Client) -> None:
        answer = await client.get("/-/reload")
        assert (answer.status, answer.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "POST")
        assert await answer.text() == "This page does not take that method, only POST.\n"

    visit(look)


@pytest.mark.parametrize("path", ["/no-such-page", "/-/healthy", "/-/ready", "/sd", "/-/reload", "/metrics"])
def test_head(path: str) -> None:
    """HEAD has the status and headers of GET, the length of its body too, and no body."""
    own_length = path != "/metrics"  # where the processor time grows a digit now and then

    async def look(client: Client) -> None:
        got, head = await client.get(path), await client.head(path)
        ignored = {"Date"} if own_length else {"Date", "Content-Length"}
        assert head.status == got.status
        assert set(head.headers) == set(got.headers)
        for name in set(got.headers) - ignored:
            assert head.headers[name] == got.headers[name]
        assert int(head.headers["Content-Length"]) > 0
        assert await head.read() == b""
        assert len(await got.read()) == int(got.headers["Content-Length"])
        assert (await client.get("/-/healthy")).status == HTTPStatus.OK  # nothing is left on the connection

    visit(look)


@pytest.mark.parametrize("path", ["/", "/metrics", "/sd", "/-/ready", "/-/reload", "/no-such-page"])
@pytest.mark.parametrize("accept", [PLAIN, BROWSER])
def test_no_sniffing(path: str, accept: str) -> None:
    """No answer may be taken for markup that does not say it is."""

    async def look(client: Client) -> None:
        answer = await client.get(path, headers={"Accept": accept})
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    visit(look)


def test_no_sniffing_of_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """That holds for the answer to a bug, too."""

    def broken() -> bool:
        raise ZeroDivisionError

    async def look(client: Client) -> None:
        answer = await client.get("/-/ready")
        assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    visit(look, backend(is_ready=broken))
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_what_a_page_refuses() -> None:
    """A page that refuses by itself says why in its own words."""

    async def refuse(_: web.Request) -> web.Response:
        raise web.HTTPNotFound(text="no such zone\n")

    async def look() -> tuple[int, str]:
        application = make_application(backend())
        application.add_routes([web.get("/refuse", refuse)])
        async with asyncio.timeout(DEADLINE_SECONDS), TestClient(TestServer(application)) as client:
            answer = await client.get("/refuse", headers={"Accept": BROWSER})
            return answer.status, await answer.text()

    assert asyncio.run(look()) == (HTTPStatus.NOT_FOUND, "no such zone\n")


@pytest.mark.parametrize(
    "request_line",
    [
        b"<script>alert(1)</script> / HTTP/1.1",
        b"GET /<script>alert(1)</script> HTTP/9.9.9",
        b"GET  HTTP/1.1",
        b"GET / HTTP/1.1\r\n<script>alert(1)</script>: 1",
        b"GET / HTTP/1.1\r\nX: <script>\x00alert(1)</script>",
        b"GET /\xff\xfe<script> HTTP/1.1\r\nContent-Length: <script>",
    ],
)
def test_not_http(request_line: bytes) -> None:
    """What is not HTTP is refused, and not in a form that a browser would run."""

    async def look(client: Client) -> None:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(request_line + b"\r\nHost: kms.contoso.com\r\nAccept: text/html\r\n\r\n")
        answer: Any = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, _ = answer.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
        assert b"content-type: text/plain" in head.lower()

    visit(look)
