"""A check that repeats the last one comes to what a check from scratch would, and costs no query more.

The servers and endpoints are real sockets on loopback. No time passes but when all that is left to wait for
is known to be silent: so nothing is concluded from how long anything takes.
"""

import asyncio
import contextlib
import dataclasses
import ipaddress
import os
import selectors
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.boundaries import Boundaries
from exporter.build import read_build_info
from exporter.checks import Checker, CheckSettings
from exporter.checks.deadline import Deadline
from exporter.checks.run import Run
from exporter.discovery import Discovery, ResolvConf, Transport
from exporter.model import (
    UNFINISHED,
    DnsServer,
    Family,
    Host,
    IgnoredReason,
    LookupStatus,
    Memory,
    ProbeFailure,
    ServerGroup,
    ServerSelector,
    ZoneCheck,
)
from exporter.sockets import readiness
from exporter.state import Histogram, Snapshot, State
from tests import builders
from tests.builders import Clock, zone_settings
from tests.fake_dns import DEADLINE_SECONDS, FakeDns, Query, respond, streams

T = TypeVar("T")

ZONE, OTHER_ZONE = "contoso.test", "fabrikam.test"
NAMES = tuple(f"kms{number}.contoso.test" for number in range(1, 5))
UP, ALSO_UP, CLOSED, HANGS = (f"127.0.1.{last}" for last in range(1, 5))
INTERVAL_SECONDS = 61.0  # so that each serial is asked for at each check
TIMEOUT_SECONDS = 5.0
STEP_SECONDS = 0.5
SETTINGS = CheckSettings(
    interval_seconds=INTERVAL_SECONDS,
    timeout_seconds=TIMEOUT_SECONDS,
    attempts=2,
    source_addresses={},
    address_families=(Family.IPV4,),
    max_concurrency=256,
    boundaries=Boundaries(networks=(ipaddress.ip_network("127.0.0.0/8"),)),
    records_per_zone=64,
    addresses_per_target=16,
    probes_per_check=256,
    rpc_bind=False,
)


# --- Time


class Loop(asyncio.SelectorEventLoop):
    """An event loop on whose clock no time passes but what is added to `now`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watched = selectors.DefaultSelector()
        super().__init__(self.watched)

    def time(self) -> float:
        """Tell the time."""
        return self.now


def loop() -> Loop:
    """Give the running event loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, Loop)
    return running


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario on a clock of its own, and see that it leaves nothing open."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.get_loop()
        before = descriptors()
        found = runner.run(scenario)
        assert len(descriptors()) <= len(before)
        return found


def descriptors() -> set[str]:
    """List what this process has open."""
    return {entry.name for entry in os.scandir("/proc/self/fd")}


async def settle() -> None:
    """Let everything happen that is due, until nothing is left but to wait for sockets and time."""
    idle = 0
    for _ in range(50):  # at most: others may be busy for ever
        if idle == 2:
            return
        await asyncio.sleep(0)
        idle = 0 if loop()._ready else idle + 1  # type: ignore[attr-defined] # nobody else knows


# --- DNS servers and endpoints


class Plan(NamedTuple):
    """What a DNS server says of any zone."""

    kind: str = "ok"
    names: tuple[str, ...] = NAMES[:1]
    ttl_seconds: int = 300
    backwards: bool = False
    glue: bool = True
    weight: int = 0
    serial: int | None = 7


