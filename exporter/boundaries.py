"""Where the exporter may connect, for it is DNS that says where: a record can point anywhere.

Pure functions of an address and a port; names play no part. An IPv6 address that stands for an IPv4 address
is judged by both, for a translator or a tunnel on the way connects to the latter:

| form | specification |
| --- | --- |
| IPv4-mapped, IPv4-compatible | RFC 4291, 2.5.5: https://www.rfc-editor.org/rfc/rfc4291 |
| IPv4-translated | RFC 2765, 2.1: https://www.rfc-editor.org/rfc/rfc2765 |
| NAT64 | RFC 6052, 2.2, and RFC 8215: https://www.rfc-editor.org/rfc/rfc6052 |
| 6to4, Teredo | RFC 3056, 2, and RFC 4380, 4: https://www.rfc-editor.org/rfc/rfc4380 |
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

Network = IPv4Network | IPv6Network

NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)
"""How long a NAT64 prefix can be (RFC 6052, 2.2)."""

_TRANSLATED = tuple(map(IPv6Network, ("::ffff:0:0:0/96", "64:ff9b::/96")))
_COMPATIBLE = IPv6Network("::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_THIS_HOST = IPv4Network("0.0.0.0/8")
_BROADCAST = IPv4Address("255.255.255.255")
_IPV6_ITSELF = frozenset({IPv6Address("::"), IPv6Address("::1")})
_BITS_32 = 2**32 - 1
_BITS_56 = 2**56 - 1


class _Form(NamedTuple):
    """One way to read an IPv6 address: the prefix that says so, and the IPv4 addresses that it stands for.

    `translated` tells a translator, which has no other way to go, from a tunnel, around which an address may
    be routed like any other.
    """

    prefix: IPv6Network
    embedded: tuple[IPv4Address, ...]
    translated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries:
    """Where connections may go: to these networks and ports; without networks, to what is not suspicious.

    Suspicious are loopback, link-local, multicast, broadcast and unspecified addresses: what this machine
    reaches there, and what clients do, are not the same. `nat64_prefixes` are those of this network besides
    the well-known one, each of a length in NAT64_LENGTHS.
    """

    networks: tuple[Network, ...] = ()
    ports: tuple[int, ...] = ()
    nat64_prefixes: tuple[IPv6Network, ...] = ()

    def allows(self, address: str, port: int) -> bool:
        """Tell whether something at a literal address may be connected to on this port."""
        if self.ports and port not in self.ports:
            return False
        return self.lists(address) if self.networks else not self._is_suspicious(address)

    def allows_name_server(self, address: str) -> bool:
        """Tell whether a name server that DNS named may be asked: anywhere not suspicious, or listed."""
        return not self._is_suspicious(address) or self.lists(address)

    def lists(self, address: str) -> bool:
        """Tell whether the networks hold an address, in all forms in which it can be read.

        One that stands for IPv4 addresses is in when these are, and it is itself too if a tunnel leads to
        them; or by a network within the very prefix that makes it stand for them: ::/0 lets nobody reach
        127.0.0.1 through a translator.
        """
        ip = _plain(address)
        forms = tuple(self._forms(ip))
        return all(self._lists_form(ip, form) for form in forms) if forms else self._holds(ip)

    def _lists_form(self, ip: IPv4Address | IPv6Address, form: _Form) -> bool:
        if all(map(self._holds, form.embedded)) and (form.translated or self._holds(ip)):
            return True
        meant = any(
            isinstance(network, IPv6Network) and network.subnet_of(form.prefix) and ip in network
            for network in self.networks
        )
        return meant and all(self._holds(each) or not _is_suspicious(each) for each in form.embedded)

    def _holds(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in network for network in self.networks)

    def _is_suspicious(self, address: str) -> bool:
        ip = _plain(address)
        return _is_suspicious(ip) or any(
            _is_suspicious(each) for form in self._forms(ip) for each in form.embedded
        )

    def _forms(self, ip: IPv4Address | IPv6Address) -> Iterator[_Form]:
        """Read an IPv6 address in every way in which something on its way may."""
        if isinstance(ip, IPv4Address) or ip in _IPV6_ITSELF:
            return
        own = [prefix for prefix in self.nat64_prefixes if ip in prefix]
        for prefix in own:
            yield _Form(prefix, (_read_nat64(ip, prefix.prefixlen),))
        for prefix in (*_TRANSLATED, _COMPATIBLE):
            if ip in prefix:
                yield _Form(prefix, (_read_nat64(ip, 96),), translated=prefix != _COMPATIBLE)
        if ip in _LOCAL_NAT64 and not own:
            yield _Form(_LOCAL_NAT64, _guess_nat64(ip))
        if ip.sixtofour:
            yield _Form(_SIX_TO_FOUR, (ip.sixtofour,), translated=False)
        if ip.teredo:
            yield _Form(_TEREDO, ip.teredo, translated=False)


def _plain(address: str) -> IPv4Address | IPv6Address:
    """Read an address without its scope; the kernel connects to an IPv4-mapped one as to the IPv4 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def _is_suspicious(ip: IPv4Address | IPv6Address) -> bool:
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return True
    return ip in _THIS_HOST or ip == _BROADCAST


def _read_nat64(ip: IPv6Address, length: int) -> IPv4Address:
    """Take out the IPv4 address that follows a prefix of this length; octet 8 is skipped whatever it is."""
    bits = int(ip)
    if length == max(NAT64_LENGTHS):
        return IPv4Address(bits & _BITS_32)
    without_octet = (bits >> 64 << 56) | (bits & _BITS_56)
    return IPv4Address(without_octet >> (120 - 32 - length) & _BITS_32)


def _guess_nat64(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    """Read an address of the local prefix, of which any part may be in use, in each layout that fits.

    What comes out as 0.x.y.z, as a layout does that is not the one in use, counts only if nothing else does.
    """
    fitting = (length for length in NAT64_LENGTHS if length >= _LOCAL_NAT64.prefixlen)
    found = tuple(dict.fromkeys(_read_nat64(ip, length) for length in fitting))
    return tuple(each for each in found if each not in _THIS_HOST) or found
