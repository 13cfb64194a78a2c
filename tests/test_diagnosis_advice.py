"""Tests of the advice: where to go and what to type, by verdict, reason, and what witnesses tell.

The sentences may be reworded; what is asserted of them is who and what they are about.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from exporter.diagnosis import HostSight, ServerDiagnosis, StaticDiagnosis, Verdict, ZoneDiagnosis
from exporter.diagnosis.advice import advise, advise_static, remark
from exporter.diagnosis.repairs import NextStep, Place
from exporter.model import Host, IgnoredReason, LookupStatus, ProbeFailure, Record, SrvLookup, is_address
from tests.builders import (
    TARGET,
    ZONE,
    addresses,
    answer,
    endpoint,
    host,
    probed,
    record,
    server_diagnosis,
    zone_view,
)

A, B, C = "192.0.2.53", "192.0.2.54", "192.0.2.55"
OTHER = "kms2.contoso.test"
ELSEWHERE = "kms.fabrikam.test"
LITERAL = "192.0.2.1"
UP = None

ASK = f"nslookup -type=srv _vlmcs._tcp.{ZONE} {A}"
PUBLISH = ("slmgr /dlv", "slmgr /sdns", "net stop sppsvc", "net start sppsvc")
FIREWALL = "Enable-NetFirewallRule -Name SPPSVC-In-TCP"
LISTENING = "Get-NetTCPConnection -State Listen -LocalPort"
CONNECT = f"Test-NetConnection {TARGET} -Port 1688"
REPLICATION = "repadmin /replsummary"

RECORD = "the record is at fault"
NOT_RECORD = "the record is not at fault"
NAME = "name is at fault"
PORT = "the port is at fault"
GONE = "the record is gone, the host is not"

CLIENT, HOST, DNS, EXPORTER = Place.CLIENT, Place.HOST, Place.DNS, Place.EXPORTER
LOCAL_MEANS = ["this machine", "how many files", "source_addresses", "packet filter"]
TRY_AGAIN = (CLIENT, (CONNECT,))
OPEN_PORT = [(HOST, (FIREWALL,)), TRY_AGAIN]
START_SERVICE = [(HOST, ("slmgr /dlv", "net start sppsvc")), TRY_AGAIN]


def seen(*outcomes: str | None, target: str = TARGET, port: int = 1688, **fields: Any) -> HostSight:
    """Show a host with an address for each outcome of a probe: None where it is up, else the failure."""
    found = [f"192.0.2.{number}" for number, _ in enumerate(outcomes, start=1)]
    if is_address(target):
        found = [target]
    probes = (
        probed(endpoint(target, port, address), ProbeFailure(outcome) if outcome else None)
        for address, outcome in zip(found, outcomes, strict=True)
    )
    lookup = addresses(target, *found, **fields)
    return HostSight(host=host(target, port), lookup=lookup, probes=tuple(probes))


def cut(*outcomes: str | None) -> HostSight:
    """Show a host of which one more address was one too many to probe."""
    sight = seen(*outcomes, "not_allowed")
    *others, last = sight.probes
    return replace(sight, probes=(*others, last._replace(ignored=IgnoredReason.PROBES_PER_CHECK)))


def aa(*records: Record, **fields: Any) -> SrvLookup:
    """Build an authoritative answer."""
    return answer(*records, **{"authoritative": True, "ttl_seconds": 60} | fields)


def failed(status: str) -> SrvLookup:
    """Build a lookup with this status and no record; those that are no failure come from an authority."""
    return answer(status=LookupStatus(status), authoritative=LookupStatus(status).usable or None)


def server(
    *hosts: HostSight, lookup: SrvLookup | None = None, at: str = A, absent: Iterable[HostSight] = ()
) -> ServerDiagnosis:
    """Diagnose a zone whose records name these hosts, or with this lookup."""
    found = lookup or aa(*(record(sight.host.target, sight.host.port) for sight in hosts))
    return server_diagnosis(found, *hosts, dns_server=at, absent=tuple(absent))


def zone(*servers: ServerDiagnosis, agree: bool | None = None, **fields: Any) -> ZoneDiagnosis:
    """Diagnose a zone at these servers; `expected` and `published` are hosts of it."""
    view = zone_view(ZONE, **{name: frozenset(hosts) for name, hosts in fields.items()})
    return ZoneDiagnosis(view=view, servers=servers, agree=agree)


def static(sight: HostSight, at: str | None = None) -> StaticDiagnosis:
    """Diagnose a static host at the usual DNS server, or without one when it is an address."""
    usual = "" if is_address(sight.host.target) else A
    return StaticDiagnosis(dns_server=usual if at is None else at, sight=sight)


def advice(found: ServerDiagnosis, *witnesses: HostSight, **fields: Any) -> tuple[NextStep, ...]:
    """Advise on a zone with one DNS server, these static hosts being witnesses."""
    return advise(found, zone(found, **fields), [static(witness) for witness in witnesses])


def commands(steps: Iterable[NextStep]) -> list[tuple[Place, tuple[str, ...]]]:
    """Tell where to go and what to type there."""
    return [(step.place, step.commands) for step in steps]


def said(steps: Iterable[NextStep], *phrases: str) -> list[str]:
    """Tell which of these phrases are in any of the steps."""
    return [phrase for phrase in phrases if any(phrase in step.text for step in steps)]


# --- What each verdict and reason leads to


@pytest.mark.parametrize(
    ("found", "verdict", "expected", "about"),
    [
        *(
            (server(lookup=failed(status)), "dns_failed", [(CLIENT, ("ipconfig /all", ASK))], [A])
            for status in ("servfail", "refused", "bad_response", "timeout", "unreachable")
        ),
        *(
            (
                server(lookup=failed(status)),
                "srv_missing",
                [(CLIENT, (ASK,)), (HOST, PUBLISH)],
                [A, f"_vlmcs._tcp.{ZONE}", "12293", "0x80072338", "DnsDomainPublishList"],
            )
            for status in ("nxdomain", "nodata")
        ),
        (server(lookup=failed("local_error")), "unknown", [(EXPORTER, ())], [A, *LOCAL_MEANS]),
        (server(lookup=aa(record(".", 0))), "srv_declined", [(DNS, ())], ['"."', ZONE]),
        (
            server(lookup=aa(record(port=0), record(OTHER, 0))),
            "port_closed",
            [(DNS, ())],
            ["port 0", ZONE, f"{TARGET} (and 1 more)", "slmgr /dlv"],
        ),
        *(
            (
                server(seen(failure=status)),
                "target_unresolvable",
                [(DNS, (f"nslookup {TARGET} {A}",))],
                [TARGET, status.value, "ipconfig /registerdns"],
            )
            for status in (LookupStatus.NXDOMAIN, LookupStatus.NODATA)
        ),
        (server(seen("timeout")), "port_filtered", OPEN_PORT, [f"{TARGET}:1688"]),
        (server(seen("timeout", "unreachable")), "port_filtered", OPEN_PORT, [f"{TARGET}:1688"]),
        *(
            (server(seen(reason)), "port_closed", START_SERVICE, [f"{TARGET}:1688"])
            for reason in ("connection_refused", "connection_reset")
        ),
        *(
            (
                server(seen(reason)),
                "kms_silent",
                [(HOST, ("net stop sppsvc", "net start sppsvc", "slmgr /dlv"))],
                [f"{TARGET}:1688"],
            )
            for reason in ("rpc_timeout", "rpc_closed", "rpc_busy")
        ),
        *(
            (
                server(seen(reason)),
                "not_kms",
                [(HOST, ("slmgr /dlv", f"Get-Process -Id ({LISTENING} 1688).OwningProcess"))],
                [f"{TARGET}:1688"],
            )
            for reason in ("not_rpc", "interface_unknown", "rpc_rejected")
        ),
        (server(seen("not_allowed")), "unknown", [(EXPORTER, ())], ["probe.networks", f"{TARGET}:1688"]),
        (
            server(cut("timeout")),
            "unknown",
            [(EXPORTER, ())],
            ["limits.probes_per_check", f"{TARGET}:1688"],
        ),
        (server(seen("local_error")), "unknown", [(EXPORTER, ())], [f"{TARGET}:1688", *LOCAL_MEANS]),
        (
            server(seen(failure=LookupStatus.LOCAL_ERROR)),
            "unknown",
            [(EXPORTER, ())],
            [f"{TARGET}:1688", *LOCAL_MEANS],
        ),
        (server(seen("local_error")), "unknown", [(EXPORTER, ())], ["source_addresses", f"{TARGET}:1688"]),
        (server(seen(UP)), "ok", [], []),
        (server(seen(UP), seen("connection_refused", UP, target=OTHER)), "ok", [], []),
    ],
)
def test_verdicts(
    found: ServerDiagnosis, verdict: str, expected: list[tuple[Place, tuple[str, ...]]], about: list[str]
) -> None:
    """Each verdict says where to go and what to type, with the names and addresses of the case."""
    assert found.verdict.value == verdict
    steps = advice(found)
    assert commands(steps) == expected
    assert said(steps, *about) == about


@pytest.mark.parametrize(
    "groups",
    [
        # what is to be done differs, so the sentences do
        [["servfail"], ["refused"], ["bad_response"], ["timeout", "unreachable"]],
    ],
)
def test_dns_failures_differ(groups: list[list[str]]) -> None:
    """A DNS server that refuses, one that fails, and one that is silent are different matters."""
    texts = [{advice(server(lookup=failed(each)))[0].text for each in group} for group in groups]
    assert [len(group) for group in texts] == [1] * len(groups)
    assert len(set().union(*texts)) == len(groups)


@pytest.mark.parametrize(
    ("one", "another"),
    [("rpc_busy", "rpc_timeout"), ("not_rpc", "interface_unknown"), ("not_allowed", "local_error")],
)
def test_reasons_of_one_verdict_differ(one: str, another: str) -> None:
    """Reasons that share a verdict, but want different things done, are told apart."""
    assert advice(server(seen(one)))[0].text != advice(server(seen(another)))[0].text


EXAMPLES = {
    Verdict.DEGRADED: server(seen(UP), seen("timeout", target=OTHER)),
    Verdict.DNS_FAILED: server(lookup=failed("timeout")),
    Verdict.SRV_MISSING: server(lookup=failed("nodata")),
    Verdict.SRV_DECLINED: server(lookup=aa(record(".", 0))),
    Verdict.TARGET_UNRESOLVABLE: server(seen()),
    Verdict.PORT_FILTERED: server(seen("timeout")),
    Verdict.PORT_CLOSED: server(seen("connection_refused")),
    Verdict.KMS_SILENT: server(seen("rpc_timeout")),
    Verdict.NOT_KMS: server(seen("not_rpc")),
    Verdict.UNKNOWN: server(seen("not_allowed")),
}


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.OK])
def test_nothing_goes_without_advice(verdict: Verdict) -> None:
    """There is something to do about every verdict but `ok`."""
    found = EXAMPLES[verdict]
    assert found.verdict is verdict
    assert advice(found)
    assert all(step.text for step in advice(found))


def test_degraded_is_about_those_that_are_down() -> None:
    """Of a zone that works in part, only the hosts that do not are spoken of, and no stop-gap is needed."""
    found = server(seen(UP), seen("connection_refused", target=OTHER), seen(target="kms3.contoso.test"))
    assert found.verdict is Verdict.DEGRADED
    steps = advice(found, seen(UP, target=ELSEWHERE))
    assert commands(steps) == [
        START_SERVICE[0],
        (CLIENT, (f"Test-NetConnection {OTHER} -Port 1688",)),
        (DNS, (f"nslookup kms3.contoso.test {A}",)),
    ]
    assert said(steps, TARGET, ELSEWHERE) == []


def test_port_of_its_own() -> None:
    """A host's own port is the one to look at."""
    steps = [
        *advice(server(seen("timeout", port=1689))),
        *advice(server(seen("not_rpc", port=1690))),
    ]
    typed = [command for step in steps for command in step.commands]
    assert f"Test-NetConnection {TARGET} -Port 1689" in typed
    assert f"Get-Process -Id ({LISTENING} 1690).OwningProcess" in typed


