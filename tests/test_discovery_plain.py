"""Tests of the reader for plain answers: it says what dnspython does or nothing; real servers are plain."""

import itertools
import struct
from collections import Counter
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from exporter.discovery.answers import read_srv
from exporter.discovery.plain import PlainAnswer, PlainReader, read_plain
from exporter.discovery.published import Authority
from exporter.discovery.walk import MOST_LABELS, MOST_RECORDS
from exporter.discovery.wire import examine
from exporter.model import AddressLookup, Family, LookupStatus, Record, SrvLookup
from tests.fake_dns import DEADLINE_SECONDS, Query, respond
from tests.fuzz.dns_answers import compare
from tests.services import LOOPBACK, Lab, Named, srv, zone_file

ZONE = "contoso.com."
NAME = f"_vlmcs._tcp.{ZONE}"
HOST = f"kms1.{ZONE}"
SOA = f"{ZONE} 3600 SOA ns1.{ZONE} admin.{ZONE} 2024010101 900 600 86400 60"
KMS1, KMS2 = (f"{NAME} SRV 0 0 1688 kms{number}.{ZONE}" for number in (1, 2))
GLUE1, GLUE2 = (f"kms{number}.{ZONE} A 192.0.2.{number}" for number in (1, 2))
IPV4, IPV6 = Family.IPV4, Family.IPV6
NXDOMAIN = dns.rcode.NXDOMAIN
KEY = ("192.0.2.53", NAME, "SRV")


def ask(name: str = NAME, rdtype: str = "SRV", **options: Any) -> Query:
    """Make a query as the exporter sends it."""
    return dns.message.make_query(name, rdtype, **{"payload": 1232, "id": 7, **options})


def answer(*records: str, query: Query | None = None, **options: Any) -> bytes:
    """Make an answer as it comes from a server, whatever it is an answer to."""
    return respond(query or ask(), *records, **options).to_wire(max_size=65535)


def read(wire: bytes, query: Query | None = None, **options: Any) -> PlainAnswer | None:
    """Read an answer to a query as it was sent."""
    return read_plain(wire, (query or ask()).to_wire(), **options)


def lookup(plain: PlainAnswer | None) -> SrvLookup:
    """Make the result of a lookup of a plain answer."""
    assert plain is not None
    return read_srv(plain, duration_seconds=0.25, expected=frozenset(), known=frozenset(), limit=64)


def check(wire: bytes, query: Query) -> bool:
    """Hold the reader to what dnspython reads; tells whether the answer is plain."""
    plain = read_plain(wire, query.to_wire())
    if plain is None:
        return False
    parsed = dns.message.from_wire(examine(wire).wire)
    assert isinstance(parsed, Query)
    assert query.is_response(parsed)
    compare(plain, parsed)
    return True


# --- What plain answers say


def test_records() -> None:
    """The records of an SRV answer, their TTL and their glue are all there."""
    wire = answer(
        f"{NAME} 60 SRV 1 2 1688 KMS1.{ZONE}",
        f"{NAME} 30 SRV 3 4 0 kms2.{ZONE}",
        additional=[f"kms1.{ZONE} 20 A 192.0.2.1", f"kms1.{ZONE} 10 AAAA 2001:db8::1", f"{ZONE} A 192.0.2.9"],
    )
    plain = read(wire)
    found = lookup(plain)
    assert plain is not None
    assert (plain.status, plain.rcode, plain.authoritative, plain.answers) == ("ok", 0, True, 2)
    assert found.records == (Record(priority=1, weight=2, port=1688, target="kms1.contoso.com"),)
    assert found.portless == (Record(priority=3, weight=4, port=0, target="kms2.contoso.com"),)
    assert (found.record_count, found.ttl_seconds, found.soa_serial) == (2, 30, None)
    assert found.glue == {
        ("kms1.contoso.com", IPV4): AddressLookup(
            status=LookupStatus.OK, addresses=("192.0.2.1",), ttl_seconds=20
        ),
        ("kms1.contoso.com", IPV6): AddressLookup(
            status=LookupStatus.OK, addresses=("2001:db8::1",), ttl_seconds=10
        ),
    }


