"""The real exporter on names and texts that mean harm: everything that it says stays well-formed.

The records come from a server that says what BIND would refuse; markup in the configuration comes along.
"""

import http
import json
import re
import subprocess
import unicodedata
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.names import show_labels
from tests.fake_dns import FakeDns, Query, streams
from tests.services import (
    LOOPBACK,
    Exporter,
    Lab,
    Response,
    config,
    need,
    parse_metrics,
    wait_until,
    which,
    zone,
)
from tests.test_logs import fields_of

ZONE = "hostile.test"
OVERRIDE = "\u202e"
TEXT = """<script>alert('x')</script> "quoted" \\ &amp; {{7*7}} שלום مرحبا"""
"""What a name of a client, which has to be printable, can hold."""
LABEL = f"{TEXT}{OVERRIDE}\u2028# HELP forged"
"""What a label of a zone can hold besides."""
LABELS = [
    b"<script>alert('x')</script>",
    b"<img src=x onerror=alert(1)>",
    b"\"'\\`",
    b"&amp;&lt;b&gt;",
    b'\r\nforged{a="b"} 1\n# EOF',
    b"\x00\x1b[31m\x7f",
    b"{{7*7}}{% raw %}",
    b"a.b\\",
    b" ",
    "\u05e9\u05dc\u05d5\u05dd".encode(),
    "\u0645\u0631\u062d\u0628\u0627".encode(),
    OVERRIDE.encode() + b"moc.sotnoc",
]
IN_ZONE = (ZONE.partition(".")[0].encode(), b"test", b"")
LONGEST = [b"\xff" * 63, b"<" * 63, b'"' * 63, b"a" * 61, b""]
"""As long as a name can be: 255 bytes on the wire."""
TARGETS = [*([label, *IN_ZONE] for label in LABELS), LONGEST]
ALIAS = LONGEST
PLAIN = f"plain.{ZONE}"
SHOWN = {show_labels(labels) for labels in TARGETS}
FIRST = show_labels(TARGETS[0])
DANGER = re.compile(r"<script>alert|<img src=x|onerror=alert|[\x00\x1b\x7f]")
"""What must not be in HTML as it stands."""


def answers(port: int, closed: int) -> Any:
    """Answer as a server whose zone has records of all these names.

    The first target has an alias of a hostile name, the last but one has no address; ports but the first
    refuse.
    """
    names = [dns.name.Name(labels) for labels in TARGETS]
    plain, service = dns.name.from_text(PLAIN), dns.name.from_text(f"_vlmcs._tcp.{ZONE}")
    alias = dns.name.Name(ALIAS)

    def records(query: Query) -> Iterator[dns.rrset.RRset]:
        [question] = query.question
        if question.rdtype == dns.rdatatype.SRV and question.name == service:
            where = [(plain, port), *((name, closed) for name in names)]
            yield rrset(service, "SRV", *(f"0 {n} {at} {name}" for n, (name, at) in enumerate(where)))
        elif question.rdtype == dns.rdatatype.A and question.name == names[0]:
            yield rrset(question.name, "CNAME", alias.to_text())
            yield rrset(alias, "A", LOOPBACK)
        elif question.rdtype == dns.rdatatype.A and question.name != names[-2]:
            yield rrset(question.name, "A", LOOPBACK)

    def datagrams(query: Query) -> Iterable[bytes]:
        message = dns.message.make_response(query)
        message.flags |= dns.flags.AA
        message.answer.extend(records(query))
        return (message.to_wire(max_size=65535),)

    return datagrams


def rrset(name: dns.name.Name, rdtype: str, *rdatas: str) -> dns.rrset.RRset:
    """Build a set of records."""
    return dns.rrset.from_text(name, 60, "IN", rdtype, *rdatas)


RIGHT_TO_LEFT = {"R", "AL", "AN", "RLE", "RLO", "RLI", "FSI", "LRE", "LRO", "LRI", "PDF", "PDI"}


class LogfmtExporter(Exporter):
    """The exporter with its log in the default form."""

    def log(self) -> list[dict[str, Any]]:
        """Take the log apart; anything that is not a field of a line is an error."""
        return [dict(fields_of(line)) for line in list(self.lines)]


@pytest.fixture(scope="module")
def configuration(module_lab: Lab) -> Iterator[dict[str, Any]]:
    """Serve the zone, and configure it with texts that are no better."""
    step = answers(module_lab.listener().port, module_lab.closed_port().port)
    with FakeDns(step, tcp=streams(step)) as fake:
        watched = zone(ZONE, fake.server.label, labels={"team": LABEL}, expected=[PLAIN])
        clients = [{"name": TEXT, "suffixes": [ZONE], "dns_servers": [fake.server.label]}]
        yield config(watched, clients=clients)