def test_firewall_of_another_port() -> None:
    """The rule that Windows has for KMS is one for port 1688: for another port a new one is needed."""
    opened, again = advice(server(seen("timeout", port=1689)))
    [command] = opened.commands
    assert opened.place is HOST
    assert command.startswith("New-NetFirewallRule ")
    assert "-Protocol TCP -LocalPort 1689 -Action Allow" in command
    assert "-Direction Inbound" in command
    assert commands([again]) == [(CLIENT, (f"Test-NetConnection {TARGET} -Port 1689",))]


@pytest.mark.parametrize(
    "outcomes",
    [
        ["unreachable"],
        ["unreachable", "unreachable"],
        ["unreachable", "not_allowed"],
    ],
)
def test_host_that_somebody_says_is_unreachable(outcomes: list[str]) -> None:
    """Where something on the way says that a host cannot be reached, the host's own firewall is not it."""
    found = server(seen(*outcomes))
    assert found.verdict is Verdict.PORT_FILTERED
    assert commands(advice(found)) == [(CLIENT, (f"Test-NetConnection {TARGET} -TraceRoute",))]
    assert said(advice(found), f"{TARGET}:1688", "on the way") == [f"{TARGET}:1688", "on the way"]


@pytest.mark.parametrize("reason", ["timeout", "connection_refused"])
def test_client_is_where_one_tries_again(reason: str) -> None:
    """What is typed at a client is no command for the host."""
    steps = advice(server(seen(reason)))
    assert [step.place for step in steps] == [HOST, CLIENT]
    assert [step.place for step in steps if CONNECT in step.commands] == [CLIENT]


