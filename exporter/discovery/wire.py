"""What an answer would cost to read, found out before it is read.

Owns no meaning: it finds the names of a message and follows none of what they say. dnspython reads an answer
with care for what is right, not for what it costs: the time for a name grows with the square of its labels,
names made to share a hash are compared each with each, and every new pair of type and class stays in memory
for good. So 64 KiB can keep it busy for a minute. Here every name is walked once, in time that grows with
the message alone; what costs too much is refused, and what nobody reads is made opaque.

Follows RFC 1035 (4.1.4, compression), RFC 3597 (unknown types) and RFC 9619 (one question).
"""

import asyncio
import collections
import struct
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.name
import dns.rdataclass
import dns.rdatatype

MOST_RECORDS = 1000
"""Nobody has that many hosts, and each takes a tenth of a millisecond to read."""
MOST_WORK = 600_000
"""About as many times half a microsecond: twice what as many plain records take as there may be."""

CHECK_WORK = 2_000_000
"""A second, in which 12 servers can tell of 500 records each."""
_FREE_WORK = {dns.rdatatype.SRV: 60_000}
"""What an answer to the one such question that a server is asked may take, whatever others have taken."""
_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_RECORD_WORK = 250
_LABEL_WORK = 8
_OPTION_BYTE_WORK = 25
_MAX_HOPS = 16  # a name of sixteen suffixes, each at another place: encoders make two or three
_MAX_NAME_BYTES = 255
_COMPARISON_WORK = 1  # for each label, of each name with each other of the same hash
_POINTER = 0xC0
_MAX_LABEL = 63
_OPAQUE = dns.rdatatype.RdataType.make(65280)  # for private use (RFC 6895, 3.1): read as so many bytes
_NAMES_AT = {
    dns.rdatatype.A: (0, 0),
    dns.rdatatype.AAAA: (0, 0),
    dns.rdatatype.CNAME: (0, 1),
    dns.rdatatype.NS: (0, 1),
    dns.rdatatype.SOA: (0, 2),
    dns.rdatatype.SRV: (6, 1),
}
"""The types that are read: where in their data names begin, and how many."""
_ABOUT_THE_MESSAGE = {dns.rdatatype.OPT, dns.rdatatype.TSIG}

Labels = tuple[bytes, ...]


class Budget:
    """What the long answers that one check gets may take to read in all.

    Each alone is bounded, but many servers may send one, to each of many questions. They are read in turn, by
    who holds `reading`.
    """

    def __init__(self, units: int = CHECK_WORK) -> None:
        self.reading = asyncio.Lock()
        self._left = units

    def spend(self, work: int, rdtype: dns.rdatatype.RdataType) -> None:
        """Spend units of work on an answer, unless every server may take as many for such a question.

        Raises:
            dns.exception.FormError: Not so many are left.
        """
        if work <= _FREE_WORK.get(rdtype, 0):
            return
        if work > self._left:
            raise dns.exception.FormError
        self._left -= work


class Examined(NamedTuple):
    """An answer that may be read, and what that takes: in units of about half a microsecond."""

    wire: bytes
    work: int


def examine(wire: bytes) -> Examined:
    """Look an answer over; records of types that nobody reads come back opaque.

    Of one that was cut, wherever that was, only the question counts.

    Raises:
        dns.exception.FormError: It is malformed, or would take too much work.
    """
    examined = _Examination(wire).run()
    if examined.wire == wire:
        return examined
    return _Examination(examined.wire).run()  # for a name can lead to where a type stood, and is another now


class _Name(NamedTuple):
    """A name in a message: its labels, the pointers that were followed, and the place behind it."""

    labels: Labels
    hops: int
    end: int


class _Examination:
    """One walk through a message."""

    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self._at = 0
        self._work = 0
        self._suffixes: dict[int, _Name] = {}
        self._owners: set[Labels] = set()
        self._opaque: list[int] = []

    def run(self) -> Examined:
        """Walk, and give what is to be read."""
        try:
            _, flags, questions, *counts = _HEADER.unpack_from(self._wire)
            self._at = _HEADER.size
            if questions > 1 or sum(counts) > MOST_RECORDS:
                raise dns.exception.FormError
            for _ in range(questions):
                self._read_owner()
                self._at += _QUESTION.size
            for _ in range(0 if flags & dns.flags.TC else sum(counts)):
                self._read_record()
        except (struct.error, IndexError) as error:
            raise dns.exception.FormError from error
        self._compare_owners()
        return Examined(self._rewritten(), self._work)

    def _read_record(self) -> None:
        self._read_owner()
        rdtype, rdclass, _, size = _RECORD.unpack_from(self._wire, self._at)
        header, start = self._at, self._at + _RECORD.size
        if rdtype in _ABOUT_THE_MESSAGE:
            self._spend(size * _OPTION_BYTE_WORK)
        elif rdclass == dns.rdataclass.IN and rdtype in _NAMES_AT:
            offset, names = _NAMES_AT[rdtype]
            self._at = start + offset
            for _ in range(names):
                labels = len(self._read_name())
                self._spend(labels * (labels + _LABEL_WORK))
        else:
            self._opaque.append(header)
        self._spend(_RECORD_WORK)
        self._at = start + size

    def _read_owner(self) -> None:
        labels = self._read_name()
        self._owners.add(labels)
        self._spend(len(labels) * _LABEL_WORK)

    def _read_name(self) -> Labels:
        """Read the name that begins here, and go on behind it."""
        found = self._find_name(self._at, depth=0)
        if sum(map(len, found.labels)) + len(found.labels) >= _MAX_NAME_BYTES:
            raise dns.exception.FormError
        self._at = found.end
        return found.labels

    def _find_name(self, at: int, *, depth: int) -> _Name:
        """Find the name at a place; what a pointer leads to is walked once, however many lead there."""
        start, labels = at, list[bytes]()
        while size := self._wire[at]:
            if size >= _POINTER:
                to = (size - _POINTER) << 8 | self._wire[at + 1]
                if to >= start or depth == _MAX_HOPS:  # forward or in a circle, or from one to the next
                    raise dns.exception.FormError
                suffix = self._find_suffix(to, depth=depth + 1)
                return _Name((*labels, *suffix.labels), suffix.hops + 1, at + 2)
            if size > _MAX_LABEL or at + size - start >= _MAX_NAME_BYTES:
                raise dns.exception.FormError
            labels.append(self._wire[at + 1 : at + 1 + size].lower())
            at += 1 + size
        return _Name(tuple(labels), 0, at + 1)

    def _find_suffix(self, at: int, *, depth: int) -> _Name:
        if at not in self._suffixes:
            self._suffixes[at] = self._find_name(at, depth=depth)
        if self._suffixes[at].hops >= _MAX_HOPS:
            raise dns.exception.FormError
        return self._suffixes[at]

    def _compare_owners(self) -> None:
        """Spend what it takes to tell the owners apart; names can be chosen so that all have one hash.

        A few always have: it is such that names which end in 09 and 10 may.
        """
        hashes = collections.Counter(hash(dns.name.Name(labels)) for labels in self._owners)
        longest = max(map(len, self._owners), default=0)
        for names in hashes.values():
            if names > 1:
                self._spend(names * names * longest * _COMPARISON_WORK)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MOST_WORK:
            raise dns.exception.FormError

    def _rewritten(self) -> bytes:
        if not self._opaque:
            return self._wire
        wire = bytearray(self._wire)
        for at in self._opaque:
            _QUESTION.pack_into(wire, at, _OPAQUE, dns.rdataclass.IN)
        return bytes(wire)