def fence(fake: FakeDns) -> None:
    """Wait until a DNS server has seen all that was sent to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE_SECONDS)
        sock.sendto(dns.message.make_query("fence", "TXT").to_wire(), (fake.server.address, fake.server.port))
        sock.recv(512)


NEGATIVE = {
    "nxdomain": dns.rcode.NXDOMAIN,
    "nodata": dns.rcode.NOERROR,
    "servfail": dns.rcode.SERVFAIL,
    "refused": dns.rcode.REFUSED,
}


class World:
    """Three DNS servers, and endpoints of every kind at the same port of different addresses."""

    def __init__(self) -> None:
        self.plans = [Plan()] * 3
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.silent: set[tuple[int, str]] = set()
        self._fakes = [FakeDns(self._udp(number), tcp=streams(self._tcp(number))) for number in range(3)]
        self.servers = [fake.server for fake in self._fakes]
        self._seen = [0] * 3
        self._opened = contextlib.ExitStack()
        self.listener = self._opened.enter_context(socket.create_server((UP, 0), backlog=128))
        self.port: int = self.listener.getsockname()[1]
        closed = self._opened.enter_context(socket.socket())
        closed.bind((CLOSED, self.port))
        full = self._opened.enter_context(socket.create_server((HANGS, self.port), backlog=0))
        self._opened.enter_context(socket.create_connection(full.getsockname()))  # fills the queue
        self.also: socket.socket | None = None

    def __enter__(self) -> Self:
        for fake in self._fakes:
            self._opened.enter_context(fake)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        self.open_also(wanted=False)

    def reset(self) -> None:
        """Let all be well: one host, which all servers publish."""
        self.plans[:] = [Plan()] * 3
        self.addresses = dict.fromkeys(NAMES, (UP,))
        self.silent.clear()
        self.open_also(wanted=True)
        self.accepted()
        self.asked()

    def open_also(self, *, wanted: bool) -> None:
        """Open or close a second port."""
        if self.also and not wanted:
            self.also.close()
            self.also = None
        elif wanted and not self.also:
            self.also = socket.create_server((ALSO_UP, self.port), backlog=128)

    def accepted(self) -> int:
        """Count the connections since the last call."""
        count = 0
        for listener in filter(None, (self.listener, self.also)):
            listener.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    count += 1
        return count

    def asked(self) -> list[list[str]]:
        """List the queries since the last call by server, as type and transport."""
        for fake in self._fakes:
            fence(fake)
        found = []
        for number, fake in enumerate(self._fakes):
            asked = fake.asked
            found.append(
                [
                    f"{each.query.question[0].rdtype.name} {each.transport}"
                    for each in asked[self._seen[number] :]
                ]
            )
            found[-1].remove("TXT udp")
            self._seen[number] = len(asked)
        return found

    def is_silent(self, peer: tuple[str, int], query: bytes) -> bool:
        """Tell whether nothing will come from a DNS server that was asked this."""
        number = [(server.address, server.port) for server in self.servers].index(peer)
        rdtype = dns.message.from_wire(query).question[0].rdtype.name
        return (number, rdtype) in self.silent or (rdtype == "SRV" and self.plans[number].kind == "silent")

    def _udp(self, number: int) -> Callable[[Query], Iterable[bytes]]:
        def answer(query: Query) -> Iterable[bytes]:
            plan, rdtype = self.plans[number], query.question[0].rdtype.name
            if (number, rdtype) in self.silent or (rdtype == "SRV" and plan.kind == "silent"):
                return []
            if rdtype == "SRV" and plan.kind == "junk":
                return [query.to_wire()[:2] + b"junk"]
            response = self._respond(query, plan)
            if rdtype == "SRV" and plan.kind == "truncated":
                response.flags |= dns.flags.TC
                response.answer.clear()
            return [response.to_wire()]

        return answer

    def _tcp(self, number: int) -> Callable[[Query], Iterable[bytes]]:
        return lambda query: [self._respond(query, self.plans[number]).to_wire()]

    def _respond(self, query: Query, plan: Plan) -> Query:
        name, rdtype = query.question[0].name.to_text(), query.question[0].rdtype
        if rdtype == dns.rdatatype.SRV:
            return self._publish(query, name, plan)
        if rdtype == dns.rdatatype.SOA:
            return respond(query, f"{name} SOA ns1.{name} admin.{name} {plan.serial or 7} 2 3 4 5")
        found = self.addresses.get(name.rstrip("."), ()) if rdtype == dns.rdatatype.A else ()
        return respond(query, *(f"{name} {plan.ttl_seconds} A {address}" for address in found))

    def _publish(self, query: Query, name: str, plan: Plan) -> Query:
        zone = name.removeprefix("_vlmcs._tcp.")
        soa = [f"{zone} SOA ns1.{zone} admin.{zone} {plan.serial} 2 3 4 5"] if plan.serial else []
        if plan.kind in NEGATIVE:
            return respond(query, rcode=NEGATIVE[plan.kind], authority=soa)
        names = plan.names[::-1] if plan.backwards else plan.names
        answer = [f"{name} {plan.ttl_seconds} SRV 0 {plan.weight} {self.port} {each}." for each in names]
        pairs = ((each, address) for each in names for address in self.addresses[each])
        glue = [f"{each}. {plan.ttl_seconds} A {address}" for each, address in pairs] if plan.glue else []
        return respond(query, *answer, additional=glue)


@pytest.fixture(scope="module")
def served() -> Iterator[World]:
    """Start the servers and endpoints for all tests."""
    with World() as world:
        yield world


@pytest.fixture
def world(served: World) -> World:
    """Give a world in which all is well."""
    served.reset()
    return served


# --- Checks


class Afresh(Checker):
    """A checker that never repeats a check."""

    async def check_zone(self, zone: str, selectors: Sequence[ServerSelector], memory: Memory) -> ZoneCheck:
        """Look at a zone once, whatever was before."""
        return await self._check_zone(zone, selectors, memory, Deadline(self._within_seconds))


class Way:
    """One way to check a zone again and again, with what the state remembers of it."""

    def __init__(
        self,
        world: World,
        checker: Checker,
        selectors: Sequence[ServerSelector] | None = None,
        *,
        zone: str = ZONE,
        expected: Iterable[Host] | None = None,
    ) -> None:
        self.world = world
        self.checker = checker
        self.zone = zone
        self.selectors = tuple(world.servers[:1] if selectors is None else selectors)
        self.clock = Clock()
        self.state = State(monotonic=self.clock)
        labels = [each.label for each in self.selectors if isinstance(each, DnsServer)]
        open_ended = len(labels) < len(self.selectors)
        configured = zone_settings(*labels, open_ended=open_ended, expected=expected)
        builders.configure(self.state, {zone: configured}, rpc_bind=False)
        self.revision = 0

    async def check(self, *, within_seconds: float = INTERVAL_SECONDS) -> ZoneCheck:
        """Make a check, and put it into the state."""
        memory = self.state.memory_of_zone(self.zone)
        hurried = self.checker.within(within_seconds)
        check = await self.made(hurried.check_zone(self.zone, self.selectors, memory))
        self.state.apply_zone(check)
        return check

    async def made(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the end of work; time passes where nothing else is left to wait for."""
        task, give_up = asyncio.ensure_future(work), time.monotonic() + DEADLINE_SECONDS
        while not task.done():
            assert time.monotonic() < give_up
            await settle()
            if self.is_stuck():
                loop().now += STEP_SECONDS
            else:
                time.sleep(0.0002)  # noqa: ASYNC251 -- the servers' threads have the processor meanwhile
        return task.result()

    def is_stuck(self) -> bool:
        """Tell whether everything that is under way waits for somebody silent."""
        waits = readiness()._waiting  # nobody else knows what is waited for
        if not waits or len(loop().watched.get_map()) > 2:  # the loop's own, and that of readiness
            return False
        return all(self._is_silent(fd, watch.ready.__self__) for fd, watch in waits.items())  # type: ignore[attr-defined]

    def _is_silent(self, fd: int, asker: Any) -> bool:
        if endpoint := getattr(asker, "_endpoint", None):
            return bool(endpoint.address == HANGS)
        with socket.socket(fileno=os.dup(fd)) as sock:
            return self.world.is_silent(sock.getpeername(), asker._query)  # of datagrams alone

    def later(self, seconds: float = INTERVAL_SECONDS) -> None:
        """Let the state's clock go on."""
        self.clock.now += seconds

    def seen(self) -> tuple[object, ...]:
        """Show all that there is to see, but for times, and whether it is as it was."""
        snapshot = self.state.snapshot()
        snapshot = dataclasses.replace(  # in the order in which answers came, which may be any
            snapshot,
            endpoints=tuple(sorted(snapshot.endpoints, key=lambda each: each.endpoint)),
            targets=tuple(sorted(snapshot.targets, key=lambda each: (each[0], each[1].target))),
            hosts=tuple(sorted(snapshot.hosts)),
        )
        revision, self.revision = self.revision, snapshot.zones[0].revision
        return untimed(snapshot), series(snapshot), revision == self.revision


