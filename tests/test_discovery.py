"""Tests of the lookups as a whole: what is asked, of whom, and what becomes of the answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from exporter.discovery import Discovery, Question, ResolvConf
from exporter.discovery.exchange import Exchange, Reply
from exporter.discovery.transport import Transport
from exporter.model import (
    AddressLookup,
    DnsServer,
    Family,
    Host,
    IgnoredReason,
    LookupStatus,
    Record,
    SrvLookup,
    fingerprint,
)
from exporter.model import Query as SentQuery
from tests.fake_dns import DEADLINE_SECONDS, Datagrams, FakeDns, Query, respond, says, silence

T = TypeVar("T")

ZONE = "contoso.com"
NAME = f"_vlmcs._tcp.{ZONE}."
SOA = f"{ZONE}. 3600 SOA ns1.{ZONE}. admin.{ZONE}. 2024010101 900 600 86400 60"
IMPATIENT_SECONDS = 0.2
IPV4, IPV6 = Family.IPV4, Family.IPV6
BOTH = (IPV4, IPV6)

TIMEOUT, UNREACHABLE = LookupStatus.TIMEOUT, LookupStatus.UNREACHABLE


def run(work: Awaitable[T]) -> T:
    """Run on an event loop of its own, and end what hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await work

    return asyncio.run(bounded())


# --- One question to one server


def with_one(
    fake: FakeDns,
    look: Callable[[Discovery, DnsServer], Awaitable[T]],
    *,
    timeout_seconds: float = DEADLINE_SECONDS,
    attempts: int = 1,
) -> T:
    """Make one lookup at a fake server, over a real transport."""

    async def looking() -> T:
        transport = Transport(
            timeout_seconds=timeout_seconds, attempts=attempts, source_addresses={}, max_in_flight=8
        )
        return await look(Discovery(transport), fake.server)

    return run(looking())


def lookup_srv(
    step: Datagrams,
    *,
    expected: frozenset[Host] = frozenset(),
    known: frozenset[Host] = frozenset(),
    limit: int = 64,
    timeout_seconds: float = DEADLINE_SECONDS,
) -> SrvLookup:
    """Look up the records of the zone at a server that does this."""
    with FakeDns(step) as fake:
        return with_one(
            fake,
            lambda discovery, server: discovery.lookup_srv(
                ZONE, server, expected=expected, known=known, limit=limit
            ),
            timeout_seconds=timeout_seconds,
        )


