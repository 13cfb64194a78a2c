"""DNS answers, from the bytes of a message to what is read of it in every way there is, by both readers.

The first byte of an input chooses what was asked for (its lower bits), and how the rest is put under our
query's id: as a whole message, or behind our own question, with flags and three small counts in front.
"""

import ipaddress
import re

import dns.exception
import dns.flags
import dns.message
import dns.rdatatype

from exporter.discovery.answers import (
    ADDRESS_TYPES,
    Readable,
    is_alias,
    read_addresses,
    read_authority,
    read_name_servers,
    read_srv,
    read_status,
)
from exporter.discovery.exchange import EXPECTED_ERRORS, Answer
from exporter.discovery.plain import PlainAnswer, PlainReader, read_plain
from exporter.discovery.transport import _parse  # the one step between the socket and the readers
from exporter.discovery.wire import MOST_WORK, examine
from exporter.model import Family, Host, IgnoredReason, Record, SrvLookup, family_of
from tests.fuzz.target import pure

WHOLE_MESSAGE = 0x80
"""The bit of the first byte that says so."""

_NAME = "_vlmcs._tcp.contoso.com."
_QUERIES = tuple(
    dns.message.make_query(_NAME, rdtype, payload=1232, id=0) for rdtype in ("SRV", "A", "AAAA", "NS", "SOA")
)
_QUESTION_AT = 12
_SHOWN = re.compile(r"\.|(?:[a-z0-9_-]|\\[0-9]{3})+(?:\.(?:[a-z0-9_-]|\\[0-9]{3})+)*")
_LIMIT, _NO_LIMIT = 3, 1000
_EXPECTED = frozenset({Host(target="kms2.contoso.com", port=1688)})
_KNOWN = frozenset({Host(target="kms3.contoso.com", port=1688)})
_MOST_NAME_SERVERS = 16
_FAMILIES = {rdtype: family for family, rdtype in ADDRESS_TYPES.items()}
_MAX_TTL = 2**31 - 1


def feed(data: bytes) -> bool:
    """Hold what is read of an answer to what the readers promise; refused is what is no answer to us."""
    kind = data[0] if data else 0
    query = _QUERIES[(kind & ~WHOLE_MESSAGE) % len(_QUERIES)]
    wire = data[1:] if kind & WHOLE_MESSAGE else _behind_question(query, data[1:])
    wire = b"\0\0" + wire[2:]
    answer = _read(wire, query)
    plain = read_plain(wire, query.to_wire())
    if plain:
        assert answer is not None
        compare(plain, answer)
        _check_reuse(plain, wire, query.to_wire())
    if answer is None:
        return False
    assert answer.question == query.question or not answer.question
    status = read_status(answer)
    assert status.answered
    rdtype = query.question[0].rdtype  # an answer that refuses may come without the question
    if rdtype == dns.rdatatype.SRV:
        _check_srv(answer)
    elif rdtype in _FAMILIES:
        _check_addresses(answer, _FAMILIES[rdtype])
    servers = read_name_servers(answer) if rdtype == dns.rdatatype.NS else ()
    assert len(servers) <= _MOST_NAME_SERVERS
    assert list(servers) == sorted(servers)
    assert all(map(_SHOWN.fullmatch, servers))
    if authority := read_authority(answer):
        assert _SHOWN.fullmatch(authority.apex)
        assert 0 <= authority.serial < 2**32
    return True


def _read(wire: bytes, query: Answer) -> Answer | None:
    """Read a message as what came over a socket is read; None for what is no answer to the query."""
    try:
        examined = examine(wire)
    except dns.exception.FormError:
        return None
    assert len(examined.wire) == len(wire)
    assert 0 <= examined.work <= MOST_WORK
    assert examine(examined.wire) == examined  # what is read is what was looked over
    try:
        return _parse(examined.wire, query.to_wire())
    except EXPECTED_ERRORS:
        return None


