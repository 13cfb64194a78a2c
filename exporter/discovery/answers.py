"""What a DNS answer says: messages in, value objects out.

Pure functions over dnspython's parsed messages; no sockets, no clock. Follows RFC 2782 (SRV), RFC 2308
(NXDOMAIN and NODATA, and the TTL of both), RFC 2181 (10.3: a target is no alias).
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple, cast

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
from exporter.model import (
    NOT_AVAILABLE,
    AddressLookup,
    Family,
    Glue,
    Host,
    IgnoredReason,
    LookupStatus,
    Record,
    SrvLookup,
    fingerprint,
)
from exporter.names import show_labels

ADDRESS_TYPES = {Family.IPV4: dns.rdatatype.A, Family.IPV6: dns.rdatatype.AAAA}
_MAX_NAME_SERVERS = 16
_FAMILIES = {rdtype: family for family, rdtype in ADDRESS_TYPES.items()}
_STATUSES = {
    dns.rcode.NOERROR: LookupStatus.OK,
    dns.rcode.NXDOMAIN: LookupStatus.NXDOMAIN,
    dns.rcode.SERVFAIL: LookupStatus.SERVFAIL,
    dns.rcode.REFUSED: LookupStatus.REFUSED,
}


class Authority(NamedTuple):
    """The zone of authority that an answer names by its SOA record: its apex, and its serial there."""

    apex: str
    serial: int


def show_name(name: dns.name.Name) -> str:
    """Write a name from an answer in the project's canonical form."""
    return show_labels(name.labels)


def read_srv(
    answer: Answer,
    *,
    duration_seconds: float,
    expected: AbstractSet[Host],
    known: AbstractSet[Host],
    limit: int,
) -> SrvLookup:
    """Read the answer to an SRV query.

    At most `limit` records are kept, in a stable order: hosts in `expected` first, then those in `known`,
    then by priority, target and port; so a server that rotates or varies a long answer invents no change.
    """
    status, chain = _resolve(answer)
    authority = read_authority(answer)
    if status is not LookupStatus.OK or chain is None or chain.answer is None:
        return SrvLookup(
            status=status,
            duration_seconds=duration_seconds,
            authoritative=bool(answer.flags & dns.flags.AA) if status.usable else None,
            soa_serial=authority.serial if authority and status.usable else None,
        )
    found = {_record(cast(SRV, rdata)) for rdata in chain.answer}
    valid = {record for record in found if record.port or record.target == NOT_AVAILABLE}
    kept = sorted(
        valid,
        key=lambda r: (r.host not in expected, r.host not in known, r.priority, r.target, r.port, r.weight),
    )[:limit]
    return SrvLookup(
        status=status,
        duration_seconds=duration_seconds,
        records=tuple(sorted(kept)),
        portless=tuple(sorted(found - valid)[:limit]),
        record_count=len(found),
        ttl_seconds=chain.minimum_ttl,
        authoritative=bool(answer.flags & dns.flags.AA),
        fingerprint=fingerprint(found),
        glue=_read_glue(answer, {record.target for record in kept}),
        ignored={
            IgnoredReason.MALFORMED: len(found) - len(valid),
            IgnoredReason.RECORDS_PER_ZONE: len(valid) - len(kept),
        },
    )


def read_status(answer: Answer) -> LookupStatus:
    """Tell how a lookup ended, whatever it asked for."""
    return _resolve(answer)[0]


def read_addresses(answer: Answer) -> AddressLookup:
    """Read the answer to an A or AAAA query; an alias is followed as far as the answer follows it."""
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


def read_authority(answer: Answer) -> Authority | None:
    """Find the SOA record of an answer, be it the answer itself or the authority of a negative one.

    One that does not enclose the name that was asked for belongs to what that name is an alias of.
    """
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
