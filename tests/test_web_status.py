"""Tests of the pages for people, served over loopback and read as a browser reads them."""

import asyncio
import difflib
import gzip
import itertools
import threading
import urllib.parse
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
from yarl import URL

from exporter.build import BuildInfo
from exporter.config import parse
from exporter.history import History
from exporter.model import Found, Host, HostCheck, LookupStatus, ProbeFailure, ZoneCheck
from exporter.ondemand import OnDemand, Wanted
from exporter.state import ServerView, Snapshot, State, ZoneView
from exporter.web import Backend, Paths
from exporter.web.pages.overview import MAX_LISTED, MAX_UNFOLDED
from tests.builders import (
    CLIENT,
    TARGET,
    ZONE,
    addresses,
    answer,
    at_server,
    client_check,
    client_settings,
    client_view,
    configure,
    endpoint,
    endpoint_view,
    host,
    host_check,
    probed,
    record,
    static_host_view,
    zone_check,
    zone_settings,
    zone_view,
)
from tests.page import Element, links_of, read_page
from tests.services import DEADLINE_SECONDS
from tests.test_web import Client, backend, visit

A, B = "192.0.2.53", "192.0.2.54"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SYMBOLS = "\N{BALLOT X}\N{CHECK MARK}\N{EN DASH}!?-"
HOSTILE = '<script>alert("\'&amp;`")</script>'
OVERRIDE = "\u202e\u05d0\u05d1 gnp.exe"
STATIC = host("kms9.test", 1689)
HOSTILE_TARGETS = [
    r"\060script\062alert\0401\041\060\047script\062.test",
    "x" * 63 + "." + "y" * 63 + ".test",
    r"\226\128\174\215\144.test",
    r"\034\039\038amp\059.test",
]


def zone_at(name: str, *records: Any, **fields: Any) -> ZoneView:
    """Show a zone as one DNS server answered for it."""
    return zone_view(name, ServerView(dns_server=A).after(answer(*records)), **fields)


def look(path: str, served: Backend | None = None) -> Element:
    """Get a page and read it."""
    [page] = look_at([path], served)
    return page


def look_at(paths: Iterable[str], served: Backend | None = None) -> list[Element]:
    """Get pages and read them."""
    pages = list[Element]()

    async def get(client: Client) -> None:
        for path in paths:
            answer = await client.get(path)
            assert answer.status == HTTPStatus.OK, path
            assert answer.headers["Content-Security-Policy"] == POLICY
            pages.append(read_page(await answer.text()))

    visit(get, served)
    return pages


def showing(*zones: ZoneView, **fields: Any) -> Backend:
    """Serve a snapshot in which kms1 is up."""
    defaults: dict[str, Any] = {
        "targets": ((A, addresses(TARGET, "192.0.2.1")),),
        "endpoints": (endpoint_view(probed(endpoint()), recent=[0.001, 0.002]),),
    }
    return backend(snapshot=lambda: Snapshot(zones=zones, **defaults | fields))


def checked(*checks: Found) -> Backend:
    """Serve what a state and its history know after some checks of the usual zone, a host, and a client."""
    state = State()
    configure(
        state,
        {ZONE: zone_settings(A, B)},
        hosts=[STATIC],
        clients={CLIENT: client_settings(ZONE, servers=[A, B])},
    )
    history = History(state)
    for check in checks:
        match check:
            case ZoneCheck():
                state.apply_zone(check)
            case HostCheck():
                state.apply_host(check)
            case _:
                state.apply_client(check)
        history.note(check)
    return replace(backend(snapshot=state.snapshot), history=history)


def on_demand(text: str) -> Backend:
    """Serve where nothing is checked on a timer."""
    config = parse(f"web: {{probe_only: true}}\n{text}".encode())
    return replace(backend(), config=lambda: config, ondemand=OnDemand(config))


def names_in(page: Element, place: str) -> list[str]:
    """List what a section of a page names."""
    return [each.text for each in page.one("section", id=place).all("li")]


def assert_leads_to_a_check(link: str, target: str, served: Backend) -> None:
    """Hold a link against what /probe takes."""
    url = URL(link, encoded=True)
    assert (url.path, url.query.get("target"), url.query.get("debug")) == ("/probe", target, "true")
    assert isinstance(served.ondemand.admit(url.query["target"], None), Wanted)


