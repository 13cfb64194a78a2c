"""The real exporter, real DNS and real sockets: every verdict, reached by a run and read from /metrics."""

import http

import pytest

from tests.services import (
    LOOPBACK,
    Exporter,
    Lab,
    Listener,
    Named,
    Samples,
    config,
    srv,
    zone,
    zone_file,
)

ZONE = "contoso.test"
NAME = f"_vlmcs._tcp.{ZONE}."
KMS1 = f"kms1.{ZONE}"
KMS2 = f"kms2.{ZONE}"
HOSTS = (f"kms1 A {LOOPBACK}", f"kms2 A {LOOPBACK}")
UNAVAILABLE = "0xC004F074"

# --- The lab plays nearly all of them


@pytest.fixture(scope="module")
def demo(module_lab: Lab) -> Exporter:
    """Run the exporter on its embedded lab until it has looked at everything once."""
    exporter = module_lab.exporter(None, command="demo")
    exporter.wait_until(lambda: exporter.get("/-/ready").status == http.HTTPStatus.OK or None, "it is ready")
    return exporter


@pytest.fixture(scope="module")
def seen(demo: Exporter) -> Samples:
    """Scrape it once."""
    return demo.metrics()


def at_first_server(seen: Samples, zone: str) -> dict[str, str]:
    """Give the labels of a zone of the lab at the first DNS server that it is asked at."""
    servers = seen.labels("kms_client_verdict", "dns_server", dns_zone=f"{zone}.kms.test")
    return {"dns_zone": f"{zone}.kms.test", "dns_server": min(servers)}


@pytest.mark.parametrize(
    ("zone", "verdict", "code", "certainty"),
    [
        ("healthy", "ok", None, None),
        ("partly", "ok", None, None),
        ("alias", "ok", None, None),
        ("rogue", "ok", None, None),
        ("degraded", "degraded", None, None),
        ("weighted", "degraded", None, None),
        ("servfail", "dns_failed", "0x8007232A", "high"),
        ("silent", "dns_failed", "0x8007232A", "medium"),
        ("refused", "dns_failed", "0x8007232D", "medium"),
        ("nxdomain", "srv_missing", "0x8007232B", "high"),
        ("mak", "srv_missing", "0x8007232B", "high"),
        ("nodata", "srv_missing", "0x8007251D", "high"),
        ("declined", "srv_declined", UNAVAILABLE, "low"),
        ("stale", "target_unresolvable", UNAVAILABLE, "medium"),
        ("filtered", "port_filtered", UNAVAILABLE, "high"),
        ("closed", "port_closed", UNAVAILABLE, "high"),
        ("hung", "kms_silent", UNAVAILABLE, "medium"),
        ("othersvc", "not_kms", UNAVAILABLE, "low"),
        ("banner", "not_kms", UNAVAILABLE, "low"),
    ],
)
def test_verdict_on_a_zone_of_the_lab(
    seen: Samples, zone: str, verdict: str, code: str | None, certainty: str | None
) -> None:
    """Each zone of the lab has the verdict that its situation calls for, and the code of that verdict."""
    at = at_first_server(seen, zone)
    assert seen.state("kms_client_verdict", "verdict", **at) == verdict
    errors = seen.series("kms_client_likely_error_info", **at)
    assert [(e.labels["code"], e.labels["certainty"]) for e in errors] == (
        [(code, certainty)] if code else []
    )


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        ("closed", "connection_refused"),
        ("filtered", "timeout"),
        ("hung", "rpc_timeout"),
        ("othersvc", "interface_unknown"),
        ("banner", "not_rpc"),
    ],
)
def test_reason_in_the_lab(seen: Samples, zone: str, reason: str) -> None:
    """What is wrong with an endpoint has its reason beside the verdict."""
    target = f"kms.{zone}.kms.test"
    assert seen.labels("kms_endpoint_failure", "reason", target=target) == {reason}
    connected = reason in {"rpc_timeout", "interface_unknown", "not_rpc"}
    assert bool(seen.series("kms_endpoint_connect_seconds", target=target)) == connected
    assert not seen.series("kms_endpoint_rpc_bind_seconds", target=target)


