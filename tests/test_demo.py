"""The embedded lab: its answers as tables without sockets, then the running lab over UDP, TCP and RPC."""

import asyncio
import contextlib
import importlib
import re
import socket
import uuid
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

from exporter.config import parse
from exporter.demo import Lab, binding
from exporter.demo.authority import MAX_UDP_BYTES, Zones, answer, load, respond
from exporter.demo.configuration import configuration
from exporter.demo.endpoints import endpoints
from exporter.demo.nameserver import PREFERRED_PORT, nameservers
from exporter.demo.situations import situations
from exporter.demo.sockets import Binding, accepting, bind_together, port_of
from exporter.demo.zones import (
    DNS_ADDRESS,
    ENDPOINTS,
    HUNG,
    MAIL,
    OTHER_SERVICE,
    SECOND_DNS_ADDRESS,
    UP,
    Behaviour,
    Schedule,
    Situation,
)
from exporter.model import Host, ProbeFailure
from exporter.names import SRV_PREFIX
from exporter.rpc import BIND, MAX_FRAGMENT_BYTES, judge

DEADLINE_SECONDS = 60.0
"""Only ends a test that would hang; nothing is concluded from how long anything takes."""

PORT = 1688
KMS_TEST = dns.name.from_text("kms.test")
SCHEDULE = Schedule(present_seconds=3, absent_seconds=2)
SITUATIONS = situations(port=PORT, schedule=SCHEDULE)
ZONES = load(SITUATIONS)
OLD_ZONES = load(SITUATIONS, elsewhere=True)
LAB_YML = Path(__file__).parents[1] / "deploy" / "lab.yml"

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
        ("_vlmcs._tcp.branch", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.weighted", "SRV", NOERROR, 3),
        ("_vlmcs._tcp.alias", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.disagreeing", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.rogue", "SRV", NOERROR, 2),
        ("_vlmcs._tcp.missing", "SRV", NOERROR, 1),
        ("kms2.missing", "A", NOERROR, 1),
        ("_vlmcs._tcp.mak", "SRV", NXDOMAIN, 0),
        ("_vlmcs._tcp.othersvc", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.banner", "SRV", NOERROR, 1),
        ("_vlmcs._tcp.hung", "SRV", NOERROR, 1),
        ("kms.alias", "CNAME", NOERROR, 1),
        ("healthy", "SOA", NOERROR, 1),
        ("healthy", "NS", NOERROR, 2),
        ("kms.partly", "A", NOERROR, 2),
        ("ns1.nxdomain", "A", NOERROR, 1),
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
        ("alias", set[str]()),  # a server gives no addresses of an alias here
        ("declined", set[str]()),
    ],
)
def test_glue(zone: str, glue: set[str]) -> None:
    """The addresses of targets come along for targets of the same zone only."""
    response = decided(srv_query(zone))
    assert {rrset.name.relativize(KMS_TEST).to_text() for rrset in response.additional} == glue


def test_name_servers_have_addresses() -> None:
    """The NS records of a zone come with the addresses that answer."""
    response = decided(dns.message.make_query("healthy.kms.test", "NS"))
    addresses = [rdata.address for glue in response.additional for rdata in glue]
    assert addresses == [DNS_ADDRESS, SECOND_DNS_ADDRESS]


ALIASES = load(
    [
        Situation(
            zone="aliases.kms.test",
            summary="",
            records=(
                "one CNAME two",
                "two CNAME host",
                "host A 127.0.0.1",
                "out CNAME host.example.com.",
                "gone CNAME nobody",
                "round CNAME about",
                "about CNAME round",
            ),
        )
    ]
)


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "answers", "negative"),
    [
        ("one", "A", NOERROR, ["one CNAME", "two CNAME", "host A"], False),
        ("two", "A", NOERROR, ["two CNAME", "host A"], False),
        ("one", "CNAME", NOERROR, ["one CNAME"], False),
        ("host", "CNAME", NOERROR, [], True),
        ("one", "AAAA", NOERROR, ["one CNAME", "two CNAME"], True),
        ("out", "A", NOERROR, ["out CNAME"], False),
        ("gone", "A", NXDOMAIN, ["gone CNAME"], True),  # the code of the last name (RFC 6604, 3)
        ("round", "A", NOERROR, ["round CNAME", "about CNAME"], True),
    ],
)
def test_aliases(name: str, rdtype: str, rcode: dns.rcode.Rcode, answers: list[str], negative: bool) -> None:  # noqa: FBT001 - a column of the table
    """An alias is answered and followed within its zone; what is not there in the end is denied."""
    response = decided(dns.message.make_query(f"{name}.aliases.kms.test", rdtype), zones=ALIASES)
    assert response.rcode() == rcode
    assert response.flags & dns.flags.AA
    assert [f"{each.name.labels[0].decode()} {each.rdtype.name}" for each in response.answer] == answers
    assert [each.rdtype.name for each in response.authority] == ["SOA"] * negative


