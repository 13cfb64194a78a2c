"""The real exporter and DNS that points where it should not: nothing connects there by any path.

All of it is in a network namespace, which has the addresses that DNS names on its loopback interface, with a
listener at each: whatever would be connected to is counted.
"""

import http
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.services import (
    Exporter,
    Lab,
    Listener,
    Named,
    Namespace,
    Samples,
    config,
    kms_exporter,
    need_ipv6,
    parse_metrics,
    srv,
    wait_until,
    zone,
    zone_file,
)

ZONE = "contoso.test"
CROWD = "crowd.test"
DNS = "192.0.2.53"
GOOD, GOOD6, LATER = "192.0.2.9", "2001:db8::9", "198.51.100.9"
BAD = {
    "loopback": "127.0.0.1",
    "loopback9": "127.0.0.9",
    "linklocal": "169.254.7.7",
    "loopback6": "::1",
    "nat64": "64:ff9b::7f00:1",
    "localnat64": "64:ff9b:1::7f00:1",
    "ownnat64": "2001:db8:64::7f00:1",
    "sixtofour": "2002:7f00:1::1",
}
"""Where a listener is that nobody may connect to, by the host that DNS names there."""
ELSEWHERE = {"thishost": "0.0.0.0", "mapped": "::ffff:127.0.0.1", "broadcast": "255.255.255.255"}
"""What leads to one of them too, or to nobody."""
CROWD_ADDRESSES = [f"203.0.113.{number}" for number in range(1, 13)]
SHARED_PORT = 1700


def address_record(name: str, address: str) -> str:
    """Build the line of a zone file for an address."""
    return f"{name} {'AAAA' if ':' in address else 'A'} {address}"


def zone_text() -> str:
    """Build a zone whose records point everywhere."""
    named = {**BAD, **ELSEWHERE, "good": GOOD, "good6": GOOD6, "vanishing": "127.0.0.9", "later": LATER}
    records = [srv(name, 1688) for name in named]
    addresses = [address_record(name, address) for name, address in named.items()]
    mixed = [srv("mixed", 1688), address_record("mixed", GOOD), address_record("mixed", "127.0.0.9")]
    missing = [address_record("missing", "127.0.0.1"), address_record("assigned", "127.0.0.1")]
    return zone_file(*records, *addresses, *mixed, *missing)


def crowd_text() -> str:
    """Build a zone of four hosts that have three addresses each."""
    hosts = "abcd"
    records = [srv(name, SHARED_PORT) for name in hosts]
    return zone_file(
        *records, *(f"{hosts[number % 4]} A {address}" for number, address in enumerate(CROWD_ADDRESSES))
    )


def delegation_text(*servers: str) -> str:
    """Build a zone whose name servers are at these addresses, with a record."""
    names = [(f"ns{number}", address) for number, address in enumerate(servers)]
    lines = [line for name, address in names for line in (f"@ NS {name}", address_record(name, address))]
    head = "$TTL 60\n@ SOA ns0 hostmaster 1 3600 600 86400 60"
    return "\n".join([head, *lines, f"kms A {GOOD}", srv("kms", 1688)]) + "\n"


@dataclass(frozen=True, slots=True)
class World:
    """A machine of its own, with listeners by their address."""

    lab: Lab
    namespace: Namespace
    named: Named
    listeners: dict[str, Listener]

    def accepted(self, addresses: Iterable[str] = tuple(BAD.values())) -> dict[str, int]:
        """Count connections, by default those that should not be."""
        return {address: self.listeners[address].accepted for address in addresses}

    def connect(self, address: str) -> None:
        """Do what the exporter should not."""
        self.namespace.call(lambda: socket.create_connection((address, 1688), timeout=5).close())


NOTHING = dict.fromkeys(BAD.values(), 0)


@pytest.fixture(scope="module")
def world(module_lab: Lab) -> World:
    """Start DNS and the listeners in a namespace."""
    need_ipv6()
    namespace = module_lab.namespace(resolv_conf=f"nameserver {DNS}\n")
    for address in (*BAD.values(), GOOD, GOOD6, LATER, DNS, *CROWD_ADDRESSES):
        if address not in {"127.0.0.1", "::1"}:
            tentative = ["nodad"] if ":" in address else []
            length = 128 if ":" in address else 32
            namespace.ip("address", "add", f"{address}/{length}", "dev", "lo", *tentative)
    zones = {
        ZONE: zone_text(),
        CROWD: crowd_text(),
        "lured.test": delegation_text("127.0.0.1", "64:ff9b::7f00:1"),
        "partly.test": delegation_text("127.0.0.1", DNS),
    }
    named = module_lab.named(zones, namespace=namespace)
    listeners = {
        address: namespace.call(lambda address=address: module_lab.listener(address, 1688))  # type: ignore[misc]
        for address in (*BAD.values(), GOOD, GOOD6, LATER)
    }
    return World(module_lab, namespace, named, listeners)