def test_bind_of_a_healthy_host(seen: Samples) -> None:
    """A host that takes the bind shows how long that took, beside the handshake."""
    target = "kms1.healthy.kms.test"
    assert (seen.value("kms_endpoint_rpc_bind_seconds", target=target) or 0) > 0
    assert (seen.value("kms_endpoint_connect_seconds", target=target) or 0) > 0


@pytest.mark.parametrize(
    ("zone", "selection", "ratio"),
    [
        ("healthy", "rfc2782", 1),
        ("degraded", "rfc2782", 0.5),
        ("degraded", "random", 0.5),
        ("weighted", "rfc2782", 90.5 / 101),
        ("weighted", "random", 2 / 3),
        ("closed", "rfc2782", 0),
        ("nxdomain", "rfc2782", None),
        ("declined", "random", None),
    ],
)
def test_first_attempt_in_the_lab(seen: Samples, zone: str, selection: str, ratio: float | None) -> None:
    """The chance of a first attempt follows priority and weight, and is absent without hosts."""
    at = at_first_server(seen, zone)
    found = seen.value("kms_client_first_attempt_success_ratio", **at, selection=selection)
    assert found == (ratio if ratio is None else pytest.approx(ratio))


def test_disagreeing_servers_of_the_lab(seen: Samples) -> None:
    """Two servers with different records do not agree, and each has a verdict of its own."""
    zone = {"dns_zone": "disagreeing.kms.test"}
    assert seen.value("kms_dns_servers_agree", **zone) == 0
    first, second = sorted(seen.labels("kms_client_verdict", "dns_server", **zone))
    assert seen.state("kms_client_verdict", "verdict", **zone, dns_server=first) == "ok"
    assert seen.state("kms_client_verdict", "verdict", **zone, dns_server=second) == "port_closed"
    assert seen.value("kms_dns_servers_agree", dns_zone="healthy.kms.test") is None


def test_rogue_host_of_the_lab(seen: Samples) -> None:
    """A host that nobody asked for is marked, the one that is expected is not."""
    records = seen.series("kms_srv_record_expected", dns_zone="rogue.kms.test")
    expected = {record.labels["target"].partition(".")[0]: record.value for record in records}
    assert expected == {"kms1": 1, "desktop-4f7k2q9": 0}
    assert seen.value("kms_zone_hosts_expected", dns_zone="rogue.kms.test") == 1
    assert not seen.series("kms_srv_record_expected", dns_zone="healthy.kms.test")


def test_missing_host_of_the_lab(seen: Samples) -> None:
    """A host that is expected and not published is probed all the same, outside the zone's counts."""
    missing = {"target": "kms2.missing.kms.test"}
    assert seen.value("kms_srv_record_published", dns_zone="missing.kms.test", **missing) == 0
    assert seen.value("kms_srv_record_expected", dns_zone="missing.kms.test", **missing) == 1
    assert seen.value("kms_host_up", **missing) == 1
    assert seen.value("kms_zone_hosts", dns_zone="missing.kms.test") == 1
    assert seen.value("kms_zone_hosts_expected", dns_zone="missing.kms.test") == 2


def test_static_hosts_of_the_lab(seen: Samples) -> None:
    """A host assigned by name and by address has a verdict for either; an address has no DNS server."""
    by_name = {"target": "kms.closed.kms.test"}
    by_address = {"target": "127.16.88.101", "dns_server": ""}
    assert seen.state("kms_static_host_verdict", "verdict", **by_name) == "port_closed"
    assert seen.state("kms_static_host_verdict", "verdict", **by_address) == "port_closed"
    assert seen.state("kms_static_host_verdict", "verdict", target="kms-static.healthy.kms.test") == "ok"


