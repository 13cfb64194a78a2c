"""Tests of the diagnosis as a whole: of each DNS server, static host and kind of client in a snapshot."""

from collections.abc import Iterable, Mapping, Sequence

import pytest

from exporter.diagnosis import ClientDiagnosis, Diagnosis, ServerDiagnosis, ZoneDiagnosis, diagnose
from exporter.model import Host, LookupStatus, ProbeFailure, Record, SrvLookup, fingerprint
from exporter.state import ServerView, Snapshot, StaticHostView, ZoneView
from tests.builders import (
    ADDRESS,
    TARGET,
    addresses,
    answer,
    client_view,
    endpoint,
    endpoint_view,
    host,
    probed,
    record,
    static_host_view,
    zone_view,
)

A, B = "192.0.2.53", "192.0.2.54"
ZONE, OTHER_ZONE, THIRD_ZONE = "contoso.test", "emea.contoso.test", "branch.contoso.test"
OTHER = "kms2.contoso.test"
NXDOMAIN, NODATA = answer(status=LookupStatus.NXDOMAIN), answer(status=LookupStatus.NODATA)
SERVFAIL, REFUSED = answer(status=LookupStatus.SERVFAIL), answer(status=LookupStatus.REFUSED)
FULL = answer(record())
DECLINED = answer(record(".", 0))

RESOLVED = {(A, TARGET): (ADDRESS,), (B, TARGET): (ADDRESS,)}
"""The usual target has its usual address at both DNS servers."""


def at(dns_server: str, *lookups: SrvLookup) -> ServerView:
    """Show a DNS server after these lookups, one after the other."""
    view = ServerView(dns_server=dns_server)
    for lookup in lookups:
        view = view.after(lookup)
    return view


def aa(*records: Record, status: LookupStatus | None = None, ttl_seconds: int = 3600) -> SrvLookup:
    """Build an authoritative answer."""
    return answer(
        *records,
        status=status,
        authoritative=True,
        fingerprint=fingerprint(records),
        ttl_seconds=ttl_seconds if records else None,
    )


def cached(*records: Record, status: LookupStatus | None = None) -> SrvLookup:
    """Build an answer out of a cache."""
    return answer(*records, status=status, authoritative=False, fingerprint=fingerprint(records))


def diagnosis_of(
    *zones: ZoneView,
    targets: Mapping[tuple[str, str], Sequence[str]] | None = None,
    probes: Mapping[tuple[str, int, str], str | None] | None = None,
    clients: Mapping[str, Sequence[ZoneView]] | None = None,
    static_hosts: Iterable[StaticHostView] = (),
) -> Diagnosis:
    """Diagnose a snapshot.

    `targets` gives the addresses by DNS server and target, `probes` the failure, or None, by target, port
    and address; `clients` the suffixes of each kind of client.
    """
    return diagnose(
        Snapshot(
            zones=zones,
            clients=tuple(client_view(*views, client=name) for name, views in (clients or {}).items()),
            targets=tuple(
                (label, addresses(target, *found)) for (label, target), found in (targets or {}).items()
            ),
            endpoints=tuple(
                endpoint_view(probed(endpoint(*one), ProbeFailure(failure) if failure else None))
                for one, failure in (probes or {}).items()
            ),
            static_hosts=tuple(static_hosts),
        )
    )


def zone_of(*servers: ServerView, **fields: Iterable[Host]) -> ZoneDiagnosis:
    """Diagnose one zone at these servers whose usual target has its usual address, which is up."""
    view = zone_view(ZONE, *servers, **{name: frozenset(hosts) for name, hosts in fields.items()})
    [zone] = diagnosis_of(view, targets=RESOLVED, probes={(TARGET, 1688, ADDRESS): None}).zones
    return zone


def clients_of(*suffixes: ZoneView, failure: str | None = None) -> tuple[ClientDiagnosis, ...]:
    """Diagnose a client with these suffixes; the probe of the usual host ended with `failure`."""
    return diagnosis_of(
        clients={"branch": suffixes}, targets=RESOLVED, probes={(TARGET, 1688, ADDRESS): failure}
    ).clients


