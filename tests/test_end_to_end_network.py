"""The real exporter and real TCP and IP: every outcome of a probe, told apart on /metrics.

The tests in network namespaces have two machines, `client` with the exporter and `server` with
everything else, and a cable between them. Addresses are those for documentation (RFC 5737, RFC 3849).
"""

import sys
import time
import uuid
from dataclasses import dataclass

import pytest

from tests.services import (
    LOOPBACK,
    Exporter,
    Lab,
    Namespace,
    config,
    kms_exporter,
    need,
    srv,
    which,
    zone,
    zone_file,
)

ZONE = "contoso.test"
CLIENT, SERVER, SERVER2 = "192.0.2.1", "192.0.2.2", "192.0.2.3"
CLIENT6, SERVER6 = "2001:db8::1", "2001:db8::2"
BEYOND, NOWHERE = "198.51.100.9", "203.0.113.9"
RESOLV_CONF = f"nameserver {SERVER}\nsearch {ZONE}\n"

OTHER_INTERFACE = uuid.UUID("12345678-1234-abcd-ef00-0123456789ab")

# --- Each outcome of a probe, on loopback


def watch_host(lab: Lab, port: int, **keys: object) -> Exporter:
    """Start the exporter for one static host on loopback."""
    return lab.exporter(config(hosts=[f"{LOOPBACK}:{port}"], **keys))


def test_endpoint_that_accepts(lab: Lab) -> None:
    """An endpoint that takes the bind is up, with the round trip, the time of the bind, and when it was."""
    started = time.time()
    exporter = watch_host(lab, lab.listener().port)

    seen = exporter.wait_for_value(1, "kms_endpoint_up")
    assert (seen.value("kms_endpoint_connect_seconds") or 0) > 0
    assert (seen.value("kms_endpoint_rpc_bind_seconds") or 0) > 0
    assert (seen.value("kms_endpoint_last_success_timestamp_seconds") or 0) > started
    assert seen.value("kms_endpoint_probe_failures_total") == 0
    assert seen.value("kms_endpoint_syn_retransmits_total") == 0
    assert seen.series("kms_endpoint_failure") == []


def test_endpoint_that_refuses(lab: Lab) -> None:
    """A closed port is refused, and has neither a round trip nor a time of success."""
    exporter = watch_host(lab, lab.closed_port().port)

    seen = exporter.wait_for_value(1, "kms_endpoint_failure", reason="connection_refused")
    assert seen.value("kms_endpoint_up") == 0
    assert seen.value("kms_host_up") == 0
    assert seen.series("kms_endpoint_connect_seconds") == []
    assert seen.series("kms_endpoint_last_success_timestamp_seconds") == []
    assert seen.value("kms_endpoint_probe_failures_total") == seen.value("kms_endpoint_probes_total")


def test_endpoint_that_is_filtered(lab: Lab) -> None:
    """An endpoint that drops SYNs times out, and the SYNs sent again are counted."""
    exporter = watch_host(lab, lab.filtered_port().port, interval="3s", timeout="2s")

    seen = exporter.wait_for_value(1, "kms_endpoint_failure", reason="timeout")
    assert seen.value("kms_endpoint_up") == 0
    assert seen.series("kms_endpoint_connect_seconds") == []
    assert (seen.value("kms_endpoint_syn_retransmits_total") or 0) >= 1


def test_endpoint_that_resets(lab: Lab) -> None:
    """A reset right after the handshake is a bind that came to nothing, whenever it is seen."""
    exporter = watch_host(lab, lab.listener(reset=True).port)

    seen = exporter.wait_for(lambda seen: (seen.value("kms_endpoint_probes_total") or 0) >= 4)
    assert seen.value("kms_endpoint_up") == 0
    assert seen.labels("kms_endpoint_failure", "reason") == {"rpc_closed"}


def test_endpoint_that_resets_a_handshake(lab: Lab) -> None:
    """Without a bind, a reset right after the handshake is either too late to matter or seen as a reset."""
    probe = {"networks": ["127.0.0.0/8"], "rpc_bind": False}
    exporter = watch_host(lab, lab.listener(reset=True).port, probe=probe)

    seen = exporter.wait_for(lambda seen: (seen.value("kms_endpoint_probes_total") or 0) >= 4)
    reasons = seen.labels("kms_endpoint_failure", "reason")
    assert reasons == (set() if seen.value("kms_endpoint_up") else {"connection_reset"})


