"""What this machine itself would do to resolve a name: the servers and suffixes of resolv.conf.

Reads one local file and asks nobody. The format is that of resolv.conf(5),
https://man7.org/linux/man-pages/man5/resolv.conf.5.html. dnspython's reader refuses the whole file for
one bad line and wants a server in it; here a bad line costs only itself, as with the C library.
"""

import contextlib
import ipaddress
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.files import read_file
from exporter.model import DnsServer, LookupStatus, is_address
from exporter.names import parse_name

RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvConf:
    """The DNS servers and the search suffixes of a machine, each in the order of the file.

    `missing` is why there is no server to ask, where there is none.
    """

    servers: tuple[DnsServer, ...] = ()
    search: tuple[str, ...] = ()
    missing: LookupStatus = LookupStatus.UNREACHABLE


def read_resolv_conf(path: Path = RESOLV_CONF) -> ResolvConf:
    """Read resolv.conf as it is now; a file that cannot be read holds nothing.

    One that is not there says that there is no server; one that this machine cannot read, for want of file
    descriptors say, does not.
    """
    text, missing = "", LookupStatus.UNREACHABLE
    try:
        text = read_file(path).decode(errors="replace")
    except FileNotFoundError:
        pass
    except (OSError, MemoryError):
        missing = LookupStatus.LOCAL_ERROR
    return replace(parse_resolv_conf(text, hostname=socket.gethostname()), missing=missing)


def parse_resolv_conf(text: str, *, hostname: str) -> ResolvConf:
    """Parse resolv.conf; the suffix of `hostname` stands in where the file names none."""
    servers: list[str] = []
    search = [hostname.partition(".")[2]]
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values and is_address(values[0]):
            servers.append(str(ipaddress.ip_address(values[0])))  # an IPv6 address has many spellings
        elif keyword in {"search", "domain"} and values:
            search = values if keyword == "search" else values[:1]
    return ResolvConf(
        servers=tuple(DnsServer(address=address) for address in dict.fromkeys(servers)),
        search=tuple(dict.fromkeys(_valid_names(search))),
    )


def _valid_names(texts: list[str]) -> list[str]:
    names = []
    for text in texts:
        with contextlib.suppress(ValueError):
            names.append(parse_name(text))
    return names