def settings(**keys: object) -> dict[str, object]:
    """Build a configuration that looks wherever it can, by every path there is."""
    base: dict[str, object] = {
        "dns": {"servers": [DNS]},
        "probe": {"nat64_prefixes": ["2001:db8:64::/96"]},
        "web": {"probe_allow": [ZONE, CROWD, "0.0.0.0/0", "::/0"]},
        "hosts": ["127.0.0.1:1688", "[64:ff9b::7f00:1]:1688", f"assigned.{ZONE}", GOOD],
        "clients": [{"name": "laptop", "suffixes": [ZONE]}],
    }
    zones = [zone(name, "authoritative") for name in ("lured.test", "partly.test")]
    return config(zone(ZONE, expected=[f"missing.{ZONE}"]), *zones, **base | keys)


@pytest.fixture(scope="module")
def exporter(world: World) -> Exporter:
    """Start an exporter without probe.networks."""
    return world.lab.exporter(settings(), namespace=world.namespace)


def refused(seen: Samples) -> set[str]:
    """Tell which addresses were not probed for they may not be."""
    return seen.labels("kms_endpoint_failure", "address", reason="not_allowed")


def test_schedule(world: World, exporter: Exporter) -> None:
    """Zones, static hosts, clients, expected and vanished hosts: what may not be probed is not, and shows."""
    bad = {*BAD.values(), *ELSEWHERE.values()}
    exporter.wait_for(lambda seen: refused(seen) == bad, "all of them are refused")
    for target in (f"missing.{ZONE}", f"assigned.{ZONE}"):
        exporter.wait_for_value(
            1, "kms_endpoint_failure", target=target, address="127.0.0.1", reason="not_allowed"
        )
    exporter.wait_for_value(1, "kms_endpoint_up", target=f"good.{ZONE}", address=GOOD)
    exporter.wait_for_value(1, "kms_endpoint_up", target=f"good6.{ZONE}", address=GOOD6)
    exporter.wait_for_value(1, "kms_host_up", target=f"mixed.{ZONE}")
    exporter.wait_for_growth("kms_exporter_records_ignored_total", 1, dns_zone=ZONE, reason="not_allowed")

    name = f"_vlmcs._tcp.{ZONE}."
    world.named.update(ZONE, f"delete {name} SRV 0 0 1688 vanishing.{ZONE}.")
    exporter.wait_for_value(0, "kms_srv_record_published", target=f"vanishing.{ZONE}")
    exporter.wait_for_growth("kms_endpoint_probes_total", 2, target=f"vanishing.{ZONE}")
    assert world.accepted() == NOTHING


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (ZONE, http.HTTPStatus.OK),
        ("127.0.0.1:22", http.HTTPStatus.OK),
        ("127.0.0.1", http.HTTPStatus.OK),
        ("0.0.0.0:1688", http.HTTPStatus.BAD_REQUEST),
        (f"loopback.{ZONE}:1688", http.HTTPStatus.OK),
        (f"nat64.{ZONE}:1688", http.HTTPStatus.OK),
        (f"mapped.{ZONE}:1688", http.HTTPStatus.OK),
        ("[::1]:1688", http.HTTPStatus.OK),
        ("[64:ff9b::7f00:1]:1688", http.HTTPStatus.OK),
        ("[64:ff9b::7f00:1]:22", http.HTTPStatus.OK),
        ("[2002:7f00:1::1]:1688", http.HTTPStatus.OK),
        ("[::ffff:127.0.0.1]:22", http.HTTPStatus.BAD_REQUEST),
        ("[::ffff:127.0.0.1]:1688", http.HTTPStatus.BAD_REQUEST),
    ],
)
def test_on_demand(world: World, exporter: Exporter, target: str, status: http.HTTPStatus) -> None:
    """What /probe may be asked for is one thing, what it may connect to another."""
    answer = exporter.get(f"/probe?target={quote(target)}")
    assert answer.status == status, answer.text
    if status == http.HTTPStatus.OK:
        assert "not_allowed" in parse_metrics(answer.text).labels("kms_endpoint_failure", "reason")
    assert world.accepted() == NOTHING


