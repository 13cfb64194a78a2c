"""The real exporter and real BIND: what DNS publishes, changes and withdraws shows on /metrics."""

import time
from http import HTTPStatus

import pytest

from tests.services import (
    LOOPBACK,
    Exporter,
    Lab,
    Listener,
    Named,
    Samples,
    config,
    need_ipv6,
    srv,
    wait_until,
    zone,
    zone_file,
)

ZONE = "contoso.test"
NAME = f"_vlmcs._tcp.{ZONE}."
KMS1 = f"kms1.{ZONE}"
KMS2 = f"kms2.{ZONE}"
HOSTS = (f"kms1 A {LOOPBACK}", f"kms2 A {LOOPBACK}")


@pytest.fixture
def listener(lab: Lab) -> Listener:
    """Listen where the KMS hosts of a test are."""
    return lab.listener()


def watch(lab: Lab, *servers: Named, **keys: object) -> Exporter:
    """Start the exporter for one zone at these servers."""
    return lab.exporter(config(zone(ZONE, *(named.server for named in servers)), **keys))


def published(seen: Samples, target: str, port: int) -> float | None:
    """Look up `kms_srv_record_published` of one host."""
    return seen.value("kms_srv_record_published", dns_zone=ZONE, target=target, port=port)


# --- Records come, change and go


def test_added_record(lab: Lab, listener: Listener) -> None:
    """A record added to a zone that had none is probed, and shows with all its fields."""
    named = lab.named({ZONE: zone_file(*HOSTS)})
    exporter = watch(lab, named)
    seen = exporter.wait_for_status("nxdomain", ZONE)
    assert seen.value("kms_srv_records", dns_zone=ZONE, dns_server=named.server) == 0
    assert not seen.series("kms_srv_record_info")

    named.update(ZONE, f"add {NAME} 60 SRV 5 7 {listener.port} {KMS1}.")

    host = {"target": KMS1, "port": listener.port}
    seen = exporter.wait_for_value(1, "kms_endpoint_up", **host, address=LOOPBACK)
    at = {"dns_zone": ZONE, "dns_server": named.server}
    assert seen.status(ZONE, dns_server=named.server) == "ok"
    assert seen.value("kms_srv_records", **at) == 1
    assert seen.value("kms_srv_record_info", **at, **host, priority=5, weight=7) == 1
    assert seen.value("kms_srv_record_ttl_seconds", **at) == 60
    assert published(seen, KMS1, listener.port) == 1
    assert seen.value("kms_host_address_info", target=KMS1, dns_server=named.server, address=LOOPBACK) == 1
    assert seen.value("kms_host_up", **host) == 1
    assert seen.value("kms_zone_hosts", dns_zone=ZONE) == 1
    assert seen.value("kms_zone_hosts_up", dns_zone=ZONE) == 1


def test_changed_record(lab: Lab, listener: Listener) -> None:
    """A record with another port is another record; one with another priority is the same, changed."""
    other = lab.listener()
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    exporter = watch(lab, named)
    exporter.wait_for_value(1, "kms_srv_record_info", target=KMS1, port=listener.port, priority=0)

    named.update(
        ZONE,
        f"delete {NAME} SRV 0 0 {listener.port} {KMS1}.",
        f"add {NAME} 60 SRV 3 0 {listener.port} {KMS1}.",
    )
    seen = exporter.wait_for_value(1, "kms_srv_record_info", target=KMS1, port=listener.port, priority=3)
    assert len(seen.series("kms_srv_record_info")) == 1
    assert published(seen, KMS1, listener.port) == 1

    named.update(
        ZONE,
        f"delete {NAME} SRV 3 0 {listener.port} {KMS1}.",
        f"add {NAME} 60 SRV 3 0 {other.port} {KMS1}.",
    )
    seen = exporter.wait_for_value(1, "kms_endpoint_up", target=KMS1, port=other.port, address=LOOPBACK)
    assert seen.labels("kms_srv_record_info", "port") == {str(other.port)}
    assert published(seen, KMS1, listener.port) == 0
    assert published(seen, KMS1, other.port) == 1