def test_second_server() -> None:
    """The second server still has another record in one zone, with an older serial; the rest is the same."""
    now_and_then = []
    for zones in (ZONES, OLD_ZONES):
        response = decided(srv_query("disagreeing"), zones=zones)
        assert response.flags & dns.flags.AA
        [target] = [record.target.labels[0] for record in response.answer[0]]
        [soa] = decided(dns.message.make_query("disagreeing.kms.test", "SOA"), zones=zones).answer
        now_and_then.append((target, soa[0].serial))
    assert now_and_then == [(b"kms-new", 2), (b"kms-old", 1)]
    assert set(OLD_ZONES) == set(ZONES)
    for name in ("healthy", "vanishing"):
        origin = dns.name.from_text(name, KMS_TEST)
        assert OLD_ZONES[origin] == ZONES[origin]


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


# The RPC bind

KMS_BIND = bytes.fromhex(
    "05000b0310000000 4800 0000 01000000"  # version 5.0, bind, whole, little-endian, 72 bytes, call 1
    "d016 d016 00000000 01000000"  # fragments of 5840 bytes, a new association, one context
    "0000 0100 7521c8514e845047b0d8ec255555bc06 0100 0000"  # the KMS interface 1.0 ...
    "045d888aeb1cc9119fe808002b104860 02000000"  # ... in NDR 2.0
)
ACCEPTED = bytes.fromhex(
    "05000c0310000000 3c00 0000 01000000 d016 d016 88160000 0500 3136383800 00 01000000"
    "0000 0000 045d888aeb1cc9119fe808002b104860 02000000"
)
REJECTED = bytes.fromhex(
    "05000c0310000000 3c00 0000 01000000 d016 d016 88160000 0500 3136383800 00 01000000"
    "0200 0100 00000000000000000000000000000000 00000000"
)
NDR64 = bytes.fromhex("33057171babe37498319b5dbef9ccc36 01000000")


def altered(offset: int, replacement: str) -> bytes:
    """Write other bytes, in hexadecimal, over part of the bind."""
    other = bytes.fromhex(replacement)
    return KMS_BIND[:offset] + other + KMS_BIND[offset + len(other) :]


def test_bind_is_the_one_of_the_probe() -> None:
    """What the exporter sends is, byte for byte, what the answers are tested with."""
    assert KMS_BIND == BIND


@pytest.mark.parametrize(
    ("pdu", "interface", "expected"),
    [
        (KMS_BIND, binding.KMS, ACCEPTED),
        (KMS_BIND, binding.ENDPOINT_MAPPER, REJECTED),
        (altered(48, "0200"), binding.KMS, REJECTED),  # another major version
        (altered(52, NDR64.hex()), binding.KMS, REJECTED[:38] + b"\x02" + REJECTED[39:]),
        (altered(12, "78563412"), binding.KMS, ACCEPTED[:12] + b"\x78\x56\x34\x12" + ACCEPTED[16:]),
        (altered(3, "17"), binding.KMS, ACCEPTED),  # flags that offer more
        (altered(16, "b810 00ff"), binding.KMS, ACCEPTED[:16] + b"\xd0\x16\xb8\x10" + ACCEPTED[20:]),
        (altered(20, "07000000"), binding.KMS, ACCEPTED),  # an association of its own nevertheless
    ],
    ids=["known", "unknown", "version", "syntax", "call", "flags", "sizes", "association"],
)
def test_bind_answers(pdu: bytes, interface: binding.Syntax, expected: bytes) -> None:
    """A bind is accepted for a registered interface in NDR, in fragments that suit both sides."""
    assert binding.answer(pdu, {interface}, port=PORT) == expected