def both(world: World, changed: CheckSettings = SETTINGS, *more: Any, **options: Any) -> tuple[Way, Way]:
    """Give two ways to check: one that repeats, and one that does not."""
    return (
        Way(world, Checker(changed), *more, **options),
        Way(world, Afresh(changed), *more, **options),
    )


async def closed(ways: Iterable[Way]) -> None:
    """Close the checkers."""
    for way in ways:
        await way.checker.close()


_NOT_TOLD = {"revision", "syn_retransmits"}


def untimed(value: Any) -> Any:
    """Show a value without its times and what depends on them."""
    if isinstance(value, float | Histogram):
        return type(value).__name__
    if names := fields_of(value):
        shown = {name: untimed(getattr(value, name)) for name in names if name not in _NOT_TOLD}
        return type(value).__name__, shown
    if isinstance(value, Mapping):
        return sorted((repr(untimed(key)), untimed(each)) for key, each in value.items())
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [untimed(each) for each in value]
    return value


def fields_of(value: Any) -> Sequence[str]:
    """Name the fields of a value that has any."""
    if dataclasses.is_dataclass(value):
        return [each.name for each in dataclasses.fields(value)]
    return getattr(value, "_fields", ())


def result(check: ZoneCheck) -> Any:
    """Show a check without its times; in which order it probed is of no interest."""
    return untimed(
        dataclasses.replace(check, probes=tuple(sorted(check.probes, key=lambda each: each.endpoint)))
    )