def verdicts(servers: Iterable[ServerDiagnosis]) -> dict[str, str]:
    """Tell the verdict at each DNS server."""
    return {server.dns_server: server.verdict.value for server in servers}


def test_nothing_to_diagnose() -> None:
    """Of an empty snapshot there is nothing to say."""
    assert diagnose(Snapshot()) == Diagnosis(zones=(), static_hosts=(), clients=())


@pytest.mark.parametrize(
    ("lookups", "agree"),
    [
        ([], None),
        ([aa(record())], None),
        ([aa(record()), aa(record())], True),
        ([aa(record()), aa(record()), aa(record())], True),
        ([aa(record()), aa(record()), aa()], False),
        # any field of a record makes a difference
        ([aa(record()), aa(record(OTHER))], False),
        ([aa(record()), aa(record(port=1689))], False),
        ([aa(record()), aa(record(weight=1))], False),
        ([aa(record()), aa(record(priority=1))], False),
        ([aa(record()), aa(record(), record(OTHER))], False),
        # order and TTL make none
        ([aa(record(), record(OTHER)), aa(record(OTHER), record())], True),
        ([aa(record(), ttl_seconds=3600), aa(record(), ttl_seconds=60)], True),
        # no name and no data are both the empty set
        ([aa(status=LookupStatus.NXDOMAIN), aa(status=LookupStatus.NODATA)], True),
        ([aa(status=LookupStatus.NXDOMAIN), aa(status=LookupStatus.NXDOMAIN)], True),
        ([aa(status=LookupStatus.NXDOMAIN), aa(record())], False),
        ([aa(status=LookupStatus.NODATA), aa(record(".", 0))], False),
        ([aa(record(".", 0)), aa(record(".", 0))], True),
        # a cache may lag
        ([aa(record()), cached(record())], None),
        ([aa(record()), cached(record(OTHER))], None),
        ([cached(record()), cached(record(OTHER))], None),
        ([aa(record()), aa(record()), cached(record(OTHER))], True),
        ([aa(record()), aa(record(OTHER)), cached(record())], False),
        ([aa(record()), cached(status=LookupStatus.NXDOMAIN)], None),
        # a server that gives no usable answer says nothing of what it holds
        ([aa(record()), SERVFAIL], None),
        ([aa(record()), aa(record()), SERVFAIL], True),
        ([aa(record()), aa(record(OTHER)), REFUSED], False),
        ([aa(), answer(status=LookupStatus.TIMEOUT)], None),
        ([SERVFAIL, SERVFAIL], None),
    ],
)
def test_agreement(lookups: list[SrvLookup], agree: bool | None) -> None:  # noqa: FBT001 - a row of a table
    """Servers agree when all authoritative answers, at least two, hold the same set of records."""
    servers = (at(f"192.0.2.{number}", lookup) for number, lookup in enumerate(lookups))
    assert zone_of(*servers).agree is agree


def test_agreement_is_not_of_older_answers() -> None:
    """The answer that a server gave before its lookups failed is not compared."""
    servers = [at(A, aa(record())), at(B, aa(record(OTHER)), SERVFAIL)]
    assert zone_of(*servers).agree is None
    assert zone_of(*servers, at("192.0.2.55", aa(record()))).agree is True


def test_agreement_of_what_limits_cut() -> None:
    """Answers that differ only in records beyond the limits do not agree."""
    more = answer(record(), authoritative=True, fingerprint=fingerprint([record(), record(OTHER)]))
    assert zone_of(at(A, aa(record())), at(B, more)).agree is False


def test_zone_without_a_lookup_yet() -> None:
    """What has no result yet has no verdict: servers of a zone appear one by one."""
    assert zone_of(at(A), at(B)).servers == ()
    zone = zone_of(at(A), at(B, FULL))
    assert (verdicts(zone.servers), zone.agree) == ({B: "ok"}, None)
    assert zone.view.zone == ZONE