def compare(plain: PlainAnswer, answer: Answer) -> None:
    """Hold a plain answer to what dnspython makes of the same message."""
    assert not answer.flags & dns.flags.TC
    assert plain.rcode is answer.rcode()
    assert plain.authoritative is bool(answer.flags & dns.flags.AA)
    assert plain.answers == sum(len(rrset) for rrset in answer.answer)
    assert read_status(plain) is read_status(answer)
    assert read_authority(plain) == read_authority(answer)
    if answer.question[0].rdtype in _FAMILIES:
        assert read_addresses(plain) == read_addresses(answer)
    if answer.question[0].rdtype == dns.rdatatype.SRV:
        for limit in (0, 1, _LIMIT, _NO_LIMIT):
            assert _read_srv(plain, limit) == _read_srv(answer, limit)


def _check_reuse(plain: PlainAnswer, wire: bytes, query: bytes) -> None:
    reader = PlainReader()
    first = reader.read("question", wire, query)
    assert first == plain
    assert reader.read("question", wire, query) is first


def _behind_question(query: Answer, data: bytes) -> bytes:
    flags, counts, records = data[:2].ljust(2, b"\0"), data[2:5].ljust(3, b"\0"), data[5:]
    numbers = b"".join(b"\0" + bytes([count]) for count in counts)
    question = dns.message.make_query(query.question[0].name, query.question[0].rdtype)
    return b"\0\0" + flags + b"\0\1" + numbers + question.to_wire()[_QUESTION_AT:] + records


def _check_srv(answer: Answer) -> None:
    lookup = _read_srv(answer, _LIMIT)
    assert lookup.status is read_status(answer)
    assert max(len(lookup.records), len(lookup.portless)) <= _LIMIT
    assert list(lookup.records) == sorted(set(lookup.records))
    assert all(map(_is_sound, (*lookup.records, *lookup.portless)))
    ignored = sum(lookup.ignored.get(reason, 0) for reason in IgnoredReason)
    assert (lookup.record_count or 0) == len(lookup.records) + ignored
    assert all(count >= 0 for count in lookup.ignored.values())
    assert 0 <= (lookup.ttl_seconds or 0) <= _MAX_TTL
    _check_glue(lookup)


def _read_srv(answer: Readable, limit: int) -> SrvLookup:
    return read_srv(answer, duration_seconds=0.1, expected=_EXPECTED, known=_KNOWN, limit=limit)


def _is_sound(record: Record) -> bool:
    numbers = (record.priority, record.weight, record.port)
    return all(0 <= number < 2**16 for number in numbers) and bool(_SHOWN.fullmatch(record.target))


def _check_glue(lookup: SrvLookup) -> None:
    targets = {record.target for record in lookup.records}
    for (target, family), glue in lookup.glue.items():
        assert target in targets
        assert 0 <= (glue.ttl_seconds or 0) <= _MAX_TTL
        assert all(family_of(address) is family for address in glue.addresses)
        assert all(str(ipaddress.ip_address(address)) for address in glue.addresses)


def _check_addresses(answer: Answer, family: Family) -> None:
    lookup = read_addresses(answer)
    assert lookup.status is read_status(answer)
    assert list(lookup.addresses) == sorted(set(lookup.addresses))
    for address in lookup.addresses:
        assert ipaddress.ip_address(address).version == (6 if family_of(address) is Family.IPV6 else 4)
        assert family_of(address) is family
    assert (lookup.alias_of is not None) is (is_alias(answer) and lookup.status.usable)
    assert lookup.alias_of is None or _SHOWN.fullmatch(lookup.alias_of)


DNS = pure(
    feed,
    (
        b"\xc0\x0c",  # the name that was asked for
        b"\xc0\x18",  # contoso.com in it
        b"\x04kms1\xc0\x18",
        b"\x04kms2\xc0\x18",
        b"\x00\x21\x00\x01",  # SRV IN
        b"\x00\x01\x00\x01",
        b"\x00\x1c\x00\x01",
        b"\x00\x02\x00\x01",
        b"\x00\x05\x00\x01",
        b"\x00\x06\x00\x01",
        b"\x00\x27\x00\x01",  # DNAME
        b"\x00\x00\x0e\x10",  # a TTL
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00\x06\x98",  # priority, weight, port
        b"\x84\x00",
        b"\x84\x03",
        b"\x81\x82",
        b"\x82\x00",
        b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",  # OPT
        b"\x07contoso\x03com\x00",
        b"\x06_vlmcs\x04_tcp\x07contoso\x03com\x00",
    ),
    longest=1500,
)