def test_clients_of_the_lab(seen: Samples) -> None:
    """A client passes over suffixes without records, and over one that fails, to the first that has some."""
    client = {"client": "roaming-laptop"}
    assert seen.state("kms_client_profile_verdict", "verdict", **client) == "ok"
    assert seen.labels("kms_client_profile_zone_info", "dns_zone", **client) == {"healthy.kms.test"}
    client = {"client": "branch-workgroup"}
    assert seen.state("kms_client_profile_verdict", "verdict", **client) == "ok"
    assert seen.labels("kms_client_profile_zone_info", "dns_zone", **client) == {"branch.kms.test"}


def test_suffix_that_is_no_zone(seen: Samples) -> None:
    """A suffix that only a client searches is probed like a zone, and is none in the metrics."""
    about_zones = [sample for sample in seen.samples if sample.labels.get("dns_zone") == "branch.kms.test"]
    assert {sample.name for sample in about_zones} == {"kms_client_profile_zone_info"}
    assert seen.labels("kms_host_up", "target") >= {"kms.branch.kms.test"}


# --- BIND, and changes


@pytest.fixture
def listener(lab: Lab) -> Listener:
    """Listen where the KMS hosts of a test are."""
    return lab.listener()


def wait_for_verdict(exporter: Exporter, verdict: str, **labels: object) -> Samples:
    """Scrape until the zone has this verdict."""
    labels.setdefault("dns_zone", ZONE)
    return exporter.wait_for(
        lambda seen: seen.state("kms_client_verdict", "verdict", **labels) == verdict, f"it is {verdict}"
    )


def test_record_vanishes_while_its_host_answers(lab: Lab, listener: Listener) -> None:
    """When the record goes and the host stays, the verdict is about the record and the host is still up."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    exporter = lab.exporter(config(zone(ZONE, named.server)))
    wait_for_verdict(exporter, "ok")

    named.update(ZONE, f"delete {NAME} SRV")

    seen = wait_for_verdict(exporter, "srv_missing")
    assert seen.value("kms_client_likely_error_info", code="0x8007232B", certainty="high") == 1
    assert seen.value("kms_srv_record_published", target=KMS1) == 0
    assert seen.value("kms_host_up", target=KMS1) == 1
    named.update(ZONE, f"add {NAME} 60 SRV 0 0 {listener.port} {KMS1}.")
    seen = wait_for_verdict(exporter, "ok")
    assert not seen.series("kms_client_likely_error_info")


def test_dns_server_dies(lab: Lab, listener: Listener) -> None:
    """While a DNS server is away its clients meet that, though the hosts it named are still up."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    exporter = lab.exporter(config(zone(ZONE, named.server)))
    wait_for_verdict(exporter, "ok")
    named.kill()
    seen = wait_for_verdict(exporter, "dns_failed")
    assert seen.value("kms_host_up", target=KMS1) == 1
    assert not seen.series("kms_client_first_attempt_success_ratio")
    named.restart()
    wait_for_verdict(exporter, "ok")


def test_service_stops_behind_an_open_port(lab: Lab) -> None:
    """What listens decides: a silent peer is no KMS host that is down, and another program none at all."""
    silent, banner = lab.silent_port(), lab.banner()
    records = (srv("kms1", silent.port), srv("kms2", lab.closed_port().port))
    named = lab.named({ZONE: zone_file(*HOSTS, *records)})
    exporter = lab.exporter(config(zone(ZONE, named.server)))
    wait_for_verdict(exporter, "kms_silent")
    named.update(ZONE, f"add {NAME} 60 SRV 0 0 {banner.port} {KMS1}.")
    wait_for_verdict(exporter, "not_kms")


