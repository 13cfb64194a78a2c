"""Tests of the history: which checks are kept and for how long, what counts as failed, and since when.

What a real BIND does shows in the traces of whole checks at the end.
"""

import asyncio
import dataclasses
import signal
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.checks import Checker
from exporter.config import parse
from exporter.diagnosis import Verdict
from exporter.history import (
    FAILED_CHECKS,
    MAX_STEPS,
    RECENT_CHECKS,
    CheckRecord,
    History,
    Streak,
    Tally,
    pack,
    unpack,
)
from exporter.history.outline import Outline, Times
from exporter.model import (
    ClientCheck,
    DnsServer,
    Found,
    HostCheck,
    LookupStatus,
    ProbeFailure,
    Query,
    Search,
    ServerCheck,
    ZoneCheck,
)
from exporter.names import SRV_PREFIX
from exporter.state import State
from exporter.subjects import check_of, check_settings, show, subjects
from exporter.subjects import configure as configure_from
from exporter.trace import Step, show_trace, trace, trace_of
from tests.builders import (
    ADDRESS,
    CLIENT,
    SERVER,
    TARGET,
    ZONE,
    addresses,
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
from tests.services import LOOPBACK, Lab, Listener, Named, config, srv, wait_until, zone, zone_file

OTHER_SERVER = "192.0.2.54"
OTHER_ADDRESS = "192.0.2.2"
OTHER_ZONE = "fabrikam.test"
MANY_TRIES = 1000


@pytest.fixture
def state() -> State:
    """Give a state that watches one zone at two DNS servers."""
    state = State()
    configure(state, {ZONE: zone_settings(SERVER, OTHER_SERVER)})
    return state


@pytest.fixture
def history(state: State) -> History:
    """Give the history of the state."""
    return History(state)


def healthy(at: float = 1.0, zone: str = ZONE) -> ZoneCheck:
    """Build a check that finds all well."""
    return zone_check(at_server(SERVER, answer(record())), zone=zone, at=at)


def broken(at: float = 1.0, zone: str = ZONE) -> ZoneCheck:
    """Build a check whose only server refuses to answer."""
    return zone_check(at_server(SERVER, answer(status=LookupStatus.REFUSED)), zone=zone, at=at)


def apply(state: State, history: History, *found: Found) -> None:
    """Put checks into the state, and then tell the history, as the scheduler does."""
    for each in found:
        match each:
            case ZoneCheck():
                state.apply_zone(each)
            case ClientCheck():
                state.apply_client(each)
            case _:
                state.apply_host(each)
        history.note(each)


def times(records: Iterable[CheckRecord]) -> list[float]:
    """Give when checks were finished."""
    return [each.finished_at for each in records]


# --- What is kept


@pytest.mark.parametrize(
    ("failed", "kept"),
    [
        (range(0), range(90, 100)),
        (range(100), range(60, 100)),
        (range(40), [*range(10, 40), *range(90, 100)]),
        ([3, 7, 95], [3, 7, *range(90, 100)]),
        (range(1, 100, 2), [*range(31, 90, 2), *range(90, 100)]),
    ],
    ids=["none", "all", "long ago", "few", "every other"],
)
def test_failures_are_kept_for_longer(
    state: State, history: History, failed: Container[int], kept: Iterable[int]
) -> None:
    """The last ten checks are kept, and of those before them the last thirty that failed, newest first."""
    for number in range(100):
        apply(state, history, (broken if number in failed else healthy)(float(number)))
    records = history.checks(ZONE)
    assert times(records) == sorted(kept, reverse=True)
    assert [record.failed for record in records] == [record.finished_at in failed for record in records]


def test_tally(state: State, history: History) -> None:
    """What failed its last check is counted for as long as it is configured."""
    configure(state, {ZONE: zone_settings(SERVER), OTHER_ZONE: zone_settings(SERVER)})
    assert history.tally() == Tally(failing=0, last_check=None)
    apply(state, history, broken(1), broken(2, OTHER_ZONE))
    assert history.tally() == Tally(failing=2, last_check=2)
    apply(state, history, healthy(3))
    assert history.tally() == Tally(failing=1, last_check=3)
    configure(state, {ZONE: zone_settings(SERVER)})
    assert history.tally() == Tally(failing=0, last_check=3)


def test_memory_is_bounded(state: State, history: History) -> None:
    """However many checks there are, those that are kept are few, and share all but their times."""
    found = broken()
    state.apply_zone(found)
    for _ in range(200):
        history.note(found)
    records = history.checks(ZONE)
    assert len(records) == RECENT_CHECKS + FAILED_CHECKS
    assert len({id(record.verdicts) for record in records}) == 1
    assert len({id(outline) for outline, _ in kept(records)}) == 1
    assert max(len(found_times) for _, found_times in kept(records)) < 20


def kept(records: Iterable[CheckRecord]) -> list[tuple[Outline, Times]]:
    """Give what is kept of traces that are not packed; nothing of it is to be seen from outside."""
    return [each.trace for each in records if not isinstance(each.trace, bytes)]


def test_record(state: State, history: History) -> None:
    """A check is kept with its time, how long it took, the verdict at each server, and its trace."""
    found = zone_check(
        at_server(SERVER, answer(record())),
        at_server(OTHER_SERVER, answer(status=LookupStatus.NXDOMAIN)),
        at=7.0,
    )
    apply(state, history, found)
    [kept] = history.checks(ZONE)
    assert (kept.finished_at, kept.duration_seconds, kept.failed) == (7.0, found.duration_seconds, True)
    assert kept.verdicts == {SERVER: Verdict.OK, OTHER_SERVER: Verdict.SRV_MISSING}
    assert kept.steps() == trace(found)
    assert [step.what for step in kept.steps()][-1] == f"RPC bind {TARGET} {ADDRESS}:1688"


TWO = at_server(SERVER, answer(record(), record("kms2.contoso.test")), {"kms2.contoso.test": ["192.0.2.2"]})


@pytest.mark.parametrize(
    ("found", "expected", "verdict", "failed"),
    [
        (healthy(), None, "ok", False),
        (broken(), None, "dns_failed", True),
        (
            zone_check(
                TWO,
                probes=[
                    probed(endpoint()),
                    probed(endpoint("kms2.contoso.test", address="192.0.2.2"), ProbeFailure.TIMEOUT),
                ],
            ),
            None,
            "degraded",
            True,
        ),
        (
            zone_check(
                at_server(SERVER, answer(record())), probes=[probed(endpoint(), ProbeFailure.NOT_ALLOWED)]
            ),
            None,
            "unknown",
            True,
        ),
        (zone_check(at_server(SERVER, answer())), None, "srv_missing", True),
        (zone_check(at_server(SERVER, answer())), [host()], "srv_missing", True),
        (zone_check(at_server(SERVER, answer())), [], "srv_missing", False),
        (zone_check(at_server(SERVER, answer(record(".", 0)))), [], "srv_declined", False),
        (broken(), [], "dns_failed", True),
    ],
    ids=[
        "ok",
        "DNS",
        "degraded",
        "unknown",
        "missing",
        "missing, expected",
        "as expected",
        "declined",
        "DNS, nothing expected",
    ],
)
def test_what_failed(found: ZoneCheck, expected: Any, verdict: str, failed: bool) -> None:  # noqa: FBT001
    """A check failed if any server's clients meet anything but `ok`, unless that is just what is expected."""
    state = State()
    configure(state, {ZONE: zone_settings(expected=expected)})
    history = History(state)
    apply(state, history, found)
    [kept] = history.checks(ZONE)
    assert (kept.verdicts, kept.failed) == ({SERVER: Verdict(verdict)}, failed)


def test_static_hosts_and_clients(state: State, history: History) -> None:
    """Static hosts and kinds of clients have their history, too, by the names that they go by."""
    static, literal = host("kms9.contoso.test"), host("192.0.2.9")
    configure(state, {}, hosts=[static, literal], clients={CLIENT: client_settings(ZONE, OTHER_ZONE)})
    suffixes = broken(5.0), healthy(6.0, OTHER_ZONE)
    apply(
        state,
        history,
        host_check(static, "192.0.2.9", at=3.0, duration_seconds=0.25),
        host_check(literal, "192.0.2.9", dns_server="", at=4.0, probes=[]),
        client_check(*suffixes),
    )
    search = Search(client=CLIENT, suffixes=(ZONE, OTHER_ZONE))
    [by_name], [by_address], [client] = (history.checks(show(each)) for each in (static, literal, search))
    assert (by_name.finished_at, by_name.duration_seconds, by_name.verdicts) == (
        3.0,
        0.25,
        {SERVER: Verdict.OK},
    )
    assert by_name.steps()[-1].what == "RPC bind kms9.contoso.test 192.0.2.9:1688"
    assert (by_address.verdicts, by_address.failed) == ({"": Verdict.UNKNOWN}, True)
    assert (client.finished_at, client.verdicts) == (6.0, {SERVER: Verdict.OK})
    assert client.steps()[-1].what.startswith("RPC bind")
    assert set(history.streaks()) == {
        ("kms9.contoso.test:1688", SERVER),
        ("192.0.2.9:1688", ""),
        (f"client {CLIENT}", SERVER),
    }


def test_removed_zone(state: State, history: History) -> None:
    """What leaves the configuration is forgotten at once, and the rest stays."""
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings()})
    apply(state, history, healthy(1.0), healthy(2.0, OTHER_ZONE))
    configure(state, {OTHER_ZONE: zone_settings()})
    assert history.checks(ZONE) == ()
    assert times(history.checks(OTHER_ZONE)) == [2.0]
    assert history.streaks() == {(OTHER_ZONE, SERVER): Streak(verdict=Verdict.OK, since=2.0)}
    apply(state, history, healthy(3.0))
    assert history.checks(ZONE) == (), "the check was under way when the zone was removed"
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings()})
    assert history.checks(ZONE) == ()