def series(snapshot: Snapshot) -> Sequence[tuple[str, list[tuple[str, str]], object]]:
    """List the series of /metrics, with the values that are no times."""
    found = []
    for family in builders.families(snapshot, read_build_info()):
        for each in family.samples:
            timed = each.name.endswith(("_seconds", "_sum", "_bucket")) and "ttl" not in each.name
            value = None if timed or "retransmits" in each.name else each.value
            found.append((each.name, sorted(each.labels.items()), value))
    return found


class Runs:
    """Counts the checks that were made from scratch."""

    def __init__(self) -> None:
        self.count = 0

    def since(self) -> int:
        """Give how many there were since the last call."""
        count, self.count = self.count, 0
        return count


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Count the checks that are made from scratch."""
    runs = Runs()

    class Counted(Run):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            runs.count += 1
            super().__init__(*arguments, **options)

    monkeypatch.setattr("exporter.checks.Run", Counted)
    return runs


async def repeating(way: Way, runs: Runs) -> None:
    """Check until checks are repeated."""
    for _ in range(3):
        runs.since()
        await way.check()
        loop().now += INTERVAL_SECONDS
        way.later()
    assert runs.since() == 0
    way.world.asked()
    way.world.accepted()


def statuses(check: ZoneCheck) -> list[LookupStatus]:
    """Give how the lookups of a check ended, by server."""
    return [server.lookup.status for server in check.servers]


def outcomes(check: ZoneCheck) -> dict[tuple[str, str], ProbeFailure | None]:
    """Give how the probes of a check ended, by target and address."""
    return {(each.endpoint.target, each.endpoint.address): each.failure for each in check.probes}


# --- What is as it was


def test_same_answers(world: World, runs: Runs) -> None:
    """A check that finds what the last one found asks each server once, probes once, and is all the same."""
    world.addresses[NAMES[0]] = (UP, ALSO_UP, CLOSED)
    ways = both(world, SETTINGS, world.servers[:2])

    async def scenario() -> None:
        for number in range(5):
            world.accepted()
            world.asked()
            repeated = await ways[0].check()
            assert runs.since() == (number < 2), (
                "the first finds all new, the second remembers it for the first time"
            )
            assert world.asked() == [["SRV udp", "SOA udp"]] * 2 + [[]]
            assert world.accepted() == 2
            fresh = await ways[1].check()
            assert runs.since() == 1
            assert result(repeated) == result(fresh)
            assert ways[0].seen() == ways[1].seen()
            loop().now += INTERVAL_SECONDS
            for way in ways:
                way.later()
        assert set(outcomes(repeated).values()) == {None, ProbeFailure.CONNECTION_REFUSED}
        await closed(ways)

    run(scenario())


def test_serials(world: World, runs: Runs) -> None:
    """The serial of an answer that does not change is asked for once a minute, and shows at each check."""
    (way, _) = both(world, dataclasses.replace(SETTINGS, interval_seconds=15.0))

    async def scenario() -> None:
        asked = []
        for _ in range(9):
            check = await way.check(within_seconds=15.0)
            assert check.servers[0].lookup.soa_serial == 7
            asked.append("SOA udp" in world.asked()[0])
            loop().now += 15.0
            way.later(15.0)
        assert asked == [True, False, False, False] * 2 + [True]
        assert runs.since() == 2
        await way.checker.close()

    run(scenario())


@pytest.mark.parametrize("kind", ["nxdomain", "servfail", "truncated"])
def test_queries_for_a_serial(world: World, runs: Runs, kind: str) -> None:
    """A query that a check sent is part of it, though another server's answer keeps it from repeating."""
    world.plans[1] = Plan(kind=kind)
    (way, _) = both(world, SETTINGS, world.servers[:2])

    async def scenario() -> None:
        for _ in range(4):
            check = await way.check()
            assert world.asked()[0] == ["SRV udp", "SOA udp"]
            assert [query.rdtype for query in check.servers[0].lookup.queries] == ["SRV", "SOA"]
            loop().now += INTERVAL_SECONDS
        await way.checker.close()

    run(scenario())


