"""One check, from lookup to probe: DNS played from a table, endpoints by real listeners or a table as well.

Time passes when a test says so, so nothing is concluded from how long anything takes.
"""

import asyncio
import collections
import copy
import dataclasses
import ipaddress
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Self, TypeVar

import pytest

from exporter.boundaries import Boundaries
from exporter.checks import Checker, CheckSettings
from exporter.checks.targets import merge_target, worst_status
from exporter.discovery import Authoritative, Budget, Discovery, Question, ResolvConf, SoaLookup
from exporter.model import (
    AddressLookup,
    DnsServer,
    Endpoint,
    Family,
    Host,
    HostCheck,
    IgnoredReason,
    LookupStatus,
    Memory,
    ProbeFailure,
    ProbeResult,
    Queries,
    Query,
    Record,
    Search,
    ServerGroup,
    ServerSelector,
    SrvLookup,
    TargetLookup,
    ZoneCheck,
    endpoints_of,
)
from tests.fake_dns import FakeDns, says

T = TypeVar("T")

INTERVAL_SECONDS = 60.0

ZONE = "contoso.test"
TARGET, TARGET2 = "kms1.contoso.test", "kms2.contoso.test"
HOST, HOST2 = Host(target=TARGET, port=1688), Host(target=TARGET2, port=1688)
ADDRESS, ADDRESS2, ADDRESS6 = "192.0.2.1", "192.0.2.2", "2001:db8::1"
SERVER, SERVER2, SERVER3 = (DnsServer(address=f"192.0.2.5{number}") for number in (3, 4, 5))
LABEL = SERVER.label
IPV4, IPV6 = Family.IPV4, Family.IPV6
OK, NXDOMAIN, NODATA = LookupStatus.OK, LookupStatus.NXDOMAIN, LookupStatus.NODATA
SERVFAIL, TIMEOUT = LookupStatus.SERVFAIL, LookupStatus.TIMEOUT
UNREACHABLE, BAD = LookupStatus.UNREACHABLE, LookupStatus.BAD_RESPONSE

SETTINGS = CheckSettings(
    interval_seconds=INTERVAL_SECONDS,
    timeout_seconds=5,
    attempts=2,
    source_addresses={},
    address_families=(IPV4, IPV6),
    max_concurrency=256,
    boundaries=Boundaries(),
    records_per_zone=64,
    addresses_per_target=16,
    probes_per_check=256,
    rpc_bind=True,
)
LOOPBACK_NET = ipaddress.ip_network("127.0.0.0/8")
ON_LOOPBACK = dataclasses.replace(SETTINGS, boundaries=Boundaries(networks=(LOOPBACK_NET,)), rpc_bind=False)


# --- Time


class ClockAhead(asyncio.SelectorEventLoop):
    """An event loop whose clock a test can put forward."""

    ahead = 0.0

    def time(self) -> float:
        """Tell the time, and what the test has added to it."""
        return super().time() + self.ahead


def advance(seconds: float) -> None:
    """Let time pass."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockAhead)
    loop.ahead += seconds


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on a clock of its own."""
    with asyncio.Runner(loop_factory=ClockAhead) as runner:
        runner.run(scenario)


# --- DNS and endpoints, played


class Silence(asyncio.Event):
    """What stands for an answer that never comes; it is set as soon as somebody waits for it."""

    async def listen(self) -> None:
        """Wait for ever."""
        self.set()
        await asyncio.Event().wait()


class Dns(Discovery):
    """Answers by question, `TYPE NAME` or `TYPE NAME @SERVER`; to others there is no such name.

    A `Silence` is no answer, and a function is called for one.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.expected: dict[str, AbstractSet[Host]] = {}
        self.known: dict[str, AbstractSet[Host]] = {}
        self.limits: set[int] = set()
        self.budget: Budget | None = None
        self.budgets: list[Budget | None] = []
        self.resolv_conf = ResolvConf()

    def within(self, budget: Budget) -> Self:
        """Give these answers with a budget; it is noted with each question."""
        bounded = copy.copy(self)
        bounded.budget = budget
        return bounded

    async def _ask(self, question: str, server: str, default: object) -> Any:
        self.asked.append(f"{question} @{server}")
        self.budgets.append(self.budget)
        answer = self.answers.get(self.asked[-1], self.answers.get(question, default))
        if isinstance(answer, Silence):
            await answer.listen()
        return answer() if callable(answer) else answer

    def system(self) -> ResolvConf:
        """Give the resolv.conf of the test."""
        return self.resolv_conf

    def begin_srv(self, zone: str, server: DnsServer) -> None:
        """Begin nothing: there is no room."""

    async def lookup_srv(
        self,
        zone: str,
        server: DnsServer,
        *,
        expected: AbstractSet[Host],
        known: AbstractSet[Host],
        limit: int,
        begun: Question | None = None,
    ) -> SrvLookup:
        """Answer an SRV question."""
        self.expected[server.label] = expected
        self.known[server.label] = known
        self.limits.add(limit)
        found: SrvLookup = await self._ask(f"SRV {zone}", server.label, failed(NXDOMAIN))
        return found

    async def lookup_soa_serial(self, zone: str, server: DnsServer) -> SoaLookup:
        """Answer an SOA question."""
        answer = await self._ask(f"SOA {zone}", server.label, None)
        return answer if isinstance(answer, SoaLookup) else SoaLookup(answer)

    async def lookup_addresses(self, name: str, family: Family, server: DnsServer) -> AddressLookup:
        """Answer an A or AAAA question."""
        rdtype = {IPV4: "A", IPV6: "AAAA"}[family]
        found: AddressLookup = await self._ask(f"{rdtype} {name}", server.label, no_address(NXDOMAIN))
        return found

    async def find_authoritative(self, name: str, families: tuple[Family, ...]) -> Authoritative:
        """Answer an NS question, and give the addresses along with it."""
        found = await self._ask(f"NS {name}", ",".join(families), (frozenset(), NXDOMAIN))
        return Authoritative(*found)


class Probes:
    """Results of probes by address: up, unless there is a failure; none at all where there is a silence."""

    def __init__(self) -> None:
        self.probed: list[Endpoint] = []
        self.options: list[tuple[float, bool, str | None]] = []
        self.failures: dict[str, ProbeFailure] = {}
        self.silences: dict[str, Silence] = {}
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(
        self,
        endpoint: Endpoint,
        *,
        timeout_seconds: float,
        rpc_bind: bool,
        source_address: str | None = None,
    ) -> ProbeResult:
        """Play a probe."""
        self.probed.append(endpoint)
        self.options.append((timeout_seconds, rpc_bind, source_address))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if silence := self.silences.get(endpoint.address):
                await silence.listen()
        finally:
            self.at_once -= 1
        return ProbeResult(
            endpoint=endpoint,
            finished_at=time.time(),
            finished_monotonic=time.monotonic(),
            failure=self.failures.get(endpoint.address),
        )


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    """Play endpoints from a table."""
    probes = Probes()

    def start(
        endpoint: Endpoint, *, ended: Callable[[], None], **options: Any
    ) -> asyncio.Future[ProbeResult]:
        probing = asyncio.ensure_future(probes(endpoint, **options))
        probing.add_done_callback(lambda _: ended())
        return probing

    monkeypatch.setattr("exporter.checks.means.start_probe", start)
    return probes


@pytest.fixture
def dns() -> Dns:
    """Play DNS: one record, whose target has one IPv4 address."""
    dns = Dns()
    dns.answers = {
        f"SRV {ZONE}": found(record()),
        f"A {TARGET}": addresses(ADDRESS),
        f"AAAA {TARGET}": no_address(NODATA),
    }
    return dns


def checker(dns: Dns, settings: CheckSettings = SETTINGS) -> Checker:
    """Make a checker that asks the DNS of the test."""
    return Checker(settings, dns)


def record(target: str = TARGET, port: int = 1688, *, priority: int = 0) -> Record:
    """Build an SRV record."""
    return Record(priority=priority, weight=0, port=port, target=target)


def found(*records: Record, **fields: Any) -> SrvLookup:
    """Build an SRV answer with records."""
    return SrvLookup(
        status=OK, duration_seconds=0.01, records=records, record_count=len(records), ttl_seconds=60, **fields
    )


def failed(status: LookupStatus) -> SrvLookup:
    """Build an SRV answer without records."""
    return SrvLookup(status=status, duration_seconds=0.01)


def addresses(*literals: str, ttl_seconds: int = 3600) -> AddressLookup:
    """Build an answer with addresses."""
    return AddressLookup(status=OK, addresses=literals, ttl_seconds=ttl_seconds)


def no_address(status: LookupStatus) -> AddressLookup:
    """Build an answer without addresses."""
    return AddressLookup(status=status)


def at(address: str, host: Host = HOST) -> Endpoint:
    """Build an endpoint."""
    return Endpoint(target=host.target, port=host.port, address=address)


def remember(*hosts: Host, address: str = ADDRESS, server: DnsServer = SERVER) -> Memory:
    """Build the memory of an answer that published hosts, each with one address."""
    lookups = [TargetLookup(target=host.target, probed=(address,)) for host in hosts]
    return Memory(
        records={server.label: tuple(record(host.target, host.port) for host in hosts)},
        addresses={(server.label, host.target): (address,) for host in hosts},
        endpoints=tuple(sorted(endpoints_of(hosts, lookups))),
    )


def sent(rdtype: str, name: str) -> Queries:
    """Build a query that was answered."""
    return (Query(dns_server=LABEL, name=name, rdtype=rdtype, transport="udp", asked_at=1.0, outcome="ok"),)


def told(queries: Queries) -> list[tuple[str, str, str]]:
    """Say whom each query was sent to, what it asked for, and what it came to."""
    return [(query.dns_server, f"{query.rdtype} {query.name}", query.outcome) for query in queries]


def outcomes(check: ZoneCheck | HostCheck) -> dict[Endpoint, ProbeFailure | None]:
    """Give how each probe of a check ended; there is one for each endpoint."""
    ended = {result.endpoint: result.failure for result in check.probes}
    assert len(ended) == len(check.probes)
    return ended


def targets(check: ZoneCheck, server: DnsServer = SERVER) -> dict[str, TargetLookup]:
    """Give the targets of a check as one server has them."""
    [view] = [view for view in check.servers if view.dns_server == server.label]
    return {lookup.target: lookup for lookup in view.targets}


# --- From a zone to its endpoints


def test_healthy_zone(dns: Dns, probes: Probes) -> None:
    """A zone is looked up, its target resolved, its endpoint probed; the serial is asked for."""
    dns.answers[f"SOA {ZONE}"] = 2026

    async def scenario() -> None:
        before = time.time()
        check = await checker(dns).check_zone(ZONE, [SERVER], Memory())
        [view] = check.servers
        assert (check.zone, view.dns_server) == (ZONE, LABEL)
        assert view.lookup == found(record(), soa_serial=2026)
        assert view.targets == (TargetLookup(target=TARGET, addresses=(ADDRESS,), probed=(ADDRESS,)),)
        assert outcomes(check) == {at(ADDRESS): None}
        assert before <= check.finished_at <= time.time()
        assert 0 <= check.duration_seconds < INTERVAL_SECONDS
        assert check.groups == {}

    run(scenario())
    assert sorted(dns.asked) == [f"{q} @{LABEL}" for q in sorted([*dns.answers])]


def test_budget(dns: Dns, probes: Probes) -> None:
    """What one check gets to read is no other check's loss."""

    async def scenario() -> None:
        checks = checker(dns)
        await checks.check_zone(ZONE, [SERVER], Memory())
        await checks.check_zone("other.test", [SERVER], Memory())

    run(scenario())
    assert len(dns.budgets) == len(dns.asked)
    first, second = dict.fromkeys(dns.budgets)
    assert None not in (first, second)
    assert dns.budgets == sorted(dns.budgets, key=[first, second].index)
    assert dns.asked[dns.budgets.index(second)].startswith("SRV other.test")