@pytest.mark.parametrize(
    "status",
    [each for each in LookupStatus if not each.usable and each is not LookupStatus.LOCAL_ERROR],
)
def test_name_whose_lookup_failed(status: LookupStatus) -> None:
    """A name that nobody could look up is not said to be without an address, nor its host to be retired."""
    steps = advice(server(seen(failure=status)))
    assert commands(steps) == [(DNS, (f"nslookup {TARGET} {A}",))]
    assert said(steps, TARGET, status.value) == [TARGET, status.value]
    assert said(steps, "has no address", "retired", "delete", "registerdns") == []


@pytest.mark.parametrize(
    ("outcomes", "rpc"),
    [
        (["not_rpc"], False),
        (["not_rpc", "timeout"], False),
        (["connection_refused", "not_rpc"], False),
        (["not_rpc", "rpc_timeout"], False),
        (["interface_unknown"], True),
        (["rpc_rejected", "timeout"], True),
        (["not_rpc", "interface_unknown"], True),
    ],
)
def test_what_answers_instead(outcomes: list[str], *, rpc: bool) -> None:
    """Only an address that speaks RPC shows an RPC server; how others fail says nothing of what answers."""
    found = server(seen(*outcomes))
    assert found.verdict is Verdict.NOT_KMS
    phrases = ["some other program", "an RPC server without the KMS interface"]
    assert said(advice(found), *phrases) == phrases[rpc:][:1]


