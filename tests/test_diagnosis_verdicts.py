"""Tests of the ladder: every line of it, every mixture of two, and the error that a client likely shows."""

import itertools
from collections.abc import Sequence

import pytest

from exporter.diagnosis import (
    Certainty,
    ErrorCode,
    HostSight,
    LikelyError,
    ServerDiagnosis,
    Verdict,
    diagnose,
)
from exporter.diagnosis.errors import likely_error
from exporter.model import IgnoredReason, LookupStatus, ProbeFailure, Record, SrvLookup
from exporter.state import ServerView, Snapshot
from tests.builders import (
    ADDRESS,
    SERVER,
    addresses,
    answer,
    endpoint,
    endpoint_view,
    host,
    probed,
    record,
    zone_view,
)

UNAVAILABLE = "0xC004F074 (SL_E_VL_BINDING_SERVICE_UNAVAILABLE)"
OVER_RPC_UNAVAILABLE = f"{UNAVAILABLE} over 0x800706BA (RPC_S_SERVER_UNAVAILABLE)"
OVER_UNKNOWN_IF = f"{UNAVAILABLE} over 0x800706B5 (RPC_S_UNKNOWN_IF)"

BY_STATUS = [
    ("servfail", "dns_failed", "0x8007232A (DNS_ERROR_RCODE_SERVER_FAILURE) high"),
    ("timeout", "dns_failed", "0x8007232A (DNS_ERROR_RCODE_SERVER_FAILURE) medium"),
    ("unreachable", "dns_failed", "0x8007232A (DNS_ERROR_RCODE_SERVER_FAILURE) medium"),
    ("refused", "dns_failed", "0x8007232D (DNS_ERROR_RCODE_REFUSED) medium"),
    ("bad_response", "dns_failed", "0x80072329 (DNS_ERROR_RCODE_FORMAT_ERROR) low"),
    ("nxdomain", "srv_missing", "0x8007232B (DNS_ERROR_RCODE_NAME_ERROR) high"),
    ("nodata", "srv_missing", "0x8007251D (DNS_INFO_NO_RECORDS) high"),
    ("local_error", "unknown", None),
]
BY_FAILURE = [
    ("timeout", "port_filtered", f"{OVER_RPC_UNAVAILABLE} high"),
    ("unreachable", "port_filtered", f"{OVER_RPC_UNAVAILABLE} high"),
    ("connection_refused", "port_closed", f"{OVER_RPC_UNAVAILABLE} high"),
    ("connection_reset", "port_closed", f"{OVER_RPC_UNAVAILABLE} high"),
    ("rpc_timeout", "kms_silent", f"{OVER_RPC_UNAVAILABLE} medium"),
    ("rpc_closed", "kms_silent", f"{OVER_RPC_UNAVAILABLE} medium"),
    ("rpc_busy", "kms_silent", f"{OVER_RPC_UNAVAILABLE} medium"),
    ("not_rpc", "not_kms", f"{OVER_UNKNOWN_IF} low"),
    ("interface_unknown", "not_kms", f"{OVER_UNKNOWN_IF} low"),
    ("rpc_rejected", "not_kms", f"{OVER_UNKNOWN_IF} low"),
    ("local_error", "unknown", None),
    ("not_allowed", "unknown", None),
]
RUNGS = {
    "not_kms": ["not_rpc"],
    "kms_silent": ["rpc_timeout"],
    "port_closed": ["connection_refused"],
    "port_filtered": ["timeout"],
    "target_unresolvable": [],
    "unknown": ["local_error"],
}
"""An example of what leads to each rung, the furthest first: how the probes of a host's addresses end."""

UP, PENDING = "up", "pending"
PORTLESS = record("kms9.contoso.test", 0)


