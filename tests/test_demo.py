"""The embedded lab: its answers as tables without sockets, then the running lab over UDP and TCP."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
import structlog.testing
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.demo import Lab
from exporter.demo.authority import MAX_UDP_BYTES, Zones, answer, load, respond
from exporter.demo.nameserver import nameserver
from exporter.demo.sockets import Binding, accepting, bind_together, port_of
from exporter.demo.zones import DNS_ADDRESS, Schedule, Situation, situations
from exporter.names import SRV_PREFIX

DEADLINE_SECONDS = 60.0
"""Only ends a test that would hang; nothing is concluded from how long anything takes."""

PORT = 1688
KMS_TEST = dns.name.from_text("kms.test")
SCHEDULE = Schedule(present_seconds=3, absent_seconds=2)
ZONES = load(situations(port=PORT, schedule=SCHEDULE))

NOERROR, NXDOMAIN = dns.rcode.NOERROR, dns.rcode.NXDOMAIN
SERVFAIL, REFUSED = dns.rcode.SERVFAIL, dns.rcode.REFUSED


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on an event loop of its own, and end it if it hangs."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await scenario

    asyncio.run(bounded())


def srv_query(zone: str, **options: Any) -> dns.message.QueryMessage:
    """Build the query of a KMS client for a zone under `kms.test`."""
    return dns.message.make_query(f"{SRV_PREFIX}{zone}.kms.test", "SRV", **options)


def decided(query: dns.message.Message, now: float = 0.0, zones: Zones = ZONES) -> dns.message.Message:
    """Give the answer to a query that is known to deserve one."""
    response = answer(query, zones, now)
    assert response is not None
    return response


# The answers


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "answers"),
    [
        ("_vlmcs._tcp.healthy", "SRV", NOERROR, 2),
        ("_VLMCS._tcp.Healthy", "SRV", NOERROR, 2),
        ("_vlmcs._tcp.amsterdam", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.berlin", "SRV", NOERROR, 2),
        ("_vlmcs._tcp.large", "SRV", NOERROR, 60),
        ("_vlmcs._tcp.partly", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.vanishing", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.degraded", "SRV", NOERROR, 2),
        ("_vlmcs._tcp.closed", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.filtered", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.stale", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.declined", "SRV", NOERROR, 1),
        ("healthy", "SOA", NOERROR, 1),
        ("healthy", "NS", NOERROR, 1),
        ("kms.partly", "A", NOERROR, 2),
        ("ns.nxdomain", "A", NOERROR, 1),
        ("_vlmcs._tcp.nxdomain", "SRV", NXDOMAIN, 0),
        ("_vlmcs._tcp.nodata", "SRV", NOERROR, 0),
        ("_tcp.healthy", "SRV", NOERROR, 0),  # a name in between exists (RFC 8020)
        ("_tcp.nxdomain", "SRV", NXDOMAIN, 0),
        ("kms1.healthy", "AAAA", NOERROR, 0),
        ("retired.stale", "A", NXDOMAIN, 0),
        ("retired.stale", "AAAA", NXDOMAIN, 0),
    ],
)
def test_answers_of_a_zone(name: str, rdtype: str, rcode: dns.rcode.Rcode, answers: int) -> None:
    """An answer is authoritative, and one without records has the SOA with the negative TTL of RFC 2308."""
    response = decided(dns.message.make_query(f"{name}.kms.test", rdtype))
    assert response.rcode() == rcode
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert sum(len(rrset) for rrset in response.answer) == answers
    if answers:
        assert response.authority == []
    else:
        [soa] = response.authority
        assert soa.rdtype == dns.rdatatype.SOA
        assert soa.name == dns.name.from_text(name.rpartition(".")[2], KMS_TEST)
        assert soa.ttl == soa[0].minimum


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("_vlmcs._tcp.servfail.kms.test", SERVFAIL),
        ("servfail.kms.test", SERVFAIL),
        ("_vlmcs._tcp.refused.kms.test", REFUSED),
        ("kms.test", REFUSED),
        ("_vlmcs._tcp.elsewhere.kms.test", REFUSED),
        ("example.com", REFUSED),
        (".", REFUSED),
    ],
)
def test_failures(name: str, rcode: dns.rcode.Rcode) -> None:
    """A zone that fails does so at every name; what is in no zone is refused; neither is authoritative."""
    response = decided(dns.message.make_query(name, "SRV"))
    assert response.rcode() == rcode
    assert not response.flags & dns.flags.AA
    assert not any(response.sections[1:])


@pytest.mark.parametrize(
    ("query", "rcode"),
    [
        (dns.message.make_query("healthy.kms.test", "ANY"), dns.rcode.NOTIMP),
        (dns.message.make_query("healthy.kms.test", "AXFR"), dns.rcode.NOTIMP),
        (dns.message.make_query("healthy.kms.test", "TXT", dns.rdataclass.CH), REFUSED),
        (dns.message.make_query("healthy.kms.test", "SOA", use_edns=1), dns.rcode.BADVERS),
        (dns.message.QueryMessage(), dns.rcode.FORMERR),
    ],
)
def test_objections(query: dns.message.Message, rcode: dns.rcode.Rcode) -> None:
    """What the server does not do is said by the right code."""
    assert decided(query).rcode() == rcode


def test_other_opcodes() -> None:
    """Anything but a query is not implemented."""
    query = srv_query("healthy")
    query.set_opcode(dns.opcode.STATUS)
    assert decided(query).rcode() == dns.rcode.NOTIMP


def test_silence() -> None:
    """One zone is never answered."""
    assert answer(srv_query("silent"), ZONES, 0.0) is None


@pytest.mark.parametrize(
    ("zone", "glue"),
    [
        ("healthy", {"kms1.healthy", "kms2.healthy"}),
        ("amsterdam", set[str]()),
        ("berlin", {"kms.berlin"}),
        ("stale", set[str]()),
        ("declined", set[str]()),
    ],
)
def test_glue(zone: str, glue: set[str]) -> None:
    """The addresses of targets come along for targets of the same zone only."""
    response = decided(srv_query(zone))
    assert {rrset.name.relativize(KMS_TEST).to_text() for rrset in response.additional} == glue


def test_name_server_has_an_address() -> None:
    """The NS record of a zone comes with the address that answers."""
    response = decided(dns.message.make_query("healthy.kms.test", "NS"))
    [glue] = response.additional
    assert [rdata.address for rdata in glue] == [DNS_ADDRESS]


@pytest.mark.parametrize(
    ("now", "changes"), [(0.0, 0), (2.9, 0), (3.0, 1), (4.9, 1), (5.0, 2), (8.0, 3), (500.0, 200)]
)
def test_vanishing_records(now: float, changes: int) -> None:
    """The records come and go by the schedule, the serial grows with it, and the host keeps its address."""
    gone = bool(changes % 2)
    assert decided(srv_query("vanishing"), now).rcode() == (NXDOMAIN if gone else NOERROR)
    [soa] = decided(dns.message.make_query("vanishing.kms.test", "SOA"), now).answer
    assert soa[0].serial == 1 + changes
    assert decided(dns.message.make_query("kms.vanishing.kms.test", "A"), now).answer


@pytest.mark.parametrize(
    ("options", "limit"),
    [({}, 512), ({"payload": 256}, 512), ({"payload": 900}, 900), ({"payload": 4096}, MAX_UDP_BYTES)],
)
def test_truncation(options: dict[str, int], limit: int) -> None:
    """An answer too large for UDP is cut to what the client takes, says so, and is whole over TCP."""
    query = srv_query("large", **options).to_wire()
    short = respond(query, ZONES, 0.0, udp=True)
    assert short is not None
    assert len(short) <= limit
    assert dns.message.from_wire(short).flags & dns.flags.TC
    whole = respond(query, ZONES, 0.0, udp=False)
    assert whole is not None
    response = dns.message.from_wire(whole)
    assert not response.flags & dns.flags.TC
    assert len(response.answer[0]) == 60
    assert len(response.additional) == 60


def test_glue_is_dropped_without_truncation() -> None:
    """Glue that does not fit is left out, and the answer still counts as whole (RFC 2181, 9)."""
    names = [f"kms{number}" for number in range(10)]
    records = [f"_vlmcs._tcp SRV 0 0 1688 {name}" for name in names] + [
        f"{name} A 127.0.0.1" for name in names
    ]
    zones = load([Situation(zone="wide.kms.test", summary="", records=tuple(records))])
    wire = respond(srv_query("wide").to_wire(), zones, 0.0, udp=True)
    assert wire is not None
    response = dns.message.from_wire(wire)
    assert not response.flags & dns.flags.TC
    assert len(response.answer[0]) == 10
    assert len(response.additional) < 10


@pytest.mark.parametrize("query", [srv_query("healthy", use_edns=False), srv_query("healthy", use_edns=0)])
def test_edns_only_for_those_who_speak_it(query: dns.message.Message) -> None:
    """An OPT record answers an OPT record (RFC 6891, 6.1.1)."""
    assert decided(query).edns == query.edns


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"", None),
        (b"\x12\x34\x00", None),
        (b"\x12\x34\x80" + bytes(9), None),  # a response
        (b"\x12\x34" + bytes(2) + b"\xff" * 8, b"\x12\x34\x80\x01" + bytes(8)),
        (b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\xc0\x0c", b"\x12\x34\x80\x01" + bytes(8)),
    ],
)
def test_junk(wire: bytes, expected: bytes | None) -> None:
    """What is no message gets no answer, and what is no readable query a FORMERR with its id."""
    assert respond(wire, ZONES, 0.0, udp=True) == expected


@settings(deadline=None)
@given(
    flags=st.binary(min_size=2, max_size=2),
    counts=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    rest=st.binary(),
)
@example(flags=b"\x28\x00", counts=[1, 0, 0, 0], rest=b"\x00\x00\x06\x00\x01")
def test_fuzz(flags: bytes, counts: list[int], rest: bytes) -> None:
    """No message whatever makes the server fail."""
    wire = b"\x12\x34" + flags + b"".join(count.to_bytes(2, "big") for count in counts) + rest
    for udp in (False, True):
        response = respond(wire, ZONES, 0.0, udp=udp)
        assert response is None or response[:2] == b"\x12\x34"


@settings(deadline=None)
@given(
    position=st.integers(0, 59),
    byte=st.integers(0, 255),
    zone=st.sampled_from(["healthy", "nodata", "silent"]),
)
def test_fuzz_one_byte(position: int, byte: int, zone: str) -> None:
    """No query with one wrong byte makes the server fail."""
    wire = bytearray(srv_query(zone, use_edns=0).to_wire())
    wire[position % len(wire)] = byte
    respond(bytes(wire), ZONES, 0.0, udp=True)


# The running lab


def dns_port(lab: Lab) -> int:
    """Tell the port of a lab's DNS server, as its configuration does."""
    [server] = yaml.safe_load(lab.config_text)["dns"]["servers"]
    address, port = server.split(":")
    assert address == DNS_ADDRESS
    return int(port)