def test_port_0_beside_a_good_record() -> None:
    """A record of port 0 is to be corrected, though another record leads to a host that is up."""
    found = server(seen(UP), lookup=aa(record(), record(OTHER, 0)))
    assert found.verdict is Verdict.DEGRADED
    steps = advice(found)
    assert commands(steps) == [(DNS, ())]
    assert said(steps, "port 0", OTHER, TARGET, ZONE) == ["port 0", OTHER, ZONE]


def test_host_that_a_record_of_port_0_names() -> None:
    """A host that works when it is assigned is named by a record, though by one of port 0."""
    found = server(lookup=aa(record(port=0)))
    assert said(advice(found, seen(UP)), "none names it") == []


@pytest.mark.parametrize(("outcome", "verdict"), [(UP, Verdict.OK), ("timeout", Verdict.PORT_FILTERED)])
def test_dot_beside_a_host(outcome: str | None, verdict: Verdict) -> None:
    """A record that declines is to be deleted where another names a host, be that up or down."""
    found = server(seen(outcome), lookup=aa(record(), record(".", 0)))
    assert found.verdict is verdict
    steps = advice(found)
    assert commands(steps) == [(DNS, ()), *([] if outcome is UP else OPEN_PORT)]
    assert said(steps[:1], '"."', ZONE) == ['"."', ZONE]


def test_host_without_a_result() -> None:
    """A host that nobody has looked at yet is not said to be down."""
    unseen = HostSight(host=host(), lookup=None)
    [step] = advice(server(unseen))
    assert step.place is EXPORTER


def test_dns_failure_is_not_about_hosts() -> None:
    """While the DNS server fails, the hosts of an older answer are not to be repaired."""
    found = server(seen("connection_refused"), lookup=failed("timeout"))
    assert commands(advice(found)) == [(CLIENT, ("ipconfig /all", ASK))]


@pytest.mark.parametrize("outcome", [UP, "connection_refused"])
def test_alias(outcome: str | None) -> None:
    """A target that is an alias is told with its name, whether or not the host is up."""
    steps = advice(server(seen(outcome, alias_of="server7.contoso.test")))
    assert steps[0].place is DNS
    assert said(steps[:1], TARGET, "server7.contoso.test", "2782") == [TARGET, "server7.contoso.test", "2782"]
    assert commands(steps[1:]) == ([] if outcome is UP else START_SERVICE)


# --- What should be published


@pytest.mark.parametrize("lookup", [failed("nxdomain"), failed("nodata"), aa(record(".", 0))])
def test_nothing_expected(lookup: SrvLookup) -> None:
    """Where nothing may be published, there is nothing to do about an empty zone."""
    found = server_diagnosis(lookup, as_expected=True)
    assert advice(found, seen(UP), expected=[]) == ()
    assert remark(zone(found, expected=[], published=[])) == ()


@pytest.mark.parametrize("found", [server(lookup=failed("servfail")), server(seen("timeout"))])
def test_nothing_expected_excuses_nothing_else(found: ServerDiagnosis) -> None:
    """Where nothing may be published, a failing DNS server and a dead host are troubles all the same."""
    assert commands(advice(found, expected=[])) == commands(advice(found))


def test_missing_here_and_published_elsewhere() -> None:
    """Records that another DNS server has are a matter of replication, not of publishing."""
    empty = server(lookup=failed("nxdomain"))
    full = [server(seen(UP), at=B), server(seen(UP), at=C)]
    for others, named in ((full[:1], [B]), (full, [B, "1 more"])):
        steps = advise(empty, zone(empty, *others), [])
        assert commands(steps) == [(CLIENT, (ASK,)), (DNS, (REPLICATION,))]
        assert said(steps[1:], A, *named) == [A, *named]


def test_missing_in_a_cache_and_published_elsewhere() -> None:
    """A cache that lacks records another DNS server has replicates with nobody: one can only wait."""
    lagging = server(lookup=answer(status=LookupStatus.NXDOMAIN, authoritative=False))
    steps = advise(lagging, zone(lagging, server(seen(UP), at=B)), [])
    assert commands(steps) == [(CLIENT, (ASK,)), (DNS, ()), (DNS, (f"nslookup -type=ns {ZONE}",))]
    assert said(steps[1:2], A, B, "cache") == [A, B, "cache"]
    assert said(steps, "replicat") == []