def test_lookup_srv() -> None:
    """The records of a zone are those of `_vlmcs._tcp` in it, with all that the answer says about them."""
    step = says(
        f"{NAME} 60 SRV 1 2 1688 kms1.{ZONE}.",
        flags=dns.flags.AA,
        additional=[f"kms1.{ZONE}. 30 A 192.0.2.1"],
    )
    lookup = lookup_srv(step)
    assert lookup == SrvLookup(
        status=LookupStatus.OK,
        duration_seconds=lookup.duration_seconds,
        records=(Record(priority=1, weight=2, port=1688, target=f"kms1.{ZONE}"),),
        record_count=1,
        ttl_seconds=60,
        authoritative=True,
        fingerprint=fingerprint(lookup.records),
        glue={
            (f"kms1.{ZONE}", IPV4): AddressLookup(
                status=LookupStatus.OK, addresses=("192.0.2.1",), ttl_seconds=30
            )
        },
        ignored={IgnoredReason.MALFORMED: 0, IgnoredReason.RECORDS_PER_ZONE: 0},
        queries=lookup.queries,
    )
    assert lookup.duration_seconds > 0


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (says(rcode=dns.rcode.NXDOMAIN, authority=[SOA]), "nxdomain"),
        (says(authority=[SOA]), "nodata"),
        (says(rcode=dns.rcode.SERVFAIL), "servfail"),
        (says(rcode=dns.rcode.REFUSED), "refused"),
        (says(rcode=dns.rcode.FORMERR), "bad_response"),
        (lambda query: [query.to_wire()], "bad_response"),
    ],
)
def test_lookup_srv_without_records(step: Datagrams, status: str) -> None:
    """A lookup that ends without records took its time too, and has the serial where there is one."""
    lookup = lookup_srv(step)
    assert lookup.status is LookupStatus(status)
    assert lookup.records == ()
    assert lookup.duration_seconds > 0
    assert lookup.soa_serial == (2024010101 if lookup.status.usable else None)


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (says(f"{NAME} SRV 0 0 1688 kms1.{ZONE}."), "ok"),
        (says(authority=[SOA]), "nodata"),
        (says(authority=[f"{ZONE}. NS ns1.{ZONE}."]), "bad_response"),
        (says(f"{NAME} CNAME {NAME}"), "bad_response"),
        (says(rcode=dns.rcode.NXDOMAIN, authority=[SOA]), "nxdomain"),
        (says(rcode=dns.rcode.NOTIMP), "notimp"),
        (silence, "timeout"),
    ],
    ids=["records", "nothing", "referral", "loop", "no such name", "other code", "silence"],
)
def test_outcome_of_a_query(step: Datagrams, outcome: str) -> None:
    """What a query came to is what the answer says, or its response code where that is more exact."""
    timeout_seconds = IMPATIENT_SECONDS if step is silence else DEADLINE_SECONDS
    [query] = lookup_srv(step, timeout_seconds=timeout_seconds).queries
    assert (query.rdtype, f"{query.name}.", query.outcome) == ("SRV", NAME, outcome)


@pytest.mark.parametrize(
    ("step", "outcome"), [(says(authority=[SOA]), "nodata"), (silence, "timeout")], ids=["nothing", "silence"]
)
def test_queries_of_other_lookups(step: Datagrams, outcome: str) -> None:
    """Addresses and serials come with their queries, too."""
    timeout_seconds = IMPATIENT_SECONDS if step is silence else DEADLINE_SECONDS

    async def look(discovery: Discovery, server: DnsServer) -> list[SentQuery]:
        found = await discovery.lookup_addresses(ZONE, IPV6, server)
        return [*found.queries, *(await discovery.lookup_soa_serial(ZONE, server)).queries]

    with FakeDns(step) as fake:
        queries = with_one(fake, look, timeout_seconds=timeout_seconds)
    assert [(query.rdtype, query.name, query.outcome) for query in queries] == [
        ("AAAA", ZONE, outcome),
        ("SOA", ZONE, outcome),
    ]


def test_lookup_srv_of_a_silent_server() -> None:
    """A lookup that times out took as long as the wait."""
    lookup = lookup_srv(silence, timeout_seconds=IMPATIENT_SECONDS)
    assert lookup.status is TIMEOUT
    assert lookup.duration_seconds > IMPATIENT_SECONDS / 2


def test_lookup_srv_keeps_expected_and_known_hosts() -> None:
    """Expected and known hosts and the limit of the caller decide which records are kept."""
    answer = [f"{NAME} SRV 0 0 1688 kms{n}.{ZONE}." for n in range(9)]
    seven, eight = (frozenset({Host(target=f"kms{n}.{ZONE}", port=1688)}) for n in (7, 8))
    for expected, known, limit, kept in (
        (frozenset[Host](), eight, 2, [0, 8]),
        (seven, eight, 1, [7]),
        (seven, eight, 3, [0, 7, 8]),
    ):
        lookup = lookup_srv(says(*answer), expected=expected, known=known, limit=limit)
        assert [record.target for record in lookup.records] == [f"kms{n}.{ZONE}" for n in kept]
        assert lookup.record_count == 9
        assert lookup.ignored[IgnoredReason.RECORDS_PER_ZONE] == 9 - limit