async def ask(lab: Lab, name: str, rdtype: str = "SRV") -> tuple[dns.message.Message, bool]:
    """Ask over UDP and, for a truncated answer, over TCP; tells which it was."""
    query = dns.message.make_query(name, rdtype)
    return await dns.asyncquery.udp_with_fallback(
        query, DNS_ADDRESS, timeout=DEADLINE_SECONDS, port=dns_port(lab)
    )


async def endpoints_of(lab: Lab, zone: str) -> set[tuple[str, int]]:
    """Look a zone up as a client does: its records, then the addresses of their targets."""
    response, _ = await ask(lab, f"{SRV_PREFIX}{zone}.kms.test")
    found = set()
    for record in response.answer[0] if response.answer else ():
        addresses, _ = await ask(lab, record.target.to_text(), "A")
        found |= {(rdata.address, record.port) for rrset in addresses.answer for rdata in rrset}
    return found


async def connect(address: str, port: int, *, timeout_seconds: float = DEADLINE_SECONDS) -> str:
    """Connect once, and say in a word how that ended."""
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(address, port)
    except (ConnectionRefusedError, TimeoutError) as error:
        return {ConnectionRefusedError: "refused", TimeoutError: "timeout"}[type(error)]
    writer.close()
    await writer.wait_closed()
    return "up"