def test_endpoint_of_two_zones(world: World, runs: Runs) -> None:
    """An endpoint that two zones share is connected to once per interval, though both repeat their checks."""
    checker = Checker(SETTINGS)
    ways = [Way(world, checker, zone=zone) for zone in (ZONE, OTHER_ZONE)]

    async def scenario() -> None:
        for number in range(5):
            one, other = await ways[0].made(gathered(*(way.check() for way in ways)))
            assert one.probes == other.probes
            assert outcomes(one) == {(NAMES[0], UP): None}
            assert world.accepted() == 1
            assert runs.since() == (2 if number < 2 else 0)
            loop().now += INTERVAL_SECONDS
        await checker.close()

    run(scenario())


async def gathered(*works: Awaitable[T]) -> list[T]:
    """Do all of this at the same time."""
    return await asyncio.gather(*works)


def test_endpoint_that_goes_down(world: World, runs: Runs) -> None:
    """A repeated check probes: an endpoint that goes down and comes up again shows at once."""
    world.addresses[NAMES[0]] = (ALSO_UP,)
    (way, _) = both(world)

    async def scenario() -> None:
        for is_open in (False, True):
            await repeating(way, runs)
            world.open_also(wanted=is_open)
            check = await way.check()
            assert runs.since() == 0
            assert outcomes(check) == {
                (NAMES[0], ALSO_UP): None if is_open else ProbeFailure.CONNECTION_REFUSED
            }
            loop().now += INTERVAL_SECONDS
        await way.checker.close()

    run(scenario())


# --- What is not


@pytest.mark.parametrize(
    "changed",
    [
        Plan(names=NAMES[:2]),
        Plan(names=NAMES[1:2]),
        Plan(names=NAMES[:2], glue=False),
        Plan(kind="nxdomain"),
        Plan(kind="servfail"),
        Plan(kind="junk"),
    ],
    ids=["one more", "another", "without addresses", "nxdomain", "servfail", "junk"],
)
def test_changed_answer(world: World, runs: Runs, changed: Plan) -> None:
    """An answer that changes counts at the same check, and nobody is asked twice."""
    ways = both(world)

    async def scenario() -> None:
        for way in ways:
            await repeating(way, Runs())
        runs.since()
        world.plans[0] = changed
        repeated = await ways[0].check()
        assert runs.since() == 1
        assert world.asked()[0].count("SRV udp") == 1
        assert result(repeated) == result(await ways[1].check())
        assert world.asked()[0].count("SRV udp") == 1
        if changed.kind == "ok":
            assert {(name, UP) for name in changed.names} <= outcomes(repeated).keys()
        await closed(ways)

    run(scenario())


def test_truncated_answer(world: World, runs: Runs) -> None:
    """An answer that is cut is asked for again over TCP, and once over UDP."""
    (way, _) = both(world)

    async def scenario() -> None:
        await repeating(way, runs)
        world.plans[0] = Plan(kind="truncated")
        check = await way.check()
        assert [query for query in world.asked()[0] if query.startswith("SRV")] == ["SRV udp", "SRV tcp"]
        assert [query.outcome for query in check.servers[0].lookup.queries][:2] == ["truncated", "ok"]
        await way.checker.close()

    run(scenario())


def test_silent_server(world: World, runs: Runs) -> None:
    """A server that falls silent is asked as often as ever, and what is news at another counts meanwhile."""
    (way, _) = both(world, SETTINGS, world.servers[:2])

    async def scenario() -> None:
        await repeating(way, runs)
        world.plans[:2] = [Plan(kind="silent"), Plan(names=NAMES[:2])]
        check = await way.check()
        assert statuses(check) == [LookupStatus.TIMEOUT, LookupStatus.OK]
        assert [query.outcome for query in check.servers[0].lookup.queries] == ["timeout", "timeout"]
        assert [each.count("SRV udp") for each in world.asked()] == [2, 1, 0]
        assert outcomes(check) == {(NAMES[0], UP): None, (NAMES[1], UP): None}
        assert check.duration_seconds == pytest.approx(2 * TIMEOUT_SECONDS, abs=STEP_SECONDS)
        await way.checker.close()

    run(scenario())


@pytest.mark.parametrize("about", ["SRV", "SOA"])
def test_news_do_not_wait_for_a_silent_server(world: World, runs: Runs, about: str) -> None:
    """A new host of one server is probed long before another one's silence, about whatever, is over."""
    (way, _) = both(world, SETTINGS, world.servers[:2])

    async def scenario() -> None:
        await repeating(way, runs)
        world.silent = {(0, about)}
        world.plans[1] = Plan(names=NAMES[:2])
        began, connections = loop().now, 0
        checking = asyncio.create_task(way.check(), name="check")
        while connections < 2 and not checking.done():  # what was known is probed at once
            await asyncio.sleep(0)
            connections += world.accepted()
        assert loop().now - began < TIMEOUT_SECONDS
        await checking
        await way.checker.close()

    run(scenario())


