"""Checks on demand by the real program: for a person, for Prometheus, and for a fleet as in the examples."""

import hashlib
import http.client
import shutil
import socket
import subprocess
import threading
import urllib.parse
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.samples import Sample

from exporter.config import Config, dump, parse
from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    ROOT,
    Exporter,
    Lab,
    Listener,
    Named,
    Peer,
    Prometheus,
    Samples,
    config,
    need,
    parse_metrics,
    srv,
    wait_until,
    zone,
    zone_file,
)

FLEET = ROOT / "deploy" / "fleet"
AMS, FRA, SIN, SILENT = (f"{site}.contoso.test" for site in ("ams", "fra", "sin", "silent"))
LABELS = {"team": "workplace", "site": "ams"}


@dataclass(frozen=True, slots=True)
class World:
    """What the tests look at, and two exporters with the same configuration that look only when asked."""

    named: Named
    listener: Listener
    replicas: tuple[Exporter, Exporter]


@pytest.fixture(scope="module")
def world(module_lab: Lab) -> World:
    """Start BIND with three zones, a host that is in each of them, a silent DNS server, and two exporters."""
    listener = module_lab.listener()
    records = zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port))
    named = module_lab.named(dict.fromkeys((AMS, FRA, SIN), records))
    silent = module_lab.silent_dns_server()
    configuration = config(
        zone(AMS, labels=LABELS, expected=[f"kms1.{AMS}:{listener.port}"]),
        zone(SILENT, silent.server),
        interval="60s",
        timeout="30s",
        dns={"servers": [named.server]},
        web={"probe_only": True, "probe_allow": [FRA, SIN, "127.0.0.0/8"]},
    )
    replicas = module_lab.exporter(configuration), module_lab.exporter(configuration)
    return World(named, listener, replicas)


# --- A fleet


@pytest.fixture(scope="module")
def prometheus(module_lab: Lab, world: World, tmp_path_factory: pytest.TempPathFactory) -> Prometheus:
    """Start Prometheus on the example, hurried, with the two exporters and four zones in it."""
    directory = tmp_path_factory.mktemp("fleet")
    text = (FLEET / "prometheus.yml").read_text()
    for number, exporter in enumerate(world.replicas):
        named = f"kms-exporter-{number}.contoso.com:11688"
        assert named in text
        text = text.replace(named, "{}:{}".format(*exporter.web))
    for line, hurried in (
        ("scrape_interval: 60s", "scrape_interval: 2s"),
        ("scrape_timeout: 15s", "scrape_timeout: 2s"),
        ("../prometheus/kms-exporter.rules.yml", str(ROOT / "deploy/prometheus/kms-exporter.rules.yml")),
    ):
        assert text.count(line) == 1
        text = text.replace(line, hurried)
    (directory / "prometheus.yml").write_text(text)
    zones = [{"targets": [AMS, FRA, SIN, SILENT]}]
    (directory / "zones.yml").write_text(yaml.safe_dump(zones))
    return module_lab.prometheus(config_file=directory / "prometheus.yml")


def scraped_from(prometheus: Prometheus) -> dict[str, list[str]]:
    """Tell at which exporters each zone is scraped, once every zone was."""

    def look() -> dict[str, list[str]] | None:
        found: dict[str, list[str]] = {}
        for target in prometheus.get("/api/v1/targets", state="active")["activeTargets"]:
            if target["scrapePool"] == "kms":
                if target["health"] != "up":
                    return None
                url = urllib.parse.urlsplit(target["scrapeUrl"])
                [name] = urllib.parse.parse_qs(url.query)["target"]
                found.setdefault(name, []).append(url.netloc)
        return found or None

    return wait_until(look, "every zone is scraped")


def test_fleet(world: World, prometheus: Prometheus) -> None:
    """Every zone is scraped by exactly one exporter, each has some, and the series have the right labels."""
    where = scraped_from(prometheus)
    assert where.keys() == {AMS, FRA, SIN, SILENT}
    assert {len(exporters) for exporters in where.values()} == {1}
    addresses = {"{}:{}".format(*exporter.web) for exporter in world.replicas}
    assert {exporter for [exporter] in where.values()} == addresses
    ok = {"verdict": "ok", "dns_server": world.named.server, "job": "kms"}
    verdicts = 'kms_client_verdict{verdict="ok"} == 1'
    wait_until(lambda: len(prometheus.query(verdicts)) == 3 or None, "three zones are ok")
    found = prometheus.query(verdicts)
    for labels, _ in found:
        name = labels["dns_zone"]
        assert labels == {"__name__": "kms_client_verdict", "dns_zone": name, "instance": name} | ok
    assert {labels["dns_zone"] for labels, _ in found} == {AMS, FRA, SIN}
    info = [labels for labels, _ in prometheus.query("kms_zone_info")]
    assert {labels["dns_zone"]: labels.get("site") for labels in info} == {AMS: "ams", SILENT: None}
    own = "kms_exporter_build_info"  # of the exporters themselves, which are scraped apart from the zones
    wait_until(lambda: len(prometheus.query(own)) == 2 or None, "both exporters are scraped themselves")


