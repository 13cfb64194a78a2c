"""Tests of /probe and /config: parameters, refusals, formats, and how long a check may take."""

import asyncio
import dataclasses
import gzip
import threading
from http import HTTPStatus

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter import ondemand
from exporter.config import Config, dump, parse
from exporter.ondemand import OnDemand
from exporter.web import Backend, service
from exporter.web.probing import TIMEOUT_HEADER, check_seconds
from tests.services import DEADLINE_SECONDS, LOOPBACK, Lab, parse_metrics
from tests.test_web import BUILD, OPENMETRICS, TEXT, Client, backend, visit

CONFIG = """
interval: 30s
probe: {networks: [127.0.0.0/8]}
web: {probe_allow: [allowed.test, 127.0.0.0/8]}
dns: {servers: [192.0.2.53]}
zones: [{name: contoso.test}]
"""
INTERVAL_SECONDS = 30.0


def config() -> Config:
    """Give a configuration that lets loopback be looked at."""
    return parse(CONFIG.encode())


def served() -> Backend:
    """Build what the page needs."""
    return dataclasses.replace(backend(), ondemand=OnDemand(config()), config=config)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 9.5),
        ("10", 9.5),
        ("10.000000", 9.5),
        ("15", 14.5),
        ("1.5", 1.0),
        ("1", 0.5),
        ("0.5", 0.25),
        ("0.001", 0.0005),
        ("60", INTERVAL_SECONDS),
        ("1e9", INTERVAL_SECONDS),
        # no time at all
        ("", 9.5),
        ("soon", 9.5),
        ("10s", 9.5),
        ("0", 9.5),
        ("-5", 9.5),
        ("nan", 9.5),
        ("inf", 9.5),
        ("-inf", 9.5),
    ],
)
def test_check_seconds(header: str | None, seconds: float) -> None:
    """A check has the time of the scrape less what the answer needs, and never more than one on schedule."""
    assert check_seconds(header, config()) == seconds


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("", HTTPStatus.BAD_REQUEST, "target is missing"),
        ("?target=", HTTPStatus.BAD_REQUEST, "target is missing"),
        ("?Target=contoso.test", HTTPStatus.BAD_REQUEST, "target is missing"),
        ("?target=a.test&target=b.test", HTTPStatus.BAD_REQUEST, "target is given more than once"),
        (
            "?target=contoso.test&dns_server=a&dns_server=b",
            HTTPStatus.BAD_REQUEST,
            "dns_server is given more",
        ),
        ("?target=contoso.test&debug=true&debug=true", HTTPStatus.BAD_REQUEST, "debug is given more"),
        ("?target=contoso.test&debug=yes", HTTPStatus.BAD_REQUEST, "debug must be true or false"),
        ("?target=con toso.test", HTTPStatus.BAD_REQUEST, "target: has a label with characters"),
        ("?target=contoso.test&dns_server=dc1", HTTPStatus.BAD_REQUEST, "dns_server: 'dc1' is neither"),
        ("?target=fabrikam.test", HTTPStatus.FORBIDDEN, "zone fabrikam.test is not configured"),
        ("?target=10.0.0.1:22", HTTPStatus.FORBIDDEN, "host 10.0.0.1:22 is not configured"),
        ("?target=fabrikam.test&debug=true", HTTPStatus.FORBIDDEN, "zone fabrikam.test is not configured"),
        ("?target=contoso.test&dns_server=10.0.0.1", HTTPStatus.FORBIDDEN, "DNS server 10.0.0.1 is not"),
        ("?target=%3Cscript%3E", HTTPStatus.BAD_REQUEST, "target: has a label with characters"),
    ],
)
def test_refused(query: str, status: HTTPStatus, reason: str) -> None:
    """What makes no sense is 400, what is not allowed is 403, each with its reason as plain text."""

    async def look(client: Client) -> None:
        answer = await client.get(f"/probe{query}")
        assert (answer.status, answer.content_type) == (status, TEXT)
        text = await answer.text()
        assert text.startswith(reason)
        assert len(text.splitlines()) == 1

    visit(look, served())