def check(number: int, *, fails: bool = False) -> ZoneCheck:
    """Make one of several checks in a row."""
    failing = answer(status=LookupStatus.SERVFAIL) if fails else answer(record())
    return zone_check(at_server(A, answer(record())), at_server(B, failing), at=1_700_000_000.0 + 60 * number)


GOOD = zone_at("good.test", record())
GONE = zone_at("gone.test")
EVERYTHING = showing(
    GOOD,
    GONE,
    zone_at("rogue.test", record(), expected=frozenset[Host](), labels={"team": "workplace"}),
    zone_view("new.test", ServerView(dns_server=A)),
    static_hosts=(static_host_view(host(), A), static_host_view(host("kms7.test"))),
    clients=(client_view(GONE, GOOD), client_view(GONE, client="lost")),
)


# --- The status page


def test_status_page() -> None:
    """One sentence is at the top, then every zone, trouble first, with verdict, code and next step."""
    page = look("/", EVERYTHING)
    assert page.one("h1").text.endswith("2 of 4 zones have trouble, 1 is not checked yet")
    assert page.one("head").one("title").text.startswith("2 of 4 zones have trouble")
    zones = page.one("section", id="zones")
    assert [each.text for each in zones.all("h3")] == ["gone.test", "rogue.test", "new.test", "good.test"]
    [gone] = [each for each in zones.all("article") if each.one("h3").text == "gone.test"]
    row = gone.all("li", class_="row")[0]
    assert "\N{BALLOT X} srv_missing" in row.text
    assert "likely 0x8007251D DNS_INFO_NO_RECORDS" in row.text
    assert "192.0.2.53 has no SRV record" in row.text
    [new] = [each for each in zones.all("article") if each.one("h3").text == "new.test"]
    assert "not checked yet" in new.text
    assert not new.all("details")
    hosts, clients = page.one("section", id="static-hosts"), page.one("section", id="clients")
    assert [each.text for each in hosts.all("h3")] == ["kms7.test:1688", f"{TARGET}:1688"]
    assert [each.text for each in clients.all("h3")] == ["lost", "branch"]
    assert "finds good.test" in clients.text


def test_status_page_is_accessible() -> None:
    """The page has its landmarks, a skip link, one heading of the first level, and headings in order."""
    page = look("/", EVERYTHING)
    assert page.one("html").attributes["lang"] == "en"
    assert page.one("main").attributes["id"] == page.all("a")[0].attributes["href"].lstrip("#")
    levels = [int(each.name[1]) for each in page if each.name in {"h1", "h2", "h3", "h4"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(level <= before + 1 for before, level in itertools.pairwise(levels))
    for table in page.all("table"):
        assert table.one("caption").text
        assert table.all("th", scope="col")
    labelled = [each.attributes["for"] for each in page.all("label")]
    assert [each.attributes["id"] for each in page.all("input", type="search")] == labelled
    for drawing in page.all("svg"):
        assert drawing.attributes["role"] == "img"
        assert drawing.attributes["aria-label"]
    for mark in page.all("span", class_="mark"):
        assert mark.text.strip(f"{SYMBOLS} ") or "aria-hidden" in mark.attributes


def test_status_page_of_nothing() -> None:
    """The page is there before anything is known, and without any zone."""
    page = look("/", backend())
    assert page.one("h1").text.endswith("No zones are watched")
    assert "No zone is configured." in page.text


@pytest.mark.parametrize(
    ("query", "zones"),
    [
        ("", ["gone.test", "rogue.test", "new.test", "good.test"]),
        ("?q=GO", ["gone.test", "good.test"]),
        ("?q=workplace", ["rogue.test"]),
        ("?q=kms1", ["rogue.test", "good.test"]),
        ("?verdict=ok", ["rogue.test", "good.test"]),
        ("?verdict=trouble&q=g", ["gone.test", "rogue.test"]),
        ("?verdict=unchecked", ["new.test"]),
        ("?q=nothing", []),
    ],
)
def test_search(query: str, zones: list[str]) -> None:
    """Search and filter are in the URL, combine, need no script, and say what they leave out."""
    page = look(f"/{query}", EVERYTHING)
    assert [each.text for each in page.one("section", id="zones").all("h3")] == zones
    given = dict(urllib.parse.parse_qsl(query.removeprefix("?")))
    form = page.one("form", id="search")
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    assert {name: value for name, value in fields.items() if value} == given
    assert bool(page.one("p", id="shown").text) == bool(query)
    for link in page.one("nav", id="filters").all("a"):
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(link.attributes["href"]).query))
        assert parameters.get("q") == given.get("q")