def test_empty() -> None:
    """Without a configuration there is nothing, and nothing is kept."""
    state = State()
    history = History(state)
    apply(state, history, healthy())
    assert history.checks(ZONE) == ()
    assert history.streaks() == {}


# --- Traces that repeat


def query(at: float, name: str = ZONE, rdtype: str = "SRV", **fields: Any) -> Query:
    """Build a query that was answered."""
    defaults: dict[str, Any] = {"transport": "udp", "outcome": "ok", "duration_seconds": at / 1000}
    return Query(dns_server=SERVER, name=name, rdtype=rdtype, asked_at=at, **defaults | fields)


def sent(at: float, **fields: Any) -> ZoneCheck:
    """Build a check with the queries that it took, one of them without an answer, and a probe that failed."""
    lookup = answer(record(), queries=(query(at), query(at, rdtype="SOA", duration_seconds=None)))
    target = addresses(TARGET, ADDRESS, OTHER_ADDRESS, queries=(query(at + 0.1, TARGET, "A"),), **fields)
    server = ServerCheck(dns_server=SERVER, lookup=lookup, targets=(target,))
    probes = [
        probed(endpoint(), at=at + 0.3, connect_seconds=at / 1e6, syn_retransmits=int(at)),
        probed(endpoint(address=OTHER_ADDRESS), ProbeFailure.TIMEOUT, at=at + 0.4),
    ]
    check = zone_check(server, at=at + 0.5, probes=probes, refused=(DnsServer(address="192.0.2.99"),))
    return dataclasses.replace(check, queries=(query(at - 0.1, rdtype="NS"),))