def said(error: LikelyError | None) -> str | None:
    """Write an error as the contract does: code, symbol, what it is over, certainty."""
    if error is None:
        return None
    codes = [error.shown] if error.cause is None else [error.shown, error.cause]
    return " over ".join(f"{each.code} ({each.symbol})" for each in codes) + f" {error.certainty.value}"


def seen(
    *hosts: Sequence[str] | None, lookup: SrvLookup | None = None, also: Sequence[Record] = ()
) -> ServerDiagnosis:
    """Diagnose a zone of one DNS server.

    Each host is given by the outcomes of its addresses: `up`, a failure, or `pending` for one that was not
    probed yet; None for a host whose addresses nobody looked up yet. Their records and those in `also` are
    in the answer, unless `lookup` follows it.
    """
    records = [record(f"kms{number}.contoso.test") for number, _ in enumerate(hosts)]
    targets, endpoints = [], []
    for number, (each, outcomes) in enumerate(zip(records, hosts, strict=True)):
        if outcomes is None:
            continue
        found = [f"192.0.2.{16 * number + place}" for place, _ in enumerate(outcomes)]
        targets.append((SERVER, addresses(each.target, *found)))
        for address, outcome in zip(found, outcomes, strict=True):
            if outcome != PENDING:
                failure = None if outcome == UP else ProbeFailure(outcome)
                endpoints.append(endpoint_view(probed(endpoint(each.target, address=address), failure)))
    server = ServerView(dns_server=SERVER).after(answer(*records, *also, status=LookupStatus.OK))
    if lookup:
        server = server.after(lookup)
    snapshot = Snapshot(
        zones=(zone_view("contoso.test", server),), targets=tuple(targets), endpoints=tuple(endpoints)
    )
    [zone] = diagnose(snapshot).zones
    [diagnosis] = zone.servers
    return diagnosis


def test_every_verdict_is_in_the_contract() -> None:
    """The verdicts are those of the contract, and no more."""
    assert [verdict.value for verdict in Verdict] == [
        "ok",
        "degraded",
        "dns_failed",
        "srv_missing",
        "srv_declined",
        "target_unresolvable",
        "port_filtered",
        "port_closed",
        "kms_silent",
        "not_kms",
        "unknown",
    ]
    assert [certainty.value for certainty in Certainty] == ["high", "medium", "low"]


def test_every_status_is_on_the_ladder() -> None:
    """However a lookup ends that brings no records, there is a verdict, and an error if it was made."""
    assert {status for status, _, _ in BY_STATUS} == set(LookupStatus) - {LookupStatus.OK}
    for status in set(LookupStatus) - {LookupStatus.OK}:
        diagnosis = seen(lookup=answer(status=status))
        if status is LookupStatus.LOCAL_ERROR:
            assert diagnosis.verdict is Verdict.UNKNOWN
            assert diagnosis.error is None
        else:
            assert diagnosis.verdict in {Verdict.DNS_FAILED, Verdict.SRV_MISSING}
            assert diagnosis.error


def test_every_failure_is_on_the_ladder() -> None:
    """However a probe fails, there is a rung for it, and the host does not work."""
    assert {failure for failure, _, _ in BY_FAILURE} == set(ProbeFailure)
    for failure in ProbeFailure:
        assert seen([failure]).verdict.value in RUNGS
        assert not seen([failure]).hosts[0].works


@pytest.mark.parametrize(("status", "verdict", "error"), BY_STATUS)
def test_verdict_of_a_lookup_without_records(status: str, verdict: str, error: str) -> None:
    """A lookup that brings no records has the verdict and the error of how it ended."""
    diagnosis = seen(lookup=answer(status=LookupStatus(status)))
    assert (diagnosis.verdict, said(diagnosis.error)) == (verdict, error)
    assert diagnosis.first_attempt == {}