@pytest.mark.parametrize("path", ["/", "/api/v1/status"])
@pytest.mark.parametrize("query", ["?verdict=%3Cb%3E", f"?q={'x' * 301}"])
def test_bad_query(path: str, query: str) -> None:
    """What cannot be looked for is refused with the reason, which repeats nothing of it."""

    async def get(client: Client) -> None:
        answer = await client.get(f"{path}{query}")
        assert answer.status == HTTPStatus.BAD_REQUEST
        assert answer.content_type in {"text/plain", "application/json"}
        assert "<b>" not in await answer.text()

    visit(get)


def test_unfolded() -> None:
    """A zone unfolds to records, addresses with a drawing of the last probes, the ladder, and commands."""
    page = look("/?q=rogue", EVERYTHING)
    detail = page.one("section", id="zones").one("details").one("div", class_="detail")
    records, endpoints = detail.all("table")
    assert f"{TARGET} 1688 0 0 every DNS server ! unexpected" in records.text
    assert "192.0.2.1" in endpoints.text
    assert "\N{CHECK MARK} up 3.00 ms 4.00 ms" in endpoints.text
    assert endpoints.one("svg").one("title").text == "the last 2 probes, 1.00 to 2.00 ms"
    assert "SRV records 1" in detail.one("ol", class_="ladder").text
    assert "slmgr /upk" in detail.text


def test_record_gone_and_host_up() -> None:
    """A host that vanished and still answers is told apart from one that is dead."""
    zone = zone_at(
        "a.test", vanished=frozenset({host(), host("kms7.test")}), vanished_at={host(): 1_700_000_000.0}
    )
    page = look("/", showing(zone))
    rows = {row.one("th").text: row.text for row in page.all("tr") if row.all("th", scope="row")}
    assert "vanished" in rows[TARGET]
    assert "record gone, host answers" in rows[TARGET]
    assert "record gone" not in rows["kms7.test"]


@pytest.mark.parametrize(
    ("place", "last_link"),
    [
        ("zones", "/zones/site049.test"),
        ("static-hosts", "/hosts/site049.test:1688"),
        ("clients", "/clients/site049.test"),
    ],
)
def test_large_page(place: str, last_link: str) -> None:
    """Of very many cards the first carry what they unfold to, the others a link that leads to it."""
    count = MAX_UNFOLDED + 10
    names = [f"site{number:03}.test" for number in range(count)]
    served = showing(
        *(zone_at(name, record()) for name in names),
        static_hosts=tuple(static_host_view(host(name), A) for name in names),
        clients=tuple(client_view(GOOD, client=name) for name in names),
        targets=((A, addresses(TARGET, "192.0.2.1")), *((A, addresses(name, "192.0.2.1")) for name in names)),
    )
    section = look("/", served).one("section", id=place)
    assert len(section.all("details")) == count
    holders = [each for each in section.all("div", class_="detail") if "data-source" in each.attributes]
    assert len(holders) == count - MAX_UNFOLDED
    last = holders[-1]
    link = last.one("a").attributes["href"]
    assert link == last_link
    part, whole = look_at([last.attributes["data-source"], link], served)
    for fetched in (part, whole):
        assert fetched.one("div", id=last.attributes["id"]).all("table")
    assert not part.all("main")


def test_links_lead_somewhere() -> None:
    """Every link of every page leads to a page of this server, and nothing is loaded from elsewhere."""

    async def follow(client: Client) -> None:
        found = ["/"]
        for link in found:
            answer = await client.get(link)
            assert answer.status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}, link
            if answer.content_type == "text/html":
                new = links_of(read_page(await answer.text()))
                assert all(each.startswith(("/", "#")) and not each.startswith("//") for each in new)
                new = [each for each in new if not each.startswith(("#", "/probe?"))]
                found += [each for each in new if each not in found]
        alone = {"/zones/gone.test", f"/hosts/{TARGET}:1688", "/clients/lost"}
        assert {"/metrics", "/api/v1/status", *alone} <= set(found)

    visit(follow, EVERYTHING)