@pytest.mark.parametrize(
    ("zone", "outcomes"),
    [
        ("healthy", ["up", "up"]),
        ("amsterdam", ["up"]),
        ("berlin", ["up", "up"]),
        ("large", ["up"] * 4),
        ("partly", ["refused", "up"]),
        ("vanishing", ["up"]),
        ("degraded", ["refused", "up"]),
        ("closed", ["refused"]),
        ("stale", []),
        ("nxdomain", []),
        ("nodata", []),
        ("servfail", []),
        ("refused", []),
    ],
)
def test_situations(zone: str, outcomes: list[str]) -> None:
    """Every zone leads to the endpoints that it stands for."""

    async def scenario() -> None:
        async with Lab() as lab:
            found = [await connect(*endpoint) for endpoint in await endpoints_of(lab, zone)]
        assert sorted(found) == outcomes

    run(scenario())


def test_filtered() -> None:
    """A filtered endpoint leaves connects unanswered, one after the other and several at once."""

    async def scenario() -> None:
        async with Lab() as lab:
            [(address, port)] = await endpoints_of(lab, "filtered")
            assert await connect(address, port, timeout_seconds=0.3) == "timeout"
            tries = [connect(address, port, timeout_seconds=0.3) for _ in range(3)]
            assert await asyncio.gather(*tries) == ["timeout"] * 3

    run(scenario())