def test_endpoint_that_goes_and_returns(lab: Lab) -> None:
    """A listener that is closed is refused, its last success stays; open again, the failure goes."""
    listener = lab.listener()
    exporter = watch_host(lab, listener.port)
    exporter.wait_for_value(1, "kms_endpoint_up")

    listener.close()
    seen = exporter.wait_for_value(1, "kms_endpoint_failure", reason="connection_refused")
    assert seen.value("kms_endpoint_up") == 0
    assert seen.series("kms_endpoint_connect_seconds") == []
    assert (seen.value("kms_endpoint_last_success_timestamp_seconds") or 0) > 0

    lab.listener(port=listener.port)
    seen = exporter.wait_for_value(1, "kms_endpoint_up")
    assert seen.series("kms_endpoint_failure") == []
    assert (seen.value("kms_endpoint_probe_failures_total") or 0) >= 1


def test_verdicts(lab: Lab) -> None:
    """Every rung that a client can get to shows as a reason and as a verdict of its own."""
    rungs = {
        lab.listener().port: (None, "ok"),
        lab.closed_port().port: ("connection_refused", "port_closed"),
        lab.filtered_port().port: ("timeout", "port_filtered"),
        lab.silent_port().port: ("rpc_timeout", "kms_silent"),
        lab.listener(reset=True).port: ("rpc_closed", "kms_silent"),
        lab.banner().port: ("not_rpc", "not_kms"),
        lab.listener(interface=OTHER_INTERFACE).port: ("interface_unknown", "not_kms"),
    }
    hosts = [f"{LOOPBACK}:{port}" for port in rungs]
    exporter = lab.exporter(config(hosts=hosts, interval="3s", timeout="2s"))

    seen = exporter.wait_for(lambda seen: len(seen.series("kms_endpoint_up")) == len(rungs))
    for port, (reason, verdict) in rungs.items():
        assert seen.labels("kms_endpoint_failure", "reason", port=port) == ({reason} if reason else set())
        at = {"target": LOOPBACK, "port": port, "dns_server": ""}
        assert seen.state("kms_static_host_verdict", "verdict", **at) == verdict
        connected = verdict not in {"port_closed", "port_filtered"}
        if reason != "rpc_closed":  # a reset may be seen before anybody can read the round trip
            assert bool(seen.series("kms_endpoint_connect_seconds", port=port)) is connected
        assert bool(seen.series("kms_endpoint_rpc_bind_seconds", port=port)) is (verdict == "ok")


# --- Two machines and a cable


@dataclass(frozen=True, slots=True)
class Network:
    """Two machines: where the exporter is, and where everything else is."""

    client: Namespace
    server: Namespace


@pytest.fixture
def network(lab: Lab) -> Network:
    """Lay a cable between two machines; the client resolves names at the server."""
    client, server = lab.namespace(resolv_conf=RESOLV_CONF), lab.namespace()
    client.join(
        server,
        [f"{CLIENT}/24", f"{CLIENT6}/64"],
        [f"{SERVER}/24", f"{SERVER2}/24", f"{SERVER6}/64"],
    )
    client.set("ipv4/neigh/eth0/retrans_time_ms", 100)  # to learn sooner that nobody has an address
    server.set("ipv4/ip_forward", 1)
    return Network(client, server)


def far(*zones: dict[str, object], **keys: object) -> dict[str, object]:
    """Build a configuration that has time for what takes its time in a network."""
    return config(*zones, **{"interval": "3s", "timeout": "2s", "probe": {}} | keys)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no route", "unreachable"),
        ("unreachable route", "unreachable"),
        ("nobody there", "unreachable"),
        ("router says unreachable", "unreachable"),
        ("router drops", "timeout"),
    ],
)
def test_unreachable_host(lab: Lab, network: Network, kind: str, reason: str) -> None:
    """A host that the network cannot reach is unreachable; where nothing is said, the probe times out."""
    address = {"no route": NOWHERE, "nobody there": "192.0.2.77"}.get(kind, BEYOND)
    if kind == "unreachable route":
        network.client.ip("route", "add", "unreachable", f"{BEYOND}/32")
    elif kind.startswith("router"):
        network.client.ip("route", "add", f"{BEYOND}/32", "via", SERVER)
        network.server.ip(
            "route", "add", "unreachable" if "unreachable" in kind else "blackhole", f"{BEYOND}/32"
        )
    exporter = lab.exporter(far(hosts=[address]), namespace=network.client)

    seen = exporter.wait_for_value(1, "kms_endpoint_failure", target=address, address=address, reason=reason)
    assert seen.value("kms_endpoint_up", target=address, port=1688, address=address) == 0