@pytest.mark.parametrize("hosts", [[[]], [[], []]], ids=["one", "two"])
def test_verdict_of_targets_without_address(hosts: list[list[str]]) -> None:
    """Where no target has an address, a client finds no host to connect to."""
    diagnosis = seen(*hosts)
    assert diagnosis.verdict == "target_unresolvable"
    assert said(diagnosis.error) == f"{OVER_RPC_UNAVAILABLE} medium"
    assert diagnosis.first_attempt == {"rfc2782": 0, "random": 0}


@pytest.mark.parametrize("failure", LookupStatus)
def test_verdict_of_a_target_without_address(failure: LookupStatus) -> None:
    """Whatever the reason why a target has no address, the verdict is the same, unless nobody could look."""
    sight = HostSight(host=host(), lookup=addresses("kms1.contoso.test", failure=failure))
    if failure is LookupStatus.LOCAL_ERROR:
        assert (sight.verdict, sight.works) == (Verdict.UNKNOWN, None)
    else:
        assert (sight.verdict, sight.works) == (Verdict.TARGET_UNRESOLVABLE, False)


@pytest.mark.parametrize(("failure", "verdict", "error"), BY_FAILURE)
def test_verdict_of_a_failing_probe(failure: str, verdict: str, error: str | None) -> None:
    """A zone whose only endpoint fails has the verdict and the error of that failure."""
    diagnosis = seen([failure])
    assert (diagnosis.verdict, said(diagnosis.error)) == (verdict, error)


@pytest.mark.parametrize(
    ("reason", "other", "verdict"),
    [
        (IgnoredReason.PROBES_PER_CHECK, ProbeFailure.TIMEOUT, "unknown"),
        (IgnoredReason.PROBES_PER_CHECK, ProbeFailure.NOT_RPC, "unknown"),
        (IgnoredReason.PROBES_PER_CHECK, None, "ok"),
        (IgnoredReason.NOT_ALLOWED, ProbeFailure.TIMEOUT, "port_filtered"),
        (IgnoredReason.NOT_ALLOWED, None, "ok"),
    ],
)
def test_host_of_which_an_address_was_left_out(
    reason: IgnoredReason, other: ProbeFailure | None, verdict: str
) -> None:
    """Nobody knows of a host that may be up on an address that was one too many to probe."""
    left_out, looked_at = endpoint(address="192.0.2.1"), endpoint(address="192.0.2.2")
    probes = (probed(left_out, ProbeFailure.NOT_ALLOWED, ignored=reason), probed(looked_at, other))
    lookup = addresses(left_out.target, left_out.address, looked_at.address)
    assert HostSight(host=left_out.host, lookup=lookup, probes=probes).verdict == verdict


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [
        (("timeout", "unreachable"), "port_filtered"),
        (("connection_refused", "connection_reset"), "port_closed"),
        (("rpc_timeout", "rpc_closed", "rpc_busy"), "kms_silent"),
        (("not_rpc", "interface_unknown", "rpc_rejected"), "not_kms"),
        (("local_error", "not_allowed"), "unknown"),
    ],
)
def test_verdict_of_failures_on_one_rung(failures: Sequence[str], verdict: str) -> None:
    """Different failures on the same rung give that rung."""
    assert seen(*([failure] for failure in failures)).verdict == verdict
    assert seen(failures).verdict == verdict


@pytest.mark.parametrize("hosts", [[["up"]], [["up"], ["up"]], [["up", "up"]]])
def test_ok_when_every_host_is_up(hosts: list[list[str]]) -> None:
    """Where every host is up, a client meets nothing, so there is no error to show."""
    diagnosis = seen(*hosts)
    assert (diagnosis.verdict, diagnosis.error) == ("ok", None)
    assert diagnosis.first_attempt == {"rfc2782": 1, "random": 1}


@pytest.mark.parametrize("dead", [*ProbeFailure, PENDING])
def test_ok_when_one_address_of_a_host_is_up(dead: str) -> None:
    """A dead IPv6 address beside a live IPv4 one does not show in the verdict, whatever it died of."""
    for outcomes in ([UP, dead], [dead, UP], [dead, dead, UP]):
        diagnosis = seen(outcomes)
        assert (diagnosis.verdict, diagnosis.error) == ("ok", None)
        assert diagnosis.first_attempt == {"rfc2782": 1, "random": 1}


