"""Single values of the file: text → value object. Each function raises ValueError saying what is wrong.

Pure. The messages end the sentence that the key path begins. The patterns beside the functions say the
same more roughly, for the JSON Schema.
"""

import ipaddress
import re

from exporter import names
from exporter.boundaries import NAT64_LENGTHS
from exporter.config.problems import show
from exporter.model import KMS_PORT, DnsServer, Family, Host, ServerGroup, ServerSelector, is_address

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_WHOLE = frozenset({"y", "w"})
_DURATION = "".join(f"(?:([0-9]+){unit})?" for unit in _UNITS_MS)
DURATION_PATTERN = f"^(0|(?=.){_DURATION.replace('?:([0-9]+)', '[0-9]+')})$"
_MAX_DURATION_MS = 2**63 / 1e6
"""Where Prometheus stops too: its durations are 64-bit nanoseconds."""

ADDRESS_PATTERN = r"^[0-9A-Fa-f.:]+(%[0-9A-Za-z._-]+)?$"
SERVER_PATTERN = r"^(system|authoritative|\[?[0-9A-Fa-f.:]+(%[0-9A-Za-z._-]+)?\]?(:[0-9]{1,5})?)$"
EXPECTED_PATTERN = r"^(?![0-9.]+(:|$))[^\s:]+(:[0-9]{1,5})?$"
NETWORK_PATTERN = r"^[0-9A-Fa-f.:]+(/[0-9.]+)?$"
NAT64_PATTERN = rf"^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/({'|'.join(map(str, NAT64_LENGTHS))})$"
ALLOWED_PATTERN = r"^([^\s:/]+|[0-9A-Fa-f.:]+(/[0-9.]+)?)$"
LABEL_PATTERN = "^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$"
CLIENT_PATTERN = r"^\S(.*\S)?$"
MAX_CLIENT = 100

_SCOPE = re.compile("[0-9A-Za-z._-]{1,15}")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::([^:]*))?")
_PORT = re.compile("[0-9]{1,5}")
_MAX_PORT = 65535
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.DOTALL)

PROMETHEUS_LABELS = frozenset({"alertname", "instance", "job", "le", "quantile"})
OWN_LABELS = frozenset(
    {
        "address",
        "alias_of",
        "certainty",
        "client",
        "code",
        "dns_server",
        "dns_zone",
        "port",
        "priority",
        "python",
        "reason",
        "revision",
        "selection",
        "status",
        "symbol",
        "target",
        "verdict",
        "version",
        "weight",
    }
)
"""Every label of a metric of this exporter."""


def parse_duration(value: object) -> float:
    """Read a duration, such as `1m30s`, as seconds.

    What it looks like: `<duration>` in https://prometheus.io/docs/prometheus/latest/configuration/configuration/
    """
    text = str(value) if isinstance(value, int | float) else value
    if isinstance(text, str) and text.startswith("-") and (value is not text or _is_duration(text[1:])):
        msg = "must not be negative"
        raise ValueError(msg)
    if not isinstance(value, str) or not _is_duration(value):
        msg = "must be a duration with a unit, such as 30s"
        raise ValueError(msg)
    match = re.fullmatch(_DURATION, value)
    counts = match.groups(default="0") if match else ()  # none in a bare 0
    milliseconds = sum(float(n) * unit for n, unit in zip(counts, _UNITS_MS.values(), strict=False))
    if milliseconds > _MAX_DURATION_MS:
        msg = "is longer than 292 years"
        raise ValueError(msg)
    return milliseconds / 1000


def _is_duration(text: str) -> bool:
    return text == "0" or (text != "" and re.fullmatch(_DURATION, text) is not None)


def show_duration(seconds: float) -> str:
    """Write a duration as Prometheus does: years and weeks only where nothing is left over."""
    milliseconds = round(seconds * 1000)
    text = ""
    for unit, size in _UNITS_MS.items():
        if milliseconds >= size and not (unit in _WHOLE and milliseconds % size):
            text += f"{milliseconds // size}{unit}"
            milliseconds %= size
    return text or "0s"


def parse_address(text: str) -> str:
    """Bring the address of one machine into canonical form, an IPv6 scope kept."""
    try:
        address: IPAddress = ipaddress.ip_address(text)
    except ValueError:
        raise _no_address(text) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None and not _SCOPE.fullmatch(address.scope_id):
            raise _no_address(text)
        if address.ipv4_mapped:
            msg = f"must be written as the IPv4 address {address.ipv4_mapped}"
            raise ValueError(msg)
    if address.is_multicast or address.is_unspecified:
        msg = f"{address} is not the address of a machine"
        raise ValueError(msg)
    return str(address)


def _no_address(text: str) -> ValueError:
    return ValueError(f"{show(text)} is not an IP address")