def of_host(at: float) -> HostCheck:
    """Build a check of a static host with the query that it took."""
    target = addresses(TARGET, ADDRESS, queries=(query(at, TARGET, "A"),))
    return host_check(host(), targets={SERVER: target}, at=at, probes=(probed(endpoint(), at=at),))


def of_client(at: float) -> ClientCheck:
    """Build a check of a client whose suffixes have query and probe in common."""
    first = sent(at)
    return client_check(first, dataclasses.replace(first, zone=OTHER_ZONE))


@pytest.mark.parametrize("build", [healthy, broken, sent, of_host, of_client])
def test_checks_that_differ_in_times(state: State, build: Callable[[float], Found]) -> None:
    """Checks that differ in their times alone share the rest, and each has its own trace."""
    configure(state, hosts=[host()], clients={CLIENT: client_settings(ZONE, OTHER_ZONE)})
    history = History(state)
    found = [build(float(number)) for number in range(1, 6)]
    apply(state, history, *found)
    name = ZONE if isinstance(found[0], ZoneCheck) else f"client {CLIENT}"
    records = history.checks(f"{TARGET}:1688" if isinstance(found[0], HostCheck) else name)
    assert len({id(outline) for outline, _ in kept(records)}) == 1
    assert [record.steps() for record in reversed(records)] == [trace_of(each) for each in found]