def test_by_hand(world: World, exporter: Exporter) -> None:
    """So it is for the command `check`, which says why."""
    arguments = (f"--config.file={exporter.config_file}", ZONE, "127.0.0.1:1688", f"loopback.{ZONE}:1688")
    done = kms_exporter("check", *arguments, namespace=world.namespace)
    assert "not_allowed" in done.stdout, done.stderr
    assert "probe.networks" in done.stdout
    assert world.accepted() == NOTHING


def test_name_servers(world: World, exporter: Exporter) -> None:
    """A name server that DNS puts on loopback is not asked; a zone that has no other has a status."""
    exporter.wait_for_status("bad_response", "lured.test", dns_server="authoritative")
    seen = exporter.wait_for_status("ok", "partly.test", dns_server=DNS)
    assert seen.labels("kms_srv_records", "dns_server", dns_zone="partly.test") == {DNS}
    for name in ("lured.test", "partly.test"):
        exporter.wait_for_growth("kms_exporter_records_ignored_total", 1, dns_zone=name, reason="not_allowed")
    asked = {query.name for query in world.named.queries() if query.rdtype == "SRV"}
    assert "_vlmcs._tcp.partly.test" in asked
    assert "_vlmcs._tcp.lured.test" not in asked


# --- The same exporter on other configurations


def reload(exporter: Exporter, configuration: dict[str, object]) -> None:
    """Give it another configuration."""
    exporter.write_config(configuration)
    answer = exporter.post("/-/reload")
    assert answer.status == http.HTTPStatus.OK, answer.text


def test_networks_that_become_narrower(world: World, exporter: Exporter) -> None:
    """After a reload nothing that was known before is connected to any more, also while DNS is down."""
    probes = {"target": f"later.{ZONE}", "address": LATER}
    reload(exporter, settings())
    exporter.wait_for_value(1, "kms_endpoint_up", **probes)
    reload(exporter, settings(probe={"networks": ["192.0.2.0/24"]}))
    exporter.wait_for_value(1, "kms_endpoint_failure", **probes, reason="not_allowed")
    exporter.wait_for_growth("kms_endpoint_probes_total", 2, **probes)  # what was accepted has been counted
    before = world.accepted([LATER])
    world.named.kill()
    try:
        exporter.wait_for_status("unreachable", ZONE)
        exporter.wait_for_growth("kms_endpoint_probes_total", 2, **probes)
        exporter.wait_for_growth("kms_endpoint_probes_total", 2, target=f"good.{ZONE}", address=GOOD)
    finally:
        world.named.restart()
    assert world.accepted([LATER]) == before
    assert world.accepted() == NOTHING


def test_more_than_one_check_may_probe(world: World, exporter: Exporter) -> None:
    """Of too many endpoints the same ones are probed at each check, each host has one, and the rest shows."""
    shared = world.namespace.call(lambda: world.lab.listener("0.0.0.0", SHARED_PORT))
    # With time to spare: a probe that is late on a busy machine would make room for others.
    unhurried = {"interval": "4s", "timeout": "3s", "limits": {"probes_per_check": 5}}
    reload(exporter, config(zone(CROWD, DNS), probe={}, **unhurried))

    def up(seen: Samples) -> set[str]:
        return {each.labels["address"] for each in seen.series("kms_endpoint_up") if each.value}

    seen = exporter.wait_for(lambda seen: (len(up(seen)), len(refused(seen))) == (5, 7))
    probed = up(seen)
    assert seen.value("kms_client_verdict", dns_zone=CROWD, verdict="ok") == 1
    for _ in range(2):
        seen = exporter.wait_for_growth("kms_endpoint_probes_total", 1, address=min(probed))
        assert up(seen) == probed
        assert refused(seen) == {*CROWD_ADDRESSES} - probed
    assert [each.value for each in seen.series("kms_host_up")] == [1, 1, 1, 1]
    ignored = {"dns_zone": CROWD, "reason": "probes_per_check"}
    assert (seen.value("kms_exporter_records_ignored_total", **ignored) or 0) >= 3 * 7
    assert shared.accepted >= 5


def test_the_listeners_count(world: World) -> None:
    """Each of the listeners is reached by its address: it was the exporter that did not connect."""
    for address in BAD.values():
        world.connect(address)
        wait_until(lambda address=address: world.listeners[address].accepted or None, address)  # type: ignore[misc]