def test_declined() -> None:
    """The target `.` says that there is no service."""

    async def scenario() -> None:
        async with Lab() as lab:
            response, _ = await ask(lab, f"{SRV_PREFIX}declined.kms.test")
        assert [record.target for record in response.answer[0]] == [dns.name.root]

    run(scenario())


def test_silent() -> None:
    """A query for the silent zone stays unanswered, while a later one on the same socket is not."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with Lab() as lab:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(0)
                client.connect((DNS_ADDRESS, dns_port(lab)))
                client.send(srv_query("silent").to_wire())
                later = srv_query("healthy")
                client.send(later.to_wire())
                first = dns.message.from_wire(await loop.sock_recv(client, 65535))
        assert first.id == later.id

    run(scenario())


def test_large_zone_needs_tcp() -> None:
    """The large zone is truncated over UDP and complete over TCP."""

    async def scenario() -> None:
        async with Lab() as lab:
            response, over_tcp = await ask(lab, f"{SRV_PREFIX}large.kms.test")
        assert over_tcp
        assert len(response.answer[0]) == 60

    run(scenario())


def test_host_is_shared() -> None:
    """Three zones publish the same host."""

    async def scenario() -> None:
        async with Lab() as lab:
            zones = [await endpoints_of(lab, zone) for zone in ("healthy", "amsterdam", "berlin")]
        assert len(set.intersection(*zones)) == 1

    run(scenario())


def test_records_vanish_and_return() -> None:
    """The running lab takes a zone's records away and brings them back."""

    async def scenario() -> None:
        async with Lab(present_seconds=0.2, absent_seconds=0.2) as lab:
            seen: list[dns.rcode.Rcode] = []
            while len(seen) < 4:
                response, _ = await ask(lab, f"{SRV_PREFIX}vanishing.kms.test")
                if response.rcode() not in seen[-1:]:
                    seen.append(response.rcode())
        assert {*seen} == {NOERROR, NXDOMAIN}

    run(scenario())


