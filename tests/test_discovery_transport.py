"""Tests of one question to one DNS server: tries, truncation, EDNS, junk, and what is left open afterwards.

Real BIND answers in the end-to-end tests; here is a server that does what no real one does. A short timeout
is used only where nothing but the silence is of interest: whoever waits for an answer gets many tries.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.discovery import datagrams
from exporter.discovery import transport as transport_module
from exporter.discovery.answers import (
    read_addresses,
    read_authority,
    read_name_servers,
    read_srv,
    read_status,
)
from exporter.discovery.exchange import Answer, Exchange, Reply
from exporter.discovery.queries import EDNS_PAYLOAD_BYTES
from exporter.discovery.transport import Transport
from exporter.discovery.wire import Budget, Examined
from exporter.model import DnsServer, Family, LookupStatus
from exporter.model import Query as SentQuery
from tests.fake_dns import (
    DEADLINE_SECONDS,
    LOOPBACK,
    Connection,
    Datagrams,
    FakeDns,
    Query,
    hangs,
    respond,
    says,
    silence,
    streams,
)

T = TypeVar("T")

NAME = "_vlmcs._tcp.contoso.com"
KMS1 = f"{NAME}. SRV 0 0 1688 kms1.contoso.com."
SRV = dns.rdatatype.SRV
MANY = 100
IMPATIENT_SECONDS = 0.2
RECORDS = [f"{NAME}. SRV 0 0 1688 kms{n}.contoso.com." for n in range(900)]


def run(work: Awaitable[T]) -> T:
    """Run on an event loop of its own, and end what hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await work

    return asyncio.run(bounded())


def transport(
    *,
    timeout_seconds: float = DEADLINE_SECONDS,
    attempts: int = 1,
    source_addresses: Mapping[Family, str] | None = None,
    max_in_flight: int = 8,
) -> Transport:
    """Make a transport that waits as long as the test may take, unless told otherwise."""
    return Transport(
        timeout_seconds=timeout_seconds,
        attempts=attempts,
        source_addresses=source_addresses or {},
        max_in_flight=max_in_flight,
    )


def ask(server: DnsServer, rdtype: dns.rdatatype.RdataType = SRV, **options: Any) -> Reply:
    """Ask one question on an event loop of its own."""
    return exchange(server, rdtype, **options).reply


def exchange(server: DnsServer, rdtype: dns.rdatatype.RdataType = SRV, **options: Any) -> Exchange:
    """Ask one question on an event loop of its own, and give what was sent too."""

    async def asking() -> Exchange:
        return await transport(**options).ask(server, NAME, rdtype)

    return run(asking())


def targets(reply: Reply) -> list[str]:
    """Read the targets from a reply that has some."""
    assert not isinstance(reply, LookupStatus)
    lookup = read_srv(reply, duration_seconds=0, expected=frozenset(), known=frozenset(), limit=5000)
    assert lookup.status is LookupStatus.OK
    return [record.target for record in lookup.records]


def changed(edit: Callable[[dns.message.Message], object], *answer: str) -> Datagrams:
    """Send a good answer after `edit` has changed it."""
    return says(*(answer or [KMS1]), edit=edit)


def with_id(make: Callable[[Query], bytes]) -> Datagrams:
    """Send bytes under the id of the query."""
    return lambda query: [query.id.to_bytes(2, "big") + make(query)]


def descriptors() -> set[str]:
    """List what this process has open."""
    return {entry.name for entry in os.scandir("/proc/self/fd")}


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    before = len(descriptors())
    yield
    assert len(descriptors()) <= before


# --- UDP


def test_answer() -> None:
    """One query is sent, with recursion desired and EDNS, and its answer comes back."""
    with FakeDns(says(KMS1)) as fake:
        assert targets(ask(fake.server)) == ["kms1.contoso.com"]
        [asked] = fake.asked
    assert asked.transport == "udp"
    assert asked.query.question[0].to_text() == f"{NAME}. IN SRV"
    assert asked.query.flags == dns.flags.RD
    assert (asked.query.edns, asked.query.payload) == (0, EDNS_PAYLOAD_BYTES)


