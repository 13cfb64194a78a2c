"""Tests of /sd: which hosts Prometheus gets to discover, and what it is told of them."""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus

import pytest
from hypothesis import HealthCheck, given, settings

from exporter.config import Config, Web
from exporter.model import Endpoint, Host, LookupStatus, ProbeFailure, Record
from exporter.state import ClientSettings, Snapshot, State, ZoneSettings
from exporter.web.service_discovery import TargetGroup, render, target_groups
from tests.builders import (
    SERVER,
    TARGET,
    ZONE,
    Clock,
    answer,
    at_server,
    client_check,
    client_settings,
    configure,
    endpoint,
    host,
    host_check,
    probed,
    record,
    zone_check,
    zone_settings,
)
from tests.test_metrics import series, snapshots
from tests.test_web import Client, backend, visit

PREFIX = "__meta_kms_"
OTHER = "192.0.2.54"
KMS2 = "kms2.contoso.test"


def state_of(
    zones: Mapping[str, ZoneSettings] | None = None,
    *,
    hosts: Iterable[str] = (),
    clients: Mapping[str, ClientSettings] | None = None,
) -> State:
    """Make a state that has been told what is configured; without `zones` it watches the usual one."""
    state = State(monotonic=Clock())
    configure(state, zones, hosts=map(host, hosts), clients=clients)
    return state


def group(snapshot: Snapshot, target: str = f"{TARGET}:1688") -> dict[str, str]:
    """Give the labels of the one group with this target, without what all their names begin with."""
    [found] = [each for each in target_groups(snapshot) if each.target == target]
    assert all(name.startswith(PREFIX) for name in found.labels)
    return {name.removeprefix(PREFIX): value for name, value in found.labels.items()}


def targets(snapshot: Snapshot) -> list[str]:
    """List the targets in their order."""
    return [each.target for each in target_groups(snapshot)]


# --- What is known of a host


def test_labels_of_a_published_host() -> None:
    """A host comes with its zone and the labels of that, its record, and how it is."""
    state = state_of({ZONE: zone_settings(labels={"team": "workplace"}, expected=[host()])})
    state.apply_zone(zone_check(at_server(SERVER, answer(record(priority=10, weight=5)))))
    assert group(state.snapshot()) == {
        "dns_zone": ZONE,
        "target": TARGET,
        "port": "1688",
        "priority": "10",
        "weight": "5",
        "expected": "true",
        "static": "false",
        "up": "true",
        "verdict": "ok",
        "dns_servers": f",{SERVER},",
        "addresses": ",192.0.2.1,",
        "zone_label_team": "workplace",
    }


def test_labels_of_a_static_host() -> None:
    """A static host is in no zone and has no record."""
    state = state_of({}, hosts=[TARGET])
    state.apply_host(host_check(host(), "192.0.2.2", "192.0.2.1"))
    assert group(state.snapshot()) == {
        "dns_zone": "",
        "target": TARGET,
        "port": "1688",
        "priority": "",
        "weight": "",
        "expected": "",
        "static": "true",
        "up": "true",
        "verdict": "ok",
        "dns_servers": f",{SERVER},",
        "addresses": ",192.0.2.1,192.0.2.2,",
    }


@pytest.mark.parametrize(
    ("target", "shown"), [("2001:db8::5", "[2001:db8::5]:1688"), ("10.1.2.3", "10.1.2.3:1688")]
)
def test_static_address(target: str, shown: str) -> None:
    """A host that is an address is resolved by no DNS server; an IPv6 address is in brackets."""
    state = state_of({}, hosts=[target])
    state.apply_host(host_check(host(target), target, dns_server=""))
    labels = group(state.snapshot(), shown)
    assert (labels["target"], labels["dns_servers"], labels["addresses"]) == (target, "", f",{target},")


def test_static_host_before_its_first_check() -> None:
    """A static host that was just added is there, and nothing is said of how it is."""
    labels = group(state_of({}, hosts=[TARGET]).snapshot())
    assert [labels[name] for name in ("up", "verdict", "dns_servers", "addresses")] == ["", "unknown", "", ""]