def test_not_allowed(lab: Lab, listener: Listener) -> None:
    """Where the configuration forbids to look, nothing is said of the hosts."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    keys = {"probe": {"networks": ["192.0.2.0/24"]}}
    exporter = lab.exporter(config(zone(ZONE, named.server), **keys))
    seen = wait_for_verdict(exporter, "unknown")
    assert seen.labels("kms_endpoint_failure", "reason") == {"not_allowed"}
    assert not seen.series("kms_client_likely_error_info")
    assert not seen.series("kms_client_first_attempt_success_ratio")
    assert listener.accepted == 0


def test_without_the_bind(lab: Lab) -> None:
    """With probe.rpc_bind off an open port is enough, and the help says that this is all it says."""
    silent = lab.silent_port()
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", silent.port))})
    keys = {"probe": {"networks": ["127.0.0.0/8"], "rpc_bind": False}}
    exporter = lab.exporter(config(zone(ZONE, named.server), **keys))
    seen = wait_for_verdict(exporter, "ok")
    assert not seen.series("kms_endpoint_rpc_bind_seconds")
    text = exporter.get("/metrics").text
    for name in ("kms_endpoint_up", "kms_endpoint_rpc_bind_seconds", "kms_client_verdict"):
        [line] = [line for line in text.splitlines() if line.startswith(f"# HELP {name} ")]
        assert "probe.rpc_bind is off" in line


def test_expectations_change_by_reload(lab: Lab, listener: Listener) -> None:
    """What is expected can change without a check out of turn, and what is not expected any more leaves."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    exporter = lab.exporter(config(zone(ZONE, named.server, expected=[f"{KMS2}:{listener.port}"])))
    seen = exporter.wait_for_value(1, "kms_host_up", target=KMS2)
    assert seen.value("kms_srv_record_expected", target=KMS1) == 0
    assert seen.value("kms_srv_record_published", target=KMS2) == 0
    exporter.write_config(config(zone(ZONE, named.server, expected=[f"{KMS1}:{listener.port}"])))
    assert exporter.post("/-/reload").status == http.HTTPStatus.OK
    seen = exporter.metrics()
    assert seen.value("kms_srv_record_expected", target=KMS1) == 1
    assert not seen.series("kms_srv_record_published", target=KMS2)
    assert not seen.series("kms_host_up", target=KMS2)


def two_servers(lab: Lab, listener: Listener) -> tuple[Named, Named]:
    """Start two primaries of the same zone, the second with its records in another order."""
    records = [srv("kms1", listener.port), srv("kms2", listener.port)]
    return (
        lab.named({ZONE: zone_file(*HOSTS, *records)}),
        lab.named({ZONE: zone_file(*HOSTS, *reversed(records), serial=7, ttl_seconds=5)}),
    )


def test_agreement(lab: Lab, listener: Listener) -> None:
    """Order, TTL and serial are no difference between servers; a record is, and so is its absence."""
    one, other = two_servers(lab, listener)
    exporter = lab.exporter(config(zone(ZONE, one.server, other.server)))
    exporter.wait_for_value(1, "kms_dns_servers_agree", dns_zone=ZONE)
    other.update(ZONE, f"delete {NAME} SRV")
    exporter.wait_for_value(0, "kms_dns_servers_agree", dns_zone=ZONE)
    one.update(ZONE, f"delete {NAME} SRV")
    exporter.wait_for_value(1, "kms_dns_servers_agree", dns_zone=ZONE)
    other.kill()
    exporter.wait_for_value(None, "kms_dns_servers_agree", dns_zone=ZONE)


def test_client_follows_its_suffixes(lab: Lab, listener: Listener) -> None:
    """A client moves to the next suffix when the first loses its records, and back when they return."""
    branch = f"branch.{ZONE}"
    named = lab.named(
        {
            ZONE: zone_file(*HOSTS, srv("kms1", lab.closed_port().port)),
            branch: zone_file(*HOSTS, srv("kms1", listener.port)),
        }
    )
    client = {"name": "branch-workgroup", "suffixes": [branch, ZONE], "dns_servers": [named.server]}
    exporter = lab.exporter(config(clients=[client]))

    def wait(verdict: str, won: set[str]) -> None:
        exporter.wait_for(
            lambda seen: (
                seen.state("kms_client_profile_verdict", "verdict", client="branch-workgroup") == verdict
                and seen.labels("kms_client_profile_zone_info", "dns_zone") == won
            ),
            f"{verdict} by {won}",
        )

    wait("ok", {branch})
    named.update(branch, f"delete _vlmcs._tcp.{branch}. SRV")
    wait("port_closed", {ZONE})
    named.update(ZONE, f"delete {NAME} SRV")
    wait("srv_missing", set())
    assert not exporter.metrics().series("kms_srv_lookup_status")
