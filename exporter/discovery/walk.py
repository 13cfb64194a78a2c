"""One walk through a plain DNS answer: from bytes to what it says, in the rawest form that can be compared.

Pure functions of bytes, without dnspython's parser. What is unusual, be it right or wrong, ends the walk, and
nobody is told why: somebody slower reads the message then. What the parts mean is the matter of `plain`.

Follows RFC 1035 (4.1, messages and compression), RFC 2181 (8, TTLs), RFC 2308 (5, negative TTLs) and RFC 6891
(6.1, OPT). The time that a message takes is bounded: records are few and names short, and whatever pointers
lead to is read once.
"""

import functools
import re
import struct
from typing import NamedTuple

import dns.flags
import dns.rdataclass
import dns.rdatatype

from exporter.discovery.published import Authority
from exporter.discovery.queries import EDNS_PAYLOAD_BYTES
from exporter.names import MAX_NAME

MOST_RECORDS = 64
"""Nearly as many addresses as fit, and twice the SRV records that do with their targets written out."""
MOST_LABELS = 16
"""Twice what a host in a deep domain has. Of names with a hundred, `wire` may refuse some; of these, none."""
NOERROR, NXDOMAIN = 0, 3
_MOST_HOPS = 4  # encoders make two or three: from an owner to a target, and on to the domain in the question
_IN = dns.rdataclass.IN.value
_A, _AAAA = dns.rdatatype.A.value, dns.rdatatype.AAAA.value
_NS, _SOA, _SRV = dns.rdatatype.NS.value, dns.rdatatype.SOA.value, dns.rdatatype.SRV.value
_OPT = dns.rdatatype.OPT.value
_ASKED = {_A, _AAAA, _SOA, _SRV}
_ADDRESS_SIZES = {_A: 4, _AAAA: 16}
_RESPONSE = dns.flags.QR.value
_FLAGS = _RESPONSE | 0x7800 | dns.flags.TC.value  # with the four bits of the opcode, 0 for a query
_AUTHORITATIVE = dns.flags.AA.value
_RCODE, _RCODES = 0xF, (NOERROR, NXDOMAIN)
_MOST_TTL = 2**31 - 1
_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHHIH")
"""A pointer or the last two bytes of the owner's name; then type, class, TTL and the size of the data."""
_OPT_RECORD = struct.Struct("!xHHIH")
_SRV_DATA = struct.Struct("!HHH")
_SOA_DATA = struct.Struct("!I12xI")
_POINTER, _POINTERS, _OFFSET = 0xC0, 0xC000, 0x3FFF
_MAX_LABEL = 63
_NAMES_KEPT = 20_000
_PLAIN = re.compile(rb"[A-Za-z0-9_.-]+")

RawSrv = tuple[int, int, int, str]
"""Priority, weight, port and target."""
RawGlue = tuple[str, int, int, bytes]
"""Owner, type, TTL and address."""


class Said(NamedTuple):
    """What a message says: two that are equal mean the same, in whatever order their records came.

    `srv` or `addresses` are the answer, names in canonical form and addresses as they were sent; `answers`
    counts its different records, `ttl_seconds` is the smallest of their TTLs, or the negative one.
    """

    rdtype: int
    rcode: int
    authoritative: bool
    answers: int
    srv: frozenset[RawSrv]
    addresses: frozenset[bytes]
    ttl_seconds: int
    authority: Authority | None
    glue: frozenset[RawGlue]


class _UnusualError(Exception):
    """Something in a message is not plain."""


def walk(wire: bytes, query: bytes) -> Said | None:
    """Find what the answer to a query says, from both messages; None where it is not plain."""
    if len(wire) > EDNS_PAYLOAD_BYTES or wire[:2] != query[:2]:
        return None
    try:
        return _Walk(wire, query).run()
    except (_UnusualError, IndexError, struct.error):
        return None