def test_server_shows_what_it_was_judged_by() -> None:
    """A server's diagnosis comes with its last lookup, and with its hosts in the order of the records."""
    lookup = answer(
        record(TARGET, priority=10),
        record(OTHER, priority=5),
        record(TARGET, 1689, priority=7),
        record(TARGET, priority=1),
        record(".", 0, priority=3),
    )
    [server] = zone_of(at(A, lookup)).servers
    assert (server.dns_server, server.lookup) == (A, lookup)
    assert [sight.host for sight in server.hosts] == [host(), host(OTHER), host(port=1689)]


def test_addresses_of_each_server_are_its_own() -> None:
    """A server that leads to another address has the verdict of that address, and not of any other."""
    zone = zone_view(ZONE, at(A, FULL), at(B, FULL), at("192.0.2.55", FULL), at("192.0.2.56", FULL))
    targets: dict[tuple[str, str], Sequence[str]] = {
        (A, TARGET): [ADDRESS],
        (B, TARGET): ["192.0.2.2"],
        ("192.0.2.55", TARGET): [],
    }
    probes = {(TARGET, 1688, ADDRESS): None, (TARGET, 1688, "192.0.2.2"): "connection_refused"}
    [found] = diagnosis_of(zone, targets=targets, probes=probes).zones
    assert verdicts(found.servers) == {
        A: "ok",
        B: "port_closed",
        "192.0.2.55": "target_unresolvable",
        "192.0.2.56": "unknown",
    }
    assert [dict(server.first_attempt) for server in found.servers] == [
        {"rfc2782": 1, "random": 1},
        {"rfc2782": 0, "random": 0},
        {"rfc2782": 0, "random": 0},
        {},
    ]
    assert [[probe.endpoint.address for probe in server.hosts[0].probes] for server in found.servers] == [
        [ADDRESS],
        ["192.0.2.2"],
        [],
        [],
    ]


def test_probes_of_another_host_do_not_count() -> None:
    """The probe of the same address on another port, or for another target, says nothing of a host."""
    probes = {(TARGET, 1689, ADDRESS): None, (OTHER, 1688, ADDRESS): None, (TARGET, 1688, ADDRESS): "timeout"}
    [zone] = diagnosis_of(zone_view(ZONE, at(A, FULL)), targets=RESOLVED, probes=probes).zones
    assert verdicts(zone.servers) == {A: "port_filtered"}


def test_records_of_each_server_are_its_own() -> None:
    """A zone that is whole at one server, gone at the next and unanswered at the third has three verdicts."""
    zone = zone_of(at(A, FULL), at(B, FULL, NXDOMAIN), at("192.0.2.55", FULL, SERVFAIL))
    assert verdicts(zone.servers) == {A: "ok", B: "srv_missing", "192.0.2.55": "dns_failed"}
    codes = [server.error.shown.code if server.error else None for server in zone.servers]
    assert codes == [None, "0x8007232B", "0x8007232A"]
    assert [len(server.hosts) for server in zone.servers] == [1, 0, 1]


def test_zones_stand_for_themselves() -> None:
    """Every zone is diagnosed, in the order of the snapshot, with its own expectations and answers."""
    zones = diagnosis_of(
        zone_view(ZONE, at(A, NODATA)), zone_view(OTHER_ZONE, at(A, DECLINED)), zone_view(THIRD_ZONE)
    ).zones
    assert [(zone.view.zone, verdicts(zone.servers)) for zone in zones] == [
        (ZONE, {A: "srv_missing"}),
        (OTHER_ZONE, {A: "srv_declined"}),
        (THIRD_ZONE, {}),
    ]


