"""The messages that ask: one question each, as bytes.

Pure but for the id, which nobody can guess (RFC 5452, 4.3). Follows RFC 1035 (4.1) and RFC 6891 (6.1, EDNS).
"""

import functools
import os
import struct

import dns.name
import dns.rdataclass
import dns.rdatatype

EDNS_PAYLOAD_BYTES = 1232
"""What passes everywhere unfragmented: DNS flag day 2020."""

_RECURSION_DESIRED = 0x0100
_HEADER = struct.Struct("!HHHHH")
_QUESTION_AT = 12
_QUESTION = struct.Struct("!HH")
_OPT = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, EDNS_PAYLOAD_BYTES, 0, 0)
_NAMES_KEPT = 20_000


def make_query(name: str, rdtype: dns.rdatatype.RdataType, *, edns: bool = True) -> bytes:
    """Ask for the records of `rdtype` at `name` (canonical form); with `edns` the answer may be long."""
    return os.urandom(2) + _after_id(name, rdtype, edns)


def rdtype_of(query: bytes) -> dns.rdatatype.RdataType:
    """Tell what such a message asks for."""
    end = _QUESTION_AT
    while size := query[end]:
        end += 1 + size
    return dns.rdatatype.RdataType.make(_QUESTION.unpack_from(query, end + 1)[0])


@functools.lru_cache(maxsize=_NAMES_KEPT)
def _after_id(name: str, rdtype: dns.rdatatype.RdataType, edns: bool) -> bytes:  # noqa: FBT001 (of a cache)
    header = _HEADER.pack(_RECURSION_DESIRED, 1, 0, 0, int(edns))
    question = dns.name.from_text(name).to_digestable() + _QUESTION.pack(rdtype, dns.rdataclass.IN)
    return header + question + (_OPT if edns else b"")