def test_removed_record(lab: Lab, listener: Listener) -> None:
    """A removed record shows as not published, and its endpoint goes on being probed, until forgotten."""
    records = [srv("kms1", listener.port), srv("kms2", listener.port)]
    named = lab.named({ZONE: zone_file(*HOSTS, *records)})
    exporter = watch(lab, named, interval="2s", timeout="1500ms", forget_after="8s")
    exporter.wait_for_value(2, "kms_zone_hosts_up", dns_zone=ZONE)

    named.update(ZONE, f"delete {NAME} SRV 0 0 {listener.port} {KMS1}.")

    history: list[Samples] = []

    def forgotten(seen: Samples) -> bool:
        history.append(seen)
        return published(seen, KMS1, listener.port) is None

    last = exporter.wait_for(forgotten, "the vanished record is forgotten")
    vanished = [seen for seen in history if published(seen, KMS1, listener.port) == 0]
    probes = {seen.value("kms_endpoint_probes_total", target=KMS1, address=LOOPBACK) for seen in vanished}
    assert len(probes) > 2, "a vanished host goes on being probed"
    for seen in vanished:
        assert seen.labels("kms_srv_record_info", "target") == {KMS2}
        assert seen.value("kms_endpoint_up", target=KMS1, address=LOOPBACK) == 1
        assert seen.value("kms_zone_hosts", dns_zone=ZONE) == 1
        assert seen.value("kms_zone_hosts_up", dns_zone=ZONE) == 1
    assert [sample for sample in last.samples if sample.labels.get("target") == KMS1] == []
    assert published(last, KMS2, listener.port) == 1


def test_returning_record(lab: Lab, listener: Listener) -> None:
    """A record that comes back is published again, and its endpoint keeps its counters."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    exporter = watch(lab, named)
    exporter.wait_for_value(1, "kms_endpoint_up", target=KMS1, address=LOOPBACK)
    named.update(ZONE, f"delete {NAME} SRV")
    exporter.wait_for_value(0, "kms_srv_record_published", dns_zone=ZONE, target=KMS1)
    before = exporter.wait_for_growth("kms_endpoint_probes_total", 2, target=KMS1, address=LOOPBACK)

    named.update(ZONE, f"add {NAME} 60 SRV 0 0 {listener.port} {KMS1}.")

    after = exporter.wait_for_value(1, "kms_srv_record_published", dns_zone=ZONE, target=KMS1)
    counter = "kms_endpoint_probes_total"
    assert (after.value(counter, target=KMS1) or 0) >= (before.value(counter, target=KMS1) or 0)
    assert after.value("kms_srv_records", dns_zone=ZONE) == 1


def test_moved_host(lab: Lab, listener: Listener) -> None:
    """A host that moves to another address is probed there, and its old address leaves /metrics."""
    named = lab.named({ZONE: zone_file("kms1 1 A 127.0.0.1", srv("kms1", listener.port))})
    exporter = watch(lab, named)
    exporter.wait_for_value(1, "kms_endpoint_up", target=KMS1, address="127.0.0.1")

    named.update(ZONE, f"delete {KMS1}. A", f"add {KMS1}. 1 A 127.0.0.2")

    seen = exporter.wait_for_value(0, "kms_endpoint_up", target=KMS1, address="127.0.0.2")
    assert seen.labels("kms_endpoint_up", "address") == {"127.0.0.2"}
    assert seen.labels("kms_endpoint_probes_total", "address") == {"127.0.0.2"}
    assert seen.labels("kms_host_address_info", "address") == {"127.0.0.2"}
    assert seen.value("kms_host_up", target=KMS1) == 0


# --- Servers, each a point of view


def test_servers_that_disagree(lab: Lab, listener: Listener) -> None:
    """Each DNS server has series of its own; a record counts as published while any server has it."""
    full = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port), srv("kms2", listener.port))})
    lagging = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port), serial=7)})
    exporter = watch(lab, full, lagging)

    seen = exporter.wait_for_value(2, "kms_zone_hosts_up", dns_zone=ZONE)
    assert seen.value("kms_srv_records", dns_zone=ZONE, dns_server=full.server) == 2
    assert seen.value("kms_srv_records", dns_zone=ZONE, dns_server=lagging.server) == 1
    assert seen.labels("kms_srv_record_info", "target", dns_server=full.server) == {KMS1, KMS2}
    assert seen.labels("kms_srv_record_info", "target", dns_server=lagging.server) == {KMS1}
    assert seen.value("kms_dns_soa_serial", dns_zone=ZONE, dns_server=full.server) == 1
    assert seen.value("kms_dns_soa_serial", dns_zone=ZONE, dns_server=lagging.server) == 7
    assert published(seen, KMS1, listener.port) == 1
    assert published(seen, KMS2, listener.port) == 1
    assert seen.value("kms_dns_servers_agree", dns_zone=ZONE) == 0

    lagging.update(ZONE, f"add {NAME} 60 SRV 0 0 {listener.port} {KMS2}.")
    exporter.wait_for_value(1, "kms_dns_servers_agree", dns_zone=ZONE)


def test_stopped_server(lab: Lab, listener: Listener) -> None:
    """While a server is down its last answer stays published and probed, and nothing current is claimed."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    exporter = watch(lab, named)
    exporter.wait_for_value(1, "kms_endpoint_up", target=KMS1, address=LOOPBACK)

    assert named.stop() == 0
    exporter.wait_for(lambda seen: seen.status(ZONE) in {"timeout", "unreachable"}, "the lookup fails")
    seen = exporter.wait_for_growth("kms_endpoint_probes_total", 3, target=KMS1, address=LOOPBACK)
    assert seen.status(ZONE) in {"timeout", "unreachable"}
    assert seen.value("kms_srv_records", dns_zone=ZONE) is None
    assert seen.series("kms_srv_record_info") == []
    assert seen.value("kms_srv_record_ttl_seconds", dns_zone=ZONE) is None
    assert (seen.value("kms_srv_lookup_failures_total", dns_zone=ZONE) or 0) >= 3
    assert published(seen, KMS1, listener.port) == 1
    assert seen.value("kms_endpoint_up", target=KMS1, address=LOOPBACK) == 1
    assert seen.value("kms_zone_hosts", dns_zone=ZONE) == 1
    assert seen.value("kms_zone_hosts_up", dns_zone=ZONE) == 1

    named.restart()
    seen = exporter.wait_for_status("ok", ZONE)
    assert seen.value("kms_srv_records", dns_zone=ZONE) == 1
    assert seen.value("kms_srv_record_info", dns_zone=ZONE, target=KMS1) == 1