def test_queries(dns: Dns, probes: Probes) -> None:
    """Every result brings along the queries that led to it; those for one target, all that it took."""
    four, six, srv, soa = (
        sent(rdtype, name) for rdtype, name in (("A", TARGET), ("AAAA", TARGET), ("SRV", ZONE), ("SOA", ZONE))
    )
    dns.answers = {
        f"SRV {ZONE}": found(record(), queries=srv),
        f"SOA {ZONE}": SoaLookup(2026, soa),
        f"A {TARGET}": dataclasses.replace(addresses(ADDRESS), queries=four),
        f"AAAA {TARGET}": dataclasses.replace(no_address(NODATA), queries=six),
        f"NS {ZONE}": (frozenset({SERVER}), OK, sent("NS", ZONE)),
        f"NS {TARGET}": (frozenset({SERVER}), OK, sent("NS", TARGET)),
    }

    async def scenario() -> None:
        checks, servers = checker(dns), [ServerGroup.AUTHORITATIVE]
        check = await checks.check_zone(ZONE, servers, Memory())
        assert check.queries == sent("NS", ZONE)
        assert check.servers[0].lookup.queries == srv + soa
        assert targets(check)[TARGET].queries == four + six
        static = await checks.check_host(HOST, servers, Memory())
        assert static.queries == sent("NS", TARGET)
        assert static.targets[LABEL].queries == four + six
        assert static.duration_seconds > 0
        client = await checks.check_search(
            Search(client="branch", suffixes=(ZONE,)), servers, {ZONE: Memory()}
        )
        assert client.suffixes[0].queries == sent("NS", ZONE)

    run(scenario())


def test_queries_for_a_short_name(dns: Dns, probes: Probes) -> None:
    """A short name has the queries for every name that it was completed to, up to the one that has it."""
    dns.resolv_conf = ResolvConf(search=("one.test", "two.test"))
    lookups = {
        f"{rdtype} kms.{suffix}": sent(rdtype, f"kms.{suffix}")
        for suffix in ("one.test", "two.test")
        for rdtype in ("A", "AAAA")
    }
    for question, queries in lookups.items():
        dns.answers[question] = dataclasses.replace(no_address(NXDOMAIN), queries=queries)

    async def scenario() -> None:
        check = await checker(dns).check_host(Host(target="kms", port=1688), [SERVER], Memory())
        assert check.targets[LABEL].queries == tuple(query for each in lookups.values() for query in each)

    run(scenario())


def test_serial_of_the_answer(dns: Dns, probes: Probes) -> None:
    """The serial that came along with an answer is not asked for again, nor is that of a failure."""
    dns.answers[f"SRV {ZONE} @{SERVER2.label}"] = SrvLookup(
        status=NXDOMAIN, duration_seconds=0.01, soa_serial=7
    )
    dns.answers[f"SRV {ZONE} @{SERVER3.label}"] = failed(SERVFAIL)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER2, SERVER3], Memory())
        assert [view.lookup.soa_serial for view in check.servers] == [7, None]

    run(scenario())
    assert not [question for question in dns.asked if question.startswith("SOA")]


def test_serial_of_the_same_answer(dns: Dns, probes: Probes) -> None:
    """A zone's serial is asked for when its answer has changed, and else once a minute."""
    serial = f"SOA {ZONE}"
    dns.answers[serial] = 1

    async def scenario() -> None:
        each = checker(dns, dataclasses.replace(SETTINGS, interval_seconds=15))

        async def serials() -> int | None:
            [view] = (await each.check_zone(ZONE, [SERVER], Memory())).servers
            return view.lookup.soa_serial

        assert await serials() == 1
        dns.answers[serial] = 2
        for _ in range(3):
            advance(15)
            assert await serials() == 1
        advance(15)
        assert await serials() == 2
        dns.answers |= {serial: 3, f"SRV {ZONE}": found(record(TARGET2), fingerprint=2)}
        assert await serials() == 3
        dns.answers |= {serial: None, f"SRV {ZONE}": found(record(), fingerprint=3)}
        assert await serials() is None
        dns.answers[serial] = 4
        assert await serials() == 4
        dns.answers |= {serial: 5, f"SRV {ZONE}": found(record(TARGET2), fingerprint=2)}
        assert await serials() == 5, "not that of the same answer before the last one"

    run(scenario())


def test_queries_for_a_serial(dns: Dns, probes: Probes) -> None:
    """The query for a serial is part of the check that sent it, and of no later one."""
    dns.answers[f"SOA {ZONE}"] = SoaLookup(2026, sent("SOA", ZONE))

    async def scenario() -> None:
        each = checker(dns, dataclasses.replace(SETTINGS, interval_seconds=15))
        first, second = [await each.check_zone(ZONE, [SERVER], Memory()) for _ in range(2)]
        assert first.servers[0].lookup.queries == sent("SOA", ZONE)
        assert second.servers[0].lookup.queries == ()
        assert second.servers[0].lookup.soa_serial == 2026

    run(scenario())


def test_several_servers(dns: Dns, probes: Probes) -> None:
    """Every server is asked on its own, for the records and for the addresses; all endpoints are probed."""
    dns.answers |= {
        f"SRV {ZONE} @{SERVER2.label}": found(record(), record(TARGET2)),
        f"A {TARGET} @{SERVER2.label}": addresses(ADDRESS2),
        f"A {TARGET2}": addresses(ADDRESS, ADDRESS2),
        f"SRV {ZONE} @{SERVER3.label}": failed(LookupStatus.REFUSED),
    }

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER3, SERVER, SERVER2], Memory())
        assert [(view.dns_server, view.lookup.status) for view in check.servers] == [
            (SERVER3.label, LookupStatus.REFUSED),
            (LABEL, OK),
            (SERVER2.label, OK),
        ]
        assert targets(check)[TARGET].addresses == (ADDRESS,)
        assert targets(check, SERVER2)[TARGET].addresses == (ADDRESS2,)
        assert outcomes(check).keys() == {
            at(ADDRESS),
            at(ADDRESS2),
            at(ADDRESS, HOST2),
            at(ADDRESS2, HOST2),
        }

    run(scenario())
    assert len(probes.probed) == 4


def test_port_of_the_record(dns: Dns, probes: Probes) -> None:
    """Two records that differ in their port are two hosts, resolved once and probed at each port."""
    dns.answers[f"SRV {ZONE}"] = found(record(), record(port=1689))

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], Memory())
        assert {endpoint.port for endpoint in outcomes(check)} == {1688, 1689}

    run(scenario())
    assert dns.asked.count(f"A {TARGET} @{LABEL}") == 1


def test_declined_service(dns: Dns, probes: Probes) -> None:
    """The target `.` is no host: it is neither resolved nor probed."""
    dns.answers[f"SRV {ZONE}"] = found(record("."))

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], Memory())
        assert (targets(check), check.probes) == ({}, ())

    run(scenario())
    assert dns.asked == [f"SRV {ZONE} @{LABEL}", f"SOA {ZONE} @{LABEL}"]