@pytest.mark.parametrize(
    ("rdtype", "records", "addresses"),
    [
        ("A", ["192.0.2.10", "192.0.2.2"], ("192.0.2.10", "192.0.2.2")),
        ("AAAA", ["2001:0DB8::0:1"], ("2001:db8::1",)),
        ("AAAA", ["::ffff:192.0.2.1", "::1"], ("::1", "::ffff:192.0.2.1")),
    ],
)
def test_addresses(rdtype: str, records: list[str], addresses: tuple[str, ...]) -> None:
    """The addresses of a host come sorted, in canonical form, with the smallest TTL."""
    query = ask(HOST, rdtype)
    lines = (f"{HOST} {ttl} {rdtype} {address}" for ttl, address in enumerate(records, 5))
    plain = read(answer(*lines, query=query), query)
    assert plain is not None
    assert plain.addresses == AddressLookup(status=LookupStatus.OK, addresses=addresses, ttl_seconds=5)


@pytest.mark.parametrize(
    ("name", "rdtype"), [(NAME, "SRV"), (HOST, "A"), (HOST, "AAAA"), (f"emea.{ZONE}", "SOA")]
)
@pytest.mark.parametrize(("rcode", "status"), [(0, "nodata"), (3, "nxdomain")])
def test_nothing(name: str, rdtype: str, rcode: int, status: str) -> None:
    """That there is nothing comes with its reason, its TTL and the zone that says so."""
    query = ask(name, rdtype)
    plain = read(answer(query=query, authority=[SOA], rcode=dns.rcode.Rcode(rcode)), query)
    assert plain is not None
    assert (plain.status, plain.rcode, plain.answers) == (status, rcode, 0)
    assert plain.authority == Authority("contoso.com", 2024010101)
    assert plain.published is None
    assert plain.addresses is None or plain.addresses == AddressLookup(
        status=LookupStatus(status), ttl_seconds=60
    )


def test_soa_record() -> None:
    """A zone's own SOA record is the answer about its serial."""
    query = ask(ZONE, "SOA")
    plain = read(answer(SOA, query=query), query)
    assert plain is not None
    assert (plain.status, plain.authority) == ("ok", Authority("contoso.com", 2024010101))


# --- What is plain, and what is not


@pytest.mark.parametrize(
    ("records", "options"),
    [
        pytest.param([KMS1, KMS2], {}, id="records"),
        pytest.param([KMS1], {"additional": [GLUE1]}, id="glue"),
        pytest.param([KMS1], {"authority": [f"{ZONE} NS ns1.{ZONE}"]}, id="name servers"),
        pytest.param([KMS1], {"authority": [SOA]}, id="SOA"),
        pytest.param([KMS1], {"flags": dns.flags.RA}, id="from a cache"),
        pytest.param([KMS1], {"flags": dns.flags.AA | dns.flags.AD | dns.flags.CD}, id="other flags"),
        pytest.param([KMS1.upper()], {}, id="upper case"),
        pytest.param([f"{NAME} SRV 0 0 0 ."], {}, id="not available"),
        pytest.param([f"{NAME} 0 SRV 0 0 1688 {HOST}"], {}, id="TTL 0"),
        pytest.param([f"{NAME} 2147483647 SRV 0 0 1688 {HOST}"], {}, id="longest TTL"),
        pytest.param([], {"authority": [SOA, f"{ZONE} NS ns1.{ZONE}"]}, id="NODATA with name servers"),
        pytest.param([], {"authority": [SOA.replace(ZONE, ".", 1)], "rcode": NXDOMAIN}, id="root"),
        pytest.param([f"{NAME} SRV 0 0 1688 {'a.' * MOST_LABELS}"], {}, id="most labels"),
        pytest.param([f"{NAME} SRV {n} 0 1688 a." for n in range(44)], {}, id="as many as fit"),
    ],
)
def test_plain(records: list[str], options: dict[str, Any]) -> None:
    """What servers send every day is plain, and means what dnspython makes of it."""
    assert check(answer(*records, **options), ask())