def parse_server(text: str) -> ServerSelector:
    """Read a DNS server: a word of `ServerGroup`, or an address with an optional port."""
    if text in tuple(ServerGroup):
        return ServerGroup(text)
    host, port = _split_port(text)
    if not is_address(host):
        msg = f"{show(text)} is neither `system` nor `authoritative` nor an IP address with an optional port"
        raise ValueError(msg)
    address = parse_address(host)
    return DnsServer(address=address) if port is None else DnsServer(address=address, port=port)


def parse_host(text: str) -> Host:
    """Read a KMS host: a name or an address, with an optional port."""
    host, port = _split_port(text)
    return Host(target=_parse_target(host), port=KMS_PORT if port is None else port)


def _parse_target(host: str) -> str:
    if ":" in host:
        return parse_address(host)
    name = names.parse_name(host)
    # What ends in a number is an address or a slip of the pen: https://url.spec.whatwg.org/#ends-in-a-number-checker
    return parse_address(host) if _ENDS_IN_NUMBER.fullmatch(name) else name


def parse_expected(text: str) -> Host:
    """Read a host that a record can name, with an optional port: not an address (RFC 2782, "Target")."""
    host, port = _split_port(text)
    if ":" in host or _ENDS_IN_NUMBER.fullmatch(name := names.parse_name(host)):
        msg = "must be a name, for a record cannot hold an IP address"
        raise ValueError(msg)
    return Host(target=name, port=KMS_PORT if port is None else port)


def parse_client(text: str) -> str:
    """Check the name of a kind of client, which is shown to people and becomes a label value."""
    if not text:
        msg = "must not be empty"
    elif len(text) > MAX_CLIENT:
        msg = f"is longer than {MAX_CLIENT} characters"
    elif not text.isprintable():
        msg = "holds a character that cannot be shown"
    elif text != text.strip():
        msg = "must not begin or end with a blank"
    else:
        return text
    raise ValueError(msg)


def parse_zone(text: str) -> str:
    """Read the name of a zone, short enough for the SRV prefix in front."""
    name = names.parse_name(text, max_length=253 - len(names.SRV_PREFIX))
    if is_address(name):
        msg = "is an IP address, not a domain name"
        raise ValueError(msg)
    if _ENDS_IN_NUMBER.fullmatch(name):
        msg = "ends in a number, as no domain name does"
        raise ValueError(msg)
    return name


def parse_network(text: str) -> IPNetwork:
    """Read a CIDR; an address alone is a network of one."""
    try:
        network: IPNetwork = ipaddress.ip_network("" if "%" in text else text, strict=False)
    except ValueError:
        msg = f"{show(text)} is not a network such as 10.0.0.0/8"
        raise ValueError(msg) from None
    if network.network_address != ipaddress.ip_address(text.partition("/")[0]):
        msg = f"{show(text)} has bits after the prefix, did you mean {network}?"
        raise ValueError(msg)
    return network


def parse_nat64_prefix(text: str) -> ipaddress.IPv6Network:
    """Read a prefix that makes IPv6 addresses of IPv4 addresses (RFC 6052, 2.2)."""
    network = parse_network(text)
    if not isinstance(network, ipaddress.IPv6Network) or network.prefixlen not in NAT64_LENGTHS:
        *most, last = NAT64_LENGTHS
        msg = f"{show(text)} is not an IPv6 prefix of length {', '.join(map(str, most))} or {last}"
        raise ValueError(msg)
    return network


def parse_allowed(text: str) -> str | IPNetwork:
    """Read what may be looked at on demand: a zone, which stands for those below it too, or a network."""
    return parse_network(text) if "/" in text or is_address(text) else parse_zone(text)


def parse_family(text: str) -> Family:
    """Read an address family."""
    if text not in tuple(Family):
        msg = f"must be {' or '.join(Family)}"
        raise ValueError(msg)
    return Family(text)


def parse_label(text: str) -> str:
    """Check a label name; see https://prometheus.io/docs/concepts/data_model/ and `OWN_LABELS`."""
    if text.startswith("__"):
        msg = "starts with __, which Prometheus keeps for itself"
    elif not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", text):
        msg = "is not a label name: letters, digits and _ only, no digit first"
    elif text in PROMETHEUS_LABELS:
        msg = "is a label that Prometheus itself uses"
    elif text in OWN_LABELS:
        msg = "is a label that this exporter itself uses"
    else:
        return text
    raise ValueError(msg)


def _split_port(text: str) -> tuple[str, int | None]:
    if bracketed := _BRACKETED.fullmatch(text):
        host, port = bracketed.groups()
        if ":" not in host:
            msg = f"{show(host)} in brackets is not an IPv6 address"
            raise ValueError(msg)
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        return text, None
    return host, None if port is None else _parse_port(port)


def _parse_port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= _MAX_PORT:
        msg = f"has a port that is not between 1 and {_MAX_PORT}: {show(text)}"
        raise ValueError(msg)
    return int(text)
