"""Tests of the ladder: which rungs hold, by what was seen of a zone's hosts or of a static one."""

from collections.abc import Sequence
from typing import Any

import pytest

from exporter.diagnosis import HostSight, Mark, ServerDiagnosis, StaticDiagnosis, Verdict
from exporter.diagnosis.ladder import Rung, static_ladder, zone_ladder
from exporter.model import Host, IgnoredReason, LookupStatus, ProbeFailure, Record, SrvLookup
from exporter.trace import show_milliseconds
from tests.builders import SERVER, TARGET, addresses, answer, endpoint, host, probed, record, server_diagnosis

OTHER = "kms2.contoso.test"
RUNGS = ["DNS server answers", "SRV records", "Targets resolve", "TCP port is open", "KMS answers"]
MARKS = {
    "+": Mark.PASSED,
    "!": Mark.PARTLY,
    "x": Mark.FAILED,
    "?": Mark.UNKNOWN,
    "-": Mark.NOT_REACHED,
}
NXDOMAIN = addresses(TARGET)
PORT_0 = answer(record(port=0), record("kms2.contoso.test", 0), ttl_seconds=60)
UP = None


def seen(*outcomes: str | None, target: str = TARGET) -> HostSight:
    """Show a host with an address for each outcome of a probe: None where it is up, else the failure."""
    found = [f"192.0.2.{number}" for number, _ in enumerate(outcomes, start=1)]
    probes = (
        probed(endpoint(target, address=address), ProbeFailure(outcome) if outcome else None)
        for address, outcome in zip(found, outcomes, strict=True)
    )
    return HostSight(host=host(target), lookup=addresses(target, *found), probes=tuple(probes))


def other(*outcomes: str | None) -> HostSight:
    """Show the second host of a zone in the same way."""
    return seen(*outcomes, target=OTHER)


def server(*hosts: HostSight, lookup: SrvLookup | None = None) -> ServerDiagnosis:
    """Diagnose a zone whose records name these hosts, or with this lookup."""
    found = lookup or aa(*(record(sight.host.target) for sight in hosts))
    return server_diagnosis(found, *hosts)


def aa(*records: Record, **fields: Any) -> SrvLookup:
    """Build an authoritative answer."""
    return answer(*records, **{"authoritative": True, "ttl_seconds": 60} | fields)


def static(sight: HostSight) -> StaticDiagnosis:
    """Diagnose a static host."""
    return StaticDiagnosis(dns_server=SERVER, sight=sight)


def marks(rungs: Sequence[Rung]) -> str:
    """Write the marks of a ladder, a letter each."""
    letters = {mark: letter for letter, mark in MARKS.items()}
    return "".join(letters[rung.mark] for rung in rungs)


@pytest.mark.parametrize(
    ("hosts", "verdict", "expected"),
    [
        ([seen(UP)], "ok", "+++++"),
        ([seen(UP), other(UP)], "ok", "+++++"),
        ([seen("connection_refused", UP)], "ok", "+++++"),  # one address of a host is enough
        ([seen(UP), other()], "degraded", "++!++"),
        ([seen(UP), other("connection_refused")], "degraded", "+++!+"),
        ([seen(UP), other("timeout")], "degraded", "+++!+"),
        ([seen(UP), other("rpc_timeout")], "degraded", "++++!"),
        ([seen(UP), other("not_rpc")], "degraded", "++++!"),
        ([seen(UP), other("not_allowed")], "degraded", "+++!+"),
        ([seen()], "target_unresolvable", "++x--"),
        ([seen(), other()], "target_unresolvable", "++x--"),
        ([seen(), other("timeout")], "port_filtered", "++!x-"),
        ([seen("timeout")], "port_filtered", "+++x-"),
        ([seen("unreachable")], "port_filtered", "+++x-"),
        ([seen("connection_refused")], "port_closed", "+++x-"),
        ([seen("connection_reset")], "port_closed", "+++x-"),
        ([seen("connection_refused"), other("timeout")], "port_closed", "+++x-"),
        ([seen("connection_refused"), other("not_allowed")], "port_closed", "+++x-"),
        ([seen("rpc_timeout")], "kms_silent", "++++x"),
        ([seen("rpc_closed")], "kms_silent", "++++x"),
        ([seen("rpc_busy")], "kms_silent", "++++x"),
        ([seen("rpc_busy"), other("connection_refused")], "kms_silent", "+++!x"),
        ([seen("not_rpc")], "not_kms", "++++x"),
        ([seen("interface_unknown")], "not_kms", "++++x"),
        ([seen("rpc_rejected")], "not_kms", "++++x"),
        ([seen("not_allowed")], "unknown", "+++?-"),
        ([seen("local_error")], "unknown", "+++?-"),
        ([seen("local_error"), other("not_allowed")], "unknown", "+++?-"),
    ],
)
def test_hosts_of_a_zone(hosts: Sequence[HostSight], verdict: str, expected: str) -> None:
    """Each rung passes, partly or wholly, what reached it; those that nothing reached are left open."""
    found = server(*hosts)
    assert found.verdict.value == verdict
    rungs = zone_ladder(found, rpc_bind=True)
    assert [rung.name for rung in rungs] == RUNGS
    assert marks(rungs) == expected