@pytest.mark.parametrize(
    ("records", "options"),
    [
        pytest.param([], {}, id="nothing at all"),
        pytest.param([], {"rcode": NXDOMAIN}, id="NXDOMAIN without SOA"),
        pytest.param([], {"authority": [f"{ZONE} NS ns1.{ZONE}"]}, id="referral"),
        pytest.param([], {"authority": [SOA.replace(ZONE, "fabrikam.com.", 1)]}, id="foreign SOA"),
        pytest.param([], {"authority": [SOA.replace(ZONE, "oso.com.", 1)]}, id="SOA of half a label"),
        pytest.param([KMS1], {"rcode": NXDOMAIN, "authority": [SOA]}, id="NXDOMAIN with records"),
        pytest.param([KMS1], {"rcode": dns.rcode.SERVFAIL}, id="SERVFAIL"),
        pytest.param([KMS1], {"rcode": dns.rcode.REFUSED}, id="REFUSED"),
        pytest.param([KMS1], {"rcode": dns.rcode.BADVERS}, id="extended code"),
        pytest.param([KMS1], {"flags": dns.flags.TC}, id="cut"),
        pytest.param([f"{NAME} CNAME {HOST}"], {"authority": [SOA]}, id="alias"),
        pytest.param([KMS1, f"{NAME} A 192.0.2.1"], {}, id="another type"),
        pytest.param([KMS1, f"other.{KMS1}"], {}, id="another name"),
        pytest.param([KMS1, f"{NAME} CH TXT kms"], {}, id="another class"),
        pytest.param([KMS1], {"authority": [GLUE1]}, id="address as authority"),
        pytest.param([KMS1], {"additional": [f"{HOST} TXT kms"]}, id="text as glue"),
        pytest.param([KMS1], {"additional": [f"{HOST} CNAME {ZONE}"]}, id="alias as glue"),
        pytest.param([KMS1], {"additional": [f"{HOST} CH A a. 1"]}, id="glue of another class"),
        pytest.param([f"{NAME} SRV 0 0 1688 kms\\0461.{ZONE}"], {}, id="dot in a label"),
        pytest.param([f"{NAME} SRV 0 0 1688 kms\\2551.{ZONE}"], {}, id="odd byte"),
        pytest.param([f"{NAME} SRV 0 0 1688 {'a.' * (MOST_LABELS + 1)}"], {}, id="more labels"),
        pytest.param([f"{NAME} SRV {n} 0 1688 {'a' * 40}." for n in range(30)], {}, id="long"),
    ],
)
def test_not_plain(records: list[str], options: dict[str, Any]) -> None:
    """What is unusual is left to dnspython, be it right or wrong."""
    assert read(answer(*records, **options)) is None


OPTION = struct.pack("!HHH", 10, 2, 0)
OPT = struct.pack("!BHHIH", 0, 41, 1232, 0, 0)


def records(*, additional: int) -> bytes:
    """Make an answer with one record, without EDNS, that announces so many additional ones."""
    wire = answer(KMS1, query=ask(use_edns=False))
    return wire[:10] + struct.pack("!H", additional) + wire[12:]


RECORD_AT = len(ask(use_edns=False).to_wire())
ONE = records(additional=0)