def test_glue(dns: Dns, probes: Probes) -> None:
    """Addresses that come along complete their own family only; the other one is asked for."""
    glue = MappingProxyType({(TARGET, IPV4): addresses(ADDRESS2)})
    dns.answers |= {f"SRV {ZONE}": found(record(), glue=glue), f"AAAA {TARGET}": addresses(ADDRESS6)}

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], Memory())
        assert targets(check)[TARGET].addresses == (ADDRESS2, ADDRESS6)

    run(scenario())
    assert f"A {TARGET} @{LABEL}" not in dns.asked
    assert f"AAAA {TARGET} @{LABEL}" in dns.asked


def test_one_family(dns: Dns, probes: Probes) -> None:
    """Only addresses of the configured families are asked for."""

    async def scenario() -> None:
        settings = dataclasses.replace(SETTINGS, address_families=(IPV6,))
        check = await checker(dns, settings).check_zone(ZONE, [SERVER], Memory())
        assert targets(check)[TARGET].failure is NODATA

    run(scenario())
    assert f"AAAA {TARGET} @{LABEL}" in dns.asked
    assert f"A {TARGET} @{LABEL}" not in dns.asked


def test_limits(dns: Dns, probes: Probes) -> None:
    """Addresses beyond the limit are not probed but counted, those known before going first."""
    many = [f"192.0.2.{number}" for number in range(100, 110)]
    dns.answers[f"A {TARGET}"] = addresses(*many)

    async def scenario() -> None:
        settings = dataclasses.replace(SETTINGS, addresses_per_target=2, records_per_zone=5)
        check = await checker(dns, settings).check_zone(ZONE, [SERVER], remember(HOST, address=many[7]))
        assert targets(check)[TARGET].probed == (many[0], many[7])
        assert targets(check)[TARGET].ignored == 8
        assert outcomes(check).keys() == {at(many[0]), at(many[7])}

    run(scenario())
    assert (dns.expected, dns.known) == ({LABEL: set()}, {LABEL: {HOST}})
    assert dns.limits == {5}


def test_answer_that_is_as_it_was(dns: Dns, probes: Probes) -> None:
    """An answer with all addresses leads to the same when nothing else has changed, and only then."""
    glue = {(TARGET, family): addresses(address) for family, address in ((IPV4, ADDRESS), (IPV6, ADDRESS6))}
    dns.answers |= {f"SRV {ZONE}": found(record(), glue=glue), f"A {TARGET2}": addresses(ADDRESS2)}

    async def scenario() -> None:
        each = checker(dns)

        async def led_to(memory: Memory, *servers: DnsServer) -> set[str]:
            advance(INTERVAL_SECONDS)
            check = await each.check_zone(ZONE, servers, memory)
            assert outcomes(check).keys() == {
                Endpoint(target=view.target, port=1688, address=address)
                for server in check.servers
                for view in server.targets
                for address in view.probed
            }
            return {endpoint.address for endpoint in outcomes(check)}

        memory = Memory(addresses={(LABEL, TARGET): (ADDRESS,)})
        assert await led_to(memory, SERVER) == await led_to(memory, SERVER) == {ADDRESS, ADDRESS6}
        wider = Memory(expected=(HOST2,))
        assert await led_to(wider, SERVER) == {ADDRESS, ADDRESS6, ADDRESS2}
        assert await led_to(memory, SERVER, SERVER2) == {ADDRESS, ADDRESS6}
        dns.answers[f"SRV {ZONE}"] = found(record(), glue={**glue, (TARGET, IPV4): addresses(ADDRESS2)})
        assert await led_to(memory, SERVER) == {ADDRESS2, ADDRESS6}
        dns.answers[f"SRV {ZONE}"] = found(record(TARGET2), glue=glue)
        assert await led_to(memory, SERVER) == {ADDRESS2}
        dns.answers[f"SRV {ZONE}"] = failed(SERVFAIL)
        assert await led_to(memory, SERVER) == set()

    run(scenario())


def test_much_that_comes_along(dns: Dns, probes: Probes) -> None:
    """Of an answer with a crowd of addresses nothing is kept: it may be another crowd at every check."""
    crowd = addresses(*(f"192.0.2.{last}" for last in range(1, 101)))
    dns.answers[f"SRV {ZONE}"] = found(record(), glue={(TARGET, IPV4): crowd, (TARGET, IPV6): addresses()})

    async def scenario() -> None:
        each = checker(dns)
        check = await each.check_zone(ZONE, [SERVER], Memory())
        assert len(outcomes(check)) == SETTINGS.addresses_per_target
        assert not any(each._means.followed._kept.values())

    run(scenario())


# --- What was seen before


@pytest.mark.parametrize("status", [SERVFAIL, LookupStatus.REFUSED, LookupStatus.BAD_RESPONSE])
def test_error_of_a_server(dns: Dns, probes: Probes, status: LookupStatus) -> None:
    """While a server answers with an error, the hosts of its last usable answer are resolved and probed."""
    dns.answers |= {f"SRV {ZONE}": failed(status), f"A {TARGET}": addresses(ADDRESS2)}

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], remember(HOST))
        assert check.servers[0].lookup.status is status
        assert targets(check)[TARGET].addresses == (ADDRESS2,)
        assert outcomes(check) == {at(ADDRESS): None, at(ADDRESS2): None}

    run(scenario())


@pytest.mark.parametrize("status", [TIMEOUT, UNREACHABLE])
def test_silent_server(dns: Dns, probes: Probes, status: LookupStatus) -> None:
    """A server that does not answer is not asked for the targets: the addresses it gave last are probed."""
    dns.answers[f"SRV {ZONE}"] = failed(status)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], remember(HOST))
        spared = TargetLookup(target=TARGET, probed=(ADDRESS,), failure=status, asked=False)
        assert targets(check) == {TARGET: spared}
        assert outcomes(check) == {at(ADDRESS): None}

    run(scenario())
    assert dns.asked == [f"SRV {ZONE} @{LABEL}"]
    assert probes.probed == [at(ADDRESS)]


def test_memory_of_another_server(dns: Dns, probes: Probes) -> None:
    """What one server published is not followed at another."""
    dns.answers[f"SRV {ZONE}"] = failed(SERVFAIL)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], remember(HOST, server=SERVER2))
        assert targets(check) == {}

    run(scenario())


@pytest.mark.parametrize("status", [NXDOMAIN, NODATA])
def test_record_that_vanishes(dns: Dns, probes: Probes, status: LookupStatus) -> None:
    """A host that a usable answer does not name any more is resolved and probed once more all the same."""
    dns.answers[f"SRV {ZONE}"] = failed(status)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], remember(HOST))
        assert check.servers[0].lookup.records == ()
        assert targets(check)[TARGET].addresses == (ADDRESS,)
        assert outcomes(check) == {at(ADDRESS): None}

    run(scenario())


def test_vanished_host(dns: Dns, probes: Probes) -> None:
    """A host that vanished earlier is resolved at every server that answers, and probed."""
    dns.answers |= {f"SRV {ZONE}": failed(NXDOMAIN), f"A {TARGET2}": addresses(ADDRESS2)}

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER, SERVER2], Memory(vanished=(HOST2,)))
        assert all(targets(check, server)[TARGET2].addresses == (ADDRESS2,) for server in (SERVER, SERVER2))
        assert outcomes(check) == {at(ADDRESS2, HOST2): None}

    run(scenario())


def test_expected_host(dns: Dns, probes: Probes) -> None:
    """A host that should be published is asked for first, and where it is missing resolved and probed too."""
    dns.answers[f"A {TARGET2}"] = addresses(ADDRESS2)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER, SERVER2], Memory(expected=(HOST2,)))
        for server in (SERVER, SERVER2):
            assert {target: lookup.addresses for target, lookup in targets(check, server).items()} == {
                TARGET: (ADDRESS,),
                TARGET2: (ADDRESS2,),
            }
        assert outcomes(check) == {at(ADDRESS): None, at(ADDRESS2, HOST2): None}

    run(scenario())
    assert dns.expected == {LABEL: {HOST2}, SERVER2.label: {HOST2}}
    assert dns.known == {LABEL: set(), SERVER2.label: set()}


@pytest.mark.parametrize("status", [NXDOMAIN, NODATA, SERVFAIL])
def test_expected_host_without_an_answer(dns: Dns, probes: Probes, status: LookupStatus) -> None:
    """A host that should be published is followed from the first check on, whatever the answer."""
    dns.answers[f"SRV {ZONE}"] = failed(status)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], Memory(expected=(HOST,)))
        assert targets(check)[TARGET].addresses == (ADDRESS,)
        assert outcomes(check) == {at(ADDRESS): None}

    run(scenario())


def test_expected_host_of_a_silent_server(dns: Dns, probes: Probes) -> None:
    """A server that does not answer is not asked for hosts that should be published either."""
    dns.answers[f"SRV {ZONE}"] = failed(TIMEOUT)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], Memory(expected=(HOST,)))
        assert targets(check) == {TARGET: TargetLookup(target=TARGET, failure=TIMEOUT, asked=False)}
        assert check.probes == ()

    run(scenario())
    assert dns.asked == [f"SRV {ZONE} @{LABEL}"]