def test_one_of_two_servers_stopped(lab: Lab, listener: Listener) -> None:
    """A record that is gone at the one server that answers is still published at the one that is down."""
    records = zone_file(*HOSTS, srv("kms1", listener.port))
    silent, answering = lab.named({ZONE: records}), lab.named({ZONE: records})
    exporter = watch(lab, silent, answering)
    exporter.wait_for(lambda seen: len(seen.series("kms_srv_records")) == 2)
    assert silent.stop() == 0
    exporter.wait_for(
        lambda seen: seen.status(ZONE, dns_server=silent.server) in {"timeout", "unreachable"},
        "the lookup fails",
    )

    answering.update(ZONE, f"delete {NAME} SRV")

    seen = exporter.wait_for_status("nxdomain", ZONE, dns_server=answering.server)
    assert published(seen, KMS1, listener.port) == 1
    silent.restart()
    silent.update(ZONE, f"delete {NAME} SRV")
    exporter.wait_for_value(0, "kms_srv_record_published", dns_zone=ZONE, target=KMS1)


def test_cache(lab: Lab, listener: Listener) -> None:
    """A primary's answer is authoritative, a cache's is not, and its TTL counts down."""
    primary = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port), ttl_seconds=300)})
    forward = f"recursion yes; forward only; forwarders {{ {LOOPBACK} port {primary.port}; }};"
    cache = lab.named({}, options=forward)
    exporter = watch(lab, primary, cache)

    ttl = "kms_srv_record_ttl_seconds"
    seen = exporter.wait_for(lambda seen: (seen.value(ttl, dns_server=cache.server) or 300) <= 298)
    assert seen.value(ttl, dns_server=primary.server) == 300
    assert seen.value("kms_dns_answer_authoritative", dns_zone=ZONE, dns_server=primary.server) == 1
    assert seen.value("kms_dns_answer_authoritative", dns_zone=ZONE, dns_server=cache.server) == 0
    assert seen.value("kms_dns_soa_serial", dns_zone=ZONE, dns_server=cache.server) == 1


