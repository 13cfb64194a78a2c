"""Tests of what an answer would cost to read: what is honest passes as it is, what is crafted is refused."""

import itertools
import struct

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from exporter.discovery.wire import MOST_RECORDS, MOST_WORK, examine

NAME = "_vlmcs._tcp.contoso.com."
QUERY = dns.message.make_query(NAME, "SRV", id=1, use_edns=False)
QUESTION = QUERY.to_wire()[12:]
START = 12 + len(QUESTION)
"""Where the first record begins."""
OWNER = struct.pack("!H", 0xC00C)
"""A pointer to the name of the question."""
A, NS, CNAME, SOA, TXT, HIP, OPT, SRV = 1, 2, 5, 6, 16, 55, 41, 33
MANY_LABELS = b"\1a" * 127 + b"\0"
MADE_UP = 65280


def pointer(to: int) -> bytes:
    """Point to a place in the message."""
    return struct.pack("!H", 0xC000 | to)


def record(rdata: bytes, *, owner: bytes = OWNER, rdtype: int = MADE_UP, rdclass: int = 1) -> bytes:
    """Build a record; by default of a type that nobody reads."""
    return owner + struct.pack("!HHIH", rdtype, rdclass, 60, len(rdata)) + rdata


def target(name: bytes, port: int = 1688) -> bytes:
    """Build the data of an SRV record."""
    return struct.pack("!HHH", 0, 0, port) + name


def message(*records: bytes, flags: int = 0x8400, counts: tuple[int, int, int] | None = None) -> bytes:
    """Build an answer, all of it in the answer section unless told otherwise."""
    return (
        struct.pack("!HHHHHH", 1, flags, 1, *(counts or (len(records), 0, 0))) + QUESTION + b"".join(records)
    )


def holding(data: bytes) -> bytes:
    """Build a first record that only holds bytes for others to point to, from `HELD` on."""
    return record(data)


HELD = START + len(record(b""))


def is_refused(wire: bytes) -> bool:
    """Tell whether an answer is refused."""
    try:
        examine(wire)
    except dns.exception.FormError:
        return True
    return False


def honest(hosts: int, *, glue: bool) -> bytes:
    """Build an answer as servers give it."""
    response = dns.message.make_response(dns.message.make_query(NAME, "SRV", payload=1232))
    names = [f"kms{number}.emea.corp.contoso.com." for number in range(hosts)]
    response.answer.append(
        dns.rrset.from_text(NAME, 60, "IN", "SRV", *(f"0 0 1688 {name}" for name in names))
    )
    for name in names if glue else ():
        response.additional.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1"))
        response.additional.append(dns.rrset.from_text(name, 60, "IN", "AAAA", "2001:db8::1"))
    return response.to_wire(max_size=65535)


@pytest.mark.parametrize(("hosts", "glue"), [(0, False), (1, True), (10, True), (300, True), (990, False)])
def test_honest_answer(hosts: int, *, glue: bool) -> None:
    """An answer with as many records as one message takes comes back as it is, and is not much work."""
    wire = honest(hosts, glue=glue)
    examined = examine(wire)
    assert examined.wire == wire
    assert examined.work < MOST_WORK * 2 / 3


