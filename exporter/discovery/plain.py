"""A reader for the answers of every day: SRV, A, AAAA or SOA records, or the word that there are none.

No sockets, no clock. An answer is plain when nothing in it is unusual. What is, be it right or wrong, is left
to dnspython: then there is None, never an error. What is plain means exactly what `answers` makes of the
message that dnspython parses.

The way in is `PlainReader.read(key, wire, query) -> PlainAnswer | None`: `key` stands for one question to one
server, `wire` is the message that came and `query` the one that was sent. What says the same as the last
plain answer to that key is the same object; where it does not, equal records and addresses still are.

Follows RFC 2782 (SRV) and RFC 2308 (NXDOMAIN and NODATA).
"""

import socket
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import dns.ipv6
import dns.rcode
import dns.rdatatype

from exporter.discovery.published import Authority, Published, publish
from exporter.discovery.walk import NOERROR, NXDOMAIN, RawGlue, Said, walk
from exporter.model import AddressLookup, Family, Glue, LookupStatus, Record

MOST_ANSWERS = 20_000
MOST_WEIGHT = 64 * 2**20
"""The bytes that all answers together may take, as far as they can be told."""
_ANSWER_WEIGHT, _RECORD_WEIGHT = 1000, 500
_ID_BYTES, _IPV4_BYTES = 2, 4
_FAMILIES = {dns.rdatatype.A.value: Family.IPV4, dns.rdatatype.AAAA.value: Family.IPV6}
_RCODES = {NOERROR: dns.rcode.NOERROR, NXDOMAIN: dns.rcode.NXDOMAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainAnswer:
    """What a plain answer says; one that was cut is none.

    `answers` counts the different records of the answer section. `published` is set where those are SRV
    records, `addresses` for every answer to a question about addresses.
    """

    status: LookupStatus
    rcode: dns.rcode.Rcode
    authoritative: bool
    answers: int
    authority: Authority | None
    published: Published | None
    addresses: AddressLookup | None
    said: Said = field(repr=False)


def read_plain(wire: bytes, query: bytes, *, last: PlainAnswer | None = None) -> PlainAnswer | None:
    """Read the answer to a query, from both messages; None where it is not plain.

    What is the same in `last`, an earlier answer, is taken over from it, or that is the answer altogether.
    """
    said = walk(wire, query)
    if said is None or (last and last.said == said):
        return last if said else None
    return PlainAnswer(
        status=_status(said),
        rcode=_RCODES[said.rcode],
        authoritative=said.authoritative,
        answers=said.answers,
        authority=said.authority,
        published=_publish(said, last) if said.srv else None,
        addresses=_find_addresses(said, last) if said.rdtype in _FAMILIES else None,
        said=said,
    )


def _status(said: Said) -> LookupStatus:
    if said.rcode == NXDOMAIN:
        return LookupStatus.NXDOMAIN
    return LookupStatus.OK if said.answers else LookupStatus.NODATA


def _publish(said: Said, last: PlainAnswer | None) -> Published:
    before = last.published if last else None
    glue = _read_glue(said.glue, before.glue if before else {})
    if last and before and last.said.srv == said.srv:
        return before.renewed(ttl_seconds=said.ttl_seconds, glue=glue)
    found = {
        Record(priority=priority, weight=weight, port=port, target=target)
        for priority, weight, port, target in said.srv
    }
    return publish(found, ttl_seconds=said.ttl_seconds, glue=glue)


def _find_addresses(said: Said, last: PlainAnswer | None) -> AddressLookup:
    before = last.addresses if last else None
    return _lookup(_status(said), said.addresses, said.ttl_seconds, before)


def _read_glue(raw: Iterable[RawGlue], before: Glue) -> Glue:
    found: defaultdict[tuple[str, Family], list[tuple[int, bytes]]] = defaultdict(list)
    for owner, rdtype, ttl_seconds, address in raw:
        found[owner, _FAMILIES[rdtype]].append((ttl_seconds, address))
    return {
        key: _lookup(LookupStatus.OK, {address for _, address in each}, min(each)[0], before.get(key))
        for key, each in found.items()
    }


def _lookup(
    status: LookupStatus, raw: Iterable[bytes], ttl_seconds: int, before: AddressLookup | None
) -> AddressLookup:
    """Make the result of a lookup; what is equal in one from before is taken over."""
    addresses = tuple(sorted(map(_show_address, raw)))
    if before and before.addresses == addresses:
        if before.ttl_seconds == ttl_seconds and before.status is status:
            return before
        addresses = before.addresses
    return AddressLookup(status=status, addresses=addresses, ttl_seconds=ttl_seconds)


def _show_address(raw: bytes) -> str:
    return socket.inet_ntoa(raw) if len(raw) == _IPV4_BYTES else dns.ipv6.inet_ntoa(raw)


@dataclass(slots=True)
class _Kept:
    """The last plain answer to a question, and both messages without their ids."""

    wire: bytes
    query: bytes
    answer: PlainAnswer
    weight: int


class PlainReader:
    """Reads plain answers, and keeps the last one to each question of each server.

    Bounded in number and in memory: those go first that nobody asked for the longest time.
    """

    def __init__(self, *, most_answers: int = MOST_ANSWERS, most_weight: int = MOST_WEIGHT) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._most_answers = most_answers
        self._most_weight = most_weight
        self._weight = 0

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, key: Hashable, wire: bytes, query: bytes) -> PlainAnswer | None:
        """Read the answer to a query, as `read_plain` does with the last one to the same `key`."""
        kept = self._kept.get(key)
        said_by = wire[_ID_BYTES:]
        if (
            kept
            and kept.wire == said_by
            and kept.query == query[_ID_BYTES:]
            and wire[:_ID_BYTES] == query[:_ID_BYTES]
        ):
            self._kept.move_to_end(key)
            return kept.answer
        answer = read_plain(wire, query, last=kept.answer if kept else None)
        if answer:
            self._keep(key, _Kept(said_by, query[_ID_BYTES:], answer, len(wire) + _weigh(answer.said)))
        return answer

    def _keep(self, key: Hashable, new: _Kept) -> None:
        old = self._kept.pop(key, None)
        self._kept[key] = new
        self._weight += new.weight - (old.weight if old else 0)
        while len(self._kept) > self._most_answers or self._weight > self._most_weight:
            _, oldest = self._kept.popitem(last=False)
            self._weight -= oldest.weight


def _weigh(said: Said) -> int:
    records = len(said.srv) + len(said.addresses) + len(said.glue)
    names = sum(len(record[3]) for record in said.srv) + sum(len(record[0]) for record in said.glue)
    return _ANSWER_WEIGHT + _RECORD_WEIGHT * records + names