def test_links_behind_a_proxy() -> None:
    """Behind a proxy every link has the prefix that a browser needs."""
    served = replace(EVERYTHING, paths=Paths(routes="", links="/kms"))
    paths = ["/", "/zones/gone.test", "/hosts/kms7.test:1688", "/clients/lost", "/?q=go&verdict=ok"]
    for page in look_at(paths, served):
        links = links_of(page, wanted=lambda link: not link.startswith("#"))
        assert links
        assert [link for link in links if not link.startswith("/kms/")] == []


@pytest.mark.parametrize("target", HOSTILE_TARGETS)
def test_hostile_names(target: str) -> None:
    """Whatever a name from DNS holds, it is text on every page, and wraps on its own."""
    zone = zone_at("a.test", record(target))
    found = (A, addresses(target, "192.0.2.1"))
    probes = (endpoint_view(probed(endpoint(target), ProbeFailure.TIMEOUT)),)
    served = showing(zone, targets=(found,), endpoints=probes)
    for page in look_at(["/", "/zones/a.test"], served):
        assert target in [each.text for each in page.all("bdi")]
        assert len(page.all("script")) == 1


@pytest.mark.parametrize("text", [HOSTILE, OVERRIDE, "x" * 300, "a  b\n"])
def test_hostile_configuration(text: str) -> None:
    """Whatever a label or the name of a kind of client is, it is text, and its direction ends with it."""
    served = showing(
        zone_at("a.test", record(), labels={"team": text}),
        clients=(client_view(GOOD, client=text),),
    )
    page = look("/", served)
    shown = " ".join(text.split())
    assert shown in [each.text for each in page.one("ul", class_="labels").all("bdi")]
    assert shown == page.one("section", id="clients").one("h3").one("bdi").text
    assert len(page.all("script")) == 1


def test_hostile_request() -> None:
    """What is searched for comes back as text, in the field and in links."""
    page = look(f"/?q={urllib.parse.quote(HOSTILE)}", EVERYTHING)
    assert page.one("input", type="search").attributes["value"] == HOSTILE
    assert len(page.all("script")) == 1


def test_hostile_build() -> None:
    """Whatever the build is called, the page shows it as text."""
    page = look("/", backend(build=BuildInfo(version=HOSTILE, revision=HOSTILE, python="3")))
    assert len(page.all("script")) == 1
    assert page.one("footer").text.count(HOSTILE) == 2


# --- Headers, files, sharing


