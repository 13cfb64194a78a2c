"""Tests of traces: what a check found, as steps in order of time and as text. No sockets, no clock."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.model import (
    DnsServer,
    Host,
    IgnoredReason,
    LookupStatus,
    ProbeFailure,
    Query,
    ServerCheck,
    ServerGroup,
    TargetLookup,
    ZoneCheck,
)
from exporter.trace import Step, show_trace, trace, trace_client, trace_host
from tests.builders import (
    SERVER,
    TARGET,
    ZONE,
    addresses,
    answer,
    client_check,
    endpoint,
    host_check,
    probed,
    record,
    zone_check,
)

NAME = f"_vlmcs._tcp.{ZONE}"
START, END = 1000.0, 1000.5
"""When the checks of these tests begin and end, in Unix time."""


def query(rdtype: str = "SRV", name: str = NAME, *, at: float = START, **fields: Any) -> Query:
    """Build a query that was answered with one record."""
    defaults: dict[str, Any] = {
        "dns_server": SERVER,
        "transport": "udp",
        "duration_seconds": 0.001,
        "outcome": "ok",
        "answers": 1,
    }
    return Query(rdtype=rdtype, name=name, asked_at=at, **defaults | fields)


def failed(outcome: str, rdtype: str = "SRV", name: str = NAME, **fields: Any) -> Query:
    """Build a query that brought no record."""
    return query(rdtype, name, outcome=outcome, answers=0, **fields)


def check(*queries: Query, targets: tuple[TargetLookup, ...] = (), **fields: Any) -> ZoneCheck:
    """Build a check of a zone at one DNS server, to which these queries led."""
    seen = ServerCheck(dns_server=SERVER, lookup=answer(queries=queries), targets=targets)
    return zone_check(seen, at=END, **{"probes": ()} | fields)


def told(steps: tuple[Step, ...]) -> list[tuple[str, str, bool]]:
    """Say what was done, what came of it, and whether that was good."""
    return [(step.what, step.outcome, step.good) for step in steps]


# --- Queries


@pytest.mark.parametrize(
    ("asked", "how", "outcome", "good"),
    [
        (query(answers=2, authoritative=True), "udp", "ok, 2 records, authoritative", True),
        (query(authoritative=False), "udp", "ok, 1 record", True),
        (query(transport="tcp"), "tcp", "ok, 1 record", True),
        (query(edns=False), "udp, without EDNS", "ok, 1 record", True),
        (failed("truncated", authoritative=True), "udp", "truncated, authoritative", True),
        (failed("nxdomain"), "udp", "nxdomain", False),
        (failed("nodata"), "udp", "nodata", False),
        (failed("timeout"), "udp", "timeout", False),
        (failed("formerr"), "udp", "formerr", False),
        (failed("nxdomain", "SOA", ZONE), "udp", "nxdomain", True),
        (failed("servfail", "SOA", ZONE), "udp", "servfail", False),
    ],
)
def test_query(asked: Query, how: str, outcome: str, good: bool) -> None:  # noqa: FBT001
    """A query says what was asked of whom and how, and what came of it; no SRV record is a fault."""
    [step] = trace(check(asked))
    what = f"{asked.rdtype} {asked.name} at {SERVER} ({how})"
    assert step == Step(at=START, duration_seconds=0.001, what=what, outcome=outcome, good=good)


def test_unfinished_query() -> None:
    """A query that the deadline cut off has no duration."""
    [step] = trace(check(failed("unfinished", duration_seconds=None)))
    assert (step.outcome, step.duration_seconds, step.good) == ("unfinished", None, False)


def test_order() -> None:
    """Steps stand in order of time, whichever result they belong to."""
    targets = (addresses(TARGET, "192.0.2.1", queries=(query("A", TARGET, at=START + 0.2),)),)
    probe = probed(endpoint(), at=END)
    found = check(
        query(at=START + 0.1),
        query("SOA", ZONE, at=START + 0.3),
        targets=targets,
        probes=[probe],
        groups={ServerGroup.AUTHORITATIVE: (DnsServer(address=SERVER),)},
    )
    steps = trace(replace(found, queries=(query("NS", ZONE, dns_server="10.0.0.1"),)))
    assert [step.what.split(" ")[0] for step in steps] == ["NS", "SRV", "A", "SOA", "connect", "RPC"]
    assert [step.at for step in steps] == sorted(step.at for step in steps)


def test_missing_address() -> None:
    """That a target lacks one address family is no fault, unless it lacks the other one as well."""
    four, six = query("A", TARGET), failed("nodata", "AAAA", TARGET, at=START + 0.1)
    both = addresses(TARGET, "192.0.2.1", queries=(four, six))
    assert [step.good for step in trace(check(targets=(both,)))] == [True, True]
    neither = addresses(TARGET, queries=(failed("nodata", "A", TARGET), six))
    assert [step.good for step in trace(check(targets=(neither,)))] == [False, False]


def test_shared_query() -> None:
    """A query that led to several results stands once."""
    asked = query("A", TARGET)
    targets = (addresses(TARGET, "192.0.2.1", queries=(asked,)),)
    at_two = [ServerCheck(dns_server=label, lookup=answer(), targets=targets) for label in ("a", "b")]
    assert len(trace(zone_check(*at_two, at=END, probes=()))) == 1


def test_query_of_another_check() -> None:
    """A step from before the check is marked: another check made it, and this one shares its result."""
    early = query("A", TARGET, at=START - 20)
    steps = trace(check(query(), targets=(addresses(TARGET, "192.0.2.1", queries=(early,)),)))
    assert [step.outcome for step in steps] == ["ok, 1 record (in another check)", "ok, 1 record"]


# --- What was not asked


@pytest.mark.parametrize(
    ("target", "outcome", "good"),
    [
        (
            TargetLookup(target=TARGET, failure=LookupStatus.TIMEOUT, asked=False),
            "not asked, since the server had just failed: timeout",
            False,
        ),
        (
            TargetLookup(target=TARGET, probed=("192.0.2.1",), failure=LookupStatus.REFUSED, asked=False),
            "not asked, since the server had just failed: refused; 192.0.2.1 kept from before",
            False,
        ),
        (
            addresses(TARGET, "192.0.2.1", "2001:db8::1"),
            "192.0.2.1, 2001:db8::1 came along with the SRV answer",
            True,
        ),
    ],
    ids=["spared", "spared, known", "glue"],
)
def test_addresses_without_a_query(target: TargetLookup, outcome: str, good: bool) -> None:  # noqa: FBT001
    """Addresses that nobody asked for say where they come from, at the time of the SRV answer."""
    soa = query("SOA", ZONE, at=START + 0.1)
    [_, step, _] = trace(check(query(), soa, targets=(target,)))
    assert step == Step(
        at=START + 0.001,
        duration_seconds=None,
        what=f"addresses of {TARGET} at {SERVER}",
        outcome=outcome,
        good=good,
    )


def test_glue_of_one_family() -> None:
    """Where one family came along and the other was asked for, both are told."""
    target = addresses(TARGET, "192.0.2.1", "2001:db8::1", queries=(query("AAAA", TARGET),))
    assert told(trace(check(targets=(target,)))) == [
        (f"AAAA {TARGET} at {SERVER} (udp)", "ok, 1 record", True),
        (f"addresses of {TARGET} at {SERVER}", "192.0.2.1 came along with the SRV answer", True),
    ]


def test_kept_addresses() -> None:
    """Addresses that are probed although their lookup failed are told apart."""
    target = TargetLookup(
        target=TARGET,
        probed=("192.0.2.1",),
        failure=LookupStatus.TIMEOUT,
        queries=(failed("timeout", "A", TARGET),),
    )
    assert told(trace(check(targets=(target,)))) == [
        (f"A {TARGET} at {SERVER} (udp)", "timeout", False),
        (f"addresses of {TARGET} at {SERVER}", "192.0.2.1 kept from before", False),
    ]


def test_group_without_a_server() -> None:
    """A group that led to no server says why."""
    lookup = answer(status=LookupStatus.SERVFAIL)
    missing = ServerCheck(dns_server="authoritative", lookup=lookup, asked=False)
    assert told(trace(zone_check(missing, at=END, probes=()))) == [
        (f"DNS servers of {ZONE} (authoritative)", "none found: servfail", False)
    ]


def test_name_servers_that_may_not_be_asked() -> None:
    """A name server that was found, and is not asked for its address may not be, is told apart."""
    refused = (DnsServer(address="127.0.0.1"), DnsServer(address="::1"))
    lines = [(f"({ServerGroup.AUTHORITATIVE}): {each.label}", "not_allowed", False) for each in refused]
    check = zone_check(at=END, probes=(), refused=refused)
    assert told(trace(check)) == [(f"DNS servers of {ZONE} {what}", *rest) for what, *rest in lines]
    assert told(trace_client(client_check(check))) == told(trace(check))
    static = host_check(Host(target=TARGET, port=1688), at=END, refused=refused, probes=(), targets={})
    assert told(trace_host(static)) == [(f"DNS servers of {TARGET} {what}", *rest) for what, *rest in lines]


# --- Probes


@pytest.mark.parametrize(
    ("failure", "fields", "steps"),
    [
        (
            None,
            {"connect_seconds": 0.00041},
            [("connect", "connected in 0.41 ms", 0.00041), ("RPC bind", "accepted in 4.00 ms", 0.004)],
        ),
        (None, {"rpc_bind_seconds": None}, [("connect", "connected in 3.00 ms", 0.003)]),
        (
            None,
            {"syn_retransmits": 1, "started_at": END - 1.004},
            [
                ("connect", "connected in 3.00 ms, 1 SYN retransmit", 1.0),
                ("RPC bind", "accepted in 4.00 ms", 0.004),
            ],
        ),
        (
            ProbeFailure.TIMEOUT,
            {"syn_retransmits": 2, "started_at": END - 5},
            [("connect", "timeout, 2 SYN retransmits", 5.0)],
        ),
        (
            ProbeFailure.CONNECTION_REFUSED,
            {"started_at": END - 0.002},
            [("connect", "connection_refused", 0.002)],
        ),
        (
            ProbeFailure.NOT_RPC,
            {},
            [("connect", "connected in 3.00 ms", 0.003), ("RPC bind", "not_rpc", 0.004)],
        ),
        (
            ProbeFailure.NOT_ALLOWED,
            {"ignored": IgnoredReason.PROBES_PER_CHECK},
            [("connect", "not_allowed (limits.probes_per_check)", None)],
        ),
        (ProbeFailure.NOT_ALLOWED, {}, [("connect", "not_allowed", None)]),
        (ProbeFailure.LOCAL_ERROR, {}, [("connect", "local_error", None)]),
        (ProbeFailure.TIMEOUT, {"started_at": None}, [("connect", "unfinished", None)]),
    ],
    ids=[
        "up",
        "no bind",
        "lost SYN",
        "filtered",
        "refused",
        "not RPC",
        "too many",
        "not allowed",
        "local error",
        "unfinished",
    ],
)
def test_probe(
    failure: ProbeFailure | None, fields: dict[str, Any], steps: list[tuple[str, str, float | None]]
) -> None:
    """A probe is a connect, and a bind where there was one; one that did not take place has no duration."""
    probe = probed(endpoint(), failure, at=END, **fields)
    found = trace(replace(check(probes=[probe]), duration_seconds=10.0))
    place = f"{TARGET} 192.0.2.1:1688"
    assert [(step.what, step.outcome) for step in found] == [
        (f"{what} {place}", outcome) for what, outcome, _ in steps
    ]
    for step, (_, _, seconds) in zip(found, steps, strict=True):
        assert step.duration_seconds == (None if seconds is None else pytest.approx(seconds))
    assert [step.good for step in found] == [True] * (len(found) - 1) + [failure is None]


def test_clock_set_back() -> None:
    """A clock that is set back during a probe makes no negative duration."""
    probe = probed(endpoint(), ProbeFailure.TIMEOUT, at=END, started_at=END + 3600)
    [step] = trace(check(probes=[probe]))
    assert step.duration_seconds == 0


# --- Static hosts and clients


def test_static_host() -> None:
    """A static host has the queries for its name at each server, and its probes."""
    one = Host(target=TARGET, port=1688)
    target = addresses(TARGET, "192.0.2.1", queries=(query("A", TARGET, at=END - 0.2),))
    found = host_check(one, "192.0.2.1", at=END, duration_seconds=0.5, targets={SERVER: target})
    assert [step.what for step in trace_host(found)] == [
        f"A {TARGET} at {SERVER} (udp)",
        f"connect {TARGET} 192.0.2.1:1688",
        f"RPC bind {TARGET} 192.0.2.1:1688",
    ]


def test_static_address() -> None:
    """A static host that is an address is only probed, and named once."""
    one = Host(target="2001:db8::1", port=1688)
    found = host_check(one, "2001:db8::1", dns_server="", at=END, duration_seconds=0.5)
    assert [step.what for step in trace_host(found)] == [
        "connect [2001:db8::1]:1688",
        "RPC bind [2001:db8::1]:1688",
    ]


def test_client() -> None:
    """A client's suffixes are told together, and what they share but once."""
    probe = probed(endpoint(), at=END)
    asked = query("A", TARGET, at=START + 0.1)
    first, second = (
        zone_check(
            ServerCheck(
                dns_server=SERVER,
                lookup=answer(record(), queries=(query(name=f"_vlmcs._tcp.{zone}"),)),
                targets=(addresses(TARGET, "192.0.2.1", queries=(asked,)),),
            ),
            zone=zone,
            at=END,
            probes=[probe],
        )
        for zone in (ZONE, "fabrikam.test")
    )
    assert [step.what.split(f" at {SERVER}")[0] for step in trace_client(client_check(first, second))] == [
        f"SRV {NAME}",
        "SRV _vlmcs._tcp.fabrikam.test",
        f"A {TARGET}",
        f"connect {TARGET} 192.0.2.1:1688",
        f"RPC bind {TARGET} 192.0.2.1:1688",
    ]


# --- As text


def test_show_trace() -> None:
    """A step is a line of text: the time since the first one, how long it took, what it was, its outcome."""
    steps = trace(
        check(
            query(),
            failed("servfail", "SOA", ZONE, at=START + 0.1),
            probes=[probed(endpoint(), ProbeFailure.NOT_ALLOWED, at=END)],
        )
    )
    assert show_trace(steps) == (
        f"    +0.0000 s       1.00 ms  SRV {NAME} at {SERVER} (udp)  ok, 1 record\n"
        f"!   +0.1000 s       1.00 ms  SOA {ZONE} at {SERVER} (udp)              servfail\n"
        f"!   +0.5000 s                connect {TARGET} 192.0.2.1:1688          not_allowed\n"
    )


def test_show_nothing() -> None:
    """A trace without steps is no text."""
    assert show_trace(()) == ""