def test_fleet_in_time(prometheus: Prometheus) -> None:
    """A zone at a silent DNS server is scraped in time: it is up in Prometheus, and its lookup a timeout."""
    timeout = f'kms_srv_lookup_status{{dns_zone="{SILENT}",status="timeout"}} == 1'
    wait_until(
        lambda: prometheus.query(f'{timeout} and on (instance) up{{instance="{SILENT}"}} == 1') or None,
        "the silent server is a timeout",
    )


def test_fleet_follows_dns(world: World, prometheus: Prometheus) -> None:
    """A record that is removed is gone from the next scrape of its zone, and of no other."""
    record = f"_vlmcs._tcp.{FRA}"
    count = f'kms_srv_records{{dns_zone="{FRA}"}}'
    wait_until(lambda: prometheus.query(f"{count} == 1") or None, "the record is there")
    world.named.update(FRA, f"delete {record} SRV")
    wait_until(lambda: prometheus.query(f"{count} == 0") or None, "the record is gone")
    missing = f'kms_client_verdict{{dns_zone="{FRA}",verdict="srv_missing"}} == 1'
    wait_until(lambda: prometheus.query(missing) or None, "clients find nothing")
    assert [value for _, value in prometheus.query(f'kms_srv_records{{dns_zone="{SIN}"}}')] == [1]
    world.named.update(FRA, f"add {record} 60 SRV 0 0 {world.listener.port} kms1.{FRA}.")
    wait_until(lambda: prometheus.query(f"{count} == 1") or None, "the record is back")


def test_replica_knows_nothing_by_itself(world: World) -> None:
    """An exporter that looks only when asked is ready at once, and /metrics has nothing but its own."""
    for exporter in world.replicas:
        assert exporter.get("/-/ready").status == HTTPStatus.OK
        names = {sample.name for sample in exporter.metrics().samples if sample.name.startswith("kms_")}
        assert {name for name in names if not name.startswith("kms_exporter_")} == set()
        running = parse(exporter.get("/config").body)
        assert running.web.probe_only
        assert parse(dump(running).encode()) == running


# --- One exporter


def ask(exporter: Exporter, target: str, seconds: str = "30") -> http.client.HTTPConnection:
    """Ask for a check, and do not wait for the answer."""
    connection = http.client.HTTPConnection(*exporter.web, timeout=DEADLINE_SECONDS)
    connection.request(
        "GET", f"/probe?target={target}", headers={"X-Prometheus-Scrape-Timeout-Seconds": seconds}
    )
    return connection


def test_one_check_for_all_who_ask(lab: Lab) -> None:
    """Requests for a zone that is being looked at cause no query and no connect of their own."""
    opened = threading.Event()

    def hold(_connection: socket.socket) -> None:
        opened.wait(DEADLINE_SECONDS)

    held = Peer(hold)
    lab.callback(held.close)
    lab.callback(opened.set)
    named = lab.named({AMS: zone_file(f"kms1 A {LOOPBACK}", srv("kms1", held.port))})
    exporter = lab.exporter(
        config(zone(AMS, named.server), web={"probe_only": True}, interval="60s", timeout="50s")
    )
    first = ask(exporter, AMS, "50")
    wait_until(lambda: held.accepted or None, "the host is being probed")
    others = [ask(exporter, name, "55") for name in (AMS, AMS.upper(), f"{AMS}.") * 3]
    assert exporter.get("/-/healthy").status == HTTPStatus.OK  # by when the requests before it have arrived
    opened.set()
    pages = []
    for connection in (first, *others):
        answer = connection.getresponse()
        assert answer.status == HTTPStatus.OK
        pages.append(parse_metrics(answer.read().decode()))
        connection.close()
    assert {page.value("kms_endpoint_failure", reason="rpc_closed") for page in pages} == {1}
    asked = [query for query in named.queries() if query.rdtype == "SRV"]
    assert (len(asked), held.accepted) == (1, 1)