def test_absent_hosts() -> None:
    """Hosts that vanished, or are expected and missing, are shown with what was seen of them."""
    vanished, missing, unseen = (
        host("old.contoso.test"),
        host("dr.contoso.test", 1689),
        host("a.contoso.test"),
    )
    view = zone_view(
        ZONE,
        at(A, FULL),
        at(B, FULL),
        vanished=frozenset({vanished}),
        expected=frozenset({missing, unseen, host()}),
    )
    targets = RESOLVED | {
        (A, vanished.target): ("192.0.2.8",),
        (B, vanished.target): (),
        (A, missing.target): ("192.0.2.9",),
    }
    probes = {
        (TARGET, 1688, ADDRESS): None,
        (vanished.target, 1688, "192.0.2.8"): None,
        (missing.target, 1689, "192.0.2.9"): "connection_refused",
    }
    [zone] = diagnosis_of(view, targets=targets, probes=probes).zones
    at_a, at_b = zone.servers
    assert [(sight.host, sight.verdict.value) for sight in at_a.absent] == [
        (unseen, "unknown"),
        (missing, "port_closed"),
        (vanished, "ok"),
    ]
    assert [(sight.host, sight.verdict.value) for sight in at_b.absent] == [
        (unseen, "unknown"),
        (missing, "unknown"),
        (vanished, "target_unresolvable"),
    ]
    assert [sight.host for sight in at_a.hosts] == [host()]


@pytest.mark.parametrize(
    ("lookup", "verdict"), [(FULL, "ok"), (NXDOMAIN, "srv_missing"), (DECLINED, "srv_declined")]
)
def test_absent_hosts_are_outside_of_verdicts(lookup: SrvLookup, verdict: str) -> None:
    """A host that nobody publishes changes neither verdict nor chances, be it up or down."""
    gone = host("old.contoso.test")
    for failure in (None, "timeout", "not_rpc"):
        for fields in ({"vanished": frozenset({gone})}, {"expected": frozenset({gone})}):
            [zone] = diagnosis_of(
                zone_view(ZONE, at(A, lookup), **fields),
                targets=RESOLVED | {(A, gone.target): ("192.0.2.9",)},
                probes={(TARGET, 1688, ADDRESS): None, (gone.target, 1688, "192.0.2.9"): failure},
            ).zones
            [server] = zone.servers
            assert [sight.host for sight in server.absent] == [gone]
            assert (server.verdict, server.first_attempt) == (
                verdict,
                {"rfc2782": 1, "random": 1} if verdict == "ok" else {},
            )


@pytest.mark.parametrize(
    ("lookup", "expected", "as_expected"),
    [
        (NXDOMAIN, [], True),
        (NODATA, [], True),
        (DECLINED, [], True),
        (FULL, [], False),
        (answer(record(), record(".", 0)), [], False),
        (answer(record(port=0)), [], False),
        (SERVFAIL, [], False),
        (REFUSED, [], False),
        (NXDOMAIN, [host()], False),
        (DECLINED, [host()], False),
        (FULL, [host()], False),
    ],
)
def test_as_expected(lookup: SrvLookup, expected: list[Host], *, as_expected: bool) -> None:
    """Nothing is as it should be where nothing should be published, and nowhere else."""
    [server] = zone_of(at(A, lookup), expected=expected).servers
    assert server.as_expected is as_expected
    [unasked] = zone_of(at(A, lookup)).servers
    assert unasked.as_expected is False


def test_as_expected_at_each_server() -> None:
    """A DNS server that publishes what it should not makes the others no worse."""
    zone = zone_of(at(A, FULL), at(B, NXDOMAIN), expected=[])
    assert [server.as_expected for server in zone.servers] == [False, True]


def test_absent_is_nowhere() -> None:
    """A host that is expected and published by any server is not absent, not even where it is missing."""
    zone = zone_of(at(A, FULL), at(B, NXDOMAIN), expected=[host()])
    assert [server.absent for server in zone.servers] == [(), ()]


def test_absent_is_unknown_without_a_usable_answer() -> None:
    """As long as no server gave a usable answer, nobody can say that an expected host is missing."""
    assert [server.absent for server in zone_of(at(A, SERVFAIL), expected=[host()]).servers] == [()]


def test_absent_once_when_both_vanished_and_expected() -> None:
    """A host that vanished although it is expected is shown once; a target `.` that vanished, never."""
    zone = zone_of(at(A, NXDOMAIN), vanished=[host(), host(".", 0)], expected=[host()])
    assert [sight.host for sight in zone.servers[0].absent] == [host()]