def test_serial(lab: Lab) -> None:
    """The serial of a zone follows its updates."""
    named = lab.named({ZONE: zone_file(serial=2024010100)})
    exporter = watch(lab, named)
    exporter.wait_for_value(2024010100, "kms_dns_soa_serial", dns_zone=ZONE, dns_server=named.server)

    named.update(ZONE, f"add {KMS1}. 60 A {LOOPBACK}")

    assert named.serial(ZONE) == 2024010101
    exporter.wait_for_value(2024010101, "kms_dns_soa_serial", dns_zone=ZONE, dns_server=named.server)


# --- Every kind of answer


@pytest.fixture(scope="module")
def answers(module_lab: Lab) -> tuple[Named, Samples]:
    """Look at zones that answer in different ways, until each was looked up more than once."""
    named = module_lab.named(
        {
            "ok.test": zone_file(f"kms1 A {LOOPBACK}", srv("kms1", module_lab.closed_port().port)),
            "nxdomain.test": zone_file(),
            "nodata.test": zone_file('_vlmcs._tcp TXT "no SRV"'),
            "servfail.test": "this is not a zone file\n",
        }
    )
    names = ["ok.test", "nxdomain.test", "nodata.test", "servfail.test", "refused.test"]
    exporter = module_lab.exporter(config(*(zone(name, named.server) for name in names)))
    seen = exporter.wait_for(
        lambda seen: all((seen.value("kms_srv_lookups_total", dns_zone=name) or 0) > 1 for name in names)
    )
    return named, seen


@pytest.mark.parametrize(
    ("status", "records"),
    [("ok", 1), ("nxdomain", 0), ("nodata", 0), ("servfail", None), ("refused", None)],
)
def test_answer(answers: tuple[Named, Samples], status: str, records: float | None) -> None:
    """Each kind of answer has a status of its own, and only a usable one has a number of records."""
    named, seen = answers
    at = {"dns_zone": f"{status}.test", "dns_server": named.server}
    assert seen.state("kms_srv_lookup_status", "status", **at) == status
    assert seen.labels("kms_srv_lookup_status", "status", **at) == {
        *("ok", "nxdomain", "nodata", "servfail"),
        *("refused", "bad_response", "timeout", "unreachable", "local_error"),
    }
    assert seen.value("kms_srv_records", **at) == records
    lookups = seen.value("kms_srv_lookups_total", **at)
    assert seen.value("kms_srv_lookup_failures_total", **at) == (lookups if records is None else 0)
    assert (seen.value("kms_srv_lookup_seconds", **at) or 0) > 0
    assert len(seen.series("kms_zone_hosts", dns_zone=at["dns_zone"])) == (records is not None)
    assert (seen.value("kms_exporter_last_check_timestamp_seconds", dns_zone=at["dns_zone"]) or 0) > 0


def test_lookup_histogram(answers: tuple[Named, Samples]) -> None:
    """The histogram of a server counts every SRV lookup there."""
    named, seen = answers
    lookups = sum(sample.value for sample in seen.series("kms_srv_lookups_total", dns_server=named.server))
    assert seen.value("kms_srv_lookup_duration_seconds_count", dns_server=named.server) == lookups


def test_answer_over_tcp(lab: Lab, listener: Listener) -> None:
    """Sixty records, which do not fit in UDP, are all there, for they are asked for over TCP."""
    targets = [f"a-rather-long-name-of-a-kms-host-{number}" for number in range(60)]
    addresses = [f"{target} A {LOOPBACK}" for target in targets]
    records = [srv(target, listener.port) for target in targets]
    named = lab.named({ZONE: zone_file(*addresses, *records)})
    exporter = watch(lab, named, interval="20s", timeout="15s")  # time to look at each of the sixty

    seen = exporter.wait_for(  # a lookup that is late leaves the hosts up, and no records of its own
        lambda seen: (
            seen.value("kms_zone_hosts_up", dns_zone=ZONE) == 60
            and seen.value("kms_srv_records", dns_zone=ZONE, dns_server=named.server) == 60
        )
    )
    assert len(seen.series("kms_srv_record_info", dns_zone=ZONE)) == 60
    assert len(seen.series("kms_endpoint_up")) == 60
    assert [query for query in named.queries() if query.rdtype == "SRV" and "T" in query.flags]