def patched(at: int, data: bytes) -> bytes:
    """Make an answer with one record in which some bytes are others."""
    return ONE[:at] + data + ONE[at + len(data) :]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(ONE, id="as it is"),
        pytest.param(records(additional=1) + OPT, id="EDNS"),
        pytest.param(records(additional=1) + OPT.replace(b"\4\xd0", b"\xff\xff"), id="any payload"),
        pytest.param(records(additional=1) + OPT[:-4] + b"\x80\0\0\0", id="flags of EDNS"),
        pytest.param(patched(RECORD_AT, b"\xc0\x0c"), id="pointer to the question"),
        pytest.param(patched(12, b"\6_VLMCS\4_TCP"), id="question in another case"),
    ],
)
def test_plain_bytes(wire: bytes) -> None:
    """What may be said in more than one way is plain in each."""
    assert check(wire, ask())


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"", id="no bytes"),
        pytest.param(patched(0, b"\0\x08"), id="another id"),
        pytest.param(patched(2, b"\4\0"), id="query"),
        pytest.param(patched(2, b"\xa4\0"), id="another opcode"),
        pytest.param(patched(4, b"\0\0"), id="no question"),
        pytest.param(patched(4, b"\0\2"), id="two questions"),
        pytest.param(patched(6, b"\0\2"), id="a record less than announced"),
        pytest.param(patched(6, b"\0\0"), id="a record more than announced"),
        pytest.param(patched(13, b"x"), id="another name asked"),
        pytest.param(patched(RECORD_AT - 4, b"\0\1"), id="another type asked"),
        pytest.param(patched(RECORD_AT - 2, b"\0\3"), id="another class asked"),
        pytest.param(patched(RECORD_AT + 6, b"\x80\0\0\0"), id="TTL with the highest bit"),
        pytest.param(patched(RECORD_AT, b"\xc0\x02"), id="pointer into the header"),
        pytest.param(patched(RECORD_AT, struct.pack("!H", 0xC000 | RECORD_AT)), id="pointer to itself"),
        pytest.param(patched(RECORD_AT, b"\xc0\xff"), id="pointer forward"),
        pytest.param(patched(RECORD_AT, b"\xc0\x0d"), id="pointer into a label"),
        pytest.param(patched(RECORD_AT, b"\x80\x0c"), id="label type that is none"),
        pytest.param(patched(RECORD_AT + 10, b"\0\x19"), id="data too long"),
        pytest.param(patched(RECORD_AT + 10, b"\0\x17"), id="data too short"),
        pytest.param(ONE[:-1], id="a byte less"),
        pytest.param(ONE + b"\0", id="a byte more"),
        pytest.param(records(additional=2) + OPT * 2, id="EDNS twice"),
        pytest.param(records(additional=1) + OPT[:-2] + b"\0\6" + OPTION, id="option of EDNS"),
        pytest.param(records(additional=1) + OPT[:5] + b"\0\1\0\0\0\0", id="version of EDNS"),
        pytest.param(records(additional=1) + OPT[:5] + b"\1\0\0\0\0\0", id="extended code"),
        pytest.param(records(additional=1) + OPT[:2] + b"\x28" + OPT[3:], id="root without EDNS"),
    ],
)
def test_not_plain_bytes(wire: bytes) -> None:
    """What is malformed, or is no answer to the query, is not plain."""
    assert read(wire) is None


@pytest.mark.parametrize(("length", "plain"), [(4, True), (5, False)])
def test_pointers_in_a_row(length: int, *, plain: bool) -> None:
    """Names that lead from one to the next are plain for a few steps only."""
    wire = answer(query=ask(use_edns=False))
    at, suffix, body = len(wire), 0x0C, b""
    for number in range(length):
        target = bytes([1, 97 + number]) + struct.pack("!H", 0xC000 | suffix)
        body += b"\xc0\x0c" + struct.pack("!HHIH", 33, 1, 60, 6 + len(target)) + bytes(4) + b"\6\x98" + target
        suffix = at + len(body) - len(target)
    wire = wire[:6] + struct.pack("!HHH", length, 0, 0) + wire[12:] + body
    assert check(wire, ask()) is plain


IN_QUESTION = b"\xc0\x18"
"""A pointer to contoso.com in the question."""
QUESTION_END = struct.pack("!H", 0xC000 | RECORD_AT - 5)
"""A pointer to the root at the end of the question's name."""
ADDRESS = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)
TIMED_GLUE = IN_QUESTION + b"\0\1\0\1\0\0\0%c\0\4\n\0\0\0"
"""An address of contoso.com with a TTL that is to be put in."""
LONGEST = b"".join(bytes([size]) + b"a" * size for size in (63, 63, 63, 61)) + b"\0"


def raw(rdtype: int, data: bytes, *, owner: bytes = b"\xc0\x0c") -> bytes:
    """Make the bytes of a record."""
    return owner + struct.pack("!HHIH", rdtype, 1, 60, len(data)) + data


def target(name: bytes) -> bytes:
    """Make the bytes of an SRV record."""
    return raw(33, struct.pack("!HHH", 0, 0, 1688) + name)


def soa(numbers: bytes = bytes(20)) -> bytes:
    """Make the bytes of the zone's SOA record."""
    return raw(6, b"\2ns" + IN_QUESTION + IN_QUESTION + numbers, owner=IN_QUESTION)


