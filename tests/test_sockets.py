"""Tests of the sockets that lookups and probes send from."""

import socket

import pytest

from exporter.sockets import open_socket, socket_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 1688)),
        ("2001:db8::1", ("2001:db8::1", 1688)),
        ("fe80::1%3", ("fe80::1", 1688, 0, 3)),
        ("fe80::1%lo", ("fe80::1", 1688, 0, socket.if_nametoindex("lo"))),
    ],
)
def test_socket_address(address: str, expected: tuple[str | int, ...]) -> None:
    """The scope of a link-local address is a number of its own."""
    assert socket_address(address, 1688) == expected


def test_scope_without_interface() -> None:
    """A scope that names no interface of this machine is an OSError like any other."""
    with pytest.raises(OSError, match="interface"):
        socket_address("fe80::1%nowhere", 1688)


def test_source_address() -> None:
    """A socket leaves from the source address, does not block, and has the kind that was asked for."""
    with open_socket("127.0.0.1", socket.SOCK_DGRAM, source_address="127.0.0.2") as sock:
        assert sock.getsockname()[0] == "127.0.0.2"
        assert not sock.getblocking()
        assert sock.type == socket.SOCK_DGRAM


def test_source_address_that_is_not_ours() -> None:
    """Nothing stays open when the source address cannot be had; the test run fails on a leaked socket."""
    with pytest.raises(OSError, match="assign"):
        open_socket("127.0.0.1", socket.SOCK_STREAM, source_address="192.0.2.1")


def test_port_is_left_to_connect() -> None:
    """A source address does not take a local port of its own: probes of many hosts can share one."""
    with open_socket("127.0.0.1", socket.SOCK_STREAM, source_address="127.0.0.2") as sock:
        assert sock.getsockname() == ("127.0.0.2", 0)