def test_ok_with_a_dead_address_of_the_other_family() -> None:
    """A host whose IPv6 address is dead is up by its IPv4 address."""
    lookup = addresses("kms1.contoso.test", "2001:db8::1", ADDRESS)
    dead = probed(endpoint(address="2001:db8::1"), ProbeFailure.UNREACHABLE)
    sight = HostSight(host=host(), lookup=lookup, probes=(dead, probed(endpoint())))
    assert (sight.verdict, sight.works) == ("ok", True)


@pytest.mark.parametrize("failing", [*([failure] for failure in ProbeFailure), [], None, [PENDING]], ids=str)
def test_degraded_beside_every_failure(failing: list[str] | None) -> None:
    """A host that is up beside one that is not makes a zone degraded, which shows no error."""
    for hosts in ([[UP], failing], [failing, [UP]], [failing, [UP], failing]):
        diagnosis = seen(*hosts)
        assert (diagnosis.verdict, diagnosis.error) == ("degraded", None)


def test_degraded_is_not_ok_by_the_number_of_hosts_up() -> None:
    """Many hosts that are up do not hide one that is not."""
    assert seen(*[[UP]] * 20, []).verdict == "degraded"


@pytest.mark.parametrize(("further", "nearer"), list(itertools.combinations(RUNGS, 2)))
def test_furthest_rung_of_hosts_wins(further: str, nearer: str) -> None:
    """Of two hosts that are both not up, the one that lets a client get further decides."""
    assert seen(RUNGS[further], RUNGS[nearer]).verdict == further
    assert seen(RUNGS[nearer], RUNGS[further]).verdict == further
    assert seen(RUNGS[nearer], RUNGS[further], RUNGS[nearer]).verdict == further


@pytest.mark.parametrize(
    ("further", "nearer"), list(itertools.combinations([rung for rung in RUNGS if RUNGS[rung]], 2))
)
def test_furthest_rung_of_addresses_wins(further: str, nearer: str) -> None:
    """Of two addresses of a host that is not up, the one that lets a client get further decides."""
    assert seen(RUNGS[further] + RUNGS[nearer]).verdict == further
    assert seen(RUNGS[nearer] + RUNGS[further]).verdict == further


def test_furthest_rung_of_all_wins() -> None:
    """Of one host on every rung, the one on the furthest decides, and it alone gives the error."""
    rungs = list(RUNGS)
    for number, rung in enumerate(rungs):
        diagnosis = seen(*(RUNGS[each] for each in reversed(rungs[number:])))
        assert diagnosis.verdict == rung
        assert diagnosis.error == seen(RUNGS[rung]).error


def test_target_unresolvable_beside_a_host_we_could_not_look_at() -> None:
    """A target without an address says more than a probe that never left this machine."""
    diagnosis = seen([], ["local_error"])
    assert diagnosis.verdict == "target_unresolvable"
    assert diagnosis.first_attempt == {}


@pytest.mark.parametrize(
    ("hosts", "verdict"),
    [
        ([None], "unknown"),
        ([[PENDING]], "unknown"),
        ([[PENDING, PENDING], None], "unknown"),
        ([[PENDING, "connection_refused"]], "port_closed"),
        ([[PENDING], ["timeout"]], "port_filtered"),
        ([None, []], "target_unresolvable"),
        ([None, ["local_error"]], "unknown"),
    ],
)
def test_hosts_without_a_result_yet(hosts: list[list[str] | None], verdict: str) -> None:
    """A host that nobody looked at yet says nothing, and what others say stands."""
    assert seen(*hosts).verdict == verdict