# --- By the deadline


def test_lookup_by_the_deadline(world: World, runs: Runs) -> None:
    """A check ends by its deadline, though the attempts at a server that fell silent would take longer."""
    (way, _) = both(world, SETTINGS, world.servers[:2])

    async def scenario() -> None:
        await repeating(way, runs)
        world.plans[0] = Plan(kind="silent")
        check = await way.check(within_seconds=8.0)
        assert statuses(check) == [LookupStatus.TIMEOUT, LookupStatus.OK]
        assert [query.outcome for query in check.servers[0].lookup.queries] == [UNFINISHED]
        assert check.duration_seconds == pytest.approx(8.0, abs=STEP_SECONDS)
        assert outcomes(check) == {(NAMES[0], UP): None}
        await way.checker.close()

    run(scenario())


@pytest.mark.parametrize("within_seconds", [0.6, 3.0, 30.0])
def test_probe_by_the_deadline(world: World, runs: Runs, within_seconds: float) -> None:
    """A probe that hangs is a timeout by the deadline, or by its own time if that is shorter."""
    world.addresses[NAMES[0]] = (UP, HANGS)
    (way, _) = both(world)

    async def scenario() -> None:
        await repeating(way, runs)
        check = await way.check(within_seconds=within_seconds)
        assert statuses(check) == [LookupStatus.OK]
        assert outcomes(check) == {(NAMES[0], UP): None, (NAMES[0], HANGS): ProbeFailure.TIMEOUT}
        [hung] = [probe for probe in check.probes if probe.failure]
        assert (hung.started_at is None) == (within_seconds < TIMEOUT_SECONDS), "cut off"
        longest = min(within_seconds, TIMEOUT_SECONDS)
        assert check.duration_seconds == pytest.approx(longest, abs=STEP_SECONDS)
        await way.checker.close()

    run(scenario())


def test_serials_that_nobody_tells(world: World, runs: Runs) -> None:
    """Servers that are silent about their serials are waited for together, and not in turn."""
    (way, _) = both(world, SETTINGS, world.servers)

    async def scenario() -> None:
        await repeating(way, runs)
        world.silent = {(number, "SOA") for number in range(3)}
        check = await way.check()
        assert statuses(check) == [LookupStatus.OK] * 3
        assert [each.count("SOA udp") for each in world.asked()] == [2, 2, 2]
        assert check.duration_seconds == pytest.approx(2 * TIMEOUT_SECONDS, abs=2 * STEP_SECONDS)
        await way.checker.close()

    run(scenario())


# --- Bounds


def test_more_records_than_may_be(world: World, runs: Runs) -> None:
    """An answer that grows beyond the limit is cut as ever, what was known first, and the rest is counted."""
    ways = both(world, dataclasses.replace(SETTINGS, records_per_zone=2))
    world.plans[0] = Plan(names=NAMES[2:4])

    async def scenario() -> None:
        for way in ways:
            await repeating(way, Runs())
        runs.since()
        world.plans[0] = Plan(names=NAMES)
        for _ in range(3):
            world.asked()
            repeated = await ways[0].check()
            assert world.asked()[0].count("SRV udp") == 1
            assert result(repeated) == result(await ways[1].check())
            assert ways[0].seen() == ways[1].seen()
            lookup = repeated.servers[0].lookup
            assert [record.target for record in lookup.records] == list(NAMES[2:4])
            assert lookup.ignored[IgnoredReason.RECORDS_PER_ZONE] == 2
            loop().now += INTERVAL_SECONDS
        assert runs.since() == 6
        await closed(ways)

    run(scenario())


def test_not_allowed(world: World, runs: Runs) -> None:
    """What may not be connected to never is, however often a check finds the same."""
    nowhere = Boundaries(networks=(ipaddress.ip_network("10.0.0.0/8"),))
    (way, _) = both(world, dataclasses.replace(SETTINGS, boundaries=nowhere))

    async def scenario() -> None:
        for _ in range(5):
            check = await way.check()
            assert outcomes(check) == {(NAMES[0], UP): ProbeFailure.NOT_ALLOWED}
            assert [probe.ignored for probe in check.probes] == [IgnoredReason.NOT_ALLOWED]
            loop().now += INTERVAL_SECONDS
        assert world.accepted() == 0
        assert runs.since() == 5
        await way.checker.close()

    run(scenario())