@pytest.mark.parametrize(
    ("expected", "shown"), [(None, ""), ([], "false"), ([host(KMS2)], "false"), ([host()], "true")]
)
def test_expected(expected: list[Host] | None, shown: str) -> None:
    """Whether a host is expected is said only where the configuration has an opinion."""
    state = state_of({ZONE: zone_settings(expected=expected)})
    state.apply_zone(zone_check(at_server(SERVER, answer(record()))))
    assert group(state.snapshot())["expected"] == shown


def test_most_preferred_record() -> None:
    """Of several records of a host, priority and weight are of the one by which clients come first."""
    state = state_of({ZONE: zone_settings(SERVER, OTHER)})
    records = [record(priority=20, weight=9), record(priority=10, weight=1), record(priority=10, weight=7)]
    checks = [at_server(OTHER, answer(record(priority=30))), at_server(SERVER, answer(*records))]
    state.apply_zone(zone_check(*checks))
    labels = group(state.snapshot())
    assert (labels["priority"], labels["weight"]) == ("10", "7")
    assert labels["dns_servers"] == f",{SERVER},{OTHER},"


def broken(one: Endpoint, failure: ProbeFailure | None) -> Snapshot:
    """Show a host with one address, the probe of which ended like this."""
    state = state_of()
    check = at_server(SERVER, answer(record()), {TARGET: [one.address]})
    state.apply_zone(zone_check(check, probes=[probed(one, failure)]))
    return state.snapshot()


@pytest.mark.parametrize(
    ("failure", "up", "verdict"),
    [
        (None, "true", "ok"),
        (ProbeFailure.CONNECTION_REFUSED, "false", "port_closed"),
        (ProbeFailure.TIMEOUT, "false", "port_filtered"),
        (ProbeFailure.RPC_TIMEOUT, "false", "kms_silent"),
        (ProbeFailure.NOT_RPC, "false", "not_kms"),
        (ProbeFailure.NOT_ALLOWED, "false", "unknown"),
    ],
)
def test_verdict(failure: ProbeFailure | None, up: str, verdict: str) -> None:
    """A host has the verdict that it would have if it were the only one."""
    labels = group(broken(endpoint(), failure))
    assert (labels["up"], labels["verdict"]) == (up, verdict)


def test_target_without_address() -> None:
    """A host whose name cannot be resolved is there all the same, and not up."""
    state = state_of()
    state.apply_zone(zone_check(at_server(SERVER, answer(record()), {TARGET: []})))
    labels = group(state.snapshot())
    assert [labels[name] for name in ("up", "verdict", "addresses")] == ["false", "target_unresolvable", ""]


@pytest.mark.parametrize("resolving", [SERVER, OTHER])
def test_verdict_over_servers(resolving: str) -> None:
    """The addresses of all DNS servers count together: a host that works by one of them is ok."""
    state = state_of({ZONE: zone_settings(SERVER, OTHER)})
    checks = [
        at_server(each, answer(record()), {TARGET: ["192.0.2.1"] if each == resolving else []})
        for each in (SERVER, OTHER)
    ]
    state.apply_zone(zone_check(*checks))
    labels = group(state.snapshot())
    assert [labels[name] for name in ("up", "verdict", "addresses")] == ["true", "ok", ",192.0.2.1,"]


# --- Which hosts there are