def test_checks_that_take_turns(state: State, history: History) -> None:
    """A zone that goes up and down keeps what it looks like but twice."""
    found = [(broken if number % 2 else healthy)(float(number)) for number in range(8)]
    apply(state, history, *found)
    records = history.checks(ZONE)
    assert len({id(outline) for outline, _ in kept(records)}) == 2
    assert [record.steps() for record in reversed(records)] == [trace_of(each) for each in found]


def test_change_of_one_thing(state: State, history: History) -> None:
    """A trace tells of whatever was another than in the check before, be all else the same."""
    found = [
        sent(1.0),
        sent(2.0, addresses=(ADDRESS,)),
        sent(3.0, addresses=(OTHER_ADDRESS,)),
        sent(4.0),
        dataclasses.replace(sent(5.0), refused=()),
        dataclasses.replace(sent(6.0), queries=(query(5.9, rdtype="NS", outcome="servfail"),)),
        dataclasses.replace(sent(7.0), probes=sent(7.0).probes[:1]),
        dataclasses.replace(sent(8.0), probes=sent(8.0).probes[::-1]),
    ]
    apply(state, history, *found)
    records = history.checks(ZONE)
    assert [record.steps() for record in reversed(records)] == [trace_of(each) for each in found]


def test_large_check(state: State, history: History) -> None:
    """A check with so many steps that they may fill the memory is packed at once."""
    names = [f"kms{number}.contoso.test" for number in range(100)]
    found = zone_check(at_server(SERVER, answer(*map(record, names))))
    apply(state, history, found)
    [only] = history.checks(ZONE)
    assert isinstance(only.trace, bytes)
    assert [step.what for step in only.steps()] == [step.what for step in trace_of(found)]


# --- Since when


def test_streaks(state: State, history: History) -> None:
    """A verdict holds since the first check that had it, at each DNS server."""
    both = [
        zone_check(
            *(at_server(label, lookup) for label, lookup in zip((SERVER, OTHER_SERVER), seen, strict=True)),
            at=at,
        )
        for at, seen in (
            (1.0, (answer(record()), answer(record()))),
            (2.0, (answer(record()), answer())),
            (3.0, (answer(), answer(status=LookupStatus.NXDOMAIN))),
            (4.0, (answer(record()), answer())),
        )
    ]
    seen = []
    for each in both:
        apply(state, history, each)
        streaks = history.streaks()
        seen.append(
            [
                (streaks[ZONE, label].verdict.value, streaks[ZONE, label].since)
                for label in (SERVER, OTHER_SERVER)
            ]
        )
    assert seen == [
        [("ok", 1.0), ("ok", 1.0)],
        [("ok", 1.0), ("srv_missing", 2.0)],
        [("srv_missing", 3.0), ("srv_missing", 2.0)],
        [("ok", 4.0), ("srv_missing", 2.0)],
    ]