def test_no_room_at_a_server(world: World, runs: Runs) -> None:
    """Where there is no room to ask at once, a check waits for its turn like any other."""
    checker = Checker(dataclasses.replace(SETTINGS, max_concurrency=1))
    ways = [Way(world, checker, zone=zone) for zone in (ZONE, OTHER_ZONE)]

    async def scenario() -> None:
        for way in ways:
            await repeating(way, runs)
        checks = await ways[0].made(gathered(*(way.check() for way in ways)))
        assert runs.since() == 1
        assert [statuses(check) for check in checks] == [[LookupStatus.OK]] * 2
        assert [outcomes(check) for check in checks] == [{(NAMES[0], UP): None}] * 2
        assert world.asked()[0].count("SRV udp") == 2
        await checker.close()

    run(scenario())


def test_group_that_leads_to_a_listed_server(world: World, runs: Runs) -> None:
    """A group is looked up at each check, though it leads nowhere but to a server that is listed."""

    class System(Discovery):
        servers = world.servers[:1]

        def system(self) -> ResolvConf:
            return ResolvConf(servers=tuple(self.servers))

    discovery = System(
        Transport(timeout_seconds=TIMEOUT_SECONDS, attempts=1, source_addresses={}, max_in_flight=8)
    )
    way = Way(world, Checker(SETTINGS, discovery), [world.servers[0], ServerGroup.SYSTEM])

    async def scenario() -> None:
        for _ in range(4):
            check = await way.check()
            assert check.groups == {ServerGroup.SYSTEM: (world.servers[0],)}
            loop().now += INTERVAL_SECONDS
        System.servers = world.servers[:2]
        check = await way.check()
        assert [server.dns_server for server in check.servers] == [each.label for each in world.servers[:2]]
        await way.checker.close()

    run(scenario())


# --- Ends that nobody wants


@pytest.mark.parametrize("kind", ["lookup", "serial", "probe"])
def test_cancelled(world: World, runs: Runs, kind: str) -> None:
    """A check can be cancelled wherever it is; its questions end then, and closing ends what it shared."""
    if kind == "probe":
        world.addresses[NAMES[0]] = (UP, HANGS)
    (way, _) = both(world, SETTINGS, world.servers[:2])

    async def scenario() -> None:
        await repeating(way, runs)
        if kind == "lookup":
            world.plans[0] = Plan(kind="silent")
        elif kind == "serial":
            world.silent = {(0, "SOA")}
        before, others = descriptors(), asyncio.all_tasks()
        memory = way.state.memory_of_zone(ZONE)
        task = asyncio.create_task(way.checker.check_zone(ZONE, way.selectors, memory), name="check")
        await until_stuck(way)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if kind == "lookup":
            assert descriptors() == before
        await way.checker.close()
        await settle()
        assert descriptors() == before
        assert asyncio.all_tasks() == others
        assert runs.since() == 0

    run(scenario())


async def until_stuck(way: Way) -> None:
    """Wait until all that is left to wait for is silent."""
    give_up = time.monotonic() + DEADLINE_SECONDS
    while True:
        await settle()
        if way.is_stuck():
            return
        assert time.monotonic() < give_up
        time.sleep(0.0002)  # noqa: ASYNC251 -- the servers' threads have the processor meanwhile


def test_closed_in_the_middle(world: World, runs: Runs) -> None:
    """A check whose checker is closed begins nothing more."""
    world.addresses[NAMES[0]] = (UP, HANGS)
    (way, _) = both(world)

    async def scenario() -> None:
        await repeating(way, runs)
        before = descriptors()
        memory = way.state.memory_of_zone(ZONE)
        task = asyncio.create_task(way.checker.check_zone(ZONE, way.selectors, memory), name="check")
        await until_stuck(way)
        await way.checker.close()
        await settle()
        left = descriptors() - before
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await way.checker.close()
        assert not left

    run(scenario())