class _Walk:
    """A place in a message, and what was found up to there."""

    __slots__ = (
        "_addresses",
        "_at",
        "_authority",
        "_edns",
        "_glue",
        "_names",
        "_qname",
        "_rdtype",
        "_srv",
        "_ttl_seconds",
        "_wire",
    )

    def __init__(self, wire: bytes, query: bytes) -> None:
        self._wire = wire
        self._names: dict[int, tuple[str, int, int]] = {}
        self._srv: set[RawSrv] = set()
        self._addresses: set[bytes] = set()
        self._glue: set[RawGlue] = set()
        self._authority: Authority | None = None
        self._edns = False
        self._ttl_seconds = _MOST_TTL
        self._qname, end, _ = self._read_name(_HEADER.size)
        self._rdtype, rdclass = _QUESTION.unpack_from(wire, end)
        self._at = end + _QUESTION.size
        asked = wire[_HEADER.size : self._at].lower() == query[_HEADER.size : self._at].lower()
        if not asked or self._rdtype not in _ASKED or rdclass != _IN:
            raise _UnusualError

    def run(self) -> Said:
        """Walk from end to end."""
        _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(self._wire)
        rcode = flags & _RCODE
        if flags & _FLAGS != _RESPONSE or rcode not in _RCODES or questions != 1:
            raise _UnusualError
        if answers + authorities + additionals > MOST_RECORDS or (answers and rcode == NXDOMAIN):
            raise _UnusualError
        for _ in range(answers):
            self._read_answer()
        for _ in range(authorities):
            self._read_authority(negative=not answers)
        for _ in range(additionals):
            self._read_additional()
        if self._at != len(self._wire) or not (answers or self._authority):
            raise _UnusualError
        return Said(
            self._rdtype,
            rcode,
            bool(flags & _AUTHORITATIVE),
            len(self._srv) or len(self._addresses) or answers,
            frozenset(self._srv),
            frozenset(self._addresses),
            self._ttl_seconds,
            self._authority,
            frozenset(self._glue),
        )

    def _read_answer(self) -> None:
        owner, rdtype, ttl_seconds, start, end = self._read_record()
        if owner != self._qname or rdtype != self._rdtype:
            raise _UnusualError
        if rdtype == _SRV:
            target, behind, _ = self._read_name(start + _SRV_DATA.size)
            if behind != end:
                raise _UnusualError
            self._srv.add((*_SRV_DATA.unpack_from(self._wire, start), target))
        elif rdtype == _SOA:
            self._read_soa(owner, start, end)
        else:
            self._addresses.add(self._read_address(rdtype, start, end))
        self._ttl_seconds = min(self._ttl_seconds, ttl_seconds)

    def _read_authority(self, *, negative: bool) -> None:
        owner, rdtype, ttl_seconds, start, end = self._read_record()
        if rdtype == _NS:
            if self._read_name(start)[1] != end:
                raise _UnusualError
            return
        if rdtype != _SOA or not _encloses(owner, self._qname):
            raise _UnusualError
        minimum = self._read_soa(owner, start, end)
        if negative:
            self._ttl_seconds = min(ttl_seconds, minimum)

    def _read_additional(self) -> None:
        if not self._wire[self._at]:
            self._read_opt()
            return
        owner, rdtype, ttl_seconds, start, end = self._read_record()
        self._glue.add((owner, rdtype, ttl_seconds, self._read_address(rdtype, start, end)))

    def _read_record(self) -> tuple[str, int, int, int, int]:
        """Read the beginning of a record of class IN, and go on behind it.

        Gives its owner, its type, its TTL, and where its data begin and end.
        """
        owner, rdtype, rdclass, ttl_seconds, size = _RECORD.unpack_from(self._wire, self._at)
        known = self._names.get(owner & _OFFSET) if owner >= _POINTERS else None
        if known:
            name, start = known[0], self._at + _RECORD.size
        else:
            name, behind, _ = self._read_name(self._at)
            _, rdtype, rdclass, ttl_seconds, size = _RECORD.unpack_from(self._wire, behind - 2)
            start = behind - 2 + _RECORD.size
        if rdclass != _IN or ttl_seconds > _MOST_TTL:
            raise _UnusualError
        self._at = start + size
        return name, rdtype, ttl_seconds, start, self._at

    def _read_address(self, rdtype: int, start: int, end: int) -> bytes:
        if end - start != _ADDRESS_SIZES.get(rdtype):
            raise _UnusualError
        return self._wire[start:end]

    def _read_soa(self, owner: str, start: int, end: int) -> int:
        """Read the one SOA record that there may be, and give the TTL that it has for negative answers."""
        behind = self._read_name(self._read_name(start)[1])[1]
        serial, minimum = _SOA_DATA.unpack_from(self._wire, behind)
        if self._authority or behind + _SOA_DATA.size != end:
            raise _UnusualError
        self._authority = Authority(owner, serial)
        return int(minimum)

    def _read_opt(self) -> None:
        """Read the one OPT record that there may be: without options, all else but its flags 0."""
        rdtype, _, extended, size = _OPT_RECORD.unpack_from(self._wire, self._at)
        if self._edns or rdtype != _OPT or extended >> 16 or size:
            raise _UnusualError
        self._edns = True
        self._at += _OPT_RECORD.size

    def _read_name(self, start: int, depth: int = 0) -> tuple[str, int, int]:
        """Read the name at a place: its canonical form, where it ends, and how many pointers it takes."""
        wire, at = self._wire, start
        end = wire.find(0, start)
        if 0 < end - start <= MAX_NAME and (name := _read_whole(wire[start:end])):
            found = self._names[start] = name, end + 1, 0
            return found
        labels: list[bytes] = []
        suffix, hops = "", 0
        while size := wire[at]:
            if size > _MAX_LABEL:
                suffix, hops = self._follow(at, start, depth)
                at += 1
                break
            labels.append(wire[at + 1 : at + 1 + size])
            at += 1 + size
        name = _join(labels, suffix)
        if len(name) > MAX_NAME or name.count(".") >= MOST_LABELS:
            raise _UnusualError
        found = self._names[start] = name, at + 1, hops
        return found

    def _follow(self, at: int, start: int, depth: int) -> tuple[str, int]:
        """Read what a pointer leads to: a name that ends before the one that it is a part of begins."""
        to = (self._wire[at] << 8 | self._wire[at + 1]) & _OFFSET
        if self._wire[at] < _POINTER or not _HEADER.size <= to < start or depth > _MOST_HOPS:
            raise _UnusualError
        name, end, hops = self._names.get(to) or self._read_name(to, depth + 1)
        if end > start or hops >= _MOST_HOPS or name == ".":
            raise _UnusualError
        return name, hops + 1


@functools.lru_cache(maxsize=_NAMES_KEPT)
def _read_whole(raw: bytes) -> str | None:
    """Read a name that is written out up to the end; None where it is not, or is not plain."""
    labels, at = [], 0
    while at < len(raw) and raw[at] <= _MAX_LABEL:
        labels.append(raw[at + 1 : at + 1 + raw[at]])
        at += 1 + raw[at]
    if at != len(raw) or not 0 < len(labels) <= MOST_LABELS:
        return None
    try:
        return _join(labels, "")
    except _UnusualError:
        return None


def _join(labels: list[bytes], suffix: str) -> str:
    """Write a name of nothing but letters, digits, `-` and `_` in the project's canonical form."""
    if not labels:
        return suffix or "."
    text = b".".join(labels)
    if not _PLAIN.fullmatch(text) or text.count(b".") >= len(labels):
        raise _UnusualError
    name = text.decode().lower()
    return f"{name}.{suffix}" if suffix else name


def _encloses(apex: str, name: str) -> bool:
    return apex in {name, "."} or name.endswith(f".{apex}")
