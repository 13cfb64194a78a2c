"""Value objects that every layer shares: what was asked, what was seen, and when.

This module owns the nouns of the project (zone, DNS server, record, host, endpoint, check) and nothing else:
no I/O, no clock, no configuration, no metric name. Everything here is immutable, so a result can be handed
to another task or thread without a copy. The vocabulary is that of RFC 2782: https://www.rfc-editor.org/rfc/rfc2782
"""

import enum
import functools
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

DNS_PORT = 53
KMS_PORT = 1688
NOT_AVAILABLE = "."
"""The SRV target that says "decidedly not available at this domain" (RFC 2782, "Target")."""


class Family(enum.StrEnum):
    """An address family, spelled as in the configuration."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


def family_of(address: str) -> Family:
    """Tell the family of a literal IP address."""
    return Family.IPV6 if ":" in address else Family.IPV4


class LookupStatus(enum.StrEnum):
    """How a DNS lookup ended; the closed vocabulary of `kms_srv_lookup_status`."""

    OK = "ok"
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    BAD_RESPONSE = "bad_response"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    LOCAL_ERROR = "local_error"

    @property
    def usable(self) -> bool:
        """Whether the answer says what is published: records, or surely none (RFC 2308)."""
        return self in _USABLE

    @property
    def answered(self) -> bool:
        """Whether the server sent anything at all, be it an error."""
        return self not in _UNANSWERED


_USABLE = frozenset({LookupStatus.OK, LookupStatus.NXDOMAIN, LookupStatus.NODATA})
_UNANSWERED = frozenset({LookupStatus.TIMEOUT, LookupStatus.UNREACHABLE, LookupStatus.LOCAL_ERROR})


class ProbeFailure(enum.StrEnum):
    """Why an endpoint is not up; the closed vocabulary of `kms_endpoint_failure`."""

    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    LOCAL_ERROR = "local_error"
    NOT_ALLOWED = "not_allowed"
    RPC_TIMEOUT = "rpc_timeout"
    RPC_CLOSED = "rpc_closed"
    RPC_BUSY = "rpc_busy"
    NOT_RPC = "not_rpc"
    INTERFACE_UNKNOWN = "interface_unknown"
    RPC_REJECTED = "rpc_rejected"


class IgnoredReason(enum.StrEnum):
    """Why a record, address or name server was left out; limits are named as in the configuration."""

    RECORDS_PER_ZONE = "records_per_zone"
    ADDRESSES_PER_TARGET = "addresses_per_target"
    VANISHED_PER_ZONE = "vanished_per_zone"
    PROBES_PER_CHECK = "probes_per_check"
    NOT_ALLOWED = "not_allowed"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DnsServer:
    """One DNS server by address: one client's point of view."""

    address: str
    port: int = DNS_PORT

    @property
    def label(self) -> str:
        """The value of the label `dns_server`: the address, with the port only where it is not 53."""
        if self.port == DNS_PORT:
            return self.address
        return host_port(self.address, self.port)


class ServerGroup(enum.StrEnum):
    """A word in place of an address, for servers that are found out at each check."""

    SYSTEM = "system"
    AUTHORITATIVE = "authoritative"


ServerSelector = DnsServer | ServerGroup

Groups = Mapping[ServerGroup, tuple[DnsServer, ...]]
"""The servers that a group stands for at one moment."""


class Host(NamedTuple):
    """A KMS host: the target of a record, or one assigned statically, and its port.

    A tuple, as record and endpoint are: all three are keys everywhere, and a tuple is hashed the fastest.
    """

    target: str
    port: int


class Record(NamedTuple):
    """One SRV record (RFC 2782), its target in canonical form."""

    priority: int
    weight: int
    port: int
    target: str

    @property
    def host(self) -> Host:
        """Target and port: what tells a record from others whatever its priority and weight."""
        return Host(self.target, self.port)


def hosts_of(records: Iterable[Record]) -> frozenset[Host]:
    """Give the hosts that records name; the target `.` names none."""
    return frozenset(record.host for record in records if record.target != NOT_AVAILABLE)


def fingerprint(records: Iterable[Record] = ()) -> int:
    """Give a number that the same set of records shares, whatever their order; good within one process."""
    return hash(frozenset(records))


class Endpoint(NamedTuple):
    """One address of a host: what gets probed."""

    target: str
    port: int
    address: str

    @property
    def host(self) -> Host:
        """The host that this is an address of."""
        return Host(self.target, self.port)


TRUNCATED = "truncated"
UNFINISHED = "unfinished"
"""The outcome of a query that the deadline of a check cut off, be it before it was sent."""


class Query(NamedTuple):
    """One DNS message that was sent, and what came of it.

    `asked_at` is Unix time, `duration_seconds` None for what was not finished. `outcome` is the response code
    or what a lookup's status would say, TRUNCATED or UNFINISHED; `answers` counts the records of the
    answer section, `authoritative` is the AA bit of a response.
    """

    dns_server: str
    name: str
    rdtype: str
    transport: Literal["udp", "tcp"]
    asked_at: float
    outcome: str
    duration_seconds: float | None = None
    edns: bool = True
    answers: int = 0
    authoritative: bool | None = None