@pytest.mark.parametrize(
    ("found", "failure", "verdict", "code", "cause"),
    [
        ([ADDRESS], None, "ok", None, None),
        ([ADDRESS], "timeout", "port_filtered", "0xC004F074", "0x800706BA"),
        ([ADDRESS], "connection_refused", "port_closed", "0xC004F074", "0x800706BA"),
        ([ADDRESS], "rpc_closed", "kms_silent", "0xC004F074", "0x800706BA"),
        ([ADDRESS], "interface_unknown", "not_kms", "0xC004F074", "0x800706B5"),
        ([ADDRESS], "not_allowed", "unknown", None, None),
        ([], None, "target_unresolvable", "0xC004F074", "0x800706BA"),
    ],
)
@pytest.mark.parametrize(("target", "dns_server"), [(TARGET, A), (ADDRESS, "")], ids=["name", "address"])
def test_static_host(
    target: str,
    dns_server: str,
    found: list[str],
    failure: str | None,
    verdict: str,
    code: str | None,
    cause: str | None,
) -> None:
    """A static host is judged as the hosts of a zone are, without a lookup of records before it."""
    [static] = diagnosis_of(
        targets={(dns_server, target): found},
        probes={(target, 1689, ADDRESS): failure},
        static_hosts=[static_host_view(host(target, 1689), dns_server)],
    ).static_hosts
    assert (static.dns_server, static.sight.host, static.verdict) == (dns_server, host(target, 1689), verdict)
    assert (static.error.shown.code if static.error else None) == code
    assert (static.error.cause.code if static.error and static.error.cause else None) == cause


def test_static_hosts_at_several_servers() -> None:
    """A named static host has a verdict at each server that was asked for it, an address only one."""
    targets = {(A, TARGET): [ADDRESS], (B, TARGET): ["192.0.2.2"], ("", "2001:db8::5"): ["2001:db8::5"]}
    probes = {
        (TARGET, 1688, ADDRESS): None,
        (TARGET, 1688, "192.0.2.2"): "timeout",
        ("2001:db8::5", 1688, "2001:db8::5"): "unreachable",
    }
    static_hosts = [
        static_host_view(host(), A, B, "192.0.2.55"),
        static_host_view(host("2001:db8::5"), ""),
        static_host_view(host(OTHER)),
    ]
    found = diagnosis_of(targets=targets, probes=probes, static_hosts=static_hosts).static_hosts
    assert [(each.sight.host.target, each.dns_server, each.verdict.value) for each in found] == [
        (TARGET, A, "ok"),
        (TARGET, B, "port_filtered"),
        ("2001:db8::5", "", "port_filtered"),
    ]


def test_static_host_that_a_zone_publishes_too() -> None:
    """A host that is both assigned and published has one verdict as a host and one in its zone."""
    found = diagnosis_of(
        zone_view(ZONE, at(A, NXDOMAIN)),
        targets=RESOLVED,
        probes={(TARGET, 1688, ADDRESS): None},
        static_hosts=[static_host_view(host(), A)],
    )
    assert verdicts(found.zones[0].servers) == {A: "srv_missing"}
    assert [each.verdict for each in found.static_hosts] == ["ok"]


@pytest.mark.parametrize(
    ("lookups", "failure", "verdict", "dns_zone", "code"),
    [
        ([FULL, NXDOMAIN], None, "ok", ZONE, None),
        ([NXDOMAIN, FULL], None, "ok", OTHER_ZONE, None),
        ([NXDOMAIN, FULL, FULL], "timeout", "port_filtered", OTHER_ZONE, "0xC004F074"),
        ([SERVFAIL, NODATA, FULL], "not_rpc", "not_kms", THIRD_ZONE, "0xC004F074"),
        ([REFUSED, DECLINED], None, "srv_declined", OTHER_ZONE, "0xC004F074"),
        ([NXDOMAIN], None, "srv_missing", None, "0x8007232B"),
        ([NODATA], None, "srv_missing", None, "0x8007251D"),
        # the code is that of the suffix whose lookup failed, wherever it stands
        ([REFUSED, NXDOMAIN], None, "dns_failed", None, "0x8007232D"),
        ([NXDOMAIN, REFUSED], None, "dns_failed", None, "0x8007232D"),
        ([NODATA, SERVFAIL, NXDOMAIN], None, "dns_failed", None, "0x8007232A"),
    ],
)
def test_client(
    lookups: list[SrvLookup], failure: str | None, verdict: str, dns_zone: str | None, code: str | None
) -> None:
    """A kind of client has the verdict and the likely error of what decided its search."""
    zones = [ZONE, OTHER_ZONE, THIRD_ZONE]
    suffixes = (zone_view(zone, at(A, each)) for zone, each in zip(zones, lookups, strict=False))
    [found] = clients_of(*suffixes, failure=failure)
    assert (found.client, found.dns_server, found.verdict, found.dns_zone) == ("branch", A, verdict, dns_zone)
    assert (found.error.shown.code if found.error else None) == code


