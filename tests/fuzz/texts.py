"""Names and resolv.conf: text that a person or another program wrote, and names from the wire."""

import ipaddress
import re

from exporter.config import ConfigError, default
from exporter.discovery import parse_resolv_conf
from exporter.model import DNS_PORT
from exporter.names import MAX_NAME, canonical, parse_name, show_labels
from tests.fuzz.target import pure

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LONGEST_LABEL = 63
_WORDS = (
    *(b"contoso.com", b"xn--", b"xn--bcher-kva", b"b\xc3\xbccher", b"stra\xc3\x9fe", b"_vlmcs._tcp.", b"."),
    *(
        b"\xe3\x80\x82",
        b"\xef\xbc\x8e",
        b"\xef\xbd\xa1",
        b"\xe2\x80\x8d",
        b"\xc2\xad",
        b"\xd7\x90",
        b"\xef\xbc\x91",
    ),
    *(
        b"\xe2\x98\x83",
        b"\xf0\x9f\x92\xa9",
        b"\xcc\x88",
        b"\xd9\xa0",
        b"\xdb\xb0",
        b"\xe1\x9e\xb4",
        b"a-",
        b"--",
    ),
)


def feed_name(data: bytes) -> bool:
    """Read a name as a person writes it, and the same bytes as labels from the wire."""
    _check_labels(data.split(b"\n"))
    text = data.decode(errors="surrogateescape")
    try:
        name = parse_name(text)
    except ValueError as error:
        reason = str(error)
    else:
        _check_name(name, text)
        return True
    assert reason.isprintable()
    assert canonical(text) == text
    return False


def _check_name(name: str, text: str) -> None:
    assert _NAME.fullmatch(name)
    assert len(name) <= MAX_NAME
    assert max(map(len, name.split("."))) <= _LONGEST_LABEL
    assert parse_name(name) == canonical(text) == name
    assert show_labels(label.encode() for label in name.split(".")) == name


def _check_labels(labels: list[bytes]) -> None:
    shown = show_labels(labels)
    assert shown.isascii()
    assert shown.isprintable()
    assert " " not in shown
    kept = [label for label in labels if label]
    escaped = [
        re.sub(rb"\\(\d{3})", lambda code: bytes([int(code[1])]), each) for each in shown.encode().split(b".")
    ]
    assert escaped == ([label.lower() for label in kept] or [b"", b""])


def feed_resolv_conf(data: bytes) -> bool:
    """Read a resolv.conf, and make the configuration of its suffixes; refused is one that names nothing."""
    hostname, _, text = data.decode(errors="replace").partition("\0")
    found = parse_resolv_conf(text, hostname=hostname)
    assert len(set(found.search)) == len(found.search)
    assert len(set(found.servers)) == len(found.servers)
    assert all(parse_name(suffix) == suffix for suffix in found.search)
    for server in found.servers:
        assert str(ipaddress.ip_address(server.address)) == server.address
        assert server.port == DNS_PORT
    try:
        config = default(found.search)
    except ConfigError:
        return False
    assert {zone.name for zone in config.zones} == set(found.search)
    return True


NAMES = pure(feed_name, (*_WORDS, b"\n"), longest=1200)
RESOLV_CONF = pure(
    feed_resolv_conf,
    (
        *(b"nameserver ", b"search ", b"domain ", b"options ", b"\n", b"# ", b"; ", b"\0", b"\t"),
        *(b"10.0.0.53", b"2001:db8::53", b"fe80::1%eth0", b"::ffff:10.0.0.53", b"[::1]", b"\xe2\x80\xa8"),
        *_WORDS,
    ),
    longest=2048,
)