@pytest.mark.parametrize("server", [NOWHERE, "192.0.2.77", "2001:db8:ffff::1"])
def test_unreachable_dns_server(lab: Lab, network: Network, server: str) -> None:
    """A DNS server that the network cannot reach is unreachable, not silent; others are not held up."""
    network.server.call(lambda: lab.listener(SERVER, 1688))
    lab.named({ZONE: zone_file(f"kms1 A {SERVER}", srv("kms1", 1688))}, namespace=network.server)
    exporter = lab.exporter(far(zone(ZONE, server, SERVER)), namespace=network.client)

    seen = exporter.wait_for_status("unreachable", ZONE, dns_server=server)
    assert seen.status(ZONE, dns_server=SERVER) == "ok"
    assert seen.value("kms_endpoint_up", target=f"kms1.{ZONE}", port=1688, address=SERVER) == 1
    assert seen.value("kms_srv_records", dns_zone=ZONE, dns_server=server) is None
    assert seen.value("kms_srv_lookup_seconds", dns_zone=ZONE, dns_server=server) is None


def test_ipv6(lab: Lab, network: Network) -> None:
    """DNS server and endpoint may be reached by IPv6, beside an IPv4 address that is dead."""
    network.server.call(lambda: lab.listener(SERVER6, 1688))
    addresses = [f"kms1 AAAA {SERVER6}", f"kms1 A {SERVER}"]
    lab.named({ZONE: zone_file(*addresses, srv("kms1", 1688))}, namespace=network.server)
    servers = [f"[{SERVER6}]:53", SERVER]
    hosts = [f"[{SERVER6}]:1688"]
    exporter = lab.exporter(far(zone(ZONE, *servers), hosts=hosts), namespace=network.client)

    seen = exporter.wait_for_value(1, "kms_host_up", target=f"kms1.{ZONE}", port=1688)
    host = {"target": f"kms1.{ZONE}", "port": 1688}
    assert seen.labels("kms_srv_lookups_total", "dns_server") == {SERVER, SERVER6}
    assert seen.value("kms_endpoint_up", **host, address=SERVER6) == 1
    assert seen.value("kms_endpoint_up", **host, address=SERVER) == 0
    assert seen.value("kms_endpoint_failure", **host, address=SERVER, reason="connection_refused") == 1
    assert (seen.value("kms_endpoint_connect_seconds", **host, address=SERVER6) or 0) > 0
    exporter.wait_for_value(1, "kms_endpoint_up", target=SERVER6, port=1688, address=SERVER6)


def test_one_address_family(lab: Lab, network: Network) -> None:
    """Only the configured address families are looked up and probed."""
    network.server.call(lambda: lab.listener(SERVER, 1688))
    addresses = [f"kms1 AAAA {SERVER6}", f"kms1 A {SERVER}"]
    lab.named({ZONE: zone_file(*addresses, srv("kms1", 1688))}, namespace=network.server)
    probe = {"address_families": ["ipv4"]}
    exporter = lab.exporter(far(zone(ZONE, SERVER), probe=probe), namespace=network.client)

    seen = exporter.wait_for_value(1, "kms_host_up", target=f"kms1.{ZONE}", port=1688)
    assert seen.labels("kms_endpoint_up", "address") == {SERVER}
    assert seen.labels("kms_host_address_info", "address") == {SERVER}