def test_limit_of_records_with_expected_hosts(probes: Probes) -> None:
    """Under the limit of records an expected host comes first, then one that was published before."""
    names = [f"kms{number}" for number in range(9)]
    answer = [f"_vlmcs._tcp.{ZONE}. SRV {n} 0 1688 {name}.{ZONE}." for n, name in enumerate(names)]
    expected, known = (Host(target=f"kms{number}.{ZONE}", port=1688) for number in (8, 5))

    async def scenario() -> None:
        with FakeDns(says(*answer)) as fake:
            settings = dataclasses.replace(SETTINGS, records_per_zone=3, address_families=(IPV4,))
            memory = dataclasses.replace(remember(known, server=fake.server), expected=(expected,))
            check = await Checker(settings).check_zone(ZONE, [fake.server], memory)
        [view] = check.servers
        kept = [record.target.partition(".")[0] for record in view.lookup.records]
        assert kept == ["kms0", "kms5", "kms8"]
        assert view.lookup.record_count == 9

    run(scenario())


def test_failing_family(dns: Dns, probes: Probes) -> None:
    """While the lookup of one address family fails, its last addresses are probed beside fresh ones."""
    dns.answers[f"AAAA {TARGET}"] = no_address(SERVFAIL)

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], remember(HOST, address=ADDRESS6))
        lookup = targets(check)[TARGET]
        assert lookup.addresses == (ADDRESS,)
        assert lookup.probed == (ADDRESS, ADDRESS6)
        assert lookup.failure is None
        assert outcomes(check).keys() == {at(ADDRESS), at(ADDRESS6)}

    run(scenario())


# --- The search of a client

BRANCH = "branch.test"
SUFFIXES = (BRANCH, ZONE)


def search(*suffixes: str) -> Search:
    """Build a search; it tries two suffixes unless told otherwise."""
    return Search(client="branch", suffixes=suffixes or SUFFIXES)


def test_search(dns: Dns, probes: Probes) -> None:
    """Every suffix is looked up at every server of the client, and all that they lead to is probed."""
    dns.answers |= {
        f"SRV {BRANCH} @{SERVER2.label}": found(record(TARGET2)),
        f"A {TARGET2}": addresses(ADDRESS2),
    }

    async def scenario() -> None:
        before = time.time()
        check = await checker(dns).check_search(
            search(), [SERVER, SERVER2], {suffix: Memory() for suffix in SUFFIXES}
        )
        assert check.client == "branch"
        assert [suffix.zone for suffix in check.suffixes] == [*SUFFIXES]
        statuses = {
            (suffix.zone, view.dns_server): view.lookup.status
            for suffix in check.suffixes
            for view in suffix.servers
        }
        assert statuses == {
            (BRANCH, LABEL): NXDOMAIN,
            (BRANCH, SERVER2.label): OK,
            (ZONE, LABEL): OK,
            (ZONE, SERVER2.label): OK,
        }
        branch, zone = check.suffixes
        assert targets(branch, SERVER2).keys() == {TARGET2}
        assert targets(zone).keys() == {TARGET}
        assert outcomes(branch) == outcomes(zone) == {at(ADDRESS): None, at(ADDRESS2, HOST2): None}
        assert all(before <= suffix.finished_at <= time.time() for suffix in check.suffixes)
        assert all(0 <= suffix.duration_seconds < INTERVAL_SECONDS for suffix in check.suffixes)

    run(scenario())
    assert sorted(question for question in dns.asked if question.startswith("SRV")) == sorted(
        f"SRV {suffix} @{server.label}" for suffix in SUFFIXES for server in (SERVER, SERVER2)
    )


def test_search_probes_a_shared_endpoint_once(dns: Dns, probes: Probes) -> None:
    """An endpoint to which several suffixes lead, and a zone of its own, is probed and resolved once."""
    dns.answers[f"SRV {BRANCH}"] = found(record())

    async def scenario() -> None:
        checks = checker(dns)
        memories = {suffix: remember(HOST) for suffix in SUFFIXES}
        check, zone_check = await asyncio.gather(
            checks.check_search(search(), [SERVER], memories), checks.check_zone(ZONE, [SERVER], Memory())
        )
        assert [outcomes(suffix) for suffix in check.suffixes] == [{at(ADDRESS): None}] * 2
        assert zone_check.probes == check.suffixes[0].probes

    run(scenario())
    assert probes.probed == [at(ADDRESS)]
    assert dns.asked.count(f"A {TARGET} @{LABEL}") == 1


def test_search_keeps_memories_apart(dns: Dns, probes: Probes) -> None:
    """What was published in one suffix is followed there and not in another."""
    dns.answers |= {f"SRV {suffix}": failed(SERVFAIL) for suffix in SUFFIXES}
    dns.answers[f"A {TARGET2}"] = addresses(ADDRESS2)

    async def scenario() -> None:
        memories = {BRANCH: remember(HOST2, address=ADDRESS2), ZONE: remember(HOST)}
        check = await checker(dns).check_search(search(), [SERVER], memories)
        branch, zone = check.suffixes
        assert targets(branch).keys() == {TARGET2}
        assert targets(zone).keys() == {TARGET}

    run(scenario())


def test_search_remembers_what_to_probe(dns: Dns, probes: Probes) -> None:
    """The endpoints that any suffix led to are probed, even where nobody answers any more."""
    dns.answers |= {f"SRV {suffix}": failed(TIMEOUT) for suffix in SUFFIXES}

    async def scenario() -> None:
        memories = {BRANCH: remember(HOST2, address=ADDRESS2), ZONE: remember(HOST)}
        check = await checker(dns).check_search(search(), [SERVER], memories)
        assert outcomes(check.suffixes[0]).keys() == {at(ADDRESS), at(ADDRESS2, HOST2)}

    run(scenario())


@pytest.mark.parametrize(
    ("of_branch", "of_zone", "asked", "missing"),
    [
        pytest.param([SERVER, OK], [SERVER2, OK], [LABEL, SERVER2.label], None, id="both"),
        pytest.param([SERVER, OK], [SERVER, OK], [LABEL], None, id="the same"),
        pytest.param([TIMEOUT], [SERVER2, OK], [SERVER2.label], None, id="one"),
        pytest.param([SERVER, OK], [SERVFAIL], [LABEL], None, id="the other"),
        pytest.param([TIMEOUT], [SERVFAIL], [], TIMEOUT, id="none"),
    ],
)
def test_search_at_groups(
    dns: Dns,
    probes: Probes,
    of_branch: Sequence[DnsServer | LookupStatus],
    of_zone: Sequence[DnsServer | LookupStatus],
    asked: list[str],
    missing: LookupStatus | None,
) -> None:
    """A group is the servers that it means for any suffix, and missing only where it means none for all."""
    for suffix, (*servers, status) in ((BRANCH, of_branch), (ZONE, of_zone)):
        dns.answers[f"NS {suffix}"] = (frozenset(servers), status)
    labels = [*asked, *(["authoritative"] if missing else [])]

    async def scenario() -> None:
        memories = {suffix: Memory() for suffix in SUFFIXES}
        check = await checker(dns).check_search(search(), [ServerGroup.AUTHORITATIVE], memories)
        for suffix in check.suffixes:
            assert [view.dns_server for view in suffix.servers] == labels
        if missing:
            [stand_in] = check.suffixes[0].servers
            assert (stand_in.lookup.status, stand_in.asked) == (missing, False)
        assert [suffix.groups for suffix in check.suffixes] == [
            {ServerGroup.AUTHORITATIVE: tuple(servers)} for *servers, _ in (of_branch, of_zone)
        ]

    run(scenario())


def test_search_at_known_groups(dns: Dns, probes: Probes) -> None:
    """While the members of a group cannot be found for a suffix, those found for it before are asked."""
    dns.answers |= {f"NS {suffix}": (frozenset(), TIMEOUT) for suffix in SUFFIXES}

    async def scenario() -> None:
        memories = {BRANCH: Memory(), ZONE: Memory(groups={ServerGroup.AUTHORITATIVE: (SERVER2,)})}
        check = await checker(dns).check_search(search(), [ServerGroup.AUTHORITATIVE, SERVER], memories)
        for suffix in check.suffixes:
            assert [view.dns_server for view in suffix.servers] == [LABEL, SERVER2.label]
        assert [suffix.groups[ServerGroup.AUTHORITATIVE] for suffix in check.suffixes] == [(), (SERVER2,)]

    run(scenario())


def test_search_by_the_deadline(dns: Dns, probes: Probes) -> None:
    """A search has one interval for all of it; only a suffix without an answer by then is a timeout."""
    dns.answers[f"SRV {BRANCH}"] = silence = Silence()

    async def scenario() -> None:
        memories = {suffix: Memory() for suffix in SUFFIXES}
        check = await at_deadline(checker(dns).check_search(search(), [SERVER], memories), silence)
        assert [suffix.servers[0].lookup.status for suffix in check.suffixes] == [TIMEOUT, OK]
        assert outcomes(check.suffixes[1]) == {at(ADDRESS): None}

    run(scenario())


def test_search_shares_its_concurrency(dns: Dns, probes: Probes) -> None:
    """A search has the share of one check in what may be under way, however many suffixes it tries."""
    suffixes = [f"suffix{number}.test" for number in range(4)]
    for number, suffix in enumerate(suffixes):
        target = f"kms.{suffix}"
        dns.answers[f"SRV {suffix}"] = found(record(target))
        dns.answers[f"A {target}"] = addresses(*(f"192.0.{number}.{last}" for last in range(1, 17)))

    async def scenario() -> None:
        made = checker(dns, dataclasses.replace(SETTINGS, max_concurrency=12))
        memories = {suffix: Memory() for suffix in suffixes}
        check = await made.check_search(search(*suffixes), [SERVER], memories)
        assert [len(outcomes(suffix)) for suffix in check.suffixes] == [16 * 4] * 4

    run(scenario())
    assert probes.most_at_once == 3