def test_config_text() -> None:
    """The configuration has every zone and two static hosts, both of them up."""

    async def scenario() -> None:
        async with Lab() as lab:
            config = yaml.safe_load(lab.config_text)
            by_name, by_address = (host.rsplit(":", 1) for host in config["hosts"])
            response, _ = await ask(lab, by_name[0], "A")
            for address, port in ((response.answer[0][0].address, by_name[1]), by_address):
                assert await connect(address, int(port)) == "up"
        assert [zone["name"] for zone in config["zones"]] == [zone for zone, _ in lab.describe()]
        assert config["interval"] == "10s"
        assert config["timeout"] == "2s"
        assert config["probe"] == {"networks": ["127.0.0.0/8"]}

    run(scenario())


def test_descriptions() -> None:
    """Every zone is described in one line of its own, whether or not the lab runs."""
    descriptions = dict(Lab().describe())
    assert len(set(descriptions.values())) == len(descriptions) == len(ZONES)
    assert all(text and "\n" not in text for text in descriptions.values())


def test_two_labs() -> None:
    """Two labs run side by side on ports of their own."""

    async def scenario() -> None:
        async with Lab() as one, Lab() as other:
            assert dns_port(one) != dns_port(other)
            for zone in ("healthy", "partly"):
                [*first], [*second] = await endpoints_of(one, zone), await endpoints_of(other, zone)
                assert {port for _, port in first}.isdisjoint(port for _, port in second)
                outcomes = [sorted([await connect(*end) for end in ends]) for ends in (first, second)]
                assert outcomes[0] == outcomes[1]

    run(scenario())


def test_stop_leaves_nothing_behind() -> None:
    """A lab that stops amid connections leaves no task, no socket and no open connection."""

    async def scenario() -> None:
        tasks, descriptors = asyncio.all_tasks(), open_descriptors()
        async with contextlib.AsyncExitStack() as stack:
            async with Lab() as lab:
                [(address, port)] = await endpoints_of(lab, "amsterdam")
                clients = [
                    await stack.enter_async_context(connected(*endpoint))
                    for endpoint in [(address, port), (DNS_ADDRESS, dns_port(lab))] * 3
                ]
            assert asyncio.all_tasks() == tasks
            for reader, _ in clients:
                assert await ended(reader)
        assert open_descriptors() == descriptors

    run(scenario())


def open_descriptors() -> set[str]:
    """List the file descriptors of this process."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


def test_stop_before_the_first_step() -> None:
    """A connection that was accepted just before the stop is closed too."""

    async def never(connection: socket.socket) -> None:
        raise AssertionError

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            async with contextlib.AsyncExitStack() as stack:
                async with accepting(listener, never, name="test", max_connections=1):
                    reader, _ = await stack.enter_async_context(connected(*listener.getsockname()))
                assert await ended(reader)

    run(scenario())


@contextlib.asynccontextmanager
async def connected(
    address: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Hold a connection open."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the peer to end a connection without a byte, by FIN or by RST."""
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


def test_endpoint_closes_when_the_peer_does() -> None:
    """An endpoint says nothing, and closes when the client has closed its side."""

    async def scenario() -> None:
        async with Lab() as lab:
            [endpoint] = await endpoints_of(lab, "amsterdam")
            async with connected(*endpoint) as (reader, writer):
                writer.write(b"anybody here?")
                writer.write_eof()
                assert await ended(reader)

    run(scenario())


def test_endpoint_does_not_listen_for_ever() -> None:
    """An endpoint ends a connection on which too much is sent."""

    async def scenario() -> None:
        async with Lab() as lab:
            [endpoint] = await endpoints_of(lab, "amsterdam")
            async with connected(*endpoint) as (reader, writer):
                writer.write(bytes(1_000_000))
                assert await ended(reader)

    run(scenario())


# The name server over TCP