def test_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many checks are under way, a client is told to come again."""
    monkeypatch.setattr(ondemand, "MAX_UNDER_WAY", 0)

    async def look(client: Client) -> None:
        answer = await client.get("/probe?target=contoso.test")
        assert (answer.status, answer.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "1")

    visit(look, served())


def test_formats(lab: Lab) -> None:
    """A check is told in the format and the encoding that the client takes, by gauges alone."""
    target = f"{LOOPBACK}:{lab.listener().port}"

    async def look(client: Client) -> None:
        plain = await client.get(f"/probe?target={target}&module=ignored", headers={TIMEOUT_HEADER: "60"})
        assert (plain.status, plain.content_type) == (HTTPStatus.OK, TEXT)
        samples = parse_metrics(await plain.text())
        assert samples.value("kms_endpoint_up", address=LOOPBACK) == 1
        assert samples.state("kms_static_host_verdict", "verdict", dns_server="") == "ok"
        names = {sample.name for sample in samples.samples}
        assert all(name.startswith("kms_") for name in names)
        assert not any(name.endswith(("_total", "_bucket", "_count", "_sum", "_created")) for name in names)
        assert {name for name in names if name.startswith("kms_exporter_")} == {
            "kms_exporter_static_host_last_check_timestamp_seconds"
        }
        headers = {"Accept": f"{OPENMETRICS};version=1.0.0", "Accept-Encoding": "gzip"}
        packed = await client.get(f"/probe?target={target}", headers=headers)
        assert packed.headers["Content-Encoding"] == "gzip"
        text = gzip.decompress(await packed.read()).decode()
        found = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
        assert {family.type for family in found} == {"gauge"}

    visit(look, served())


def test_debug(lab: Lab) -> None:
    """With debug, a person reads what was asked, each step, the verdict with what to do, and the metrics."""
    target = f"{LOOPBACK}:{lab.closed_port().port}"

    async def look(client: Client) -> None:
        answer = await client.get(f"/probe?target={target}&debug=true", headers={TIMEOUT_HEADER: "20"})
        assert (answer.status, answer.content_type, answer.charset) == (HTTPStatus.OK, TEXT, "utf-8")
        text = await answer.text()
        parts = [
            f"host {target}, allowed by web.probe_allow\n",
            "Time for the check: 19.5 s\n",
            f"connect {target}",
            "connection_refused",
            "Verdict: port_closed",
            "Likely on a Windows client",
            "What to do next:",
            "\nkms_endpoint_up{",
        ]
        positions = [text.index(part) for part in parts]
        assert positions == sorted(positions)
        assert "\N{BALLOT X}" in text

    visit(look, served())


def test_debug_of_a_zone(lab: Lab) -> None:
    """The steps of a zone's check are told too, also when the zone is one of the configuration."""
    silent = lab.silent_dns_server()
    text = CONFIG.replace("192.0.2.53", f'"{silent.server}"')
    patient = parse(f"timeout: 25s\n{text}".encode())
    page = dataclasses.replace(backend(), ondemand=OnDemand(patient), config=lambda: patient)

    async def look(client: Client) -> None:
        answer = await client.get("/probe?target=contoso.test&debug=true", headers={TIMEOUT_HEADER: "0.4"})
        told = await answer.text()
        assert told.startswith(
            f"zone contoso.test, configured\nDNS servers asked for: {silent.server}\n"
            "Time for the check: 0.2 s\n"
        )
        assert "SRV _vlmcs._tcp.contoso.test" in told
        assert "Verdict: dns_failed" in told
        assert 'status="timeout"} 1.0' in told

    visit(look, page)


def test_never_an_empty_page(lab: Lab) -> None:
    """A silent DNS server is a timeout on the page, in the time that the scrape has."""
    silent = lab.silent_dns_server()
    patient = parse(
        f"timeout: 25s\n{CONFIG.replace('192.0.2.53', chr(34) + silent.server + chr(34))}".encode()
    )
    page = dataclasses.replace(backend(), ondemand=OnDemand(patient))

    async def look(client: Client) -> None:
        answers = await asyncio.gather(
            *(client.get("/probe?target=contoso.test", headers={TIMEOUT_HEADER: "0.4"}) for _ in range(3))
        )
        for answer in answers:
            samples = parse_metrics(await answer.text())
            assert samples.status("contoso.test") == "timeout"
            assert samples.state("kms_client_verdict", "verdict") == "dns_failed"

    visit(look, page)


def test_config() -> None:
    """/config is what is running, as a file would say it."""

    async def look(client: Client) -> None:
        answer = await client.get("/config")
        assert (answer.status, answer.content_type, answer.charset) == (HTTPStatus.OK, TEXT, "utf-8")
        text = await answer.text()
        assert text == dump(config())
        assert parse(text.encode()) == config()

    visit(look, served())


def test_configurations_are_shown_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many who ask for /config at once take no more of the processor than one."""
    has_begun, may_go_on = threading.Event(), threading.Event()
    at_once: list[Config] = []

    def waiting_dump(shown: Config) -> str:
        at_once.append(shown)
        has_begun.set()
        assert may_go_on.wait(DEADLINE_SECONDS)
        return dump(shown)

    async def look(client: Client) -> None:
        requests = [asyncio.create_task(client.get("/config")) for _ in range(5)]
        assert await asyncio.to_thread(has_begun.wait, DEADLINE_SECONDS)
        await asyncio.wait(requests, timeout=0.2)  # for a second one to begin, if it would
        assert len(at_once) == 1
        may_go_on.set()
        texts = {await (await request).text() for request in requests}
        assert texts == {dump(config())}

    monkeypatch.setattr(service, "dump", waiting_dump)
    visit(look, served())


def test_build_is_not_told() -> None:
    """A probe tells nothing of the process that made it."""

    async def look(client: Client) -> None:
        text = await (await client.get(f"/probe?target={LOOPBACK}:1")).text()
        assert BUILD.version not in text
        assert "process_" not in text

    visit(look, served())