def test_limit_of_records(lab: Lab, listener: Listener) -> None:
    """Records beyond the limit are counted, not followed, and the same ones are kept every time."""
    records = [srv("kms1", port) for port in range(1, 9)]
    named = lab.named(
        {ZONE: zone_file(*HOSTS, *records)}, options="recursion no; rrset-order { order random; };"
    )
    exporter = watch(lab, named, limits={"records_per_zone": 3})

    seen = exporter.wait_for_growth("kms_srv_lookups_total", 4, dns_zone=ZONE)
    assert seen.value("kms_srv_records", dns_zone=ZONE) == 8
    assert seen.labels("kms_srv_record_info", "port") == {"1", "2", "3"}
    assert seen.labels("kms_srv_record_published", "port") == {"1", "2", "3"}
    ignored = seen.value("kms_exporter_records_ignored_total", dns_zone=ZONE, reason="records_per_zone")
    assert (ignored or 0) >= 4 * 5


def test_name_that_is_no_zone_of_its_own(lab: Lab, listener: Listener) -> None:
    """A configured name may be inside a zone of the DNS, without an SOA of its own."""
    name = f"dept.{ZONE}"
    named = lab.named({ZONE: zone_file(*HOSTS, f"_vlmcs._tcp.dept SRV 0 0 {listener.port} kms1")})
    exporter = lab.exporter(config(zone(name, named.server)))

    seen = exporter.wait_for_value(1, "kms_zone_hosts_up", dns_zone=name)
    assert seen.status(name) == "ok"
    assert seen.value("kms_srv_record_info", dns_zone=name, target=KMS1, port=listener.port) == 1


# --- Targets and their addresses


def test_limit_of_vanished_records(lab: Lab, listener: Listener) -> None:
    """Of many records that vanish, no more than the limit are remembered, and the rest are counted."""
    records = [srv("kms1", port) for port in range(1, 9)]
    named = lab.named({ZONE: zone_file(*HOSTS, *records, srv("kms2", listener.port))})
    exporter = watch(lab, named, limits={"vanished_per_zone": 2})
    exporter.wait_for_value(9, "kms_srv_records", dns_zone=ZONE)

    named.update(ZONE, *(f"delete {NAME} SRV 0 0 {port} {KMS1}." for port in range(1, 9)))

    seen = exporter.wait_for_value(1, "kms_srv_records", dns_zone=ZONE)
    vanished = [sample for sample in seen.series("kms_srv_record_published") if sample.value == 0]
    assert len(vanished) == 2
    assert len(seen.series("kms_endpoint_up", target=KMS1)) == 2
    reason = {"dns_zone": ZONE, "reason": "vanished_per_zone"}
    assert seen.value("kms_exporter_records_ignored_total", **reason) == 6


def test_target_that_is_an_alias(lab: Lab, listener: Listener) -> None:
    """A target that is an alias is noticed, and probed where the alias leads."""
    named = lab.named({ZONE: zone_file(*HOSTS, "www CNAME kms1", srv("www", listener.port))})
    exporter = watch(lab, named)

    alias = f"www.{ZONE}"
    seen = exporter.wait_for_value(1, "kms_endpoint_up", target=alias, address=LOOPBACK)
    assert seen.value("kms_host_alias_info", target=alias, dns_server=named.server, alias_of=KMS1) == 1
    assert seen.value("kms_host_address_info", target=alias, address=LOOPBACK) == 1
    named.update(ZONE, f"delete www.{ZONE}. CNAME", f"add www.{ZONE}. 1 A {LOOPBACK}")
    exporter.wait_for(lambda seen: not seen.series("kms_host_alias_info"), "it is no alias any more")