def _own(seen: Samples) -> list[Sample]:
    """List the exporter's own samples, but for what the event loop does from moment to moment."""
    of_the_loop = ("kms_exporter_event_loop_lag_seconds", "kms_exporter_tasks")
    return [s for s in seen.samples if s.name.startswith("kms_") and not s.name.startswith(of_the_loop)]


def test_schedule_is_not_touched(lab: Lab) -> None:
    """Checks on demand change no counter and no result of the schedule, and take none from it."""
    listener = lab.listener()
    named = lab.named({AMS: zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port))})
    exporter = lab.exporter(config(zone(AMS, named.server), interval="1y", timeout="20s"))
    exporter.wait_for(lambda _: exporter.get("/-/ready").status == HTTPStatus.OK)
    before = exporter.metrics()
    named.update(AMS, f"delete _vlmcs._tcp.{AMS} SRV")
    for _ in range(3):
        page = parse_metrics(exporter.get(f"/probe?target={AMS}").text)
        assert page.value("kms_srv_records", dns_zone=AMS) == 0
    after = exporter.metrics()
    assert _own(before) == _own(after)
    assert after.value("kms_srv_lookups_total", dns_zone=AMS) == 1
    assert sum(query.rdtype == "SRV" for query in named.queries()) == 4


def test_promtool_has_nothing_to_say_of_a_probe(world: World) -> None:
    """`promtool check metrics` is silent about the page of a zone, and about that of a host."""
    need("promtool")
    for target in (SIN, f"{LOOPBACK}:{world.listener.port}"):
        answer = world.replicas[0].get(f"/probe?target={target}")
        assert answer.status == HTTPStatus.OK
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=answer.body, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_refusal_by_curl(world: World) -> None:
    """A person who asks for something else is told why not."""
    need("curl")
    url = "http://{}:{}/probe".format(*world.replicas[0].web)
    command = ["curl", "-sS", "--max-time", "60", "-w", "%{http_code}"]
    for query, expected in (
        (
            "?target=fabrikam.com",
            "zone fabrikam.com is not configured, and nothing in web.probe_allow allows it\n403",
        ),
        ("?target=a..b", "target: has an empty label\n400"),
        ("", "target is missing: give a zone, or host:port of a KMS host\n400"),
    ):
        done = subprocess.run([*command, f"{url}{query}"], capture_output=True, encoding="utf-8", check=True)
        assert done.stdout == expected


def test_stop_while_checking(lab: Lab) -> None:
    """A stop does not wait for checks under way, and leaves nothing behind to complain about."""
    silent = lab.silent_dns_server()
    exporter = lab.exporter(
        config(zone(SILENT, silent.server), web={"probe_only": True}, interval="60s", timeout="50s")
    )
    with_answer = ask(exporter, SILENT, "55")
    assert exporter.get("/-/healthy").status == HTTPStatus.OK
    assert exporter.stop() == 0
    with_answer.close()


# --- The examples


def documents(path: Path) -> list[Any]:
    """Read a file of several YAML documents."""
    return list(yaml.safe_load_all(path.read_text()))


def fleet_config() -> Config:
    """Read the configuration of the fleet's exporters."""
    return parse((FLEET / "kms-exporter.yml").read_bytes())


def zones_of_the_example() -> list[str]:
    """List what the example asks for."""
    [groups] = documents(FLEET / "zones.yml")
    return [target for group in groups for target in group["targets"]]


def test_example_is_accepted(tmp_path: Path) -> None:
    """`promtool check config` accepts the example with all that it names, also with what is commented out."""
    need("promtool")
    shutil.copytree(
        ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__", "stack")
    )
    example = tmp_path / "deploy/fleet/prometheus.yml"
    plain = example.read_text()
    full = plain.replace("      # - source_labels", "      - source_labels")
    for key in ("action", "modulus", "target_label", "regex"):
        full = full.replace(f"      #   {key}:", f"        {key}:")
    full = full.replace("    # http_sd_configs:", "    http_sd_configs:").replace(
        "    #   - url:", "      - url:"
    )
    assert yaml.safe_load(full) != yaml.safe_load(plain)
    for text in (plain, full):
        example.write_text(text)
        done = subprocess.run(
            ["promtool", "check", "config", str(example)], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr


def test_example_spreads_the_zones() -> None:
    """The zones of the example are spread over both exporters, and each exporter may look at any of them."""
    shares = {int.from_bytes(hashlib.md5(name.encode()).digest()[8:]) % 2 for name in zones_of_the_example()}  # noqa: S324
    assert shares == {0, 1}
    allowed = fleet_config().web.probe_allow
    assert all(
        any(name.partition(":")[0].endswith(str(suffix)) for suffix in allowed)
        for name in zones_of_the_example()
    )
