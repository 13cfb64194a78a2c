"""What an authoritative name server answers: pure functions of the query, the zones and the time.

No sockets and no clock. Follows RFC 1034, 4.3.2 (lookup), RFC 2308 (negative answers,
https://www.rfc-editor.org/rfc/rfc2308), RFC 2782 (SRV) and RFC 6891 (EDNS). An alias is followed as far as it
stays in its zone; there are no wildcards, delegations or DNSSEC, for no zone of the lab has any.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rrset
import dns.zonefile

from exporter.demo.zones import DNS_ADDRESS, SECOND_DNS_ADDRESS, Conduct, Schedule, Situation

MAX_UDP_BYTES = 1232
"""No UDP answer is longer, whatever the client takes: it fits one packet everywhere (DNS flag day 2020)."""
_PLAIN_UDP_BYTES = 512
_MAX_TCP_BYTES = 65535
_HEADER_BYTES = 12
_QR_BIT = 0x80

_TTL_SECONDS = 60
_NEGATIVE_TTL_SECONDS = 10
_FIRST_SERIAL = 1
_APEX = (
    f"@ SOA ns1 hostmaster {_FIRST_SERIAL} 900 300 604800 {_NEGATIVE_TTL_SECONDS}",
    "@ NS ns1",
    "@ NS ns2",
    f"ns1 A {DNS_ADDRESS}",
    f"ns2 A {SECOND_DNS_ADDRESS}",
)
_RCODES = {Conduct.FAILS: dns.rcode.SERVFAIL, Conduct.REFUSES: dns.rcode.REFUSED}
_NAMES_HOSTS = frozenset({dns.rdatatype.SRV, dns.rdatatype.NS})
_ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)

Nodes = Mapping[dns.name.Name, Mapping[dns.rdatatype.RdataType, dns.rrset.RRset]]
"""Every existing name of a zone with its record sets; names in between exist without any (RFC 8020)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A zone as it is served: `nodes` while its SRV records are there, `nodes_absent` while they are not."""

    origin: dns.name.Name
    conduct: Conduct
    schedule: Schedule | None
    nodes: Nodes
    nodes_absent: Nodes
    serial: int

    def at(self, now: float) -> Nodes:
        """Give the names that exist `now`, in seconds since the start."""
        return self.nodes_absent if self._changes(now) % 2 else self.nodes

    def soa(self, now: float) -> dns.rrset.RRset:
        """Give the SOA record, whose serial grows with every change; its TTL is the one of RFC 2308, 3."""
        rdata = self.nodes[self.origin][dns.rdatatype.SOA][0]
        current = rdata.replace(serial=self.serial + self._changes(now))
        return dns.rrset.from_rdata(self.origin, _NEGATIVE_TTL_SECONDS, current)

    def _changes(self, now: float) -> int:
        return self.schedule.changes(now) if self.schedule else 0


Zones = Mapping[dns.name.Name, Zone]


def load(situations: Iterable[Situation], *, elsewhere: bool = False) -> Zones:
    """Read the situations' records into zones by name; `elsewhere` as the second name server has them."""
    zones = [_load_zone(situation, elsewhere=elsewhere) for situation in situations]
    return {zone.origin: zone for zone in zones}


def _load_zone(situation: Situation, *, elsewhere: bool) -> Zone:
    if situation.elsewhere is None:
        records, serial = situation.records, _FIRST_SERIAL
    elif elsewhere:
        records, serial = situation.elsewhere, _FIRST_SERIAL
    else:
        records, serial = situation.records, _FIRST_SERIAL + 1
    origin = dns.name.from_text(situation.zone)
    text = "\n".join((*_APEX, *records))
    rrsets = dns.zonefile.read_rrsets(text, origin=origin, default_ttl=_TTL_SECONDS)
    return Zone(
        origin=origin,
        conduct=situation.conduct,
        schedule=situation.schedule,
        nodes=_nodes(origin, rrsets),
        nodes_absent=_nodes(origin, [r for r in rrsets if r.rdtype != dns.rdatatype.SRV]),
        serial=serial,
    )


def _nodes(origin: dns.name.Name, rrsets: Iterable[dns.rrset.RRset]) -> Nodes:
    nodes: dict[dns.name.Name, dict[dns.rdatatype.RdataType, dns.rrset.RRset]] = {}
    for rrset in rrsets:
        nodes.setdefault(rrset.name, {})[rrset.rdtype] = rrset
        above = rrset.name
        while above != origin:
            above = above.parent()
            nodes.setdefault(above, {})
    return nodes