def test_client_at_each_server() -> None:
    """A kind of client has a verdict for each of its DNS servers, and may end up with different suffixes."""
    found = clients_of(
        zone_view(ZONE, at(A, FULL), at(B, NXDOMAIN), at("192.0.2.55", SERVFAIL)),
        zone_view(OTHER_ZONE, at(A, NXDOMAIN), at(B, DECLINED), at("192.0.2.55", NODATA)),
    )
    assert [(each.dns_server, each.verdict.value, each.dns_zone) for each in found] == [
        (A, "ok", ZONE),
        (B, "srv_declined", OTHER_ZONE),
        ("192.0.2.55", "dns_failed", None),
    ]


@pytest.mark.parametrize(
    ("lookups", "deciding"),
    [
        ([FULL, NXDOMAIN], ZONE),
        ([NXDOMAIN, FULL], OTHER_ZONE),
        ([NXDOMAIN, NODATA], ZONE),
        ([NXDOMAIN, SERVFAIL], OTHER_ZONE),
        ([REFUSED, SERVFAIL], ZONE),
    ],
)
def test_client_carries_the_suffix_that_decided(lookups: list[SrvLookup], deciding: str) -> None:
    """A kind of client comes with the diagnosis of the suffix that decided, won or not."""
    suffixes = [zone_view(zone, at(A, each)) for zone, each in zip([ZONE, OTHER_ZONE], lookups, strict=True)]
    [found] = clients_of(*suffixes)
    assert found.zone.view.zone == deciding
    assert found.server in found.zone.servers
    assert (found.verdict, found.error) == (found.server.verdict, found.server.error)
    [zone] = diagnosis_of(
        *(each for each in suffixes if each.zone == deciding),
        targets=RESOLVED,
        probes={(TARGET, 1688, ADDRESS): None},
    ).zones
    assert found.zone == zone


def test_client_does_not_win_with_older_records() -> None:
    """A suffix whose lookup fails now is skipped, though its records of the last usable answer are known."""
    suffixes = [zone_view(ZONE, at(A, FULL, SERVFAIL)), zone_view(OTHER_ZONE, at(A, DECLINED))]
    [found] = clients_of(*suffixes)
    assert (found.verdict, found.dns_zone) == ("srv_declined", OTHER_ZONE)
    [found] = clients_of(*suffixes[:1])
    assert (found.verdict, found.dns_zone) == ("dns_failed", None)


def test_client_without_a_lookup_yet() -> None:
    """A kind of client whose suffixes have not been looked up yet has no verdict."""
    assert clients_of(zone_view(ZONE, at(A)), zone_view(OTHER_ZONE, at(A))) == ()


def test_clients_stand_for_themselves() -> None:
    """Kinds of clients that search the same suffixes in another order end up in different places."""
    one, other = zone_view(ZONE, at(A, FULL)), zone_view(OTHER_ZONE, at(A, DECLINED))
    found = diagnosis_of(
        zone_view(ZONE, at(A, SERVFAIL)),
        clients={"desk": [one, other], "branch": [other, one]},
        targets=RESOLVED,
        probes={(TARGET, 1688, ADDRESS): None},
    )
    assert [(each.client, each.verdict.value, each.dns_zone) for each in found.clients] == [
        ("desk", "ok", ZONE),
        ("branch", "srv_declined", OTHER_ZONE),
    ]
    assert verdicts(found.zones[0].servers) == {A: "dns_failed"}