# --- Static hosts


def test_static_host(dns: Dns, probes: Probes) -> None:
    """A static host is resolved at each server, without an SRV lookup, and all its addresses are probed."""
    dns.answers[f"A {TARGET} @{SERVER2.label}"] = addresses(ADDRESS2)

    async def scenario() -> None:
        check = await checker(dns).check_host(HOST, [SERVER, SERVER2], Memory())
        assert check.host == HOST
        assert {label: lookup.addresses for label, lookup in check.targets.items()} == {
            LABEL: (ADDRESS,),
            SERVER2.label: (ADDRESS2,),
        }
        assert outcomes(check) == {at(ADDRESS): None, at(ADDRESS2): None}

    run(scenario())
    assert {question.split()[0] for question in dns.asked} == {"A", "AAAA"}


def test_static_host_that_fails_to_resolve(dns: Dns, probes: Probes) -> None:
    """While a static host cannot be resolved, its last addresses are probed; once it is gone, not."""
    dns.answers[f"A {TARGET}"] = no_address(TIMEOUT)
    memory = dataclasses.replace(remember(HOST), records={})

    async def scenario() -> None:
        check = await checker(dns).check_host(HOST, [SERVER], memory)
        expected = TargetLookup(target=TARGET, probed=(ADDRESS,), failure=TIMEOUT)
        assert check.targets == {LABEL: expected}
        assert outcomes(check) == {at(ADDRESS): None}

        dns.answers[f"A {TARGET}"] = no_address(NXDOMAIN)
        check = await checker(dns).check_host(HOST, [SERVER], memory)
        assert check.targets == {LABEL: TargetLookup(target=TARGET, failure=NXDOMAIN)}

    run(scenario())


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6])
def test_static_address(dns: Dns, probes: Probes, address: str) -> None:
    """A static host that is an address is probed, and nobody is asked."""
    host = Host(target=address, port=1689)

    async def scenario() -> None:
        check = await checker(dns).check_host(host, [SERVER, ServerGroup.AUTHORITATIVE], Memory())
        assert check.targets == {"": TargetLookup(target=address, addresses=(address,), probed=(address,))}
        assert outcomes(check) == {at(address, host): None}

    run(scenario())
    assert dns.asked == []


SHORT = Host(target="kms", port=1688)
SEARCH = ResolvConf(search=("a.test", "b.test"))


@pytest.mark.parametrize(
    ("answers", "names", "lookup"),
    [
        pytest.param(
            {"A kms.a.test": addresses(ADDRESS), "A kms.b.test": addresses(ADDRESS2)},
            ["kms.a.test"],
            TargetLookup(target="kms", addresses=(ADDRESS,), probed=(ADDRESS,)),
            id="first",
        ),
        pytest.param(
            {"A kms.b.test": addresses(ADDRESS2)},
            ["kms.a.test", "kms.b.test"],
            TargetLookup(target="kms", addresses=(ADDRESS2,), probed=(ADDRESS2,)),
            id="second",
        ),
        pytest.param(
            {},
            ["kms.a.test", "kms.b.test"],
            TargetLookup(target="kms", failure=NXDOMAIN),
            id="nowhere",
        ),
        pytest.param(
            {"A kms.b.test": no_address(TIMEOUT)},
            ["kms.a.test", "kms.b.test"],
            TargetLookup(target="kms", probed=(ADDRESS,), failure=TIMEOUT),
            id="failure-last",
        ),
        pytest.param(
            {"A kms.a.test": no_address(SERVFAIL)},
            ["kms.a.test", "kms.b.test"],
            TargetLookup(target="kms", probed=(ADDRESS,), failure=SERVFAIL),
            id="failure-first",
        ),
    ],
)
def test_short_name(
    dns: Dns, probes: Probes, answers: dict[str, AddressLookup], names: list[str], lookup: TargetLookup
) -> None:
    """A short name is completed by the search list in order; where it has no address, a failure decides."""
    dns.answers = dict(answers)
    dns.resolv_conf = SEARCH
    memory = Memory(addresses={(LABEL, "kms"): (ADDRESS,)}, endpoints=(at(ADDRESS, SHORT),))

    async def scenario() -> None:
        check = await checker(dns).check_host(SHORT, [SERVER], memory)
        assert check.targets == {LABEL: lookup}
        assert outcomes(check).keys() >= {at(address, SHORT) for address in lookup.probed}

    run(scenario())
    assert [question for question in dns.asked if question.startswith("A ")] == [
        f"A {name} @{LABEL}" for name in names
    ]


def test_short_name_without_search_list(dns: Dns, probes: Probes) -> None:
    """Without a search list a short name stands for itself."""
    dns.answers["A kms"] = addresses(ADDRESS)

    async def scenario() -> None:
        check = await checker(dns).check_host(SHORT, [SERVER], Memory())
        assert check.targets[LABEL].addresses == (ADDRESS,)

    run(scenario())


def test_short_name_with_a_long_suffix(dns: Dns, probes: Probes) -> None:
    """A suffix that makes the name too long to be asked for is passed over."""
    dns.resolv_conf = ResolvConf(servers=(SERVER,), search=(".".join(["a" * 50] * 5), "b.test"))
    dns.answers["A kms.b.test"] = addresses(ADDRESS)

    async def scenario() -> None:
        check = await checker(dns).check_host(SHORT, [SERVER], Memory())
        assert check.targets[LABEL].addresses == (ADDRESS,)

    run(scenario())


# --- Which servers there are to ask


def test_system_servers(dns: Dns, probes: Probes) -> None:
    """`system` is each server of resolv.conf in its order, none of them twice."""
    dns.resolv_conf = ResolvConf(servers=(SERVER2, SERVER))

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER3, ServerGroup.SYSTEM, SERVER], Memory())
        assert [view.dns_server for view in check.servers] == [SERVER3.label, SERVER2.label, LABEL]

    run(scenario())
    assert len([question for question in dns.asked if question.startswith("SRV")]) == 3


def test_no_system_server(dns: Dns, probes: Probes) -> None:
    """A resolv.conf without servers shows as `system` that is unreachable, others are asked as ever."""

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [ServerGroup.SYSTEM, SERVER], Memory())
        assert {view.dns_server: view.lookup.status for view in check.servers} == {
            LABEL: OK,
            "system": UNREACHABLE,
        }
        host_check = await checker(dns).check_host(HOST, [ServerGroup.SYSTEM, SERVER], Memory())
        assert host_check.targets["system"] == TargetLookup(target=TARGET, failure=UNREACHABLE)
        assert host_check.targets[LABEL].failure is None

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "known", "asked", "missing"),
    [
        pytest.param((SERVER, SERVER2, OK), (), (SERVER, SERVER2), None, id="found"),
        pytest.param((SERVER, OK), (SERVER2,), (SERVER,), None, id="replaced"),
        pytest.param((SERVFAIL,), (SERVER2,), (SERVER2,), None, id="kept"),
        pytest.param((SERVER, TIMEOUT), (SERVER2,), (SERVER, SERVER2), None, id="some"),
        pytest.param((TIMEOUT,), (), (), TIMEOUT, id="none"),
        pytest.param((NODATA,), (SERVER2,), (SERVER2,), None, id="none that could be right"),
        pytest.param((OK,), (), (), LookupStatus.BAD_RESPONSE, id="none, and none known"),
    ],
)
def test_authoritative_servers(
    dns: Dns,
    probes: Probes,
    answer: Sequence[DnsServer | LookupStatus],
    known: Iterable[DnsServer],
    asked: tuple[DnsServer, ...],
    missing: LookupStatus | None,
) -> None:
    """`authoritative` is every server found; while that fails, those known before; without any, a reason."""
    *servers, status = answer
    dns.answers |= {f"NS {ZONE}": (frozenset(servers), status), f"NS {TARGET}": (frozenset(servers), status)}
    memory = Memory(groups={ServerGroup.AUTHORITATIVE: tuple(known)})
    labels = [server.label for server in asked] + ["authoritative"] * (missing is not None)
    selectors: list[ServerSelector] = [ServerGroup.AUTHORITATIVE]

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, selectors, memory)
        assert [view.dns_server for view in check.servers] == labels
        assert check.servers[-1].lookup.status is (missing or OK)
        assert check.groups == {ServerGroup.AUTHORITATIVE: asked}

        host_check = await checker(dns).check_host(HOST, selectors, memory)
        assert list(host_check.targets) == labels
        assert host_check.targets[labels[-1]].failure is missing
        assert host_check.groups == {ServerGroup.AUTHORITATIVE: asked}

    run(scenario())
    assert f"NS {ZONE} @ipv4,ipv6" in dns.asked


def test_system_servers_that_are_gone_for_a_moment(dns: Dns, probes: Probes) -> None:
    """While resolv.conf names no server, as in the middle of a rewrite, those it named before are asked."""
    dns.resolv_conf = ResolvConf()
    memory = Memory(groups={ServerGroup.SYSTEM: (SERVER,)})

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [ServerGroup.SYSTEM], memory)
        assert [(view.dns_server, view.asked) for view in check.servers] == [(LABEL, True)]
        assert check.groups == memory.groups

    run(scenario())