@pytest.mark.parametrize(
    ("hosts", "verdict", "chances"),
    [
        ([[UP]], "ok", {"rfc2782": 0.5, "random": 0.5}),
        ([[UP], []], "degraded", {"rfc2782": 1 / 3, "random": 1 / 3}),
        ([["connection_refused"]], "port_closed", {"rfc2782": 0, "random": 0}),
        ([[]], "target_unresolvable", {"rfc2782": 0, "random": 0}),
        ([["local_error"]], "unknown", {}),
    ],
)
def test_dot_beside_real_records(hosts: list[list[str]], verdict: str, chances: dict[str, float]) -> None:
    """A target `.` beside others is no host: the verdict is that of the others, but it can be picked."""
    diagnosis = seen(*hosts, also=[record(".", 0)])
    assert diagnosis.verdict == verdict
    assert diagnosis.first_attempt == pytest.approx(chances)
    assert len(diagnosis.hosts) == len(hosts)


@pytest.mark.parametrize(
    "records", [[record(".", 0)], [record(".")], [record(".", 0), record(".", 0, priority=1, weight=5)]]
)
def test_dot_alone_declines(records: list[Record]) -> None:
    """Where the only target is `.`, the service is decidedly not available."""
    diagnosis = seen(also=records)
    assert diagnosis.verdict == "srv_declined"
    assert said(diagnosis.error) == f"{UNAVAILABLE} low"
    assert (diagnosis.hosts, diagnosis.first_attempt) == ((), {})


def test_only_malformed_records() -> None:
    """Records that all have port 0 lead to a closed port, not to a host."""
    diagnosis = seen(also=[PORTLESS, record("kms8.contoso.test", 0)])
    assert diagnosis.verdict == "port_closed"
    assert said(diagnosis.error) == f"{OVER_RPC_UNAVAILABLE} high"
    assert (diagnosis.hosts, diagnosis.first_attempt) == ((), {"rfc2782": 0, "random": 0})


@pytest.mark.parametrize(
    ("hosts", "verdict", "chances"),
    [
        ([[UP]], "degraded", {"rfc2782": 0.5, "random": 0.5}),
        ([[UP], [UP]], "degraded", {"rfc2782": 2 / 3, "random": 2 / 3}),
        ([[]], "port_closed", {"rfc2782": 0, "random": 0}),
        ([["timeout"]], "port_closed", {"rfc2782": 0, "random": 0}),
        ([["rpc_timeout"]], "kms_silent", {"rfc2782": 0, "random": 0}),
        ([["local_error"]], "port_closed", {}),
    ],
)
def test_port_0_beside_real_records(hosts: list[list[str]], verdict: str, chances: dict[str, float]) -> None:
    """A record of port 0 counts as a host whose port is closed, in the verdict and at the first attempt."""
    diagnosis = seen(*hosts, also=[PORTLESS])
    assert diagnosis.verdict == verdict
    assert diagnosis.first_attempt == pytest.approx(chances)
    assert len(diagnosis.hosts) == len(hosts)


def test_port_0_of_a_lower_priority() -> None:
    """A record of port 0 that is nobody's first choice lowers only the chance of clients that take any."""
    diagnosis = seen([UP], also=[record("kms9.contoso.test", 0, priority=1)])
    assert (diagnosis.verdict, diagnosis.first_attempt) == ("degraded", {"rfc2782": 1, "random": 0.5})


def test_port_0_beside_dot() -> None:
    """Where one record declines and another has port 0, a client that takes the other finds it closed."""
    diagnosis = seen(also=[PORTLESS, record(".", 0)])
    assert diagnosis.verdict == "port_closed"