@pytest.fixture(scope="module")
def exporter(module_lab: Lab, configuration: dict[str, Any]) -> Exporter:
    """Start the exporter, its log in JSON, and wait until it has seen everything."""
    return seen(module_lab.exporter(configuration))


def seen(exporter: Exporter) -> Exporter:
    """Wait until there is a result for every host and client."""
    exporter.wait_for(
        lambda found: (
            found.labels("kms_host_up", "target") >= SHOWN | {PLAIN}
            and found.series("kms_client_profile_verdict", client=TEXT)
            and found.series("kms_host_lookup_failure", target=show_labels(TARGETS[-2]))
        )
    )
    return exporter


# --- HTML


class Page(HTMLParser):
    """Reads a page as strictly as XML, and collects what a browser would run."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.active: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        if tag not in self.VOID:
            self.open.append(tag)
        self.active += [
            f"{name}={value}" for name, value in attrs if name.startswith("on") or name == "style"
        ]
        sources = [value for name, value in attrs if name in {"src", "href"} and value is not None]
        self.active += [each for each in sources if not re.match(r"[/?#]", each) or each.startswith("//")]
        if tag in {"img", "iframe", "object"} or (tag == "script" and not sources):
            self.active.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element without content."""
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        """Take note of text; that of a script is part of what would run."""
        self.text += data
        if "bdi" not in self.open and any(unicodedata.bidirectional(each) in RIGHT_TO_LEFT for each in data):
            self.active.append(f"text that turns its surroundings round: {data!r}")
        if self.open[-1:] == ["script"] and data.strip():
            self.active.append(data)


def check_html(answer: Response) -> Page:
    """Find that a page is well-formed and runs nothing that it did not bring itself."""
    assert answer.headers.get_content_type() == "text/html"
    found = DANGER.search(answer.text)
    assert found is None, answer.text[found.start() - 80 : found.end() + 80]
    page = Page(answer.text)
    assert page.active == []
    return page


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<p onclick="alert(1)">x</p>',
        '<a href="javascript:alert(1)">x</a>',
        '<link href="//contoso.com/x.css">',
        '<p style="color: red">x</p>',
        "<img src=x>",
        f"<p>{OVERRIDE}x</p>",
    ],
)
def test_danger_is_found(text: str) -> None:
    """What a page may not have is found in one that has it."""
    assert Page(text).active
    with pytest.raises(AssertionError):
        Page(f"<p>{text}</div>")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/zones/{ZONE}",
        f"/?q={quote(TEXT)}",
        f"/?q={quote('<script>')}",
        f"/zones/{quote(LABEL, safe='')}",
    ],
)
def test_page(exporter: Exporter, path: str) -> None:
    """Pages are well-formed and run nothing, whatever is in DNS, the configuration or the query."""
    check_html(exporter.get(path, accept="text/html"))


def test_pages_show_names(exporter: Exporter) -> None:
    """What was escaped is still there to be read."""
    page = check_html(exporter.get("/"))
    assert LABEL in page.text
    assert TEXT in page.text.replace(LABEL, "")
    assert FIRST in check_html(exporter.get(f"/zones/{ZONE}")).text