def test_numbered_names() -> None:
    """Names that share a hash because they are numbered are honest: those with 09 and 10 do."""
    names = [f"kms{host}.site{site:03}.contoso.com." for site in range(250) for host in ("09", "10")]
    hashes = {hash(dns.name.from_text(name)) for name in names}
    assert len(hashes) < len(names) / 2
    response = dns.message.make_response(QUERY)
    response.additional += [dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1") for name in names]
    wire = response.to_wire(max_size=65535)
    assert examine(wire).wire == wire


def test_work_grows_with_the_answer() -> None:
    """More to read is more work."""
    assert examine(honest(4, glue=False)).work < examine(honest(4, glue=True)).work
    assert examine(honest(4, glue=True)).work < examine(honest(40, glue=True)).work


def test_longest_name() -> None:
    """A target of 127 labels, the longest that there can be, is only a name."""
    wire = message(holding(MANY_LABELS), record(target(pointer(HELD)), rdtype=SRV))
    assert not is_refused(wire)
    answer = dns.message.from_wire(examine(wire).wire)
    assert str(answer.answer[-1]).endswith("a." * 127)


LONG = holding(MANY_LABELS)
COLLIDING = [
    b"".join(bytes([size]) + b"a" * size for size in (first, second, 90 - first - second))
    for first in range(1, 41)
    for second in range(1, 41)
    if 90 - first - second <= 63
][:400]
"""Names that dnspython gives the same hash, which is made of their bytes alone."""


def chain(length: int) -> bytes:
    """Hold a name, and so many pointers each to the one before."""
    return b"\1a\0" + b"".join(pointer(HELD + (0 if n == 0 else 1 + 2 * n)) for n in range(length))


@pytest.mark.parametrize(
    "wire",
    [
        message(LONG, *[record(target(pointer(HELD), n), rdtype=SRV) for n in range(100)]),
        message(LONG, *[record(pointer(HELD), rdtype=NS) for _ in range(100)]),
        message(LONG, *[record(pointer(HELD), rdtype=CNAME) for _ in range(100)]),
        message(LONG, *[record(pointer(HELD) * 2 + b"\0" * 20, rdtype=SOA) for _ in range(100)]),
        message(LONG, *[record(b"", owner=pointer(HELD)) for _ in range(900)]),
        message(holding(b"\0"), *[record(b"\1\2\3\4", owner=each + b"\0", rdtype=A) for each in COLLIDING]),
        message(record(b"\x27\x10\0\0" * 15000, owner=b"\0", rdtype=OPT), counts=(0, 0, 1)),
        message(*[record(b"")] * (MOST_RECORDS + 1)),
        message(holding(chain(17)), record(b"", owner=pointer(HELD + 35))),
        message(holding(chain(5000)), record(b"", owner=pointer(HELD + 10_001))),
        message(holding(chain(500)), *[record(b"", owner=pointer(HELD + 1 + 2 * n)) for n in range(1, 500)]),
        message(record(b"", owner=pointer(START))),
        message(record(b"", owner=pointer(START + 2))),
        message(record(b"", owner=b"\1a" + pointer(START))),
        message(record(b"", owner=b"\x40a\0")),
        message(record(b"", owner=b"\x80a\0")),
        message(holding(MANY_LABELS), record(b"", owner=b"\1b" + pointer(HELD))),
        message(record(b"", owner=(b"\x3f" + b"a" * 63) * 4 + b"\0")),
        message(record(b"", owner=b"\x3faaa")),
        message(record(b""), counts=(2, 0, 0)),
        QUERY.to_wire()[:11],
        QUERY.to_wire()[:4] + b"\0\2" + QUERY.to_wire()[6:] + QUESTION,
        b"",
    ],
    ids=[
        "many labels in targets",
        "many labels in name servers",
        "many labels in aliases",
        "many labels in authorities",
        "many labels in owners",
        "owners of one hash",
        "options without number",
        "too many records",
        "chain of pointers",
        "long chain of pointers",
        "long chain of pointers from its beginning on",
        "pointer to itself",
        "pointer forward",
        "name in a circle",
        "label type 1",
        "label type 2",
        "257 bytes by compression",
        "257 bytes",
        "label without end",
        "fewer records than announced",
        "no header",
        "two questions",
        "nothing",
    ],
)
def test_refused(wire: bytes) -> None:
    """What is malformed, or would keep the reader busy for seconds, is refused."""
    assert is_refused(wire)


@pytest.mark.parametrize("length", [1, 2, 15])
def test_pointers_to_pointers(length: int) -> None:
    """A pointer may lead to a pointer, some times over."""
    wire = message(holding(chain(length)), record(b"", owner=pointer(HELD + 1 + 2 * length)))
    assert examine(wire).work
    dns.message.from_wire(examine(wire).wire)


def test_answer_that_was_cut() -> None:
    """Of an answer that was cut in the middle of a record, only the question counts."""
    assert not is_refused(message(record(b"")[:5], flags=0x8600, counts=(7, 7, 7)))


def test_names_that_change_with_a_type() -> None:
    """A name that leads to the type of a record that nobody reads costs what it does when it is read.

    There the first byte of TXT ends a name. What is written in its place is a pointer to 0x3F00.
    """
    labels = b"\1a" * 126 + b"\0"
    held = record(bytes(0x3F00 - HELD) + labels, rdtype=TXT)
    at = START + len(held) + 1  # behind the owner of the next record
    unread = record(b"", owner=b"\0", rdtype=TXT)
    few, many = (
        message(held, unread, *[record(target(pointer(at), n), rdtype=SRV) for n in range(number)])
        for number in (2, 100)
    )
    assert examine(few).work > 2 * 126**2
    assert dns.message.from_wire(examine(few).wire).answer[-1].to_text().endswith("a." * 126)
    assert is_refused(many)


@pytest.mark.parametrize(("rdtype", "rdclass"), [(TXT, 1), (HIP, 1), (29, 1), (A, 3), (SRV, 254), (65535, 7)])
def test_opaque(rdtype: int, rdclass: int) -> None:
    """A record that nobody reads is not taken apart, whatever is in it; those that are read stay."""
    junk = record(b"\xc0junk", rdtype=rdtype, rdclass=rdclass)
    good = record(target(b"\4kms1" + OWNER), rdtype=SRV)
    answer = dns.message.from_wire(examine(message(junk, good)).wire)
    [unread] = [rrset for rrset in answer.answer if rrset.rdtype != dns.rdatatype.SRV]
    assert isinstance(unread[0], dns.rdata.GenericRdata)
    assert answer.find_rrset(answer.answer, dns.name.from_text(NAME), dns.rdataclass.IN, dns.rdatatype.SRV)


def test_types_do_not_add_up() -> None:
    """Types and classes that nobody has heard of leave nothing behind, however many come."""
    answer = message(*(record(b"", rdtype=n, rdclass=n) for n in range(40_000, 40_900)))
    dns.message.from_wire(examine(message(record(b""))).wire)
    known = len(dns.rdata._rdata_classes)  # what dnspython keeps for good; there is no other way to see it
    dns.message.from_wire(examine(answer).wire)
    assert len(dns.rdata._rdata_classes) == known


def test_colliding_names() -> None:
    """The names that stand for crafted ones do share a hash; a few that do are nobody's fault."""
    names = [dns.name.from_wire(each + b"\0", 0)[0] for each in COLLIDING]
    assert len(set(map(hash, names))) == 1
    assert not is_refused(
        message(*(record(b"", owner=each + b"\0") for each in itertools.islice(COLLIDING, 4)))
    )
