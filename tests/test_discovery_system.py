"""Tests of resolv.conf: what a machine would ask whom, for good files, bad ones and none."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.discovery import ResolvConf, parse_resolv_conf
from exporter.discovery.system import read_resolv_conf
from exporter.model import DnsServer, LookupStatus
from exporter.names import parse_name

HOSTNAME = "exporter"
"""A host name without a suffix, so that nothing stands in for what the file does not say."""


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", []),
        ("\n\n  \n", []),
        ("nameserver 10.0.0.53", ["10.0.0.53"]),
        ("nameserver\t10.0.0.53  \r\n", ["10.0.0.53"]),
        ("  nameserver 10.0.0.53\n", ["10.0.0.53"]),
        ("nameserver 10.0.0.53 # the old one\n", ["10.0.0.53"]),
        ("nameserver 10.0.0.54\nnameserver 10.0.0.53\n", ["10.0.0.54", "10.0.0.53"]),
        ("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.1\n", ["10.0.0.1", "10.0.0.2"]),
        ("".join(f"nameserver 10.0.0.{n}\n" for n in range(1, 6)), [f"10.0.0.{n}" for n in range(1, 6)]),
        ("nameserver ::1\n", ["::1"]),
        ("nameserver 2001:DB8:0::53\n", ["2001:db8::53"]),
        ("nameserver 2001:db8::53\nnameserver 2001:0DB8:0:0:0:0:0:53\n", ["2001:db8::53"]),
        ("nameserver fe80::1%eth0\n", ["fe80::1%eth0"]),
        ("nameserver FE80::0:1%Ethernet0\n", ["fe80::1%Ethernet0"]),  # interface names have case
        ("nameserver fe80::1%eth0\nnameserver fe80::1%eth1\n", ["fe80::1%eth0", "fe80::1%eth1"]),
        ("# nameserver 10.0.0.53\n; nameserver 10.0.0.54\n#nameserver 10.0.0.55\n", []),
        ("options edns0 trust-ad timeout:2\nsortlist 10.0.0.0/8\nnameserver 10.0.0.53\n", ["10.0.0.53"]),
        ("nameserver\nnameserver 10.0.0.53\n", ["10.0.0.53"]),
        ("nameserver dns.contoso.com\nnameserver 10.0.0.53\n", ["10.0.0.53"]),
        ("nameserver 10.0.0.256\nnameserver 10.0.0\nnameserver 10.0.0.53:5353\nnameserver ::g\n", []),
        ("nameserver fe80::1%\nnameserver [::1]\nnameserver 10.0.0.0/8\n", []),
        ("name server 10.0.0.53\nNAMESERVER 10.0.0.54\n", []),
        ("nameserver 10.0.0.53\0\nnameserver \ufffd\n", []),
    ],
)
def test_servers(text: str, servers: list[str]) -> None:
    """Servers come in the file's order, each once, in canonical form; a bad line costs only itself."""
    found = parse_resolv_conf(text, hostname=HOSTNAME).servers
    assert found == tuple(DnsServer(address=address) for address in servers)


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("", []),
        ("search contoso.com", ["contoso.com"]),
        ("search emea.contoso.com contoso.com\n", ["emea.contoso.com", "contoso.com"]),
        ("search Contoso.COM. contoso.com\n", ["contoso.com"]),
        ("search bücher.example\n", ["xn--bcher-kva.example"]),
        ("domain contoso.com\n", ["contoso.com"]),
        ("domain contoso.com fabrikam.com\n", ["contoso.com"]),
        ("search a.com b.com\nsearch c.com\n", ["c.com"]),
        ("search a.com b.com\ndomain c.com\n", ["c.com"]),
        ("domain c.com\nsearch a.com b.com\n", ["a.com", "b.com"]),
        ("search a.com\nsearch\ndomain\n", ["a.com"]),
        ("search .\n", []),
        ("search a..com -b.com contoso.com c\\.com \ufffd.com\n", ["contoso.com"]),
        ("# search a.com\n; domain b.com\n", []),
        (f"search {'a' * 64}.com {'a.' * 127}com contoso.com\n", ["contoso.com"]),
        (f"search {' '.join(f's{n}.com' for n in range(20))}\n", [f"s{n}.com" for n in range(20)]),
    ],
)
def test_search(text: str, search: list[str]) -> None:
    """Of `search` and `domain` the last line counts; suffixes are in canonical form, bad ones left out."""
    assert parse_resolv_conf(text, hostname=HOSTNAME).search == tuple(search)


@pytest.mark.parametrize(
    ("hostname", "text", "search"),
    [
        ("exporter.contoso.com", "", ["contoso.com"]),
        ("Exporter.Contoso.COM", "nameserver 10.0.0.53\n", ["contoso.com"]),
        ("exporter.contoso.com", "search fabrikam.com\n", ["fabrikam.com"]),
        ("exporter.contoso.com", "search .\n", []),
        ("exporter", "", []),
        ("exporter.", "", []),
        ("", "", []),
        ("exporter.no_such-.suffix", "", []),
    ],
)
def test_search_by_hostname(hostname: str, text: str, search: list[str]) -> None:
    """The suffix of the host name stands in where the file names none, and only there."""
    assert parse_resolv_conf(text, hostname=hostname).search == tuple(search)


@given(text=st.text(), hostname=st.text(max_size=80))
def test_no_text_is_refused(text: str, hostname: str) -> None:
    """Whatever the file holds, the result is made of canonical names and of servers at the port of DNS."""
    found = parse_resolv_conf(f"search {text}\nnameserver {text}", hostname=hostname)
    assert all(parse_name(suffix) == suffix for suffix in found.search)
    assert all(server.label == server.address for server in found.servers)


def test_file(tmp_path: Path) -> None:
    """A file is read as it is at that moment."""
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 10.0.0.53\nsearch contoso.com\n")
    assert read_resolv_conf(path) == ResolvConf(
        servers=(DnsServer(address="10.0.0.53"),), search=("contoso.com",)
    )
    path.write_text("nameserver 10.0.0.54\nsearch contoso.com\n")
    assert read_resolv_conf(path).servers == (DnsServer(address="10.0.0.54"),)


def test_file_that_is_no_utf8(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 cost no more than the words they are in."""
    path = tmp_path / "resolv.conf"
    path.write_bytes(b"# caf\xe9\nnameserver 10.0.0.53\nsearch caf\xe9.com contoso.com\n\xff\xfe\n")
    assert read_resolv_conf(path) == ResolvConf(
        servers=(DnsServer(address="10.0.0.53"),), search=("contoso.com",)
    )


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("missing", "unreachable"),
        ("missing/resolv.conf", "unreachable"),
        ("directory", "local_error"),
        ("loop", "local_error"),
        ("pipe", "local_error"),
        ("endless", "local_error"),
    ],
)
def test_file_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, missing: str
) -> None:
    """A file that cannot be read holds nothing, and the suffix of the host name stands in.

    Where there is a file, this is no finding about the DNS servers of this machine.
    """
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    monkeypatch.setattr("socket.gethostname", lambda: "exporter.contoso.com")
    assert read_resolv_conf(tmp_path / name) == ResolvConf(
        search=("contoso.com",), missing=LookupStatus(missing)
    )