@pytest.mark.parametrize("lookup", [aa(record(".", 0)), aa(record(port=0)), failed("nodata")])
def test_missing_here_and_no_host_elsewhere(lookup: SrvLookup) -> None:
    """A DNS server whose records name no host does not have the record that another one lacks."""
    empty = server(lookup=failed("nxdomain"))
    steps = advise(empty, zone(empty, server(lookup=lookup, at=B)), [])
    assert commands(steps) == [(CLIENT, (ASK,)), (HOST, PUBLISH)]
    assert said(steps, B) == []


def test_missing_everywhere() -> None:
    """Where no DNS server has records, the host is to publish them."""
    found = [server(lookup=failed(status), at=at) for status, at in (("nxdomain", A), ("timeout", B))]
    assert commands(advise(found[0], zone(*found), [])) == [(CLIENT, (ASK,)), (HOST, PUBLISH)]


@pytest.mark.parametrize(
    ("absent", "expected"),
    [([seen(UP)], [GONE]), ([seen("timeout")], []), ([seen()], []), ([seen("not_allowed")], []), ([], [])],
)
def test_vanished_host(absent: Sequence[HostSight], expected: list[str]) -> None:
    """A host that answers although its record is gone is said to."""
    steps = advice(server(lookup=failed("nodata"), absent=absent))
    assert said(steps, GONE) == expected
    assert (f"{TARGET}:1688" in " ".join(said(steps, f"{TARGET}:1688"))) == bool(expected)


def test_host_without_the_bind() -> None:
    """Where nobody asked whether it is KMS that answers, nobody says so."""
    sights = []
    for seconds in (None, 0.004):
        probe = probed(endpoint(), rpc_bind_seconds=seconds)
        sights.append(HostSight(host=host(), lookup=addresses(TARGET, LITERAL), probes=(probe,)))
    for sight, phrase in zip(sights, ("accepts connections", "answers as KMS"), strict=True):
        gone = server(lookup=failed("nodata"), absent=[sight])
        phrases = ("accepts connections", "answers as KMS")
        assert said(advice(gone), *phrases) == [phrase]
        assert said(remark(zone(gone, expected=[host()], published=[])), *phrases) == [phrase]


# --- Name, record or port: KB 929826, step 5


@pytest.mark.parametrize(
    ("found", "witnesses", "expected"),
    [
        # assigned by name it works: the record
        (server(lookup=failed("nxdomain")), [seen(UP)], [RECORD]),
        (server(lookup=failed("nodata")), [seen(UP), seen(UP, target=LITERAL)], [RECORD]),
        (server(lookup=failed("nxdomain")), [seen("timeout")], []),
        (server(lookup=failed("nxdomain")), [seen(UP, target=LITERAL)], []),
        (server(lookup=failed("nxdomain")), [seen(UP, target=ELSEWHERE)], []),
        (server(lookup=failed("nxdomain")), [seen(UP, target=f"kms.not{ZONE}")], []),
        # a host of the zone that no record names works: the record
        (server(seen("timeout")), [seen(UP, target=OTHER)], [RECORD]),
        (server(seen()), [seen(UP, target=OTHER)], [RECORD]),
        (server(seen("timeout")), [seen("timeout"), seen(UP, target=OTHER)], [RECORD, NOT_RECORD]),
        (server(lookup=aa(record(".", 0))), [seen(UP)], [RECORD]),
        (server(seen("timeout")), [seen(UP, target=ELSEWHERE)], []),
        (
            server(seen("timeout"), seen("timeout", target=OTHER)),
            [seen("timeout", target=OTHER)],
            [NOT_RECORD],
        ),
        (server(seen(UP), seen("timeout", target=OTHER)), [seen(UP, target="kms3.contoso.test")], []),
        (server(lookup=failed("servfail")), [seen(UP)], []),
        # on another port it works: the record
        *(
            (server(seen(reason, port=1689)), [seen(UP)], [RECORD])
            for reason in ("timeout", "connection_refused", "rpc_timeout", "not_rpc")
        ),
        (server(seen("connection_refused", port=1689)), [seen(UP, target=LITERAL)], [RECORD]),
        (server(seen("connection_refused")), [seen(UP, target=LITERAL, port=1689)], [RECORD]),
        (server(seen(UP), seen("timeout", port=1689)), [seen(UP)], [RECORD]),
        (server(seen("connection_refused", port=1689)), [seen("timeout")], []),
        # assigned by address it works: the name
        (server(seen()), [seen(UP, target=LITERAL)], [NAME]),
        (server(seen()), [seen(), seen(UP, target=LITERAL)], [NOT_RECORD, NAME]),
        (server(seen()), [seen("timeout", target=LITERAL)], []),
        (server(seen()), [seen()], [NOT_RECORD]),
        # neither works: the port
        (server(seen("timeout")), [seen("timeout", target=LITERAL)], [PORT]),
        (server(seen("timeout")), [seen("timeout")], [NOT_RECORD]),
        *(
            (server(seen(reason)), [seen(reason), seen(reason, target=LITERAL)], [NOT_RECORD, PORT])
            for reason in ("timeout", "connection_refused", "rpc_timeout", "interface_unknown")
        ),
        # what is not the same host, or does not fail in the same way, tells nothing
        (server(seen("timeout")), [seen("connection_refused", target=LITERAL)], []),
        (server(seen("timeout")), [seen("timeout", target="192.0.2.9")], []),
        (server(seen("timeout")), [seen("timeout", target=LITERAL, port=1689)], []),
        (server(seen("timeout")), [seen("timeout", target=OTHER)], []),
        (server(seen("timeout")), [seen("timeout", port=1689)], []),
        # all is well
        (server(seen(UP)), [seen(UP), seen(UP, target=LITERAL)], []),
    ],
)
def test_witnesses(found: ServerDiagnosis, witnesses: Sequence[HostSight], expected: list[str]) -> None:
    """A static host that works, or fails alike, tells whether record, name or port is at fault."""
    steps = [step for step in advice(found, *witnesses) if step.place is CLIENT and not step.commands]
    assert said(steps, RECORD, NOT_RECORD, NAME, PORT) == expected
    about = {witness.sight.host for witness in map(static, witnesses)}
    assert all(any(f"{one.target}:{one.port}" in step.text for one in about) for step in steps)