@pytest.mark.parametrize(
    ("lookup", "verdict", "expected", "detail"),
    [
        *(
            (answer(status=status), "dns_failed", "x----", status.value)
            for status in LookupStatus
            if not status.usable and status is not LookupStatus.LOCAL_ERROR
        ),
        (answer(status=LookupStatus.LOCAL_ERROR), "unknown", "?----", "local_error"),
        (aa(status=LookupStatus.NXDOMAIN), "srv_missing", "+x---", "none (nxdomain)"),
        (aa(status=LookupStatus.NODATA), "srv_missing", "+x---", "none (nodata)"),
        (aa(record(".", 0)), "srv_declined", "+x---", '"."'),
        (PORT_0, "port_closed", "+x---", "2 of them unusable"),
    ],
)
def test_zone_without_hosts(lookup: SrvLookup, verdict: str, expected: str, detail: str) -> None:
    """The rung that a zone fails on says why, and those above it are not reached."""
    found = server(lookup=lookup)
    assert found.verdict.value == verdict
    rungs = zone_ladder(found, rpc_bind=True)
    assert marks(rungs) == expected
    assert detail in next(rung.detail for rung in rungs if rung.mark in {Mark.FAILED, Mark.UNKNOWN})


def test_names_that_nobody_could_look_up() -> None:
    """Where this machine could ask for no target, nobody says that targets do not resolve."""
    unseen = HostSight(host=host(), lookup=addresses(TARGET, failure=LookupStatus.LOCAL_ERROR))
    assert marks(zone_ladder(server(unseen), rpc_bind=True)) == "++?--"
    assert marks(zone_ladder(server(unseen, other(UP)), rpc_bind=True)) == "++!++"
    assert marks(static_ladder(static(unseen), rpc_bind=True)) == "?--"


def test_port_0_beside_a_good_record() -> None:
    """Where a record of port 0 makes a zone degraded, a rung shows it."""
    found = server(seen(UP), lookup=aa(record(), record(OTHER, 0)))
    assert found.verdict is Verdict.DEGRADED
    assert marks(zone_ladder(found, rpc_bind=True)) == "+!+++"


def test_records_beyond_the_limit() -> None:
    """Records that a limit cut are told apart from those that nobody can use."""
    cut = {IgnoredReason.RECORDS_PER_ZONE: 50, IgnoredReason.MALFORMED: 1}
    found = server(seen(UP), lookup=aa(record(), record_count=52, ignored=cut))
    rung = zone_ladder(found, rpc_bind=True)[1]
    assert rung.detail == "52, TTL 60 s, 1 of them unusable, 50 of them cut by limits.records_per_zone"


def test_records_that_cannot_be_used() -> None:
    """The rung of the records counts all of them, and tells how many nobody can use."""
    found = server(seen(UP), lookup=aa(record(), record(OTHER, 0)))
    assert zone_ladder(found, rpc_bind=True)[1].detail == "2, TTL 60 s, 1 of them unusable"


