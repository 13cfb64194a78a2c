"""What a DNS answer says: messages in, value objects out.

Pure functions over messages that dnspython parsed, or that `plain` read in its place; no sockets, no clock.
Follows RFC 2782 (SRV), RFC 2308 (NXDOMAIN and NODATA, and the TTL of both), RFC 2181 (10.3: a target is no
alias).
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import TypeAlias, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.SRV import SRV

from exporter.discovery.exchange import Answer
from exporter.discovery.plain import PlainAnswer
from exporter.discovery.published import Authority, Published, publish
from exporter.model import AddressLookup, Family, Glue, Host, LookupStatus, Queries, Record, SrvLookup
from exporter.names import show_labels

ADDRESS_TYPES = {Family.IPV4: dns.rdatatype.A, Family.IPV6: dns.rdatatype.AAAA}
Readable: TypeAlias = Answer | PlainAnswer
"""A response, whoever read it."""
_MAX_NAME_SERVERS = 16
_FAMILIES = {rdtype: family for family, rdtype in ADDRESS_TYPES.items()}
_STATUSES = {
    dns.rcode.NOERROR: LookupStatus.OK,
    dns.rcode.NXDOMAIN: LookupStatus.NXDOMAIN,
    dns.rcode.SERVFAIL: LookupStatus.SERVFAIL,
    dns.rcode.REFUSED: LookupStatus.REFUSED,
}


def show_name(name: dns.name.Name) -> str:
    """Write a name from an answer in the project's canonical form."""
    return show_labels(name.labels)


def read_srv(
    answer: Readable,
    *,
    duration_seconds: float,
    expected: AbstractSet[Host],
    known: AbstractSet[Host],
    limit: int,
    queries: Queries = (),
) -> SrvLookup:
    """Read the answer to an SRV query.

    At most `limit` records are kept, in a stable order: hosts in `expected` first, then those in `known`,
    then by priority, target and port; so a server that rotates or varies a long answer invents no change.
    """
    status, published = _read_published(answer)
    if published is None:
        authority = read_authority(answer)
        return SrvLookup(
            status=status,
            duration_seconds=duration_seconds,
            authoritative=_is_authoritative(answer) if status.usable else None,
            soa_serial=authority.serial if authority and status.usable else None,
            queries=queries,
        )
    kept = published.within(limit, expected, known)
    return SrvLookup(
        status=status,
        duration_seconds=duration_seconds,
        records=kept.records,
        portless=kept.portless,
        record_count=kept.record_count,
        ttl_seconds=kept.ttl_seconds,
        authoritative=_is_authoritative(answer),
        fingerprint=kept.fingerprint,
        glue=kept.glue,
        ignored=kept.ignored,
        queries=queries,
    )


def read_status(answer: Readable) -> LookupStatus:
    """Tell how a lookup ended, whatever it asked for."""
    return answer.status if isinstance(answer, PlainAnswer) else _resolve(answer)[0]


def read_addresses(answer: Readable) -> AddressLookup:
    """Read the answer to an A or AAAA query; an alias is followed as far as the answer follows it."""
    if isinstance(answer, PlainAnswer):
        return answer.addresses or AddressLookup(status=answer.status)
    status, chain = _resolve(answer)
    if chain is None:
        return AddressLookup(status=status)
    return AddressLookup(
        status=status,
        addresses=_addresses(chain.answer) if chain.answer else (),
        alias_of=show_name(chain.canonical_name) if chain.cnames else None,
        ttl_seconds=chain.minimum_ttl if status.usable else 0,
    )


def read_name_servers(answer: Answer) -> tuple[str, ...]:
    """Read the names of the name servers in the answer to an NS query; none when it holds none.

    Those that an alias leads to are not of the zone that was asked for. A zone has few servers (RFC 1912,
    2.8): of a long list only the first in order are taken.
    """
    _, chain = _resolve(answer)
    if chain is None or chain.answer is None or chain.cnames:
        return ()
    return tuple(sorted(show_name(cast(NS, rdata).target) for rdata in chain.answer))[:_MAX_NAME_SERVERS]


def is_alias(answer: Answer) -> bool:
    """Tell whether the name that was asked for is only another name for something else."""
    _, chain = _resolve(answer)
    return chain is not None and bool(chain.cnames)


def read_authority(answer: Readable) -> Authority | None:
    """Find the SOA record of an answer, be it the answer itself or the authority of a negative one.

    One that does not enclose the name that was asked for belongs to what that name is an alias of.
    """
    if isinstance(answer, PlainAnswer):
        return answer.authority
    for rrset in (*answer.answer, *answer.authority):
        if rrset.rdtype == dns.rdatatype.SOA and any(
            question.name.is_subdomain(rrset.name) for question in answer.question
        ):
            return Authority(apex=show_name(rrset.name), serial=cast(SOA, rrset[0]).serial)
    return None


def _resolve(answer: Answer) -> tuple[LookupStatus, dns.message.ChainingResult | None]:
    status = _STATUSES.get(answer.rcode(), LookupStatus.BAD_RESPONSE)
    if not status.usable:
        return status, None
    try:
        chain = answer.resolve_chaining()
    except dns.exception.DNSException:
        return LookupStatus.BAD_RESPONSE, None
    if status is LookupStatus.OK and chain.answer is None:
        status = LookupStatus.BAD_RESPONSE if _is_referral(answer) else LookupStatus.NODATA
    return status, chain


def _is_referral(answer: Answer) -> bool:
    """Whether the server only points elsewhere (RFC 2308, 2.2): that says nothing of what is published."""
    types = {rrset.rdtype for rrset in answer.authority}
    return dns.rdatatype.NS in types and dns.rdatatype.SOA not in types


def _is_authoritative(answer: Readable) -> bool:
    return answer.authoritative if isinstance(answer, PlainAnswer) else bool(answer.flags & dns.flags.AA)


def _read_published(answer: Readable) -> tuple[LookupStatus, Published | None]:
    """Find the SRV records of an answer, and tell how the lookup ended."""
    if isinstance(answer, PlainAnswer):
        return answer.status, answer.published
    status, chain = _resolve(answer)
    if status is not LookupStatus.OK or chain is None or chain.answer is None:
        return status, None
    found = {_record(cast(SRV, rdata)) for rdata in chain.answer}
    glue = _read_glue(answer, {record.target for record in found})
    return status, publish(found, ttl_seconds=chain.minimum_ttl, glue=glue)


def _record(rdata: SRV) -> Record:
    return Record(
        priority=rdata.priority, weight=rdata.weight, port=rdata.port, target=show_name(rdata.target)
    )


def _addresses(rrset: Iterable[dns.rdata.Rdata]) -> tuple[str, ...]:
    return tuple(sorted(cast(A, rdata).address for rdata in rrset))  # AAAA has the same attribute


def _read_glue(answer: Answer, targets: AbstractSet[str]) -> Glue:
    glue: dict[tuple[str, Family], AddressLookup] = {}
    for rrset in answer.additional:
        family = _FAMILIES.get(rrset.rdtype) if rrset.rdclass == dns.rdataclass.IN else None
        if family is not None and (target := show_name(rrset.name)) in targets:
            glue[target, family] = AddressLookup(
                status=LookupStatus.OK, addresses=_addresses(rrset), ttl_seconds=rrset.ttl
            )
    return glue