@pytest.mark.parametrize(
    "path",
    [
        f"/probe?target={quote(TEXT)}",
        f"/probe?target={ZONE}&dns_server={quote(TEXT)}",
        f"/sd?dns_zone={quote(TEXT)}",
        f"/{quote(LABEL)}",
        f"/metrics/{quote(TEXT)}",
        f"/static/{quote(TEXT, safe='')}",
        f"/api/v1/status?q={quote(TEXT)}",
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_hostile_request(exporter: Exporter, path: str, accept: str) -> None:
    """What a request brings along comes back as markup in no answer, not even in one that refuses."""
    answer = exporter.get(path, accept=accept)
    assert answer.status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if answer.headers.get_content_type() == "text/html":
        check_html(answer)
    else:
        assert answer.headers.get_content_type() in {"text/plain", "application/json"}


# --- What programs read


def test_metrics(exporter: Exporter) -> None:
    """Both formats parse, with every name and text as it is."""
    found = parse_metrics(exporter.get("/metrics").text)
    assert found.labels("kms_srv_record_info", "target") == SHOWN | {PLAIN}
    assert found.labels("kms_host_alias_info", "alias_of") == {show_labels(ALIAS)}
    assert found.labels("kms_zone_info", "team") == {LABEL}
    assert found.labels("kms_client_profile_verdict", "client") == {TEXT}
    answer = exporter.get("/metrics", accept="application/openmetrics-text;version=1.0.0")
    families = list(parse_openmetrics(answer.text))  # type: ignore[no-untyped-call]
    assert "forged" not in {family.name for family in families}
    assert {"kms_srv_record"} <= {family.name for family in families if family.type == "info"} | {
        "kms_srv_record"
    }


def test_promtool_reads_the_metrics(exporter: Exporter) -> None:
    """Prometheus' own parser takes the page, and its linter has nothing to say."""
    need("promtool")
    done = subprocess.run(
        [which("promtool") or "", "check", "metrics"],
        input=exporter.get("/metrics").body,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_probe(exporter: Exporter) -> None:
    """A check made now says the same in the same form."""
    answer = exporter.get(f"/probe?target={ZONE}")
    assert answer.status == http.HTTPStatus.OK
    assert parse_metrics(answer.text).labels("kms_srv_record_info", "target") == SHOWN | {PLAIN}
    trace = exporter.get(f"/probe?target={ZONE}&debug=true")
    assert trace.status == http.HTTPStatus.OK
    assert trace.headers.get_content_type() == "text/plain"
    assert FIRST in trace.text
    assert {each for each in trace.text if unicodedata.category(each) == "Cc"} == {"\n"}


def test_status(exporter: Exporter) -> None:
    """The status is JSON, with the names in it."""
    answer = exporter.get("/api/v1/status")
    assert answer.headers.get_content_type() == "application/json"
    status = json.loads(answer.body)
    assert {LABEL, TEXT} | SHOWN <= set(texts(status))


def texts(value: Any) -> Iterator[str]:
    """List the texts of a JSON document."""
    match value:
        case str():
            yield value
        case dict():
            yield from (text for each in value.values() for text in texts(each))
        case list():
            yield from (text for each in value for text in texts(each))


def test_configuration(exporter: Exporter) -> None:
    """The configuration is YAML of ASCII or Unicode, and gives the texts back."""
    answer = exporter.get("/config")
    shown = yaml.safe_load(answer.text)
    assert shown["zones"][0]["labels"] == {"team": LABEL}
    assert shown["clients"][0]["name"] == TEXT


def test_service_discovery(exporter: Exporter, tmp_path: Path) -> None:
    """Prometheus takes the list, on which is the one name that is a host name, with the label of its zone."""
    need("promtool")
    [group] = json.loads(exporter.get("/sd").body)
    assert group["targets"] == [f"{PLAIN}:{group['labels']['__meta_kms_port']}"]
    job = {"job_name": "sd", "http_sd_configs": [{"url": "http://{}:{}/sd".format(*exporter.web)}]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    command = [
        which("promtool") or "",
        "check",
        "service-discovery",
        "--timeout=1s",
    ]  # it takes that in any case

    def discover() -> Any:
        done = subprocess.run(
            [*command, str(tmp_path / "prometheus.yml"), "sd"], capture_output=True, check=True
        )
        return json.loads(done.stdout) or None

    [found] = wait_until(discover, "promtool discovers the host")
    assert found["discoveredLabels"]["__address__"] == group["targets"][0]
    assert found["discoveredLabels"]["__meta_kms_zone_label_team"] == LABEL


# --- The log


def test_json_log(exporter: Exporter) -> None:
    """Each line of the log is one JSON object, and names are in it as they are shown elsewhere."""
    entries = exporter.log()
    assert all(entry.keys() >= {"ts", "level", "event"} for entry in entries)
    assert FIRST in {entry.get("target") for entry in entries}
    assert all(line.isprintable() for line in exporter.lines)


def test_logfmt(module_lab: Lab, configuration: dict[str, Any], tmp_path: Path) -> None:
    """So it is in logfmt: no name ends a line, adds a field or colours a terminal."""
    with LogfmtExporter(tmp_path / "exporter", configuration, arguments=["--log.format=logfmt"]) as exporter:
        entries = seen(exporter).log()
        assert all(list(entry)[:3] == ["ts", "level", "event"] for entry in entries)
        down = {entry["target"].replace("\\\\", "\\") for entry in entries if "target" in entry}
        assert down >= SHOWN
        assert all(line.isprintable() for line in exporter.lines)