def test_streaks_and_reloads(state: State, history: History) -> None:
    """A streak outlives a reload, and ends with the server that it is about."""
    both = (at_server(SERVER, answer(record())), at_server(OTHER_SERVER, answer(record())))
    apply(state, history, zone_check(*both, at=1.0))
    configure(state, {ZONE: zone_settings(SERVER), OTHER_ZONE: zone_settings()})
    apply(state, history, healthy(2.0))
    assert history.streaks() == {(ZONE, SERVER): Streak(verdict=Verdict.OK, since=1.0)}
    configure(state, {ZONE: zone_settings(SERVER, OTHER_SERVER)})
    apply(state, history, zone_check(*both, at=3.0))
    assert {label: streak.since for (_, label), streak in history.streaks().items()} == {
        SERVER: 1.0,
        OTHER_SERVER: 3.0,
    }


def test_streaks_stay_as_they_were(state: State, history: History) -> None:
    """What was handed out can be read in another thread while checks go on."""
    apply(state, history, healthy(1.0))
    streaks = history.streaks()
    apply(state, history, broken(2.0))
    assert streaks == {(ZONE, SERVER): Streak(verdict=Verdict.OK, since=1.0)}


# --- Packing

steps = st.builds(
    Step,
    at=st.floats(1.6e9, 1.9e9),
    duration_seconds=st.none() | st.floats(0, 1e4),
    what=st.text(),
    outcome=st.text(),
    good=st.booleans(),
)


@given(st.lists(steps, max_size=5))
def test_packing(given_steps: list[Step]) -> None:
    """A trace comes back as it was, to the microsecond."""
    back = unpack(pack(given_steps))
    for before, after in zip(given_steps, back, strict=True):
        assert after.at == pytest.approx(before.at, abs=2e-6)
        if before.duration_seconds is None:
            assert after.duration_seconds is None
        else:
            assert after.duration_seconds == pytest.approx(before.duration_seconds, abs=1e-6)
        assert (after.what, after.outcome, after.good) == (before.what, before.outcome, before.good)


@pytest.mark.parametrize(
    ("count", "kept", "cut"),
    [(MAX_STEPS, MAX_STEPS, None), (MAX_STEPS + 1, MAX_STEPS, 2), (5000, MAX_STEPS, 4501)],
)
def test_long_trace(count: int, kept: int, cut: int | None) -> None:
    """Of a trace that is too long the beginning is kept, and how much more there was."""
    long = [
        Step(at=float(n), duration_seconds=0.0, what=f"step {n}", outcome="ok", good=True)
        for n in range(count)
    ]
    *start, last = unpack(pack(long))
    assert len(start) + 1 == kept
    assert start == long[: len(start)]
    assert last.outcome == ("ok" if cut is None else f"{cut} more steps, not kept")


# --- Whole checks, with a real BIND


@pytest.fixture(scope="module")
def listener(module_lab: Lab) -> Listener:
    """Listen where the KMS hosts of these tests are."""
    return module_lab.listener()


@pytest.fixture(scope="module")
def named(module_lab: Lab, listener: Listener) -> Named:
    """Serve a zone with one host, and one whose records do not fit into a datagram."""
    many = [srv(f"{'kms' * 15}{number}", listener.port) for number in range(60)]
    return module_lab.named(
        {
            ZONE: zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port)),
            OTHER_ZONE: zone_file(*many),
        },
        options="recursion no; minimal-responses yes;",
    )


def look(
    configuration: dict[str, Any],
    *,
    timeout: str = "20s",
    attempts: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
) -> History:
    """Check everything of a configuration once, with as much time as it takes, and give the history."""
    running = parse(yaml.safe_dump(configuration | {"interval": "60s", "timeout": timeout}).encode())
    state = State()
    configure_from(state, running)
    history = History(state)

    async def run() -> None:
        checker = Checker(dataclasses.replace(check_settings(running), attempts=attempts))
        checks = [
            check_of(checker, state, subject, selectors, note=history.note)()
            for subject, selectors in subjects(running).items()
        ]
        try:
            await asyncio.gather(asyncio.to_thread(meanwhile), *checks)
        finally:
            await checker.close()

    asyncio.run(run())
    return history