def test_headers() -> None:
    """Pages are not kept, nor their addresses passed on; what they load may be kept for ever."""

    async def get(client: Client) -> None:
        answer = await client.get("/")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        page = read_page(await answer.text())
        files = links_of(page, wanted=lambda link: link.startswith("/static/"))
        assert len(files) == 3
        for file in files:
            loaded = await client.get(file)
            assert "immutable" in loaded.headers["Cache-Control"]
            assert loaded.headers["X-Content-Type-Options"] == "nosniff"
            assert await loaded.read()
        types = {file.rpartition(".")[2]: (await client.get(file)).content_type for file in files}
        assert types == {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

    visit(get)


@pytest.mark.parametrize("path", ["page.css", "page-000000000000.css", "..%2fwords.py", "page.html"])
def test_unknown_file(path: str) -> None:
    """Only the files of this version are served."""

    async def get(client: Client) -> None:
        assert (await client.get(f"/static/{path}")).status == HTTPStatus.NOT_FOUND

    visit(get)


def test_compression() -> None:
    """A page is compressed for who takes gzip, and says that it depends on that."""

    async def get(client: Client) -> None:
        plain = await client.get("/")
        packed = await client.get("/", headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(await packed.read()).startswith(b"<!doctype html>")

    visit(get, EVERYTHING)


def test_concurrent_requests_share_a_page() -> None:
    """Requests for the same page at the same time are rendered once; those for another have their own."""
    taken = 0
    zones = tuple(zone_at(f"site{number}.test", record()) for number in range(200))

    def snapshot() -> Snapshot:
        nonlocal taken
        taken += 1
        return Snapshot(zones=zones)

    async def get(client: Client) -> None:
        answers = await asyncio.gather(*(client.get("/") for _ in range(20)))
        assert {answer.status for answer in answers} == {HTTPStatus.OK}
        assert taken < 20
        before = taken
        one, other = await asyncio.gather(client.get("/?q=site1.test"), client.get("/?q=site2.test"))
        assert taken == before + 2
        assert "site2.test" not in await one.text()
        assert "site1.test" not in await other.text()

    visit(get, backend(snapshot=snapshot))


# --- The page of a zone, a static host or a kind of client


def test_zone_page() -> None:
    """The page of a zone has it unfolded, and its checks, newest first, each with its trace."""
    page = look(f"/zones/{ZONE}", checked(check(0), check(1, fails=True), check(2)))
    assert page.one("h1").text.endswith(ZONE)
    assert page.one("section", id="now").one("div", class_="detail").all("table")
    past = page.one("ol", class_="past")
    items = [each for each in past.children if isinstance(each, Element)]
    assert [each.one("summary").text.split(",")[0] for each in items] == [
        "\N{CHECK MARK} good 2023-11-14 22:15:20 UTC",
        "\N{BALLOT X} failed 2023-11-14 22:14:20 UTC",
        "\N{CHECK MARK} good 2023-11-14 22:13:20 UTC",
    ]
    assert "took 500.00 ms" in items[1].one("summary").text
    assert f"{A} ok, {B} dns_failed" in items[1].one("summary").text
    trace = items[1].one("table")
    assert "connect" in trace.text
    assert [each.text for each in trace.all("th", scope="col")] == ["Start", "Took", "What", "Outcome"]


def test_host_page() -> None:
    """The page of a static host has what was seen of it, and its checks with their traces."""
    good = host_check(STATIC, "192.0.2.9", dns_server=A, at=1_700_000_000.0)
    down = replace(
        host_check(STATIC, "192.0.2.9", dns_server=A, at=1_700_000_060.0),
        probes=(probed(endpoint("kms9.test", 1689, "192.0.2.9"), ProbeFailure.TIMEOUT, at=1_700_000_060.0),),
    )
    page = look("/hosts/kms9.test:1689", checked(good, down))
    assert page.one("h1").text == "\N{BALLOT X} kms9.test:1689"
    assert page.one("p", id="checked").text.startswith("Static host, checked")
    [endpoints] = page.one("section", id="now").all("table")
    assert "kms9.test:1689 192.0.2.9" in endpoints.text
    summaries = [each.text for each in page.one("ol", class_="past").all("summary")]
    assert ["failed" in each for each in summaries] == [True, False]
    assert summaries[0].endswith(f"{A} port_filtered")
    newest, _ = page.one("ol", class_="past").all("table")
    assert "connect kms9.test 192.0.2.9" in newest.text
    assert "timeout" in newest.text


def test_host_page_of_an_address() -> None:
    """A static host that is an address was looked up at no DNS server, and none is named."""
    address = host("2001:db8::5")
    state = State()
    configure(state, {}, hosts=[address])
    history = History(state)
    check = host_check(address, "2001:db8::5", dns_server="", at=1_700_000_000.0)
    state.apply_host(check)
    history.note(check)
    served = replace(backend(snapshot=state.snapshot), history=history)
    [card] = look("/", served).one("section", id="static-hosts").all("article")
    page = look(card.one("h3").one("a").attributes["href"], served)
    assert page.one("h1").text == "\N{CHECK MARK} [2001:db8::5]:1688"
    assert "As assigned" in page.one("section", id="now").text
    assert page.one("ol", class_="past").one("summary").text.endswith(": ok")


def test_client_page() -> None:
    """The page of a kind of client has which suffix it finds, and its checks with their traces."""
    page = look(f"/clients/{CLIENT}", checked(client_check(check(0)), client_check(check(1, fails=True))))
    assert page.one("p", id="checked").text.startswith("Kind of client, checked")
    assert page.one("h1").text.endswith(CLIENT)
    now = page.one("section", id="now")
    assert f"Searches in this order: {ZONE}." in now.text
    assert [each.one("bdi").text for each in now.all("h3") if "At" in each.text] == [A, B]
    newest, oldest = page.one("ol", class_="past").all("details")
    assert "failed" in newest.one("summary").text
    assert "good" in oldest.one("summary").text
    assert "connect" in newest.one("table").text


@pytest.mark.parametrize("path", [f"/zones/{ZONE}", "/hosts/kms9.test:1689", f"/clients/{CLIENT}"])
def test_page_before_the_first_check(path: str) -> None:
    """What has not been checked yet has a page that says so."""
    page = look(path, checked())
    assert "not checked yet" in page.one("p", id="checked").text
    assert "None is kept yet." in page.one("section", id="past").text
    assert not page.all("div", class_="detail")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (f"/zones/{ZONE}", ZONE),
        ("/hosts/kms9.test:1689", "kms9.test:1689"),
        ("/hosts/[fe80::1%25lo]:1688", "[fe80::1%lo]:1688"),
        (f"/clients/{CLIENT}", None),
    ],
)
def test_check_now(path: str, target: str | None) -> None:
    """A zone and a static host have a link to a check of it that is made now; a kind of client cannot."""
    scoped = host("fe80::1%lo")
    config = parse(f"zones: [{{name: {ZONE}}}]\nhosts: ['kms9.test:1689', '[{scoped.target}]']".encode())
    served = replace(
        showing(
            zone_at(ZONE, record()),
            static_hosts=(static_host_view(STATIC, A), static_host_view(scoped)),
            clients=(client_view(GOOD),),
        ),
        ondemand=OnDemand(config),
    )
    links = [each.attributes["href"] for each in look(path, served).all("a", id="probe")]
    assert bool(links) == bool(target)
    for link in links:
        assert_leads_to_a_check(link, target or "", served)