def respond(wire: bytes, zones: Zones, now: float, *, udp: bool) -> bytes | None:
    """Answer one message as it came from the network; None means that it deserves no answer.

    What is no readable query but has a header is answered FORMERR. A UDP answer is cut to what the client
    takes: glue goes first, and only then the TC bit tells the client to ask over TCP (RFC 2181, 9).
    """
    if len(wire) < _HEADER_BYTES or wire[2] & _QR_BIT:
        return None
    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return _format_error(wire)
    response = answer(query, zones, now)
    if response is None:
        return None
    limit = _udp_limit(query) if udp else _MAX_TCP_BYTES
    return response.to_wire(max_size=limit, prefer_truncation=True)


def _format_error(wire: bytes) -> bytes:
    response = dns.message.Message(id=int.from_bytes(wire[:2], "big"))
    response.flags = dns.flags.QR
    response.set_rcode(dns.rcode.FORMERR)
    return response.to_wire()


def _udp_limit(query: dns.message.Message) -> int:
    if query.edns < 0:
        return _PLAIN_UDP_BYTES
    return min(max(query.payload, _PLAIN_UDP_BYTES), MAX_UDP_BYTES)


def answer(query: dns.message.Message, zones: Zones, now: float) -> dns.message.Message | None:
    """Decide on the answer to a query, `now` in seconds since the start; None is silence.

    Names outside all zones are refused.
    """
    response = dns.message.make_response(query, our_payload=MAX_UDP_BYTES)
    objection = _objection(query)
    if objection is not None:
        response.set_rcode(objection)
        return response
    [question] = query.question
    zone = _zone_of(question.name, zones)
    if zone is None:
        response.set_rcode(dns.rcode.REFUSED)
    elif zone.conduct is Conduct.KEEPS_SILENT:
        return None
    elif zone.conduct in _RCODES:
        response.set_rcode(_RCODES[zone.conduct])
    else:
        _look_up(response, question, zone, now)
    return response


def _objection(query: dns.message.Message) -> dns.rcode.Rcode | None:
    """Tell what is wrong with a query, whatever its name."""
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if query.edns > 0:
        return dns.rcode.BADVERS
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    [question] = query.question
    if dns.rdatatype.is_metatype(question.rdtype):  # ANY, AXFR and the like
        return dns.rcode.NOTIMP
    if question.rdclass != dns.rdataclass.IN:
        return dns.rcode.REFUSED
    return None


def _zone_of(name: dns.name.Name, zones: Zones) -> Zone | None:
    """Find the innermost zone that holds a name."""
    while name not in zones:
        if name == dns.name.root:
            return None
        name = name.parent()
    return zones[name]


def _look_up(response: dns.message.Message, question: dns.rrset.RRset, zone: Zone, now: float) -> None:
    response.flags |= dns.flags.AA
    nodes = zone.at(now)
    name = question.name
    for alias in _aliases(question, nodes):
        response.answer.append(alias)
        name = alias[0].target
    if not name.is_subdomain(zone.origin):
        return  # so the client has to ask for the rest
    node = nodes.get(name)
    if node is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    rrset = node.get(question.rdtype) if node else None
    if rrset is None:
        response.authority.append(zone.soa(now))
        return
    response.answer.append(zone.soa(now) if rrset.rdtype == dns.rdatatype.SOA else rrset)
    if rrset.rdtype in _NAMES_HOSTS:
        response.additional.extend(_glue(rrset, nodes))


def _aliases(question: dns.rrset.RRset, nodes: Nodes) -> Iterable[dns.rrset.RRset]:
    """Follow the aliases that a name stands for, each once, unless it is the alias that is asked for."""
    if question.rdtype == dns.rdatatype.CNAME:
        return []
    chain: list[dns.rrset.RRset] = []
    name = question.name
    while (alias := nodes.get(name, {}).get(dns.rdatatype.CNAME)) and alias not in chain:
        chain.append(alias)
        name = alias[0].target
    return chain


def _glue(rrset: dns.rrset.RRset, nodes: Nodes) -> Iterable[dns.rrset.RRset]:
    """Give the addresses of the targets, but only of those in this zone: others are asked for again."""
    for target in dict.fromkeys(rdata.target for rdata in rrset):
        node = nodes.get(target, {})
        yield from (node[rdtype] for rdtype in _ADDRESSES if rdtype in node)