def told(record: CheckRecord) -> list[tuple[str, str]]:
    """Say what was done and what came of it, without the times."""
    return [(step.what, step.outcome.split(" in ")[0]) for step in record.steps()]


def test_healthy_zone(named: Named, listener: Listener) -> None:
    """The trace of a check has every query with its answer, and every connect and bind, in order of time."""
    [kept] = look(config(zone(ZONE, named.server))).checks(ZONE)
    place = f"kms1.{ZONE} {LOOPBACK}:{listener.port}"
    assert sorted(told(kept)) == sorted(
        [
            (f"SRV {SRV_PREFIX}{ZONE} at {named.server} (udp)", "ok, 1 record, authoritative"),
            (f"SOA {ZONE} at {named.server} (udp)", "ok, 1 record, authoritative"),
            (f"A kms1.{ZONE} at {named.server} (udp)", "ok, 1 record, authoritative"),
            (f"AAAA kms1.{ZONE} at {named.server} (udp)", "nodata, authoritative"),
            (f"connect {place}", "connected"),
            (f"RPC bind {place}", "accepted"),
        ]
    )
    steps = kept.steps()
    assert [steps[0].what.split(" ")[0], steps[-1].what.split(" ")[0]] == ["SRV", "RPC"]
    assert all(step.good and step.duration_seconds for step in steps)
    start = kept.finished_at - kept.duration_seconds
    assert all(start - 0.001 <= step.at <= kept.finished_at for step in steps)
    assert show_trace(steps).count("\n") == 6


def test_truncated_answer(named: Named) -> None:
    """An answer that did not fit shows as truncated, with the TCP query that brought it after that."""
    [kept] = look(config(zone(OTHER_ZONE, named.server))).checks(OTHER_ZONE)
    name = f"SRV {SRV_PREFIX}{OTHER_ZONE} at {named.server}"
    assert told(kept)[:2] == [
        (f"{name} (udp)", "truncated, authoritative"),
        (f"{name} (tcp)", "ok, 60 records, authoritative"),
    ]
    assert kept.verdicts == {named.server: Verdict.TARGET_UNRESOLVABLE}
    assert kept.failed
    assert not any(step.good for step in kept.steps() if step.what.startswith(("A ", "AAAA ")))


def test_second_try(named: Named) -> None:
    """A query that is sent again, since nobody answered in time, shows with every try."""

    def answer_late() -> None:
        try:
            first = wait_until(lambda: _queued(named.port) or None, "the first try waits at the server")
            wait_until(lambda: _queued(named.port) > first or None, "the second try waits beside it")
        finally:
            named.send_signal(signal.SIGCONT)

    named.send_signal(signal.SIGSTOP)
    wait_until(lambda: _is_stopped(named.pid) or None, "named is stopped")
    history = look(
        config(zone(ZONE, named.server)), timeout="300ms", attempts=MANY_TRIES, meanwhile=answer_late
    )
    [kept] = history.checks(ZONE)
    name = f"SRV {SRV_PREFIX}{ZONE} at {named.server} (udp)"
    tries = [outcome for what, outcome in told(kept) if what == name]
    assert tries[0] == "timeout"
    assert tries[-1] == "ok, 1 record, authoritative"


def _queued(port: int) -> int:
    """Tell how much memory the datagrams take that wait at a UDP port (proc(5), /proc/net/udp)."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1].endswith(f":{port:04X}"))


def test_silent_server(module_lab: Lab) -> None:
    """A server that never answers shows with each of the tries that were made."""
    server = module_lab.silent_dns_server().server
    [kept] = look(config(zone(ZONE, server)), timeout="300ms", attempts=2).checks(ZONE)
    assert told(kept) == [(f"SRV {SRV_PREFIX}{ZONE} at {server} (udp)", "timeout")] * 2
    assert kept.verdicts == {server: Verdict.DNS_FAILED}


def _is_stopped(pid: int) -> bool:
    """Tell whether every thread of a process is stopped by a signal (proc(5), /proc/PID/stat)."""
    states = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state.rpartition(")")[2].split()[0] == "T" for state in states)