def test_target_that_declines(lab: Lab) -> None:
    """The target `.` is a record, but names no host."""
    named = lab.named({ZONE: zone_file("_vlmcs._tcp SRV 0 0 0 .")})
    exporter = watch(lab, named)

    seen = exporter.wait_for_value(1, "kms_srv_records", dns_zone=ZONE, dns_server=named.server)
    assert seen.value("kms_srv_record_info", dns_zone=ZONE, target=".", port=0) == 1
    assert seen.value("kms_zone_hosts", dns_zone=ZONE) == 0
    assert seen.series("kms_host_up") == []
    assert seen.series("kms_host_lookup_failure") == []
    assert seen.series("kms_endpoint_probes_total") == []


def test_target_without_address(lab: Lab) -> None:
    """A target that cannot be resolved says why, and its host is down."""
    named = lab.named(
        {
            ZONE: zone_file(
                'kms2 TXT "no address"', srv("kms1", 1688), srv("kms2", 1688), srv("kms.refused.test.", 1688)
            )
        }
    )
    exporter = watch(lab, named)

    seen = exporter.wait_for(lambda seen: len(seen.series("kms_host_up")) == 3)
    at = {"dns_server": named.server}
    assert seen.value("kms_host_lookup_failure", **at, target=KMS1, reason="nxdomain") == 1
    assert seen.value("kms_host_lookup_failure", **at, target=KMS2, reason="nodata") == 1
    assert seen.value("kms_host_lookup_failure", **at, target="kms.refused.test", reason="refused") == 1
    assert len(seen.series("kms_host_lookup_failure")) == 3
    assert {sample.value for sample in seen.series("kms_host_up")} == {0}
    assert seen.value("kms_zone_hosts_up", dns_zone=ZONE) == 0
    assert seen.series("kms_endpoint_up") == []

    named.update(ZONE, f"add {KMS1}. 60 A {LOOPBACK}")
    exporter.wait_for(lambda seen: not seen.series("kms_host_lookup_failure", target=KMS1), "it resolves")


def test_hostile_names(lab: Lab, listener: Listener) -> None:
    r"""Names with quotes, newlines and other bytes leave /metrics well formed, and show as `\DDD`."""
    named = lab.named({ZONE: zone_file()})
    shown = {
        r"quote\"": r"quote\034",
        r"new\010line": r"new\010line",
        r"caf\195\169": r"caf\195\169",
        r"back\\slash": r"back\092slash",
        r"dot\.ted": r"dot\046ted",
        r"brace\"} 1": r"brace\034\125\0321",
        "UPPER": "upper",
    }
    for label in shown:
        escaped = label.replace(" ", r"\032")
        named.update(
            ZONE,
            f"add {escaped}.{ZONE}. 60 A {LOOPBACK}",
            f"add {NAME} 60 SRV 0 0 {listener.port} {escaped}.{ZONE}.",
        )
    exporter = watch(lab, named)

    seen = exporter.wait_for_value(len(shown), "kms_zone_hosts_up", dns_zone=ZONE)
    targets = {f"{label}.{ZONE}" for label in shown.values()}
    for name in ("kms_srv_record_info", "kms_host_address_info", "kms_host_up", "kms_endpoint_up"):
        assert seen.labels(name, "target") == targets


def test_names_are_compared_without_case(lab: Lab, listener: Listener) -> None:
    """Names in capital letters are shown in lower case, and make one host with the same in small ones."""
    named = lab.named({ZONE: zone_file(*HOSTS, f"_vlmcs._tcp SRV 0 0 {listener.port} KMS1.Contoso.TEST.")})
    static = f"kms1.CONTOSO.test:{listener.port}"
    exporter = lab.exporter(
        config(zone("CONTOSO.Test.", named.server), hosts=[static], dns={"servers": [named.server]})
    )

    seen = exporter.wait_for_value(1, "kms_zone_hosts_up", dns_zone=ZONE)
    assert len(seen.series("kms_endpoint_up")) == 1
    assert seen.value("kms_endpoint_up", target=KMS1, port=listener.port, address=LOOPBACK) == 1