def test_witness_at_another_dns_server() -> None:
    """What another DNS server makes of a static host's name is no witness here."""
    found = server(lookup=failed("nxdomain"))
    assert advise(found, zone(found), [static(seen(UP), at=B)]) == advise(found, zone(found), [])


# --- A stop-gap


@pytest.mark.parametrize(
    ("found", "witnesses", "working"),
    [
        (server(lookup=failed("nodata"), absent=[seen(UP)]), [seen(UP, target=OTHER)], f"{TARGET}:1688"),
        (
            server(lookup=failed("nodata"), absent=[seen("timeout")]),
            [seen(UP, target=OTHER)],
            f"{OTHER}:1688",
        ),
        (server(seen(UP), lookup=failed("timeout")), [seen(UP, target=OTHER)], f"{TARGET}:1688"),
        (server(seen("timeout")), [seen(UP, target=ELSEWHERE), seen(UP, target=OTHER)], f"{OTHER}:1688"),
        (server(seen("timeout")), [seen(UP, target=LITERAL, port=1689)], f"{LITERAL}:1689"),
        (server(seen("timeout")), [seen(UP, target="2001:db8::5")], "[2001:db8::5]:1688"),
        (server(lookup=aa(record(".", 0))), [seen(UP, target=ELSEWHERE)], f"{ELSEWHERE}:1688"),
        (server(seen()), [seen("timeout", target=OTHER), seen(UP, target=ELSEWHERE)], f"{ELSEWHERE}:1688"),
        (server(seen("timeout")), [seen("timeout", target=OTHER), seen("not_allowed", target=LITERAL)], None),
        (server(lookup=failed("servfail")), [], None),
        (server(seen(UP), seen("timeout", target=OTHER)), [seen(UP, target=ELSEWHERE)], None),
        (server(seen(UP)), [seen(UP, target=ELSEWHERE)], None),
    ],
)
def test_stop_gap(found: ServerDiagnosis, witnesses: Sequence[HostSight], working: str | None) -> None:
    """Where clients are without a host, one that works can be assigned, the zone's own before others."""
    steps = [step for step in advice(found, *witnesses) if "slmgr /ato" in step.commands]
    if working is None:
        assert steps == []
        return
    [step] = steps
    assert (step.place, step.commands) == (CLIENT, (f"slmgr /skms {working}", "slmgr /ato"))
    assert said([step], working, "slmgr /ckms") == [working, "slmgr /ckms"]


# --- Caches


@pytest.mark.parametrize(
    ("found", "age"),
    [
        (server(seen("timeout"), lookup=answer(record(), authoritative=False, ttl_seconds=37)), "37 s"),
        (server(lookup=answer(status=LookupStatus.NXDOMAIN, authoritative=False)), ""),
        (
            server(
                seen(UP),
                seen("timeout", target=OTHER),
                lookup=answer(record(), record(OTHER), authoritative=False, ttl_seconds=5),
            ),
            "5 s",
        ),
    ],
)
def test_cached_answer(found: ServerDiagnosis, age: str) -> None:
    """Trouble that a cache tells of may be over, at the latest after the TTL."""
    step = advice(found)[-1]
    assert (step.place, step.commands) == (DNS, (f"nslookup -type=ns {ZONE}",))
    assert age in step.text