@pytest.mark.parametrize(
    ("sections", "plain"),
    [
        pytest.param(
            ([target(b"\4kms1" + IN_QUESTION)], [], []), True, id="target that ends in the question"
        ),
        pytest.param(([target(b"\4kms1" + QUESTION_END)], [], []), False, id="target that ends in the root"),
        pytest.param(([target(QUESTION_END)], [], []), False, id="root by pointer"),
        pytest.param(([target(b"\xc0\0")], [], []), False, id="root by pointer to the id"),
        pytest.param(([target(LONGEST)], [], []), True, id="longest name"),
        pytest.param(([target(IN_QUESTION)], [], [TIMED_GLUE % 9, TIMED_GLUE % 7]), True, id="TTLs of glue"),
        pytest.param(([target(b"\x3e" + b"a" * 62 + LONGEST[64:])], [], []), True, id="a byte less"),
        pytest.param(([target(LONGEST[:-1] + b"\1a\0")], [], []), False, id="longer name"),
        pytest.param(([target(b"\4kms1" + IN_QUESTION + b"\0")], [], []), False, id="byte behind a target"),
        pytest.param(([raw(33, bytes(6))], [], []), False, id="no target"),
        pytest.param(([ADDRESS], [], []), False, id="address of the name itself"),
        pytest.param(([], [soa()], []), True, id="SOA"),
        pytest.param(([], [soa(bytes(21))], []), False, id="byte behind an SOA record"),
        pytest.param(([], [soa(), soa()], []), False, id="SOA twice"),
        pytest.param(([], [soa(), raw(2, IN_QUESTION)], []), True, id="name server"),
        pytest.param(([], [soa(), raw(2, IN_QUESTION + b"\0")], []), False, id="byte behind a name server"),
        pytest.param(([], [soa()], [ADDRESS]), True, id="address"),
        pytest.param(([], [soa()], [raw(1, bytes(5))]), False, id="address of five bytes"),
        pytest.param(([], [soa()], [raw(28, bytes(4))]), False, id="IPv6 address of four bytes"),
        pytest.param(([], [soa()], [OPT[:-2] + b"\0\x10", ADDRESS]), False, id="option like a record"),
    ],
)
def test_records_in_bytes(sections: tuple[list[bytes], ...], *, plain: bool) -> None:
    """A record is plain only when nothing is behind its data, and its names are written as encoders do."""
    counts = struct.pack("!HHH", *map(len, sections))
    wire = ONE[:6] + counts + ONE[12:RECORD_AT] + b"".join(itertools.chain(*sections))
    assert check(wire, ask()) is plain


@pytest.mark.parametrize(("count", "plain"), [(MOST_RECORDS, True), (MOST_RECORDS + 1, False)])
def test_most_records(count: int, *, plain: bool) -> None:
    """An answer is plain up to a number of records, be there room for more or not."""
    query = ask(HOST, "A", use_edns=False, payload=None)
    addresses = (f"{HOST} A 192.0.2.{number}" for number in range(count))
    assert check(answer(*addresses, query=query), query) is plain


def test_other_class() -> None:
    """An answer to a question in another class is never plain."""
    query = ask(rdclass="CH")
    assert read(answer(authority=[SOA], query=query), query) is None


def test_only_questions_that_are_known() -> None:
    """An answer to a question that the reader does not know is never plain."""
    query = ask(ZONE, "NS")
    assert read(answer(f"{ZONE} NS ns1.{ZONE}", query=query), query) is None
    assert read(answer(authority=[SOA], query=query), query) is None


# --- The oracle: whatever is plain means what dnspython makes of it

NAMES = (NAME, ZONE, HOST, f"kms2.{ZONE}", f"ns1.{ZONE}", "com.", ".", "kms.fabrikam.com.", f"a_1.b.{HOST}")
TYPES = {"SRV": 33, "A": 1, "AAAA": 28, "SOA": 6}
TTLS = st.sampled_from([0, 1, 60, 3600, 2**31 - 1])