def test_many_authoritative_servers(dns: Dns, probes: Probes) -> None:
    """Of an absurd number of name servers a bounded one is asked, those known before among them."""
    crowd = frozenset(DnsServer(address=f"192.0.2.{number}") for number in range(1, 255))
    known = DnsServer(address="192.0.2.254")
    dns.answers[f"NS {ZONE}"] = (crowd, OK)
    memory = Memory(groups={ServerGroup.AUTHORITATIVE: (known,)})

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [ServerGroup.AUTHORITATIVE], memory)
        assert len(check.servers) == 32
        assert known.label in {view.dns_server for view in check.servers}

    run(scenario())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.53", "0.0.0.0", "169.254.1.1", "::1", "fe80::53", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
)
@pytest.mark.parametrize("known", [False, True])
def test_name_servers_that_may_not_be_asked(dns: Dns, probes: Probes, address: str, *, known: bool) -> None:
    """A name server at a suspicious address is not asked, be it known from before, and is no server found."""
    bad = DnsServer(address=address)
    memory = Memory(groups={ServerGroup.AUTHORITATIVE: (bad,)}) if known else Memory()

    async def scenario() -> None:
        for found_servers, statuses in (({bad, SERVER}, {LABEL: OK}), ({bad}, {"authoritative": BAD})):
            dns.answers |= {f"NS {name}": (frozenset(found_servers), OK) for name in (ZONE, TARGET)}
            check = await checker(dns).check_zone(ZONE, [ServerGroup.AUTHORITATIVE], memory)
            assert {view.dns_server: view.lookup.status for view in check.servers} == statuses
            assert check.refused == (bad,)
            host_check = await checker(dns).check_host(HOST, [ServerGroup.AUTHORITATIVE], memory)
            assert (list(host_check.targets), host_check.refused) == (list(statuses), (bad,))
        dns.answers[f"NS {ZONE}"] = (frozenset(), SERVFAIL)
        check = await checker(dns).check_zone(ZONE, [ServerGroup.AUTHORITATIVE], memory)
        assert [view.dns_server for view in check.servers] == ["authoritative"]

    run(scenario())
    assert not [question for question in dns.asked if question.endswith(f"@{bad.label}")]


def test_name_servers_that_are_listed(dns: Dns, probes: Probes) -> None:
    """A name server on loopback is asked where `probe.networks` lists it, and others elsewhere still are."""
    local = DnsServer(address="127.0.0.53")
    dns.answers[f"NS {ZONE}"] = (frozenset({local, SERVER}), OK)

    async def scenario() -> None:
        check = await checker(dns, ON_LOOPBACK).check_zone(ZONE, [ServerGroup.AUTHORITATIVE], Memory())
        assert {view.dns_server for view in check.servers} == {local.label, LABEL}
        assert check.refused == ()

    run(scenario())


def test_authoritative_servers_of_a_short_name(dns: Dns, probes: Probes) -> None:
    """The authoritative servers of a short name are those of the zone that the search list puts it in."""
    dns.resolv_conf = SEARCH
    dns.answers = {"NS kms.a.test": (frozenset({SERVER}), OK), "A kms.a.test": addresses(ADDRESS)}

    async def scenario() -> None:
        check = await checker(dns).check_host(SHORT, [ServerGroup.AUTHORITATIVE], Memory())
        assert check.targets[LABEL].addresses == (ADDRESS,)

    run(scenario())


# --- The deadline


async def at_deadline(check: Coroutine[Any, Any, T], silence: Silence) -> T:
    """Run a check until nothing is left but what never comes, and from there to its deadline."""
    task = asyncio.create_task(check)
    await silence.wait()
    for _ in range(20):  # far more turns than anything that is played here takes
        await asyncio.sleep(0)
    assert not task.done()
    advance(INTERVAL_SECONDS)
    return await task


def test_lookup_by_the_deadline(dns: Dns, probes: Probes) -> None:
    """A lookup that is not done within an interval is a timeout; the last addresses were probed meanwhile."""
    dns.answers[f"SRV {ZONE}"] = silence = Silence()

    async def scenario() -> None:
        check = await at_deadline(checker(dns).check_zone(ZONE, [SERVER], remember(HOST)), silence)
        assert check.servers[0].lookup.status is TIMEOUT
        assert told(check.servers[0].lookup.queries) == [(LABEL, f"SRV _vlmcs._tcp.{ZONE}", "unfinished")]
        assert targets(check)[TARGET].probed == (ADDRESS,)
        assert outcomes(check) == {at(ADDRESS): None}
        assert check.duration_seconds >= INTERVAL_SECONDS

    run(scenario())
    assert probes.probed == [at(ADDRESS)]


def test_addresses_by_the_deadline(dns: Dns, probes: Probes) -> None:
    """Addresses that are not there within an interval are a timeout, and the last ones stay."""
    dns.answers[f"A {TARGET}"] = silence = Silence()

    async def scenario() -> None:
        check = await at_deadline(checker(dns).check_zone(ZONE, [SERVER], remember(HOST)), silence)
        assert check.servers[0].lookup.status is OK
        late = TargetLookup(target=TARGET, probed=(ADDRESS,), failure=TIMEOUT, asked=False)
        assert targets(check) == {TARGET: late}
        assert told(targets(check)[TARGET].queries) == [(LABEL, f"A {TARGET}", "unfinished")]

    run(scenario())


def test_serial_by_the_deadline(dns: Dns, probes: Probes) -> None:
    """A serial that is not there within an interval is none, and costs the check nothing else."""
    dns.answers[f"SOA {ZONE}"] = silence = Silence()

    async def scenario() -> None:
        check = await at_deadline(checker(dns).check_zone(ZONE, [SERVER], Memory()), silence)
        assert check.servers[0].lookup._replace(queries=()) == found(record())
        assert told(check.servers[0].lookup.queries) == [(LABEL, f"SOA {ZONE}", "unfinished")]
        assert targets(check)[TARGET].addresses == (ADDRESS,)
        assert outcomes(check) == {at(ADDRESS): None}

    run(scenario())


def test_probe_by_the_deadline(dns: Dns, probes: Probes) -> None:
    """A probe that is not done within an interval is a timeout, and takes no other along."""
    dns.answers[f"A {TARGET}"] = addresses(ADDRESS, ADDRESS2)
    probes.silences[ADDRESS2] = silence = Silence()

    async def scenario() -> None:
        checks = checker(dns)
        check = await at_deadline(checks.check_zone(ZONE, [SERVER], Memory()), silence)
        assert outcomes(check) == {at(ADDRESS): None, at(ADDRESS2): ProbeFailure.TIMEOUT}
        await checks.close()

    run(scenario())
    assert probes.at_once == 0


def test_name_servers_by_the_deadline(dns: Dns, probes: Probes) -> None:
    """Name servers that are not found within an interval are a timeout, and known endpoints were probed."""
    dns.answers[f"NS {ZONE}"] = silence = Silence()

    async def scenario() -> None:
        selectors = [ServerGroup.AUTHORITATIVE]
        check = await at_deadline(checker(dns).check_zone(ZONE, selectors, remember(HOST)), silence)
        assert [(view.dns_server, view.lookup.status) for view in check.servers] == [
            ("authoritative", TIMEOUT)
        ]
        assert told(check.queries) == [("system", f"NS {ZONE}", "unfinished")]
        assert outcomes(check) == {at(ADDRESS): None}

    run(scenario())


def test_static_host_by_the_deadline(dns: Dns, probes: Probes) -> None:
    """A static host that is not resolved within an interval is a timeout."""
    dns.answers[f"A {TARGET}"] = silence = Silence()

    async def scenario() -> None:
        check = await at_deadline(checker(dns).check_host(HOST, [SERVER], Memory()), silence)
        assert check.targets == {LABEL: TargetLookup(target=TARGET, failure=TIMEOUT, asked=False)}
        assert check.probes == ()

    run(scenario())


def test_slow_lookup(dns: Dns, probes: Probes) -> None:
    """However late in the interval an answer comes, a check probes an endpoint once."""

    def answer() -> SrvLookup:
        advance(INTERVAL_SECONDS * 0.9)
        return found(record())

    dns.answers[f"SRV {ZONE}"] = answer

    async def scenario() -> None:
        check = await checker(dns).check_zone(ZONE, [SERVER], remember(HOST))
        assert outcomes(check) == {at(ADDRESS): None}

    run(scenario())
    assert probes.probed == [at(ADDRESS)]


# --- What checks share


def connections(listener: socket.socket) -> int:
    """Count the connections that a listener got, by one more that ends them."""
    with socket.create_connection(listener.getsockname()) as last:
        count = 0
        while True:
            connection, peer = listener.accept()
            connection.close()
            if peer == last.getsockname():
                return count
            count += 1