@pytest.mark.parametrize(
    "found",
    [
        server(seen("timeout")),
        server(lookup=failed("nxdomain")),
        server(lookup=failed("servfail")),
        server(seen(UP), lookup=answer(record(), authoritative=False, ttl_seconds=37)),
    ],
)
def test_answer_that_no_cache_delays(found: ServerDiagnosis) -> None:
    """An authoritative answer, none at all, and one without trouble are not said to be old."""
    assert f"nslookup -type=ns {ZONE}" not in [each for step in advice(found) for each in step.commands]


# --- How to ask


@pytest.mark.parametrize(
    ("label", "port", "address"),
    [
        ("192.0.2.53", "", " 192.0.2.53"),
        ("192.0.2.53:5353", " -port=5353", " 192.0.2.53"),
        ("2001:db8::53", "", " 2001:db8::53"),
        ("[2001:db8::53]:5353", " -port=5353", " 2001:db8::53"),
        ("fe80::1%eth0", "", " fe80::1%eth0"),
        ("[fe80::1%eth0]:5353", " -port=5353", " fe80::1%eth0"),
        ("system", "", ""),
        ("authoritative", "", ""),
    ],
)
def test_nslookup(label: str, port: str, address: str) -> None:
    """The server that was asked is asked again, on its port; the words of a group name no server."""
    missing = advice(server(lookup=failed("nxdomain"), at=label))
    assert missing[0].commands == (f"nslookup -type=srv{port} _vlmcs._tcp.{ZONE}{address}",)
    unresolvable = advice(server(seen(), at=label))
    assert unresolvable[0].commands == (f"nslookup{port} {TARGET}{address}",)


# --- Static hosts


@pytest.mark.parametrize(
    ("sight", "others", "expected", "about"),
    [
        (seen(UP), [], [], []),
        (seen(UP), [seen("timeout", target=OTHER)], [], []),
        (seen(), [], [(DNS, (f"nslookup {TARGET} {A}",))], [TARGET]),
        (
            seen(),
            [seen(UP, target=LITERAL)],
            [(DNS, (f"nslookup {TARGET} {A}",)), (CLIENT, ())],
            [NAME, f"{LITERAL}:1688"],
        ),
        (seen("timeout"), [], OPEN_PORT, [f"{TARGET}:1688"]),
        (
            seen("timeout"),
            [seen("timeout", target=LITERAL)],
            [*OPEN_PORT, (CLIENT, ())],
            [PORT, f"{LITERAL}:1688"],
        ),
        (seen("timeout"), [seen("timeout", target=OTHER)], OPEN_PORT, []),
        (
            seen("connection_refused", target=LITERAL),
            [seen(UP)],
            [START_SERVICE[0], (CLIENT, (f"Test-NetConnection {LITERAL} -Port 1688",))],
            [f"{LITERAL}:1688"],
        ),
        (
            seen("rpc_busy", target="2001:db8::5"),
            [],
            [(HOST, ("net stop sppsvc", "net start sppsvc", "slmgr /dlv"))],
            ["[2001:db8::5]:1688"],
        ),
        (seen("not_allowed"), [], [(EXPORTER, ())], [f"{TARGET}:1688"]),
    ],
)
def test_static_host(
    sight: HostSight,
    others: Sequence[HostSight],
    expected: list[tuple[Place, tuple[str, ...]]],
    about: list[str],
) -> None:
    """A static host is advised on like one of a zone; others are its witnesses, it is not its own."""
    one = static(sight)
    steps = advise_static(one, [one, *map(static, others)])
    assert commands(steps) == expected
    assert said(steps, *about) == about


def test_static_host_at_two_dns_servers() -> None:
    """What one DNS server makes of a static host's name is no witness at another."""
    both = [static(seen("timeout"), at=at) for at in (A, B)]
    assert [commands(advise_static(one, both)) for one in both] == [OPEN_PORT] * 2


def test_static_host_is_named_by_no_record() -> None:
    """A static host that works on another port, or at its address, shows no fault of a record."""
    for other in (seen(UP), seen(UP, target=LITERAL)):
        one = static(seen("connection_refused", port=1689))
        assert said(advise_static(one, [one, static(other)]), "record") == []


@pytest.mark.parametrize("reason", list(ProbeFailure))
def test_static_host_never_goes_without_advice(reason: ProbeFailure) -> None:
    """There is something to do about a static host however it fails."""
    one = static(seen(reason.value))
    assert advise_static(one, [one])


# --- What is not as it should be in a zone