def test_every_verdict_stops_somewhere() -> None:
    """Only a zone that is wholly well has a ladder without a mark of trouble."""
    assert {verdict for verdict in Verdict if not verdict.works} == {
        server(*hosts, lookup=lookup).verdict
        for hosts, lookup in [
            ([], answer(status=LookupStatus.SERVFAIL)),
            ([], aa(status=LookupStatus.NODATA)),
            ([], aa(record(".", 0))),
            *(([seen(*outcomes)], None) for outcomes in ([], ["timeout"], ["connection_refused"])),
            *(([seen(outcome)], None) for outcome in ("rpc_busy", "not_rpc", "local_error")),
        ]
        if set(marks(zone_ladder(server(*hosts, lookup=lookup), rpc_bind=True))) & {"x", "?"}
    }


def test_older_hosts_are_not_climbed() -> None:
    """While lookups fail, the hosts of an older answer are no part of the ladder."""
    found = server(seen(UP), lookup=answer(status=LookupStatus.TIMEOUT))
    assert marks(zone_ladder(found, rpc_bind=True)) == "x----"


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([seen(UP)], "++++?"),
        ([seen(UP), other("connection_refused")], "+++!?"),
        ([seen("connection_refused")], "+++x-"),
        ([seen()], "++x--"),
    ],
)
def test_without_rpc_bind(hosts: Sequence[HostSight], expected: str) -> None:
    """Where probes end with the handshake, nobody knows whether KMS answers."""
    rungs = zone_ladder(server(*hosts), rpc_bind=False)
    assert marks(rungs) == expected
    assert ("probe.rpc_bind" in rungs[-1].detail) == expected.endswith("?")


def test_counts() -> None:
    """Each rung tells how many of the hosts that reached it pass it."""
    four = [seen(UP), other("connection_refused"), seen(target="kms3"), seen("rpc_closed", target="kms4")]
    rungs = zone_ladder(server(*four), rpc_bind=True)
    assert [rung.detail for rung in rungs[2:]] == ["3 of 4", "2 of 3", "1 of 2"]
    assert marks(rungs) == "++!!!"


@pytest.mark.parametrize(("authoritative", "source"), [(True, "authoritative"), (False, "from a cache")])
def test_dns_answer(*, authoritative: bool, source: str) -> None:
    """The first rung tells how long the answer took and whence it came, the second what it holds."""
    lookup = aa(record(), authoritative=authoritative, duration_seconds=0.0021)
    rungs = zone_ladder(server(seen(UP), lookup=lookup), rpc_bind=True)
    assert rungs[0].detail == f"2.10 ms, {source}"
    assert rungs[1].detail == "1, TTL 60 s"


@pytest.mark.parametrize(
    ("sight", "expected"),
    [
        (seen(UP), "+++"),
        (seen(), "x--"),
        (seen("timeout"), "+x-"),
        (seen("connection_refused", "rpc_timeout"), "++x"),
        (seen("not_allowed"), "+?-"),
    ],
)
def test_static_host_by_name(sight: HostSight, expected: str) -> None:
    """The ladder of a static host begins with its name."""
    rungs = static_ladder(static(sight), rpc_bind=True)
    assert [rung.name for rung in rungs] == RUNGS[2:]
    assert marks(rungs) == expected


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
@pytest.mark.parametrize(
    ("outcome", "expected"), [(UP, "++"), ("timeout", "x-"), ("not_rpc", "+x"), ("local_error", "?-")]
)
def test_static_host_by_address(address: str, outcome: str | None, expected: str) -> None:
    """The ladder of an address has no rung for a name."""
    sight = HostSight(
        host=Host(target=address, port=1688),
        lookup=addresses(address, address),
        probes=(probed(endpoint(address, address=address), ProbeFailure(outcome) if outcome else None),),
    )
    rungs = static_ladder(static(sight), rpc_bind=True)
    assert [rung.name for rung in rungs] == RUNGS[3:]
    assert marks(rungs) == expected


def test_static_host_without_rpc_bind() -> None:
    """A static host that connects is not known to be KMS when nobody asked."""
    assert marks(static_ladder(static(seen(UP)), rpc_bind=False)) == "++?"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0.00 ms"), (0.000018, "0.02 ms"), (0.0123456, "12.35 ms"), (5, "5000.00 ms")],
)
def test_milliseconds(seconds: float, shown: str) -> None:
    """Durations are shown in milliseconds, to a hundredth."""
    assert show_milliseconds(seconds) == shown