@pytest.mark.parametrize(
    ("zone", "step", "serial"),
    [
        (ZONE, says(SOA), 2024010101),
        (f"emea.{ZONE}", says(authority=[SOA]), 2024010101),
        (f"gone.{ZONE}", says(rcode=dns.rcode.NXDOMAIN, authority=[SOA]), 2024010101),
        ("fabrikam.com", says(authority=[SOA]), None),
        (ZONE, says(), None),
        (ZONE, says(rcode=dns.rcode.REFUSED), None),
        (ZONE, says(rcode=dns.rcode.SERVFAIL, authority=[SOA]), None),
        (ZONE, silence, None),
    ],
    ids=["apex", "enclosing zone", "no such name", "other zone", "nothing", "refused", "failed", "silence"],
)
def test_lookup_soa_serial(zone: str, step: Datagrams, serial: int | None) -> None:
    """The serial is that of the zone, or of the zone that encloses it; there may be none."""
    with FakeDns(step) as fake:
        found = with_one(
            fake,
            lambda discovery, server: discovery.lookup_soa_serial(zone, server),
            timeout_seconds=DEADLINE_SECONDS if serial else 1.0,
        )
        assert found.serial == serial
        assert fake.asked[0].query.question[0].to_text() == f"{zone}. IN SOA"


@pytest.mark.parametrize(
    ("family", "rdtype", "address"), [(IPV4, "A", "192.0.2.1"), (IPV6, "AAAA", "2001:db8::1")]
)
def test_lookup_addresses(family: Family, rdtype: str, address: str) -> None:
    """Each family is asked for by its own type."""
    with FakeDns(says(f"kms1.{ZONE}. 60 {rdtype} {address}")) as fake:
        lookup = with_one(
            fake, lambda discovery, server: discovery.lookup_addresses(f"kms1.{ZONE}", family, server)
        )
        assert fake.asked[0].query.question[0].to_text() == f"kms1.{ZONE}. IN {rdtype}"
    assert lookup == AddressLookup(status=LookupStatus.OK, addresses=(address,), ttl_seconds=60)


@pytest.mark.parametrize(
    ("step", "status"),
    [(silence, TIMEOUT), (says(rcode=dns.rcode.SERVFAIL), LookupStatus.SERVFAIL)],
    ids=["silence", "servfail"],
)
def test_lookup_addresses_that_fails(step: Datagrams, status: LookupStatus) -> None:
    """A failed lookup has its reason, and may not be reused."""
    with FakeDns(step) as fake:
        lookup = with_one(
            fake,
            lambda discovery, server: discovery.lookup_addresses(f"kms1.{ZONE}", IPV4, server),
            timeout_seconds=IMPATIENT_SECONDS if status is TIMEOUT else DEADLINE_SECONDS,
        )
    assert lookup == AddressLookup(status=status, ttl_seconds=0)


@pytest.mark.parametrize("target", [r"a\034b.contoso.com", r"\255\000\046.contoso.com", r"\064"])
def test_lookup_addresses_of_a_hostile_name(target: str) -> None:
    """A hostile target is asked for by the very bytes that the record had."""
    with FakeDns(says()) as fake:
        with_one(fake, lambda discovery, server: discovery.lookup_addresses(target, IPV4, server))
        [asked] = fake.asked
    assert asked.query.question[0].name == dns.name.from_text(target)


# --- The servers of a zone, found by asking the resolvers of this machine

FIRST, SECOND = "10.0.0.1", "10.0.0.2"

Respond = Callable[[Query], Reply]
Script = Mapping[str, Respond | LookupStatus]
"""What a resolver makes of questions such as `NS contoso.com`."""


def answers(
    *answer: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, authority: tuple[str, ...] = ()
) -> Respond:
    """Answer with these records."""

    def respond_parsed(query: Query) -> Reply:
        wire = respond(query, *answer, rcode=rcode, authority=authority).to_wire()
        message = dns.message.from_wire(wire)
        assert isinstance(message, Query)
        return message

    return respond_parsed


