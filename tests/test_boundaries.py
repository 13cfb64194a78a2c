"""Where the exporter may connect: IPv4, IPv6, and all that stands for an IPv4 address in between."""

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.boundaries import NAT64_LENGTHS, Boundaries, Network

OWN = "2001:db8:64::/96"


def networks(*texts: str) -> tuple[Network, ...]:
    """Parse networks."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def prefixes(*texts: str) -> tuple[IPv6Network, ...]:
    """Parse IPv6 prefixes."""
    return tuple(map(IPv6Network, texts))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("198.51.100.1", True),
        ("8.8.8.8", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("255.255.255.255", False),
        ("255.255.255.254", True),
        ("2001:db8::5", True),
        ("fd00::5", True),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00::5%3", True),
        ("ff02::1", False),
        pytest.param("::ffff:10.1.2.3", True, id="mapped"),
        pytest.param("::ffff:127.0.0.1", False, id="mapped loopback"),
        pytest.param("::ffff:127.0.0.1%1", False, id="mapped loopback with a scope"),
        pytest.param("::ffff:169.254.169.254", False, id="mapped link-local"),
        pytest.param("::ffff:0.0.0.0", False, id="mapped unspecified"),
        pytest.param("::10.1.2.3", True, id="compatible"),
        pytest.param("::127.0.0.1", False, id="compatible loopback"),
        pytest.param("::2", False, id="compatible with this host"),
        pytest.param("::ffff:0:10.1.2.3", True, id="translated"),
        pytest.param("::ffff:0:127.0.0.1", False, id="translated loopback"),
        pytest.param("64:ff9b::10.1.2.3", True, id="NAT64"),
        pytest.param("64:ff9b::127.0.0.1", False, id="NAT64 loopback"),
        pytest.param("64:ff9b::169.254.169.254", False, id="NAT64 link-local"),
        pytest.param("64:ff9b::224.0.0.1", False, id="NAT64 multicast"),
        pytest.param("64:ff9b::", False, id="NAT64 unspecified"),
        pytest.param("64:ff9b::255.255.255.255", False, id="NAT64 broadcast"),
        pytest.param("64:ff9b:1::10.1.2.3", True, id="local NAT64, 96"),
        pytest.param("64:ff9b:1::127.0.0.1", False, id="local NAT64, 96, loopback"),
        pytest.param("64:ff9b:1:0:7f:0:100:0", False, id="local NAT64, 64, loopback"),
        pytest.param("64:ff9b:1:7f:0:1::", False, id="local NAT64, 56, loopback"),
        pytest.param("64:ff9b:1:7f00:0:100::", False, id="local NAT64, 48, loopback"),
        pytest.param("64:ff9b:1:7f00:ff00:100::", False, id="local NAT64, 48, loopback, odd octet"),
        pytest.param("64:ff9b:1:c633:64:100::", True, id="local NAT64, 48"),
        pytest.param("64:ff9b:1::", False, id="local NAT64, unspecified"),
        pytest.param("2002:a01:203::1", True, id="6to4"),
        pytest.param("2002:7f00:1::1", False, id="6to4 loopback"),
        pytest.param("2002::1", False, id="6to4 unspecified"),
        pytest.param("2001:0:c633:6401::f5fe:fdfc", True, id="Teredo"),
        pytest.param("2001:0:7f00:1::f5fe:fdfc", False, id="Teredo server on loopback"),
        pytest.param("2001:0:c633:6401::80ff:fffe", False, id="Teredo client on loopback"),
        pytest.param("2001:db8:64::10.1.2.3", True, id="own NAT64"),
        pytest.param("2001:db8:64::127.0.0.1", False, id="own NAT64 loopback"),
        pytest.param("2001:db8:65::127.0.0.1", True, id="beside the own NAT64"),
    ],
)
def test_without_networks(address: str, *, allowed: bool) -> None:
    """Unless networks are given, anywhere may be probed but what is suspicious in any form."""
    boundaries = Boundaries(nat64_prefixes=prefixes(OWN))
    assert boundaries.allows(address, 1688) is allowed
    assert boundaries.allows_name_server(address) is allowed


@pytest.mark.parametrize(
    ("address", "port", "given_networks", "ports", "allowed"),
    [
        ("10.1.2.3", 1688, ["10.0.0.0/8"], [], True),
        ("11.1.2.3", 1688, ["10.0.0.0/8"], [], False),
        ("11.1.2.3", 1688, ["10.0.0.0/8", "11.1.2.3/32"], [], True),
        ("127.0.0.1", 1688, ["127.0.0.0/8"], [], True),
        ("169.254.0.1", 1688, ["169.254.0.0/16"], [], True),
        ("::1", 1688, ["127.0.0.0/8"], [], False),
        ("::1", 1688, ["::1/128"], [], True),
        ("fe80::1%eth0", 1688, ["fe80::/10"], [], True),
        ("fe80::1%eth0", 1688, ["10.0.0.0/8"], [], False),
        ("2001:db8::5", 1688, ["2001:db8::/32"], [], True),
        ("2001:db9::5", 1688, ["2001:db8::/32", "10.0.0.0/8"], [], False),
        ("10.1.2.3", 1688, ["::/0"], [], False),
        ("::ffff:10.1.2.3", 1688, ["10.0.0.0/8"], [], True),
        ("::ffff:10.1.2.3", 1688, ["::/0"], [], False),
        ("::ffff:10.1.2.3", 1688, ["::ffff:0:0/96"], [], False),
        ("10.1.2.3", 1688, [], [1688], True),
        ("10.1.2.3", 1689, [], [1688, 1689], True),
        ("10.1.2.3", 22, [], [1688], False),
        ("127.0.0.1", 1688, [], [1688], False),
        ("10.1.2.3", 1688, ["10.0.0.0/8"], [1688], True),
        ("10.1.2.3", 22, ["10.0.0.0/8"], [1688], False),
        ("11.1.2.3", 1688, ["10.0.0.0/8"], [1688], False),
        ("64:ff9b::10.1.2.3", 22, ["10.0.0.0/8"], [1688], False),
    ],
)
def test_with_networks_and_ports(
    address: str, port: int, given_networks: list[str], ports: list[int], *, allowed: bool
) -> None:
    """Networks that are given say all there is to say about addresses, and ports about ports."""
    boundaries = Boundaries(networks=networks(*given_networks), ports=tuple(ports))
    assert boundaries.allows(address, port) is allowed


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(("::ffff:0:{}", "::ffff:0:0:0/96"), id="translated"),
        pytest.param(("64:ff9b::{}", "64:ff9b::/96"), id="NAT64"),
        pytest.param(("64:ff9b:1::{}", "64:ff9b:1::/48"), id="local NAT64"),
        pytest.param(("2001:db8:64::{}", OWN), id="own NAT64"),
    ],
)
@pytest.mark.parametrize(
    ("ipv4", "given_networks", "allowed"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], False),
        ("127.0.0.1", ["127.0.0.0/8"], True),
        ("127.0.0.1", ["10.0.0.0/8"], False),
        ("127.0.0.1", ["::/0"], False),
        ("127.0.0.1", ["10.0.0.0/8", "::/0"], False),
        ("127.0.0.1", ["127.0.0.0/8", "::/0"], True),
        ("10.1.2.3", ["::/0"], False),
        ("10.1.2.3", ["PREFIX"], True),
        ("127.0.0.1", ["PREFIX"], False),
        ("127.0.0.1", ["PREFIX", "127.0.0.0/8"], True),
        ("169.254.169.254", ["PREFIX", "127.0.0.0/8"], False),
    ],
)
def test_translated_with_networks(
    form: tuple[str, str], ipv4: str, given_networks: list[str], *, allowed: bool
) -> None:
    """What stands for an IPv4 address is listed with that one, or by a network within its own prefix."""
    template, prefix = form
    listed = networks(*(text.replace("PREFIX", prefix) for text in given_networks))
    boundaries = Boundaries(networks=listed, nat64_prefixes=prefixes(OWN))
    assert boundaries.allows(template.format(ipv4), 1688) is allowed


@pytest.mark.parametrize(
    ("address", "given_networks", "allowed"),
    [
        ("2002:a01:203::1", ["10.0.0.0/8"], False),
        ("2002:a01:203::1", ["10.0.0.0/8", "2000::/3"], True),
        ("2002:a01:203::1", ["2002::/16"], True),
        ("2002:a01:203::1", ["2002:a01:203::/48"], True),
        ("2002:a01:203::1", ["2000::/3"], False),
        ("2002:7f00:1::1", ["2002::/16"], False),
        ("2001:0:c633:6401::f5fe:fdfc", ["10.0.0.0/8"], False),
        ("2001:0:c633:6401::f5fe:fdfc", ["10.0.0.0/8", "198.51.100.0/24"], False),
        ("2001:0:c633:6401::f5fe:fdfc", ["10.0.0.0/8", "2000::/3"], False),
        ("2001:0:c633:6401::f5fe:fdfc", ["10.0.0.0/8", "198.51.100.0/24", "2000::/3"], True),
        ("2001:0:c633:6401::f5fe:fdfc", ["2001::/32"], True),
        ("2001:0:c633:6401::f5fe:fdfc", ["2001::/16"], False),
        ("::10.1.2.3", ["10.0.0.0/8"], False),
        ("::10.1.2.3", ["10.0.0.0/8", "::/0"], True),
        ("::127.0.0.1", ["10.0.0.0/8", "::/0"], False),
        ("::10.1.2.3", ["::/96"], True),
        ("::127.0.0.1", ["::/96"], False),
        ("64:ff9b:1:a01:2:300::", ["10.0.0.0/8"], False),
    ],
)
def test_tunnels_with_networks(address: str, given_networks: list[str], *, allowed: bool) -> None:
    """Of a tunnel all ends have to be listed, as has the address; of an unknown layout all readings."""
    assert Boundaries(networks=networks(*given_networks)).allows(address, 1688) is allowed


@pytest.mark.parametrize(
    ("address", "given_networks", "allowed"),
    [
        ("127.0.0.53", [], False),
        ("127.0.0.53", ["10.0.0.0/8"], False),
        ("127.0.0.53", ["127.0.0.0/8"], True),
        ("64:ff9b::7f00:35", ["10.0.0.0/8"], False),
        ("198.51.100.53", ["10.0.0.0/8"], True),
    ],
)
def test_name_servers(address: str, given_networks: Sequence[str], *, allowed: bool) -> None:
    """Networks and ports are for probes; a name server must only not be suspicious, unless it is listed."""
    boundaries = Boundaries(networks=networks(*given_networks), ports=(1688,))
    assert boundaries.allows_name_server(address) is allowed


# --- Every address, in every layout


IPV4 = st.ip_addresses(v=4) | st.sampled_from(
    ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "10.1.2.3"]
).map(IPv4Address)
LENGTHS = st.sampled_from(NAT64_LENGTHS)
LISTED = st.lists(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "0.0.0.0/1", "169.254.0.0/16"]), max_size=2)


def embed(prefix: int, length: int, ipv4: IPv4Address) -> IPv6Address:
    """Put an IPv4 address behind a prefix as the table of RFC 6052, 2.2, has it, octet by octet."""
    octets = bytearray(prefix.to_bytes(16))
    places = [place for place in range(length // 8, 16) if place != 8 or length == 96]
    for place in range(length // 8, 16):
        octets[place] = 0
    for place, octet in zip(places, ipv4.packed, strict=False):
        octets[place] = octet
    return IPv6Address(bytes(octets))


def test_embed_as_the_rfc_does() -> None:
    """The examples of RFC 6052, 2.4."""
    base = int(IPv6Address("2001:db8:122:344::"))
    found = [str(embed(base, length, IPv4Address("192.0.2.33"))) for length in NAT64_LENGTHS]
    assert found == [
        "2001:db8:c000:221::",
        "2001:db8:1c0:2:21::",
        "2001:db8:122:c000:2:2100::",
        "2001:db8:122:3c0:0:221::",
        "2001:db8:122:344:c0:2:2100:0",
        "2001:db8:122:344::c000:221",
    ]


@given(IPV4, LENGTHS, st.integers(0, 2**128 - 1), LISTED)
@example(IPv4Address("127.0.0.1"), 48, int(IPv6Address("64:ff9b:1::")), [])
def test_own_nat64(ipv4: IPv4Address, length: int, prefix: int, listed: list[str]) -> None:
    """In a prefix that the configuration names, an address may be probed just when its IPv4 address may."""
    prefix = int(IPv6Address("fd00::")) | prefix >> 16  # any, but for those that have a meaning besides
    address = embed(prefix, length, ipv4)
    own = IPv6Network((address, length), strict=False)
    boundaries = Boundaries(networks=networks(*dict.fromkeys(listed)), nat64_prefixes=(own,))
    assert boundaries.allows(str(address), 1688) is boundaries.allows(str(ipv4), 1688)


@given(IPV4, LISTED, st.sampled_from(["64:ff9b::", "::ffff:0:0"]))
def test_known_prefixes(ipv4: IPv4Address, listed: list[str], prefix: str) -> None:
    """So it is in the well-known prefix, and with an IPv4-mapped address."""
    boundaries = Boundaries(networks=networks(*dict.fromkeys(listed)))
    address = IPv6Address(int(IPv6Address(prefix)) | int(ipv4))
    assert boundaries.allows(str(address), 1688) is boundaries.allows(str(ipv4), 1688)


@given(
    IPV4.filter(lambda ip: ip.packed[0] != 0),
    LENGTHS.filter(lambda length: length >= 48),
    st.integers(0, 2**80 - 1),
    LISTED,
)
@example(IPv4Address("127.0.0.1"), 48, 0, [])
@example(IPv4Address("127.0.0.1"), 96, 0, [])
def test_local_nat64(ipv4: IPv4Address, length: int, subnet: int, listed: list[str]) -> None:
    """In the local prefix, whose layout nobody knows, what may not be probed cannot be by any of them."""
    address = embed(int(IPv6Address("64:ff9b:1::")) | subnet, length, ipv4)
    boundaries = Boundaries(networks=networks(*dict.fromkeys(listed)))
    if not boundaries.allows(str(ipv4), 1688):
        assert not boundaries.allows(str(address), 1688)
