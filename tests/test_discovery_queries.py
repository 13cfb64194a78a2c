"""Tests of the messages that ask, with dnspython as the reader."""

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from exporter.discovery.queries import EDNS_PAYLOAD_BYTES, make_query, rdtype_of

NAMES = [
    "contoso.com",
    "_vlmcs._tcp.contoso.com",
    r"\000\.\255.contoso.com",
    ".".join(["a" * 63] * 3),
    "com",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rdtype", [dns.rdatatype.SRV, dns.rdatatype.A, dns.rdatatype.NS])
@pytest.mark.parametrize("edns", [True, False])
def test_query(name: str, rdtype: dns.rdatatype.RdataType, edns: bool) -> None:  # noqa: FBT001 -- of a table
    """One question, recursion desired, and EDNS as was asked for: what dnspython would have written."""
    wire = make_query(name, rdtype, edns=edns)
    options = {"payload": EDNS_PAYLOAD_BYTES} if edns else {"use_edns": False}
    theirs = dns.message.make_query(name, rdtype, **options)
    assert wire[2:] == theirs.to_wire()[2:]
    assert dns.message.from_wire(wire).flags == dns.flags.RD
    assert rdtype_of(wire) is rdtype


def test_ids() -> None:
    """Each query has an id of its own."""
    assert len({make_query("contoso.com", dns.rdatatype.SRV)[:2] for _ in range(100)}) > 90