@pytest.mark.parametrize(
    ("target", "minimal", "asked"),
    [
        (KMS1, "no", {"AAAA"}),
        (KMS1, "yes", {"A", "AAAA"}),
        ("kms1.fabrikam.test", "no", {"A", "AAAA"}),
    ],
    ids=["glue", "no glue", "no glue from another zone"],
)
def test_glue(lab: Lab, listener: Listener, target: str, minimal: str, asked: set[str]) -> None:
    """Addresses that come with the records are used, and only what did not come is asked for."""
    zones = {
        ZONE: zone_file(*HOSTS, srv(f"{target}.", listener.port)),
        "fabrikam.test": zone_file(f"kms1 A {LOOPBACK}"),
    }
    named = lab.named(zones, options=f"recursion no; minimal-responses {minimal};")
    exporter = watch(lab, named)

    exporter.wait_for_value(1, "kms_endpoint_up", target=target, address=LOOPBACK)
    seen = exporter.wait_for_growth("kms_srv_lookups_total", 2, dns_zone=ZONE)
    assert {query.rdtype for query in named.queries() if query.name == target} == asked
    assert seen.labels("kms_host_address_info", "address", target=target) == {LOOPBACK}
    assert seen.series("kms_host_lookup_failure") == []


def test_every_address(lab: Lab, listener: Listener) -> None:
    """Every address of a host is an endpoint of its own, and one that answers makes the host up."""
    need_ipv6()
    lab.listener("::1", listener.port)
    addresses = ["kms1 A 127.0.0.1", "kms1 A 127.0.0.2", "kms1 AAAA ::1"]
    named = lab.named({ZONE: zone_file(*addresses, srv("kms1", listener.port))})
    exporter = watch(lab, named, probe={"networks": ["127.0.0.0/8", "::1/128"]})

    seen = exporter.wait_for_value(1, "kms_zone_hosts_up", dns_zone=ZONE)
    host = {"target": KMS1, "port": listener.port}
    assert seen.labels("kms_endpoint_up", "address") == {"127.0.0.1", "127.0.0.2", "::1"}
    assert seen.value("kms_endpoint_up", **host, address="127.0.0.1") == 1
    assert seen.value("kms_endpoint_up", **host, address="127.0.0.2") == 0
    assert seen.value("kms_endpoint_up", **host, address="::1") == 1
    failures = seen.series("kms_endpoint_failure")
    assert [(sample.labels["address"], sample.labels["reason"]) for sample in failures] == [
        ("127.0.0.2", "connection_refused")
    ]
    assert seen.value("kms_host_up", **host) == 1