@pytest.mark.parametrize(
    "name",
    [
        "branch",
        "a/b",
        "/a//b/",
        "a/../b",
        "what? #1 & more=less",
        "50% \"sure\" 'so'",
        "a%2Fb%252F",
        "{x}",
        "\u05d0\u05d1 \N{SNOWMAN} \N{GRINNING FACE}",
        HOSTILE,
        "x" * 100,
    ],
)
def test_client_names(name: str) -> None:
    """Whatever a kind of client is called, its card leads to its page, and that to nothing else."""
    served = replace(
        showing(clients=(client_view(GOOD, client=name),)), paths=Paths(routes="/kms", links="/kms")
    )

    async def get(client: Client) -> None:
        page = read_page(await (await client.get("/kms/")).text())
        [card] = page.one("section", id="clients").all("article")
        link = card.one("h3").one("a").attributes["href"]
        for query in ("", "?part=detail"):
            answer = await client.get(URL(f"{link}{query}", encoded=True), allow_redirects=False)
            assert answer.status == HTTPStatus.OK
            page = read_page(await answer.text())
            assert page.all("div", id=f"detail-{card.attributes['id']}")
            assert [each.one("bdi").text for each in page.all("h1")] == [name] * (not query)

    visit(get, served)


def test_zone_since() -> None:
    """Each DNS server's row says since when its verdict has been what it is."""
    page = look("/", checked(check(0), check(1, fails=True), check(2, fails=True)))
    since = {
        row.one("span", class_="at").one("bdi").text: row.one("span", class_="since").one("time").attributes
        for row in page.one("section", id="zones").all("li", class_="row")
    }
    assert {label: each["datetime"] for label, each in since.items()} == {
        A: "2023-11-14T22:13:20Z",
        B: "2023-11-14T22:14:20Z",
    }