def test_source_address(lab: Lab, network: Network) -> None:
    """Lookups and probes are sent from the configured address."""
    network.client.ip("address", "add", "192.0.2.9/24", "dev", "eth0")
    network.server.call(lambda: lab.listener(SERVER, 1688))
    named = lab.named({ZONE: zone_file(f"kms1 A {SERVER}", srv("kms1", 1688))}, namespace=network.server)
    exporter = lab.exporter(far(zone(ZONE, SERVER), source_addresses=["192.0.2.9"]), namespace=network.client)

    exporter.wait_for_value(1, "kms_host_up", target=f"kms1.{ZONE}")
    clients = {line.split("#")[0].split()[-1] for line in named.lines if "query: _vlmcs" in line}
    assert clients == {"192.0.2.9"}


def test_system_servers_and_short_name(lab: Lab, network: Network) -> None:
    """`system` is each server in resolv.conf, and a short host name is found by its search list."""
    network.server.call(lambda: lab.listener(SERVER, 1688))
    lab.named({ZONE: zone_file(f"kms-dr A {SERVER}", srv("kms-dr", 1688))}, namespace=network.server)
    exporter = lab.exporter(far(zone(ZONE), hosts=["kms-dr"]), namespace=network.client)

    seen = exporter.wait_for_value(1, "kms_endpoint_up", target="kms-dr", port=1688, address=SERVER)
    assert seen.value("kms_host_address_info", target="kms-dr", dns_server=SERVER, address=SERVER) == 1
    seen = exporter.wait_for_status("ok", ZONE)
    assert seen.labels("kms_srv_lookups_total", "dns_server") == {SERVER}


@pytest.mark.parametrize("name", [ZONE, f"dept.{ZONE}"])
def test_authoritative_servers(lab: Lab, network: Network, name: str) -> None:
    """`authoritative` is each address of each name server of the zone, or of the zone around the name."""
    network.server.call(lambda: lab.listener(SERVER, 1688))
    prefix = name.removesuffix(ZONE).rstrip(".")
    owner = f"_vlmcs._tcp.{prefix}".rstrip(".")
    text = f"""\
$TTL 60
@ SOA ns1 hostmaster 1 3600 600 86400 60
@ NS ns1
@ NS ns2
ns1 A {SERVER2}
ns2 AAAA {SERVER6}
kms1 A {SERVER}
{owner} SRV 0 0 1688 kms1
"""
    lab.named({ZONE: text}, namespace=network.server)
    exporter = lab.exporter(far(zone(name, "authoritative")), namespace=network.client)

    seen = exporter.wait_for(
        lambda seen: seen.labels("kms_srv_records", "dns_server", dns_zone=name) == {SERVER2, SERVER6}
    )
    assert seen.labels("kms_srv_lookups_total", "dns_server") == {SERVER2, SERVER6}
    assert seen.value("kms_dns_answer_authoritative", dns_zone=name, dns_server=SERVER2) == 1
    exporter.wait_for_value(1, "kms_endpoint_up", target=f"kms1.{ZONE}", port=1688, address=SERVER)


def test_without_configuration(lab: Lab, network: Network) -> None:
    """Without a configuration the search suffixes are the zones, looked up as this machine would."""
    network.server.call(lambda: lab.listener(SERVER, 1688))
    lab.named({ZONE: zone_file(f"kms1 A {SERVER}", srv("kms1", 1688))}, namespace=network.server)
    exporter = lab.exporter(None, namespace=network.client)

    seen = exporter.wait_for_value(1, "kms_zone_hosts_up", dns_zone=ZONE)
    assert seen.labels("kms_zone_info", "dns_zone") == {ZONE}
    assert seen.labels("kms_srv_lookups_total", "dns_server") == {SERVER}


def test_without_configuration_and_suffix(lab: Lab) -> None:
    """Without a configuration and without a search suffix there is nothing to watch, which is an error."""
    namespace = lab.namespace(resolv_conf=f"nameserver {SERVER}\nsearch .\n")
    done = kms_exporter("run", f"--web.listen-address={LOOPBACK}:0", namespace=namespace)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_demo_without_network_and_rights(lab: Lab) -> None:
    """`demo` runs on a machine that has loopback and nothing else, for a user without any capability."""
    need("setpriv")
    powerless = [which("setpriv") or "", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    exporter = lab.exporter(None, command="demo", before=powerless, namespace=lab.namespace())

    exporter.wait_for(lambda seen: 1 in {sample.value for sample in seen.series("kms_host_up")})
    assert "local_error" not in exporter.metrics().labels("kms_endpoint_failure", "reason"), sys.platform