@pytest.mark.parametrize("port", [1, 80, 443, 1688, 49152])
def test_bind_answer_on_other_ports(port: int) -> None:
    """The answer tells the actual port, and stays readable whatever padding that takes."""
    response = binding.answer(BIND, {binding.KMS}, port=port)
    assert response is not None
    assert f"{port}\0".encode() in response
    assert judge(response) is None


def test_bind_with_several_contexts() -> None:
    """Every context of a bind has its own result, in order."""
    first = KMS_BIND[28:72]
    second = b"\x01\x00\x02\x00" + KMS_BIND[32:52] + NDR64 + KMS_BIND[52:72]
    third = b"\x02\x00\x01\x00" + KMS_BIND[32:52] + NDR64
    body = KMS_BIND[16:24] + b"\x03\x00\x00\x00" + first + second + third
    pdu = KMS_BIND[:8] + (16 + len(body)).to_bytes(2, "little") + KMS_BIND[10:16] + body
    response = binding.answer(pdu, {binding.KMS}, port=PORT)
    assert response is not None
    assert len(response) == int.from_bytes(response[8:10], "little") == 36 + 3 * 24
    assert response[32] == 3
    assert [response[at : at + 4] for at in (36, 60, 84)] == [bytes(4), bytes(4), b"\x02\x00\x02\x00"]


UNANSWERED = {
    "nothing": b"",
    "a request": altered(2, "00"),
    "a request of 24 bytes": bytes.fromhex("0500000310000000 1800 0000 01000000 00000000 0000 0000"),
    "an alter_context": altered(2, "0e"),
    "a bind_ack": ACCEPTED,
    "a shutdown": altered(2, "11"),
    "another version": altered(0, "04"),
    "big-endian": altered(4, "00"),
    "a first fragment of more": altered(3, "01"),
    "authentication": altered(10, "0800"),
    "a fragment that is too long": altered(8, "d116"),
    "a fragment shorter than a header": altered(8, "0f00"),
    "a header alone": altered(8, "1000")[:16],
    "no context": altered(24, "00"),
    "more contexts than there are": altered(24, "02"),
    "no transfer syntax": altered(30, "00"),
    "more transfer syntaxes than there are": altered(30, "ff"),
    "HTTP": b"GET / HTTP/1.1\r\nHost: kms\r\n\r\n",
}


@pytest.mark.parametrize("pdu", UNANSWERED.values(), ids=UNANSWERED.keys())
def test_unanswered_pdus(pdu: bytes) -> None:
    """Only a whole bind gets an answer: no other PDU, above all no request."""
    assert binding.answer(pdu, {binding.KMS}, port=PORT) is None


@pytest.mark.parametrize("pdu", [KMS_BIND[:-1], KMS_BIND + b"\0"], ids=["shorter", "longer"])
def test_bind_of_another_length(pdu: bytes) -> None:
    """A PDU is taken whole or not at all."""
    assert binding.answer(pdu, {binding.KMS}, port=PORT) is None


@settings(deadline=None)
@given(body=st.binary(max_size=200))
def test_bind_fuzz(body: bytes) -> None:
    """No bind whatever makes the endpoint fail, and no answer is longer than a fragment may be."""
    pdu = KMS_BIND[:8] + (16 + len(body)).to_bytes(2, "little") + KMS_BIND[10:16] + body
    response = binding.answer(pdu, {binding.KMS}, port=PORT)
    assert response is None or len(response) == int.from_bytes(response[8:10], "little")


def test_longest_bind() -> None:
    """The answer to as many contexts as fit into a bind fits into a fragment too."""
    contexts = (MAX_FRAGMENT_BYTES - 28) // 44
    body = KMS_BIND[16:24] + bytes((contexts, 0, 0, 0)) + contexts * KMS_BIND[28:72]
    pdu = KMS_BIND[:8] + (16 + len(body)).to_bytes(2, "little") + KMS_BIND[10:16] + body
    response = binding.answer(pdu, {binding.KMS}, port=PORT)
    assert response is not None
    assert len(response) == 36 + contexts * 24 < MAX_FRAGMENT_BYTES


# The running lab


def dns_port(lab: Lab) -> int:
    """Tell the port of a lab's DNS server, as its configuration does."""
    [server] = yaml.safe_load(lab.config_text)["dns"]["servers"]
    address, port = server.split(":")
    assert address == DNS_ADDRESS
    return int(port)