@pytest.mark.parametrize(("status", "verdict", "error"), BY_STATUS[:5])
def test_records_of_the_last_usable_answer(status: str, verdict: str, error: str) -> None:
    """While lookups fail, hosts that are still known to be up do not hide that a client cannot find them."""
    diagnosis = seen([UP], ["timeout"], lookup=answer(status=LookupStatus(status)))
    assert (diagnosis.verdict, said(diagnosis.error)) == (verdict, error)
    assert [sight.verdict for sight in diagnosis.hosts] == ["ok", "port_filtered"]
    assert diagnosis.first_attempt == {}


@pytest.mark.parametrize("status", ["nxdomain", "nodata"])
def test_usable_answer_without_records_leaves_no_host(status: str) -> None:
    """A usable answer that lacks the records takes their hosts away."""
    diagnosis = seen([UP], lookup=answer(status=LookupStatus(status)))
    assert (diagnosis.verdict, diagnosis.hosts) == ("srv_missing", ())


@pytest.mark.parametrize(
    ("current", "verdict"), [((), "target_unresolvable"), (("192.0.2.9",), "port_closed")]
)
def test_address_that_is_only_probed_does_not_count(current: tuple[str, ...], verdict: str) -> None:
    """An address that goes on being probed while its family's lookup fails is of no use to a client."""
    lookup = addresses("kms1.contoso.test", *current, probed=(*current, "2001:db8::1"))
    refused = (probed(endpoint(address=each), ProbeFailure.CONNECTION_REFUSED) for each in current)
    snapshot = Snapshot(
        zones=(zone_view("contoso.test", ServerView(dns_server=SERVER).after(answer(record()))),),
        targets=((SERVER, lookup),),
        endpoints=tuple(map(endpoint_view, (*refused, probed(endpoint(address="2001:db8::1"))))),
    )
    [server] = diagnose(snapshot).zones[0].servers
    assert server.verdict == verdict
    assert server.first_attempt == {"rfc2782": 0, "random": 0}


@pytest.mark.parametrize(
    ("outcomes", "works"),
    [
        ([UP], True),
        ([UP, "timeout"], True),
        (["timeout"], False),
        ([], False),
        (["local_error"], None),
        (["not_allowed", PENDING], None),
        ([PENDING], None),
        (None, None),
    ],
)
def test_host_works(outcomes: list[str] | None, works: bool | None) -> None:  # noqa: FBT001 - a row of a table
    """A host works, does not, or nobody can tell because nobody could look."""
    assert seen(outcomes).hosts[0].works is works


def test_verdicts_that_work() -> None:
    """A client gets its activation where a host is up, be it not the first one that it tries."""
    assert {verdict.value for verdict in Verdict if verdict.works} == {"ok", "degraded"}


def test_every_verdict_of_a_failure_has_an_error() -> None:
    """There is a likely error exactly for the verdicts to which the contract gives a code."""
    without = {verdict for verdict in Verdict if likely_error(verdict, LookupStatus.NXDOMAIN) is None}
    assert without == {Verdict.OK, Verdict.DEGRADED, Verdict.UNKNOWN}


@pytest.mark.parametrize("verdict", [Verdict.DNS_FAILED, Verdict.SRV_MISSING])
def test_no_error_without_a_status(verdict: Verdict) -> None:
    """What a client shows on a lookup cannot be told without knowing how it ended."""
    assert likely_error(verdict) is None


def test_error_that_is_shown_elsewhere() -> None:
    """Only a missing name has another code in the wizard of Windows 7."""
    errors = {
        error
        for verdict in Verdict
        for status in LookupStatus
        if (error := likely_error(verdict, status)) and error.elsewhere
    }
    [error] = errors
    assert error.shown.code == "0x8007232B"
    assert error.elsewhere
    assert "0x80092328" in error.elsewhere
    assert "Windows 7" in error.elsewhere


def test_error_code_as_text() -> None:
    """An error is written as its code with the symbol behind it."""
    code = ErrorCode(code="0x800706BA", symbol="RPC_S_SERVER_UNAVAILABLE")
    assert str(code) == "0x800706BA (RPC_S_SERVER_UNAVAILABLE)"