def test_bug(world: World, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is no result: it travels out of the check, and the next one is whole again."""

    def fail(*_: object) -> Any:
        raise RuntimeError("a bug")

    (way, _) = both(world)

    async def scenario() -> None:
        for place in ("exporter.probe._read_tcp_info", "exporter.discovery.datagrams.receive_stamped"):
            await repeating(way, runs)
            with monkeypatch.context() as patch:
                patch.setattr(place, fail)
                with pytest.raises(RuntimeError, match="a bug"):
                    await way.check()
            loop().now += INTERVAL_SECONDS
            assert outcomes(await way.check()) == {(NAMES[0], UP): None}
        await way.checker.close()

    run(scenario())


def test_no_memory(world: World, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Want of memory is this machine's own failure, whoever makes the check."""

    def fail(*_: object) -> Any:
        raise MemoryError

    ways = both(world)

    async def scenario() -> None:
        for way in ways:
            await repeating(way, Runs())
        monkeypatch.setattr("exporter.discovery.datagrams.receive_stamped", fail)
        fresh = await ways[1].check()
        assert statuses(fresh) == [LookupStatus.LOCAL_ERROR]
        assert result(await ways[0].check()) == result(fresh)
        await closed(ways)

    run(scenario())


# --- Anything at all

KINDS = st.sampled_from(["ok"] * 20 + [*NEGATIVE, "silent", "junk", "truncated"])
PLANS = st.builds(
    Plan,
    kind=KINDS,
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).map(tuple),
    ttl_seconds=st.sampled_from([0, 300, 3600]),
    backwards=st.booleans(),
    glue=st.sampled_from([True] * 9 + [False]),
    weight=st.sampled_from([0, 0, 1]),
    serial=st.sampled_from([7, 8, None]),
)
ADDRESSES = st.lists(st.sampled_from([UP, ALSO_UP, CLOSED, HANGS]), min_size=1, max_size=3, unique=True).map(
    tuple
)
EVENTS = st.one_of(
    st.tuples(st.just("plan"), st.integers(0, 2), PLANS),
    st.tuples(st.just("again"), st.integers(0, 2), st.sampled_from(["ttl", "order", "serial", "silent"])),
    st.tuples(st.just("addresses"), st.sampled_from(NAMES), ADDRESSES | st.just(())),
    st.tuples(st.just("port"), st.booleans(), st.none()),
)
STEPS = st.lists(st.just([]) | st.just([]) | st.lists(EVENTS, max_size=1), min_size=4, max_size=8)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "records_per_zone": st.sampled_from([1, 2]),
        "addresses_per_target": st.just(1),
        "probes_per_check": st.just(2),
        "max_concurrency": st.sampled_from([1, 4, 8]),
        "attempts": st.just(1),
        "boundaries": st.just(Boundaries(networks=(ipaddress.ip_network(f"{UP}/32"),))),
        "address_families": st.just((Family.IPV4, Family.IPV6)),
    },
)


def happen(world: World, what: str, which: Any, value: Any) -> None:
    """Let something change."""
    match what:
        case "plan":
            world.plans[which] = value
        case "addresses":
            world.addresses[which] = value
        case "port":
            world.open_also(wanted=which)
        case _:
            before = world.plans[which]
            change: dict[str, Any] = {
                "ttl": {"ttl_seconds": before.ttl_seconds + 1},
                "order": {"backwards": not before.backwards},
                "serial": {"serial": 9},
                "silent": {"kind": "ok" if before.kind == "silent" else "silent"},
            }[value]
            world.plans[which] = before._replace(**change)


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    setup=st.fixed_dictionaries(
        {
            "servers": st.integers(1, 3),
            "plans": st.lists(PLANS | st.just(Plan()), min_size=3, max_size=3),
            "addresses": st.lists(ADDRESSES | st.just((UP,)), min_size=4, max_size=4),
            "changes": CHANGES | st.just({}),
            "expected": st.sampled_from([None, None, [], NAMES[:1], NAMES[2:4]]),
        }
    ),
    within_seconds=st.sampled_from([INTERVAL_SECONDS, INTERVAL_SECONDS, 8.0, 3.0]),
    steps=STEPS,
)
def test_any_sequence(
    world: World,
    setup: dict[str, Any],
    within_seconds: float,
    steps: list[list[tuple[str, Any, Any]]],
) -> None:
    """Whatever servers say and endpoints do, checks that repeat find what checks from scratch find."""
    world.reset()
    world.plans[:] = setup["plans"]
    world.addresses = dict(zip(NAMES, setup["addresses"], strict=True))
    hosts = None if setup["expected"] is None else [Host(name, world.port) for name in setup["expected"]]
    changed = dataclasses.replace(SETTINGS, **setup["changes"])
    ways = both(world, changed, world.servers[: setup["servers"]], expected=hosts)

    async def scenario() -> None:
        for events in steps:
            for event in events:
                happen(world, *event)
            world.asked()
            repeated = await ways[0].check(within_seconds=within_seconds)
            asked = world.asked()
            fresh = await ways[1].check(within_seconds=within_seconds)
            assert result(repeated) == result(fresh)
            assert [sorted(each) for each in asked] == [sorted(each) for each in world.asked()]
            assert ways[0].seen() == ways[1].seen()
            loop().now += INTERVAL_SECONDS
            world.accepted()
            for way in ways:
                way.later(30.0)
        await closed(ways)
        world.open_also(wanted=True)

    run(scenario())