async def ask(
    lab: Lab, name: str, rdtype: str = "SRV", *, server: str = DNS_ADDRESS
) -> tuple[dns.message.Message, bool]:
    """Ask over UDP and, for a truncated answer, over TCP; tells which it was."""
    query = dns.message.make_query(name, rdtype)
    return await dns.asyncquery.udp_with_fallback(query, server, timeout=DEADLINE_SECONDS, port=dns_port(lab))


async def endpoints_of(lab: Lab, zone: str, *, server: str = DNS_ADDRESS) -> set[tuple[str, int]]:
    """Look a zone up as a client does: its records, then the addresses of their targets."""
    response, _ = await ask(lab, f"{SRV_PREFIX}{zone}.kms.test", server=server)
    found = set()
    for record in response.answer[0] if response.answer else ():
        addresses, _ = await ask(lab, record.target.to_text(), "A", server=server)
        found |= {
            (rdata.address, record.port)
            for rrset in addresses.answer
            if rrset.rdtype == dns.rdatatype.A
            for rdata in rrset
        }
    return found


async def connect(address: str, port: int, *, timeout_seconds: float = DEADLINE_SECONDS) -> str:
    """Connect and bind once, and say in a word how that ended."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(address, port)
    except (ConnectionRefusedError, TimeoutError) as error:
        return {ConnectionRefusedError: "refused", TimeoutError: "timeout"}[type(error)]
    writer.write(BIND)
    writer.write_eof()
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return judge(received) or "up" if received else "silence"


@pytest.mark.parametrize(
    ("zone", "outcomes"),
    [
        ("healthy", ["up", "up"]),
        ("amsterdam", ["up"]),
        ("berlin", ["up", "up"]),
        ("large", ["up"] * 4),
        ("partly", ["refused", "up"]),
        ("vanishing", ["up"]),
        ("branch", ["up"]),
        ("weighted", ["refused", "up", "up"]),
        ("alias", ["up"]),
        ("disagreeing", ["up"]),
        ("rogue", ["up", "up"]),
        ("missing", ["up"]),
        ("mak", []),
        ("degraded", ["refused", "up"]),
        ("closed", ["refused"]),
        ("stale", []),
        ("othersvc", [ProbeFailure.INTERFACE_UNKNOWN]),
        ("banner", [ProbeFailure.NOT_RPC]),
        ("hung", ["silence"]),
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


def test_second_server_over_the_network() -> None:
    """The second server is asked on the same port, and leads to the old host."""

    async def scenario() -> None:
        async with Lab() as lab:
            [old] = await endpoints_of(lab, "disagreeing", server=SECOND_DNS_ADDRESS)
            [new] = await endpoints_of(lab, "disagreeing")
            assert [await connect(*old), await connect(*new)] == ["refused", "up"]
            response, over_tcp = await ask(lab, f"{SRV_PREFIX}large.kms.test", server=SECOND_DNS_ADDRESS)
        assert over_tcp
        assert len(response.answer[0]) == 60

    run(scenario())


def test_missing_host_is_up() -> None:
    """The host that is expected but not published has an address where it is up."""

    async def scenario() -> None:
        async with Lab() as lab:
            [zone] = [zone for zone in parse(lab.config_text).zones if zone.name == "missing.kms.test"]
            [published] = await endpoints_of(lab, "missing")
            assert zone.expected is not None
            outcomes = {}
            for host in zone.expected:
                response, _ = await ask(lab, host.target, "A")
                endpoint = (response.answer[0][0].address, host.port)
                outcomes[host.target, endpoint == published] = await connect(*endpoint)
        assert outcomes == {("kms1.missing.kms.test", True): "up", ("kms2.missing.kms.test", False): "up"}

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
    """The configuration is valid, and has what is to be watched on the ports that the lab got."""

    async def scenario() -> None:
        async with Lab() as lab:
            config = parse(lab.config_text)
            text = yaml.safe_load(lab.config_text)
            port = config.hosts[0].port
            first, second = (f"{address}:{dns_port(lab)}" for address in (DNS_ADDRESS, SECOND_DNS_ADDRESS))
        unwatched = {situation.zone for situation in SITUATIONS if not situation.watched}
        assert unwatched == {"branch.kms.test"}
        assert [zone.name for zone in config.zones] == [z for z, _ in lab.describe() if z not in unwatched]
        assert text["dns"]["servers"] == [first]
        assert {z["name"]: z["dns_servers"] for z in text["zones"] if "dns_servers" in z} == {
            "disagreeing.kms.test": [first, second]
        }
        assert {z.name: z.expected for z in config.zones if z.expected is not None} == {
            "rogue.kms.test": (Host(target="kms1.rogue.kms.test", port=port),),
            "missing.kms.test": tuple(Host(target=f"kms{n}.missing.kms.test", port=port) for n in (1, 2)),
            "mak.kms.test": (),
        }
        assert text["interval"] == "10s"
        assert text["timeout"] == "2s"
        assert text["probe"] == {"networks": ["127.0.0.0/8"]}

    run(scenario())


def test_static_hosts() -> None:
    """A host that is up and one that is closed are each assigned by name and by address."""

    async def scenario() -> None:
        outcomes = []
        async with Lab() as lab:
            for host in parse(lab.config_text).hosts:
                address = host.target
                if not address[0].isdigit():
                    response, _ = await ask(lab, address, "A")
                    address = response.answer[0][0].address
                outcomes.append((address == host.target, await connect(address, host.port)))
        assert outcomes == [(False, "up"), (True, "up"), (False, "refused"), (True, "refused")]

    run(scenario())


def test_clients() -> None:
    """Each kind of client finds records at its second suffix: after no records, and after no answer."""

    async def scenario() -> None:
        async with Lab() as lab:
            clients = {client.name: client.suffixes for client in parse(lab.config_text).clients}
            for suffix in ("healthy.kms.test", "branch.kms.test"):
                response, _ = await ask(lab, f"{SRV_PREFIX}{suffix}")
                assert response.answer
        assert clients == {
            "roaming-laptop": ("nxdomain.kms.test", "healthy.kms.test"),
            "branch-workgroup": ("silent.kms.test", "branch.kms.test", "partly.kms.test"),
        }

    run(scenario())


def test_lab_yml() -> None:
    """The file for other commands is the configuration of a lab on its preferred ports."""
    text = LAB_YML.read_bytes()
    lab = configuration(SITUATIONS, port=PORT, dns_port=PREFERRED_PORT)
    assert text.startswith(b"# The lab of `kms-exporter demo`")
    assert yaml.safe_load(text) == yaml.safe_load(lab)
    assert parse(text) == parse(lab.encode())


def test_descriptions() -> None:
    """Every zone is described in one line of its own, whether or not the lab runs."""
    descriptions = dict(Lab().describe())
    assert len(set(descriptions.values())) == len(descriptions) == len(ZONES)
    assert all(text and "\n" not in text for text in descriptions.values())


def test_endpoints_are_used() -> None:
    """Every behaviour has an endpoint, and every endpoint a zone that leads there."""
    records = " ".join(record for situation in SITUATIONS for record in situation.records)
    assert set(re.findall(r" A (127\.[0-9.]+)", records)) == set(ENDPOINTS)
    assert set(ENDPOINTS.values()) == set(Behaviour)


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


# The endpoints

TALKATIVE = {UP[0]: "", OTHER_SERVICE: "", HUNG: "", MAIL: "220 mail.kms.test ESMTP\r\n"}
"""What an endpoint says of its own accord, by address."""


@pytest.mark.parametrize(("address", "said"), TALKATIVE.items())
@pytest.mark.parametrize(
    "sent",
    [b"", b"a", b"anybody here?", BIND[:-1], bytes(1_000_000)],
    ids=["nothing", "a byte", "words", "most of a bind", "a megabyte"],
)
def test_endpoint_ends_connections(address: str, said: str, sent: bytes) -> None:
    """An endpoint says no more to those who do not bind, and closes when they do or have sent too much."""

    async def scenario() -> None:
        async with endpoints(ENDPOINTS) as port, connected(address, port) as (reader, writer):
            assert await reader.readexactly(len(said)) == said.encode()
            writer.write(sent)
            if len(sent) < len(BIND):
                writer.write_eof()
            assert await ended(reader)

    run(scenario())


@pytest.mark.parametrize(("address", "accepted"), [(UP[0], True), (OTHER_SERVICE, False)])
@pytest.mark.parametrize("more", [*UNANSWERED.values(), BIND], ids=[*UNANSWERED, "another bind"])
def test_nothing_follows_a_bind(address: str, accepted: bool, more: bytes) -> None:  # noqa: FBT001 - a column of the table
    """After its answer to one bind an endpoint takes nothing, above all no request, but the end."""

    async def scenario() -> None:
        async with endpoints(ENDPOINTS) as port, connected(address, port) as (reader, writer):
            writer.write(BIND)
            assert (judge(await reader.readexactly(60)) is None) == accepted
            writer.write(more)
            if not more:
                writer.write_eof()
            assert await ended(reader)

    run(scenario())


@pytest.mark.parametrize("address", [UP[0], OTHER_SERVICE])
@pytest.mark.parametrize(
    "pdu", [pdu for pdu in UNANSWERED.values() if pdu], ids=[name for name, pdu in UNANSWERED.items() if pdu]
)
def test_no_answer_but_to_a_bind(address: str, pdu: bytes) -> None:
    """An endpoint ends the connection on which anything but a bind is sent, a request above all."""

    async def scenario() -> None:
        async with endpoints(ENDPOINTS) as port, connected(address, port) as (reader, writer):
            writer.write(pdu)
            assert await ended(reader)

    run(scenario())


def test_bind_in_pieces() -> None:
    """A bind is answered however TCP cuts it up."""

    async def scenario() -> None:
        async with endpoints(ENDPOINTS) as port, connected(UP[0], port) as (reader, writer):
            for byte in BIND:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            assert judge(await reader.readexactly(60)) is None

    run(scenario())


def test_hung_endpoint_keeps_the_connection() -> None:
    """A hung endpoint still holds the connection with a bind while another one is answered elsewhere."""

    async def scenario() -> None:
        async with endpoints(ENDPOINTS) as port, connected(HUNG, port) as (reader, writer):
            writer.write(BIND)
            assert await connect(UP[0], port) == "up"
            assert not reader.at_eof()
            writer.write_eof()
            assert await ended(reader)

    run(scenario())


@pytest.mark.parametrize("address", [UP[0], OTHER_SERVICE, HUNG, MAIL])
def test_endpoint_does_not_wait_for_ever(address: str) -> None:
    """An endpoint ends the connection of a client that stalls in the middle of a bind."""

    async def scenario() -> None:
        async with (
            endpoints(ENDPOINTS, hold_seconds=0.3) as port,
            connected(address, port) as (reader, writer),
        ):
            writer.write(BIND[:20])
            assert (await reader.read()).decode() == TALKATIVE[address]

    run(scenario())


def bind_with_impacket(address: str, port: int, interface: uuid.UUID, version: str) -> str:
    """Bind with an RPC client that is not ours; gives its complaint, if it has one."""
    impacket = importlib.import_module("impacket.dcerpc.v5.transport")
    transport = impacket.DCERPCTransportFactory(f"ncacn_ip_tcp:{address}[{port}]")
    transport.set_connect_timeout(DEADLINE_SECONDS)
    client = transport.get_dce_rpc()
    client.connect()
    try:
        client.bind(importlib.import_module("impacket.uuid").uuidtup_to_bin((str(interface), version)))
    except impacket.DCERPCException as error:
        return str(error)
    finally:
        client.disconnect()
    return ""


@pytest.mark.parametrize(
    ("address", "syntax", "complaint"),
    [
        (UP[0], binding.KMS, ""),
        (UP[0], binding.ENDPOINT_MAPPER, "abstract_syntax_not_supported"),
        (OTHER_SERVICE, binding.ENDPOINT_MAPPER, ""),
        (OTHER_SERVICE, binding.KMS, "abstract_syntax_not_supported"),
    ],
)
def test_bind_by_another_client(address: str, syntax: binding.Syntax, complaint: str) -> None:
    """An RPC client that is not ours can bind, to the service that is there and to no other."""

    async def scenario() -> None:
        async with endpoints(ENDPOINTS) as port:
            version = f"{syntax.major}.{syntax.minor}"
            said = await asyncio.to_thread(bind_with_impacket, address, port, syntax.uuid, version)
        assert (complaint in said) if complaint else not said

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
            nameservers({DNS_ADDRESS: ZONES}, now, idle_seconds=0.3) as port,
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
        async with (
            nameservers({DNS_ADDRESS: ZONES}, now) as port,
            connected(DNS_ADDRESS, port) as (reader, writer),
        ):
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
        async with nameservers(
            {DNS_ADDRESS: ZONES}, now, idle_seconds=DEADLINE_SECONDS, max_connections=1
        ) as port:
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
        async with (
            nameservers({DNS_ADDRESS: ZONES}, faulty) as port,
            connected(DNS_ADDRESS, port) as (reader, writer),
        ):
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