def test_order() -> None:
    """Zones are in the order of the configuration, hosts within them sorted, static hosts last."""
    zones = {"b.test": zone_settings(), "a.test": zone_settings()}
    state = state_of(zones, hosts=["z.test", "y.test"])
    for zone in zones:
        records = [record("k10", 2), record("k10", 1), record("k1", 3)]
        state.apply_zone(zone_check(at_server(SERVER, answer(*records)), zone=zone))
    in_zone = ["k1:3", "k10:1", "k10:2"]
    assert targets(state.snapshot()) == [*in_zone, *in_zone, "z.test:1688", "y.test:1688"]


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([], []),
        ([record(".", 0)], []),
        ([record(port=0)], []),
        ([record(), record(KMS2, 0)], [f"{TARGET}:1688"]),
        ([record(), record(".", 0)], [f"{TARGET}:1688"]),
        ([record(r"\060script\062.test"), record("under_score.test")], ["under_score.test:1688"]),
    ],
)
def test_records_that_are_no_host(records: list[Record], found: list[str]) -> None:
    """The target `.`, port 0 and names that no host can have are nothing to connect to."""
    state = state_of()
    state.apply_zone(zone_check(at_server(SERVER, answer(*records))))
    assert targets(state.snapshot()) == found


def test_vanished_and_missing_hosts_are_not_there() -> None:
    """A host leaves with the last record of it, and one that should be published comes only with a record."""
    state = state_of({ZONE: zone_settings(expected=[host("missing.test")])})
    state.apply_zone(zone_check(at_server(SERVER, answer(record(), record(KMS2)))))
    assert targets(state.snapshot()) == [f"{TARGET}:1688", f"{KMS2}:1688"]
    state.apply_zone(zone_check(at_server(SERVER, answer(record())), at=2))
    assert state.snapshot().zones[0].vanished
    assert targets(state.snapshot()) == [f"{TARGET}:1688"]
    state.apply_zone(zone_check(at_server(SERVER, answer()), at=3))
    assert targets(state.snapshot()) == []


@pytest.mark.parametrize("status", [LookupStatus.TIMEOUT, LookupStatus.SERVFAIL, LookupStatus.REFUSED])
def test_hosts_outlast_failing_lookups(status: LookupStatus) -> None:
    """A DNS server that fails takes no host away."""
    state = state_of()
    state.apply_zone(zone_check(at_server(SERVER, answer(record()))))
    before = target_groups(state.snapshot())
    failing = at_server(SERVER, answer(status=status), {TARGET: ["192.0.2.1"]})
    state.apply_zone(zone_check(failing, at=2, probes=[probed(endpoint(), at=2)]))
    assert target_groups(state.snapshot()) == before != ()


def test_suffix_of_a_client_is_no_zone() -> None:
    """A suffix that only clients search adds no hosts."""
    state = state_of({}, clients={"branch": client_settings()})
    state.apply_client(client_check(zone_check(at_server(SERVER, answer(record())))))
    assert state.snapshot().clients[0].suffixes[0].published
    assert targets(state.snapshot()) == []


def group_of(**labels: str) -> TargetGroup:
    """Make a group of the usual host."""
    return TargetGroup(target=f"{TARGET}:1688", labels=labels)


@pytest.mark.parametrize(
    "value", ['<script>alert("&amp;")</script>', "\\", "שלום\u202e", "\ud800", "a\nb", ""]
)
def test_hostile_label(value: str) -> None:
    """Whatever a label holds, the list is ASCII, on one line, and gives it back."""
    text = render([group_of(a=value)])
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == [{"targets": [f"{TARGET}:1688"], "labels": {"a": value}}]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(snapshots())
def test_any_snapshot(snapshot: Snapshot) -> None:
    """Whatever was seen, names and values are as Prometheus wants them, and `up` is that of the metric."""
    up = {
        (s.labels["target"], s.labels["port"]): str(bool(s.value)).lower()
        for s in series(snapshot, "kms_host_up")
    }
    for each in json.loads(render(target_groups(snapshot))):
        assert each.keys() == {"targets", "labels"}
        assert all(re.fullmatch("__meta_kms_[a-zA-Z0-9_]+", name) for name in each["labels"])
        assert all(isinstance(value, str) for value in each["labels"].values())
        of_host = each["labels"][f"{PREFIX}target"], each["labels"][f"{PREFIX}port"]
        assert each["labels"][f"{PREFIX}up"] == up.get(of_host, "")