def test_zone_page_with_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page holds a bounded number of steps; the trace of an older check is one request away."""
    monkeypatch.setattr("exporter.web.pages.past.MAX_STEPS", 1)
    served = checked(check(0), check(1))
    page = look(f"/zones/{ZONE}", served)
    newest, oldest = page.one("ol", class_="past").all("div", class_="detail")
    assert newest.all("table")
    assert not oldest.all("table")
    asked = look(oldest.attributes["data-source"], served)
    assert asked.one("div", id=oldest.attributes["id"]).all("table")
    [unfolded] = [each for each in asked.all("details") if "open" in each.attributes]
    place = unfolded.attributes["id"].replace("trace", "check")
    assert oldest.one("a").attributes["href"].endswith(f"#{place}")


@pytest.mark.parametrize(
    ("given", "leads_to"),
    [
        ("/zones/contoso.test", None),
        ("/zones/Contoso.TEST", "/zones/contoso.test"),
        ("/zones/contoso.test.", "/zones/contoso.test"),
        ("/zones/m\u00fcnchen.test", "/zones/xn--mnchen-3ya.test"),
        ("/zones/M%C3%9CNCHEN.test.", "/zones/xn--mnchen-3ya.test"),
        ("/zones/xn--mnchen-3ya.test", None),
        ("/zones/CONTOSO.test?check=1.000", "/zones/contoso.test?check=1.000"),
        ("/hosts/kms7.test:1688", None),
        ("/hosts/kms7.test%3A1688", None),
        ("/hosts/KMS7.test", "/hosts/kms7.test:1688"),
        ("/hosts/kms7.test.?part=detail", "/hosts/kms7.test:1688?part=detail"),
        ("/hosts/kms9.test:01689", "/hosts/kms9.test:1689"),
        ("/hosts/[2001:db8::5]:1688", None),
        ("/hosts/%5B2001:db8::5%5D:1688", None),
        ("/hosts/2001:DB8:0::5", "/hosts/%5B2001:db8::5%5D:1688"),
        ("/hosts/[2001:db8::5]", "/hosts/%5B2001:db8::5%5D:1688"),
    ],
)
def test_spellings(given: str, leads_to: str | None) -> None:
    """Any spelling of a zone or static host leads to the page with the canonical one."""
    served = replace(
        showing(
            zone_at("contoso.test"),
            zone_at("xn--mnchen-3ya.test"),
            static_hosts=tuple(map(static_host_view, (host("kms7.test"), STATIC, host("2001:db8::5")))),
        ),
        paths=Paths(links="/kms"),
    )

    async def get(client: Client) -> None:
        answer = await client.get(given, allow_redirects=False)
        assert answer.status == (HTTPStatus.FOUND if leads_to else HTTPStatus.OK)
        assert answer.headers.get("Location") == (f"/kms{leads_to}" if leads_to else None)

    visit(get, served)


@pytest.mark.parametrize(
    ("given", "kind", "near"),
    [
        ("/zones/contso.test", "zone", ["contoso.test"]),
        ("/zones/nowhere.example", "zone", []),
        (f"/zones/{urllib.parse.quote(HOSTILE, safe='')}", "zone", []),
        (f"/zones/{'x' * 2000}", "zone", []),
        ("/zones/%20", "zone", []),
        ("/hosts/kms7.test:1689", "static host", ["kms7.test:1688"]),
        ("/hosts/kms7.test:0", "static host", ["kms7.test:1688"]),
        ("/hosts/a:b:c", "static host", []),
        ("/hosts/contoso.test", "static host", []),
        ("/clients/BRANCH", "kind of client", ["Branch"]),
        (f"/clients/{urllib.parse.quote(HOSTILE, safe='')}", "kind of client", []),
    ],
)
def test_unknown_name(given: str, kind: str, near: list[str]) -> None:
    """What is not configured is not found; the page says so and leads to what is spelled alike."""
    served = showing(
        zone_at("contoso.test"),
        static_hosts=(static_host_view(host("kms7.test")),),
        clients=(client_view(GOOD, client="Branch"),),
    )

    async def get(client: Client) -> None:
        answer = await client.get(given)
        assert answer.status == HTTPStatus.NOT_FOUND
        page = read_page(await answer.text())
        assert page.one("h1").text == f"No such {kind}"
        assert f"The configuration has 1 {kind}, and" in page.text
        found = page.one("main").all("li")
        assert [each.text for each in found] == near
        for each in found:
            assert (await client.get(each.one("a").attributes["href"])).status == HTTPStatus.OK
        assert page.all("script") == []  # there is nothing to refresh

    visit(get, served)


def test_unknown_name_where_there_is_none() -> None:
    """Where nothing of a kind is configured, a page that is not found says just that."""

    async def get(client: Client) -> None:
        page = read_page(await (await client.get("/hosts/kms7.test")).text())
        assert "The configuration has no static hosts, so not kms7.test either." in page.text

    visit(get)


def test_unknown_name_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are spelled alike are looked for beside the event loop, which goes on meanwhile."""
    asked, may_go_on = threading.Event(), threading.Event()
    compare = difflib.get_close_matches

    def wait(*given: Any, **named: Any) -> list[Any]:
        asked.set()
        assert may_go_on.wait(DEADLINE_SECONDS)
        return compare(*given, **named)

    async def get(client: Client) -> None:
        monkeypatch.setattr(difflib, "get_close_matches", wait)
        unknown = asyncio.create_task(client.get("/zones/contso.test"))
        assert await asyncio.to_thread(asked.wait, DEADLINE_SECONDS)
        assert (await client.get("/-/healthy")).status == HTTPStatus.OK
        may_go_on.set()
        assert (await unknown).status == HTTPStatus.NOT_FOUND

    visit(get, showing(zone_at("contoso.test")))


