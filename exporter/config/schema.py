"""The configuration as typed, immutable objects, and as a JSON Schema of the file.

Each field checks only itself; what concerns several fields is in `exporter.config.validation`. Descriptions
are shown by editors, so they speak to the person who writes the file.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv6Network
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from exporter.config import values
from exporter.model import Family, Host, ServerSelector

T = TypeVar("T")
_MAX_LIMIT = 10_000


def _text(parse: Callable[[str], T]) -> PlainValidator:
    def validate(value: object) -> T:
        if not isinstance(value, str):
            msg = "must be text: put it in quotes"
            raise ValueError(msg)  # noqa: TRY004 -- pydantic collects ValueErrors and lets TypeErrors escape
        return parse(value)

    return PlainValidator(validate)


def _duration(smallest: float, message: str) -> PlainValidator:
    def validate(value: object) -> float:
        seconds = values.parse_duration(value)
        if seconds < smallest:
            raise ValueError(message)
        return seconds

    return PlainValidator(validate)


def _not_null(value: object) -> object:
    if value is None:
        msg = "must be a list"
        raise ValueError(msg)
    return value


def _not_empty(value: object) -> object:
    # Not min_length: pydantic counts only good items, and so would call a list of bad ones empty.
    if value == ():
        msg = "must not be empty"
        raise ValueError(msg)
    return _not_null(value)


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]  # null, which the file may not hold


def _string(pattern: str, *examples: str, **more: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples), **more})


def _list(item: WithJsonSchema, **more: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "array", "items": item.json_schema, **more, "uniqueItems": True})


_DURATION_SCHEMA = _string(values.DURATION_PATTERN, "5s", "1m30s", "24h")
_SERVER_SCHEMA = _string(
    values.SERVER_PATTERN, "system", "authoritative", "10.0.0.10", "10.0.0.10:5353", "[2001:db8::53]:5353"
)
_EXPECTED_SCHEMA = _string(values.EXPECTED_PATTERN, "kms1.contoso.com", "kms2.contoso.com:1689")
_LABELS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "propertyNames": {
        "pattern": values.LABEL_PATTERN,
        "not": {"enum": sorted(values.PROMETHEUS_LABELS | values.OWN_LABELS)},
    },
    "additionalProperties": {"type": "string"},
}

_WATCHED: list[Any] = [
    *({"required": [key]} for key in ("zones", "hosts", "clients")),
    {
        "required": ["web"],
        "properties": {"web": {"required": ["probe_allow"], "properties": {"probe_allow": {"minItems": 1}}}},
    },
]

Interval = Annotated[float, _duration(1, "must be at least 1s"), _DURATION_SCHEMA]
Timeout = Annotated[float, _duration(0.001, "must be longer than 0s"), _DURATION_SCHEMA]
Duration = Annotated[float, _duration(0, "must not be negative"), _DURATION_SCHEMA]
Address = Annotated[
    str, _text(values.parse_address), _string(values.ADDRESS_PATTERN, "10.1.2.3", "2001:db8::5")
]
Server = Annotated[ServerSelector, _text(values.parse_server), _SERVER_SCHEMA]
OwnServers = Annotated[
    tuple[Server, ...] | None, BeforeValidator(_not_empty), _list(_SERVER_SCHEMA, minItems=1)
]
Network = Annotated[
    values.IPNetwork,
    _text(values.parse_network),
    _string(values.NETWORK_PATTERN, "10.0.0.0/8", "2001:db8::/32"),
]
Nat64Prefix = Annotated[
    IPv6Network, _text(values.parse_nat64_prefix), _string(values.NAT64_PATTERN, "2001:db8:64::/96")
]
Allowed = Annotated[
    str | values.IPNetwork,
    _text(values.parse_allowed),
    _string(values.ALLOWED_PATTERN, "contoso.com", "10.0.0.0/8", "2001:db8::/32"),
]
AddressFamily = Annotated[
    Family, _text(values.parse_family), WithJsonSchema({"type": "string", "enum": list(map(str, Family))})
]
Port = Annotated[int, Field(ge=1, le=65535)]
ZoneName = Annotated[str, _text(values.parse_zone), _string(r"^\S+$", "contoso.com")]
ExpectedHost = Annotated[Host, _text(values.parse_expected), _EXPECTED_SCHEMA]
StaticHost = Annotated[
    Host,
    _text(values.parse_host),
    _string(r"^\S+$", "kms.contoso.com", "kms.contoso.com:1689", "10.1.2.3", "[2001:db8::5]:1688"),
]
ClientName = Annotated[
    str,
    _text(values.parse_client),
    _string(values.CLIENT_PATTERN, "branch-workgroup", maxLength=values.MAX_CLIENT),
]
LabelName = Annotated[str, _text(values.parse_label)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Dns(_Section):
    """How DNS is asked."""

    servers: Annotated[tuple[Server, ...], BeforeValidator(_not_empty)] = Field(
        default=("system",),
        validate_default=True,
        description="DNS servers to ask, each of them on its own: `system` is each server in resolv.conf,"
        " `authoritative` every name server of the zone, anything else an address with an optional port.",
        json_schema_extra={"minItems": 1, "uniqueItems": True},
    )
    attempts: int = Field(
        default=2,
        ge=1,
        le=10,
        description="How often a query is sent over UDP before it counts as unanswered.",
    )


class Probe(_Section):
    """How hosts are probed, and which addresses may be."""

    rpc_bind: bool = Field(
        default=True, description="After the TCP handshake, ask whether the KMS RPC interface is there."
    )
    address_families: Annotated[tuple[AddressFamily, ...], BeforeValidator(_not_empty)] = Field(
        default=tuple(map(str, Family)),
        validate_default=True,
        description="Kinds of addresses to look up and to probe.",
        json_schema_extra={"minItems": 1, "uniqueItems": True},
    )
    max_concurrency: int = Field(
        default=256, ge=1, le=_MAX_LIMIT, description="How many probes may be under way at the same time."
    )
    networks: tuple[Network, ...] = Field(
        default=(),
        description="Networks that probed addresses must be in. When empty: anywhere but loopback,"
        " link-local, multicast, broadcast and unspecified addresses.",
        json_schema_extra={"uniqueItems": True},
    )
    ports: tuple[Port, ...] = Field(
        default=(),
        description="Ports that may be probed. When empty: any.",
        json_schema_extra={"uniqueItems": True},
    )
    nat64_prefixes: tuple[Nat64Prefix, ...] = Field(
        default=(),
        description="NAT64 prefixes of this network besides the well-known 64:ff9b::/96. An address in one of"
        " them counts as the IPv4 address that it stands for.",
        json_schema_extra={"uniqueItems": True},
    )


class Limits(_Section):
    """How much a hostile or broken DNS answer can make the exporter do."""

    records_per_zone: int = Field(
        default=64, ge=1, le=_MAX_LIMIT, description="SRV records used of one answer."
    )
    addresses_per_target: int = Field(
        default=16, ge=1, le=_MAX_LIMIT, description="Addresses used of one target."
    )
    probes_per_check: int = Field(
        default=256,
        ge=1,
        le=_MAX_LIMIT,
        description="Endpoints probed by one check of a zone, static host or kind of client: expected hosts"
        " first, then those known already.",
    )
    vanished_per_zone: int = Field(
        default=64, ge=0, le=_MAX_LIMIT, description="Vanished records remembered of one zone."
    )


class Web(_Section):
    """What the HTTP pages do."""

    probe_allow: tuple[Allowed, ...] = Field(
        default=(),
        description="What /probe may look at besides the zones, hosts and DNS servers that are configured: a"
        " domain allows itself and all below it, a network the hosts and DNS servers in it.",
        json_schema_extra={"uniqueItems": True},
    )
    probe_only: bool = Field(
        default=False,
        description="Check nothing on a timer: zones and hosts are looked at only when /probe asks.",
    )


class Zone(_Section):
    """A DNS domain in which clients look up KMS hosts."""

    name: ZoneName = Field(description="The domain: clients look up _vlmcs._tcp.NAME.")
    dns_servers: OwnServers = Field(
        default=None,
        description="DNS servers to ask for this zone, in place of dns.servers.",
        json_schema_extra=_without_default,
    )
    expected: Annotated[
        tuple[ExpectedHost, ...] | None, BeforeValidator(_not_null), _list(_EXPECTED_SCHEMA)
    ] = Field(
        default=None,
        description="KMS hosts that should be published here: names, port 1688 unless given. When absent:"
        " no opinion. When empty: nothing may be published.",
        json_schema_extra=_without_default,
    )
    labels: Annotated[Mapping[LabelName, str], WithJsonSchema(_LABELS_SCHEMA)] = Field(
        default_factory=dict,
        description="Labels of kms_zone_info, for routing alerts. Zones that have labels must all have the"
        " same ones.",
        examples=[{"team": "workplace", "site": "ams"}],
    )


class Client(_Section):
    """A kind of client: where it looks for KMS hosts, and in which order."""

    name: ClientName = Field(description="What to call it: the value of the label client.")
    suffixes: Annotated[tuple[ZoneName, ...], BeforeValidator(_not_empty)] = Field(
        description="DNS domains in the order in which it looks them up; the first with records wins.",
        json_schema_extra={"minItems": 1, "uniqueItems": True},
    )
    dns_servers: OwnServers = Field(
        default=None,
        description="DNS servers that it asks, in place of dns.servers.",
        json_schema_extra=_without_default,
    )


class Config(_Section):
    """Configuration of kms-exporter: which KMS zones and hosts to watch, and how."""

    model_config = ConfigDict(
        title="kms-exporter configuration",
        json_schema_extra={"anyOf": _WATCHED},
    )

    interval: Interval = Field(
        default="60s",
        validate_default=True,
        description="How often every zone, static host and kind of client is checked.",
    )
    timeout: Timeout = Field(
        default="5s",
        validate_default=True,
        description="Time for each single step, such as one DNS query or one connect; shorter than the"
        " interval.",
    )
    source_addresses: tuple[Address, ...] = Field(
        default=(),
        description="Addresses to send from: at most one IPv4 and one IPv6 address.",
        json_schema_extra={"maxItems": 2},
    )
    dns: Dns = Field(default_factory=Dns)
    probe: Probe = Field(default_factory=Probe)
    web: Web = Field(default_factory=Web)
    limits: Limits = Field(default_factory=Limits)
    forget_after: Duration = Field(
        default="24h",
        validate_default=True,
        description="How long a vanished record is still reported as not published.",
    )
    zones: tuple[Zone, ...] = Field(default=(), description="DNS domains to watch.")
    hosts: tuple[StaticHost, ...] = Field(
        default=(),
        description="KMS hosts that clients are assigned to by hand (slmgr /skms): a name or an address,"
        " port 1688 unless given. They are not looked up in any zone.",
        json_schema_extra={"uniqueItems": True},
    )
    clients: tuple[Client, ...] = Field(
        default=(), description="Kinds of clients that search several domains, and how they do."
    )

    def servers_of(self, subject: Zone | Client) -> tuple[ServerSelector, ...]:
        """The DNS servers to ask for a zone, or that a kind of client asks."""
        return subject.dns_servers or self.dns.servers


def json_schema() -> dict[str, Any]:
    """Describe the file, rather than what is made of it, as a JSON Schema."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **Config.model_json_schema()}