def test_one_endpoint_in_five_zones(dns: Dns) -> None:
    """An endpoint that several zones share is connected to once per interval, and all have the result."""
    zones = [f"zone{number}.test" for number in range(5)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        dns.answers |= {f"SRV {zone}": found(record(port=port)) for zone in zones}
        dns.answers[f"A {TARGET}"] = addresses("127.0.0.1")
        endpoint = Endpoint(target=TARGET, port=port, address="127.0.0.1")

        async def scenario() -> None:
            checks = checker(dns, ON_LOOPBACK)
            for _ in range(3):
                zone_checks, host_check = await asyncio.gather(
                    asyncio.gather(*(checks.check_zone(zone, [SERVER, SERVER2], Memory()) for zone in zones)),
                    checks.check_host(endpoint.host, [SERVER], Memory()),
                )
                assert outcomes(host_check) == {endpoint: None}
                assert {check.probes for check in zone_checks} == {host_check.probes}
                assert connections(listener) == 1
                assert set(outcomes(await checks.check_zone(zones[0], [SERVER], Memory()))) == {endpoint}
                assert connections(listener) == 0
                advance(INTERVAL_SECONDS)

        run(scenario())


def test_shared_addresses(dns: Dns, probes: Probes) -> None:
    """A target that several zones share is resolved once per interval and server."""
    zones = ["a.test", "b.test", "c.test"]
    dns.answers |= {f"SRV {zone}": found(record()) for zone in zones}

    async def scenario() -> None:
        checks = checker(dns)
        for rounds in (1, 2):
            for zone in zones:
                await checks.check_zone(zone, [SERVER, SERVER2], Memory())
            asked = collections.Counter(question for question in dns.asked if question.startswith("A "))
            assert asked == {f"A {TARGET} @{LABEL}": rounds, f"A {TARGET} @{SERVER2.label}": rounds}
            advance(INTERVAL_SECONDS)

    run(scenario())


@pytest.mark.parametrize(("ttl_seconds", "lookups"), [(0, 2), (10, 2), (50, 1), (3600, 1)])
def test_ttl(dns: Dns, probes: Probes, ttl_seconds: int, lookups: int) -> None:
    """Addresses are not reused beyond their TTL."""
    dns.answers |= {f"A {TARGET}": addresses(ADDRESS, ttl_seconds=ttl_seconds), "SRV b.test": found(record())}

    async def scenario() -> None:
        checks = checker(dns)
        await checks.check_zone(ZONE, [SERVER], Memory())
        advance(INTERVAL_SECONDS / 2)
        await checks.check_zone("b.test", [SERVER], Memory())

    run(scenario())
    assert dns.asked.count(f"A {TARGET} @{LABEL}") == lookups


def test_failed_addresses(dns: Dns, probes: Probes) -> None:
    """A lookup that failed is not reused."""
    dns.answers |= {f"A {TARGET}": no_address(SERVFAIL), "SRV b.test": found(record())}

    async def scenario() -> None:
        checks = checker(dns)
        await checks.check_zone(ZONE, [SERVER], Memory())
        dns.answers[f"A {TARGET}"] = addresses(ADDRESS)
        check = await checks.check_zone("b.test", [SERVER], Memory())
        assert targets(check)[TARGET].addresses == (ADDRESS,)

    run(scenario())


# --- Probes


def test_real_endpoints(dns: Dns) -> None:
    """What listens is up and what does not is refused, at the addresses of one target."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        dns.answers |= {
            f"SRV {ZONE}": found(record(port=port)),
            f"A {TARGET}": addresses("127.0.0.1", "127.0.0.2"),
        }

        async def scenario() -> None:
            check = await checker(dns, ON_LOOPBACK).check_zone(ZONE, [SERVER], Memory())
            ended = {endpoint.address: failure for endpoint, failure in outcomes(check).items()}
            assert ended == {"127.0.0.1": None, "127.0.0.2": ProbeFailure.CONNECTION_REFUSED}

        run(scenario())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="loopback"),
        pytest.param({"networks": (ipaddress.ip_network("10.0.0.0/8"),)}, id="networks"),
        pytest.param({"networks": (LOOPBACK_NET,), "ports": (1,)}, id="ports"),
    ],
)
def test_not_allowed(dns: Dns, change: dict[str, Any]) -> None:
    """Where probes are not allowed nothing is connected to, whether from DNS, memory or configuration."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        dns.answers |= {f"SRV {ZONE}": found(record(port=port)), f"A {TARGET}": addresses("127.0.0.1")}
        endpoint = Endpoint(target=TARGET, port=port, address="127.0.0.1")
        address = Host(target="127.0.0.1", port=port)

        async def scenario() -> None:
            checks = checker(dns, dataclasses.replace(SETTINGS, boundaries=Boundaries(**change)))
            check = await checks.check_zone(ZONE, [SERVER], Memory(endpoints=(endpoint,)))
            assert outcomes(check) == {endpoint: ProbeFailure.NOT_ALLOWED}
            assert [probe.ignored for probe in check.probes] == [IgnoredReason.NOT_ALLOWED]
            host_check = await checks.check_host(address, [SERVER], Memory())
            assert list(outcomes(host_check).values()) == [ProbeFailure.NOT_ALLOWED]

        run(scenario())
        assert connections(listener) == 0


def crowd(dns: Dns, *targets: str, count: int = 16) -> None:
    """Let the zone have these targets, each with so many addresses."""
    dns.answers[f"SRV {ZONE}"] = found(*map(record, targets))
    for number, target in enumerate(targets):
        literals = (f"192.0.{number}.{last}" for last in range(1, count + 1))
        dns.answers |= {f"A {target}": addresses(*literals), f"AAAA {target}": no_address(NODATA)}


def left_out(check: ZoneCheck | HostCheck) -> set[Endpoint]:
    """Tell which endpoints a check had too many of; they are not known to be up or down."""
    cut = [probe for probe in check.probes if probe.ignored is IgnoredReason.PROBES_PER_CHECK]
    assert {probe.failure for probe in cut} <= {ProbeFailure.NOT_ALLOWED}
    return {probe.endpoint for probe in cut}


def test_bounded_probes(dns: Dns, probes: Probes) -> None:
    """One check probes so many endpoints and no more, each host has its turn, and the rest shows."""
    crowd(dns, "a.test", "b.test", "c.test")
    settings = dataclasses.replace(SETTINGS, probes_per_check=6)

    async def scenario() -> None:
        checks = checker(dns, settings)
        check = await checks.check_zone(ZONE, [SERVER], Memory())
        assert sorted(endpoint.target[0] for endpoint in probes.probed) == ["a", "a", "b", "b", "c", "c"]
        assert len(check.probes) == 48
        assert left_out(check) == set(outcomes(check)).difference(probes.probed)
        probes.probed.clear()
        host_check = await checks.check_host(Host(target="a.test", port=1), [SERVER], Memory())
        assert (len(probes.probed), len(left_out(host_check))) == (6, 10)

    run(scenario())


def test_a_zone_of_dead_ends_holds_up_nobody(dns: Dns, probes: Probes) -> None:
    """A host that a zone full of dead ends names too is probed for its neighbour meanwhile."""
    crowd(dns, "a.test", "b.test", "c.test")
    silence = Silence()
    probes.silences = dict.fromkeys((f"192.0.0.{last}" for last in range(1, 17)), silence)
    dns.answers["SRV other.test"] = found(record("c.test"))

    async def scenario() -> None:
        checks = checker(dns, dataclasses.replace(SETTINGS, max_concurrency=12))
        dead_ends = asyncio.create_task(checks.check_zone(ZONE, [SERVER], Memory()))
        await silence.wait()
        neighbour = await checks.check_zone("other.test", [SERVER], Memory())
        assert set(outcomes(neighbour).values()) == {None}
        assert len(outcomes(neighbour)) == 16
        assert not dead_ends.done()
        under_way = len(probes.probed)
        dead_ends.cancel()
        await asyncio.wait([dead_ends])
        await checks.close()
        assert len(probes.probed) == under_way
        assert probes.at_once == 0

    run(scenario())


def test_bounded_probes_of_a_search(dns: Dns, probes: Probes) -> None:
    """The bound holds for all suffixes of a client together."""
    crowd(dns, "a.test", "b.test")
    dns.answers["SRV other.test"] = found(record("b.test"), record("a.test", 1689))
    search = Search(client="laptop", suffixes=(ZONE, "other.test"))
    settings = dataclasses.replace(SETTINGS, probes_per_check=6)

    async def scenario() -> None:
        memories = {suffix: Memory() for suffix in search.suffixes}
        await checker(dns, settings).check_search(search, [SERVER, SERVER2], memories)
        assert len(probes.probed) == 6

    run(scenario())


def test_rotating_answers_and_the_bound(dns: Dns, probes: Probes) -> None:
    """Expected and known endpoints are probed at every check, whatever else an answer leads to."""
    known = (Endpoint(target="z.test", port=1688, address="192.0.9.1"),)
    memory = Memory(expected=(HOST,), vanished=(Host(target="z.test", port=1688),), endpoints=known)
    settings = dataclasses.replace(SETTINGS, probes_per_check=8)

    async def scenario() -> None:
        for turn in range(3):
            probes.probed.clear()
            crowd(dns, *(f"{turn}{letter}.test" for letter in "abcdefghi"))
            dns.answers |= {f"A {TARGET}": addresses(ADDRESS), "A z.test": addresses("192.0.9.1")}
            check = await checker(dns, settings).check_zone(ZONE, [SERVER], memory)
            assert len(probes.probed) == 8
            assert {known[0], Endpoint(target=TARGET, port=1688, address=ADDRESS)} <= set(probes.probed)
            assert len(left_out(check)) == 9 * 16 + 2 - 8

    run(scenario())


def test_probes_that_wait_for_a_dns_server(dns: Dns, probes: Probes) -> None:
    """Probes begin while a DNS server is silent; those that there was room for are late at the deadline."""
    silence = Silence()
    crowd(dns, "a.test")
    dns.answers[f"SRV {ZONE} @{SERVER2.label}"] = silence
    settings = dataclasses.replace(SETTINGS, probes_per_check=8)

    async def scenario() -> None:
        check = checker(dns, settings).check_zone(ZONE, [SERVER, SERVER2], Memory())
        seen = await at_deadline(check, silence)
        assert len(probes.probed) == 4
        assert len(left_out(seen)) == 8
        assert set(outcomes(seen).values()) == {None, ProbeFailure.TIMEOUT, ProbeFailure.NOT_ALLOWED}

    run(scenario())


def test_probes_with_room_that_were_late(dns: Dns, probes: Probes) -> None:
    """Endpoints that there was room for are a timeout at the deadline; nothing was left out of them."""
    silence = Silence()
    crowd(dns, "a.test", count=4)
    dns.answers[f"SRV {ZONE} @{SERVER2.label}"] = silence
    settings = dataclasses.replace(SETTINGS, probes_per_check=6)

    async def scenario() -> None:
        check = checker(dns, settings).check_zone(ZONE, [SERVER, SERVER2], Memory())
        seen = await at_deadline(check, silence)
        assert len(probes.probed) == 3
        assert not left_out(seen)
        assert collections.Counter(outcomes(seen).values()) == {None: 3, ProbeFailure.TIMEOUT: 1}

    run(scenario())


@pytest.mark.parametrize(("zones", "most"), [(1, 3), (2, 6), (6, 12)])
def test_bounded_concurrency(dns: Dns, probes: Probes, zones: int, most: int) -> None:
    """No more probes are under way than there may be, and of one check no more than a quarter of that."""
    names = [f"zone{number}.test" for number in range(zones)]
    for number, zone in enumerate(names):
        target = f"kms.{zone}"
        dns.answers[f"SRV {zone}"] = found(record(target))
        dns.answers[f"A {target}"] = addresses(*(f"192.0.{number}.{last}" for last in range(1, 17)))
        dns.answers[f"AAAA {target}"] = no_address(NODATA)

    async def scenario() -> None:
        made = checker(dns, dataclasses.replace(SETTINGS, max_concurrency=12))
        checks = await asyncio.gather(*(made.check_zone(zone, [SERVER], Memory()) for zone in names))
        assert [len(outcomes(check)) for check in checks] == [16] * zones

    run(scenario())
    assert probes.most_at_once == most


@pytest.mark.parametrize("rpc_bind", [True, False])
def test_options_of_a_probe(dns: Dns, probes: Probes, rpc_bind: bool) -> None:  # noqa: FBT001 -- a setting
    """A probe gets the timeout, whether to bind, and the source address of its family."""
    dns.answers[f"AAAA {TARGET}"] = addresses(ADDRESS6)
    sources = {IPV4: "192.0.2.9", IPV6: "2001:db8::9"}

    async def scenario() -> None:
        settings = dataclasses.replace(
            SETTINGS, timeout_seconds=3, source_addresses=sources, rpc_bind=rpc_bind
        )
        await checker(dns, settings).check_zone(ZONE, [SERVER], Memory())

    run(scenario())
    used = {
        endpoint.address: options for endpoint, options in zip(probes.probed, probes.options, strict=True)
    }
    assert used == {ADDRESS: (3, rpc_bind, sources[IPV4]), ADDRESS6: (3, rpc_bind, sources[IPV6])}


# --- How a check ends early


def test_bug(dns: Dns, probes: Probes) -> None:
    """A bug is no result: it travels out of the check."""

    def bug() -> SrvLookup:
        raise RuntimeError("a bug")

    dns.answers[f"SRV {ZONE}"] = bug

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="a bug"):
            await checker(dns).check_zone(ZONE, [SERVER, SERVER2], remember(HOST))

    run(scenario())