# --- Where nothing is checked on a timer


MANY_ZONES = f"zones: [{', '.join(f'{{name: site{number:03}.test}}' for number in range(MAX_LISTED + 50))}]"
FLEET = "zones: [{name: contoso.test}, {name: m\u00fcnchen.test}]\nhosts: [kms7.test, '[2001:db8::5]:1689']"


def test_on_demand_page() -> None:
    """Where nothing is checked on a timer, the page says so and links a check of all that is configured."""
    served = on_demand(f"{FLEET}\nclients: [{{name: branch, suffixes: [contoso.test]}}]")
    page = look("/", served)
    assert page.one("h1").text == "Nothing is checked on a timer here"
    assert "Kinds of clients, of which the configuration has 1, are not looked at." in page.text
    assert "is configured" not in page.text
    assert names_in(page, "zones") == ["contoso.test", "xn--mnchen-3ya.test"]
    assert names_in(page, "hosts") == ["[2001:db8::5]:1689", "kms7.test:1688"]
    for each in (*page.one("section", id="zones").all("a"), *page.one("section", id="hosts").all("a")):
        assert_leads_to_a_check(each.attributes["href"], each.text, served)


@pytest.mark.parametrize(
    ("query", "zones", "hosts"),
    [
        ("?q=CONTOSO", ["contoso.test"], []),
        ("?q=M%C3%9CNCHEN", ["xn--mnchen-3ya.test"], []),
        ("?q=kms7&verdict=ok", [], ["kms7.test:1688"]),
        (
            "?verdict=trouble",
            ["contoso.test", "xn--mnchen-3ya.test"],
            ["[2001:db8::5]:1689", "kms7.test:1688"],
        ),
    ],
)
def test_search_on_demand(query: str, zones: list[str], hosts: list[str]) -> None:
    """The search narrows what is listed; what has no verdict has none to be filtered by."""
    page = look(f"/{query}", on_demand(FLEET))
    assert (names_in(page, "zones"), names_in(page, "hosts")) == (zones, hosts)
    assert page.one("p", id="zones-shown").text == (
        "" if len(zones) == 2 else f"{len(zones)} of 2 zones found."
    )


def test_many_on_demand() -> None:
    """Of very many names the first are listed, and the others can be searched for."""
    page, found = look_at(["/", "/?q=site249"], on_demand(MANY_ZONES))
    assert len(names_in(page, "zones")) == MAX_LISTED
    assert "250 of 250 zones found, of which the first 200 are listed." in page.text
    assert names_in(found, "zones") == ["site249.test"]


def test_allowed_on_demand() -> None:
    """Where only a suffix is allowed there is nothing to list, and the page says what can be asked for."""
    config = parse(b"web: {probe_only: true, probe_allow: [contoso.test]}")
    served = replace(backend(paths=Paths(links="/kms")), config=lambda: config)
    page = look("/", served)
    assert "No zone is configured." in page.one("section", id="zones").text
    assert not page.all("section", id="hosts")
    assert "/kms/probe?target=NAME&debug=true" in page.text


@pytest.mark.parametrize(
    ("path", "heading", "leads_to"),
    [
        ("/zones/Contoso.test", "Not checked on a timer", ["contoso.test"]),
        ("/hosts/KMS7.test", "Not checked on a timer", ["kms7.test:1688"]),
        ("/clients/branch", "Not checked on a timer", []),
        ("/zones/contso.test", "No such zone", ["contoso.test"]),
        ("/hosts/kms8.test:1688", "No such static host", ["kms7.test:1688"]),
        ("/clients/x", "No such kind of client", []),
    ],
)
def test_name_on_demand(path: str, heading: str, leads_to: list[str]) -> None:
    """Where nothing is checked on a timer nothing has a page, and what is configured can be checked now."""
    served = on_demand(f"{FLEET}\nclients: [{{name: branch, suffixes: [contoso.test]}}]")

    async def get(client: Client) -> None:
        answer = await client.get(path)
        assert answer.status == HTTPStatus.NOT_FOUND
        page = read_page(await answer.text())
        assert page.one("h1").text == heading
        links = links_of(page.one("main"), wanted=lambda link: link != "/")
        assert len(links) == len(leads_to)
        for link, target in zip(links, leads_to, strict=True):
            assert_leads_to_a_check(link, target, served)

    visit(get, served)