@pytest.mark.parametrize(
    "probe",
    [{}, {"networks": ["10.0.0.0/8"]}, {"networks": ["127.0.0.0/8"], "ports": [1688]}],
    ids=["loopback by default", "network", "port"],
)
def test_endpoint_that_may_not_be_probed(lab: Lab, listener: Listener, probe: dict[str, object]) -> None:
    """What the configuration does not allow is not connected to, and is said to be not allowed."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port))})
    exporter = watch(lab, named, probe=probe)

    exporter.wait_for_value(1, "kms_endpoint_failure", target=KMS1, address=LOOPBACK, reason="not_allowed")
    seen = exporter.wait_for_growth("kms_srv_lookups_total", 2, dns_zone=ZONE)
    assert seen.value("kms_endpoint_up", target=KMS1, address=LOOPBACK) == 0
    assert listener.accepted == 0


# --- What should be published, and what clients find


def test_expected_record(lab: Lab, listener: Listener) -> None:
    """A host that should be published is probed while it is missing; a reload changes what should be."""
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms2", listener.port))})

    def expecting(*hosts: str) -> dict[str, object]:
        expected = [f"{host}:{listener.port}" for host in hosts]
        return config(zone(ZONE, named.server, expected=expected))

    exporter = lab.exporter(expecting(KMS1, KMS2))
    host = {"target": KMS1, "port": listener.port}
    seen = exporter.wait_for_value(1, "kms_endpoint_up", **host, address=LOOPBACK)
    assert published(seen, KMS1, listener.port) == 0
    assert seen.value("kms_srv_record_expected", dns_zone=ZONE, **host) == 1
    assert seen.value("kms_zone_hosts_expected", dns_zone=ZONE) == 2
    assert seen.value("kms_zone_hosts", dns_zone=ZONE) == 1
    at = {"dns_zone": ZONE, "dns_server": named.server}
    assert seen.state("kms_client_verdict", "verdict", **at) == "ok"

    named.update(ZONE, f"add {NAME} 60 SRV 0 0 {listener.port} {KMS1}.")
    exporter.wait_for(lambda seen: published(seen, KMS1, listener.port) == 1)

    exporter.write_config(expecting(KMS1))
    assert exporter.post("/-/reload").status == HTTPStatus.OK
    seen = exporter.metrics()
    kms2 = {"target": KMS2, "port": listener.port}
    assert seen.value("kms_srv_record_expected", dns_zone=ZONE, **kms2) == 0
    assert seen.value("kms_endpoint_up", **kms2, address=LOOPBACK) == 1, "its results stay"


def test_search_of_a_client(lab: Lab, listener: Listener) -> None:
    """A kind of client ends up with the first of its suffixes that has records, whichever that is now."""
    branch = f"branch.{ZONE}"
    named = lab.named({ZONE: zone_file(*HOSTS, srv("kms1", listener.port)), branch: zone_file()})
    client = {"name": "branch", "suffixes": [branch, ZONE], "dns_servers": [named.server]}
    exporter = lab.exporter(config(clients=[client]))

    at = {"client": "branch", "dns_server": named.server}
    seen = exporter.wait_for_value(1, "kms_client_profile_zone_info", **at, dns_zone=ZONE)
    assert seen.state("kms_client_profile_verdict", "verdict", **at) == "ok"
    assert not seen.series("kms_srv_lookup_status"), "what a client searches is no zone"

    named.update(branch, f"add _vlmcs._tcp.{branch}. 60 SRV 0 0 {listener.port} gone.{branch}.")
    seen = exporter.wait_for_value(1, "kms_client_profile_zone_info", **at, dns_zone=branch)
    assert seen.state("kms_client_profile_verdict", "verdict", **at) == "target_unresolvable"


# --- Static hosts


def test_static_hosts(lab: Lab, listener: Listener) -> None:
    """A static host is resolved and probed without an SRV lookup; an address needs no DNS at all."""
    named = lab.named({ZONE: zone_file(*HOSTS)})
    hosts = [f"{KMS1}:{listener.port}", f"127.0.0.1:{listener.port}", f"gone.{ZONE}"]
    exporter = lab.exporter(config(hosts=hosts, dns={"servers": [named.server]}))

    timestamp = "kms_exporter_static_host_last_check_timestamp_seconds"
    seen = exporter.wait_for(lambda seen: len(seen.series(timestamp)) == 3)
    assert seen.value("kms_host_up", target=KMS1, port=listener.port) == 1
    assert seen.value("kms_endpoint_up", target="127.0.0.1", port=listener.port, address="127.0.0.1") == 1
    assert seen.value("kms_host_up", target="127.0.0.1", port=listener.port) == 1
    assert seen.value("kms_host_up", target=f"gone.{ZONE}", port=1688) == 0
    failure = {"target": f"gone.{ZONE}", "dns_server": named.server, "reason": "nxdomain"}
    assert seen.value("kms_host_lookup_failure", **failure) == 1
    assert "SRV" not in {query.rdtype for query in named.queries()}


# --- Economy


def test_shared_host_is_probed_once(lab: Lab, listener: Listener) -> None:
    """A host in five zones, at two servers, and assigned statically is connected to once per interval."""
    names = [f"site{number}.test" for number in range(5)]
    zones = {name: zone_file(srv(f"kms1.{ZONE}.", listener.port)) for name in names}
    zones[ZONE] = zone_file(*HOSTS)
    servers = [lab.named(zones).server, lab.named(zones).server]
    started = time.monotonic()
    exporter = lab.exporter(
        config(*names, hosts=[f"{KMS1}:{listener.port}"], dns={"servers": servers}),
    )

    seen = exporter.wait_for(
        lambda seen: all(seen.value("kms_zone_hosts_up", dns_zone=name) == 1 for name in names)
    )
    wait_until(lambda: listener.accepted >= 6 or None, "six connections")
    accepted, elapsed = listener.accepted, time.monotonic() - started
    assert accepted <= elapsed + 2
    assert len(seen.series("kms_endpoint_probes_total")) == 1
    exporter.wait_for(lambda seen: seen.value("kms_endpoint_probes_total") == listener.accepted)