class Writer:
    """Writes a message, and says each name in a way that was drawn."""

    def __init__(self, draw: st.DrawFn, head: bytes) -> None:
        self._draw = draw
        self._places = dict[str, int]()
        self.wire = head

    def write(self, data: bytes) -> None:
        """Write bytes."""
        self.wire += data

    def name(self, name: str) -> None:
        """Write a name, with upper case or not, in full or with a pointer to where it or its end stands."""
        compress, upper = self._draw(st.booleans()), self._draw(st.integers(0, 4)) == 0
        rest = name.rstrip(".")
        while rest:
            if compress and rest in self._places:
                self.write(struct.pack("!H", 0xC000 | self._places[rest]))
                return
            self._places.setdefault(rest, len(self.wire))
            label, _, rest = rest.partition(".")
            self.write(bytes([len(label)]) + (label.upper() if upper else label).encode())
        self.write(b"\0")

    def record(self, owner: str, rdtype: str) -> None:
        """Write a record with data that were drawn."""
        self.name(owner)
        self.write(struct.pack("!HHIH", dns.rdatatype.from_text(rdtype), 1, self._draw(TTLS), 0))
        start = len(self.wire)
        self._data(rdtype)
        size = struct.pack("!H", len(self.wire) - start)
        self.wire = self.wire[: start - 2] + size + self.wire[start:]

    def _data(self, rdtype: str) -> None:
        small = st.integers(0, 2)
        if rdtype in {"A", "AAAA"}:
            size = 4 if rdtype == "A" else 16
            self.write(
                self._draw(st.sampled_from([bytes(size), bytes(size - 1) + b"\1", b"\x20\1" * (size // 2)]))
            )
            return
        if rdtype == "SRV":
            port = self._draw(st.sampled_from([0, 1688, 1688]))
            self.write(struct.pack("!HHH", self._draw(small), self._draw(small), port))
        for _ in range(2 if rdtype == "SOA" else 1):
            self.name(self._draw(st.sampled_from(NAMES)))
        if rdtype == "SOA":
            self.write(struct.pack("!IIIII", self._draw(small), 900, 600, 86400, self._draw(TTLS)))


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, Query]:
    """Draw a query and what may be an answer to it, most of which is as in plain ones."""
    rdtype = draw(st.sampled_from(["SRV", "SRV", "SRV", "A", "AAAA", "SOA"]))
    name = {"SRV": NAME, "SOA": ZONE}.get(rdtype, HOST)
    query = ask(name, rdtype)
    others = st.tuples(st.sampled_from(NAMES), st.sampled_from(["CNAME", "A", "SRV", "NS", "SOA"]))
    odd = draw(st.integers(0, 5)) == 0
    own = [(name, rdtype)] * draw(st.integers(0, 1 if rdtype == "SOA" else 5))
    authority = draw(st.sampled_from([[], [], [(ZONE, "NS")], [(ZONE, "SOA")], [(".", "SOA"), (ZONE, "NS")]]))
    glue = st.tuples(st.sampled_from([HOST, f"kms2.{ZONE}", f"ns1.{ZONE}"]), st.sampled_from(["A", "AAAA"]))
    additional = draw(st.lists(glue, max_size=4))
    sections = [own, authority, additional]
    if odd:
        sections[draw(st.integers(0, 2))].insert(0, draw(others))
    edns = draw(st.booleans())
    flags = 0x8000 | draw(st.sampled_from([0x0400, 0x0180])) | draw(st.sampled_from([0, 0, 0, 3]))
    counts = (len(own), len(authority), len(additional) + edns)
    writer = Writer(draw, struct.pack("!HHHHHH", query.id, flags, 1, *counts))
    writer.name(name)
    writer.write(struct.pack("!HH", TYPES[rdtype], 1))
    for section in sections:
        for owner, each in section:
            writer.record(owner, each)
    writer.write(OPT if edns else b"")
    return writer.wire, query


DAMAGES = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=3)


@settings(max_examples=400)
@given(answers(), DAMAGES)
def test_as_dnspython(drawn: tuple[bytes, Query], damages: list[tuple[int, int]]) -> None:
    """However an answer is put together, and whatever happens to its bytes, plain is what dnspython reads."""
    wire, query = drawn
    for place, byte in damages:
        at = place % len(wire)
        wire = wire[:at] + bytes([byte]) + wire[at + 1 :]
    event(f"plain: {check(wire, query)}")


def test_oracle_sees_both() -> None:
    """Of the answers that are held to dnspython many are plain, and many are not."""
    seen = Counter[bool]()

    @settings(max_examples=100, derandomize=True, database=None)
    @given(answers())
    def look(drawn: tuple[bytes, Query]) -> None:
        seen[check(*drawn)] += 1

    look()
    assert min(seen[True], seen[False]) >= 10


# --- Real servers


@pytest.fixture(scope="module")
def primary(module_lab: Lab) -> Named:
    """A primary that sends all it has: name servers and glue, in turning order."""
    hosts = [f"kms{number} A 192.0.2.{number}" for number in range(1, 5)]
    records = [srv(f"kms{number}", 1688, priority=number % 2) for number in range(1, 5)]
    zones = {
        "contoso.com": zone_file(*records, *hosts, "kms1 AAAA 2001:db8::1"),
        "empty.com": zone_file(),
    }
    return module_lab.named(
        zones, options="recursion no; minimal-responses no; rrset-order { order cyclic; };"
    )


@pytest.fixture(scope="module", params=["all", "minimal", "cache"])
def server(request: pytest.FixtureRequest, module_lab: Lab, primary: Named) -> Named:
    """A primary that sends all or little, or a cache before it."""
    if request.param == "all":
        return primary
    if request.param == "minimal":
        hosts = (f"kms{number} A 192.0.2.{number}" for number in range(1, 5))
        records = (srv(f"kms{number}", 1688) for number in range(1, 5))
        zones = {
            "contoso.com": zone_file(*records, *hosts, "kms1 AAAA 2001:db8::1"),
            "empty.com": zone_file(),
        }
        return module_lab.named(zones, options="recursion no; minimal-responses yes;")
    forward = f"recursion yes; forward only; forwarders {{ {LOOPBACK} port {primary.port}; }};"
    return module_lab.named({}, options=forward)


@pytest.mark.parametrize(
    ("name", "rdtype", "status", "answers"),
    [
        (NAME, "SRV", "ok", 4),
        (NAME.upper(), "SRV", "ok", 4),
        ("_vlmcs._tcp.empty.com.", "SRV", "nxdomain", 0),
        (HOST, "A", "ok", 1),
        (HOST, "AAAA", "ok", 1),
        (f"kms2.{ZONE}", "AAAA", "nodata", 0),
        (f"kms9.{ZONE}", "A", "nxdomain", 0),
        (ZONE, "SOA", "ok", 1),
        (HOST, "SOA", "nodata", 0),
    ],
)
@pytest.mark.parametrize("edns", [True, False], ids=["EDNS", "no EDNS"])
def test_real_server(server: Named, name: str, rdtype: str, status: str, answers: int, *, edns: bool) -> None:
    """Each everyday answer of BIND is plain, be it from a primary or from a cache, also the second time."""
    for _ in range(2):
        query = ask(name, rdtype) if edns else ask(name, rdtype, use_edns=False, payload=None)
        message = dns.query.udp(query, server.address, port=server.port, timeout=DEADLINE_SECONDS)
        wire = message.wire or b""
        plain = read(wire, query)
        assert plain is not None, message
        assert (plain.status, plain.answers) == (status, answers)
        assert check(wire, query)


# --- Taking over what was read before


def rotated(*order: int, ttl_seconds: int = 60, glue_ttl_seconds: int = 60, port: int = 1688) -> bytes:
    """Make an answer whose records come in just this order; dnspython shuffles those of a set."""
    message = respond(ask(), additional=[f"ns1.{ZONE} A 192.0.2.53"])
    for number in order:
        host = f"kms{number}.{ZONE}"
        message.answer.append(dns.rrset.from_text(NAME, ttl_seconds, "IN", "SRV", f"0 0 {port} {host}"))
        message.additional.append(dns.rrset.from_text(host, glue_ttl_seconds, "IN", "A", f"192.0.2.{number}"))
    return message.to_wire()


def with_id(wire: bytes, number: int) -> bytes:
    """Give a message another id."""
    return struct.pack("!H", number) + wire[2:]


def test_same_bytes() -> None:
    """The same bytes under another id are the same answer, and are not read again."""
    reader, query = PlainReader(), ask().to_wire()
    first = reader.read(KEY, rotated(1, 2, 3), query)
    assert first is not None
    assert reader.read(KEY, with_id(rotated(1, 2, 3), 8), with_id(query, 8)) is first
    assert reader.read(KEY, with_id(rotated(1, 2, 3), 8), query) is None
    assert reader.read(KEY, rotated(1, 2, 3), query) is first


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
def test_rotated(order: tuple[int, ...]) -> None:
    """Records in another order are the same answer."""
    reader, query = PlainReader(), ask().to_wire()
    first = reader.read(KEY, rotated(1, 2, 3), query)
    assert reader.read(KEY, rotated(*order), query) is first is not None


@pytest.mark.parametrize("changed", [{"ttl_seconds": 59}, {"glue_ttl_seconds": 59}])
def test_other_ttl(changed: dict[str, int]) -> None:
    """Another TTL makes another answer of the same records and the same addresses."""
    reader, query = PlainReader(), ask().to_wire()
    first = lookup(reader.read(KEY, rotated(1, 2), query))
    later = lookup(reader.read(KEY, rotated(2, 1, **changed), query))
    assert later == lookup(read(rotated(2, 1, **changed))) != first
    assert later.records is first.records
    for key, glue in later.glue.items():
        assert glue.addresses is first.glue[key].addresses


def test_other_ttl_of_addresses() -> None:
    """A cache that counts down tells of the same addresses."""
    reader, query = PlainReader(), ask(HOST, "A")
    read = [
        reader.read(KEY, answer(f"{HOST} {ttl} A 192.0.2.1", query=query), query.to_wire())
        for ttl in (60, 59)
    ]
    first, later = (plain.addresses for plain in read if plain and plain.addresses)
    assert (first.ttl_seconds, later.ttl_seconds) == (60, 59)
    assert later.addresses is first.addresses


def test_nothing_for_another_reason() -> None:
    """That there is no address is another answer when its reason is another."""
    reader, query = PlainReader(), ask(HOST, "A")
    for rcode, status in ((NXDOMAIN, "nxdomain"), (dns.rcode.NOERROR, "nodata")):
        plain = reader.read(KEY, answer(query=query, authority=[SOA], rcode=rcode), query.to_wire())
        assert plain is not None
        assert plain.addresses is not None
        assert plain.addresses.status == status


def test_other_records() -> None:
    """Other records are another answer, and a later answer like the first one is as that one was."""
    reader, query = PlainReader(), ask().to_wire()
    for wire in (
        rotated(1, 2),
        rotated(1, 2, port=1689),
        rotated(1, 2, 3),
        answer(authority=[SOA]),
        rotated(1),
    ):
        assert reader.read(KEY, wire, query) == read(wire) is not None


def test_not_plain_in_between() -> None:
    """An answer that is not plain comes to nothing, and takes nothing away."""
    reader, query = PlainReader(), ask().to_wire()
    first = reader.read(KEY, rotated(1, 2), query)
    assert reader.read(KEY, answer(rcode=dns.rcode.SERVFAIL), query) is None
    assert reader.read(KEY, rotated(1, 2), query) is first is not None


def test_each_key_by_itself() -> None:
    """What one server says is never taken for what another says, nor for the answer to another question."""
    reader, query, other = PlainReader(), ask().to_wire(), ask(HOST, "A")
    first = reader.read(KEY, rotated(1, 2), query)
    assert reader.read("another server", rotated(1, 2), query) is not first
    assert reader.read(KEY, rotated(1, 2), other.to_wire()) is None
    addresses = answer(f"{HOST} A 192.0.2.1", query=other)
    assert reader.read(KEY, addresses, other.to_wire()) == read(addresses, other) is not None


@settings(max_examples=50)
@given(st.lists(answers(), min_size=2, max_size=6))
def test_any_answers_in_a_row(drawn: list[tuple[bytes, Query]]) -> None:
    """Whatever was read before, an answer says what it says by itself."""
    reader = PlainReader()
    for wire, query in drawn:
        assert reader.read(KEY, wire, query.to_wire()) == read_plain(wire, query.to_wire())


@pytest.mark.parametrize(("bounds", "left"), [({"most_answers": 2}, 2), ({"most_weight": 7000}, 2), ({}, 4)])
def test_bounds(bounds: dict[str, int], left: int) -> None:
    """Answers are kept up to a number and a weight; those go first that were not asked for lately."""
    reader, query = PlainReader(**bounds), ask().to_wire()
    first = reader.read(0, rotated(0), query)
    for key in range(1, 4):
        assert reader.read(key, rotated(key), query)
        assert reader.read(0, rotated(0), query) is first
    assert len(reader) == left


def test_weight_is_given_back() -> None:
    """An answer that takes the place of a heavier one makes room."""
    reader, query = PlainReader(most_weight=20_000), ask().to_wire()
    for key in range(4):
        assert reader.read(key, rotated(*range(5)), query)
        assert reader.read(key, rotated(1), query)
    assert len(reader) == 4


def test_one_too_heavy() -> None:
    """An answer above the bound is read, and not kept."""
    reader = PlainReader(most_weight=1)
    assert reader.read(KEY, rotated(1), ask().to_wire())
    assert len(reader) == 0