@pytest.mark.parametrize(
    ("absent", "about"),
    [
        ([seen(UP)], [GONE]),
        ([seen("timeout")], ["port_filtered"]),
        ([seen("connection_refused")], ["port_closed"]),
        ([seen()], ["target_unresolvable"]),
        ([seen("not_allowed")], ["nobody could look"]),
        ([], ["nobody could look"]),
    ],
)
def test_missing_host(absent: Sequence[HostSight], about: list[str]) -> None:
    """A host that is expected and not published is to publish itself; whether it answers is said."""
    found = server(seen(UP, target=OTHER), absent=absent)
    steps = remark(zone(found, expected=[host(), host(OTHER)], published=[host(OTHER)]))
    assert commands(steps) == [(HOST, PUBLISH)]
    every = [f"{TARGET}:1688", ZONE, *about]
    assert said(steps, *every) == every
    assert said(steps, f"{OTHER}:1688") == []


@pytest.mark.parametrize("other", [seen(), seen("timeout"), seen("not_allowed")])
def test_missing_host_at_two_dns_servers(other: HostSight) -> None:
    """A host that is up is not dead because one DNS server does not lead to it, whichever comes first."""
    sights = [(A, seen(UP)), (B, other)]
    for order in (sights, sights[::-1]):
        servers = [server(lookup=failed("nodata"), at=at, absent=[sight]) for at, sight in order]
        [step] = remark(zone(*servers, expected=[host()], published=[]))
        assert said([step], GONE, "would not be served", "nobody could look") == [GONE]


def test_missing_host_that_one_dns_server_could_not_look_at() -> None:
    """A host that fails is said to, though through another DNS server nobody could look."""
    for order in ([seen("timeout"), seen("not_allowed")], [seen("not_allowed"), seen("timeout")]):
        servers = [server(lookup=failed("nodata"), absent=[sight]) for sight in order]
        steps = remark(zone(*servers, expected=[host()], published=[]))
        assert said(steps, "port_filtered", "nobody could look") == ["port_filtered"]


@pytest.mark.parametrize(
    ("authoritative", "cached"),
    [([False], True), ([False, False], True), ([True], False), ([False, True], False), ([True, None], False)],
)
def test_missing_host_by_what_caches_say(authoritative: list[bool | None], *, cached: bool) -> None:
    """A host that only caches do not know may have been published since."""
    lookups = [
        failed("timeout") if each is None else answer(status=LookupStatus.NODATA, authoritative=each)
        for each in authoritative
    ]
    steps = remark(zone(*(server(lookup=each) for each in lookups), expected=[host()], published=[]))
    assert bool(said(steps, "by what caches say")) is cached


def test_missing_host_while_lookups_fail() -> None:
    """What was missing from the last usable answer is not said to be so by a cache when lookups fail."""
    found = zone(server(lookup=failed("timeout")), expected=[host()], published=[])
    assert len(remark(found)) == 1
    assert said(remark(found), "caches") == []


@pytest.mark.parametrize("expected", [[], [host()]])
def test_record_that_declines_is_no_host(expected: Sequence[Host]) -> None:
    """A target `.` is nobody's machine from which a key could be removed."""
    dot = host(".", 0)
    found = server(lookup=aa(record(".", 0)))
    assert remark(zone(found, expected=expected, published=[*expected, dot])) == ()


def test_unexpected_host() -> None:
    """A host that nobody expects is to lose its key and its record."""
    steps = remark(zone(server(), expected=[host()], published=[host(), host("desktop.contoso.test", 1689)]))
    assert commands(steps) == [(HOST, ("slmgr /dlv", "slmgr /upk", "slmgr /cdns"))]
    assert said(steps, "desktop.contoso.test:1689", ZONE, TARGET) == ["desktop.contoso.test:1689", ZONE]


def test_disagreement() -> None:
    """DNS servers that differ are to be compared, those with authority and no others."""
    cached = answer(record(), authoritative=False, ttl_seconds=60)
    servers = [server(seen(UP), at=at) for at in (A, f"{B}:5353")]
    differing = zone(*servers, server(seen(UP), lookup=cached, at=C), agree=False)
    asked = f"nslookup -type=srv -port=5353 _vlmcs._tcp.{ZONE} {B}"
    assert commands(remark(differing)) == [(DNS, (ASK, asked, REPLICATION))]
    assert said(remark(differing), ZONE) == [ZONE]


@pytest.mark.parametrize(
    "found",
    [
        zone(server(seen(UP))),
        zone(server(seen("timeout")), agree=True),
        zone(server(seen(UP)), expected=[host()], published=[host()]),
        zone(server(lookup=failed("nxdomain")), expected=[], published=[]),
        zone(server(lookup=failed("timeout")), expected=[host()]),
    ],
)
def test_no_remark(found: ZoneDiagnosis) -> None:
    """A zone that is as it should be, or of which nobody said how, needs no remark."""
    assert remark(found) == ()


def test_several_remarks() -> None:
    """Whatever is not as it should be is told, host by host."""
    published = [host("rogue1.contoso.test"), host("rogue2.contoso.test")]
    found = zone(server(), expected=[host(), host(OTHER)], published=published, agree=False)
    assert [step.place for step in remark(found)] == [HOST] * 4 + [DNS]
