"""Tests of what was asked for, out of what is configured: what is left of it, and who may ask for what."""

import ipaddress

import pytest

from exporter.config import Config, parse, parse_server
from exporter.model import DnsServer, Host, ServerGroup
from exporter.narrowing import (
    find,
    is_configured,
    isolate,
    narrow,
    refuse_server,
    refuse_subject,
    watched,
)

CONFIG = """
dns:
  servers: [192.0.2.53, system]
web:
  probe_allow: [allowed.test, local, 10.0.0.0/8, "2001:db8::/32"]
zones:
  - name: contoso.test
    expected: [kms1.contoso.test]
    labels: {site: ams}
  - name: emea.contoso.test
    dns_servers: ["192.0.2.10:5353"]
hosts:
  - kms.contoso.test
  - 203.0.113.5
clients:
  - name: laptop
    suffixes: [branch.test]
    dns_servers: [192.0.2.11]
"""
SYSTEM = (DnsServer(address="198.51.100.1"),)


def config(**web: object) -> Config:
    """Give a configuration with something of everything."""
    read = parse(CONFIG.encode())
    return read.model_copy(update={"web": read.web.model_copy(update=web)})


def host(text: str, port: int = 1688) -> Host:
    """Build a host."""
    return Host(target=text, port=port)


def test_narrow_to_nothing() -> None:
    """No subject at all is not the same as every subject."""
    narrowed, hosts = narrow(config(), [])
    assert (narrowed.zones, narrowed.clients, hosts) == ((), (), frozenset())
    assert narrow(config(), None)[0] == config()


@pytest.mark.parametrize(
    ("target", "zones", "hosts"),
    [
        ("contoso.test", ["contoso.test"], ()),
        ("fabrikam.test", ["fabrikam.test"], ()),
        ("kms.contoso.test", [], (host("kms.contoso.test"),)),
        ("kms9.contoso.test:1689", [], (host("kms9.contoso.test", 1689),)),
    ],
)
def test_isolate(target: str, zones: list[str], hosts: tuple[Host, ...]) -> None:
    """What was asked for is alone, without witnesses, and as it is configured."""
    isolated = isolate(config(), find(target, config()), None)
    assert [zone.name for zone in isolated.zones] == zones
    assert isolated.hosts == hosts
    assert isolated.clients == ()
    assert isolated.dns == config().dns
    assert [zone for zone in isolated.zones if is_configured(zone, config())] == [
        zone for zone in config().zones if zone.name in zones
    ]


def test_isolate_at_a_server() -> None:
    """A DNS server that is asked for takes the place of the zone's own, and nothing else changes."""
    server = DnsServer(address="192.0.2.99")
    [zone] = isolate(config(), find("emea.contoso.test", config()), server).zones
    isolated = isolate(config(), zone, server)
    assert isolated.servers_of(isolated.zones[0]) == (server,)
    assert isolated.dns.attempts == config().dns.attempts


def test_watched() -> None:
    """Everything is checked on a timer, or nothing is; what holds for a check stays either way."""
    assert watched(config()) == config()
    asleep = watched(config(probe_only=True))
    assert (asleep.zones, asleep.hosts, asleep.clients) == ((), (), ())
    assert (asleep.dns, asleep.probe, asleep.interval) == (
        config().dns,
        config().probe,
        config().interval,
    )


ZONE_REASON = "is not configured, and nothing in web.probe_allow allows it"