# --- The page


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """Show two zones with a host each, and a static host."""
    state = state_of(
        {"a.test": zone_settings(), "xn--bcher-kva.test": zone_settings()}, hosts=["static.test"]
    )
    for zone in ("a.test", "xn--bcher-kva.test"):
        state.apply_zone(zone_check(at_server(SERVER, answer(record(f"kms.{zone}"))), zone=zone))
    return state.snapshot()


BOTH = ["kms.a.test:1688", "kms.xn--bcher-kva.test:1688"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [*BOTH, "static.test:1688"]),
        ("?other=1", [*BOTH, "static.test:1688"]),
        ("?dns_zone=a.test", BOTH[:1]),
        ("?dns_zone=A.Test.", BOTH[:1]),
        ("?dns_zone=b%C3%BCcher.test", BOTH[1:]),
        ("?dns_zone=xn--bcher-kva.test&dns_zone=a.test", BOTH),
        ("?dns_zone=", ["static.test:1688"]),
        ("?dns_zone=&dns_zone=a.test", [BOTH[0], "static.test:1688"]),
    ],
)
def test_page(snapshot: Snapshot, query: str, found: list[str]) -> None:
    """The page is JSON, and only of the zones that the query names, if it names any."""

    async def look(client: Client) -> None:
        page = await client.get(f"/sd{query}")
        assert (page.status, page.content_type, page.charset) == (HTTPStatus.OK, "application/json", "utf-8")
        groups = json.loads(await page.text())
        assert [target for each in groups for target in each["targets"]] == found
        head = await client.head(f"/sd{query}")
        assert (head.status, head.headers["Content-Length"]) == (
            HTTPStatus.OK,
            page.headers["Content-Length"],
        )
        assert await head.read() == b""

    visit(look, backend(snapshot=lambda: snapshot))


@pytest.mark.parametrize("query", ["b.test", "a.test&dns_zone=b.test", "a..test", "%3Cscript%3E", "%20"])
def test_unknown_zone(snapshot: Snapshot, query: str) -> None:
    """A zone that is not configured is an error, not an empty list, and is not repeated."""

    async def look(client: Client) -> None:
        page = await client.get(f"/sd?dns_zone={query}")
        assert (page.status, page.content_type) == (HTTPStatus.NOT_FOUND, "text/plain")
        assert await page.text() == "A zone that dns_zone names is not in the configuration.\n"

    visit(look, backend(snapshot=lambda: snapshot))


@pytest.mark.parametrize("path", ["/sd", "/sd?dns_zone=a.test"])
def test_not_ready(snapshot: Snapshot, path: str) -> None:
    """Before everything has been checked there is no list, which would lack hosts, but an error."""
    ready = False

    async def look(client: Client) -> None:
        nonlocal ready
        assert (await client.get(path)).status == HTTPStatus.SERVICE_UNAVAILABLE
        ready = True
        assert (await client.get(path)).status == HTTPStatus.OK

    visit(look, backend(snapshot=lambda: snapshot, is_ready=lambda: ready))


def test_nothing_is_watched(snapshot: Snapshot) -> None:
    """An exporter that looks on demand alone knows no hosts, which is an error and not an empty list."""

    async def look(client: Client) -> None:
        page = await client.get("/sd")
        assert (page.status, page.content_type) == (HTTPStatus.NOT_FOUND, "text/plain")
        assert "web.probe_only" in await page.text()

    config = Config(web=Web(probe_only=True))
    visit(look, replace(backend(snapshot=lambda: snapshot), config=lambda: config))


def test_compressed_list() -> None:
    """A list is compressed for whoever takes that, and is the same list."""
    state = state_of()
    state.apply_zone(zone_check(at_server(SERVER, answer(*(record(f"kms{n}.test") for n in range(50))))))

    async def look(client: Client) -> None:
        plain = await client.get("/sd")
        packed = await client.get("/sd", headers={"Accept-Encoding": "gzip"})
        assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert packed.content_type == "application/json"
        assert gzip.decompress(await packed.read()) == await plain.read()

    visit(look, backend(snapshot=state.snapshot))