async def ask_over_tcp(port: int) -> dns.message.Message:
    """Ask a question that has an answer, on a new TCP connection."""
    return await dns.asyncquery.tcp(srv_query("large"), DNS_ADDRESS, timeout=DEADLINE_SECONDS, port=port)


def now() -> float:
    """Stand still."""
    return 0.0


@pytest.mark.parametrize(
    "said", [b"", b"\x00", b"\x00\x20half a query", b"\x00\x00", b"GET / HTTP/1.0\r\n\r\n"]
)
def test_bad_tcp_client_is_dropped(said: bytes) -> None:
    """A TCP client that stalls or talks nonsense is dropped, and disturbs nobody."""

    async def scenario() -> None:
        async with (
            nameserver(ZONES, now, idle_seconds=0.3) as port,
            connected(DNS_ADDRESS, port) as (reader, writer),
        ):
            writer.write(said)
            assert (await ask_over_tcp(port)).answer
            assert await ended(reader)
            assert (await ask_over_tcp(port)).answer

    run(scenario())


def test_queries_in_a_row() -> None:
    """Queries sent at once on one connection are all answered, in order (RFC 7766, 6.2.1.1)."""

    async def scenario() -> None:
        queries = [srv_query("healthy") for _ in range(5)]
        async with nameserver(ZONES, now) as port, connected(DNS_ADDRESS, port) as (reader, writer):
            for query in queries:
                writer.write(query.to_wire(prepend_length=True))
            for query in queries:
                length = int.from_bytes(await reader.readexactly(2), "big")
                response = dns.message.from_wire(await reader.readexactly(length))
                assert query.is_response(response)

    run(scenario())


def test_tcp_clients_are_bounded() -> None:
    """One connection too many is closed at once; the others stay, and there is room again after them."""

    async def scenario() -> None:
        async with nameserver(ZONES, now, idle_seconds=DEADLINE_SECONDS, max_connections=1) as port:
            async with connected(DNS_ADDRESS, port) as (reader, writer):
                async with connected(DNS_ADDRESS, port) as (refused, _):
                    assert await ended(refused)
                query = srv_query("healthy")
                writer.write(query.to_wire(prepend_length=True))
                await reader.readexactly(2)
            while True:
                with contextlib.suppress(EOFError, ConnectionError):
                    assert (await ask_over_tcp(port)).answer
                    return

    run(scenario())


def test_bugs_are_contained() -> None:
    """A bug ends the connection or loses the datagram that met it, with a log line; the server goes on."""
    bugs = iter([True, True, False])

    def faulty() -> float:
        if next(bugs):
            raise ZeroDivisionError
        return 0.0

    async def scenario() -> None:
        query = srv_query("healthy")
        async with nameserver(ZONES, faulty) as port, connected(DNS_ADDRESS, port) as (reader, writer):
            writer.write(query.to_wire(prepend_length=True))
            assert await ended(reader)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(0)
                client.connect((DNS_ADDRESS, port))
                client.send(query.to_wire())
                client.send(query.to_wire())
                assert await asyncio.get_running_loop().sock_recv(client, 65535)

    with structlog.testing.capture_logs() as logs:
        run(scenario())
    assert [line["event"] for line in logs] == ["demo connection failed", "demo DNS query failed"]


# The sockets


def test_bind_together_falls_back() -> None:
    """A port that is taken at one address is not used at any."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bindings = [Binding(address="127.0.0.2"), Binding(address="127.0.0.1")]
        with contextlib.ExitStack() as stack:
            bound = [stack.enter_context(s) for s in bind_together(bindings, preferred_port=port_of(taken))]
            [port] = {port_of(sock) for sock in bound}
            assert port != port_of(taken)


def test_bind_together_where_there_is_no_such_address() -> None:
    """An address that is not here is an error, not a reason to try other ports."""
    with pytest.raises(OSError, match="assign requested address"):
        bind_together([Binding(address="192.0.2.1")], preferred_port=0)