@pytest.mark.parametrize(
    "target",
    [
        "contoso.test",
        "CONTOSO.test.",
        "emea.contoso.test",
        "kms.contoso.test",
        "kms.contoso.test:1688",
        "203.0.113.5",
        "203.0.113.5:1688",
        # by web.probe_allow
        "allowed.test",
        "sub.allowed.test",
        "a.b.allowed.test",
        "kms.allowed.test:1688",
        "kms.allowed.test:1",
        "allowed.test:1688",
        "printer.local",
        "local",
        "10.0.0.0",
        "10.255.255.255:1689",
        "[2001:db8::5]:1688",
        "2001:db8:ffff::1",
    ],
)
def test_may_be_looked_at(target: str) -> None:
    """What is configured may be looked at, and what is in a domain or a network of web.probe_allow."""
    assert refuse_subject(find(target, config()), config()) is None


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("fabrikam.test", "zone fabrikam.test"),
        ("test", "zone test"),
        # neither below nor above a configured zone, nor what a client searches
        ("sub.contoso.test", "zone sub.contoso.test"),
        ("branch.test", "zone branch.test"),
        ("notallowed.test", "zone notallowed.test"),
        ("allowed.test.example", "zone allowed.test.example"),
        # a host that only a record may name, and another port of a host that is configured
        ("kms1.contoso.test:1688", "host kms1.contoso.test:1688"),
        ("kms.contoso.test:1689", "host kms.contoso.test:1689"),
        ("contoso.test:1688", "host contoso.test:1688"),
        ("203.0.113.5:22", "host 203.0.113.5:22"),
        ("203.0.113.6", "host 203.0.113.6:1688"),
        ("9.255.255.255", "host 9.255.255.255:1688"),
        ("127.0.0.1:1688", "host 127.0.0.1:1688"),
        ("[2001:db9::5]:1688", "host [2001:db9::5]:1688"),
        ("::10.0.0.1", "host [::a00:1]:1688"),
        ("fe80::1%eth0", "host [fe80::1%eth0]:1688"),
    ],
)
def test_may_not_be_looked_at(target: str, what: str) -> None:
    """Anything else may not, and the reason names it."""
    assert refuse_subject(find(target, config()), config()) == f"{what} {ZONE_REASON}"


@pytest.mark.parametrize("address", ["64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::1", "::7f00:1"])
def test_what_stands_for_an_address_that_is_not_allowed(address: str) -> None:
    """A network of web.probe_allow lets in no IPv6 address that stands for an IPv4 address beyond it."""
    wide = config(probe_allow=(ipaddress.ip_network("::/0"),))
    assert refuse_subject(find("2001:db8::5", wide), wide) is None
    assert refuse_subject(find(address, wide), wide)
    assert refuse_server(parse_server(address), wide, SYSTEM)


@pytest.mark.parametrize("target", ["contoso.test", "203.0.113.5"])
def test_nothing_is_allowed_by_default(target: str) -> None:
    """Without web.probe_allow, what is configured may be looked at and nothing else."""
    closed = config(probe_allow=())
    assert refuse_subject(find(target, closed), closed) is None
    for other in ("allowed.test", "10.1.2.3", "kms.allowed.test:1688"):
        assert refuse_subject(find(other, closed), closed)


@pytest.mark.parametrize(
    "server",
    [
        "192.0.2.53",
        "192.0.2.53:53",
        "system",
        "192.0.2.10:5353",  # of another zone
        "192.0.2.11",  # of a kind of client
        "198.51.100.1",  # one of those that `system` stands for
        "10.1.2.3",
        "10.1.2.3:5353",
        "[2001:db8::53]:53",
    ],
)
def test_may_be_asked(server: str) -> None:
    """A DNS server may be asked that is configured anywhere, is this machine's, or is allowed."""
    assert refuse_server(parse_server(server), config(), SYSTEM) is None


@pytest.mark.parametrize(
    ("server", "what"),
    [
        ("192.0.2.54", "DNS server 192.0.2.54"),
        ("192.0.2.53:5353", "DNS server 192.0.2.53:5353"),
        ("192.0.2.10", "DNS server 192.0.2.10"),
        ("198.51.100.1:5353", "DNS server 198.51.100.1:5353"),
        ("2001:db9::53", "DNS server 2001:db9::53"),
    ],
)
def test_may_not_be_asked(server: str, what: str) -> None:
    """Any other may not, and the reason names it."""
    assert refuse_server(parse_server(server), config(), SYSTEM) == f"{what} {ZONE_REASON}"


def test_words_that_are_not_configured() -> None:
    """A word for DNS servers may be used where the configuration uses it, and so may those it stands for."""
    found = refuse_server(ServerGroup.AUTHORITATIVE, config(), SYSTEM)
    assert found == "the DNS servers `authoritative` are not configured"
    named = config().model_copy(
        update={"dns": config().dns.model_copy(update={"servers": (DnsServer(address="192.0.2.1"),)})}
    )
    assert refuse_server(ServerGroup.SYSTEM, named, SYSTEM)
    assert refuse_server(SYSTEM[0], named, SYSTEM)