Queries = tuple[Query, ...]
"""The queries that led to a result, in order; they are no part of what it says, but a tuple compares them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressLookup:
    """The addresses of one family that one DNS server gives for a name.

    `ttl_seconds` bounds the reuse of the result; for a negative answer it is the one of RFC 2308.
    """

    status: LookupStatus
    addresses: tuple[str, ...] = ()
    alias_of: str | None = None
    ttl_seconds: int = 0
    queries: Queries = field(default=(), compare=False)


Glue = Mapping[tuple[str, Family], AddressLookup]
"""Addresses by (target, family) that came along in the additional section of an SRV answer."""


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


class SrvLookup(NamedTuple):
    """What one DNS server answered when asked for the SRV records of a zone.

    `record_count` counts the answer as it came, `records` holds those that are well formed and
    within the limits, sorted; `portless` are those that name port 0, to which nothing can connect, within the
    same limit. `ttl_seconds` is the smallest TTL of a positive answer. `fingerprint` tells
    whether two answers hold the same set of records, those left out of `records` included.
    """

    status: LookupStatus
    duration_seconds: float
    records: tuple[Record, ...] = ()
    portless: tuple[Record, ...] = ()
    record_count: int = 0
    ttl_seconds: int | None = None
    authoritative: bool | None = None
    soa_serial: int | None = None
    fingerprint: int = hash(frozenset())
    glue: Glue = _nothing()
    ignored: Mapping[IgnoredReason, int] = _nothing()
    queries: Queries = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLookup:
    """The addresses of a target as one DNS server gives them.

    `addresses` are current; `probed` adds those of the last usable answer of a family whose lookup
    fails now, for they go on being probed. `failure` is set only while no address can be had. `asked` is
    False where the server had just failed to answer another question, or the check ended before its answer.
    """

    target: str
    addresses: tuple[str, ...] = ()
    probed: tuple[str, ...] = ()
    failure: LookupStatus | None = None
    alias_of: str | None = None
    ignored: int = 0
    asked: bool = True
    queries: Queries = field(default=(), compare=False)


class ProbeResult(NamedTuple):
    """One probe of one endpoint.

    `connect_seconds` is the round trip of the TCP handshake, None when it failed; `rpc_bind_seconds` the time
    from the RPC bind to its acceptance, None when that failed or was not tried. Times are Unix time:
    `started_at` is None for a probe that did not take place, `connected_at` without a handshake;
    `finished_monotonic` orders results whatever is done to the clock. `ignored` says why it is `not_allowed`.
    """

    endpoint: Endpoint
    finished_at: float
    finished_monotonic: float
    started_at: float | None = None
    connected_at: float | None = None
    failure: ProbeFailure | None = None
    ignored: IgnoredReason | None = None
    connect_seconds: float | None = None
    rpc_bind_seconds: float | None = None
    syn_retransmits: int = 0

    @property
    def up(self) -> bool:
        """Whether the probe went all the way."""
        return self.failure is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCheck:
    """One zone seen through one DNS server: its answer and the addresses of the targets there.

    `targets` has also the targets of the last usable answer, and of hosts that vanished or are missing.
    `asked` is False for the stand-in of a group that led to no server: then no lookup took place.
    """

    dns_server: str
    lookup: SrvLookup
    targets: tuple[TargetLookup, ...] = ()
    asked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneCheck:
    """One look at a zone: every DNS server's answer, and a probe of every endpoint they lead to.

    `groups` are the servers that each group among the configured ones stood for, `queries` those that found
    them, `refused` those among them that may not be asked.
    """

    zone: str
    finished_at: float
    duration_seconds: float
    servers: tuple[ServerCheck, ...]
    probes: tuple[ProbeResult, ...]
    groups: Groups = field(default_factory=_nothing)
    refused: tuple[DnsServer, ...] = ()
    queries: Queries = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a kind of client looks for a host: the suffixes that it tries, in order."""

    client: str
    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCheck:
    """One look at all that a kind of client would search: a check of each suffix, in its order.

    Every suffix is looked up at the same DNS servers: those of the client.
    """

    client: str
    suffixes: tuple[ZoneCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCheck:
    """One look at a statically assigned host.

    `targets` has its addresses by the label of the DNS server that gave them, `""` for a host that is an
    address itself.
    """

    host: Host
    finished_at: float
    targets: Mapping[str, TargetLookup]
    probes: tuple[ProbeResult, ...]
    duration_seconds: float = 0.0
    groups: Groups = field(default_factory=_nothing)
    refused: tuple[DnsServer, ...] = ()
    queries: Queries = field(default=(), compare=False)


Found = ZoneCheck | HostCheck | ClientCheck
"""What a check finds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the next check of a zone or static host has to know: what was seen before, and what should be.

    `records` are the last usable answer of each DNS server, `addresses` those last probed for a
    (DNS server, target), `vanished` the hosts that no server publishes any more, `expected` those that the
    configuration says should be published.
    """

    records: Mapping[str, tuple[Record, ...]] = field(default_factory=_nothing)
    vanished: tuple[Host, ...] = ()
    expected: tuple[Host, ...] = ()
    addresses: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=_nothing)
    endpoints: tuple[Endpoint, ...] = ()
    groups: Groups = field(default_factory=_nothing)


def endpoints_of(hosts: Iterable[Host], targets: Iterable[TargetLookup]) -> frozenset[Endpoint]:
    """Pair hosts with the addresses that go on being probed for their targets."""
    addresses: dict[str, set[str]] = {}
    for lookup in targets:
        addresses.setdefault(lookup.target, set()).update(lookup.probed)
    return frozenset(
        Endpoint(host.target, host.port, address)
        for host in hosts
        for address in addresses.get(host.target, ())
    )


@functools.lru_cache(maxsize=10_000)
def host_port(host: str, port: int) -> str:
    """Join a host name or address and a port, an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_address(text: str) -> bool:
    """Tell a literal IP address from a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