@pytest.mark.parametrize("kind", ["lookup", "addresses", "probe"])
def test_cancelled_check(dns: Dns, probes: Probes, kind: str) -> None:
    """A check can be cancelled wherever it is; closing the checker ends what it shared with others."""
    silence = Silence()
    play: dict[str, Callable[[], object]] = {
        "lookup": lambda: dns.answers.update({f"SRV {ZONE}": silence}),
        "addresses": lambda: dns.answers.update({f"A {TARGET}": silence}),
        "probe": lambda: probes.silences.update({ADDRESS: silence}),
    }
    play[kind]()

    async def scenario() -> None:
        others = asyncio.all_tasks()
        checks = checker(dns)
        task = asyncio.create_task(checks.check_zone(ZONE, [SERVER], Memory()))
        await silence.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await checks.close()
        assert asyncio.all_tasks() == others

    run(scenario())
    assert probes.at_once == 0


# --- Decisions


@pytest.mark.parametrize(
    ("lookups", "known", "addresses_now", "probed", "failure"),
    [
        pytest.param(
            {IPV4: addresses(ADDRESS2, ADDRESS), IPV6: addresses(ADDRESS6)},
            (),
            (ADDRESS, ADDRESS2, ADDRESS6),
            (ADDRESS, ADDRESS2, ADDRESS6),
            None,
            id="both",
        ),
        pytest.param(
            {IPV4: addresses(ADDRESS), IPV6: no_address(NODATA)},
            (ADDRESS2, ADDRESS6),
            (ADDRESS,),
            (ADDRESS,),
            None,
            id="usable-answers-replace",
        ),
        pytest.param(
            {IPV4: no_address(TIMEOUT), IPV6: addresses(ADDRESS6)},
            (ADDRESS,),
            (ADDRESS6,),
            (ADDRESS, ADDRESS6),
            None,
            id="failed-family-stays",
        ),
        pytest.param(
            {IPV4: addresses(ADDRESS), IPV6: no_address(SERVFAIL)},
            (ADDRESS2,),
            (ADDRESS,),
            (ADDRESS,),
            None,
            id="other-family-does-not",
        ),
        pytest.param(
            {IPV4: no_address(SERVFAIL), IPV6: no_address(TIMEOUT)},
            (ADDRESS6, ADDRESS),
            (),
            (ADDRESS, ADDRESS6),
            SERVFAIL,
            id="all-failed",
        ),
        pytest.param(
            {IPV4: no_address(NODATA), IPV6: no_address(NXDOMAIN)},
            (ADDRESS,),
            (),
            (),
            NXDOMAIN,
            id="gone",
        ),
        pytest.param({IPV4: addresses(ADDRESS)}, (ADDRESS6,), (ADDRESS,), (ADDRESS,), None, id="one-family"),
    ],
)
def test_merge_target(
    lookups: dict[Family, AddressLookup],
    known: tuple[str, ...],
    addresses_now: tuple[str, ...],
    probed: tuple[str, ...],
    failure: LookupStatus | None,
) -> None:
    """Current addresses are those of usable answers; of a family that fails the last ones are probed too."""
    merged = merge_target(TARGET, lookups, known=known, limit=16)
    assert merged == TargetLookup(target=TARGET, addresses=addresses_now, probed=probed, failure=failure)


@pytest.mark.parametrize(
    ("current", "known", "limit", "chosen"),
    [
        (["192.0.2.3", "192.0.2.1", "192.0.2.2"], [], 3, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        (["192.0.2.3", "192.0.2.1", "192.0.2.2"], [], 2, ["192.0.2.1", "192.0.2.2"]),
        (["192.0.2.3", "192.0.2.1", "192.0.2.2"], ["192.0.2.3"], 2, ["192.0.2.1", "192.0.2.3"]),
        (["192.0.2.3", "192.0.2.1", "192.0.2.2"], ["192.0.2.9", "192.0.2.3"], 1, ["192.0.2.3"]),
    ],
)
def test_merge_target_limit(current: list[str], known: list[str], limit: int, chosen: list[str]) -> None:
    """Of too many addresses the known ones stay first, then those that sort first."""
    merged = merge_target(TARGET, {IPV4: addresses(*current)}, known=tuple(known), limit=limit)
    assert merged.addresses == merged.probed == tuple(chosen)
    assert merged.ignored == len(current) - len(chosen)


def test_merge_target_is_stable_under_rotation() -> None:
    """A server that rotates a long answer, or leaves out some of it, invents no change."""
    everything = [f"192.0.2.{number}" for number in range(100, 120)]
    known = merge_target(TARGET, {IPV4: addresses(*everything)}, known=(), limit=4).probed
    for turn in range(len(everything)):
        rotated = everything[turn:] + everything[:turn]
        some = [*known, *(address for address in rotated[:10] if address not in known)]
        for answer in (rotated, some):
            merged = merge_target(TARGET, {IPV4: addresses(*answer)}, known=known, limit=4)
            assert merged.probed == known


def test_merge_target_alias() -> None:
    """A target is an alias when the answer for any family says so."""
    alias = AddressLookup(status=OK, addresses=(ADDRESS6,), alias_of="real.test")
    merged = merge_target(TARGET, {IPV4: no_address(TIMEOUT), IPV6: alias}, known=(), limit=16)
    assert merged.alias_of == "real.test"


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        ([NXDOMAIN], NXDOMAIN),
        ([NODATA], NODATA),
        ([NODATA, NXDOMAIN], NXDOMAIN),
        ([NXDOMAIN, NODATA], NXDOMAIN),
        ([NXDOMAIN, TIMEOUT], TIMEOUT),
        ([SERVFAIL, NODATA], SERVFAIL),
        ([NODATA, UNREACHABLE], UNREACHABLE),
        ([SERVFAIL, TIMEOUT], SERVFAIL),
        ([TIMEOUT, SERVFAIL], TIMEOUT),
    ],
)
def test_worst_status(statuses: list[LookupStatus], worst: LookupStatus) -> None:
    """A failure says most, since there may be addresses after all; then NXDOMAIN, then NODATA."""
    assert worst_status(statuses) is worst