def test_answer_over_ipv6() -> None:
    """A server with an IPv6 address is asked over IPv6, over TCP too."""
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        fake = FakeDns(changed(truncate), tcp=streams(says(KMS1)), address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with fake:
        assert targets(ask(fake.server)) == ["kms1.contoso.com"]
        assert fake.transports == ["udp", "tcp"]


def truncate(message: dns.message.Message) -> None:
    """Cut an answer down to its question, as a server does when the records do not fit."""
    message.flags |= dns.flags.TC
    message.answer.clear()


def test_second_try() -> None:
    """Silence is met with another try, which is the same question with the same id."""
    with FakeDns(silence, says(KMS1)) as fake:
        reply = ask(fake.server, timeout_seconds=IMPATIENT_SECONDS, attempts=MANY)
        assert targets(reply) == ["kms1.contoso.com"]
        first, second = fake.asked[:2]
    assert first.query.to_wire() == second.query.to_wire()
    assert first.port == second.port


def test_answer_to_an_earlier_try() -> None:
    """An answer that comes late, while a later try waits for its own, counts."""
    held: list[Query] = []

    def hold(query: Query) -> Iterable[bytes]:
        held.append(query)
        return ()

    def late(query: Query) -> Iterable[bytes]:
        return says(KMS1)(held[0])

    with FakeDns(hold, late) as fake:
        reply = ask(fake.server, timeout_seconds=IMPATIENT_SECONDS, attempts=MANY)
        assert targets(reply) == ["kms1.contoso.com"]


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_silence(attempts: int) -> None:
    """A server that stays silent is asked as often as configured, and that is a timeout."""
    with FakeDns(silence) as fake:
        reply = ask(fake.server, timeout_seconds=IMPATIENT_SECONDS, attempts=attempts)
        assert reply is LookupStatus.TIMEOUT
        assert len(fake.wait_for(attempts)) == attempts


def stray(query: Query) -> bytes:
    """Make an answer to some other query."""
    response = respond(query, KMS1.replace("kms1", "stray"))
    response.id ^= 1
    return response.to_wire()


@pytest.mark.parametrize(
    "strays",
    [
        lambda query: [stray(query)],
        lambda query: [stray(query)] * 50,
        lambda query: [b"", b"?", query.id.to_bytes(2, "big")[:1]],
    ],
    ids=["one", "many", "too short"],
)
def test_strays(strays: Callable[[Query], list[bytes]]) -> None:
    """Datagrams without the id of the query are passed over until the answer comes."""

    def then_the_answer(query: Query) -> Iterable[bytes]:
        return [*strays(query), respond(query, KMS1).to_wire()]

    with FakeDns(then_the_answer) as fake:
        assert targets(ask(fake.server)) == ["kms1.contoso.com"]


def test_only_strays() -> None:
    """A server of which only strays come is a silent one."""
    with FakeDns(lambda query: [stray(query)]) as fake:
        assert ask(fake.server, timeout_seconds=IMPATIENT_SECONDS) is LookupStatus.TIMEOUT


def test_flood_of_strays(monkeypatch: pytest.MonkeyPatch) -> None:
    """While strays come faster than they can be read, the event loop does other work after each of them."""
    turns = 0
    turns_at_each_stray: list[int] = []
    real = socket.socket.recvmsg

    def always_another(self: socket.socket, size_bytes: int, ancillary_bytes: int, flags: int = 0) -> Any:
        if self.type != socket.SOCK_DGRAM or flags & socket.MSG_ERRQUEUE:
            return real(self, size_bytes, ancillary_bytes, flags)
        if len(turns_at_each_stray) == 1000:  # so that a lookup that cannot be stopped ends all the same
            raise BlockingIOError
        turns_at_each_stray.append(turns)
        return b"stray", [], 0, None

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def asking(server: DnsServer) -> Reply:
        other = asyncio.create_task(other_work(), name="other work")
        reply, _ = await transport(timeout_seconds=IMPATIENT_SECONDS).ask(server, NAME, SRV)
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        return reply

    monkeypatch.setattr(socket.socket, "recvmsg", always_another)
    with FakeDns(lambda query: [stray(query)]) as fake:
        assert run(asking(fake.server)) is LookupStatus.TIMEOUT
    assert len(turns_at_each_stray) > 1
    assert all(before < after for before, after in itertools.pairwise(turns_at_each_stray))


def test_answer_from_another_port() -> None:
    """An answer from anywhere but the address and port that was asked does not count (RFC 5452, 9.1)."""
    with FakeDns(silence) as fake, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind((LOOPBACK, 0))

        async def asking() -> Reply:
            question = transport(timeout_seconds=1.0).ask(fake.server, NAME, SRV)
            asking = asyncio.create_task(question, name="question")
            [asked] = await asyncio.to_thread(fake.wait_for, 1)
            elsewhere.sendto(respond(asked.query, KMS1).to_wire(), (asked.address, asked.port))
            return (await asking).reply

        assert run(asking()) is LookupStatus.TIMEOUT


def other_question(name: str, rdtype: str = "SRV", rdclass: str = "IN") -> Datagrams:
    """Answer a question that was not asked."""

    def answer(query: Query) -> Iterable[bytes]:
        other = dns.message.make_query(name, rdtype, rdclass, id=query.id)
        return [respond(other).to_wire()]

    return answer


def signed(message: dns.message.Message) -> None:
    """Sign an answer with a key that we do not have."""
    message.use_tsig(dns.tsig.Key("key.contoso.com.", b"secret"))


def clear_question(message: dns.message.Message) -> None:
    """Leave out the question."""
    message.question.clear()


def repeat_question(message: dns.message.Message) -> None:
    """Give the question twice."""
    message.question *= 2


def with_rcode(rcode: dns.rcode.Rcode) -> Callable[[dns.message.Message], None]:
    """Leave out the question and set a response code."""

    def edit(message: dns.message.Message) -> None:
        message.question.clear()
        message.set_rcode(rcode)

    return edit


@pytest.mark.parametrize(
    "step",
    [
        other_question(f"{NAME}.fabrikam.com."),
        other_question(NAME, "A"),
        other_question(NAME, "SRV", "CH"),
        changed(clear_question),
        changed(lambda message: message.set_opcode(dns.opcode.STATUS)),
        changed(lambda message: message.set_opcode(dns.opcode.UPDATE)),
        lambda query: [query.to_wire()],
        changed(signed),
        with_id(lambda query: b""),
        with_id(lambda query: b"\x84"),
        with_id(lambda query: b"\0" * 9),
        with_id(lambda query: b"\0" * 10),
        with_id(lambda query: b"\xff" * 60),
        with_id(lambda query: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        with_id(lambda query: respond(query, KMS1).to_wire()[2:-1]),
        with_id(lambda query: respond(query, KMS1).to_wire()[2:] + b"\0"),
        with_id(lambda query: b"\x84\0\0\1\0\0\0\0\0\0\xc0\x0c\0\x21\0\1"),
        with_id(lambda query: b"\x84\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        with_id(lambda query: b"\x84\0\0\1\0\0\0\0\0\0\x3f" + b"a" * 20),
    ],
    ids=[
        "other name",
        "other type",
        "other class",
        "no question",
        "other opcode",
        "update",
        "echo",
        "signed",
        "id alone",
        "one flag",
        "one byte short of a header",
        "query without a question",
        "all ones",
        "another protocol",
        "one byte short",
        "trailing byte",
        "pointer to itself",
        "counts without records",
        "label without end",
    ],
)
def test_bad_response(step: Datagrams) -> None:
    """What comes under our id and is no answer to our question is a bad response."""
    with FakeDns(step) as fake:
        assert ask(fake.server) is LookupStatus.BAD_RESPONSE
        assert fake.transports == ["udp"]


@pytest.mark.parametrize(
    ("rcode", "status"),
    [
        (dns.rcode.SERVFAIL, LookupStatus.SERVFAIL),
        (dns.rcode.REFUSED, LookupStatus.REFUSED),
        (dns.rcode.NOTIMP, LookupStatus.BAD_RESPONSE),
    ],
)
def test_error_without_a_question(rcode: dns.rcode.Rcode, status: LookupStatus) -> None:
    """A server may leave out the question where it reports an error."""
    with FakeDns(changed(with_rcode(rcode))) as fake:
        reply = ask(fake.server)
    assert isinstance(reply, Answer)
    assert read_status(reply) is status
    assert read_authority(reply) is None


def test_question_twice() -> None:
    """An answer that repeats the question is none (RFC 9619)."""
    with FakeDns(changed(repeat_question)) as fake:
        assert ask(fake.server) is LookupStatus.BAD_RESPONSE


# --- EDNS


def no_edns(query: Query) -> Iterable[bytes]:
    """Answer as a server that never heard of EDNS: with FORMERR and nothing but a header."""
    if query.edns >= 0:
        return [query.id.to_bytes(2, "big") + b"\x80\x01" + bytes(8)]
    return says(KMS1)(query)


def test_server_without_edns() -> None:
    """FORMERR is met with the same question without EDNS."""
    with FakeDns(no_edns) as fake:
        assert targets(ask(fake.server)) == ["kms1.contoso.com"]
        assert [asked.query.edns for asked in fake.asked] == [0, -1]
        assert [asked.query.question[0].to_text() for asked in fake.asked] == [f"{NAME}. IN SRV"] * 2


def test_formerr_for_ever() -> None:
    """FORMERR without EDNS too is the answer, and there is no third question."""
    with FakeDns(says(rcode=dns.rcode.FORMERR)) as fake:
        reply = ask(fake.server)
        assert isinstance(reply, Answer)
        assert read_status(reply) is LookupStatus.BAD_RESPONSE
        assert [asked.query.edns for asked in fake.asked] == [0, -1]


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (silence, LookupStatus.TIMEOUT),
        (with_id(lambda query: b"junk"), LookupStatus.BAD_RESPONSE),
    ],
    ids=["silence", "junk"],
)
def test_server_that_fails_without_edns(second: Datagrams, status: LookupStatus) -> None:
    """What becomes of the question without EDNS is what became of the lookup."""
    with FakeDns(says(rcode=dns.rcode.FORMERR), second) as fake:
        assert ask(fake.server, timeout_seconds=IMPATIENT_SECONDS) is status


def test_server_without_edns_that_truncates() -> None:
    """A truncated answer to the question without EDNS is asked for again over TCP, without EDNS."""

    def step(query: Query) -> Iterable[bytes]:
        return changed(truncate)(query) if query.edns < 0 else no_edns(query)

    with FakeDns(step, tcp=streams(says(KMS1))) as fake:
        assert targets(ask(fake.server)) == ["kms1.contoso.com"]
        assert [(asked.transport, asked.query.edns) for asked in fake.asked] == [
            ("udp", 0),
            ("udp", -1),
            ("tcp", -1),
        ]


def test_badvers() -> None:
    """A server that knows only another EDNS has answered, if nothing that can be used."""
    with FakeDns(says(rcode=dns.rcode.BADVERS)) as fake:
        reply = ask(fake.server)
    assert isinstance(reply, Answer)
    assert read_status(reply) is LookupStatus.BAD_RESPONSE


# --- TCP


def cut_in_a_record(query: Query) -> Iterable[bytes]:
    """Cut an answer where the datagram is full, in the middle of a record."""
    response = respond(query, *RECORDS[:20])
    response.flags |= dns.flags.TC
    return [response.to_wire()[:-11]]


def partial(message: dns.message.Message) -> None:
    """Mark an answer as truncated although records are in it."""
    message.flags |= dns.flags.TC


def test_errors_do_not_keep_a_socket_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ICMP error of one try is taken off the socket, or the wait of the next would spin."""
    ready: list[list[tuple[int, int]]] = []
    drained = datagrams.drain_errors  # to look at the socket right after

    def drain(sock: socket.socket) -> None:
        drained(sock)
        poll = select.poll()
        poll.register(sock, 0)  # errors are reported whatever is asked for
        ready.append(poll.poll(0))

    monkeypatch.setattr(datagrams, "drain_errors", drain)
    with socket.socket(type=socket.SOCK_DGRAM) as reserved:
        reserved.bind((LOOPBACK, 0))
        port = reserved.getsockname()[1]
    assert ask(DnsServer(address=LOOPBACK, port=port), attempts=2) is LookupStatus.UNREACHABLE
    assert ready == [[], []]


def test_more_records_than_anybody_has() -> None:
    """An answer whose header announces absurdly many records is not even parsed: that could take seconds."""
    crowd = [f"{NAME}. SRV 0 0 1688 kms{n}.contoso.com." for n in range(1100)]
    with FakeDns(changed(truncate), tcp=streams(says(*crowd))) as fake:
        assert ask(fake.server) is LookupStatus.BAD_RESPONSE


@pytest.mark.parametrize(
    "truncated",
    [changed(truncate), changed(partial, KMS1), cut_in_a_record],
    ids=["no records", "some records", "cut in a record"],
)
def test_truncated(truncated: Datagrams) -> None:
    """A truncated answer, wherever it was cut, is dropped and asked for again over TCP (RFC 2181, 9)."""
    with FakeDns(truncated, tcp=streams(says(*RECORDS))) as fake:
        assert len(targets(ask(fake.server))) == len(RECORDS)
        udp, tcp = fake.asked
    assert (udp.transport, tcp.transport) == ("udp", "tcp")
    assert udp.query.to_wire() == tcp.query.to_wire()


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 1000])
def test_tcp_in_pieces(chunk_bytes: int) -> None:
    """An answer that arrives in pieces, byte by byte even, is put together."""
    with FakeDns(changed(truncate), tcp=streams(says(*RECORDS[:30]), chunk_bytes=chunk_bytes)) as fake:
        assert len(targets(ask(fake.server))) == 30


def raw(make: Callable[[Query], bytes]) -> Connection:
    """Send these bytes as they are, and hang up."""
    return lambda connection, query: connection.sendall(make(query))


def resets(connection: socket.socket, query: Query) -> None:
    """Hang up with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def framed(wire: bytes, *, length: int | None = None) -> bytes:
    """Put a length in front of a message, the wrong one if told so."""
    return struct.pack("!H", len(wire) if length is None else length) + wire


def good(query: Query) -> bytes:
    """Make a good answer."""
    return respond(query, KMS1).to_wire()


@pytest.mark.parametrize(
    "conversation",
    [
        raw(lambda query: b""),
        raw(lambda query: b"\0"),
        raw(lambda query: framed(good(query))[:2]),
        raw(lambda query: framed(good(query))[:-1]),
        raw(lambda query: framed(good(query), length=0)),
        raw(lambda query: framed(good(query), length=65535)),
        raw(lambda query: framed(good(query), length=11)),
        raw(lambda query: framed(good(query), length=len(good(query)) - 1)),
        raw(lambda query: framed(good(query) + b"\0")),
        raw(lambda query: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        streams(lambda query: [stray(query)]),
        streams(other_question("fabrikam.com.")),
        streams(lambda query: [query.to_wire()]),
        streams(changed(truncate)),
        streams(changed(partial)),
        streams(changed(signed)),
    ],
    ids=[
        "nothing",
        "half a length",
        "length alone",
        "one byte short",
        "length 0",
        "length too big",
        "length below a header",
        "length too small",
        "trailing byte",
        "another protocol",
        "other id",
        "other question",
        "echo",
        "truncated for ever",
        "truncated with records",
        "signed",
    ],
)
def test_bad_response_over_tcp(conversation: Connection) -> None:
    """What is no whole answer to our question over TCP is a bad response, and nothing is asked again."""
    with FakeDns(changed(truncate), tcp=conversation) as fake:
        assert ask(fake.server, attempts=3) is LookupStatus.BAD_RESPONSE
        assert fake.transports == ["udp", "tcp"]


def test_tcp_reset() -> None:
    """A connection that is reset is a server that cannot be reached over TCP."""
    with FakeDns(changed(truncate), tcp=resets) as fake:
        assert ask(fake.server) is LookupStatus.UNREACHABLE


def test_tcp_refused() -> None:
    """A server that truncates but takes no TCP cannot be reached."""
    with FakeDns(changed(truncate)) as fake:
        assert ask(fake.server) is LookupStatus.UNREACHABLE


def test_tcp_silence() -> None:
    """A connection on which nothing comes is a timeout."""
    with FakeDns(changed(truncate), tcp=hangs) as fake:
        assert ask(fake.server, attempts=MANY, timeout_seconds=1.0) is LookupStatus.TIMEOUT


# --- What was sent


def sent(queries: Iterable[SentQuery]) -> list[tuple[str, bool, str, int, bool | None]]:
    """Tell of each query how it was sent and what it came to."""
    return [(each.transport, each.edns, each.outcome, each.answers, each.authoritative) for each in queries]


@pytest.mark.parametrize(
    ("steps", "tcp", "expected"),
    [
        ([says(KMS1)], None, [("udp", True, "ok", 1, True)]),
        ([says(*RECORDS[:3])], None, [("udp", True, "ok", 3, True)]),
        ([says(KMS1, flags=dns.flags.Flag(0))], None, [("udp", True, "ok", 1, False)]),
        ([says(rcode=dns.rcode.NXDOMAIN)], None, [("udp", True, "nxdomain", 0, True)]),
        ([says(rcode=dns.rcode.SERVFAIL)], None, [("udp", True, "servfail", 0, True)]),
        ([says(rcode=dns.rcode.NOTIMP)], None, [("udp", True, "notimp", 0, True)]),
        ([with_id(lambda query: b"junk")], None, [("udp", True, "bad_response", 0, None)]),
        (
            [changed(truncate)],
            streams(says(*RECORDS[:30])),
            [("udp", True, "truncated", 0, True), ("tcp", True, "ok", 30, True)],
        ),
        (
            [changed(truncate)],
            None,
            [("udp", True, "truncated", 0, True), ("tcp", True, "unreachable", 0, None)],
        ),
        (
            [changed(truncate)],
            streams(changed(truncate)),
            [("udp", True, "truncated", 0, True), ("tcp", True, "truncated", 0, True)],
        ),
        (
            [says(rcode=dns.rcode.FORMERR), says(KMS1)],
            None,
            [("udp", True, "formerr", 0, True), ("udp", False, "ok", 1, True)],
        ),
    ],
    ids=[
        "answer",
        "three records",
        "cache",
        "no such name",
        "failure",
        "other code",
        "junk",
        "TCP",
        "TCP refused",
        "truncated for ever",
        "no EDNS",
    ],
)
def test_queries(steps: list[Datagrams], tcp: Connection | None, expected: list[object]) -> None:
    """A reply brings along every message that was sent for it, and what that came to."""
    with FakeDns(*steps, tcp=tcp) as fake:
        before = time.time()
        queries = exchange(fake.server).queries
        after = time.time()
        assert fake.transports == [each.transport for each in queries if each.outcome != "unreachable"]
    assert sent(queries) == expected
    assert {(each.dns_server, each.name, each.rdtype) for each in queries} == {
        (fake.server.label, NAME, "SRV")
    }
    assert before <= queries[0].asked_at <= queries[-1].asked_at <= after
    assert all(each.duration_seconds and 0 < each.duration_seconds < after - before for each in queries)


def test_query_for_every_try() -> None:
    """Each try stands for itself: those that nobody answered, and the one that was."""
    with FakeDns(silence, silence, says(KMS1)) as fake:
        queries = exchange(fake.server, timeout_seconds=IMPATIENT_SECONDS, attempts=MANY).queries
    *silent, last = sent(queries)
    assert len(silent) >= 2
    assert set(silent) == {("udp", True, "timeout", 0, None)}
    assert last == ("udp", True, "ok", 1, True)


def test_query_that_could_not_be_sent() -> None:
    """A query that no socket could be had for stands among the others, with the reason."""
    with FakeDns(says(KMS1)) as fake:
        queries = exchange(fake.server, source_addresses={Family.IPV4: "192.0.2.1"}).queries
        assert fake.asked == ()
    assert sent(queries) == [("udp", True, "local_error", 0, None)]


# --- No way to the server


def test_nothing_listens() -> None:
    """ICMP "port unreachable" is an answer of the network: the server is unreachable, without any wait."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((LOOPBACK, 0))
        other.connect((LOOPBACK, 9))  # so the port is taken, yet there is no socket for what we send
        server = DnsServer(address=LOOPBACK, port=other.getsockname()[1])
        assert ask(server, attempts=2) is LookupStatus.UNREACHABLE


@pytest.mark.parametrize(
    ("method", "code", "status"),
    [
        ("connect", errno.ENETUNREACH, LookupStatus.UNREACHABLE),
        ("connect", errno.EHOSTUNREACH, LookupStatus.UNREACHABLE),
        ("connect", errno.EACCES, LookupStatus.UNREACHABLE),
        ("connect", errno.EADDRNOTAVAIL, LookupStatus.LOCAL_ERROR),
        ("send", errno.ENETUNREACH, LookupStatus.UNREACHABLE),
        ("send", errno.EPERM, LookupStatus.LOCAL_ERROR),
        ("send", errno.ENOBUFS, LookupStatus.LOCAL_ERROR),
        ("recvmsg", errno.EHOSTUNREACH, LookupStatus.UNREACHABLE),
    ],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_network_error(monkeypatch: pytest.MonkeyPatch, method: str, code: int, status: LookupStatus) -> None:
    """An error of the network, at whichever step, is a server that cannot be reached; others are our own."""
    break_datagrams(monkeypatch, method, itertools.repeat(code))
    with FakeDns(says(KMS1)) as fake:
        assert ask(fake.server, attempts=2) is status


def test_network_error_among_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network says of one try says more than the silence that meets the others."""
    break_datagrams(monkeypatch, "send", [0, errno.EHOSTUNREACH, 0])
    with FakeDns(silence) as fake:
        reply = ask(fake.server, attempts=3, timeout_seconds=IMPATIENT_SECONDS)
        assert reply is LookupStatus.UNREACHABLE


@pytest.mark.parametrize("method", ["send", "recvmsg"])
def test_network_error_of_one_try(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """An error of one try does not end the lookup: a server that starts meanwhile answers the next."""
    break_datagrams(monkeypatch, method, [errno.ECONNREFUSED])
    with FakeDns(says(KMS1)) as fake:
        assert targets(ask(fake.server, attempts=2)) == ["kms1.contoso.com"]


def break_datagrams(monkeypatch: pytest.MonkeyPatch, method: str, codes: Iterable[int]) -> None:
    """Let a method of datagram sockets fail with these errors, one a call and 0 for none; TCP stays whole."""
    real = getattr(socket.socket, method)
    errors = iter(codes)

    def broken(self: socket.socket, *arguments: Any) -> Any:
        drains = socket.MSG_ERRQUEUE in arguments
        if self.type == socket.SOCK_DGRAM and not drains and (code := next(errors, None)):
            raise OSError(code, os.strerror(code))
        return real(self, *arguments)

    monkeypatch.setattr(socket.socket, method, broken)


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Keep this process from opening anything more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # below are stdin, stdout and stderr
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_file_descriptors() -> None:
    """Without a file descriptor left nothing can be asked, and that is all that happens."""

    async def asking(server: DnsServer) -> Reply:
        with no_descriptors_left():
            return (await transport().ask(server, NAME, SRV)).reply

    with FakeDns(says(KMS1)) as fake:
        assert run(asking(fake.server)) is LookupStatus.LOCAL_ERROR
        assert fake.asked == ()


def test_no_file_descriptors_for_tcp() -> None:
    """The same when the last descriptor went to UDP and none is left for TCP."""
    with contextlib.ExitStack() as stack:

        def last_one(query: Query) -> Iterable[bytes]:
            stack.enter_context(no_descriptors_left())
            return changed(truncate)(query)

        with FakeDns(last_one, tcp=streams(says(KMS1))) as fake:
            try:
                assert ask(fake.server) is LookupStatus.LOCAL_ERROR
                assert fake.transports == ["udp"]
            finally:
                stack.close()


# --- Source addresses


def test_source_address() -> None:
    """Queries leave from the source address of their family, over UDP and over TCP."""
    with FakeDns(changed(truncate), tcp=streams(says(KMS1))) as fake:
        ask(fake.server, source_addresses={Family.IPV4: "127.0.0.2", Family.IPV6: "2001:db8::1"})
        assert [asked.address for asked in fake.asked] == ["127.0.0.2", "127.0.0.2"]


def test_source_address_of_the_other_family() -> None:
    """A source address of one family has no say in the other."""
    with FakeDns(says(KMS1)) as fake:
        ask(fake.server, source_addresses={Family.IPV6: "2001:db8::1"})
        assert [asked.address for asked in fake.asked] == [LOOPBACK]


def test_source_address_of_another_machine() -> None:
    """With a source address that this machine does not have, nothing can be asked."""
    with FakeDns(says(KMS1)) as fake:
        reply = ask(fake.server, source_addresses={Family.IPV4: "192.0.2.1"})
        assert reply is LookupStatus.LOCAL_ERROR
        assert fake.asked == ()


# --- Cancelling, and queries in flight


def test_cancelled_query_over_udp() -> None:
    """A query that is cancelled ends at once and leaves no socket open."""

    async def cancelling(fake: FakeDns) -> None:
        before = descriptors()
        query = asyncio.create_task(transport().ask(fake.server, NAME, SRV), name="query")
        await asyncio.to_thread(fake.wait_for, 1)
        assert len(descriptors()) == len(before) + 2  # a socket, and what is waited with
        await cancelled(query)
        assert descriptors() == before

    with FakeDns(silence) as fake:
        run(cancelling(fake))


def test_cancelled_query_over_tcp() -> None:
    """A query that is cancelled while it waits for TCP hangs up."""
    hung_up = threading.Event()

    def hang(connection: socket.socket, query: Query) -> None:
        hangs(connection, query)
        hung_up.set()

    async def cancelling(fake: FakeDns) -> None:
        query = asyncio.create_task(transport().ask(fake.server, NAME, SRV), name="query")
        await asyncio.to_thread(fake.wait_for, 2)
        assert not hung_up.is_set()
        await cancelled(query)
        assert await asyncio.to_thread(hung_up.wait, DEADLINE_SECONDS)

    with FakeDns(changed(truncate), tcp=hang) as fake:
        run(cancelling(fake))


async def cancelled(*tasks: asyncio.Task[Exchange]) -> None:
    """Cancel queries, and see that this is how they end."""
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


def test_queries_in_flight() -> None:
    """At most so many queries are in flight at one server; the next goes out when one has ended."""

    async def asking(fake: FakeDns) -> None:
        bounded = transport(max_in_flight=2)
        tasks = [
            asyncio.create_task(bounded.ask(fake.server, f"{n}.com", SRV), name=f"query {n}")
            for n in range(3)
        ]
        await asyncio.to_thread(fake.wait_for, 2)
        fence = asyncio.create_task(transport().ask(fake.server, "fence.com", SRV), name="fence")
        arrived = await asyncio.to_thread(fake.wait_for, 3)
        assert [name_of(asked.query) for asked in arrived] == ["0.com.", "1.com.", "fence.com."]
        await cancelled(tasks[0])
        arrived = await asyncio.to_thread(fake.wait_for, 4)
        assert name_of(arrived[-1].query) == "2.com."
        await cancelled(fence, *tasks[1:])

    with FakeDns(silence) as fake:
        run(asking(fake))


def name_of(query: Query) -> str:
    """Read the name that a query asks for."""
    return query.question[0].name.to_text()


def test_slow_server_delays_no_other() -> None:
    """A server that is busy with as many queries as it may have does not keep others from being asked."""

    async def asking(slow: FakeDns, fast: FakeDns) -> Reply:
        shared = transport(max_in_flight=1)
        waiting = asyncio.create_task(shared.ask(slow.server, NAME, SRV), name="slow")
        await asyncio.to_thread(slow.wait_for, 1)
        reply, _ = await shared.ask(fast.server, NAME, SRV)
        assert not waiting.done()
        await cancelled(waiting)
        return reply

    with FakeDns(silence) as slow, FakeDns(says(KMS1)) as fast:
        assert targets(run(asking(slow, fast))) == ["kms1.contoso.com"]


@pytest.fixture
def read_aside(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Read nothing aside of the first answer that comes until there is a second one."""
    reading: list[str] = []
    second = asyncio.Event()

    async def run_aside(work: Callable[[], Answer | Examined]) -> Answer | Examined:
        answer = work()
        if isinstance(answer, Examined):
            return answer
        reading.append(answer.question[0].name.to_text())
        if len(reading) > 1:
            second.set()
        await second.wait()
        return answer

    monkeypatch.setattr(transport_module, "run_aside", run_aside)
    return reading


def test_answer_that_takes_long_delays_no_other_check(read_aside: list[str]) -> None:
    """While a large answer of one server is read, that of another to another check is read too."""
    large = streams(says(*RECORDS))

    async def asking(*servers: DnsServer) -> list[Reply]:
        shared = transport()
        checks = [shared.within(Budget()) for _ in servers]
        found = await asyncio.gather(
            *(each.ask(server, NAME, SRV) for each, server in zip(checks, servers, strict=True))
        )
        return [reply for reply, _ in found]

    with (
        FakeDns(changed(truncate), tcp=large) as one,
        FakeDns(changed(truncate), tcp=large) as other,
    ):
        for reply in run(asking(one.server, other.server)):
            assert len(targets(reply)) == len(RECORDS)
    assert read_aside == [f"{NAME}."] * 2


@pytest.mark.parametrize("one", ["server", "check"])
def test_long_answers_are_read_in_turn(monkeypatch: pytest.MonkeyPatch, one: str) -> None:
    """Of the large answers of one server, or of several to one check, one is read at a time."""
    now, most = 0, 0

    async def run_aside(work: Callable[[], Answer]) -> Answer:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(100):  # time for others to come in between
            await asyncio.sleep(0)
        now -= 1
        return work()

    async def asking(servers: list[DnsServer]) -> list[Exchange]:
        shared = transport()
        checks = [shared.within(Budget()) if one == "server" else shared for _ in servers]
        asked = (check.ask(server, NAME, SRV) for check, server in zip(checks, servers, strict=True))
        return await asyncio.gather(*asked)

    monkeypatch.setattr(transport_module, "run_aside", run_aside)
    with contextlib.ExitStack() as stack:
        large = streams(says(*RECORDS))
        fakes = [stack.enter_context(FakeDns(changed(truncate), tcp=large)).server for _ in range(4)]
        found = run(asking(fakes[:1] * 4 if one == "server" else fakes))
        assert [len(targets(exchange.reply)) for exchange in found] == [len(RECORDS)] * 4
    assert (now, most) == (0, 1)


def test_small_answers_that_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A datagram is read on the spot, unless somebody made it hard to read."""
    aside = []

    async def run_aside(work: Callable[[], Answer]) -> Answer:
        aside.append(work)
        return work()

    monkeypatch.setattr(transport_module, "run_aside", run_aside)
    with FakeDns(says(*RECORDS[:10])) as fake:
        assert len(targets(ask(fake.server))) == 10
        assert aside == []
    with FakeDns(with_many_labels) as fake:
        assert len(targets(ask(fake.server))) == 4
        assert len(aside) == 2, "looked over, and read"


def with_many_labels(query: Query) -> Iterable[bytes]:
    """Answer with targets that have as many labels as there can be."""
    longest = ".".join("a" * 114)
    return says(*(f"{NAME}. SRV 0 0 {port} {longest}.contoso.com." for port in range(1, 5)))(query)


def test_budget_of_a_check() -> None:
    """Long answers of several servers are read up to a budget, but each server may tell of some hosts."""

    async def asking(servers: Iterable[DnsServer], budget: Budget | None) -> list[Reply]:
        bounded = transport() if budget is None else transport().within(budget)
        return [(await bounded.ask(server, NAME, SRV)).reply for server in servers]

    with contextlib.ExitStack() as stack:

        def serve(*records: str) -> DnsServer:
            return stack.enter_context(FakeDns(changed(truncate), tcp=streams(says(*records)))).server

        many = [serve(*RECORDS) for _ in range(3)]
        replies = run(asking([*many, serve(*RECORDS[:100]), serve(*RECORDS)], Budget(800_000)))
        assert replies[2] == replies[4] == LookupStatus.BAD_RESPONSE
        assert [len(targets(replies[each])) for each in (0, 1, 3)] == [len(RECORDS), len(RECORDS), 100]
        assert len(targets(run(asking(many, None))[2])) == len(RECORDS)


def test_short_answers_and_the_budget() -> None:
    """Of answers that fit into a datagram, those of some records are free, and costly ones are not."""
    budget = Budget(5000)

    async def asking(server: DnsServer) -> LookupStatus | int:
        reply = (await transport().within(budget).ask(server, NAME, dns.rdatatype.A)).reply
        return reply if isinstance(reply, LookupStatus) else len(read_addresses(reply).addresses)

    few, many = ([f"{NAME}. A 192.0.2.{last}" for last in range(1, count + 1)] for count in (10, 70))
    with FakeDns(says(*many)) as costly, FakeDns(says(*few)) as common:
        assert run(asking(costly.server)) is LookupStatus.BAD_RESPONSE
        assert [run(asking(common.server)) for _ in range(3)] == [10] * 3


def test_slot_is_given_back() -> None:
    """However a query ends, the next one has its place."""

    async def asking(fake: FakeDns) -> list[Reply]:
        single = transport(timeout_seconds=IMPATIENT_SECONDS, max_in_flight=1)
        return [(await single.ask(fake.server, NAME, SRV)).reply for _ in range(3)]

    with FakeDns(with_id(lambda query: b"junk"), silence, with_id(lambda query: b"junk")) as fake:
        assert run(asking(fake)) == [
            LookupStatus.BAD_RESPONSE,
            LookupStatus.TIMEOUT,
            LookupStatus.BAD_RESPONSE,
        ]


# --- Anything at all


class Scripted:
    """A server whose next answer is set from outside, over UDP and TCP alike, and what reads it."""

    def __init__(self) -> None:
        self.make: Callable[[Query], bytes] = good
        self.fake = FakeDns(self._answer, tcp=streams(self._answer))

    def _answer(self, query: Query) -> Iterable[bytes]:
        return [query.id.to_bytes(2, "big") + self.make(query)[2:]]

    def classify(self, make: Callable[[Query], bytes], rdtype: dns.rdatatype.RdataType) -> LookupStatus:
        """Ask, read the reply in every way there is for it, and give the status."""
        self.make = make
        reply = ask(self.fake.server, rdtype)
        if isinstance(reply, LookupStatus):
            return reply
        read_authority(reply)
        if rdtype == SRV:
            lookup = read_srv(reply, duration_seconds=0, expected=frozenset(), known=frozenset(), limit=2)
            assert all(isinstance(a, str) for glue in lookup.glue.values() for a in glue.addresses)
            assert all(record.target.isascii() for record in lookup.records)
        elif rdtype == dns.rdatatype.NS:
            assert isinstance(reply, Answer)
            assert all(name.isascii() for name in read_name_servers(reply))
        elif rdtype in {dns.rdatatype.A, dns.rdatatype.AAAA}:
            addresses = read_addresses(reply)
            assert addresses.status is read_status(reply)
            assert all(isinstance(address, str) for address in addresses.addresses)
        return read_status(reply)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    """Start a server for all examples of a property."""
    scripted = Scripted()
    with scripted.fake:
        yield scripted


ANSWERS = {
    SRV: (
        f"{NAME}. 20 CNAME alias.contoso.com.",
        "alias.contoso.com. SRV 0 5 1688 kms1.contoso.com.",
        "alias.contoso.com. SRV 1 5 1688 kms2.contoso.com.",
    ),
    dns.rdatatype.A: (f"{NAME}. CNAME kms1.contoso.com.", "kms1.contoso.com. A 192.0.2.1"),
    dns.rdatatype.AAAA: (f"{NAME}. AAAA 2001:db8::1", f"{NAME}. AAAA 2001:db8::2"),
    dns.rdatatype.NS: (f"{NAME}. NS ns1.contoso.com.", f"{NAME}. NS ns2.contoso.com."),
    dns.rdatatype.SOA: (f"{NAME}. SOA ns1.contoso.com. admin.contoso.com. 1 2 3 4 5",),
}
RDTYPES = st.sampled_from(list(ANSWERS))
EXAMPLES = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the watch over what is left open
)


def whole(query: Query) -> bytes:
    """Make a good answer with something in every section."""
    return respond(
        query,
        *ANSWERS[query.question[0].rdtype],
        authority=["contoso.com. NS ns1.contoso.com.", "contoso.com. SOA ns1.contoso.com. a.b. 1 2 3 4 5"],
        additional=[
            "kms1.contoso.com. A 192.0.2.1",
            "kms1.contoso.com. AAAA 2001:db8::1",
            "ns1.contoso.com. A 192.0.2.53",
        ],
    ).to_wire()


@given(junk=st.binary(max_size=600), rdtype=RDTYPES)
@EXAMPLES
def test_any_bytes(scripted: Scripted, junk: bytes, rdtype: dns.rdatatype.RdataType) -> None:
    """Whatever bytes come under our id, the lookup ends in a status."""
    status = scripted.classify(lambda query: b"\0\0" + junk, rdtype)
    assert status in LookupStatus
    assert status.answered


@given(flags=st.integers(0, 0xFFFF), rest=st.binary(max_size=300), rdtype=RDTYPES)
@EXAMPLES
def test_any_bytes_after_our_question(
    scripted: Scripted, flags: int, rest: bytes, rdtype: dns.rdatatype.RdataType
) -> None:
    """Whatever bytes follow our own question, the lookup ends in a status."""

    def make(query: Query) -> bytes:
        counts = rest[:6].ljust(6, b"\1").replace(b"\xff", b"\0")
        question = query.question[0]
        header = b"\0\0" + (flags | 0x8000).to_bytes(2, "big") + b"\0\1" + counts
        asked = dns.message.make_query(question.name, question.rdtype).to_wire()[12:]
        return header + asked + rest[6:]

    assert scripted.classify(make, rdtype).answered


@given(
    changes=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 1000) | st.none(),
    rdtype=RDTYPES,
)
@example(changes=[], cut=None, rdtype=SRV)
@EXAMPLES
def test_any_change_of_a_good_answer(
    scripted: Scripted, changes: list[tuple[int, int]], cut: int | None, rdtype: dns.rdatatype.RdataType
) -> None:
    """However a good answer is changed or cut on its way, the lookup ends in a status."""

    def make(query: Query) -> bytes:
        wire = bytearray(whole(query))
        for position, byte in changes:
            wire[position % len(wire)] = byte
        return bytes(wire[: None if cut is None else 2 + cut % len(wire)])

    status = scripted.classify(make, rdtype)
    assert status.answered
    assert changes or cut is not None or status is LookupStatus.OK


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_every_single_change_of_an_srv_answer(scripted: Scripted, flip: int) -> None:
    """Whichever byte of a good SRV answer is changed, the lookup ends in a status."""
    query = dns.message.make_query(NAME, SRV, payload=EDNS_PAYLOAD_BYTES)

    async def classify(position: int) -> Reply:
        def make(query: Query) -> bytes:
            wire = bytearray(whole(query))
            wire[position] ^= flip
            return bytes(wire)

        scripted.make = make
        return (await transport().ask(scripted.fake.server, NAME, SRV)).reply

    async def every_position() -> list[Reply]:
        return [await classify(position) for position in range(2, len(whole(query)))]

    for reply in run(every_position()):
        if isinstance(reply, Answer):
            read_authority(reply)
            assert read_srv(
                reply, duration_seconds=0, expected=frozenset(), known=frozenset(), limit=9
            ).status.answered
        else:
            assert reply is LookupStatus.BAD_RESPONSE