class Resolvers(Transport):
    """A transport to resolvers that follow a script; a question that is not in it is an error."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        super().__init__(timeout_seconds=1, attempts=1, source_addresses={}, max_in_flight=1)
        self.scripts = scripts
        self.asked: list[tuple[str, str]] = []

    async def ask(
        self,
        server: DnsServer,
        name: str,
        rdtype: dns.rdatatype.RdataType,
        *,
        begun: Question | None = None,
    ) -> Exchange:
        """Answer as the script says."""
        question = f"{rdtype.name} {name}"
        self.asked.append((server.label, question))
        step = self.scripts[server.label][question]
        query = dns.message.make_query(name, rdtype)
        reply = step if isinstance(step, LookupStatus) else step(query)
        return Exchange(reply, (_sent(server.label, name, rdtype.name),))


def _sent(dns_server: str, name: str, rdtype: str) -> SentQuery:
    return SentQuery(
        dns_server=dns_server, name=name, rdtype=rdtype, transport="udp", asked_at=0.0, outcome="ok"
    )


def find(
    directory: Path, resolvers: Resolvers, *, name: str = ZONE, families: tuple[Family, ...] = BOTH
) -> tuple[list[str], LookupStatus]:
    """Find the authoritative servers of a name on a machine that has these resolvers."""
    resolv_conf = directory / "resolv.conf"
    resolv_conf.write_text("".join(f"nameserver {address}\n" for address in resolvers.scripts))
    discovery = Discovery(resolvers, resolv_conf=resolv_conf)
    found = run(discovery.find_authoritative(name, families))
    told = sorted((query.dns_server, f"{query.rdtype} {query.name}") for query in found.queries)
    assert told == sorted(resolvers.asked), "all that was asked is told"
    return sorted(server.label for server in found.servers), found.status


NS_OF_ZONE = answers(f"{ZONE}. NS ns1.{ZONE}.", f"{ZONE}. NS ns2.fabrikam.com.")
NODATA = answers(authority=(SOA,))
NXDOMAIN = answers(rcode=dns.rcode.NXDOMAIN, authority=(SOA,))
SERVFAIL, REFUSED = answers(rcode=dns.rcode.SERVFAIL), answers(rcode=dns.rcode.REFUSED)
FOREIGN_SOA = "fabrikam.com. SOA ns1.fabrikam.com. admin.fabrikam.com. 7 900 600 86400 60"
ROOT_SOA = ". SOA a.root-servers.net. nstld.verisign-grs.com. 7 900 600 86400 60"
ADDRESSES: Script = {
    f"A ns1.{ZONE}": answers(f"ns1.{ZONE}. A 192.0.2.1"),
    f"AAAA ns1.{ZONE}": answers(f"ns1.{ZONE}. AAAA 2001:db8::1"),
    "A ns2.fabrikam.com": answers("ns2.fabrikam.com. A 192.0.2.2"),
    "AAAA ns2.fabrikam.com": answers(authority=(FOREIGN_SOA,)),
}
SERVERS = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
WHOLE: Script = {f"NS {ZONE}": NS_OF_ZONE, **ADDRESSES}


def alias(name: str, target: str, *more: str, authority: tuple[str, ...] = ()) -> Respond:
    """Answer that a name is an alias, with what belongs to the target."""
    return answers(f"{name}. CNAME {target}.", *more, authority=authority)


@pytest.mark.parametrize(
    ("name", "script"),
    [
        (ZONE, {}),
        (f"emea.{ZONE}", {f"NS emea.{ZONE}": NODATA}),
        (f"a.b.c.{ZONE}", {f"NS a.b.c.{ZONE}": NXDOMAIN}),
        (
            f"kms.{ZONE}",
            {f"NS kms.{ZONE}": alias(f"kms.{ZONE}", "kms.fabrikam.com", authority=(FOREIGN_SOA,))},
        ),
        (f"kms.{ZONE}", {f"NS kms.{ZONE}": alias(f"kms.{ZONE}", f"kms1.{ZONE}", authority=(SOA,))}),
        (
            f"kms.{ZONE}",
            {f"NS kms.{ZONE}": alias(f"kms.{ZONE}", "fabrikam.com", "fabrikam.com. NS ns9.fabrikam.com.")},
        ),
        (
            f"kms.any.{ZONE}",
            {
                f"NS kms.any.{ZONE}": alias(f"kms.any.{ZONE}", "fabrikam.com"),
                f"NS any.{ZONE}": alias(f"any.{ZONE}", "fabrikam.com"),
            },
        ),
        (
            f"kms.emea.{ZONE}",
            {f"NS kms.emea.{ZONE}": alias(f"kms.emea.{ZONE}", "fabrikam.com"), f"NS emea.{ZONE}": NODATA},
        ),
    ],
    ids=[
        "zone",
        "name in the zone",
        "no such name",
        "alias to another zone",
        "alias in the zone",
        "alias of another zone's apex",
        "alias below an alias",
        "alias below a name in the zone",
    ],
)
def test_find_authoritative(tmp_path: Path, name: str, script: Script) -> None:
    """The servers are those of the zone, or of the enclosing zone when the name is no zone of its own."""
    resolvers = Resolvers({FIRST: {**WHOLE, **script}})
    assert find(tmp_path, resolvers, name=name) == (SERVERS, LookupStatus.OK)


@pytest.mark.parametrize(
    ("name", "script", "status"),
    [
        (ZONE, {f"NS {ZONE}": TIMEOUT}, "timeout"),
        (ZONE, {f"NS {ZONE}": UNREACHABLE}, "unreachable"),
        (ZONE, {f"NS {ZONE}": SERVFAIL}, "servfail"),
        (ZONE, {f"NS {ZONE}": REFUSED}, "refused"),
        (ZONE, {f"NS {ZONE}": answers(authority=(f"{ZONE}. NS ns1.{ZONE}.",))}, "bad_response"),
        (ZONE, {f"NS {ZONE}": alias(ZONE, ZONE)}, "bad_response"),
        (ZONE, {f"NS {ZONE}": answers()}, "nodata"),
        (ZONE, {f"NS {ZONE}": NODATA}, "nodata"),
        (f"emea.{ZONE}", {f"NS emea.{ZONE}": NODATA, f"NS {ZONE}": TIMEOUT}, "timeout"),
        (f"emea.{ZONE}", {f"NS emea.{ZONE}": NODATA, f"NS {ZONE}": SERVFAIL}, "servfail"),
        (f"kms.{ZONE}", {f"NS kms.{ZONE}": alias(f"kms.{ZONE}", "a.b"), f"NS {ZONE}": TIMEOUT}, "timeout"),
        (
            "contoso.local",
            {"NS contoso.local": answers(rcode=dns.rcode.NXDOMAIN, authority=(ROOT_SOA,))},
            "nodata",
        ),
        ("kms", {"NS kms": alias("kms", "fabrikam.com", "fabrikam.com. NS ns1.fabrikam.com.")}, "nodata"),
    ],
)
def test_name_servers_that_cannot_be_found(tmp_path: Path, name: str, script: Script, status: str) -> None:
    """Where the names of the servers cannot be had there are no servers, and there is a reason."""
    assert find(tmp_path, Resolvers({FIRST: script}), name=name) == ([], LookupStatus(status))


@pytest.mark.parametrize(
    ("script", "servers", "status"),
    [
        ({f"A ns1.{ZONE}": TIMEOUT}, ["192.0.2.2", "2001:db8::1"], "timeout"),
        ({f"A ns1.{ZONE}": SERVFAIL, f"AAAA ns1.{ZONE}": SERVFAIL}, ["192.0.2.2"], "servfail"),
        ({f"A ns1.{ZONE}": NXDOMAIN, f"AAAA ns1.{ZONE}": NXDOMAIN}, ["192.0.2.2"], "ok"),
        ({f"A ns1.{ZONE}": answers(f"ns1.{ZONE}. A 192.0.2.2")}, ["192.0.2.2", "2001:db8::1"], "ok"),
        (
            {f"A ns1.{ZONE}": alias(f"ns1.{ZONE}", "a.b", "a.b. A 192.0.2.1")},
            ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
            "ok",
        ),
        (dict.fromkeys(ADDRESSES, TIMEOUT), [], "timeout"),
        (dict.fromkeys(ADDRESSES, NODATA), [], "ok"),
    ],
    ids=[
        "one address fails",
        "one server fails",
        "one server does not exist",
        "one server by two names",
        "alias",
        "all fail",
        "no addresses",
    ],
)
def test_addresses_of_name_servers(tmp_path: Path, script: Script, servers: list[str], status: str) -> None:
    """Servers whose addresses can be had are found; a lookup that failed says that some may be missing."""
    assert find(tmp_path, Resolvers({FIRST: {**WHOLE, **script}})) == (servers, LookupStatus(status))


@pytest.mark.parametrize(
    ("families", "servers"),
    [
        ((IPV4,), ["192.0.2.1", "192.0.2.2"]),
        ((IPV6,), ["2001:db8::1"]),
        (BOTH, SERVERS),
    ],
)
def test_families_of_name_servers(tmp_path: Path, families: tuple[Family, ...], servers: list[str]) -> None:
    """Only addresses of the wanted families are asked for."""
    resolvers = Resolvers({FIRST: WHOLE})
    assert find(tmp_path, resolvers, families=families) == (servers, LookupStatus.OK)
    assert len(resolvers.asked) == 1 + 2 * len(families)


@pytest.mark.parametrize(
    "failure",
    [TIMEOUT, UNREACHABLE, LookupStatus.BAD_RESPONSE, SERVFAIL, REFUSED],
    ids=["timeout", "unreachable", "bad response", "servfail", "refused"],
)
def test_next_resolver(tmp_path: Path, failure: Respond | LookupStatus) -> None:
    """A resolver that gives no usable answer is passed over for the next one, at each question anew."""
    resolvers = Resolvers({FIRST: dict.fromkeys(WHOLE, failure), SECOND: WHOLE})
    assert find(tmp_path, resolvers) == (SERVERS, LookupStatus.OK)
    assert resolvers.asked[:2] == [(FIRST, f"NS {ZONE}"), (SECOND, f"NS {ZONE}")]
    assert [server for server, _ in resolvers.asked].count(FIRST) == len(WHOLE)


def test_first_resolver_is_enough(tmp_path: Path) -> None:
    """A usable answer, be it that there is nothing, is final."""
    resolvers = Resolvers({FIRST: {f"NS emea.{ZONE}": NXDOMAIN, **WHOLE}, SECOND: {}})
    assert find(tmp_path, resolvers, name=f"emea.{ZONE}") == (SERVERS, LookupStatus.OK)
    assert {server for server, _ in resolvers.asked} == {FIRST}


def test_no_resolver_answers(tmp_path: Path) -> None:
    """When every resolver fails, the failure of the last one is the reason."""
    resolvers = Resolvers({FIRST: {f"NS {ZONE}": TIMEOUT}, SECOND: {f"NS {ZONE}": REFUSED}})
    assert find(tmp_path, resolvers) == ([], LookupStatus.REFUSED)


def test_no_resolver(tmp_path: Path) -> None:
    """On a machine without resolvers nobody can be asked."""
    assert find(tmp_path, Resolvers({})) == ([], UNREACHABLE)


def test_system(tmp_path: Path) -> None:
    """The servers and suffixes of this machine are read again each time."""
    path = tmp_path / "resolv.conf"
    discovery = Discovery(Resolvers({}), resolv_conf=path)
    for number in (1, 2):
        path.write_text(f"nameserver 10.0.0.{number}\nsearch s{number}.com\n")
        assert discovery.system() == ResolvConf(
            servers=(DnsServer(address=f"10.0.0.{number}"),), search=(f"s{number}.com",)
        )
